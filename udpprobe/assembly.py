"""Captures in pieces, digested side by side and put together in their order: exactly what one process makes of them.

Each piece is given out once with what is known by then; where its neighbour shows that it knew too little, it is given
out again. Files are put one behind the other by their first frames; where one turns out to reach into the next, only
reading them together gives the right order, and whoever asked is told so.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any

from udpprobe.core.batch import SourceState
from udpprobe.digest import Digest, Ends, Task, Taught, Workforce, digest
from udpprobe.errors import CaptureError
from udpprobe.sources.piece import Piece
from udpprobe.sources.pieces import Seam, Survey, cut, survey

PIECE_BYTES = 256 << 20
"""What is digested at a time: long against the merging of it, short against the whole."""

PIECES_EACH = 1
"""Of one large file, for those who take larger ones: two pieces cost 1.2 times one process's time, eight 1.35."""

AHEAD = 2
"""Pieces given out beyond those being digested: no process shall wait, and few results."""

BEFORE_ALL = (-(1 << 64), 0)
"""Also before where files without frames are put."""


class OverlapError(Exception):
    """Files of one capture overlap in time."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A piece, and where in all that is to be read it stands."""

    capture: int
    surveyed: Survey
    rank: int
    """Of frames of one time, those of the file of the lowest rank come first."""
    piece: Piece
    ends: Ends


@dataclass(slots=True)
class Assembled:
    """One capture, as far as it was read."""

    part: Taught | None = None
    """None where nothing of it could be read."""
    state: SourceState = field(default_factory=lambda: SourceState("file", ""))
    is_partial: bool = False
    """Whether it was stopped before its end."""
    seam: Seam = field(default_factory=Seam)
    """Of the file at hand."""
    _surveyed: Survey | None = None
    _reach: tuple[int, int] = BEFORE_ALL

    def enter(self, place: _Place) -> None:
        """Go on to the file that the place is in.

        Raises:
            OverlapError: one before it is not at its end when it begins.
        """
        if place.surveyed is self._surveyed:
            return
        if self._reach >= (place.surveyed.first_ns, place.rank):
            raise OverlapError
        self.leave()
        self._surveyed, self.seam = place.surveyed, Seam()

    def informed(self, place: _Place) -> Piece:
        """The place's piece with what is known by now of its file."""
        return self.seam.informed(place.piece) if place.surveyed is self._surveyed else place.piece

    def take(self, place: _Place, found: Digest) -> None:
        """Add the piece behind those that are there."""
        if self.part is None:
            self.part = found.part
        else:
            self.part.merge(found.part)
        self.seam.add(found.edges, found.state)
        if found.edges.last_ns is not None:
            self._reach = max(self._reach, (found.edges.last_ns, place.rank))
        self.is_partial = found.is_partial

    def leave(self) -> None:
        """The file at hand is at its end."""
        self.state.absorb(self.seam.state)


