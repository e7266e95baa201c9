"""From what the core knows to what is reported: a verdict for every destination, the worst first.

Rows are made as they are asked for, and none is kept: there may be a million.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, cached_property
from heapq import nsmallest
from itertools import islice, starmap
from math import gcd
from typing import Any, Generic, NamedTuple, TypeVar, overload

from msgspec import Struct

from udpprobe import __version__
from udpprobe.capture.frames import SourceState
from udpprobe.core.addresses import address_text, is_group
from udpprobe.core.advice import (
    ANSWER,
    ANY_HOST,
    SOME,
    Case,
    advice_about,
    case_of_finding,
    case_of_verdict,
    sentence,
)
from udpprobe.core.analyzer import Analyzer, Kept
from udpprobe.core.extensions import extensions_of
from udpprobe.core.findings import BIAS_NS, NO_PORT
from udpprobe.core.histogram import Histograms
from udpprobe.core.loops import find_round
from udpprobe.core.model import (
    Destination,
    Event,
    Finding,
    Loop,
    Report,
    SourceReport,
    Spread,
    Unmatched,
    Unread,
    quoted_of,
)
from udpprobe.core.mtu import mtu_notes
from udpprobe.core.notes import GROUP_MEMBER, Note, no_neighbour_notes, texts_of
from udpprobe.core.ranking import NO_ERROR, Ranking, expired, kind_of, refusals, reported_by
from udpprobe.core.recent import EVIDENCE, MATCHES
from udpprobe.core.table import Table
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, NO_NEIGHBOUR, VERDICTS, meaning_of, verdict_of
from udpprobe.endpoints import endpoint_text

SEEN_LOOPING = "seen going round: the same datagram again, its TTL lower each time"

LEAST_BURST = 6
"""No host is known that sends fewer ICMP errors at once before it limits them: Linux, 6 to one address."""

MOST_ROUTERS = 32
"""So many of a loop are named with each of its findings. Few loops are of more than ten; forged errors come from any
number of addresses, and with all of them at each, a report would be the square of a capture."""

MOST_FINDINGS = 1000
"""So many of a destination are listed, the worst first: forged errors come from any number of reporters. All count."""

NS_PER_MS = 1e6
_ENDPOINT, _FINDING, _LOOP = 12, 17, 10
"""Words of a row."""
_NO_NEIGHBOUR = int(Note.NO_NEIGHBOUR)
_UNKNOWN = len(VERDICTS)

Row = TypeVar("Row")


class Question(Struct, frozen=True):
    """How the report is to be."""

    loop_ttl: int = 32
    """A datagram that left with this TTL or more and expired was in a loop."""
    all_destinations: bool = False
    """Healthy destinations too."""
    group_by: str = "destination"
    """`destination`, `host`, `flow` or `reporter`."""


class Rows(Sequence[Row], Generic[Row]):
    """Rows that are made when they are asked for.

    Args:
        order: what each row is made of, in their order.
        make: makes one.
    """

    def __init__(self, order: Sequence[int], make: Callable[[int], Row]) -> None:
        self._order, self._make = order, make

    def __len__(self) -> int:
        return len(self._order)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Rows[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | Rows[Row]:
        """One row, or the rows of a slice."""
        return Rows(self._order[at], self._make) if isinstance(at, slice) else self._make(self._order[at])

    def __iter__(self) -> Iterator[Row]:
        return map(self._make, self._order)


class _Kind(NamedTuple):
    """What is the same for all findings of a kind."""

    rank: int
    """Of its verdict; 0 is the most telling."""
    verdict: str | None
    errno: str | None
    linux: dict[str, str | None] | None
    reason: str


@cache
def _kind(key: int) -> _Kind:
    """Of a `kind_of`."""
    family, icmp_type, icmp_code = key >> 19, key >> 11 & 0xFF, key >> 3 & 0xFF
    if icmp_type == NO_ERROR:
        return _Kind(_UNKNOWN, None, None, None, ANSWER)
    meaning = meaning_of(family, icmp_type, icmp_code)
    verdict = verdict_of(meaning, itself=bool(key & 4), loop=bool(key & 2), group=bool(key & 1))
    return _Kind(rank_of(verdict), verdict, ERRNO_OF_VERDICT.get(verdict or ""), meaning.linux, meaning.reason)


class _Ranks(dict[int, int]):
    """The rank of each `kind_of`."""

    def __missing__(self, key: int) -> int:
        return self.setdefault(key, _kind(key).rank)


def rank_of(verdict: str | None) -> int:
    """0 for the most telling verdict; for none, more than for any."""
    return VERDICTS.index(verdict) if verdict else _UNKNOWN


def conclude(analyzer: Analyzer, question: Question, *,
             is_final: bool = False) -> tuple[Sequence[Destination], Sequence[Unmatched]]:
    """The destinations, worst first, and the errors whose datagrams nobody saw.

    Args:
        analyzer: who followed the packets.
        question: what is asked.
        is_final: whether nobody needs the analyzer any more; what only followed packets need is gone then.
    """
    conclusion = Conclusion(analyzer, question, is_final=is_final)
    return conclusion.destinations(), conclusion.unmatched()


class Conclusion:
    """What an analyzer's tables say."""

    def __init__(self, analyzer: Analyzer, question: Question, *, is_final: bool = False) -> None:
        self._question = question
        self._by_flow = question.group_by == "flow"
        if is_final:
            analyzer.seal()
        conversations = analyzer.conversations
        endpoints, self._endpoint_rtt = conversations.close() if is_final else conversations.totals()
        analyzer.findings.split_records(endpoints)
        findings, loops, self._rtt = analyzer.findings.table, analyzer.findings.loops, analyzer.findings.rtt
        are_loops = _are_loops(findings, loops, question.loop_ttl)
        if question.group_by in {"host", "reporter"}:
            grouped = _Grouped(endpoints, self._endpoint_rtt, findings, loops, self._rtt, are_loops)
            is_by_host = question.group_by == "host"
            endpoints, self._endpoint_rtt, findings, loops, self._rtt, are_loops = grouped.by(is_by_host=is_by_host)
        self._endpoint_rtt.settle()
        self._rtt.settle()
        self._endpoints, self._loops, self._findings = endpoints, loops, findings
        self._endpoint_words, self._finding_words, self._loop_words = (
            memoryview(endpoints.words), memoryview(findings.words), memoryview(loops.words))
        self._are_loops = are_loops
        self._looping: dict[tuple[int, ...], list[int]] = {}
        """By host, its errors of loops; filled when it is asked for."""
        self._ranking = ranking = Ranking(findings, loops, endpoints, by_flow=self._by_flow)
        ranking.gather(with_answers=question.group_by != "reporter", with_healthy=question.all_destinations)
        ranking.sort(_Ranks(), are_loops, *map(rank_of, ("loop", "answered", "silent")))

    def _finding_subject(self, row: int) -> tuple[int, ...]:
        words, at = self._finding_words, _FINDING * row
        port = words[at + 4] >> 2 & 0x1FFFF
        source_port = words[at + 5] & 0xFFFF if self._by_flow else 0
        return words[at], words[at + 1], port, words[at + 6], words[at + 7], source_port

    def destinations(self) -> Sequence[Destination]:
        """The worst first."""
        return Rows(memoryview(self._ranking.order), self._destination)

    def _kind_of(self, row: int) -> _Kind:
        return _kind(kind_of(self._findings, row, is_loop=row in self._are_loops))

    def _is_of_group(self, row: int) -> bool:
        words, at = self._finding_words, _FINDING * row
        return bool(is_group(words[at], words[at + 1]))

    def _destination(self, number: int) -> Destination:
        ranking = self._ranking
        subject, found, row = ranking.subject(number), ranking.found(number), ranking.endpoint_of[number]
        verdict, address = VERDICTS[ranking.rank(number)], address_text(subject[0], subject[1])
        sent, sent_bytes, _, answered, last_ns, other_port = (
            self._endpoint_words[_ENDPOINT * row + 6:_ENDPOINT * row + 12] if row >= 0 else (0,) * 6)
        port, findings = _port(subject[2]), self._told(found)
        notes = [f"answer-from port {other_port}"] if other_port else []
        if len(found) > MOST_FINDINGS:
            notes.append(f"{len(found) - MOST_FINDINGS} more findings are counted, not listed")
        meaning = self._meaning(subject[:2], last_ns) if verdict == "silent" else None
        case = case_of_verdict(verdict, findings, address, meaning=meaning,
                               answered=answered if port is not None else 0)
        return Destination(
            address=address, port=port, verdict=verdict, errno=ERRNO_OF_VERDICT.get(verdict),
            meaning=meaning, sent=sent, sent_bytes=sent_bytes, answered=answered, errors=ranking.errors(number),
            rtt_ms=_spread(self._endpoint_rtt, row), findings=findings, advice=self._advice(case, address, port),
            notes=tuple(notes),
            source=address_text(subject[3], subject[4]) if self._by_flow else None,
            source_port=subject[5] if self._by_flow and subject[2] < NO_PORT else None)

    def _advice(self, case: Case | None, address: str, port: int | None) -> str | None:
        if self._question.group_by == "reporter":      # the address is not of who was asked, but of who reported
            return sentence(case, [SOME], ANY_HOST)
        return sentence(case, [endpoint_text(address, port)], address)

    def _told(self, found: list[int]) -> tuple[Finding, ...]:
        """Findings of one destination, the worst first."""
        loop = self._loop(found) if self._are_loops or self._loops.size else None
        if len(found) == 1:
            return (self._finding(found[0], loop),)
        return tuple(self._finding(row, loop) for row in nsmallest(MOST_FINDINGS, found, key=self._order))

    def _order(self, row: int) -> tuple[Any, ...]:
        if row >= self._findings.size:
            at = _LOOP * (row - self._findings.size)
            return rank_of("loop"), -self._loop_words[at + 6], "", self._loop_words[at + 7], 0, 0, 0, 0
        words, at = self._finding_words, _FINDING * row
        kind = words[at + 4]
        return (self._kind_of(row).rank, -words[at + 8], address_text(words[at + 2], words[at + 3]), words[at + 9],
                kind >> 28 & 0xFF, kind >> 20 & 0xFF, _mtu(words[at + 5]) or 0, words[at + 5] >> 50)

    def _finding(self, row: int, loop: Loop | None) -> Finding:
        if row >= self._findings.size:
            return self._seen_looping(row - self._findings.size, loop)
        words, at = self._finding_words, _FINDING * row
        packed, kind = words[at + 4], self._kind_of(row)
        family, notes, mtu = packed >> 36 & 0xFF, words[at + 11], _mtu(words[at + 5])
        if packed >> 28 & 0xFF == NO_ERROR:
            return self._answer(row, family, mtu or 0)
        return Finding(
            verdict=kind.verdict, errno=kind.errno, linux=kind.linux, family=family, icmp_type=packed >> 28 & 0xFF,
            icmp_code=packed >> 20 & 0xFF, reason=kind.reason,
            reporter=None if notes & _NO_NEIGHBOUR else self._reporter(row), count=words[at + 8],
            first_time_ns=words[at + 9] - BIAS_NS, last_time_ns=words[at + 10] - BIAS_NS, mtu=mtu,
            match=MATCHES[notes >> 56], rtt_ms=_spread(self._rtt, row), loop=loop if kind.verdict == "loop" else None,
            notes=texts_of(notes & (1 << 48) - 1, words[at + 12], family, words[at + 5] >> 50, mtu) + (
                (GROUP_MEMBER,) if self._is_of_group(row) else ()) + (
                no_neighbour_notes(family, "") if notes & _NO_NEIGHBOUR else ()))

    def _answer(self, row: int, family: int, port: int) -> Finding:
        """The finding that answers came from where nobody had been asked."""
        words, at = self._finding_words, _FINDING * row
        address = self._reporter(row)
        name = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
        return Finding(
            verdict=None, errno=None, linux=None, family=family, icmp_type=None, icmp_code=None, reason=ANSWER,
            reporter=address, count=words[at + 8], first_time_ns=words[at + 9] - BIAS_NS,
            last_time_ns=words[at + 10] - BIAS_NS, mtu=None, match="none", rtt_ms=None, loop=None,
            notes=(f"answer-from {name}, which was not asked: connected sockets drop it",))

    def _reporter(self, row: int) -> str:
        """Who reported a finding. In an IPv6 header, an IPv4-mapped address is what it is."""
        words, at = self._finding_words, _FINDING * row
        return address_text(words[at + 2], words[at + 3], as_ipv4=words[at + 4] >> 36 & 0xFF == 4)

    def _seen_looping(self, row: int, loop: Loop | None) -> Finding:
        """The finding that needs no ICMP error: datagrams that came round."""
        words, at = self._loop_words, _LOOP * row
        return Finding(
            verdict="loop", errno=ERRNO_OF_VERDICT["loop"], linux=None,
            family=4 if words[at] == 0 and words[at + 1] >> 32 == 0xFFFF else 6, icmp_type=None, icmp_code=None,
            reason="no-response", reporter=None, count=words[at + 6], first_time_ns=words[at + 7] - BIAS_NS,
            last_time_ns=words[at + 8] - BIAS_NS, mtu=None, match="none", rtt_ms=None, loop=loop, notes=(SEEN_LOOPING,))

    def _loop(self, found: list[int]) -> Loop | None:
        """The loop behind a destination's errors: its routers in the order they spoke, and its period."""
        size, words = self._findings.size, self._finding_words
        candidates = (row for row in found if row < size and row in self._are_loops)
        rows = nsmallest(MOST_FINDINGS, candidates, key=lambda row: (
            words[_FINDING * row + 9], words[_FINDING * row + 2], words[_FINDING * row + 3]))
        seen = [row - size for row in found if row >= size]
        if not rows and not seen:
            return None
        period = self._loop_words[_LOOP * seen[0] + 9] if seen else _period([_ttls(words, row) for row in rows])
        if period is None and rows:     # a traceroute that takes a port for each probe
            all_ttls = self._ttls_around(rows[0])
            period = _period(list(all_ttls.values()))
            if period:
                return Loop(tuple(all_ttls)[:MOST_ROUTERS], period)
        return Loop(tuple(dict.fromkeys(self._reporter(row) for row in rows))[:MOST_ROUTERS], period)

    def _ttls_around(self, row: int) -> dict[str, list[int]]:
        """By router, the TTLs of all errors of a loop about the host that one is about: in the order of the first."""
        if not self._looping:
            for each in self._are_loops:
                self._looping.setdefault(self._finding_subject(each)[:2], []).append(each)
        found: dict[str, set[int]] = {}
        for each in self._looping[self._finding_subject(row)[:2]]:
            found.setdefault(self._reporter(each), set()).update(_ttls(self._finding_words, each))
        return {name: sorted(ttls) for name, ttls in sorted(found.items(), key=lambda pair: min(pair[1], default=0))}

    def _meaning(self, host: tuple[int, int], asked_ns: int) -> str:
        """What silence says: a host that refused another port would have refused this one too.

        Unless its limit was used up: it refused a burst of datagrams before this one was sent, and none after.
        """
        row = self._refusals.row_of(host)
        if row < 0:
            return "no-evidence"
        count, last_ns = self._refusals.words[4 * row + 2], self._refusals.words[4 * row + 3]
        return "rate-limited" if count >= LEAST_BURST and last_ns < asked_ns else "listening-or-filtered"

    @cached_property
    def _refusals(self) -> Table:
        return refusals(self._findings)

    def unmatched(self) -> Sequence[Unmatched]:
        """The worst first."""
        words = self._finding_words
        rows = [row for row in range(self._findings.size) if not words[_FINDING * row + 4] & 1]
        order = sorted(rows, key=lambda row: (self._order(row), _name(self._finding_subject(row), self._by_flow)))
        return Rows(order, self._unmatched)

    def _unmatched(self, row: int) -> Unmatched:
        high, low, port, source_high, source_low, source_port = self._finding_subject(row)
        source = address_text(source_high, source_low) if self._by_flow else None
        address, finding = address_text(high, low), self._finding(row, None)
        return Unmatched(address, _port(port), finding, source=source,
                         source_port=source_port if self._by_flow and port < NO_PORT else None,
                         advice=self._advice(case_of_finding(finding, address), address, _port(port)))


