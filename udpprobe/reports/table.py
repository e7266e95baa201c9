"""A report for a person: a table, worst first, and a last line that says what was read."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING

from udpprobe.core.verdicts import VERDICTS
from udpprobe.reports.crowd import summed_up
from udpprobe.reports.layout import Layout, markdown, table, wrap
from udpprobe.reports.text import count, duration, endpoint, escape, glued, link_name, plural, rfc3339

if TYPE_CHECKING:
    from collections.abc import Iterator

    from udpprobe.core.model import Destination, Finding, Loop, Report, SourceReport, Unmatched

_CLEAR = frozenset({"refused", "rejected", "too-big", "loop", "expired", "reassembly", "quenched"})
"""Verdicts to which the reason would add nothing."""
_GENERAL = frozenset({"dest-unreach", "param-problem", "unknown-response"})
"""Words that nmap has for several errors."""
_ROUTERS_SHOWN = 4
_UNSENT = {
    "EACCES": "a prohibit route, or a broadcast address",
    "EADDRNOTAVAIL": "no address of this host to send from",
    "EAFNOSUPPORT": "no address of its family to send from",
    "EHOSTUNREACH": "an unreachable route",
    "EINVAL": "a blackhole route",
    "EMSGSIZE": "larger than the interface's MTU",
    "ENETDOWN": "the interface is down",
    "ENETUNREACH": "no route",
    "ENOBUFS": "the interface's queue was full",
    "ENODEV": "the interface is gone",
    "EPERM": "a firewall of this host",
}
"""Why Linux refuses to send a datagram (measured)."""


@dataclass(frozen=True, slots=True)
class _Line:
    """What is said about a destination, or about one of its findings."""

    destination: str
    """Empty on all but a destination's first line."""
    verdict: str
    errno: str
    errors: str
    by: str
    details: tuple[str, ...]


def report_table(report: Report, width: int) -> str:
    """The table and the last line.

    Args:
        report: destinations worst first.
        width: columns of the screen; no address is broken to fit it.
    """
    lines = tuple(_lines(report))
    body = table((_wide(lines), _medium(lines), _tall(lines)), width) + "\n\n" if lines else ""
    return body + wrap(closing(report), width) + "\n"


def report_markdown(report: Report, _width: int) -> str:
    """The same in GitHub's Markdown."""
    lines = tuple(_lines(report))
    body = markdown(_wide(lines)) + "\n\n" if lines else ""
    return body + closing(report) + "\n"


def _wide(lines: tuple[_Line, ...]) -> Layout:
    rows = ((line.destination, line.verdict, line.errno, line.errors, line.by, "; ".join(line.details))
            for line in lines)
    return Layout(("destination", "verdict", "errno", "errors", "by", "details"), tuple(rows), 5)


def _medium(lines: tuple[_Line, ...]) -> Layout:
    rows = ((line.destination, line.verdict, line.errno, line.errors, _story(line)) for line in lines)
    return Layout(("destination", "verdict", "errno", "errors", "by: details"), tuple(rows), 4)


def _tall(lines: tuple[_Line, ...]) -> Layout:
    rows = ((_stacked(line), _verdict(line, before), line.errors)
            for before, line in pairwise((None, *lines)) if line)
    return Layout(("destination", "verdict", "errors"), tuple(rows), 0)


def _verdict(line: _Line, before: _Line | None) -> str:
    if before and not line.destination and (line.verdict, line.errno) == (before.verdict, before.errno):
        return ""
    return f"{line.verdict}\n{line.errno}".removesuffix("\n-")


def _stacked(line: _Line) -> str:
    story = f"  by {_story(line)}" if line.by else f"  {_story(line)}"
    return "\n".join(part for part in (line.destination, story.rstrip()) if part)


def _story(line: _Line) -> str:
    return ": ".join(part for part in (line.by, "; ".join(line.details)) if part)


def _lines(report: Report) -> Iterator[_Line]:
    for destination in summed_up(report.destinations) if _is_scan(report) else report.destinations:
        yield from _destination_lines(destination)
    for entry in sorted(report.unmatched, key=lambda entry: _rank(entry.finding)):
        yield _unmatched_line(entry)


def _destination_lines(destination: Destination) -> Iterator[_Line]:
    label = endpoint(destination.address, destination.port, destination.zone)
    source = _source(destination)
    findings = _loops_once(sorted(destination.findings, key=_rank))
    if not findings or findings[0].verdict != destination.verdict:
        yield _Line(label, destination.verdict, destination.errno or "-", _share(0, destination.sent), "",
                    source + _own_details(destination))
        label = ""
    for finding in findings:
        share = _share(finding.count if _is_error(finding) else 0, destination.sent if label else 0)
        details = source + _details(finding) + _own_details(destination) if label else _details(finding)
        yield _line(label, finding, share, _by(finding, destination.address), details)
        label = ""


def _loops_once(findings: list[Finding]) -> list[Finding]:
    told: set[Loop | None] = {None}
    lines = []
    for finding in findings:
        lines.append(replace(finding, loop=None) if finding.loop in told else finding)
        told.add(finding.loop)
    return lines


def _unmatched_line(entry: Unmatched) -> _Line:
    label, finding = endpoint(entry.address, entry.port), entry.finding
    return _line(label, finding, count(finding.count), _by(finding, entry.address), _source(entry) + _details(finding))


