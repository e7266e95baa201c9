"""From the core's state to a report: a verdict for every destination, worst first.

Rows are made on demand and none is kept: there may be a million.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice, starmap
from math import gcd

from msgspec import Struct

from udpprobe import __version__
from udpprobe.capture.frames import SourceState
from udpprobe.core.addresses import address_text, is_group
from udpprobe.core.advice import advice_about
from udpprobe.core.analyzer import Analyzer, Kept
from udpprobe.core.destinations import MOST_FINDINGS, NS_PER_MS, Destinations, Ranks, kind_by, rank_of, ttls_of
from udpprobe.core.extensions import extensions_of
from udpprobe.core.findings import NO_PORT
from udpprobe.core.histogram import Histograms
from udpprobe.core.loops import find_round
from udpprobe.core.model import (
    Destination,
    Event,
    Report,
    ReportRows,
    Row,
    Shaped,
    SourceReport,
    Unmatched,
    Unread,
    quoted_of,
)
from udpprobe.core.notes import GROUP_MEMBER, Note, mtu_notes, no_neighbour_notes, texts_of
from udpprobe.core.ranking import Ranking, expired, reported_by
from udpprobe.core.recent import EVIDENCE, MATCHES
from udpprobe.core.table import Table
from udpprobe.core.verdicts import NEIGHBOUR_ERRORS

_FINDING, _LOOP = 17, 10
"""Words of a row."""


class Question(Struct, frozen=True):
    """Options of a report."""

    loop_ttl: int = 32
    """A datagram that was sent with at least this TTL and expired was in a loop."""
    all_destinations: bool = False
    """Include healthy destinations."""
    group_by: str = "destination"
    """`destination`, `host`, `flow` or `reporter`."""


def conclude(
    analyzer: Analyzer, question: Question, *, is_final: bool = False
) -> tuple[ReportRows[Destination], ReportRows[Unmatched]]:
    """The destinations, worst first, and the errors whose datagrams were not captured.

    Args:
        analyzer: has analysed the packets.
        question: options of the report.
        is_final: whether the analyzer is no longer needed; memory that only further packets need is freed.
    """
    conclusion = Conclusion(analyzer, question, is_final=is_final)
    return conclusion.destinations(), conclusion.unmatched()


class Conclusion:
    """The results of an analyzer's tables."""

    def __init__(self, analyzer: Analyzer, question: Question, *, is_final: bool = False) -> None:
        if is_final:
            analyzer.seal()
        conversations = analyzer.conversations
        analyzer.findings.count_answers()
        endpoints, endpoint_rtt = conversations.close() if is_final else conversations.totals()
        analyzer.findings.split_records(endpoints)
        findings, loops, rtt = analyzer.findings.table, analyzer.findings.loops, analyzer.findings.rtt
        are_loops = _are_loops(findings, loops, question.loop_ttl)
        if question.group_by in {"host", "reporter"}:
            grouped = _Grouped(endpoints, endpoint_rtt, findings, loops, rtt, are_loops)
            is_by_host = question.group_by == "host"
            endpoints, endpoint_rtt, findings, loops, rtt, are_loops = grouped.by(is_by_host=is_by_host)
        endpoint_rtt.settle()
        rtt.settle()
        ranking = Ranking(findings, loops, endpoints, by_flow=question.group_by == "flow")
        ranking.gather(with_answers=question.group_by != "reporter", with_healthy=question.all_destinations)
        ranking.sort(Ranks(), are_loops, *map(rank_of, ("loop", "answered", "silent")))
        self._ranking = ranking
        self._rows = Destinations(
            ranking, findings, loops, endpoints, endpoint_rtt, rtt, are_loops, group_by=question.group_by
        )

    def destinations(self) -> ReportRows[Destination]:
        """Worst first."""
        return ReportRows(memoryview(self._ranking.order), self._rows.destination, self._rows)

    def unmatched(self) -> ReportRows[Unmatched]:
        """Worst first."""
        return ReportRows(self._rows.unmatched_order(), self._rows.unmatched)


