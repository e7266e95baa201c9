"""What may enter a scan's report: its probes, what answers them, and errors that prove themselves."""

from __future__ import annotations

import builders as b
import pytest
from scan_setup import (
    BARE,
    BELIEVED,
    EMPTY,
    HEADER,
    LONG,
    OTHER_HOST,
    OWN,
    OWN_PORT,
    PORT,
    SHORT_TOKEN,
    WHOLE_TOKEN,
    Scan,
    answer,
    other_traffic,
    plan_of,
    with_udp,
    wrong_proof,
)

from udpprobe.core.scanning.admission import ANSWER, ERROR, PROBE, REFUSAL
from udpprobe.core.summaries.conclude import Question, conclude

ROUTER = {4: "203.0.113.1", 6: "2001:db8:ff::1"}
FAMILIES = pytest.mark.parametrize("family", [4, 6])


# ---- datagrams

@FAMILIES
def test_a_probe_is_heard_with_the_address_it_left_from(family):
    scan = Scan(family)
    assert [(PROBE, 0, 1, -1)] == scan.hear(scan.send(source=1))


@FAMILIES
def test_an_answer_is_heard(family):
    scan = Scan(family)
    assert [(PROBE, 0, 0, -1), (ANSWER, 0, 0, -1)] == scan.hear(scan.send(), answer(family))


@FAMILIES
def test_an_answer_from_another_port_is_that_of_the_only_port_that_waits_for_one(family):
    scan = Scan(family, ports=(PORT, 53, 69))
    probes = [scan.send(task) for task in range(3)]
    scan.hear(*probes, b.port_unreachable(probes[0]), answer(family, sport=53))
    assert [(ANSWER, 2, 0, -1)] == scan.hear(answer(family, sport=50_000))
    assert {2: 50_000} == scan.admission.other_ports
    assert [[5, 6], [1, 2]] == [each.tolist() for each in scan.admission.answers()]
    (told,) = (each for each in conclude(scan.pipeline.summary, Question(all_destinations=True))[0] if each.port == 69)
    assert ("answered", 1, ()) == (told.verdict, told.answered, told.notes)


def test_an_answer_from_another_port_is_nobody_s_where_several_wait_for_one():
    scan = Scan(ports=(PORT, 53))
    scan.hear(scan.send(0), scan.send(1))
    assert [] == scan.hear(answer(sport=50_000))
    assert [1, 2] == scan.admission.frames()[0].tolist()
    assert {} == scan.admission.other_ports


def test_an_answer_from_another_port_says_by_the_port_it_goes_to_which_probe_it_answers():
    scan = Scan(ports=(PORT, 53, 69), source_ports=3)
    scan.hear(*map(scan.send, range(3)))
    assert [(ANSWER, 1, 0, -1)] == scan.hear(answer(sport=50_000, dport=OWN_PORT + 1))
    assert [(ANSWER, 2, 0, -1)] == scan.hear(answer(sport=PORT, dport=OWN_PORT + 2))
    assert {1: 50_000, 2: PORT} == scan.admission.other_ports


def test_what_answered_from_another_port_once_answers_the_same_task_again():
    scan = Scan(ports=(PORT, 53))
    scan.hear(scan.send(0))
    scan.hear(answer(sport=50_000))
    scan.hear(scan.send(1))
    assert [(ANSWER, 0, 0, -1)] == scan.hear(answer(sport=50_000))


def test_what_goes_from_one_of_the_scan_s_own_ports_to_another_is_a_probe_of_this_host():
    here = OWN[4][0]
    plan = plan_of((here, PORT), (here, OWN_PORT + 1), source_ports=2)
    scan = Scan(ports=(PORT,), plan=plan)
    assert [(PROBE, 1, 0, -1)] == scan.hear(b.datagram(here, here, OWN_PORT, OWN_PORT + 1, b"probe"))
    assert [(ANSWER, 0, 0, -1)] == scan.hear(b.datagram(here, here, PORT, OWN_PORT, b"answer"))
    assert {} == scan.admission.other_ports


def test_a_host_s_answer_from_a_port_with_the_number_of_the_scan_s_own_is_one():
    scan = Scan(ports=(OWN_PORT + 1, PORT), source_ports=2)
    scan.hear(scan.send())
    assert [(ANSWER, 0, 0, -1)] == scan.hear(answer(sport=OWN_PORT + 1))


