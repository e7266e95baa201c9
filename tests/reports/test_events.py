from samples import EVENT, EVENT_V6, LONG_V6, report

from udpprobe.reports.events import events_markdown, events_table


def test_an_event_is_a_line_where_it_fits():
    assert events_table(report(), [EVENT], 160).splitlines()[2] == (
        "7        22:13:20.123456  too-big    203.0.113.9:4500  192.0.2.1  "
        "packet-too-big 3/4; MTU 1400; sent in frame 3; RTT 0.250 ms; bad checksum")


def test_events_of_long_addresses_fit_80_columns_unbroken():
    text = events_table(report(), [EVENT, EVENT_V6], 80)
    assert max(map(len, text.splitlines())) <= 80
    assert f"[{LONG_V6}]:65535" in text.split()
    assert "datagram not seen" in text


def test_no_events_leave_the_last_line():
    assert events_table(report(), [], 200).startswith("No ICMP errors about UDP")
    assert events_markdown(report(), [], 200).startswith("No ICMP errors about UDP")


def test_markdown_has_the_same_rows():
    text = events_markdown(report(), [EVENT], 80)
    assert "| 203.0.113.9:4500 | 192.0.2.1 | packet-too-big 3/4; MTU 1400;" in text
