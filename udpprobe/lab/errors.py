"""ICMP errors: who may be told one, from which address, and how much of the datagram it shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from udpprobe.lab import packets
from udpprobe.lab.extensions import structure
from udpprobe.lab.model import ICMP, ICMPV6, Address, Kind, Packet
from udpprobe.lab.spec import NodeSpec

_ERRORS = {3, 4, 5, 11, 12}
_MOST = {4: 576, 6: 1280}
"""Bytes of an error (RFC 1812, 4.3.2.3; RFC 4443, 2.4 c)."""
_ABOUT_MULTICAST = {(2, 0), (4, 2)}


def may_be_told(packet: Packet, kind: Kind) -> bool:
    """Whether an error about a packet is allowed (RFC 1122, 3.2.2; RFC 1812, 4.3.2.7; RFC 4443, 2.4 e)."""
    if _is_error(packet) or _is_nobody(packet.source):
        return False
    if packet.family == 4:
        return not (packet.offset or packet.destination.is_multicast or packet.destination.is_reserved)
    return not packet.destination.is_multicast or kind[:2] in _ABOUT_MULTICAST


def _is_error(packet: Packet) -> bool:
    if not packet.payload or packet.offset:
        return False
    if packet.family == 4:
        return packet.protocol == ICMP and packet.payload[0] in _ERRORS
    return packet.protocol == ICMPV6 and (packet.payload[0] < 128 or packet.payload[0] == 137)


def _is_nobody(source: Address) -> bool:
    return source.is_unspecified or source.is_multicast or source.is_loopback or (
        source.version == 4 and source.is_reserved)


def message(packet: Packet, kind: Kind, spec: NodeSpec, source: Address, destination: Address) -> bytes:
    """The ICMP message that tells of a packet.

    Args:
        packet: as it arrived, or as a forger has it.
        kind: what is said.
        spec: of the node that says it.
        source: address that it says so from.
        destination: who is told.
    """
    raw = packets.build(packet)
    most = _MOST[packet.family] - (28 if packet.family == 4 else 48)
    size = most if spec.quote is None else min(most, packet.header_size + spec.quote)
    quote = raw[:size]
    for name in spec.mangles:
        quote = _MANGLES[name](quote)
    return packets.icmp_error(source, destination, kind, quote, structure(spec, source, kind), counted=spec.rfc4884)


def _swap(v4: int | None, v6: int | None) -> Callable[[bytes], bytes]:
    """Turn the two bytes there round, as a machine does that forgot `htons`."""
    def mangle(quote: bytes) -> bytes:
        at = v4 if quote[:1] < b"\x60" else v6
        return quote if at is None else quote[:at] + quote[at:at + 2][::-1] + quote[at + 2:]
    return mangle


def _short_length(quote: bytes) -> bytes:
    """As a machine quotes that has taken the header from the length (4.2BSD)."""
    if quote[:1] >= b"\x60":
        return quote
    length = int.from_bytes(quote[2:4]) - 4 * (quote[0] & 15) & 0xFFFF
    return quote[:2] + length.to_bytes(2) + quote[4:]


def _zero_checksum(quote: bytes) -> bytes:
    return quote[:10] + b"\0\0" + quote[12:] if quote[:1] < b"\x60" else quote


def _lower_ttl(quote: bytes) -> bytes:
    """As a router quotes that counts down first."""
    at = 8 if quote[:1] < b"\x60" else 7
    return quote[:at] + bytes([max(quote[at] - 1, 0)]) + quote[at + 1:]


_MANGLES: dict[str, Callable[[bytes], bytes]] = {
    "swap-length": _swap(2, 4),
    "swap-id": _swap(4, None),
    "swap-offset": _swap(6, None),
    "short-length": _short_length,
    "zero-checksum": _zero_checksum,
    "ttl": _lower_ttl,
}


GUESS = 0x5A3C
"""How far off a guessed id is: never the right one with its bytes swapped, as some routers quote it."""


def forged(packet: Packet, wrong: str) -> Packet:
    """A packet as a forger would quote it who has to guess."""
    return _FORGERIES[wrong](packet)


def _neighbour(address: Address) -> Address:
    return type(address)(int(address) ^ 1)


def _other_port(packet: Packet) -> Packet:
    return replace(packet, payload=bytes(byte ^ 0x55 for byte in packet.payload[:2]) + packet.payload[2:])


def _other_token(packet: Packet) -> Packet:
    data = bytes(byte ^ 0x55 for byte in packet.payload[8:])
    return replace(packet, payload=packet.payload[:8] + data, ip_id=packet.ip_id ^ GUESS,
                   flow_label=packet.flow_label ^ GUESS)


_FORGERIES: dict[str, Callable[[Packet], Packet]] = {
    "id": lambda packet: replace(packet, ip_id=packet.ip_id ^ GUESS, flow_label=packet.flow_label ^ GUESS),
    "token": _other_token,
    "ports": _other_port,
    "source": lambda packet: replace(packet, source=_neighbour(packet.source)),
    "destination": lambda packet: replace(packet, destination=_neighbour(packet.destination)),
}
