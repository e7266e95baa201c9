"""A NAT: it hides hosts, and translates the errors that come back for them, well, badly or not at all."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import NamedTuple

from udpprobe.lab import packets
from udpprobe.lab.model import ICMP, ICMPV6, TCP, UDP, Address, IpPacket
from udpprobe.lab.scenario import Nat

_CHECKSUM_AT = {UDP: 6, TCP: 16, ICMP: 2, ICMPV6: 2}
_ECHO = {ICMP: (8, 0), ICMPV6: (128, 129)}
_FIRST_PORT = 1024


class NatEndpoint(NamedTuple):
    """An address, and a port or ping identifier."""

    address: Address
    port: int


class Translator:
    """A NAT that maps each inside endpoint to its own port, whatever the destination (RFC 4787, 4.1).

    Args:
        nat: its behaviour.
        outside: its own addresses.
    """

    def __init__(self, nat: Nat, outside: list[Address]) -> None:
        self._nat = nat
        self._outside: dict[int, Address] = {address.version: address for address in outside}
        self._ports: dict[tuple[int, NatEndpoint], int] = {}
        self._behind: dict[tuple[int, int, int], NatEndpoint] = {}

    def outbound(self, packet: IpPacket) -> IpPacket:
        """A departing packet with the NAT's address and port."""
        address, at = self._outside.get(packet.family), _port_at(packet, answered=False)
        if address is None or at is None:
            return packet
        port = self._port(packet.protocol, NatEndpoint(packet.source, _word(packet.payload, at)))
        return _readdressed(packet, at, NatEndpoint(address, port), source=True)

    def inbound(self, packet: IpPacket) -> IpPacket:
        """An arriving packet with the inside host's address; unchanged if it is for the NAT itself."""
        if packet.destination != self._outside.get(packet.family):
            return packet
        if _is_error(packet):
            return self._error(packet)
        at = _port_at(packet, answered=True)
        endpoint = None if at is None else self._endpoint(packet.protocol, packet, _word(packet.payload, at))
        return packet if at is None or endpoint is None else _readdressed(packet, at, endpoint, source=False)

    def _port(self, protocol: int, endpoint: NatEndpoint) -> int:
        """The same port outside if it is free, else the next; if none is, another endpoint loses its port."""
        key = protocol, endpoint
        if key not in self._ports:
            port, version = endpoint.port, endpoint.address.version
            wanted = chain(range(port, 65_536), range(_FIRST_PORT, port))
            port = next((each for each in wanted if (protocol, version, each) not in self._behind), port)
            self._ports[key] = port
            self._behind[protocol, version, port] = endpoint
        return self._ports[key]

    def _endpoint(self, protocol: int, packet: IpPacket, port: int) -> NatEndpoint | None:
        return self._behind.get((protocol, packet.family, port))

    def _error(self, packet: IpPacket) -> IpPacket:
        """An error about a translated packet: for its sender, with the quote translated back, or not."""
        quote = packets.dissect_quote(packet.payload[8:])
        at = None if quote is None else _port_at(quote, answered=False)
        if self._nat.quotes == "never" or quote is None or at is None or quote.source != packet.destination:
            return packet
        endpoint = self._endpoint(quote.protocol, packet, _word(quote.payload, at))
        if endpoint is None or not packets.icmp_intact(packet):
            return packet
        shown = packet.payload[8:]
        if self._nat.quotes == "well":
            shown = _translated_quote(shown, quote, at, endpoint)
        message = packets.icmp_sealed(packet.source, endpoint.address, packet.payload[:8] + shown)
        return replace(packet, destination=endpoint.address, payload=message)


def _is_error(packet: IpPacket) -> bool:
    if packet.offset or len(packet.payload) < 8:
        return False
    return (packet.protocol == ICMP and packet.payload[0] in {3, 4, 11, 12}) or (
        packet.protocol == ICMPV6 and packet.payload[0] < 128
    )


def _port_at(packet: IpPacket, *, answered: bool) -> int | None:
    """Offset of the inside port in the payload; None if the packet has none."""
    if packet.offset or len(packet.payload) < 8:
        return None
    if packet.protocol in {UDP, TCP}:
        return 2 if answered else 0
    echo = _ECHO.get(packet.protocol)
    return 4 if echo and packet.payload[0] == echo[answered] else None


def _word(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 2])


def _readdressed(packet: IpPacket, at: int, endpoint: NatEndpoint, *, source: bool) -> IpPacket:
    """A packet with another endpoint and an adjusted checksum (RFC 1624): a wrong one stays wrong."""
    old = packet.source if source else packet.destination
    pseudo = (old.packed, endpoint.address.packed) if packet.protocol != ICMP else (b"", b"")
    payload = _changed(
        packet.payload, at, endpoint.port, _CHECKSUM_AT[packet.protocol], *pseudo, optional=packet.protocol == UDP
    )
    moved = replace(packet, payload=payload)
    return replace(moved, source=endpoint.address) if source else replace(moved, destination=endpoint.address)


def _changed(payload: bytes, at: int, port: int, checksum_at: int, *pseudo: bytes, optional: bool) -> bytes:
    old = payload[at : at + 2]
    new = port.to_bytes(2)
    changed = payload[:at] + new + payload[at + 2 :]
    stored = _word(changed, checksum_at)
    if len(payload) < checksum_at + 2 or (optional and stored == 0):
        return changed
    found = _adjusted(stored, old + pseudo[0], new + pseudo[1]) or (0xFFFF if optional else 0)
    return changed[:checksum_at] + found.to_bytes(2) + changed[checksum_at + 2 :]


def _adjusted(stored: int, old: bytes, new: bytes) -> int:
    """A checksum after some words changed: HC' = ~(~HC + ~m + m') (RFC 1624, 3)."""
    total = (~stored & 0xFFFF) + sum(~_word(old, at) & 0xFFFF for at in range(0, len(old), 2))
    total += sum(_word(new, at) for at in range(0, len(new), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _translated_quote(raw: bytes, quote: IpPacket, at: int, endpoint: NatEndpoint) -> bytes:
    """The quoted header and payload with their original source; nothing else changes, not even the TTL."""
    inner = _readdressed(quote, at, endpoint, source=True).payload
    header = raw[: len(raw) - len(quote.payload)]
    place, size = (12, 4) if quote.family == 4 else (8, 16)
    header = header[:place] + endpoint.address.packed + header[place + size :]
    if quote.family == 4:
        found = _adjusted(_word(header, 10), quote.source.packed, endpoint.address.packed)
        header = header[:10] + found.to_bytes(2) + header[12:]
    return header + inner