_IN_TRANSIT = (4 << 16 | 11 << 8, 6 << 16 | 3 << 8)


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _are_loops(findings: Table, loops: Table, loop_ttl: int, rows: Iterable[int] | None = None) -> set[int]:
    """Rows of findings that are errors of a routing loop; of all, or of those of some destinations.

    An expired TTL is no loop by itself: a traceroute causes it. It is one if the datagram was sent with a high TTL, if
    routers report in a repeating order of TTLs up to the last one, or if the capture shows the datagram going round. A
    traceroute may use a port per probe. So if no port of a host shows a loop, all its ports are taken together.
    """
    words, found = memoryview(findings.words), set[int]()
    seen: set[tuple[int, ...]] = {tuple(loops.words[_LOOP * row : _LOOP * row + 3]) for row in range(loops.size)}
    candidates: dict[tuple[int, ...], list[int]] = {}
    for row in expired(findings, rows):
        subject = _destination(words, row)
        if subject in seen or (ttls_of(words, row) or [0])[-1] >= loop_ttl:
            found.add(row)
        elif not words[_FINDING * row + 4] & 2:  # the destination itself may stand for everything behind a NAT
            candidates.setdefault(subject, []).append(row)
    if not candidates:
        return found
    spoke = {
        _destination(words, row) for row in reported_by(findings, {candidate[:2] for candidate in candidates}, rows)
    }
    hosts_spoke = {destination[:2] for destination in spoke}
    hosts: dict[tuple[int, ...], list[int]] = {}
    for candidate, errors in candidates.items():
        if candidate not in spoke:
            found |= _round_of(words, errors)
        if rows is None and candidate[:2] not in hosts_spoke:
            hosts.setdefault(candidate[:2], []).extend(errors)
    for errors in hosts.values():
        if found.isdisjoint(errors):
            found |= _round_of(words, errors)
    return found


def _round_of(words: memoryview, rows: list[int]) -> set[int]:
    """Those of one destination's errors in transit whose reporters recur."""
    reported: dict[int, frozenset[str]] = {}
    of: dict[tuple[int, str], set[int]] = {}
    for row in rows[:MOST_FINDINGS]:  # a loop has few routers
        name = address_text(words[_FINDING * row + 2], words[_FINDING * row + 3])
        for ttl in ttls_of(words, row):
            reported[ttl] = reported.get(ttl, frozenset()) | {name}
            of.setdefault((ttl, name), set()).add(row)
    if len(reported) < 3:
        return set()
    back = {ttl: frozenset({ttl}) for ttl in reported}  # unknown: all different, and none nearer
    found = find_round(reported, max(reported), back)
    if found is None:
        return set()
    return {row for (ttl, name), some in of.items() if ttl >= found.first_ttl and name in found.routers for row in some}


class _Grouped:
    """Tables regrouped by host or by reporter."""

    def __init__(
        self,
        endpoints: Table,
        endpoint_rtt: Histograms,
        findings: Table,
        loops: Table,
        rtt: Histograms,
        are_loops: set[int],
    ) -> None:
        self._endpoints, self._endpoint_rtt = endpoints, endpoint_rtt
        self._findings, self._loops, self._rtt, self._are_loops = findings, loops, rtt, are_loops

    def by(self, *, is_by_host: bool) -> tuple[Table, Histograms, Table, Table, Histograms, set[int]]:
        """Endpoints, their RTTs, findings, loops, their RTTs, and which findings are loops."""
        secret = memoryview(bytes(self._findings.secret)).cast("B")
        secret = memoryview(bytearray(secret)).cast("Q")
        endpoints, findings, loops = Table(12, 6, secret), Table(17, 8, secret), Table(10, 6, secret)
        endpoint_rtt, rtt = Histograms(), Histograms()
        rows = [self._add_finding(findings, row, is_by_host=is_by_host) for row in range(self._findings.size)]
        rtt.absorb(self._rtt, rows or [-1])
        are_loops = {rows[row] for row in self._are_loops}
        if is_by_host:
            owners = [_add_row(endpoints, self._endpoints, row) for row in range(self._endpoints.size)]
            endpoint_rtt.absorb(self._endpoint_rtt, owners or [-1])
            for row in range(self._loops.size):
                _add_loop(loops, self._loops, row)
        return endpoints, endpoint_rtt, findings, loops, rtt, are_loops

    def _add_finding(self, findings: Table, row: int, *, is_by_host: bool) -> int:
        old, at = self._findings.words, _FINDING * row
        packed = old[at + 4] & ~(0x1FFFF << 2) | NO_PORT << 2
        address = (old[at], old[at + 1]) if is_by_host else (old[at + 2], old[at + 3])
        # loops and other expired errors stay apart, by a bit that no kind has
        kind = packed | (row in self._are_loops) << 19
        key = (*address, old[at + 2], old[at + 3], kind, old[at + 5] >> 17 << 17, 0, 0)
        count = findings.size
        here = findings.add_key(key)
        words, to = findings.words, _FINDING * here
        is_new = here == count
        words[to + 8] += old[at + 8]
        words[to + 9] = old[at + 9] if is_new else min(words[to + 9], old[at + 9])
        words[to + 10] = max(words[to + 10], old[at + 10])
        words[to + 11] = (
            max(words[to + 11] >> 56, old[at + 11] >> 56) << 56 | (words[to + 11] | old[at + 11]) & (1 << 56) - 1
        )
        words[to + 12] = old[at + 12] if is_new else min(words[to + 12], old[at + 12])
        for place in range(13, 17) if is_by_host else ():  # TTLs of several destinations do not give a period
            words[to + place] |= old[at + place]
        return here


