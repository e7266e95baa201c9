"""The request of a check: targets, how to probe them, and what to expect.

States and thresholds are those of the Monitoring Plugins (https://www.monitoring-plugins.org/doc/guidelines.html,
"Threshold and Ranges", "Plugin Return Codes").
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from enum import IntEnum

from msgspec import Struct
from msgspec.structs import replace

from udpprobe.core.targets import TargetSpec, meant_with_port, parse_ports, parse_target
from udpprobe.errors import UsageError


class CheckState(IntEnum):
    """The result of a check; the value is the exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_BY_WEIGHT = (CheckState.OK, CheckState.UNKNOWN, CheckState.WARNING, CheckState.CRITICAL)


def worst(states: Iterable[CheckState]) -> CheckState:
    """The worst state; UNKNOWN is less than WARNING. OK if there is none."""
    return max(states, key=_BY_WEIGHT.index, default=CheckState.OK)


_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"  # each digit can match in one way only: otherwise 50,000 of them took 31 s
_RANGE = re.compile(rf"(?P<inside>@)?(?:(?P<start>~|{_NUMBER}|):)?(?P<end>{_NUMBER})?", re.ASCII)


class Range(Struct, frozen=True):
    """Values that raise an alert."""

    text: str
    """As the user wrote it, for performance data."""
    start: float
    end: float
    is_inside: bool
    """Whether values inside alert (`@`), including both ends; else those outside."""

    def alerts(self, value: float) -> bool:
        """Whether a value raises an alert."""
        return (self.start <= value <= self.end) == self.is_inside


def parse_range(text: str) -> Range:
    """Parse `[@]start:end`: `10` is 0 to 10, `10:` is 10 and more, `~:10` is 10 and less.

    Raises:
        UsageError: it is no range, or ends before it begins.
    """
    found = _RANGE.fullmatch(text)
    if not found or not text.strip("@"):
        raise UsageError(f"{text!r} is not a range; use 10 (which is 0:10), 10:, ~:10, 10:20 or @10:20 (alert inside)")
    start = -math.inf if found["start"] == "~" else float(found["start"] or 0)
    end = float(found["end"] or math.inf)
    if start > end:
        raise UsageError(f"{text!r}: the range ends before it begins")
    return Range(text, start, end, found["inside"] is not None)


class Expectation(Struct, frozen=True):
    """What is expected of a destination."""

    expect: str = "answered"
    silence: CheckState | None = None
    """State of inconclusive silence; None for the default of `expect`."""
    warning: Range | None = None
    """For the RTT, in milliseconds."""
    critical: Range | None = None
    min_mtu: int = 0
    """Bytes of the IP packet that must fit; 0 for any."""
    no_loop: bool = False


class Probing(Struct, frozen=True):
    """How a target is probed; targets with equal settings share a scan."""

    payload: str = "auto"
    family: int | None = None
    interface: str | None = None
    allow_broadcast: bool = False


class Check(Struct, frozen=True):
    """One check: a target, and what is expected of it."""

    name: str
    target: TargetSpec
    expectation: Expectation = Expectation()
    probing: Probing = Probing()
    group: str | None = None


def target_with_port(text: str, ports: str | None = None) -> TargetSpec:
    """Parse a word such as `dns.example:53`, which must have a port.

    Args:
        text: as for `parse_target`.
        ports: default for a target without.

    Raises:
        UsageError: it is no target, or has no port.
    """
    target = parse_target(text)
    if target.ports is None and ports is None:
        if meant := meant_with_port(target):
            raise UsageError(f"{text!r} is an address without a port; did you mean {meant}?")
        raise UsageError(f"{text!r} has no port; add one, as in {text}:53")
    return target if target.ports else replace(target, ports=parse_ports(ports or ""))