@pytest.mark.parametrize("packet", [
    other_traffic(sport=40_001), other_traffic(dport=1), other_traffic(source="192.0.2.99"),
    answer(dport=40_001), answer(to="192.0.2.99"), answer(source=OTHER_HOST[4]),
])
def test_other_people_s_datagrams_do_not_enter_the_report(packet):
    scan = Scan()
    assert [] == scan.hear(packet)
    assert 0 == len(scan.admission.frames()[0])


def test_admitted_frames_are_told_once_with_their_tasks():
    scan = Scan(ports=(PORT, 53))
    probe = scan.send(1)
    scan.hear(scan.send(), probe, other_traffic(dport=1), b.port_unreachable(probe))
    frames, tasks = scan.admission.frames()[:2]
    assert {(1, 0), (2, 1), (4, 1)} == set(zip(frames.tolist(), tasks.tolist(), strict=True))
    assert 0 == len(scan.admission.frames()[0])


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
    assert BELIEVED == scan.hear_error(probe, quote=probe[:HEADER[family]])


@FAMILIES
def test_an_error_of_a_router_is_no_refusal(family):
    scan = Scan(family)
    assert [(ERROR, 0, 0, 0)] == scan.hear(b.port_unreachable(scan.send(), reporter=ROUTER[family]))
    assert [(ERROR, 0, 0, 1)] == scan.hear(b.time_exceeded(scan.send(), ROUTER[family]))


@FAMILIES
def test_any_but_port_unreachable_of_the_host_itself_is_no_refusal(family):
    scan = Scan(family)
    kind = (3, 13) if family == 4 else (1, 1)
    assert [(ERROR, 0, 0, 0)] == scan.hear(b.error(scan.send(), *kind))


@FAMILIES
def test_an_error_about_an_earlier_attempt_says_about_which(family):
    scan = Scan(family)
    packets = [scan.send(source=1) for _ in range(3)]
    assert [2, 0, 1] == [scan.hear(b.port_unreachable(packets[n]))[0][3] for n in (2, 0, 1)]
    assert 0 == scan.admission.foreign


def test_an_error_about_a_control_port_is_believed():
    scan = Scan()
    assert ([(REFUSAL, 1, 0, 0)], 0) == scan.hear_error(scan.send(1))


def test_a_byte_swapped_id_is_believed():
    scan = Scan()
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=probe[:4] + probe[5:3:-1] + probe[6:])


@FAMILIES
def test_an_aged_quote_is_believed(family):
    scan = Scan(family)
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=b.forwarded(probe, 63))


def with_source(packet, address):
    at = 8 if b.family_of(packet) == 6 else 12
    source = b.packed(address)
    return packet[:at] + source + packet[at + len(source):]


@FAMILIES
def test_a_source_that_a_nat_changed_in_the_quote_is_believed(family):
    scan = Scan(family)
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=with_source(probe, ROUTER[family]))


@FAMILIES
def test_a_port_that_a_nat_changed_in_the_quote_is_believed_for_the_id_and_the_rest(family):
    scan = Scan(family)
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=with_udp(probe, 0, b"\xee\xee"))


@FAMILIES
@pytest.mark.parametrize("payload", [WHOLE_TOKEN, SHORT_TOKEN])
def test_a_wrong_checksum_is_made_up_for_by_the_token_in_the_payload(family, payload):
    scan = Scan(family, payload)
    probe = scan.send()
    assert BELIEVED == scan.hear_error(probe, quote=with_udp(probe, 6, b"\0\0"))


@FAMILIES
def test_a_whole_token_in_the_payload_makes_up_for_any_id_but_does_not_say_which_attempt(family):
    scan = Scan(family)
    probe = scan.send()
    assert ([(REFUSAL, 0, 0, -1)], 0) == scan.hear_error(probe, quote=wrong_proof(probe))


@FAMILIES
def test_what_is_believed_is_an_exact_match(family):
    scan = Scan(family)
    probe = scan.send()
    scan.hear(probe, b.port_unreachable(probe))
    (resolved,) = scan.known
    assert "exact" == ("none", "rewritten", "flow", "exact")[int(resolved.found.match[0])]
