"""Who sent how much to whom, and what came back: counters a conversation, folded into endpoints.

The first datagram of a conversation is a request; what comes back on the reversed 5-tuple is an answer, and
its RTT counts from the latest request. A server may answer from another port (TFTP, RFC 1350): then the first
datagram from there answers the request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I8, I64, U64
from udpprobe.core.growing import Table, Tally, column
from udpprobe.core.keys import Numbering, conversation_key, endpoint_key, pair_key
from udpprobe.core.packets import Datagrams, u64
from udpprobe.core.samples import Samples

MOST_CONVERSATIONS = 1 << 19
"""Beyond that, the counters are folded into their endpoints and quiet conversations forgotten."""
PORT = u64(0xFFFF)
NO_PORT = np.zeros(1, np.uint64)
QUIET_NS = 30 * 10**9
"""How long after the request an answer from another port, or after a fold any answer, still belongs to it."""


@dataclass(init=False)
class Endpoints(Tally):
    """An address and UDP port a row (a flow, where the report is by flow), with what was sent to it."""

    high: U64 = column(np.uint64)
    low: U64 = column(np.uint64)
    port: I64 = column(np.int64)
    source_high: U64 = column(np.uint64)
    """The other end of a flow; 0 in a report that is not by flow."""
    source_low: U64 = column(np.uint64)
    source_port: I64 = column(np.int64)
    sent: I64 = column(np.int64, combine=np.add)
    sent_bytes: I64 = column(np.int64, combine=np.add)
    requests: I64 = column(np.int64, combine=np.add)
    """Those of the sent that came from the side that asked first."""
    answered: I64 = column(np.int64, combine=np.add)
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
    other_port: I64 = column(np.int64)
    """Port that the first answer came from if it was another one, else 0."""


LASTING = ("key", "to", "high", "low", "port", "asking", "last_direction", "last_ns", "first_frame")
"""What a conversation keeps when its counters have been folded."""


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
        self._asked = Numbering()
        self._asked_in = np.zeros(0, np.int64)

    def feed(self, datagrams: Datagrams, source: U64, destination: U64) -> None:
        """Count (n,) datagrams in the order of their frames, copies left out.

        Args:
            datagrams: their columns.
            source: (n,) keys of their source endpoints.
            destination: (n,) keys of their destination endpoints.
        """
        direction = (source > destination).view(np.int8)
        conversation, new = self._numbers.add(conversation_key(source, destination))
        first = datagrams.take(new), source[new], destination[new]
        self._begin(*first, direction[new])
        flow = conversation * 2 + direction
        np.add.at(self.open.sent.reshape(-1), flow, 1)
        np.add.at(self.open.sent_bytes.reshape(-1), flow, datagrams.ip_length)
        self._answer_from_elsewhere(*first, conversation[new])
        self._pair(conversation, direction, datagrams.time_ns)
        if self.open.size > self._most:
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

    def _pair(self, conversation: I64, direction: I8, time_ns: I64) -> None:
        """Take the RTT wherever an answer follows a request at once, and remember where each one stands."""
        answering = direction != self.open.asking.take(conversation)
        if answering.any():
            two_sided = np.zeros(self.open.size, np.bool_)
            two_sided[conversation[answering]] = True
            rows = np.flatnonzero(two_sided.take(conversation))
            self._take_rtt(conversation[rows], direction[rows], time_ns[rows])
        self.open.last_direction[conversation], self.open.last_ns[conversation] = direction, time_ns

    def _take_rtt(self, conversation: I64, direction: I8, time_ns: I64) -> None:
        """Of all datagrams of some conversations."""
        row_bits = len(conversation).bit_length()
        order = np.sort(conversation << row_bits | np.arange(len(conversation)))
        row = order & (1 << row_bits) - 1
        number, way, now = order >> row_bits, direction[row], time_ns[row]
        first = np.concatenate(([True], number[1:] != number[:-1]))
        way_before, before = np.roll(way, 1), np.roll(now, 1)
        way_before[first] = self.open.last_direction[number[first]]
        before[first] = self.open.last_ns[number[first]]
        asking = self.open.asking[number]
        answers = np.flatnonzero((way != asking) & (way_before == asking))
        self._open_rtt.add(number[answers], now[answers] - before[answers])

    def _answer_from_elsewhere(self, first: Datagrams, source: U64, destination: U64, rows: I64) -> None:
        """A conversation that a server opens from another port answers what its client asked it before."""
        numbers, _ = self._asked.add(
            pair_key(source, endpoint_key(first.destination_high, first.destination_low, NO_PORT)))
        before = self._asked.find(
            pair_key(destination, endpoint_key(first.source_high, first.source_low, NO_PORT)))
        asked_in = np.zeros(len(self._asked), np.int64)
        asked_in[:len(self._asked_in)] = self._asked_in
        asked_in[numbers[::-1]] = rows[::-1]  # of several new ones, the first
        self._asked_in = asked_in
        answers = np.flatnonzero(before >= 0)
        if len(answers):
            self._credit(asked_in[before[answers]], rows[answers], first.take(answers))

    def _credit(self, request: I64, answer: I64, first: Datagrams) -> None:
        """Count the first datagram of conversation `answer` as the answer to the latest of `request`."""
        asking = self.open.asking[request]
        waited_ns = first.time_ns - self.open.last_ns[request]
        good = ((self.open.first_frame[request] < first.frame) & (self.open.sent[request, 1 - asking] == 0)
                & (self.open.last_direction[request] == asking) & (waited_ns >= 0) & (waited_ns <= QUIET_NS))
        request, answer = request[good], answer[good]
        self.open.other_port[request] = (first.ports[good] >> u64(16)).view(np.int64)
        self._open_rtt.add(request, waited_ns[good])
        self.open.asking[answer] = 1 - self.open.asking[answer]

    def fold(self) -> None:
        """Add the counters to the endpoints and keep only the conversations that are not yet quiet."""
        asked = self._fold(self.open.asking)
        self._fold(1 - self.open.asking)
        rows = np.arange(self.open.size)
        asking = self.open.asking[rows]
        requests, answers = self.open.sent[rows, asking], self.open.sent[rows, 1 - asking]
        elsewhere = self.open.other_port[rows]
        np.add.at(self.endpoints.requests, asked, requests)
        np.add.at(self.endpoints.answered, asked, np.minimum(requests, answers) + (elsewhere > 0))
        np.maximum.at(self.endpoints.other_port, asked, elsewhere)
        self.rtt.absorb(self._open_rtt, asked)
        self._keep_recent()

    def _fold(self, way: I8) -> I64:
        """Add what was sent one way; the row of the endpoint that each conversation's went to."""
        rows = np.arange(self.open.size)
        way = way[:len(rows)]
        to, high, low, port = (column[rows, way] for column in (
            self.open.to, self.open.high, self.open.low, self.open.port))
        columns = {"high": high, "low": low, "port": port.view(np.int64)}
        key = to
        if self._by_flow:
            key = pair_key(to, self.open.to[rows, 1 - way])
            columns |= {"source_high": self.open.high[rows, 1 - way], "source_low": self.open.low[rows, 1 - way],
                        "source_port": self.open.port[rows, 1 - way].view(np.int64)}
        return self.endpoints.add(key, **columns, sent=self.open.sent[rows, way],
                                  sent_bytes=self.open.sent_bytes[rows, way])

    def merge(self, other: Conversations) -> None:
        """Add all that another part of the capture counted."""
        self.fold()
        other.fold()
        self.rtt.absorb(other.rtt, self.endpoints.merge(other.endpoints))

    def _keep_recent(self) -> None:
        """Start anew with what was heard of lately, its counters at zero."""
        old = self.open
        last_ns = old.last_ns[:old.size]
        recent = np.flatnonzero(last_ns > last_ns.max(initial=0) - QUIET_NS)[-self._most // 2:]
        self._forget()
        self.open.extend(len(recent))
        for name in LASTING:
            getattr(self.open, name)[:len(recent)] = getattr(old, name)[recent]
        self._numbers.add(self.open.key[:len(recent)])
