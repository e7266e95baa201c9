"""A clock that nobody can set, and captures' times told by it.

Packets are stamped by the clock of the day, which may be set while a scan runs. The monotonic one, which is slewed
alike but never set, shows it (clock_gettime(2)).
"""

from __future__ import annotations

import time
from collections.abc import Callable

from udpprobe.core.limiter import MS

LEAST_STEP_NS = 20 * MS
"""Less is what passes between two looks at two clocks, and harms nobody."""


def _as_it_is(time_ns: int) -> int:
    return time_ns


class SteadyClock:
    """Nanoseconds since 1970 as the clock of the day told them when this began, whatever becomes of that clock.

    Args:
        realtime_ns: the clock of the day.
        monotonic_ns: one that nobody sets.
    """

    def __init__(
        self, realtime_ns: Callable[[], int] = time.time_ns, monotonic_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._realtime_ns, self._monotonic_ns = realtime_ns, monotonic_ns
        self._since_ns = self._behind_ns()
        self._heard_ns = realtime_ns()
        self.step_ns = 0
        """How far ahead the clock of the day has been set since; negative: back."""

    def _behind_ns(self) -> int:
        return self._realtime_ns() - self._monotonic_ns()

    @property
    def is_set(self) -> bool:
        """Whether the clock of the day has been set since this began."""
        return self.step_ns != 0 or abs(self._behind_ns() - self._since_ns) >= LEAST_STEP_NS

    def steadied(self, now_ns: int) -> tuple[int, Callable[[int], int]]:
        """By this clock: how far a capture has listened, and what turns the times of what it just heard.

        What was stamped just before a step cannot be told from what came after it: no time is later than now, or
        earlier than what was heard before.
        """
        step_ns = self._behind_ns() - self._since_ns
        if abs(step_ns - self.step_ns) >= LEAST_STEP_NS:
            self.step_ns = step_ns
        turned = _as_it_is
        if self.step_ns:
            earliest_ns, step_ns = self._heard_ns, self.step_ns
            latest_ns = max(self._since_ns + self._monotonic_ns(), earliest_ns)
            now_ns = seen_ns = min(max(now_ns - step_ns, earliest_ns), latest_ns)

            def turned(time_ns: int) -> int:
                return min(max(time_ns - step_ns, earliest_ns), seen_ns)

        self._heard_ns = max(self._heard_ns, now_ns)
        return now_ns, turned
