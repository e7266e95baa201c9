"""Parts of a capture merge to the whole, wherever it was cut and in whatever tree they are merged."""

from __future__ import annotations

import os
import pickle
from contextlib import ExitStack
from copy import deepcopy
from itertools import pairwise
from pathlib import Path
from unittest.mock import patch

import builders as b
import numpy as np
import pytest
from feeding import batch_of
from hypothesis import given
from hypothesis import strategies as st
from pcaps_readme import PCAPS
from profiles import examples
from worlds import worlds

from udpprobe.core.batch import tick
from udpprobe.core.correlation import copies
from udpprobe.core.decoding.decode import copy_frames, join_frames
from udpprobe.core.following import part as part_module
from udpprobe.core.following.events import events_of
from udpprobe.core.following.part import Part
from udpprobe.core.summaries import conversations, elsewhere, episodes
from udpprobe.core.summaries.conclude import Question, conclude
from udpprobe.sources import open_captures

ETHERNET = 1
GROUPS = ("destination", "host", "flow", "reporter")
thoroughly = examples(200)


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


def part_of(batch, *, is_first, is_last=False, by_flow=False, horizon=1 << 20):
    part = Part(by_flow=by_flow, keep_messages=True, is_first=is_first, is_last=is_last, horizon=horizon)
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
        end = len(cuts) if data.draw(st.booleans()) else None
        parts = [part_of(batch, is_first=number == 0, is_last=number == end, by_flow=by == "flow", horizon=horizon)
                 for number, batch in enumerate(pieces_of(frames, cuts))]
        part = merged(parts, lambda pairs: data.draw(st.integers(0, pairs - 1)))
        assert whole_of(frames, by, horizon) == told(*part.finish(), Question(32, True, by))


@thoroughly
@given(worlds(40), st.lists(st.integers(0, 60), max_size=6), st.sampled_from(GROUPS), memories)
def test_batches_and_ticks_change_nothing_however_little_is_remembered(frames, cuts, by, memory):
    *frames_kept, horizon = memory
    with memory_of(*frames_kept):
        part, first = Part(by_flow=by == "flow", keep_messages=True, horizon=horizon), 0
        for batch in pieces_of(frames, cuts):
            batch.frame, first = batch.frame + first, first + len(batch)
            for each in (batch, tick(1)):
                part.feed(each)
        part.close()
        assert whole_of(frames, by, horizon) == told(*part.finish(), Question(32, True, by))


def test_a_part_of_few_frames_travels_as_little():
    part = part_of(pieces_of(raw([ask(1000 + n) for n in range(100)]), [])[0], is_first=False)
    assert 1 << 17 > len(pickle.dumps(part))


def test_the_last_part_travels_without_its_datagrams_for_nobody_will_ask_for_them():
    words, frames = 5, raw([ask(1000 + n) for n in range(100)])
    usual, last = (part_of(*pieces_of(frames, []), is_first=True, is_last=is_last) for is_last in (False, True))
    assert len(frames) * words * 8 <= len(pickle.dumps(usual)) - len(pickle.dumps(last))


# ---- one boundary each

CLIENT, SERVER = "192.0.2.1", "198.51.100.1"


def raw(packets):
    """Frames a millisecond apart."""
    return [(number * 10**6, b.ethernet(packet)) for number, packet in enumerate(packets)]


def ask(dport=53, sport=5000, **fields):
    return b.datagram(CLIENT, SERVER, sport, dport, b"?", **fields)


def answer(sport=53, dport=5000, **fields):
    return b.datagram(SERVER, CLIENT, sport, dport, b"!", **fields)


STORIES = {
    "a conversation that goes on": [ask(id=1), answer(id=2), ask(id=3), answer(id=4), answer(id=5), ask(id=6)],
    "an answer from another port": [ask(69, id=1), ask(69, id=2), answer(2000, id=3), ask(2000, id=4), answer(2000)],
    "an answer to what was answered": [ask(69, id=1), answer(2000, id=2), answer(2001, id=3), ask(2001, 5001)],
    "an answer from another port after one": [ask(69, id=1), answer(69, id=2), answer(2000, id=3)],
    "a loop as slow as can be": [frame for n in range(5) for frame in (ask(id=7, ttl=64 - n), ask(1000 + n, 6000))],
    "a loop": [ask(id=7, ttl=64), ask(id=7, ttl=62), ask(id=7, ttl=60), ask(id=7, ttl=58)],
    "a copy of an error": [ask(id=9), *[b.port_unreachable(ask(id=9), id=3)] * 2],
    "a better datagram earlier": [ask(id=1), ask(id=2), b.port_unreachable(ask(id=1)), b.port_unreachable(ask(id=3))],
    "a fragment": [*b.fragments(b.datagram(CLIENT, SERVER, 5000, 53, bytes(60)), 32, id=5),
                   b.port_unreachable(b.fragments(b.datagram(CLIENT, SERVER, 5000, 53, bytes(60)), 32, id=5)[1])],
    "quiet for long": [ask(id=1), *[ask(1000 + n, 6000) for n in range(6)], answer(id=2), ask(id=3)],
}


def test_copies_of_parts_merge_as_they_do_and_leave_them_as_they_were():
    packets = [ask(id=1), answer(id=2), ask(id=3), b.time_exceeded(ask(id=3), "203.0.113.1"), answer(id=4)]
    left, right = (part_of(batch, is_first=not number) for number, batch in enumerate(pieces_of(raw(packets), [3])))
    reports = []
    for one, other in ((deepcopy(left), deepcopy(right)), (deepcopy(left), deepcopy(right)), (left, right)):
        one.merge(other)
        reports.append(told(*one.finish(), Question()))
    assert 1 == len(reports[0][2])
    assert [reports[0]] * 3 == reports


