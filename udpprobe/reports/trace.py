"""A trace as a table for people, and as JSON, NDJSON and CSV for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC
from itertools import groupby
from typing import Any

from msgspec.structs import astuple

from udpprobe.core.notes import in_words
from udpprobe.core.stencils import rfc3339
from udpprobe.reports import OutputFormat
from udpprobe.reports.csv import csv_text
from udpprobe.reports.json import document, lines, plain
from udpprobe.reports.text import (
    PLAIN,
    Layout,
    Style,
    coloured,
    endpoint,
    escape,
    glued,
    is_timeout,
    local,
    markdown,
    plural,
    table,
    timeout_name,
    without_tags,
    wrap,
)
from udpprobe.tracing.model import (
    NO_REPORTER,
    TRACE_SCHEMA,
    Change,
    Hop,
    Reporter,
    Target,
    TraceLoop,
    TraceReport,
    loop_words,
)

HEADERS = ("hop", "router", "replies", "RTT min/median/max ms", "notes")
LAPS, AGAIN = 2, "(loop repeats)"
"""Rounds of a loop that the table shows, and the text for further ones."""


def trace_table(report: TraceReport, width: int, style: Style = PLAIN) -> str:
    """One row per hop and reporter, then the conclusion and the advice."""
    rows = tuple(hop_rows(report, style))
    hops = f"{table((Layout(HEADERS, rows, elastic=len(HEADERS) - 1),), width)}\n\n" if rows else ""
    advice = f"{wrap(escape(report.advice), width)}\n" if report.advice else ""
    head = wrap(conclusion(report), width)
    verdict = report.verdict or ("undecided" if report.interrupted else "running")
    start, found, rest = head.partition(f": {verdict}")
    return f"{hops}{coloured(verdict, style, start + found)}{rest}\n{advice}"


def trace_markdown(report: TraceReport, _width: int) -> str:
    """The same in GitHub's Markdown."""
    advice = f"\n{without_tags(escape(report.advice))}\n" if report.advice else ""
    return f"{markdown(HEADERS, tuple(hop_rows(report)))}\n\n{without_tags(conclusion(report))}\n{advice}"


def hop_rows(report: TraceReport, style: Style = PLAIN) -> Iterator[tuple[str, ...]]:
    """Rows for `HEADERS`. Consecutive silent hops, and repeated rounds of a loop, are one row."""
    for who, some in groupby(report.hops, key=lambda hop: folded(hop, report.loop)):
        hops = list(some)
        if who:
            yield _one_row(who, hops)
        else:
            for hop in hops:
                yield from _rows_of(hop, style)


def folded(hop: Hop, loop: TraceLoop | None) -> str:
    """The text for a hop that shares a row with its neighbours; empty for a hop with its own rows."""
    if not hop.reporters:
        return "*"
    is_again = (
        loop is not None
        and hop.ttl >= loop.first_ttl + LAPS * loop.period
        and {each.address for each in hop.reporters} <= set(loop.routers)
    )
    return AGAIN if is_again else ""


def _one_row(who: str, hops: Sequence[Hop]) -> tuple[str, ...]:
    """One row for consecutive hops: silent ones, or repeated rounds of a loop."""
    first, last = hops[0].ttl, hops[-1].ttl
    replies = sum(reporter.count for hop in hops for reporter in hop.reporters)
    return (
        str(first) if first == last else f"{first}-{last}",
        who,
        f"{replies} of {sum(hop.sent for hop in hops)}",
        "",
        "",
    )


def _rows_of(hop: Hop, style: Style) -> Iterator[tuple[str, ...]]:
    for place, reporter in enumerate(hop.reporters):
        replies = f"{reporter.count} of {hop.sent}"
        yield (
            str(hop.ttl) if place == 0 else "",
            escape(reporter.address or NO_REPORTER),
            replies,
            _spread(reporter),
            "; ".join(_remarks(reporter, style)),
        )


def _spread(reporter: Reporter) -> str:
    rtt_ms = reporter.rtt_ms
    if rtt_ms is None:
        return ""
    values = (rtt_ms.min, rtt_ms.median, rtt_ms.max) if reporter.count > 1 else (rtt_ms.min,)
    return " / ".join(f"{value:.3f}" if value < 10 else f"{value:.1f}" for value in values)


