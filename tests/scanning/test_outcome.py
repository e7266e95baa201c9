"""From what was heard to the report: every destination that was asked for, and how sure its silence is."""

from __future__ import annotations

import errno

import pytest
from msgspec.structs import replace
from scan_setup import HOST, MS, START_NS, halves, plan_of

from udpprobe.core.model import Spread
from udpprobe.scanning.outcome import Known, comments_of, outcome
from udpprobe.scanning.pacing import Pacing, Patience
from udpprobe.scanning.record import Kind, ScanRecord
from udpprobe.scanning.unanswered import LIMITED, SILENT, UNDECIDED, UNSENT

PORTS = (53, 123, 161)
SECOND = 1000 * MS


def kind(icmp_type=3, icmp_code=3, reporter=HOST[4], mtu=-1):
    return Kind(4, icmp_type, icmp_code, halves(reporter), mtu)


class Scan:
    """After each port was probed twice."""

    def __init__(self, *, refusals=0, spoke=False, control=0, ports=PORTS, ttl=64):
        self.plan = plan_of(*((HOST[4], port) for port in ports), ttl=ttl)
        for task in range(len(ports)):
            self.plan.sent[task], self.plan.sent_bytes[task], self.plan.attempts[task] = 2, 90, 2
        self.plan.sent[len(ports)] = control
        self.pacing, self.record = (
            Pacing(self.plan, Patience(0, 2, SECOND, control=True), START_NS),
            ScanRecord(self.plan),
        )
        for task in range(len(ports)):
            self.pacing.state[task] = SILENT
        self.pacing.refusal_count[0], self.pacing.drew_error[0] = refusals, spoke or refusals > 0
        self.send_errnos = {}
        self.known = Known(self.plan, self.pacing, self.record, self.send_errnos)
        self.record.is_seen[:] = b"\1" * len(self.plan)

    def error(self, task=0, *, sent_ns=0, time_ns=9 * MS, **fields):
        self.record.error(task, kind(**fields), time_ns, sent_ns=sent_ns, length=48)

    def told(self, **fields):
        return outcome(replace(self.known, **fields))

    def of(self, task=0, **fields):
        return self.told(**fields)[task]


def test_every_requested_destination_is_reported_and_no_control_port():
    scan = Scan()
    scan.error(3)
    assert {0: 53, 1: 123, 2: 161} == {task: each.port for task, each in scan.told().items()}
    assert {HOST[4]} == {each.address for each in scan.told().values()}


def test_the_most_significant_come_first():
    scan = Scan()
    scan.record.answer(2, 0, b"")
    scan.error(1)
    assert [(123, "refused", "ECONNREFUSED"), (161, "answered", None), (53, "silent", None)] == [
        (each.port, each.verdict, each.errno) for each in scan.told().values()
    ]


def test_within_a_verdict_destinations_are_sorted_by_address_and_port():
    scan = Scan(ports=(161, 53, 123))
    scan.plan.sent[1] = 3
    assert list(PORTS) == [each.port for each in scan.told().values()]


def test_sent_counts_departed_probes_and_at_most_as_many_answers():
    scan = Scan()
    for time_ns in range(4):
        scan.record.answer(0, time_ns * SECOND, b"", identity=time_ns + 1)
    told = scan.of()
    assert ("answered", 2, 90, 2) == (told.verdict, told.sent, told.sent_bytes, told.answered)


def answered_after(scan, rtt_ns, task=0):
    scan.plan.next_attempt(task, START_NS)
    scan.record.answer(task, START_NS + rtt_ns, b"")


def test_an_answer_to_a_retry_has_no_rtt():
    scan = Scan()
    answered_after(scan, MS)
    assert (None, ("probed 2 times before it answered",)) == (scan.of().rtt_ms, scan.of().notes)
    scan.plan.sent[0] = 1
    assert Spread(1.0, 1.0, 1.0) == scan.of().rtt_ms
    scan.plan.sent[0] = 2
    scan.error(icmp_type=3, icmp_code=4, mtu=1400)  # the first one's error is known to be its own
    assert ("answered", 1, Spread(1.0, 1.0, 1.0)) == (scan.of().verdict, scan.of().errors, scan.of().rtt_ms)


@pytest.mark.parametrize(
    "fields",
    [
        {"icmp_code": 13, "reporter": "203.0.113.1"},
        {"reporter": "203.0.113.1"},
        {"icmp_type": 11, "icmp_code": 0, "reporter": "203.0.113.1"},
    ],
)
def test_an_answer_wins_over_errors_of_other_addresses(fields):
    scan = Scan()
    scan.error(**fields)
    assert "answered" != scan.of().verdict
    answered_after(scan, MS)
    assert ("answered", 1) == (scan.of().verdict, len(scan.of().findings))


