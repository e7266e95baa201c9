"""The same packet again: captured twice, or caught in a loop.

A router captured on both sides, a bridge, `-i any` or a mirror port shows a datagram more than once. So does a routing
loop, but there the TTL falls by equal steps each time the datagram passes the same link (Hengartner et al., IMC 2002).

A sighting is remembered for WINDOW packets and one second. Classifying one needs at most the two sightings before it.
"""

from __future__ import annotations

from typing import SupportsIndex

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

from udpprobe.core.rows import Rows
from udpprobe.core.views import Pickled, pickled

WINDOW = 1 << 14
"""Most packets between two sightings of one datagram."""

HEAD = 3 * WINDOW
"""Packets at the start of a piece that cannot be classified without the piece before. That takes the two sightings
before, and a third to tell whether the loop was known already."""

WINDOW_NS = cython.declare(cython.const[i64], 1_000_000_000)
# With an equal TTL, a sighting this soon after is a copy …
MIRROR_NS = cython.declare(cython.const[i64], 500_000)
AT_ONCE_NS = cython.declare(cython.const[i64], 20_000)  # … and this soon where nothing distinguishes payloads
FORWARD_NS = cython.declare(cython.const[i64], 20_000_000)  # longest forwarding delay of a router
# A lower TTL this soon is a turn of a short loop. Later, the sender may have sent the datagram again.
ROUND_NS = cython.declare(cython.const[i64], 5_000_000)

# What `see` returns.
NEW = cython.declare(cython.const[cython.int], 0)
COPY = cython.declare(cython.const[cython.int], 1)
PASS = cython.declare(cython.const[cython.int], 2)

# A sighting is two words. The first is its identity. The second: distance back to the last sighting in the same bucket
# << 48, and to the last of the same identity << 32, TTL << 24, (fall of the TTL since the last sighting + 256) << 12,
# fall since the last sighting on the same link << 3, flags.
_BUCKETS = cython.declare(cython.const[u64], (1 << 15) - 1)
_WINDOW = cython.declare(cython.const[u64], 1 << 14)
_ROSE = cython.declare(cython.const[u64], 1)  # the TTL was higher than before
_LOOPED = cython.declare(cython.const[u64], 2)  # it is in a loop
_MULTIPLIER = cython.declare(cython.const[u64], 0x9E3779B97F4A7C15)
_MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
_PORT = cython.declare(cython.const[u64], 0xFFFF)
_MOST_LINKS = cython.declare(cython.const[cython.int], 8)


