"""A report and its events for people: a table, worst first, and a last line about the source.

At most `ROWS_SHOWN` rows are shown, and no more than that are kept in memory.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import chain, groupby, islice, pairwise
from operator import attrgetter, itemgetter
from typing import TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from udpprobe.core.advice import (
    ANY_HOST,
    OF,
    Case,
    case_by_reporter,
    case_of,
    case_of_finding,
    first_of,
    place_by_reporter,
    sentence,
)
from udpprobe.core.model import (
    Alike,
    Destination,
    Event,
    Finding,
    LazyRows,
    Loop,
    Report,
    SourceReport,
    Unmatched,
    parts_of,
)
from udpprobe.core.notes import in_words
from udpprobe.core.verdicts import VERDICTS
from udpprobe.reports import own_host
from udpprobe.reports.text import (
    PLAIN,
    Layout,
    Style,
    coloured,
    coloured_column,
    count,
    duration,
    endpoint,
    escape,
    glued,
    is_timeout,
    link_names,
    local,
    plural,
    table,
    timeout_name,
    wrap,
    zone_name,
)

ROWS_SHOWN = 1000
"""Most destinations, most unmatched errors and most events that a table shows; further ones are only counted."""
_CLEAR = frozenset({"refused", "rejected", "too-big", "loop", "expired", "reassembly", "quenched"})
"""Verdicts that are clear without a reason."""
_GENERAL = frozenset({"dest-unreach", "param-problem", "unknown-response"})
"""nmap's reasons that stand for several ICMP errors, so type and code are shown as well."""
_ROUTERS_SHOWN = 4
_PORTS = re.compile(r"[\d,]+ ports?:")
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


UNDECIDED = "undecided"
"""Shown for a destination that had no verdict yet when the run was interrupted."""


class Totals(Struct):
    """Numbers for the last line, counted while the rows are being written."""

    verdicts: Counter[str] = field(default_factory=Counter)
    """Number of destinations by verdict."""
    probes: int = 0
    unmatched: int = 0
    """Number of errors without a datagram."""
    has_findings: bool = False

    def destinations(self, rows: Iterable[Destination]) -> Iterator[Destination]:
        """Pass the rows through, and count them."""
        for each in rows:
            self._count(each, 1)
            yield each

    def parts(self, rows: Sequence[Destination]) -> Iterator[Destination | Alike]:
        """Pass the rows through and count them; rows that are alike stay together, and are not built one by one."""
        for part in parts_of(rows):
            if isinstance(part, Alike):
                self._count(part.template, len(part.tasks))
            else:
                self._count(part, 1)
            yield part

    def _count(self, each: Destination, number: int) -> None:
        self.verdicts[each.verdict or UNDECIDED] += number
        self.probes += each.sent * number
        self.has_findings = self.has_findings or bool(each.findings)

    def entries(self, rows: Iterable[Unmatched]) -> Iterator[Unmatched]:
        """Pass the unmatched errors through, and count them."""
        for entry in rows:
            self.unmatched += entry.finding.count
            yield entry


class TableLine(Struct, frozen=True):
    """A table line about a destination, or about one of its findings."""

    destination: str
    """Empty except on a destination's first line."""
    verdict: str
    errors: str
    reporter: str
    details: tuple[str, ...]


ERRORS = "ICMP errors\nof sent"
SENTENCES_SHOWN = 20
"""Most sentences of advice; each covers all destinations of one case."""


