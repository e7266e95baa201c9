import re
from datetime import timedelta, timezone
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from samples import (
    ANSWERED,
    EVENT,
    EVENT_V6,
    LONE,
    LONG_V6,
    LOOP,
    MTU,
    REFUSED,
    T0_NS,
    TOO_BIG,
    TRACE,
    UNREACHABLE_V6,
    Spread,
    destination,
    finding,
    report,
)

from udpprobe.core.model import DropReason, ErrorSent, ErrorsSent, LazyRows, Loop, Process, ReceiveDrops
from udpprobe.core.notes import no_neighbour_notes
from udpprobe.reports import OutputFormat, table
from udpprobe.reports.markdown import report_markdown
from udpprobe.reports.mtu import MTU_FORMATS
from udpprobe.reports.table import (
    ROWS_SHOWN,
    SHOWN_SINGLY,
    EventsTable,
    loop_words,
    ranges,
    report_table,
    summed_up,
    totals_of,
)
from udpprobe.reports.text import PLAIN, Style
from udpprobe.reports.trace import TRACE_FORMATS
from udpprobe.tracing.model import Hop, Reporter


def closing(told):
    return table.closing(told, totals_of(told))


ALL = (REFUSED, TOO_BIG, LOOP, UNREACHABLE_V6, ANSWERED)


def test_a_small_table_has_one_line_per_destination():
    lines = report_table(report(REFUSED), 120).splitlines()
    assert "198.51.100.7:53  refused    12 of 14       itself      RTT 0.213 ms; 22:13:20 to 22:13:21" == lines[3]
    assert [line.rstrip() for line in lines[:3]] == [
        "destination      verdict    ICMP errors    reporter    details",
        "                            of sent",
        "---------------  ---------  -------------  ----------  ----------------------------------",
    ]


def test_a_table_of_long_addresses_stacks_them():
    assert report_table(report(UNREACHABLE_V6), 80).splitlines()[3:6] == [
        f"[{LONG_V6}]:65535  unreachable  3 of 14",
        "  by 2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff:",
        "  host-unreach; 22:13:20 to 22:13:21; MTU of 0",
    ]


@pytest.mark.parametrize("destinations", [ALL, (REFUSED,), (LOOP,), (TOO_BIG, LOOP), (UNREACHABLE_V6,)])
def test_a_table_fits_80_columns_and_breaks_no_address(destinations):
    text = report_table(report(*destinations, unmatched=[LONE]), 80)
    assert max(map(len, text.splitlines())) <= 80
    for each in destinations:
        shown = f"[{each.address}]:{each.port}" if ":" in each.address else f"{each.address}:{each.port}"
        assert shown in text.split()


def test_the_main_finding_comes_first():
    lines = report_table(report(TOO_BIG), 120).splitlines()
    assert lines[3].split() == [
        "203.0.113.9:4500",
        "too-big",
        "3",
        "of",
        "40.0k",
        "192.0.2.1",
        "MTU",
        "1400;",
        "22:13:20",
        "to",
        "22:13:21",
    ]
    assert lines[4].split()[:3] == ["expired", "33.0k", "192.0.2.254"]


def test_a_verdict_without_a_finding_has_its_own_line():
    odd = destination("10.0.0.1", 53, "answered", finding(None, (6, 100, 0), "fe80::1"), answered=3)
    lines = report_table(report(odd), 120).splitlines()
    assert lines[3].split() == ["10.0.0.1:53", "answered", "0", "of", "14", "3", "answered"]
    assert lines[4].split()[:5] == ["-", "1", "fe80::1", "unknown-response", "100/0;"]


def test_a_loop_without_any_error_names_no_reporter():
    seen = destination("10.0.0.1", 53, "loop", finding("loop", 4, None, 9, loop=Loop((), 3)))
    row = report_table(report(seen), 80).splitlines()[3].split()
    assert ["0", "of", "14", "loop", "of", "3;", "9", "rounds;"] == row[2:10]


