"""What may enter a scan's report: its probes, what answers them, and errors that prove themselves."""

from __future__ import annotations

import builders as b
import numpy as np
import pytest
from feeding import MS, batch_of
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_setup import (
    BARE,
    EMPTY,
    HEADER,
    HOST,
    LONG,
    OTHER_HOST,
    OWN,
    OWN_PORT,
    SHORT_TOKEN,
    WHOLE_TOKEN,
    next_packets,
    payloads,
    plan_of,
)

from udpprobe.core.admission import ANSWER, ERROR, PROBE, REFUSAL, Admission
from udpprobe.core.batch import tick
from udpprobe.core.conclude import Question, conclude
from udpprobe.core.craft import Crafter
from udpprobe.core.pipeline import Pipeline

PORT = 4242
ROUTER = {4: "203.0.113.1", 6: "2001:db8:ff::1"}
words = st.integers(0, 2**16 - 1)
FAMILIES = pytest.mark.parametrize("family", [4, 6])


class Scan:
    """Sends to a port of a host, and is told what is captured."""

    def __init__(self, family=4, payload=WHOLE_TOKEN, *, size=0, ports=(PORT,), source_ports=1):
        self.family, self.size = family, size
        self.plan = plan_of(*((HOST[family], port) for port in ports), payload=payload, source_ports=source_ports)
        self.admission = Admission(self.plan, payloads(), Crafter(payloads(), size=size))
        self.pipeline = Pipeline(keep_messages=True, admission=self.admission)
        self.frames = 0

    def send(self, task=0, source=0):
        (packet,) = next_packets(self.plan, task, source=source, size=self.size)
        return packet

    def hear(self, *packets):
        """(kind, task, source, attempt) of what was heard."""
        self.pipeline.feed(batch_of(packets, first=self.frames + 1))
        self.frames += len(packets)
        self.known = self.pipeline.feed(tick(self.frames * MS))
        return [row for heard in self.admission.heard()
                for row in zip(*(getattr(heard, name).tolist() for name in ("kind", "task", "source", "attempt")),
                               strict=True)]

    def hear_error(self, packet, **fields):
        """What is heard of the host's refusal; and how many errors are foreign by now."""
        return self.hear(b.port_unreachable(packet, **fields)), self.admission.foreign


NOT_BELIEVED = ([], 1)
BELIEVED = ([(REFUSAL, 0, 0, 0)], 0)


def other_traffic(family=4, source=None, sport=OWN_PORT, dport=PORT, data=b"hello"):
    return b.datagram(source or OWN[family][0], HOST[family], sport, dport, data)


def answer(family=4, sport=PORT, to=None, dport=OWN_PORT, source=None):
    return b.datagram(source or HOST[family], to or OWN[family][0], sport, dport, b"answer")


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


def with_udp(packet, at, data):
    at += HEADER[b.family_of(packet)] - 8
    return packet[:at] + data + packet[at + len(data):]


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


def with_proof(packet, proof):
    """With another IPv4 id or IPv6 flow label."""
    at = 2 if b.family_of(packet) == 6 else 4
    return packet[:at] + proof + packet[at + 2:]


def wrong_proof(packet):
    at = 2 if b.family_of(packet) == 6 else 4
    return with_proof(packet, bytes(each ^ 0x5A for each in packet[at:at + 2]))


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


# ---- errors that are not

@FAMILIES
@pytest.mark.parametrize("payload", [BARE, SHORT_TOKEN, EMPTY])
def test_a_wrong_id_or_label_is_not_believed_where_no_whole_token_proves_the_probe(family, payload):
    scan = Scan(family, payload)
    probe = scan.send()
    assert NOT_BELIEVED == scan.hear_error(probe, quote=wrong_proof(probe))


@FAMILIES
def test_a_wrong_id_is_not_believed_of_a_quote_that_ends_before_the_token(family):
    scan = Scan(family)
    probe = scan.send()
    assert NOT_BELIEVED == scan.hear_error(probe, quote=wrong_proof(probe)[:HEADER[family] + 11])


@FAMILIES
@pytest.mark.parametrize("payload", [WHOLE_TOKEN, SHORT_TOKEN, BARE])
def test_a_wrong_checksum_and_payload_are_not_believed_even_with_the_right_id(family, payload):
    scan = Scan(family, payload)
    probe = with_udp(scan.send(), 6, b"\x12\x34")
    quote = probe[:HEADER[family]] + bytes(byte ^ 1 for byte in probe[HEADER[family]:])
    assert NOT_BELIEVED == scan.hear_error(probe, quote=quote)


@FAMILIES
def test_a_wrong_udp_length_is_not_believed_of_8_bytes(family):
    scan = Scan(family)
    probe = scan.send()
    assert NOT_BELIEVED == scan.hear_error(probe, quote=with_udp(probe, 4, b"\0\x99")[:HEADER[family]])