def report_table(report: Report, width: int, style: Style = PLAIN) -> str:
    """The table, the advice, and the last line.

    Args:
        report: with its destinations worst first.
        width: of the screen, in characters; addresses are never broken to fit it.
        style: gives the colours and the time zone.
    """
    totals = Totals()
    destinations, hidden = _shown_of_scan(report, totals) if is_scan(report) else _shown(report, totals)
    passing = totals.entries(report.unmatched)
    entries, hidden_entries = list(islice(passing, ROWS_SHOWN)), sum(1 for _ in passing)
    builder = LineBuilder(report, style)
    lines = tuple(chain(chain.from_iterable(map(builder.destination, destinations)), map(builder.unmatched, entries)))
    subject = report.group_by if report.group_by in {"host", "reporter"} else "destination"
    layouts = (_wide(lines, subject), _medium(lines, subject), _tall(lines, subject))
    body = coloured_column(table(layouts, width), "verdict", style) if lines else ""
    rest = _not_shown((hidden, "destination"), (hidden_entries, "unmatched error"))
    parts = (
        body,
        wrap(rest, width),
        own_host.sent_table(report.errors_sent, width),
        wrap(builder.advice.text(), width),
        wrap(closing(report, totals, style), width),
    )
    return "\n\n".join(filter(None, parts)) + "\n"


def latest_first(report: Report) -> Report:
    """The report with its first `ROWS_SHOWN` rows reordered: within each verdict, the most recent first."""
    destinations = sorted(
        report.destinations[:ROWS_SHOWN],
        key=lambda each: (_place_of(each.verdict), -max((found.last_time_ns for found in each.findings), default=0)),
    )
    entries = sorted(
        report.unmatched[:ROWS_SHOWN], key=lambda each: (_place_of(each.finding.verdict), -each.finding.last_time_ns)
    )
    return replace(
        report,
        destinations=LazyRows(
            lambda: chain(destinations, islice(report.destinations, ROWS_SHOWN, None)), len(report.destinations)
        ),
        unmatched=LazyRows(lambda: chain(entries, islice(report.unmatched, ROWS_SHOWN, None)), len(report.unmatched)),
    )


def _place_of(verdict: str | None) -> int:
    return VERDICTS.index(verdict) if verdict in VERDICTS else len(VERDICTS)


def _shown(report: Report, totals: Totals) -> tuple[list[Destination], int]:
    """The first destinations, and the number of others."""
    shown = [*report.destinations[:ROWS_SHOWN]]
    # the worst come first, so this usually ends at the first row
    totals.has_findings = any(each.findings for each in chain(shown, report.destinations))
    return shown, len(report.destinations) - len(shown)


def _shown_of_scan(report: Report, totals: Totals) -> tuple[list[Destination], int]:
    """The same for a scan, where many similar destinations are summed up in one row."""
    rows = summed_up(totals.parts(report.destinations))
    shown = list(islice(rows, ROWS_SHOWN))
    deque(rows, maxlen=0)
    return [row for row, _ in shown], totals.verdicts.total() - sum(number for _, number in shown)


def _not_shown(*counts: tuple[int, str]) -> str:
    """A sentence that says what the table leaves out."""
    omitted = " and ".join(f"{number:,} more {noun}{'' if number == 1 else 's'}" for number, noun in counts if number)
    return f"{omitted} not shown: --format json, ndjson or csv has all." if omitted else ""


def columns_of(subject: str) -> tuple[str, ...]:
    """The headers of a wide table. A table of reporters needs no column for the reporter."""
    return (subject, "verdict", ERRORS, *(("reporter",) if subject != "reporter" else ()), "details")


def _wide(lines: tuple[TableLine, ...], subject: str) -> Layout:
    headers = columns_of(subject)
    return Layout(headers, tuple(wide_row(line, subject) for line in lines), elastic=len(headers) - 1)


def wide_row(line: TableLine, subject: str = "destination") -> tuple[str, ...]:
    """The cells of a line for the columns of `columns_of`."""
    reporter = (line.reporter,) if subject != "reporter" else ()
    return (line.destination, line.verdict, line.errors, *reporter, "; ".join(line.details))


def _medium(lines: tuple[TableLine, ...], subject: str) -> Layout:
    if subject == "reporter":
        return _wide(lines, subject)
    rows = ((line.destination, line.verdict, line.errors, _story(line)) for line in lines)
    return Layout((subject, "verdict", ERRORS, "reporter: details"), tuple(rows), elastic=3)


