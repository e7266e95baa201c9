"""One capture: opened by its content, whatever its name says, and read to its end."""

from __future__ import annotations

import os.path
import time
from typing import TYPE_CHECKING

from udpprobe.core.batch import SourceState, tick
from udpprobe.errors import CaptureError, NotACaptureError
from udpprobe.sources.chain import EVERYTHING
from udpprobe.sources.content import open_content
from udpprobe.sources.feed import Inflated, Peeked, compression_of
from udpprobe.sources.magic import looks_like
from udpprobe.sources.octets import BUFFER_BYTES, WINDOW_BYTES, Arrival, Stream
from udpprobe.sources.pcap import HEADER_BYTES, MAGICS, PcapReader
from udpprobe.sources.pcapng import SECTION_HEADER, PcapngReader
from udpprobe.sources.piece import Entry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from udpprobe.core.batch import FrameBatch
    from udpprobe.sources.octets import Octets
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
        stop: byte of a file that is not compressed; records that begin before it are read.

    Raises:
        CaptureError: it cannot be opened, or is no capture; the iterator raises it when reading breaks off.
    """

    def __init__(self, path: str, *, window_bytes: int = WINDOW_BYTES,
                 buffer_bytes: int = BUFFER_BYTES, stop: int = EVERYTHING) -> None:
        content = open_content(path)
        self.state = SourceState("file", path, total_bytes=content.total_bytes)
        self._is_live = content.is_live
        feed = Peeked(content.feed)
        plain = self._unpack(feed)
        self._reader = self._reader_of(path, feed, plain)
        self.is_seekable = content.is_seekable and plain is feed
        """Whether it may be read in pieces."""
        self._octets: Octets = (content.octets(0, stop, window_bytes, buffer_bytes) if self.is_seekable
                        else Stream(plain, buffer_bytes))

    def _unpack(self, feed: Peeked) -> Peeked:
        for _ in range(NESTING):
            if magic := compression_of(feed.peek(4)):
                feed = Peeked(Inflated(feed, magic, self.state))
        return feed

    def _reader_of(self, path: str, feed: Peeked, plain: Peeked) -> Reader:
        head = self._head = plain.peek(HEADER_BYTES)     # no more: a pipe may have no packet yet, for hours
        if not head and plain is feed:
            raise NotACaptureError(f"{path}: is empty")
        is_pcapng = head.startswith(SECTION_HEADER)
        if not is_pcapng and head[:4] not in MAGICS:
            wrapped = "" if plain is feed else " inside its compression"
            raise NotACaptureError(f"{path}: not a pcap or pcapng capture; {looks_like(head)}{wrapped}")
        if len(head) < HEADER_BYTES:
            raise NotACaptureError(f"{path}: not a capture: cut in its header")
        return reader_of(Entry(head), self.state)

    def __iter__(self) -> Iterator[FrameBatch]:
        reader, octets = self._reader, self._octets
        due_s = time.monotonic() + TICK_S
        while not reader.broken and (arrival := octets.more()) is not Arrival.END:
            if not self._enter():
                break
            for batch in reader.batches(octets):
                self.state.done_bytes = octets.done_bytes
                yield batch
            if arrival is Arrival.QUIET or (self._is_live and time.monotonic() >= due_s):
                yield tick(reader.now_ns)
                due_s = time.monotonic() + TICK_S
        self.state.done_bytes = octets.done_bytes
        self.state.cut_short |= self._is_torn

    @property
    def _is_torn(self) -> bool:
        """Whether something stands behind the last record that is none."""
        return self._reader.broken or self._octets.start < min(self._octets.end, self._octets.stop)

    def _enter(self) -> bool:
        """Moves to the first record; False where none is found."""
        self._octets.start += self._reader.skip_bytes
        self._reader.skip_bytes = 0
        return True


def is_capture(path: str) -> bool:
    """Whether a file in a directory is a capture; one that may not be read could be."""
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib alone takes 3 ms to import
        return False
    try:
        Capture(path, window_bytes=HEADER_BYTES, buffer_bytes=HEADER_BYTES)
    except NotACaptureError:
        return False
    except CaptureError:
        return True
    return True


def reader_of(entry: Entry, state: SourceState) -> Reader:
    """What reads on where that is known; it counts faults and drops in `state`."""
    if entry.head.startswith(SECTION_HEADER):
        return PcapngReader(state, entry.known, entry.last_ns)
    return PcapReader(entry.head, state)
