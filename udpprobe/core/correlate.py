"""For each ICMP error the datagram that caused it.

Every datagram is kept as five words for a while; when errors are to be resolved, a bitmap of the endpoints
they quote picks out the few datagrams that can matter, and those are joined with the errors, the strictest
way first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.keys import columns_key, endpoint_key, pair_key
from udpprobe.core.lookup import Bitmap, latest_before
from udpprobe.core.mtu import mtu_notes, sent_length
from udpprobe.core.notes import Note
from udpprobe.core.packets import FRAGMENTED, TUNNELLED, Columns, Datagrams, Errors, u64

HORIZON = 1 << 20
"""So many datagrams before an error, at least, are looked through for its own."""

SMALL = 1 << 12
"""Segments of fewer rows are joined with the one before."""

MATCHES = ("none", "rewritten", "flow", "exact")
"""How sure a match is, least first; columns hold the position in here."""
NONE, REWRITTEN, FLOW, EXACT = range(4)


@dataclass(slots=True)
class Sent(Columns):
    """(n,) datagrams as the log keeps them."""

    destination: U64
    """Endpoint keys."""
    source: U64
    detail: U64
    frame: I64
    time_ns: I64


@dataclass(slots=True)
class Fragmented(Columns):
    """(n,) fragmented datagrams, which a later fragment's quote names by addresses and id only."""

    key: U64
    frame: I64
    time_ns: I64
    detail: U64
    ports: U64


@dataclass(slots=True)
class Matches(Columns):
    """(n,) what was found for each error."""

    match: I64
    """Position in `MATCHES`."""
    frame: I64
    """The datagram's frame, 0 for none."""
    time_ns: I64
    detail: U64
    ports: U64
    """Of the datagram: the quote may lack them."""
    notes: I64
    length: I64
    """Bytes of the datagram's IP packet, or UNKNOWN_LENGTH."""


class Log:
    """The datagrams of late."""

    def __init__(self, horizon: int = HORIZON) -> None:
        self._horizon = horizon
        self._segments: list[Sent] = []
        self._old = 0
        """So many segments were there when errors were last resolved."""
        self._fragmented: list[Fragmented] = []
        self.rows = 0
        """Datagrams that came since errors were last resolved."""

    def feed(self, datagrams: Datagrams, source: U64, destination: U64) -> None:
        """Remember (n,) datagrams, copies too: an error's is the one seen last before it."""
        self.rows += len(datagrams)
        new = Sent(destination, source, datagrams.detail, datagrams.frame, datagrams.time_ns)
        if self._segments and len(new) < SMALL and len(self._segments[-1]) < SMALL:
            new = Sent.concatenate([self._segments.pop(), new])
        self._segments.append(new)
        self._remember_fragmented(datagrams)

    def _remember_fragmented(self, datagrams: Datagrams) -> None:
        rows = np.flatnonzero(datagrams.detail & FRAGMENTED)
        if len(rows) == 0:
            return
        some = datagrams.take(rows)
        self._fragmented.append(Fragmented(
            _fragment_key(some), some.frame, some.time_ns, some.detail, some.ports))
        self._fragmented = [Fragmented.concatenate(self._fragmented).take(slice(-self._horizon, None))]

    def resolve(self, errors: Errors) -> Matches:
        """Find the datagram of each error, and forget those that are too old for any later one."""
        found = Matches(match=np.full(len(errors), NONE), frame=np.zeros_like(errors.frame),
                        time_ns=np.zeros_like(errors.time_ns), detail=errors.detail.copy(),
                        ports=errors.ports.copy(), notes=errors.notes.copy(), length=errors.length)
        if len(errors):
            later = (errors.notes & Note.QUOTES_LATER_FRAGMENT) > 0
            self._match_datagrams(errors, found, np.flatnonzero(errors.notes & Note.NO_PORTS == 0))
            self._match_fragmented(errors, found, np.flatnonzero(later))
            found.length = sent_length(errors, found.detail)
            found.notes |= mtu_notes(errors, found.length)
        self._trim()
        return found

    def _trim(self) -> None:
        kept = self._horizon
        for i in range(len(self._segments) - 1, -1, -1):
            if kept <= 0:
                del self._segments[:i + 1]
                break
            kept -= len(self._segments[i])
        self._old = max(len(self._segments) - 1, 0)  # the last one may still grow
        self.rows = 0

    def _match_datagrams(self, errors: Errors, found: Matches, rows: I64) -> None:
        """Try one level after the other on the errors that are still without a datagram."""
        quotes = errors.take(rows)
        asked = Sent(endpoint_key(quotes.destination_high, quotes.destination_low, quotes.ports & PORT),
                     endpoint_key(quotes.source_high, quotes.source_low, quotes.ports >> u64(16)),
                     quotes.detail, quotes.frame, quotes.time_ns)
        latest = _among(self._segments[self._old:], ALL_AGREE.key, ALL_AGREE.key(asked))
        _try(ALL_AGREE, latest, quotes, asked, (found, rows))
        still = np.flatnonzero(found.match[rows] == NONE)
        if len(still) == 0:
            return
        candidates = _among(self._segments, _destination, asked.destination[still])
        for level in LEVELS:
            _try(level, candidates, quotes, asked, (found, rows))

    def _match_fragmented(self, errors: Errors, found: Matches, rows: I64) -> None:
        """Errors that quote a later fragment, by addresses and id."""
        if len(rows) == 0 or not self._fragmented:
            return
        known, quotes = self._fragmented[0], errors.take(rows)
        best = latest_before(known.key, known.frame, _fragment_key(quotes), quotes.frame)
        hit = best >= 0
        rows, best = rows[hit], best[hit]
        found.match[rows], found.frame[rows], found.time_ns[rows] = EXACT, known.frame[best], known.time_ns[best]
        found.detail[rows], found.ports[rows] = known.detail[best], known.ports[best]


