"""One capture: opened by its content, whatever its name says, and read into the buffer of its `Records`."""

from __future__ import annotations

import os.path
from enum import Enum, auto

from udpprobe.capture.compressed import Ahead, Peeked, unpacked
from udpprobe.capture.content import Feed, Named, open_content
from udpprobe.capture.magic import looks_like
from udpprobe.capture.state import SourceState
from udpprobe.core import capture as core
from udpprobe.core.capture import CAPACITY_BYTES, END, EVERYTHING, FAULTS, FRAME, PCAP_HEADER_BYTES, Entry, Records
from udpprobe.errors import CaptureError, NotACaptureError

QUIET_S = 0.15
"""A pipe that gives nothing for so long is called quiet."""

OVERLAP_BYTES = 1 << 16
"""Read at once behind the end of a piece, for its last record; more where that is longer."""

SEARCH_BYTES = 32 << 20
"""So far is looked for a first record; a piece without one is read again from where the piece before it ended."""


class Arrival(Enum):
    """What came of asking for more bytes."""

    MORE = auto()
    QUIET = auto()
    """Nothing for now: a pipe."""
    END = auto()


class CaptureFile:
    """A capture file, pipe or standard input, or a piece of a file.

    Its `records` are to be followed until they need more bytes, then filled again, until `fill` says END.

    Args:
        name: a path, a URL, "-" for standard input, or a file object.
        entry: what is known at `first`; None to begin with the file.
        first: byte of the file to begin with.
        stop: byte of the file; records that begin before it are read.
        is_guess: whether the first record may begin behind `first`; it is looked for.
        is_gapless: see Records.
        capacity: see Records.

    Raises:
        CaptureError: it cannot be opened, or is no capture; by `fill`: reading breaks off.
    """

    def __init__(self, name: Named, *, entry: Entry | None = None, first: int = 0, stop: int = EVERYTHING,
                 is_guess: bool = False, is_gapless: bool = False, capacity: int = CAPACITY_BYTES) -> None:
        self.name = str(name)
        self._content = open_content(name)
        self.state = SourceState("file", self.name, total_bytes=self._content.total_bytes)
        self.is_live = self._content.is_live
        self.is_seekable = True
        """Whether it may be read in pieces."""
        self._feed: Feed | None = None
        self._is_packed = False
        if entry is None:
            entry = self._open()
            self.records = Records(entry, None, stop, capacity, is_gapless=is_gapless)
        else:
            self.records = Records(entry, first, stop, capacity, is_gapless=is_gapless)
        self._rest = memoryview(b"")
        if self._feed is not None:      # its first bytes were only looked at
            self._rest = memoryview(self._feed.read(0) or b"")[self.records.begins:]
        self._next = self.records.begins
        self._first, self._stop = first, stop
        self._is_searching = is_guess
        self._is_over = False
        self.began = None if is_guess else first
        """Byte of the file where its first record begins; None where that is still looked for, or was not found."""

    def _open(self) -> Entry:
        """Find out what it is, below any compression."""
        packed = Peeked(self._content)
        feed = unpacked(packed, self.state)
        self._is_packed = feed is not packed
        head = feed.peek(PCAP_HEADER_BYTES)     # no more: a pipe may have no packet yet, for hours
        if not head and not self._is_packed:
            raise NotACaptureError(f"{self.name}: is empty")
        if not core.is_capture(head):
            wrapped = " inside its compression" if self._is_packed else ""
            raise NotACaptureError(f"{self.name}: not a pcap or pcapng capture; {looks_like(head)}{wrapped}")
        if len(head) < PCAP_HEADER_BYTES:
            raise NotACaptureError(f"{self.name}: not a capture: cut in its header")
        self.is_seekable = self._content.is_seekable and not self._is_packed
        if not self.is_seekable:
            self._feed = feed
        return Entry(head)

    def fill(self) -> Arrival:
        """Read the next bytes; for when `records.next()` finds no more frames.

        Raises:
            CaptureError: reading breaks off. What stood before was read.
        """
        records = self.records
        while not self._is_over and not records.is_broken and records.position < self._stop:
            count = self._read(records.room())
            if count is None:
                return Arrival.QUIET
            records.filled(count)
            self._is_over = not count
            self.state.done_bytes = self._content.done_bytes
            if (self._search() if self._is_searching else count):
                return Arrival.MORE
        if self._is_over and self._next < min(self.state.total_bytes or 0, self._stop) and self._feed is None:
            self.state.cut_short = True     # it shrank
        self.state.cut_short |= records.is_torn
        self._tell()
        return Arrival.END

    def _read(self, room: memoryview) -> int | None:
        """How many bytes of `room` are filled now; 0 at the end, None where nothing came in time."""
        if self._feed is None:
            left = self._stop + OVERLAP_BYTES - self._next
            count = self._content.read_at(self._next, room, left if left > 0 else OVERLAP_BYTES)
            self._next += count
            return count
        if self._is_packed:
            self._feed, self._is_packed = Ahead(self._feed), False
        if not self._rest:
            chunk = self._feed.read(QUIET_S)
            if not chunk:
                return None if chunk is None else 0
            self._rest = memoryview(chunk)
        count = min(len(room), len(self._rest))
        room[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _search(self) -> bool:
        """Whether the first record is found; at the end of the file it is looked for no more."""
        outcome = self.records.find(self._is_over)
        self._is_over |= outcome == END or self.records.position - self._first > SEARCH_BYTES
        if outcome == FRAME:
            self._is_searching, self.began = False, self.records.position
        return outcome == FRAME

    def _tell(self) -> None:
        """Bring faults and drops in `state` up to date."""
        self.state.dropped = self.records.dropped
        for name, count in zip(FAULTS, self.records.faults, strict=True):
            if count:
                self.state.faults[name] = count

    def close(self) -> None:
        """Let go of the file, and of the thread that unpacks it; `state` is that of what was read."""
        self._tell()
        if isinstance(self._feed, Ahead):
            self._feed.close()      # it reads to the end of what it is at, and closes the file
        else:
            self._content.close()


def is_capture(path: str) -> bool:
    """Whether a file in a directory is a capture; one that may not be read could be."""
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib alone takes 3 ms to import
        return False
    try:
        CaptureFile(path, capacity=PCAP_HEADER_BYTES).close()
    except NotACaptureError:
        return False
    except CaptureError:
        return True
    return True
