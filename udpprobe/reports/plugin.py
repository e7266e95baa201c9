"""One line as the Monitoring Plugins want it: `UDPPROBE OK - text | performance data`; more lines where asked for.

https://www.monitoring-plugins.org/doc/guidelines.html, "Plugin Output for Nagios", "Performance data".
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from udpprobe.checking.expectations import State
from udpprobe.reports.text import endpoint, escape

if TYPE_CHECKING:
    from collections.abc import Iterator

    from udpprobe.checking.states import Checked, Outcome

NAME = "UDPPROBE"
MOST_NAMED = 3
"""Failures that the one line tells of; what is beyond its length, some monitors cut off."""

_ZONE = re.compile(r"%[^\]]+")


def line_of(state: State, text: str) -> str:
    """The line of a state and its reason; no part of it can be taken for performance data or a further line."""
    return f"{NAME} {state.name} - {escape(' '.join(text.split())).replace('|', '/')}"


def plugin(outcome: Outcome, verbosity: int) -> str:
    """The line; behind it the further lines that each `-v` adds.

    Args:
        outcome: what the checks came to.
        verbosity: 0 nothing more; 1 a line a destination; 2 what each heard; 3 warnings.
    """
    data = " ".join(datum for each in outcome.checks for datum in _data(each, alone=len(outcome.checks) == 1))
    first = line_of(outcome.state, _summary(outcome)) + (f" | {data}" if data else "")
    return "\n".join([first, *(line.replace("|", "/") for line in _further(outcome, verbosity))]) + "\n"


def place_of(check: Checked) -> str:
    """What was checked, as far as it is known: an endpoint, with the name that was given for it."""
    if check.address is None:
        return escape(check.target)
    where = endpoint(check.address, check.port)
    if _ZONE.sub("", check.target) == where:
        return escape(check.target)
    return where if check.target == check.address else f"{escape(check.target)} ({where})"


def _summary(outcome: Outcome) -> str:
    if len(outcome.checks) == 1:
        return _told(outcome.checks[0])
    failed = [each for each in outcome.checks if each.state != "OK"]
    if not failed:
        silent = sum(each.verdict == "silent" for each in outcome.checks)
        return f"all {len(outcome.checks)} destinations as expected" + (
            f", {silent} of them silent: listening or filtered" if silent else ""
        )
    failed.sort(key=lambda each: each.state != outcome.state.name)
    more = [f"and {len(failed) - MOST_NAMED} more"] if len(failed) > MOST_NAMED else []
    return f"{len(failed)} of {len(outcome.checks)} not as expected: " + ", ".join(
        [*map(_told, failed[:MOST_NAMED]), *more]
    )


def _told(check: Checked) -> str:
    return f"{place_of(check)} {check.text}" if check.address else check.text


def _data(check: Checked, *, alone: bool) -> Iterator[str]:
    """`'label'=value[unit];[warn];[crit];[min];[max]`; a quote in a label is doubled, and it has no `=`."""
    before = "" if alone else f"{place_of(check)} ".replace("'", "''").replace("=", "-").replace("|", "/")
    if check.rtt_ms is not None:
        yield f"'{before}rtt'={check.rtt_ms:.3f}ms;{check.warning or ''};{check.critical or ''};0"
    if check.path_mtu is not None:
        yield f"'{before}mtu'={check.path_mtu}B;;{check.min_mtu}:;0"


def _further(outcome: Outcome, verbosity: int) -> Iterator[str]:
    for each in outcome.checks if verbosity else ():
        yield f"{each.state}: {_told(each)}"
        if each.advice and each.verdict:
            yield f"  {escape(each.advice)}"
        yield from (f"  {escape(note)}" for note in each.notes if verbosity > 1)
    yield from (f"warning: {escape(text)}" for text in outcome.warnings if verbosity > 2)