@dataclass(frozen=True, slots=True)
class Level:
    """One way to recognise a datagram in a quote."""

    fields: np.uint64
    """Bits of `detail` that must agree."""
    source: bool = True
    """Whether the source endpoint must agree; the destination always must."""
    idless: bool = False
    """Whether quotes without an id may be recognised this way."""
    swapped: bool = False
    note: int = 0

    def applies(self, quotes: Errors) -> Bool:
        """Which quotes have what this level asks for; an id has to make up for a changed source."""
        nonzero = quotes.detail & ID > 0
        return nonzero | self.idless | (self.source & (quotes.family == 4))

    def match(self, quotes: Errors) -> I64:
        """How sure a match of each quote at this level is."""
        if not self.source:
            return np.full(len(quotes), REWRITTEN)
        by_id = ((quotes.detail & ID > 0) | (quotes.family == 4)) & (self.fields & ID > 0)
        return np.where(by_id, EXACT, FLOW)

    def key(self, sent: Sent, *, swap_id: bool = False) -> U64:
        """(n,) equal where two rows agree in what this level asks for."""
        detail = sent.detail
        if swap_id:
            identity = detail >> u64(48)
            detail = (identity & u64(0xFF)) << u64(56) | (identity >> u64(8)) << u64(48) | detail & ~ID
        key = pair_key(sent.destination, detail & self.fields)
        return pair_key(sent.source, key) if self.source else key


PORT = u64(0xFFFF)
ID, LENGTH, CHECKSUM = u64(0xFFFF << 48), u64(0xFFFF << 32), u64(0xFFFF << 16)
SUMS = LENGTH | CHECKSUM

ALL_AGREE = Level(ID | SUMS | TUNNELLED, idless=True)
"""What nearly every error agrees in with its datagram, which nearly always came just before: tried first."""

LEVELS = (
    ALL_AGREE,
    Level(ID | SUMS),
    Level(ID | TUNNELLED),
    Level(ID),
    Level(ID, swapped=True, note=Note.IP_ID_SWAPPED),
    Level(SUMS | TUNNELLED, idless=True),
    Level(SUMS, idless=True),
    Level(TUNNELLED, idless=True),
    Level(u64(0), idless=True),
    Level(ID | LENGTH, source=False, note=Note.SOURCE_REWRITTEN),
)
"""Strictest first. A checksum only breaks ties: offloading leaves it half computed, a NAT changes it."""


def _fragment_key(some: Datagrams | Errors) -> U64:
    return columns_key([some.source_high, some.source_low, some.destination_high, some.destination_low,
                        some.detail >> u64(48)])


def _among(segments: list[Sent], key: Callable[[Sent], U64], wanted: U64) -> Sent:
    """Datagrams with any of the wanted keys, and a few others; those of a flow in the order of frames."""
    bitmap = Bitmap(wanted)
    picked = [segment.take(np.flatnonzero(bitmap.has(key(segment)))) for segment in segments]
    none = np.empty(0, np.uint64)
    return Sent.concatenate([*picked, Sent(none, none, none, none.view(np.int64), none.view(np.int64))])


def _destination(sent: Sent) -> U64:
    return sent.destination


def _try(level: Level, candidates: Sent, quotes: Errors, asked: Sent, result: tuple[Matches, I64]) -> None:
    """Give the errors that are still without a datagram the latest one that agrees with them at this level."""
    found, rows = result
    still = np.flatnonzero((found.match[rows] == NONE) & level.applies(quotes))
    if len(still) == 0 or len(candidates) == 0:
        return
    wanted = level.key(asked.take(still), swap_id=level.swapped)
    keys = level.key(candidates)
    near = np.flatnonzero(Bitmap(wanted).has(keys))
    best = latest_before(keys[near], candidates.frame[near], wanted, asked.frame[still])
    hit = best >= 0
    still, best = still[hit], near[best[hit]]
    hit_rows = rows[still]
    found.match[hit_rows] = level.match(quotes.take(still))
    found.frame[hit_rows], found.time_ns[hit_rows] = candidates.frame[best], candidates.time_ns[best]
    found.detail[hit_rows] = candidates.detail[best]
    found.notes[hit_rows] |= level.note
