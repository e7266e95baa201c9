"""For each ICMP error the datagram that caused it.

Every datagram is kept as five words for a while; when errors are to be resolved, a bitmap of the endpoints
they quote picks out the few datagrams that can matter, and those are joined with the errors, the strictest
way first.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.correlation.levels import ALL_AGREE, EXACT, LEVELS, NONE, NOTES, PORT, Sent
from udpprobe.core.correlation.ordinals import Ordinals
from udpprobe.core.keys import columns_key, endpoint_key
from udpprobe.core.lookup import bitmap_of, latest_before
from udpprobe.core.mtu import LEAST
from udpprobe.core.notes import Note
from udpprobe.core.packets import FRAGMENTED, UNKNOWN_LENGTH, Columns, Datagrams, Errors, field, u64

HORIZON = 1 << 20
"""So many datagrams before an error are looked through for its own."""

SMALL = 1 << 12
"""Segments of fewer rows are joined with the one before."""

@dataclass(slots=True)
class Fragmented(Columns):
    """(n,) fragmented datagrams, which a later fragment's quote names by addresses and id only."""

    key: U64
    frame: I64
    time_ns: I64
    detail: U64
    ports: U64


Kept = TypeVar("Kept", Sent, Fragmented)


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
    level: I64
    """Position in `LEVELS`: what lies before may still hold a match at one of those before it."""
    later: I64
    """So many datagrams came between the end of the log and the error."""

    @classmethod
    def none(cls, errors: Errors) -> Matches:
        """Nothing found yet for (n,) errors."""
        nothing = np.zeros_like(errors.frame)
        return cls(match=nothing + NONE, frame=nothing.copy(), time_ns=nothing.copy(), detail=errors.detail.copy(),
                   ports=errors.ports.copy(), notes=errors.notes.copy(), length=errors.length,
                   level=nothing + len(LEVELS), later=nothing.copy())

    def shift(self, frames: int) -> None:
        """So many frames are before those of the datagrams."""
        self.frame = np.where(self.match > NONE, self.frame + frames, 0)

    def settle(self, errors: Errors) -> None:
        """Nothing better will be found: say what that means for each error."""
        self.notes |= NOTES[self.level]
        self.length = sent_length(errors, self.detail)
        self.notes |= mtu_notes(errors, self.length)


class Log:
    """The datagrams of late."""

    def __init__(self, horizon: int = HORIZON) -> None:
        self._horizon = horizon
        self._segments: list[Sent] = []
        self._first: list[int] = []
        """Of each segment, its first frame."""
        self._old = 0
        """So many segments were there when errors were last resolved."""
        self._fragmented: list[Fragmented] = []
        self._ordinals: Ordinals | None = None
        self.rows = 0
        """Datagrams that came since errors were last resolved."""
        self.count = 0
        """All that came."""

    def __deepcopy__(self, _memo: object) -> Log:
        """Another one that remembers the same. They share the columns, which neither changes."""
        other = copy(self)
        for name in ("_segments", "_first", "_fragmented"):
            setattr(other, name, [*getattr(self, name)])
        return other

    def feed(self, datagrams: Datagrams, source: U64, destination: U64) -> None:
        """Remember (n,) datagrams, copies too: an error's is the one seen last before it."""
        self.rows, self.count, self._ordinals = self.rows + len(datagrams), self.count + len(datagrams), None
        new = Sent(destination, source, datagrams.detail, datagrams.frame, datagrams.time_ns)
        if self._segments and len(new) < SMALL and len(self._segments[-1]) < SMALL:
            self._segments[-1] = Sent.concatenate([self._segments[-1], new])
        else:
            self._segments.append(new)
            self._first.append(int(new.frame.min()))
        some = datagrams.take(np.flatnonzero(datagrams.detail & FRAGMENTED))
        if len(some):
            self._fragmented.append(Fragmented(_fragment_key(some), some.frame, some.time_ns, some.detail, some.ports))

    @property
    def has_forgotten(self) -> bool:
        """Whether more came than are looked through for an error that comes now."""
        return self.count > sum(map(len, self._segments))

    @property
    def ordinals(self) -> Ordinals:
        """Where the datagrams that are remembered stand among all."""
        if self._ordinals is None:
            kept = [segment.frame for segment in self._segments]
            self._ordinals = Ordinals(kept, self._first, self.count - sum(map(len, kept)))
        return self._ordinals

    def look(self, errors: Errors, found: Matches) -> None:
        """Find the datagrams of (n,) errors, or better ones than were found in what came behind the log."""
        if len(errors) == 0:
            return
        later = (errors.notes & Note.QUOTES_LATER_FRAGMENT) > 0
        self._match_datagrams(errors, found, np.flatnonzero(errors.notes & Note.NO_PORTS == 0))
        self._match_fragmented(errors, found, np.flatnonzero(later & (found.match == NONE)))

    def trim(self) -> None:
        """Forget what is too old for any later error; all that are here have been looked up."""
        kept = self._horizon
        for i in range(len(self._segments) - 1, -1, -1):
            if kept <= 0:
                del self._segments[:i + 1], self._first[:i + 1]
                self._fragmented = _since(self._fragmented, self._first[0])
                self._ordinals = None
                break
            kept -= len(self._segments[i])
        self._old = max(len(self._segments) - 1, 0)  # the last one may still grow
        self.rows = 0

    def append(self, right: Log, frames: int, known: int, datagrams: int) -> None:
        """Remember what the piece directly behind does, which is used up.

        Args:
            right: its log.
            frames: how many frames are before it.
            known: so many of its frames have been fed to this log already.
            datagrams: so many they had.
        """
        behind = right.count - datagrams
        if behind >= self._horizon:
            self._segments, self._fragmented = [], []
        self._segments += _since(right._segments, known + 1, frames)
        self._fragmented += _since(right._fragmented, known + 1, frames)
        self._first = [int(segment.frame.min()) for segment in self._segments]
        self.count += behind
        self._ordinals = None
        self.trim()

    def _match_datagrams(self, errors: Errors, found: Matches, rows: I64) -> None:
        """Try one level after the other on the errors that are still without a datagram."""
        quotes = errors.take(rows)
        asked = Sent(endpoint_key(quotes.destination_high, quotes.destination_low, quotes.ports & PORT),
                     endpoint_key(quotes.source_high, quotes.source_low, quotes.ports >> u64(16)),
                     quotes.detail, quotes.frame, quotes.time_ns)
        latest = _among(self._segments[self._old:], ALL_AGREE.key, ALL_AGREE.key(asked))
        self._try(0, latest, quotes, asked, (found, rows))
        still = np.flatnonzero(found.level[rows] > 0)
        if len(still) == 0:
            return
        candidates = _among(self._segments, _destination, asked.destination[still])
        for number in range(len(LEVELS)):
            self._try(number, candidates, quotes, asked, (found, rows))

    def _try(self, number: int, candidates: Sent, quotes: Errors, asked: Sent, result: tuple[Matches, I64]) -> None:
        """Give the errors that have no datagram of a level as strict the latest one that agrees with them at it."""
        (found, rows), level = result, LEVELS[number]
        still = np.flatnonzero((found.level[rows] > number) & level.applies(quotes))
        if len(still) == 0 or len(candidates) == 0:
            return
        wanted = level.key(asked.take(still), swap_id=level.swapped)
        keys = level.key(candidates)
        near = np.flatnonzero(bitmap_of(wanted).has(keys))
        best = latest_before(keys[near], candidates.frame[near], wanted, asked.frame[still])
        still, best = still[best >= 0], near[best[best >= 0]]
        recent = self._are_recent(candidates.frame[best], quotes.frame[still], found.later[rows[still]])
        still, best = still[recent], best[recent]
        hit_rows = rows[still]
        found.match[hit_rows], found.level[hit_rows] = level.match(quotes.take(still)), number
        found.frame[hit_rows], found.time_ns[hit_rows] = candidates.frame[best], candidates.time_ns[best]
        found.detail[hit_rows] = candidates.detail[best]

    def _are_recent(self, frame: I64, error_frame: I64, later: I64) -> Bool:
        """Whether each frame has one of the last datagrams before an error that are looked through."""
        return self.ordinals.within(self._horizon, frame, error_frame, later)

    def _match_fragmented(self, errors: Errors, found: Matches, rows: I64) -> None:
        """Errors that quote a later fragment, by addresses and id."""
        if len(rows) == 0 or not self._fragmented:
            return
        self._fragmented = [Fragmented.concatenate(self._fragmented)]
        known, quotes = self._fragmented[0], errors.take(rows)
        best = latest_before(known.key, known.frame, _fragment_key(quotes), quotes.frame)
        hit = best >= 0
        hit[hit] = self._are_recent(known.frame[best[hit]], quotes.frame[hit], found.later[rows[hit]])
        rows, best = rows[hit], best[hit]
        found.match[rows], found.frame[rows], found.time_ns[rows] = EXACT, known.frame[best], known.time_ns[best]
        found.detail[rows], found.ports[rows], found.level[rows] = known.detail[best], known.ports[best], 0


