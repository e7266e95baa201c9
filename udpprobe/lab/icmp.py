"""ICMP errors: about which packets, at which rate, and what they quote, correctly or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from udpprobe.lab import packets
from udpprobe.lab.model import ICMP, ICMPV6, SECOND_NS, Address, Dice, ErrorKind, IpPacket
from udpprobe.lab.scenario import Limit, NodeSpec

_ERRORS = {3, 4, 5, 11, 12}
_MOST = {4: 576, 6: 1280}
"""Longest error in bytes (RFC 1812, 4.3.2.3; RFC 4443, 2.4 c)."""
_ABOUT_MULTICAST = {(2, 0), (4, 2)}


def may_be_sent(packet: IpPacket, kind: ErrorKind) -> bool:
    """Whether an error about a packet is allowed (RFC 1122, 3.2.2; RFC 1812, 4.3.2.7; RFC 4443, 2.4 e)."""
    if _is_error(packet) or _names_no_host(packet.source):
        return False
    if packet.family == 4:
        return not (packet.offset or packet.destination.is_multicast or packet.destination.is_reserved)
    return not packet.destination.is_multicast or kind[:2] in _ABOUT_MULTICAST


def _is_error(packet: IpPacket) -> bool:
    if not packet.payload or packet.offset:
        return False
    if packet.family == 4:
        return packet.protocol == ICMP and packet.payload[0] in _ERRORS
    return packet.protocol == ICMPV6 and (packet.payload[0] < 128 or packet.payload[0] == 137)


def _names_no_host(source: Address) -> bool:
    return (
        source.is_unspecified
        or source.is_multicast
        or source.is_loopback
        or (source.version == 4 and source.is_reserved)
    )


def message(packet: IpPacket, kind: ErrorKind, spec: NodeSpec, source: Address, destination: Address) -> bytes:
    """The ICMP error about a packet.

    Args:
        packet: as it arrived, or as a forger quotes it.
        kind: of the error.
        spec: of the node that sends it.
        source: of the error.
        destination: of the error.
    """
    raw = packets.build(packet)
    most = _MOST[packet.family] - (28 if packet.family == 4 else 48)
    size = most if spec.quote is None else min(most, packet.header_size + spec.quote)
    quote = raw[:size]
    for name in spec.mangles:
        quote = _MANGLES[name](quote)
    extensions = packets.extensions(spec.mpls, spec.interface, source, kind)
    return packets.icmp_error(source, destination, kind, quote, extensions, counted=spec.rfc4884)


def _swap(v4: int | None, v6: int | None) -> Callable[[bytes], bytes]:
    """Swap the two bytes there, as a host without `htons` does."""

    def mangle(quote: bytes) -> bytes:
        at = v4 if quote[:1] < b"\x60" else v6
        return quote if at is None else quote[:at] + quote[at : at + 2][::-1] + quote[at + 2 :]

    return mangle


def _short_length(quote: bytes) -> bytes:
    """The length without the header's, as in 4.2BSD."""
    if quote[:1] >= b"\x60":
        return quote
    length = int.from_bytes(quote[2:4]) - 4 * (quote[0] & 15) & 0xFFFF
    return quote[:2] + length.to_bytes(2) + quote[4:]


def _zero_checksum(quote: bytes) -> bytes:
    return quote[:10] + b"\0\0" + quote[12:] if quote[:1] < b"\x60" else quote


def _lower_ttl(quote: bytes) -> bytes:
    """Decrement the TTL before quoting, as some routers do."""
    at = 8 if quote[:1] < b"\x60" else 7
    return quote[:at] + bytes([max(quote[at] - 1, 0)]) + quote[at + 1 :]


_MANGLES: dict[str, Callable[[bytes], bytes]] = {
    "swap-length": _swap(2, 4),
    "swap-id": _swap(4, None),
    "swap-offset": _swap(6, None),
    "short-length": _short_length,
    "zero-checksum": _zero_checksum,
    "ttl": _lower_ttl,
}


GUESS = 0x5A3C
"""Distance of a guessed id: never the right one byte-swapped, as some routers quote it."""


def forged(packet: IpPacket, wrong: str) -> IpPacket:
    """A packet as quoted by a forger who must guess what he cannot see."""
    return _FORGERIES[wrong](packet)


def _neighbour(address: Address) -> Address:
    return type(address)(int(address) ^ 1)


