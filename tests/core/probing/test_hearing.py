"""Shots and what comes back for them: only what proves itself, and what was changed on the way."""

from __future__ import annotations

import builders as b
import numpy as np
import pytest
from engine_probes import halves
from feeding import MS, batch_of
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from udpprobe.core.batch import tick
from udpprobe.core.probing.craft import Crafter
from udpprobe.core.probing.hearing import Hearing, Shots
from udpprobe.core.probing.probes import Payloads
from udpprobe.core.probing.shots import MOST_SHOTS, TOKEN_LIMIT, Line, Shot

TO = {4: "198.51.100.7", 6: "2001:db8:1::7"}
OWN = {4: "192.0.2.1", 6: "2001:db8::1"}
NATTED = {4: "203.0.113.9", 6: "2001:db8:99::9"}
ROUTER = {4: "203.0.113.1", 6: "2001:db8:ff::1"}
HOPS = {4: "ttl", 6: "hop_limit"}
HEADER = {4: 28, 6: 48}
PORT, SOURCE_PORTS = 4242, (40_000, 40_001)
TOKENS = (0x0123_4567_89AB_CDEF, 0x0023_4567_89AB_CDE0)
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def pair(address):
    high, low = halves(address)
    return int(high), int(low)


class Gun:
    """Fires shots, and is told what is captured."""

    def __init__(self, family=4, data=bytes(8), token_at=0, token_size=8):
        self.family = family
        self.payloads = Payloads(np.frombuffer(data, np.uint8).reshape(1, -1), *(np.array([value]) for value in (
            len(data), token_at, token_size)))
        self.line = Line(pair(OWN[family]), pair(TO[family]), PORT, 0, SOURCE_PORTS, TOKENS)
        self.shots = Shots(self.line, self.payloads)
        self.hearing = Hearing(self.shots)
        self.frames = 0

    def fire(self, *shots, size=0, now_ns=0):
        crafted, = Crafter(self.payloads, size=size).craft(self.line.probes(shots))
        self.shots.fire(shots, crafted.packets, now_ns)
        return [packet[:length].tobytes() for packet, length in zip(crafted.packets, crafted.length, strict=True)]

    def hear(self, *packets):
        first = self.frames + 1
        self.frames += len(packets)
        return self.hearing.feed(batch_of(packets, first=first, now_ns=self.frames * MS))

    def numbers(self, *packets):
        return [reply.number for reply in self.hear(*packets)]


def changed(packet, at, data):
    return packet[:at] + data + packet[at + len(data):]


@FAMILIES
def test_shots_of_a_flow_look_the_same_to_a_load_balancer(family):
    first, second = Gun(family).fire(Shot(0, 1), Shot(1, 30))
    same = {4: (*range(2), *range(12, 24)), 6: (*range(4), *range(8, 44))}[family]
    assert [first[at] for at in same] == [second[at] for at in same]
    other, = Gun(family).fire(Shot(0, 1, flow=1))
    assert first[HEADER[family] - 8:HEADER[family] - 6] != other[HEADER[family] - 8:HEADER[family] - 6]


@FAMILIES
@examples(30)
@given(st.lists(st.integers(0, MOST_SHOTS - 1), min_size=2, max_size=40, unique=True),
       st.integers(0, TOKEN_LIMIT - 1))
def test_no_two_shots_are_quoted_alike(family, numbers, token):
    gun = Gun(family)
    gun.line = Line(gun.line.source, gun.line.destination, PORT, 0, SOURCE_PORTS, (token, token))
    packets = gun.fire(*(Shot(number, 1) for number in numbers))
    assert len(numbers) == len({packet[HEADER[family] - 4:HEADER[family]] for packet in packets})
    assert len(numbers) == len({packet[4:6] for packet in packets}) or family == 6


