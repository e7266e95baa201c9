"""Rows of a report, made from the core's counters on demand.

There may be a million destinations, most of which differ only in a few values: address, counters, times. A writer of
text need not make an object of each. It makes the text of one `sample` per `shape`, with marks in place of the values
that differ (see `core.stencils`).
"""

from __future__ import annotations

from functools import cache
from heapq import nsmallest
from math import gcd
from typing import TYPE_CHECKING, Any, NamedTuple

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

from udpprobe.core.addresses import address_text, is_group
from udpprobe.core.advice import (
    ANSWER,
    Case,
    advice_by_reporter,
    case_by_reporter,
    case_of_finding,
    case_of_verdict,
    sentence,
)
from udpprobe.core.findings import BIAS_NS, NO_PORT
from udpprobe.core.histogram import Histograms
from udpprobe.core.model import Destination, Finding, Loop, Spread, Unmatched, answer_from, without_error
from udpprobe.core.notes import GROUP_MEMBER, no_neighbour_notes, texts_of
from udpprobe.core.ranking import NO_ERROR, Ranking, kind_of, refusals
from udpprobe.core.recent import MATCHES
from udpprobe.core.stencils import Filler, rounded
from udpprobe.core.table import Table
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, VERDICTS, meaning_of, verdict_of
from udpprobe.endpoints import endpoint_text

if TYPE_CHECKING:
    from collections.abc import Collection

SEEN_LOOPING = "seen looping: the same datagram again, its TTL lower each time"

LEAST_BURST = 6
"""Smallest burst of ICMP errors that a known host sends before it limits them: Linux, 6 to one address."""

MOST_ROUTERS = 32
"""Routers of a loop that each of its findings names. Few loops have more than ten. Forged errors come from any number
of addresses; naming all of them in each finding would make a report quadratic in its capture."""

MOST_FINDINGS = 1000
"""Findings that are listed per destination, worst first: forged errors come from any number of reporters. All are
counted."""

NS_PER_MS = 1e6
UNKNOWN_RANK = len(VERDICTS)
"""Rank of a finding without a verdict."""

_FINDING = cython.declare(cython.const[index], 17)
_LOOP = cython.declare(cython.const[index], 10)
_ENDPOINT = cython.declare(cython.const[index], 12)
_SUBJECT = cython.declare(cython.const[index], 6)
_NOTE_BITS = cython.declare(cython.const[u64], (1 << 48) - 1)
_MTU_BITS = cython.declare(cython.const[u64], (1 << 33) - 1)
_PORTS = cython.declare(cython.const[u64], 1 << 16)
_MAPPED = cython.declare(cython.const[u64], 0xFFFF)
_NO_NEIGHBOUR = cython.declare(cython.const[u64], 1 << 20)
_MTU_ZERO = cython.declare(cython.const[u64], 512)


class FindingKind(NamedTuple):
    """What all findings of a kind share."""

    rank: int
    """Rank of its verdict; 0 is the most telling."""
    verdict: str | None
    errno: str | None
    linux: dict[str, str | None] | None
    reason: str


@cache
def kind_by(key: int) -> FindingKind:
    """Unpack a `kind_of`."""
    family, icmp_type, icmp_code = key >> 19, key >> 11 & 0xFF, key >> 3 & 0xFF
    if icmp_type == NO_ERROR:
        return FindingKind(UNKNOWN_RANK, None, None, None, ANSWER)
    meaning = meaning_of(family, icmp_type, icmp_code)
    verdict = verdict_of(meaning, itself=bool(key & 4), loop=bool(key & 2), group=bool(key & 1))
    return FindingKind(rank_of(verdict), verdict, ERRNO_OF_VERDICT.get(verdict or ""), meaning.linux, meaning.reason)


class Ranks(dict[int, int]):
    """The rank of each `kind_of`, computed on demand."""

    def __missing__(self, key: int) -> int:
        return self.setdefault(key, kind_by(key).rank)


def rank_of(verdict: str | None) -> int:
    """0 for the most telling verdict; without a verdict, higher than any."""
    return VERDICTS.index(verdict) if verdict else UNKNOWN_RANK