@pytest.mark.parametrize("quiet_frames", [2, 1 << 20])
@pytest.mark.parametrize("name", STORIES)
def test_every_frame_may_be_a_part_of_its_own(name, quiet_frames):
    frames = raw(STORIES[name])
    with memory_of(2, quiet_frames):
        pieces = pieces_of(frames, range(len(frames)))
        parts = [part_of(batch, is_first=number == 0) for number, batch in enumerate(pieces)]
        whole = whole_of(frames, "destination", 1 << 20)
        for choose in (lambda _: 0, lambda pairs: pairs - 1):
            assert whole == told(*merged(pickle.loads(pickle.dumps(parts)), choose).finish(), Question(32, True))


@pytest.mark.parametrize("name", STORIES)
def test_so_may_it_be_a_batch_of_its_own_with_a_tick_behind(name):
    frames, part = raw(STORIES[name]), Part(keep_messages=True)
    with memory_of(2, 4):
        for number, (time_ns, frame) in enumerate(frames, 1):
            part.feed(batch_of([frame], ETHERNET, first=number, times_ns=[time_ns]))
            part.feed(tick(time_ns))
        assert whole_of(frames, "destination", 1 << 20) == told(*part.finish(), Question(32, True))


@pytest.mark.parametrize("name", STORIES)
def test_what_was_counted_of_a_part_goes_on_from_the_part_before(name):
    story, others = STORIES[name], [ask(1000 + n, 6000) for n in range(copies.MEMORY_WINDOWS)]
    with memory_of(1, 1 << 20):
        for place in range(1, len(story)):
            frames = raw([*story[:place], *others, *story[place:]])
            parts = [part_of(batch, is_first=number == 0) for number, batch in enumerate(pieces_of(frames, [place]))]
            assert whole_of(frames, "destination", 1 << 20) == told(
                *merged(parts, lambda _: 0).finish(), Question(32, True))


def test_who_asked_is_known_once_the_part_before_is():
    first, second = (part_of(batch, is_first=number == 0) for number, batch in enumerate(
        pieces_of(raw([ask(id=1), answer(id=2), ask(id=3), answer(id=4)]), [1])))
    first.merge(second)
    ((destination,), _), *_ = told(*first.finish(), Question(32, True))
    assert (SERVER, 53, 2, 2) == (destination.address, destination.port, destination.sent, destination.answered)
    assert (1, 1, 1) == tuple(vars_of(destination.rtt_ms))


def vars_of(spread):
    return spread.min, spread.median, spread.max


def test_frames_that_a_filter_left_out_at_the_end_count_for_the_parts_behind():
    first, second = (part_of(batch, is_first=number == 0) for number, batch in enumerate(
        pieces_of(raw([ask(id=1), b.port_unreachable(ask(id=1))]), [1])))
    first.close(10)
    first.merge(second)
    *_, (event,) = told(*first.finish(), Question(32, True))
    assert (11, 1) == (event.frame, event.matched_frame)


def test_without_their_messages_no_errors_are_told_and_the_report_is_the_same():
    frames = raw([ask(id=1), b.port_unreachable(ask(id=1)), answer(id=2)])
    parts = []
    for number, batch in enumerate(pieces_of(frames, [1])):
        part = Part(is_first=number == 0)
        part.feed(batch)
        part.close()
        parts.append(part)
    report, totals, events = told(*merged(parts, lambda _: 0).finish(), Question(32, True))
    assert ([], *whole_of(frames, "destination", 1 << 20)[:2]) == (events, report, totals)


# ---- captures

CORPUS = os.environ.get("UDPPROBE_CORPUS")
CAPTURES = [*sorted(PCAPS.glob("*.pcap*")), *(sorted(Path(CORPUS, "pcap").iterdir()) if CORPUS else [])]
MOST_CUTS = 12
"""In two, at so many places, evenly apart; and at every frame, up to FEW of them."""
FEW = 100


def batch_from(capture):
    return join_frames([copy_frames(batch) for batch in open_captures([str(capture)]) if len(batch)])


def cut(batch, edges):
    """Pieces of a batch, numbered from 1 each; Wireshark's numbers have gaps where other blocks stand."""
    for start, end in pairwise(edges):
        piece = batch.take(np.arange(start, end))
        piece.frame = piece.frame - (batch.frame[start - 1] if start else 0)
        yield piece


def parts_of(batch, edges):
    return [part_of(piece, is_first=number == 0) for number, piece in enumerate(cut(batch, edges))]


@pytest.mark.slow
@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name)
def test_a_capture_cut_anywhere_is_the_whole_again(capture):
    batch = batch_from(capture)
    question, size = Question(32, True), len(batch)
    whole = told(*part_of(batch, is_first=True).finish(), question)
    with memory_of(4, 8):
        narrow = told(*part_of(batch, is_first=True).finish(), question)
        parts = parts_of(batch, [*range(min(size, FEW)), size])
        assert narrow == told(*merged(parts, lambda pairs: pairs // 2).finish(), question)
    for place in sorted({size * n // (MOST_CUTS + 1) for n in range(1, MOST_CUTS + 1)}):
        assert whole == told(*merged(parts_of(batch, [0, place, size]), lambda _: 0).finish(), question)
