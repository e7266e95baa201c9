"""The same datagram again: captured twice, or caught in a loop.

A router captured on both sides or a mirror port shows a datagram more than once; so does a routing loop, but
there its TTL falls each time it passes the same link (Hengartner et al., IMC 2002).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.checksum import address_sums
from udpprobe.core.keys import columns_key, pair_key
from udpprobe.core.packets import Columns, Datagrams, Errors, field, u64

WINDOW_FRAMES = 16384
WINDOW_NS = 10**9
"""How far apart two copies of a datagram may stand."""

MEMORY_WINDOWS = 3
"""A datagram's pair is judged by the pair before it, and a pass by the one before that: what it is hangs on no more."""

MIRROR_NS = 500_000
"""With the same TTL, only this soon after is the same thing a copy, and not sent again."""

AT_ONCE_NS = 20_000
"""The same without an IPv4 id, where only the checksum tells two payloads apart."""

FORWARD_NS = 20_000_000
"""A router takes no longer to pass a datagram on."""

ROUND_NS = 5_000_000
"""Within this time a datagram is rather come round a short loop than sent again with a lower TTL."""

ROW_BITS = 20
ROW_MASK = u64((1 << ROW_BITS) - 1)
IDENTITY = ~u64(0xFFFF)
"""All of `Datagrams.detail` but the TTL and the flags."""


@dataclass(slots=True)
class Passes(Columns):
    """(n,) times a datagram came round a loop: it passed the same link as before with a lower TTL."""

    row: I64
    """Which datagram of the chunk; of a pass in an earlier chunk, the same datagram's next one in this."""
    time_ns: I64
    step: I64
    """By how much the TTL fell since it passed last."""


def _no_passes() -> Passes:
    return Passes(*(np.empty(0, np.int64) for _ in range(3)))


@dataclass(slots=True)
class _Seen(Columns):
    identity: U64
    frame: I64
    time_ns: I64
    detail: U64
    link: U64
    row: I64
    """In the chunk; negative for one of an earlier chunk."""
    summed: Bool
    """Whether the UDP checksum is one over the payload; only of rows of this chunk."""


class Copies:
    """Remembers the last packets, so that copies are found across chunks; of datagrams, or of errors."""

    def __init__(self) -> None:
        none = np.empty(0, np.int64)
        empty = none.view(np.uint64)
        self._last = _Seen(empty, none, none, empty, empty, none, none.astype(np.bool_))

    def feed(self, datagrams: Datagrams, source: U64, destination: U64) -> tuple[Bool, Passes]:
        """Which datagrams are copies of an earlier one, and which of those came round a loop.

        Args:
            datagrams: (n,) a chunk's; frames of one conversation in any order.
            source: (n,) keys of their source endpoints.
            destination: (n,) keys of their destination endpoints.
        """
        identity = pair_key(pair_key(source, destination), datagrams.detail & IDENTITY)
        rows = np.arange(len(datagrams))
        alike = self._feed(_Seen(identity, datagrams.frame, datagrams.time_ns, datagrams.detail, datagrams.link,
                                 rows, np.zeros(len(rows), np.bool_)))
        if len(alike) == 0:
            return np.zeros(len(datagrams), np.bool_), _no_passes()
        own = alike.row >= 0
        alike.summed[own] = _is_summed(datagrams.take(alike.row[own]))
        return _judge(alike, len(datagrams))

    def feed_errors(self, errors: Errors) -> Bool:
        """Which of (n,) errors are copies of an earlier one."""
        quoted = [errors.source_high, errors.source_low, errors.destination_high, errors.destination_low,
                  errors.ports, errors.detail]
        identity = columns_key([errors.reporter_high, errors.reporter_low, errors.type, errors.code, errors.mtu,
                                errors.outer & IDENTITY, *quoted])
        alike = self._feed(_Seen(identity, errors.frame, errors.time_ns, errors.outer,
                                 np.zeros(len(errors), np.uint64), np.arange(len(errors)),
                                 np.ones(len(errors), np.bool_)))
        return _rows_of(alike, _are_copies_of_errors, len(errors))

    def _feed(self, new: _Seen) -> _Seen:
        """The rows, those of this chunk and the last ones of earlier ones, that look alike."""
        alike = _alike(np.concatenate([self._last.identity, new.identity]))
        early = np.searchsorted(alike, len(self._last))
        found = _Seen.concatenate([self._last.take(alike[:early]), new.take(alike[early:] - len(self._last))])
        self._remember(new, found)
        return found

    def _remember(self, new: _Seen, alike: _Seen) -> None:
        """Keep what a copy may still follow, and of the windows before that only what the rules look back on."""
        window_start = new.frame.max(initial=0) - WINDOW_FRAMES
        memory_start = window_start - (MEMORY_WINDOWS - 1) * WINDOW_FRAMES
        before = alike.take((alike.frame > memory_start) & (alike.frame <= window_start))
        self._last = _Seen.concatenate([before, *(some.take(some.frame > window_start) for some in (self._last, new))])
        self._last.row = np.full(len(self._last), -1)

    def shifted(self, frames: int) -> Copies:
        """The same, with so many frames before them; this one is used up."""
        self._last.frame = self._last.frame + frames
        return self


