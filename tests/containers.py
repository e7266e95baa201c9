"""Captures by `struct`: pcap and pcapng in all their variants, built without the code under test.

`bytes_of_pcap` and `bytes_of_pcapng` put the same frames into one container or another; `block`, `section`,
`interface` and their like are the pieces, for files that no sane program writes.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

SECTION = 0x0A0D0D0A
INTERFACE, OLD_PACKET, SIMPLE_PACKET, NAMES, STATISTICS, ENHANCED_PACKET = 1, 2, 3, 4, 5, 6
CUSTOM, UNKNOWN = 0x0BAD, 0x0777
END_OF_OPTIONS, TIME_RESOLUTION, TIME_OFFSET, INTERFACE_DROPS, SYSTEM_DROPS = 0, 9, 14, 5, 7
ETHERNET = 1
START_NS = 1_700_000_000_123_456_000


class Frame(NamedTuple):
    """A frame as it was captured; `length` on the wire is that of the data unless it says otherwise."""

    time_ns: int
    data: bytes
    length: int | None = None

    @property
    def wire_length(self):
        return len(self.data) if self.length is None else self.length


# ---- classic pcap


def pcap_header(*, order="<", nanos=False, modified=False, link_type=ETHERNET, snap=262_144):
    magic = 0xA1B23C4D if nanos else 0xA1B2CD34 if modified else 0xA1B2C3D4
    return struct.pack(f"{order}IHHiIII", magic, 2, 4, 0, 0, snap, link_type)


def pcap_record(frame, *, order="<", nanos=False, modified=False):
    seconds, rest = divmod(frame.time_ns, 1_000_000_000)
    fraction = rest if nanos else rest // 1000
    head = struct.pack(f"{order}4I", seconds, fraction, len(frame.data), frame.wire_length)
    extra = struct.pack(f"{order}IHBx", 2, 0x0800, 0) if modified else b""
    return head + extra + frame.data


def bytes_of_pcap(frames, *, order="<", nanos=False, modified=False, link_type=ETHERNET, snap=262_144):
    """A file of these frames; times are cut to microseconds unless `nanos`."""
    variant = {"order": order, "nanos": nanos, "modified": modified}
    return pcap_header(**variant, link_type=link_type, snap=snap) + b"".join(
        pcap_record(frame, **variant) for frame in frames
    )


# ---- pcapng


def padded(data):
    return data + b"\0" * (-len(data) % 4)


def block(kind, body, order="<", trailer=None):
    """Any block; a `trailer` other than its length is a lie."""
    length = len(padded(body)) + 12
    return (
        struct.pack(f"{order}2I", kind, length)
        + padded(body)
        + struct.pack(f"{order}I", length if trailer is None else trailer)
    )


def options(values, order="<"):
    """From a list of (code, value)."""
    return (
        b"".join(
            struct.pack(f"{order}2H", code, len(value)) + padded(value)
            for code, value in [*values, (END_OF_OPTIONS, b"")]
        )
        if values
        else b""
    )


def section(order="<", length=-1, values=()):
    body = struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, length)
    return block(SECTION, body + options(values, order), order)


def interface(order="<", link_type=ETHERNET, snap=0, resolution=None, offset_s=None):
    values = [] if resolution is None else [(TIME_RESOLUTION, bytes([resolution]))]
    values += [] if offset_s is None else [(TIME_OFFSET, struct.pack(f"{order}q", offset_s))]
    return block(INTERFACE, struct.pack(f"{order}H2xI", link_type, snap) + options(values, order), order)


def ticks_of(time_ns, resolution=None, offset_s=None):
    """A time stamp in an interface's units."""
    since = time_ns - (offset_s or 0) * 1_000_000_000
    exponent = 6 if resolution is None else resolution & 0x7F
    per_second = 2**exponent if (resolution or 0) & 0x80 else 10**exponent
    return since * per_second // 1_000_000_000


def enhanced(frame, order="<", number=0, *, resolution=None, offset_s=None, values=()):
    high, low = divmod(ticks_of(frame.time_ns, resolution, offset_s), 1 << 32)
    head = struct.pack(f"{order}5I", number, high, low, len(frame.data), frame.wire_length)
    return block(ENHANCED_PACKET, head + padded(frame.data) + options(values, order), order)


def old(frame, order="<", number=0, *, resolution=None, offset_s=None, drops=0xFFFF):
    high, low = divmod(ticks_of(frame.time_ns, resolution, offset_s), 1 << 32)
    head = struct.pack(f"{order}2H4I", number, drops, high, low, len(frame.data), frame.wire_length)
    return block(OLD_PACKET, head + padded(frame.data), order)


def simple(frame, order="<"):
    return block(SIMPLE_PACKET, struct.pack(f"{order}I", frame.wire_length) + padded(frame.data), order)


def statistics(order="<", number=0, drops=None, system_drops=None):
    counts = (INTERFACE_DROPS, drops), (SYSTEM_DROPS, system_drops)
    values = [(code, struct.pack(f"{order}Q", count)) for code, count in counts if count is not None]
    return block(STATISTICS, struct.pack(f"{order}3I", number, 0, 0) + options(values, order), order)


def bytes_of_pcapng(frames, *, order="<", link_type=ETHERNET, snap=0, resolution=None, offset_s=None, packet=enhanced):
    """A file of one section and one interface; `packet` is `enhanced` or `old`; `simple` loses the times."""
    clock = {} if packet is simple else {"resolution": resolution, "offset_s": offset_s}
    return (
        section(order)
        + interface(order, link_type, snap, resolution, offset_s)
        + b"".join(packet(frame, order=order, **clock) for frame in frames)
    )


def bytes_in_sections(frames, *, link_type=ETHERNET):
    """A pcapng file of many sections: byte orders, clocks and packet blocks take turns; rubbish between."""
    parts = []
    for number, frame in enumerate(frames):
        order = "<>"[number % 2]
        resolution = (None, 9, 0x80 | 30)[number % 3]
        parts += [
            section(order),
            block(CUSTOM, b"\0\0\0\1custom", order),
            block(NAMES, b"", order),
            interface(order, 0),
            interface(order, link_type, resolution=resolution),
            (enhanced, old)[number % 2](frame, order, 1, resolution=resolution),
            block(UNKNOWN, b"???", order),
        ]
    return b"".join(parts)