_SILENT = rank_of("silent")
_MARKS: tuple[Any, ...] = ("<m10>", "<m11>", "<m12>")
_FINDING_MARKS: tuple[Any, ...] = ("<m18>", "<m19>", "<m20>")


@cython.final
@cython.cclass
class Destinations:
    """Makes the rows of a report.

    Args:
        ranking: sorted.
        findings: of `Findings`, or grouped.
        loops: of `Findings`, or grouped.
        endpoints: of `Conversations.totals`, or grouped.
        endpoint_rtt: by rows of endpoints, settled.
        rtt: by findings, settled.
        are_loops: findings that are errors of a routing loop.
        group_by: as in a report's question.
    """

    def __init__(
        self,
        ranking: Ranking,
        findings: Table,
        loops: Table,
        endpoints: Table,
        endpoint_rtt: Histograms,
        rtt: Histograms,
        are_loops: Collection[int],
        *,
        group_by: str,
    ) -> None:
        self.ranking, self.findings, self.loops, self.endpoints = ranking, findings, loops, endpoints
        self.endpoint_rtt, self.rtt, self.are_loops = endpoint_rtt, rtt, are_loops
        self.by_flow, self.by_reporter = group_by == "flow", group_by == "reporter"
        self._looping: dict[tuple[int, ...], list[int]] = {}  # by host, the errors of its loops; filled on demand
        self._refusals: Table | None = None

    def destination(self, number: int) -> Destination:
        """The destination with this number in the ranking."""
        own, found = self._own(number), self.ranking.found(number)
        loop = self._loop(found) if self.are_loops or self.loops.size else None
        listed = found if len(found) == 1 else nsmallest(MOST_FINDINGS, found, key=self._order)
        return self._made(number, own, tuple([self._finding(row, loop, self._finding_values(row)) for row in listed]))

    # ---- rows that are alike

    def shape(self, number: index) -> tuple[object, ...] | None:
        """Everything in a destination's row but the values that differ between similar rows; None for a rare shape.

        It must cover all that `_made` and `_finding` depend on, other than those values.
        """
        ranking: Ranking = self.ranking
        at: index = _SUBJECT * number
        first: index = ranking.starts[number]
        last: index = ranking.starts[number + 1]
        endpoint: index = ranking.endpoint_of[number]
        high: u64 = ranking.subjects.words[at]
        low: u64 = ranking.subjects.words[at + 1]
        is_mapped: cython.bint = high == 0 and low >> 32 == _MAPPED
        kind: u64 = 0
        notes: u64 = 0
        mtu: u64 = 0
        length: u64 = 0
        has_rtt: cython.bint = False
        is_own: cython.bint = False  # the reporter is the row's own address
        if last > first:
            row: index = ranking.found_rows[first]
            if last > first + 1 or row >= self.findings.size or (self.are_loops and row in self.are_loops):
                return None
            there: index = _FINDING * row
            packed: u64 = self.findings.words[there + 4]
            if packed >> 28 & 0xFF == 0 or (packed >> 36 & 0xFF != 4 and (is_mapped or self._is_ipv4(there + 2))):
                return None
            kind, notes = kind_of(self.findings, row, False), self.findings.words[there + 11]
            mtu = self.findings.words[there + 5] >> 17
            length = self.findings.words[there + 12] if notes & _MTU_ZERO else 0
            has_rtt = self.rtt.has(row)
            is_own = self.findings.words[there + 2] == high and self.findings.words[there + 3] == low
        rank: index = ranking.rank(number)
        answered: u64 = 0
        last_to_ns: u64 = 0
        other_port: u64 = 0
        if endpoint >= 0:
            answered = self.endpoints.words[_ENDPOINT * endpoint + 9]
            last_to_ns = self.endpoints.words[_ENDPOINT * endpoint + 10]
            other_port = self.endpoints.words[_ENDPOINT * endpoint + 11]
        flags: index = (
            is_own << 6
            | (last > first) << 5
            | has_rtt << 4
            | self.endpoint_rtt.has(endpoint) << 3
            | (answered > 0) << 2
            | is_mapped << 1
            | (ranking.subjects.words[at + 2] < _PORTS)
        )
        meaning = self._meaning(high, low, last_to_ns) if rank == _SILENT else None
        return rank, flags, kind, notes, mtu, length, other_port, meaning

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _is_ipv4(self, at: index) -> cython.bint:
        """Whether the address at a place in a finding is IPv4."""
        return self.findings.words[at] == 0 and self.findings.words[at + 1] >> 32 == _MAPPED

    def sample(self, number: index) -> Destination:
        """The row of a destination that has a shape, with a mark for each value that isn't missing.

        The marks are those of `core.stencils`; `put_values` writes the values.
        """
        own = self._own(number)
        port, source, source_port, answered, rtt = own[1], own[2], own[3], own[6], own[8]
        # an address's text depends on its family, and the notes on whether it reported the error
        address = "<a:0>" if ":" in own[0] else "<a0>"
        marks = (
            address,
            None if port is None else "<n2>",
            source and "<a3>",
            None if source_port is None else "<n5>",
            "<n6>",
            "<n7>",
            answered and "<n8>",
            "<n9>",
            rtt and Spread(*_MARKS),
        )
        first: index = self.ranking.starts[number]
        if self.ranking.starts[number + 1] == first:
            return self._made(number, marks, ())
        row: index = self.ranking.found_rows[first]
        values = self._finding_values(row)
        reporter, rtt = values[0], values[4]
        reporter = reporter and (address if reporter == own[0] else "<a13>")
        finding = self._finding(row, None, (reporter, "<n15>", "<t16>", "<t17>", rtt and Spread(*_FINDING_MARKS)))
        return self._made(number, marks, (finding,))

    def put_values(self, number: index, filler: Filler) -> None:
        """Write the values of a destination that has a shape into `filler.words`."""
        at: index = _SUBJECT * number
        endpoint: index = _ENDPOINT * self.ranking.endpoint_of[number]
        first: index = self.ranking.starts[number]
        place: index
        for place in range(6):  # address and port; of a flow, its source too
            filler.words[place] = self.ranking.subjects.words[at + place]
        filler.words[6] = filler.words[7] = filler.words[8] = 0
        if endpoint >= 0:
            filler.words[6], filler.words[7] = self.endpoints.words[endpoint + 6], self.endpoints.words[endpoint + 7]
            filler.words[8] = self.endpoints.words[endpoint + 9]
            self._put_spread(filler, 10, self.endpoint_rtt, self.ranking.endpoint_of[number])
        filler.words[9] = self.ranking.errors(number)
        if self.ranking.starts[number + 1] > first:
            at = _FINDING * self.ranking.found_rows[first]
            filler.words[13], filler.words[14] = self.findings.words[at + 2], self.findings.words[at + 3]
            for place in range(3):
                filler.words[15 + place] = self.findings.words[at + 8 + place]
            self._put_spread(filler, 18, self.rtt, self.ranking.found_rows[first])

    def _put_spread(self, filler: Filler, place: index, rtt: Histograms, owner: index) -> None:
        if not rtt.has(owner):
            return
        at: index = rtt.starts[owner]
        if rtt.starts[owner + 1] == rtt.starts[owner] + 1:
            filler.words[place] = filler.words[place + 1] = filler.words[place + 2] = rtt.values[at]
            return
        for each in rtt.spread(owner) or ():
            filler.words[place] = round(rounded(each / NS_PER_MS) * NS_PER_MS)
            place += 1

    def _own(self, number: index) -> tuple[Any, ...]:
        """The destination's values that belong to no finding."""
        words = self.ranking.subjects.words
        at: index = _SUBJECT * number
        endpoint: index = self.ranking.endpoint_of[number]
        has_port: cython.bint = words[at + 2] < _PORTS
        address, port = address_text(words[at], words[at + 1]), words[at + 2] if has_port else None
        source = source_port = None
        if self.by_flow:
            source, source_port = address_text(words[at + 3], words[at + 4]), words[at + 5] if has_port else None
        errors = self.ranking.errors(number)
        if endpoint < 0:  # no datagram to it was captured
            return address, port, source, source_port, 0, 0, 0, errors, None
        counters = self.endpoints.words
        at = _ENDPOINT * endpoint
        return (
            address,
            port,
            source,
            source_port,
            counters[at + 6],
            counters[at + 7],
            counters[at + 9],
            errors,
            _spread(self.endpoint_rtt, endpoint),
        )

    def _finding_values(self, row: index) -> tuple[Any, ...]:
        """The values of a finding."""
        if row >= self.findings.size:
            at: index = _LOOP * (row - self.findings.size)
            loops = self.loops.words
            return None, loops[at + 6], loops[at + 7] - BIAS_NS, loops[at + 8] - BIAS_NS, None
        words = self.findings.words
        at = _FINDING * row
        first_ns = words[at + 9] - BIAS_NS
        last_ns = first_ns if words[at + 9] == words[at + 10] else words[at + 10] - BIAS_NS
        reporter = None if words[at + 11] & _NO_NEIGHBOUR else self._reporter(row)
        return reporter, words[at + 8], first_ns, last_ns, _spread(self.rtt, row)

    # ---- one row

    def _made(self, number: index, own: tuple[Any, ...], findings: tuple[Finding, ...]) -> Destination:
        """Make a destination from its values and findings."""
        address, port, source, source_port, sent, sent_bytes, answered, errors, rtt = own
        ranking: Ranking = self.ranking
        verdict = VERDICTS[ranking.rank(number)]
        endpoint: index = ranking.endpoint_of[number]
        count: index = ranking.starts[number + 1] - ranking.starts[number]
        at: index = _ENDPOINT * endpoint
        other_port = self.endpoints.words[at + 11] if endpoint >= 0 else 0
        notes = [f"answer-from port {other_port}"] if other_port else []
        if count > MOST_FINDINGS:
            notes.append(f"{count - MOST_FINDINGS} more findings are counted, not listed")
        meaning = None
        if verdict == "silent":
            words = ranking.subjects.words
            meaning = self._meaning(
                words[_SUBJECT * number],
                words[_SUBJECT * number + 1],
                self.endpoints.words[at + 10] if endpoint >= 0 else 0,
            )
        case = (
            case_by_reporter(verdict, findings)
            if self.by_reporter
            else case_of_verdict(
                verdict, findings, address, meaning=meaning, answered=answered if port is not None else 0
            )
        )
        return Destination(
            address=address,
            port=port,
            verdict=verdict,
            errno=ERRNO_OF_VERDICT.get(verdict),
            meaning=meaning,
            sent=sent,
            sent_bytes=sent_bytes,
            answered=answered,
            errors=errors,
            rtt_ms=rtt,
            findings=findings,
            notes=tuple(notes),
            source=source,
            source_port=source_port,
            advice=self._advice(case, address, port),
        )

    def _advice(self, case: Case | None, address: str, port: Any) -> str | None:  # noqa: ANN401 - it may be a mark
        if self.by_reporter:  # the address is the reporter's, not the destination's
            return advice_by_reporter(case, address)
        return sentence(case, [endpoint_text(address, port)], address)

    def _meaning(self, high: u64, low: u64, last_to_ns: u64) -> str:
        """What silence means in a capture. A host that refused another port would have refused this one too.

        The exception is a host whose rate limit was used up: it refused a burst of datagrams before this one was sent,
        and none after. `scanning.outcome._meaning` judges silence in a scan. It is a separate rule because a scan knows
        more than the order of packets: it probes ports that are surely closed, and learns each host's limit.
        """
        if self._refusals is None:
            self._refusals = refusals(self.findings)
        row: index = self._refusals.row_of((high, low))
        if row < 0:
            return "no-evidence"
        count, last_ns = self._refusals.words[4 * row + 2], self._refusals.words[4 * row + 3]
        return "rate-limited" if count >= LEAST_BURST and last_ns < last_to_ns else "listening-or-filtered"

    # ---- findings

    def _kind_of(self, row: index) -> FindingKind:
        return kind_by(kind_of(self.findings, row, row in self.are_loops))

    def _order(self, row: index) -> tuple[Any, ...]:
        """Sort key of a destination's findings, and of unmatched errors."""
        if row >= self.findings.size:
            loops, loop = self.loops.words, _LOOP * (row - self.findings.size)
            return rank_of("loop"), -int(loops[loop + 6]), "", loops[loop + 7], 0, 0, 0, 0
        words, at = self.findings.words, _FINDING * row
        kind: u64 = words[at + 4]
        return (
            self._kind_of(row).rank,
            -int(words[at + 8]),
            address_text(words[at + 2], words[at + 3]),
            words[at + 9],
            kind >> 28 & 0xFF,
            kind >> 20 & 0xFF,
            _mtu(words[at + 5]) or 0,
            words[at + 5] >> 50,
        )

    def _finding(self, row: index, loop: Loop | None, values: tuple[Any, ...]) -> Finding:
        """Make a finding; `values` are its values."""
        reporter, count, first_ns, last_ns, rtt = values
        if row >= self.findings.size:
            return self._seen_looping(row, loop, values)
        words = self.findings.words
        at: index = _FINDING * row
        packed: u64 = words[at + 4]
        notes: u64 = words[at + 11]
        kind, family, mtu = self._kind_of(row), packed >> 36 & 0xFF, _mtu(words[at + 5])
        if packed >> 28 & 0xFF == 0:  # an answer from an address or port that was not asked
            return answer_from(
                family,
                reporter,
                count,
                first_ns,
                last_ns,
                f"{endpoint_text(reporter, mtu or 0)}, to which nothing was sent: connected sockets drop it",
            )
        texts = texts_of(notes & _NOTE_BITS, words[at + 12], family, words[at + 5] >> 50, mtu)
        if is_group(words[at], words[at + 1]):
            texts += (GROUP_MEMBER,)
        if notes & _NO_NEIGHBOUR:
            texts += no_neighbour_notes(family, "")
        return Finding(
            verdict=kind.verdict,
            errno=kind.errno,
            linux=kind.linux,
            family=family,
            icmp_type=packed >> 28 & 0xFF,
            icmp_code=packed >> 20 & 0xFF,
            reason=kind.reason,
            reporter=reporter,
            count=count,
            first_time_ns=first_ns,
            last_time_ns=last_ns,
            mtu=mtu,
            match=MATCHES[notes >> 56],
            rtt_ms=rtt,
            loop=loop if kind.verdict == "loop" else None,
            notes=texts,
        )

    def _reporter(self, row: index) -> str:
        """Address of a finding's reporter. An IPv4-mapped address in an IPv6 header is shown as such."""
        words, at = self.findings.words, _FINDING * row
        return address_text(words[at + 2], words[at + 3], as_ipv4=words[at + 4] >> 36 & 0xFF == 4)

    def _seen_looping(self, row: index, loop: Loop | None, values: tuple[Any, ...]) -> Finding:
        """The finding for a loop that the capture shows without an ICMP error."""
        words, at = self.loops.words, _LOOP * (row - self.findings.size)
        _, count, first_ns, last_ns, _ = values
        family = 4 if words[at] == 0 and words[at + 1] >> 32 == _MAPPED else 6
        return without_error(family, "no-response", count, (first_ns, last_ns), SEEN_LOOPING, verdict="loop", loop=loop)

    # ---- loops

    def _loop(self, found: list[int]) -> Loop | None:
        """The loop behind a destination's errors: its routers in the order of their first report, and its period."""
        size = self.findings.size
        words = memoryview(self.findings.words)
        candidates = [row for row in found if row < size and row in self.are_loops]
        rows = nsmallest(
            MOST_FINDINGS, candidates, key=lambda row: (words[17 * row + 9], words[17 * row + 2], words[17 * row + 3])
        )
        seen = [row - size for row in found if row >= size]
        if not rows and not seen:
            return None
        period = self.loops.words[_LOOP * seen[0] + 9] if seen else period_of([ttls_of(words, row) for row in rows])
        if period is None and rows:  # a traceroute that uses a port per probe
            all_ttls = self._ttls_around(rows[0])
            period = period_of(list(all_ttls.values()))
            if period:
                return Loop(tuple(all_ttls)[:MOST_ROUTERS], period)
        return Loop(tuple(dict.fromkeys([self._reporter(row) for row in rows]))[:MOST_ROUTERS], period)

    def _ttls_around(self, row: int) -> dict[str, list[int]]:
        """By router, the TTLs of all loop errors about the host of `row`, in the order of the first error."""
        words = memoryview(self.findings.words)
        if not self._looping:
            for each in self.are_loops:
                self._looping.setdefault((words[17 * each], words[17 * each + 1]), []).append(each)
        found: dict[str, set[int]] = {}
        for each in self._looping[words[17 * row], words[17 * row + 1]]:
            found.setdefault(self._reporter(each), set()).update(ttls_of(words, each))
        return {name: sorted(ttls) for name, ttls in sorted(found.items(), key=lambda pair: min(pair[1], default=0))}

    # ---- errors whose datagrams were not captured

    def unmatched(self, row: index) -> Unmatched:
        """One such error, by its finding."""
        words, at = self.findings.words, _FINDING * row
        port: u64 = words[at + 4] >> 2 & 0x1FFFF
        has_port: cython.bint = port < _PORTS
        address, finding = address_text(words[at], words[at + 1]), self._finding(row, None, self._finding_values(row))
        number = port if has_port else None
        source = address_text(words[at + 6], words[at + 7]) if self.by_flow else None
        case = case_by_reporter(finding.verdict, (finding,)) if self.by_reporter else case_of_finding(finding, address)
        return Unmatched(
            address,
            number,
            finding,
            source=source,
            source_port=words[at + 5] & 0xFFFF if self.by_flow and has_port else None,
            advice=self._advice(case, address, number),
        )

    def unmatched_order(self) -> list[int]:
        """Findings of such errors, worst first."""
        words = memoryview(self.findings.words)
        rows = [row for row in range(self.findings.size) if not words[17 * row + 4] & 1]
        return sorted(rows, key=lambda row: (self._order(row), self._name(row)))

    def _name(self, row: index) -> bytes:
        """Sort key: the text of the address, then the port."""
        words, at = self.findings.words, _FINDING * row
        port: u64 = words[at + 4] >> 2 & 0x1FFFF
        name = address_text(words[at], words[at + 1]).encode() + b"\0" + int(port if port < NO_PORT else 0).to_bytes(2)
        if self.by_flow:
            source_port = int(words[at + 5] & 0xFFFF)
            name += address_text(words[at + 6], words[at + 7]).encode() + b"\0" + source_port.to_bytes(2)
        return name


