"""What may enter a scan's report: its probes, what answers them, and errors that prove themselves."""

from __future__ import annotations

import builders as b
import pytest
from following import MS
from msgspec.structs import replace
from scan_setup import (
    ANSWER,
    BARE,
    BELIEVED,
    EMPTY,
    ERROR,
    HEADER,
    HOST,
    LONG,
    NOT_BELIEVED,
    OTHER_HOST,
    OWN,
    OWN_PORT,
    PORT,
    REFUSAL,
    SHORT_TOKEN,
    WHOLE_TOKEN,
    Scan,
    answer,
    halves,
    other_traffic,
    plan_of,
    with_proof,
    with_udp,
    wrong_proof,
)

from udpprobe.endpoints import endpoint_text
from udpprobe.scanning.outcome import outcome
from udpprobe.scanning.record import Answer, Error, ProbeSent
from udpprobe.scanning.replies import AT_PORT_0, NO_TASK
from udpprobe.scanning.streaming import event_of

ROUTER = {4: "203.0.113.1", 6: "2001:db8:ff::1"}
FAMILIES = pytest.mark.parametrize("family", [4, 6])


# ---- datagrams


def known(_task, data):
    return data == b"answer"


@FAMILIES
def test_a_departing_probe_is_recognised(family):
    scan = Scan(family)
    probe = scan.send(source=1)
    assert [] == scan.receive(probe)
    assert ([0], True) == (scan.tasks, bool(scan.record.is_seen[0]))
    assert scan.now_ns == scan.plan.sent_ns(0)


@FAMILIES
def test_an_answer_is_recognised_in_a_scan(family):
    scan = Scan(family)
    assert [(ANSWER, 0)] == scan.receive(scan.send(), answer(family))
    assert ([0, 0], {0: b"answer"}, [MS]) == (scan.tasks, scan.record.answers, scan.record.rtts_ns(0))


@FAMILIES
def test_an_answer_from_another_port_belongs_to_the_only_waiting_port(family):
    scan = Scan(family, ports=(PORT, 53, 69), recognises=known)
    probes = [scan.send(task) for task in range(3)]
    scan.receive(*probes, b.port_unreachable(probes[0]), answer(family, sport=53))
    assert [(ANSWER, 2)] == scan.receive(answer(family, sport=50_000))
    assert {2: 50_000} == scan.replies.other_ports
    assert [1, 2] == scan.tasks[4:]
    told = outcome(scan.known)[2]
    assert ("answered", 1, ()) == (told.verdict, told.answered, told.notes)


def test_an_answer_from_another_port_is_unassigned_if_several_wait():
    scan = Scan(ports=(PORT, 53))
    scan.receive(scan.send(0), scan.send(1))
    assert [] == scan.receive(answer(sport=50_000))
    assert ([0, 1, AT_PORT_0 - OWN_PORT], {}) == (scan.tasks, scan.replies.other_ports)
    assert NO_TASK == scan.replies.only_task_at(OWN_PORT)


def source_ports_of(scan):
    return list(scan.plan.source_port[: scan.plan.requested_count])


def test_an_answer_from_another_port_is_assigned_by_its_destination_port():
    scan = Scan(ports=(PORT, 53, 69), source_ports=3, recognises=known)
    scan.receive(*map(scan.send, range(3)))
    _, second, third = source_ports_of(scan)
    assert [(ANSWER, 1)] == scan.receive(answer(sport=50_000, dport=second))
    assert [(ANSWER, 2)] == scan.receive(answer(sport=PORT, dport=third))
    assert {1: 50_000, 2: PORT} == scan.replies.other_ports


def test_another_port_keeps_answering_the_same_task():
    scan = Scan(ports=(PORT, 53), recognises=known)
    scan.receive(scan.send(0))
    scan.receive(answer(sport=50_000))
    scan.receive(scan.send(1))
    assert [(ANSWER, 0)] == scan.receive(answer(sport=50_000))


def test_a_datagram_between_the_scans_own_ports_is_a_probe():
    here = OWN[4][0]
    plan = plan_of((here, PORT), (here, OWN_PORT + 1), source_ports=2)
    scan = Scan(plan=plan)
    own = plan.source_port[0]
    other = OWN_PORT if own > OWN_PORT else OWN_PORT + 1
    scan.receive(b.datagram(here, here, own, OWN_PORT + 1, b"probe"))
    assert [(ANSWER, 0)] == scan.receive(b.datagram(here, here, PORT, own, b"answer"))
    assert ([1, 0], {}) == (scan.tasks, scan.replies.other_ports)
    assert [] == scan.receive(b.datagram(here, here, PORT, other, b"elsewhere"))