def _tall(lines: tuple[TableLine, ...], subject: str) -> Layout:
    rows = (
        (_stacked(line, subject), _verdict(line, before), line.errors)
        for before, line in pairwise((None, *lines))
        if line
    )
    return Layout((subject, "verdict", ERRORS), tuple(rows), elastic=0)


def _verdict(line: TableLine, before: TableLine | None) -> str:
    return "" if before and not line.destination and line.verdict == before.verdict else line.verdict


def _stacked(line: TableLine, subject: str) -> str:
    story = f"  by {_story(line)}" if line.reporter and subject != "reporter" else f"  {'; '.join(line.details)}"
    return "\n".join(part for part in (line.destination, story.rstrip()) if part)


def _story(line: TableLine) -> str:
    return ": ".join(part for part in (line.reporter, "; ".join(line.details)) if part)


class LineBuilder:
    """Turns a report's rows into table lines, and collects their advice."""

    def __init__(self, report: Report, style: Style = PLAIN) -> None:
        self._is_by_reporter = report.group_by == "reporter"
        self.advice = _Advice(has_hosts=not self._is_by_reporter)
        self._times = None if is_scan(report) else _Times(report.source, style)
        self._service, self._name = style.service, style.name

    def destination(self, destination: Destination) -> Iterator[TableLine]:
        """The table lines of a destination, worst finding first."""
        label = endpoint(destination.address, destination.port, destination.zone)
        self.advise(destination, _place(destination, label))
        source = _source(destination) + self._named(destination.address) + self._of_service(destination.port)
        findings = _loops_once(sorted(destination.findings, key=_rank))
        if not findings or findings[0].verdict != destination.verdict:
            yield TableLine(
                label,
                destination.verdict or UNDECIDED,
                _share(0, destination.sent),
                "",
                source + _own_details(destination),
            )
            label = ""
        for finding in findings:
            share = _share(finding.count if _is_error(finding) else 0, destination.sent if label else 0)
            own = self._details(finding, destination.address)
            details = source + own + _own_details(destination) if label else own
            yield TableLine(label, finding.verdict or "-", share, _by(finding, destination.address), details)
            label = ""

    def unmatched(self, entry: Unmatched) -> TableLine:
        """The table line of an unmatched error."""
        label, finding = endpoint(entry.address, entry.port), entry.finding
        case = (
            case_by_reporter(finding.verdict, (finding,))
            if self._is_by_reporter
            else case_of_finding(finding, entry.address)
        )
        self.advice.add(case, place_by_reporter(case, entry.address) if self._is_by_reporter else label)
        details = (
            _source(entry)
            + self._named(entry.address)
            + self._of_service(entry.port)
            + self._details(finding, entry.address)
        )
        return TableLine(label, finding.verdict or "-", count(finding.count), _by(finding, entry.address), details)

    def advise(self, destination: Destination, place: str) -> None:
        """Add the advice about a destination, under the name `place`."""
        if self._is_by_reporter:
            case = case_by_reporter(destination.verdict, destination.findings)
            self.advice.add(case, place_by_reporter(case, destination.address))
        else:
            self.advice.add(case_of(destination), place)

    def _named(self, address: str | None, words: str = "") -> tuple[str, ...]:
        name = self._name(address) if address else ""
        return (f"{words}{escape(name)}",) if name else ()

    def _of_service(self, port: int | None) -> tuple[str, ...]:
        name = self._service(port) if port is not None else ""
        return (glued(f"service {escape(name)}"),) if name else ()

    def _details(self, finding: Finding, address: str) -> tuple[str, ...]:
        said = (
            *(self._named(finding.reporter, "reporter ") if finding.reporter != address else ()),
            glued(f"MTU {finding.mtu}") if finding.mtu is not None else "",
            _loop(finding),
            "" if _is_error(finding) else glued(plural(finding.count, "round" if finding.verdict else "answer")),
            _reason(finding) if finding.verdict not in _CLEAR and _is_error(finding) else "",
            _rtt(finding),
            glued(self._times.words(finding.first_time_ns, finding.last_time_ns)) if self._times else "",
            "datagram not seen" if finding.match == "none" and _is_error(finding) else "",
            *map(escape, in_words(finding.notes)),
        )
        return tuple(words for words in said if words)