def _mtu(word: u64) -> int | None:
    mtu = int(word >> 17 & _MTU_BITS) - 1
    return mtu if mtu >= 0 else None


def _spread(rtt: Histograms, owner: index) -> Spread | None:
    spread = rtt.spread(owner)
    if spread is None:
        return None
    least, median, most = spread
    return Spread(least / NS_PER_MS, median / NS_PER_MS, most / NS_PER_MS)


def ttls_of(words: memoryview, row: int) -> list[int]:
    """TTLs of a finding's datagrams, ascending."""
    at = 17 * row + 13
    bits = words[at] | words[at + 1] << 64 | words[at + 2] << 128 | words[at + 3] << 192
    found = []
    while bits:
        found.append((bits & -bits).bit_length() - 1)
        bits &= bits - 1
    return found


def period_of(ttl_sets: list[list[int]]) -> int | None:
    """Hops in a loop, from the TTLs at which each of its routers reported; None if they do not determine it."""
    step = gcd(*[ttl - ttls[0] for ttls in ttl_sets for ttl in ttls[1:]])
    evenly = any(len(ttls) >= 3 and ttls[len(ttls) - 1] - ttls[0] == step * (len(ttls) - 1) for ttls in ttl_sets)
    return step if step and (evenly or step == len(ttl_sets)) else None
