"""Walks the chain of records that a capture is, exactly, and many links at a time.

A record says where the next one begins, so a plain walk waits for memory at every step. Instead the window is
split at plausible record starts, and one cursor for each piece advances in lock-step with all others. A guess
is believed only when the chain before it lands on it; from a known first record that proves every boundary.
Where a guess was wrong or missing, records are walked one by one until the chain meets one again: that costs
time, never exactness.
"""

from __future__ import annotations

from itertools import pairwise
from math import isqrt
from typing import TYPE_CHECKING, Protocol

import numpy as np

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable, Container

    from udpprobe.core.batch import I64, U8

SAMPLE_RECORDS = 64
"""Records walked one by one first: they say how long records are, and are often all there is."""

SEGMENTS = 512
"""Cursors at most: more would fall out of the nearest cache."""

FEWEST_SEGMENTS = 16
"""With fewer cursors a step costs more than walking."""

LAGGARDS = 16
"""When only one in so many cursors is still on its way, walking the rest costs less than more steps."""

GUESSED_BYTES = 1 << 16
"""Places looked at together for a record's start."""

PROOF_BYTES = 1 << 16
"""So far must a chain of records go on from a place for it to pass as a record's start: out of any payload."""

STEPS = 16
"""Steps between two looks at who has arrived."""

EVERYTHING = 1 << 62


class Form(Protocol):
    """How records of one file format are laid out."""

    header_bytes: int
    """No record is shorter."""
    unit_bytes: int
    """Every record begins at a multiple of it."""

    def size_of(self, buffer: mmap.mmap, at: int) -> int:
        """Bytes of the record whose header stands at `at`; 0 where no record can look so."""
        ...

    def find_start(self, buffer: mmap.mmap, at: int, low: int, high: int) -> int | None:
        """A guess at a record's start in low..high; the record at `at` is known to be one."""
        ...

    def candidates(self, data: U8, low: int, high: int) -> list[int]:
        """Places in low..high, a multiple of the unit each, where a record may begin when none is known."""
        ...

    def sane_size(self, buffer: mmap.mmap, at: int, high: int) -> int:
        """Bytes of the record whose header stands at `at`; 0 where no usual record looks so."""
        ...

    def stepper(self, data: U8, cursors: int) -> Callable[[I64], None]:
        """What fills block[1:], (STEPS, cursors), from block[0]; each row is one record on.

        Positions are in units from byte 0 of `data`. A cursor in the wild may go anywhere forward, or stay.
        """
        ...


