"""Frames through the core without a file: batches of bytes in, what is known at the end out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from udpprobe.core.batch import PADDING_BYTES, FrameBatch
from udpprobe.core.correlation.correlate import HORIZON
from udpprobe.core.following.events import events_of
from udpprobe.core.following.pipeline import Pipeline
from udpprobe.core.summaries.conclude import Question, conclude
from udpprobe.core.summaries.summary import Summary

from udpprobe.core.model import Destination, Event, Unmatched

RAW = 101
MS = 1_000_000
EVERYTHING = Question(all_destinations=True)


def batch_of(frames, link_type=RAW, *, first=1, times_ns=None, lengths=None, now_ns=0):
    """Frames, a millisecond apart unless `times_ns` says otherwise; `lengths` are those on the wire."""
    captured = np.array([len(frame) for frame in frames], np.int64)
    number = np.arange(first, first + len(frames))
    data = np.frombuffer(b"".join(frames) + bytes(PADDING_BYTES), np.uint8)
    return FrameBatch(
        data, np.cumsum(captured) - captured, captured,
        captured if lengths is None else np.array(lengths, np.int64),
        number * MS if times_ns is None else np.array(times_ns, np.int64),
        np.broadcast_to(np.array(link_type, np.int32), len(frames)), number, now_ns)


def repeated(frame, count, link_type=RAW, *, first=1):
    """The same frame `count` times, a nanosecond apart; its bytes are there once."""
    number = np.arange(first, first + count)
    length = np.full(count, len(frame))
    data = np.frombuffer(frame + bytes(PADDING_BYTES), np.uint8)
    return FrameBatch(data, np.zeros(count, np.int64), length, length, number,
                      np.broadcast_to(np.array(link_type, np.int32), count), number)


@dataclass(frozen=True)
class Story:
    """What was known at the end."""

    destinations: tuple[Destination, ...]
    unmatched: tuple[Unmatched, ...]
    events: list[Event]
    faults: Counter[str]
    summary: Summary

    @property
    def only(self):
        """The one destination that more was found out about than that it was sent to."""
        (destination,) = (each for each in self.destinations if each.findings)
        return destination

    @property
    def verdicts(self):
        """Verdict by address and port."""
        return {(each.address, each.port): each.verdict for each in self.destinations}

    @property
    def matches(self):
        """What was found for each error: how sure, and in which frame."""
        return [(event.match, event.matched_frame) for event in self.events]


def follow(batches, question=EVERYTHING, *, horizon=HORIZON):
    """Feed batches, ticks among them, to the pipeline, and conclude; events are told as they become known."""
    pipeline = Pipeline(by_flow=question.group_by == "flow", keep_messages=True, horizon=horizon)
    summary, events = pipeline.summary, []

    def tell(known):
        events.extend(event for resolved in known for event in events_of(resolved, summary, question.loop_ttl))
    for batch in batches:
        tell(pipeline.feed(batch))
    tell(pipeline.finish())
    return Story(*conclude(summary, question), events, summary.faults, summary)


def story_of(frames, link_type=RAW, question=EVERYTHING, **of_batch):
    """Of frames in one batch."""
    return follow([batch_of(frames, link_type, **of_batch)], question)
