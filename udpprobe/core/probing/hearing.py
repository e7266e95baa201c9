"""What comes back for shots: who proves to have seen which, and nobody else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import U8, U64, Bool, FrameBatch, tick
from udpprobe.core.correlation.correlate import Matches
from udpprobe.core.correlation.levels import EXACT
from udpprobe.core.decoding.answers import data_of
from udpprobe.core.following.events import events_of
from udpprobe.core.following.pipeline import Pipeline, Resolved
from udpprobe.core.model import Event
from udpprobe.core.notes import Note
from udpprobe.core.packets import Datagrams, Errors, field, u64
from udpprobe.core.probing.craft import HEADER_BYTES
from udpprobe.core.probing.probes import TOKEN_BYTES, Payloads, ip_id
from udpprobe.core.probing.shot_quotes import Quote, length_and_sum, quote_of
from udpprobe.core.probing.shots import Line, Reply, Shot
from udpprobe.core.runs import is_among

LEAST_FOUND_ANYWHERE = 4
"""Bytes of a token that are looked for everywhere in an answer; fewer are looked for where they were sent."""
NO_LOOP_TTL = 256
"""Of a trace, no shot's TTL is evidence of a loop by itself: small ones are meant to run out, and the path is known."""


@dataclass(slots=True)
class Fired:
    """A shot that was sent."""

    shot: Shot
    token: int
    head: bytes
    """The IP packet up to the end of the token."""
    sent_ns: int
    seen: bool = False
    """Whether the capture saw it leave."""
    replied: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """A datagram of the destination's."""

    frame: int
    time_ns: int
    ttl: int
    from_port: int
    port: int
    """Where it arrived: the source port of its flow."""