def test_an_answer_from_a_port_number_used_by_the_scan_is_an_answer():
    scan = Scan(ports=(OWN_PORT + 1, PORT), source_ports=2)
    scan.receive(scan.send())
    assert [(ANSWER, 0)] == scan.receive(answer(sport=OWN_PORT + 1, dport=source_ports_of(scan)[0]))


@pytest.mark.parametrize(
    "packet",
    [
        other_traffic(sport=40_001),
        other_traffic(dport=1),
        other_traffic(source="192.0.2.99"),
        answer(dport=40_001),
        answer(to="192.0.2.99"),
        b"",
        b"\x45",
    ],
)
def test_foreign_datagrams_do_not_enter_the_report(packet):
    scan = Scan()
    assert [] == scan.receive(packet)
    assert ([NO_TASK], {}) == (scan.tasks, scan.record.answers)


def test_the_task_of_each_frame_is_known():
    scan = Scan(ports=(PORT, 53))
    probe = scan.send(1)
    scan.receive(scan.send(), probe, other_traffic(dport=1), b.port_unreachable(probe))
    assert [0, 1, NO_TASK, 1] == scan.tasks


# ---- the same packet again


@FAMILIES
def test_an_answer_captured_on_two_interfaces_counts_once(family):
    scan = Scan(family)
    scan.receive(scan.send(), scan.send())
    assert [(ANSWER, 0)] == scan.receive(answer(family), answer(family), apart_ns=1000)
    ttl = {"ttl": 63} if family == 4 else {"hop_limit": 63}
    assert [] == scan.receive(answer(family, **ttl))  # a router, which captures too, passed it on
    assert 1 == outcome(scan.known)[0].answered


def test_two_answers_to_two_probes_count_and_further_ones_do_not():
    scan = Scan()
    assert [(ANSWER, 0)] * 2 == scan.receive(scan.send(), answer(), scan.send(), answer(data=b"2"))
    assert [(ANSWER, 0)] == scan.receive(answer(data=b"3"))
    assert 2 == outcome(scan.known)[0].answered


@FAMILIES
def test_an_error_on_two_interfaces_counts_once(family):
    scan = Scan(family)
    probe = scan.send()
    error = b.port_unreachable(probe)
    scan.receive(probe)
    assert [(REFUSAL, 0, 0, 0)] == scan.receive(error, error, apart_ns=1000)
    assert [1] == [each.count for each in outcome(scan.known)[0].findings]
    assert [(), ("captured before: a copy of the same error",)] == [
        event_of(scan.known, each).notes for each in scan.errors
    ]


def test_a_returning_probe_with_falling_ttls_is_in_a_loop():
    scan = Scan()
    probe = scan.send()
    for ttl in (64, 63, 61, 62, 60, 59, 58):
        scan.receive(b.forwarded(probe, 64 - ttl), link=1 + ttl % 2)
    (finding,) = outcome(scan.known)[0].findings
    assert ("loop", None, 2, 4) == (finding.verdict, finding.reporter, finding.loop.period, finding.count)
    assert "seen looping" in finding.notes[0]
    assert MS == scan.plan.sent_ns(0) - scan.now_ns + scan.frames * MS  # it left once


def test_a_probe_forwarded_by_this_host_is_not_in_a_loop():
    scan = Scan()
    probe = scan.send()
    for ttl in (64, 63, 62):
        scan.receive(b.forwarded(probe, 64 - ttl), link=ttl)
    assert [] == list(scan.record.loops)


# ---- errors that are believed


@FAMILIES
@pytest.mark.parametrize("payload", [WHOLE_TOKEN, BARE, SHORT_TOKEN, EMPTY, LONG])
@pytest.mark.parametrize("size", [0, 300])
def test_a_refusal_is_believed_whatever_the_payload(family, payload, size):
    scan = Scan(family, payload, size=size)
    assert BELIEVED == scan.hear_error(scan.send())


@FAMILIES
@pytest.mark.parametrize("payload", [WHOLE_TOKEN, BARE, EMPTY])
def test_8_bytes_of_udp_are_enough(family, payload):
    scan = Scan(family, payload)
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=probe[: HEADER[family]])