_IN_TRANSIT = (4 << 16 | 11 << 8, 6 << 16 | 3 << 8)


def _name(subject: tuple[int, ...], by_flow: bool) -> bytes:
    """Sorts subjects by the text of their addresses, then by port."""
    port = subject[2] if subject[2] < NO_PORT else 0
    name = address_text(subject[0], subject[1]).encode() + b"\0" + port.to_bytes(2)
    if by_flow:
        name += address_text(subject[3], subject[4]).encode() + b"\0" + subject[5].to_bytes(2)
    return name


def _port(port: int) -> int | None:
    return port if port < NO_PORT else None


def _mtu(word: int) -> int | None:
    mtu = (word >> 17 & (1 << 33) - 1) - 1
    return mtu if mtu >= 0 else None


def _signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


def _spread(rtt: Histograms, owner: int) -> Spread | None:
    spread = rtt.spread(owner)
    return spread and Spread(spread[0] / NS_PER_MS, spread[1] / NS_PER_MS, spread[2] / NS_PER_MS)


def _ttls(words: memoryview, row: int) -> list[int]:
    """TTLs that a finding's datagrams left with, ascending."""
    at = _FINDING * row + 13
    bits = words[at] | words[at + 1] << 64 | words[at + 2] << 128 | words[at + 3] << 192
    found = []
    while bits:
        found.append((bits & -bits).bit_length() - 1)
        bits &= bits - 1
    return found


