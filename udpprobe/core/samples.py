"""Durations by the number of what they belong to, for medians: exact while few, within 0.2 % when many.

Packed as number << 40 | nanoseconds, so that sorting them sorts both. What is kept depends only on which
samples there were, not on their order or on how they were split.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.packets import u64
from udpprobe.core.runs import starts_of_runs

F64 = npt.NDArray[np.float64]

NS_BITS = 40
NS_MASK = u64((1 << NS_BITS) - 1)
MOST_NS = (1 << NS_BITS) - 1
"""18 minutes; longer ones count as that."""

MOST_EXACT = 1024
"""Samples of one number that are kept to the nanosecond."""
KEPT_BITS = 9
"""Leading bits of a duration that are kept beyond that: 0.2 %."""
COARSE_BITS = 4
"""Those that are kept where memory is short: 7 %."""
PENDING = 1 << 20
"""New samples that are collected before they are merged."""


class Samples:
    """A bag of durations a number."""

    def __init__(self) -> None:
        self._pending: list[U64] = []
        self._pending_size = 0
        self._values = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.int64)

    def add(self, numbers: I64, durations_ns: I64) -> None:
        """Add (n,) durations; negative ones count as 0."""
        packed = numbers << NS_BITS | np.clip(durations_ns, 0, MOST_NS)
        self._pending.append(packed.view(np.uint64))
        self._pending_size += len(packed)
        if self._pending_size >= PENDING:
            self._merge()

    def _merge(self) -> None:
        new = np.concatenate(self._pending) if self._pending else np.empty(0, np.uint64)
        self._pending, self._pending_size = [], 0
        values = np.concatenate([self._values, new])
        counts = np.concatenate([self._counts, np.ones(len(new), np.int64)])
        self._values, self._counts = _settle(values, counts)

    def absorb(self, other: Samples, numbers: I64) -> None:
        """Add all of another bag's durations, those of its number i as of `numbers[i]`."""
        self._merge()
        other._merge()
        number = numbers[(other._values >> u64(NS_BITS)).view(np.int64)]
        values = number.view(np.uint64) << u64(NS_BITS) | other._values & NS_MASK
        self._values, self._counts = _settle(np.concatenate([self._values, values]),
                                             np.concatenate([self._counts, other._counts]))

    def __len__(self) -> int:
        """How much is kept: distinct durations, and those that are not merged yet."""
        return len(self._values) + self._pending_size

    def only(self, numbers: I64) -> Samples:
        """A bag of these numbers' durations, ascending; they are numbered anew from 0, in their order."""
        found = Samples()
        found._values, found._counts = self._of(numbers)
        return found

    def keep(self, numbers: I64) -> None:
        """Forget all numbers but these, ascending; they are numbered anew from 0, in their order."""
        self._values, self._counts = self._of(numbers)

    def _of(self, numbers: I64) -> tuple[U64, I64]:
        self._merge()
        number = (self._values >> u64(NS_BITS)).view(np.int64)
        new = np.searchsorted(numbers, number)
        kept = np.append(numbers, -1)[new] == number
        return new[kept].view(np.uint64) << u64(NS_BITS) | self._values[kept] & NS_MASK, self._counts[kept]

    def coarsen(self) -> None:
        """Round all durations but each number's least and greatest, however few there are of it, to within 7 %."""
        self._merge()
        rounded = _rounded(self._values, np.ones(len(self._values), np.bool_), COARSE_BITS)
        self._values, self._counts = _run_lengths(rounded, self._counts)

    def spreads(self) -> tuple[I64, I64, F64, I64]:
        """(k,) every number that has samples, ascending; (k,) each its minimum, median and maximum in nanoseconds."""
        self._merge()
        number = (self._values >> u64(NS_BITS)).view(np.int64)
        duration = (self._values & NS_MASK).view(np.int64)
        starts = starts_of_runs(number)
        last = np.append(starts[1:], len(number))[:len(starts)] - 1
        upto = np.cumsum(self._counts)
        before = upto[starts] - self._counts[starts]
        total = upto[last] - before
        lower = duration[np.searchsorted(upto, before + (total - 1) // 2, side="right")]
        upper = duration[np.searchsorted(upto, before + total // 2, side="right")]
        return number[starts], duration[starts], (lower + upper) / 2, duration[last]


def _settle(values: U64, counts: I64) -> tuple[U64, I64]:
    """In order, each value once, and the many rounded."""
    values, counts = _run_lengths(values, counts)
    return _run_lengths(_round_the_many(values, counts), counts)


def _run_lengths(values: U64, counts: I64) -> tuple[U64, I64]:
    """Each value once, in order, with the sum of its counts."""
    if len(values) == 0:
        return values, counts
    order = np.argsort(values)
    values, counts = values[order], counts[order]
    starts = starts_of_runs(values)
    return values[starts], np.add.reduceat(counts, starts)


def _round_the_many(values: U64, counts: I64) -> U64:
    """Of numbers with more than MOST_EXACT samples, keep the leading bits of each duration."""
    starts = starts_of_runs(values >> u64(NS_BITS))
    if len(values) == 0 or np.add.reduceat(counts, starts).max() <= MOST_EXACT:
        return values
    sizes = np.diff(np.append(starts, len(values)))
    return _rounded(values, np.repeat(np.add.reduceat(counts, starts) > MOST_EXACT, sizes), KEPT_BITS)


def _rounded(values: U64, which: Bool, kept_bits: int) -> U64:
    """Some values with only the leading bits of their durations.

    The least and the greatest one of each number stay as they are, and none is rounded to less than the least.
    """
    starts = starts_of_runs(values >> u64(NS_BITS))
    sizes = np.diff(np.append(starts, len(values)))
    which[starts] = False
    which[starts + sizes - 1] = False
    bits = np.frexp((values & NS_MASK).astype(np.float64))[1]
    dropped = np.maximum(bits - kept_bits, 0).astype(np.uint64)
    rounded = np.maximum(values >> dropped << dropped, np.repeat(values[starts], sizes))
    return np.where(which, rounded, values)