@FAMILIES
def test_an_error_of_a_router_is_not_a_refusal(family):
    scan = Scan(family)
    assert [(ERROR, 0, 0, 0)] == scan.receive(b.port_unreachable(scan.send(), reporter=ROUTER[family]))
    assert [(ERROR, 0, 0, 1)] == scan.receive(b.time_exceeded(scan.send(), ROUTER[family]))


@FAMILIES
def test_only_port_unreachable_of_the_host_is_a_refusal(family):
    scan = Scan(family)
    kind = (3, 13) if family == 4 else (1, 1)
    assert [(ERROR, 0, 0, 0)] == scan.receive(b.error(scan.send(), *kind))


@FAMILIES
def test_an_error_about_an_earlier_attempt_names_the_attempt(family):
    scan = Scan(family)
    packets = [scan.send(source=1) for _ in range(3)]
    assert [(REFUSAL, 0, 1, n) for n in (2, 0, 1)] == [
        scan.receive(b.port_unreachable(packets[n]))[0] for n in (2, 0, 1)
    ]
    assert 0 == scan.replies.foreign


def test_an_error_about_a_control_port_is_believed():
    scan = Scan()
    assert ([(REFUSAL, 1, 0, 0)], 0) == scan.hear_error(scan.send(1))


def test_a_byte_swapped_id_is_believed():
    scan = Scan()
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=probe[:4] + probe[5:3:-1] + probe[6:])


@FAMILIES
def test_a_quote_with_a_lower_ttl_is_believed(family):
    scan = Scan(family)
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=b.forwarded(probe, 63))


def with_source(packet, address):
    at = 8 if b.family_of(packet) == 6 else 12
    source = b.packed(address)
    return packet[:at] + source + packet[at + len(source) :]


@FAMILIES
def test_a_source_that_a_nat_changed_in_the_quote_is_believed(family):
    scan = Scan(family)
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=with_source(probe, ROUTER[family]))


@FAMILIES
def test_a_quoted_port_changed_by_a_nat_is_believed_thanks_to_the_id(family):
    scan = Scan(family)
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=with_udp(probe, 0, b"\xee\xee"))


@FAMILIES
def test_a_token_in_the_payload_makes_up_for_a_wrong_checksum(family):
    scan = Scan(family)
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=with_udp(probe, 6, b"\0\0"))


@FAMILIES
@pytest.mark.parametrize(
    "rewritten",
    [
        lambda probe: with_udp(probe, 0, b"\xee\xee")[: HEADER[b.family_of(probe)]],
        lambda probe: with_udp(probe, 6, b"\0\0"),
    ],
)
def test_weak_evidence_is_believed_once_another_probe_draws_the_same_error(family, rewritten):
    scan = Scan(family, payload=SHORT_TOKEN)
    first, second = scan.send(), scan.send()
    assert [] == scan.hear_error(first, quote=rewritten(first))[0]
    assert ([(REFUSAL, 0, 0, 1)], 0) == scan.hear_error(second, quote=rewritten(second))


def test_an_error_doubted_to_the_end_is_foreign():
    scan = Scan(payload=SHORT_TOKEN)
    probe = scan.send()
    assert NOT_BELIEVED == scan.hear_error(probe, quote=with_udp(probe, 6, b"\0\0"))


@FAMILIES
def test_a_whole_token_in_the_payload_makes_up_for_any_id(family):
    scan = Scan(family)
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=wrong_proof(probe))


@FAMILIES
def test_a_believed_error_is_an_exact_match_with_frame_and_rtt(family):
    scan = Scan(family)
    probe = scan.send()
    scan.receive(probe, b.port_unreachable(probe))
    event = event_of(scan.known, scan.errors[0])
    assert ("exact", 1, 2, 1.0, "refused") == (
        event.match,
        event.matched_frame,
        event.frame,
        event.rtt_ms,
        event.verdict,
    )
    assert (OWN[family][0], OWN_PORT, HOST[family], PORT, len(probe)) == (
        event.quoted.source,
        event.quoted.source_port,
        event.quoted.destination,
        event.quoted.destination_port,
        event.quoted.bytes,
    )
    (finding,) = outcome(scan.known)[0].findings
    assert ("exact", 1.0, 1.0) == (finding.match, finding.rtt_ms.min, finding.rtt_ms.median)


