"""Frames as enhanced packet blocks (draft-ietf-opsawg-pcapng section 4.3), many at a time."""

from __future__ import annotations

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

from udpprobe.core.capture import FRAME, Records

FULL = 6
"""The current frame does not fit."""

ROOM_BYTES = 1 << 20
"""More than the longest record."""

_FRAME = cython.declare(cython.int, FRAME)
_FULL = cython.declare(cython.int, FULL)
_ENHANCED_PACKET = cython.declare(u64, 6)
_AROUND_BYTES = cython.declare(index, 32)  # bytes of a block besides its frame
_MASK64 = cython.declare(u64, (1 << 64) - 1)


@cython.final
@cython.cclass
class PacketBlocks:
    """Little-endian blocks of frames on interface 0, with nanosecond time stamps and without options.

    Attributes:
        size: bytes of the blocks added since the last `take`.
    """

    def __init__(self) -> None:
        self._room = ROOM_BYTES
        self._buffer = bytearray(self._room)
        self._bytes = memoryview(self._buffer)
        self.size = 0

    def take(self) -> bytes:
        """Return the blocks so far and forget them."""
        size: index = self.size
        self.size = 0
        return bytes(memoryview(self._buffer)[:size])

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def copy(self, records: Records, frame: i64) -> cython.int:
        """Add all frames before frame number `frame`.

        Returns:
            FRAME at that frame or the first after it; FULL where the current frame does not fit and is to be added
            next; otherwise as `Records.next`.
        """
        status: cython.int
        while True:
            status = records.next()
            if status != _FRAME or records.frame >= frame:
                return status
            if self.size + records.captured + _AROUND_BYTES + 3 > self._room:
                return _FULL
            self.add(records)

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def add(self, records: Records) -> cython.int:
        """Add the current frame."""
        at: index = self.size
        captured: index = records.captured
        padded: index = captured + 3 & -4
        size: index = padded + _AROUND_BYTES
        time: u64 = cython.cast(u64, records.time_ns) & _MASK64
        self._put(at + 24 + padded, 0)  # padding; the rest is overwritten
        self._put(at, _ENHANCED_PACKET)
        self._put(at + 4, size)
        self._put(at + 8, 0)
        self._put(at + 12, time >> 32)
        self._put(at + 16, time)
        self._put(at + 20, captured)
        self._put(at + 24, records.length)
        self._bytes[at + 28 : at + 28 + captured] = records.data[records.at : records.at + captured]
        self._put(at + 28 + padded, size)
        self.size = at + size
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _put(self, at: index, value: u64) -> cython.int:
        """Write 32 bits."""
        self._bytes[at] = value & 0xFF
        self._bytes[at + 1] = value >> 8 & 0xFF
        self._bytes[at + 2] = value >> 16 & 0xFF
        self._bytes[at + 3] = value >> 24 & 0xFF
        return 0
