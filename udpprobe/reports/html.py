"""A report, trace, path MTU or comparison as one self-contained HTML page.

The page can be opened from disk or from a mail attachment. Its Content-Security-Policy allows only its own style sheet
and script, by their hashes, and all text is escaped. Everything can be read without JavaScript; with it, tables can be
sorted and filtered, and the chart of errors over time can be zoomed.
"""

from __future__ import annotations

import re
from array import array
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from hashlib import sha256
from importlib.resources import files
from itertools import groupby

from msgspec import Struct, field
from msgspec.json import Encoder
from msgspec.structs import astuple

from udpprobe import __version__
from udpprobe.core.model import Destination, Event, Finding, Loop, Report, Unmatched
from udpprobe.core.verdicts import VERDICTS
from udpprobe.diff import CHANGES, Comparison
from udpprobe.pmtud.model import MtuReport
from udpprobe.reports import svg
from udpprobe.reports.diff import closing as diff_closing
from udpprobe.reports.diff import row_cells
from udpprobe.reports.mtu import HEADERS as MTU_HEADERS
from udpprobe.reports.mtu import conclusion as mtu_conclusion
from udpprobe.reports.mtu import remarks, router_row
from udpprobe.reports.svg import text_of
from udpprobe.reports.table import UNDECIDED, LineBuilder, TableLine, Totals, closing, columns_of, event_row
from udpprobe.reports.text import PLAIN, Style, duration, endpoint, local, plural, zone_name
from udpprobe.reports.trace import HEADERS as TRACE_HEADERS
from udpprobe.reports.trace import conclusion, hop_rows
from udpprobe.tracing.model import NO_REPORTER, TraceReport

ROWS_BYTES = 820_000
"""Most bytes of rows about destinations and unmatched errors, so that the page stays below a megabyte. Further rows
are only counted."""
ALONE = "without datagram"
ERRORS_SHOWN = 300
"""Most errors that are listed one by one."""
LOOPS_SHOWN, PAIRS_SHOWN = 8, 50
SENTENCES_SHOWN, MOST_SENTENCES = 6, 100
BARS, BINS = 120, 960
"""Bars in the chart of errors over time, and the finer bins it can be zoomed into."""
OTHER = "other"
"""Stands for the verdict of an error that has none: an ICMPv6 type that no RFC defines."""
KINDS = (*VERDICTS, OTHER, UNDECIDED)
NS_PER_MS = 1e6
_KIND = re.compile("[a-z-]+")


# ---- the page