@FAMILIES
def test_changes_by_a_nat_are_noted(family):
    scan = Scan(family)
    probe = scan.send()
    scan.receive(probe)
    scan.hear_error(probe, quote=with_source(probe, ROUTER[family]))
    (finding,) = outcome(scan.known)[0].findings
    assert ("rewritten", ("a NAT changed the source",)) == (finding.match, finding.notes)
    assert "rewritten" == event_of(scan.known, scan.errors[0]).match


def test_a_swapped_id_and_a_strange_mtu_are_noted():
    scan = Scan()
    probe = scan.send()
    swapped = probe[:4] + probe[5:3:-1] + probe[6:]
    scan.receive(b.frag_needed(probe, 20, ROUTER[4], quote=swapped))
    (finding,) = outcome(scan.known)[0].findings
    assert ("the quoted IP id is byte-swapped", "reported MTU below what every link must carry: bogus") == finding.notes
    assert finding.notes == event_of(scan.known, scan.errors[0]).notes


def test_the_rtt_of_an_error_is_that_of_the_probe_it_quotes():
    scan = Scan()
    first, second = scan.send(), None
    scan.receive(first)
    second = scan.send()
    scan.receive(second, b.port_unreachable(first), b.port_unreachable(second))
    (finding,) = outcome(scan.known)[0].findings
    assert (2.0, 2.0) == (finding.rtt_ms.min, finding.rtt_ms.max)
    assert [1, 2] == [event_of(scan.known, each).matched_frame for each in scan.errors]


# ---- what the kernel says in place of packets


@FAMILIES
def test_errors_from_the_kernel_count_like_packets(family):
    scan = Scan(family, ports=(PORT, 53))
    host, own = halves(HOST[family]), halves(OWN[family][1])
    for task in range(2):
        scan.send(task, source=1)
    kind = {4: (3, 3), 6: (1, 4)}[family]
    for event in (
        ProbeSent(10 * MS, 0, 48),
        Error(12 * MS, 0, 0, own, family, *kind, host, -1),
        ProbeSent(20 * MS, 1, 48),
        Answer(23 * MS, host, 53, own, OWN_PORT, b"said"),
        Answer(24 * MS, own, 53, own, OWN_PORT, b"other"),
    ):
        scan.replies.event(event)
    assert [(REFUSAL, 0, 1, 0), (ANSWER, 1)] == scan.pacing.told
    refused, answered = (outcome(scan.known)[task] for task in range(2))
    assert ("refused", 2.0, "exact") == (refused.verdict, refused.findings[0].rtt_ms.min, refused.findings[0].match)
    assert ("answered", 3.0, {1: b"said"}) == (answered.verdict, answered.rtt_ms.min, scan.record.answers)
    event = event_of(scan.known, scan.errors[0])
    assert (2, 1, 2.0, None, OWN[family][1]) == (
        event.frame,
        event.matched_frame,
        event.rtt_ms,
        event.quoted.ip_id,
        event.quoted.source,
    )


# ---- events


def event_about(scan, task, quote=lambda packet: packet):
    """Of a refusal that quotes so much of a probe."""
    packet = scan.send(task)
    scan.receive(packet, b.port_unreachable(quote(packet)))
    return event_of(scan.known, scan.errors[-1])


@pytest.mark.parametrize(
    ("family", "quote", "evidence"),
    [
        (4, lambda packet: packet, ("ip-id", "udp-checksum", "payload")),
        (6, lambda packet: packet, ("flow-label", "udp-checksum", "payload")),
        (4, lambda packet: packet[:28], ("ip-id", "udp-checksum")),
        (6, lambda packet: packet[:48], ("flow-label", "udp-checksum")),
        (4, lambda packet: with_proof(packet, bytes(2)), ("udp-checksum", "payload")),
        (6, lambda packet: with_proof(packet, bytes(2)), ("udp-checksum", "payload")),
        (4, lambda packet: with_udp(packet, 6, bytes(2)), ("ip-id", "payload")),
        (6, lambda packet: with_udp(packet, 6, bytes(2)), ("flow-label", "payload")),
    ],
)
def test_an_event_lists_its_match_evidence(family, quote, evidence):
    event = event_about(Scan(family), 0, quote)
    assert ("exact", evidence) == (event.match, event.match_evidence)


