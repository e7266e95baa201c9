"""Packets in, conclusions out: the one path that every command takes.

`Analyzer.feed` reads records, decodes each frame, and updates conversations, duplicates and the ring of recent
datagrams. For each ICMP error it finds the datagram that caused it. Packets are handled in groups of GROUP, so that
their cache misses overlap: one loop reads each packet's slot, a second touches each one's record, a third counts.

A capture may be analysed in pieces at the same time. `append` then joins their states to exactly what one analyzer
would know of the whole. A piece keeps what it cannot decide without the piece before: its first packets (`head`), and
errors for which an earlier piece may hold a better datagram (`unsure`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import SupportsIndex

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

from udpprobe.core import views
from udpprobe.core.capture import Records
from udpprobe.core.decode import Decoder
from udpprobe.core.duplicates import HEAD, Duplicates
from udpprobe.core.filter import Filter
from udpprobe.core.findings import Findings
from udpprobe.core.flows import Conversations
from udpprobe.core.ports import Ports
from udpprobe.core.recent import Match, Recent
from udpprobe.core.rows import Rows
from udpprobe.core.views import Pickled, pickled, restored

GROUP = 64
"""Rows that are handled together."""

KEPT_ROWS = 1 << 10
"""Rows of one `Kept`."""

MOST_WAITING = 1 << 16
"""Most rows that wait to be sorted by time."""

_GROUP = cython.declare(cython.const[index], 64)
_ROWS = cython.declare(cython.const[index], 128)
_KEPT = cython.declare(cython.const[index], 1 << 10)
_MESSAGES = cython.declare(cython.const[index], 128 << 12)  # holds more than the messages of one group
_HORIZON = cython.declare(cython.const[u64], 1 << 20)
_MOST_WAITING = cython.declare(cython.const[index], 1 << 16)
_FRAME = cython.declare(cython.const[cython.int], 0)  # capture.FRAME
_FULL = cython.declare(cython.const[cython.int], 10)  # tables are full
_SECOND_NS = cython.declare(cython.const[i64], 1_000_000_000)
_EARLIEST_NS = cython.declare(cython.const[i64], -(1 << 63))
_LATEST_NS = cython.declare(cython.const[i64], (1 << 63) - 1)
_MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
_MOST_SIGNED = cython.declare(cython.const[u64], (1 << 63) - 1)
_SEEN_BEFORE = cython.declare(cython.const[u64], 1 << 16)
_BY_PAYLOAD = cython.declare(cython.const[cython.int], 4)
_NEW = cython.declare(cython.const[cython.int], 0)
_PASS = cython.declare(cython.const[cython.int], 2)
_CONVERSATION_WIDTH = cython.declare(cython.const[index], 16)  # a copy of the number in `flows`
MATCH_WORDS = cython.declare(cython.const[index], 8)


@cython.final
@cython.cclass
class Kept:
    """Rows that outlive their frames; errors with their messages and matches.

    Args:
        room: number of rows.
        keeps_messages: whether to keep the messages too.
    """

    def __init__(self, room: index, *, keeps_messages: bool = False) -> None:
        self.rows = Rows(room)
        self.words = memoryview(bytearray(8 * MATCH_WORDS * room)).cast("Q")
        self.messages = bytearray(room * 160 + _MESSAGES if keeps_messages else 1)
        self.message_bytes = memoryview(self.messages)
        self.messages_end = 0

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        return _kept, (
            self.rows,
            pickled(memoryview(self.words)[: MATCH_WORDS * self.rows.size], protocol),
            pickled(memoryview(self.messages)[: self.messages_end], protocol),
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def add(self, rows: Rows, row: index, messages: views.u8s) -> cython.int:
        """Append a row, and as much of its message as fits."""
        new: index = self.rows.copy_row(rows, row)
        if not rows.is_error[row]:
            return 0
        at: index = rows.message[row]
        size: index = rows.message_end[row] - at
        self.rows.message[new] = self.messages_end
        if self.messages_end + size > len(self.message_bytes):
            size = 0
        place: index
        for place in range(size):
            self.message_bytes[self.messages_end + place] = messages[at + place]
        self.messages_end += size
        self.rows.message_end[new] = self.messages_end
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def put_match(self, row: index, match: Match, finding: u64, before: u64) -> cython.int:
        """Store a row's match, its finding, and the number of datagrams before it."""
        at: index = row * MATCH_WORDS
        self.words[at] = (
            cython.cast(u64, match.steps) << 32
            | cython.cast(u64, match.rank) << 24
            | cython.cast(u64, match.evidence) << 16
            | cython.cast(u64, match.sureness) << 8
            | cython.cast(u64, match.is_ambiguous) << 1
            | cython.cast(u64, match.way)
        )
        self.words[at + 1], self.words[at + 2], self.words[at + 3] = match.detail, match.notes, match.ordinal
        self.words[at + 4] = cython.cast(u64, match.frame)
        self.words[at + 5] = cython.cast(u64, match.time_ns) & _MASK64
        self.words[at + 6] = cython.cast(u64, match.conversation + 1) << 32 | finding
        self.words[at + 7] = before
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def load_match(self, row: index, match: Match) -> cython.int:
        """Load a row's stored match into `match`."""
        at: index = row * MATCH_WORDS
        match.steps = cython.cast(cython.int, self.words[at] >> 32)
        match.rank = cython.cast(cython.int, self.words[at] >> 24 & 0xFF)
        match.evidence = cython.cast(cython.int, self.words[at] >> 16 & 0xFF)
        match.sureness = cython.cast(cython.int, self.words[at] >> 8 & 0xFF)
        match.is_ambiguous = self.words[at] >> 1 & 1 != 0
        match.way = cython.cast(cython.int, self.words[at] & 1)
        match.detail, match.notes, match.ordinal = self.words[at + 1], self.words[at + 2], self.words[at + 3]
        match.frame = cython.cast(i64, self.words[at + 4])
        time_ns: u64 = self.words[at + 5]
        match.time_ns = (
            cython.cast(i64, time_ns) if time_ns <= _MOST_SIGNED else -cython.cast(i64, _MASK64 - time_ns) - 1
        )
        match.conversation = cython.cast(index, self.words[at + 6] >> 32) - 1
        return 0

    def finding(self, row: index) -> int:
        """The finding that a row was counted in."""
        return self.words[row * MATCH_WORDS + 6] & 0xFFFF_FFFF

    def set_finding(self, row: index, finding: int) -> None:
        """Set the finding that a row was counted in."""
        at: index = row * MATCH_WORDS + 6
        self.words[at] = self.words[at] >> 32 << 32 | finding

    def shift(self, frames: int) -> None:
        """Add `frames` to the frame numbers of the rows and of their matches."""
        row: index
        for row in range(self.rows.size):
            self.rows.frame[row] += frames
            if self.words[row * MATCH_WORDS] >> 8 & 0xFF:
                self.words[row * MATCH_WORDS + 4] += cython.cast(u64, frames)

    def rows_before(self, count: int) -> None:
        """Add `count` to the ordinals of the matched datagrams."""
        row: index
        for row in range(self.rows.size):
            if self.words[row * MATCH_WORDS] >> 8 & 0xFF:
                self.words[row * MATCH_WORDS + 3] += count

    def use_messages(self, messages: bytearray, end: int) -> None:
        """Let the rows' messages point into these bytes, up to `end`."""
        self.messages, self.message_bytes, self.messages_end = messages, memoryview(messages), end

    def message_view(self) -> memoryview:
        """The buffer of the rows' messages."""
        return memoryview(self.messages)

    def frames(self) -> list[int]:
        """Frame number of each row."""
        return list(memoryview(self.rows.frame)[: self.rows.size])

    def message(self, row: index) -> bytes:
        """The ICMP message of a row, as far as it was captured."""
        return bytes(memoryview(self.messages)[self.rows.message[row] : self.rows.message_end[row]])