@FAMILIES
def test_an_error_about_a_port_that_was_never_probed_is_foreign(family):
    scan = Scan(family)
    forged = other_traffic(family, dport=PORT + 1)
    assert NOT_BELIEVED == scan.hear_error(forged)


@FAMILIES
def test_an_error_about_a_port_that_is_yet_to_be_probed_is_foreign(family):
    forger, scan = Scan(family), Scan(family)
    assert NOT_BELIEVED == scan.hear_error(forger.send())


@FAMILIES
def test_an_error_about_an_attempt_that_is_yet_to_be_made_is_foreign_unless_the_token_proves_it(family):
    forger, scan = Scan(family, EMPTY), Scan(family, EMPTY)
    forger.send()
    scan.send()
    assert NOT_BELIEVED == scan.hear_error(forger.send())


def test_an_error_about_a_datagram_of_another_program_is_neither_believed_nor_foreign():
    scan = Scan()
    assert ([], 0) == scan.hear_error(other_traffic(sport=1234, dport=1))
    assert ([], 0) == scan.hear_error(b.datagram(OWN[4][0], OTHER_HOST[4], 1234, PORT))


def test_a_quote_without_ports_is_neither_believed_nor_foreign():
    scan = Scan()
    probe = scan.send()
    assert ([], 0) == scan.hear_error(probe, quote=probe[:22])


def test_what_is_not_believed_leaves_no_trace_in_the_report():
    scan = Scan(payload=EMPTY)
    probe = scan.send()
    scan.hear(probe)
    scan.hear_error(probe, quote=wrong_proof(probe))
    assert [] == [resolved for resolved in scan.known if len(resolved.errors)]


# ---- properties

@settings(max_examples=150, deadline=None)
@given(st.sampled_from((4, 6)), words, st.binary(min_size=20, max_size=20), words)
def test_a_guessed_id_checksum_and_payload_are_never_believed(family, number, data, checksum):
    scan = Scan(family)
    real = scan.send()
    forged = with_proof(other_traffic(family, data=data), number.to_bytes(2))
    quote = with_udp(forged, 6, checksum.to_bytes(2))
    right = real[HEADER[family] - 2:HEADER[family]] == quote[HEADER[family] - 2:HEADER[family]]
    expected = BELIEVED if with_proof(real, number.to_bytes(2)) == real and right else NOT_BELIEVED
    assert expected == scan.hear_error(forged, quote=quote)


@pytest.mark.parametrize("family", [4, 6])
def test_every_id_but_its_own_is_foreign(family):
    """All of 16 bits at once, with the right addresses, ports, length and payload, but a wrong token in it."""
    scan = Scan(family)
    real = scan.send()
    forged = with_udp(real, 12, bytes(8))
    errors = [b.port_unreachable(with_proof(forged, number.to_bytes(2))) for number in range(0, 2**16, 16)]
    assert ([], len(errors)) == (scan.hear(*errors), scan.admission.foreign)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from((4, 6)), st.sampled_from((WHOLE_TOKEN, BARE, SHORT_TOKEN, EMPTY, LONG)), st.data())
def test_a_quote_cut_anywhere_never_raises_and_is_believed_from_8_bytes_of_udp_on(family, payload, data):
    scan = Scan(family, payload)
    probe = scan.send()
    at = data.draw(st.integers(0, len(probe)))
    heard, _ = scan.hear_error(probe, quote=probe[:at])
    assert (at >= HEADER[family]) == (heard == [(REFUSAL, 0, 0, 0)])


@settings(max_examples=150, deadline=None)
@given(st.sampled_from((4, 6)), st.integers(0, 67), st.integers(1, 255), st.integers(0, 40))
def test_a_spoiled_byte_anywhere_never_raises(family, at, difference, cut):
    scan = Scan(family)
    packet = bytearray(b.port_unreachable(scan.send()))
    packet[at % len(packet)] ^= difference
    heard = scan.hear(bytes(packet[:len(packet) - cut]))
    assert heard in ([], [(REFUSAL, 0, 0, 0)], [(REFUSAL, 0, 0, -1)], [(ERROR, 0, 0, 0)], [(ERROR, 0, 0, -1)])


def test_many_errors_at_once_are_told_apart():
    scan = Scan(ports=range(1, 301))
    probes = next_packets(scan.plan, *range(300))
    mixed = [b.port_unreachable(probe if n % 3 else wrong_proof(probe)[:30] + bytes(18)) for n, probe in
             enumerate(probes)]
    heard = scan.hear(*mixed)
    assert [(REFUSAL, n, 0, 0) for n in range(300) if n % 3] == sorted(heard)
    assert 100 == scan.admission.foreign
    assert np.array_equal(np.ones(300), scan.plan.attempts[:300])
