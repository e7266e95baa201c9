"""One capture, or several as one, read into the buffers of their `Records`.

Formats are detected by content, not by name.
"""

from __future__ import annotations

import os.path
from collections.abc import Sequence
from enum import Enum, auto

from msgspec import Struct

from udpprobe.capture.compressed import Ahead, Peeked, unpacked
from udpprobe.capture.content import ByteStream, Named, is_stored, open_content
from udpprobe.capture.frames import SourceState
from udpprobe.core import capture as core
from udpprobe.core.capture import CAPACITY_BYTES, END, EVERYTHING, FAULTS, FRAME, PCAP_HEADER_BYTES, Entry, Records
from udpprobe.core.merge import Merge
from udpprobe.errors import CaptureError, NotACaptureError, UsageError

QUIET_S = 0.15
"""Seconds without data after which a pipe counts as quiet."""

OVERLAP_BYTES = 1 << 16
"""Read at once beyond the end of a piece, for its last record; more if that is longer."""

SEARCH_BYTES = 32 << 20
"""How far to search for a first record; a piece without one is read again from the end of the piece before it."""

PEEK_BYTES = 1 << 16
"""Buffer for a file of which only the beginning is needed."""

BEFORE_ALL, AFTER_ALL = -(1 << 63), 1 << 63
"""Times before and after any frame."""

BUFFERS_BYTES = 64 << 20
"""Buffers of all open captures together."""


class Arrival(Enum):
    """Outcome of reading more bytes."""

    MORE = auto()
    QUIET = auto()
    """Nothing for now: a pipe."""
    END = auto()


