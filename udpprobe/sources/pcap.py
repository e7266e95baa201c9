"""Classic pcap (draft-ietf-opsawg-pcap): one header, then a chain of records of one link type."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from udpprobe.core.batch import FrameBatch
from udpprobe.sources.chain import STEPS
from udpprobe.sources.reader import Reader, gather, sound_rows

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

    from udpprobe.core.batch import I64, U8, SourceState

HEADER_BYTES = 24

MAX_CAPTURED_BYTES = 262_144
"""libpcap and Wireshark take no longer record for real, whatever snap length the file claims."""

_USEC, _NSEC, _MODIFIED = 0xA1B2C3D4, 0xA1B23C4D, 0xA1B2CD34
MAGICS = {
    struct.pack(f"{order}I", magic): (order, unit_ns, header_bytes)
    for order in "<>"
    for magic, unit_ns, header_bytes in ((_USEC, 1000, 16), (_NSEC, 1, 16), (_MODIFIED, 1000, 24))
}
"""First bytes -> byte order, nanoseconds in the time stamp's unit, length of a record's header.

The modified format is Kuznetsov's, of old Linux distributions: each record also has the interface, the
protocol and the packet type.
"""

GUESSES = 64
"""Places that are tried for the start of a segment."""


class PcapForm:
    """Record: seconds, fraction, captured bytes, bytes on the wire, 32 bits each; then the frame.

    Args:
        order: "<" or ">".
        unit_ns: nanoseconds in the fraction's unit.
        header_bytes: 16, or 24 in the modified format.
        snap_bytes: the snap length that the file claims.
    """

    unit_bytes = 1

    def __init__(self, order: str, unit_ns: int, header_bytes: int, snap_bytes: int) -> None:
        self.header_bytes = header_bytes
        self.length_bytes = 1 if snap_bytes < 1 << 8 else 2
        """Lowest bytes of the captured length that the lock-step looks at. The reader checks the rest."""
        self._order = order
        self._little = order == "<"
        self._per_second = 1_000_000_000 // unit_ns
        self._header = struct.Struct(f"{order}4I")
        self._length = struct.Struct(f"{order}8xI")

    def size_of(self, buffer: mmap.mmap, at: int) -> int:
        """See Form."""
        captured: int = self._length.unpack_from(buffer, at)[0]
        return captured + self.header_bytes if captured <= MAX_CAPTURED_BYTES else 0

    def find_start(self, buffer: mmap.mmap, at: int, low: int, high: int) -> int | None:
        """See Form. Searches for the upper half of the known record's seconds, which holds for 18 hours."""
        shift = 2 if self._little else 0
        pattern = buffer[at + shift:at + shift + 2]
        for _ in range(GUESSES):
            found = buffer.find(pattern, low + shift, high)
            if found < 0:
                break
            if self._is_plausible(buffer, found - shift, high):
                return found - shift
            low = found - shift + 1
        return None

    def _is_plausible(self, buffer: mmap.mmap, at: int, high: int) -> bool:
        if at + self.header_bytes > high:
            return False
        seconds, fraction, captured, length = self._header.unpack_from(buffer, at)
        after = at + self.header_bytes + captured
        if fraction >= self._per_second or captured > min(length, MAX_CAPTURED_BYTES) or after + 16 > high:
            return False
        next_seconds, next_fraction, *_ = self._header.unpack_from(buffer, after)
        return abs(next_seconds - seconds) < 1 << 16 and bool(next_fraction < self._per_second)

    def candidates(self, data: U8, low: int, high: int) -> list[int]:
        """See Form. Places where a time, a length and a captured length could stand."""
        _, fraction, captured, length = gather(data, np.arange(low, high), 16, self._order).T
        fit = (fraction < self._per_second) & (captured <= length) & (length > 0) & (length <= MAX_CAPTURED_BYTES)
        return (low + np.flatnonzero(fit)).tolist()

    def sane_size(self, buffer: mmap.mmap, at: int, high: int) -> int:
        """See Form. Zeros are no record: no packet had no bytes on the wire."""
        del high
        _, fraction, captured, length = self._header.unpack_from(buffer, at)
        is_sane = fraction < self._per_second and captured <= length and 0 < length <= MAX_CAPTURED_BYTES
        return captured + self.header_bytes if is_sane else 0

    def stepper(self, data: U8, cursors: int) -> Callable[[I64], None]:
        """See Form. Header lengths are put into the views, not the cursors, and added once a block."""
        lengths = np.zeros(cursors, np.int64)
        lanes = list(lengths.view(np.uint8).reshape(-1, 8).T[:self.length_bytes])
        shifts = np.arange(0, (STEPS + 1) * self.header_bytes, self.header_bytes)[:, None]
        places = (range(8, 12) if self._little else range(11, 7, -1))[:self.length_bytes]
        views = [[data[shift + place:] for place in places] for shift in shifts[:STEPS, 0].tolist()]

        def advance(block: I64) -> None:
            rows = list(block)
            for step, of_lane in enumerate(views):
                for lane, view in zip(lanes, of_lane, strict=True):
                    lane[:] = view.take(rows[step], mode="clip")
                np.add(rows[step], lengths, out=rows[step + 1])
            np.add(block, shifts, out=block)
        return advance


class PcapReader(Reader):
    """Reads classic pcap.

    Args:
        head: the file's first HEADER_BYTES.
        state: where faults are counted.
    """

    skip_bytes = HEADER_BYTES

    def __init__(self, head: bytes, state: SourceState) -> None:
        self._order, self._unit_ns, header_bytes = MAGICS[head[:4]]
        snap_bytes, link = struct.unpack_from(f"{self._order}2I", head, 16)
        self._form = PcapForm(self._order, self._unit_ns, header_bytes, snap_bytes)
        self._link_type = np.array(link & 0xFFFF, np.int32)     # above: whether there is an FCS
        super().__init__(self._form, state)

    def read(self, data: U8, at: I64, following: I64) -> tuple[FrameBatch, int]:
        """See Reader."""
        header_bytes = self.form.header_bytes
        headers = gather(data, at, 16, self._order)
        captured = following - at
        captured -= header_bytes
        sound = sound_rows((headers[:, 2] == captured) & (captured <= MAX_CAPTURED_BYTES))
        if sound < len(at):
            self._form.length_bytes = 4
            headers, captured, at = headers[:sound], captured[:sound], at[:sound]
        time_ns = headers[:, 0].astype(np.int64) * 1_000_000_000
        time_ns += np.multiply(headers[:, 1], self._unit_ns, dtype=np.int64)
        batch = FrameBatch(
            data, at + header_bytes, captured, headers[:, 3].astype(np.int64), time_ns,
            np.broadcast_to(self._link_type, sound), self.frame_numbers(sound), self.advance_clock(time_ns))
        return batch, sound