class Assembly:
    """Gives out pieces of captures, some ahead, and puts together what comes back.

    Args:
        captures: the files of each.
        task: what to do with each piece.
        crew: who does it.
        look: called now and then with how far it has come.

    Raises:
        CaptureError: none of the files can be read.
        UdpprobeError: a process died, twice.
    """

    def __init__(self, captures: Sequence[Sequence[str]], task: Task, crew: Workforce,
                 look: Callable[[SourceState], None]) -> None:
        self.state = SourceState("file", "")
        """Of all captures: how far it has come, and which files could not be read."""
        self._task, self._crew, self._look = task, crew, look
        self._is_alone = sum(map(len, captures)) == 1
        self._are_merged = [len(files) > 1 for files in captures]
        self._surveys = [self._survey(files) for files in captures]
        if not any(self._surveys) and not crew.is_stopped:
            raise CaptureError(next(iter(self.state.unread.values())))
        self.state.total_bytes = sum(each.total_bytes for files in self._surveys for each, _ in files)
        grain = round(self.state.total_bytes / (PIECES_EACH * crew.count * PIECE_BYTES))
        self._piece_bytes = min(max(grain, 1), crew.most_grain) * PIECE_BYTES
        self._left_out = {number for number, files in enumerate(self._surveys) if _overlap(files)}
        self._places = self._all_places()
        self._given: deque[tuple[_Place, Any]] = deque()
        self._at = Assembled()

    def capture(self, number: int) -> Assembled:
        """One of the captures; they are to be asked for in their order.

        Raises:
            CaptureError: the only file cannot be read.
            OverlapError: its files overlap; it is for somebody else to read them.
            UdpprobeError: a process died, twice.
        """
        if number in self._left_out:
            raise OverlapError
        self._at = Assembled()
        try:
            for place, job in self._given_of(number):
                self._at.enter(place)
                self._join(place, job)
                if self._at.is_partial:
                    break
        except OverlapError:
            self._left_out.add(number)
            raise
        self._at.leave()
        return self._at

    def _survey(self, files: Sequence[str]) -> list[tuple[Survey, int]]:
        """Those that can be read, and their ranks, by their first frames; when stopped, those known by then."""
        jobs = [self._crew.give(survey, name) for name in files]
        found = []
        for number, (name, job) in enumerate(zip(files, jobs, strict=True)):
            if self._crew.is_stopped:
                break
            with self._noting(name):
                found.append((self._crew.result(job, self._see), -number))
        return sorted(found, key=lambda each: (each[0].first_ns, each[1]))

    @contextmanager
    def _noting(self, name: str) -> Iterator[None]:
        try:
            yield
        except CaptureError as error:
            if self._is_alone:
                raise
            self.state.unread[name] = str(error)

    def _see(self) -> None:
        self._look(self.state)

    def _all_places(self) -> Iterator[_Place]:
        for number, files in enumerate(self._surveys):
            pieces = [(surveyed, rank, piece) for surveyed, rank in files
                      for piece in cut(surveyed, self._piece_bytes, is_gapless=self._are_merged[number])]
            for index, (surveyed, rank, piece) in enumerate(pieces):
                if number not in self._left_out:
                    yield _Place(number, surveyed, rank, piece, Ends(index == 0, index == len(pieces) - 1))

    def _given_of(self, number: int) -> Iterator[tuple[_Place, Any]]:
        """The pieces of a capture in their order, each given out by now, and others ahead of it."""
        while True:
            self._give()
            if not self._given or self._given[0][0].capture > number:
                return
            place, job = self._given.popleft()
            if place.capture == number:
                yield place, job
            else:
                self._crew.forget(job)

    def _give(self) -> None:
        while len(self._given) < self._crew.count + AHEAD and not self._crew.is_stopped:
            place = next(self._places, None)
            if place is None:
                return
            place = replace(place, piece=self._at.informed(place))
            self._given.append((place, self._crew.give(digest, place.piece, self._task, place.ends)))

    def _join(self, place: _Place, job: Any) -> None:  # noqa: ANN401 - the workforce knows what it is
        self.state.done_bytes += min(place.piece.stop, place.surveyed.total_bytes) - place.piece.first
        if not self._at.seam.needs(place.piece):
            self._crew.forget(job)
            return
        with self._noting(place.piece.name):
            self._at.take(place, self._fitting(place, self._crew.result(job, self._see)))
            return
        self._at.seam.give_up()

    def _fitting(self, place: _Place, found: Digest) -> Digest:
        """The piece as it is to be read behind those before it."""
        ends = place.ends._replace(is_first=self._at.part is None)
        piece = self._at.seam.mended(place.piece, found.edges)
        if piece is None and ends == place.ends:
            return found
        job = self._crew.give(digest, piece or place.piece, self._task, ends)
        return self._crew.result(job, self._see)


def _overlap(files: Sequence[tuple[Survey, int]]) -> bool:
    """Whether files, by their first frames, seem to reach into each other."""
    return any((before.last_ns, rank) >= (behind.first_ns, next_rank)
               for (before, rank), (behind, next_rank) in pairwise(files))
