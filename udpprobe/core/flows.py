"""Counts datagrams, bytes and answers: one record per conversation, folded into endpoints for the report.

The first datagram of a conversation is a question. A datagram with the reversed 5-tuple is an answer, and its RTT
counts from the latest question. A conversation that is quiet for HORIZON datagrams is over: the next datagram begins a
new one. A server may answer from another port (TFTP, RFC 1350, section 4). So the first datagram from another port
answers the client's latest question to that host, if that has no answer yet.

A capture may begin with an answer. So if the first datagram comes from a service port and goes to another, and both
sides speak, its receiver is the client.

In a piece of a capture other than the first, earlier datagrams are unknown. A conversation that may have begun in an
earlier piece is *open*: RTTs are taken both ways until `append` joins it with the piece before.
"""

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
from udpprobe.core.histogram import Histograms
from udpprobe.core.rows import Rows
from udpprobe.core.table import Table, secret_words

HORIZON = 1 << 20
"""Datagrams remembered, and the number after which a quiet conversation is over. Counted in datagrams, not seconds, so
that memory is bounded whatever the clock does."""

SLOTS = 128
"""Keys that are written before any is looked up."""

MOST_CONVERSATIONS = 1 << 18
"""Fold finished conversations into endpoints at this many, and then at half as many again as are unfinished."""

# A conversation's record is two cache lines; finding and matching touch only the first. End A is the lesser end; way 0
# goes from A to B.
A_HIGH = cython.declare(cython.const[index], 0)
A_LOW = cython.declare(cython.const[index], 1)
B_HIGH = cython.declare(cython.const[index], 2)
B_LOW = cython.declare(cython.const[index], 3)
PORTS = cython.declare(cython.const[index], 4)  # A's << 16 | B's
LAST_NS = cython.declare(cython.const[index], 5)  # when its last datagram was sent
HEAD = cython.declare(cython.const[index], 6)  # each way: 1 + the ordinal of its last datagram; 0 for none
SENT = cython.declare(cython.const[index], 8)  # datagrams, each way
BYTES = cython.declare(cython.const[index], 10)  # of their IP packets, each way
FIRST_NS = cython.declare(cython.const[index], 12)
FIRST = cython.declare(cython.const[index], 13)  # ordinal of its first datagram
# flags, the other port << 8, distance to the first datagram the other way << 24
STATE = cython.declare(cython.const[index], 14)
LINKS = cython.declare(cython.const[index], 15)  # 1 + the conversation before it at the same end: A's << 32 | B's
WIDTH = cython.declare(cython.const[index], 16)
KEY = cython.declare(cython.const[index], 5)

# Flags of STATE.
FIRST_WAY = cython.declare(cython.const[u64], 1)
LAST_WAY = cython.declare(cython.const[u64], 2)
ASKING_WAY = cython.declare(cython.const[u64], 4)
EITHER = cython.declare(cython.const[u64], 16)  # the other side may be the client
OVER = cython.declare(cython.const[u64], 32)  # another conversation with the same key has begun
OTHER_PORT = cython.declare(cython.const[u64], 0xFFFF00)

# More flags of STATE, for a piece that does not begin the capture: what `append` has to do when it joins the piece with
# the one before it. The first packets of a piece, its head (`duplicates.HEAD`), are counted by the piece before.
#
# OPEN: the conversation began within the first HORIZON datagrams of its piece. So it may continue one of an earlier
# piece, or answer a question there. Until that is known, RTTs are taken both ways, and `forget` keeps it.
# UNCOUNTED: all its datagrams so far are in the head, so its record counts none. The next datagram after the head
# clears this flag, and stands as the first one counted here.
# IN_HEAD: its first datagram is in the head. Unlike UNCOUNTED, this flag stays.
#
# A conversation in the head has all three flags at first. `append` then finds
#     UNCOUNTED            nothing to add: the piece before has counted every datagram;
#     IN_HEAD              the piece before has begun this conversation with the head: always continue it;
#     OPEN alone           continue the conversation with this key, unless it was over by then (`is_over`);
#     none of them         a new conversation, whatever the piece before had with this key.
OPEN = cython.declare(cython.const[u64], 8)
UNCOUNTED = cython.declare(cython.const[u64], 64)
IN_HEAD = cython.declare(cython.const[u64], 128)

