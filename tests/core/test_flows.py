"""Who asked whom, what came back, and how long that took."""

from __future__ import annotations

import builders as b
import pytest
from builders import host
from following import MS, SECRET, frames_of, story_of, story_of_analyzer
from twins import small

from udpprobe.core.analyzer import Analyzer
from udpprobe.core.model import Spread
from udpprobe.report import Question

CLIENT, SERVER = {4: "192.0.2.1", 6: "2001:db8::1"}, {4: host(1), 6: host(1, 6)}


def ask(sport=5000, dport=53, data=b"?", family=4, server=None, **fields):
    return b.datagram(CLIENT[family], server or SERVER[family], sport, dport, data, **fields)


def answer(sport=53, dport=5000, data=b"!", family=4, server=None, **fields):
    return b.datagram(server or SERVER[family], CLIENT[family], sport, dport, data, **fields)


def destinations_of(frames, times_ms, **fields):
    """Of frames that are all different datagrams: an id each."""
    numbered = [
        frame if frame[0] >> 4 == 6 else frame[:4] + number.to_bytes(2, "big") + frame[6:]
        for number, frame in enumerate(frames, 1)
    ]
    return story_of(numbered, times_ns=[int(ms * MS) for ms in times_ms], **fields).destinations


# ---- answers


@pytest.mark.parametrize("family", [4, 6])
def test_a_datagram_back_on_the_reversed_ports_is_an_answer_with_its_rtt(family):
    (found,) = destinations_of([ask(family=family), answer(family=family)], [0, 7])
    assert ("answered", 1, 1, Spread(7, 7, 7)) == (found.verdict, found.sent, found.answered, found.rtt_ms)
    assert (SERVER[family], 53) == (found.address, found.port)


def test_the_rtt_counts_from_the_latest_question():
    (found,) = destinations_of([ask(), ask(), answer()], [0, 100, 103])
    assert (2, 1, Spread(3, 3, 3)) == (found.sent, found.answered, found.rtt_ms)


def test_every_question_and_answer_counts():
    (found,) = destinations_of([ask(), answer()] * 3, [0, 1, 100, 102, 200, 204])
    assert (3, 3, Spread(1, 2, 4)) == (found.sent, found.answered, found.rtt_ms)


def test_several_datagrams_of_one_answer_take_one_rtt():
    (found,) = destinations_of([ask(), answer(), answer(), answer()], [0, 1, 5, 9])
    assert (1, Spread(1, 1, 1)) == (found.answered, found.rtt_ms)


def test_the_first_sender_is_the_client():
    (found,) = destinations_of([answer(2000), ask(dport=2000)], [0, 1])
    assert (CLIENT[4], 5000, "answered") == (found.address, found.port, found.verdict)


def test_a_capture_may_begin_with_an_answer_of_a_service():
    (found,) = destinations_of([answer(), ask(), answer()], [0, 1, 3])
    assert (SERVER[4], 53, "answered", 1, Spread(2, 2, 2)) == (
        found.address,
        found.port,
        found.verdict,
        found.sent,
        found.rtt_ms,
    )
    (alone,) = destinations_of([answer(), answer()], [0, 1])
    assert (CLIENT[4], 5000, "silent", 2) == (alone.address, alone.port, alone.verdict, alone.sent)


def test_sources_of_one_destination_are_counted_together():
    (found,) = destinations_of([ask(1), ask(2), answer(53, 1), answer(53, 2)], [0, 10, 11, 13])
    assert (2, 2, Spread(3, 7, 11)) == (found.sent, found.answered, found.rtt_ms)


def test_a_report_by_flow_separates_sources():
    found = destinations_of([ask(1), ask(2), answer(53, 1)], [0, 10, 11], question=Question(32, True, "flow"))
    assert [(CLIENT[4], 1, "answered"), (CLIENT[4], 2, "silent")] == [
        (each.source, each.source_port, each.verdict) for each in found
    ]


def test_bytes_sent_are_those_of_ip_packets():
    (found,) = destinations_of([ask(data=b"x" * 100), ask(data=b"x" * 200)], [0, 1])
    assert 28 + 100 + 28 + 200 == found.sent_bytes