def _remarks(reporter: Reporter, style: Style) -> Iterator[str]:
    if reporter.address and (name := style.name(reporter.address)):
        yield escape(name)
    if reporter.verdict != "expired":
        yield "answered" if reporter.type is None else f"{reporter.reason} {reporter.type}/{reporter.code}"
    if reporter.mtu is not None:
        yield f"MTU {reporter.mtu}"
    if reporter.rtt_ms and is_timeout(reporter.reason, reporter.rtt_ms):
        yield f"the RTT is {timeout_name(6 if ':' in (reporter.address or '') else 4)}"
    if reporter.labels:
        yield "MPLS " + ", ".join(f"{label['label']} (TTL {label['ttl']})" for label in reporter.labels)
    yield from (_interface(each) for each in reporter.interfaces)
    yield from map(escape, in_words(reporter.notes))


def _interface(about: Mapping[str, Any]) -> str:
    words = [about[name] for name in ("name", "address") if name in about]
    return escape(" ".join([f"{about['role']} interface", *map(str, words or [about.get("index", "unknown")])]))


def conclusion(report: TraceReport) -> str:
    """The conclusion, in a sentence."""
    end = _ENDS.get(report.verdict, _stopped) if report.verdict else _undecided
    result = _loop(report, report.loop) if report.loop else end(report)
    faults = "; faults: " + ", ".join(f"{name} {count}" for name, count in report.faults.items())
    notes = "".join(f"; {escape(note)}" for note in report.notes)
    return f"{target_of(report)}: {result}{notes}{faults if report.faults else ''}"


def target_of(report: TraceReport) -> str:
    """`192.0.2.1:53`, preceded by the name if one was typed."""
    where = glued(endpoint(*astuple(report.target)))
    return f"{escape(report.name)} ({where})" if report.name else where


def _loop(report: TraceReport, loop: TraceLoop) -> str:
    return f"{loop_words(loop)}{_or_before(report, loop.first_ttl)}"


def _or_before(report: TraceReport, ttl: int) -> str:
    """` or before` for the lowest TTL tried, because a lower one may already be enough."""
    return " or before" if 1 < ttl == report.hops[0].ttl else ""


def _last(report: TraceReport) -> Hop | None:
    return next((hop for hop in reversed(report.hops) if hop.reporters), None)


def _silent(report: TraceReport) -> str:
    last = _last(report)
    if last is None:
        return "silent: no reply from any hop"
    return f"silent: no reply from beyond hop {last.ttl}, {_names(last)}"


def _expired(report: TraceReport) -> str:
    return f"expired: the path is longer than {plural(report.hops[-1].ttl, 'hop')}; see --max-ttl"


def _unsent(report: TraceReport) -> str:
    return f"unsent: this host could not send it ({report.errno})"


def _undecided(report: TraceReport) -> str:
    last = _last(report)
    if not report.interrupted:
        return "running" + (f": last reply from hop {last.ttl}, {_names(last)}" if last else "")
    return "undecided: interrupted" + (f" after a reply from hop {last.ttl}, {_names(last)}" if last else "")


def _stopped(report: TraceReport) -> str:
    last = _last(report)
    if last is None:
        return str(report.verdict)
    if own := next((each for each in last.reporters if each.address is None), None):
        return f"{report.verdict}: {', '.join(in_words(own.notes))}"
    # A router that does not forward also reports the probes whose TTL expires at it, one hop earlier: count from there.
    said = {each.address for each in last.reporters}
    ttl = min(hop.ttl for hop in report.hops if hop.reporters and {each.address for each in hop.reporters} == said)
    return f"{report.verdict} by {_names(last)} at hop {ttl}{_or_before(report, ttl)}"


def _answered(report: TraceReport) -> str:
    """If the only answer repeats nothing of a probe, it does not show how many hops away the destination is."""
    last = _last(report)
    if last and any(each.type is None for each in last.reporters):
        return _stopped(report)
    return f"answered by {escape(report.target.address)}, beyond hop {last.ttl if last else 0}; it answered only once"


def _names(hop: Hop) -> str:
    return " or ".join(dict.fromkeys(escape(reporter.address or NO_REPORTER) for reporter in hop.reporters))


_ENDS: dict[str, Callable[[TraceReport], str]] = {
    "answered": _answered,
    "silent": _silent,
    "expired": _expired,
    "unsent": _unsent,
}


def trace_object(report: TraceReport) -> dict[str, Any]:
    """The contract's `udpprobe.trace/1`."""
    return {"schema": TRACE_SCHEMA, **plain(report)}


