"""What is kept, forgotten and put in order; and that the compiled twin tells what the interpreted one tells."""

from __future__ import annotations

import pickle
from functools import partial
from itertools import pairwise

import builders as b
import pytest
from builders import CLIENT, PORT, error_about, host, sent, with_refusal
from containers import Frame, bytes_of_pcap
from following import ETHERNET, MS, SECRET, analyzer_of, follow, frames_of, joined, story_of, story_of_analyzer
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from twins import interpreted, small
from waiting import state_behind_start
from worlds import any_frames, worlds

from udpprobe.capture.files import Arrival, CaptureFile
from udpprobe.core import is_compiled
from udpprobe.core.analyzer import KEPT_ROWS, Analyzer
from udpprobe.core.capture import Entry, Records
from udpprobe.core.decode import MESSAGE_BYTES
from udpprobe.core.duplicates import HEAD, WINDOW
from udpprobe.core.flows import HORIZON
from udpprobe.report import Question

GROUPS = ("destination", "host", "flow", "reporter")


def story_by(core, frames, question, **how):
    analyzer = core.analyzer.Analyzer(SECRET, by_flow=question.group_by == "flow", keeps_events=True, **how)
    analyzer.feed_frames(frames)
    analyzer.finish()
    return story_of_analyzer(analyzer, question, core.report)


# ---- twins


@examples(40)
@given(any_frames, st.integers(0, 2000), st.sampled_from((0, -(1 << 63), (1 << 63) - 10**9)))
def test_both_twins_agree_on_any_bytes(some, cut_off, first_ns):
    frames = frames_of(
        [data for _, data in some],
        [link for link, _ in some],
        lengths=[len(data) + cut_off for _, data in some],
        times_ns=[first_ns + at * 1000 for at in range(len(some))],
    )
    question = Question(32, True)
    assert follow(frames, question).told == story_by(interpreted(), frames, question).told


@examples(60)
@given(worlds(), st.sampled_from(GROUPS), st.booleans())
def test_both_twins_agree_on_any_world(world, by, is_ordered):
    question = Question(32, True, by)
    frames = frames_of([data for _, data in world], ETHERNET, times_ns=[ns for ns, _ in world])
    assert (
        follow(frames, question, is_ordered=is_ordered).told
        == story_by(interpreted(), frames, question, is_ordered=is_ordered).told
    )


# ---- what is forgotten


def probe(number, **fields):
    return b.datagram(CLIENT[4], host(1), 2000 + number, PORT, b"data", **{"id": number % 65535 + 1, **fields})


def test_datagrams_older_than_the_horizon_are_forgotten_and_others_are_not():
    frames = frames_of([*map(probe, range(100)), *(error_about(probe(number)) for number in (0, 67, 68, 99))])
    story = story_by(small(horizon=32), frames, Question(32, True))
    assert [("none", None), ("none", None), ("exact", 69), ("exact", 100)] == story.matches


def test_fragments_older_than_the_horizon_are_forgotten():
    pieces = [b.fragments(sent(1, size=2000), 1480, id=number) for number in range(1, 40)]
    errors = [error_about(pieces[at][1]) for at in (0, 6, 7, 38)]
    story = story_by(small(horizon=32), frames_of([first for first, _ in pieces] + errors), Question(32, True))
    assert [("none", None), ("none", None), ("exact", 8), ("exact", 39)] == story.matches


@pytest.mark.parametrize("most", [1, 4, 1000])
def test_folding_early_changes_no_counter(most):
    packets = [probe(number) for number in range(100)]
    answers = [b.datagram(host(1), CLIENT[4], PORT, 2000 + number, b"!") for number in range(90, 100)]
    story = story_by(small(conversations=most), frames_of([*packets, *answers]), Question(32, True))
    (found,) = story.destinations
    assert (100, 10) == (found.sent, found.answered)


def test_a_conversation_quiet_for_too_long_starts_over():
    asked, others = probe(1), [probe(number) for number in range(2, 40)]
    answer = b.datagram(host(1), CLIENT[4], PORT, 2001, b"!")
    story = story_by(small(horizon=32), frames_of([asked, *others, answer]), Question(32, True))
    assert {(host(1), PORT): "silent", (CLIENT[4], 2001): "silent"} == story.verdicts
    near = story_by(small(horizon=64), frames_of([asked, *others, answer]), Question(32, True))
    assert {(host(1), PORT): "answered"} == near.verdicts


def test_after_enough_packets_a_repeat_is_not_a_copy():
    core = small(window=4, horizon=32)
    for between, count in ((3, 1), (4, 2)):
        frames = frames_of([probe(1), *(probe(9 + at) for at in range(between)), probe(1, ttl=63)])
        (found,) = story_by(core, frames, Question(32, True)).destinations
        assert count + between == found.sent


