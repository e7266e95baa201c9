"""Pieces of a capture that were pickled join to what one analyzer knows of all of it, in whichever order they join."""

from __future__ import annotations

import copy
import pickle
from itertools import pairwise

import builders as b
import containers as c
import pytest
from bench.captures import RANDOM, make
from following import ETHERNET, RAW, SECRET, frames_of, joined, story_of_analyzer
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from profiles import examples
from twins import small
from worlds import worlds

from udpprobe.capture.filter import Selection
from udpprobe.capture.frames import SourceState
from udpprobe.capture.pieces import cut, survey
from udpprobe.commands.workers import Task, follow_piece
from udpprobe.core import is_compiled
from udpprobe.core.duplicates import HEAD
from udpprobe.report import Question, events_of, report_of

# 30 us a packet are too much for the interpreted twin to get behind a piece's head; the tests below do, by small limits
PACKETS, PARTS = (2 * HEAD + 200_000, 5) if is_compiled() else (3_000, 2)
RING_BYTES_A_DATAGRAM = 48


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    path = tmp_path_factory.mktemp("captures") / "long.pcap"
    make(path, PACKETS, "s128", "pcap", mix=RANDOM)
    return survey(str(path))


def followed(capture, task, parts):
    """An analyzer a piece, each pickled and restored."""
    pieces, found, before = cut(capture, parts), [], None
    for number, piece in enumerate(pieces):
        fitting = (
            piece
            if before is None
            else replace(piece, first=before.edges.ended, entry=before.edges.entry, is_guess=False)
        )
        before = follow_piece(fitting, task, is_first=number == 0, is_last=number == parts - 1, is_over=lambda: False)
        found.append(travelled(before.part))
    return found


def travelled(analyzer):
    memory = []
    told = pickle.dumps(analyzer, 5, buffer_callback=memory.append)
    return pickle.loads(told, buffers=[each.raw() for each in memory])


def told(analyzer):
    question = Question(all_destinations=True)
    events = sorted(
        (event for kept in analyzer.take_events() for event in events_of(analyzer, kept, 32)),
        key=lambda event: event.frame,
    )
    report = report_of("analyze", analyzer, SourceState("file", "x"), question)
    return report.source, list(report.destinations), list(report.unmatched), report.faults, events


def one_after_the_other(parts):
    joined = parts[0]
    for part in parts[1:]:
        joined.append(part)
    return joined


def from_the_right(parts):
    *parts, joined = parts
    for part in reversed(parts):
        part.append(joined)
        joined = travelled(part)
    return joined


def two_and_two(parts):
    while len(parts) > 1:
        for left, right in zip(parts[::2], parts[1::2], strict=False):
            left.append(right)
        parts = [travelled(each) for each in parts[::2]]
    return parts[0]


TASKS = {
    "report": Task(Selection(), 7),
    "events, each source apart": Task(Selection(), 7, by_flow=True, keeps_events=True),
    "filtered": Task(Selection("udp or icmp or icmp6"), 7),
}


# of the interpreted twin, one of each will do
SOME = slice(None) if is_compiled() else slice(1, 2)


@pytest.fixture(scope="module", params=list(TASKS.values())[SOME], ids=list(TASKS)[SOME])
def known(request, capture):
    """What is told of the whole, and what its parts know, which a test may join."""
    (whole,) = followed(capture, request.param, 1)
    return told(whole), pickle.dumps(followed(capture, request.param, PARTS), 5)


@pytest.mark.parametrize("join", [one_after_the_other, from_the_right, two_and_two][SOME])
def test_pickled_pieces_join_to_the_whole(known, join):
    of_the_whole, parts = known
    assert of_the_whole == told(join(pickle.loads(parts)))


def test_a_piece_with_few_datagrams_pickles_small():
    analyzer = Task(Selection(), 7).analyzer()
    assert len(pickle.dumps(analyzer)) < 4096
    assert told(copy.deepcopy(analyzer)) == told(analyzer)


def test_the_last_piece_is_pickled_without_its_datagrams(capture):
    task, (piece,) = Task(Selection(), 7), cut(capture, 1)
    last, other = (
        follow_piece(piece, task, is_first=False, is_last=is_last, is_over=lambda: False).part
        for is_last in (True, False)
    )
    assert RING_BYTES_A_DATAGRAM * last.recent.count < len(pickle.dumps(other)) - len(pickle.dumps(last))


def test_nothing_is_matched_after_a_last_piece(capture):
    task = Task(Selection(), 7)
    first, last = followed(capture, task, 2)
    first.append(last)
    assert (0, 0) == (first.recent.room, first.conversations.ends.size)
    first.flush()
    other = task.analyzer()
    other.absorb(first)
    assert other.packets == PACKETS


def test_frames_that_cannot_be_filtered_are_counted_in_all_pieces(tmp_path):
    frames = [c.Frame(c.START_NS + number, bytes(60)) for number in range(100)]
    (tmp_path / "odd.pcap").write_bytes(c.bytes_of_pcap(frames, link_type=148))
    task = Task(Selection("udp"), 7)
    first, last = followed(survey(str(tmp_path / "odd.pcap")), task, 2)
    first.append(last)
    assert 100 == first.faults()["unfilterable-link-type"]
    other = Task(Selection(), 7).analyzer()
    other.absorb(first)
    assert 100 == other.faults()["unfilterable-link-type"]


# ---- A capture that was followed in pieces is known exactly as if it had been followed in one go


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
def test_pieces_with_small_limits_give_the_same_as_the_whole(size):
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