def test_an_error_known_only_by_errno_is_not_a_loop():
    heard = destination("10.0.0.1", 53, "refused", finding("refused", 4, None, 9))
    assert report_table(report(heard), 80).splitlines()[3].split()[:5] == ["10.0.0.1:53", "refused", "9", "of", "14"]


def test_a_loop_of_several_reporters_is_described_once():
    ring = Loop(("192.0.2.1", "192.0.2.2"), 2)
    seen = destination(
        "10.0.0.1", 53, "loop", *(finding("loop", (4, 11, 0), router, loop=ring) for router in ring.routers)
    )
    assert report_table(report(seen), 120).count("loop of 2 via 192.0.2.1, 192.0.2.2") == 1


def test_a_stacked_verdict_is_not_repeated_for_each_reporter():
    seen = destination(LONG_V6, 53, "loop", *(finding("loop", (6, 3, 0), f"2001:db8::{number}") for number in range(3)))
    assert report_table(report(seen), 80).count("  loop  ") == 1


def test_a_single_reporter_is_not_named_again_as_the_router_of_a_loop():
    seen = destination("10.0.0.1", 53, "loop", finding("loop", (4, 11, 0), "192.0.2.1", loop=Loop(("192.0.2.1",), 2)))
    assert report_table(report(seen), 80).partition("What to do")[0].count("192.0.2.1") == 1


def test_an_unmatched_error_says_so():
    line = report_table(report(unmatched=[LONE]), 120).splitlines()[3]
    assert line.split() == [
        "192.0.2.77",
        "prohibited",
        "2",
        "10.9.9.9",
        "admin-prohibited;",
        "22:13:20",
        "to",
        "22:13:21;",
        "datagram",
        "not",
        "seen",
    ]


@pytest.mark.parametrize(
    ("loop", "words"),
    [
        (None, ""),
        (Loop((), None), "loop"),
        (Loop(("a", "b"), 2), "loop of 2 via a, b"),
        (Loop(tuple("abcdef"), None), "loop via a, b, c, d and 2 more"),
    ],
)
def test_a_loop_is_described_in_words(loop, words):
    assert words == loop_words(loop)


def test_an_empty_report_says_so_plainly():
    assert report_table(report(), 120) == (
        "No ICMP errors about UDP, no loops; office.pcap: 12,345 packets (Ethernet) in 12.0 s from "
        "2023-11-14 22:13:20 UTC.\n"
    )


def test_the_last_line_lists_faults_of_the_capture():
    text = closing(
        report(
            REFUSED, unmatched=[LONE], faults={"b": 2, "a": 1000}, dropped=1, cut_short=True, link_types=(113, 276, 113)
        )
    )
    assert text == (
        "office.pcap: 12,345 packets (Linux cooked, Linux cooked v2) in 12.0 s from "
        "2023-11-14 22:13:20 UTC; 2 errors had no datagram; faults: a 1,000, b 2; the capture is "
        "cut short; 1 packet dropped."
    )


def test_an_empty_capture_has_no_time():
    text = closing(report(packets=0, first_time_ns=None, last_time_ns=None, link_types=()))
    assert text == "No ICMP errors about UDP, no loops; office.pcap: 0 packets."


def test_untrusted_text_is_escaped():
    evil = replace(
        REFUSED, findings=(replace(REFUSED.findings[0], notes=("\x1b[2J",), reporter="\x07"),), notes=("\x9b",)
    )
    text = report_table(report(evil, name="\x1b]0;x", faults={"\x08": 1}), 80)
    assert all(character.isprintable() or character == "\n" for character in text)
    assert r"\x1b[2J" in text


MANY = 100_000


