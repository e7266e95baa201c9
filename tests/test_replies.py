"""Probes and what comes back for them: only what proves itself, and what was changed on the way."""

from __future__ import annotations

import random
from ipaddress import ip_address

import builders as b
import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples

from udpprobe.core.decode import Decoder
from udpprobe.replies import MOST_DOUBTED, NO_LOOP_TTL, Flows, Probe, Reply, Tracker

MS = 1_000_000
RAW = 101
TO = {4: "198.51.100.7", 6: "2001:db8:1::7"}
OWN = {4: "192.0.2.1", 6: "2001:db8::1"}
NATTED = {4: "203.0.113.9", 6: "2001:db8:99::9"}
ROUTER = {4: "203.0.113.1", 6: "2001:db8:ff::1"}
HOPS = {4: "ttl", 6: "hop_limit"}
HEADER = {4: 28, 6: 48}
PORT, SOURCE_PORTS = 4242, (40_000, 40_001)
KEY = (0x0123_4567_89AB_CDEF, 0x0023_4567_89AB_CDE0)
TOKEN, DNS = (bytes(8), 0, 8), (b"id??rest", 2, 2)
FAMILIES = pytest.mark.parametrize("family", [4, 6])


def halves(address):
    parsed = ip_address(address)
    return divmod(int(parsed) | (0xFFFF << 32 if parsed.version == 4 else 0), 1 << 64)


class Bench:
    """Sends probes, and is told what is captured."""

    def __init__(self, family=4, payload=TOKEN, *, key=KEY, loop_ttl=NO_LOOP_TTL, source_ports=SOURCE_PORTS):
        self.family = family
        flows = Flows(halves(OWN[family]), halves(TO[family]), PORT, 0, source_ports)
        self.tracker = Tracker(flows, payload, key, port_bits=14, loop_ttl=loop_ttl)
        self.decoder = Decoder(1, keeps_messages=True)
        self.frames = 0

    def send(self, *probes, now_ns=0):
        return [self.tracker.craft(probe, now_ns) for probe in probes]

    def receive(self, *packets):
        """They come a millisecond apart, and all at once."""
        decoded = []
        for packet in packets:
            self.frames += 1
            decoded += self.decoder.packets(packet, len(packet), self.frames * MS, RAW, self.frames)
        return self.tracker.take(decoded)

    def numbers(self, *packets):
        return [reply.number for reply in self.receive(*packets)]

    def expired(self, packet, quote=None):
        return b.time_exceeded(packet, ROUTER[self.family], quote=quote)


def changed(packet, at, data):
    return packet[:at] + data + packet[at + len(data) :]


# ---- probes


@FAMILIES
def test_probes_of_a_flow_look_the_same_to_a_load_balancer(family):
    first, second, other = Bench(family).send(Probe(0, 1), Probe(1, 30), Probe(2, 1, flow=1))
    same = {4: (*range(2), *range(12, 24)), 6: (*range(4), *range(8, 44))}[family]
    assert [first[at] for at in same] == [second[at] for at in same]
    assert first[HEADER[family] - 8 : HEADER[family] - 6] != other[HEADER[family] - 8 : HEADER[family] - 6]
    assert family == 4 or first[1:4] != other[1:4]


@FAMILIES
@examples(30)
@given(st.sets(st.integers(0, 1 << 30), min_size=2, max_size=40))
def test_no_two_probes_have_the_same_token(family, numbers):
    packets = Bench(family).send(*(Probe(number, 1) for number in numbers))
    assert len(numbers) == len({packet[HEADER[family] :] for packet in packets})


@FAMILIES
@pytest.mark.parametrize("payload", [TOKEN, DNS])
def test_no_two_probes_share_a_field_that_identifies_a_reply(family, payload):
    """16 bits each: of 1,000 numbers by chance 8 pairs would."""
    packets = Bench(family, payload).send(*(Probe(number, 1, flow=number % 2) for number in range(1000)))
    head, (_, at, size) = HEADER[family], payload
    fields = [slice(head + at, head + at + size), slice(head - 2, head), *([slice(4, 6)] if family == 4 else [])]
    assert [1000] * len(fields) == [len({packet[field] for packet in packets}) for field in fields]
    swapped = {packet[5:3:-1] for packet in packets if packet[4] != packet[5]}
    assert family == 6 or not swapped & {packet[4:6] for packet in packets}