def _period(ttl_sets: list[list[int]]) -> int | None:
    """Hops around a loop, from the TTLs at which each of its routers reported; None where they do not tell."""
    step = gcd(*(ttl - ttls[0] for ttls in ttl_sets for ttl in ttls[1:]))
    evenly = any(len(ttls) >= 3 and ttls[-1] - ttls[0] == step * (len(ttls) - 1) for ttls in ttl_sets)
    return step if step and (evenly or step == len(ttl_sets)) else None


def _are_loops(findings: Table, loops: Table, loop_ttl: int, rows: Iterable[int] | None = None) -> set[int]:
    """Rows of findings that are errors of a routing loop; of all, or of those of some destinations.

    A TTL that runs out is no loop by itself: a traceroute does that. It is one if the datagram left with plenty, if
    routers report in a repeating order of TTLs up to the last one, or if the datagram was seen going round.

    A traceroute may take another port for each probe. So where no port of a host tells of a loop, all together may.
    """
    words, found = memoryview(findings.words), set[int]()
    seen: set[tuple[int, ...]] = {tuple(loops.words[_LOOP * row:_LOOP * row + 3]) for row in range(loops.size)}
    candidates: dict[tuple[int, ...], list[int]] = {}
    for row in expired(findings, rows):
        subject = _destination(words, row)
        if subject in seen or (_ttls(words, row) or [0])[-1] >= loop_ttl:
            found.add(row)
        elif not words[_FINDING * row + 4] & 2:    # the destination itself may speak for all who are behind a NAT
            candidates.setdefault(subject, []).append(row)
    if not candidates:
        return found
    spoke = {_destination(words, row) for row in reported_by(
        findings, {candidate[:2] for candidate in candidates}, rows)}
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
    """Those of one destination's errors in transit whose reporters come round and round."""
    reported: dict[int, frozenset[str]] = {}
    of: dict[tuple[int, str], set[int]] = {}
    for row in rows[:MOST_FINDINGS]:     # a loop has few routers
        name = address_text(words[_FINDING * row + 2], words[_FINDING * row + 3])
        for ttl in _ttls(words, row):
            reported[ttl] = reported.get(ttl, frozenset()) | {name}
            of.setdefault((ttl, name), set()).add(row)
    if len(reported) < 3:
        return set()
    back = {ttl: frozenset({ttl}) for ttl in reported}      # unknown: no two alike, and none nearer
    found = find_round(reported, max(reported), back)
    if found is None:
        return set()
    return {row for (ttl, name), some in of.items() if ttl >= found.first_ttl and name in found.routers for row in some}


