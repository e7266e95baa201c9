"""Parts of a capture merge to the whole, wherever it was cut and in whatever tree they are merged."""

from __future__ import annotations

import pickle
from itertools import pairwise

from feeding import EVERYTHING, batch_of, follow
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import worlds

from udpprobe.core.conclude import Question, conclude
from udpprobe.core.events import events_of
from udpprobe.core.part import Part

ETHERNET = 1
GROUPS = ("destination", "host", "flow", "reporter")
quickly = settings(deadline=None, derandomize=True, max_examples=150)


def batches_of(frames, cuts):
    """Frames (time_ns, bytes), cut into pieces, in a batch each that is numbered from 1."""
    edges = [0, *sorted(cut % (len(frames) + 1) for cut in cuts), len(frames)]
    pieces = [frames[start:end] for start, end in pairwise(edges)]
    return [batch_of([frame for _, frame in piece], ETHERNET, times_ns=[ns for ns, _ in piece]) for piece in pieces]


def part_of(batch, *, is_first, by_flow=False):
    part = Part(by_flow=by_flow, keep_messages=True, is_first=is_first)
    part.feed(batch)
    part.close()
    return pickle.loads(pickle.dumps(part))


def merged(parts, choose):
    """Neighbours merged until there is one; `choose(n)` says which of n pairs is next."""
    while len(parts) > 1:
        at = choose(len(parts) - 1)
        parts[at].merge(parts.pop(at + 1))
    return parts[0]


def told(summary, resolved, question):
    events = [event for each in resolved for event in events_of(each, summary, question.loop_ttl)]
    totals = summary.packets, summary.bytes, summary.first_ns, summary.last_ns, summary.link_types, summary.faults
    return conclude(summary, question), totals, events


@quickly
@given(worlds(), st.lists(st.integers(0, 60), max_size=6), st.sampled_from(GROUPS), st.data())
def test_parts_merge_to_the_whole_wherever_it_was_cut(frames, cuts, by, data):
    question, batches = Question(32, True, by), batches_of(frames, cuts)
    parts = [part_of(batch, is_first=number == 0, by_flow=by == "flow") for number, batch in enumerate(batches)]
    whole = part_of(*batches_of(frames, []), is_first=True, by_flow=by == "flow")
    part = merged(parts, lambda pairs: data.draw(st.integers(0, pairs - 1)))
    assert told(*whole.finish(), question) == told(*part.finish(), question)


def test_the_only_part_tells_what_a_pipeline_tells():
    (batch,) = batches_of([(0, b"\x45"), (5, bytes(60))], [])
    story = follow([batch])
    assert ((story.destinations, story.unmatched), story.events) == told(
        *part_of(batch, is_first=True).finish(), EVERYTHING)[::2]