def many(*, kind="file", made=None, **changes):
    """A report of many refused destinations, which are counted as they are made."""
    made = [] if made is None else made

    def rows():
        for number in range(MANY):
            made.append(number)
            yield replace(REFUSED, address=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")

    return replace(report(kind=kind, **changes), destinations=LazyRows(rows, MANY)), made


def test_the_worst_of_many_destinations_are_shown_and_the_rest_counted():
    told, made = many()
    lines = report_table(told, 80).splitlines()
    assert ROWS_SHOWN == sum(line.startswith("10.0.") for line in lines)
    assert "99,000 more destinations not shown: --format json, ndjson or csv has all." in lines
    assert 2 * ROWS_SHOWN >= len(made)


def test_the_first_of_many_unmatched_errors_are_shown_and_the_rest_counted():
    text = report_table(report(*[REFUSED] * (ROWS_SHOWN + 1), unmatched=[LONE] * (ROWS_SHOWN + 2)), 200)
    assert ROWS_SHOWN == text.count("192.0.2.77  ")
    assert "\n1 more destination and 2 more unmatched errors not shown: --format" in text
    assert f"; {2 * (ROWS_SHOWN + 2):,} errors had no datagram." in text


def test_exactly_as_many_rows_as_fit_leave_no_rest():
    assert "not shown" not in report_table(report(*[REFUSED] * ROWS_SHOWN, unmatched=[LONE]), 80)


def test_findings_behind_many_healthy_destinations_are_noticed():
    odd = replace(ANSWERED, findings=(finding(None, (6, 100, 0), "fe80::1"),))
    healthy = [ANSWERED] * (ROWS_SHOWN + 1)
    assert "No ICMP errors" in report_table(report(*healthy), 80)
    assert "No ICMP errors" not in report_table(report(*healthy, odd), 80)


# ---- what to do


def advice_in(text):
    """The sentences below a table, unwrapped."""
    below = text.partition("What to do:\n")[2].partition("\n\n")[0]
    return " ".join(below.split())


def test_equal_advice_is_given_once_for_all_destinations():
    crowd = [_refused(port) for port in (7, 53, 123, 161, 500)]
    assert (
        "Nothing listens on 10.0.0.1:7, 10.0.0.1:53, 10.0.0.1:123 and 2 more: start the service or check the port."
        == advice_in(report_table(report(*crowd), 80))
    )


def test_healthy_destinations_have_no_advice():
    assert "What to do" not in report_table(report(ANSWERED), 80)


def test_advice_for_several_destinations_says_how_many():
    text = report_table(report(*[_refused(port) for port in range(1, 101)], kind="probe"), 80)
    assert "Nothing listens on 100 ports of 10.0.0.1: start the service or check the port." == advice_in(text)


@pytest.mark.parametrize("address", ["10.0.0.1", "2001:db8::1"])
@pytest.mark.parametrize(
    ("changes", "command"),
    [
        ({}, "`udpprobe trace {}`"),
        ({"verdict": "unsent", "errno": "ENETUNREACH", "meaning": None}, "`ip route get {}`"),
    ],
)
@pytest.mark.parametrize("hosts", [1, 2])
def test_advice_for_several_destinations_has_a_command_for_one_of_them(address, changes, command, hosts):
    addresses = [address, address + "7"][:hosts]
    crowd = [replace(_silent(port, each), **changes) for each in addresses for port in range(1, 101)]
    text = advice_in(report_table(report(*crowd, kind="probe"), 80))
    assert command.format(address) in text


def test_advice_about_a_reporter_names_the_reporter_only():
    told = replace(report(replace(REFUSED, port=None)), group_by="reporter")
    assert f"Nothing listens on some ports of {REFUSED.address}: start the service or check the port." == advice_in(
        report_table(told, 80)
    )
    router = replace(
        report(destination("192.0.2.9", None, "prohibited", finding("prohibited", (4, 3, 13), "192.0.2.9"))),
        group_by="reporter",
    )
    assert "Ask whoever runs 192.0.2.9 about its filter: it blocks UDP to some destinations." == advice_in(
        report_table(router, 80)
    )
    assert report_table(told, 80).startswith("reporter      verdict    ICMP errors    details")


def test_no_more_advice_is_shown_than_a_screen_holds():
    crowd = [_refused(7, f"10.0.0.{host}", reporter=f"10.9.0.{host}") for host in range(1, 30)]
    assert "9 more: --format json has `advice` in each row." in advice_in(report_table(report(*crowd), 80))


# ---- times and colours


def test_dates_are_shown_if_the_capture_spans_several_days():
    text = report_table(report(REFUSED, last_time_ns=T0_NS + 86_400 * 10**9), 120)
    assert "2023-11-14 22:13:20 to 22:13:21" in text


def test_times_are_in_the_named_zone():
    text = report_table(report(REFUSED), 120, Style(timezone(timedelta(hours=2), "CEST")))
    assert "00:13:20 to 00:13:21" in text
    assert "from 2023-11-15 00:13:20 CEST" in text
    assert "CEST" in events_table(report(), [EVENT], 160, Style(timezone(timedelta(hours=2), "CEST")))


def test_an_rtt_that_is_an_arp_timeout_says_so():
    waited = finding("unreachable", (4, 3, 1), "192.0.2.1", rtt_ms=Spread(3060, 3060, 3060))
    assert "RTT 3.06 s, an ARP timeout" in report_table(report(destination("10.0.0.1", 7, "unreachable", waited)), 120)
    quick = replace(waited, rtt_ms=Spread(1, 1, 1))
    assert "ARP" not in report_table(report(destination("10.0.0.1", 7, "unreachable", quick)), 120).partition("What")[0]


@pytest.mark.parametrize("width", [80, 120, 200])
def test_colours_change_nothing_but_the_colour(width):
    for told in (report(*ALL, unmatched=[LONE]), report(UNREACHABLE_V6)):
        text = report_table(told, width, Style(is_coloured=True))
        assert report_table(told, width) == re.sub(r"\x1b\[\d*m", "", text)
        assert "\x1b[31munreachable\x1b[0m" in text


# ---- events


def events_table(told, events, width, style=PLAIN):
    writer = EventsTable(style)
    return "".join([*(writer.add([event]) for event in events), *writer.end(told, width)])


def test_an_event_is_one_line_if_it_fits():
    assert events_table(report(), [EVENT], 160).splitlines()[2] == (
        "7        22:13:20.123456  too-big    203.0.113.9:4500  192.0.2.1   "
        "packet-too-big 3/4; MTU 1400; sent in frame 3; RTT 0.250 ms; bad checksum"
    )


def test_events_of_long_addresses_fit_80_columns_unbroken():
    text = events_table(report(), [EVENT, EVENT_V6], 80)
    assert max(map(len, text.splitlines())) <= 80
    assert f"[{LONG_V6}]:65535" in text.split()
    assert "datagram not seen" in text


def test_without_events_only_the_last_line_remains():
    assert events_table(report(), [], 200).startswith("No ICMP errors about UDP")


def test_the_first_of_many_events_are_shown():
    text = events_table(report(), [EVENT] * (ROWS_SHOWN + 2), 160)
    assert ROWS_SHOWN == text.count("22:13:20.123456")
    assert "\n2 more errors not shown: --format" in text


# ---- what there is much of, summed up


def _refused(port, address="10.0.0.1", reporter=None, **changes):
    reporter = reporter or address
    verdict = "refused" if reporter == address else "rejected"
    return destination(
        address, port, verdict, finding(verdict, (4, 3, 3), reporter, rtt_ms=Spread(1, 1, 1)), sent=1, **changes
    )


def _silent(port, address="10.0.0.1", **changes):
    return destination(address, port, "silent", sent=3, **{"meaning": "no-evidence", **changes})


def rows_of(destinations):
    """The rows alone; they stand for all destinations."""
    rows = list(summed_up(destinations))
    assert len(destinations) == sum(number for _, number in rows)
    return [row for row, _ in rows]


def _told(*destinations):
    return [(each.address, each.port, each.verdict, each.notes) for each in rows_of(destinations)]


def test_up_to_fifty_of_a_verdict_are_shown_one_by_one():
    few = [_refused(port) for port in range(1, 51)]
    assert few == rows_of(few)


def test_many_equal_ports_are_one_row_per_host():
    many = [_refused(port) for port in range(1, 41)] + [_refused(port, "10.0.0.2") for port in range(1, 41)]
    assert [
        ("10.0.0.1", None, "refused", ("40 ports: 1-40",)),
        ("10.0.0.2", None, "refused", ("40 ports: 1-40",)),
    ] == _told(*many)


def test_a_summed_up_row_counts_all_its_destinations():
    (row,) = rows_of([_refused(port) for port in range(1, 101)])
    assert (100, 140_000, 100, None) == (row.sent, row.sent_bytes, row.errors, row.rtt_ms)
    assert (100, None, "10.0.0.1") == (row.findings[0].count, row.findings[0].rtt_ms, row.findings[0].reporter)


def test_a_different_result_has_its_own_row():
    crowd = [_silent(port, meaning="listening-or-filtered") for port in range(1, 101)]
    assert [
        ("10.0.0.1", None, "silent", ("100 ports: 1-100",)),
        ("10.0.0.1", 200, "silent", ()),
        ("10.0.0.9", 7, "refused", ()),
    ] == _told(*crowd, _silent(200), _refused(7, "10.0.0.9"))


def test_different_reporters_are_not_summed_up_together():
    crowd = [_refused(port, reporter=f"192.0.2.{port % 2}") for port in range(1, 101)]
    assert [("rejected", "192.0.2.1"), ("rejected", "192.0.2.0")] == [
        (each.verdict, each.findings[0].reporter) for each in rows_of(crowd)
    ]


def test_answers_are_never_summed_up():
    answers = [destination("10.0.0.1", port, "answered", answered=1) for port in range(1, 101)]
    assert answers == rows_of(answers)


def test_many_equal_hosts_are_one_row():
    crowd = [_silent(port, f"10.0.{host}.1") for host in range(100) for port in (53, 123)]
    assert [("10.0.0.1 and 99 other hosts", None, "silent", ("2 ports: 53, 123",))] == _told(*crowd)


def test_hosts_with_one_port_each_are_one_row():
    crowd = [_refused(53, f"10.0.{host}.1") for host in range(100)]
    assert [("10.0.0.1 and 99 other hosts", None, "refused", ("1 port: 53",))] == _told(*crowd)
    assert "itself" in report_table(report(*crowd, kind="probe"), 120)


def test_notes_shared_by_all_are_kept():
    crowd = [_silent(port, notes=("probed 3 times", f"n{port}")) for port in range(1, 101)]
    assert [("10.0.0.1", None, "silent", ("100 ports: 1-100", "probed 3 times"))] == _told(*crowd)


@pytest.mark.parametrize(
    ("ports", "text"),
    [
        ([], ""),
        ([53], "53"),
        ([2, 1, 3, 7], "1-3, 7"),
        ([65535, 1], "1, 65535"),
        (range(1, 20, 2), "1, 3, 5, 7, 9, 11, 13, 15 and 2 more"),
    ],
)
def test_ports_are_shown_as_ranges(ports, text):
    assert text == ranges(ports)


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 200), st.sampled_from("rsu")),
        unique_by=lambda x: x[:2],
        max_size=300,
    )
)
def test_summing_up_loses_no_probe_and_no_error(rows):
    kinds = {"r": _refused, "s": _silent, "u": lambda port, address: _refused(port, address, "192.0.2.9")}
    all_of_them = [kinds[kind](port, f"10.0.0.{host}") for host, port, kind in rows]
    shown = rows_of(all_of_them)
    assert sum(each.sent for each in all_of_them) == sum(each.sent for each in shown)
    assert sum(each.errors for each in all_of_them) == sum(each.errors for each in shown)
    assert sum(each.errors for each in shown) == sum(found.count for each in shown for found in each.findings)


