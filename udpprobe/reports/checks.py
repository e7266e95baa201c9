"""Checks as a table, JSON, NDJSON, JUnit, Prometheus text, and as a line for monitors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from udpprobe.checking.expectations import CheckState
from udpprobe.checking.states import CHECK_SCHEMA
from udpprobe.reports.json import document, lines, plain
from udpprobe.reports.text import PLAIN, Layout, Style, addresses_in, coloured_column, endpoint, escape, named, table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from udpprobe.checking.states import Checked, Outcome


_HEADERS = ("destination", "state", "result")


def speakers(outcome: Outcome) -> list[str]:
    """The addresses mentioned in the results."""
    return [address for each in outcome.checks for address in addresses_in(f"{each.text} {each.advice or ''}")]


def with_names(outcome: Outcome, style: Style) -> Outcome:
    """The outcome with names added to those addresses, for people."""
    return replace(
        outcome,
        checks=tuple(
            replace(each, text=named(each.text, style), advice=named(each.advice, style) if each.advice else None)
            for each in outcome.checks
        ),
    )


def check_table(outcome: Outcome, width: int, style: Style = PLAIN) -> str:
    """A row per destination, with advice."""
    rows = tuple((place_of(each), each.state, _result(each)) for each in outcome.checks)
    return coloured_column(table((Layout(_HEADERS, rows, elastic=len(_HEADERS) - 1),), width), "state", style) + "\n"


def _result(check: Checked) -> str:
    """The finding, and below it the advice, unless nothing could be checked."""
    return "\n".join(map(escape, filter(None, (check.text, check.verdict and check.advice))))


def check_json(outcome: Outcome, _width: int) -> str:
    """One object, `udpprobe.check/1`."""
    return "".join(document({**_head(outcome), "checks": iter((lines(outcome.checks),))}))


def check_ndjson(outcome: Outcome, _width: int) -> str:
    """A line per destination, then one `summary`; `kind` tells which."""
    return "".join(map(check_line, outcome.checks)) + summary_line(outcome)


def check_line(check: Checked) -> str:
    """A line of NDJSON."""
    return lines([{"kind": "check", **plain(check)}])


def summary_line(outcome: Outcome) -> str:
    """The last line of NDJSON."""
    return lines([{"kind": "summary", **_head(outcome)}])


def _head(outcome: Outcome) -> dict[str, Any]:
    values = plain(outcome)
    return {
        "schema": CHECK_SCHEMA,
        "command": "check",
        "version": values["version"],
        "state": outcome.state.name,
        "interrupted": outcome.interrupted or outcome.is_cut,
        "time": values["time"],
        "duration_s": values["duration_s"],
        "warnings": values["warnings"],
    }


def check_junit(outcome: Outcome, _width: int) -> str:
    """A test case per destination, for CI systems: WARNING and CRITICAL are failures, UNKNOWN is an error."""
    from xml.etree import ElementTree as ET  # noqa: PLC0415 - for this format only; nothing is parsed

    states = [each.state for each in outcome.checks]
    suite = ET.Element(
        "testsuite",
        name="udpprobe check",
        tests=str(len(states)),
        failures=str(states.count("WARNING") + states.count("CRITICAL")),
        errors=str(states.count("UNKNOWN")),
        time=f"{outcome.duration_s:.3f}",
    )
    for each in outcome.checks:
        case = ET.SubElement(suite, "testcase", classname=escape(each.group or "udpprobe"), name=place_of(each))
        if each.state != "OK":
            kind = "error" if each.state == "UNKNOWN" else "failure"
            ET.SubElement(case, kind, type=each.state, message=escape(each.text)).text = "\n".join(
                map(escape, each.notes)
            )
    ET.indent(suite)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ET.tostring(suite, encoding="unicode") + "\n"


def check_prometheus(outcome: Outcome, _width: int) -> str:
    """Gauges for the node exporter's textfile collector."""
    from udpprobe.reports.metrics import checks_text  # noqa: PLC0415 - the import takes 50 ms, which other formats do not need

    return checks_text(outcome)


CHECK_FORMATS: Mapping[str, Callable[[Outcome, int], str]] = {
    "table": check_table,
    "json": check_json,
    "ndjson": check_ndjson,
    "junit": check_junit,
    "prometheus": check_prometheus,
}


NAME = "UDPPROBE"
MOST_NAMED = 3
"""Most failures that the line names: some monitors cut longer lines."""

_ZONE = re.compile(r"%[^\]]+")


def line_of(state: CheckState, text: str) -> str:
    """The line of a state and its reason; no part of it can be taken for performance data or a further line."""
    return f"{NAME} {state.name} - {escape(' '.join(text.split())).replace('|', '/')}"


def plugin(outcome: Outcome, verbosity: int) -> str:
    """`UDPPROBE OK - text | performance data` as the Monitoring Plugins want it, and the lines that each `-v` adds.

    https://www.monitoring-plugins.org/doc/guidelines.html, "Plugin Output for Nagios", "Performance data".

    Args:
        outcome: the results.
        verbosity: 0 for nothing more; 1 for a line per destination; 2 for the notes of each; 3 for warnings.
    """
    data = " ".join(datum for each in outcome.checks for datum in _data(each, alone=len(outcome.checks) == 1))
    first = line_of(outcome.state, _summary(outcome)) + (f" | {data}" if data else "")
    return "\n".join([first, *(line.replace("|", "/") for line in _further(outcome, verbosity))]) + "\n"


def place_of(check: Checked) -> str:
    """The checked endpoint, as far as it is known, with the name given for it."""
    if check.address is None:
        return escape(check.target)
    where = endpoint(check.address, check.port)
    if _ZONE.sub("", check.target) == where:
        return escape(check.target)
    return where if check.target == check.address else f"{escape(check.target)} ({where})"


def _summary(outcome: Outcome) -> str:
    if len(outcome.checks) == 1:
        return _with_place(outcome.checks[0])
    failed = [each for each in outcome.checks if each.state != "OK"]
    if not failed:
        silent = sum(each.verdict == "silent" for each in outcome.checks)
        return f"all {len(outcome.checks)} destinations as expected" + (
            f", {silent} of them silent: listening or filtered" if silent else ""
        )
    failed.sort(key=lambda each: each.state != outcome.state.name)
    more = [f"and {len(failed) - MOST_NAMED} more"] if len(failed) > MOST_NAMED else []
    return f"{len(failed)} of {len(outcome.checks)} not as expected: " + ", ".join(
        [*map(_with_place, failed[:MOST_NAMED]), *more]
    )


def _with_place(check: Checked) -> str:
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
        yield f"{each.state}: {_with_place(each)}"
        if each.advice and each.verdict:
            yield f"  {escape(each.advice)}"
        yield from (f"  {escape(note)}" for note in each.notes if verbosity > 1)
    yield from (f"warning: {escape(text)}" for text in outcome.warnings if verbosity > 2)
