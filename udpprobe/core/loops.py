"""Routing loops in a traceroute: reporters that recur at regular TTLs, up to the last TTL that was tried.

An address seen twice is no loop yet. A router may answer for its neighbour, or forward an expired packet, and
per-packet balancing mixes paths of different lengths (Viger et al., "Detection, understanding, and prevention of
traceroute measurement artifacts", 2008). A loop is what still repeats at the end of the trace.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import combinations, pairwise

from msgspec import Struct
from msgspec.structs import replace

LEAST_REPEATS = 3
"""Repetitions of a router that make a loop wherever the trace ends."""
ALONE_REPEATS = 5
"""The same for a router that sends everything back to itself: its neighbours may look like that once or twice."""
TOLERANCE = 4
"""Repeats needed for each report that does not fit, such as that of a router with several addresses."""
LAPS = 3
"""After this many rounds, a loop is certain and needs no more probes."""

Rows = Mapping[int, frozenset[str]]
"""By TTL, the reporters of an expired TTL; TTLs without a report are absent."""


class Round(Struct, frozen=True):
    """A loop as a trace saw it."""

    first_ttl: int
    """TTL at which its first router reports."""
    period: int
    """Hops of one turn."""
    routers: tuple[str | None, ...]
    """In the order of hops; None for one that never reports."""
    repeats: int
    """Number of times that a router recurred where it had to."""
    last_ttl: int
    """The highest TTL with a report."""

    @property
    def is_certain(self) -> bool:
        """Whether higher TTLs would add nothing."""
        return self.last_ttl - self.first_ttl + 1 >= self.period * (LAPS if self.period > 1 else ALONE_REPEATS + 1)

    @property
    def end_ttl(self) -> int:
        """The last TTL of the first turn; everything beyond repeats it."""
        return self.first_ttl + self.period - 1


def find_round(rows: Rows, limit: int, back: Mapping[int, frozenset[int]]) -> Round | None:
    """The loop that a trace ends in, if any: the shortest that explains the reports, entered as early as possible.

    Args:
        rows: the reporters.
        limit: the highest TTL tried. A loop that lasts until there needs less evidence.
        back: by TTL, the TTLs that the reports arrived with.
    """
    for period in _periods(rows):
        for first in sorted(rows):
            found = _round(rows, first, period)
            if found and _is_evident(found, limit) and not _leads_away(found, rows, back):
                return _with_entry(found, rows, back)
    return None


def _leads_away(found: Round, rows: Rows, back: Mapping[int, frozenset[int]]) -> bool:
    """Whether its first router replies from ever farther away.

    Then it is several routers behind a NAT: Linux gives errors from behind it the address that the datagram was sent
    to.
    """
    router = found.routers[0]
    laps = [ttl for ttl in range(found.first_ttl, found.last_ttl + 1, found.period) if router in rows.get(ttl, ())]
    return len(laps) > 1 and all(max(back[later]) < min(back[ttl]) for ttl, later in pairwise(laps))


def _with_entry(found: Round, rows: Rows, back: Mapping[int, frozenset[int]]) -> Round:
    """The loop starting at its entry, if that router answers from the address by which it is reached.

    It then reports once from an address that never recurs. It is the router that is seen a whole number of periods
    later, if both are equally far away: the router before the entry is nearer than any in the loop.
    """
    entry = found.first_ttl - 1
    again = next((ttl for ttl in range(entry + found.period, found.last_ttl + 1, found.period) if ttl in rows), None)
    if found.period == 1 or entry not in rows or again is None or back[entry] != back[again]:
        return found
    return replace(found, first_ttl=entry, routers=(min(rows[entry]), *found.routers[:-1]))


def _periods(rows: Rows) -> list[int]:
    """Distances at which an address recurs, ascending."""
    return sorted({later - ttl for ttl, later in combinations(sorted(rows), 2) if rows[ttl] & rows[later]})


def _is_evident(found: Round, limit: int) -> bool:
    if found.period == 1:
        return found.repeats >= ALONE_REPEATS
    at_limit = found.last_ttl + found.period > limit and found.repeats >= 2
    return found.repeats >= max(LEAST_REPEATS, found.period) or at_limit


def _round(rows: Rows, first: int, period: int) -> Round | None:
    """The loop with this period from this TTL on; None if the reports contradict it."""
    places = [_place(rows, ttl, period) for ttl in range(first, first + period)]
    repeats = sum(place.repeats for place in places)
    strange = sum(place.strange for place in places)
    if places[0].repeats == 0 or not places[0].addresses & rows[first] or strange * TOLERANCE > repeats:
        return None
    if period > 1 and len({place.router for place in places}) == 1:  # then it is a loop of 1, or none
        return None
    return Round(first, period, tuple(place.router for place in places), repeats, max(rows))


class _Place(Struct, frozen=True):
    """One position in a loop."""

    router: str | None
    """Its most frequent address."""
    addresses: frozenset[str]
    repeats: int
    strange: int
    """Reports from other addresses."""


def _place(rows: Rows, ttl: int, period: int) -> _Place:
    """The reporters at this TTL and every period later."""
    laps = list(_laps(rows, ttl, period))
    addresses = max(laps, key=len, default=frozenset())
    usual = Counter(address for lap in laps for address in sorted(lap & addresses)).most_common(1)
    if not usual:
        return _Place(None, addresses, 0, 0)
    known = sum(not lap.isdisjoint(addresses) for lap in laps)
    return _Place(usual[0][0], addresses, known - 1, len(laps) - known)


def _laps(rows: Rows, ttl: int, period: int) -> Iterator[frozenset[str]]:
    return (rows[each] for each in range(ttl, max(rows) + 1, period) if each in rows)