def test_the_last_line_of_a_scan_counts_destinations_and_probes():
    crowd = [_refused(port) for port in range(1, 61)]
    text = closing(report(*crowd, _silent(99), kind="probe", faults={"foreign": 2}, dropped=5))
    assert (
        "61 destinations: 60 refused, 1 silent; 63 probes in 12.0 s from 2023-11-14 22:13:20 UTC; "
        "faults: foreign 2; 5 packets dropped."
    ) == text


@pytest.mark.parametrize(
    ("drops", "text"),
    [
        (
            ReceiveDrops(Process("unbound", 812), "0.0.0.0", 53, 4102, "buffer-full"),
            "pid 812 (unbound)'s receive buffer was full: 4,102 datagrams to 0.0.0.0:53 dropped",
        ),
        (
            ReceiveDrops(Process("a\x1b", 7), "2001:db8::1", 53, 1, "buffer-full"),
            "pid 7 (a\\x1b)'s receive buffer was full: 1 datagram to [2001:db8::1]:53 dropped",
        ),
        (
            ReceiveDrops(None, "::", 53, 2, None),
            "an unknown process's socket dropped 2 datagrams to [::]:53 (a full receive buffer, bad checksums or a filter)",
        ),
    ],
)
def test_the_last_line_names_sockets_that_dropped_datagrams(drops, text):
    told = replace(report(kind="interface"), receive_drops=(drops,))
    assert closing(told).endswith(f"; {text}.")
    rest = tuple(replace(drops, port=port) for port in range(1, 9))
    assert closing(replace(told, receive_drops=rest)).endswith(
        f"; 3 more sockets dropped {3 * drops.count:,} datagrams."
    )


