"""One piece of a capture, followed wherever that is: in a thread, or at a worker of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from udpprobe.capture.files import Arrival
from udpprobe.capture.filter import Selection, filter_of
from udpprobe.capture.pieces import Edges, Piece
from udpprobe.capture.state import SourceState
from udpprobe.core.analyzer import Analyzer


@dataclass(frozen=True, slots=True)
class Task:
    """What is done with each piece; small, and picklable."""

    selection: Selection
    secret: int
    by_flow: bool = False
    keeps_events: bool = False

    def analyzer(self, *, is_first: bool = True, is_ordered: bool = False) -> Analyzer:
        """One that does it."""
        made = Analyzer(self.secret, by_flow=self.by_flow, keeps_events=self.keeps_events, is_first=is_first,
                        is_ordered=is_ordered)
        expression = self.selection.filter
        made.select(self.selection.since_ns, self.selection.until_ns, filter_of(expression) if expression else None)
        return made


class Disordered(Exception):  # noqa: N818 - says what was met; nothing is wrong
    """Frames stand out of order: they have to be put in order of time first, by one reader."""


class Part(Protocol):
    """What a piece taught, wherever that is kept: an Analyzer, or one that stays at a worker of a cluster."""

    def append(self, right: Any, /) -> None:  # noqa: ANN401 - of its own kind
        """See Analyzer."""
        ...


@dataclass(slots=True)
class Followed:
    """A piece that was followed."""

    part: Any
    """A `Part`; of a receipt, None."""
    edges: Edges
    state: SourceState
    is_first: bool
    """Whether it was followed as the beginning of its capture."""
    is_partial: bool
    """Whether it was stopped before its end."""


def follow_piece(piece: Piece, task: Task, *, is_first: bool, is_last: bool, is_over: Callable[[], bool],
                 state: SourceState | None = None) -> Followed:
    """Follow a piece, wherever this runs.

    Args:
        piece: of a capture.
        task: what to do with it.
        is_first: whether the capture begins with it.
        is_last: whether none will come behind it.
        is_over: says when to stop.
        state: told how far it has come.

    Raises:
        CaptureError: it cannot be read.
        UsageError: the filter is wrong.
        Disordered: its frames are not in order of time.
    """
    analyzer, file, is_partial = task.analyzer(is_first=is_first), piece.open(), False
    try:
        while file.fill() is not Arrival.END and not is_partial:
            analyzer.feed(file.records)
            if file.records.is_disordered:
                raise Disordered
            if state is not None:
                state.done_bytes = file.state.done_bytes - piece.first
            is_partial = is_over()
        analyzer.finish()
        if is_last:
            analyzer.seal()
        return Followed(analyzer, Edges.of(file), file.state, is_first, is_partial)
    finally:
        file.close()


class Crew(Protocol):
    """Those who follow pieces side by side: threads, or the workers of a cluster."""

    def parts(self, total_bytes: int) -> int:
        """In how many pieces a capture of so many bytes is best followed."""
        ...

    def follow(self, pieces: Sequence[Piece], task: Task, look: Callable[[int], None]) -> Generator[Giving]:
        """Follow pieces; of each in turn, what gives its result or raises its error.

        Args:
            pieces: in their order, the first of which begins the capture.
            task: what to do with each.
            look: called now and then with how many bytes have been read.

        Raises:
            Disordered: frames of any piece stand out of order.
        """
        ...

    def follow_again(self, piece: Piece, task: Task, *, is_first: bool) -> Followed:
        """Follow a piece in another way than it was, now that those before it are known."""
        ...

    def analyzer_of(self, part: Any, /) -> Analyzer:  # noqa: ANN401 - of this crew
        """All that was joined, here."""
        ...


Giving = Callable[[], Followed]