# ---- what is kept


def test_more_errors_than_one_part_holds_are_all_kept_with_their_messages():
    packets = [frame for number in range(KEPT_ROWS + 200) for frame in with_refusal(probe(number))]
    story = story_of(packets)
    assert list(range(2, len(packets) + 1, 2)) == [event.frame for event in story.events]
    assert [("exact", frame - 1) for frame in range(2, len(packets) + 1, 2)] == story.matches


def test_long_messages_are_kept_whole_however_many():
    packet = b.datagram(CLIENT[4], host(1), 40001, PORT, bytes(1400), id=7)
    frames = frames_of([packet, *[b.port_unreachable(packet, quote=packet, id=n + 1) for n in range(500)]])
    analyzer = analyzer_of(frames)
    kept = analyzer.take_events()
    assert 500 == sum(each.rows.size for each in kept)
    assert {len(packet) + 8} == {len(each.message(row)) for each in kept for row in range(each.rows.size)}


def test_events_are_taken_only_once():
    analyzer = analyzer_of(frames_of(with_refusal(sent(1))))
    assert 1 == len(analyzer.take_events())
    assert [] == analyzer.take_events()


# ---- pieces, with the limits as they are


def big_world(hosts=40):
    """More datagrams than a piece's head, fewer than the horizon: questions, answers, copies, errors, a loop."""
    packets = []
    for number in range(HEAD + 2000):
        port, server = 3000 + number % 7000, host(number % hosts + 1)
        packet = b.datagram(CLIENT[4], server, port, PORT, b"data", id=number % 60000 + 1)
        packets.append((number, packet))
        if number % 5 == 0:
            packets.append((number, b.datagram(server, CLIENT[4], PORT, port, b"!")))
        if number % 50 == 0:
            packets.append((number, error_about(packet)))
        if number % 90 == 0:
            packets += [(number, b.forwarded(packet, fall)) for fall in (1, 2, 3)]
        if number % 700 == 3:
            quoted = b.datagram("203.0.113.77", server, 999, PORT, b"data", id=number % 60000 + 1)
            packets.append((number, b.port_unreachable(quoted)))
    times_ns = [number * 10_000 + at for at, (number, _) in enumerate(packets)]
    return frames_of([packet for _, packet in packets], times_ns=times_ns)


@pytest.mark.slow
@pytest.mark.skipif(not is_compiled(), reason="takes minutes")
@pytest.mark.parametrize("cuts", [(30_000,), (100, 200), (60_000, 61_000, 61_001), (1, WINDOW, 2 * WINDOW, HEAD)])
def test_a_large_capture_in_pieces_is_the_whole_again(cuts):
    frames, question = big_world(), Question(32, True)
    whole = follow(frames, question)
    assert HEAD < whole.packets < HORIZON
    edges = [0, *cuts, len(frames)]
    parts = [analyzer_of(frames[first:last], is_first=first == 0) for first, last in pairwise(edges)]
    assert whole.told == story_of_analyzer(joined(parts), question).told


@pytest.mark.skipif(not is_compiled(), reason="takes minutes")
def test_a_server_with_thousands_of_clients_in_pieces_is_the_whole_again():
    frames, question = big_world(hosts=1), Question(32, True)
    edges = [0, 100, 200, len(frames)]
    parts = [analyzer_of(frames[first:last], is_first=first == 0) for first, last in pairwise(edges)]
    assert follow(frames, question).told == story_of_analyzer(joined(parts), question).told


@pytest.mark.skipif(not is_compiled(), reason="the interpreter holds its lock")
def test_other_threads_run_while_records_are_followed():
    """Workers are threads: one that held the lock of the interpreter meanwhile would make them take turns."""
    capture = bytes_of_pcap([Frame(0, b.ethernet(sent(1)))])
    head, data = capture[:24], capture[24:] * 200_000
    seen = []
    for _ in range(10):
        records = Records(Entry(head), capacity=len(data))
        records.room()[: len(data)] = data
        records.filled(len(data))
        seen.append(state_behind_start(partial(Analyzer(SECRET).feed, records)))
        assert records.frame == 200_000
    assert seen.count(["begun"]) > len(seen) / 2


# ---- order