def _other_port(packet: IpPacket) -> IpPacket:
    return replace(packet, payload=bytes(byte ^ 0x55 for byte in packet.payload[:2]) + packet.payload[2:])


def _other_token(packet: IpPacket) -> IpPacket:
    data = bytes(byte ^ 0x55 for byte in packet.payload[8:])
    return replace(
        packet, payload=packet.payload[:8] + data, ip_id=packet.ip_id ^ GUESS, flow_label=packet.flow_label ^ GUESS
    )


_FORGERIES: dict[str, Callable[[IpPacket], IpPacket]] = {
    "id": lambda packet: replace(packet, ip_id=packet.ip_id ^ GUESS, flow_label=packet.flow_label ^ GUESS),
    "token": _other_token,
    "ports": _other_port,
    "source": lambda packet: replace(packet, source=_neighbour(packet.source)),
    "destination": lambda packet: replace(packet, destination=_neighbour(packet.destination)),
}


class Bucket:
    """A token bucket in nanoseconds, like Linux's `inet_peer` in jiffies: full at first."""

    def __init__(self) -> None:
        self.tokens_ns = 60 * SECOND_NS
        self._last_ns = 0

    def fill(self, now_ns: int, cap_ns: int) -> None:
        """Add the tokens since the last call."""
        self.tokens_ns = min(cap_ns, self.tokens_ns + now_ns - self._last_ns)
        self._last_ns = now_ns

    def take(self, now_ns: int, cost_ns: int, burst: int) -> bool:
        """Whether there is enough for one more; if so, take it."""
        self.fill(now_ns, burst * cost_ns)
        enough = self.tokens_ns >= cost_ns
        self.tokens_ns -= cost_ns * enough
        return enough


class ErrorLimit(Protocol):
    """A limit on errors."""

    def allows(self, to: Address, kind: ErrorKind, now_ns: int, *, routed: bool) -> bool:
        """Whether an error may be sent; if so, count it.

        Args:
            to: its destination.
            kind: its type and code.
            now_ns: time.
            routed: whether the routing table itself rejects the packet.
        """


class NoLimit:
    """No limit."""

    def allows(self, to: Address, kind: ErrorKind, now_ns: int, *, routed: bool) -> bool:  # noqa: ARG002 - see `ErrorLimit`
        """Always."""
        return True


class PlainLimit:
    """One bucket, or one per destination (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f)."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._cost_ns = round(SECOND_NS / limit.per_s)
        self._buckets: dict[Address | None, Bucket] = {}

    def allows(self, to: Address, kind: ErrorKind, now_ns: int, *, routed: bool) -> bool:  # noqa: ARG002 - see `ErrorLimit`
        """Whether the bucket has a token."""
        bucket = self._buckets.setdefault(to if self._limit.by == "source" else None, Bucket())
        return bucket.take(now_ns, self._cost_ns, self._limit.burst)


_BURST, _ROUTE_BURST, _GLOBAL_BURST = 6, 5, 50
_COST_NS = {4: SECOND_NS, 6: SECOND_NS // 10}
_GLOBAL_COST_NS = SECOND_NS // 1000
_TOO_BIG = {4: (3, 4), 6: (2, 0)}


class LinuxLimit:
    """Linux's limits: 6 at once to a source, then 1 a second (IPv6: 10), and 1000 a second with bursts of 50 in total.

    An error from the IPv4 routing table passes two limits that share one bucket, so it is even rarer. "Packet too big"
    is not limited. Measured on Linux 6.18.
    """

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._global = Bucket()
        self._sources: dict[Address, Bucket] = {}

    def allows(self, to: Address, kind: ErrorKind, now_ns: int, *, routed: bool) -> bool:
        """Whether both buckets have a token, the source's and the global one."""
        if kind[:2] == _TOO_BIG[to.version]:
            return True
        bucket, cost_ns = self._sources.setdefault(to, Bucket()), _COST_NS[to.version]
        if routed and to.version == 4 and not bucket.take(now_ns, cost_ns, _ROUTE_BURST):
            return False
        self._global.fill(now_ns, _GLOBAL_BURST * _GLOBAL_COST_NS)
        if self._global.tokens_ns < _GLOBAL_COST_NS or not bucket.take(now_ns, cost_ns, _BURST):
            return False
        self._global.tokens_ns -= self._dice.below(3) * _GLOBAL_COST_NS  # random, so that nobody can count errors
        return True