@FAMILIES
def test_a_token_can_be_reused_once_its_probe_is_forgotten(family, monkeypatch):
    monkeypatch.setattr("udpprobe.replies.MOST_PROBES", 100)
    bench = Bench(family, (b"?rest", 0, 1))
    packets = bench.send(*(Probe(number, 1) for number in range(1000)))
    tokens = [packet[HEADER[family]] for packet in packets]
    assert all(len(set(tokens[at : at + 100])) == 100 for at in range(901))


def test_a_packet_may_be_as_large_as_its_family_allows():
    assert 65_535 == len(Bench(4).send(Probe(0, 1, size=65_535))[0])
    assert 65_575 == len(Bench(6).send(Probe(0, 1, size=65_575))[0])


# ---- errors


@FAMILIES
def test_each_error_is_given_to_its_probe(family):
    bench = Bench(family)
    packets = bench.send(*(Probe(number, 1) for number in range(5)))
    errors = [b.time_exceeded(packet, ROUTER[family], **{HOPS[family]: 60}) for packet in reversed(packets)]
    replies = bench.receive(*packets, *errors)
    assert [4, 3, 2, 1, 0] == [reply.number for reply in replies]
    assert [1, 3, 5, 7, 9] == [round(reply.rtt_ms) for reply in replies]
    assert {("error", 60, (), True, ROUTER[family], "exact", len(packets[0]))} == {
        (each.kind, each.ttl, each.changed, each.is_sure, each.event.reporter, each.event.match, each.size)
        for each in replies
    }
    assert [5, 4, 3, 2, 1] == [reply.event.matched_frame for reply in replies]
    assert {} == bench.tracker.faults


@FAMILIES
def test_flows_are_distinguished(family):
    bench = Bench(family)
    packets = bench.send(Probe(7, 1), Probe(8, 1, flow=1))
    assert [7, 8] == bench.numbers(*map(bench.expired, packets))


@pytest.mark.parametrize("payload", [TOKEN, DNS])
def test_eight_quoted_bytes_of_udp_prove_a_probe(payload):
    bench = Bench(payload=payload)
    packets = bench.send(*(Probe(number, 1) for number in range(90)))
    assert list(range(90)) == bench.numbers(*(bench.expired(packet, packet[:28]) for packet in packets))


@pytest.mark.parametrize("payload", [TOKEN, DNS])
def test_an_ipv6_error_of_a_probe_with_a_short_token_is_believed(payload):
    bench = Bench(6, payload)
    packets = bench.send(*(Probe(number, 1) for number in range(90)))
    assert list(range(90)) == bench.numbers(*map(bench.expired, packets))


def test_an_id_without_a_quoted_checksum_is_no_proof():
    bench = Bench()
    packets = bench.send(*(Probe(number, 1) for number in range(3)))
    assert [] == bench.numbers(bench.expired(packets[0], packets[0][:24]))
    assert {"foreign": 1} == bench.tracker.faults
    assert [0, 1, 2] == bench.numbers(*(bench.expired(packet, packet[:24]) for packet in packets))
    assert {} == bench.tracker.faults


def test_a_quoted_token_makes_up_for_a_swapped_or_cleared_id():
    bench = Bench()
    packet, other = bench.send(Probe(3, 1), Probe(4, 1))
    swapped = changed(packet, 4, packet[5:6] + packet[4:5])
    cleared = changed(other, 4, bytes(2))
    assert [3, 4] == bench.numbers(bench.expired(packet, swapped[:28]), bench.expired(other, cleared))
    assert [] == bench.numbers(bench.expired(packet, changed(packet, 4, bytes(2))[:28]))


