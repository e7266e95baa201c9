"""Several captures as one, in the order of their times, as mergecap merges them."""

from __future__ import annotations

from array import array
from typing import Any

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index

from udpprobe.core.capture import Records

_WAIT = cython.declare(cython.const[cython.int], 2)
_LATEST_NS = cython.declare(cython.const[i64], (1 << 63) - 1)
_EARLIEST_NS = cython.declare(cython.const[i64], -(1 << 63))


@cython.final
@cython.cclass
class Merge:
    """Tells which of several captures the next frames come from, and how many.

    A frame older than an earlier one of its own capture counts as equally late, so it comes directly after. Of frames
    with equal times, those of the capture with the lowest rank come first. Frames are numbered consecutively.
    """

    def __init__(self) -> None:
        self._captures: list[Any] = []  # Records; None where one was dropped
        # time of each one's next frame; the earliest time if that is not known yet
        self._keys = memoryview(array("q", [0]))
        self._ranks = memoryview(array("q", [0]))
        self._heap = memoryview(array("q", [0]))  # a heap of indices into these, of the captures that are filled
        self._count = 0
        self._turn = -1
        self.until_ns = _LATEST_NS
        self.frames = 0

    def add(self, records: Records, rank: int) -> int:
        """Add a capture of which no frame was read yet, and which numbers frames only; return its number."""
        number = len(self._captures)
        self._captures.append(records)
        if number == len(self._keys):
            self._keys = memoryview(array("q", [*list(self._keys), *[0] * number]))
            self._ranks = memoryview(array("q", [*list(self._ranks), *[0] * number]))
            self._heap = memoryview(array("q", [*list(self._heap), *[0] * number]))
        self._keys[number] = _EARLIEST_NS
        self._ranks[number] = rank
        place: index = self._count
        self._count += 1
        while place and self._is_before(number, self._heap[(place - 1) // 2]):
            self._heap[place] = self._heap[(place - 1) // 2]
            place = (place - 1) // 2
        self._heap[place] = number
        return number

    def drop(self) -> None:
        """Drop the hungry capture: it has ended."""
        self._captures[self._heap[0]] = None
        self._count -= 1
        self._heap[0] = self._heap[self._count]
        self._sift()

    @property
    def is_empty(self) -> bool:
        """Whether no capture is left."""
        return self._count == 0

    @property
    def hungry(self) -> int:
        """The number of the capture that must be filled, or dropped, before there are more frames; -1 for none.

        That is the case when `turn` returns None although frames are not later than `until_ns`.
        """
        return self._heap[0] if self._count and self._keys[self._heap[0]] == _EARLIEST_NS else -1

    @cython.ccall
    def turn(self) -> Records | None:
        """The capture with the next frames: read it until it says WAIT, MORE or END, then ask again.

        Returns:
            None if a capture is hungry, or frames are later than `until_ns`.
        """
        records: Records
        if self._turn >= 0:
            records = self._captures[self._turn]
            self.frames = records.frame
            self._turn = -1
        while self._count:
            number: index = self._heap[0]
            records = self._captures[number]
            if self._keys[number] != _EARLIEST_NS:
                if self._keys[number] > self.until_ns:
                    break
                records.until_ns = min(self._bound(), self.until_ns)
                records.frame = self.frames
                self._turn = number
                self._keys[number] = _EARLIEST_NS
                return records
            records.until_ns = _EARLIEST_NS
            if records.next() != _WAIT:
                break
            self._keys[number] = records.held_ns
            self._sift()
        return None

    @cython.cfunc
    @cython.exceptval(-1, check=True)
    def _bound(self) -> i64:
        """Time until which the first capture's frames precede those of all others."""
        if self._count == 1:
            return _LATEST_NS
        number: index = self._heap[0]
        second: index = self._heap[1]
        if self._count > 2 and self._is_before(self._heap[2], second):
            second = self._heap[2]
        return self._keys[second] - (self._ranks[number] > self._ranks[second])

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _sift(self) -> cython.int:
        """Move the first capture of the heap to its place."""
        number: index = self._heap[0]
        place: index = 0
        while True:
            below: index = 2 * place + 1
            if below + 1 < self._count and self._is_before(self._heap[below + 1], self._heap[below]):
                below += 1
            if below >= self._count or not self._is_before(self._heap[below], number):
                break
            self._heap[place] = self._heap[below]
            place = below
        self._heap[place] = number
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _is_before(self, one: index, other: index) -> cython.bint:
        return self._keys[one] < self._keys[other] or (
            self._keys[one] == self._keys[other] and self._ranks[one] < self._ranks[other]
        )