# An endpoint's row: its key, then counters.
SENT_TO = cython.declare(cython.const[index], 6)
BYTES_TO = cython.declare(cython.const[index], 7)
QUESTIONS = cython.declare(cython.const[index], 8)
ANSWERED = cython.declare(cython.const[index], 9)
LAST_TO_NS = cython.declare(cython.const[index], 10)
ANSWERED_FROM = cython.declare(cython.const[index], 11)

ENDPOINT_COLUMNS = (
    "high",
    "low",
    "port",
    "source_high",
    "source_low",
    "source_port",
    "sent",
    "sent_bytes",
    "questions",
    "answered",
    "last_ns",
    "other_port",
)
"""Columns of `Conversations.endpoints` and of `totals`: address and port (of a flow, its source too; else 0); datagrams
sent there, and their bytes; how many of them were questions; how many were answered; when the last one was sent (+
2^63 ns); the port that answers came from if it is another one, else 0."""

SOON_NS = cython.declare(cython.const[u64], 30_000_000_000)  # an answer from another port counts within this time
# a longer one is no round trip, or a clock was set
LONGEST_RTT_NS = cython.declare(cython.const[u64], 300_000_000_000)
_HORIZON = cython.declare(cython.const[u64], 1 << 20)
_MOST_STEPS = cython.declare(cython.const[cython.int], 256)  # conversations of one end that are searched
_PORT = cython.declare(cython.const[u64], 0xFFFF)
_MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
_BIAS = cython.declare(cython.const[u64], 1 << 63)  # same as `findings.BIAS_NS`
_LOWER = cython.declare(cython.const[u64], 0xFFFF_FFFF)


