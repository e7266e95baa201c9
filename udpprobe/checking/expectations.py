"""What a check is asked for: targets, how they are probed, and how they should be.

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
    """What a check comes to; the value is the exit status."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


_BY_WEIGHT = (CheckState.OK, CheckState.UNKNOWN, CheckState.WARNING, CheckState.CRITICAL)


def worst(states: Iterable[CheckState]) -> CheckState:
    """The gravest of the states; that something is not known is less than a warning. OK where there is none."""
    return max(states, key=_BY_WEIGHT.index, default=CheckState.OK)


_NUMBER = r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)"  # each digit fits in one way only: else 50,000 of them took 31 s
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


class Expectation(Struct, frozen=True):
    """How a destination should be."""

    expect: str = "answered"
    silence: CheckState | None = None
    """What silence counts as that proves nothing; None for what `expect` makes of it."""
    warning: Range | None = None
    """Of the round trip, in milliseconds."""
    critical: Range | None = None
    min_mtu: int = 0
    """Bytes of the IP packet that must fit through; 0 for whatever does."""
    no_loop: bool = False


class Probing(Struct, frozen=True):
    """How a target is probed; those that are probed alike share a scan."""

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
    """The target that a word such as `dns.example:53` names, with its port.

    Args:
        text: as `parse_target` has it.
        ports: of a target that names none.

    Raises:
        UsageError: it is no target, or has no port.
    """
    target = parse_target(text)
    if target.ports is None and ports is None:
        if meant := meant_with_port(target):
            raise UsageError(f"{text!r} is an address without a port; did you mean {meant}?")
        raise UsageError(f"{text!r} names no port; say which service, as in {text}:53")
    return target if target.ports else replace(target, ports=parse_ports(ports or ""))
