"""A report and its events for a person: a table, worst first, and a last line that says what was read.

However much there is, no more than `ROWS_SHOWN` rows are shown, and no more are kept.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby, islice, pairwise
from operator import attrgetter

from msgspec.structs import replace

from udpprobe.core.model import Destination, Event, Finding, Loop, Report, SourceReport, Unmatched
from udpprobe.core.verdicts import VERDICTS
from udpprobe.reports.text import (
    Layout,
    count,
    duration,
    endpoint,
    escape,
    glued,
    link_name,
    plural,
    rfc3339,
    table,
    wrap,
)

ROWS_SHOWN = 1000
"""Destinations, unmatched errors and events that a table shows, of each; the rest is counted."""
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


# ---- a report, in one pass over its rows


@dataclass(slots=True)
class Totals:
    """What the last line tells, counted while the rows pass by."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """Of destinations."""
    probes: int = 0
    unmatched: int = 0
    """Errors."""
    has_findings: bool = False

    def destinations(self, rows: Iterable[Destination]) -> Iterator[Destination]:
        """The rows, counted."""
        for each in rows:
            self.verdicts[each.verdict] += 1
            self.probes += each.sent
            self.has_findings = self.has_findings or bool(each.findings)
            yield each

    def entries(self, rows: Iterable[Unmatched]) -> Iterator[Unmatched]:
        """The rows, counted."""
        for entry in rows:
            self.unmatched += entry.finding.count
            yield entry


@dataclass(frozen=True, slots=True)
class Line:
    """What is said about a destination, or about one of its findings."""

    destination: str
    """Empty on all but a destination's first line."""
    verdict: str
    errno: str
    errors: str
    by: str
    details: tuple[str, ...]


COLUMNS = ("destination", "verdict", "errno", "errors", "by", "details")


def report_table(report: Report, width: int) -> str:
    """The table and the last line.

    Args:
        report: destinations worst first.
        width: columns of the screen; no address is broken to fit it.
    """
    totals = Totals()
    destinations, hidden = _shown_of_scan(report, totals) if is_scan(report) else _shown(report, totals)
    passing = totals.entries(report.unmatched)
    entries, hidden_entries = list(islice(passing, ROWS_SHOWN)), sum(1 for _ in passing)
    lines = tuple(chain(chain.from_iterable(map(destination_lines, destinations)), map(unmatched_line, entries)))
    body = table((_wide(lines), _medium(lines), _tall(lines)), width) if lines else ""
    rest = _not_shown((hidden, "destination"), (hidden_entries, "unmatched error"))
    return "\n\n".join(part for part in (body, wrap(rest, width), wrap(closing(report, totals), width)) if part) + "\n"


def _shown(report: Report, totals: Totals) -> tuple[list[Destination], int]:
    """The first destinations, and how many there are besides."""
    shown = [*report.destinations[:ROWS_SHOWN]]
    # the worst stand first: mostly, one look is enough
    totals.has_findings = any(each.findings for each in chain(shown, report.destinations))
    return shown, len(report.destinations) - len(shown)


def _shown_of_scan(report: Report, totals: Totals) -> tuple[list[Destination], int]:
    """Likewise, what there is much of summed up."""
    rows = summed_up(totals.destinations(report.destinations))
    shown = list(islice(rows, ROWS_SHOWN))
    deque(rows, maxlen=0)
    return [row for row, _ in shown], totals.verdicts.total() - sum(number for _, number in shown)


def _not_shown(*counts: tuple[int, str]) -> str:
    """What a table leaves out."""
    left = " and ".join(f"{number:,} more {noun}{'' if number == 1 else 's'}" for number, noun in counts if number)
    return f"{left} not shown: --format json, ndjson or csv has all." if left else ""


def _wide(lines: tuple[Line, ...]) -> Layout:
    return Layout(COLUMNS, tuple(map(wide_row, lines)), 5)


def wide_row(line: Line) -> tuple[str, ...]:
    """A row of `COLUMNS`."""
    return line.destination, line.verdict, line.errno, line.errors, line.by, "; ".join(line.details)


