"""What one process does with a piece of a capture: read, decode and digest it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from udpprobe.core.batch import SourceState
from udpprobe.core.following.part import Part
from udpprobe.sources.piece import Edges, Piece
from udpprobe.sources.pieces import PieceSource
from udpprobe.sources.selection import Selection

if TYPE_CHECKING:
    from udpprobe.core.following.pipeline import Resolved
    from udpprobe.core.summaries.summary import Summary


@dataclass(frozen=True, slots=True)
class Task:
    """What is done with each piece; small, and picklable."""

    selection: Selection
    by_flow: bool = False
    keep_messages: bool = False


class Ends(NamedTuple):
    """Which ends of its capture a piece has."""

    is_first: bool
    is_last: bool


class Taught(Protocol):
    """A `Part`, wherever it is."""

    def merge(self, right: Any, /) -> None:  # noqa: ANN401 - of its own kind
        """See Part."""
        ...

    def finish(self) -> tuple[Summary, list[Resolved]]:
        """See Part."""
        ...


@dataclass(slots=True)
class Digest:
    """What a piece taught, and what reading it showed."""

    part: Taught
    edges: Edges
    state: SourceState
    is_partial: bool = False
    """Whether it was stopped before its end."""


class Workforce(Protocol):
    """Processes that work side by side; see Crew. What stands for a job is its own business."""

    count: int
    most_grain: int
    """How many times the usual size a piece may have, where merging it costs more than usual."""

    @property
    def is_stopped(self) -> bool:
        """Whether `stop` was called."""
        ...

    def give(self, function: Callable[..., Any], /, *arguments: object) -> Any:  # noqa: ANN401 - a job
        """Have a function called in one of the processes."""
        ...

    def result(self, job: Any, look: Callable[[], None], /) -> Any:  # noqa: ANN401 - what the function returned
        """What came of it; `look` is called now and then while it is waited for."""
        ...

    def forget(self, job: Any, /) -> None:  # noqa: ANN401 - as above
        """Do not wait for it."""
        ...

    def stop(self) -> None:
        """Have all processes end what they are at, as far as they are."""
        ...


class Flag(Protocol):
    """Something that processes share."""

    value: bool


_stop: Flag | None = None
"""In a process of a crew: set when all are to stop."""


def digest(piece: Piece, task: Task, ends: Ends, stop: Flag | None = None) -> Digest:
    """Read, decode and digest a piece, in whichever process this runs.

    Args:
        piece: of a capture.
        task: what to do with it.
        ends: which ends of a capture it has.
        stop: set when it is to end; that of a crew's process without.

    Raises:
        CaptureError: it cannot be read.
        UsageError: the filter is wrong.
    """
    source, flag = PieceSource(piece), stop or _stop
    part = Part(by_flow=task.by_flow, keep_messages=task.keep_messages, is_first=ends.is_first,
                is_last=ends.is_last)
    is_partial = False
    for batch in task.selection.of(source):
        part.feed(batch)
        if is_partial := flag is not None and bool(flag.value):
            break
    part.close(source.edges.frames)
    return Digest(part, source.edges, source.state, is_partial)


def begin(stop: Flag) -> None:
    """Make a process ready. Ctrl-C goes to all of a terminal's; the first says what becomes of the others."""
    global _stop  # noqa: PLW0603 - a process's own state, set once before its first task
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