@FAMILIES
def test_an_event_about_a_control_probe_has_no_advice(family):
    scan = Scan(family)
    assert "start the service" in event_about(scan, 0).advice
    control = event_about(scan, 1)
    assert ("refused", None) == (control.verdict, control.advice)


# ---- what need not be an answer


def the_one(scan):
    return outcome(replace(scan.known, unsolicited=scan.replies.unsolicited()))[0]


def stray(family=4, sport=7777, data=b"whatever", **fields):
    return answer(family, sport=sport, data=data, **fields)


@FAMILIES
def test_a_datagram_from_another_port_without_a_token_is_not_an_answer(family):
    scan = Scan(family)
    assert [] == scan.receive(scan.send(), stray(family))
    (found,) = the_one(scan).findings
    assert (None, 1, ("answer-from port 7777, which was not probed: not taken for an answer",)) == (
        found.verdict,
        found.count,
        found.notes,
    )


@FAMILIES
@pytest.mark.parametrize(
    "fields",
    [{"source": OTHER_HOST}, {"sport": 7777}, {"source": OTHER_HOST, "sport": 7777}],
    ids=["address", "port", "both"],
)
def test_datagrams_from_other_addresses_are_assigned_by_port(family, fields):
    scan = Scan(family, ports=(PORT, 53), source_ports=2)
    said = fields | {"source": fields.get("source", HOST)[family]}
    scan.receive(*map(scan.send, range(2)))
    for task, own in enumerate(source_ports_of(scan)):
        scan.receive(answer(family, dport=own, **said), answer(family, dport=own, **said, data=b"again"))
        tasks = [each if each >= 0 else scan.replies.only_task_at(AT_PORT_0 - each) for each in scan.tasks[-2:]]
        assert [task, task] == tasks
    assert {} == scan.record.answers


@FAMILIES
def test_a_datagram_from_another_port_with_the_token_is_an_answer(family):
    scan = Scan(family)
    probe = scan.send()
    assert [(ANSWER, 0)] == scan.receive(probe, stray(family, data=probe[HEADER[family] :]))
    assert ({}, {0: 7777}) == (scan.replies.unsolicited(), scan.replies.other_ports)


@FAMILIES
def test_a_datagram_from_another_port_in_the_requested_protocol_is_an_answer(family):
    scan = Scan(family, recognises=lambda task, data: (task, data) == (0, b"known"))
    assert [] == scan.receive(scan.send(), stray(family, data=b"strange"))
    assert [(ANSWER, 0)] == scan.receive(stray(family, data=b"known"))


@FAMILIES
def test_another_port_that_follows_several_probes_answers_them(family):
    scan = Scan(family)
    assert [] == scan.receive(scan.send(), stray(family))
    assert [(ANSWER, 0)] == scan.receive(scan.send(), stray(family))


@FAMILIES
def test_a_stream_of_datagrams_answers_nothing(family):
    scan = Scan(family)
    assert [] == scan.receive(scan.send(), *[stray(family)] * 3)
    assert [] == scan.receive(scan.send(), *[stray(family)] * 3)


@FAMILIES
def test_an_error_about_other_traffic_uses_up_the_limit_of_its_host(family):
    scan = Scan(family)
    other = other_traffic(family, sport=OWN_PORT - 1)
    scan.receive(scan.send(), b.port_unreachable(other), b.port_unreachable(other, reporter=ROUTER[family]))
    assert [1] == list(scan.pacing.others)


@FAMILIES
def test_an_answer_from_an_unprobed_address_is_a_finding(family):
    scan = Scan(family, ports=(PORT,))
    assert [] == scan.receive(scan.send(), *[answer(family, source=OTHER_HOST[family])] * 2, apart_ns=100 * MS)
    told = the_one(scan)
    (found,) = told.findings
    assert ("silent", 0, 0) == (told.verdict, told.answered, told.errors)
    assert (None, "udp-response", None, OTHER_HOST[family], 2, "none") == (
        found.verdict,
        found.reason,
        found.icmp_type,
        found.reporter,
        found.count,
        found.match,
    )
    assert (f"answer-from {endpoint_text(OTHER_HOST[family], PORT)}, which was not probed",) == found.notes
    assert OTHER_HOST[family] in told.advice
    several = Scan(family, ports=(PORT, 53))
    several.receive(several.send(0), several.send(1), answer(family, source=OTHER_HOST[family]))
    assert {} == several.replies.unsolicited()
