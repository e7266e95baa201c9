"""The interfaces a pcapng section declares: link types, clocks, and what they say they dropped."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np

from udpprobe.core.runs import distinct

if TYPE_CHECKING:
    from collections.abc import Iterator

    from udpprobe.core.batch import I32, I64, U64

MAX_INTERFACES = 1 << 16
"""More are not declared: that many is an attack on our memory, not a host."""

TIME_RESOLUTION, TIME_OFFSET = 9, 14
"""Options of an interface description block (draft-ietf-opsawg-pcapng section 4.2)."""

INTERFACE_DROPS, SYSTEM_DROPS = 5, 7
"""Options of an interface statistics block (section 4.6): isb_ifdrop, isb_osdrop."""

MICROSECONDS = 6
UNKNOWN_LINK = 0xFFFF
"""Of an interface whose description is too short: its number is taken all the same."""

_SIGNED, _WRAP = 1 << 63, 1 << 64


def options(body: bytes, order: str) -> Iterator[tuple[int, bytes]]:
    """The options that are whole, as code and value, up to opt_endofopt or a torn one (section 3.5)."""
    at = 0
    while at + 4 <= len(body):
        code, length = struct.unpack_from(f"{order}2H", body, at)
        if not code or at + 4 + length > len(body):
            break
        yield code, body[at + 4:at + 4 + length]
        at += 4 + -(-length // 4) * 4


def nanoseconds(ticks: U64, resolution: int) -> I64:
    """Converts time stamps, rounding down; what does not fit into 64 bits wraps.

    Args:
        ticks: (n,) in units of the resolution.
        resolution: if_tsresol: a negative power of 2 if its highest bit is set, else of 10.
    """
    exponent = resolution & 0x7F
    if resolution & 0x80:
        return _from_binary(ticks, exponent)
    if exponent <= 9:
        return (ticks * np.uint64(10 ** (9 - exponent))).view(np.int64)
    divisor = min(10 ** (exponent - 9), _WRAP - 1)
    return (ticks // np.uint64(divisor)).view(np.int64)


def _from_binary(ticks: U64, exponent: int) -> I64:
    if exponent > 33:     # the product below would not fit
        exact = [tick * 1_000_000_000 >> exponent for tick in ticks.tolist()]
        return np.array([value % _WRAP for value in exact], np.uint64).view(np.int64)
    seconds = ticks >> np.uint64(exponent)
    fraction = ticks - (seconds << np.uint64(exponent))
    parts = fraction * np.uint64(1_000_000_000) >> np.uint64(exponent)
    return (seconds * np.uint64(1_000_000_000) + parts).view(np.int64)


class Known(NamedTuple):
    """What must be known of a section to read packets in the middle of it."""

    order: str
    links: tuple[int, ...]
    clocks: tuple[tuple[int, int], ...]
    snap_bytes: int


class Interfaces:
    """The interfaces of one section, in the order of their numbers.

    Args:
        order: the section's byte order, "<" or ">".
    """

    def __init__(self, order: str) -> None:
        self._order = order
        self._links: list[int] = []
        self._clocks: list[tuple[int, int]] = []
        self.drops: dict[int, int] = {}
        """What interfaces last said they dropped, since the capture began."""
        self.snap_bytes = 0
        """Snap length of the first interface, to which simple packet blocks belong; 0: none."""

    @classmethod
    def of(cls, known: Known) -> Self:
        """The interfaces as they were when that was known; nothing was dropped since."""
        self = cls(known.order)
        self._links, self._clocks, self.snap_bytes = list(known.links), list(known.clocks), known.snap_bytes
        return self

    @property
    def known(self) -> Known:
        """What whoever reads on must know."""
        return Known(self._order, tuple(self._links), tuple(self._clocks), self.snap_bytes)

    def __len__(self) -> int:
        return len(self._links)

    def declare(self, body: bytes) -> bool:
        """Takes in the body of an interface description block; False if it is too short, or one too many."""
        if len(self) == MAX_INTERFACES:
            return False
        is_whole = len(body) >= 8
        link, snap_bytes = struct.unpack(f"{self._order}H2xI", body[:8]) if is_whole else (UNKNOWN_LINK, 0)
        resolution, offset_ns = MICROSECONDS, 0
        for code, value in options(body[8:], self._order):
            if code == TIME_RESOLUTION and value:
                resolution = value[0]
            elif code == TIME_OFFSET and len(value) == 8:
                offset_ns = struct.unpack(f"{self._order}q", value)[0] * 1_000_000_000
        if not self._links:
            self.snap_bytes = snap_bytes
        self._links.append(link)
        self._clocks.append((resolution, (offset_ns + _SIGNED) % _WRAP - _SIGNED))
        return is_whole

    def count_drops(self, body: bytes) -> int | None:
        """Takes in the body of an interface statistics block.

        Returns:
            By how much the packets dropped have become more; None where it does not say.
        """
        if len(body) < 12:
            return None
        told = [int.from_bytes(value, "little" if self._order == "<" else "big")
                for code, value in options(body[12:], self._order)
                if code in (INTERFACE_DROPS, SYSTEM_DROPS) and len(value) == 8]
        if not told:
            return None
        interface = struct.unpack_from(f"{self._order}I", body)[0]
        before = self.drops.get(interface, 0)
        self.drops[interface] = sum(told)     # it counts from the capture's start, so the last one tells
        return sum(told) - before

    def link_types(self, interface: I64) -> I32:
        """(n,) LINKTYPE_ values; where all interfaces have the same, one value broadcast."""
        if self._links.count(self._links[0]) == len(self):
            return np.broadcast_to(np.array(self._links[0], np.int32), len(interface))
        return np.array(self._links, np.int32)[interface]

    def times(self, ticks: U64, interface: I64) -> I64:
        """(n,) nanoseconds since 1970 from the time stamps of interfaces' packets."""
        clocks = sorted(set(self._clocks))
        if len(clocks) == 1:
            return _read_clock(ticks, *clocks[0])
        number = {clock: index for index, clock in enumerate(clocks)}
        clock_of = np.array([number[clock] for clock in self._clocks])[interface]
        time_ns = np.empty(len(ticks), np.int64)
        for index in distinct(clock_of):
            rows = clock_of == index
            time_ns[rows] = _read_clock(ticks[rows], *clocks[index])
        return time_ns


def _read_clock(ticks: U64, resolution: int, offset_ns: int) -> I64:
    return nanoseconds(ticks, resolution) + np.array(offset_ns, np.int64)
