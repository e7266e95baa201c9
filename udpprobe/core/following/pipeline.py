"""From frames to a summary: the one path that every command takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from udpprobe.core.batch import I64, U8, U64, Bool, FrameBatch
from udpprobe.core.correlation.copies import Copies, Passes
from udpprobe.core.correlation.correlate import HORIZON, Log, Matches
from udpprobe.core.decoding.decode import Chunk, Decoder, excerpt
from udpprobe.core.keys import endpoint_key
from udpprobe.core.notes import Note
from udpprobe.core.packets import Datagrams, Errors, u64
from udpprobe.core.summaries.summary import Summary

DIGESTED_ROWS = 1 << 18
"""Datagrams that are counted at a time: tunnels in tunnels make many of a chunk's frames, and `Copies` numbers rows."""

MOST_PENDING = 1 << 17
"""Errors that may wait for their datagrams to be looked up."""


class Admission(Protocol):
    """Says which decoded rows belong to what was sent on purpose."""

    def datagrams(self, some: Datagrams) -> Bool:
        """Which of (n,) datagrams do."""
        ...

    def errors(self, some: Errors, data: U8) -> Bool:
        """Which of (n,) errors do; their `message` points into `data`."""
        ...

    def adopt(self, errors: Errors, found: Matches) -> None:
        """Make the most of what correlation found for (n,) admitted errors."""
        ...


@dataclass(slots=True)
class Resolved:
    """(n,) errors, each with its datagram if that was seen."""

    errors: Errors
    found: Matches
    rows: I64
    """Row of the summary's findings that each error was counted in."""
    data: U8
    """The bytes that `errors.message` points into."""

    def slices(self, most: int) -> Iterator[Resolved]:
        """In the order of frames, so many at a time, each with no more bytes than it needs."""
        order = np.argsort(self.errors.frame, kind="stable")
        for start in range(0, len(order), most):
            rows = order[start:start + most]
            errors, data = excerpt(self.errors.take(rows), self.data)
            yield Resolved(errors, self.found.take(rows), self.rows[rows], data)


class Pipeline:
    """Feed it batches in capture order, then `finish`; what it knows is in `summary`."""

    def __init__(self, *, by_flow: bool = False, keep_messages: bool = False, horizon: int = HORIZON,
                 admission: Admission | None = None,
                 on_datagrams: Callable[[Datagrams], None] | None = None) -> None:
        """Start with nothing known.

        Args:
            by_flow: count each source apart.
            keep_messages: keep the bytes of errors until they are resolved, for their extensions.
            horizon: how many datagrams before an error are looked through for its own.
            admission: says what belongs to what was sent; all else is dropped, and who feeds it counts the frames.
            on_datagrams: gets all datagrams, copies too, once they are decoded.
        """
        self._on_datagrams = on_datagrams
        self._admission = admission
        self.summary = Summary(by_flow=by_flow)
        self.keep_messages, self.horizon = keep_messages, horizon
        self._decoder = Decoder()
        self.copies, self.error_copies = Copies(), Copies()
        self.log = Log(horizon)
        self._pending: list[tuple[Errors, U8]] = []

    def feed(self, batch: FrameBatch) -> list[Resolved]:
        """Take a batch; what became known by it. A batch of no frames, a tick, resolves all that is pending."""
        if self._admission is None:
            self.summary.count(batch)
        self._decoder.feed(batch)
        if len(batch) == 0:
            return self.finish()
        if not self._decoder.full:
            return []
        self._digest(self._decoder.take())
        return [self._resolve()] if self.log.rows >= self.horizon or self._waiting >= MOST_PENDING else []

    def finish(self) -> list[Resolved]:
        """Resolve all that is pending."""
        if self._decoder.frames:  # a file that a filter leaves little of is full of ticks
            self._digest(self._decoder.take())
        return [self._resolve()] if self._pending or self.log.rows >= self.horizon else []

    @property
    def _waiting(self) -> int:
        return sum(len(errors) for errors, _ in self._pending)

    def _digest(self, chunk: Chunk) -> None:
        self.summary.faults += chunk.faults
        if self._admission is not None:
            chunk.datagrams = chunk.datagrams.take(self._admission.datagrams(chunk.datagrams))
            chunk.errors = chunk.errors.take(self._admission.errors(chunk.errors, chunk.data))
        if self._on_datagrams is not None:
            self._on_datagrams(chunk.datagrams)
        self.count(chunk)

    def count(self, chunk: Chunk) -> None:
        """Count datagrams, and let errors wait for theirs to be looked up."""
        for some in pieces(chunk.datagrams):
            self._count(some)
        if len(chunk.errors):
            chunk.errors.notes[self.error_copies.feed_errors(chunk.errors)] |= Note.SEEN_BEFORE
            self._pending.append(self.excerpt(chunk.errors, chunk.data))

    def excerpt(self, errors: Errors, data: U8) -> tuple[Errors, U8]:
        """The errors with no more bytes than are wanted."""
        return excerpt(errors, data) if self.keep_messages else (errors, data[:0])

    def recognise(self, datagrams: Datagrams) -> tuple[U64, U64, Bool, Passes]:
        """Remember datagrams for what is to come; keys of their endpoints, which are copies, and passes of a loop."""
        port = datagrams.ports & u64(0xFFFF)
        source = endpoint_key(datagrams.source_high, datagrams.source_low, datagrams.ports >> u64(16))
        destination = endpoint_key(datagrams.destination_high, datagrams.destination_low, port)
        self.log.feed(datagrams, source, destination)
        return source, destination, *self.copies.feed(datagrams, source, destination)

    def _count(self, datagrams: Datagrams) -> None:
        """Count those that are no copies of earlier ones."""
        source, destination, is_copy, passes = self.recognise(datagrams)
        if len(passes):
            self.summary.record.add_passes(datagrams, passes)
        if is_copy.any():
            first = ~is_copy
            datagrams, source, destination = datagrams.take(first), source[first], destination[first]
        self.summary.conversations.feed(datagrams, source, destination)

    def _resolve(self) -> Resolved:
        """Look up the datagrams of all pending errors."""
        errors, data = joined(self._pending)
        self._pending = []
        found = Matches.none(errors)
        self.log.look(errors, found)
        resolved = self.settle(errors, found, data)
        self.log.trim()
        return resolved

    def settle(self, errors: Errors, found: Matches, data: U8) -> Resolved:
        """Count (n,) errors with all that will be found for them."""
        found.settle(errors)
        if self._admission is not None:
            self._admission.adopt(errors, found)
        return Resolved(errors, found, self.summary.record.add_errors(errors, found), data)


def pieces(datagrams: Datagrams) -> Iterator[Datagrams]:
    """As many at a time as are digested."""
    return (datagrams.take(slice(start, start + DIGESTED_ROWS)) for start in range(0, len(datagrams), DIGESTED_ROWS))


def joined(some: list[tuple[Errors, U8]]) -> tuple[Errors, U8]:
    """Errors with the bytes that their `message` points into, one behind the other."""
    bases = np.cumsum([0, *(data.size for _, data in some)])
    errors = Errors.concatenate([no_errors(), *(errors for errors, _ in some)])
    shift = np.repeat(bases[:-1], [len(errors) for errors, _ in some])
    errors.message, errors.message_end = errors.message + shift, errors.message_end + shift
    return errors, np.concatenate([np.empty(0, np.uint8), *(data for _, data in some)])


def no_errors() -> Errors:
    """No rows of errors."""
    none = np.empty(0, np.int64)
    empty = none.view(np.uint64)
    return Errors(*(none,) * 5, empty, none, *(empty,) * 8, *(none,) * 6)
