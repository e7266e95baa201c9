"""How many datagrams lie between two frames, of which only those with a datagram in them are known."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from udpprobe.core.batch import I64, Bool


class Ordinals:
    """Counts datagrams by the frames they stand in.

    Args:
        segments: (n,) frames of datagrams in any order each, none empty; no frame is less than one in a segment before.
        first: the least frame of each segment.
        forgotten: how many datagrams came before all of these.
    """

    def __init__(self, segments: list[I64], first: list[int], forgotten: int) -> None:
        self._segments, self._forgotten = segments, forgotten
        self._first = np.array(first, np.int64)
        self._upto = np.cumsum([0, *map(len, segments)])

    @cached_property
    def _ordered(self) -> I64:
        return np.sort(np.concatenate([*self._segments, self._first[:0]]))

    def before(self, frame: I64) -> I64:
        """(n,) how many datagrams came before each frame, of all or since the ones that are known."""
        return np.searchsorted(self._ordered, frame) + self._forgotten

    def within(self, most: int, frame: I64, end: I64, more: I64) -> Bool:
        """(n,) whether there are at most so many datagrams from each frame to before another, and more of them.

        Nearly always the segments they stand in tell; only where they do not all frames are put in order.
        """
        first = np.maximum(np.searchsorted(self._first, frame) - 1, 0)
        sure = self._upto[np.searchsorted(self._first, end)] - self._upto[first] + more <= most
        if sure.all():
            return sure
        return self.before(end) - self.before(frame) + more <= most