@FAMILIES
def test_each_error_is_given_to_its_shot(family):
    gun = Gun(family)
    packets = gun.fire(*(Shot(number, 1) for number in range(5)))
    errors = [b.time_exceeded(packet, ROUTER[family], **{HOPS[family]: 60}) for packet in reversed(packets)]
    replies = gun.hear(*packets, *errors)
    assert [4, 3, 2, 1, 0] == [reply.number for reply in replies]
    assert [1, 3, 5, 7, 9] == [round(reply.rtt_ms) for reply in replies]
    assert {("error", 60, (), True, ROUTER[family], "exact")} == {
        (each.kind, each.ttl, each.changed, each.is_sure, each.event.reporter, each.event.match) for each in replies}
    assert {} == gun.hearing.faults


@FAMILIES
def test_flows_are_told_apart(family):
    gun = Gun(family)
    packets = [*gun.fire(Shot(7, 1)), *gun.fire(Shot(8, 1, flow=1))]
    assert [7, 8] == gun.numbers(*(b.time_exceeded(packet, ROUTER[family]) for packet in packets))


def test_eight_quoted_bytes_of_udp_prove_a_shot():
    gun = Gun()
    packets = gun.fire(Shot(3, 1), Shot(4, 1))
    assert [4] == gun.numbers(b.time_exceeded(packets[1], ROUTER[4], quote=packets[1][:28]))
    assert [3] == gun.numbers(b.time_exceeded(packets[0], ROUTER[4], quote=packets[0][:24]))


def test_a_swapped_or_cleared_id_is_made_up_for():
    gun = Gun()
    packet, = gun.fire(Shot(3, 1))
    swapped = changed(packet, 4, packet[5:6] + packet[4:5])
    cleared = changed(packet, 4, bytes(2))
    short = cleared[:28]
    assert [3, 3, 3] == gun.numbers(*(b.time_exceeded(packet, ROUTER[4], quote=quote[:28 + keep])
                                      for quote, keep in ((swapped, 0), (cleared, 8), (short, 0))))


@FAMILIES
def test_what_was_changed_on_the_way_is_told(family):
    gun = Gun(family)
    packet, = gun.fire(Shot(3, 1))
    head = HEADER[family]
    source, port, checksum = {4: 12, 6: 8}[family], head - 8, head - 2
    natted = changed(packet, source, b.packed(NATTED[family]))
    marked = changed(packet, 1, b"\xBB") if family == 4 else changed(packet, 0, b"\x6B\xB0")
    elsewhere = changed(packet, source + len(b.packed(NATTED[family])), b.packed(NATTED[family]))
    cases = ((natted, ("source",)), (changed(packet, port, b"\xEE\xEE"), ("source",)),
             (changed(packet, checksum, b"\x12\x34"), ("checksum",)), (marked, ("dscp", "ecn")),
             (elsewhere, ("destination",)))
    if family == 4:
        cases += ((changed(packet, 6, bytes(2)), ("df",)),)
    replies = gun.hear(*(b.time_exceeded(packet, ROUTER[family], quote=quote) for quote, _ in cases))
    assert [(3, words) for _, words in cases] == [(each.number, each.changed) for each in replies]


@FAMILIES
def test_forged_errors_are_foreign(family):
    gun = Gun(family)
    packet, = gun.fire(Shot(3, 1))
    head = HEADER[family]
    other = Gun(family, data=b"\1" * 8)
    other.line = Line(gun.line.source, gun.line.destination, PORT, 0, SOURCE_PORTS, (0x0777, 0x0888))
    other.shots = Shots(other.line, other.payloads)
    forged, = other.fire(Shot(3, 1))
    quotes = (forged, changed(packet, head + 5, b"??"), changed(packet, head - 4, b"\0\x11"))
    assert [] == gun.hear(*(b.time_exceeded(packet, ROUTER[family], quote=quote) for quote in quotes))
    assert {"foreign": 3} == gun.hearing.faults