@cython.final
@cython.cclass
class Duplicates:
    """Recent sightings of datagrams and of errors.

    Args:
        key: secret and odd.

    Attributes:
        step: after PASS, how much the TTL fell since the datagram passed the same link.
        since_ns: after PASS, when the first of these falls was seen.
        falls: after PASS, the falls to add: 2 where the loop was not known before (so the earlier one counts too), else
            1.
    """

    def __init__(self, key: int) -> None:
        self.count, self.window = 0, WINDOW
        self._key = key & ((1 << 64) - 1) | 1
        self.heads = memoryview(bytearray(8 << 15)).cast("Q")
        self.sightings = memoryview(bytearray(16 * WINDOW)).cast("Q")
        self.links = memoryview(bytearray(8 * WINDOW)).cast("Q")
        self.times = memoryview(bytearray(8 * WINDOW)).cast("q")
        self.step = self.falls = 0
        self.since_ns = 0

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        filled = min(self.count, WINDOW)
        heads = memoryview(self.heads)[: len(self.heads) if filled else 0]
        columns = [pickled(each[: filled * len(each) // WINDOW], protocol) for each in self._columns()]
        return _restored, (self._key, self.count, pickled(heads, protocol), *columns)

    def _columns(self) -> list[memoryview]:
        return [memoryview(self.sightings), memoryview(self.links), memoryview(self.times)]

    def fill(self, columns: tuple[Pickled, ...]) -> None:
        """Restore the pickled columns."""
        for mine, column in zip([memoryview(self.heads), *self._columns()], columns, strict=True):
            memory = memoryview(column).cast("B")
            mine.cast("B")[: len(memory)] = memory

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def identity(self, rows: Rows, row: index, flow: u64, way: cython.int) -> u64:
        """Hash of everything that is equal in all sightings of a datagram: flow, id, lengths, checksum and payload."""
        proof: u64 = rows.proof[row]
        detail: u64 = rows.detail[row] & ~_PORT
        if proof >> 16:  # One interface may show a partial checksum, another the whole one.
            detail = detail & ~(_PORT << 16) | proof >> 16 << 16
        word: u64 = self._mixed(flow ^ cython.cast(u64, way))
        word = self._mixed(word ^ detail)
        word = self._mixed(word ^ rows.payload_high[row])
        return self._mixed(word ^ rows.payload_low[row])

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _mixed(self, word: u64) -> u64:
        """Hash a word, as `Table.hash` does."""
        word = word * self._key & _MASK64
        return (word ^ (word >> 32) * self._key) & _MASK64

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def _before(self, identity: u64) -> u64:
        """1 + the number of the last sighting of an identity in the window; 0 for none."""
        place: u64 = self.heads[cython.cast(index, identity & _BUCKETS)]
        at: index
        distance: u64
        while place and self.count + 1 - place <= _WINDOW:
            at = cython.cast(index, (place - 1) & (_WINDOW - 1))
            if self.sightings[2 * at] == identity:
                return place
            distance = self.sightings[2 * at + 1] >> 48
            if not distance:
                return 0
            place -= distance
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _remember(
        self, identity: u64, time_ns: i64, link: u64, same: u64, ttl: cython.int, fall: cython.int, state: u64
    ) -> cython.int:
        """Add a sighting; `same` is 1 + the number of the last one with its identity."""
        bucket: index = cython.cast(index, identity & _BUCKETS)
        at: index = cython.cast(index, self.count & (_WINDOW - 1))
        distance: u64 = self.count + 1 - self.heads[bucket] if self.heads[bucket] else 0
        since: u64 = self.count + 1 - same if same else 0
        self.sightings[2 * at], self.links[at], self.times[at] = identity, link, time_ns
        self.sightings[2 * at + 1] = (
            (distance if distance <= _WINDOW else 0) << 48
            | since << 32
            | cython.cast(u64, ttl) << 24
            | cython.cast(u64, fall + 256) << 12
            | state
        )
        self.heads[bucket] = self.count + 1
        self.count += 1
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def touch(self, identity: u64) -> u64:
        """Read the memory that looking up an identity needs, so that the loads of many overlap."""
        place: u64 = self.heads[cython.cast(index, identity & _BUCKETS)]
        return place ^ self.sightings[2 * cython.cast(index, (place - 1) & (_WINDOW - 1))] if place else 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def see(self, rows: Rows, row: index, identity: u64) -> cython.int:
        """Classify a datagram by its `identity`, and remember it.

        It is NEW, a COPY of an earlier one, or a PASS: a copy that went round a loop.

        With an equal TTL it is a copy if it comes soon after, or if another link has just shown it. With a TTL lower by
        one it is a copy if a router can just have forwarded it; lower by more, if it comes at once or the TTL fell by
        the same before. Without an IPv4 id, and where the sender varies its TTL (traceroute), a lower TTL alone does
        not tell a copy from a datagram that was sent again.
        """
        time_ns: i64 = rows.time_ns[row]
        link: u64 = rows.link[row]
        ttl: cython.int = cython.cast(cython.int, rows.detail[row] >> 8 & 0xFF)
        same: u64 = self._before(identity)
        at: index = cython.cast(index, (same - 1) & (_WINDOW - 1)) if same else 0
        if not same or time_ns - self.times[at] > WINDOW_NS or self.times[at] - time_ns > WINDOW_NS:
            self._remember(identity, time_ns, link, 0, ttl, 0, 0)
            return NEW
        chain: u64 = self.sightings[2 * at + 1]
        apart_ns: i64 = time_ns - self.times[at]
        fall: cython.int = cython.cast(cython.int, chain >> 24 & 0xFF) - ttl
        has_id: cython.bint = rows.detail[row] >> 48 != 0
        is_identified: cython.bint = (
            has_id or rows.proof[row] >> 16 != 0 or (not rows.proof[row] & 1 and rows.detail[row] >> 16 & _PORT != 0)
        )
        rose: cython.bint = chain & _ROSE != 0
        is_copy: cython.bint = False
        if fall == 0:
            is_copy = (apart_ns <= (MIRROR_NS if has_id else AT_ONCE_NS) and is_identified) or (
                apart_ns <= MIRROR_NS and self._shown_by_another(link, ttl, same, time_ns)
            )
        elif fall > 0:
            is_copy = (
                (fall == 1 and apart_ns <= FORWARD_NS)
                or apart_ns <= ROUND_NS
                or (has_id and not rose)
                or (cython.cast(cython.int, chain >> 12 & 0xFFF) - 256 == fall and (has_id or fall >= 2))
            )
        state: u64 = self._came_round(link, ttl, same, time_ns, has_id)
        self._remember(identity, time_ns, link, same, ttl, fall, state | (_ROSE if fall < 0 else 0))
        if state & _LOOPED:
            return PASS
        return COPY if is_copy else NEW

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _shown_by_another(self, link: u64, ttl: cython.int, same: u64, time_ns: i64) -> cython.bint:
        """Whether the link that recently showed this datagram first has shown it more often than this link.

        Then it is a copy, even if nothing in it distinguishes it: it was sent as often as the first link shows it.
        """
        first: u64 = link
        balance: cython.int = 0
        place: u64
        _pass: cython.int
        _step: cython.int
        at: index
        for _pass in range(2):  # first find the first link, then count
            place = same
            for _step in range(_MOST_LINKS):
                at = cython.cast(index, (place - 1) & (_WINDOW - 1))
                if time_ns - self.times[at] > MIRROR_NS or self.times[at] - time_ns > MIRROR_NS:
                    break
                if cython.cast(cython.int, self.sightings[2 * at + 1] >> 24 & 0xFF) == ttl:
                    if _pass == 0:
                        first = self.links[at]
                    elif self.links[at] == first:
                        balance += 1
                    elif self.links[at] == link:
                        balance -= 1
                if not self.sightings[2 * at + 1] >> 32 & _PORT:
                    break
                place -= self.sightings[2 * at + 1] >> 32 & _PORT
                if self.count + 1 - place > _WINDOW:
                    break
            if first == link:
                return False
        return balance > 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def _came_round(self, link: u64, ttl: cython.int, same: u64, time_ns: i64, has_id: cython.bint) -> u64:
        """The fall of the TTL since the datagram last passed this link << 3, and _LOOPED if a loop caused it.

        Two sightings are what both sides of a router show. Three on one link, with a TTL that falls by equal steps, are
        a loop. A fall of one needs an id as well, because a traceroute may count down.
        """
        _step: cython.int
        at: index
        chain: u64
        fall: cython.int
        self.step = 0
        for _step in range(_MOST_LINKS):
            at = cython.cast(index, (same - 1) & (_WINDOW - 1))
            chain = self.sightings[2 * at + 1]
            if self.links[at] == link:
                fall = cython.cast(cython.int, chain >> 24 & 0xFF) - ttl
                if fall <= 0:
                    return 0
                self.step = fall
                if (
                    cython.cast(cython.int, chain >> 3 & 0x1FF) == fall
                    and (has_id or fall >= 2)
                    and time_ns - self.times[at] <= WINDOW_NS
                ):
                    self.falls, self.since_ns = (1, time_ns) if chain & _LOOPED else (2, self.times[at])
                    return cython.cast(u64, fall) << 3 | _LOOPED
                return cython.cast(u64, fall) << 3
            if not chain >> 32 & _PORT:
                return 0
            same -= chain >> 32 & _PORT
            if self.count + 1 - same > _WINDOW:
                return 0
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def see_error(self, rows: Rows, row: index) -> cython.int:
        """Classify an ICMP error as NEW or COPY. Two interfaces may show errors out of order."""
        word: u64 = rows.reporter_high[row]
        place: cython.int
        for place in range(10):
            word = self._mixed(word)
            if place == 0:
                word ^= rows.reporter_low[row]
            elif place == 1:
                word ^= rows.kind[row] << 32 ^ cython.cast(u64, rows.mtu[row] + 1)
            elif place == 2:
                word ^= rows.outer[row] & ~_PORT
            elif place == 3:
                word ^= rows.source_high[row]
            elif place == 4:
                word ^= rows.source_low[row]
            elif place == 5:
                word ^= rows.destination_high[row]
            elif place == 6:
                word ^= rows.destination_low[row]
            elif place == 7:
                word ^= rows.ports[row]
            elif place == 8:
                word ^= rows.detail[row]
            else:
                word ^= (rows.payload_high[row] * _MULTIPLIER & _MASK64) ^ rows.payload_low[row]
        ttl: cython.int = cython.cast(cython.int, rows.outer[row] >> 8 & 0xFF)
        same: u64 = self._before(word)
        at: index = cython.cast(index, (same - 1) & (_WINDOW - 1)) if same else 0
        apart_ns: i64 = rows.time_ns[row] - self.times[at] if same else 0
        fall: cython.int = cython.cast(cython.int, self.sightings[2 * at + 1] >> 24 & 0xFF) - ttl if same else 0
        is_near: cython.bint = same != 0 and -MIRROR_NS <= apart_ns <= MIRROR_NS
        is_shown: cython.bint = is_near and self._shown_by_another(rows.link[row], ttl, same, rows.time_ns[row])
        self._remember(word, rows.time_ns[row], rows.link[row], same, ttl, fall, 0)
        if not is_near:
            return NEW
        is_identified: cython.bint = rows.detail[row] >> 16 & _PORT != 0 and -AT_ONCE_NS <= apart_ns <= AT_ONCE_NS
        is_copy: cython.bint = rows.outer[row] >> 48 != 0 or fall == 1 or fall == -1 or is_identified or is_shown
        return COPY if is_copy else NEW


def _restored(key: int, count: int, *columns: Pickled) -> Duplicates:
    made = Duplicates(key)
    made.count = count
    made.fill(columns)
    return made
