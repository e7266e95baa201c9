"""What holds for every capture: no bytes raise, joining in any order tells the same, no error is about a later packet."""

from __future__ import annotations

from collections import Counter

from following import ETHERNET, analyzer_of, follow, frames_of, story_of_analyzer
from hypothesis import example, given
from hypothesis import strategies as st
from profiles import examples
from worlds import S, any_frames, worlds

from udpprobe.report import Question

GROUPS = ("destination", "host", "flow", "reporter")
any_group = st.sampled_from(GROUPS)
quickly = examples(150)


def frames_in(world, first_s=0):
    return frames_of([frame for _, frame in world], ETHERNET, times_ns=[ns + first_s * S for ns, _ in world])


def report_of(story):
    return story.destinations, story.unmatched, story.faults


# ---- any bytes


@quickly
@given(any_frames, st.integers(0, 2000))
def test_any_bytes_on_any_link_are_decoded_without_an_exception(frames, cut_off):
    lengths = [len(each) + cut_off for _, each in frames]
    story = follow(frames_of([each for _, each in frames], [link for link, _ in frames], lengths=lengths))
    assert (len(frames), sum(lengths)) == (story.packets, story.bytes)
    assert all(count > 0 for count in story.faults.values())
    assert len(story.events) == len({event.frame for event in story.events})


# ---- any split


@quickly
@given(worlds(), st.integers(1, 9), any_group)
def test_flushing_at_once_changes_no_report_and_no_match(world, step, by):
    question, frames = Question(32, True, by), frames_in(world)
    one = follow(frames, question)
    split = analyzer_of([], by_flow=by == "flow")
    for first in range(0, len(frames), step):
        split.feed_frames(frames[first : first + step])
        split.flush()
    split.finish()
    assert one.told == story_of_analyzer(split, question).told


@quickly
@given(worlds())
def test_the_secret_does_not_affect_the_report(world):
    story = follow(frames_in(world))
    other = story_of_analyzer(analyzer_of(frames_in(world), secret=77))
    assert story.told == other.told


# ---- any order of captures


@quickly
@given(st.lists(worlds(8), min_size=2, max_size=4), st.data(), any_group)
def test_captures_merge_in_any_order_to_the_same_report(parts, data, by):
    question, reports = Question(32, True, by), []
    for order in (list(range(len(parts))), data.draw(st.permutations(range(len(parts))))):
        first, *others = [
            analyzer_of(frames_in(parts[number], 1000 * number), by_flow=by == "flow") for number in order
        ]
        for other in others:
            first.absorb(other)
        reports.append(story_of_analyzer(first, question))
    assert sum(map(len, parts)) == reports[0].packets
    assert report_of(reports[0]) == report_of(reports[1])


# ---- time


@quickly
@given(worlds())
@example([])
def test_no_error_is_about_a_datagram_with_a_later_frame(world):
    for event in follow(frames_in(world)).events:
        assert event.matched_frame is None or event.matched_frame < event.frame
        assert (event.match == "none") == (event.matched_frame is None) == (event.rtt_ms is None)


def in_order(frames):
    """As they would have been captured by one queue."""
    return sorted(frames, key=lambda frame: frame[0])


@quickly
@given(worlds(), st.lists(st.integers(0, 10**9), min_size=30, max_size=30), any_group)
def test_frames_out_of_order_by_up_to_a_second_are_sorted(world, late_ns, by):
    """Each is written as late as its queue was read."""
    question, frames = Question(32, True, by), in_order(frames_in(world))
    written = [
        frame
        for _, frame in sorted(
            ((frame[0] + late, frame) for frame, late in zip(frames, late_ns * 3, strict=False)),
            key=lambda pair: pair[0],
        )
    ]
    expected, story = follow(in_order(written), question), follow(written, question, is_ordered=True)
    assert report_of(expected) == report_of(story)
    assert sorted(map(without_frames, expected.events)) == sorted(map(without_frames, story.events))


def without_frames(event):
    return repr(event).partition("time_ns")[2].replace(f"matched_frame={event.matched_frame}", "")


@quickly
@given(worlds(), any_group)
def test_sorting_ordered_frames_changes_nothing(world, by):
    question, frames = Question(32, True, by), in_order(frames_in(world))
    assert follow(frames, question).told == follow(frames, question, is_ordered=True).told


@quickly
@given(worlds(), st.sampled_from((-(1 << 62), -(10**18), -50 * S, -1, 10**18, 1 << 62)))
def test_odd_times_affect_only_times(world, first_ns):
    usual, odd = (
        follow(frames_of([frame for _, frame in world], ETHERNET, times_ns=[ns + more for ns, _ in world]))
        for more in (0, first_ns)
    )
    assert [timeless(each, 0) for each in usual.events] == [timeless(each, first_ns) for each in odd.events]
    assert usual.verdicts == odd.verdicts
    for one, other in zip(usual.destinations, odd.destinations, strict=True):
        assert (one.sent, one.answered, one.errors, one.rtt_ms, one.meaning) == (
            other.sent,
            other.answered,
            other.errors,
            other.rtt_ms,
            other.meaning,
        )
        assert [(each.first_time_ns, each.last_time_ns, each.count, each.rtt_ms) for each in one.findings] == [
            (each.first_time_ns - first_ns, each.last_time_ns - first_ns, each.count, each.rtt_ms)
            for each in other.findings
        ]


def timeless(event, first_ns):
    return event.frame, event.time_ns - first_ns, event.match, event.matched_frame, event.rtt_ms, event.notes


# ---- sums


@quickly
@given(worlds())
def test_every_error_is_reported_once_and_counted_at_most_once(world):
    story = follow(frames_in(world))
    counted = sum(finding.count for each in story.destinations for finding in each.findings if finding.icmp_type)
    counted += sum(each.finding.count for each in story.unmatched)
    assert counted <= len(story.events) == len({event.frame for event in story.events})


@quickly
@given(worlds())
def test_the_numbers_of_a_destination_add_up(world):
    for each in follow(frames_in(world)).destinations:
        assert each.errors == sum(finding.count for finding in each.findings if finding.icmp_type is not None)
        assert (each.sent > 0) or each.findings
        assert each.verdict != "silent" or (each.answered, each.meaning is None) == (0, False)
        for spread in filter(None, (each.rtt_ms, *(finding.rtt_ms for finding in each.findings))):
            assert 0 <= spread.min <= spread.median <= spread.max


def test_empty_single_packet_and_error_only_captures_are_valid():
    for frames in ([], [(0, b"", 0, ETHERNET)], [(-1, b"", 0, 65535), (0, bytes(64), 64, 0)]):
        story = follow(frames)
        assert (len(frames), [], ()) == (story.packets, story.events, story.destinations)
    assert Counter({"short-ethernet": 1}) == follow([(0, b"", 0, ETHERNET)]).faults