def test_a_conversation_with_oneself_is_counted_once():
    (found,) = story_of([b.datagram(CLIENT[4], CLIENT[4], 5000, 5000, b"x")]).destinations
    assert ("silent", 1) == (found.verdict, found.sent)


# ---- answers from another port


def verdicts_of(frames, times_ms):
    return {
        (each.address, each.port): (each.verdict, each.answered, each.notes)
        for each in destinations_of(frames, times_ms)
    }


def test_an_answer_from_another_port_of_the_host_is_noted():
    found = destinations_of([ask(dport=69), answer(2000)], [0, 4])
    assert [(69, "answered", 1, Spread(4, 4, 4), ("answer-from port 2000",))] == [
        (each.port, each.verdict, each.answered, each.rtt_ms, each.notes) for each in found
    ]


def test_a_transfer_from_another_port_is_a_conversation_of_its_own():
    frames = [ask(dport=69), answer(2000), ask(dport=2000), answer(2000), ask(dport=2000)]
    found = verdicts_of(frames, range(5))
    assert ("answered", 1, ("answer-from port 2000",)) == found[SERVER[4], 69]
    assert ("answered", 2, ()) == found[SERVER[4], 2000]


@pytest.mark.parametrize(
    ("frames", "times_ms"),
    [
        ([ask(dport=69), answer(2000, server=host(2))], [0, 4]),  # another host
        ([ask(dport=69), answer(2000, dport=5001)], [0, 4]),  # to another port
        ([answer(2000), ask(dport=69)], [0, 4]),  # before the question
        ([ask(dport=69), answer(2000)], [0, 30_001]),  # much later
    ],
)
def test_what_only_looks_like_an_answer_from_another_port_is_not_one(frames, times_ms):
    assert ("silent", 0, ()) == verdicts_of(frames, times_ms)[SERVER[4], 69]


def test_a_question_answered_from_its_port_is_not_answered_from_another():
    found = verdicts_of([ask(dport=69), answer(69), answer(2000)], [0, 1, 2])
    assert ("answered", 1, ()) == found[SERVER[4], 69]


def test_an_answer_from_another_port_is_not_a_question():
    found = verdicts_of([ask(5000, 69), answer(2000, 5000), ask(5001, 2000)], [0, 1, 2])
    assert {(SERVER[4], 69): ("answered", 1, ("answer-from port 2000",)), (SERVER[4], 2000): ("silent", 0, ())} == found


# ---- answers from another host

OTHER = {4: host(9), 6: host(9, 6)}


def elsewhere_of(frames, times_ms=None, **fields):
    """By destination, who else answered and how often."""
    found = destinations_of(frames, times_ms or range(len(frames)), **fields)
    return {
        (each.address, each.port): [(told.reporter, told.count, told.notes) for told in each.findings]
        for each in found
        if each.findings
    }


def note(port=53, family=4):
    name = OTHER[4] if family == 4 else f"[{OTHER[6]}]"
    return (f"answer-from {name}:{port}, to which nothing was sent: connected sockets drop it",)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("port", [53, 2000])
def test_an_answer_from_another_host_is_a_finding_and_the_destination_stays_silent(family, port):
    frames = [ask(family=family), answer(port, family=family, server=OTHER[family])]
    (found,) = destinations_of(frames, [0, 4])
    assert (SERVER[family], "silent", 0, 0) == (found.address, found.verdict, found.answered, found.errors)
    (told,) = found.findings
    assert (None, None, "udp-response", OTHER[family], 1, note(port, family)) == (
        told.verdict,
        told.icmp_type,
        told.reason,
        told.reporter,
        told.count,
        told.notes,
    )
    assert 4 * MS == told.first_time_ns == told.last_time_ns
    assert f"it answers from {OTHER[family]}" in found.advice


@pytest.mark.parametrize("family", [4, 6])
def test_answers_from_another_host_are_counted_each(family):
    other = OTHER[family]
    frames = [
        each
        for sport in (5000, 5001)
        for each in (
            ask(sport, family=family),
            *[answer(dport=sport, family=family, server=other)] * 2,
            ask(sport, family=family),
            answer(dport=sport, family=family, server=other),
        )
    ]
    found = destinations_of(frames, range(len(frames)))
    assert [(SERVER[family], 4, [(other, 6, MS, 9 * MS)])] == [
        (
            each.address,
            each.sent,
            [(told.reporter, told.count, told.first_time_ns, told.last_time_ns) for told in each.findings],
        )
        for each in found
        if each.findings
    ]


