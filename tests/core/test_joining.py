"""A capture that was followed in pieces is known exactly as if it had been followed in one go."""

from __future__ import annotations

from itertools import pairwise

import pytest
from following import ETHERNET, SECRET, frames_of, joined, story_of_analyzer
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from twins import small
from worlds import worlds

from udpprobe.report import Question

GROUPS = ("destination", "host", "flow", "reporter")
SIZES = {
    "roomy": {},
    "tight": {"horizon": 16, "window": 2, "kept": 1, "conversations": 1, "group": 1},
    "long": {"horizon": 64, "window": 8, "kept": 16, "conversations": 8, "group": 8},
}


def analyzer_of(core, frames, **how):
    analyzer = core.analyzer.Analyzer(SECRET, keeps_events=True, **how)
    analyzer.feed_frames(frames)
    analyzer.finish()
    return analyzer


def pieces_of(frames, cuts):
    edges = [0, *sorted(cut % (len(frames) + 1) for cut in cuts), len(frames)]
    return [frames[first:last] for first, last in pairwise(edges)]


def as_tree(pieces, shape):
    """Join neighbours in the order that `shape` says, until one is left."""
    pieces = list(pieces)
    for number in shape:
        if len(pieces) > 1:
            at = number % (len(pieces) - 1)
            pieces[at].append(pieces.pop(at + 1))
    return joined(pieces)


def frames_in(world):
    return frames_of([frame for _, frame in world], ETHERNET, times_ns=[ns for ns, _ in world])


cuts = st.lists(st.integers(0, 200), min_size=1, max_size=5)
shapes = st.lists(st.integers(0, 5), max_size=5)


def check(core, frames, cut_at, shape, question):
    by_flow = question.group_by == "flow"
    whole = story_of_analyzer(analyzer_of(core, frames, by_flow=by_flow), question, core.report).told
    parts = [analyzer_of(core, piece, by_flow=by_flow, is_first=number == 0)
             for number, piece in enumerate(pieces_of(frames, cut_at))]
    assert whole == story_of_analyzer(as_tree(parts, shape), question, core.report).told


@pytest.mark.parametrize("size", SIZES)
def test_pieces_with_small_limits_tell_what_the_whole_tells(size):
    core = small(**SIZES[size])

    @examples(50)
    @given(worlds(80), cuts, shapes, st.sampled_from(GROUPS))
    def holds(world, cut_at, shape, by):
        check(core, frames_in(world), cut_at, shape, Question(32, True, by))
    holds()
