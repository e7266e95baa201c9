"""Reads integers out of bytes that anyone may have sent, and cannot leave them."""

from __future__ import annotations

try:
    import cython
    from cython import Py_ssize_t as index
except ImportError:
    from udpprobe.core._uncompiled import cython, index


@cython.final
@cython.cclass
class Cursor:
    """Big-endian (u16, u32, u64) and little-endian (l16, l32, l64) integers at byte offsets of a buffer.

    Raises:
        IndexError: an integer ends behind the buffer.
    """

    data: bytes | bytearray | memoryview

    def __init__(self, buffer: bytes | bytearray | memoryview = b"") -> None:
        self.load(buffer)

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def load(self, buffer: bytes | bytearray | memoryview) -> cython.int:
        """Read from `buffer` from now on: any contiguous buffer of bytes, which is not copied."""
        self.data = buffer
        return 0

    @cython.ccall
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def u8(self, at: index) -> cython.longlong:
        """The byte at `at`."""
        return self.data[at]

    @cython.ccall
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def u16(self, at: index) -> cython.longlong:
        """Two bytes, the first one highest."""
        return self.data[at] << 8 | self.data[at + 1]

    @cython.ccall
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def u32(self, at: index) -> cython.longlong:
        """Four bytes, the first one highest."""
        first: cython.longlong = self.data[at]
        return first << 24 | self.data[at + 1] << 16 | self.data[at + 2] << 8 | self.data[at + 3]

    @cython.ccall
    @cython.inline
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def u64(self, at: index) -> cython.ulonglong:
        """Eight bytes, the first one highest."""
        high: cython.ulonglong = self.u32(at)
        return high << 32 | self.u32(at + 4)

    @cython.ccall
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def l16(self, at: index) -> cython.longlong:
        """Two bytes, the first one lowest."""
        return self.data[at] | self.data[at + 1] << 8

    @cython.ccall
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def l32(self, at: index) -> cython.longlong:
        """Four bytes, the first one lowest."""
        last: cython.longlong = self.data[at + 3]
        return self.data[at] | self.data[at + 1] << 8 | self.data[at + 2] << 16 | last << 24

    @cython.ccall
    @cython.inline
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def l64(self, at: index) -> cython.ulonglong:
        """Eight bytes, the first one lowest."""
        high: cython.ulonglong = self.l32(at + 4)
        return self.l32(at) | high << 32
