"""From what was heard to the report: every destination that was asked for, and how sure its silence is."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from pacing_world import START_NS
from scan_setup import HOST, OTHER_HOST, plan_of

from udpprobe.core.limiter import SECOND
from udpprobe.core.model import Destination, Finding, Spread
from udpprobe.core.scanning.outcome import comments_of, outcome, with_notes, without_origin
from udpprobe.core.scanning.pacing import Pacing, Patience
from udpprobe.core.scanning.suspects import OPEN, SILENT, UNSENT

PORTS = (53, 123, 161)
NONE = {"errno": None, "meaning": None, "sent": 1, "sent_bytes": 48, "answered": 0, "errors": 0, "rtt_ms": None,
        "findings": ()}


def finding(**fields):
    return Finding(**{
        "verdict": "refused", "errno": "ECONNREFUSED", "linux": {}, "family": 4, "icmp_type": 3, "icmp_code": 3,
        "reason": "port-unreach", "reporter": HOST[4], "count": 1, "first_time_ns": 0, "last_time_ns": 0, "mtu": None,
        "match": "exact", "rtt_ms": None, "loop": None, "notes": (), **fields})


def told(port=53, verdict="silent", address=HOST[4], **fields):
    """What the capture says: of silence always what it means, as far as the capture knows."""
    meaning = "listening-or-filtered" if verdict == "silent" else None
    return Destination(**{**NONE, "meaning": meaning, "address": address, "port": port, "verdict": verdict, **fields})


class Scan:
    """After each port was probed twice."""

    def __init__(self, *, refused=0, spoke=False, control=0):
        self.plan = plan_of(*((HOST[4], port) for port in PORTS))
        self.plan.left[:] = 2, 2, 2, control
        self.plan.left_bytes[:] = 90
        self.pacing = Pacing(self.plan, Patience(0, 2, SECOND, control=True), START_NS)
        self.pacing.state[:] = SILENT
        self.pacing.refused[0], self.pacing.spoke[0] = refused, spoke or refused > 0
        self.errnos = {}

    def report(self, *told):
        return outcome(told, self.plan, self.pacing, self.errnos)

    def of(self, *told, port=53):
        (found,) = (each for each in self.report(*told) if each.port == port)
        return found


def test_every_destination_that_was_asked_for_is_there_and_no_control_port():
    scan = Scan()
    control = told(int(scan.plan.tasks.port[3]), "refused")
    report = scan.report(told(123), control, told(53, address=OTHER_HOST[4]))
    assert {(HOST[4], port) for port in PORTS} == {(each.address, each.port) for each in report}


def test_the_most_telling_come_first():
    report = Scan().report(told(53), told(161, "answered"), told(123, "refused", errors=1))
    assert ["refused", "answered", "silent"] == [each.verdict for each in report]


def test_of_one_verdict_they_come_by_address_and_port_however_often_they_were_asked():
    scan = Scan()
    scan.plan.left[1] = 3
    assert list(PORTS) == [each.port for each in scan.report(told(161), told(123, sent=3), told(53))]


def test_sent_counts_probes_also_those_that_the_capture_missed():
    missed = Scan().of(told(sent=1))
    assert (2, 90) == (missed.sent, missed.sent_bytes)
    answered = told(verdict="answered", sent=2)
    assert answered is Scan().of(answered)
    missed = Scan().of(told(verdict="answered", sent=1))
    assert (2, 90) == (missed.sent, missed.sent_bytes)


def test_what_answered_only_when_asked_again_has_no_rtt():
    spread = Spread(1.0, 1.0, 1.0)
    scan = Scan()
    again = scan.of(told(verdict="answered", sent=2, rtt_ms=spread, notes=("before",)))
    assert (None, ("before", "asked 2 times before it answered")) == (again.rtt_ms, again.notes)
    scan.plan.left[0] = 1
    assert spread == scan.of(told(verdict="answered", sent=1, rtt_ms=spread)).rtt_ms
    scan.plan.left[0] = 2
    other = told(verdict="too-big", sent=2, errors=1, rtt_ms=spread)     # the first one's error is known to be its own
    assert spread == scan.of(other).rtt_ms


@pytest.mark.parametrize(("facts", "meaning", "note"), [
    ({"refused": 1}, "listening-or-filtered", "asked 2 times, while another port was refused"),
    ({"refused": 7}, "listening-or-filtered", "asked 2 times, while other ports were refused 7 times"),
    ({"control": 3}, "no-evidence", "asked 2 times; no closed port was refused either"),
    ({}, "no-evidence", "asked 2 times"),
    ({"spoke": True, "control": 3}, "no-evidence", "asked 2 times; no closed port was refused either"),
])
def test_silence_says_what_it_can_and_why(facts, meaning, note):
    found = Scan(**facts).of(told(notes=("before",)))
    assert (meaning, ("before", note)) == (found.meaning, found.notes)


def test_a_port_that_is_still_open_while_the_host_spoke_is_rate_limited():
    scan = Scan(refused=6)
    scan.plan.left[0] = 1
    scan.pacing.state[0] = OPEN
    found = scan.of(told())
    assert ("rate-limited", ("asked once; the host's limit on errors left no token for it",)) == (
        found.meaning, found.notes)


def test_ports_of_a_host_that_went_mute_are_rate_limited():
    scan = Scan(refused=6)
    scan.pacing.exhausted.add(0)
    assert "rate-limited" == scan.of(told()).meaning


def test_what_this_host_could_not_send_is_unsent_with_its_errno():
    scan = Scan()
    scan.pacing.state[0], scan.plan.left[0] = UNSENT, 0
    scan.errnos[0] = errno.ENETUNREACH
    found = scan.of()
    assert ("unsent", "ENETUNREACH", None, 0) == (found.verdict, found.errno, found.meaning, found.sent)


def test_what_was_never_heard_of_is_silent_without_evidence():
    found = Scan(refused=3).of()
    assert ("silent", None, "no-evidence", 2) == (found.verdict, found.errno, found.meaning, found.sent)


@pytest.mark.parametrize("seen", [(), (told(sent=2),)])
def test_who_was_asked_before_this_host_could_not_any_more_is_silent_without_evidence(seen):
    scan = Scan(refused=3)
    scan.pacing.state[0], scan.errnos[0] = UNSENT, errno.ENETUNREACH
    found = scan.of(*seen)
    assert ("silent", None, "no-evidence", 2, ("not asked again: ENETUNREACH",)) == (
        found.verdict, found.errno, found.meaning, found.sent, found.notes)


def test_the_scan_s_own_ports_are_silent_without_evidence():
    scan = Scan(refused=3)
    scan.pacing.leave_out(np.array([0]))
    scan.plan.left[0] = 0
    found = scan.of()
    assert ("silent", "no-evidence", 0, ("held by this scan itself",)) == (
        found.verdict, found.meaning, found.sent, found.notes)


def test_what_was_never_asked_because_the_scan_was_stopped_is_left_out():
    scan = Scan()
    scan.pacing.state[:2], scan.plan.left[0] = OPEN, 0
    assert {123, 161} == {each.port for each in scan.report()}


def test_notes_are_added_to_the_destinations_they_are_about():
    scan = Scan()
    report = with_notes(scan.report(told(53, notes=("one",)), told(123)), scan.plan, {0: "two"})
    assert {53: ("one", "asked 2 times", "two"), 123: ("asked 2 times",),
            161: ("not seen leaving this host",)} == {
        each.port: each.notes for each in report}


@pytest.mark.parametrize(("verdict", "reason"), [("refused", "port-unreach"), ("too-big", "port-unreach"),
                                                 ("unreachable", "dest-unreach")])
def test_an_engine_that_hears_only_an_errno_names_no_reporter_type_or_code(verdict, reason):
    (bare,) = without_origin(told(findings=(finding(verdict=verdict),))).findings
    assert (verdict, reason, None, None, None, None) == (
        bare.verdict, bare.reason, bare.reporter, bare.icmp_type, bare.icmp_code, bare.linux)


def test_comments_say_what_each_frame_s_destination_turned_out_to_be():
    scan = Scan()
    report = scan.report(told(53, meaning="no-evidence"), told(123, "refused", findings=(finding(),)))
    frames, tasks = np.array([1, 2, 3, 4]), np.array([0, 1, -1, 3])
    assert {1: "silent (no-evidence)", 2: f"refused by {HOST[4]}"} == comments_of(report, scan.plan, frames, tasks)
