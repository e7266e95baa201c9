"""Small captures that were judged wrong once, with the right answer: read where $UDPPROBE_CASES names them.

Each stands for its kind, which has tests of its own built from bytes: tests/core/test_{headers,recent,duplicates,flows}.py,
test_extensions_of.py, test_report.py and test_analyzer.py.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from udpprobe.capture.inputs import Inputs
from udpprobe.commands.analyze import AnalyzeOptions, analyze

CASES = os.environ.get("UDPPROBE_CASES")
pytestmark = pytest.mark.skipif(not CASES, reason="UDPPROBE_CASES names no folder of captures")


def told(name):
    events = []
    path = str(Path(CASES, name))
    report = analyze(Inputs.of(path), AnalyzeOptions(all_destinations=True), on_events=events.extend)
    return report, events


def verdicts(report):
    return {(each.address, each.port): each.verdict for each in report.destinations}


def test_frames_of_two_interfaces_are_put_in_order_of_time():
    report, _ = told("two-interfaces.pcapng")
    assert {("198.51.100.53", port): "refused" for port in range(1000, 1005)} == verdicts(report)
    assert not report.unmatched


def test_a_clock_that_was_set_gives_no_rtt():
    report, events = told("clock-step.pcap")
    assert [None] == [each.rtt_ms for each in report.destinations[0].findings]
    assert [("refused", None)] == [(each.verdict, each.rtt_ms) for each in events]


def test_a_bridge_shows_each_packet_once_per_interface():
    report, _ = told("any-bridge.pcap")
    assert {(3, 3)} == {(each.sent, each.errors) for each in report.destinations}


def test_a_half_computed_checksum_is_finished_and_compared():
    _, events = told("offloaded-siblings.pcap")
    assert [(1, 20.0), (2, 20.0)] == [(each.matched_frame, each.rtt_ms) for each in events]


def test_lengths_distinguish_datagrams_but_prove_nothing():
    _, events = told("lengths-tell.pcap")
    assert [(1, "flow")] == [(each.matched_frame, each.match) for each in events]


def test_a_translated_service_is_what_its_errors_are_about():
    report, _ = told("dnat-quote.pcap")
    found = {each.port: (each.verdict, each.findings[0].match, each.findings[0].mtu) for each in report.destinations}
    assert ("too-big", "rewritten", 1280) == found[53]
    assert not report.unmatched


@pytest.mark.parametrize(
    ("name", "end"), [("loose-source-route.pcap", "198.51.100.53"), ("routing-header.pcap", "2001:db8:2::53")]
)
def test_a_source_route_counts_for_its_last_address(name, end):
    report, events = told(name)
    assert {(end, 33435): "refused"} == verdicts(report)
    assert ([1], ()) == ([each.matched_frame for each in events], tuple(report.unmatched))


def test_a_record_that_was_split_counts_as_its_segments():
    report, events = told("gso.pcap")
    (found,) = report.destinations
    assert ("too-big", 9, 9, 9) == (found.verdict, found.sent, found.errors, len(events))
    assert "larger record" in found.findings[0].notes[0]


def test_an_answer_from_another_host_is_reported():
    report, _ = told("other-address.pcap")
    (found,) = (each for each in report.destinations if each.port == 53)
    assert ("192.0.2.155", "silent", "172.17.0.1") == (found.address, found.verdict, found.findings[0].reporter)
    assert "answer-from 172.17.0.1" in found.findings[0].notes[0]


def test_an_error_about_a_tunnel_is_about_the_datagram_inside():
    report, events = told("ds-lite.pcap")
    assert {("198.51.100.53", 27015): "refused", ("198.51.100.53", 27016): "too-big"} == verdicts(report)
    assert [(3, 1, None), (5, 4, 1400)] == [(each.frame, each.matched_frame, each.mtu) for each in events]
    assert "40 bytes, and 1360 remain" in events[1].notes[0]


def test_a_mapped_address_in_an_ipv6_header_stays_ipv6():
    report, events = told("mapped-reporter.pcap")
    assert {"::ffff:203.0.113.7"} == {report.destinations[0].findings[0].reporter, events[0].reporter}


@pytest.mark.parametrize("name", ["same-address-twice.pcap", "nat64-trace.pcap"])
def test_a_traceroute_is_not_a_loop(name):
    report, events = told(name)
    assert "refused" == report.destinations[0].verdict
    assert "loop" not in {each.verdict for each in events}


@pytest.mark.parametrize(("name", "labels"), [("mpls-at-128-v4.pcap", [416240]), ("mpls-at-128-v6.pcap", [27121, 2])])
def test_extensions_are_found_at_128_bytes_whatever_is_declared(name, labels):
    _, (event,) = told(name)
    assert labels == [entry["label"] for each in event.extensions for entry in each["mpls"]]


@pytest.mark.parametrize(
    ("name", "verdict", "sent"), [("middle.pcap", "answered", 2), ("middle-refused.pcap", "refused", 3)]
)
def test_the_client_is_known_if_a_capture_begins_with_an_answer(name, verdict, sent):
    report, _ = told(name)
    assert [("198.51.100.53", 53, verdict, sent)] == [
        (each.address, each.port, each.verdict, each.sent) for each in report.destinations
    ]


def test_a_quote_that_ends_after_the_source_port_is_matched_by_its_id():
    report, events = told("snap-64.pcap")
    assert {("198.51.100.53", 53): "refused"} == verdicts(report)
    assert ["exact"] == [each.match for each in events]


@pytest.mark.parametrize(
    ("name", "ports"),
    [
        ("null-ethertype", {53}),
        ("erspan", {1001, 1002, 1003}),
        ("link-radiotap", {53}),
        ("link-pflog", {53}),
        ("link-pktap", {53}),
    ],
)
def test_rare_links_and_tunnels_are_entered(name, ports):
    report, _ = told(f"{name}.pcap")
    found = {each.port: each.verdict for each in report.destinations if each.findings}
    assert (dict.fromkeys(ports, "refused"), ()) == (found, tuple(report.unmatched))
    assert {} == report.faults
    assert ({4, 6} if name == "null-ethertype" else {4}) == {
        finding.family for each in report.destinations for finding in each.findings
    }
