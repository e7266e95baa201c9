"""What one process does with a piece of a capture: read, decode and digest it."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Protocol

from udpprobe.core.batch import SourceState
from udpprobe.core.part import Part
from udpprobe.sources.piece import Edges, Piece
from udpprobe.sources.pieces import PieceSource
from udpprobe.sources.selection import Selection


@dataclass(frozen=True, slots=True)
class Task:
    """What is done with each piece; small, and picklable."""

    selection: Selection
    by_flow: bool = False
    keep_messages: bool = False


@dataclass(slots=True)
class Digest:
    """What a piece taught, and what reading it showed."""

    part: Part
    edges: Edges
    state: SourceState
    is_partial: bool = False
    """Whether it was stopped before its end."""


class Flag(Protocol):
    """Something that processes share."""

    value: bool


_stop: Flag | None = None
"""In a process of a crew: set when all are to stop."""


def digest(piece: Piece, task: Task, is_first: bool) -> Digest:
    """Read, decode and digest a piece, in whichever process this runs.

    Args:
        piece: of a capture.
        task: what to do with it.
        is_first: whether a capture begins with it.

    Raises:
        CaptureError: it cannot be read.
        UsageError: the filter is wrong.
    """
    source = PieceSource(piece)
    part = Part(by_flow=task.by_flow, keep_messages=task.keep_messages, is_first=is_first)
    is_partial = False
    for batch in task.selection.of(source):
        part.feed(batch)
        if is_partial := _stop is not None and _stop.value:
            break
    part.close(source.edges.frames)
    return Digest(part, source.edges, source.state, is_partial)


def begin(stop: Flag) -> None:
    """Make a process ready. Ctrl-C goes to all of a terminal's; the first says what becomes of the others."""
    global _stop  # noqa: PLW0603 - a process's own state, set once before its first task
    _stop = stop
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