def test_repeated_reports_count_answers_from_another_host_once():
    analyzer = Analyzer(SECRET)
    for count in (1, 2, 3):
        analyzer.feed_frames(
            frames_of([ask(id=count), answer(server=OTHER[4], id=count)], times_ns=[count * MS, count * MS + 1])
        )
        analyzer.flush()
        for _ in range(2):  # as often as it is asked for
            found = story_of_analyzer(analyzer).only
            assert [(OTHER[4], count)] == [(told.reporter, told.count) for told in found.findings]


def test_answers_from_another_host_survive_forgotten_conversations():
    core = small(horizon=16, window=2, kept=1, conversations=1, group=1)
    analyzer, frames = core.analyzer.Analyzer(SECRET), []
    for number in range(40):
        sport = 5000 + number
        frames += [
            ask(sport, id=number),
            answer(dport=sport, server=OTHER[4], id=2 * number),
            answer(dport=sport, server=OTHER[4], id=2 * number + 1),
        ]
    analyzer.feed_frames(frames_of(frames))
    analyzer.finish()
    assert analyzer.conversations.table.size < 40
    found = story_of_analyzer(analyzer, reporting=core.report).only
    assert [(OTHER[4], 80)] == [(told.reporter, told.count) for told in found.findings]


def test_an_answer_from_another_host_may_be_refused():
    strange = answer(server=OTHER[4])
    found = elsewhere_of([ask(), strange, b.port_unreachable(strange)])
    assert {(SERVER[4], 53): [(OTHER[4], 1, note())], (CLIENT[4], 5000): [(CLIENT[4], 1, ())]} == found


@pytest.mark.parametrize("question", [Question(32, True, by) for by in ("host", "flow")])
def test_answers_from_another_host_are_reported_in_every_grouping(question):
    ((_, told),) = elsewhere_of([ask(), answer(server=OTHER[4])], question=question).items()
    assert [(OTHER[4], 1, note())] == told


def test_a_report_by_reporter_contains_only_errors():
    assert {} == elsewhere_of([ask(), answer(server=OTHER[4])], question=Question(32, True, "reporter"))


@pytest.mark.parametrize(
    "frames",
    [
        [ask(), answer(), answer(server=OTHER[4])],  # answered before
        [ask(), answer(dport=5001, server=OTHER[4])],  # to another port
        [answer(server=OTHER[4]), ask()],  # before the question
        [ask(dport=5000), answer(5000, server=OTHER[4])],  # of equals, who asks is not known
        [ask(), ask(server=host(2)), answer(server=OTHER[4])],  # whose answer is it?
        [ask(dport=5001), answer(2000, server=OTHER[4])],  # not from an ephemeral port
        [ask(), ask(dport=54, server=host(2)), answer(2000, server=OTHER[4])],
        [ask(), b.datagram(OTHER[4], host(3), 53, 5000, b"!")],  # to somebody else
    ],
)
def test_what_only_looks_like_an_answer_from_another_host_is_not_one(frames):
    assert {} == elsewhere_of(frames)


def test_an_answer_from_another_host_must_come_soon():
    frames = [ask(), answer(server=OTHER[4])]
    assert elsewhere_of(frames, [0, 30_000])
    assert {} == elsewhere_of(frames, [0, 30_001])


def test_an_answer_from_another_host_is_for_the_silent_destination():
    frames = [ask(), ask(server=host(2)), answer(server=host(2)), answer(server=OTHER[4])]
    assert {(SERVER[4], 53): [(OTHER[4], 1, note())]} == elsewhere_of(frames)


def test_a_host_answered_for_by_another_may_answer_too():
    frames = [ask(), answer(server=OTHER[4]), answer()]
    assert {(SERVER[4], 53): [(OTHER[4], 1, note())]} == elsewhere_of(frames)
    assert {(SERVER[4], 53): "answered"} == story_of(frames).verdicts


def test_a_host_that_only_answered_is_not_a_destination():
    assert {(SERVER[4], 53): "answered"} == story_of([ask(), answer()]).verdicts
