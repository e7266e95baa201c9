from hypothesis import given
from hypothesis import strategies as st

from udpprobe.reports.layout import Layout, markdown, table, wrap

NARROW = Layout(("key", "story"), (("a\nb", "one\n  two"),), 1)


def test_the_first_layout_that_fits_is_drawn():
    wide = Layout(("key", "story"), (("a", "x" * 50),), 1)
    assert "x" * 50 in table((wide, NARROW), 80)
    assert "one" in table((wide, NARROW), 40)


def test_the_last_layout_is_drawn_even_if_it_does_not_fit():
    assert "y" * 90 in table((Layout(("key", "story"), (("a", "y" * 90),), 1),), 80)


def test_the_elastic_column_is_wrapped_at_blanks_and_keeps_its_indentation():
    assert wrap("  by 192.0.2.1: MTU 1400", 16) == "  by 192.0.2.1:\n  MTU 1400"
    assert wrap("not-at-hyphens", 5) == "not-at-hyphens"


@given(st.lists(st.text("abc-:. ", max_size=60), min_size=1, max_size=4), st.integers(30, 100))
def test_no_word_is_ever_broken(cells, width):
    layout = Layout(("key", "story"), tuple(("k", cell) for cell in cells), 1)
    drawn = table((layout,), width).split()
    assert {word for cell in cells for word in cell.split()} <= set(drawn)


def test_markdown_escapes_its_own_sign():
    assert "a \\| b" in markdown(Layout(("key",), (("a | b",),), 0))
