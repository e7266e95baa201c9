"""Checks as a table, JSON, NDJSON, JUnit and Prometheus's text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from udpprobe.checking.states import CHECK_SCHEMA
from udpprobe.reports.json import document, lines, plain
from udpprobe.reports.plugin import place_of
from udpprobe.reports.text import PLAIN, Layout, Style, addresses_in, coloured_column, escape, named, table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from udpprobe.checking.states import Checked, Outcome

_HEADERS = ("destination", "state", "result")


def speakers(outcome: Outcome) -> list[str]:
    """Addresses that the results speak of."""
    return [address for each in outcome.checks for address in addresses_in(f"{each.text} {each.advice or ''}")]


def with_names(outcome: Outcome, style: Style) -> Outcome:
    """The same for people, with what is known of those addresses behind them."""
    return replace(
        outcome,
        checks=tuple(
            replace(each, text=named(each.text, style), advice=named(each.advice, style) if each.advice else None)
            for each in outcome.checks
        ),
    )


def check_table(outcome: Outcome, width: int, style: Style = PLAIN) -> str:
    """A row a destination, with what to do."""
    rows = tuple((place_of(each), each.state, _result(each)) for each in outcome.checks)
    return coloured_column(table((Layout(_HEADERS, rows, len(_HEADERS) - 1),), width), "state", style) + "\n"


def _result(check: Checked) -> str:
    """What was found; below it, of what could be checked, what to do."""
    return "\n".join(map(escape, filter(None, (check.text, check.verdict and check.advice))))


def check_json(outcome: Outcome, _width: int) -> str:
    """One object, `udpprobe.check/1`."""
    return "".join(document({**_head(outcome), "checks": iter((lines(outcome.checks),))}))


def check_ndjson(outcome: Outcome, _width: int) -> str:
    """A line a destination, then one `summary`; `kind` says which."""
    return "".join(map(check_line, outcome.checks)) + summary_line(outcome)


def check_line(check: Checked) -> str:
    """One of NDJSON's."""
    return lines([{"kind": "check", **plain(check)}])


def summary_line(outcome: Outcome) -> str:
    """NDJSON's last one."""
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
    """A test case a destination, as CI systems read it: WARNING and CRITICAL are failures, UNKNOWN is an error."""
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
    from udpprobe.reports.metrics import checks_text  # noqa: PLC0415 - 50 ms that other formats need not wait for

    return checks_text(outcome)


CHECK_FORMATS: Mapping[str, Callable[[Outcome, int], str]] = {
    "table": check_table,
    "json": check_json,
    "ndjson": check_ndjson,
    "junit": check_junit,
    "prometheus": check_prometheus,
}
