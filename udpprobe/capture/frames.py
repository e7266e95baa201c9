"""Frames as objects, for sources that give few of them, and what a source knows beside its frames.

A frame comes off the wire, or from a caller who has it in memory: as a pair of time and bytes, or as Scapy's packet.
"""

from __future__ import annotations

import sys
from collections import Counter
from decimal import Decimal
from typing import Any, NamedTuple

from msgspec import Struct, field

from udpprobe.errors import UsageError


class Frame(NamedTuple):
    """One frame."""

    time_ns: int
    """Since 1970, UTC."""
    data: bytes
    """As much of it as was captured."""
    length: int
    """Bytes it had on the wire."""
    link_type: int
    """LINKTYPE_ value."""
    number: int
    """Counted from 1 in the whole capture."""


class Frames(Struct):
    """What a live source captured since it was last asked, in the order of the frames' numbers."""

    now_ns: int
    """How far the source has listened: later frames are not older, as far as the kernel keeps order."""
    frames: list[Frame] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)


ETHERNET, RAW = 1, 101
"""LINKTYPE_ values: with an Ethernet header, and packets that begin with their IP header."""
UNKNOWN = 0xFFFF
"""No link type: the packet is counted under its fault."""
LINK_TYPE_OF_DLT = {12: RAW}
"""Scapy calls raw IP by libpcap's number on Linux (pcap/dlt.h)."""

RawFrame = tuple[int, bytes, int, int]
"""Time in nanoseconds since 1970, bytes that were captured, number of bytes on the wire, LINKTYPE_ value."""


def frame_of(packet: Any, link_type: int | None) -> RawFrame:  # noqa: ANN401 - whatever the caller has
    """A packet as a frame.

    Args:
        packet: `(time_ns, bytes)`, or a packet of Scapy's, which knows its time and, by its class, its link type.
        link_type: LINKTYPE_ value of what doesn't know it; None for Ethernet, or of Scapy's packets for an unknown one.

    Raises:
        UsageError: it is neither.
    """
    match packet:
        case (int(time_ns), bytes() | bytearray() | memoryview() as data):
            return time_ns, bytes(data), len(data), ETHERNET if link_type is None else link_type
    if not (hasattr(packet, "time") and hasattr(packet, "underlayer")):
        raise UsageError(f"a packet is a pair (time_ns, bytes) or one of Scapy's, not {packet!r:.60}")
    data = bytes(packet)
    # a float holds no more than some 200 ns; what rdpcap gives is a decimal number, and exact
    time_ns = int(Decimal(packet.time) * 1_000_000_000)
    return time_ns, data, max(getattr(packet, "wirelen", None) or 0, len(data)), _link_type_of(packet, link_type)


def _link_type_of(packet: Any, otherwise: int | None) -> int:  # noqa: ANN401 - Scapy is not imported for its types
    # whoever has a packet has loaded Scapy
    number = sys.modules["scapy.config"].conf.l2types.layer2num.get(type(packet))
    if number is None:  # what Scapy knows no link layer for is Raw, whatever the file said
        return UNKNOWN if otherwise is None else otherwise
    return LINK_TYPE_OF_DLT.get(number, number)


class SourceState(Struct):
    """What a source knows about itself beyond its frames; final when it is read to its end."""

    kind: str
    """"file", "interface" or "probe"."""
    name: str
    cut_short: bool = False
    """The capture ends in the middle of a record."""
    dropped: int | None = None
    """Packets the recorder says it lost; None where nobody counted."""
    done_bytes: int = 0
    """How far the reading has come, for a progress bar."""
    total_bytes: int | None = None
    """How far it goes; None where that cannot be known (a pipe)."""
    faults: Counter[str] = field(default_factory=Counter)
    """Bad records by name."""
    unread: dict[str, str] = field(default_factory=dict)
    """Files among several that could not be read, or not to their end, and why."""

    def absorb(self, other: SourceState) -> None:
        """Add what went wrong in another source, which was read for the same report."""
        self.cut_short |= other.cut_short
        self.faults.update(other.faults)
        self.unread |= other.unread
        if other.dropped is not None:
            self.dropped = (self.dropped or 0) + other.dropped
