"""A capture that was followed in pieces is known exactly as if it had been followed in one go."""

from __future__ import annotations

from itertools import pairwise

import builders as b
import pytest
from following import ETHERNET, RAW, SECRET, frames_of, joined, story_of_analyzer
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
    parts = [
        analyzer_of(core, piece, by_flow=by_flow, is_first=number == 0)
        for number, piece in enumerate(pieces_of(frames, cut_at))
    ]
    assert whole == story_of_analyzer(as_tree(parts, shape), question, core.report).told


@pytest.mark.parametrize("size", SIZES)
def test_pieces_with_small_limits_tell_what_the_whole_tells(size):
    core = small(**SIZES[size])

    @examples(50)
    @given(worlds(80), cuts, shapes, st.sampled_from(GROUPS))
    def holds(world, cut_at, shape, by):
        check(core, frames_in(world), cut_at, shape, Question(32, True, by))

    holds()


@pytest.mark.parametrize("cut_at", [[4], [8, 30], [36], [44], [50, 51]])
def test_an_error_looks_as_far_back_in_its_flow_as_in_the_whole(cut_at):
    packets = [b.datagram("2001:db8::1", "2001:db8:1::1", 5000, 53, bytes([n] * 8)) for n in range(40)]
    nat = [b.datagram("2001:db8::2", "2001:db8:1::1", 5000 + n % 3, 53, bytes([n] * 8)) for n in range(40)]
    errors = [b.port_unreachable(packet) for packet in (*packets, *nat[:6])]
    check(small(horizon=64, steps=16), frames_of([*packets, *errors], RAW), cut_at, [], Question(32, True))