class Shots:
    """Takes note of what is sent, and admits to a `Pipeline` what proves to be about it.

    An error is believed if its quote holds the token, the id, or length and checksum of a shot, and if nothing else
    that is quoted of the payload contradicts it. None of them can be guessed.

    Args:
        line: to whom.
        payloads: of one row: what each shot carries.
    """

    def __init__(self, line: Line, payloads: Payloads) -> None:
        self._line = line
        self._at, self._size = int(payloads.token_at[0]), int(payloads.token_size[0])
        self._header = HEADER_BYTES[line.family]
        self.fired: dict[int, Fired] = {}
        self.foreign = 0
        """Errors that quote a datagram of these flows that was never sent."""
        self.returned = 0
        """Shots that came by again, with a lower TTL: somebody routes them back to this host."""
        self._by_stamp: dict[tuple[int, bytes], int] = {}
        self._by_id: dict[tuple[int, int], int] = {}
        self._by_sum: dict[tuple[int, int, int], int] = {}
        self._proven: dict[int, tuple[int, tuple[str, ...]]] = {}
        self._answers: list[Answer] = []

    def fire(self, shots: Sequence[Shot], packets: U8, now_ns: int) -> None:
        """Take note of (n,) shots, just before they are sent.

        Args:
            shots: of one size.
            packets: (n, width) the packets.
            now_ns: what time it is.
        """
        probes = self._line.probes(shots)
        ids = ip_id(probes).tolist()
        for shot, packet, token, identity in zip(shots, packets, probes.token.tolist(), ids, strict=True):
            head = packet[:self._header + self._at + self._size].tobytes()
            self.fired[shot.number] = Fired(shot, token, head, now_ns)
            port = self._line.source_ports[shot.flow]
            self._by_stamp[port, head[self._header + self._at:]] = shot.number
            self._by_id[port, identity] = shot.number
            self._by_sum[port, *length_and_sum(head, self._header)] = shot.number

    def datagrams(self, some: Datagrams) -> Bool:
        """Which of (n,) datagrams are shots, or come back from the destination."""
        ours, theirs = self._line.source, self._line.destination
        first, second = some.ports >> u64(16), some.ports & u64(0xFFFF)
        out = (_is(some.source_high, some.source_low, ours) & _is(some.destination_high, some.destination_low, theirs)
               & is_among(first, self._line.source_ports) & (second == self._line.port))
        back = (_is(some.source_high, some.source_low, theirs) & _is(some.destination_high, some.destination_low, ours)
                & is_among(second, self._line.source_ports)) & ~out
        left = first[out], some.detail[out], some.time_ns[out], some.ttl[out]
        for port, detail, time_ns, ttl in zip(*(column.tolist() for column in left), strict=True):
            self._left(port, detail, time_ns, ttl)
        columns = some.frame[back], some.time_ns[back], some.ttl[back], first[back], second[back]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        self._answers += [Answer(*row) for row in rows]
        return out | back

    def _left(self, port: int, detail: int, time_ns: int, ttl: int) -> None:
        number = self._by_sum.get((port, detail >> 32 & 0xFFFF, detail >> 16 & 0xFFFF))
        fired = None if number is None else self.fired[number]
        if fired and not fired.seen:
            fired.sent_ns, fired.seen = time_ns, True
        elif fired:
            self.returned += ttl < fired.shot.ttl

    def errors(self, some: Errors, data: U8) -> Bool:
        """Which of (n,) errors quote a shot.

        Args:
            some: the errors.
            data: the bytes their `message` points into.
        """
        near = ((_is(some.destination_high, some.destination_low, self._line.destination)
                 | _is(some.source_high, some.source_low, self._line.source))
                & (some.notes & Note.NO_PORTS == 0) & (some.family == self._line.family))
        believed = np.zeros(len(some), np.bool_)
        for row in np.flatnonzero(near).tolist():
            believed[row] = self._believes(int(some.frame[row]), quote_of(some, row, data, self._header))
        return believed

    def _believes(self, frame: int, quote: Quote) -> bool:
        proven = next((number for number in self._candidates(quote) if self._agrees(number, quote)), None)
        if proven is not None:
            self._proven[frame] = proven, tuple(self._changes(self.fired[proven].head, quote))
        elif quote.port == self._line.port and quote.source_port in self._line.source_ports:
            self.foreign += 1
        return proven is not None

    def _candidates(self, quote: Quote) -> Iterator[int]:
        """Shots that it may be, the best proof first; a NAT may have changed the source port."""
        stamp = quote.payload[self._at:self._at + self._size]
        swapped = (quote.ip_id & 0xFF) << 8 | quote.ip_id >> 8
        ports = self._line.source_ports
        for port in [quote.source_port] if quote.source_port in ports else ports:
            if (port, stamp) in self._by_stamp:
                yield self._by_stamp[port, stamp]
            yield from (self._by_id[port, each] for each in (quote.ip_id, swapped) if (port, each) in self._by_id)
            key = port, quote.udp_length or 0, quote.checksum or 0
            if key in self._by_sum:
                yield self._by_sum[key]

    def _agrees(self, number: int, quote: Quote) -> bool:
        """Whether nothing contradicts; where a NAT changed both ends, the token must have been quoted."""
        sent = self.fired[number].head
        length, _ = length_and_sum(sent, self._header)
        payload = sent[self._header:]
        quoted = quote.payload[:len(payload)]
        known = quote.destination == self._line.destination and quote.port == self._line.port
        return (quote.udp_length in {None, length} and payload.startswith(quoted)
                and (known or len(quoted) == len(payload)))

    def _changes(self, sent: bytes, quote: Quote) -> Iterator[str]:
        if quote.source != self._line.source or quote.source_port not in self._line.source_ports:
            yield "source"
        if quote.destination != self._line.destination or quote.port != self._line.port:
            yield "destination"
        if quote.checksum not in {None, length_and_sum(sent, self._header)[1]}:
            yield "checksum"
        if quote.traffic_class >> 2:
            yield "dscp"
        if quote.traffic_class & 3:
            yield "ecn"
        if not quote.dont_fragment:
            yield "df"

    def adopt(self, errors: Errors, found: Matches) -> None:
        """Make the most of what correlation found for (n,) admitted errors: each quotes a shot, whose time is known."""
        found.match[:] = EXACT
        found.time_ns[:] = [self.fired[self._proven[frame][0]].sent_ns for frame in errors.frame.tolist()]

    def answers(self) -> list[Answer]:
        """Datagrams that came back since this was asked last."""
        answers, self._answers = self._answers, []
        return answers

    def reply_of_error(self, event: Event, ttl: int) -> Reply:
        """What an admitted error says.

        Args:
            event: the error.
            ttl: that it arrived with.
        """
        number, changed = self._proven[event.frame]
        fired = self.fired[number]
        fired.replied |= event.verdict != "quenched"
        own = not fired.seen and event.reporter == event.quoted.source
        return Reply(number, fired.sent_ns, event.time_ns, "unsent" if own else "error", event, ttl, changed)

    def reply_of_answer(self, answer: Answer, data: bytes) -> Reply | None:
        """Which shot a datagram answers, None where none was sent before it.

        Args:
            answer: the datagram.
            data: what it carries.
        """
        ports = self._line.source_ports
        sent = [each for each in self.fired.values()
                if each.sent_ns <= answer.time_ns and ports[each.shot.flow] == answer.port]
        repeated = next((each for each in reversed(sent) if self._is_repeated(each, data)), None)
        waiting = [each for each in sent if not each.replied] or sent
        fired = repeated or max(waiting, key=lambda each: each.sent_ns, default=None)
        if fired is None:
            return None
        fired.replied = True
        changed = () if answer.from_port == self._line.port else ("port",)
        return Reply(fired.shot.number, fired.sent_ns, answer.time_ns, "answer", None, answer.ttl, changed,
                     is_sure=repeated is not None)

    def _is_repeated(self, fired: Fired, data: bytes) -> bool:
        token = fired.token.to_bytes(TOKEN_BYTES)[:self._size]
        return (len(token) >= LEAST_FOUND_ANYWHERE and token in data) or data[self._at:self._at + self._size] == token