@pytest.mark.parametrize(
    ("reasons", "text"),
    [
        (
            [DropReason("NO_SOCKET", 5000, 12), DropReason("NETFILTER_DROP", 1000, None), DropReason("XDP", 1, None)],
            (
                "; this network namespace dropped 12 packets: 12 NO_SOCKET (no socket for it); this host (any protocol, "
                "all network namespaces) dropped 1,001 packets: 1,000 NETFILTER_DROP (a firewall rule), 1 XDP "
                "(an XDP program)."
            ),
        ),
        (
            [DropReason("UDP_CSUM", None, 1)],
            "; this network namespace dropped 1 packet: 1 UDP_CSUM (a bad UDP checksum).",
        ),
        (
            [DropReason(f"NEW_{n}", 3, None) for n in range(9)],
            "NEW_4 (a reason of the kernel), 12 for 4 other reasons.",
        ),
        ([DropReason("NO_SOCKET", 5000, 0)], "22:13:20 UTC."),
    ],
)
def test_the_last_line_says_why_packets_were_dropped(reasons, text):
    assert closing(replace(report(kind="interface"), drop_reasons=tuple(reasons))).endswith(text)


SENT = ErrorSent(
    "2001:db8:1234:5678:9abc:def0:1234:5678",
    "2001:db8::1",
    53,
    "refused",
    "port-unreach",
    6,
    1,
    4,
    1200,
    0,
    1,
    Process("a\x1b", 7),
    "a\x1b[7] is bound to the port over IPv4 only",
)
HELD_BACK = {"ipv4_host": 188, "global": 0, "ipv6_host": 2}


