"""Errors, counted: a row for each kind of error, destination and reporter; and loops that were seen without errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsIndex

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

from udpprobe.core import views
from udpprobe.core.flows import Conversations
from udpprobe.core.histogram import Histograms
from udpprobe.core.recent import Match
from udpprobe.core.rows import Rows
from udpprobe.core.table import Table, secret_words

# A finding's row: its key, then its counters.
HIGH = cython.declare(cython.const[index], 0)  # the destination
LOW = cython.declare(cython.const[index], 1)
REPORTER_HIGH = cython.declare(cython.const[index], 2)
REPORTER_LOW = cython.declare(cython.const[index], 3)
# `Rows.kind` << 20 | the destination's port << 2 | from the destination itself << 1 | matched
KIND = cython.declare(cython.const[index], 4)
MTU = cython.declare(cython.const[index], 5)  # a tunnel's bytes << 50 | MTU + 1 << 17 | source port
SOURCE_HIGH = cython.declare(cython.const[index], 6)
SOURCE_LOW = cython.declare(cython.const[index], 7)
KEY = cython.declare(cython.const[index], 8)
COUNT = cython.declare(cython.const[index], 8)
FIRST_NS = cython.declare(cython.const[index], 9)  # times are stored + BIAS_NS
LAST_NS = cython.declare(cython.const[index], 10)
NOTES = cython.declare(cython.const[index], 11)  # sureness << 56 | evidence << 48 | notes
LENGTH = cython.declare(cython.const[index], 12)  # of the shortest datagram
TTLS = cython.declare(cython.const[index], 13)  # 256 bits: TTLs of the matched datagrams
WIDTH = cython.declare(cython.const[index], 17)

# A loop's row: destination, port (and source), passes, first, last, period.
LOOP_KEY = cython.declare(cython.const[index], 6)
PASSES = cython.declare(cython.const[index], 6)
LOOP_FIRST_NS = cython.declare(cython.const[index], 7)
LOOP_LAST_NS = cython.declare(cython.const[index], 8)
PERIOD = cython.declare(cython.const[index], 9)
LOOP_WIDTH = cython.declare(cython.const[index], 10)

# An offload record that the network card had yet to split: frame, destination and ports (and source, by flow); UDP
# lengths of the record and of its longest quoted segment; bytes of its IP and UDP headers.
RECORD_KEY = cython.declare(cython.const[index], 6)
WHOLE = cython.declare(cython.const[index], 6)
SEGMENT = cython.declare(cython.const[index], 7)
HEADERS = cython.declare(cython.const[index], 8)
RECORD_WIDTH = cython.declare(cython.const[index], 9)

# An answer from another host: the conversation that it began, the row of its finding, and how many of its datagrams are
# counted there.
ANSWER_KEY = cython.declare(cython.const[index], 1)
ANSWER_FINDING = cython.declare(cython.const[index], 1)
ANSWER_COUNTED = cython.declare(cython.const[index], 2)
ANSWER_WIDTH = cython.declare(cython.const[index], 3)

# Columns of a conversation's record: copies of constants of `flows`, because typed ones are invisible to other modules.
_CONVERSATION_WIDTH = cython.declare(cython.const[index], 16)
_CONVERSATION_LAST_NS = cython.declare(cython.const[index], 5)
_CONVERSATION_SENT = cython.declare(cython.const[index], 8)
_CONVERSATION_FIRST_NS = cython.declare(cython.const[index], 12)

BIAS_NS = 1 << 63
"""Added to stored times, so that unsigned comparison orders negative ones too."""

NO_PORT = 1 << 16
"""Port of a destination of which only the address is known."""

_NO_PORT = cython.declare(cython.const[u64], 1 << 16)
_PORT = cython.declare(cython.const[u64], 0xFFFF)
_MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
_BIAS = cython.declare(cython.const[u64], 1 << 63)
_NOTE_BITS = cython.declare(cython.const[u64], (1 << 48) - 1)
_WITHOUT_PORTS = cython.declare(cython.const[u64], 4 | 32)
_SEEN_BEFORE = cython.declare(cython.const[u64], 1 << 16)
_UNKNOWN_LENGTH = cython.declare(cython.const[i64], 1 << 20)
_LONGEST_RTT_NS = cython.declare(cython.const[i64], 300_000_000_000)
_TUNNEL = cython.declare(cython.const[u64], (1 << 14) - 1)
_NO_NEIGHBOUR = cython.declare(cython.const[u64], 1 << 20)
_HOST_UNREACH = cython.declare(cython.const[u64], 4 << 16 | 3 << 8 | 1)
_ADDRESS_UNREACH = cython.declare(cython.const[u64], 6 << 16 | 1 << 8 | 3)
_OFFLOADED = cython.declare(cython.const[u64], 1 << 18)


@cython.final
@cython.cclass
class Findings:
    """What errors and duplicates have shown so far.

    Args:
        conversations: those that matches refer to.
        secret: for hash tables.
        by_flow: whether each source is counted apart.
    """

    def __init__(self, conversations: Conversations, secret: int, *, by_flow: bool = False) -> None:
        self.conversations, self.by_flow = conversations, by_flow
        self.table = Table(WIDTH, KEY, secret_words(secret))
        self.loops = Table(LOOP_WIDTH, LOOP_KEY, secret_words(secret))
        self.records = Table(RECORD_WIDTH, RECORD_KEY, secret_words(secret))
        self.answers = Table(ANSWER_WIDTH, ANSWER_KEY, secret_words(secret))
        self.rtt = Histograms()

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        return _restored, (
            self.conversations,
            self.by_flow,
            self.table,
            self.loops,
            self.records,
            self.answers,
            self.rtt,
        )

    def reserve(self, count: index) -> None:
        """Make room for `count` more errors and datagrams."""
        if self.table.size + count > self.table.room:
            self.table.reserve(count)
        if self.loops.size + count > self.loops.room:
            self.loops.reserve(count)
        if self.records.size + count > self.records.room:
            self.records.reserve(count)
        if self.answers.size + count > self.answers.room:
            self.answers.reserve(count)
        if self.rtt.pending + count > self.rtt.room:
            self.rtt.reserve(count)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def add(self, rows: Rows, row: index, match: Match, is_copy: cython.bint) -> index:
        """Count an error with its match; return its finding's row.

        A finding is about the destination that was asked. Where a service address was translated, the quote names
        another.
        """
        high: u64 = rows.destination_high[row]
        low: u64 = rows.destination_low[row]
        ports: u64 = rows.ports[row]
        port: u64 = ports & _PORT
        to: index
        if match.sureness:
            to = self.conversations.address_to(match.conversation, match.way)
            high, low = self.conversations.table.words[to], self.conversations.table.words[to + 1]
            port = self.conversations.port_to(match.conversation, match.way)
            ports = self.conversations.port_to(match.conversation, 1 - match.way) << 16 | port
        elif rows.notes[row] & _WITHOUT_PORTS:
            port = _NO_PORT
        itself: u64 = 1 if rows.reporter_high[row] == high and rows.reporter_low[row] == low else 0
        self.table.keys[0], self.table.keys[1] = high, low
        self.table.keys[2], self.table.keys[3] = rows.reporter_high[row], rows.reporter_low[row]
        self.table.keys[4] = rows.kind[row] << 20 | port << 2 | itself << 1 | (1 if match.sureness else 0)
        self.table.keys[5] = (rows.outer[row] >> 16 & _TUNNEL) << 50 | cython.cast(u64, rows.mtu[row] + 1) << 17
        self.table.keys[6] = self.table.keys[7] = 0
        if self.by_flow:
            self.table.keys[5] |= ports >> 16
            self.table.keys[6], self.table.keys[7] = rows.source_high[row], rows.source_low[row]
        found: index = self.table.find(self.table.hash(0), 0)
        is_first: cython.bint = found < 0
        if is_first:
            found = self.table.add(self.table.hash(0), 0)
        self._count(found, rows, row, match, is_copy, is_first)
        if match.notes & _OFFLOADED:
            self._add_record(rows, row, match, high, low, ports)
        return found

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _add_record(self, rows: Rows, row: index, match: Match, high: u64, low: u64, ports: u64) -> cython.int:
        """Note that an error quotes one segment of a record: it was more than one datagram.

        Linux splits a record into at most 128 (UDP_MAX_SEGMENTS). A shorter segment must be the last one, which tells
        nothing about the size of the others.
        """
        segment: u64 = rows.detail[row] >> 32 & _PORT
        if segment < 9 or ((match.detail >> 32 & _PORT) - 9) // (segment - 8) >= 128:
            return 0
        self.records.keys[0] = cython.cast(u64, match.frame)
        self.records.keys[1], self.records.keys[2], self.records.keys[3] = high, low, ports & _PORT
        self.records.keys[4] = self.records.keys[5] = 0
        if self.by_flow:
            self.records.keys[3] = ports
            self.records.keys[4], self.records.keys[5] = rows.source_high[row], rows.source_low[row]
        found: index = self.records.find(self.records.hash(0), 0)
        if found < 0:
            found = self.records.add(self.records.hash(0), 0)
        at: index = found * RECORD_WIDTH
        self.records.words[at + WHOLE] = match.detail >> 32 & _PORT
        self.records.words[at + SEGMENT] = max(self.records.words[at + SEGMENT], segment)
        self.records.words[at + HEADERS] = 28 if high == 0 and low >> 32 == 0xFFFF else 48
        return 0

    def split_records(self, endpoints: Table) -> None:
        """Count offload records in endpoints as the datagrams they were split into, by their longest quoted segment.

        Args:
            endpoints: as `Conversations.totals` makes them.
        """
        row: index
        at: index
        found: index
        more: u64
        words: views.u64s = self.records.words
        for row in range(self.records.size):
            at = row * RECORD_WIDTH
            endpoints.keys[0], endpoints.keys[1] = words[at + 1], words[at + 2]
            endpoints.keys[2], endpoints.keys[5] = words[at + 3] & _PORT, words[at + 3] >> 16
            endpoints.keys[3], endpoints.keys[4] = words[at + 4], words[at + 5]
            found = endpoints.find(endpoints.hash(0), 0)
            if found < 0:
                continue  # it has been forgotten
            more = (words[at + WHOLE] - 9) // (words[at + SEGMENT] - 8)  # ⌈payload / segment⌉ - 1
            found *= 12
            endpoints.words[found + 6] += more
            endpoints.words[found + 7] += more * words[at + HEADERS]
            endpoints.words[found + 8] += more

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def add_answer(self, question: index, answer: index) -> cython.int:
        """Note an answer from another host: a finding with ICMP type 0, which no error has, and its port as the MTU.

        `count_answers` counts this datagram and those after it.

        Args:
            question: the conversation that it answers.
            answer: the conversation that it begins.
        """
        asked_way: cython.int = self.conversations.first_way(question)
        answer_way: cython.int = self.conversations.first_way(answer)
        to: index = self.conversations.address_to(question, asked_way)
        source: index = self.conversations.address_to(question, 1 - asked_way)
        source_port: u64 = self.conversations.port_to(question, 1 - asked_way)
        by: index = self.conversations.address_to(answer, 1 - answer_way)
        port: u64 = self.conversations.port_to(answer, 1 - answer_way)
        high: u64 = self.conversations.table.words[by]
        low: u64 = self.conversations.table.words[by + 1]
        family: u64 = 4 if high == 0 and low >> 32 == 0xFFFF else 6
        self.table.keys[0] = self.conversations.table.words[to]
        self.table.keys[1] = self.conversations.table.words[to + 1]
        self.table.keys[2], self.table.keys[3] = high, low
        self.table.keys[4] = family << 36 | self.conversations.port_to(question, asked_way) << 2 | 1
        self.table.keys[5] = port + 1 << 17
        self.table.keys[6] = self.table.keys[7] = 0
        if self.by_flow:
            self.table.keys[5] |= source_port
            self.table.keys[6] = self.conversations.table.words[source]
            self.table.keys[7] = self.conversations.table.words[source + 1]
        found: index = self.table.find(self.table.hash(0), 0)
        time_ns: u64 = self.conversations.table.words[answer * _CONVERSATION_WIDTH + _CONVERSATION_FIRST_NS] ^ _BIAS
        if found < 0:
            found = self.table.add(self.table.hash(0), 0)
            self.table.words[found * WIDTH + FIRST_NS] = time_ns
            self.table.words[found * WIDTH + LENGTH] = cython.cast(u64, _UNKNOWN_LENGTH)
        at: index = found * WIDTH
        self.table.words[at + FIRST_NS] = min(self.table.words[at + FIRST_NS], time_ns)
        self.answers.keys[0] = cython.cast(u64, answer)
        place: index = self.answers.find(self.answers.hash(0), 0)
        if place < 0:
            place = self.answers.add(self.answers.hash(0), 0)
        self.answers.words[place * ANSWER_WIDTH + ANSWER_FINDING] = cython.cast(u64, found)
        return 0

    def count_answers(self) -> None:
        """Count the datagrams of answers from another host that were not counted yet.

        The conversation's last time stands for the answer's, although a datagram the other way may be later.
        """
        row: index
        at: index
        here: index
        answer: index
        sent: u64
        last_ns: u64
        words: views.u64s = self.answers.words
        conversations: views.u64s = self.conversations.table.words
        for row in range(self.answers.size if self.conversations.table.size else 0):  # empty after `close`
            answer = cython.cast(index, words[row * ANSWER_WIDTH])
            at = _CONVERSATION_WIDTH * answer
            here = WIDTH * cython.cast(index, words[row * ANSWER_WIDTH + ANSWER_FINDING])
            sent = conversations[at + _CONVERSATION_SENT + self.conversations.first_way(answer)]
            self.table.words[here + COUNT] += sent - words[row * ANSWER_WIDTH + ANSWER_COUNTED]
            last_ns = conversations[at + _CONVERSATION_LAST_NS] ^ _BIAS
            self.table.words[here + LAST_NS] = max(self.table.words[here + LAST_NS], last_ns)
            words[row * ANSWER_WIDTH + ANSWER_COUNTED] = sent

    def renumber(self, conversations: Sequence[int], findings: Sequence[int] | None = None) -> None:
        """Follow a compaction of tables: `answers` refers to conversations and findings by their row numbers.

        An answer is forgotten with its conversation or its finding. So call `count_answers` before rows are dropped:
        otherwise the datagrams since the last count are lost.

        Args:
            conversations: by old number, the new number of each conversation; -1 for a forgotten one.
            findings: the same for findings; None if their numbers are unchanged.
        """
        answers = self.answers
        self.answers = Table(ANSWER_WIDTH, ANSWER_KEY, memoryview(answers.secret))
        self._move_answers(answers, conversations, range(self.table.size) if findings is None else findings)

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all findings but these rows, ascending."""
        self.count_answers()
        places = {row: place for place, row in enumerate(rows)}
        self.renumber(range(self.conversations.table.size), [places.get(row, -1) for row in range(self.table.size)])
        self.table.keep(rows)
        self.rtt.keep(rows)

    def _move_answers(self, answers: Table, conversations: Sequence[int], findings: Sequence[int]) -> None:
        """Add answers with new numbers for their conversation and finding; leave out those with a -1."""
        for row in range(answers.size):
            old = memoryview(answers.words)[row * ANSWER_WIDTH : (row + 1) * ANSWER_WIDTH].tolist()
            conversation, finding = conversations[old[0]], findings[old[1]]
            if conversation >= 0 and finding >= 0:
                at: index = self.answers.add_key((conversation,)) * ANSWER_WIDTH
                self.answers.words[at + ANSWER_FINDING] = cython.cast(u64, finding)
                self.answers.words[at + ANSWER_COUNTED] += cython.cast(u64, old[2])

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _count(
        self, found: index, rows: Rows, row: index, match: Match, is_copy: cython.bint, is_first: cython.bint
    ) -> cython.int:
        at: index = found * WIDTH
        time_ns: u64 = (cython.cast(u64, rows.time_ns[row]) & _MASK64) ^ _BIAS
        length: u64 = cython.cast(u64, self.length_of(rows, row, match))
        self.table.words[at + COUNT] += 0 if is_copy else 1
        self.table.words[at + FIRST_NS] = time_ns if is_first else min(self.table.words[at + FIRST_NS], time_ns)
        self.table.words[at + LAST_NS] = max(self.table.words[at + LAST_NS], time_ns)
        self.table.words[at + LENGTH] = length if is_first else min(self.table.words[at + LENGTH], length)
        sureness: u64 = max(self.table.words[at + NOTES] >> 56, cython.cast(u64, match.sureness))
        evidence: u64 = self.table.words[at + NOTES] >> 48 & 0xFF | cython.cast(u64, match.evidence)
        # A host sends this to itself when it finds no neighbour: the time it takes is no round trip.
        own: u64 = (
            _NO_NEIGHBOUR
            if (
                (rows.kind[row] == _HOST_UNREACH or rows.kind[row] == _ADDRESS_UNREACH)
                and rows.reporter_high[row] == rows.source_high[row]
                and rows.reporter_low[row] == rows.source_low[row]
            )
            else 0
        )
        notes: u64 = (rows.notes[row] | match.notes | self._mtu_notes(rows, row, length)) & ~_SEEN_BEFORE
        notes |= self.table.words[at + NOTES] & _NOTE_BITS | own
        self.table.words[at + NOTES] = sureness << 56 | evidence << 48 | notes
        if match.sureness:
            ttl: u64 = match.detail >> 8 & 0xFF
            self.table.words[at + TTLS + cython.cast(index, ttl >> 6)] |= cython.cast(u64, 1) << (ttl & 63)
            rtt_ns: i64 = rows.time_ns[row] - match.time_ns
            if not is_copy and not own and 0 <= rtt_ns <= _LONGEST_RTT_NS:
                self.rtt.add(found, rtt_ns)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def length_of(self, rows: Rows, row: index, match: Match) -> i64:
        """Length of the datagram's IP packet, by the quote or by the matched datagram's UDP length; or UNKNOWN."""
        if rows.length[row] < _UNKNOWN_LENGTH:
            return rows.length[row]
        detail: u64 = match.detail if match.sureness else rows.detail[row]
        udp_length: i64 = cython.cast(i64, detail >> 32 & _PORT)
        if udp_length >= 8 and not detail & 2:
            return udp_length + (20 if (rows.kind[row] >> 16 == 4) != (rows.outer[row] & 8 != 0) else 40)
        return _UNKNOWN_LENGTH

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def _mtu_notes(self, rows: Rows, row: index, length: u64) -> u64:
        """Notes on an implausible reported MTU (RFC 791; RFC 1191; RFC 8200, section 5)."""
        mtu: i64 = rows.mtu[row]
        if mtu < 0:
            return 0
        if mtu == 0:
            return 512
        notes: u64 = 0
        if mtu < (68 if rows.kind[row] >> 16 == 4 else 1280):
            notes |= 1024
        if cython.cast(u64, mtu) >= length + (rows.outer[row] >> 16 & _TUNNEL):
            notes |= 2048
        return notes

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def add_pass(self, rows: Rows, row: index, falls: cython.int, step: cython.int, since_ns: i64) -> cython.int:
        """Count a datagram that went round a loop."""
        self.loops.keys[0], self.loops.keys[1] = rows.destination_high[row], rows.destination_low[row]
        self.loops.keys[2] = rows.ports[row] & _PORT
        self.loops.keys[3] = self.loops.keys[4] = self.loops.keys[5] = 0
        if self.by_flow:
            self.loops.keys[3], self.loops.keys[4] = rows.source_high[row], rows.source_low[row]
            self.loops.keys[5] = rows.ports[row] >> 16
        found: index = self.loops.find(self.loops.hash(0), 0)
        if found < 0:
            found = self.loops.add(self.loops.hash(0), 0)
        at: index = found * LOOP_WIDTH
        time_ns: u64 = (cython.cast(u64, rows.time_ns[row]) & _MASK64) ^ _BIAS
        first_ns: u64 = (cython.cast(u64, since_ns) & _MASK64) ^ _BIAS
        self.loops.words[at + LOOP_FIRST_NS] = (
            min(self.loops.words[at + LOOP_FIRST_NS], first_ns) if self.loops.words[at + PASSES] else first_ns
        )
        self.loops.words[at + LOOP_LAST_NS] = max(self.loops.words[at + LOOP_LAST_NS], time_ns)
        self.loops.words[at + PASSES] += cython.cast(u64, falls)
        self.loops.words[at + PERIOD] = self._common(self.loops.words[at + PERIOD], cython.cast(u64, step))
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def _common(self, one: u64, other: u64) -> u64:
        """Greatest common divisor."""
        while other:
            one, other = other, one % other
        return one

    def append(self, right: Findings, frames: int, numbers: Sequence[int] = ()) -> list[int]:
        """Add the findings of another piece, whose answers are counted; return the row here of each of its rows.

        Args:
            right: the other's findings.
            frames: number of frames before it.
            numbers: number here of each of its conversations; without them, no conversation continues here.
        """
        rows = self._merge(self.table, right.table)
        if numbers:
            self._move_answers(right.answers, numbers, rows)
        self.rtt.absorb(right.rtt, rows or [-1])
        words: views.u64s = right.loops.words
        row: index
        found: index
        here: index
        at: index
        for row, found in enumerate(_rows_here(self.loops, right.loops)):
            here, at = found * LOOP_WIDTH, row * LOOP_WIDTH
            mine: views.u64s = self.loops.words
            is_new: cython.bint = not mine[here + PASSES]
            mine[here + LOOP_FIRST_NS] = (
                words[at + LOOP_FIRST_NS] if is_new else min(mine[here + LOOP_FIRST_NS], words[at + LOOP_FIRST_NS])
            )
            mine[here + LOOP_LAST_NS] = max(mine[here + LOOP_LAST_NS], words[at + LOOP_LAST_NS])
            mine[here + PASSES] += words[at + PASSES]
            mine[here + PERIOD] = self._common(mine[here + PERIOD], words[at + PERIOD])
        words = right.records.words
        for row in range(right.records.size):
            words[row * RECORD_WIDTH] += cython.cast(u64, frames)
        for row, found in enumerate(_rows_here(self.records, right.records)):
            here, at = found * RECORD_WIDTH, row * RECORD_WIDTH
            mine = self.records.words
            mine[here + WHOLE], mine[here + HEADERS] = words[at + WHOLE], words[at + HEADERS]
            mine[here + SEGMENT] = max(mine[here + SEGMENT], words[at + SEGMENT])
        return rows

    def _merge(self, mine: Table, theirs: Table) -> list[int]:
        new: index = mine.size
        rows = _rows_here(mine, theirs)
        words: views.u64s = theirs.words
        own: views.u64s = mine.words
        row: index
        at: index
        here: index
        place: index
        for row in range(theirs.size):
            at = row * WIDTH
            here = rows[row]
            here *= WIDTH
            is_new: cython.bint = rows[row] >= new
            own[here + COUNT] += words[at + COUNT]
            own[here + FIRST_NS] = words[at + FIRST_NS] if is_new else min(own[here + FIRST_NS], words[at + FIRST_NS])
            own[here + LAST_NS] = max(own[here + LAST_NS], words[at + LAST_NS])
            own[here + LENGTH] = words[at + LENGTH] if is_new else min(own[here + LENGTH], words[at + LENGTH])
            own[here + NOTES] = max(own[here + NOTES] >> 56, words[at + NOTES] >> 56) << 56 | (
                own[here + NOTES] | words[at + NOTES]
            ) & ((_PORT >> 8) << 48 | _NOTE_BITS)
            for place in range(4):
                own[here + TTLS + place] |= words[at + TTLS + place]
        return rows


def _rows_here(mine: Table, theirs: Table) -> list[int]:
    """For each row of `theirs`, the row of `mine` with the same key; added where there is none."""
    rows: list[int] = []
    row: index
    place: index
    found: index
    words: views.u64s = theirs.words
    for row in range(theirs.size):
        mine.reserve(1)
        for place in range(theirs.key_width):
            mine.keys[place] = words[row * theirs.width + place]
        found = mine.find(mine.hash(0), 0)
        if found < 0:
            found = mine.add(mine.hash(0), 0)
        rows.append(found)
    return rows


def _restored(
    conversations: Conversations,
    by_flow: bool,
    table: Table,
    loops: Table,
    records: Table,
    answers: Table,
    rtt: Histograms,
) -> Findings:
    made = Findings(conversations, 0, by_flow=by_flow)
    made.table, made.loops, made.records, made.answers, made.rtt = table, loops, records, answers, rtt
    return made