def _medium(lines: tuple[Line, ...]) -> Layout:
    rows = ((line.destination, line.verdict, line.errno, line.errors, _story(line)) for line in lines)
    return Layout(("destination", "verdict", "errno", "errors", "by: details"), tuple(rows), 4)


def _tall(lines: tuple[Line, ...]) -> Layout:
    rows = ((_stacked(line), _verdict(line, before), line.errors)
            for before, line in pairwise((None, *lines)) if line)
    return Layout(("destination", "verdict", "errors"), tuple(rows), 0)


def _verdict(line: Line, before: Line | None) -> str:
    if before and not line.destination and (line.verdict, line.errno) == (before.verdict, before.errno):
        return ""
    return f"{line.verdict}\n{line.errno}".removesuffix("\n-")


def _stacked(line: Line) -> str:
    story = f"  by {_story(line)}" if line.by else f"  {_story(line)}"
    return "\n".join(part for part in (line.destination, story.rstrip()) if part)


def _story(line: Line) -> str:
    return ": ".join(part for part in (line.by, "; ".join(line.details)) if part)


def destination_lines(destination: Destination) -> Iterator[Line]:
    """What is said about a destination, its worst finding first."""
    label = endpoint(destination.address, destination.port, destination.zone)
    source = _source(destination)
    findings = _loops_once(sorted(destination.findings, key=_rank))
    if not findings or findings[0].verdict != destination.verdict:
        yield Line(label, destination.verdict, destination.errno or "-", _share(0, destination.sent), "",
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


def unmatched_line(entry: Unmatched) -> Line:
    """What is said about errors whose datagram nobody saw."""
    label, finding = endpoint(entry.address, entry.port), entry.finding
    return _line(label, finding, count(finding.count), _by(finding, entry.address), _source(entry) + _details(finding))


def _line(label: str, finding: Finding, errors: str, by: str, details: tuple[str, ...]) -> Line:
    return Line(label, finding.verdict or "-", finding.errno or "-", errors, by, details)


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


def closing(report: Report, totals: Totals) -> str:
    """What was read, how many errors had no datagram, and what was wrong with the capture.

    Args:
        report: whose rows have passed.
        totals: which counted them.
    """
    troubled = totals.unmatched or totals.has_findings
    faults = ", ".join(f"{escape(name)} {number:,}" for name, number in sorted(report.faults.items()))
    said = (
        _probed(totals) if is_scan(report) else "" if troubled else "No ICMP errors about UDP, no loops",
        plural(totals.probes, "probe") + _when(report.source) if is_scan(report) else _read(report.source),
        f"{plural(totals.unmatched, 'error')} had no datagram" if totals.unmatched else "",
        f"faults: {faults}" if faults else "",
        "the capture is cut short" if report.source.cut_short else "",
        f"{plural(len(report.source.unread), 'file')} could not be read" if report.source.unread else "",
        f"{plural(report.source.dropped, 'packet')} dropped" if report.source.dropped else "",
    )
    return "; ".join(words for words in said if words) + "."


def totals_of(report: Report) -> Totals:
    """The totals of a report that is not shown row by row."""
    totals = Totals()
    deque(totals.destinations(report.destinations), maxlen=0)
    deque(totals.entries(report.unmatched), maxlen=0)
    return totals


def _read(source: SourceReport) -> str:
    links = ", ".join(dict.fromkeys(map(link_name, source.link_types)))
    name = "standard input" if source.name == "-" else escape(source.name)
    return f"{name}: {plural(source.packets, 'packet')}" + (f" ({links})" if links else "") + _when(source)


def _when(source: SourceReport) -> str:
    if source.first_time_ns is None or source.last_time_ns is None:
        return ""
    start = rfc3339(source.first_time_ns)[:19].replace("T", " ")
    return f" in {duration((source.last_time_ns - source.first_time_ns) / 1e6)} from {start} UTC"


def is_scan(report: Report) -> bool:
    """Whether its datagrams were sent for it."""
    return report.source.kind == "probe"


def _probed(totals: Totals) -> str:
    """`3 destinations: 1 refused, 2 silent`, in the order of verdicts."""
    counts = totals.verdicts
    told = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in VERDICTS if counts[verdict])
    return plural(counts.total(), "destination") + (f": {told}" if told else "")