class _Grouped:
    """Tables by other subjects than destinations: by host, or by who reported."""

    def __init__(self, endpoints: Table, endpoint_rtt: Histograms, findings: Table, loops: Table,
                 rtt: Histograms, are_loops: set[int]) -> None:
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
            owners = [_add_row(endpoints, self._endpoints, row, 6, (6, 7, 8, 9), (10, 11))
                      for row in range(self._endpoints.size)]
            endpoint_rtt.absorb(self._endpoint_rtt, owners or [-1])
            for row in range(self._loops.size):
                _add_loop(loops, self._loops, row)
        return endpoints, endpoint_rtt, findings, loops, rtt, are_loops

    def _add_finding(self, findings: Table, row: int, *, is_by_host: bool) -> int:
        old, at = self._findings.words, _FINDING * row
        packed = old[at + 4] & ~(0x1FFFF << 2) | NO_PORT << 2
        address = (old[at], old[at + 1]) if is_by_host else (old[at + 2], old[at + 3])
        # loops and what only looks like them stay apart: by a bit that no kind has
        kind = packed | (row in self._are_loops) << 19
        key = (*address, old[at + 2], old[at + 3], kind, old[at + 5] >> 17 << 17, 0, 0)
        count = findings.size
        here = findings.add_key(key)
        words, to = findings.words, _FINDING * here
        is_new = here == count
        words[to + 8] += old[at + 8]
        words[to + 9] = old[at + 9] if is_new else min(words[to + 9], old[at + 9])
        words[to + 10] = max(words[to + 10], old[at + 10])
        words[to + 11] = (max(words[to + 11] >> 56, old[at + 11] >> 56) << 56
                          | (words[to + 11] | old[at + 11]) & (1 << 56) - 1)
        words[to + 12] = old[at + 12] if is_new else min(words[to + 12], old[at + 12])
        for place in range(13, 17) if is_by_host else ():     # of several destinations, TTLs say nothing of a period
            words[to + place] |= old[at + place]
        return here