def _kept(rows: Rows, words: Pickled, messages: Pickled) -> Kept:
    kept: Kept = Kept(1)
    kept.rows = rows
    kept.words = restored(words, "Q")
    kept.messages = bytearray(messages)
    kept.messages_end = len(kept.messages)
    kept.message_bytes = memoryview(kept.messages)
    return kept


@cython.final
@cython.cclass
class Analyzer:
    """The state of a capture, or of a piece of one.

    Args:
        secret: for hash tables; pieces that will be joined share it.
        by_flow: whether each source is counted apart.
        keeps_events: whether each error is kept, with its bytes, in `events`.
        is_first: whether the capture begins with this piece.
        is_ordered: whether to sort frames that are out of order by up to a second.

    Attributes:
        ports: the local ports seen sending, once `Ports.expect` was given this host's addresses.
    """

    def __init__(
        self,
        secret: int,
        *,
        by_flow: bool = False,
        keeps_events: bool = False,
        is_first: bool = True,
        is_ordered: bool = False,
    ) -> None:
        self.secret, self.keeps_events, self.is_first, self.is_ordered = secret, keeps_events, is_first, is_ordered
        self.decoder = Decoder(GROUP, keeps_messages=keeps_events)
        self.conversations = Conversations(secret, by_flow=by_flow, is_first=is_first)
        self.recent = Recent(self.conversations, secret)
        self.duplicates = Duplicates(secret)
        self.findings = Findings(self.conversations, secret, by_flow=by_flow)
        self.match = Match()
        self.ports = Ports(secret)
        self.packets = self.bytes = self.frames = 0
        self.first_ns, self.last_ns = _LATEST_NS, _EARLIEST_NS
        self.since_ns, self.until_ns = _EARLIEST_NS, _LATEST_NS
        self.is_filtered = self._is_joining = False
        self.events: list[Kept] = []
        self.head: list[Kept] = []
        self.unsure: list[Kept] = []
        self.head_left = 0 if is_first else HEAD
        self.head_datagrams = 0
        self._event, self._head, self._unsure = self._new_kept(), self._new_kept(), self._new_kept()
        self._rows = Rows(_ROWS)
        self._identities = memoryview(bytearray(8 * _ROWS)).cast("Q")
        self._touched = 0
        self._ways = memoryview(bytearray(4 * _ROWS)).cast("i")
        self._places = memoryview(bytearray(8 * _ROWS)).cast("q")
        self._links = memoryview(bytearray(1 << 16))
        self._message_bytes = memoryview(self.decoder.messages or bytearray(1))
        self._latest_ns = self._older_ns = _EARLIEST_NS
        self._heap_size = self._free_size = 0
        self._arrived = 0
        if is_ordered:
            self._arrivals = memoryview(bytearray(8 * (MOST_WAITING + _ROWS))).cast("q")
            self._waiting = Kept(MOST_WAITING + _ROWS, keeps_messages=keeps_events)
            self._heap = memoryview(bytearray(8 * (MOST_WAITING + _ROWS))).cast("q")
            self._free = memoryview(bytearray(8 * (MOST_WAITING + _ROWS))).cast("q")

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        """Pickle a finished analyzer. The copy can be joined with others but takes no more packets."""
        self.finish()
        counters = self.packets, self.bytes, self.frames, self.first_ns, self.last_ns
        faults = bytes(memoryview(self.decoder.faults)), bytes(memoryview(self.decoder.quote_faults))
        return _restored, (
            self.secret,
            self.keeps_events,
            self.is_first,
            self.head_left,
            self.head_datagrams,
            counters,
            faults,
            self.filter.unfilterable if self.is_filtered else -1,
            self.link_types(),
            (self.events, self.head, self.unsure),
            self.conversations,
            self.recent,
            self.findings,
            self.duplicates,
        )

    def seal(self) -> None:
        """Free what only a following piece would need. Call `finish` first."""
        self.recent.seal()
        self.conversations.seal()
        self.duplicates = Duplicates(self.secret)

    def _new_kept(self) -> Kept:
        return Kept(_KEPT + _ROWS, keeps_messages=self.keeps_events)

    def select(self, since_ns: int | None, until_ns: int | None, filter_: Filter | None) -> None:
        """Analyse only frames from `since_ns` on, before `until_ns`, and that pass the filter."""
        self.since_ns = _EARLIEST_NS if since_ns is None else since_ns
        self.until_ns = _LATEST_NS if until_ns is None else until_ns
        if filter_ is not None:
            self.filter, self.is_filtered = filter_, True

    # ---- packets in

    def feed(self, records: Records) -> int:
        """Analyse all complete records; return why it stopped: capture.MORE, WAIT or END.

        Other threads can run at the same time.
        """
        status: cython.int
        self.decoder.load(records.data)
        if self.is_filtered:
            self.filter.load(records.data)
        while True:
            with cython.nogil:
                status = self._run(records)
            if status != _FULL:
                self.frames = records.frame
                return status
            self.make_room()

    def feed_frames(self, frames: Iterable[tuple[int, bytes, int, int]]) -> None:
        """Analyse frames: (time in ns since 1970, captured bytes, length on the wire, LINKTYPE_ value)."""
        for time_ns, data, length, link_type in frames:
            self.frames += 1
            if time_ns < self.since_ns or time_ns >= self.until_ns:
                continue
            if self.is_filtered:
                self.filter.load(data)
                if not self.filter.passes(0, len(data), length, link_type):
                    continue
            self.decoder.load(data)
            self._count(time_ns, length, link_type)
            self.decoder.frame(0, len(data), length, time_ns, link_type, self.frames)
            if self.decoder.rows.size >= GROUP:
                if self.is_ordered:
                    self._wait()
                else:
                    self.flush()

    def _count(self, time_ns: int, length: int, link_type: cython.int) -> None:
        self.packets += 1
        self.bytes += length
        self.first_ns, self.last_ns = min(self.first_ns, time_ns), max(self.last_ns, time_ns)
        self._links[link_type & 0xFFFF] = 1

    def flush(self) -> None:
        """Handle everything decoded so far, including frames that wait to be sorted."""
        self.make_room()
        if self.is_ordered:
            self._wait()
            self._release(_LATEST_NS, self._heap_size)
        else:
            self._follow(self.decoder.rows, self._message_bytes)
            self.decoder.rows.size = self.decoder.messages_end = 0

    def flush_older(self) -> None:
        """Handle what was there at the last call. Call it once a second while packets trickle in.

        Frames out of order by less than that are still sorted.
        """
        self.make_room()
        if self.is_ordered:
            self._wait()
            self._release(self._older_ns, self._heap_size)
            self._older_ns = self._latest_ns
        else:
            self.flush()

    def finish(self) -> None:
        """Handle everything left: the capture, or the piece, has ended."""
        self.flush()
        self._turn_over(0)

    def take_events(self) -> list[Kept]:
        """The errors resolved since the last call."""
        self._turn_over(0)
        events, self.events = self.events, []
        return events

    def take_full_events(self) -> list[Kept]:
        """Like `take_events`, without the latest few: cheap to call often."""
        events, self.events = self.events, []
        return events

    def _turn_over(self, most: index) -> None:
        """Set aside a `Kept` with more than `most` rows, or too little room for messages; begin a new one."""
        if self._event.rows.size > most or (self._event.rows.size and not self._fits(self._event)):
            self.events.append(self._event)
            self._event = self._new_kept()
        if self._head.rows.size > most or (self._head.rows.size and not self._fits(self._head)):
            self.head.append(self._head)
            self._head = self._new_kept()
        if self._unsure.rows.size > most or (self._unsure.rows.size and not self._fits(self._unsure)):
            self.unsure.append(self._unsure)
            self._unsure = self._new_kept()

    def link_types(self) -> list[int]:
        """LINKTYPE_ values of the frames."""
        found: list[int] = []
        seen: bytes = bytes(memoryview(self._links))
        number: index = seen.find(1)
        while number >= 0:
            found.append(number)
            number = seen.find(1, number + 1)
        return found

    def faults(self) -> Counter[str]:
        """What was wrong with packets, by name."""
        faults = self.decoder.counted_faults()
        if self.is_filtered and self.filter.unfilterable:
            faults["unfilterable-link-type"] += self.filter.unfilterable
        return faults

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _run(self, records: Records) -> cython.int:
        """Analyse records until there are no more, or tables are full."""
        status: cython.int
        while True:
            if self.decoder.rows.size >= _GROUP:
                if not self._has_room():
                    return _FULL
                if self.is_ordered:
                    self._wait()
                else:
                    self._follow(self.decoder.rows, self._message_bytes)
                    self.decoder.rows.size = self.decoder.messages_end = 0
            status = records.next()
            if status != _FRAME:
                return status
            if records.time_ns < self.since_ns or records.time_ns >= self.until_ns:
                continue
            if self.is_filtered and not self.filter.passes(
                records.at, records.captured, records.length, records.link_type
            ):
                continue
            self.packets += 1
            self.bytes += records.length
            self.first_ns = min(self.first_ns, records.time_ns)
            self.last_ns = max(self.last_ns, records.time_ns)
            self._links[records.link_type & 0xFFFF] = 1
            self.decoder.frame(
                records.at, records.captured, records.length, records.time_ns, records.link_type, records.frame
            )

    # ---- handling rows

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _has_room(self) -> cython.bint:
        """Whether all tables have room for another group."""
        if (
            self.conversations.table.size + _ROWS > self.conversations.table.room
            or self.conversations.ends.size + 2 * _ROWS > self.conversations.ends.room
            or self.conversations.rtt.pending + 2 * _ROWS > self.conversations.rtt.room
            or self.conversations.table.size >= self.conversations.forget_at
        ):
            return False
        if (
            self.findings.table.size + _ROWS > self.findings.table.room
            or self.findings.loops.size + _ROWS > self.findings.loops.room
            or self.findings.records.size + _ROWS > self.findings.records.room
            or self.findings.answers.size + _ROWS > self.findings.answers.room
            or self.findings.rtt.pending + _ROWS > self.findings.rtt.room
        ):
            return False
        if (
            self.recent.count + _ROWS > cython.cast(u64, self.recent.room)
            and cython.cast(u64, self.recent.room) < _HORIZON
        ):
            return False
        if self.recent.fragments.size + _ROWS > self.recent.fragments.room:
            return False
        return (
            self._event.rows.size <= _KEPT
            and self._head.rows.size <= _KEPT
            and self._unsure.rows.size <= _KEPT
            and self._fits(self._event)
            and self._fits(self._head)
            and self._fits(self._unsure)
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _fits(self, kept: Kept) -> cython.bint:
        """Whether another group's messages fit; without `keeps_events` none are kept."""
        return not self.keeps_events or kept.messages_end + _MESSAGES <= len(kept.message_bytes)

    def make_room(self) -> None:
        """Grow tables, and forget finished conversations."""
        if not self._is_joining and self.conversations.table.size >= self.conversations.forget_at:
            self.findings.count_answers()
            numbers = self.conversations.forget(self.recent.count)
            if numbers is not None:
                self.recent.renumber(numbers)
                self.findings.renumber(numbers)
        self.conversations.reserve(_ROWS)
        self.recent.reserve(_ROWS)
        self.findings.reserve(_ROWS)
        self._turn_over(_KEPT)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _follow(self, rows: Rows, messages: views.u8s) -> cython.int:
        """Handle rows: look all of them up first, then count one after another."""
        row: index
        place: index
        way: cython.int
        touched: u64 = 0
        if self.ports.own.size:
            self.ports.see(rows)
        for row in range(rows.size):
            way = self.conversations.put_key(rows, row, row)
            self._ways[row] = way
            self._identities[row] = self.duplicates.identity(rows, row, self.conversations.hashes[row], way)
        for row in range(rows.size):
            self._places[row] = self.conversations.table.touch(self.conversations.hashes[row])
        for row in range(rows.size):
            touched ^= self.duplicates.touch(self._identities[row])
        for row in range(rows.size):
            place = self._places[row]
            if place >= 0:  # a record of 16 words spans two cache lines, or three
                touched ^= (
                    self.conversations.table.words[_CONVERSATION_WIDTH * place]
                    ^ self.conversations.table.words[_CONVERSATION_WIDTH * place + _CONVERSATION_WIDTH // 2]
                    ^ self.conversations.table.words[_CONVERSATION_WIDTH * place + _CONVERSATION_WIDTH - 1]
                )
        self._touched = touched  # otherwise the compiler drops the loops above
        is_head: cython.bint
        for row in range(rows.size):
            is_head = self.head_left > 0
            if is_head:
                self.head_left -= 1
                self._head.add(rows, row, messages)
            if rows.is_error[row]:
                self._error(rows, row, messages, is_head)
            else:
                self._datagram(rows, row, is_head)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _datagram(self, rows: Rows, row: index, is_head: cython.bint) -> cython.int:
        """Handle a datagram. One of a piece's head is only remembered: the piece before will count it."""
        hash_: u64 = self.conversations.hashes[row]
        way: cython.int = self._ways[row]
        ordinal: u64 = self.recent.count
        conversation: index = self._places[row]
        if (
            conversation < 0
            or not self.conversations.table.is_key(conversation, 5 * row)
            or self.conversations.is_over(conversation, ordinal)
        ):
            conversation = self.conversations.table.find(hash_, 5 * row)
            if conversation >= 0 and self.conversations.is_over(conversation, ordinal):
                conversation = -1
        seen: cython.int = self.duplicates.see(rows, row, self._identities[row])
        if conversation < 0:
            conversation = self.conversations.begin(hash_, 5 * row, rows, row, way, ordinal)
            if self.conversations.answered >= 0:
                self.findings.add_answer(self.conversations.answered, conversation)
            if is_head:
                self.conversations.leave_uncounted(conversation)
        self.recent.add(rows, row, conversation, way)
        if is_head:
            self.head_datagrams += 1
        elif seen == _NEW:
            self.conversations.count(conversation, way, rows.ip_length[row], rows.time_ns[row], ordinal)
        elif seen == _PASS:
            self.findings.add_pass(rows, row, self.duplicates.falls, self.duplicates.step, self.duplicates.since_ns)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _error(self, rows: Rows, row: index, messages: views.u8s, is_head: cython.bint) -> cython.int:
        """Find the datagram that caused an error, and count it."""
        is_copy: cython.bint = self.duplicates.see_error(rows, row) != _NEW
        if is_head:
            return 0
        self.match.clear()
        conversation: index = self.conversations.table.find(self.conversations.hashes[row], 5 * row)
        self.recent.look(rows, row, conversation, self._ways[row], 0, self.match)
        if is_copy:
            rows.notes[row] |= _SEEN_BEFORE
        return self._settle(rows, row, messages, self.match, self.recent.count)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _settle(self, rows: Rows, row: index, messages: views.u8s, match: Match, before: u64) -> cython.int:
        """Count an error, unless an earlier piece may hold a better datagram.

        Args:
            rows, row: the error.
            messages: buffer of its message.
            match: its match so far.
            before: number of this piece's datagrams before it.
        """
        if not self.is_first and before < _HORIZON and (match.rank > 0 or match.evidence == _BY_PAYLOAD):
            self._unsure.add(rows, row, messages)
            return self._unsure.put_match(self._unsure.rows.size - 1, match, 0, before)
        finding: index = self.findings.add(rows, row, match, rows.notes[row] & _SEEN_BEFORE != 0)
        if self.keeps_events:
            self._event.add(rows, row, messages)
            self._event.put_match(self._event.rows.size - 1, match, cython.cast(u64, finding), before)
        return 0

    # ---- frames out of order

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _wait(self) -> cython.int:
        """Queue decoded rows, and handle those that no later frame can precede.

        A step back of more than a second means that the clock was set: then everything queued is older.
        """
        row: index
        slot: index
        place: index
        time_ns: i64
        if not self._fits(self._waiting):
            with cython.gil:
                self._drop_messages()
        for row in range(self.decoder.rows.size):
            time_ns = self.decoder.rows.time_ns[row]
            if time_ns < self._second_before(self._latest_ns):
                self._release(_LATEST_NS, _MOST_WAITING + _ROWS)
                self._latest_ns = time_ns
            if self._free_size:
                self._free_size -= 1
                slot = self._free[self._free_size]
            else:
                slot = self._heap_size
            self._waiting.rows.size = slot
            self._arrivals[slot] = self._arrived
            self._arrived += 1
            self._waiting.add(self.decoder.rows, row, self._message_bytes)
            place = self._heap_size
            self._heap_size += 1
            while place and self._is_before(slot, self._heap[(place - 1) >> 1]):
                self._heap[place] = self._heap[(place - 1) >> 1]
                place = (place - 1) >> 1
            self._heap[place] = slot
            self._latest_ns = max(self._latest_ns, time_ns)
        self.decoder.rows.size = self.decoder.messages_end = 0
        self._release(self._second_before(self._latest_ns), _MOST_WAITING + _ROWS)
        if self._heap_size > _MOST_WAITING:
            self._release(_LATEST_NS, self._heap_size - _MOST_WAITING)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=True)
    def _second_before(self, time_ns: i64) -> i64:
        """One second earlier, or the earliest time there is."""
        return max(time_ns, _EARLIEST_NS + _SECOND_NS) - _SECOND_NS

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _is_before(self, one: index, other: index) -> cython.bint:
        """Whether one slot's row precedes another's: by time, then in the order of reading."""
        if self._waiting.rows.time_ns[one] != self._waiting.rows.time_ns[other]:
            return self._waiting.rows.time_ns[one] < self._waiting.rows.time_ns[other]
        return self._arrivals[one] < self._arrivals[other]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _release(self, until_ns: i64, most: index) -> cython.int:
        """Handle queued rows, earliest first, up to a time and at most `most`."""
        slot: index
        last: index
        place: index
        child: index
        self._rows.size = 0
        while self._heap_size and most > 0 and self._waiting.rows.time_ns[self._heap[0]] <= until_ns:
            slot = self._heap[0]
            self._heap_size -= 1
            last = self._heap[self._heap_size]
            place = 0
            while 2 * place + 1 < self._heap_size:
                child = 2 * place + 1
                if child + 1 < self._heap_size and self._is_before(self._heap[child + 1], self._heap[child]):
                    child += 1
                if not self._is_before(self._heap[child], last):
                    break
                self._heap[place] = self._heap[child]
                place = child
            self._heap[place] = last
            self._rows.copy_row(self._waiting.rows, slot)
            if self._waiting.rows.is_error[slot]:
                self._rows.message[self._rows.size - 1] = self._waiting.rows.message[slot]
                self._rows.message_end[self._rows.size - 1] = self._waiting.rows.message_end[slot]
            self._free[self._free_size] = slot
            self._free_size += 1
            most -= 1
            if self._rows.size == _GROUP:
                self._follow_released()
        return self._follow_released()

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _follow_released(self) -> cython.int:
        if not self._has_room():
            with cython.gil:
                self.make_room()
        self._follow(self._rows, self._waiting.message_bytes)
        self._rows.size = 0
        return 0

    def _drop_messages(self) -> None:
        """Drop the messages of errors that wait no more; where most still wait, double the room."""
        old, rows = self._waiting.message_view(), self._waiting.rows
        slots = [each for each in memoryview(self._heap)[: self._heap_size] if rows.is_error[cython.cast(index, each)]]
        size: index = _MESSAGES
        slot: index
        first: index
        last: index
        end: index = 0
        for slot in slots:
            size += rows.message_end[slot] - rows.message[slot]
        new = bytearray(max(len(old), 2 * size))
        for slot in slots:
            first, last = rows.message[slot], rows.message_end[slot]
            new[end : end + last - first] = old[first:last]
            rows.message[slot], rows.message_end[slot] = end, end + last - first
            end += last - first
        self._waiting.use_messages(new, end)

    # ---- pieces

    def append(self, right: Analyzer) -> None:
        """Join the piece directly after this one; `right` must not be used afterwards. Both are finished.

        The later piece knew no datagrams before its own. So its first packets are handled here, its conversations
        continue the ones here, and its unsure errors are looked up again here. Nothing can be joined after a sealed
        piece.
        """
        before: u64 = self.recent.count
        frames = self.frames
        self._is_joining = True  # matches refer to conversations by number
        for kept in right.unsure:
            kept.rows_before(before)
            self._look_again(kept)
        for kept in right.head:
            kept.shift(frames)
            self._follow_kept(kept)
        skipped = right.head_datagrams
        self.make_room()
        is_sealed = right.recent.room == 0
        if is_sealed:
            self.recent.seal()
        right.findings.count_answers()
        numbers = self.conversations.append(right.conversations, before)
        self.recent.append(right.recent, numbers, skipped, frames)
        rows = self.findings.append(right.findings, frames, numbers)
        for question, answer in self.conversations.answers:
            self.findings.reserve(1)
            self.findings.add_answer(question, answer)
        self.conversations.answers.clear()
        self.make_room()
        for kept in right.unsure:
            self._settle_kept(kept, numbers, frames, before)
        self._is_joining = False
        self.finish()
        for kept in right.events:
            kept.shift(frames)
            for row in range(kept.rows.size):
                kept.set_finding(row, rows[kept.finding(row)])
            self.events.append(kept)
        if not right.head_left:
            self.duplicates = right.duplicates
        self._add_counters(right)
        if is_sealed:
            self.seal()

    def absorb(self, other: Analyzer) -> None:
        """Add another, unrelated capture; `other` must not be used afterwards."""
        other.finish()
        other.findings.count_answers()
        self.conversations.absorb(other.conversations)
        self.findings.append(other.findings, self.frames)
        self._add_counters(other)

    def _add_counters(self, right: Analyzer) -> None:
        self.packets += right.packets
        self.bytes += right.bytes
        self.frames += right.frames
        self.first_ns, self.last_ns = min(self.first_ns, right.first_ns), max(self.last_ns, right.last_ns)
        number: index
        for number in right.link_types():
            self._links[number] = 1
        self.decoder.add_faults(right.decoder)
        if right.is_filtered:
            if not self.is_filtered:
                self.filter, self.is_filtered = Filter(_no_program), True
            self.filter.unfilterable += right.filter.unfilterable

    def _look_again(self, kept: Kept) -> None:
        """Search here for better datagrams for errors of the following piece."""
        match: Match = self.match
        conversations: Conversations = self.conversations
        row: index
        way: cython.int
        conversation: index
        for row in range(kept.rows.size):
            kept.load_match(row, match)
            way = conversations.put_key(kept.rows, row, 0)
            conversation = conversations.table.find(conversations.hashes[0], 0)
            had: cython.int = match.rank
            ordinal: u64 = match.ordinal
            self.recent.look(kept.rows, row, conversation, way, kept.words[row * MATCH_WORDS + 7], match)
            is_here: u64 = 1 if match.rank < had or match.ordinal != ordinal else 0
            kept.put_match(row, match, is_here, kept.words[row * MATCH_WORDS + 7])

    def _settle_kept(self, kept: Kept, numbers: list[int], frames: int, before: u64) -> None:
        match: Match = self.match
        row: index
        number: i64
        for row in range(kept.rows.size):
            kept.load_match(row, match)
            kept.rows.frame[row] += frames
            if match.sureness and not kept.finding(row):  # matched in its own piece
                number = numbers[match.conversation]
                match.conversation = number
                match.frame += frames
            self._settle(kept.rows, row, kept.message_view(), match, before + kept.words[row * MATCH_WORDS + 7])
            if row % _GROUP == 0:
                self.make_room()

    def _follow_kept(self, kept: Kept) -> None:
        """Handle rows as if they had just been decoded."""
        rows: Rows = self._rows
        row: index
        for row in range(kept.rows.size):
            if rows.size == _GROUP:
                self.make_room()
                self._follow(rows, kept.message_view())
                rows.size = 0
            rows.copy_row(kept.rows, row)
        self.make_room()
        self._follow(rows, kept.message_view())
        rows.size = 0


def _no_program(_: int) -> None:
    """Filter of an analyzer that takes no more packets."""


def _restored(
    secret: int,
    keeps_events: bool,
    is_first: bool,
    head_left: int,
    head_datagrams: int,
    counters: tuple[int, ...],
    faults: tuple[bytes, bytes],
    unfilterable: int,
    link_types: list[int],
    kept: tuple[list[Kept], list[Kept], list[Kept]],
    conversations: Conversations,
    recent: Recent,
    findings: Findings,
    duplicates: Duplicates,
) -> Analyzer:
    made: Analyzer = Analyzer(secret, by_flow=conversations.by_flow, keeps_events=keeps_events, is_first=is_first)
    made.head_left, made.head_datagrams = head_left, head_datagrams
    made.packets, made.bytes, made.frames, made.first_ns, made.last_ns = counters
    memoryview(made.decoder.faults).cast("B")[:] = faults[0]
    memoryview(made.decoder.quote_faults).cast("B")[:] = faults[1]
    number: index
    for number in link_types:
        made._links[number] = 1  # noqa: SLF001 - it is ours
    made.events, made.head, made.unsure = kept
    made.conversations, made.recent, made.findings = conversations, recent, findings
    made.duplicates = duplicates
    if unfilterable >= 0:
        made.filter, made.is_filtered = Filter(_no_program), True
        made.filter.unfilterable = unfilterable
    return made
