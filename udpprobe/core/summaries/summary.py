"""What is known after some part of a capture. Two parts' summaries merge, in any order, to that of both."""

from __future__ import annotations

from collections import Counter

from udpprobe.core.batch import I64, FrameBatch
from udpprobe.core.runs import distinct
from udpprobe.core.summaries.conversations import Conversations
from udpprobe.core.summaries.findings import Record


class Summary:
    """Counters of packets, endpoints and errors."""

    def __init__(self, *, by_flow: bool = False, unknown_until: int = 0) -> None:
        """Start with nothing known; see `Conversations` for the arguments."""
        self.by_flow = by_flow
        self.packets = 0
        self.bytes = 0
        self.first_ns: int | None = None
        self.last_ns: int | None = None
        self.link_types: set[int] = set()
        self.faults: Counter[str] = Counter()
        self.conversations = Conversations(by_flow=by_flow, unknown_until=unknown_until)
        self.record = Record(by_flow=by_flow)

    def count(self, batch: FrameBatch) -> None:
        """Count a batch's frames."""
        if len(batch) == 0:
            return
        self.packets += len(batch)
        self.bytes += int(batch.length.sum())
        self._span(int(batch.time_ns.min()), int(batch.time_ns.max()))
        uniform = batch.link_type.strides == (0,)
        self.link_types.update(batch.link_type[:1].tolist() if uniform else distinct(batch.link_type))

    def _span(self, first_ns: int, last_ns: int) -> None:
        self.first_ns = first_ns if self.first_ns is None else min(self.first_ns, first_ns)
        self.last_ns = last_ns if self.last_ns is None else max(self.last_ns, last_ns)

    def merge(self, other: Summary) -> None:
        """Add all that another summary holds; the other one is used up."""
        self._add(other)
        self.conversations.merge(other.conversations)
        self.record.merge(other.record)

    def append(self, right: Summary, frames: int) -> I64:
        """Add what the piece directly behind this one taught; the other one is used up.

        Args:
            right: its summary.
            frames: how many frames are before it.

        Returns:
            (n,) which row of the findings each of its rows went to.
        """
        self._add(right)
        self.conversations.append(right.conversations, frames)
        return self.record.merge(right.record)

    def _add(self, other: Summary) -> None:
        self.packets += other.packets
        self.bytes += other.bytes
        if other.first_ns is not None and other.last_ns is not None:
            self._span(other.first_ns, other.last_ns)
        self.link_types |= other.link_types
        self.faults += other.faults
