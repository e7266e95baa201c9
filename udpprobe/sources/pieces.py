"""A capture file in pieces that are read side by side, and the proof that they are as if read in one go.

Where records begin can be known only from the file's start, so a piece guesses. Afterwards the `Seam` compares: a
piece whose first record is not where the piece before it ended, or that knew other interfaces, is read again from
there. A wrong guess thus costs time, never exactness.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from udpprobe.core.batch import SourceState
from udpprobe.sources.capture import Capture, reader_of
from udpprobe.sources.chain import EVERYTHING, first_start
from udpprobe.sources.content import open_content
from udpprobe.sources.octets import BUFFER_BYTES, WINDOW_BYTES
from udpprobe.sources.piece import Edges, Entry, Piece, drops_behind, drops_told_twice, follows

if TYPE_CHECKING:
    from collections.abc import Iterator

    from udpprobe.core.batch import FrameBatch

PEEK_BYTES = 1 << 16
"""Of a file that is only asked for what it begins with."""

TAIL_BYTES = 1 << 18
"""Of a file that is asked for the time it ends at."""

BEFORE_ALL = -(1 << 63)


class PieceSource(Capture):
    """A piece of a capture; yields its frames once, numbered from 1. Then `edges` are known.

    Args:
        piece: which.
        window_bytes: see Capture.
        buffer_bytes: see Capture.

    Raises:
        CaptureError: see Capture.
    """

    def __init__(self, piece: Piece, *, window_bytes: int = WINDOW_BYTES, buffer_bytes: int = BUFFER_BYTES) -> None:
        self._piece = piece
        self._began = None if piece.is_guess else piece.first
        self._is_entered = False
        self._frames = 0
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        if piece.entry is None:
            super().__init__(piece.name, window_bytes=window_bytes, buffer_bytes=buffer_bytes, stop=piece.stop)
        else:
            self._resume(piece.entry, window_bytes, buffer_bytes)

    def _resume(self, entry: Entry, window_bytes: int, buffer_bytes: int) -> None:
        piece = self._piece
        content = open_content(piece.name)
        self.state = SourceState("file", piece.name, total_bytes=content.total_bytes)
        self._is_live, self.is_seekable, self._head = False, True, entry.head
        self._reader = reader_of(entry, self.state)
        self._reader.skip_bytes = 0
        self._octets = content.octets(piece.first, piece.stop, window_bytes, buffer_bytes)

    def __iter__(self) -> Iterator[FrameBatch]:
        for batch in super().__iter__():
            if len(batch):
                self._note(batch)
            yield batch

    def _note(self, batch: FrameBatch) -> None:
        self._frames += len(batch)
        if self._piece.is_gapless:
            batch.frame = np.arange(self._frames - len(batch) + 1, self._frames + 1)
        if self._first_ns is None:
            self._first_ns = int(batch.time_ns[0])
        latest_ns = int(batch.time_ns.max())
        self._last_ns = latest_ns if self._last_ns is None else max(self._last_ns, latest_ns)

    def _enter(self) -> bool:
        if self._is_entered or not self._piece.is_guess:
            return super()._enter()
        self._is_entered = True
        octets = self._octets
        start = first_start(self._reader.form, octets.data, octets.buffer, octets.start, octets.end)
        if start is not None:
            self._began, octets.start = octets.base + start, start
        return start is not None

    @property
    def entry(self) -> Entry:
        """What is known where the reading has come to."""
        return Entry(self._head, self._reader.known, self._reader.last_ns)

    @property
    def edges(self) -> Edges:
        """What the reading showed; final when the iterator is exhausted."""
        reader = self._reader
        return Edges(self._began, self._octets.base + self._octets.start, self.entry, self._is_torn,
                     reader.leans_on_time, reader.first_drops, dict(reader.drops),
                     self._frames if self._piece.is_gapless else reader.frames, self._first_ns, self._last_ns)


@dataclass(frozen=True, slots=True)
class Survey:
    """What a look into a file's start shows."""

    name: str
    total_bytes: int
    first_ns: int
    """Time of its first frame; of a file without frames, before all."""
    last_ns: int
    """A good guess at the latest time of its frames, where that is easily had; else `first_ns`."""
    entry: Entry | None
    """What is known behind its first packets; None where it cannot be read in pieces: compressed, or no ranges."""


def survey(name: str) -> Survey:
    """Look into a file's start; not for pipes, which would be emptied.

    Raises:
        CaptureError: it cannot be read, or is no capture.
    """
    source = PieceSource(Piece(name), window_bytes=PEEK_BYTES, buffer_bytes=PEEK_BYTES)
    first_ns = next((int(batch.time_ns[0]) for batch in source if len(batch)), BEFORE_ALL)
    total_bytes, entry = source.state.total_bytes or 0, source.entry if source.is_seekable else None
    return Survey(name, total_bytes, first_ns, _last_ns(name, total_bytes, entry, first_ns), entry)


def _last_ns(name: str, total_bytes: int, entry: Entry | None, first_ns: int) -> int:
    first = max(total_bytes - TAIL_BYTES, PEEK_BYTES)
    if entry is None or first >= total_bytes:
        return first_ns
    tail = PieceSource(Piece(name, first - first % 4, entry=entry, is_guess=True))
    return max((int(batch.time_ns.max()) for batch in tail if len(batch)), default=first_ns)


def cut(surveyed: Survey, piece_bytes: int, *, is_gapless: bool = False) -> list[Piece]:
    """Pieces of about `piece_bytes`, all of the file; one where it cannot be read in pieces."""
    whole = Piece(surveyed.name, is_gapless=is_gapless)
    bounds = range(0, max(surveyed.total_bytes, 1), -(-piece_bytes // 4) * 4)     # pcapng is aligned
    if surveyed.entry is None or len(bounds) == 1:
        return [whole]
    firsts = [replace(whole, first=first, stop=first + bounds.step, entry=surveyed.entry, is_guess=True)
              for first in bounds]
    firsts[0] = replace(whole, stop=bounds.step)
    firsts[-1] = replace(firsts[-1], stop=EVERYTHING)
    return firsts


class Seam:
    """Joins pieces of one file in their order; `state` says what its reader would, had it read all in one go."""

    def __init__(self) -> None:
        self.state = SourceState("file", "")
        self._edges: Edges | None = None
        self._is_over = False
        self._drops: dict[int, int] = {}

    def needs(self, piece: Piece) -> bool:
        """Whether there is anything to read in the piece, now that those before it are known."""
        before = self._edges
        return not self._is_over and (before is None or before.ended < piece.stop)

    def informed(self, piece: Piece) -> Piece:
        """The piece, to be read with what is known by now of its file; it may be out of date when its turn comes."""
        if self._edges is None or piece.entry is None:
            return piece
        return replace(piece, entry=replace(piece.entry, known=self._edges.entry.known))

    def give_up(self) -> None:
        """Nothing more of the file can be read."""
        self._is_over = True

    def mended(self, piece: Piece, edges: Edges) -> Piece | None:
        """What to read instead of a piece that does not fit behind those before; None where it fits."""
        before = self._edges
        if before is None or follows(before, piece, edges):
            return None
        return replace(piece, first=before.ended, entry=before.entry, is_guess=False)

    def add(self, edges: Edges, state: SourceState) -> None:
        """Take in what a piece that fits showed."""
        self.state.absorb(state)
        if self.state.dropped is not None and state.dropped is not None:
            self.state.dropped -= drops_told_twice(self._drops, edges)
        self._drops = drops_behind(self._drops, edges)
        self._edges, self._is_over = edges, edges.is_last
