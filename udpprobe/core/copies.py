"""The same datagram again: captured twice, or caught in a loop.

A router captured on both sides or a mirror port shows a datagram more than once; so does a routing loop, but
there its TTL falls each time it passes the same link (Hengartner et al., IMC 2002).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.keys import columns_key, pair_key
from udpprobe.core.packets import Columns, Datagrams, Errors, u64

WINDOW_FRAMES = 16384
WINDOW_NS = 10**9
"""How far apart two copies of a datagram may stand."""

MIRROR_NS = 500_000
"""With the same TTL, only this soon after is the same thing a copy, and not sent again."""

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


class Copies:
    """Remembers the last packets, so that copies are found across chunks; of datagrams, or of errors."""

    def __init__(self) -> None:
        none = np.empty(0, np.int64)
        empty = none.view(np.uint64)
        self._last = _Seen(empty, none, none, empty, empty, none)

    def feed(self, datagrams: Datagrams, source: U64, destination: U64) -> tuple[Bool, Passes]:
        """Which datagrams are copies of an earlier one, and which of those came round a loop.

        Args:
            datagrams: (n,) a chunk's; frames of one conversation in any order.
            source: (n,) keys of their source endpoints.
            destination: (n,) keys of their destination endpoints.
        """
        identity = pair_key(pair_key(source, destination), datagrams.detail & IDENTITY)
        return self._feed(_Seen(identity, datagrams.frame, datagrams.time_ns, datagrams.detail, datagrams.link,
                                np.arange(len(datagrams))))

    def feed_errors(self, errors: Errors) -> Bool:
        """Which of (n,) errors are copies of an earlier one."""
        quoted = [errors.source_high, errors.source_low, errors.destination_high, errors.destination_low,
                  errors.ports, errors.detail]
        identity = columns_key([errors.reporter_high, errors.reporter_low, errors.type, errors.code, errors.mtu,
                                errors.outer_id, *quoted])
        nothing = np.zeros(len(errors), np.uint64)  # whatever the TTL: two interfaces are not captured in order
        is_copy, _ = self._feed(_Seen(identity, errors.frame, errors.time_ns, nothing, nothing,
                                      np.arange(len(errors))))
        return is_copy

    def _feed(self, new: _Seen) -> tuple[Bool, Passes]:
        n = len(new)
        alike = _alike(np.concatenate([self._last.identity, new.identity]))
        is_copy, passes = np.zeros(n, np.bool_), _no_passes()
        if len(alike):
            early = np.searchsorted(alike, len(self._last))
            pair = [self._last.take(alike[:early]), new.take(alike[early:] - len(self._last))]
            is_copy, passes = _judge(_Seen.concatenate(pair), n)
        self._remember(new)
        return is_copy, passes

    def _remember(self, new: _Seen) -> None:
        """Keep what a copy may still follow: the window's last datagrams, of this chunk and of earlier ones."""
        oldest = new.frame.max(initial=0) - WINDOW_FRAMES
        self._last = _Seen.concatenate([part.take(part.frame > oldest) for part in (self._last, new)])
        self._last.row = np.full(len(self._last), -1)


def _alike(identity: U64) -> I64:
    """Rows whose identity another row shares too, ascending; and a few others."""
    keys = np.sort((identity & ~ROW_MASK) | np.arange(len(identity), dtype=np.uint64))
    same = np.flatnonzero((keys[1:] ^ keys[:-1]) <= ROW_MASK)
    shared = np.zeros(len(identity), np.bool_)
    shared[(keys[same] & ROW_MASK).view(np.int64)] = True
    shared[(keys[same + 1] & ROW_MASK).view(np.int64)] = True
    return np.flatnonzero(shared)


def _judge(alike: _Seen, n: int) -> tuple[Bool, Passes]:
    """Among rows that look alike: the copies, and the passes of a loop."""
    chain = alike.take(np.lexsort((alike.frame, alike.identity)))
    follows = _follows(chain)
    is_copy = np.zeros(n, np.bool_)
    copies = chain.row[1:][follows]
    is_copy[copies[copies >= 0]] = True
    if not follows.any():
        return is_copy, _no_passes()
    return is_copy, _passes(alike.take(np.lexsort((alike.frame, alike.link, alike.identity))))


def _follows(chain: _Seen) -> Bool:
    """(n - 1,) whether each row but the first is a copy of the one before it."""
    apart_ns, lower = np.diff(chain.time_ns), np.diff(_ttl(chain))
    return ((chain.identity[1:] == chain.identity[:-1])
            & (np.diff(chain.frame) <= WINDOW_FRAMES) & (apart_ns <= WINDOW_NS)
            & ((lower < 0) | ((lower == 0) & (apart_ns <= MIRROR_NS))))


def _passes(by_link: _Seen) -> Passes:
    """Copies on the same link with a TTL lower by two or more; by one only if that happens again and again.

    A router seen on both sides shows the TTL fall by one, once; a traceroute that counts down has no IPv4 id
    to tell its probes from copies, so without an id a step of one says nothing. The first of several such
    steps may have been the last of an earlier chunk: it counts when the second one proves it.
    """
    step = -np.diff(_ttl(by_link))
    again = _follows(by_link) & (by_link.link[1:] == by_link.link[:-1]) & (step > 0)
    before = np.concatenate(([False], again[:-1]))
    after = np.concatenate((again[1:], [False]))
    steady = (before | after) & (by_link.detail[1:] >> u64(48) > 0)
    row = by_link.row[1:]
    next_row = np.concatenate((row[1:], [-1]))
    late = (row < 0) & (next_row >= 0) & (step == 1) & ~before & after
    found = again & ((step >= 2) | steady) & ((row >= 0) | late)
    return Passes(np.where(late, next_row, row)[found], by_link.time_ns[1:][found], step[found])


def _ttl(seen: _Seen) -> I64:
    return (seen.detail >> u64(8) & u64(0xFF)).view(np.int64)
