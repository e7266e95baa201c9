"""Several captures as one, merged by time like mergecap does."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from udpprobe.capture.content import Named, is_stored
from udpprobe.capture.files import Arrival, CaptureFile
from udpprobe.capture.pieces import BEFORE_ALL, PEEK_BYTES
from udpprobe.capture.state import SourceState
from udpprobe.core.capture import CAPACITY_BYTES
from udpprobe.core.merge import Merge
from udpprobe.errors import CaptureError, UsageError

BUFFERS_BYTES = 64 << 20
"""For all captures together, if they are open at once."""

AFTER_ALL = 1 << 63


class _Waiting(Struct):
    """A capture whose turn has not come."""

    first_ns: int
    """Time of its first frame; before all where that is not known."""
    rank: int
    path: Named
    file: CaptureFile | None
    """It is open already where it can be opened but once."""


class MergedCaptures:
    """Several captures as one, in the order of their time stamps; frames are numbered like mergecap's.

    As there, a frame that is older than the one before it in its own file comes right behind that one, and of frames
    of one time the later named file's come first. Files whose times do not overlap follow one another, and are open
    one at a time. It is read so:

        while (arrival := captures.fill()) is not Arrival.END:
            while (records := captures.merge.turn()) is not None:
                ...     # follow the records until `records.next()` finds no more frames

    One that cannot be read, or not to its end, is named in `state.unread`.

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
                self._look_into(path, -number)
            except CaptureError as error:
                self.state.unread[str(path)] = str(error)
        if not self._waiting:
            raise CaptureError(next(iter(self.state.unread.values())))
        self._waiting.sort(key=lambda waiting: waiting.first_ns, reverse=True)
        self._files: dict[int, CaptureFile] = {}
        self._closed_bytes = 0

    def _look_into(self, path: Named, rank: int) -> None:
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
        """Read the next bytes of whichever capture needs them; for when `merge.turn()` has no records to follow."""
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
        """Let go of the files that are open; `state` is that of what was read."""
        for number in list(self._files):
            self._close(number)

    def _open(self) -> None:
        """Take in the captures that begin next."""
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