def test_errors_that_this_host_sent_have_their_own_table():
    told = replace(report(REFUSED, kind="interface"), errors_sent=ErrorsSent((SENT,), 3, HELD_BACK))
    text = report_table(told, 80)
    assert 80 >= max(map(len, text.splitlines()))
    for each in (SENT.to, "[2001:db8::1]:53", "1,200", "a\\x1b[7] is bound to the port"):
        assert each in text
    assert closing(told).endswith(
        "; this host sent 1,203 ICMP errors about UDP; its rate limits suppressed 190 ICMP errors: "
        "188 by net.ipv4.icmp_ratelimit, 2 by net.ipv6.icmp.ratelimit."
    )


def test_errors_that_this_host_sent_have_a_markdown_table_too():
    told = replace(report(REFUSED, kind="interface"), errors_sent=ErrorsSent((SENT,), 3, HELD_BACK))
    text = "".join(report_markdown(told))
    assert next(each.strip() for each in text.splitlines() if SENT.to in each).count("|") == 6
    assert "sent to" not in "".join(report_markdown(report(REFUSED, kind="interface")))


def test_errors_sent_are_mentioned_only_if_they_were_counted():
    told = report(kind="interface")
    assert closing(replace(told, errors_sent=ErrorsSent((), 0, {}))).endswith(
        "; this host sent no ICMP errors about UDP."
    )
    assert "this host sent" not in report_table(told, 80)


