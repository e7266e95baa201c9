"""How often a host refuses that limits its ICMP errors, learned from the silences between its refusals."""

from __future__ import annotations

from collections import deque

EARLY, LATE = 0.97, 1.25
"""Where the next refusal is looked for, in intervals of the host's limit ..."""
STEPS = 16
"""... and in which part of it again."""
GAPS = 5
"""The last ones, from which an interval is learned."""


class Refusals:
    """When the next one can be expected."""

    def __init__(self) -> None:
        self.gap_ns = 0
        """Between two of them; 0 while no limit was noticed."""
        self._gaps: deque[int] = deque(maxlen=GAPS)

    def take(self, gap_ns: int) -> None:
        """So long one was waited for, through rounds without a reply."""
        self._gaps.append(max(gap_ns, 0))
        self.gap_ns = sorted(self._gaps)[(len(self._gaps) - 1) // 2]    # one gap may be a loss's

    @property
    def early_ns(self) -> int:
        """How long after one the next is not worth asking for."""
        return int(self.gap_ns * EARLY)

    def again_ns(self, waited_ns: int) -> int:
        """When to ask again, if none came although so long was waited."""
        return self.gap_ns // STEPS if waited_ns < self.gap_ns * LATE else waited_ns // 3
