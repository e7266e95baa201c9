"""Frames through the core without a file: (time, bytes) in, what is known at the end out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from udpprobe import report
from udpprobe.core.analyzer import Analyzer
from udpprobe.core.decode import Decoder
from udpprobe.core.model import Destination, Event, Unmatched
from udpprobe.report import Question

RAW, ETHERNET = 101, 1
MS = 1_000_000
SECRET = 0x0123_4567_89AB_CDEF
EVERYTHING = Question(all_destinations=True)


@dataclass(frozen=True)
class Story:
    """What was known at the end."""

    destinations: tuple[Destination, ...]
    unmatched: tuple[Unmatched, ...]
    events: list[Event]
    faults: Counter[str]
    packets: int
    bytes: int
    analyzer: Analyzer

    @property
    def told(self):
        """All that a user gets to see."""
        return self.destinations, self.unmatched, self.events, self.faults, self.packets, self.bytes

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


def frames_of(data, link_type=RAW, *, times_ns=None, lengths=None):
    """Frames as `Analyzer.feed_frames` takes them, a millisecond apart unless `times_ns` says otherwise."""
    data = list(data)
    link_types = [link_type] * len(data) if isinstance(link_type, int) else link_type
    times_ns = [MS * number for number in range(1, len(data) + 1)] if times_ns is None else times_ns
    lengths = [len(each) for each in data] if lengths is None else lengths
    return [
        (int(ns), each, int(length), link)
        for ns, each, length, link in zip(times_ns, data, lengths, link_types, strict=True)
    ]


def analyzer_of(frames, *, by_flow=False, is_first=True, is_ordered=False, secret=SECRET):
    """One that has followed frames to their end."""
    analyzer = Analyzer(secret, by_flow=by_flow, keeps_events=True, is_first=is_first, is_ordered=is_ordered)
    analyzer.feed_frames(frames)
    analyzer.finish()
    return analyzer


def story_of_analyzer(analyzer, question=EVERYTHING, reporting=report):
    """What a finished analyzer knows; takes its events."""
    destinations, unmatched = reporting.conclude(analyzer, question)
    kept = analyzer.take_events()
    events = [event for each in kept for event in reporting.events_of(analyzer, each, question.loop_ttl)]
    return Story(
        tuple(destinations),
        tuple(unmatched),
        sorted(events, key=lambda event: event.frame),
        analyzer.faults(),
        analyzer.packets,
        analyzer.bytes,
        analyzer,
    )


def follow(frames, question=EVERYTHING, *, is_ordered=False):
    """Follow frames, (time in ns, bytes, length, link type) each, and conclude."""
    analyzer = analyzer_of(frames, by_flow=question.group_by == "flow", is_ordered=is_ordered)
    return story_of_analyzer(analyzer, question)


def story_of(data, link_type=RAW, question=EVERYTHING, **of_frames):
    """Follow packets, given by their bytes."""
    return follow(frames_of(data, link_type, **of_frames), question)


def packets_of(data, link_type=RAW, *, length=None):
    """What one frame holds, and what was wrong with it."""
    decoder = Decoder(64, keeps_messages=True)
    return decoder.packets(data, len(data) if length is None else length, MS, link_type, 1), decoder.counted_faults()


def joined(pieces: Sequence[Analyzer]):
    """Pieces side by side as one, from left to right."""
    first, *others = pieces
    for other in others:
        first.append(other)
    return first