@cache
def _asset(name: str) -> str:
    return files("udpprobe.reports").joinpath(name).read_text("utf-8")


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def _page(
    title: str, brand: str, lead: Sequence[str], sections: Iterable[tuple[str, str, Iterable[str]]]
) -> Iterator[str]:
    """A whole page, in chunks.

    Args:
        title: the result in one line.
        brand: the command.
        lead: paragraphs below the title.
        sections: id, heading and HTML of each section; those without HTML are left out.
    """
    css, script = _asset("page.css"), _asset("page.js")
    policy = (
        f"default-src 'none'; style-src {_hash(css)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = [(name, heading, body) for name, heading, pieces in sections if (body := "".join(pieces))]
    yield (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n<link rel="icon" href="data:,">\n'
        f"<title>{text_of(title)} - {text_of(brand)}</title>\n<style>{css}</style>\n</head>\n<body>\n"
        '<a class="skip" href="#main">Skip to what was found</a>\n'
        f'<header>\n<p class="brand">{text_of(brand)}</p>\n<h1>{text_of(title)}</h1>\n'
    )
    yield "".join(f"<p>{text_of(text)}</p>\n" for text in lead if text)
    yield "</header>\n"
    if len(parts) > 1:
        yield '<nav aria-label="Sections"><ul>\n'
        yield "".join(f'<li><a href="#{name}">{text_of(heading)}</a></li>\n' for name, heading, _ in parts)
        yield "</ul></nav>\n"
    yield '<main id="main">\n'
    for name, heading, body in parts:
        yield (
            f'<section id="{name}" aria-labelledby="{name}-h">\n<h2 id="{name}-h">{text_of(heading)}</h2>\n'
            f"{body}</section>\n"
        )
    yield (
        f"</main>\n<footer><p>Written by udpprobe {__version__}. This file loads nothing and sends nothing.</p>"
        f"</footer>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def _figure(drawn: str, caption: str = "", legend: Sequence[str] = (), label: str = "Picture") -> str:
    """A `<figure>` whose picture scrolls sideways on a narrow screen."""
    keys = "".join(f'<li class="k-{each}">{text_of(each)}</li>' for each in legend)
    return (
        f'<figure><div class="scroll" tabindex="0" role="group" aria-label="{text_of(label)}">{drawn}</div>'
        + (f'<ul class="legend" aria-label="Colours">{keys}</ul>' if keys else "")
        + (f"<figcaption>{text_of(caption)}</figcaption>" if caption else "")
        + "</figure>\n"
    )


def _table(headers: Sequence[tuple[str, str]], rows: Iterable[str], caption: str, label: str) -> str:
    """A table that can be sorted and filtered.

    Args:
        headers: text and kind of each column: `number`, `word` for one with a menu of its values, or empty.
        rows: as `_row` returns them.
        caption: what the table contains.
        label: the same in a few words, for screen readers.
    """
    heads = "".join(
        f'<th scope="col"{f" data-kind={kind}" if kind else ""}>{text_of(text)}</th>' for text, kind in headers
    )
    kind = "sorted num" if [each for _, each in headers[2:4]] == ["number", "number"] else "sorted"
    return (
        f'<div class="scroll" tabindex="0" role="group" aria-label="{text_of(label)}"><table class="{kind}">'
        f"<caption>{text_of(caption)}</caption><thead><tr>{heads}</tr></thead><tbody>\n{''.join(rows)}"
        "</tbody></table></div>\n"
    )


def _row(cells: Sequence[str], kind: str = "") -> str:
    """A table row whose first cell is its header. There may be thousands, so optional end tags and quotes are omitted.

    Args:
        cells: unescaped text.
        kind: a verdict or a change, which gives the second cell its colour mark.
    """
    first, *rest = map(text_of, cells)
    start = f"<tr class=k-{kind}>" if _KIND.fullmatch(kind) else "<tr>"
    return f"{start}<th>{first}" + "".join(f"<td>{cell}" for cell in rest) + "\n"


def _list(said: Sequence[str]) -> Iterator[str]:
    """The list of advice; what does not fit on a screen is folded."""
    shown, folded, omitted = said[:SENTENCES_SHOWN], said[SENTENCES_SHOWN:MOST_SENTENCES], said[MOST_SENTENCES:]
    if shown:
        yield '<ol class="todo">' + "".join(f"<li>{_plain(each)}</li>" for each in shown) + "</ol>\n"
    if folded:
        more = f"<p class=soft>{len(omitted):,} more: --format json has advice in each row.</p>" if omitted else ""
        items = "".join(f"<li>{_plain(each)}</li>" for each in folded)
        yield (
            f'<details><summary>{len(folded) + len(omitted):,} more</summary><ol class="todo" start="{len(shown) + 1}">'
            f"{items}</ol>{more}</details>\n"
        )


def _plain(text: str) -> str:
    """Text already escaped for a terminal, as HTML with commands in backquotes as `<code>`."""
    parts = text.split("`")
    return "".join(
        f"<code>{text_of(each)}</code>" if place % 2 and place < len(parts) - 1 else text_of(each)
        for place, each in enumerate(parts)
    )


def _facts(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    said = "".join(f"<dt>{text_of(name)}</dt><dd>{text_of(value)}</dd>" for name, value in rows if value)
    yield f"<dl>{said}</dl>\n"


# ---- a report


class _Group(Struct):
    """What the summary says about one verdict."""

    destinations: int = 0
    errors: int = 0
    first_ns: int | None = None
    last_ns: int | None = None
    matches: Counter[str] = field(default_factory=Counter)
    reporters: Counter[str] = field(default_factory=Counter)
    examples: list[str] = field(default_factory=list)


class _Gathered:
    """Data for the pictures and the summary, collected while the rows are being written."""

    def __init__(self) -> None:
        self.groups: dict[str, _Group] = {}
        self.loops: dict[Loop, list[str]] = {}
        self.pairs: Counter[tuple[str, str, str, str]] = Counter()
        """Number of errors by reporter, verdict, address and destination."""
        self.rtts_ms = array("d")

    def destinations(self, rows: Iterable[Destination]) -> Iterator[Destination]:
        """Pass the rows through, and collect what they say."""
        for each in rows:
            label = endpoint(each.address, each.port, each.zone)
            group = self._group(each.verdict or UNDECIDED, label)
            group.destinations += 1
            for finding in each.findings:
                self._finding(finding, label, each.address)
            if each.rtt_ms:
                self.rtts_ms.append(each.rtt_ms.median)
            yield each

    def entries(self, rows: Iterable[Unmatched]) -> Iterator[Unmatched]:
        """Pass the unmatched errors through, and collect what they say."""
        for entry in rows:
            self._finding(entry.finding, endpoint(entry.address, entry.port), entry.address)
            yield entry

    def _group(self, verdict: str, label: str) -> _Group:
        group = self.groups.setdefault(verdict, _Group())
        if len(group.examples) < 3 and label not in group.examples:
            group.examples.append(label)
        return group

    def _finding(self, finding: Finding, label: str, address: str) -> None:
        group = self._group(finding.verdict or OTHER, label)
        group.first_ns = min(group.first_ns or finding.first_time_ns, finding.first_time_ns)
        group.last_ns = max(group.last_ns or finding.last_time_ns, finding.last_time_ns)
        if finding.icmp_type is not None or finding.verdict != "loop":
            group.errors += finding.count
            group.matches[finding.match] += finding.count
        if finding.reporter:
            group.reporters[finding.reporter] += finding.count
            self.pairs[finding.reporter, finding.verdict or OTHER, address, label] += finding.count
        if finding.loop:
            some = self.loops.setdefault(finding.loop, [])
            if label not in some:
                some.append(label)
        if finding.rtt_ms:
            self.rtts_ms.append(finding.rtt_ms.median)


def report_html(report: Report, style: Style = PLAIN, timeline: Timeline | None = None) -> Iterator[str]:
    """A report as a page, in chunks.

    Args:
        report: with its destinations worst first.
        style: gives the time zone.
        timeline: the errors one by one, if they were collected.
    """
    seen, totals, builder = _Gathered(), Totals(), LineBuilder(report, style)
    destinations = totals.destinations(seen.destinations(report.destinations))
    rows, omitted = _rows(destinations, builder, totals.entries(seen.entries(report.unmatched)), report.group_by)
    lead = closing(report, totals, style), _sureness(seen)
    subject = f"All {report.group_by}s" if report.group_by in {"host", "reporter"} else "All destinations"
    yield from _page(
        _headline(totals, report),
        f"udpprobe {report.command}",
        lead,
        (
            ("summary", "What happened", _cards(seen, style)),
            ("advice", "What to do", _list(builder.advice.sentences())),
            ("over-time", "Errors over time", timeline.drawn(style) if timeline else ()),
            ("loops", "Loops", _loops(seen)),
            ("reporters", "Who reports errors about whom", _pairs(seen)),
            ("round-trips", "Round-trip times", _rtts(seen)),
            ("destinations", subject, _destinations(rows, omitted, report.group_by)),
            ("errors", "Errors one by one", timeline.table(style) if timeline else ()),
            ("source", "What was read", _source(report, style)),
        ),
    )


def _rows(
    destinations: Iterable[Destination], builder: LineBuilder, unmatched: Iterable[Unmatched], subject: str
) -> tuple[list[str], Counter[str]]:
    """The rows that fit in the page, and how many destinations of each verdict were left out.

    The space is shared among verdicts: ten thousand refused destinations must not hide the one with a loop.
    """
    some: dict[str, list[str]] = {}
    sizes, omitted = Counter[str](), Counter[str]()

    def add(kind: str, lines: Iterable[str]) -> None:
        made = "".join(lines)
        some.setdefault(kind, []).append(made)
        sizes[kind] += len(made)

    for each in destinations:
        kind, label = each.verdict or UNDECIDED, endpoint(each.address, each.port, each.zone)
        if sizes[kind] < ROWS_BYTES:
            add(kind, [_line(said, label, each.sent, subject) for said in builder.destination(each)])
        else:
            omitted[kind] += 1
            builder.advise(each, label)
    for entry in unmatched:
        if sizes[ALONE] < ROWS_BYTES:
            add(ALONE, [_line(builder.unmatched(entry), endpoint(entry.address, entry.port), 0, subject)])
        else:
            omitted[ALONE] += 1
    room = ROWS_BYTES
    for place, kind in enumerate(sorted(some, key=sizes.__getitem__)):
        share, shown = room // (len(some) - place), 0
        for made in some[kind]:
            if len(made) > share:
                break
            share, room, shown = share - len(made), room - len(made), shown + 1
        omitted[kind] += len(some[kind]) - shown
        del some[kind][shown:]
    return [made for rows in some.values() for made in rows], omitted


def _line(said: TableLine, label: str, sent: int, subject: str) -> str:
    errors = said.errors.partition(" of ")[0]
    reporter = [] if subject == "reporter" else [said.reporter]
    details = "; ".join(said.details).replace("\u00a0", " ")
    return _row((label, said.verdict, errors, str(sent) if sent else "", *reporter, details), said.verdict)


def _headline(totals: Totals, report: Report) -> str:
    bad = {verdict: number for verdict in VERDICTS[:-3] if (number := totals.verdicts[verdict])}
    unsent = totals.verdicts["unsent"]
    counts = [f"{number:,} {verdict}" for verdict, number in bad.items()] + ([f"{unsent:,} unsent"] if unsent else [])
    number = sum(bad.values()) + unsent
    noun = report.group_by if report.group_by in {"host", "flow", "reporter"} else "destination"
    said = f"{plural(number, noun)}: {', '.join(counts)}" if counts else "Nothing failed"
    lone = f"; {plural(totals.unmatched, 'error')} without a datagram" if totals.unmatched else ""
    return said + lone + ("; interrupted" if report.interrupted else "")


def _sureness(seen: _Gathered) -> str:
    """How reliably the errors were matched with datagrams, in words."""
    matches = sum((group.matches for group in seen.groups.values()), Counter[str]())
    words = {
        "exact": "matched with certainty to the datagram that caused them",
        "flow": "matched by flow alone",
        "rewritten": "matched through a NAT",
        "none": "without their datagram",
    }
    counts = [f"{matches[match]:,} {said}" for match, said in words.items() if matches[match]]
    return f"{plural(matches.total(), 'ICMP error')}: {', '.join(counts)}." if counts else ""


def _cards(seen: _Gathered, style: Style) -> Iterator[str]:
    groups = [(verdict, seen.groups[verdict]) for verdict in KINDS if verdict in seen.groups]
    if not groups:
        return
    yield '<ul class="cards">\n'
    for verdict, group in groups:
        counts = [plural(group.destinations, "destination")] if group.destinations else []
        counts += [plural(group.errors, "ICMP error")] if group.errors else []
        who = ", ".join(name for name, _ in group.reporters.most_common(3))
        others = len(group.reporters) - 3
        yield (
            f'<li class="k-{verdict}"><span class="n">{group.destinations or group.errors:,}</span>'
            f"<strong>{text_of(verdict)}</strong><p>{', '.join(counts)}</p>"
        )
        more = " …" if group.destinations > len(group.examples) else ""
        yield f"<p>to {text_of(', '.join(group.examples))}{more}</p>"
        if who:
            yield f"<p>reported by {text_of(who)}{f' and {others} more' if others > 0 else ''}</p>"
        if group.first_ns is not None and group.last_ns is not None:
            yield f'<p class="soft">{text_of(_span(group.first_ns, group.last_ns, style))}</p>'
        yield "</li>\n"
    yield "</ul>\n"


def _time(time_ns: int, style: Style, *, digits: int = 0) -> str:
    when = local(time_ns, style.zone)
    fraction = f".{when:%f}"[: digits + 1] if digits else ""
    return f"{when:%Y-%m-%d %H:%M:%S}{fraction} {zone_name(time_ns, style.zone)}"


def _span(first_ns: int, last_ns: int, style: Style) -> str:
    first, last = _time(first_ns, style), _time(last_ns, style)
    if first == last:
        return f"at {first}"
    return f"{first[:19]} to {last[11:]}" if first[:10] == last[:10] else f"{first[:19]} to {last}"


def _loops(seen: _Gathered) -> Iterator[str]:
    yield '<div class="figures">\n' if seen.loops else ""
    for number, (loop, places) in enumerate(list(seen.loops.items())[:LOOPS_SHOWN]):
        shown = ", ".join(places[:3]) + (f" and {len(places) - 3} more" if len(places) > 3 else "")
        names = ", ".join(loop.routers) or "routers that do not reply"
        lap = f" {plural(loop.period, 'hop')}" if loop.period else ""
        said = f"Packets to {shown} go round{lap}, via {names}."
        yield _figure(svg.ring(f"loop{number}", loop.routers, loop.period, said), said, label="Diagram of a loop")
    yield "</div>\n" if seen.loops else ""
    if len(seen.loops) > LOOPS_SHOWN:
        yield f'<p class="soft">{len(seen.loops) - LOOPS_SHOWN} more loops are in the table.</p>\n'


def _pairs(seen: _Gathered) -> Iterator[str]:
    counted: Counter[tuple[str, str, str]] = Counter()
    for (reporter, verdict, address, label), number in seen.pairs.items():
        # With many pairs, the ports of a host count as one: otherwise a scan of one host would fill the picture.
        counted[reporter, verdict, label if len(seen.pairs) <= PAIRS_SHOWN else address] += number
    pairs = [
        (reporter, label, number, verdict) for (reporter, verdict, label), number in counted.most_common(PAIRS_SHOWN)
    ]
    if pairs:
        kinds = [verdict for verdict in KINDS if any(pair[3] == verdict for pair in pairs)]
        rest = len(counted) - len(pairs)
        caption = f"The {len(pairs)} pairs with most errors; {rest:,} more are in the table." if rest else ""
        top = f"Most errors, {pairs[0][2]:,}, come from {pairs[0][0]} about {pairs[0][1]}."
        yield _figure(svg.ribbons(pairs, top), caption, kinds, "Reporters and destinations")


def _rtts(seen: _Gathered) -> Iterator[str]:
    if seen.rtts_ms:
        ordered = sorted(seen.rtts_ms)
        said = (
            f"Medians of answers and of errors, {len(ordered):,} in all: from {duration(ordered[0])} to "
            f"{duration(ordered[-1])}, half of them below {duration(ordered[len(ordered) // 2])}."
        )
        yield _figure(svg.spread(ordered, said), said, label="Distribution of round-trip times")


def _destinations(rows: Sequence[str], omitted: Counter[str], subject: str) -> Iterator[str]:
    if not rows:
        return
    names = [name.replace("\n", " ") for name in columns_of(subject)]
    headers = [
        (names[0], ""),
        ("verdict", "word"),
        ("ICMP errors", "number"),
        ("sent", "number"),
        *((name, "") for name in names[3:]),
    ]
    rest = ", ".join(f"{omitted[each]:,} {each}" for each in (*VERDICTS, UNDECIDED, ALONE) if omitted[each])
    more = f" {omitted.total():,} more are left out to limit the size of this file: {rest}; --format json has all."
    more = more if rest else ""
    count = sum(each.count("<tr") for each in rows)
    yield _table(headers, rows, f"{plural(count, 'row')}, the worst first.{more}", "All destinations")


def _source(report: Report, style: Style) -> Iterator[str]:
    source = report.source
    first, last = source.first_time_ns, source.last_time_ns
    yield from _facts(
        [
            ("source", "standard input" if source.name == "-" else source.name),
            ("kind", source.kind),
            ("packets", f"{source.packets:,}"),
            ("bytes", f"{source.bytes:,}"),
            ("time", _span(first, last, style) if first is not None and last is not None else ""),
            ("dropped", "" if source.dropped is None else f"{source.dropped:,}"),
            ("cut short", "yes" if source.cut_short else ""),
            ("not read", "; ".join(f"{each.name}: {each.reason}" for each in source.unread)),
            ("faults", ", ".join(f"{name} {number:,}" for name, number in report.faults.items())),
        ]
    )


# ---- errors one by one


class Timeline:
    """Collects errors as they are found, and writes the report's page at the end.

    Args:
        style: gives the time zone.
    """

    def __init__(self, style: Style = PLAIN) -> None:
        self._style = style
        self._times, self._kinds = array("q"), array("B")
        self._shown: list[Event] = []

    def add(self, events: Sequence[Event]) -> str:
        """Nothing: the events are kept until the end."""
        self._shown += events[: ERRORS_SHOWN - len(self._shown)]
        self._times.extend(each.time_ns for each in events)
        self._kinds.extend(KINDS.index(each.verdict or OTHER) for each in events)
        return ""

    def end(self, report: Report, _width: int) -> Iterator[str]:
        """The whole page."""
        return report_html(report, self._style, self)

    def drawn(self, style: Style) -> Iterator[str]:
        """The chart, and the data from which the script redraws it."""
        if not self._times:
            return
        first, last = min(self._times), max(self._times)
        used = sorted(set(self._kinds))
        names = [KINDS[kind] for kind in used]
        fine = self._bins(BINS, first, last)
        coarse = [
            [
                sum(fine.get((bin_, kind), 0) for bin_ in range(bar * BINS // BARS, (bar + 1) * BINS // BARS))
                for kind in used
            ]
            for bar in range(BARS)
        ]
        said = f"{plural(len(self._times), 'error')} from {_time(first, style)} to {_time(last, style)}."
        ends = (_time(first, style, digits=3), _time(last, style, digits=3))
        yield _figure(svg.over_time(coarse, names, ends, said), said, names, "Errors over time")
        rows = [[bin_, *(fine.get((bin_, kind), 0) for kind in used)] for bin_ in sorted({bin_ for bin_, _ in fine})]
        about = {
            "first": first / NS_PER_MS,
            "last": max(last, first + 1) / NS_PER_MS,
            "count": BINS,
            "kinds": names,
            "bins": rows,
        }
        yield f'<script type="application/json" id="bins">{Encoder().encode(about).decode()}</script>\n'

    def _bins(self, number: int, first: int, last: int) -> Counter[tuple[int, int]]:
        span = last - first + 1
        return Counter(
            ((time_ns - first) * number // span, kind) for time_ns, kind in zip(self._times, self._kinds, strict=True)
        )

    def table(self, style: Style) -> Iterator[str]:
        """A table of the first errors."""
        if not self._shown:
            return
        more = f"; the first {len(self._shown)}" if len(self._times) > len(self._shown) else ""
        rows = (
            _row((f"{each.frame}", each.verdict or OTHER, *_event_cells(each, style)), each.verdict or OTHER)
            for each in self._shown
        )
        yield _table(
            (
                ("frame", "number"),
                ("verdict", "word"),
                ("time", ""),
                ("destination", ""),
                ("reporter", ""),
                ("details", ""),
            ),
            rows,
            f"{plural(len(self._times), 'error')}{more}.",
            "Errors one by one",
        )


def _event_cells(event: Event, style: Style) -> tuple[str, ...]:
    _, _, _, *rest = event_row(event, style)
    when = f"{local(event.time_ns, style.zone):%Y-%m-%d %H:%M:%S.%f}"
    return (when, *(each.replace("\u00a0", " ") for each in rest))


# ---- a trace


def trace_html(report: TraceReport) -> str:
    """A trace as a page."""
    where = endpoint(*astuple(report.target))
    end = conclusion(report)
    title = f"{where}: {report.verdict or UNDECIDED}, {'reached' if report.reached else 'not reached'}"
    return "".join(
        _page(
            title,
            "udpprobe trace",
            (end, report.advice or ""),
            (
                ("path", "The path", (_figure(svg.hops(list(_stations(report)), end), label="The path, hop by hop"),)),
                ("loop", "The loop", _trace_loop(report)),
                (
                    "hops",
                    "Hops",
                    (
                        _table(
                            [("hop", "number"), *((name, "") for name in TRACE_HEADERS[1:])],
                            map(_row, _with_hops(report)),
                            "Who replied to which TTL.",
                            "Hops",
                        ),
                    ),
                ),
                (
                    "about",
                    "About this trace",
                    _facts(
                        [
                            ("from", f"{report.source_address}, interface {report.interface}"),
                            ("began", _time(report.time_ns, PLAIN)),
                            ("flows", ", ".join(map(str, report.source_ports))),
                            ("faults", ", ".join(f"{name} {number:,}" for name, number in report.faults.items())),
                        ]
                    ),
                ),
            ),
        )
    )


def _with_hops(report: TraceReport) -> Iterator[tuple[str, ...]]:
    """Rows that can be sorted, because each repeats the number of its hop."""
    number = ""
    for first, *rest in hop_rows(report):
        number = first or number
        yield (number, *rest)


def _stations(report: TraceReport) -> Iterator[tuple[str, str, float, tuple[float, float, float] | None, str]]:
    for is_silent, some in groupby(report.hops, key=lambda hop: not hop.reporters):
        hops = list(some)
        if is_silent:
            number = str(hops[0].ttl) if len(hops) == 1 else f"{hops[0].ttl}-{hops[-1].ttl}"
            yield number, "", 1.0, None, "unknown"
            continue
        for hop in hops:
            first = max(hop.reporters, key=lambda each: each.count)
            more = f" and {len(hop.reporters) - 1} more" if len(hop.reporters) > 1 else ""
            said = OTHER if first.verdict == "expired" else first.verdict or OTHER
            kind = "answered" if first.type is None else said
            rtt = (first.rtt_ms.min, first.rtt_ms.median, first.rtt_ms.max) if first.rtt_ms else None
            yield (
                str(hop.ttl),
                (first.address or NO_REPORTER) + more,
                hop.lost / hop.sent if hop.sent else 0.0,
                rtt,
                kind,
            )


def _trace_loop(report: TraceReport) -> Iterator[str]:
    if report.loop:
        names = ", ".join(each or "a silent router" for each in report.loop.routers)
        said = f"From TTL {report.loop.first_ttl} on, packets go round {plural(report.loop.period, 'hop')}: {names}."
        yield _figure(
            svg.ring("loop0", report.loop.routers, report.loop.period, said), said, label="Diagram of the loop"
        )


# ---- a path MTU


def mtu_html(report: MtuReport) -> str:
    """A path MTU as a page."""
    rungs = _rungs(report)
    end = mtu_conclusion(report)
    path_mtu = f", path MTU {report.path_mtu}" if report.path_mtu is not None else ""
    title = f"{endpoint(*astuple(report.target))}: {report.verdict or UNDECIDED}{path_mtu}"
    return "".join(
        _page(
            title,
            "udpprobe mtu",
            (end, *remarks(report)),
            (
                ("sizes", "Sizes", (_figure(svg.ladder(rungs, end), label="Packet sizes"),) if rungs else ()),
                (
                    "routers",
                    "Who reported what",
                    (
                        _table(
                            [(name, "number" if place in {1, 2, 3} else "") for place, name in enumerate(MTU_HEADERS)],
                            (_row(row) for row in map(router_row, report.reports)),
                            "Routers that reported an MTU.",
                            "Who reported what",
                        ),
                    )
                    if report.reports
                    else (),
                ),
                (
                    "about",
                    "About this search",
                    _facts(
                        [
                            (
                                "from",
                                f"{report.source_address}, interface {report.interface} (MTU {report.interface_mtu})",
                            ),
                            ("began", _time(report.time_ns, PLAIN)),
                            ("state", report.state),
                            ("proof", report.proof or ""),
                            (
                                "UDP payload",
                                "" if report.udp_payload_max is None else f"{report.udp_payload_max} bytes at most",
                            ),
                            ("probes", f"{report.sent:,} in {duration(report.duration_ms)}"),
                        ]
                    ),
                ),
            ),
        )
    )


def _rungs(report: MtuReport) -> list[tuple[int, str, str]]:
    """The sizes whose outcome is known, the largest first."""
    rungs = [
        (
            each.smallest,
            f"too big, says {each.reporter}" + (f": MTU {each.mtu}" if each.mtu is not None else ""),
            "too-big",
        )
        for each in report.reports
    ]
    hole, mtu = report.black_hole, report.path_mtu
    if hole:
        behind = f" behind {hole.after}" if hole.after else ""
        rungs.append((hole.smallest_lost, f"lost{behind}, with no ICMP error", "refused"))
    if mtu is not None:
        whole = ", the interface's MTU" if mtu >= report.interface_mtu else ""
        rungs.append((mtu, f"arrive{whole}", "answered"))
    if mtu is not None and mtu < report.interface_mtu and all(size != report.interface_mtu for size, *_ in rungs):
        rungs.append((report.interface_mtu, "the interface's MTU", "silent"))
    return sorted(rungs, key=lambda rung: (-rung[0], rung[2]))


# ---- a comparison


def diff_html(comparison: Comparison) -> str:
    """A comparison as a page."""
    counts = comparison.counts
    changed = (
        ", ".join(f"{counts[change]:,} {change}" for change in CHANGES[:-1] if counts[change]) or "Nothing changed"
    )
    rows, room, omitted = list[str](), ROWS_BYTES, 0
    for row in comparison.destinations:
        label, change, said = row_cells(row)
        if room > 0:
            rows.append(_row((label, change, said.replace("\u00a0", " "), row.advice or ""), change))
            room -= len(rows[-1])
        else:
            omitted += 1
    more = f" {omitted:,} more are left out to limit the size of this file; --format json has all." if omitted else ""
    table = _table(
        (("destination", ""), ("change", "word"), ("what changed", ""), ("what to do", "")),
        rows,
        f"{plural(len(rows), 'destination')}, what changed most first.{more}",
        "Destinations",
    )
    return "".join(
        _page(
            changed,
            "udpprobe diff",
            (diff_closing(comparison),),
            (("changes", "What changed", _changes(counts)), ("destinations", "Destinations", (table,) if rows else ())),
        )
    )


def _changes(counts: dict[str, int]) -> Iterator[str]:
    yield (
        '<ul class="cards">'
        + "".join(
            f'<li class="k-{change}"><span class="n">{counts[change]:,}</span><strong>{change}</strong></li>'
            for change in CHANGES
        )
        + "</ul>\n"
    )