def _is_summed(datagrams: Datagrams) -> Bool:
    """Whether each UDP checksum is there and whole: offloading leaves the sum of the pseudo header (RFC 768)."""
    length = datagrams.udp_length.view(np.int64)
    pseudo = (address_sums(datagrams.source_high, datagrams.source_low)
              + address_sums(datagrams.destination_high, datagrams.destination_low) + length + 17)
    v4 = (datagrams.source_high == 0) & (datagrams.source_low >> u64(32) == 0xFFFF)
    pseudo -= np.where(v4, 2 * 0xFFFF, 0)  # of the two mapped prefixes
    checksum = field(datagrams.detail, 16, 16).view(np.int64)
    return (checksum != 0) & (checksum % 0xFFFF != pseudo % 0xFFFF)


def _alike(identity: U64) -> I64:
    """Rows whose identity another row shares too, ascending; and a few others."""
    keys = np.sort((identity & ~ROW_MASK) | np.arange(len(identity), dtype=np.uint64))
    same = np.flatnonzero((keys[1:] ^ keys[:-1]) <= ROW_MASK)
    shared = np.zeros(len(identity), np.bool_)
    shared[(keys[same] & ROW_MASK).view(np.int64)] = True
    shared[(keys[same + 1] & ROW_MASK).view(np.int64)] = True
    return np.flatnonzero(shared)


def _judge(alike: _Seen, n: int) -> tuple[Bool, Passes]:
    """Among datagrams that look alike: the copies, and the passes of a loop."""
    is_copy = _rows_of(alike, _are_copies, n)
    return is_copy, _passes(alike.take(np.lexsort((alike.frame, alike.link, alike.identity))))


def _rows_of(alike: _Seen, rule: Callable[[_Seen], Bool], n: int) -> Bool:
    """(n,) the rows of which the rule says that they are what came before once more."""
    chain = alike.take(np.lexsort((alike.frame, alike.identity)))
    rows = chain.row[1:][_close(chain) & rule(chain)]
    found = np.zeros(n, np.bool_)
    found[rows[rows >= 0]] = True
    return found


def _close(chain: _Seen) -> Bool:
    """(n - 1,) whether each row but the first has the identity of the one before it, and is near it."""
    return ((chain.identity[1:] == chain.identity[:-1])
            & (np.diff(chain.frame) <= WINDOW_FRAMES) & (np.diff(chain.time_ns) <= WINDOW_NS))


def _are_copies(chain: _Seen) -> Bool:
    """(n - 1,) whether a row of the same identity is a copy: mirrored, forwarded, or come round a loop.

    Without an IPv4 id, and where the sender varies its TTL (a traceroute), a lower TTL tells a copy from a datagram
    that was sent again only at once, or when it falls by the same step again. What comes later is not asked: it may
    stand in the next chunk.
    """
    apart_ns, step, has_id = np.diff(chain.time_ns), -np.diff(_ttl(chain)), _has_id(chain)
    mirrored = (step == 0) & np.where(has_id, apart_ns <= MIRROR_NS, (apart_ns <= AT_ONCE_NS) & chain.summed[1:])
    forwarded = (step == 1) & (apart_ns <= FORWARD_NS)
    falls, rises = _close(chain) & (step > 0), _close(chain) & (step < 0)
    again = _equal_neighbour(falls, step, before=True) & (has_id | (step >= 2))
    return mirrored | forwarded | (falls & ((apart_ns <= ROUND_NS) | (has_id & ~_before(rises)))) | again


def _are_copies_of_errors(chain: _Seen) -> Bool:
    """(n - 1,) the same for errors, which two interfaces need not show in their order."""
    soon = np.abs(np.diff(chain.time_ns)) <= MIRROR_NS
    return soon & (_has_id(chain) | (np.abs(np.diff(_ttl(chain))) == 1))


def _passes(by_link: _Seen) -> Passes:
    """Copies on the same link with a lower TTL.

    One fall by two or more is enough where an IPv4 id, or that it comes at once, shows that it is the same
    datagram and the sender does not vary its TTL. Otherwise the same fall must come twice; and by one only with
    an id, for a traceroute may count down. What the last pair of an earlier chunk needed for its proof counts
    when it comes.
    """
    step, has_id, row = -np.diff(_ttl(by_link)), _has_id(by_link), by_link.row[1:]
    close = _close(by_link) & (by_link.link[1:] == by_link.link[:-1])
    falls, rises = close & (step > 0), close & (step < 0)
    proven = falls & (has_id | (step >= 2))
    soon = np.diff(by_link.time_ns) <= ROUND_NS
    alone = falls & (step >= 2) & (has_id | soon) & ~_before(rises)
    again, once_more = (proven & _equal_neighbour(falls, step, before=before) for before in (True, False))
    next_row = np.append(row[1:], -1)
    late = (row < 0) & (next_row >= 0) & ~alone & ~again
    found = (alone | again | once_more) & ((row >= 0) | late)
    return Passes(np.where(late, next_row, row)[found], by_link.time_ns[1:][found], step[found])


def _before(holds: Bool) -> Bool:
    """What holds of the pair before each."""
    return np.concatenate(([False], holds))[:len(holds)]


def _equal_neighbour(falls: Bool, step: I64, *, before: bool) -> Bool:
    """Whether the pair before each, or the one behind it, falls by the same step."""
    equal = falls[1:] & falls[:-1] & (step[1:] == step[:-1])
    return np.concatenate(([False], equal) if before else (equal, [False]))[:len(falls)]


def _has_id(seen: _Seen) -> Bool:
    """(n - 1,) whether each row but the first has an IPv4 id."""
    return seen.detail[1:] >> u64(48) > 0


def _ttl(seen: _Seen) -> I64:
    return (seen.detail >> u64(8) & u64(0xFF)).view(np.int64)