@pytest.mark.parametrize(("refused_ns", "verdict"), [(2, "refused"), (9, "answered")])
def test_the_first_of_an_answer_and_a_refusal_counts(refused_ns, verdict):
    scan = Scan()
    scan.record.answer(0, 5, b"")
    scan.error(time_ns=refused_ns)
    assert verdict == scan.of().verdict


def test_rtts_of_answers_have_a_spread():
    scan = Scan()
    for rtt_ns in (3 * MS, MS, 2 * MS):
        answered_after(scan, rtt_ns)
    scan.record.answer(0, START_NS + 9 * SECOND, b"")  # nobody asked again
    scan.plan.sent[0] = 1
    assert Spread(1.0, 2.0, 3.0) == scan.of().rtt_ms


@pytest.mark.parametrize(
    ("facts", "meaning", "note"),
    [
        ({"refusals": 1}, "listening-or-filtered", "probed 2 times, while another port was refused"),
        ({"refusals": 7}, "listening-or-filtered", "probed 2 times, while other ports were refused 7 times"),
        ({"control": 3}, "no-evidence", "probed 2 times; no reply; host down or filtered"),
        ({}, "no-evidence", "probed 2 times"),
        (
            {"spoke": True, "control": 3},
            "no-evidence",
            "probed 2 times; no reply, and no closed port of this host was refused",
        ),
    ],
)
def test_silence_has_a_meaning_and_the_reason_for_it(facts, meaning, note):
    found = Scan(**facts).of()
    assert (meaning, (note,)) == (found.meaning, found.notes)


def test_a_silent_port_of_an_answering_host_is_not_blamed_on_a_down_host():
    scan = Scan(control=3)
    scan.known.hosts_by_answers[0] = frozenset({0})
    found = scan.of()
    assert (
        "no-evidence",
        ("probed 2 times; no closed port was refused, though another port of this host answers",),
    ) == (
        found.meaning,
        found.notes,
    )
    assert "it is up, but its ICMP errors do not arrive" in found.advice


def test_an_undecided_port_of_a_responding_host_is_rate_limited():
    scan = Scan(refusals=6)
    scan.plan.sent[0] = 1
    scan.pacing.state[0] = UNDECIDED
    found = scan.of()
    assert ("rate-limited", ("probed once; undecided: the host's ICMP rate limit was used up",)) == (
        found.meaning,
        found.notes,
    )


def test_ports_of_a_host_that_fell_silent_are_rate_limited():
    scan = Scan(refusals=6)
    scan.pacing.state[0] = LIMITED
    assert "rate-limited" == scan.of().meaning


def test_if_all_errors_are_about_other_traffic_ports_are_rate_limited():
    scan = Scan(control=3)
    scan.pacing.others[0] = 5
    assert "rate-limited" == scan.of().meaning
    scan.pacing.drew_error[0], scan.pacing.refusal_count[0] = 1, 2  # to the scan, too
    assert "listening-or-filtered" == scan.of().meaning


def test_a_destination_this_host_could_not_send_to_is_unsent_with_its_errno():
    scan = Scan()
    scan.pacing.state[0], scan.plan.sent[0] = UNSENT, 0
    scan.send_errnos[0] = errno.ENETUNREACH
    found = scan.of()
    assert ("unsent", "ENETUNREACH", None, 0) == (found.verdict, found.errno, found.meaning, found.sent)


def test_a_probe_not_seen_leaving_is_silent_without_evidence():
    scan = Scan(refusals=3)
    scan.record.is_seen[0] = 0
    found = scan.of()
    assert ("silent", None, "no-evidence", 2, ("not seen leaving this host",)) == (
        found.verdict,
        found.errno,
        found.meaning,
        found.sent,
        found.notes,
    )


@pytest.mark.parametrize("seen", [0, 1])
def test_a_port_probed_before_sending_failed_is_silent_without_evidence(seen):
    scan = Scan(refusals=3)
    scan.record.is_seen[0] = seen
    scan.pacing.state[0], scan.send_errnos[0] = UNSENT, errno.ENETUNREACH
    found = scan.of()
    assert ("silent", None, "no-evidence", 2, ("not probed again: ENETUNREACH",)) == (
        found.verdict,
        found.errno,
        found.meaning,
        found.sent,
        found.notes,
    )


