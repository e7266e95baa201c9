"""States and thresholds as the Monitoring Plugins have them.

https://www.monitoring-plugins.org/doc/guidelines.html, "Threshold and Ranges", "Plugin Return Codes".
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from enum import IntEnum

from msgspec import Struct

from udpprobe.errors import UsageError


class State(IntEnum):
    """What a check comes to; the value is the exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_BY_WEIGHT = (State.OK, State.UNKNOWN, State.WARNING, State.CRITICAL)


def worst(states: Iterable[State]) -> State:
    """The gravest of the states; that something is not known is less than a warning. OK where there is none."""
    return max(states, key=_BY_WEIGHT.index, default=State.OK)


_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"     # each digit fits in one way only: else 50,000 of them took 31 s
_RANGE = re.compile(rf"(?P<inside>@)?(?:(?P<start>~|{_NUMBER}|):)?(?P<end>{_NUMBER})?", re.ASCII)


class Range(Struct, frozen=True):
    """Which values raise an alert."""

    text: str
    """As it was written, for performance data."""
    start: float
    end: float
    is_inside: bool
    """Whether values inside alert (`@`), both ends among them; else those outside."""

    def alerts(self, value: float) -> bool:
        """Whether a value raises an alert."""
        return (self.start <= value <= self.end) == self.is_inside


def parse_range(text: str) -> Range:
    """What `[@]start:end` says: `10` is 0 to 10, `10:` is 10 and more, `~:10` is 10 and less.

    Raises:
        UsageError: it is no range, or ends before it begins.
    """
    found = _RANGE.fullmatch(text)
    if not found or not text.strip("@"):
        raise UsageError(f"{text!r} is no range; say 10 (which is 0:10), 10:, ~:10, 10:20 or @10:20 (alert inside)")
    start = -math.inf if found["start"] == "~" else float(found["start"] or 0)
    end = float(found["end"] or math.inf)
    if start > end:
        raise UsageError(f"{text!r}: the range ends before it begins")
    return Range(text, start, end, found["inside"] is not None)
