"""Frames as a live source gives them."""

from __future__ import annotations

import io

from udpprobe.capture.frames import Frame, Frames
from udpprobe.core.capture import FRAME, Entry, Records

RAW = 101
MS = 1_000_000


def frames_of(packets, link_type=RAW, *, first=1, times_ns=None, now_ns=0):
    """Packets, a millisecond apart unless `times_ns` says otherwise."""
    return Frames(
        now_ns,
        [
            Frame(number * MS if times_ns is None else times_ns[number - first], data, len(data), link_type, number)
            for number, data in enumerate(packets, first)
        ],
    )


def read_frames(path):
    """The frames of a capture file, by what `analyze` reads files with."""
    data = path.read_bytes()
    records = Records(Entry(data[:24]))
    room, found = io.BytesIO(data[records.begins :]), []
    while True:
        while records.next() == FRAME:
            found.append(
                Frame(
                    records.time_ns,
                    bytes(records.data[records.at : records.at + records.captured]),
                    records.length,
                    records.link_type,
                    records.frame,
                )
            )
        count = room.readinto(records.room())
        if not count:
            return found
        records.filled(count)
