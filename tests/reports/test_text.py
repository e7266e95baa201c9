import pytest
from hypothesis import given
from hypothesis import strategies as st
from tabulate import tabulate

from udpprobe.core.stencils import rfc3339
from udpprobe.reports.text import (
    Layout,
    MarkdownTable,
    count,
    duration,
    endpoint,
    escape,
    link_name,
    markdown,
    plural,
    table,
    wrap,
)

NARROW = Layout(("key", "story"), (("a\nb", "one\n  two"),), 1)


@pytest.mark.parametrize(
    ("foreign", "shown"),
    [
        ("plain näme", "plain näme"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\tc\rd", r"a\nb\tc\rd"),
        ("\x9b1m", r"\x9b1m"),
        ("\u202egpj.exe", r"\u202egpj.exe"),
        ("line\u2028break", r"line\u2028break"),
        ("\udcff", r"\udcff"),
    ],
)
def test_untrusted_text_cannot_control_the_terminal(foreign, shown):
    assert shown == escape(foreign)


@pytest.mark.parametrize(
    ("address", "port", "shown"),
    [
        ("192.0.2.1", 53, "192.0.2.1:53"),
        ("2001:db8::1", 53, "[2001:db8::1]:53"),
        ("2001:db8::1", None, "2001:db8::1"),
        ("192.0.2.1", 0, "192.0.2.1:0"),
    ],
)
def test_an_endpoint_can_be_copied_and_pasted(address, port, shown):
    assert shown == endpoint(address, port)


def test_an_endpoint_has_its_zone():
    assert ["[fe80::1%eth0]:53", "fe80::1%eth0"] == [endpoint("fe80::1", port, "eth0") for port in (53, None)]


@pytest.mark.parametrize(
    ("time_ns", "shown"),
    [
        (0, "1970-01-01T00:00:00.000000000Z"),
        (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
        (-1, "1969-12-31T23:59:59.999999999Z"),
        (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
        (-(2**63), "1677-09-21T00:12:43.145224192Z"),
    ],
)
def test_a_time_has_nine_decimals(time_ns, shown):
    assert shown == rfc3339(time_ns)


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0"),
        (9999, "9999"),
        (10_000, "10.0k"),
        (999_499, "999k"),
        (999_500, "1.00M"),
        (60_000_000, "60.0M"),
        (7_000_000_000, "7.00G"),
        (5_000_000_000_000, "5.00e+03G"),
    ],
)
def test_a_count_is_short(number, shown):
    assert shown == count(number)


@pytest.mark.parametrize(
    ("span_ms", "shown"),
    [
        (0.0521, "0.052 ms"),
        (1.0, "1.00 ms"),
        (31.44, "31.4 ms"),
        (999.4, "999 ms"),
        (2500, "2.50 s"),
        (59_400, "59.4 s"),
        (200_000, "3 min 20 s"),
        (7_500_000, "2 h 5 min"),
    ],
)
def test_a_duration_has_a_unit(span_ms, shown):
    assert shown == duration(span_ms)


def test_a_count_of_one_is_singular():
    assert plural(1, "packet") == "1 packet"
    assert plural(12_345, "packet") == "12,345 packets"


def test_an_unknown_link_keeps_its_number():
    assert link_name(1) == "Ethernet"
    assert link_name(147) == "link type 147"


def test_the_first_layout_that_fits_is_drawn():
    wide = Layout(("key", "story"), (("a", "x" * 50),), 1)
    assert "x" * 50 in table((wide, NARROW), 80)
    assert "one" in table((wide, NARROW), 40)


def test_the_last_layout_is_drawn_even_if_it_does_not_fit():
    assert "y" * 90 in table((Layout(("key", "story"), (("a", "y" * 90),), 1),), 80)


def test_the_elastic_column_is_wrapped_at_spaces_and_keeps_its_indentation():
    assert wrap("  by 192.0.2.1: MTU 1400", 16) == "  by 192.0.2.1:\n  MTU 1400"
    assert wrap("not-at-hyphens", 5) == "not-at-hyphens"


@given(st.lists(st.text("abc-:. ", max_size=60), min_size=1, max_size=4), st.integers(30, 100))
def test_no_word_is_ever_broken(cells, width):
    layout = Layout(("key", "story"), tuple(("k", cell) for cell in cells), 1)
    drawn = table((layout,), width).split()
    assert {word for cell in cells for word in cell.split()} <= set(drawn)


CELLS = st.text(st.characters(exclude_characters="|<&\u00a0", exclude_categories=("C", "Zl", "Zp")), max_size=9)


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=4))
def test_markdown_equals_that_of_tabulate(rows):
    drawn = tabulate(rows, ("key", "story"), "pipe", disable_numparse=True, preserve_whitespace=True)
    assert drawn == markdown(("key", "story"), rows)


def test_markdown_escapes_its_own_sign_and_tags():
    drawn = markdown(("key",), [("a | b",), ("<img src=x onerror=alert(1)> &lt;",)])
    assert "a \\| b" in drawn
    assert "| &lt;img src=x onerror=alert(1)> &amp;lt; |" in drawn


def test_a_long_markdown_table_is_written_as_it_comes():
    table = MarkdownTable(("k",))
    first = table.add([("a",)] * 600)
    second = table.add([("b" * 9,)] * 600)
    third = table.add([("c" * 99,)])
    assert ("", 1202) == (first, second.count("\n"))
    assert f"| {'c' * 99} |\n" == third
    assert "" == table.end()
