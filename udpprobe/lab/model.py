"""Shared by the whole lab: packets of both families, ICMP errors by name, and the random numbers of a run."""

from __future__ import annotations

from dataclasses import dataclass, field
from hashlib import blake2b
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

Address = IPv4Address | IPv6Address

SECOND_NS = 1_000_000_000
ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
MORE_FRAGMENTS, DONT_FRAGMENT = 1, 2
"""Bits of `IpPacket.flags`, as in the IPv4 header (RFC 791, 3.1)."""


@dataclass(frozen=True, slots=True)
class IpPacket:
    """An IP packet; everything above IP stays as bytes, with its original checksums."""

    source: Address
    destination: Address
    protocol: int
    """Of the payload, after IPv6 extension headers."""
    payload: bytes
    ttl: int = 64
    """Or hop limit."""
    tos: int = 0
    """Or traffic class."""
    flow_label: int = 0
    ip_id: int = 0
    """In IPv6 from the fragment header."""
    flags: int = 0
    offset: int = 0
    """Fragment offset, in bytes."""
    fragment_header: bool = False
    """Whether an IPv6 packet is a fragment; an atomic fragment's header is among its extensions."""
    options: bytes = b""
    """IPv4 options, padded to words."""
    extensions: tuple[tuple[int, bytes], ...] = ()
    """IPv6 headers before a fragment header: number of each, and its bytes after the next-header field."""

    largest_piece: int = field(default=0, compare=False)
    """Bytes of the largest fragment that it was reassembled from."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.source.version

    @property
    def header_size(self) -> int:
        """Bytes before the payload."""
        if self.family == 4:
            return 20 + len(self.options)
        return 40 + sum(1 + len(body) for _, body in self.extensions) + 8 * self.fragment_header

    @property
    def size(self) -> int:
        """Bytes of the whole packet."""
        return self.header_size + len(self.payload)

    @property
    def is_fragment(self) -> bool:
        """Whether it is a fragment."""
        return bool(self.offset or self.flags & MORE_FRAGMENTS)

    @property
    def may_be_cut(self) -> bool:
        """Whether a router may fragment it."""
        return self.family == 4 and not self.flags & DONT_FRAGMENT

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port; zeros if it has none, like later fragments."""
        if self.protocol not in (TCP, UDP) or self.offset or len(self.payload) < 4:
            return 0, 0
        return int.from_bytes(self.payload[:2]), int.from_bytes(self.payload[2:4])


class Departure(NamedTuple):
    """A packet that leaves a node."""

    packet: IpPacket
    next_hop: str
    """Name of the next node."""
    wait_ns: int = 0
    """Delay before it is sent."""


class ErrorKind(NamedTuple):
    """Type and content of an ICMP error."""

    type: int
    code: int
    word: int = 0
    """The rest of its header: an MTU, or the pointer of a parameter problem."""


KINDS: dict[str, dict[int, ErrorKind]] = {
    "port-unreachable": {4: ErrorKind(3, 3), 6: ErrorKind(1, 4)},
    "host-unreachable": {4: ErrorKind(3, 1), 6: ErrorKind(1, 3)},
    "net-unreachable": {4: ErrorKind(3, 0), 6: ErrorKind(1, 0)},
    "proto-unreachable": {4: ErrorKind(3, 2), 6: ErrorKind(4, 1, 6)},
    "net-prohibited": {4: ErrorKind(3, 9), 6: ErrorKind(1, 1)},
    "host-prohibited": {4: ErrorKind(3, 10), 6: ErrorKind(1, 1)},
    "admin-prohibited": {4: ErrorKind(3, 13), 6: ErrorKind(1, 1)},
    "policy-fail": {4: ErrorKind(3, 13), 6: ErrorKind(1, 5)},
    "reject-route": {4: ErrorKind(3, 13), 6: ErrorKind(1, 6)},
    "source-quench": {4: ErrorKind(4, 0)},
    "time-exceeded": {4: ErrorKind(11, 0), 6: ErrorKind(3, 0)},
    "reassembly-timeout": {4: ErrorKind(11, 1), 6: ErrorKind(3, 1)},
    "parameter-problem": {4: ErrorKind(12, 0, 20), 6: ErrorKind(4, 0, 40)},
    "packet-too-big": {4: ErrorKind(3, 4), 6: ErrorKind(2, 0)},
}
"""By the names in a scenario, and family (IPv6 has no source quench)."""


_MASK = (1 << 64) - 1


class Dice:
    """Random numbers by SplitMix64 (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).

    Args:
        seed: of the run.
        owner: user of the numbers. Each owner has its own sequence, independent of the others.
    """

    def __init__(self, seed: int, owner: str = "") -> None:
        self._state = int.from_bytes(blake2b(f"{seed} {owner}".encode(), digest_size=8).digest())

    def next(self) -> int:
        """The next 64 random bits."""
        self._state = (self._state + 0x9E3779B97F4A7C15) & _MASK
        mixed = self._state
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return mixed ^ (mixed >> 31)

    def below(self, limit: int) -> int:
        """A number from 0 to `limit` - 1."""
        return self.next() * limit >> 64

    def happens(self, chance: float) -> bool:
        """Whether an event with this probability (0 to 1) happens."""
        return chance > 0 and self.next() < chance * (_MASK + 1)


def ns(milliseconds: float) -> int:
    """Milliseconds as nanoseconds."""
    return round(milliseconds * 1_000_000)