@cython.final
@cython.cclass
class Conversations:
    """Counts datagrams by conversation, in the order of their ordinals.

    Args:
        by_flow: whether endpoints are counted by source too.
        secret: for hash tables.
        is_first: whether this piece begins the capture.

    Attributes:
        answered: the conversation that the latest new one answers from another host; -1 for none.
        answers: the same for those that `append` found, each with the answering conversation.
    """

    def __init__(self, secret: int, *, by_flow: bool = False, is_first: bool = True) -> None:
        words = secret_words(secret)
        self.secret, self.by_flow = secret, by_flow
        self.table = Table(WIDTH, KEY, words, SLOTS)
        self.hashes = memoryview(bytearray(8 * SLOTS)).cast("Q")
        self.ends = Table(4, 3, words)
        self.endpoints = Table(12, 6, words)
        self.rtt, self.endpoint_rtt = Histograms(), Histograms()
        self.open_until = 0 if is_first else HORIZON
        self.forget_at = MOST_CONVERSATIONS
        self.answered = -1
        self.answers: list[tuple[int, int]] = []

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        return _restored, (
            self.secret,
            self.by_flow,
            self.open_until,
            self.forget_at,
            self.table,
            self.ends,
            self.endpoints,
            self.rtt,
            self.endpoint_rtt,
        )

    def seal(self) -> None:
        """Nothing will be appended: free what only `append` needs."""
        self.ends = Table(4, 3, memoryview(self.table.secret))

    def reserve(self, count: index) -> None:
        """Make room for `count` more datagrams."""
        if self.table.size + count > self.table.room:
            self.table.reserve(count)
        if self.ends.size + 2 * count > self.ends.room:
            self.ends.reserve(2 * count)
        if self.rtt.pending + 2 * count > self.rtt.room:
            self.rtt.reserve(2 * count)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def put_key(self, rows: Rows, row: index, slot: index) -> cython.int:
        """Write the key of a row's conversation into a slot of `table.keys`, and its hash into `hashes`.

        Returns:
            The direction (way) of the datagram.
        """
        at: index = KEY * slot
        source_high: u64 = rows.source_high[row]
        source_low: u64 = rows.source_low[row]
        high: u64 = rows.destination_high[row]
        low: u64 = rows.destination_low[row]
        ports: u64 = rows.ports[row]
        if source_high < high or (
            source_high == high and (source_low < low or (source_low == low and ports >> 16 <= ports & _PORT))
        ):
            self.table.keys[at], self.table.keys[at + 1] = source_high, source_low
            self.table.keys[at + 2], self.table.keys[at + 3], self.table.keys[at + 4] = high, low, ports
            self.hashes[slot] = self.table.hash5(source_high, source_low, high, low, ports)
            return 0
        ports = (ports & _PORT) << 16 | ports >> 16
        self.table.keys[at], self.table.keys[at + 1] = high, low
        self.table.keys[at + 2], self.table.keys[at + 3] = source_high, source_low
        self.table.keys[at + 4] = ports
        self.hashes[slot] = self.table.hash5(high, low, source_high, source_low, ports)
        return 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def is_over(self, conversation: index, ordinal: u64) -> cython.bint:
        """Whether the conversation has been quiet for too long when the datagram with this ordinal comes."""
        at: index = conversation * WIDTH
        last: u64 = max(self.table.words[at + HEAD], self.table.words[at + HEAD + 1])
        return ordinal >= last + _HORIZON

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def begin(
        self,
        hash: u64,  # noqa: A002 - it is one
        at: index,
        rows: Rows,
        row: index,
        way: cython.int,
        ordinal: u64,
    ) -> index:
        """Begin a conversation with the key at a place of `table.keys`; its first datagram goes this way."""
        self.answered = -1
        before: index = self.table.find(hash, at)
        if before >= 0:
            self.table.words[before * WIDTH + STATE] |= OVER
        conversation: index = self.table.add(hash, at)
        record: index = conversation * WIDTH
        state: u64 = cython.cast(u64, way) * (FIRST_WAY | LAST_WAY | ASKING_WAY)
        source: u64 = rows.ports[row] >> 16
        target: u64 = rows.ports[row] & _PORT
        if source < 1024 and target >= 1024:
            state |= EITHER
        if ordinal < self.open_until:
            state |= OPEN
        self.table.words[record + FIRST_NS] = cython.cast(u64, rows.time_ns[row]) & _MASK64
        self.table.words[record + FIRST] = ordinal
        self.table.words[record + STATE] = state
        self._link_ends(conversation)
        if not state & OPEN:
            self._match_question(conversation)
        return conversation

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def leave_uncounted(self, conversation: index) -> cython.int:
        """Mark a conversation whose first datagram the piece before will count."""
        self.table.words[conversation * WIDTH + STATE] |= UNCOUNTED | IN_HEAD
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def count(self, conversation: index, way: cython.int, size: i64, time_ns: i64, ordinal: u64) -> cython.int:
        """Count one datagram.

        If the direction turns against the asking side, this is an answer, and the time since the datagram before it is
        a round trip. A repeated question restarts the clock; a clock that was set gives no RTT.
        """
        at: index = conversation * WIDTH
        state: u64 = self.table.words[at + STATE]
        if state & UNCOUNTED:
            state = state & ~(UNCOUNTED | FIRST_WAY | LAST_WAY | ASKING_WAY)
            state |= cython.cast(u64, way) * (FIRST_WAY | LAST_WAY | ASKING_WAY)
            self.table.words[at + FIRST_NS], self.table.words[at + FIRST] = cython.cast(u64, time_ns) & _MASK64, ordinal
        last_way: cython.int = 1 if state & LAST_WAY else 0
        if way != last_way:
            if state & (OPEN | EITHER) or last_way == (1 if state & ASKING_WAY else 0):
                self._take_rtt(conversation, last_way, cython.cast(u64, time_ns) - self.table.words[at + LAST_NS])
            if not state >> 24 and way != (1 if state & FIRST_WAY else 0):
                state |= min(ordinal - self.table.words[at + FIRST], (cython.cast(u64, 1) << 40) - 1) << 24
        state = state | LAST_WAY if way else state & ~LAST_WAY
        self.table.words[at + STATE] = state
        self.table.words[at + SENT + way] += 1
        self.table.words[at + BYTES + way] += cython.cast(u64, size)
        self.table.words[at + LAST_NS] = cython.cast(u64, time_ns) & _MASK64
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _take_rtt(self, conversation: index, way: cython.int, duration_ns: u64) -> cython.int:
        """Record the RTT of an answer to a datagram sent `way`. Masked, a negative duration exceeds the limit."""
        duration_ns &= _MASK64
        if duration_ns <= LONGEST_RTT_NS:
            self.rtt.add(2 * conversation + way, cython.cast(i64, duration_ns))
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def head(self, conversation: index, way: cython.int) -> u64:
        """1 + the ordinal of its last datagram this way; 0 for none."""
        return self.table.words[conversation * WIDTH + HEAD + way]

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def set_head(self, conversation: index, way: cython.int, ordinal: u64) -> u64:
        """Set the ordinal of its last datagram this way; return the previous `head`."""
        at: index = conversation * WIDTH + HEAD + way
        before: u64 = self.table.words[at]
        self.table.words[at] = ordinal + 1
        return before

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _link_ends(self, conversation: index) -> cython.int:
        """Index a new conversation by each of its two ends, as the newest there."""
        at: index = conversation * WIDTH
        end: cython.int
        row: index
        links: u64 = 0
        for end in range(2):
            self.ends.keys[0], self.ends.keys[1] = self.table.words[at + 2 * end], self.table.words[at + 2 * end + 1]
            self.ends.keys[2] = self.table.words[at + PORTS] >> 16 if end == 0 else self.table.words[at + PORTS] & _PORT
            row = self.ends.find(self.ends.hash(0), 0)
            if row < 0:
                row = self.ends.add(self.ends.hash(0), 0)
            if self.ends.words[4 * row + 3] != cython.cast(u64, conversation + 1):  # unless both ends are the same
                links |= self.ends.words[4 * row + 3] << (32 - 32 * end)
            self.ends.words[4 * row + 3] = cython.cast(u64, conversation + 1)
        self.table.words[at + LINKS] = links
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def newest_of(self, high: u64, low: u64, port: u64) -> index:
        """The conversation of an end that began last, -1 for none; `next_of` goes back from there."""
        self.ends.keys[0], self.ends.keys[1], self.ends.keys[2] = high, low, port
        row: index = self.ends.find(self.ends.hash(0), 0)
        return cython.cast(index, self.ends.words[4 * row + 3]) - 1 if row >= 0 else -1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def next_of(self, conversation: index, high: u64, low: u64, port: u64) -> index:
        """The conversation of this end that began before this one, -1 for none."""
        links: u64 = self.table.words[conversation * WIDTH + LINKS]
        is_a: cython.bint = self.way_from(conversation, high, low, port) == 0
        return cython.cast(index, links >> 32 if is_a else links & _LOWER) - 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def way_from(self, conversation: index, high: u64, low: u64, port: u64) -> cython.int:
        """The direction of datagrams from this end; -1 if it is not an end of the conversation."""
        at: index = conversation * WIDTH
        if (
            self.table.words[at + A_HIGH] == high
            and self.table.words[at + A_LOW] == low
            and self.table.words[at + PORTS] >> 16 == port
        ):
            return 0
        if (
            self.table.words[at + B_HIGH] == high
            and self.table.words[at + B_LOW] == low
            and self.table.words[at + PORTS] & _PORT == port
        ):
            return 1
        return -1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def first_way(self, conversation: index) -> cython.int:
        """The direction of its first datagram."""
        return 1 if self.table.words[conversation * WIDTH + STATE] & FIRST_WAY else 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def address_to(self, conversation: index, way: cython.int) -> index:
        """Where in `table.words` the destination address of this direction begins."""
        return conversation * WIDTH + (B_HIGH if way == 0 else A_HIGH)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def port_to(self, conversation: index, way: cython.int) -> u64:
        """The destination port of this direction."""
        ports: u64 = self.table.words[conversation * WIDTH + PORTS]
        return ports & _PORT if way == 0 else ports >> 16

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def goes_to(self, conversation: index, way: cython.int, high: u64, low: u64, port: i64) -> cython.bint:
        """Whether datagrams of this direction go to an address, and to a port unless that is -1."""
        to: index = self.address_to(conversation, way)
        return (
            self.table.words[to] == high
            and self.table.words[to + 1] == low
            and (port < 0 or self.port_to(conversation, way) == cython.cast(u64, port))
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _match_question(self, conversation: index) -> cython.int:
        """Let a new conversation answer another one, if its receiver has an unanswered question.

        From another port of a host that was asked, it answers the latest question to that host. From another host, it
        may answer the unanswered question to that same port, or the only question from an ephemeral port; `answered`
        then names it.
        """
        at: index = conversation * WIDTH
        way: cython.int = self.first_way(conversation)
        client: index = self.address_to(conversation, way)
        host: index = self.address_to(conversation, 1 - way)
        client_port: u64 = self.port_to(conversation, way)
        host_port: u64 = self.port_to(conversation, 1 - way)
        high: u64 = self.table.words[client]
        low: u64 = self.table.words[client + 1]
        question: index = self.newest_of(high, low, client_port)
        record: index = 0
        asked_port: u64 = 0
        unanswered: index = -1  # an unanswered question to any port
        unanswered_at_port: index = -1  # … to that port
        count_at_port: cython.int = 0
        others: cython.int = 0  # other conversations of the client's end
        is_open: u64 = 0
        asked_way: cython.int = -1
        _step: cython.int
        for _step in range(_MOST_STEPS):
            record = question * WIDTH
            if question < 0 or self.table.words[record + FIRST] + _HORIZON < self.table.words[at + FIRST]:
                question = -1  # earlier ones are older still
                break
            is_open |= self.table.words[record + STATE] & OPEN
            asked_way = self.way_from(question, high, low, client_port)
            if question != conversation:
                others += 1
            if (
                question != conversation
                and asked_way == self.first_way(question)
                and self.table.words[record + FIRST] <= self.table.words[at + FIRST]
            ):
                if self.goes_to(question, asked_way, self.table.words[host], self.table.words[host + 1], -1):
                    break
                asked_port = self.port_to(question, asked_way)
                if asked_port != client_port and (
                    self._waits(question, conversation, asked_way) or self.table.words[record + STATE] & OPEN
                ):
                    unanswered = question
                    if asked_port == host_port:
                        unanswered_at_port = question
                        count_at_port += 1
            question = self.next_of(question, high, low, client_port)
        else:
            self.table.words[at + STATE] |= is_open  # there may be more beyond those searched
            return 0
        if question >= 0:
            return self._answer_from_other_port(conversation, question)
        if count_at_port != 1:
            unanswered_at_port = -1  # with several, there is no telling which one is answered
        if count_at_port == 0 and unanswered >= 0 and others == 1:
            asked_port = self.port_to(unanswered, self.way_from(unanswered, high, low, client_port))
            if asked_port < client_port and client_port >= 1024:
                unanswered_at_port = unanswered
        if is_open and unanswered >= 0:
            self.table.words[at + STATE] |= OPEN
        elif unanswered_at_port >= 0:
            self.answered = unanswered_at_port
            self.table.words[at + STATE] ^= ASKING_WAY
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _answer_from_other_port(self, conversation: index, question: index) -> cython.int:
        """Let a new conversation answer a question to its sender, if that is still unanswered."""
        at: index = conversation * WIDTH
        record: index = question * WIDTH
        state: u64 = self.table.words[record + STATE]
        asked_way: cython.int = self.first_way(question)
        if state & OPEN:
            self.table.words[at + STATE] |= OPEN
        elif self._waits(question, conversation, asked_way):
            self.table.words[record + STATE] = state | self.port_to(conversation, 1 - self.first_way(conversation)) << 8
            self.table.words[at + STATE] ^= ASKING_WAY
            self._take_rtt(question, asked_way, self.table.words[at + FIRST_NS] - self.table.words[record + FIRST_NS])
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _waits(self, question: index, conversation: index, asked_way: cython.int) -> cython.bint:
        """Whether a question was asked shortly before a conversation began, and was unanswered by then."""
        record: index = question * WIDTH
        at: index = conversation * WIDTH
        state: u64 = self.table.words[record + STATE]
        waited_ns: u64 = self.table.words[at + FIRST_NS] - self.table.words[record + FIRST_NS] & _MASK64
        if state >> 24 and self.table.words[record + FIRST] + (state >> 24) < self.table.words[at + FIRST]:
            return False
        return waited_ns <= SOON_NS and not state & OTHER_PORT and (1 if state & ASKING_WAY else 0) == asked_way

    def forget(self, ordinal: int) -> list[int] | None:
        """Fold finished conversations into the endpoints, if there are many.

        Args:
            ordinal: of the next datagram.

        Returns:
            The new number of each conversation, -1 for forgotten ones; None if nothing changed.
        """
        size: index = self.table.size
        if size < self.forget_at:
            return None
        kept: list[int] = []
        numbers: list[int] = [-1] * size
        forgotten: list[int] = []
        row: index
        state: u64
        for row in range(size):
            state = self.table.words[row * WIDTH + STATE]
            if state & OPEN or not (state & OVER or self.is_over(row, ordinal)):
                numbers[row] = len(kept)
                kept.append(row)
            else:
                forgotten.append(row)
        self.forget_at = max(MOST_CONVERSATIONS, len(kept) * 3 // 2)
        if not forgotten:
            return None
        self._fold_into(self.endpoints, self.endpoint_rtt, forgotten)
        self._keep(kept, numbers)
        return numbers

    def _keep(self, kept: Sequence[int], numbers: Sequence[int]) -> None:
        rtt = Histograms()
        rtt.absorb(
            self.rtt,
            [
                2 * numbers[owner >> 1] + (owner & 1) if numbers[owner >> 1] >= 0 else -1
                for owner in range(2 * len(numbers))
            ],
        )
        self.rtt = rtt
        self.table.keep(kept)
        self.ends = Table(4, 3, memoryview(self.table.secret))
        row: index
        for row in range(self.table.size):
            self.ends.reserve(2)
            self._link_ends(row)

    def totals(self) -> tuple[Table, Histograms]:
        """Endpoints with everything counted so far, and the RTTs of those that answered, by their rows."""
        endpoints, rtt = Table(12, 6, memoryview(self.table.secret)), Histograms()
        endpoints.reserve(self.endpoints.size)
        width, count = self.endpoints.width, self.endpoints.size
        memoryview(endpoints.words)[: width * count] = memoryview(self.endpoints.words)[: width * count]
        endpoints.size = count
        endpoints.reindex()
        rtt.absorb(self.endpoint_rtt, range(max(count, self.endpoint_rtt.owners)))
        self._fold_into(endpoints, rtt, range(self.table.size))
        return endpoints, rtt

    def close(self) -> tuple[Table, Histograms]:
        """Like `totals`, at the end: saves copying a million endpoints. The conversations are gone afterwards."""
        self._fold_into(self.endpoints, self.endpoint_rtt, range(self.table.size))
        words = memoryview(self.table.secret)
        self.table, self.ends, self.rtt = Table(WIDTH, KEY, words, SLOTS), Table(4, 3, words), Histograms()
        return self.endpoints, self.endpoint_rtt

    def _fold_into(self, endpoints: Table, rtt: Histograms, rows: Sequence[int]) -> None:
        """Add conversations to endpoints."""
        words: views.u64s = self.table.words
        conversation: index
        at: index
        asking: cython.int
        asked: index
        asking_end: index
        owners: list[int] = [-1] * (2 * self.table.size)
        state: u64
        for conversation in rows:
            endpoints.reserve(2)
            at = conversation * WIDTH
            state = words[at + STATE]
            asking = 1 if state & ASKING_WAY else 0
            if state & EITHER and words[at + SENT] and words[at + SENT + 1]:
                asking = 1 - asking
            asked = self._add_endpoint(endpoints, conversation, asking)
            endpoints.words[asked + SENT_TO] += words[at + SENT + asking]
            endpoints.words[asked + BYTES_TO] += words[at + BYTES + asking]
            endpoints.words[asked + QUESTIONS] += words[at + SENT + asking]
            endpoints.words[asked + ANSWERED] += max(
                min(words[at + SENT], words[at + SENT + 1]), 1 if state & OTHER_PORT else 0
            )
            endpoints.words[asked + LAST_TO_NS] = max(endpoints.words[asked + LAST_TO_NS], words[at + LAST_NS] ^ _BIAS)
            endpoints.words[asked + ANSWERED_FROM] = max(
                endpoints.words[asked + ANSWERED_FROM], (state & OTHER_PORT) >> 8
            )
            owners[2 * conversation + asking] = asked // 12
            if words[at + SENT + 1 - asking]:
                asking_end = self._add_endpoint(endpoints, conversation, 1 - asking)
                endpoints.words[asking_end + SENT_TO] += words[at + SENT + 1 - asking]
                endpoints.words[asking_end + BYTES_TO] += words[at + BYTES + 1 - asking]
        if len(self.rtt):
            rtt.absorb(self.rtt, owners)

    def _add_endpoint(self, endpoints: Table, conversation: index, way: cython.int) -> index:
        """Place of the row of the endpoint (or flow) that datagrams of this direction go to."""
        words: views.u64s = self.table.words
        keys: views.u64s = endpoints.keys
        at: index = conversation * WIDTH
        to: index = at + (2 if way == 0 else 0)
        come: index = at + (0 if way == 0 else 2)
        ports: u64 = words[at + PORTS]
        keys[0], keys[1], keys[2] = words[to], words[to + 1], ports & _PORT if way == 0 else ports >> 16
        keys[3] = keys[4] = keys[5] = 0
        if self.by_flow:
            keys[3], keys[4], keys[5] = words[come], words[come + 1], ports >> 16 if way == 0 else ports & _PORT
        row: index = endpoints.find(endpoints.hash(0), 0)
        if row < 0:
            row = endpoints.add(endpoints.hash(0), 0)
        return row * 12

    def append(self, right: Conversations, ordinals: int) -> list[int]:
        """Add the counts of the piece directly after this one; `right` must not be used afterwards.

        Args:
            right: of that piece, without the datagrams that `self` has counted of it already.
            ordinals: number of datagrams before it.

        Returns:
            The number here of each of its conversations.
        """
        numbers: list[int] = []
        row: index
        at: index
        here: index
        place: index
        hash_: u64
        way: cython.int
        state: u64
        words: views.u64s = right.table.words
        shift: u64 = ordinals
        for row in range(right.table.size):
            self.reserve(1)
            at = row * WIDTH
            for place in range(KEY):
                self.table.keys[place] = words[at + place]
            hash_ = self.table.hash(0)
            here = self.table.find(hash_, 0)
            if words[at + STATE] & UNCOUNTED:
                numbers.append(here)  # all its datagrams were in the head, which `self` has counted already
                continue
            state = words[at + STATE]
            if (
                here >= 0
                and not state & IN_HEAD
                and (not state & OPEN or self.is_over(here, words[at + FIRST] + shift))
            ):
                self.table.words[here * WIDTH + STATE] |= OVER
                here = -1
            if here >= 0:
                self._go_on(here, right, row, shift)
            else:
                here = self.table.add(hash_, 0)
                for place in range(KEY, LINKS):
                    self.table.words[here * WIDTH + place] = words[at + place]
                for way in range(2):
                    self.table.words[here * WIDTH + HEAD + way] = 0
                self.table.words[here * WIDTH + FIRST] = words[at + FIRST] + shift
                self._link_ends(here)
                if state & OPEN and words[at + FIRST] + shift >= self.open_until:
                    self.table.words[here * WIDTH + STATE] &= ~OPEN
                    self.answered = -1
                    self._match_question(here)
                    if self.answered >= 0:
                        self.answers.append((self.answered, here))
            numbers.append(here)
        self.rtt.absorb(
            right.rtt,
            [
                2 * numbers[owner >> 1] + (owner & 1) if numbers[owner >> 1] >= 0 else -1
                for owner in range(2 * len(numbers))
            ],
        )
        self._merge_endpoints(right)
        return numbers

    def _go_on(self, here: index, right: Conversations, row: index, shift: u64) -> None:
        """Join a conversation with its continuation. A turn of direction between the two is a round trip too."""
        mine: index = here * WIDTH
        theirs: index = row * WIDTH
        words: views.u64s = self.table.words
        more: views.u64s = right.table.words
        state: u64 = words[mine + STATE]
        other: u64 = more[theirs + STATE]
        way: cython.int
        column: index
        if state & UNCOUNTED:  # all of it here was in this piece's own head: its first counted datagram is in `right`
            ways: u64 = FIRST_WAY | LAST_WAY | ASKING_WAY
            for column in range(LAST_NS, LINKS):
                if column != HEAD and column != HEAD + 1:
                    words[mine + column] = more[theirs + column]
            words[mine + FIRST] += shift
            words[mine + STATE] = state & ~(UNCOUNTED | ways) | other & ways | other >> 24 << 24
            return
        first_way: cython.int = 1 if other & FIRST_WAY else 0
        last_way: cython.int = 1 if state & LAST_WAY else 0
        if first_way != last_way and (state & (OPEN | EITHER) or last_way == (1 if state & ASKING_WAY else 0)):
            self._take_rtt(here, last_way, more[theirs + FIRST_NS] - words[mine + LAST_NS])
        if not state >> 24 and (other >> 24 or first_way != (1 if state & FIRST_WAY else 0)):
            both: u64 = more[theirs + FIRST] + shift - words[mine + FIRST]
            if first_way == (1 if state & FIRST_WAY else 0):
                both += other >> 24
            state |= both << 24
        words[mine + STATE] = state | LAST_WAY if other & LAST_WAY else state & ~LAST_WAY
        for way in range(2):
            words[mine + SENT + way] += more[theirs + SENT + way]
            words[mine + BYTES + way] += more[theirs + BYTES + way]
        words[mine + LAST_NS] = more[theirs + LAST_NS]

    def absorb(self, other: Conversations) -> None:
        """Add the counts of another capture; `other` must not be used afterwards."""
        other._fold_into(other.endpoints, other.endpoint_rtt, range(other.table.size))
        self._merge_endpoints(other)

    def _merge_endpoints(self, right: Conversations) -> None:
        theirs: views.u64s = right.endpoints.words
        owners: list[int] = []
        row: index
        place: index
        at: index
        here: index
        mine: Table = self.endpoints
        for row in range(right.endpoints.size):
            mine.reserve(1)
            at = row * 12
            for place in range(6):
                mine.keys[place] = theirs[at + place]
            here = mine.find(mine.hash(0), 0)
            if here < 0:
                here = mine.add(mine.hash(0), 0)
            owners.append(here)
            here *= 12
            for place in (SENT_TO, BYTES_TO, QUESTIONS, ANSWERED):
                mine.words[here + place] += theirs[at + place]
            for place in (LAST_TO_NS, ANSWERED_FROM):
                mine.words[here + place] = max(mine.words[here + place], theirs[at + place])
        self.endpoint_rtt.absorb(right.endpoint_rtt, owners or [-1])


def _restored(
    secret: int,
    by_flow: bool,
    open_until: int,
    forget_at: int,
    table: Table,
    ends: Table,
    endpoints: Table,
    rtt: Histograms,
    endpoint_rtt: Histograms,
) -> Conversations:
    made = Conversations(secret, by_flow=by_flow)
    made.open_until, made.forget_at = open_until, forget_at
    made.table, made.ends, made.endpoints, made.rtt, made.endpoint_rtt = table, ends, endpoints, rtt, endpoint_rtt
    return made
