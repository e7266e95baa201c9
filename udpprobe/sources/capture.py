"""One capture: opened by its content, whatever its name says, and read to its end."""

from __future__ import annotations

import os
import stat
import time
from typing import TYPE_CHECKING

from udpprobe.core.batch import SourceState, tick
from udpprobe.errors import CaptureError
from udpprobe.sources.feed import Descriptor, Inflated, Peeked, compression_of
from udpprobe.sources.magic import looks_like
from udpprobe.sources.octets import BUFFER_BYTES, WINDOW_BYTES, Arrival, MappedFile, Octets, Stream
from udpprobe.sources.pcap import HEADER_BYTES, MAGICS, PcapReader
from udpprobe.sources.pcapng import SECTION_HEADER, PcapngReader

if TYPE_CHECKING:
    from collections.abc import Iterator

    from udpprobe.core.batch import FrameBatch
    from udpprobe.sources.reader import Reader

NESTING = 3
"""Compressions inside each other that are undone."""

TICK_S = 0.25
"""A pipe says how late it is at least so often, however busy it is: what waits for that is told."""


class Capture:
    """A capture file, pipe or standard input; yields its frames once.

    Args:
        path: its name, or "-" for standard input.
        window_bytes: of a mapped file, looked at a time.
        buffer_bytes: for a stream.

    Raises:
        CaptureError: it cannot be opened, or is no capture; the iterator raises it when reading breaks off.
    """

    def __init__(self, path: str, *, window_bytes: int = WINDOW_BYTES,
                 buffer_bytes: int = BUFFER_BYTES) -> None:
        fd = _open(path)
        status = os.fstat(fd)
        self.state = SourceState("file", path)
        feed = Peeked(Descriptor(fd))
        if stat.S_ISDIR(status.st_mode):
            raise CaptureError(f"{path}: is a directory; name a capture file")
        self._is_live = not stat.S_ISREG(status.st_mode)
        if is_seekable := not self._is_live and not os.lseek(fd, 0, os.SEEK_CUR):
            self.state.total_bytes = status.st_size
        plain = self._unpack(feed)
        self._reader = self._reader_of(path, feed, plain)
        is_mapped = is_seekable and plain is feed
        self._octets: Octets = (MappedFile(fd, status.st_size, window_bytes) if is_mapped
                                else Stream(plain, buffer_bytes))

    def _unpack(self, feed: Peeked) -> Peeked:
        for _ in range(NESTING):
            if magic := compression_of(feed.peek(4)):
                feed = Peeked(Inflated(feed, magic, self.state))
        return feed

    def _reader_of(self, path: str, feed: Peeked, plain: Peeked) -> Reader:
        head = plain.peek(HEADER_BYTES)     # no more: a pipe may have no packet yet, for hours
        if not head and plain is feed:
            raise CaptureError(f"{path}: is empty")
        is_pcapng = head.startswith(SECTION_HEADER)
        if not is_pcapng and head[:4] not in MAGICS:
            wrapped = "" if plain is feed else " inside its compression"
            raise CaptureError(f"{path}: not a pcap or pcapng capture; {looks_like(head)}{wrapped}")
        if len(head) < HEADER_BYTES:
            raise CaptureError(f"{path}: not a capture: cut in its header")
        return PcapngReader(self.state) if is_pcapng else PcapReader(head, self.state)

    def __iter__(self) -> Iterator[FrameBatch]:
        reader, octets = self._reader, self._octets
        due_s = time.monotonic() + TICK_S
        while not reader.broken and (arrival := octets.more()) is not Arrival.END:
            octets.start += reader.skip_bytes
            reader.skip_bytes = 0
            for batch in reader.batches(octets):
                self.state.done_bytes = octets.done_bytes
                yield batch
            if arrival is Arrival.QUIET or (self._is_live and time.monotonic() >= due_s):
                yield tick(reader.now_ns)
                due_s = time.monotonic() + TICK_S
        self.state.done_bytes = octets.done_bytes
        self.state.cut_short |= octets.start < octets.end or reader.broken


def _open(path: str) -> int:
    try:
        return os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise CaptureError(f"{path}: no such file") from error
    except PermissionError as error:
        raise CaptureError(f"{path}: no permission to read it") from error
    except OSError as error:
        raise CaptureError(f"{path}: cannot be opened: {error.strerror}") from error
