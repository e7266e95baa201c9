"""A clock that cannot be set, to correct captures' times.

The wall clock stamps packets, and may be set while a scan runs. The monotonic clock, which is slewed likewise but never
set, reveals that (clock_gettime(2)).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from udpprobe.core.limiter import MS

LEAST_STEP_NS = 20 * MS
"""Smaller steps are the time between reading two clocks, and harmless."""


def _as_it_is(time_ns: int) -> int:
    return time_ns


class SteadyClock:
    """Nanoseconds since 1970 by the wall clock as it was at the start, even if it is set later.

    Args:
        realtime_ns: the wall clock.
        monotonic_ns: the monotonic clock.
    """

    def __init__(
        self, realtime_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._realtime_ns, self._monotonic_ns = realtime_ns, monotonic_ns
        self._since_ns = self._behind_ns()
        self._delivered_ns = realtime_ns()
        self.step_ns = 0
        """How far the wall clock was set forward since; negative: back."""

    def _behind_ns(self) -> int:
        return self._realtime_ns() - self._monotonic_ns()

    @property
    def is_set(self) -> bool:
        """Whether the wall clock was set since the start."""
        return self.step_ns != 0 or abs(self._behind_ns() - self._since_ns) >= LEAST_STEP_NS

    def steadied(self, now_ns: int) -> tuple[int, Callable[[int], int]]:
        """By this clock: how far a capture has listened, and a function that corrects the times it just delivered.

        Packets stamped just before a step cannot be told from those after it: no time is later than now, or earlier
        than the last delivery.
        """
        step_ns = self._behind_ns() - self._since_ns
        if abs(step_ns - self.step_ns) >= LEAST_STEP_NS:
            self.step_ns = step_ns
        turned = _as_it_is
        if self.step_ns:
            earliest_ns, step_ns = self._delivered_ns, self.step_ns
            latest_ns = max(self._since_ns + self._monotonic_ns(), earliest_ns)
            now_ns = seen_ns = min(max(now_ns - step_ns, earliest_ns), latest_ns)

            def turned(time_ns: int) -> int:
                return min(max(time_ns - step_ns, earliest_ns), seen_ns)

        self._delivered_ns = max(self._delivered_ns, now_ns)
        return now_ns, turned
