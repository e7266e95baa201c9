"""Which packet size to try next: the search of DPLPMTUD (RFC 8899), in bytes of the IP packet.

A router's reported MTU is only a hint of what to try. A size passes when its arrival is proven. It fails when it is
lost while a smaller one gets through.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from udpprobe.core.notes import LEAST_MTU

BASE_PLPMTU = 1280
"""A size that nearly every path carries (RFC 8899, 5.1.2, with headers)."""

CANDIDATES = (
    68,
    296,
    508,
    552,
    576,
    1006,
    1280,
    1400,
    1412,
    1420,
    1440,
    1450,
    1454,
    1472,
    1480,
    1492,
    1500,
    2002,
    4352,
    8166,
    9000,
    17914,
    32000,
    65535,
)
"""Common MTUs: RFC 1191's plateaus, and what PPPoE, tunnels and their combinations leave."""

MOST_FALSE_HINTS = 5
"""Most narrow links in a row; routers that are wrong more often only mislead."""
MOST_FALSE_REPORTS = 2
"""After this many sizes have arrived that a router had reported as too big, routers are ignored."""


class Phase(StrEnum):
    """The phases of RFC 8899, 5.2."""

    BASE = "BASE"
    """Not known yet whether anything arrives."""
    SEARCHING = "SEARCHING"
    SEARCH_COMPLETE = "SEARCH_COMPLETE"
    ERROR = "ERROR"
    """Not even BASE_PLPMTU arrives; the search goes on below it."""


class Search:
    """The state of a path MTU search.

    Args:
        family: 4 or 6.
        least: the smallest packet that can be sent.
        most: the largest packet that fits the interface and the user allows.
    """

    def __init__(self, family: int, least: int, most: int) -> None:
        self._least_mtu, self._least = LEAST_MTU[family], least
        self.most = most
        self.passed = 0
        """The largest size that proved to arrive; 0 for none."""
        self.shrunk_from: set[int] = set()
        """Sizes that arrived at first, but no longer."""
        self.local_limit = most + 1
        """The smallest size that this host itself does not send."""
        self.hints: set[int] = set()
        """Plausible reported MTUs."""
        self._missed: Counter[int] = Counter()
        """By size, number of rounds in which it was lost while something smaller got through."""
        self._reported: set[int] = set()
        """Sizes that a router reported as too big."""
        self._said: set[int] = set()
        """The same, never removed."""
        self._false_reports = 0

    @property
    def state(self) -> Phase:
        """The phase by RFC 8899."""
        if not self.passed:
            return Phase.BASE
        if self.next() is None:
            return Phase.SEARCH_COMPLETE
        lost = self.smallest_lost
        return Phase.ERROR if lost is not None and lost <= BASE_PLPMTU else Phase.SEARCHING

    @property
    def smallest_lost(self) -> int | None:
        """The smallest size that does not seem to arrive."""
        return min((size for size in (*self._missed, *self._reported) if size > self.passed), default=None)

    def is_reported(self, size: int) -> bool:
        """Whether a router reported this lost size as too big."""
        return size in self._said

    def next(self) -> int | None:
        """The size to try; None when the path's MTU is known to the byte."""
        if not self.passed:
            return self._least
        if self.passed >= self.most:
            return None
        lost = self.smallest_lost
        if lost is None or lost > self.most:
            return self.most
        if lost > self.passed + 1:
            return self._between(self.passed, lost)
        return None if self._is_sure(lost) else lost

    def _is_sure(self, size: int) -> bool:
        """Whether a size is lost: with a router's report one round is enough, without any it takes two."""
        return self._missed[size] + (size in self._reported) > 1 and self._missed[size] > 0

    def _between(self, low: int, high: int) -> int:
        """A size between one that arrives and one that does not: the most common MTU first, then the middle."""
        hints = self.hints if self._is_trusting() and self._false_hints() <= MOST_FALSE_HINTS else set()
        if hint := min((each for each in hints if low < each < high), default=None):
            return hint
        if low in hints:
            return low + 1
        if low < BASE_PLPMTU < high:
            return BASE_PLPMTU
        known = [each for each in CANDIDATES if low < each < high]
        if known:
            return known[len(known) // 2]
        return low + 1 if low in CANDIDATES else (low + high) // 2

    def _is_trusting(self) -> bool:
        return self._false_reports <= MOST_FALSE_REPORTS

    def _false_hints(self) -> int:
        return len(self.hints & (self._reported | self._missed.keys()))

    def arrived(self, size: int) -> None:
        """A packet of this size reached the destination."""
        if size in self._missed:  # it was given up too early, so conclusions about larger sizes do not hold
            self._missed.clear()
        if size in self._reported:  # nor do reports of routers that are wrong
            self._reported.clear()
            self._false_reports += 1
        self.passed = max(self.passed, size)
        self.shrunk_from = {each for each in self.shrunk_from if each > size}

    def missed(self, size: int) -> None:
        """A packet of this size was lost while something smaller sent after it arrived."""
        self._missed[size] += 1

    def reported(self, size: int, mtu: int | None) -> None:
        """A router reports this size as too big.

        Args:
            size: of the packet it is about.
            mtu: the reported MTU.
        """
        self._said.add(size)
        if self._is_trusting():
            self._reported.add(size)
        if mtu is not None and max(self._least, self._least_mtu) <= mtu < size:
            self.hints.add(mtu)

    def shrink(self, least: int) -> None:
        """Sizes that arrived before no longer do: start again above `least`, which still does."""
        self.shrunk_from.add(self.passed)
        self.passed = least

    def unsent(self, size: int) -> None:
        """This host itself does not send packets of this size: that is certain."""
        self._missed[size] += 2
        self.local_limit = min(self.local_limit, size)