def trace_json(report: TraceReport, _width: int) -> str:
    """One object, with each hop on its own line."""
    whole = trace_object(report)
    return "".join(document(whole | {"hops": iter((lines(whole["hops"]),))}))


def hop_lines(hops: Sequence[Hop], target: Target) -> str:
    """The NDJSON lines for some hops of the path to a target."""
    whither = plain(target)
    return lines({"kind": "hop", **plain(hop), "target": whither} for hop in hops)


def trace_ndjson(report: TraceReport, _width: int) -> str:
    """A line per hop, then one `summary`; `kind` tells which."""
    summary = trace_object(report)
    del summary["hops"]
    return hop_lines(report.hops, report.target) + lines([{"kind": "summary", **summary}])


COLUMNS = (
    "ttl",
    "sent",
    "lost",
    "address",
    "count",
    "rtt_ms_min",
    "rtt_ms_median",
    "rtt_ms_max",
    "type",
    "code",
    "reason",
    "verdict",
    "mtu",
    "labels",
    "interfaces",
    "flows",
    "notes",
    "target",
)


def trace_csv(report: TraceReport, _width: int) -> str:
    """One row per hop and reporter, and one for a hop without a reporter."""
    return _csv([report])


def _csv(reports: Sequence[TraceReport]) -> str:
    rows = (
        {**row, "target": endpoint(*astuple(report.target))}
        for report in reports
        for hop in trace_object(report)["hops"]
        for row in _records(hop)
    )
    return csv_text([COLUMNS, *([row.get(name) for name in COLUMNS] for row in rows)])


def _records(hop: dict[str, Any]) -> Iterator[dict[str, Any]]:
    reporters: list[dict[str, Any]] = hop.pop("reporters") or [{}]
    for reporter in reporters:
        spread = {f"rtt_ms_{name}": value for name, value in (reporter.pop("rtt_ms", None) or {}).items()}
        yield {**hop, **reporter, **spread}


def _html(found: TraceReport, _width: int) -> str:
    from udpprobe.reports.html import trace_html  # noqa: PLC0415 - for one format

    return trace_html(found)


TRACE_FORMATS: Mapping[OutputFormat, Callable[[TraceReport, int], str]] = {
    OutputFormat.TABLE: trace_table,
    OutputFormat.JSON: trace_json,
    OutputFormat.NDJSON: trace_ndjson,
    OutputFormat.CSV: trace_csv,
    OutputFormat.MARKDOWN: trace_markdown,
    OutputFormat.HTML: _html,
}
"""The function that writes a trace in each format; tables use the width of the screen."""


# ---- several targets


TRACES_SCHEMA = "udpprobe.traces/1"


def traces_text(reports: Sequence[TraceReport], output_format: OutputFormat, width: int) -> str:
    """Traces to one or more targets, in any format but a table."""
    if len(reports) == 1:
        return TRACE_FORMATS[output_format](reports[0], width)
    if output_format is OutputFormat.CSV:
        return _csv(reports)
    if output_format is OutputFormat.JSON:
        traces = [trace_object(report) for report in reports]
        return "".join(
            document(
                {
                    "schema": TRACES_SCHEMA,
                    "command": "trace",
                    "version": reports[0].version,
                    "traces": iter((lines(traces),)),
                }
            )
        )
    between = "" if output_format is OutputFormat.NDJSON else "\n"
    return between.join(TRACE_FORMATS[output_format](report, width) for report in reports)


# ---- differences between two rounds, in words


def change_lines(changes: Iterable[Change], style: Style = PLAIN, target: str = "") -> str:
    """One line per change: the time of the later round, which target if there are several, and the change."""
    of = f"{target} " if target else ""
    return "".join(f"{_moment(change.time_ns, style)} {of}{change_words(change)}\n" for change in changes)


def _moment(time_ns: int, style: Style) -> str:
    return rfc3339(time_ns) if style.zone is UTC else local(time_ns, style.zone).isoformat()


def change_words(change: Change) -> str:
    """`hop 3: 10.0.3.2 -> 10.0.9.2`, `verdict: refused -> silent`."""
    what = {"route": f"hop {change.ttl}", "loop": "verdict"}.get(change.kind, change.kind)
    return escape(f"{what}: {change.before} -> {change.after}{' hops' if change.kind == 'length' else ''}")
