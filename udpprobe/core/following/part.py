"""Parts of one capture, each followed on its own, and merged to exactly what one pipeline makes of the whole.

What depends on the part before waits for it: the first frames, which may be copies of that one's last; errors whose
datagrams may lie there; and who asked in a conversation that may have begun there. All else looks back so far only as
its own part reaches, so that little is left to do when two parts are merged.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U8, FrameBatch
from udpprobe.core.correlation.copies import MEMORY_WINDOWS, WINDOW_FRAMES
from udpprobe.core.correlation.correlate import HORIZON, Log, Matches
from udpprobe.core.decoding.decode import Chunk
from udpprobe.core.following.pipeline import Pipeline, Resolved, joined, pieces
from udpprobe.core.packets import Errors
from udpprobe.core.summaries.summary import Summary

HEAD_FRAMES = MEMORY_WINDOWS * WINDOW_FRAMES
"""So many frames at the start of a part hang on what was before."""


class Part:
    """What a contiguous piece of a capture taught, complete but for what its neighbours know.

    It can be pickled. Feed it the piece's batches in capture order, `close` it, and merge it with the piece directly
    behind it; any tree of such merges gives the same.
    """

    def __init__(self, *, by_flow: bool = False, keep_messages: bool = False, is_first: bool = True,
                 is_last: bool = False, horizon: int = HORIZON) -> None:
        """Start with nothing known.

        Args:
            by_flow: count each source apart.
            keep_messages: keep the bytes of errors, for their extensions; without, no errors are told.
            is_first: whether the capture begins with this piece.
            is_last: whether it ends with it, so that no later error asks for its datagrams.
            horizon: how many datagrams before an error are looked through for its own.
        """
        self.is_first, self._is_last = is_first, is_last
        self.frames = 0
        """How many frames the piece had."""
        self._keep_messages = keep_messages
        self._path = _Path(by_flow=by_flow, keep_messages=keep_messages, horizon=horizon,
                           unknown_until=0 if is_first else HEAD_FRAMES)
        self._known: list[Resolved] = []

    def feed(self, batch: FrameBatch) -> None:
        """Take a batch, its frames numbered from 1 in this piece."""
        if len(batch):
            self.frames = int(batch.frame[-1])
        self._keep(self._path.feed(batch))

    def close(self, frames: int | None = None) -> None:
        """The piece is at its end.

        Args:
            frames: how many frames it had, where a filter may have left out the last ones.
        """
        self._keep(self._path.finish())
        if self._is_last:
            self._path.seal()
        self.frames = self.frames if frames is None else frames

    def _keep(self, known: list[Resolved]) -> None:
        if self._keep_messages:
            self._known += known

    def merge(self, right: Part) -> None:
        """Add the piece directly behind this one, which is used up. Both are closed."""
        known, rows = self._path.append(right._path, self.frames, right.frames)
        self._keep(known)
        for each in right._known:
            each.errors.frame, each.rows = each.errors.frame + self.frames, rows[each.rows]
            each.found.shift(self.frames)
        self._known += right._known
        self.frames += right.frames

    def finish(self) -> tuple[Summary, list[Resolved]]:
        """What the capture taught, if this is all of it; its errors in capture order, if their bytes were kept."""
        return self._path.summary, [_in_order(self._known)] if self._known else []


@dataclass(slots=True)
class _Unsure:
    """(n,) errors that a better datagram may be found for in the part before."""

    errors: Errors
    found: Matches
    data: U8
    before: I64
    """How many datagrams are before each in its part."""


class _Path(Pipeline):
    """A pipeline that may begin in the middle."""

    def __init__(self, *, by_flow: bool, keep_messages: bool, horizon: int, unknown_until: int) -> None:
        super().__init__(by_flow=by_flow, keep_messages=keep_messages, horizon=horizon)
        self.summary = Summary(by_flow=by_flow, unknown_until=unknown_until)
        self.head_end, self.unsure = unknown_until, list[_Unsure]()
        self.is_sealed = False
        self.head: list[Chunk] = []
        """The first frames: counted only when it is known what was before."""

    def count(self, chunk: Chunk) -> None:
        if self.head_end:
            chunk = self._behead(chunk)
        super().count(chunk)

    def _behead(self, chunk: Chunk) -> Chunk:
        """Put aside what is of the first frames; the rest."""
        is_head, is_error_of_head = (some.frame <= self.head_end for some in (chunk.datagrams, chunk.errors))
        datagrams = chunk.datagrams.take(is_head)
        for some in pieces(datagrams):
            self.recognise(some)
        errors, data = self.excerpt(chunk.errors.take(is_error_of_head), chunk.data)
        self.error_copies.feed_errors(errors)
        self.head.append(Chunk(datagrams, errors, data, 0))
        return Chunk(chunk.datagrams.take(~is_head), chunk.errors.take(~is_error_of_head), chunk.data, 0)

    def settle(self, errors: Errors, found: Matches, data: U8) -> Resolved:
        if self.head_end and not self.log.has_forgotten:
            before = self.log.ordinals.before(errors.frame) + found.later
            is_unsure = (found.level > 0) & (before < self.horizon)
            theirs, their_data = self.excerpt(errors.take(is_unsure), data)
            self.unsure.append(_Unsure(theirs, found.take(is_unsure), their_data, before[is_unsure]))
            errors, found = errors.take(~is_unsure), found.take(~is_unsure)
        return super().settle(errors, found, data)

    def seal(self) -> None:
        """Nothing comes behind: forget the datagrams, most of what a part would travel with."""
        self.log, self.is_sealed = Log(self.horizon), True

    def append(self, right: _Path, frames: int, right_frames: int) -> tuple[list[Resolved], I64]:
        """Add what was learned directly behind, which is used up; both are finished.

        Args:
            right: what was learned there.
            frames: how many frames are before it.
            right_frames: how many it had.

        Returns:
            What became known by it; and (n,) which row of the findings each of its went to.
        """
        datagrams = self.log.count
        for chunk in right.head:
            chunk.datagrams.frame, chunk.errors.frame = chunk.datagrams.frame + frames, chunk.errors.frame + frames
            self.count(chunk)
        known = [*self.finish(), *(self._look_again(each, frames, datagrams) for each in right.unsure)]
        rows = self.summary.append(right.summary, frames)
        if right.is_sealed:
            self.seal()
        else:
            self.log.append(right.log, frames, right.head_end, sum(len(chunk.datagrams) for chunk in right.head))
        if right_frames > right.head_end:
            self.copies, self.error_copies = right.copies.shifted(frames), right.error_copies.shifted(frames)
        return known, rows

    def _look_again(self, unsure: _Unsure, frames: int, datagrams: int) -> Resolved:
        """Look here for better datagrams of a later part's errors."""
        errors, found = unsure.errors, unsure.found
        errors.frame = errors.frame + frames
        found.shift(frames)
        found.later = unsure.before + datagrams - self.log.count
        self.log.look(errors, found)
        return self.settle(errors, found, unsure.data)


def _in_order(known: list[Resolved]) -> Resolved:
    """All errors by their frames."""
    errors, data = joined([(each.errors, each.data) for each in known])
    order = np.argsort(errors.frame, kind="stable")
    found, rows = Matches.concatenate([each.found for each in known]), np.concatenate([each.rows for each in known])
    return Resolved(errors.take(order), found.take(order), rows[order], data)