# ---- what a scan found much of, summed up, as nmap's "Not shown": a row a host and kind instead of a row a port

SHOWN_SINGLY = 50
"""Destinations of one verdict that are shown one by one; of more, those that fared alike are one row."""
_RANGES_SHOWN = 8
_TELLING = frozenset({"answered"})
"""What people scan for is never summed up."""
_KINDS_AT_A_TIME = 4096
"""Of hosts, and of the ports that were asked there, among which those alike are looked for."""
_SAID_BY = attrgetter("verdict", "icmp_type", "icmp_code", "mtu")

Counted = Iterator[tuple[Destination, int]]
"""Rows of a table, and how many destinations each stands for."""


def summed_up(destinations: Iterable[Destination]) -> Counted:
    """The rows of a table; one for several destinations has no port, and says in a note which ones it is about.

    Where there are many of a verdict, the ports of a host that fared alike are one row. Where that still leaves many
    rows, hosts that fared alike are one row too. No more is kept than the rows of one host, and the kinds of them.

    Args:
        destinations: by verdict, and in it by address.
    """
    for verdict, some in groupby(destinations, attrgetter("verdict")):
        rows: Counted = ((each, 1) for each in some)
        if verdict not in _TELLING:
            rows = _unless_few(_by_kind, _unless_few(_by_host, rows))
        yield from rows


def _unless_few(summed: Callable[[Counted], Counted], rows: Counted) -> Counted:
    first = list(islice(rows, SHOWN_SINGLY + 1))
    rows = chain(first, rows)
    return summed(rows) if len(first) > SHOWN_SINGLY else rows


def _by_host(rows: Counted) -> Counted:
    """A row for the ports of a host that fared alike."""
    for _, some in groupby(rows, lambda row: row[0].address):
        groups: dict[Hashable, _Group] = {}
        for each, number in some:
            kind = _kind(each)
            if kind not in groups:
                groups[kind] = _Group(each)
            groups[kind].add(each, number)
        for group in groups.values():
            ports = f"{plural(len(group.ports), 'port')}: {ranges(group.ports)}"
            yield group.row(group.first.address, ports), group.number


def _by_kind(rows: Counted) -> Counted:
    """A row for hosts that fared alike at the same ports."""
    groups: dict[Hashable, _Group] = {}
    for each, number in rows:
        kind = _kind(each), _ports(each)
        if kind not in groups:
            if len(groups) == _KINDS_AT_A_TIME:
                yield from map(_row_of_hosts, groups.values())
                groups = {}
            groups[kind] = _Group(each)
        groups[kind].add(each, number)
    yield from map(_row_of_hosts, groups.values())


def _row_of_hosts(group: _Group) -> tuple[Destination, int]:
    first = group.first
    hosts = f"{endpoint(first.address, None, first.zone)} and {plural(group.rows - 1, 'other host')}"
    return group.row(hosts, _ports(first), zone=None), group.number


def _kind(each: Destination) -> Hashable:
    """What it has in common with those that fared alike; the reporter itself stands for every address."""
    found = [(_SAID_BY(finding), "" if finding.reporter == each.address else finding.reporter)
             for finding in each.findings]
    return each.verdict, each.errno, each.meaning, *found


def _ports(each: Destination) -> str:
    return each.notes[0] if each.port is None else f"1 port: {each.port}"