def test_the_first_of_many_rows_of_errors_sent_are_shown():
    rows = tuple(replace(SENT, port=port) for port in range(1, 100))
    text = report_table(replace(report(kind="interface"), errors_sent=ErrorsSent(rows, 0, {})), 80)
    assert "59 more rows" in text


def test_a_scan_that_was_interrupted_at_once_has_a_last_line_too():
    assert "0 destinations; 0 probes." == closing(report(kind="probe", first_time_ns=None, last_time_ns=None))


@pytest.mark.parametrize(
    ("errno", "reason"),
    [
        ("ENETUNREACH", "no route"),
        ("EPERM", "a firewall of this host"),
        ("EINVAL", "a blackhole route"),
        ("EMSGSIZE", "larger than the interface's MTU"),
        ("EACCES", "a prohibit route, or a broadcast address"),
        ("EAFNOSUPPORT", "no address of its family to send from"),
        ("EHOSTUNREACH", "an unreachable route"),
        ("EADDRNOTAVAIL", "no address of this host to send from"),
        ("ENETDOWN", "the interface is down"),
        ("ENOBUFS", "the interface's queue was full"),
        ("ENODEV", "the interface is gone"),
        ("E2BIG", ""),
    ],
)
def test_unsent_datagrams_show_errno_and_reason(errno, reason):
    told = report(destination("10.0.0.1", 53, "unsent", sent=0, errno=errno), kind="probe")
    line = " ".join(report_table(told, 120).splitlines()[3].split())
    assert f"10.0.0.1:53 unsent 0 {reason} ({errno})".replace("  (E2BIG)", " E2BIG") == line


def test_a_table_of_summed_up_rows_fits_80_columns():
    crowd = [_silent(port, LONG_V6) for port in range(1, 200, 2)] + [_refused(port) for port in range(1, 200)]
    text = report_table(report(*crowd, kind="probe"), 80)
    assert max(map(len, text.splitlines())) <= 80
    assert 100 > len(text.splitlines())


def test_a_report_of_captures_shows_every_row():
    crowd = [_refused(port) for port in range(1, 200)]
    assert 199 == report_table(report(*crowd), 80).count("10.0.0.1:") - 3  # as advice names the first three


def test_a_summed_up_row_keeps_its_zone():
    many = [_silent(port, "fe80::1", zone="eth0") for port in range(1, 100)]
    assert "fe80::1%eth0 " in report_table(report(*many, kind="probe"), 100)
    hosts = [_silent(7, f"fe80::{host:x}", zone="eth0") for host in range(1, 100)]
    assert "fe80::1%eth0 and 98 other hosts " in report_table(report(*hosts, kind="probe"), 100)