class _Times:
    """Formats first and last times, with dates if the capture spans several days."""

    def __init__(self, source: SourceReport, style: Style) -> None:
        self._zone = style.zone
        first, last = (
            None if each is None else local(each, style.zone).date()
            for each in (source.first_time_ns, source.last_time_ns)
        )
        self._has_days = first != last

    def words(self, first_ns: int, last_ns: int) -> str:
        """`at 12:00:01`, `12:00:01 to 12:07:30`."""
        first, last = (local(each, self._zone) for each in (first_ns, last_ns))
        start = f"{first:%Y-%m-%d %H:%M:%S}" if self._has_days else f"{first:%H:%M:%S}"
        end = f"{last:%Y-%m-%d %H:%M:%S}" if first.date() != last.date() else f"{last:%H:%M:%S}"
        return f"{start} to {end}" if (first - last).total_seconds() <= -1 else f"at {start}"


class _Advice:
    """Collects advice: one sentence for all destinations of the same case."""

    def __init__(self, *, has_hosts: bool) -> None:
        self._has_hosts = has_hosts
        self._places: dict[Case, list[str]] = {}

    def add(self, case: Case | None, place: str) -> None:
        """Add a destination to its case; None if it needs no advice."""
        if case:
            self._places.setdefault(case, []).append(place)

    def sentences(self) -> list[str]:
        """The sentences, in the order of the rows."""
        return [
            escape(sentence(case, list(dict.fromkeys(places)), _host(places[0]) if self._has_hosts else ANY_HOST) or "")
            for case, places in self._places.items()
        ]

    def text(self) -> str:
        """The sentences as text, one per line; at most `SENTENCES_SHOWN`."""
        said = self.sentences()
        omitted = len(said) - SENTENCES_SHOWN
        more = [f"  {omitted} more: --format json has `advice` in each row."] if omitted > 0 else []
        return "\n".join(["What to do:", *(f"  {each}" for each in said[:SENTENCES_SHOWN]), *more]) if said else ""


def _place(destination: Destination, label: str) -> str:
    """The subject of advice: a destination, or `40 ports of 192.0.2.1` if the row stands for several."""
    if destination.port is None and destination.notes and _PORTS.match(destination.notes[0]):
        return f"{destination.notes[0].partition(':')[0]}{OF}{label}"
    return label


def _host(place: str) -> str:
    """The address of `[2001:db8::1]:53`, or of `40 ports of 2001:db8::1`."""
    place = first_of(place)
    if place.startswith("["):
        return place[1 : place.index("]")]
    return place if place.count(":") > 1 else place.partition(":")[0]


def _loops_once(findings: list[Finding]) -> list[Finding]:
    shown: set[Loop | None] = {None}
    lines = []
    for finding in findings:
        lines.append(replace(finding, loop=None) if finding.loop in shown else finding)
        shown.add(finding.loop)
    return lines


def _rank(finding: Finding) -> tuple[int, bool, int]:
    return _place_of(finding.verdict), not _is_error(finding), -finding.count


def _is_error(finding: Finding) -> bool:
    # Otherwise there was no ICMP error: the capture itself shows a datagram that came round again, or an answer from
    # another address. An errno without an ICMP type, as an engine without raw sockets gets it, is still an error.
    return finding.icmp_type is not None or finding.verdict not in {"loop", None}


def _share(errors: int, sent: int) -> str:
    return f"{count(errors)} of {count(sent)}" if sent else count(errors)


def _by(finding: Finding, address: str) -> str:
    if finding.reporter is None:
        return ""
    # in a report by reporter, a router's row lists what it reported about others
    is_itself = finding.reporter == address and finding.verdict != "rejected"
    return "itself" if is_itself else escape(finding.reporter)


