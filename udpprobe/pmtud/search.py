"""Which packet size to try next: the search of DPLPMTUD (RFC 8899), in bytes of the IP packet.

What routers say of the size they forward is a hint of what to try, never the result: a size counts when something
proves that it arrived, and one byte more when it went missing while the smaller one got through.
"""

from __future__ import annotations

from collections import Counter
from enum import StrEnum

from udpprobe.core.notes import LEAST_MTU

BASE_PLPMTU = 1280
"""A size that nearly every path takes (RFC 8899, 5.1.2, with headers)."""

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
"""MTUs that are met: RFC 1191's plateaus, and what is left by PPPoE, tunnels and their nestings."""

MOST_FALSE_HINTS = 5
"""So many narrow links may follow each other; routers that are wrong more often only lead astray."""
MOST_SLANDERS = 2
"""So often may a size arrive after all of which a router said that it is too big; then no router is listened to."""


class Phase(StrEnum):
    """The phases of RFC 8899, 5.2."""

    BASE = "BASE"
    """It is not known yet whether anything arrives."""
    SEARCHING = "SEARCHING"
    SEARCH_COMPLETE = "SEARCH_COMPLETE"
    ERROR = "ERROR"
    """Not even BASE_PLPMTU arrives; the search goes on below it."""


class Search:
    """What is known of the path's MTU.

    Args:
        family: 4 or 6.
        least: the smallest packet that can be sent.
        most: the largest one that this host's interface takes, and that is asked for.
    """

    def __init__(self, family: int, least: int, most: int) -> None:
        self._least_mtu, self._least = LEAST_MTU[family], least
        self.most = most
        self.passed = 0
        """The largest size that proved to arrive; 0 for none."""
        self.shrunk_from: set[int] = set()
        """Sizes that arrived at first, and later no more."""
        self.local_limit = most + 1
        """The smallest size that this host itself does not send."""
        self.hints: set[int] = set()
        """What routers said, where it can be true."""
        self._missed: Counter[int] = Counter()
        """By size, in how many rounds it went missing while something smaller got through."""
        self._reported: set[int] = set()
        """Sizes of which a router said that they are too big."""
        self._said: set[int] = set()
        """Likewise, but for good."""
        self._slanders = 0

    @property
    def state(self) -> Phase:
        """Where RFC 8899 would say the search is."""
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
        """Whether a router said of this size, which does not arrive, that it is too big."""
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
        """A router's word needs one round that agrees with it; without any it takes two."""
        return self._missed[size] + (size in self._reported) > 1 and self._missed[size] > 0

    def _between(self, low: int, high: int) -> int:
        """A size above one that arrives and below one that does not: the likeliest first, then the middle."""
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
        return self._slanders <= MOST_SLANDERS

    def _false_hints(self) -> int:
        return len(self.hints & (self._reported | self._missed.keys()))

    def arrived(self, size: int) -> None:
        """A packet of this size reached the destination."""
        if size in self._missed:  # it was given up too early: then nothing that was concluded of larger ones holds
            self._missed.clear()
        if size in self._reported:  # and so of routers that are wrong
            self._reported.clear()
            self._slanders += 1
        self.passed = max(self.passed, size)
        self.shrunk_from = {each for each in self.shrunk_from if each > size}

    def missed(self, size: int) -> None:
        """A packet of this size did not arrive while something smaller that left behind it did."""
        self._missed[size] += 1

    def reported(self, size: int, mtu: int | None) -> None:
        """A router says that this size is too big.

        Args:
            size: of the packet it is about.
            mtu: what it says would fit.
        """
        self._said.add(size)
        if self._is_trusting():
            self._reported.add(size)
        if mtu is not None and max(self._least, self._least_mtu) <= mtu < size:
            self.hints.add(mtu)

    def shrink(self, least: int) -> None:
        """What arrived before does so no more: begin again above `least`, which still does."""
        self.shrunk_from.add(self.passed)
        self.passed = least

    def refused(self, size: int) -> None:
        """This host itself does not send packets of this size: that is sure."""
        self._missed[size] += 2
        self.local_limit = min(self.local_limit, size)