def test_a_large_scan_is_summed_up_in_one_pass():
    told, made = many(kind="probe")
    text = report_table(told, 120)
    assert list(range(MANY)) == made
    assert "10.0.0.0 and 99,999 other hosts  refused" in text
    assert "100,000 destinations: 100,000 refused; 1,400,000 probes in" in text
    assert "not shown" not in text


def test_answers_beyond_those_shown_are_counted():
    answers = [destination("10.0.0.1", port, "answered", answered=1) for port in range(ROWS_SHOWN + 5)]
    text = report_table(report(*answers, *[_silent(port) for port in range(60)], kind="probe"), 80)
    assert "65 more destinations not shown:" in text
    assert f"{ROWS_SHOWN + 65:,} destinations: {ROWS_SHOWN + 5:,} answered, 60 silent;" in " ".join(text.split())


def test_equal_hosts_are_searched_among_a_bounded_number_of_kinds(monkeypatch):
    monkeypatch.setattr(table, "_KINDS_AT_A_TIME", 60)
    crowd = [_silent(1 + host % 100, f"10.0.{host >> 8}.{host & 255}") for host in range(300)]
    rows = rows_of(crowd)
    assert 300 >= len(rows) > 100
    few = [_silent(1 + host % 59, f"10.0.{host >> 8}.{host & 255}") for host in range(300)]
    assert 59 == len(rows_of(few))


@given(
    st.lists(
        st.tuples(st.integers(1, 120), st.integers(1, 3), st.sampled_from("rsu")),
        unique_by=lambda x: x[:2],
        min_size=SHOWN_SINGLY,
        max_size=300,
    )
)
def test_summing_up_in_one_pass_gives_the_same_rows(rows):
    kinds = {"r": _refused, "s": _silent, "u": lambda port, address: _refused(port, address, "192.0.2.9")}
    found = [kinds[kind](port, f"10.0.0.{host}") for host, port, kind in sorted(rows, key=lambda row: (row[2], row))]
    for verdict, some in groupby(found, lambda each: each.verdict):
        alike = list(some)
        shown = [each for each in rows_of(found) if each.verdict == verdict]
        if len(alike) <= SHOWN_SINGLY:
            assert alike == shown
            continue
        of_host = {}
        for each in alike:
            of_host.setdefault(each.address, []).append(each.port)
        if len(of_host) <= SHOWN_SINGLY:
            assert len(of_host) == len(shown)
        else:
            assert len({tuple(ports) for ports in of_host.values()}) == len(shown)


# ---- where nothing on the link answers: what it means is told to people, the word for it to programs


NOTES = no_neighbour_notes(4, "eth0")
FOUND = report(destination("10.0.0.1", 53, "unreachable", finding("unreachable", (4, 3, 1), None, notes=NOTES)))
MEASURED = replace(MTU, verdict="unreachable", path_mtu=None, notes=NOTES)
TRACED = replace(
    TRACE,
    verdict="unreachable",
    hops=(Hop(1, (Reporter(None, 3, None, 3, 1, "host-unreach", "unreachable", None, (), (), (0,), NOTES),), 3, 0),),
)


def told(output_format):
    yield MTU_FORMATS[output_format](MEASURED, 80)
    yield TRACE_FORMATS[output_format](TRACED, 80)


@pytest.mark.parametrize("output_format", [OutputFormat.TABLE, OutputFormat.MARKDOWN])
def test_people_see_what_no_neighbour_means(output_format):
    for text in told(output_format):
        assert "no ARP (neighbour) reply on eth0" in " ".join(text.split())
        assert "no-neighbour" not in text


@pytest.mark.parametrize("output_format", [OutputFormat.JSON, OutputFormat.NDJSON, OutputFormat.CSV])
def test_programs_get_the_word_no_neighbour(output_format):
    for text in told(output_format):
        assert "no-neighbour" in text


def test_a_table_explains_no_neighbour_once():
    text = "".join(report_table(FOUND, 80))
    assert "no-neighbour" not in text
    assert "(neighbour) reply on" in text
