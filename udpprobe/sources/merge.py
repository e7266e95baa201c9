"""Several captures as one, merged by time like mergecap does."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from udpprobe.core.batch import BATCH_FRAMES, PADDING_BYTES, FrameBatch, SourceState, tick
from udpprobe.errors import CaptureError, UsageError
from udpprobe.sources.capture import Capture
from udpprobe.sources.content import is_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from udpprobe.core.batch import I64

PEEK_BYTES = 1 << 16
"""Of a file that is only asked for its first time."""

COPY_BYTES = 8 << 20
"""Bytes taken from one capture at a time, when frames of several are put side by side."""

FEWEST_FRAMES = 64
"""Taken from one capture at a time, however many there are."""

BEFORE_ALL = -(1 << 63)

_Part = tuple[FrameBatch, "I64"]
"""Frames, and the time each counts as: its own, or that of a later one before it."""


class MergedCaptures:
    """Several captures as one, in the order of their time stamps; frames are numbered like mergecap's.

    As there, a frame that is older than the one before it in its own file comes right behind that one, and
    of frames of one time the later named file's come first. Files whose times do not overlap follow one
    another, and are open one at a time.

    One that cannot be read, or not to its end, is named in `state.unread`.

    Args:
        paths: as for Capture.

    Raises:
        CaptureError: none of them can be read.
        UsageError: standard input is named twice.
    """

    def __init__(self, paths: Sequence[str]) -> None:
        if paths.count("-") > 1:
            raise UsageError("-: standard input can be read only once")
        self.state = SourceState("file", ", ".join(paths))
        self._strands = list(self._open(paths))
        if not self._strands:
            raise CaptureError(next(iter(self.state.unread.values())))
        self._frames = 0
        self._sum_up()

    def _open(self, paths: Sequence[str]) -> Iterator[_Strand]:
        for number, path in enumerate(paths):
            try:
                yield _Strand(path, -number)
            except CaptureError as error:
                self.state.unread[path] = str(error)

    def __iter__(self) -> Iterator[FrameBatch]:
        waiting = sorted(self._strands, key=lambda strand: strand.first_ns)
        active: list[_Strand] = []
        while active or waiting:
            active = [strand for strand in active if self._load(strand, BATCH_FRAMES // len(active))]
            horizon = min(map(_Strand.horizon, active), default=None)
            if waiting and (horizon is None or waiting[0].first_ns <= horizon[0]):
                active.append(waiting.pop(0))
            elif horizon:
                active.sort(key=lambda strand: strand.rank)
                yield self._join([strand.take(*horizon) for strand in active], horizon[0])
            self._sum_up()

    def _load(self, strand: _Strand, most: int) -> bool:
        try:
            return strand.load(most)
        except CaptureError as error:
            self.state.unread[strand.state.name] = str(error)
            return False

    def _join(self, parts: list[_Part], now_ns: int) -> FrameBatch:
        parts = [(batch, key) for batch, key in parts if len(batch)]
        if not parts:
            return tick(now_ns)
        batch = parts[0][0] if len(parts) == 1 else _side_by_side(parts)
        self._frames += len(batch)
        batch.frame = np.arange(self._frames - len(batch) + 1, self._frames + 1)
        batch.now_ns = now_ns
        return batch

    def _sum_up(self) -> None:
        states = [strand.state for strand in self._strands]
        totals = [state.total_bytes for state in states]
        drops = [state.dropped for state in states if state.dropped is not None]
        self.state.total_bytes = None if None in totals else sum(filter(None, totals))
        self.state.done_bytes = sum(state.done_bytes for state in states)
        self.state.dropped = sum(drops) if drops else None
        self.state.cut_short = any(state.cut_short for state in states)
        self.state.faults.clear()
        for state in states:
            self.state.faults.update(state.faults)


class _Strand:
    """One of the captures, with the frames that wait for the others.

    Args:
        path: as for Capture. A file is looked into for its first time, and opened again when its turn comes.
        rank: of frames of one time, those of the lowest rank come first.
    """

    def __init__(self, path: str, rank: int) -> None:
        self.rank = rank
        self.first_ns = self._clock_ns = BEFORE_ALL
        self._batch = tick(BEFORE_ALL)
        self._key = self._batch.time_ns
        self._row = self._stop = 0
        self._open: Callable[[], Capture]
        if is_stored(path):
            capture = Capture(path, window_bytes=PEEK_BYTES, buffer_bytes=PEEK_BYTES)
            self.first_ns = next((int(batch.time_ns[0]) for batch in capture), BEFORE_ALL)
            self._open = partial(Capture, path)
        else:
            capture = Capture(path)
            self._open = lambda: capture
        self.state = SourceState("file", path, total_bytes=capture.state.total_bytes)
        self._batches = self._read()

    def _read(self) -> Iterator[FrameBatch]:
        capture = self._open()
        self.state = capture.state
        yield from capture

    def horizon(self) -> tuple[int, int]:
        """Up to what time the frames at hand go, and the rank; the least of all is where frames run out."""
        return int(self._key[self._stop - 1]) if self._row < self._stop else self._clock_ns, self.rank

    def load(self, most: int) -> bool:
        """Sees to it that about `most` frames are at hand, or a tick; False at the capture's end."""
        if self._row < self._stop:
            return True
        if self._row == len(self._batch) and not self._next_batch():
            return False
        offset = self._batch.offset[self._row:self._row + max(most, FEWEST_FRAMES)]
        if len(offset):
            within = int(np.searchsorted(offset, offset[0] + COPY_BYTES))
            self._stop = self._row + max(within, 1)
        return True

    def _next_batch(self) -> bool:
        batch = next(self._batches, None)
        if batch is None:
            return False
        self._batch, self._row, self._stop = batch, 0, 0
        # a frame out of order keeps its place behind the frame before it
        self._key = np.maximum.accumulate(np.maximum(batch.time_ns, self._clock_ns))
        self._clock_ns = int(self._key[-1]) if len(batch) else max(self._clock_ns, batch.now_ns)
        return True

    def take(self, horizon_ns: int, rank: int) -> _Part:
        """The frames that come before all that are not at hand; those of `rank` run out first."""
        side: Literal["left", "right"] = "right" if self.rank <= rank else "left"
        row, key = self._row, self._key[self._row:self._stop]
        self._row += int(np.searchsorted(key, horizon_ns, side))
        is_whole = self._row - row == len(self._batch)
        batch = self._batch if is_whole else self._batch.take(np.arange(row, self._row))
        return batch, self._key[row:self._row]


def _side_by_side(parts: list[_Part]) -> FrameBatch:
    """Copies the frames of several batches into one, in the order of their keys, then of the parts."""
    blocks, offsets, base = [], [], 0
    for batch, _ in parts:
        first = int(batch.offset[0])
        last = max(int((batch.offset + batch.captured).max()), int(batch.offset[-1]) + PADDING_BYTES)
        blocks.append(batch.data[first:last])
        offsets.append(batch.offset + (base - first))
        base += last - first
    def column(name: str) -> Any:  # noqa: ANN401 -- columns differ in type
        return np.concatenate([getattr(batch, name) for batch, _ in parts])

    whole = FrameBatch(np.concatenate(blocks), np.concatenate(offsets), column("captured"), column("length"),
                       column("time_ns"), column("link_type"), column("frame"))
    return whole.take(np.argsort(np.concatenate([key for _, key in parts]), kind="stable"))