def _rtt(finding: Finding) -> str:
    """The RTT. For a host-unreachable error it is how long the last router asked on the link (3.06 s measured)."""
    if not finding.rtt_ms:
        return ""
    rtt = f"RTT {duration(finding.rtt_ms.median)}"
    return glued(f"{rtt}, {timeout_name(finding.family)}" if is_timeout(finding.reason, finding.rtt_ms) else rtt)


def _source(entry: Destination | Unmatched) -> tuple[str, ...]:
    return () if entry.source is None else (glued(f"from {endpoint(entry.source, entry.source_port)}"),)


def _reason(finding: Finding) -> str:
    has_number = finding.reason in _GENERAL and finding.icmp_type is not None
    number = f" {finding.icmp_type}/{finding.icmp_code}" if has_number else ""
    return glued(escape(finding.reason) + number)


def _own_details(destination: Destination) -> tuple[str, ...]:
    said = (_answered(destination), destination.meaning or "", _unsent(destination), *map(escape, destination.notes))
    return tuple(words for words in said if words)


def _unsent(destination: Destination) -> str:
    if destination.verdict != "unsent" or not destination.errno:
        return ""
    reason = _UNSENT.get(destination.errno)
    return f"{reason} ({destination.errno})" if reason else destination.errno


def _answered(destination: Destination) -> str:
    within = f" in {duration(destination.rtt_ms.median)}" if destination.rtt_ms else ""
    return glued(f"{count(destination.answered)} answered{within}") if destination.answered else ""


def _loop(finding: Finding) -> str:
    # if the reporter is the loop's only known router, it is named already
    if finding.loop and finding.loop.routers == (finding.reporter,):
        return loop_words(replace(finding.loop, routers=())) if finding.loop.period else ""
    return loop_words(finding.loop)


def loop_words(loop: Loop | None) -> str:
    """`loop of 2 via 192.0.2.1, 192.0.2.2`; empty if there is no loop."""
    if loop is None:
        return ""
    shown = ", ".join(map(escape, loop.routers[:_ROUTERS_SHOWN]))
    more = f" and {len(loop.routers) - _ROUTERS_SHOWN} more" if len(loop.routers) > _ROUTERS_SHOWN else ""
    return "loop" + (f" of {loop.period}" if loop.period else "") + (f" via {shown}{more}" if shown else "")


def closing(report: Report, totals: Totals, style: Style = PLAIN) -> str:
    """The last line: what was read, the number of unmatched errors, and faults in the capture.

    Args:
        report: whose rows have all been counted.
        totals: the counts.
        style: gives the time zone.
    """
    source, troubled = report.source, totals.unmatched or totals.has_findings
    nothing = "No ICMP errors about UDP, no loops"
    if report.is_unreadable:
        nothing = f"No packet could be read: unknown link layer ({link_names(source.link_types)})"
    faults = ", ".join(f"{escape(name)} {number:,}" for name, number in sorted(report.faults.items()))
    said = (
        _probed(totals) if is_scan(report) else "" if troubled else nothing,
        plural(totals.probes, "probe") + _when(source, style) if is_scan(report) else _read(source, style),
        f"{plural(totals.unmatched, 'error')} had no datagram" if totals.unmatched else "",
        f"faults: {faults}" if faults else "",
        "interrupted" if report.interrupted else "",
        "the capture is cut short" if report.source.cut_short else "",
        f"{plural(len(report.source.unread), 'file')} could not be read" if report.source.unread else "",
        f"{plural(report.source.dropped, 'packet')} dropped" if report.source.dropped else "",
        *own_host.receive_drops(report.receive_drops or ()),
        *own_host.drop_reasons(report.drop_reasons or ()),
        *own_host.sent(report.errors_sent),
    )
    return "; ".join(words for words in said if words) + "."


def totals_of(report: Report) -> Totals:
    """The totals of a report whose rows are not shown."""
    totals = Totals()
    deque(totals.parts(report.destinations), maxlen=0)
    deque(totals.entries(report.unmatched), maxlen=0)
    return totals


def _read(source: SourceReport, style: Style) -> str:
    links = link_names(source.link_types)
    name = "standard input" if source.name == "-" else escape(source.name)
    return f"{name}: {plural(source.packets, 'packet')}" + (f" ({links})" if links else "") + _when(source, style)