class _Group:
    """Destinations that fared alike, as one row."""

    def __init__(self, first: Destination) -> None:
        self.first = first
        self.rows = self.number = self._sent = self._sent_bytes = self._errors = 0
        """Rows, and destinations that they stand for."""
        self.ports: list[int] = []
        self._notes = first.notes
        """What all say."""
        self._counts = [0] * len(first.findings)
        self._reporters: list[set[str | None]] = [set() for _ in first.findings]
        """Of each finding; one, or two for any number."""

    def add(self, each: Destination, number: int) -> None:
        """Add a row, which stands for so many destinations."""
        self.rows, self.number = self.rows + 1, self.number + number
        if each.port is not None:
            self.ports.append(each.port)
        self._sent, self._sent_bytes = self._sent + each.sent, self._sent_bytes + each.sent_bytes
        self._errors += each.errors
        self._notes = tuple(text for text in self._notes if text in each.notes)
        for place, found in enumerate(each.findings):
            self._counts[place] += found.count
            if len(self._reporters[place]) < 2:
                self._reporters[place].add(found.reporter)

    def row(self, address: str, which: str, **changes: str | None) -> Destination:
        """Its one row; the only destination of a group itself.

        Args:
            address: for the row.
            which: destinations, for a note.
            changes: to what the first destination has.
        """
        if self.rows == 1:
            return self.first
        said = zip(self.first.findings, self._counts, self._reporters, strict=True)
        findings = [replace(found, count=number, rtt_ms=None, reporter=address if len(who) > 1 else found.reporter)
                    for found, number, who in said]
        return replace(
            self.first, address=address, port=None, sent=self._sent, sent_bytes=self._sent_bytes, errors=self._errors,
            rtt_ms=None, findings=tuple(findings), notes=(which, *(text for text in self._notes if text != which)),
            **changes)


def ranges(ports: Iterable[int]) -> str:
    """`1-52, 54-122, 124`; the rest is counted where it gets long."""
    rows = [list(run) for _, run in groupby(enumerate(sorted(ports)), lambda row: row[1] - row[0])]
    texts = [str(run[0][1]) if len(run) == 1 else f"{run[0][1]}-{run[-1][1]}" for run in rows]
    left = sum(map(len, rows[_RANGES_SHOWN:]))
    more = f" and {left:,} more" if left else ""
    return ", ".join(texts[:_RANGES_SHOWN]) + more


# ---- events

EVENT_COLUMNS = ("frame", "UTC", "verdict", "destination", "by", "details")


class EventsTable:
    """A row an error in capture order, and the last line; no address is broken to fit the screen."""

    def __init__(self) -> None:
        self._shown: list[Event] = []
        self._hidden = 0

    def add(self, events: Sequence[Event]) -> str:
        """Nothing yet."""
        room = ROWS_SHOWN - len(self._shown)
        self._shown += events[:room]
        self._hidden += len(events[room:])
        return ""

    def end(self, report: Report, width: int) -> Iterator[str]:
        """The whole table."""
        body = table((_wide_events(self._shown), _tall_events(self._shown)), width) if self._shown else ""
        rest = wrap(_not_shown((self._hidden, "error")), width)
        last = wrap(closing(report, totals_of(report)), width)
        yield "\n\n".join(part for part in (body, rest, last) if part) + "\n"


def event_row(event: Event) -> tuple[str, ...]:
    """A row of `EVENT_COLUMNS`."""
    return (str(event.frame), _clock(event), event.verdict or "-", _quoted_destination(event), escape(event.reporter),
            "; ".join(_event_details(event)))


def _wide_events(events: Sequence[Event]) -> Layout:
    return Layout(EVENT_COLUMNS, tuple(map(event_row, events)), 5)


def _tall_events(events: Sequence[Event]) -> Layout:
    rows = ((str(event.frame), f"{_clock(event)}\n{event.verdict or '-'}", _stacked_event(event)) for event in events)
    return Layout(("frame", "UTC, verdict", "destination"), tuple(rows), 2)


def _stacked_event(event: Event) -> str:
    return f"{_quoted_destination(event)}\n  by {escape(event.reporter)}: {'; '.join(_event_details(event))}"


def _clock(event: Event) -> str:
    return rfc3339(event.time_ns)[11:26]


def _quoted_destination(event: Event) -> str:
    return endpoint(event.quoted.destination, event.quoted.destination_port)


def _event_details(event: Event) -> tuple[str, ...]:
    said = (
        f"{escape(event.reason)} {event.type}/{event.code}",
        f"MTU {event.mtu}" if event.mtu is not None else "",
        f"sent in frame {event.matched_frame}" if event.matched_frame else "datagram not seen",
        f"RTT {duration(event.rtt_ms)}" if event.rtt_ms is not None else "",
        *map(escape, event.notes),
    )
    return tuple(words for words in said if words)
