"""Who sent how much to whom, and what came back: counters a conversation, folded into endpoints.

The first datagram of a conversation is a request; what comes back on the reversed 5-tuple is an answer, and
its RTT counts from the latest request. A server may answer from another port (TFTP, RFC 1350): then the first
datagram from there answers the request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I8, I64, U64
from udpprobe.core.growing import Table, column
from udpprobe.core.keys import Numbering, conversation_key, endpoint_key, pair_key
from udpprobe.core.lookup import Bitmap, latest_before
from udpprobe.core.packets import Columns, Datagrams, u64
from udpprobe.core.runs import starts_of_runs
from udpprobe.core.samples import Samples
from udpprobe.core.subjects import Subject

MOST_CONVERSATIONS = 1 << 17
"""So many live ones are remembered; at twice as many, counters are folded into endpoints and the rest forgotten."""
PORT = u64(0xFFFF)
NO_PORT = np.zeros(1, np.uint64)
NEVER = 1 << 62
QUIET_NS = 30 * 10**9
"""How long after the request an answer from another port, or after a fold any answer, still belongs to it."""


@dataclass(init=False)
class Endpoints(Subject):
    """An address and UDP port a row (a flow, where the report is by flow), with what was sent to it."""

    sent: I64 = column(np.int64, combine=np.add)
    sent_bytes: I64 = column(np.int64, combine=np.add)
    requests: I64 = column(np.int64, combine=np.add)
    """Those of the sent that came from the side that asked first."""
    answered: I64 = column(np.int64, combine=np.add)
    last_ns: I64 = column(np.int64, combine=np.maximum)
    """When the last datagram was sent there, as far as it opened or went on with a conversation."""
    other_port: I64 = column(np.int64, combine=np.maximum)
    """The port an answer came from if it was another one, else 0."""


@dataclass(init=False)
class Open(Table):
    """A conversation a row; columns of two are by direction, 0 from the endpoint with the lesser key."""

    key: U64 = column(np.uint64)
    to: U64 = column(np.uint64, 2)
    """Key of the endpoint that each direction's datagrams go to; the next three are its address and port."""
    high: U64 = column(np.uint64, 2)
    low: U64 = column(np.uint64, 2)
    port: U64 = column(np.uint64, 2)
    sent: I64 = column(np.int64, 2)
    sent_bytes: I64 = column(np.int64, 2)
    asking: I8 = column(np.int8)
    """Direction of the first datagram."""
    last_direction: I8 = column(np.int8)
    last_ns: I64 = column(np.int64)
    first_frame: I64 = column(np.int64)
    asked: U64 = column(np.uint64)
    """Key of the asking endpoint and the asked host, whatever the port."""
    first_answer: I64 = column(np.int64)
    """Frame of the first answer, `NEVER` without one."""
    other_port: I64 = column(np.int64)
    """Port that the first answer came from if it was another one, else 0."""
    folded_sent: I64 = column(np.int64, 2)
    """What of `sent` and so on the endpoints know already."""
    folded_bytes: I64 = column(np.int64, 2)
    folded_answered: I64 = column(np.int64)


@dataclass(slots=True)
class _Part(Columns):
    """(n,) datagrams of a chunk, those of a conversation in the order of frames."""

    conversation: I64
    direction: I8
    frame: I64
    time_ns: I64