@FAMILIES
def test_changes_on_the_path_are_reported(family):
    (packet,) = Bench(family).send(Probe(3, 1))
    head = HEADER[family]
    source, port, checksum = {4: 12, 6: 8}[family], head - 8, head - 2
    natted = changed(packet, source, b.packed(NATTED[family]))
    marked = changed(packet, 1, b"\xbb") if family == 4 else changed(packet, 0, bytes([0x6B, 0xB0 | packet[1] & 0xF]))
    elsewhere = changed(packet, source + len(b.packed(NATTED[family])), b.packed(NATTED[family]))
    cases = (
        (natted, ("source",)),
        (changed(packet, port, b"\xee\xee"), ("source",)),
        (changed(packet, checksum, b"\x12\x34"), ("checksum",)),
        (marked, ("dscp", "ecn")),
        (elsewhere, ("destination",)),
    )
    if family == 4:
        cases += ((changed(packet, 6, bytes(2)), ("df",)),)
    for quote, words in cases:
        bench = Bench(family)
        bench.send(Probe(3, 1))
        assert [(3, words)] == [(each.number, each.changed) for each in bench.receive(bench.expired(packet, quote))]


@pytest.mark.parametrize(("family", "needed"), [(4, 2), (6, 3)])
def test_behind_a_nat_other_probes_make_up_for_a_short_token(family, needed):
    bench = Bench(family, DNS)
    packets = bench.send(*(Probe(number, 1) for number in range(needed)))
    quotes = [changed(packet, HEADER[family] - 8, b"\xee\xee") for packet in packets]
    assert [] == bench.numbers(*map(bench.expired, packets[:-1], quotes[:-1]))
    assert {"foreign": needed - 1} == bench.tracker.faults
    assert list(range(needed)) == bench.numbers(bench.expired(packets[-1], quotes[-1]))
    assert {} == bench.tracker.faults


@FAMILIES
def test_forged_errors_are_foreign(family):
    bench = Bench(family)
    (packet,) = bench.send(Probe(3, 1))
    head = HEADER[family]
    (forged,) = Bench(family, key=(7, 8)).send(Probe(3, 1))
    quotes = (forged, changed(packet, head + 5, b"??"), changed(packet, head - 4, b"\0\x11"))
    assert [] == bench.receive(*(bench.expired(packet, quote) for quote in quotes))
    assert {"foreign": 3} == bench.tracker.faults


@FAMILIES
def test_a_flood_of_guesses_is_noted_and_requires_a_second_probe(family):
    bench = Bench(family)
    packets = bench.send(Probe(3, 1), Probe(4, 1))
    head = HEADER[family]
    guesses = [bench.expired(packets[0], changed(packets[0][:head], head - 2, n.to_bytes(2))) for n in range(1, 18)]
    guesses = [changed(each, 32, b"\0\0") if family == 4 else each for each in guesses]  # the id that is quoted
    bench.receive(*guesses[:16])
    assert () == bench.tracker.notes
    bench.receive(*guesses[16:])
    assert ("forged: 17 ICMP errors quote no probe to it, and are ignored",) == bench.tracker.notes
    alone, second = {4: ([], [3, 4]), 6: ([3], [4])}[family]  # port, flow label and checksum have 50 bits
    assert alone == bench.numbers(bench.expired(packets[0], packets[0][:head]))
    assert second == bench.numbers(bench.expired(packets[1], packets[1][:head]))


@pytest.mark.parametrize("keep", [24, 28])
def test_a_sweep_of_ids_is_not_believed(keep):
    bench = Bench()
    (packet,) = bench.send(Probe(3, 1))
    sweep = random.Random(1).sample(range(1, 1 << 16), 400)
    quotes = [changed(packet[:keep], 4, ident.to_bytes(2)) for ident in sweep]
    quotes.insert(200, packet[:24])
    if keep > 24:
        quotes = [changed(quote, 26, b"\x12\x34") if len(quote) > 26 else quote for quote in quotes]
    assert [] == bench.receive(*(b.error(quote, 3, 3, reporter=TO[4], quote=quote) for quote in quotes))
    assert bench.tracker.faults["foreign"] > 300


