"""Who sent how much to whom, and what came back: counters a conversation, folded into endpoints.

The first datagram of a conversation is a request; what comes back on the reversed 5-tuple is an answer, and
its RTT counts from the latest request. A server may answer from another port (TFTP, RFC 1350): then the first
datagram from there answers the request.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U64
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
    endpoint: I64 = column(np.int64, 2)
    """Number of the endpoint that each direction's datagrams go to."""
    sent: I64 = column(np.int64, 2)
    sent_bytes: I64 = column(np.int64, 2)
    asking: I64 = column(np.int64)
    """Direction of the first datagram."""
    last_direction: I64 = column(np.int64)
    last_ns: I64 = column(np.int64)
    first_frame: I64 = column(np.int64)


class Conversations:
    """Counts the datagrams of chunk after chunk."""

    def __init__(self, *, by_flow: bool = False, most: int = MOST_CONVERSATIONS) -> None:
        self._by_flow, self._most = by_flow, most
        self.endpoints = Endpoints()
        self.rtt = Samples()
        self._forget()

    def _forget(self) -> None:
        self.open = Open()
        self._numbers = Numbering()
        self._asked = Numbering()
        self._asked_conversation = np.zeros(0, np.int64)

    def feed(self, datagrams: Datagrams, source: U64, destination: U64) -> None:
        """Count (n,) datagrams in the order of their frames, copies left out.

        Args:
            datagrams: their columns.
            source: (n,) keys of their source endpoints.
            destination: (n,) keys of their destination endpoints.
        """
        if len(datagrams) == 0:
            return
        direction = (source > destination).astype(np.int64)
        conversation, new = self._numbers.add(conversation_key(source, destination))
        self._begin(datagrams.take(new), source[new], destination[new], direction[new])
        self._count(conversation * 2 + direction, datagrams.ip_length)
        self._answer_from_elsewhere(datagrams.take(new), source[new], destination[new], conversation[new])
        self._pair(conversation, direction, datagrams.time_ns)
        if self.open.size > self._most:
            self.fold()

    def _count(self, flow: I64, length: I64) -> None:
        np.add.at(self.open.sent.reshape(-1), flow, 1)
        np.add.at(self.open.sent_bytes.reshape(-1), flow, length)

    def _pair(self, conversation: I64, direction: I64, time_ns: I64) -> None:
        """Take the RTT wherever an answer follows a request at once, and remember where each one stands."""
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
        self.rtt.add(self.open.endpoint[number[answers], asking[answers]], now[answers] - before[answers])
        last = np.flatnonzero(np.concatenate((first[1:], [True])))
        self.open.last_direction[number[last]], self.open.last_ns[number[last]] = way[last], now[last]

    def _begin(self, first: Datagrams, source: U64, destination: U64, direction: I64) -> None:
        """Open conversations, each with its first datagram."""
        new = self.open.extend(len(first))
        rows = np.arange(new.start, new.stop)
        sender = source, first.source_high, first.source_low, first.ports >> u64(16)
        receiver = destination, first.destination_high, first.destination_low, first.ports & PORT
        self.open.key[new] = conversation_key(source, destination)
        self.open.endpoint[rows, direction] = self._endpoint(receiver, sender)
        self.open.endpoint[rows, 1 - direction] = self._endpoint(sender, receiver)
        self.open.asking[new] = self.open.last_direction[new] = direction
        self.open.last_ns[new], self.open.first_frame[new] = first.time_ns, first.frame

    def _endpoint(self, to: tuple[U64, ...], other: tuple[U64, ...]) -> I64:
        """Number the endpoints `to`: key, both halves of the address, port."""
        key, high, low, port = to
        if not self._by_flow:
            return self.endpoints.add(key, high=high, low=low, port=port)
        return self.endpoints.add(pair_key(key, other[0]), high=high, low=low, port=port, source_high=other[1],
                                  source_low=other[2], source_port=other[3])

    def _answer_from_elsewhere(self, first: Datagrams, source: U64, destination: U64, rows: I64) -> None:
        """A conversation that a server opens from another port answers what its client asked it before."""
        asked = pair_key(source, endpoint_key(first.destination_high, first.destination_low, NO_PORT))
        numbers, _ = self._asked.add(asked)
        grown = np.zeros(len(self._asked), np.int64)
        grown[:len(self._asked_conversation)] = self._asked_conversation
        before = self._asked.find(pair_key(destination, endpoint_key(first.source_high, first.source_low, NO_PORT)))
        grown[numbers[::-1]] = rows[::-1]
        self._asked_conversation = grown
        answers = np.flatnonzero(before >= 0)
        if len(answers):
            self._credit(grown[before[answers]], rows[answers], first.take(answers))

    def _credit(self, request: I64, answer: I64, first: Datagrams) -> None:
        """Count the first datagram of conversation `answer` as the answer to the latest of `request`."""
        asking = self.open.asking[request]
        waited_ns = first.time_ns - self.open.last_ns[request]
        good = ((self.open.first_frame[request] < first.frame) & (self.open.sent[request, 1 - asking] == 0)
                & (self.open.last_direction[request] == asking) & (waited_ns >= 0) & (waited_ns <= QUIET_NS))
        request, answer, asking, waited_ns = request[good], answer[good], asking[good], waited_ns[good]
        server = self.open.endpoint[request, asking]
        self.endpoints.other_port[server] = (first.ports[good] >> u64(16)).view(np.int64)
        self.endpoints.answered[server] += 1
        self.rtt.add(server, waited_ns)
        self.open.asking[answer] = 1 - self.open.asking[answer]

    def fold(self) -> None:
        """Add the counters to the endpoints and keep only the conversations that are not yet quiet."""
        size = self.open.size
        asking = self.open.asking[:size]
        rows = np.arange(size)
        sent = self.open.sent[:size]
        for way in (0, 1):
            to = self.open.endpoint[:size, way]
            np.add.at(self.endpoints.sent, to, sent[:, way])
            np.add.at(self.endpoints.sent_bytes, to, self.open.sent_bytes[:size, way])
        asked = self.open.endpoint[rows, asking]
        np.add.at(self.endpoints.requests, asked, sent[rows, asking])
        np.add.at(self.endpoints.answered, asked, np.minimum(sent[rows, asking], sent[rows, 1 - asking]))
        self._keep_recent()

    def merge(self, other: Conversations) -> None:
        """Add all that another part of the capture counted."""
        self.fold()
        other.fold()
        self.rtt.absorb(other.rtt, self.endpoints.merge(other.endpoints))

    def _keep_recent(self) -> None:
        """Start anew with what was heard of lately, its counters at zero."""
        old = self.open
        latest = int(old.last_ns[:old.size].max(initial=0))
        recent = np.flatnonzero(old.last_ns[:old.size] > latest - QUIET_NS)[-self._most // 2:]
        self._forget()
        self.open.extend(len(recent))
        for name in ("key", "endpoint", "asking", "last_direction", "last_ns", "first_frame"):
            getattr(self.open, name)[:len(recent)] = getattr(old, name)[recent]
        self._numbers.add(self.open.key[:len(recent)])
