"""Who sent how much to whom, and what came back: counters a conversation, folded into endpoints.

The first datagram of a conversation is a request; what comes back on the reversed 5-tuple is an answer, and
its RTT counts from the latest request. A conversation that nothing was heard of for QUIET_FRAMES is over: the next
datagram begins another. A server may answer from another port (TFTP, RFC 1350): the first datagram from there
answers what the client began with that host last, if nothing else has come back; its RTT counts from the beginning.

In a part of a capture that is not its first, what began before is not known: of a conversation that may have, RTTs
are taken both ways, until the part before tells who asked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I8, I64, U64
from udpprobe.core.growing import column
from udpprobe.core.keys import conversation_key, pair_key
from udpprobe.core.packets import Columns, Datagrams, u64
from udpprobe.core.runs import starts_of_runs
from udpprobe.core.samples import Samples
from udpprobe.core.summaries.elsewhere import asked_key, questions_of, turn_round
from udpprobe.core.summaries.episodes import NEVER, QUIET_FRAMES, Episodes, Open
from udpprobe.core.summaries.subjects import Subject

MOST_CONVERSATIONS = 1 << 18
"""At so many, and half as many again as are not over, counters are folded into endpoints and the rest forgotten."""
PORT = u64(0xFFFF)


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


@dataclass(slots=True)
class _Part(Columns):
    """(n,) datagrams of a chunk, those of a conversation in the order of frames."""

    conversation: I64
    direction: I8
    time_ns: I64


class Conversations:
    """Counts the datagrams of chunk after chunk."""

    def __init__(self, *, by_flow: bool = False, most: int = MOST_CONVERSATIONS, unknown_until: int = 0) -> None:
        """Start with nothing known.

        Args:
            by_flow: count each source apart.
            most: at so many conversations, see what can be forgotten.
            unknown_until: the last frame that is of another part of the capture; 0 for none.
        """
        self._by_flow, self._most, self._fold_at = by_flow, most, most
        self._open_until = unknown_until + QUIET_FRAMES if unknown_until else 0
        """What begins up to this frame may have begun in a part before."""
        self.endpoints = Endpoints()
        self.rtt = Samples()
        """Of answers, by row of `endpoints`."""
        self._now = 0
        self._episodes = Episodes()
        self._rtt = Samples()
        """By twice the row of a conversation, and one more where direction 1 asks."""

    @property
    def open(self) -> Open:
        """The conversations that are not forgotten."""
        return self._episodes.open

    @property
    def unfolded(self) -> int:
        """How many durations wait to be folded."""
        return len(self._rtt)

    def feed(self, datagrams: Datagrams, source: U64, destination: U64) -> None:
        """Count (n,) datagrams, those of a conversation in the order of frames, copies left out.

        Args:
            datagrams: their columns.
            source: (n,) keys of their source endpoints.
            destination: (n,) keys of their destination endpoints.
        """
        if len(datagrams) == 0:
            return
        direction = (source > destination).view(np.int8)
        key = conversation_key(source, destination)
        row, new = self._episodes.rows_of(key, datagrams.frame)
        self._begin(row[new], datagrams.take(new), source[new], destination[new], direction[new])
        flow = row * 2 + direction
        np.add.at(self.open.sent.reshape(-1), flow, 1)
        np.add.at(self.open.sent_bytes.reshape(-1), flow, datagrams.ip_length)
        back = np.flatnonzero(direction != self.open.first_direction.take(row))
        np.minimum.at(self.open.both, row[back], datagrams.frame[back])
        self._settle(row[new])
        self._pair(_Part(row, direction, datagrams.time_ns))
        self.open.last[row] = datagrams.frame
        self._now = max(self._now, int(datagrams.frame.max()))
        self._forget()

    def _begin(self, rows: I64, first: Datagrams, source: U64, destination: U64, direction: I8) -> None:
        """Open conversations, each with its first datagram."""
        talks = self.open
        talks.key[rows] = conversation_key(source, destination)
        for way, key, high, low, port in (
                (direction, destination, first.destination_high, first.destination_low, first.ports & PORT),
                (1 - direction, source, first.source_high, first.source_low, first.ports >> u64(16))):
            talks.to[rows, way], talks.port[rows, way] = key, port
            talks.high[rows, way], talks.low[rows, way] = high, low
        talks.asking[rows] = talks.first_direction[rows] = talks.last_direction[rows] = direction
        talks.first_ns[rows] = talks.last_ns[rows] = first.time_ns
        talks.first[rows], talks.both[rows] = first.frame, NEVER
        talks.asked[rows] = asked_key(source, first.destination_high, first.destination_low)
        self._episodes.asked.add(talks.asked[rows])

    def _settle(self, rows: I64) -> None:
        """Of conversations that seem to begin, in the order of frames: which answer another, and what is not known."""
        talks = self.open
        question = questions_of(talks, self._episodes.asked, rows)
        talks.is_open[rows] = talks.first[rows] <= self._open_until
        maybe = np.flatnonzero((question >= 0) & (talks.is_open[rows] == 0))
        for row, asked in zip(rows[maybe].tolist(), question[maybe].tolist(), strict=True):
            talks.is_open[row] = talks.is_open[asked]
            waited_ns = None if talks.is_open[asked] else turn_round(talks, asked, row)
            if waited_ns is not None:
                self._rtt.add(np.array([asked * 2 + int(talks.asking[asked])]), np.array([waited_ns]))

    def _pair(self, part: _Part) -> None:
        """Take the RTT wherever an answer follows a request at once, and remember where each one stands."""
        talks = self.open
        answering = part.direction != self._quiet_direction().take(part.conversation)
        if answering.any():
            two_sided = np.zeros(talks.size, np.bool_)
            two_sided[part.conversation[answering]] = True
            self._take_rtt(part.take(two_sided.take(part.conversation)))
        talks.last_direction[part.conversation] = part.direction
        talks.last_ns[part.conversation] = part.time_ns

    def _quiet_direction(self) -> I8:
        """Of each conversation the direction that no answer comes in: of requests, or, where both ask, the last."""
        talks = self.open
        return np.where(talks.is_open > 0, talks.last_direction, talks.asking) if self._open_until else talks.asking

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
        is_request = (way_before == self.open.asking[number]) | (self.open.is_open[number] > 0)
        answers = np.flatnonzero((way != way_before) & is_request)
        self._rtt.add(number[answers] * 2 + way_before[answers], now[answers] - before[answers])

    def _forget(self) -> None:
        """Keep only the conversations that are not over, if there are many."""
        if self.open.size > self._fold_at:
            self._tell_times(self._fold(), over=True)
            self._keep_recent()

    def fold(self) -> None:
        """Tell the endpoints all, for a report."""
        self._tell_times(self._fold(), over=False)

    def _tell_times(self, told: tuple[I64, I64], *, over: bool) -> None:
        """When each conversation ended, or what is not over was heard of last."""
        rows, asked = told
        if over:
            quiet = np.flatnonzero(self.open.last[rows] < self._now - QUIET_FRAMES)
            rows, asked = rows[quiet], asked[quiet]
        np.maximum.at(self.endpoints.last_ns, asked, self.open.last_ns[rows])

    def _fold(self) -> tuple[I64, I64]:
        """Add the counters to the endpoints; which conversations' that were, and what these asked."""
        talks = self.open
        rows = np.flatnonzero(talks.is_open[:talks.size] == 0)
        asking = talks.asking[rows]
        new = talks.sent[rows, asking] - talks.folded_sent[rows, asking]
        answered = np.maximum(talks.sent[rows].min(axis=1), talks.other_port[rows] > 0)
        asked = self._fold_sent(rows, asking)
        self._fold_sent(rows, 1 - asking)
        np.add.at(self.endpoints.requests, asked, new)
        np.add.at(self.endpoints.answered, asked, answered - talks.folded_answered[rows])
        np.maximum.at(self.endpoints.other_port, asked, talks.other_port[rows])
        talks.folded_answered[rows] = answered
        self.rtt.absorb(self._rtt.only(rows * 2 + asking), asked)
        still = _both(np.flatnonzero(talks.is_open[:talks.size]))
        rtt = Samples()
        rtt.absorb(self._rtt.only(still), still)
        self._rtt = rtt
        return rows, asked

    def _fold_sent(self, rows: I64, way: I8) -> I64:
        """Add what was sent one way; the row of the endpoint that each conversation's went to."""
        talks = self.open
        sent = talks.sent[rows, way] - talks.folded_sent[rows, way]
        sent_bytes = talks.sent_bytes[rows, way]
        talks.folded_sent[rows, way] += sent
        talks.sent_bytes[rows, way] = 0
        to = {name: getattr(talks, name)[rows, way] for name in ("high", "low", "port")}
        key = talks.to[rows, way]
        if self._by_flow:
            key = pair_key(key, talks.to[rows, 1 - way])
            to |= {f"source_{name}": getattr(talks, name)[rows, 1 - way] for name in ("high", "low", "port")}
        return self.endpoints.add(key, **to, sent=sent, sent_bytes=sent_bytes)

    def merge(self, other: Conversations) -> None:
        """Add all that another capture counted."""
        self.fold()
        other.fold()
        self.rtt.absorb(other.rtt, self.endpoints.merge(other.endpoints))

    def _keep_recent(self) -> None:
        """Forget what is over."""
        talks = self.open
        recent = talks.last[:talks.size] >= self._now - QUIET_FRAMES
        kept = np.flatnonzero(recent | (talks.is_open[:talks.size] > 0))
        self._fold_at = max(self._most, len(kept) * 3 // 2)
        self._rtt = self._rtt.only(_both(kept))
        self._episodes.keep(kept)

    def append(self, right: Conversations, frames: int) -> None:
        """Add what was counted directly behind, which is used up; `frames` are before it."""
        self.rtt.absorb(right.rtt, self.endpoints.merge(right.endpoints))
        theirs = right.open.columns()
        for name in ("first", "last"):
            theirs[name] = theirs[name] + frames
        theirs["both"] = np.where(theirs["both"] < NEVER, theirs["both"] + frames, NEVER)
        rows = self._episodes.ongoing(theirs["key"], theirs["first"])
        goes_on, new = np.flatnonzero(rows >= 0), np.flatnonzero(rows < 0)
        self._go_on(rows[goes_on], {name: values[goes_on] for name, values in theirs.items()})
        rows[new] = self._episodes.add({name: values[new] for name, values in theirs.items()})
        self._rtt.absorb(right._rtt, _both(rows))
        self._now = max(self._now, right._now + frames)
        begun = rows[new[theirs["is_open"][new] > 0]]
        self._settle(begun[np.argsort(self.open.first[begun], kind="stable")])
        self._forget()

    def _go_on(self, rows: I64, theirs: dict[str, npt.NDArray[Any]]) -> None:
        """Conversations of (n,) distinct rows go on behind."""
        talks = self.open
        turns = np.flatnonzero(theirs["first_direction"] != talks.last_direction[rows])
        self._rtt.add(rows[turns] * 2 + talks.last_direction[rows[turns]],
                      theirs["first_ns"][turns] - talks.last_ns[rows[turns]])
        back = np.where(theirs["first_direction"] == talks.first_direction[rows], theirs["both"], theirs["first"])
        talks.both[rows] = np.minimum(talks.both[rows], back)
        for name in ("sent", "sent_bytes"):
            getattr(talks, name)[rows] += theirs[name]
        for name in ("last", "last_ns", "last_direction"):
            getattr(talks, name)[rows] = theirs[name]


def _both(rows: I64) -> I64:
    """(2n,) the numbers of durations of (n,) conversations, whoever asks."""
    return (rows[:, None] * 2 + np.arange(2)).reshape(-1)