def _add_row(new: Table, old: Table, row: int) -> int:
    """Add an endpoint's counters to its host's row, which is returned."""
    words, at = old.words, old.width * row
    here = new.add_key((words[at], words[at + 1], NO_PORT, 0, 0, 0))
    to = old.width * here
    for place in (6, 7, 8, 9):
        new.words[to + place] += words[at + place]
    for place in (10, 11):
        new.words[to + place] = max(new.words[to + place], words[at + place])
    return here


def _add_loop(new: Table, old: Table, row: int) -> None:
    words, at = old.words, _LOOP * row
    here = new.add_key((words[at], words[at + 1], NO_PORT, 0, 0, 0))
    to = _LOOP * here
    new.words[to + 7] = min(new.words[to + 7], words[at + 7]) if new.words[to + 6] else words[at + 7]
    new.words[to + 6] += words[at + 6]
    new.words[to + 8] = max(new.words[to + 8], words[at + 8])
    new.words[to + 9] = gcd(new.words[to + 9], words[at + 9])


class _Later(ReportRows[Row]):
    """Rows that are searched and sorted on demand.

    Writing events alone never needs them, and sorting a million takes half a gigabyte.
    """

    def __init__(self, rows: Callable[[], ReportRows[Row]]) -> None:
        self._rows = rows

    @property
    def order(self) -> Sequence[int]:  # type: ignore[override]  # an attribute there
        """As of `ReportRows`."""
        return self._rows().order

    @property
    def make(self) -> Callable[[int], Row]:  # type: ignore[override]  # as above
        """As of `ReportRows`."""
        return self._rows().make

    @property
    def shaped(self) -> Shaped | None:  # type: ignore[override]  # as above
        """As of `ReportRows`."""
        return self._rows().shaped


def report_of(
    command: str, analyzer: Analyzer, state: SourceState, question: Question, *, is_final: bool = False
) -> Report:
    """An analyzer's results as a command's report.

    Args:
        command: its name.
        analyzer: has analysed the packets.
        state: of its source.
        question: options of the report.
        is_final: whether nothing else needs the analyzer: it ends with the report, at the latest.
    """
    concluded = cache(lambda: conclude(analyzer, question, is_final=is_final))
    destinations: ReportRows[Destination] = _Later(lambda: concluded()[0])
    unmatched: ReportRows[Unmatched] = _Later(lambda: concluded()[1])
    if not is_final:
        destinations, unmatched = concluded()
    has_frames = analyzer.packets > 0
    source = SourceReport(
        kind=state.kind,
        name=state.name,
        link_types=tuple(analyzer.link_types()),
        packets=analyzer.packets,
        bytes=analyzer.bytes,
        first_time_ns=analyzer.first_ns if has_frames else None,
        last_time_ns=analyzer.last_ns if has_frames else None,
        dropped=state.dropped,
        cut_short=state.cut_short,
        unread=tuple(starmap(Unread, state.unread.items())),
    )
    faults: Counter[str] = analyzer.faults() + state.faults
    return Report(
        command, __version__, source, destinations, unmatched, dict(sorted(faults.items())), question.group_by
    )


class EventBuilder:
    """Makes events from the errors that an analyzer keeps.

    Args:
        analyzer: kept them.
        loop_ttl: as in `Question`.
        are_loops: findings that are errors of a loop, if known.
    """

    def __init__(self, analyzer: Analyzer, loop_ttl: int, are_loops: set[int] | None = None) -> None:
        self._findings = memoryview(analyzer.findings.table.words)
        if are_loops is None:
            are_loops = _are_loops(analyzer.findings.table, analyzer.findings.loops, loop_ttl)
        self._are_loops = are_loops

    def event(self, kept: Kept, row: int) -> Event:
        """The event of one error."""
        match = memoryview(kept.words)[8 * row : 8 * row + 8]
        finding = match[6] & 0xFFFF_FFFF
        itself = bool(self._findings[_FINDING * finding + 4] & 2)
        return _event(kept, row, match, itself=itself, is_loop=finding in self._are_loops)


