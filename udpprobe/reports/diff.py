"""A comparison of two reports, in all formats."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from msgspec.structs import replace

from udpprobe import __version__
from udpprobe.core.model import Spread
from udpprobe.diff import CHANGES, Compared, Comparison, Difference, State
from udpprobe.reports import OutputFormat
from udpprobe.reports.csv import csv_text
from udpprobe.reports.json import document, lines, plain
from udpprobe.reports.text import (
    Layout,
    duration,
    endpoint,
    escape,
    glued,
    markdown,
    plural,
    table,
    without_tags,
    wrap,
)

DIFF_SCHEMA = "udpprobe.diff/1"
COLUMNS = ("destination", "change", "what changed")
ROWS_SHOWN = 1000
"""Most rows of a table."""
_REPORTERS_SHOWN = 3
_STATE = ("verdict", "reporters", "mtu", "sent", "answered", "errors", "loss", "rtt_ms")
_CSV = (
    "address",
    "port",
    "zone",
    "source",
    "source_port",
    "change",
    *(f"{side}_{name}" for side in ("before", "after") for name in _STATE),
    "advice",
)


def shown(comparison: Comparison, *, show_all: bool) -> Comparison:
    """Leave out unchanged destinations, unless `show_all` is set."""
    if show_all:
        return comparison
    return replace(comparison, destinations=tuple(row for row in comparison.destinations if row.change != "same"))


# ---- for people


def _table(comparison: Comparison, width: int) -> str:
    rows = [row_cells(row) for row in comparison.destinations[:ROWS_SHOWN]]
    stacked = [(f"{label}\n  {said}" if said else label, change) for label, change, said in rows]
    body = table((Layout(COLUMNS, rows, elastic=2), Layout(COLUMNS[:2], stacked, elastic=0)), width) if rows else ""
    hidden = len(comparison.destinations) - len(rows)
    rest = f"{plural(hidden, 'more destination')} not shown: --format json, ndjson or csv has all." if hidden else ""
    return "\n\n".join(part for part in (body, rest, wrap(closing(comparison), width)) if part) + "\n"


def _markdown(comparison: Comparison, _width: int) -> str:
    rows = [row_cells(row) for row in comparison.destinations]
    body = markdown(COLUMNS, rows) + "\n\n" if rows else ""
    return body + without_tags(closing(comparison)) + "\n"


def closing(comparison: Comparison) -> str:
    """The last line: `a.json, then b.json: 1 worse, 2 new; 12 the same`."""
    counts = comparison.counts
    changed = (
        ", ".join(f"{counts[change]:,} {change}" for change in CHANGES[:-1] if counts[change]) or "nothing changed"
    )
    hides = not any(row.change == "same" for row in comparison.destinations)
    same = f"; {counts['same']:,} the same" + (" (--all shows them)" if hides else "") if counts["same"] else ""
    return f"{_name(comparison.before)}, then {_name(comparison.after)}: {changed}{same}."


def _name(name: str) -> str:
    return "standard input" if name == "-" else escape(name)


def row_cells(row: Compared) -> tuple[str, str, str]:
    """The cells of a row for `COLUMNS`."""
    label = endpoint(row.address, row.port, row.zone)
    said = [] if row.source is None else [glued(f"from {endpoint(row.source, row.source_port)}")]
    is_both = row.before is not None and row.after is not None
    if row.after is None and row.before is not None:
        said.append(f"was {_verdict(row.before, row.address)}")
    elif row.after is not None and (not is_both or not row.differences):
        said.append(_verdict(row.after, row.address))
    said += [_difference(each, row) for each in row.differences]
    return label, row.change, "; ".join(said)


def _verdict(state: State, address: str) -> str:
    by = _by(state.reporters, address)
    return escape(state.verdict or "undecided") + (f" by {by}" if by else "")


def _by(reporters: Sequence[str], address: str) -> str:
    names = ["itself" if each == address else escape(each) for each in reporters[:_REPORTERS_SHOWN]]
    more = f" and {len(reporters) - _REPORTERS_SHOWN} more" if len(reporters) > _REPORTERS_SHOWN else ""
    return ", ".join(names) + more


def _difference(each: Difference, row: Compared) -> str:
    match each.what:
        case "verdict" if row.before and row.after:
            return f"was {_verdict(row.before, row.address)}, is {_verdict(row.after, row.address)}"
        case "reporter" if row.after:
            verdict = escape(row.after.verdict or "")
            was, now = (_by(names, row.address) or "an unknown reporter" for names in (each.before, each.after))
            return f"{verdict} by {now}, previously by {was}"
        case "mtu":
            return glued(f"MTU was {each.before}, is {each.after}")
        case "loss":
            return glued(f"loss was {each.before:.1%}, is {each.after:.1%}")
    return glued(f"RTT was {duration(each.before)}, is {duration(each.after)}")


# ---- for programs


def _json(comparison: Comparison, _width: int) -> str:
    return "".join(
        document({"schema": DIFF_SCHEMA, **_head(comparison), "destinations": iter((lines(comparison.destinations),))})
    )


def _ndjson(comparison: Comparison, _width: int) -> str:
    rows = ({"kind": "destination", **plain(row)} for row in comparison.destinations)
    return lines([*rows, {"kind": "summary", "schema": DIFF_SCHEMA, **_head(comparison)}])


def _head(comparison: Comparison) -> dict[str, object]:
    return {
        "command": "diff",
        "version": __version__,
        "before": comparison.before,
        "after": comparison.after,
        "counts": comparison.counts,
    }


def _csv(comparison: Comparison, _width: int) -> str:
    return csv_text([_CSV, *map(_csv_row, comparison.destinations)])


def _csv_row(row: Compared) -> tuple[object, ...]:
    return (
        row.address,
        row.port,
        row.zone,
        row.source,
        row.source_port,
        row.change,
        *_csv_state(row.before),
        *_csv_state(row.after),
        row.advice,
    )


def _csv_state(state: State | None) -> Iterator[object]:
    for name in _STATE:
        value = getattr(state, name) if state else None
        yield value.median if isinstance(value, Spread) else round(value, 6) if isinstance(value, float) else value


def _html(found: Comparison, _width: int) -> str:
    from udpprobe.reports.html import diff_html  # noqa: PLC0415 - for one format

    return diff_html(found)


DIFF_FORMATS: Mapping[OutputFormat, Callable[[Comparison, int], str]] = {
    OutputFormat.TABLE: _table,
    OutputFormat.JSON: _json,
    OutputFormat.NDJSON: _ndjson,
    OutputFormat.CSV: _csv,
    OutputFormat.MARKDOWN: _markdown,
    OutputFormat.HTML: _html,
}
"""The function that writes a comparison in each format; tables use the width of the screen."""
