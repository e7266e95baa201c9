"""Packets that a caller has in memory, as frames: pairs of time and bytes, and Scapy's packets."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

from udpprobe.errors import UsageError

ETHERNET = 1
UNKNOWN = 0xFFFF
"""No link type: the packet is counted under its fault."""
LINK_TYPE_OF_DLT = {12: 101}
"""Scapy calls raw IP by libpcap's number on Linux (pcap/dlt.h)."""

MemoryFrame = tuple[int, bytes, int, int]
"""Time in nanoseconds since 1970, bytes that were captured, bytes on the wire, LINKTYPE_ value."""


def frame_of(packet: Any, link_type: int | None) -> MemoryFrame:  # noqa: ANN401 - whatever the caller has
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
    if number is None:      # what Scapy knows no link layer for is Raw, whatever the file said
        return UNKNOWN if otherwise is None else otherwise
    return LINK_TYPE_OF_DLT.get(number, number)