def _line(label: str, finding: Finding, errors: str, by: str, details: tuple[str, ...]) -> _Line:
    return _Line(label, finding.verdict or "-", finding.errno or "-", errors, by, details)


def _rank(finding: Finding) -> tuple[int, bool, int]:
    verdict = VERDICTS.index(finding.verdict) if finding.verdict in VERDICTS else len(VERDICTS)
    return verdict, not _is_error(finding), -finding.count


def _is_error(finding: Finding) -> bool:
    # otherwise the capture shows it by itself: a datagram that comes round again; an engine that hears only an
    # errno knows no type either
    return finding.icmp_type is not None or finding.verdict != "loop"


def _share(errors: int, sent: int) -> str:
    return f"{count(errors)} of {count(sent)}" if sent else count(errors)


def _by(finding: Finding, address: str) -> str:
    if finding.reporter is None:
        return ""
    # in a report by reporter, the row of a router is about what it said of others
    is_itself = finding.reporter == address and finding.verdict != "rejected"
    return "itself" if is_itself else escape(finding.reporter)


def _source(entry: Destination | Unmatched) -> tuple[str, ...]:
    return () if entry.source is None else (glued(f"from {endpoint(entry.source, entry.source_port)}"),)


def _details(finding: Finding) -> tuple[str, ...]:
    said = (
        glued(f"MTU {finding.mtu}") if finding.mtu is not None else "",
        _loop(finding),
        "" if _is_error(finding) else glued(plural(finding.count, "round")),
        "" if finding.verdict in _CLEAR else _reason(finding),
        glued(f"RTT {duration(finding.rtt_ms.median)}") if finding.rtt_ms else "",
        "datagram not seen" if finding.match == "none" and _is_error(finding) else "",
        *map(escape, finding.notes),
    )
    return tuple(words for words in said if words)


def _reason(finding: Finding) -> str:
    has_number = finding.reason in _GENERAL and finding.icmp_type is not None
    number = f" {finding.icmp_type}/{finding.icmp_code}" if has_number else ""
    return glued(escape(finding.reason) + number)


def _own_details(destination: Destination) -> tuple[str, ...]:
    unsent = _UNSENT.get(destination.errno or "", "") if destination.verdict == "unsent" else ""
    said = (_answered(destination), destination.meaning or "", unsent, *map(escape, destination.notes))
    return tuple(words for words in said if words)


def _answered(destination: Destination) -> str:
    within = f" in {duration(destination.rtt_ms.median)}" if destination.rtt_ms else ""
    return glued(f"{count(destination.answered)} answered{within}") if destination.answered else ""


def _loop(finding: Finding) -> str:
    # a router that is named as the reporter need not be named again
    if finding.loop and finding.loop.routers == (finding.reporter,):
        return loop_words(replace(finding.loop, routers=())) if finding.loop.period else ""
    return loop_words(finding.loop)


def loop_words(loop: Loop | None) -> str:
    """`loop of 2 via 192.0.2.1, 192.0.2.2`; empty for no loop."""
    if loop is None:
        return ""
    shown = ", ".join(map(escape, loop.routers[:_ROUTERS_SHOWN]))
    more = f" and {len(loop.routers) - _ROUTERS_SHOWN} more" if len(loop.routers) > _ROUTERS_SHOWN else ""
    return "loop" + (f" of {loop.period}" if loop.period else "") + (f" via {shown}{more}" if shown else "")


def closing(report: Report) -> str:
    """What was read, how many errors had no datagram, and what was wrong with the capture."""
    unmatched = sum(entry.finding.count for entry in report.unmatched)
    troubled = unmatched or any(destination.findings for destination in report.destinations)
    faults = ", ".join(f"{escape(name)} {number:,}" for name, number in sorted(report.faults.items()))
    said = (
        _probed(report) if _is_scan(report) else "" if troubled else "No ICMP errors about UDP, no loops",
        _sent(report) if _is_scan(report) else _read(report.source),
        f"{plural(unmatched, 'error')} had no datagram" if unmatched else "",
        f"faults: {faults}" if faults else "",
        "the capture is cut short" if report.source.cut_short else "",
        f"{plural(len(report.source.unread), 'file')} could not be read" if report.source.unread else "",
        f"{plural(report.source.dropped, 'packet')} dropped" if report.source.dropped else "",
    )
    return "; ".join(words for words in said if words) + "."


def _read(source: SourceReport) -> str:
    links = ", ".join(dict.fromkeys(map(link_name, source.link_types)))
    name = "standard input" if source.name == "-" else escape(source.name)
    return f"{name}: {plural(source.packets, 'packet')}" + (f" ({links})" if links else "") + _when(source)


def _when(source: SourceReport) -> str:
    if source.first_time_ns is None or source.last_time_ns is None:
        return ""
    start = rfc3339(source.first_time_ns)[:19].replace("T", " ")
    return f" in {duration((source.last_time_ns - source.first_time_ns) / 1e6)} from {start} UTC"


def _is_scan(report: Report) -> bool:
    return report.source.kind == "probe"


def _probed(report: Report) -> str:
    """`3 destinations: 1 refused, 2 silent`, in the order of verdicts."""
    counts = Counter(destination.verdict for destination in report.destinations)
    told = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in VERDICTS if counts[verdict])
    return plural(len(report.destinations), "destination") + (f": {told}" if told else "")


def _sent(report: Report) -> str:
    return plural(sum(destination.sent for destination in report.destinations), "probe") + _when(report.source)
