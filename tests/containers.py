"""Captures by `struct`: pcap and pcapng in all their variants, built and read without the code under test.

`bytes_of_pcap` and `bytes_of_pcapng` put the same frames into one container or another; `block`, `section`,
`interface` and their like are the pieces, for files that no sane program writes. `read` gives what the program reads of
a file as rows, `plain_pcap` and `plain_pcapng` what the plainest reader that could be right does.
"""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

from udpprobe.capture.files import Arrival, CaptureFile
from udpprobe.core.capture import FRAME

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


# ---- read as rows


class Row(NamedTuple):
    frame: int
    time_ns: int
    data: bytes
    length: int
    link_type: int


def row_of(records):
    """The frame that `records.next()` found."""
    data = bytes(records.data[records.at : records.at + records.captured])
    return Row(records.frame, records.time_ns, data, records.length, records.link_type)


def rows_at_hand(records):
    """Until more bytes are needed."""
    rows = []
    while records.next() == FRAME:
        rows.append(row_of(records))
    return rows


def rows_of(file):
    """All that are left of an open capture."""
    rows = []
    while file.fill() is not Arrival.END:
        rows += rows_at_hand(file.records)
    return rows


def merged_rows(captures):
    """All of several captures."""
    rows = []
    while captures.fill() is not Arrival.END:
        while (records := captures.merge.turn()) is not None:
            rows += rows_at_hand(records)
    return rows


def read(data, **options):
    """The rows of a file with these bytes, and the source's state."""
    fd = os.memfd_create("capture")
    try:
        os.write(fd, data)
        file = CaptureFile(f"/proc/self/fd/{fd}", **options)
        return rows_of(file), file.state
    finally:
        os.close(fd)


def rows_from(frames, link_type=ETHERNET, unit_ns=1):
    """What must be read of frames whose times were cut to a unit."""
    return [
        Row(number, frame.time_ns // unit_ns * unit_ns, frame.data, frame.wire_length, link_type)
        for number, frame in enumerate(frames, 1)
    ]


def plain_pcap(data):
    """(rows, cut short, faults) of a little-endian pcap file with microseconds."""
    at, rows = 24, []
    while at + 16 <= len(data):
        seconds, fraction, captured, length = struct.unpack_from("<4I", data, at)
        if captured > 262_144:
            return rows, True, {"bad-record": 1}
        if at + 16 + captured > len(data):
            break
        rows.append(
            Row(
                len(rows) + 1,
                seconds * 1_000_000_000 + fraction * 1000,
                data[at + 16 : at + 16 + captured],
                length,
                ETHERNET,
            )
        )
        at += 16 + captured
    return rows, at < len(data), {}


NUMBERED = {9, 0x0BAD, 0x4000_0BAD, 0x204, 0x216, 0x221}
"""Blocks without a packet that Wireshark numbers all the same: journal entries, custom blocks, system calls."""


def plain_pcapng(data):
    """The rows of a little-endian pcapng file of enhanced packets, all of interfaces with microseconds."""
    at, rows, links, numbered = 0, [], [], 0
    while at + 12 <= len(data):
        kind, size = struct.unpack_from("<2I", data, at)
        numbered += kind in NUMBERED
        size = size + 3 & ~3
        if not 12 <= size <= 16 << 20 or at + size > len(data):
            break
        if kind == SECTION:
            links = []
        if kind == INTERFACE:
            links.append(struct.unpack_from("<H", data, at + 8)[0])
        if kind == ENHANCED_PACKET and size >= 32:
            number, high, low, captured, length = struct.unpack_from("<5I", data, at + 8)
            if number < len(links):
                held = data[at + 28 : at + 28 + min(captured, size - 32)]
                time_ns = ((high << 32 | low) * 1000 + 2**63) % 2**64 - 2**63  # as 64 bits have it
                rows.append(Row(len(rows) + numbered + 1, time_ns, held, length, links[number]))
        at += size
    return rows