def _add_row(new: Table, old: Table, row: int, key_width: int, sums: tuple[int, ...],
             most: tuple[int, ...]) -> int:
    """Add a row of counters to that of its host."""
    words, width = old.words, old.width
    at = width * row
    here = new.add_key((words[at], words[at + 1], NO_PORT, *[0] * (key_width - 3)))
    to = width * here
    for place in sums:
        new.words[to + place] += words[at + place]
    for place in most:
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


class _Later(Sequence[Row], Generic[Row]):
    """Rows that are looked for when somebody asks for them.

    Who writes events alone never does, and to put a million in order takes half a gigabyte.
    """

    def __init__(self, rows: Callable[[], Sequence[Row]]) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows())

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | Sequence[Row]:
        """One row, or the rows of a slice."""
        return self._rows()[at]

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows())


def report_of(command: str, analyzer: Analyzer, state: SourceState, question: Question, *,
              is_final: bool = False) -> Report:
    """What an analyzer knows, as a report of a command.

    Args:
        command: its name.
        analyzer: whose.
        state: of what it was fed.
        question: what is asked.
        is_final: whether nobody else needs the analyzer: it ends with the report, at the latest.
    """
    concluded = cache(lambda: conclude(analyzer, question, is_final=is_final))
    destinations: Sequence[Destination] = _Later(lambda: concluded()[0])
    unmatched: Sequence[Unmatched] = _Later(lambda: concluded()[1])
    if not is_final:
        destinations, unmatched = concluded()
    has_frames = analyzer.packets > 0
    source = SourceReport(
        kind=state.kind, name=state.name, link_types=tuple(analyzer.link_types()), packets=analyzer.packets,
        bytes=analyzer.bytes, first_time_ns=analyzer.first_ns if has_frames else None,
        last_time_ns=analyzer.last_ns if has_frames else None, dropped=state.dropped, cut_short=state.cut_short,
        unread=tuple(starmap(Unread, state.unread.items())))
    faults: Counter[str] = analyzer.faults() + state.faults
    return Report(command, __version__, source, destinations, unmatched, dict(sorted(faults.items())),
                  question.group_by)