class Conversations:
    """Counts the datagrams of chunk after chunk."""

    def __init__(self, *, by_flow: bool = False, most: int = MOST_CONVERSATIONS) -> None:
        self._by_flow, self._most = by_flow, most
        self.endpoints = Endpoints()
        self.rtt = Samples()
        """Of answers, by row of `endpoints`."""
        self._forget()

    def _forget(self) -> None:
        self.open = Open()
        self._open_rtt = Samples()
        self._numbers = Numbering()
        self._asked = Bitmap()

    @property
    def unfolded(self) -> int:
        """How many durations wait to be folded."""
        return len(self._open_rtt)

    def feed(self, datagrams: Datagrams, source: U64, destination: U64) -> None:
        """Count (n,) datagrams, those of a conversation in the order of frames, copies left out.

        Args:
            datagrams: their columns.
            source: (n,) keys of their source endpoints.
            destination: (n,) keys of their destination endpoints.
        """
        direction = (source > destination).view(np.int8)
        conversation, new = self._numbers.add(conversation_key(source, destination))
        self._begin(datagrams.take(new), source[new], destination[new], direction[new])
        flow = conversation * 2 + direction
        np.add.at(self.open.sent.reshape(-1), flow, 1)
        np.add.at(self.open.sent_bytes.reshape(-1), flow, datagrams.ip_length)
        part = _Part(conversation, direction, datagrams.frame, datagrams.time_ns)
        self._answers(part)
        self._answers_from_elsewhere(part.take(new), part)
        self._pair(part)
        if self.open.size > 2 * self._most:
            self.fold()

    def _begin(self, first: Datagrams, source: U64, destination: U64, direction: I8) -> None:
        """Open conversations, each with its first datagram."""
        new = self.open.extend(len(first))
        rows = np.arange(new.start, new.stop)
        self.open.key[new] = conversation_key(source, destination)
        for way, key, high, low, port in (
                (direction, destination, first.destination_high, first.destination_low, first.ports & PORT),
                (1 - direction, source, first.source_high, first.source_low, first.ports >> u64(16))):
            self.open.to[rows, way], self.open.port[rows, way] = key, port
            self.open.high[rows, way], self.open.low[rows, way] = high, low
        self.open.asking[new] = self.open.last_direction[new] = direction
        self.open.last_ns[new], self.open.first_frame[new] = first.time_ns, first.frame
        self.open.first_answer[new] = NEVER
        self.open.asked[new] = pair_key(source, endpoint_key(first.destination_high, first.destination_low, NO_PORT))
        self._asked.add(self.open.asked[new])

    def _answers(self, part: _Part) -> None:
        """Remember when each conversation was answered first."""
        rows = np.flatnonzero(part.direction != self.open.asking.take(part.conversation))
        np.minimum.at(self.open.first_answer, part.conversation[rows], part.frame[rows])

    def _pair(self, part: _Part) -> None:
        """Take the RTT wherever an answer follows a request at once, and remember where each one stands."""
        answering = part.direction != self.open.asking.take(part.conversation)
        if answering.any():
            two_sided = np.zeros(self.open.size, np.bool_)
            two_sided[part.conversation[answering]] = True
            self._take_rtt(part.take(two_sided.take(part.conversation)))
        self.open.last_direction[part.conversation] = part.direction
        self.open.last_ns[part.conversation] = part.time_ns

    def _take_rtt(self, part: _Part) -> None:
        """Of all datagrams of some conversations."""
        row_bits = len(part).bit_length()
        order = np.sort(part.conversation << row_bits | np.arange(len(part)))
        row = order & (1 << row_bits) - 1
        number, way, now = order >> row_bits, part.direction[row], part.time_ns[row]
        first = starts_of_runs(number)
        way_before, before = np.roll(way, 1), np.roll(now, 1)
        way_before[first] = self.open.last_direction[number[first]]
        before[first] = self.open.last_ns[number[first]]
        asking = self.open.asking[number]
        answers = np.flatnonzero((way != asking) & (way_before == asking))
        self._open_rtt.add(number[answers], now[answers] - before[answers])

    def _answers_from_elsewhere(self, new: _Part, part: _Part) -> None:
        """A conversation that a server opens from another port answers what its client asked it before."""
        to_server = self.open.to[new.conversation, 1 - new.direction]
        client = self.open.to[new.conversation, new.direction]
        asked = pair_key(client, endpoint_key(
            self.open.high[new.conversation, 1 - new.direction],
            self.open.low[new.conversation, 1 - new.direction], NO_PORT))
        maybe = np.flatnonzero(self._asked.has(asked) & (client != to_server))
        if len(maybe) == 0:
            return
        near = np.flatnonzero(Bitmap(asked[maybe]).has(self.open.asked[:self.open.size]))
        best = latest_before(self.open.asked[near], self.open.first_frame[near], asked[maybe], new.frame[maybe])
        hit = best >= 0
        if hit.any():
            self._credit(near[best[hit]], new.take(maybe[hit]), part)

    def _credit(self, request: I64, answer: _Part, part: _Part) -> None:
        """Count the first datagram of each `answer` as that to the conversation `request`, if that still waits."""
        waited_ns = answer.time_ns - self._asked_ns(request, answer, part)
        soon = np.flatnonzero((waited_ns >= 0) & (waited_ns <= QUIET_NS))
        pairs = zip(soon.tolist(), request[soon].tolist(), answer.conversation[soon].tolist(), strict=True)
        good = [row for row, asked_in, answered_in in pairs if self._turn_round(asked_in, answered_in)]
        self._open_rtt.add(request[good], waited_ns[good])

    def _turn_round(self, request: int, answer: int) -> bool:
        """Let conversation `answer` answer `request` if nothing has; one by one, for it may turn round the next."""
        direction, frame = self.open.asking[answer], self.open.first_frame[answer]
        if self.open.first_answer[request] < frame or self.open.other_port[request]:
            return False
        self.open.other_port[request] = self.open.port[answer, 1 - direction]
        self.open.asking[answer], self.open.first_answer[answer] = 1 - direction, frame
        return True

    def _asked_ns(self, request: I64, answer: _Part, part: _Part) -> I64:
        """When each request was sent last before its answer came: in this part, or earlier."""
        wanted = np.zeros(self.open.size, np.bool_)
        wanted[request] = True
        some = part.take(np.flatnonzero(wanted.take(part.conversation)))
        best = latest_before(some.conversation.view(np.uint64), some.frame, request.view(np.uint64), answer.frame)
        time_ns = np.append(some.time_ns, 0)  # for -1
        return np.where(best >= 0, time_ns[best], self.open.last_ns[request])

    def fold(self) -> None:
        """Add the counters to the endpoints and keep only the conversations that are not yet quiet."""
        rows, asking = np.arange(self.open.size), self.open.asking[:self.open.size]
        new = self.open.sent[rows, asking] - self.open.folded_sent[rows, asking]
        answered = np.maximum(self.open.sent[:self.open.size].min(axis=1), self.open.other_port[rows] > 0)
        asked = self._fold(asking)
        self._fold(1 - asking)
        np.add.at(self.endpoints.requests, asked, new)
        np.add.at(self.endpoints.answered, asked, answered - self.open.folded_answered[rows])
        np.maximum.at(self.endpoints.other_port, asked, self.open.other_port[rows])
        np.maximum.at(self.endpoints.last_ns, asked, self.open.last_ns[rows])
        self.open.folded_answered[rows] = answered
        self.rtt.absorb(self._open_rtt, asked)
        self._keep_recent()

    def _fold(self, way: I8) -> I64:
        """Add what was sent one way; the row of the endpoint that each conversation's went to."""
        rows = np.arange(len(way))
        sent = self.open.sent[rows, way] - self.open.folded_sent[rows, way]
        sent_bytes = self.open.sent_bytes[rows, way] - self.open.folded_bytes[rows, way]
        self.open.folded_sent[rows, way] += sent
        self.open.folded_bytes[rows, way] += sent_bytes
        to = {name: getattr(self.open, name)[rows, way] for name in ("high", "low", "port")}
        key = self.open.to[rows, way]
        if self._by_flow:
            key = pair_key(key, self.open.to[rows, 1 - way])
            to |= {f"source_{name}": getattr(self.open, name)[rows, 1 - way] for name in ("high", "low", "port")}
        return self.endpoints.add(key, **to, sent=sent, sent_bytes=sent_bytes)

    def merge(self, other: Conversations) -> None:
        """Add all that another part of the capture counted."""
        self.fold()
        other.fold()
        self.rtt.absorb(other.rtt, self.endpoints.merge(other.endpoints))

    def _keep_recent(self) -> None:
        """Start anew with what was heard of lately, its counters at zero."""
        old = self.open
        last_ns = old.last_ns[:old.size]
        recent = np.flatnonzero(last_ns > last_ns.max(initial=0) - QUIET_NS)[-self._most:]
        if len(recent) == old.size:
            self._open_rtt = Samples()
            return
        self._forget()
        self.open.extend(len(recent))
        for name, values in old.columns().items():
            getattr(self.open, name)[:len(recent)] = values[recent]
        self._numbers.add(self.open.key[:len(recent)])
        self._asked.add(self.open.asked[:len(recent)])