def test_the_scan_s_own_ports_are_silent_without_evidence():
    scan = Scan(refusals=3)
    scan.pacing.leave_out([0])
    scan.plan.sent[0] = scan.record.is_seen[0] = 0
    found = scan.of()
    assert ("silent", "no-evidence", 0, ("held by this scan itself",)) == (
        found.verdict,
        found.meaning,
        found.sent,
        found.notes,
    )


def test_destinations_never_probed_before_a_stop_are_left_out():
    scan = Scan()
    scan.pacing.state[0] = scan.pacing.state[1] = UNDECIDED
    scan.plan.sent[0] = 0
    assert {1, 2} == set(scan.told())


def test_notes_are_added_to_the_destinations_they_are_about():
    scan = Scan()
    notes = [{0: "two", 9: "of a control port"}, {0: "three", 1: "four"}]
    assert [("probed 2 times", "two", "three"), ("probed 2 times", "four"), ("probed 2 times",)] == [
        scan.of(task, notes=notes).notes for task in range(3)
    ]


# ---- findings


def test_equal_errors_are_counted_together_and_the_worst_comes_first():
    scan = Scan()
    for time_ns, sent_ns in ((5 * MS, 4 * MS), (9 * MS, 6 * MS)):
        scan.error(time_ns=time_ns, sent_ns=sent_ns, icmp_code=13, reporter="203.0.113.1")
    for reporter in ("203.0.113.9", "203.0.113.8"):
        scan.error(icmp_code=3, reporter=reporter)
    scan.error(icmp_code=3)
    told = scan.of()
    assert ("refused", 5, 90) == (told.verdict, told.errors, told.sent_bytes)
    assert [
        ("refused", HOST[4], 1),
        ("rejected", "203.0.113.8", 1),
        ("rejected", "203.0.113.9", 1),
        ("prohibited", "203.0.113.1", 2),
    ] == [(each.verdict, each.reporter, each.count) for each in told.findings]
    last = told.findings[-1]
    assert (5 * MS, 9 * MS, Spread(1.0, 2.0, 3.0), None) == (
        last.first_time_ns,
        last.last_time_ns,
        last.rtt_ms,
        last.mtu,
    )


@pytest.mark.parametrize(("ttl", "verdict"), [(31, "expired"), (32, "loop")])
def test_an_expired_high_ttl_is_a_loop(ttl, verdict):
    scan = Scan(ttl=ttl)
    for time_ns, reporter in ((9, "203.0.113.1"), (5, "203.0.113.2")):
        scan.error(icmp_type=11, icmp_code=0, reporter=reporter, time_ns=time_ns)
    told = scan.of()
    assert verdict == told.verdict
    loops = [each.loop and (each.loop.routers, each.loop.period) for each in told.findings]
    assert [(("203.0.113.2", "203.0.113.1"), None) if verdict == "loop" else None] * 2 == loops


def test_failed_reassembly_is_not_a_loop():
    scan = Scan()
    scan.error(icmp_type=11, icmp_code=1)
    assert "reassembly" == scan.of().verdict


@pytest.mark.parametrize(
    ("fields", "verdict", "reason"),
    [
        ({}, "refused", "port-unreach"),
        ({"icmp_code": 4, "mtu": 20}, "too-big", "packet-too-big"),
        ({"icmp_code": 9}, "prohibited", "dest-unreach"),
    ],
)
def test_an_engine_with_only_an_errno_names_no_reporter_type_or_code(fields, verdict, reason):
    scan = Scan()
    scan.error(**fields)
    told = scan.of(tells_origin=False)
    (bare,) = told.findings
    assert (verdict, reason, None, None, None, None) == (
        bare.verdict,
        bare.reason,
        bare.reporter,
        bare.icmp_type,
        bare.icmp_code,
        bare.linux,
    )
    assert 1 == told.errors


def test_comments_give_the_verdict_of_each_frames_destination():
    scan = Scan()
    scan.error(1)
    frames = [(1, 0), (2, 1), (3, -1), (4, 3)]
    assert {1: "silent (no-evidence)", 2: f"refused by {HOST[4]}"} == comments_of(scan.told(), frames)


def test_an_error_about_a_group_address_is_rejected_with_a_note():
    plan = plan_of(("224.0.0.251", 5353))
    record = ScanRecord(plan)
    record.error(0, kind(), 9 * MS, sent_ns=0, length=48)
    pacing = Pacing(plan, Patience(0, 2, SECOND, control=True), START_NS)
    pacing.state[0] = SILENT
    told = outcome(Known(plan, pacing, record, {}))[0]
    assert ("rejected", ("group-member",)) == (told.verdict, told.findings[0].notes)
