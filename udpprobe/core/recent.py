"""The last datagrams, and which of them an ICMP error quotes.

A ring holds the last HORIZON datagrams. Those of one conversation and direction are chained, latest first, and an error
searches that chain. The best agreement wins; among equals, the latest datagram.

Where a NAT changed one end, the quote names another conversation than the datagram's. Then the datagram is looked up by
the other end and its IP id (without an id, its payload) among the last `_INDEXED` datagrams. Few captures need that
index, so it is filled on demand, with what was added since.
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

from udpprobe.core import views
from udpprobe.core.flows import HORIZON, Conversations
from udpprobe.core.rows import Rows
from udpprobe.core.table import Table, secret_words
from udpprobe.core.views import Pickled, pickled

MATCHES = ("none", "rewritten", "flow", "exact")
"""How certain a match is, lowest first; `Match.sureness` is a position in here."""

EVIDENCE = ("ip-id", "udp-checksum", "payload")
"""What distinguishes a datagram from its neighbours, by the bits of `Match.evidence`."""

# An entry of the ring.
DETAIL = cython.declare(cython.const[index], 0)
PAYLOAD = cython.declare(cython.const[index], 1)  # 16 bytes in two words
TIME_NS = cython.declare(cython.const[index], 3)
# frame << 21 | distance back to the conversation's last datagram
FRAME = cython.declare(cython.const[index], 4)
FLOW = cython.declare(cython.const[index], 5)  # conversation << 33 | way << 32 | `Rows.proof`
WIDTH = cython.declare(cython.const[index], 6)

LEAST_ROOM = 1 << 10
_MOST_ROOM = cython.declare(cython.const[u64], 1 << 20)
_DISTANCE = cython.declare(cython.const[u64], (1 << 21) - 1)
# datagrams of its own flow, and of others, that one error is compared with
_MOST_STEPS = cython.declare(cython.const[cython.int], 1 << 14)
_INDEXED = cython.declare(cython.const[u64], 1 << 16)
_MOST_SEGMENTS = cython.declare(cython.const[u64], 128)  # per record: UDP_MAX_SEGMENTS of Linux
_LONGEST_PACKET = cython.declare(cython.const[u64], 9216)  # largest jumbo frame of common switches
_LONGEST_ETHERNET = cython.declare(cython.const[u64], 1500)

# How to search: by the whole flow; by all but the source, which a NAT changed; by all but the destination, where a
# service address was translated; by all but the destination port, which the quote does not reach.
_FLOW = cython.declare(cython.const[cython.int], 0)
_SOURCE_CHANGED = cython.declare(cython.const[cython.int], 1)
_SERVICE = cython.declare(cython.const[cython.int], 2)
_PORTLESS = cython.declare(cython.const[cython.int], 3)

# What a rank is made of, the weightier first; in each, less is better. How the IPv4 id agrees …
_ID_EQUAL = cython.declare(cython.const[cython.int], 0)
_ID_SWAPPED = cython.declare(cython.const[cython.int], 1)  # quoted in the other byte order
_ID_DIFFERS = cython.declare(cython.const[cython.int], 2)
# … and how the UDP length and checksum agree.
_SUMS_EQUAL = cython.declare(cython.const[cython.int], 0)
_LENGTH_EQUAL = cython.declare(cython.const[cython.int], 1)  # no checksum to compare; or the quote has neither
_CHECKSUM_DIFFERS = cython.declare(cython.const[cython.int], 2)
_SEGMENT = cython.declare(cython.const[cython.int], 3)  # the quote is of one of several datagrams in a record
_LENGTH_DIFFERS = cython.declare(cython.const[cython.int], 4)
_SUMS = cython.declare(cython.const[cython.int], 5)  # how many such grades there are

_UNRANKED = cython.declare(cython.const[cython.int], 100)
_REWRITTEN_RANK = cython.declare(cython.const[cython.int], 50)
_SERVICE_RANK = cython.declare(cython.const[cython.int], 51)

_NONE = cython.declare(cython.const[cython.int], 0)
_REWRITTEN = cython.declare(cython.const[cython.int], 1)
_IN_FLOW = cython.declare(cython.const[cython.int], 2)
_EXACT = cython.declare(cython.const[cython.int], 3)

_BY_ID = cython.declare(cython.const[cython.int], 1)
_BY_CHECKSUM = cython.declare(cython.const[cython.int], 2)
_BY_PAYLOAD = cython.declare(cython.const[cython.int], 4)

_SECOND_NS = cython.declare(cython.const[u64], 1_000_000_000)
_COPY_NS = cython.declare(cython.const[i64], 500_000)
_PORT = cython.declare(cython.const[u64], 0xFFFF)
_MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
_LOWER = cython.declare(cython.const[u64], 0xFFFF_FFFF)
_ALL = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
_MOST_SIGNED = cython.declare(cython.const[u64], (1 << 63) - 1)
_FRAGMENTED = cython.declare(cython.const[u64], 2)
_NO_PORTS = cython.declare(cython.const[u64], 4)
_NO_LENGTH = cython.declare(cython.const[u64], 8)
_NO_CHECKSUM = cython.declare(cython.const[u64], 16)
_LATER_FRAGMENT = cython.declare(cython.const[u64], 32)
_IP_ID_SWAPPED = cython.declare(cython.const[u64], 256)
_SOURCE_REWRITTEN = cython.declare(cython.const[u64], 8192)
_DESTINATION_REWRITTEN = cython.declare(cython.const[u64], 1 << 17)
_OFFLOADED = cython.declare(cython.const[u64], 1 << 18)


@cython.final
@cython.cclass
class Match:
    """The result of a search for an error's datagram.

    Attributes:
        sureness: a position in MATCHES.  evidence: bits of EVIDENCE.
        rank: lower is better; 0 where everything agrees.
        conversation, way, ordinal, detail, frame, time_ns: of the datagram; -1, 0 … without one.
        notes: bits of `Note` that follow from the match.
        steps: datagrams compared: of the flow, and of others << 16.
        is_ambiguous: other datagrams have the same payload, as far as it is known.
    """

    def __init__(self) -> None:
        self.clear()

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def clear(self) -> cython.int:
        """Reset to no match."""
        self.sureness, self.rank, self.evidence, self.way, self.steps = 0, _UNRANKED, 0, 0, 0
        self.is_ambiguous = False
        self.detail = self.notes = self.ordinal = 0
        self.frame = self.time_ns = 0
        self.conversation = -1
        return 0


@cython.final
@cython.cclass
class Recent:
    """The ring of the last datagrams.

    Args:
        conversations: holds the head of each chain.
        secret: for its hash table.
    """

    words: memoryview[int]

    def __init__(self, conversations: Conversations, secret: int) -> None:
        self.conversations = conversations
        self.count = 0
        self._memory = bytearray(8 * WIDTH * LEAST_ROOM)
        self.words, self.room = memoryview(self._memory).cast("Q"), LEAST_ROOM
        self.fragments = Table(6, 5, secret_words(secret))
        self._index = memoryview(bytearray(8)).cast("Q")
        self._indexed = 0

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        filled = min(self.count, self.room)
        return _restored, (
            self.conversations,
            self.count,
            filled,
            pickled(memoryview(self.words)[: WIDTH * filled], protocol),
            self.fragments,
        )

    def seal(self) -> None:
        """Forget everything and store nothing more: nothing will be searched for."""
        self._memory = bytearray(8 * WIDTH)
        self.words, self.room = memoryview(self._memory).cast("Q"), 0
        self._index, self._indexed = memoryview(bytearray(8)).cast("Q"), 0
        self.fragments.keep(())

    def reserve(self, count: index) -> None:
        """Make room for `count` more datagrams, as long as the ring is neither at its full size nor sealed."""
        if 0 < self.room < HORIZON and self.count + count > self.room:
            room: index = self.room
            while room < HORIZON and room < self.count + count:
                room *= 2
            self.words = None  # type: ignore[assignment]  # as `Table.reserve`
            self._memory += bytes(8 * WIDTH * (room - self.room))
            self.words, self.room = memoryview(self._memory).cast("Q"), room
        if self.fragments.size + count > self.fragments.room:
            self._forget_fragments()
            self.fragments.reserve(count)

    def _forget_fragments(self) -> None:
        words = memoryview(self.fragments.words)
        self.fragments.keep([row for row in range(self.fragments.size) if words[6 * row + 5] + HORIZON > self.count])

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def add(self, rows: Rows, row: index, conversation: index, way: cython.int) -> cython.int:
        """Remember a datagram. Copies too: an error belongs to the sighting last before it."""
        at: index = cython.cast(index, self.count & cython.cast(u64, self.room - 1)) * WIDTH
        before: u64 = self.conversations.set_head(conversation, way, self.count)
        distance: u64 = self.count + 1 - before if before else 0
        self.words[at + DETAIL] = rows.detail[row]
        self.words[at + TIME_NS] = cython.cast(u64, rows.time_ns[row]) & _MASK64
        self.words[at + PAYLOAD], self.words[at + PAYLOAD + 1] = rows.payload_high[row], rows.payload_low[row]
        self.words[at + FRAME] = cython.cast(u64, rows.frame[row]) << 21 | (distance if distance < _MOST_ROOM else 0)
        self.words[at + FLOW] = cython.cast(u64, conversation) << 33 | cython.cast(u64, way) << 32 | rows.proof[row]
        if rows.detail[row] & _FRAGMENTED:
            self._put_fragment_key(rows, row)
            found: index = self.fragments.find(self.fragments.hash(0), 0)
            if found < 0:
                found = self.fragments.add(self.fragments.hash(0), 0)
            self.fragments.words[6 * found + 5] = self.count + 1
        self.count += 1
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _put_fragment_key(self, rows: Rows, row: index) -> cython.int:
        """Write the key that all fragments of a datagram share: addresses and IP id."""
        self.fragments.keys[0], self.fragments.keys[1] = rows.source_high[row], rows.source_low[row]
        self.fragments.keys[2] = rows.destination_high[row]
        self.fragments.keys[3] = rows.destination_low[row]
        self.fragments.keys[4] = rows.detail[row] >> 48
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def look(
        self, rows: Rows, row: index, conversation: index, way: cython.int, behind: u64, match: Match
    ) -> cython.int:
        """Find the datagram that an error quotes, or a better one than `match` has.

        Args:
            rows, row: the error.
            conversation, way: of the quoted datagram; -1 if unknown.
            behind: number of datagrams between the ring's last one and the error.
            match: what is known already; changed.
        """
        notes: u64 = rows.notes[row]
        if not notes & _NO_PORTS:
            if conversation >= 0:
                self._walk(rows, row, conversation, way, behind, match)
            if match.sureness <= _REWRITTEN:
                self._look_by_end(rows, row, _SOURCE_CHANGED, behind, match)
            if match.sureness == _NONE:
                self._look_by_end(rows, row, _SERVICE, behind, match)
        elif notes & _LATER_FRAGMENT:
            self._look_for_fragment(rows, row, behind, match)
        elif rows.ports[row] >> 16:
            self._look_by_end(rows, row, _PORTLESS, behind, match)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _walk(
        self, rows: Rows, row: index, conversation: index, way: cython.int, behind: u64, match: Match
    ) -> cython.int:
        """Search the datagrams of one conversation and direction, latest first."""
        place: u64 = self.conversations.head(conversation, way)  # 1 + ordinal
        at: index
        rank: cython.int
        ahead_ns: u64
        while place and match.steps & _PORT < _MOST_STEPS:
            if self.count + behind + 1 - place > _MOST_ROOM or self.count + 1 - place > cython.cast(u64, self.room):
                return 0
            match.steps += 1
            at = cython.cast(index, (place - 1) & cython.cast(u64, self.room - 1)) * WIDTH
            ahead_ns = self.words[at + TIME_NS] - cython.cast(u64, rows.time_ns[row]) & _MASK64
            rank = self._rank(rows, row, at, _FLOW)
            if 0 < ahead_ns <= _SECOND_NS:
                rank = -1  # sent after the error, although another queue captured it first
            if rank >= 0:
                if self._evidence & _BY_PAYLOAD and match.evidence & _BY_PAYLOAD:
                    # a neighbour has the same bytes, as far as they are known, so they do not distinguish the two
                    match.is_ambiguous |= match.time_ns - self._time(at) > _COPY_NS
                if rank < match.rank:
                    self._take(conversation, way, place - 1, rank, _FLOW, match)
                if match.is_ambiguous and match.evidence == _BY_PAYLOAD and match.sureness == _EXACT:
                    match.sureness = _IN_FLOW
                if match.rank == 0 and (match.evidence != _BY_PAYLOAD or match.is_ambiguous):
                    return 0
            if not self.words[at + FRAME] & _DISTANCE:
                return 0
            place -= self.words[at + FRAME] & _DISTANCE
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _rank(self, rows: Rows, row: index, at: index, kind: cython.int) -> cython.int:
        """How well an entry agrees with a quote: 0 is best, -1 is impossible. Leaves the evidence in `_evidence`.

        The IPv4 id counts most, then the length, then the checksum; a tunnel only breaks ties. Differing payload bytes
        rule an entry out, unless it is a GSO super-packet that the network card has yet to split: its segments differ,
        and their ids are the super-packet's id and those after it.
        """
        quoted: u64 = rows.detail[row]
        entry: u64 = self.words[at + DETAIL]
        notes: u64 = rows.notes[row]
        proof: u64 = self.words[at + FLOW] & _LOWER
        quoted_id: u64 = quoted >> 48
        entry_id: u64 = entry >> 48
        length: u64 = quoted >> 32 & _PORT
        entry_length: u64 = entry >> 32 & _PORT
        checksum: u64 = quoted >> 16 & _PORT
        evidence: cython.int = 0
        by_id: cython.int = _ID_DIFFERS
        if quoted_id == entry_id:
            by_id = _ID_EQUAL
        elif (quoted_id & 0xFF) << 8 | quoted_id >> 8 == entry_id:
            by_id = _ID_SWAPPED
        if by_id != _ID_DIFFERS and quoted_id:
            evidence |= _BY_ID
        compared: u64 = min(rows.proof[row] >> 8 & 0xFF, proof >> 8 & 0xFF)
        is_super_packet: cython.bint = (
            not notes & _NO_LENGTH and entry_length > length and self._is_super_packet(entry, length, quoted_id, proof)
        )
        if is_super_packet:
            is_within: cython.bint = quoted_id - entry_id & _PORT < min(
                self._segments(entry_length, length), _MOST_SEGMENTS
            )
            by_id = _ID_EQUAL if is_within else _ID_DIFFERS
            if is_within and quoted_id and kind == _FLOW:
                evidence |= _BY_ID
        elif compared:
            if (self.words[at + PAYLOAD] ^ rows.payload_high[row]) >> (64 - 8 * min(compared, 8)):
                return -1
            if compared > 8 and (self.words[at + PAYLOAD + 1] ^ rows.payload_low[row]) >> (128 - 8 * compared):
                return -1
            if compared >= 4:
                evidence |= _BY_PAYLOAD
        by_sums: cython.int = _LENGTH_DIFFERS
        if notes & _NO_LENGTH:
            by_sums = _LENGTH_EQUAL
        elif length == entry_length:
            by_sums = _LENGTH_EQUAL
            if not notes & _NO_CHECKSUM:
                if checksum == (proof >> 16 or entry >> 16 & _PORT):
                    by_sums = _SUMS_EQUAL
                    if checksum and (proof >> 16 or not proof & 1):
                        evidence |= _BY_CHECKSUM
                elif proof & 1 and checksum == entry >> 16 & _PORT:
                    by_sums = _SUMS_EQUAL  # partial in the quote too: equal for all datagrams of this length
                elif proof >> 16 or (checksum and not proof & 1 and entry >> 16 & _PORT):
                    by_sums = _CHECKSUM_DIFFERS  # both whole and different: another datagram, or a NAT
        elif is_super_packet:
            by_sums = _SEGMENT
        if by_id == _ID_DIFFERS and quoted_id and entry_id:
            evidence = 0  # another datagram: it shows the flow only, whatever else agrees
        self._evidence, self._by_id, self._by_sums = evidence, by_id, by_sums
        if kind == _FLOW:
            return (by_id * _SUMS + by_sums) * 2 + (1 if (entry ^ quoted) & 1 else 0)
        # without an id, only the payload can prove what the changed end no longer does
        if (by_id != _ID_EQUAL or not quoted_id) and (
            (quoted_id and entry_id) or not (evidence & _BY_PAYLOAD and compared >= 8)
        ):
            return -1
        if kind == _PORTLESS:
            return 0
        if notes & _NO_LENGTH or length != entry_length:
            return -1
        return _REWRITTEN_RANK if kind == _SOURCE_CHANGED else _SERVICE_RANK

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _is_super_packet(self, entry: u64, length: u64, quoted_id: u64, proof: u64) -> cython.bint:
        """Whether an entry may be an offload record of several datagrams, one of them with this UDP length.

        Such a record has a partial checksum, or it is longer than any link's packets, or it is longer than Ethernet's
        and the quoted id is that of one of its segments. The last segment may be short.
        """
        header: u64 = 28 if entry >> 48 or quoted_id else 48
        size: u64 = (entry >> 32 & _PORT) + header - 8
        count: u64 = min(self._segments(entry >> 32 & _PORT, length), _MOST_SEGMENTS)
        if entry & _FRAGMENTED or count < 2:
            return False
        return (
            proof & 1 != 0
            or size > _LONGEST_PACKET
            or (size > _LONGEST_ETHERNET and quoted_id != 0 and quoted_id - (entry >> 48) & _PORT < count)
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _segments(self, whole: u64, length: u64) -> u64:
        """Number of datagrams of UDP length `length` that a longer record is split into; 0 where impossible."""
        return (whole - 8 + length - 9) // (length - 8) if length > 8 and whole > 8 else 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=True)
    def _time(self, at: index) -> i64:
        """Time at which an entry's datagram was captured."""
        word: u64 = self.words[at + TIME_NS]
        return cython.cast(i64, word) if word <= _MOST_SIGNED else -cython.cast(i64, _ALL - word) - 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _take(
        self, conversation: index, way: cython.int, ordinal: u64, rank: cython.int, kind: cython.int, match: Match
    ) -> cython.int:
        at: index = cython.cast(index, ordinal & cython.cast(u64, self.room - 1)) * WIDTH
        match.rank, match.evidence, match.conversation, match.way = rank, self._evidence, conversation, way
        match.ordinal, match.detail = ordinal, self.words[at + DETAIL]
        match.frame, match.time_ns = cython.cast(i64, self.words[at + FRAME] >> 21), self._time(at)
        match.notes = 0
        if kind == _SOURCE_CHANGED or kind == _SERVICE:
            match.sureness = _REWRITTEN
            match.notes = _SOURCE_REWRITTEN if kind == _SOURCE_CHANGED else _DESTINATION_REWRITTEN
        else:
            match.sureness = _EXACT if match.evidence else _IN_FLOW
            if match.is_ambiguous and match.evidence == _BY_PAYLOAD:
                match.sureness = _IN_FLOW
            if self._by_id == _ID_SWAPPED:
                match.notes = _IP_ID_SWAPPED
            if self._by_sums == _SEGMENT:
                match.notes |= _OFFLOADED
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _look_by_end(self, rows: Rows, row: index, kind: cython.int, behind: u64, match: Match) -> cython.int:
        """Search the datagrams of the one trustworthy end for the latest with the quoted id or payload."""
        quoted_id: u64 = rows.detail[row] >> 48
        swapped: u64 = (quoted_id & 0xFF) << 8 | quoted_id >> 8
        self._fill_index()
        if quoted_id:
            self._look_by_name(rows, row, kind, quoted_id, behind, match)
        if swapped != quoted_id:
            self._look_by_name(rows, row, kind, swapped, behind, match)
        if rows.proof[row] >> 8 & 0xFF >= 8:
            self._look_by_name(rows, row, kind, self._payload_name(rows.payload_high[row]), behind, match)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _look_by_name(
        self, rows: Rows, row: index, kind: cython.int, name: u64, behind: u64, match: Match
    ) -> cython.int:
        by_source: cython.bint = kind != _SOURCE_CHANGED
        high: u64 = rows.source_high[row] if by_source else rows.destination_high[row]
        low: u64 = rows.source_low[row] if by_source else rows.destination_low[row]
        port: u64 = rows.ports[row] >> 16 if by_source else rows.ports[row] & _PORT
        there_high: u64 = rows.reporter_high[row] if kind == _SERVICE else rows.destination_high[row]
        there_low: u64 = rows.reporter_low[row] if kind == _SERVICE else rows.destination_low[row]
        place: u64 = self._index[self._bucket(high, low, port, name, by_source)]  # 1 + ordinal
        conversation: index
        way: cython.int
        rank: cython.int
        at: index
        ahead_ns: u64
        distance: u64
        while place and self.count + behind + 1 - place <= _INDEXED and match.steps >> 16 < _MOST_STEPS:
            at = cython.cast(index, (place - 1) & cython.cast(u64, self.room - 1)) * WIDTH
            conversation = cython.cast(index, self.words[at + FLOW] >> 33)
            way = cython.cast(cython.int, self.words[at + FLOW] >> 32 & 1)
            if self.conversations.goes_to(
                conversation, way if not by_source else 1 - way, high, low, cython.cast(i64, port)
            ):
                # counted apart from the flow's, so that a piece searches as far as the whole capture does
                match.steps += 1 << 16
                ahead_ns = self.words[at + TIME_NS] - cython.cast(u64, rows.time_ns[row]) & _MASK64
                if not 0 < ahead_ns <= _SECOND_NS and (
                    not by_source or self.conversations.goes_to(conversation, way, there_high, there_low, -1)
                ):
                    rank = self._rank(rows, row, at, kind)
                    if rank >= 0:
                        if rank < match.rank or (rank == match.rank and place > match.ordinal + 1):
                            self._take(conversation, way, place - 1, rank, kind, match)
                        return 0
            distance = self._index[self._link(place - 1, by_source)]
            if not distance:
                return 0
            place -= distance
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _fill_index(self) -> cython.int:
        """Add the datagrams that the index lacks, as far back as it reaches."""
        if len(self._index) == 1:
            with cython.gil:
                self._index = memoryview(bytearray(8 * 6 * _INDEXED)).cast("Q")
        ordinal: u64 = self._indexed
        oldest: u64 = min(_INDEXED, cython.cast(u64, self.room))
        if self.count > oldest and ordinal < self.count - oldest:
            ordinal = self.count - oldest
        at: index
        record: index
        conversation: index
        way: cython.int
        end: cython.int
        place: index
        name: u64
        port: u64
        distance: u64
        while ordinal < self.count:
            at = cython.cast(index, ordinal & cython.cast(u64, self.room - 1)) * WIDTH
            conversation = cython.cast(index, self.words[at + FLOW] >> 33)
            way = cython.cast(cython.int, self.words[at + FLOW] >> 32 & 1)
            name = self.words[at + DETAIL] >> 48 or self._payload_name(self.words[at + PAYLOAD])
            for end in range(2):
                # by destination, then by source; a conversation's record has end A first
                record = self.conversations.address_to(conversation, 0 if way == end else 1)
                port = self.conversations.port_to(conversation, 0 if way == end else 1)
                place = self._bucket(
                    self.conversations.table.words[record],
                    self.conversations.table.words[record + 1],
                    port,
                    name,
                    end != 0,
                )
                distance = ordinal + 1 - self._index[place] if self._index[place] else 0
                self._index[self._link(ordinal, end != 0)] = distance if distance < _INDEXED else 0
                self._index[place] = ordinal + 1
            ordinal += 1
        self._indexed = self.count
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def _payload_name(self, payload: u64) -> u64:
        """Index key of a datagram without an id; larger than any id."""
        return payload | cython.cast(u64, 1) << 63

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _bucket(self, high: u64, low: u64, port: u64, name: u64, by_source: cython.bint) -> index:
        """Place in the index of 1 + the ordinal of the latest datagram with this end and name, or the same hash."""
        word: u64 = (self.fragments.secret[0] ^ high) * self.fragments.secret[1] & _MASK64
        word = (word ^ word >> 32 ^ low) * self.fragments.secret[2] & _MASK64
        word = (word ^ word >> 32 ^ port) * self.fragments.secret[3] & _MASK64
        word = (word ^ word >> 32 ^ name) * self.fragments.secret[4] & _MASK64
        return cython.cast(index, (word >> 32 & ((_INDEXED << 1) - 1)) + (_INDEXED << 1 if by_source else 0))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _link(self, ordinal: u64, by_source: cython.bint) -> index:
        """Place in the index of the distance back to the next datagram in the same bucket; 0 for none."""
        return cython.cast(index, (ordinal & (_INDEXED - 1)) + (_INDEXED << 2) + (_INDEXED if by_source else 0))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _look_for_fragment(self, rows: Rows, row: index, behind: u64, match: Match) -> cython.int:
        """Match a quote of a later fragment, which has no ports, by addresses and id."""
        self._put_fragment_key(rows, row)
        found: index = self.fragments.find(self.fragments.hash(0), 0)
        if found < 0 or match.rank == 0:
            return 0
        place: u64 = self.fragments.words[6 * found + 5]
        if self.count + behind + 1 - place > _MOST_ROOM:
            return 0
        at: index = cython.cast(index, (place - 1) & cython.cast(u64, self.room - 1)) * WIDTH
        self._evidence, self._by_id, self._by_sums = _BY_ID, _ID_EQUAL, _SUMS_EQUAL
        self._take(
            cython.cast(index, self.words[at + FLOW] >> 33),
            cython.cast(cython.int, self.words[at + FLOW] >> 32 & 1),
            place - 1,
            0,
            _FLOW,
            match,
        )
        return 0

    def renumber(self, numbers: list[int]) -> None:
        """Apply new numbers of conversations. Datagrams of forgotten ones can no longer be matched."""
        count: index = min(self.count, self.room)
        place: index
        at: index
        number: i64
        flow: u64
        for place in range(count):
            at = cython.cast(index, (self.count - 1 - place) & cython.cast(u64, self.room - 1)) * WIDTH
            flow = self.words[at + FLOW]
            number = numbers[cython.cast(index, flow >> 33)]
            if number >= 0:
                self.words[at + FLOW] = cython.cast(u64, number) << 33 | flow & 0x1_FFFF_FFFF

    def append(self, right: Recent, numbers: list[int], skipped: int, frames: int) -> None:
        """Add the datagrams of the piece directly after this one; `right` must not be used afterwards.

        Args:
            right: its ring.
            numbers: new number here of each of its conversations.
            skipped: number of its first datagrams that are here already.
            frames: number of frames before it.
        """
        first: u64 = max(skipped, right.count - min(right.count, right.room))
        ordinal: u64
        at: index
        here: index
        flow: u64
        before: u64
        distance: u64
        way: cython.int
        conversation: index
        words: views.u64s = right.words
        if first > skipped:
            self.count += first - skipped  # older ones are beyond the horizon
        self.reserve(cython.cast(index, right.count - first))
        heads: Conversations = self.conversations
        ordinal = first
        while ordinal < right.count:
            at = cython.cast(index, ordinal & cython.cast(u64, right.room - 1)) * WIDTH
            here = cython.cast(index, self.count & cython.cast(u64, self.room - 1)) * WIDTH
            flow = words[at + FLOW]
            conversation = numbers[cython.cast(index, flow >> 33)]
            ordinal += 1
            if conversation < 0:
                self.count += 1
                continue
            way = cython.cast(cython.int, flow >> 32 & 1)
            before = heads.head(conversation, way)
            distance = self.count + 1 - before if before and before <= self.count else 0
            self.words[here + DETAIL], self.words[here + TIME_NS] = words[at + DETAIL], words[at + TIME_NS]
            self.words[here + PAYLOAD] = words[at + PAYLOAD]
            self.words[here + PAYLOAD + 1] = words[at + PAYLOAD + 1]
            self.words[here + FRAME] = ((words[at + FRAME] >> 21) + cython.cast(u64, frames)) << 21 | (
                distance if distance < _MOST_ROOM else 0
            )
            self.words[here + FLOW] = cython.cast(u64, conversation) << 33 | flow & 0x1_FFFF_FFFF
            heads.set_head(conversation, way, self.count)
            self.count += 1
        self._append_fragments(right, skipped)

    def _append_fragments(self, right: Recent, skipped: int) -> None:
        words: views.u64s = right.fragments.words
        row: index
        place: index
        found: index
        shift: u64 = self.count - right.count
        for row in range(right.fragments.size):
            if words[6 * row + 5] <= cython.cast(u64, skipped):
                continue
            self.fragments.reserve(1)
            for place in range(5):
                self.fragments.keys[place] = words[6 * row + place]
            found = self.fragments.find(self.fragments.hash(0), 0)
            if found < 0:
                found = self.fragments.add(self.fragments.hash(0), 0)
            self.fragments.words[6 * found + 5] = words[6 * row + 5] + shift


def _restored(conversations: Conversations, count: int, filled: int, words: Pickled, fragments: Table) -> Recent:
    made: Recent = Recent(conversations, 0)
    made.fragments = fragments
    if count and not filled:
        made.seal()
    elif filled:
        # a ring that is not full is filled from its start
        made.reserve(filled)
        memory = memoryview(words).cast("B")
        memoryview(made.words).cast("B")[: len(memory)] = memory
    made.count = count
    return made
