"""Parts of one capture, each followed on its own, and merged to exactly what one pipeline makes of the whole."""

from __future__ import annotations

from dataclasses import replace

from udpprobe.core.batch import FrameBatch
from udpprobe.core.decode import copy_frames
from udpprobe.core.pipeline import Pipeline, Resolved
from udpprobe.core.summary import Summary


class Part:
    """What a contiguous piece of a capture taught, complete but for what its neighbours know.

    It can be pickled. Feed it the piece's batches in capture order, `close` it, and merge it with the piece directly
    behind it; any tree of such merges gives the same.
    """

    def __init__(self, *, by_flow: bool = False, keep_messages: bool = False, is_first: bool = True) -> None:
        """Start with nothing known.

        Args:
            by_flow: count each source apart.
            keep_messages: keep the bytes of errors, for their extensions; without, no errors are told.
            is_first: whether the capture begins with this piece.
        """
        self._by_flow, self._keep_messages = by_flow, keep_messages
        self.is_first = is_first
        self.frames = 0
        """How many frames the piece had."""
        self._batches: list[FrameBatch] = []

    def feed(self, batch: FrameBatch) -> None:
        """Take a batch, its frames numbered from 1 in this piece."""
        if len(batch):
            self._batches.append(copy_frames(batch))
            self.frames = int(batch.frame[-1])

    def close(self, frames: int | None = None) -> None:
        """The piece is at its end.

        Args:
            frames: how many frames it had, where a filter may have left out the last ones.
        """
        self.frames = self.frames if frames is None else frames

    def merge(self, right: Part) -> None:
        """Add the piece directly behind this one, which is used up. Both are closed."""
        self._batches += [replace(batch, frame=batch.frame + self.frames) for batch in right._batches]
        self.frames += right.frames

    def finish(self) -> tuple[Summary, list[Resolved]]:
        """What the capture taught, if this is all of it; its errors in capture order, if their bytes were kept."""
        pipeline = Pipeline(by_flow=self._by_flow, keep_messages=self._keep_messages)
        resolved = [each for batch in self._batches for each in pipeline.feed(batch)] + pipeline.finish()
        return pipeline.summary, resolved if self._keep_messages else []