def _when(source: SourceReport, style: Style) -> str:
    if source.first_time_ns is None or source.last_time_ns is None:
        return ""
    start = f"{local(source.first_time_ns, style.zone):%Y-%m-%d %H:%M:%S} {zone_name(source.first_time_ns, style.zone)}"
    return f" in {duration((source.last_time_ns - source.first_time_ns) / 1e6)} from {start}"


def is_scan(report: Report) -> bool:
    """Whether udpprobe sent the report's datagrams itself."""
    return report.source.kind == "probe"


def _probed(totals: Totals) -> str:
    """`3 destinations: 1 refused, 2 silent`, in the order of `VERDICTS`."""
    counts = totals.verdicts
    summary = ", ".join(f"{counts[verdict]:,} {verdict}" for verdict in (*VERDICTS, UNDECIDED) if counts[verdict])
    return plural(counts.total(), "destination") + (f": {summary}" if summary else "")


# ---- many similar results of a scan in one row, like nmap's "Not shown": by host and result instead of by port

SHOWN_SINGLY = 50
"""Most destinations of one verdict that are shown one by one. Above that, those with equal results share a row."""
_RANGES_SHOWN = 8
_NEVER_SUMMED = frozenset({"answered"})
"""Verdicts that are never summed up, because people scan for them."""
_KINDS_AT_A_TIME = 4096
"""Most different results, with their ports, that are kept at a time while looking for hosts with equal ones."""
_SAID_BY = attrgetter("verdict", "icmp_type", "icmp_code", "mtu")

_T = TypeVar("_T")
Counted = Iterator[tuple[Destination, int]]
"""Table rows, each with the number of destinations it stands for."""


def summed_up(parts: Iterable[Destination | Alike]) -> Counted:
    """Sum up the rows of a table. A row for several destinations has no port; its first note lists their ports.

    If a verdict has many destinations, the ports of a host with equal results become one row. If that still leaves many
    rows, hosts with equal results become one row too. Only the rows of one host, and one row per result, are in memory.

    Args:
        parts: destinations, and runs of those that are alike, sorted by verdict and then by address.
    """
    for verdict, some in groupby(parts, attrgetter("verdict")):
        if verdict in _NEVER_SUMMED:
            yield from _one_by_one(some)
            continue
        rows = _unless_few(_by_host, some, _one_by_one, _number_of)
        yield from _unless_few(_by_kind, rows, iter, lambda _: 1)


def _unless_few(
    summed: Callable[[Iterable[_T]], Counted],
    some: Iterator[_T],
    singly: Callable[[Iterable[_T]], Counted],
    number_of: Callable[[_T], int],
) -> Counted:
    first: list[_T] = []
    number = 0
    for each in some:
        first.append(each)
        number += number_of(each)
        if number > SHOWN_SINGLY:
            return summed(chain(first, some))
    return singly(first)


def _number_of(part: Destination | Alike) -> int:
    return len(part.tasks) if isinstance(part, Alike) else 1


def _one_by_one(parts: Iterable[Destination | Alike]) -> Counted:
    for part in parts:
        for row in part.rows() if isinstance(part, Alike) else (part,):
            yield row, 1


def _by_host(parts: Iterable[Destination | Alike]) -> Counted:
    """One row for all ports of a host with equal results."""
    for address, some in groupby(_hosts_of(parts), itemgetter(0)):
        groups: dict[Hashable, _Group] = {}
        for _, part in some:
            one = part.template if isinstance(part, Alike) else part
            kind = _kind(one)
            if kind not in groups:
                groups[kind] = _Group(next(part.rows()) if isinstance(part, Alike) else part)
            if isinstance(part, Alike):
                groups[kind].add_alike(part, address)
            else:
                groups[kind].add(part, 1)
        for group in groups.values():
            ports = f"{plural(len(group.ports), 'port')}: {ranges(group.ports)}"
            yield group.row(address, ports), group.number


