"""What holds for every capture: no bytes raise, every split tells the same, no error is about a later datagram."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields
from itertools import pairwise

import numpy as np
from feeding import batch_of, follow
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec.structs import replace
from profiles import examples
from worlds import S, any_frames, nearly_frames, worlds

from udpprobe.core.batch import tick
from udpprobe.core.decoding.decode import Decoder, decode_odd
from udpprobe.core.decoding.fastlane import LINK_SIZES, decode_common
from udpprobe.core.packets import Datagrams
from udpprobe.core.summaries.conclude import Question, conclude

ETHERNET = 1
GROUPS = ("destination", "host", "flow", "reporter")
quickly = examples(150)

# ---- any bytes

@quickly
@given(any_frames, st.integers(0, 2000))
def test_any_bytes_on_any_link_are_decoded_without_a_word(frames, cut_off):
    link_types, data = [link for link, _ in frames], [each for _, each in frames]
    lengths = [len(each) + cut_off for each in data]
    story = follow([batch_of(data, link_types, lengths=lengths)])
    assert (len(frames), sum(lengths)) == (story.summary.packets, story.summary.bytes)
    assert all(count > 0 for count in story.faults.values())
    assert len(story.events) == len({event.frame for event in story.events})


# ---- one answer, two lanes

def chunk_of(*batches):
    decoder = Decoder()
    for batch in batches:
        decoder.feed(batch)
    return decoder.take()


def rows_of(columns):
    values = [getattr(columns, column.name).tolist() for column in fields(columns)
              if column.name not in {"message", "message_end"}]
    return sorted(zip(*values, strict=True))


@quickly
@given(st.sampled_from(sorted(LINK_SIZES)), st.lists(nearly_frames(), min_size=1, max_size=12))
def test_the_fast_lane_and_the_walk_agree(link_type, frames):
    same = [frame for each, frame in frames if each == link_type] or [frames[0][1]]
    chunk = chunk_of(batch_of(same, link_type))
    walked, errors, _, faults = decode_odd(batch_of(same, link_type))
    assert rows_of(walked) == rows_of(chunk.datagrams)
    assert rows_of(errors) == rows_of(chunk.errors)
    assert +faults == +chunk.faults


@quickly
@given(st.lists(nearly_frames(), min_size=1, max_size=12))
def test_what_the_fast_lane_takes_it_does_not_leave(frames):
    batch = batch_of([frame for _, frame in frames], frames[0][0])
    common, rest = decode_common(batch)
    taken = Datagrams.concatenate(common).frame.tolist() if common else []
    assert not set(taken) & set((rest + 1).tolist())


# ---- any split

def batches_of(frames, cuts, *, ticks):
    """The frames in batches that end at `cuts`, with a tick behind each where wanted."""
    edges = sorted({0, len(frames), *(cut % (len(frames) + 1) for cut in cuts)})
    for start, end in pairwise(edges):
        some = frames[start:end]
        yield batch_of([frame for _, frame in some], ETHERNET, first=start + 1, times_ns=[ns for ns, _ in some])
        if ticks:
            yield tick(some[-1][0])


def whole(frames):
    return list(batches_of(frames, [], ticks=False))


any_cuts = st.lists(st.integers(0, 60), max_size=6)
any_group = st.sampled_from(GROUPS)


@quickly
@given(worlds(), any_cuts, any_group)
def test_every_split_into_batches_gives_the_same_report_and_events(frames, cuts, by):
    question = Question(32, True, by)
    one, split = follow(whole(frames), question), follow(batches_of(frames, cuts, ticks=False), question)
    assert report_of(one) == report_of(split)
    assert one.events == split.events


@quickly
@given(worlds(), any_cuts, any_group)
def test_ticks_in_between_change_no_report_and_no_match(frames, cuts, by):
    question = Question(32, True, by)
    one, live = follow(whole(frames), question), follow(batches_of(frames, cuts, ticks=True), question)
    assert report_of(one) == report_of(live)
    assert untold_loops(one.events) == untold_loops(live.events)


def report_of(story):
    return story.destinations, story.unmatched, story.faults


def untold_loops(events):
    """A live event may be told before the evidence of its loop has come."""
    return [replace(event, verdict="expired") if event.verdict == "loop" else event for event in events]


@quickly
@given(worlds())
def test_the_same_frames_tell_the_same_again(frames):
    assert report_of(follow(whole(frames))) == report_of(follow(whole(frames)))


# ---- any order of merging

@quickly
@given(st.lists(worlds(8), min_size=2, max_size=4), st.data(), any_group)
def test_summaries_merge_in_any_order_to_the_same_report(parts, data, by):
    question, by_flow = Question(32, True, by), Question(32, True, "flow" if by == "flow" else "destination")
    quiet = [[(ns + number * 1000 * S, frame) for ns, frame in part] for number, part in enumerate(parts)]
    firsts = np.cumsum([1, *map(len, quiet)])
    batches = [batch_of([frame for _, frame in part], ETHERNET, first=int(first), times_ns=[ns for ns, _ in part])
               for part, first in zip(quiet, firsts, strict=False)]
    expected = Counter()
    reports = []
    for order in (list(range(len(parts))), data.draw(st.permutations(range(len(parts))))):
        first, *others = [follow([batches[number]], by_flow).summary for number in order]
        for other in others:
            first.merge(other)
        expected[first.packets] += 1
        reports.append(conclude(first, question))
    assert {sum(map(len, parts)): 2} == expected
    assert reports[0] == reports[1]


# ---- time

@quickly
@given(worlds())
@example([])
def test_no_error_is_about_a_datagram_with_a_later_frame(frames):
    for event in follow(whole(frames)).events:
        assert event.matched_frame is None or event.matched_frame < event.frame
        assert (event.match == "none") == (event.matched_frame is None) == (event.rtt_ms is None)


@quickly
@given(worlds())
def test_every_error_is_told_once_and_counted_at_most_once(frames):
    story = follow(whole(frames))
    counted = sum(finding.count for each in story.destinations for finding in each.findings if finding.icmp_type)
    counted += sum(each.finding.count for each in story.unmatched)
    assert counted <= len(story.events) == len({event.frame for event in story.events})


@quickly
@given(worlds())
def test_what_is_told_of_a_destination_adds_up(frames):
    for each in follow(whole(frames)).destinations:
        assert each.errors == sum(finding.count for finding in each.findings if finding.icmp_type is not None)
        assert (each.sent > 0) or each.findings
        assert each.verdict != "silent" or (each.answered, each.meaning is None) == (0, each.errors > 0)
        for spread in filter(None, (each.rtt_ms, *(finding.rtt_ms for finding in each.findings))):
            assert 0 <= spread.min <= spread.median <= spread.max
