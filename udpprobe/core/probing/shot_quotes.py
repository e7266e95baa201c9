"""What an ICMP error quotes of a shot, as Python numbers."""

from __future__ import annotations

from dataclasses import dataclass

from udpprobe.core.batch import U8
from udpprobe.core.notes import Note
from udpprobe.core.packets import Errors
from udpprobe.core.probing.craft import HEADER_BYTES

DONT_FRAGMENT = 0x40
"""In the seventh byte of an IPv4 header."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What an error quotes, as Python numbers; None for what it does not reach."""

    source: tuple[int, int]
    destination: tuple[int, int]
    source_port: int
    port: int
    ip_id: int
    udp_length: int | None
    checksum: int | None
    traffic_class: int
    dont_fragment: bool
    """True also of IPv6, which has no such bit."""
    payload: bytes
    """As much of it as was quoted."""


def length_and_sum(packet: bytes, header: int) -> tuple[int, int]:
    """Length and checksum in the UDP header.

    Args:
        packet: from its IP header on.
        header: bytes up to the end of the UDP header.
    """
    return int.from_bytes(packet[header - 4:header - 2]), int.from_bytes(packet[header - 2:header])


def quote_of(some: Errors, row: int, data: U8, header: int) -> Quote:
    """What an error quotes.

    Args:
        some: errors.
        row: which of them.
        data: the bytes their `message` points into.
        header: bytes of IP and UDP header, of its family.
    """
    start, end = int(some.message[row]) + 8, int(some.message_end[row])
    detail, ports, notes = int(some.detail[row]), int(some.ports[row]), int(some.notes[row])
    first = int.from_bytes(data[start:start + 2].tobytes())
    quoted_end = min(start + int(some.quoted_bytes[row]), end)
    return Quote(
        (int(some.source_high[row]), int(some.source_low[row])),
        (int(some.destination_high[row]), int(some.destination_low[row])), ports >> 16, ports & 0xFFFF, detail >> 48,
        None if notes & Note.NO_LENGTH else detail >> 32 & 0xFFFF,
        None if notes & Note.NO_CHECKSUM else detail >> 16 & 0xFFFF,
        first & 0xFF if header == HEADER_BYTES[4] else first >> 4 & 0xFF,
        header != HEADER_BYTES[4] or bool(data[start + 6] & DONT_FRAGMENT),
        data[start + header:max(quoted_end, start + header)].tobytes())