def _hosts_of(parts: Iterable[Destination | Alike]) -> Iterator[tuple[str, Destination | Alike]]:
    for part in parts:
        if isinstance(part, Alike):
            yield from part.by_host()
        else:
            yield part.address, part


def _by_kind(rows: Iterable[tuple[Destination, int]]) -> Counted:
    """One row for all hosts with equal results on the same ports."""
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
    """A destination's result, to compare with others. All hosts that report about themselves count as one reporter."""
    found = [
        (_SAID_BY(finding), "" if finding.reporter == each.address else finding.reporter) for finding in each.findings
    ]
    return each.verdict, each.errno, each.meaning, *found


def _ports(each: Destination) -> str:
    return each.notes[0] if each.port is None else f"1 port: {each.port}"


class _Group:
    """Destinations with equal results, to be shown as one row."""

    def __init__(self, first: Destination) -> None:
        self.first = first
        self.rows = self.number = self._sent = self._sent_bytes = self._errors = 0
        """Number of rows added, and of the destinations they stand for."""
        self.ports: list[int] = []
        self._notes = first.notes
        """The notes that all of them have."""
        self._counts = [0] * len(first.findings)
        self._reporters: list[set[str | None]] = [set() for _ in first.findings]
        """The reporters of each finding; at most two are kept, which means "several"."""

    def add(self, each: Destination, number: int) -> None:
        """Add a row that stands for `number` destinations."""
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

    def add_alike(self, some: Alike, address: str) -> None:
        """Add a run of alike rows of one host."""
        columns, one, number = some.columns, some.template, len(some.tasks)
        self.rows, self.number = self.rows + number, self.number + number
        self.ports.extend(map(columns.port.__getitem__, some.tasks))
        self._sent += one.sent * number
        self._sent_bytes += sum(map(columns.sent_bytes.__getitem__, some.tasks))
        self._errors += one.errors * number
        self._notes = tuple(text for text in self._notes if text in one.notes)
        self._counts[0] += number
        self._reporters[0].add(address)

    def row(self, address: str, which: str, **changes: str | None) -> Destination:
        """The group as one row; a group of one destination is that destination.

        Args:
            address: shown as the row's address.
            which: the note that lists the destinations.
            changes: other fields in which the row differs from its first destination.
        """
        if self.rows == 1:
            return self.first
        said = zip(self.first.findings, self._counts, self._reporters, strict=True)
        findings = [
            replace(found, count=number, rtt_ms=None, reporter=address if len(who) > 1 else found.reporter)
            for found, number, who in said
        ]
        return replace(
            self.first,
            address=address,
            port=None,
            sent=self._sent,
            sent_bytes=self._sent_bytes,
            errors=self._errors,
            rtt_ms=None,
            findings=tuple(findings),
            notes=(which, *(text for text in self._notes if text != which)),
            **changes,
        )


def ranges(ports: Iterable[int]) -> str:
    """`1-52, 54-122, 124`; of a long list, the rest is only counted."""
    ports = sorted(ports)
    if len(ports) > 1 and ports[-1] - ports[0] == len(ports) - 1 == len(set(ports)) - 1:  # the usual case
        return f"{ports[0]}-{ports[-1]}"
    rows = [list(run) for _, run in groupby(enumerate(ports), lambda row: row[1] - row[0])]
    texts = [str(run[0][1]) if len(run) == 1 else f"{run[0][1]}-{run[-1][1]}" for run in rows]
    omitted = sum(map(len, rows[_RANGES_SHOWN:]))
    more = f" and {omitted:,} more" if omitted else ""
    return ", ".join(texts[:_RANGES_SHOWN]) + more


# ---- events

EVENT_COLUMNS = ("frame", "{zone}", "verdict", "destination", "reporter", "details")


def event_columns(events: Sequence[Event], style: Style) -> tuple[str, ...]:
    """The headers; that of the times is their time zone."""
    zone = zone_name(events[0].time_ns if events else 0, style.zone)
    return tuple(header.format(zone=zone) for header in EVENT_COLUMNS)


