"""Where a capture's bytes stand while they are read: a mapped file, or a buffer that a stream flows through.

Both give one array and two indices, so that the readers of pcap and pcapng know nothing of files and pipes.
"""

from __future__ import annotations

import mmap
import time
from contextlib import suppress
from enum import Enum, auto
from typing import TYPE_CHECKING, Protocol

import numpy as np

from udpprobe.core.batch import PADDING_BYTES
from udpprobe.sources.chain import EVERYTHING

if TYPE_CHECKING:
    from udpprobe.core.batch import U8
    from udpprobe.sources.feed import Feed

WINDOW_BYTES = 32 << 20
"""A mapped file is read in windows of this size; only these stay in memory."""

COPY_BYTES = 1 << 20
"""What is left of a file is copied once it is this small: the copy has the padding that the file lacks."""

BUFFER_BYTES = 8 << 20
"""A stream's buffer, which grows only for a single record that does not fit."""

MADV_POPULATE_READ = 22
"""linux/mman.h; Python has no name for it yet."""

OVERLAP_BYTES = 1 << 16
"""Looked at behind a piece's end, for the record that begins before it; more where that is longer."""

QUIET_S = 0.15
"""A stream that gives nothing for so long is called quiet."""

LINGER_S = 0.1
STEP_S = 0.001
"""A writer's next bytes are waited for so long, in such steps, so that batches are not tiny, yet prompt."""


class Arrival(Enum):
    """What came of asking for more."""

    MORE = auto()
    QUIET = auto()
    END = auto()


class Octets(Protocol):
    """Bytes of a capture: those from `start` to `end` are there and not yet consumed."""

    data: U8
    """All frames of a batch lie in it; at least PADDING_BYTES may be read behind `end`."""
    buffer: mmap.mmap
    """The same bytes at the same indices, for `struct` and `find`."""
    start: int
    end: int

    base: int
    """Where byte 0 of `data` stands in the file, before any compression."""

    @property
    def stop(self) -> int:
        """Records that begin here or behind it are not asked for."""
        ...

    @property
    def done_bytes(self) -> int:
        """How far the source has been read, in the bytes that `total_bytes` counts."""
        ...

    def more(self) -> Arrival:
        """Reach for bytes behind `end`; those from `start` stay. `data` and the indices may change.

        It is the END, too, where `start` has come to `stop`.
        """
        ...


class MappedFile:
    """A regular file, mapped; its memory is given back as reading goes on.

    Args:
        fd: the open file; the mapping holds a duplicate, so it may be closed.
        size: bytes to read; what is appended later is another run's business.
        window_bytes: how much of it is looked at a time.
        first: byte of the file to begin with.
        stop: byte of the file; records that begin before it are asked for.
    """

    def __init__(self, fd: int, size: int, window_bytes: int = WINDOW_BYTES, *,
                 first: int = 0, stop: int = EVERYTHING) -> None:
        self._map = mmap.mmap(fd, size, prot=mmap.PROT_READ)
        self._size = size
        self._window_bytes = window_bytes
        self._copy_bytes = min(COPY_BYTES, window_bytes)
        self._stop = stop
        self._forgotten = first - first % mmap.PAGESIZE
        self.base = 0
        self.buffer = self._map
        self.data: U8 = np.frombuffer(self._map, np.uint8)
        self.start = self.end = first

    @property
    def stop(self) -> int:
        """See Octets."""
        return self._stop - self.base

    @property
    def done_bytes(self) -> int:
        """File offset of the first byte not consumed."""
        return self.base + self.start

    def more(self) -> Arrival:
        """The next window, which begins at the first byte not consumed."""
        seen = self.base + self.end
        size = self._size = min(self._size, self._map.size())    # a file that shrank must not be touched
        if seen >= size or self.start >= self.stop:
            return Arrival.END
        self._forget()
        at = self.done_bytes
        if size - at <= self._copy_bytes or seen >= size - PADDING_BYTES:
            self._copy_rest(at)
        else:
            overlap = self._stop + OVERLAP_BYTES
            self._look_at(at, min(max(at + self._window_bytes, 2 * seen - at), size - PADDING_BYTES,
                                  overlap if seen < overlap else size))
        return Arrival.MORE

    def _look_at(self, at: int, end: int) -> None:
        page = at - at % mmap.PAGESIZE
        self._map.madvise(mmap.MADV_WILLNEED, page, min(end + self._window_bytes, self._size) - page)
        with suppress(OSError):     # before Linux 5.14: a fault for every few pages, in no order
            self._map.madvise(MADV_POPULATE_READ, page, end - page)
        self.start, self.end = at, end

    def _copy_rest(self, at: int) -> None:
        left = self._size - at
        self.buffer = mmap.mmap(-1, left + PADDING_BYTES)
        self.buffer[:left] = self._map[at:self._size]
        self.data = np.frombuffer(self.buffer, np.uint8)
        self.base, self.start, self.end = at, 0, left

    def _forget(self) -> None:
        behind = self.done_bytes - self.done_bytes % mmap.PAGESIZE
        if behind > self._forgotten:
            self._map.madvise(mmap.MADV_DONTNEED, self._forgotten, behind - self._forgotten)
            self._forgotten = behind


class Stream:
    """A pipe, or a file that is decompressed as it is read.

    Args:
        feed: gives the bytes.
        buffer_bytes: memory for them; it grows only for a record that does not fit.
        first: byte of the file that they begin with.
        stop: byte of the file; records that begin before it are asked for.
    """

    def __init__(self, feed: Feed, buffer_bytes: int = BUFFER_BYTES, *,
                 first: int = 0, stop: int = EVERYTHING) -> None:
        self._feed = feed
        self._stop = stop
        self.base = first
        self._rest = memoryview(b"")
        self._resize(buffer_bytes)
        self.start = self.end = 0

    @property
    def stop(self) -> int:
        """See Octets."""
        return self._stop - self.base

    @property
    def done_bytes(self) -> int:
        """Bytes taken from the file itself."""
        return self._feed.done_bytes

    def more(self) -> Arrival:
        """Fill the buffer as far as the stream gives bytes at once, or soon."""
        if self.start >= self.stop:
            return Arrival.END
        self._make_room()
        arrival = self._receive(QUIET_S)
        if arrival is Arrival.MORE:
            self._linger()
        return arrival

    def _linger(self) -> None:
        until_s = time.monotonic() + LINGER_S
        while self.end < min(self._capacity, self.stop + OVERLAP_BYTES) and time.monotonic() < until_s:
            if self._receive(STEP_S) is Arrival.END:
                return

    def _receive(self, timeout_s: float) -> Arrival:
        if not self._rest:
            chunk = self._feed.read(timeout_s)
            if not chunk:
                return Arrival.QUIET if chunk is None else Arrival.END
            self._rest = memoryview(chunk)
        taken = self._rest[:self._capacity - self.end]
        self._view[self.end:self.end + len(taken)] = taken
        self.end += len(taken)
        self._rest = self._rest[len(taken):]
        return Arrival.MORE

    def _make_room(self) -> None:
        kept = bytes(self._view[self.start:self.end])
        if len(kept) == self._capacity:
            self._resize(2 * self._capacity)
        self._view[:len(kept)] = kept
        self.base += self.start
        self.start, self.end = 0, len(kept)

    def _resize(self, capacity: int) -> None:
        self._capacity = capacity
        self.buffer = mmap.mmap(-1, capacity + PADDING_BYTES)     # memory comes as it is touched
        self._view = memoryview(self.buffer)
        self.data: U8 = np.frombuffer(self.buffer, np.uint8)
