from dataclasses import replace

import pytest
from samples import (
    ANSWERED,
    LONE,
    LONG_V6,
    LOOP,
    REFUSED,
    TOO_BIG,
    UNREACHABLE_V6,
    destination,
    finding,
    report,
)

from udpprobe.core.model import Loop
from udpprobe.reports.table import closing, loop_words, report_markdown, report_table

ALL = (REFUSED, TOO_BIG, LOOP, UNREACHABLE_V6, ANSWERED)


def test_a_small_table_has_a_line_a_destination():
    assert report_table(report(REFUSED), 80).splitlines()[:3] == [
        "destination      verdict    errno         errors    by      details",
        "---------------  ---------  ------------  --------  ------  ------------",
        "198.51.100.7:53  refused    ECONNREFUSED  12 of 14  itself  RTT 0.213 ms",
    ]


def test_a_table_of_long_addresses_stacks_them():
    assert report_table(report(UNREACHABLE_V6), 80).splitlines()[2:5] == [
        f"[{LONG_V6}]:65535  unreachable   3 of 14",
        "  by 2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff:    EHOSTUNREACH",
        "  host-unreach; MTU of 0",
    ]


@pytest.mark.parametrize("destinations", [ALL, (REFUSED,), (LOOP,), (TOO_BIG, LOOP), (UNREACHABLE_V6,)])
def test_a_table_fits_80_columns_and_breaks_no_address(destinations):
    text = report_table(report(*destinations, unmatched=[LONE]), 80)
    assert max(map(len, text.splitlines())) <= 80
    for each in destinations:
        shown = f"[{each.address}]:{each.port}" if ":" in each.address else f"{each.address}:{each.port}"
        assert shown in text.split()


def test_the_main_finding_stands_first_and_the_others_below_it():
    lines = report_table(report(TOO_BIG), 120).splitlines()
    assert lines[2].split() == ["203.0.113.9:4500", "too-big", "EMSGSIZE", "3", "of", "40.0k", "192.0.2.1",
                                "MTU", "1400"]
    assert lines[3].split() == ["expired", "EHOSTUNREACH", "33.0k", "192.0.2.254"]


def test_a_verdict_that_no_finding_gives_has_its_own_line():
    odd = destination("10.0.0.1", 53, "answered", finding(None, (6, 100, 0), "fe80::1"), answered=3)
    lines = report_table(report(odd), 120).splitlines()
    assert lines[2].split() == ["10.0.0.1:53", "answered", "-", "0", "of", "14", "3", "answered"]
    assert lines[3].split() == ["-", "-", "1", "fe80::1", "unknown-response", "100/0"]


def test_a_loop_without_any_error_names_no_reporter():
    seen = destination("10.0.0.1", 53, "loop", finding("loop", 4, None, 9, loop=Loop((), 3)))
    assert "0 of 14         loop of 3; 9 rounds" in report_table(report(seen), 80)


def test_an_error_of_which_only_the_errno_is_known_is_no_loop():
    heard = destination("10.0.0.1", 53, "refused", finding("refused", 4, None, 9))
    assert report_table(report(heard), 80).splitlines()[2].split() == [
        "10.0.0.1:53", "refused", "ECONNREFUSED", "9", "of", "14"]


def test_a_loop_of_several_reporters_is_told_once():
    ring = Loop(("192.0.2.1", "192.0.2.2"), 2)
    seen = destination("10.0.0.1", 53, "loop", *(finding("loop", (4, 11, 0), router, loop=ring)
                                                 for router in ring.routers))
    assert report_table(report(seen), 120).count("loop of 2 via 192.0.2.1, 192.0.2.2") == 1


def test_a_stacked_verdict_is_not_repeated_for_each_reporter():
    seen = destination(LONG_V6, 53, "loop", *(finding("loop", (6, 3, 0), f"2001:db8::{number}")
                                              for number in range(3)))
    assert report_table(report(seen), 80).count("EHOSTUNREACH") == 1


def test_a_lone_reporter_is_not_named_again_as_the_loop_s_router():
    seen = destination("10.0.0.1", 53, "loop", finding("loop", (4, 11, 0), "192.0.2.1",
                                                       loop=Loop(("192.0.2.1",), 2)))
    assert report_table(report(seen), 80).count("192.0.2.1") == 1


def test_an_unmatched_error_says_so():
    line = report_table(report(unmatched=[LONE]), 120).splitlines()[2]
    assert line.split() == ["192.0.2.77", "prohibited", "EHOSTUNREACH", "2", "10.9.9.9", "admin-prohibited;",
                            "datagram", "not", "seen"]


def test_markdown_has_the_same_rows():
    text = report_markdown(report(REFUSED, LOOP), 80)
    assert "| 198.51.100.7:53     | refused   | ECONNREFUSED | 12 of 14 |" in text
    assert "loop of 2 via 192.0.2.1, 192.0.2.2" in text
    assert text.endswith("UTC.\n")


@pytest.mark.parametrize(("loop", "words"), [
    (None, ""), (Loop((), None), "loop"), (Loop(("a", "b"), 2), "loop of 2 via a, b"),
    (Loop(tuple("abcdef"), None), "loop via a, b, c, d and 2 more"),
])
def test_a_loop_is_told_in_words(loop, words):
    assert words == loop_words(loop)


def test_nothing_found_is_said_plainly():
    assert report_table(report(), 120) == (
        "No ICMP errors about UDP, no loops; office.pcap: 12,345 packets (Ethernet) in 12.0 s from "
        "2023-11-14 22:13:20 UTC.\n")


def test_the_last_line_tells_what_was_wrong_with_the_capture():
    text = closing(report(REFUSED, unmatched=[LONE], faults={"b": 2, "a": 1000}, dropped=1, cut_short=True,
                          link_types=(113, 276, 113)))
    assert text == ("office.pcap: 12,345 packets (Linux cooked, Linux cooked v2) in 12.0 s from "
                    "2023-11-14 22:13:20 UTC; 2 errors had no datagram; faults: a 1,000, b 2; the capture is "
                    "cut short; 1 packet dropped.")


def test_an_empty_capture_has_no_time():
    text = closing(report(packets=0, first_time_ns=None, last_time_ns=None, link_types=()))
    assert text == "No ICMP errors about UDP, no loops; office.pcap: 0 packets."


def test_foreign_text_is_escaped_in_table_and_markdown():
    evil = replace(REFUSED, findings=(replace(REFUSED.findings[0], notes=("\x1b[2J",), reporter="\x07"),),
                   notes=("\x9b",))
    for write in (report_table, report_markdown):
        text = write(report(evil, name="\x1b]0;x", faults={"\x08": 1}), 80)
        assert all(character.isprintable() or character == "\n" for character in text)
        assert r"\x1b[2J" in text