@FAMILIES
def test_a_sweep_of_checksums_with_another_source_port_is_not_believed(family):
    bench = Bench(family)
    packets = bench.send(*(Probe(number, 1) for number in range(40)))
    head = HEADER[family]
    kept = [changed(packet[:head], head - 8, b"\x13\x37") for packet in packets]
    if family == 4:
        kept = [changed(quote, 4, b"\0\0") for quote in kept]
    noise = [changed(quote, head - 2, n.to_bytes(2)) for n, quote in enumerate(kept * 5)]
    told = [b.time_exceeded(quote, ROUTER[family], quote=quote) for quote in (*noise, *kept[:3], *noise)]
    assert [] == bench.receive(*told)


def test_doubted_errors_are_remembered_in_bounds():
    bench = Bench()
    (packet,) = bench.send(Probe(3, 1))
    for n in range(MOST_DOUBTED + 20):
        bench.receive(b.error(packet, 3, 4, reporter=ROUTER[4], quote=packet[:24], rest=1000 + n))
    assert sum(map(len, bench.tracker._doubted.values())) <= MOST_DOUBTED  # noqa: SLF001 - it shows nowhere


@FAMILIES
def test_errors_about_other_traffic_are_ignored(family):
    bench = Bench(family)
    bench.send(Probe(3, 1))
    strange = b.datagram(OWN[family], TO[family], 5353, 53, b"other")
    elsewhere = b.datagram(OWN[family], NATTED[family], 5353, 53, b"other")
    assert [] == bench.receive(*(bench.expired(packet) for packet in (strange, elsewhere)))
    assert {} == bench.tracker.faults


def test_behind_a_nat_at_both_ends_the_whole_token_is_required():
    bench = Bench()
    (packet,) = bench.send(Probe(3, 1))
    elsewhere = changed(packet, 16, b.packed(NATTED[4]))
    assert [] == bench.receive(bench.expired(packet, elsewhere[:28]))
    assert [3] == bench.numbers(bench.expired(packet, elsewhere))


@FAMILIES
def test_an_error_captured_on_two_interfaces_counts_once(family):
    bench = Bench(family)
    (packet,) = bench.send(Probe(3, 1))
    assert [3] == bench.numbers(bench.expired(packet), bench.expired(packet))


@FAMILIES
@pytest.mark.parametrize(
    ("kind", "kinds"),
    [("no-neighbour", {4: (3, 1), 6: (1, 3)}), ("unsent", {4: (3, 13), 6: (1, 1)}), ("unsent", {4: (3, 3), 6: (1, 4)})],
)
def test_an_error_of_this_host_about_an_unsent_probe_is_local(family, kind, kinds):
    unreachable = kinds[family]
    bench = Bench(family)
    (packet,) = bench.send(Probe(3, 1))
    (own,) = bench.receive(b.error(packet, *unreachable, reporter=OWN[family]))
    assert (kind, 3) == (own.kind, own.number)
    bench = Bench(family)
    (packet,) = bench.send(Probe(3, 1))
    (router,) = bench.receive(packet, b.error(packet, *unreachable, reporter=OWN[family]))
    assert "error" == router.kind


@FAMILIES
@pytest.mark.parametrize(("ttl", "verdict"), [(31, "expired"), (32, "loop"), (64, "loop")])
def test_a_high_expired_ttl_is_a_loop_if_configured(family, ttl, verdict):
    bench = Bench(family, loop_ttl=32)
    (packet,) = bench.send(Probe(3, ttl))
    (reply,) = bench.receive(packet, bench.expired(packet))
    assert verdict == reply.event.verdict


@FAMILIES
def test_a_probe_that_is_routed_back_to_this_host_is_counted(family):
    bench = Bench(family)
    (packet,) = bench.send(Probe(3, 9))
    at = {4: 8, 6: 7}[family]
    bench.receive(packet, packet)  # captured on two interfaces
    assert {} == bench.tracker.faults
    bench.receive(changed(packet, at, b"\x08"))
    assert 1 == bench.tracker.faults["returned"]


@pytest.mark.parametrize(
    ("mtu", "size", "is_about_larger"), [(1400, 1400, True), (1400, 36, True), (1399, 1400, False), (0, 36, False)]
)
def test_an_mtu_the_probe_fits_says_nothing_about_it(mtu, size, is_about_larger):
    bench = Bench()
    (packet,) = bench.send(Probe(3, 9, size=size))
    (reply,) = bench.receive(packet, b.frag_needed(packet, mtu, ROUTER[4]))
    assert is_about_larger == reply.is_about_larger


