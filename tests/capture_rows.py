"""Captures read to their end, as rows; and the plainest reader of pcap and pcapng that could be right."""

from __future__ import annotations

import os
import struct
from typing import NamedTuple

import containers as c

from udpprobe.capture.files import Arrival, CaptureFile
from udpprobe.core.capture import FRAME


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


def rows_from(frames, link_type=c.ETHERNET, unit_ns=1):
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
                c.ETHERNET,
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
        if kind == c.SECTION:
            links = []
        if kind == c.INTERFACE:
            links.append(struct.unpack_from("<H", data, at + 8)[0])
        if kind == c.ENHANCED_PACKET and size >= 32:
            number, high, low, captured, length = struct.unpack_from("<5I", data, at + 8)
            if number < len(links):
                held = data[at + 28 : at + 28 + min(captured, size - 32)]
                time_ns = ((high << 32 | low) * 1000 + 2**63) % 2**64 - 2**63  # as 64 bits have it
                rows.append(Row(len(rows) + numbered + 1, time_ns, held, length, links[number]))
        at += size
    return rows