class Chain:
    """The records of one window.

    Args:
        form: the file's format.
        data: the bytes the window lies in.
        buffer: the same bytes.
        end: behind the last byte of the window.
    """

    def __init__(self, form: Form, data: U8, buffer: mmap.mmap, end: int) -> None:
        self._form = form
        self._data = data
        self._buffer = buffer
        self._end = end

    def walk(self, start: int) -> tuple[I64, int]:
        """Finds all whole records from `start`, where a record stands.

        Returns:
            Their starts, and where the first stands that is not whole, or bad. The reader of the records must
            check that each has the size its place says, for a cursor may have stepped over a bad length.
        """
        sample, at = self._follow(start, most=SAMPLE_RECORDS)
        records = (self._end - at) * len(sample) // max(at - start, 1)
        # guessing where a segment begins costs as much as 1.5 steps: the sum of both is least there
        segments = min(SEGMENTS, isqrt(records * 2 // 3))
        if len(sample) < SAMPLE_RECORDS or segments < FEWEST_SEGMENTS:
            rest, at = self._follow(at)
            return np.array(sample + rest, np.int64), at
        starts = self._guess_starts(at, segments)
        found, at = self._stitch(starts, *self._lockstep(starts))
        return self._whole(np.append(np.array(sample, np.int64), found), at)

    def _follow(self, at: int, stops: Container[int] = (), most: int = EVERYTHING) -> tuple[list[int], int]:
        """One record after the other, until `stops`, `most` records, or one that is torn or bad."""
        size_of, buffer, end = self._form.size_of, self._buffer, self._end
        last = end - self._form.header_bytes
        found: list[int] = []
        while at <= last and at not in stops and len(found) < most:
            size = size_of(buffer, at)
            if not size or at + size > end:
                break
            found.append(at)
            at += size
        return found, at

    def _guess_starts(self, at: int, segments: int) -> list[int]:
        bounds = [at + (self._end - at) * number // segments for number in range(1, segments + 1)]
        guesses = (self._form.find_start(self._buffer, at, low, high) for low, high in pairwise(bounds))
        return [at, *(guess for guess in guesses if guess is not None)]

    def _lockstep(self, starts: list[int]) -> tuple[I64, I64, I64]:
        """Advances from all starts until nearly all cursors are past the next start.

        Returns:
            (cursors, steps) positions; (cursors,) how many of them count; (cursors,) where each then stood;
            all in the form's units.
        """
        unit, cursors = self._form.unit_bytes, len(starts)
        first = np.array(starts, np.int64) // unit
        limits = np.append(first[1:], -(-self._end // unit))
        most = 2 * (self._end - starts[0]) // (cursors * self._form.header_bytes) // STEPS + 1
        # rows of odd length: at a power of two, all of a column falls into one set of the cache
        steps = np.empty((most * STEPS + 1, cursors | 1), np.int64)[:, :cursors]
        steps[0] = first
        advance = self._form.stepper(self._data, cursors)
        used, ahead = 0, cursors
        while used < most * STEPS and ahead > cursors // LAGGARDS:
            advance(steps[used:used + STEPS + 1])
            used += STEPS
            # one that moves by less than a header a step went astray
            moved = steps[used] - steps[used - STEPS] >= STEPS * self._form.header_bytes // unit
            ahead = int(np.count_nonzero((steps[used] < limits) & moved))
        # the second bound is for cursors that do not move any more: each position counts once
        counts = np.count_nonzero(steps[:used] < np.minimum(limits, steps[used]), axis=0)
        landings = steps[counts, np.arange(cursors)]
        return np.ascontiguousarray(steps[:counts.max()].T), counts, landings

    def _stitch(self, starts: list[int], positions: I64, counts: I64, landings: I64) -> tuple[I64, int]:
        """Joins the cursors' chains where one lands on the next; walks where none does."""
        unit = self._form.unit_bytes
        chains = {start: number for number, start in enumerate(starts)}
        pieces: list[I64] = []
        at = starts[0]
        while at < self._end:
            number = chains.pop(at, None)     # taken out: a cursor that never moved must not be asked again
            if number is None:
                found, at = self._follow(at, chains)
                pieces.append(np.array(found, np.int64) // unit)
                if at not in chains:
                    break
            else:
                pieces.append(positions[number, :counts[number]])
                at = int(landings[number]) * unit
        return np.concatenate(pieces) * unit, at

    def _whole(self, positions: I64, at: int) -> tuple[I64, int]:
        """Drops what the cursors saw of a record that is not all there."""
        while positions.size and (at > self._end or positions[-1] + self._form.header_bytes > self._end):
            at = int(positions[-1])
            positions = positions[:-1]
        return positions, at


def first_start(form: Form, data: U8, buffer: mmap.mmap, low: int, high: int) -> int | None:
    """A good guess at the first record's start in low..high, when none is known; None where nothing looks so."""
    last = high - form.header_bytes
    low += -low % form.unit_bytes
    places = (at for first in range(low, last + 1, GUESSED_BYTES)
              for at in form.candidates(data, first, min(first + GUESSED_BYTES, last + 1)))
    return next((at for at in places if _goes_on(form, buffer, at, high)), None)


def _goes_on(form: Form, buffer: mmap.mmap, first: int, high: int) -> bool:
    at = first
    while at < first + PROOF_BYTES and at + form.header_bytes <= high:
        size = form.sane_size(buffer, at, high)
        if not size or (at == first and at + size > high):
            return False
        at += size
    return True
