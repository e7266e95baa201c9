"""Frames as objects, for sources with few of them, and a source's state.

A frame comes from an interface or from the caller's memory: as a pair of time and bytes, or as a Scapy packet.
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
    """As far as it was captured."""
    length: int
    """Its bytes on the wire."""
    link_type: int
    """LINKTYPE_ value."""
    number: int
    """Counted from 1 over the whole capture."""


class Frames(Struct):
    """What a live source captured since the last call, in the order of frame numbers."""

    now_ns: int
    """Time up to which the source has listened: later frames are not older, as far as the kernel keeps order."""
    frames: list[Frame] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)


ETHERNET, RAW = 1, 101
"""LINKTYPE_ values: frames with an Ethernet header, and packets that begin with their IP header."""
UNKNOWN = 0xFFFF
"""No link type: the packet is counted as a fault."""
LINK_TYPE_OF_DLT = {12: RAW}
"""Scapy uses libpcap's Linux number for raw IP (pcap/dlt.h)."""

RawFrame = tuple[int, bytes, int, int]
"""Time in nanoseconds since 1970, captured bytes, length on the wire, LINKTYPE_ value."""


def frame_of(packet: Any, link_type: int | None) -> RawFrame:  # noqa: ANN401 - whatever the caller has
    """Convert a packet to a frame.

    Args:
        packet: `(time_ns, bytes)`, or a Scapy packet, which has a time and, by its class, a link type.
        link_type: LINKTYPE_ value of packets without one; None for Ethernet, or unknown for Scapy packets.

    Raises:
        UsageError: it is neither.
    """
    match packet:
        case (int(time_ns), bytes() | bytearray() | memoryview() as data):
            return time_ns, bytes(data), len(data), ETHERNET if link_type is None else link_type
    if not (hasattr(packet, "time") and hasattr(packet, "underlayer")):
        raise UsageError(f"a packet is a (time_ns, bytes) pair or a Scapy packet, not {packet!r:.60}")
    data = bytes(packet)
    # a float resolves only some 200 ns; rdpcap gives an exact decimal
    time_ns = int(Decimal(packet.time) * 1_000_000_000)
    return time_ns, data, max(getattr(packet, "wirelen", None) or 0, len(data)), _link_type_of(packet, link_type)


def _link_type_of(packet: Any, otherwise: int | None) -> int:  # noqa: ANN401 - Scapy is not imported for its types
    # the caller's packet implies that Scapy is loaded
    number = sys.modules["scapy.config"].conf.l2types.layer2num.get(type(packet))
    if number is None:  # unknown link layers are Raw in Scapy, whatever the file said
        return UNKNOWN if otherwise is None else otherwise
    return LINK_TYPE_OF_DLT.get(number, number)


class SourceState(Struct):
    """A source's state besides its frames; final when it was read to its end."""

    kind: str
    """"file", "interface" or "probe"."""
    name: str
    cut_short: bool = False
    """The capture ends in the middle of a record."""
    dropped: int | None = None
    """Packets that the recorder says it dropped; None if not counted."""
    done_bytes: int = 0
    """Bytes read so far, for a progress bar."""
    total_bytes: int | None = None
    """Bytes to read; None if unknown (a pipe)."""
    faults: Counter[str] = field(default_factory=Counter)
    """Bad records by name."""
    unread: dict[str, str] = field(default_factory=dict)
    """Files among several that could not be read, or not to their end, and why."""

    def absorb(self, other: SourceState) -> None:
        """Add faults and drops of another source of the same report."""
        self.cut_short |= other.cut_short
        self.faults.update(other.faults)
        self.unread |= other.unread
        if other.dropped is not None:
            self.dropped = (self.dropped or 0) + other.dropped