class EventsTable:
    """Events as a table: one row per error in capture order, and the last line. Addresses are never broken."""

    def __init__(self, style: Style = PLAIN) -> None:
        self._style = style
        self._shown: list[Event] = []
        self._hidden = 0

    def add(self, events: Sequence[Event]) -> str:
        """Nothing: the events are kept until the end."""
        room = ROWS_SHOWN - len(self._shown)
        self._shown += events[:room]
        self._hidden += len(events[room:])
        return ""

    def end(self, report: Report, width: int) -> Iterator[str]:
        """The whole table."""
        style = self._style
        layouts = _wide_events(self._shown, style), _tall_events(self._shown, style)
        body = coloured_column(table(layouts, width), "verdict", style) if self._shown else ""
        rest = wrap(_not_shown((self._hidden, "error")), width)
        last = wrap(closing(report, totals_of(report), style), width)
        yield "\n\n".join(part for part in (body, rest, last) if part) + "\n"


class EventLines:
    """Events as lines for live output: each error is written at once.

    Args:
        style: gives the colours and the time zone.
        width: to which lines are wrapped, in characters; None to leave lines whole, for programs.
    """

    def __init__(self, style: Style = PLAIN, width: int | None = None) -> None:
        self._style, self._width = style, width

    def add(self, events: Sequence[Event]) -> str:
        """The events' lines."""
        return "".join(map(self._line, events))

    def _line(self, event: Event) -> str:
        verdict = event.verdict or "-"
        who = f" by {escape(event.reporter)}" if event.reporter else ""
        text = (
            f"{_clock(event, self._style)} {verdict} {_quoted_destination(event)}{who}: "
            f"{'; '.join(_event_details(event))}"
        )
        if self._width is not None:
            first, _, rest = wrap(text, self._width).partition("\n")
            more = wrap("  " + rest.replace("\n", " "), self._width)
            text = f"{first}\n{more}" if rest else first
        return text.replace(verdict, coloured(verdict, self._style), 1) + "\n"

    def end(self, report: Report, width: int) -> Iterator[str]:
        """The last line."""
        yield f"\n{wrap(closing(report, totals_of(report), self._style), width)}\n"


def event_row(event: Event, style: Style = PLAIN) -> tuple[str, ...]:
    """The cells of an event for the columns of `event_columns`."""
    return (
        str(event.frame),
        _clock(event, style),
        event.verdict or "-",
        _quoted_destination(event),
        escape(event.reporter or "-"),
        "; ".join(_event_details(event)),
    )


def _wide_events(events: Sequence[Event], style: Style) -> Layout:
    return Layout(event_columns(events, style), tuple(event_row(event, style) for event in events), elastic=5)


def _tall_events(events: Sequence[Event], style: Style) -> Layout:
    rows = (
        (str(event.frame), f"{_clock(event, style)}\n{event.verdict or '-'}", _stacked_event(event)) for event in events
    )
    return Layout(("frame", f"{event_columns(events, style)[1]}\nverdict", "destination"), tuple(rows), elastic=2)


def _stacked_event(event: Event) -> str:
    who = f"by {escape(event.reporter)}: " if event.reporter else ""
    return f"{_quoted_destination(event)}\n  {who}{'; '.join(_event_details(event))}"


def _clock(event: Event, style: Style) -> str:
    return f"{local(event.time_ns, style.zone):%H:%M:%S.%f}"


def _quoted_destination(event: Event) -> str:
    return endpoint(event.quoted.destination, event.quoted.destination_port)


def _event_details(event: Event) -> tuple[str, ...]:
    said = (
        f"{escape(event.reason)} {event.type}/{event.code}",
        f"MTU {event.mtu}" if event.mtu is not None else "",
        f"sent in frame {event.matched_frame}" if event.matched_frame else "",
        "datagram not seen" if event.match == "none" else "",
        f"RTT {duration(event.rtt_ms)}" if event.rtt_ms is not None else "",
        *map(escape, in_words(event.notes)),
    )
    return tuple(words for words in said if words)
