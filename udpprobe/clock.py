"""A clock that nobody can set, and captures' times told by it.

Packets are stamped by the clock of the day, which may be set while a scan runs. The monotonic one, which is slewed
alike but never set, shows it (clock_gettime(2)).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from udpprobe.core.batch import FrameBatch
from udpprobe.core.limiter import MS

LEAST_STEP_NS = 20 * MS
"""Less is what passes between two looks at two clocks, and harms nobody."""


class SteadyClock:
    """Nanoseconds since 1970 as the clock of the day told them when this began, whatever becomes of that clock.

    Args:
        realtime_ns: the clock of the day.
        monotonic_ns: one that nobody sets.
    """

    def __init__(self, realtime_ns: Callable[[], int] = time.time_ns,
                 monotonic_ns: Callable[[], int] = time.monotonic_ns) -> None:
        self._realtime_ns, self._monotonic_ns = realtime_ns, monotonic_ns
        self._since_ns = self._behind_ns()
        self._heard_ns = realtime_ns()
        self.step_ns = 0
        """How far ahead the clock of the day has been set since; negative: back."""

    def _behind_ns(self) -> int:
        return self._realtime_ns() - self._monotonic_ns()

    def steadied(self, batch: FrameBatch) -> FrameBatch:
        """A batch, just received, with its times by this clock.

        What was stamped just before a step cannot be told from what came after it: no time is later than now, or
        earlier than that of the batch before.
        """
        step_ns = self._behind_ns() - self._since_ns
        if abs(step_ns - self.step_ns) >= LEAST_STEP_NS:
            self.step_ns = step_ns
        if self.step_ns:
            now_ns = max(self._since_ns + self._monotonic_ns(), self._heard_ns)
            seen_ns = min(max(batch.now_ns - self.step_ns, self._heard_ns), now_ns)
            time_ns = np.clip(batch.time_ns - self.step_ns, self._heard_ns, seen_ns)
            batch = replace(batch, time_ns=time_ns, now_ns=seen_ns)
        self._heard_ns = max(self._heard_ns, batch.now_ns)
        return batch