@FAMILIES
def test_errors_of_others_are_not_looked_at(family):
    gun = Gun(family)
    gun.fire(Shot(3, 1))
    strange = b.datagram(OWN[family], TO[family], 5353, 53, b"other")
    elsewhere = b.datagram(OWN[family], NATTED[family], 5353, 53, b"other")
    assert [] == gun.hear(*(b.time_exceeded(packet, ROUTER[family]) for packet in (strange, elsewhere)))
    assert {} == gun.hearing.faults


def test_a_nat_at_both_ends_takes_the_whole_token_for_proof():
    gun = Gun()
    packet, = gun.fire(Shot(3, 1))
    elsewhere = changed(packet, 16, b.packed(NATTED[4]))
    assert [] == gun.hear(b.time_exceeded(packet, ROUTER[4], quote=elsewhere[:28]))
    assert [3] == gun.numbers(b.time_exceeded(packet, ROUTER[4], quote=elsewhere))


@FAMILIES
def test_this_host_s_own_error_about_a_shot_that_never_left_is_unsent(family):
    gun = Gun(family)
    packet, = gun.fire(Shot(3, 1))
    own, = gun.hear(b.error(packet, *((1, 3) if family == 6 else (3, 1)), reporter=OWN[family]))
    assert ("unsent", 3) == (own.kind, own.number)
    gun = Gun(family)
    packet, = gun.fire(Shot(3, 1))
    router, = gun.hear(packet, b.error(packet, *((1, 3) if family == 6 else (3, 1)), reporter=OWN[family]))
    assert "error" == router.kind


# ---- answers

def answer(family, data, flow=0):
    return b.datagram(TO[family], OWN[family], PORT, SOURCE_PORTS[flow], data, ttl=61)


@FAMILIES
def test_an_answer_that_repeats_the_token_is_the_shot_s(family):
    gun = Gun(family)
    packets = gun.fire(Shot(3, 1), Shot(4, 1))
    replies = gun.hear(*packets, *(answer(family, b"said: " + packet[HEADER[family]:]) for packet in packets))
    assert [(3, "answer", 61, True), (4, "answer", 61, True)] == [
        (each.number, each.kind, each.ttl, each.is_sure) for each in replies]


def test_a_short_token_is_looked_for_where_it_was_sent():
    gun = Gun(data=b"id??rest", token_at=2, token_size=2)
    packets = gun.fire(Shot(3, 1), Shot(4, 1))
    replies = gun.hear(*packets, *(answer(4, packet[28:32]) for packet in packets))
    assert [(3, True), (4, True)] == [(each.number, each.is_sure) for each in replies]
    assert [False] == [each.is_sure for each in gun.hear(answer(4, b"??" + packets[0][28:32]))]


def test_an_answer_that_repeats_nothing_is_given_to_the_latest_shot_without_a_reply():
    gun = Gun()
    packets = gun.fire(Shot(3, 1), Shot(4, 1), Shot(5, 1))
    gun.hear(*packets, b.time_exceeded(packets[2], ROUTER[4]))
    assert [(4, False), (3, False), (5, False)] == [
        (each.number, each.is_sure) for each in gun.hear(*[answer(4, b"pong")] * 3)]


def test_an_answer_before_any_shot_is_nobody_s():
    gun = Gun()
    assert [] == gun.hear(answer(4, b"pong"))
    gun.fire(Shot(3, 1), now_ns=1000 * MS)
    assert [] == gun.hear(answer(4, b"pong"))


def test_the_time_a_shot_left_is_the_capture_s_and_only_its_first():
    gun = Gun()
    packet, = gun.fire(Shot(3, 9), now_ns=0)
    other = b.datagram(OWN[4], TO[4], SOURCE_PORTS[0], PORT, b"not ours")
    reply, = gun.hear(other, packet, b.forwarded(packet), b.time_exceeded(packet, ROUTER[4]))
    assert (2 * MS, 4 * MS) == (reply.sent_ns, reply.time_ns)


def test_a_tick_says_nothing():
    assert [] == Gun().hearing.feed(tick(MS))