class LoopsSoFar:
    """Which findings are errors of a routing loop, asked repeatedly while findings arrive.

    Args:
        analyzer: has the findings.
        loop_ttl: as in `Question`.
    """

    def __init__(self, analyzer: Analyzer, loop_ttl: int) -> None:
        self._analyzer, self._loop_ttl = analyzer, loop_ttl
        self.forget()

    def forget(self) -> None:
        """Start over, because findings were renumbered."""
        self._latest: dict[int, int] = {}
        """By hash of a destination, its latest finding; a million destinations take 100 MB this way."""
        self._before = array("i")
        """By finding, the previous one with the same hash, or -1."""

    def of(self, kept: Kept) -> set[int]:
        """The loop errors among some errors' findings, and among others of the same destinations."""
        table = self._analyzer.findings.table
        words = memoryview(table.words)
        touched = {kept.finding(row) for row in range(kept.rows.size)}
        in_transit = {_destination(words, row) for row in touched if words[_FINDING * row + 4] >> 20 in _IN_TRANSIT}
        if not in_transit:
            return set()
        for row in range(len(self._before), table.size):
            key = hash(_destination(words, row))
            self._before.append(self._latest.get(key, -1))
            self._latest[key] = row
        # a few reporters show as much as many, and looking at all of them would take longer each time
        rows = touched.union(*(islice(self._findings_of(each, words), MOST_FINDINGS) for each in in_transit))
        return _are_loops(table, self._analyzer.findings.loops, self._loop_ttl, sorted(rows))

    def _findings_of(self, destination: tuple[int, ...], words: memoryview) -> Iterator[int]:
        row = self._latest.get(hash(destination), -1)
        while row >= 0:
            if _destination(words, row) == destination:
                yield row
            row = self._before[row]


def _destination(words: memoryview, row: int) -> tuple[int, ...]:
    at = _FINDING * row
    return words[at], words[at + 1], words[at + 4] >> 2 & 0x1FFFF


def events_of(analyzer: Analyzer, kept: Kept, loop_ttl: int, are_loops: set[int] | None = None) -> Iterator[Event]:
    """One event per error, in the order in which they were kept.

    Args:
        analyzer: kept them.
        kept: the errors.
        loop_ttl: as in `Question`.
        are_loops: findings that are errors of a loop, if known.
    """
    if are_loops is None:
        are_loops = _are_loops(analyzer.findings.table, analyzer.findings.loops, loop_ttl)
    words, match = memoryview(kept.words), 0
    findings = memoryview(analyzer.findings.table.words)
    for row in range(kept.rows.size):
        match = 8 * row
        finding = words[match + 6] & 0xFFFF_FFFF
        packed = findings[_FINDING * finding + 4]
        yield _event(kept, row, words[match : match + 8], itself=bool(packed & 2), is_loop=finding in are_loops)


def _event(kept: Kept, row: int, match: memoryview, *, itself: bool, is_loop: bool) -> Event:
    packet = kept.rows.packet(row, b"", bytes(0))
    message = kept.message(row)
    group = is_group(*packet.destination)
    kind = kind_by(
        packet.family << 19 | packet.icmp_type << 11 | packet.icmp_code << 3 | itself << 2 | is_loop << 1 | group
    )
    objects, more = extensions_of(message, packet.family) if message else (None, Note(0))
    sureness, evidence = match[0] >> 8 & 0xFF, match[0] >> 16 & 0xFF
    rtt_ns = packet.time_ns - _signed(match[5])
    length = packet.length
    if length >= 1 << 20 and sureness:
        udp_length = match[1] >> 32 & 0xFFFF
        if udp_length >= 8 and not match[1] & 2:
            length = udp_length + (20 if packet.quoted_family == 4 else 40)
    quoted, mtu, tunnel = quoted_of(packet), packet.mtu if packet.mtu >= 0 else None, packet.tunnel_bytes
    notes = packet.notes | match[2] | int(more) | int(mtu_notes(packet.family, packet.mtu, length + tunnel))
    reporter: str | None = address_text(*packet.reporter, as_ipv4=packet.family == 4)
    texts = texts_of(notes, length, packet.family, tunnel, mtu)
    texts += (GROUP_MEMBER,) if group else ()
    is_own = (
        packet.family,
        packet.icmp_type,
        packet.icmp_code,
    ) in NEIGHBOUR_ERRORS and packet.reporter == packet.source
    if is_own:
        reporter, texts = None, texts + no_neighbour_notes(packet.family, "")
    return Event(
        frame=packet.frame,
        time_ns=packet.time_ns,
        family=packet.family,
        type=packet.icmp_type,
        code=packet.icmp_code,
        verdict=kind.verdict,
        errno=kind.errno,
        linux=kind.linux,
        reason=kind.reason,
        reporter=reporter,
        mtu=mtu,
        quoted=quoted,
        match=MATCHES[sureness],
        matched_frame=match[4] or None,
        rtt_ms=rtt_ns / NS_PER_MS if sureness and not is_own and 0 <= rtt_ns <= 300_000_000_000 else None,
        extensions=objects,
        notes=texts,
        match_evidence=tuple(name for bit, name in enumerate(EVIDENCE) if evidence >> bit & 1),
        advice=advice_about(quoted, kind.verdict, kind.reason, reporter, family=packet.family, mtu=mtu, notes=texts),
    )
