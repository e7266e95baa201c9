"""Parts of a capture merge to the whole, wherever it was cut and in whatever tree they are merged."""

from __future__ import annotations

import pickle
from contextlib import ExitStack
from itertools import pairwise
from unittest.mock import patch

from feeding import batch_of
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import worlds

from udpprobe.core import conversations, copies, elsewhere, episodes
from udpprobe.core import part as part_module
from udpprobe.core.conclude import Question, conclude
from udpprobe.core.events import events_of
from udpprobe.core.part import Part

ETHERNET = 1
GROUPS = ("destination", "host", "flow", "reporter")
thoroughly = settings(deadline=None, derandomize=True, max_examples=400)


def memory_of(window_frames, quiet_frames):
    """Shrunk, so that a small capture reaches beyond it."""
    stack = ExitStack()
    for module in (conversations, elsewhere, episodes):
        stack.enter_context(patch.object(module, "QUIET_FRAMES", quiet_frames))
    stack.enter_context(patch.object(copies, "WINDOW_FRAMES", window_frames))
    stack.enter_context(patch.object(part_module, "HEAD_FRAMES", copies.MEMORY_WINDOWS * window_frames))
    return stack


memories = st.tuples(st.sampled_from((1, 2, 3, 5, 16384)), st.sampled_from((1, 2, 4, 8, 1 << 20)),
                     st.sampled_from((1, 2, 4, 8, 1 << 20)))


def pieces_of(frames, cuts):
    """Frames (time_ns, bytes), cut into pieces, in a batch each that is numbered from 1."""
    edges = [0, *sorted(cut % (len(frames) + 1) for cut in cuts), len(frames)]
    pieces = [frames[start:end] for start, end in pairwise(edges)]
    return [batch_of([frame for _, frame in piece], ETHERNET, times_ns=[ns for ns, _ in piece]) for piece in pieces]


def part_of(batch, *, is_first, by_flow=False, horizon=1 << 20):
    part = Part(by_flow=by_flow, keep_messages=True, is_first=is_first, horizon=horizon)
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


def whole_of(frames, by, horizon):
    return told(*part_of(*pieces_of(frames, []), is_first=True, by_flow=by == "flow", horizon=horizon).finish(),
                Question(32, True, by))


@thoroughly
@given(worlds(40), st.lists(st.integers(0, 60), max_size=6), st.sampled_from(GROUPS), memories, st.data())
def test_parts_merge_to_the_whole_wherever_it_was_cut(frames, cuts, by, memory, data):
    *frames_kept, horizon = memory
    with memory_of(*frames_kept):
        parts = [part_of(batch, is_first=number == 0, by_flow=by == "flow", horizon=horizon)
                 for number, batch in enumerate(pieces_of(frames, cuts))]
        part = merged(parts, lambda pairs: data.draw(st.integers(0, pairs - 1)))
        assert whole_of(frames, by, horizon) == told(*part.finish(), Question(32, True, by))
