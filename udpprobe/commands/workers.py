"""Workers that read pieces of a capture in parallel: threads here; those of a cluster are in `cluster`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, Protocol

from msgspec import Struct

from udpprobe.capture.files import Arrival
from udpprobe.capture.filter import Selection, filter_of
from udpprobe.capture.frames import SourceState
from udpprobe.capture.pieces import Edges, Piece
from udpprobe.core.analyzer import Analyzer
from udpprobe.interrupt import CtrlC

POLL_S = 0.1
"""Seconds between checks for Ctrl-C, and progress reports, while threads work."""

AHEAD = 2
"""Pieces that may wait to be joined, besides those that threads are reading."""


class Task(Struct, frozen=True):
    """What to do with each piece; small and picklable."""

    selection: Selection
    secret: int
    by_flow: bool = False
    keeps_events: bool = False

    def analyzer(self, *, is_first: bool = True, is_ordered: bool = False) -> Analyzer:
        """An analyzer for the task."""
        made = Analyzer(
            self.secret, by_flow=self.by_flow, keeps_events=self.keeps_events, is_first=is_first, is_ordered=is_ordered
        )
        expression = self.selection.filter
        made.select(self.selection.since_ns, self.selection.until_ns, filter_of(expression) if expression else None)
        return made


class Disordered(Exception):  # noqa: N818 - a condition, not an error
    """Frames are out of order: one reader must sort them by time first."""


class Part(Protocol):
    """The state of a piece, wherever it is kept: an Analyzer, or one at a worker of a cluster."""

    def append(self, right: Any, /) -> None:  # noqa: ANN401 - of its own kind
        """See Analyzer."""
        ...


class Followed(Struct):
    """A piece that was read."""

    part: Any
    """A `Part`; None in a receipt."""
    edges: Edges
    state: SourceState
    is_first: bool
    """Whether it was read as the beginning of its capture."""
    is_partial: bool
    """Whether it was stopped early."""


def follow_piece(
    piece: Piece,
    task: Task,
    *,
    is_first: bool,
    is_last: bool,
    is_over: Callable[[], bool],
    state: SourceState | None = None,
) -> Followed:
    """Read a piece, at any place.

    Args:
        piece: of a capture.
        task: what to do with it.
        is_first: whether the capture begins with it.
        is_last: whether none comes after it.
        is_over: tells when to stop.
        state: updated with the progress.

    Raises:
        CaptureError: it cannot be read.
        UsageError: the filter is invalid.
        Disordered: its frames are not in order of time.
    """
    analyzer, file, is_partial = task.analyzer(is_first=is_first), piece.open(), False
    try:
        while file.fill() is not Arrival.END and not is_partial:
            analyzer.feed(file.records)
            if file.records.is_disordered:
                raise Disordered
            if state is not None:
                state.done_bytes = min(file.state.done_bytes, piece.stop) - piece.first
            is_partial = is_over()
        analyzer.finish()
        if is_last:
            analyzer.seal()
        return Followed(analyzer, Edges.of(file), file.state, is_first, is_partial)
    finally:
        file.close()


class WorkerPool(Protocol):
    """Runs the analysis of several pieces at once: in threads, or on the workers of a cluster."""

    def parts(self, total_bytes: int) -> int:
        """The number of pieces to cut a capture of this size into."""
        ...

    def follow(self, pieces: Sequence[Piece], task: Task, on_progress: Callable[[int], None]) -> Generator[Giving]:
        """Analyze pieces; yield for each, in order, a callable that returns its result or raises its error.

        Args:
            pieces: in their order, the first of which begins the capture.
            task: what to do with each.
            on_progress: called now and then with how many bytes have been read.

        Raises:
            Disordered: frames of a piece are out of order.
        """
        ...

    def follow_again(self, piece: Piece, task: Task, *, is_first: bool) -> Followed:
        """Analyze a piece again, because the pieces before it showed that its first reading was wrong."""
        ...

    def analyzer_of(self, part: Any, /) -> Analyzer:  # noqa: ANN401 - of this pool
        """The complete state, in this process."""
        ...


Giving = Callable[[], Followed]


class Threads:
    """Threads of this process: the compiled core releases the GIL.

    Args:
        count: pieces at a time.
        ctrl_c: may end it.
    """

    def __init__(self, count: int, ctrl_c: CtrlC) -> None:
        self._count, self._ctrl_c = count, ctrl_c

    def parts(self, _: int) -> int:
        """See WorkerPool."""
        return self._count

    def follow(self, pieces: Sequence[Piece], task: Task, on_progress: Callable[[int], None]) -> Generator[Giving]:
        """See WorkerPool. Threads that are AHEAD of the joins wait for them, because each piece takes memory."""
        found: list[Followed | Exception | None] = [None] * len(pieces)
        are_done = [threading.Event() for _ in pieces]
        states = [SourceState("file", piece.name) for piece in pieces]
        numbers, room = iter(range(len(pieces))), threading.Semaphore(self._count + AHEAD)
        is_disordered, is_over = threading.Event(), threading.Event()

        def work() -> None:
            while room.acquire() and not is_over.is_set() and (number := next(numbers, None)) is not None:
                try:
                    found[number] = follow_piece(
                        pieces[number],
                        task,
                        is_first=number == 0,
                        is_last=number == len(pieces) - 1,
                        state=states[number],
                        is_over=lambda: self._ctrl_c.came or is_over.is_set(),
                    )
                except Disordered:
                    is_disordered.set()
                except Exception as error:  # noqa: BLE001 - raised where it is asked for
                    found[number] = error
                are_done[number].set()

        for _ in range(min(self._count, len(pieces))):
            threading.Thread(target=work, daemon=True).start()
        try:
            for number, is_done in enumerate(are_done):
                while not is_done.wait(POLL_S):
                    on_progress(sum(state.done_bytes for state in states))
                    if is_disordered.is_set():
                        raise Disordered
                if is_disordered.is_set():
                    raise Disordered
                yield partial(_given, found[number])
                found[number] = None
                room.release()
        finally:
            is_over.set()
            room.release(self._count)

    def follow_again(self, piece: Piece, task: Task, *, is_first: bool) -> Followed:
        """See WorkerPool."""
        return follow_piece(piece, task, is_first=is_first, is_last=False, is_over=lambda: self._ctrl_c.came)

    def analyzer_of(self, part: Analyzer) -> Analyzer:
        """See WorkerPool."""
        return part


def _given(found: Followed | Exception | None) -> Followed:
    if isinstance(found, Followed):
        return found
    raise found or RuntimeError