def _fragment_key(some: Datagrams | Errors) -> U64:
    return columns_key([some.source_high, some.source_low, some.destination_high, some.destination_low,
                        some.detail >> u64(48)])


def _among(segments: list[Sent], key: Callable[[Sent], U64], wanted: U64) -> Sent:
    """Datagrams with any of the wanted keys, and a few others; those of a flow in the order of frames."""
    bitmap = bitmap_of(wanted)
    picked = [segment.take(np.flatnonzero(bitmap.has(key(segment)))) for segment in segments]
    none = np.empty(0, np.uint64)
    return Sent.concatenate([*picked, Sent(none, none, none, none.view(np.int64), none.view(np.int64))])


def _since(pieces: list[Kept], frame: int, shift: int = 0) -> list[Kept]:
    """Of pieces in capture order, the rows from a frame on, with `shift` frames before them; none is changed."""
    kept = [some if some.frame.min(initial=frame) >= frame else some.take(np.flatnonzero(some.frame >= frame))
            for some in pieces]
    return [replace(some, frame=some.frame + shift) for some in kept if len(some)]


def _destination(sent: Sent) -> U64:
    return sent.destination


def sent_length(errors: Errors, detail: U64) -> I64:
    """(n,) bytes of each datagram's IP packet: by the quote, or by the matched datagram's UDP length.

    Args:
        errors: the errors.
        detail: (n,) of the datagrams they were matched with, or of the quotes.
    """
    udp_length = field(detail, 32, 16).view(np.int64)
    header = np.where(errors.family == 4, 20, 40)
    usable = (udp_length >= 8) & (detail & FRAGMENTED == 0)
    matched = np.where(usable, udp_length + header, UNKNOWN_LENGTH)
    return np.where(errors.length < UNKNOWN_LENGTH, errors.length, matched)


def mtu_notes(errors: Errors, length: I64) -> I64:
    """(n,) bits of `Note` about each error's MTU, beside a datagram of `length` bytes."""
    mtu, least = errors.mtu, np.where(errors.family == 4, LEAST[4], LEAST[6])
    notes = np.where(mtu == 0, Note.MTU_ZERO, 0)
    notes |= np.where((mtu > 0) & (mtu < least), Note.MTU_BELOW_MINIMUM, 0)
    notes |= np.where((mtu > 0) & (mtu >= length), Note.MTU_NOT_SMALLER, 0)
    return notes
