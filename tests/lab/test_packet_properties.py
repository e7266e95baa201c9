"""Packets of the lab: taken apart and built, cut up and put together, with dice that are the same everywhere."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from udpprobe.lab.model import MORE_FRAGMENTS, UDP, Dice, IpPacket
from udpprobe.lab.nodes import Reassembler, fragments
from udpprobe.lab.packets import Datagram, build, datagram, dissect, dissect_quote, udp

BYTE = st.integers(0, 255)
COMMON = {
    "payload": st.binary(max_size=60),
    "ttl": BYTE,
    "tos": BYTE,
    "offset": st.integers(0, 8191).map(lambda words: words * 8),
}
V4 = st.builds(
    IpPacket,
    st.builds(IPv4Address, st.integers(0, 2**32 - 1)),
    st.builds(IPv4Address, st.integers(0, 2**32 - 1)),
    BYTE,
    ip_id=st.integers(0, 0xFFFF),
    flags=st.integers(0, 7),
    options=st.integers(0, 10).flatmap(lambda words: st.binary(min_size=words * 4, max_size=words * 4)),
    **COMMON,
)
EXTENSION = st.tuples(
    st.sampled_from([0, 43, 60]),
    st.integers(0, 3).flatmap(
        lambda more: st.binary(min_size=6 + 8 * more, max_size=6 + 8 * more).map(lambda rest: bytes([more]) + rest)
    ),
)
V6 = st.builds(
    IpPacket,
    st.builds(IPv6Address, st.integers(0, 2**128 - 1)),
    st.builds(IPv6Address, st.integers(0, 2**128 - 1)),
    st.sampled_from([1, 6, 17, 58, 59, 99]),
    flow_label=st.integers(0, 0xFFFFF),
    ip_id=st.integers(0, 2**32 - 1),
    flags=st.integers(0, 1),
    fragment_header=st.just(value=True),
    extensions=st.lists(EXTENSION, max_size=3).map(tuple),
    **COMMON,
).filter(lambda packet: packet.is_fragment)
WHOLE = {"flags": 0, "offset": 0, "fragment_header": False}


@given(V4 | V6)
def test_a_built_packet_is_dissected_as_the_same(packet):
    assert packet == dissect(build(packet))
    assert packet.size == len(build(packet))


@given(V6)
def test_packets_without_a_fragment_header_survive_building_and_dissecting(packet):
    whole = replace(packet, ip_id=0, **WHOLE)
    assert whole == dissect(build(whole))


@given(V4, st.binary(max_size=40))
def test_bytes_after_a_packet_are_padding(packet, padding):
    assert packet == dissect(build(packet) + padding)


@given(st.binary(max_size=100))
def test_any_bytes_may_be_quoted(raw):
    quote = dissect_quote(raw)
    assert quote is None or raw.endswith(quote.payload)


@given(V4 | V6, st.integers(0, 3000), st.integers(0, 150), st.randoms())
def test_fragments_fit_and_give_the_packet_again_in_any_order(packet, size, more, random):
    whole = replace(packet, payload=random.randbytes(size), protocol=UDP, extensions=(), **WHOLE)
    mtu = 68 + more
    pieces = fragments(whole, mtu)
    assert all(piece.size <= mtu for piece in pieces)
    random.shuffle(pieces)
    if len(pieces) == 1:
        assert [whole] == pieces
        return
    reassembler = Reassembler()
    results = [reassembler.add(piece)[0] for piece in pieces]
    assert [None] * (len(pieces) - 1) + [whole] == results


def test_a_fragment_is_cut_up_further():
    late = IpPacket(IPv4Address(1), IPv4Address(2), UDP, bytes(100), flags=MORE_FRAGMENTS, offset=800)
    pieces = fragments(late, 68)
    assert [(800, 1), (848, 1), (896, 1)] == [(piece.offset, piece.flags) for piece in pieces]


@given(V4 | V6, st.integers(0, 0xFFFF), st.integers(0, 0xFFFF), st.binary(max_size=100))
def test_a_datagram_arrives_as_sent(packet, source_port, destination_port, data):
    said = Datagram(source_port, destination_port, data)
    body = udp(packet.source, packet.destination, said)
    assert said == datagram(replace(packet, protocol=UDP, payload=body))


def test_random_numbers_are_the_same_on_every_machine():
    """The first is the reference's of SplitMix64 for a state of 0 (Vigna's splitmix64.c)."""
    dice = Dice(0)
    dice._state = 0  # noqa: SLF001 - the reference takes a state, we take names
    assert [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F] == [dice.next() for _ in range(3)]
    assert [Dice(1, "a").next(), Dice(1, "a").next()] == [Dice(1, "a").next()] * 2
    assert 3 == len({Dice(1, "a").next(), Dice(1, "b").next(), Dice(2, "a").next()})


@given(st.integers(0, 2**32), st.integers(1, 2**40))
def test_a_random_number_stays_below_its_limit(seed, limit):
    dice = Dice(seed)
    assert all(0 <= dice.below(limit) < limit for _ in range(5))


def test_a_probability_is_the_share_of_hits():
    dice = Dice(5)
    assert [0, 10_000] == [sum(dice.happens(chance) for _ in range(10_000)) for chance in (0, 1)]
    assert 2_800 <= sum(dice.happens(0.3) for _ in range(10_000)) <= 3_200