def test_packets_before_the_last_flush_are_handled_without_later_ones():
    packet, error = with_refusal(sent(1))
    analyzer = Analyzer(SECRET, keeps_events=True, is_ordered=True)
    analyzer.feed_frames(frames_of([error, packet], times_ns=[2 * MS, 1 * MS]))
    analyzer.flush_older()
    assert [] == analyzer.take_events()
    analyzer.flush_older()
    (kept,) = analyzer.take_events()
    assert [1] == kept.frames()


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("step_s", [3600, -3600])
@pytest.mark.parametrize("is_ordered", [False, True])
def test_a_clock_set_in_between_gives_no_rtt(family, step_s, is_ordered):
    packet, error = with_refusal(sent(1, family))
    answer = b.datagram(host(1, family), CLIENT[family], PORT, 40001, b"!")
    for later in (error, answer):
        frames = frames_of([packet, later], times_ns=[10**13, 10**13 + step_s * 10**9])
        story = follow(frames, Question(32, True), is_ordered=is_ordered)
        (found,) = story.destinations
        assert ("refused" if later == error else "answered", None) == (found.verdict, found.rtt_ms)
        assert [None] * len(story.events) == [event.rtt_ms for event in story.events]
        assert [None] * len(story.events) == [finding.rtt_ms for finding in found.findings]
        assert [("exact", 1)] * len(story.events) == story.matches


def test_thousands_of_waiting_packets_are_handled_at_once_when_a_clock_is_set():
    many = 1000 if is_compiled() else 200
    packets = [probe(number) for number in range(5 * many)]
    times_ns = [5000 * MS + number for number in range(4 * many)] + list(range(many))
    story = follow(frames_of(packets, times_ns=times_ns), is_ordered=True)
    assert 5 * many == story.destinations[0].sent


def test_messages_are_kept_however_long_errors_wait():
    """More bytes than there is room for at once, while something always waits."""
    packet = b.datagram(CLIENT[4], host(1), 40001, PORT, bytes(1400), id=7)
    frames = [packet, *[b.port_unreachable(packet, quote=packet, id=n + 1) for n in range(1000)]]
    core = small(waiting=16, kept=16, group=16, horizon=1024)
    analyzer = core.analyzer.Analyzer(SECRET, keeps_events=True, is_ordered=True)
    analyzer.feed_frames(frames_of(frames, times_ns=[number * 10**6 for number in range(len(frames))]))
    analyzer.finish()
    kept = analyzer.take_events()
    assert 1000 == sum(each.rows.size for each in kept)
    assert {len(packet) + 8} == {len(each.message(row)) for each in kept for row in range(each.rows.size)}


def test_messages_of_the_greatest_length_are_kept(tmp_path):
    many = 200 if is_compiled() else 20
    packet = b.datagram(CLIENT[4], host(1), 40001, PORT, bytes(9000), id=7)
    frames = [packet, *[b.port_unreachable(packet, quote=packet[:8000], id=n + 1) for n in range(many)]]
    file = tmp_path / "long.pcap"
    file.write_bytes(bytes_of_pcap([Frame(10**9 + n * MS, frame) for n, frame in enumerate(frames)], link_type=101))
    for is_ordered in (False, True):
        capture, analyzer = CaptureFile(str(file)), Analyzer(SECRET, keeps_events=True, is_ordered=is_ordered)
        while capture.fill() is not Arrival.END:
            analyzer.feed(capture.records)
        analyzer.finish()
        capture.close()
        kept = analyzer.take_events()
        assert {MESSAGE_BYTES} == {len(each.message(row)) for each in kept for row in range(each.rows.size)}
        assert many == sum(each.rows.size for each in kept)


def test_a_step_back_of_more_than_a_second_is_a_set_clock():
    first, second = with_refusal(sent(1)), with_refusal(sent(2))
    times_ns = [5000 * MS, 5001 * MS, 100 * MS, 101 * MS]
    story = story_of([*first, *second], times_ns=times_ns)
    ordered = follow(frames_of([*first, *second], times_ns=times_ns), is_ordered=True)
    assert story.told == ordered.told


@pytest.mark.parametrize("waiting", [1, 8, 1000])
def test_the_number_of_waiting_packets_is_bounded(waiting):
    packets = [probe(number) for number in range(60)]
    frames = frames_of(packets, times_ns=[(59 - number) * 1000 for number in range(60)])
    story = story_by(small(waiting=waiting, group=1), frames, Question(32, True), is_ordered=True)
    assert 60 == story.destinations[0].sent


def test_an_error_captured_before_its_datagram_is_matched_after_sorting():
    packet, error = with_refusal(sent(1))
    frames = frames_of([error, packet], times_ns=[2 * MS, 1 * MS])
    assert [("none", None)] == follow(frames).matches
    (event,) = follow(frames, is_ordered=True).events
    assert ("exact", 2, 1, 1.0) == (event.match, event.matched_frame, event.frame, event.rtt_ms)


def test_the_parts_of_a_piece_can_be_pickled():
    story = analyzer_of(frames_of([*with_refusal(sent(1)), *with_refusal(sent(2, 6))]), is_first=False)
    for part in (*story.head, story.duplicates, story.conversations.table, story.findings.table, story.findings.rtt):
        again = pickle.loads(pickle.dumps(part))
        assert type(part) is type(again)
        assert pickle.dumps(part) == pickle.dumps(again)
