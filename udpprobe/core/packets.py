"""Decoded rows as columns: datagrams seen on the wire, and ICMP errors with what they quote.

Addresses are 128 bits in two uint64, IPv4 mapped (RFC 4291, 2.5.5.2): one key for both families. What is
narrow is packed, so that a batch's columns stay in the cache; `fields` of the packed word are properties.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np

from udpprobe.core.batch import I64, U64, Bool

MAPPED = np.uint64(0xFFFF_0000_0000)
"""Upper part of the lower half of an IPv4-mapped address."""

TUNNELLED = np.uint64(1)
FRAGMENTED = np.uint64(2)
"""Flags of `Datagrams.detail`: inside a tunnel; the first of several fragments."""


DONT_FRAGMENT = np.uint64(4)
"""Flag of `Errors.outer`: IPv4's DF (RFC 791)."""

UNKNOWN_LENGTH = 1 << 20
"""More than any packet has, so that it is never the least of several."""


def u64(value: int) -> np.uint64:
    """Short for a constant that must not turn a column into floats."""
    return np.uint64(value)


def field(word: U64, shift: int, bits: int) -> U64:
    """`bits` bits of each word, from bit `shift` up."""
    return (word >> u64(shift)) & u64((1 << bits) - 1)


class Columns:
    """What sets of equally long columns have in common."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(getattr(self, fields(self)[0].name))  # type: ignore[arg-type]  # a dataclass below

    def take(self, rows: I64 | Bool | slice) -> Self:
        """Some of the rows."""
        names = (column.name for column in fields(self))  # type: ignore[arg-type]  # a dataclass below
        return type(self)(*(getattr(self, name)[rows] for name in names))

    @classmethod
    def concatenate(cls, parts: list[Self]) -> Self:
        """One after the other."""
        if len(parts) == 1:
            return parts[0]
        names = (column.name for column in fields(cls))  # type: ignore[arg-type]  # a dataclass below
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


@dataclass(slots=True)
class Datagrams(Columns):
    """(n,) UDP datagrams, each by its first fragment."""

    frame: I64
    time_ns: I64
    source_high: U64
    source_low: U64
    destination_high: U64
    destination_low: U64
    ports: U64
    """source port << 16 | destination port"""
    detail: U64
    """Five in one word: id << 48 | UDP length << 32 | UDP checksum << 16 | TTL << 8 | flags.

    The id is IPv4's, or the lower half of an IPv6 fragment's.
    """
    ip_length: I64
    """Bytes of the IP packet as its header says; of a fragmented one, as it was before."""
    link: U64
    """Who sent the frame, as the link header says; tells the directions of a link apart. 0 where it is mute."""

    @property
    def ttl(self) -> U64:
        """TTL or hop limit, 0 to 255."""
        return field(self.detail, 8, 8)

    @property
    def udp_length(self) -> U64:
        """The UDP header's length field."""
        return field(self.detail, 32, 16)


@dataclass(slots=True)
class Errors(Columns):
    """(n,) ICMP and ICMPv6 errors that quote UDP."""

    frame: I64
    time_ns: I64
    family: I64
    type: I64
    code: I64
    outer: U64
    """Of the error's own IP header: id << 48 (0 for IPv6) | TTL << 8 | DONT_FRAGMENT."""
    mtu: I64
    """Next-hop MTU, -1 where the error has none."""
    reporter_high: U64
    reporter_low: U64
    source_high: U64
    """Of the quoted datagram, like all that follow."""
    source_low: U64
    destination_high: U64
    destination_low: U64
    ports: U64
    """source port << 16 | destination port; meaningless without HAS_PORTS"""
    detail: U64
    """As in `Datagrams`, from the quote: id, UDP length, checksum, TTL, flags."""
    ip_length: I64
    """As the quote says, true or not."""
    length: I64
    """Bytes of the datagram's IP packet as far as the quote can be trusted, or UNKNOWN_LENGTH."""
    quoted_bytes: I64
    """Bytes of the quote that were captured, from its IP header on."""
    message: I64
    """Where the ICMP message starts in the bytes it was read from, and where it ends there."""
    message_end: I64
    notes: I64
    """Bits of `NOTES`."""