class CaptureFile:
    """A capture file, pipe or standard input, or a piece of a file.

    Read its `records` until they need more bytes, then `fill`, until that returns END.

    Args:
        name: a path, a URL, "-" for standard input, or a file object.
        entry: what is known at `first`; None at the start of the file.
        first: offset to begin at.
        stop: offset; records that begin before it are read.
        is_guess: whether the first record must be searched for from `first` on.
        is_gapless: see Records.
        capacity: see Records.

    Raises:
        CaptureError: it cannot be opened, or is no capture; from `fill`: reading fails.
    """

    def __init__(
        self,
        name: Named,
        *,
        entry: Entry | None = None,
        first: int = 0,
        stop: int = EVERYTHING,
        is_guess: bool = False,
        is_gapless: bool = False,
        capacity: int = CAPACITY_BYTES,
    ) -> None:
        self.name = str(name)
        self._content = open_content(name)
        self.state = SourceState("file", self.name, total_bytes=self._content.total_bytes)
        self.is_live = self._content.is_live
        self.is_seekable = True
        """Whether it can be read in pieces."""
        self._stream: ByteStream | None = None
        self._is_packed = False
        if entry is None:
            entry = self._open()
            self.records = Records(entry, None, stop, capacity, is_gapless=is_gapless)
        else:
            self.records = Records(entry, first, stop, capacity, is_gapless=is_gapless)
        self._rest = memoryview(b"")
        if self._stream is not None:  # its first bytes were only peeked at
            self._rest = memoryview(self._stream.read(0) or b"")[self.records.begins :]
        self._next = self.records.begins
        self._first, self._stop = first, stop
        self._is_searching = is_guess
        self._is_over = False
        self.began = None if is_guess else first
        """Offset of its first record; None while searching, or if none was found."""

    def _open(self) -> Entry:
        """Find out the format, below any compression."""
        packed = Peeked(self._content)
        stream = unpacked(packed, self.state)
        self._is_packed = stream is not packed
        head = stream.peek(PCAP_HEADER_BYTES)  # no more: a pipe may have no packet for hours
        if not head and not self._is_packed:
            raise NotACaptureError(f"{self.name}: is empty")
        if not core.is_capture(head):
            wrapped = " inside its compression" if self._is_packed else ""
            raise NotACaptureError(f"{self.name}: not a pcap or pcapng capture; {looks_like(head)}{wrapped}")
        if len(head) < PCAP_HEADER_BYTES:
            raise NotACaptureError(f"{self.name}: not a capture: cut in its header")
        self.is_seekable = self._content.is_seekable and not self._is_packed
        if not self.is_seekable:
            self._stream = stream
        return Entry(head)

    def fill(self) -> Arrival:
        """Read the next bytes; call it when `records.next()` finds no more frames.

        Raises:
            CaptureError: reading fails. Everything before that was read.
        """
        records = self.records
        while not self._is_over and not records.is_broken and records.position < self._stop:
            count = self._read(records.room())
            if count is None:
                return Arrival.QUIET
            records.filled(count)
            self._is_over = not count
            self.state.done_bytes = self._content.done_bytes
            if self._search() if self._is_searching else count:
                return Arrival.MORE
        if self._is_over and self._next < min(self.state.total_bytes or 0, self._stop) and self._stream is None:
            self.state.cut_short = True  # the file shrank
        self.state.cut_short |= records.is_torn
        self._update_state()
        return Arrival.END

    def _read(self, room: memoryview) -> int | None:
        """Number of bytes of `room` that were filled; 0 at the end, None if nothing arrived in time."""
        if self._stream is None:
            remaining = self._stop + OVERLAP_BYTES - self._next
            count = self._content.read_at(self._next, room, remaining if remaining > 0 else OVERLAP_BYTES)
            self._next += count
            return count
        if self._is_packed:
            self._stream, self._is_packed = Ahead(self._stream), False
        if not self._rest:
            chunk = self._stream.read(QUIET_S)
            if not chunk:
                return None if chunk is None else 0
            self._rest = memoryview(chunk)
        count = min(len(room), len(self._rest))
        room[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def _search(self) -> bool:
        """Whether the first record is found; the search ends at the end of the file."""
        outcome = self.records.find(self._is_over)
        self._is_over |= outcome == END or self.records.position - self._first > SEARCH_BYTES
        if outcome == FRAME:
            self._is_searching, self.began = False, self.records.position
        return outcome == FRAME

    def _update_state(self) -> None:
        """Update faults and drops in `state`."""
        self.state.dropped = self.records.dropped
        for name, count in zip(FAULTS, self.records.faults, strict=True):
            if count:
                self.state.faults[name] = count

    def close(self) -> None:
        """Close the file, and stop the thread that unpacks it; `state` covers what was read."""
        self._update_state()
        if isinstance(self._stream, Ahead):
            self._stream.close()  # its thread finishes the current read, and closes the file
        else:
            self._content.close()


def is_capture(path: str) -> bool:
    """Whether a file in a directory is a capture; an unreadable one may be."""
    if not os.path.isfile(path):  # noqa: PTH113 - pathlib alone takes 3 ms to import
        return False
    try:
        CaptureFile(path, capacity=PCAP_HEADER_BYTES).close()
    except NotACaptureError:
        return False
    except CaptureError:
        return True
    return True


class _Waiting(Struct):
    """A capture that is not due yet."""

    first_ns: int
    """Time of its first frame; before all if unknown."""
    rank: int
    path: Named
    file: CaptureFile | None
    """Already open if it can be opened only once."""


class MergedCaptures:
    """Several captures as one, in the order of their time stamps; frames are numbered as in mergecap's output.

    As with mergecap, a frame older than the one before it in its own file comes directly after that one, and of frames
    with equal times, those of the later named file come first. Files whose times do not overlap are read one after
    another, with one open at a time. Read them so:

        while (arrival := captures.fill()) is not Arrival.END:
            while (records := captures.merge.turn()) is not None:
                ...     # read the records until `records.next()` finds no more frames

    A file that cannot be read, or not to its end, is named in `state.unread`.

    Args:
        paths: as for CaptureFile.

    Raises:
        CaptureError: none of them can be read.
        UsageError: standard input is named twice.
    """

    def __init__(self, paths: Sequence[Named]) -> None:
        if paths.count("-") > 1:
            raise UsageError("-: standard input can be read only once")
        self.state = SourceState("file", ", ".join(map(str, paths)), total_bytes=0)
        self.merge = Merge()
        self._capacity = min(max(BUFFERS_BYTES // len(paths), PEEK_BYTES), CAPACITY_BYTES)
        self._waiting: list[_Waiting] = []
        for number, path in enumerate(paths):
            try:
                self._peek(path, -number)
            except CaptureError as error:
                self.state.unread[str(path)] = str(error)
        if not self._waiting:
            raise CaptureError(next(iter(self.state.unread.values())))
        self._waiting.sort(key=lambda waiting: waiting.first_ns, reverse=True)
        self._files: dict[int, CaptureFile] = {}
        self._closed_bytes = 0

    def _peek(self, path: Named, rank: int) -> None:
        is_reopened = is_stored(path)
        file = CaptureFile(path, is_gapless=True, capacity=PEEK_BYTES if is_reopened else self._capacity)
        if is_reopened:
            while file.records.first_ns == BEFORE_ALL and file.fill() is not Arrival.END:
                file.records.next()
            file.close()
        totals = self.state.total_bytes, file.state.total_bytes
        self.state.total_bytes = None if None in totals else sum(filter(None, totals))
        self._waiting.append(_Waiting(file.records.first_ns, rank, path, None if is_reopened else file))

    def fill(self) -> Arrival:
        """Read the next bytes of the capture that needs them; call it when `merge.turn()` has no records."""
        arrival = Arrival.END
        while arrival is Arrival.END and not (self.merge.is_empty and not self._waiting):
            number = self.merge.hungry
            if number >= 0:
                arrival = self._fill(number)
            elif self._waiting:
                self._open()
                arrival = Arrival.MORE
            else:
                arrival = Arrival.MORE
        self.state.done_bytes = self._closed_bytes + sum(file.state.done_bytes for file in self._files.values())
        return arrival

    def _fill(self, number: int) -> Arrival:
        file = self._files[number]
        try:
            arrival = file.fill()
        except CaptureError as error:
            self.state.unread[file.name] = str(error)
            arrival = Arrival.END
        if arrival is Arrival.END:
            self.merge.drop()
            self._close(number)
        return arrival

    def _close(self, number: int) -> None:
        file = self._files.pop(number)
        file.close()
        self.state.absorb(file.state)
        self._closed_bytes += file.state.done_bytes

    def close(self) -> None:
        """Close the open files; `state` covers what was read."""
        for number in list(self._files):
            self._close(number)

    def _open(self) -> None:
        """Open the captures that begin next."""
        while self._waiting:
            waiting = self._waiting.pop()
            try:
                file = waiting.file or CaptureFile(waiting.path, is_gapless=True, capacity=self._capacity)
            except CaptureError as error:
                self.state.unread[str(waiting.path)] = str(error)
                continue
            self._files[self.merge.add(file.records, waiting.rank)] = file
            if self._waiting and self._waiting[-1].first_ns > BEFORE_ALL:
                break
        self.merge.until_ns = (self._waiting[-1].first_ns if self._waiting else AFTER_ALL) - 1


# ---- what other files look like, for the error message

CONVERT = "convert it with `editcap -F pcap in out`"
CONVERT_ETHERNET = "convert it with `editcap -F pcap -T ether in out`"

OTHER_FORMATS = {
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"%PDF": "a PDF document",
    b"\x7fELF": "an ELF program",
    b"MZ": "a Windows program",
    b"SQLite format 3": "an SQLite database",
    b"PK\x03\x04": "a ZIP archive; unpack it first",
    b"BZh": "bzip2; unpack it first",
    b"\xfd7zXZ": "xz; unpack it first",
    b"\x04\x22\x4d\x18": "lz4; unpack it first",
    b"snoop\0\0\0": f"a snoop capture; {CONVERT}",
    b"btsnoop\0": "a Bluetooth btsnoop capture",
    b"RTSS": f"a Microsoft Network Monitor capture; {CONVERT_ETHERNET}",
    b"GMBU": f"a Microsoft Network Monitor capture; {CONVERT_ETHERNET}",
    b"TRSNIFF data": f"a Sniffer capture; {CONVERT}",
    b"XCP\0": f"a NetXRay capture; {CONVERT}",
}
"""By their first bytes."""


def looks_like(head: bytes) -> str:
    """What the first bytes of a file look like."""
    known = next((name for magic, name in OTHER_FORMATS.items() if head.startswith(magic)), None)
    if not head:
        known = "nothing"
    elif known is None and _is_erf(head):
        known = f"an Endace ERF capture; {CONVERT_ETHERNET}"
    elif known is None and all(32 <= byte < 127 or byte in b"\t\r\n" for byte in head):
        known = "text"
    return f"it looks like {known}" if known else f"it begins with the bytes {head[:4].hex(' ')}"


def _is_erf(head: bytes) -> bool:
    """Whether the file begins with a record of an Endace card. There is no magic number, so its fields decide.

    They are the time in units of 2^-32 s (little-endian; not before 1990), type, flags, the record's length, a counter
    of losses, and the packet's length (big-endian).
    """
    seconds, kind = int.from_bytes(head[4:8], "little"), head[8:9]
    record, packet = int.from_bytes(head[10:12], "big"), int.from_bytes(head[14:16], "big")
    if len(head) < 16 or seconds < 631_152_000:
        return False
    return 1 <= kind[0] & 0x7F <= 31 and 16 < record <= packet + 64 < 1 << 16