class Events:
    """Makes events of what an analyzer keeps of errors.

    Args:
        analyzer: who kept them.
        loop_ttl: as in `Question`.
        are_loops: findings that are errors of a loop, where that is known.
    """

    def __init__(self, analyzer: Analyzer, loop_ttl: int, are_loops: set[int] | None = None) -> None:
        self._findings = memoryview(analyzer.findings.table.words)
        if are_loops is None:
            are_loops = _are_loops(analyzer.findings.table, analyzer.findings.loops, loop_ttl)
        self._are_loops = are_loops

    def event(self, kept: Kept, row: int) -> Event:
        """The event of one error."""
        match = memoryview(kept.words)[8 * row:8 * row + 8]
        finding = match[6] & 0xFFFF_FFFF
        itself = bool(self._findings[_FINDING * finding + 4] & 2)
        return _event(kept, row, match, itself=itself, is_loop=finding in self._are_loops)


class LoopsSoFar:
    """Which findings are errors of a routing loop, for who asks again and again while findings come in.

    Args:
        analyzer: whose.
        loop_ttl: as in `Question`.
    """

    def __init__(self, analyzer: Analyzer, loop_ttl: int) -> None:
        self._analyzer, self._loop_ttl = analyzer, loop_ttl
        self.forget()

    def forget(self) -> None:
        """Findings have been numbered anew."""
        self._latest: dict[int, int] = {}
        """By hash of a destination, the latest of its findings; a million destinations take 100 MB this way."""
        self._before = array("i")
        """By finding, the one before it with this hash, or -1."""

    def of(self, kept: Kept) -> set[int]:
        """Those among the findings of some errors, and others of the same destinations."""
        table = self._analyzer.findings.table
        words = memoryview(table.words)
        touched = {kept.finding(row) for row in range(kept.rows.size)}
        asked = {_destination(words, row) for row in touched if words[_FINDING * row + 4] >> 20 in _IN_TRANSIT}
        if not asked:
            return set()
        for row in range(len(self._before), table.size):
            key = hash(_destination(words, row))
            self._before.append(self._latest.get(key, -1))
            self._latest[key] = row
        # of any number of reporters a few tell as much, and all of them each time would take longer each time
        rows = touched.union(*(islice(self._findings_of(each, words), MOST_FINDINGS) for each in asked))
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
    """An event an error, in the order in which they were kept.

    Args:
        analyzer: who kept them.
        kept: the errors.
        loop_ttl: as in `Question`.
        are_loops: findings that are errors of a loop, where that is known.
    """
    if are_loops is None:
        are_loops = _are_loops(analyzer.findings.table, analyzer.findings.loops, loop_ttl)
    words, match = memoryview(kept.words), 0
    findings = memoryview(analyzer.findings.table.words)
    for row in range(kept.rows.size):
        match = 8 * row
        finding = words[match + 6] & 0xFFFF_FFFF
        packed = findings[_FINDING * finding + 4]
        yield _event(kept, row, words[match:match + 8], itself=bool(packed & 2), is_loop=finding in are_loops)