class Hearing:
    """From frames to replies.

    Args:
        shots: what was sent, and will be.
        loop_ttl: of shots that left with this TTL or more it is a loop's doing if it runs out.
    """

    def __init__(self, shots: Shots, loop_ttl: int = NO_LOOP_TTL) -> None:
        self._shots, self._loop_ttl = shots, loop_ttl
        self._pipeline = Pipeline(keep_messages=True, admission=shots)

    @property
    def faults(self) -> Counter[str]:
        """What was wrong with what was heard, counted by name.

        `foreign`: errors about what was never sent; `returned`: shots that were routed back to this host.
        """
        return +(self._pipeline.summary.faults + Counter(foreign=self._shots.foreign, returned=self._shots.returned))

    def feed(self, batch: FrameBatch) -> list[Reply]:
        """What came back with a batch, in order of time."""
        known = self._pipeline.feed(batch)
        if len(batch):
            known += self._pipeline.feed(tick(batch.now_ns))
        replies = [reply for resolved in known for reply in self._errors(resolved)]
        return sorted([*replies, *self._answers(batch)], key=lambda reply: reply.time_ns)

    def _errors(self, resolved: Resolved) -> Iterator[Reply]:
        ttls = field(resolved.errors.outer, 8, 8).tolist()
        ttl_of = dict(zip(resolved.errors.frame.tolist(), ttls, strict=True))
        for event in events_of(resolved, self._pipeline.summary, self._loop_ttl):
            yield self._shots.reply_of_error(event, ttl_of[event.frame])

    def _answers(self, batch: FrameBatch) -> Iterator[Reply]:
        answers = self._shots.answers()
        frames = np.array([answer.frame for answer in answers], np.int64)
        found = data_of(batch.take(np.searchsorted(batch.frame, frames))) if answers else []
        for answer, data in zip(answers, found, strict=True):
            reply = self._shots.reply_of_answer(answer, data)
            if reply is not None:
                yield reply


def _is(high: U64, low: U64, address: tuple[int, int]) -> Bool:
    return (high == u64(address[0])) & (low == u64(address[1]))
