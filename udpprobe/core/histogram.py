"""Durations per owner, for medians: exact while there are few, within 1.6 % when there are many.

What is kept depends only on the set of durations, not on their order or how they were split. The least and greatest are
kept exactly, the others by their leading bits once there are more than MOST_EXACT.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsIndex

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

from udpprobe.core import views
from udpprobe.core.views import Pickled, pickled, restored

MOST_EXACT = 64
"""Durations of an owner that are kept to the nanosecond."""

LEAST_PENDING = 1 << 12
MOST_PENDING = 1 << 21
"""New durations are collected before they are sorted in; the limit grows with the number already stored."""

_EXACT = cython.declare(cython.const[index], 64)
_KEPT_BITS = cython.declare(cython.const[cython.int], 7)  # of each duration, beyond that: 1.6 %
_BUCKETS = cython.declare(cython.const[index], 1 << 13)
_MOST_NS = cython.declare(cython.const[u64], (1 << 40) - 1)  # 18 minutes; longer ones count as that


@cython.final
@cython.cclass
class Histograms:
    """One bag of durations per owner; owners are numbered from 0."""

    def __init__(self) -> None:
        self.pending, self.owners, self.stored = 0, 0, 0
        self.room = LEAST_PENDING
        self.pending_owner, self.pending_ns = _words(self.room), _words(self.room)
        self.starts, self.values, self.counts = _words(1), _words(0), _words(0)
        self.buckets = _words(1 << 13)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        self.settle()
        return _restored, (
            self.owners,
            self.stored,
            pickled(self.starts, protocol),
            pickled(memoryview(self.values)[: self.stored], protocol),
            pickled(memoryview(self.counts)[: self.stored], protocol),
        )

    def __len__(self) -> int:
        """Number of entries: distinct durations, and those not settled yet."""
        return self.stored + self.pending

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def add(self, owner: index, duration_ns: i64) -> cython.int:
        """Add a duration; there must be room for it."""
        self.pending_owner[self.pending] = owner
        self.pending_ns[self.pending] = min(cython.cast(u64, duration_ns), _MOST_NS)
        self.pending += 1
        return 0

    def reserve(self, count: index) -> None:
        """Make room for `count` more."""
        if self.pending + count <= self.room:
            return
        self.settle()
        room = min(max(LEAST_PENDING, 2 * self.stored), MOST_PENDING)
        if room > self.room or count > self.room:
            self.room = max(room, count)
            self.pending_owner, self.pending_ns = _words(self.room), _words(self.room)

    def settle(self) -> None:
        """Sort the pending durations in."""
        if self.pending:
            ones = _words(self.pending)
            place: index
            for place in range(self.pending):
                ones[place] = 1
            self._merge(self.pending_owner, self.pending_ns, ones, self.pending)
            self.pending = 0

    def absorb(self, other: Histograms, owners: Sequence[int]) -> None:
        """Add another's durations. Those of its owner i go to owner `owners[i]` here, or nowhere if that is -1."""
        self.settle()
        other.settle()
        if not other.stored:
            return
        owner: views.u64s = _words(other.stored)
        ns: views.u64s = _words(other.stored)
        counts: views.u64s = _words(other.stored)
        at: index = 0
        old: index
        place: index
        new: i64
        for old in range(other.owners):
            if other.starts[old] < other.starts[old + 1]:
                new = owners[old]
                for place in range(other.starts[old], other.starts[old + 1] if new >= 0 else 0):
                    owner[at], ns[at], counts[at] = new, other.values[place], other.counts[place]
                    at += 1
        self._merge(owner, ns, counts, at)

    def _merge(self, owner: views.u64s, ns: views.u64s, weight: views.u64s, count: index) -> None:
        """Counting sort by owner, of what is stored and of `count` new durations; then each owner by itself."""
        if not count:
            return
        place: index
        own: index
        owners: index = self.owners
        for place in range(count):
            if cython.cast(index, owner[place]) >= owners:
                owners = cython.cast(index, owner[place]) + 1
        ends: views.u64s = _words(owners + 2)
        for own in range(self.owners):
            ends[own + 2] = self.starts[own + 1] - self.starts[own]
        for place in range(count):
            ends[owner[place] + 2] += 1
        for own in range(owners):
            ends[own + 2] += ends[own + 1]
        total: index = self.stored + count
        sorted_ns: views.u64s = _words(total)
        sorted_weight: views.u64s = _words(total)
        at: index
        for own in range(self.owners):
            for place in range(cython.cast(index, self.starts[own]), cython.cast(index, self.starts[own + 1])):
                at = cython.cast(index, ends[own + 1])
                sorted_ns[at], sorted_weight[at] = self.values[place], self.counts[place]
                ends[own + 1] += 1
        for place in range(count):
            at = cython.cast(index, ends[owner[place] + 1])
            sorted_ns[at], sorted_weight[at] = ns[place], weight[place]
            ends[owner[place] + 1] += 1
        # Now the owner's durations end at ends[owner + 1]. They are sorted in place and get fewer.
        self.stored = self._gather(ends, sorted_ns, sorted_weight, sorted_ns, sorted_weight, owners)
        self.owners, self.starts, self.values, self.counts = owners, ends, sorted_ns, sorted_weight
        if 2 * self.stored < total:
            self.values = _head(memoryview(sorted_ns), self.stored)
            self.counts = _head(memoryview(sorted_weight), self.stored)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _gather(
        self,
        ends: views.u64s,
        ns: views.u64s,
        weight: views.u64s,
        values: views.u64s,
        counts: views.u64s,
        owners: index,
    ) -> index:
        """Sort each owner's durations, and round them if many. `ends` become their starts. Returns the total number.

        Few are sorted by insertion, and equal ones are merged.
        """
        out: index = 0
        own: index
        first: index = 0
        last: index
        place: index
        at: index
        begin: index
        value: u64
        count: u64
        total: u64
        for own in range(owners):
            last = cython.cast(index, ends[own + 1])
            ends[own] = out
            total = 0
            for place in range(first, last):
                total += weight[place]
            if total > cython.cast(u64, _EXACT):
                out = self._many(first, last, ns, weight, values, counts, out)
                first = last
                continue
            for place in range(first + 1, last):
                value, count, at = ns[place], weight[place], place
                while at > first and ns[at - 1] > value:
                    ns[at], weight[at] = ns[at - 1], weight[at - 1]
                    at -= 1
                ns[at], weight[at] = value, count
            begin = out
            for place in range(first, last):
                if out > begin and values[out - 1] == ns[place]:
                    counts[out - 1] += weight[place]
                else:
                    values[out], counts[out] = ns[place], weight[place]
                    out += 1
            first = last
        ends[owners] = out
        return out

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _many(
        self,
        first: index,
        last: index,
        ns: views.u64s,
        weight: views.u64s,
        values: views.u64s,
        counts: views.u64s,
        out: index,
    ) -> index:
        """Count by leading bits. The least and greatest stay exact, and none is rounded below the least."""
        least: u64 = ns[first]
        most: u64 = ns[first]
        place: index
        value: u64
        for place in range(first, last):
            least, most = min(least, ns[place]), max(most, ns[place])
        at_least: u64 = 0
        at_most: u64 = 0
        low: index = _BUCKETS
        high: index = 0
        bucket: index
        shift: cython.int
        for place in range(first, last):
            value = ns[place]
            shift = self._shift(value)
            if value == least or value >> shift << shift <= least:
                at_least += weight[place]
            elif value == most:
                at_most += weight[place]
            else:
                bucket = (shift << _KEPT_BITS) + cython.cast(index, value >> shift)
                self.buckets[bucket] += weight[place]
                low, high = min(low, bucket), max(high, bucket)
        values[out], counts[out] = least, at_least
        out += 1
        for bucket in range(low, high + 1):
            if self.buckets[bucket]:
                shift = bucket >> _KEPT_BITS
                values[out] = cython.cast(u64, bucket & ((1 << _KEPT_BITS) - 1)) << shift
                counts[out] = self.buckets[bucket]
                self.buckets[bucket] = 0
                out += 1
        if at_most:
            values[out], counts[out] = most, at_most
            out += 1
        return out

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _shift(self, value: u64) -> cython.int:
        """Number of low bits of a duration that are dropped."""
        shift: cython.int = 0
        value >>= _KEPT_BITS
        if value >> 16:
            shift, value = 16, value >> 16
        if value >> 16:
            shift, value = shift + 16, value >> 16
        if value >> 8:
            shift, value = shift + 8, value >> 8
        if value >> 4:
            shift, value = shift + 4, value >> 4
        if value >> 2:
            shift, value = shift + 2, value >> 2
        if value >> 1:
            shift, value = shift + 1, value >> 1
        return shift + 1 if value else shift

    def keep(self, owners: Sequence[int]) -> None:
        """Forget all owners but these, ascending; they are renumbered from 0, in their order."""
        self.settle()
        old = Histograms()
        new = [-1] * max(self.owners, 1)
        for number, owner in enumerate(owners):
            if owner < self.owners:
                new[owner] = number
        old.absorb(self, range(self.owners))
        self.owners, self.stored = 0, 0
        self.starts, self.values, self.counts = _words(1), _words(0), _words(0)
        self.absorb(old, new)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def has(self, owner: index) -> cython.bint:
        """Whether an owner has any duration. Settle first."""
        return 0 <= owner < self.owners and self.starts[owner] < self.starts[owner + 1]

    def spread(self, owner: index) -> tuple[int, float, int] | None:
        """Least, median and greatest of an owner's durations in nanoseconds; None without any. Settle first."""
        if not self.has(owner):
            return None
        first: index = self.starts[owner]
        last: index = self.starts[owner + 1]
        if last == first + 1:  # of a million destinations, most have only one
            return int(self.values[first]), float(self.values[first]), int(self.values[first])
        place: index
        values, counts = self.values, self.counts
        total = 0
        for place in range(first, last):
            total += counts[place]
        seen = 0
        lower: i64 = -1
        for place in range(first, last):
            seen += counts[place]
            if lower < 0 and seen > (total - 1) // 2:
                lower = values[place]
            if seen > total // 2:
                return int(values[first]), (lower + values[place]) / 2, int(values[last - 1])
        raise AssertionError  # the last duration is beyond the middle


def _words(count: int) -> memoryview:
    return memoryview(bytearray(8 * count)).cast("Q") if count else memoryview(bytearray(8)).cast("Q")


def _head(words: memoryview, count: int) -> memoryview:
    return memoryview(bytearray(words[:count])).cast("Q") if count else _words(0)


def _restored(owners: int, stored: int, starts: Pickled, values: Pickled, counts: Pickled) -> Histograms:
    made = Histograms()
    made.owners, made.stored, made.starts = owners, stored, restored(starts, "Q")
    if stored:
        made.values, made.counts = restored(values, "Q"), restored(counts, "Q")
    return made