def _event(kept: Kept, row: int, match: memoryview, *, itself: bool, is_loop: bool) -> Event:
    packet = kept.rows.packet(row, b"", bytes(0))
    message = kept.message(row)
    group = is_group(*packet.destination)
    kind = _kind(packet.family << 19 | packet.icmp_type << 11 | packet.icmp_code << 3
                 | itself << 2 | is_loop << 1 | group)
    objects, more = extensions_of(message, packet.family) if message else (None, Note(0))
    sureness, evidence = match[0] >> 8 & 0xFF, match[0] >> 16 & 0xFF
    rtt_ns = packet.time_ns - _signed(match[5])
    length = packet.length
    if length >= 1 << 20 and sureness:
        udp_length = match[1] >> 32 & 0xFFFF
        if udp_length >= 8 and not match[1] & 2:
            length = udp_length + (20 if packet.quoted_family == 4 else 40)
    quoted, mtu, tunnel = quoted_of(packet), packet.mtu if packet.mtu >= 0 else None, packet.tunnel_bytes
    notes = packet.notes | match[2] | more | mtu_notes(packet.family, packet.mtu, length + tunnel)
    reporter: str | None = address_text(*packet.reporter, as_ipv4=packet.family == 4)
    texts = texts_of(notes, length, packet.family, tunnel, mtu)
    texts += (GROUP_MEMBER,) if group else ()
    is_own = (packet.family, packet.icmp_type, packet.icmp_code) in NO_NEIGHBOUR and packet.reporter == packet.source
    if is_own:
        reporter, texts = None, texts + no_neighbour_notes(packet.family, "")
    return Event(
        frame=packet.frame, time_ns=packet.time_ns, family=packet.family, type=packet.icmp_type,
        code=packet.icmp_code, verdict=kind.verdict, errno=kind.errno, linux=kind.linux, reason=kind.reason,
        reporter=reporter, mtu=mtu, quoted=quoted,
        match=MATCHES[sureness], matched_frame=match[4] or None,
        rtt_ms=rtt_ns / NS_PER_MS if sureness and not is_own and 0 <= rtt_ns <= 300_000_000_000 else None,
        extensions=objects, notes=texts,
        match_evidence=tuple(name for bit, name in enumerate(EVIDENCE) if evidence >> bit & 1),
        advice=advice_about(quoted, kind.verdict, kind.reason, reporter, family=packet.family, mtu=mtu, notes=texts))
