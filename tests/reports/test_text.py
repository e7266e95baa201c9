import pytest

from udpprobe.reports.text import count, duration, endpoint, escape, link_name, plural, rfc3339


@pytest.mark.parametrize(("foreign", "shown"), [
    ("plain näme", "plain näme"),
    ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
    ("a\nb\tc\rd", r"a\nb\tc\rd"),
    ("\x9b1m", r"\x9b1m"),
    ("\u202egpj.exe", r"\u202egpj.exe"),
    ("line\u2028break", r"line\u2028break"),
    ("\udcff", r"\udcff"),
])
def test_nothing_foreign_steers_the_terminal(foreign, shown):
    assert shown == escape(foreign)


@pytest.mark.parametrize(("address", "port", "shown"), [
    ("192.0.2.1", 53, "192.0.2.1:53"), ("2001:db8::1", 53, "[2001:db8::1]:53"),
    ("2001:db8::1", None, "2001:db8::1"), ("192.0.2.1", 0, "192.0.2.1:0"),
])
def test_an_endpoint_can_be_pasted_elsewhere(address, port, shown):
    assert shown == endpoint(address, port)


def test_an_endpoint_has_its_zone():
    assert ["[fe80::1%eth0]:53", "fe80::1%eth0"] == [endpoint("fe80::1", port, "eth0") for port in (53, None)]


@pytest.mark.parametrize(("time_ns", "shown"), [
    (0, "1970-01-01T00:00:00.000000000Z"),
    (1_700_000_000_123_456_789, "2023-11-14T22:13:20.123456789Z"),
    (-1, "1969-12-31T23:59:59.999999999Z"),
    (2**63 - 1, "2262-04-11T23:47:16.854775807Z"),
    (-(2**63), "1677-09-21T00:12:43.145224192Z"),
])
def test_a_time_has_nine_decimals(time_ns, shown):
    assert shown == rfc3339(time_ns)


@pytest.mark.parametrize(("number", "shown"), [
    (0, "0"), (9999, "9999"), (10_000, "10.0k"), (999_499, "999k"), (999_500, "1.00M"),
    (60_000_000, "60.0M"), (7_000_000_000, "7.00G"), (5_000_000_000_000, "5.00e+03G"),
])
def test_a_count_is_short(number, shown):
    assert shown == count(number)


@pytest.mark.parametrize(("span_ms", "shown"), [
    (0.0521, "0.052 ms"), (1.0, "1.00 ms"), (31.44, "31.4 ms"), (999.4, "999 ms"), (2500, "2.50 s"),
    (59_400, "59.4 s"), (200_000, "3 min 20 s"), (7_500_000, "2 h 5 min"),
])
def test_a_duration_has_a_unit(span_ms, shown):
    assert shown == duration(span_ms)


def test_one_is_not_many():
    assert plural(1, "packet") == "1 packet"
    assert plural(12_345, "packet") == "12,345 packets"


def test_an_unknown_link_keeps_its_number():
    assert link_name(1) == "Ethernet"
    assert link_name(147) == "link type 147"