# ---- answers


def answer(family, data, flow=0, port=PORT):
    return b.datagram(TO[family], OWN[family], port, SOURCE_PORTS[flow], data, ttl=61)


@FAMILIES
def test_an_answer_that_repeats_the_token_belongs_to_the_probe(family):
    bench = Bench(family)
    packets = bench.send(Probe(3, 1), Probe(4, 1))
    replies = bench.receive(*packets, *(answer(family, b"said: " + packet[HEADER[family] :]) for packet in packets))
    assert [(3, "answer", 61, True), (4, "answer", 61, True)] == [
        (each.number, each.kind, each.ttl, each.is_sure) for each in replies
    ]


def test_a_short_token_is_searched_only_at_its_place():
    bench = Bench(payload=DNS)
    packets = bench.send(Probe(3, 1), Probe(4, 1))
    replies = bench.receive(*packets, *(answer(4, packet[28:32]) for packet in packets))
    assert [(3, True), (4, True)] == [(each.number, each.is_sure) for each in replies]
    assert [False] == [each.is_sure for each in bench.receive(answer(4, b"??" + packets[0][28:32]))]


@FAMILIES
def test_an_answer_with_a_short_token_belongs_to_its_own_probe(family):
    bench = Bench(family, (b"?rest", 0, 1))
    packets = bench.send(*(Probe(number, 1) for number in range(200)))
    bench.receive(*packets)
    assert list(range(200)) == bench.numbers(*(answer(family, packet[HEADER[family] :]) for packet in packets))


def test_an_answer_without_a_token_goes_to_the_latest_unanswered_probe():
    bench = Bench()
    packets = bench.send(Probe(3, 1), Probe(4, 1), Probe(5, 1))
    bench.receive(*packets, bench.expired(packets[2]))
    assert [(4, False), (3, False), (5, False)] == [
        (each.number, each.is_sure) for each in bench.receive(*[answer(4, b"pong")] * 3)
    ]


def test_an_answer_before_any_probe_belongs_to_none():
    bench = Bench()
    assert [] == bench.receive(answer(4, b"pong"))
    bench.send(Probe(3, 1), now_ns=1000 * MS)
    assert [] == bench.receive(answer(4, b"pong"))


@FAMILIES
def test_an_answer_from_another_port_counts_and_is_noted(family):
    bench = Bench(family)
    (packet,) = bench.send(Probe(3, 9))
    replies = bench.receive(packet, answer(family, b"pong", port=PORT + 1), answer(family, b"pong"))
    assert [(3, ("port",)), (3, ())] == [(each.number, each.changed) for each in replies]


# ---- time


def test_the_send_time_is_that_of_the_first_capture_of_a_probe():
    bench = Bench()
    (packet,) = bench.send(Probe(3, 9), now_ns=0)
    other = b.datagram(OWN[4], TO[4], SOURCE_PORTS[0], PORT, b"not ours")
    (reply,) = bench.receive(other, packet, b.forwarded(packet), bench.expired(packet))
    assert (2 * MS, 4 * MS) == (reply.sent_ns, reply.time_ns)


def test_without_packets_there_are_no_replies():
    assert [] == Bench().receive()


def test_only_the_latest_of_very_many_probes_are_remembered(monkeypatch):
    monkeypatch.setattr("udpprobe.replies.MOST_PROBES", 3)
    bench = Bench()
    packets = bench.send(*(Probe(number, 1) for number in range(5)))
    assert [2, 3, 4] == bench.numbers(*map(bench.expired, packets))
    assert {"foreign": 2} == bench.tracker.faults


def test_a_quench_leaves_a_probe_waiting():
    bench = Bench()
    (packet,) = bench.send(Probe(3, 1))
    quench, expired = bench.receive(b.error(packet, 4, 0, reporter=ROUTER[4]), bench.expired(packet))
    assert (True, False) == (quench.is_quench, expired.is_quench)
    assert isinstance(quench, Reply)
