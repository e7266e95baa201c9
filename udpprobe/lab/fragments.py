"""Fragments: made where a link is narrow, put together where they arrive."""

from __future__ import annotations

from dataclasses import replace

from udpprobe.lab import packets
from udpprobe.lab.model import DONT_FRAGMENT, ICMP, ICMPV6, MORE_FRAGMENTS, Address, Packet

TIMEOUT_S = {4: 30, 6: 60}
"""How long a host waits for the rest (Linux's `ipfrag_time`; RFC 8200, 4.5)."""

MOST = 65_535
LEAST = {4: 552, 6: 1280}
"""Linux takes no smaller MTU (`min_pmtu`; RFC 8200, 5)."""

LARGEST = {4: MOST, 6: MOST + 40}
"""Bytes of a packet: in IPv6 the length leaves the header out (RFC 791, 3.1; RFC 8200, 3)."""

_Key = tuple[Address, Address, int, int]


def fragments(packet: Packet, mtu: int) -> list[Packet]:
    """A packet in pieces that fit (RFC 791, 3.2; RFC 8200, 4.5); itself where it fits. Options stay with the first."""
    if packet.size <= mtu:
        return [packet]
    whole = replace(packet, fragment_header=packet.family == 6)
    room = max((mtu - whole.header_size) // 8 * 8, 8)
    starts = range(0, len(packet.payload), room)
    return [_piece(whole, start, room) for start in starts]


def _piece(packet: Packet, start: int, room: int) -> Packet:
    data = packet.payload[start : start + room]
    last = start + room >= len(packet.payload)
    more = packet.flags & MORE_FRAGMENTS if last else MORE_FRAGMENTS
    return replace(
        packet,
        payload=data,
        offset=packet.offset + start,
        options=b"" if start else packet.options,
        flags=packet.flags & ~(MORE_FRAGMENTS | DONT_FRAGMENT) | more,
    )


class PathMtus:
    """Path MTUs that a host has learned (RFC 1191; RFC 8201)."""

    def __init__(self) -> None:
        self._mtus: dict[Address, int] = {}

    def to(self, destination: Address) -> int:
        """The path MTU, as far as it is known."""
        return self._mtus.get(destination, MOST)

    def learn(self, packet: Packet) -> None:
        """Take the MTU of an error, if it reports one."""
        mtu = _reported_mtu(packet)
        quote = packets.dissect_quote(packet.payload[8:])
        if mtu is not None and quote is not None and packets.icmp_intact(packet):
            self._mtus[quote.destination] = min(max(mtu, LEAST[packet.family]), self.to(quote.destination))


def _reported_mtu(packet: Packet) -> int | None:
    kind = packet.protocol, packet.payload[:2]
    places = {(ICMP, b"\3\4"): slice(6, 8), (ICMPV6, b"\2\0"): slice(4, 8)}
    return int.from_bytes(packet.payload[places[kind]]) if kind in places else None


class Reassembler:
    """Puts fragments together. Those that overlap are lost with all of their packet (RFC 5722; Linux in IPv4 too)."""

    def __init__(self) -> None:
        self._pieces: dict[_Key, dict[int, Packet]] = {}

    def add(self, piece: Packet) -> tuple[Packet | None, bool]:
        """The whole packet once all of it is there, and whether this was the first piece of one that is not."""
        key = self.key(piece)
        pieces = self._pieces.setdefault(key, {})
        first = not pieces
        pieces.setdefault(piece.offset, piece)
        whole = _joined(list(pieces.values()))
        if whole is not None:
            del self._pieces[key]
        return whole, first and whole is None

    def give_up(self, piece: Packet) -> Packet | None:
        """Forget the packet whose fragments began to come with this one; its first fragment, if that had come."""
        key = self.key(piece)
        if next(iter(self._pieces.get(key, {}).values()), None) is not piece:
            return None  # it was completed in time; a later packet may have its id
        return self._pieces.pop(key).get(0)

    @staticmethod
    def key(piece: Packet) -> _Key:
        """What fragments of one packet have in common."""
        return piece.source, piece.destination, piece.protocol if piece.family == 4 else 0, piece.ip_id


def _joined(pieces: list[Packet]) -> Packet | None:
    """The packet, if the pieces are all of it, without gap or overlap."""
    ordered = sorted(pieces, key=lambda piece: piece.offset)
    data = b""
    for piece in ordered:
        if piece.offset != len(data):
            return None
        data += piece.payload
    first = ordered[0]
    size = first.header_size - 8 * first.fragment_header + len(data)
    if ordered[-1].flags & MORE_FRAGMENTS or size > LARGEST[first.family]:
        return None
    whole = replace(first, payload=data, flags=first.flags & ~MORE_FRAGMENTS, fragment_header=False)
    found = packets.dissect(packets.build(whole))  # extension headers may follow the fragment header
    return (
        None
        if isinstance(found, str)
        else replace(found, ip_id=first.ip_id, largest_piece=max(piece.size for piece in pieces))
    )
