"""What is forgotten when there is too much: the quiet first, never without a count."""

from __future__ import annotations

import builders as b
import pytest
from builders import CLIENT, PORT, ROUTER, TIME_EXCEEDED, error_about, host, sent, with_refusal

from udpprobe.core.aging import age
from udpprobe.core.analyzer import Analyzer
from udpprobe.core.flows import HORIZON
from udpprobe.report import Question, conclude

MS = 1_000_000


def feed(analyzer, packets, first=1):
    analyzer.feed_frames((n * MS, packet, len(packet), 101) for n, packet in enumerate(packets, first))
    analyzer.flush()
    return analyzer


def followed(packets, *, by_flow=False):
    return feed(Analyzer(7, by_flow=by_flow), packets)


def aged(analyzer, most=2):
    """After a time in which all conversations were over; how many were forgotten."""
    analyzer.conversations.forget_at = 0
    analyzer.findings.count_answers()
    numbers = analyzer.conversations.forget(analyzer.recent.count + 2 * HORIZON)
    if numbers is not None:
        analyzer.recent.renumber(numbers)
        analyzer.findings.renumber(numbers)
    return age(analyzer, most)


def destinations(analyzer, *, by_flow=False):
    question = Question(all_destinations=True, group_by="flow" if by_flow else "destination")
    return list(conclude(analyzer, question)[0])


def addresses_of(analyzer):
    return [each.address for each in destinations(analyzer)]


@pytest.fixture(params=[False, True], ids=["destinations", "flows"])
def by_flow(request):
    return request.param


def test_up_to_twice_the_limit_nothing_is_forgotten(by_flow):
    whole, same = (
        followed([frame for n in (1, 2) for frame in with_refusal(sent(n))], by_flow=by_flow) for _ in range(2)
    )
    assert 0 == aged(same)
    assert destinations(whole, by_flow=by_flow) == destinations(same, by_flow=by_flow)


def test_the_latest_rows_keep_everything(by_flow):
    frames = [frame for n in range(1, 8) for frame in with_refusal(sent(n))]
    whole, some = (followed(frames, by_flow=by_flow) for _ in range(2))
    kept = [each for each in destinations(whole, by_flow=by_flow) if each.address in {host(6), host(7)}]
    assert 2 * 5 == aged(some)  # destinations, and the findings about them
    assert kept == destinations(some, by_flow=by_flow)


def test_a_destination_seen_again_is_kept():
    analyzer = Analyzer(7)
    for n in range(2, 40):
        aged(feed(analyzer, with_refusal(sent(1)) + with_refusal(sent(n)), 4 * n))
    found = {each.address: each for each in destinations(analyzer)}
    assert (38, 38) == (found[host(1)].errors, found[host(1)].sent)
    assert 5 > len(found)


def test_a_failing_destination_outlives_those_that_went_quiet():
    analyzer = followed([sent(n) for n in range(1, 7)] + [error_about(sent(1))])
    aged(analyzer)
    assert host(1) in addresses_of(analyzer)


def test_endpoints_without_questions_are_forgotten_first():
    asked = [b.datagram(CLIENT[4], host(1), source, PORT, b"x") for source in range(40001, 40009)]
    answered = [b.datagram(host(1), CLIENT[4], PORT, source, b"y") for source in range(40001, 40009)]
    analyzer = followed(asked + answered)
    assert 0 == aged(analyzer)
    assert [host(1)] == addresses_of(analyzer)


def test_rtts_are_forgotten_with_their_destinations():
    frames = [frame for n in range(1, 8) for frame in (sent(n), b.datagram(host(n), CLIENT[4], PORT, 40000 + n, b"y"))]
    whole, some = followed(frames), followed(frames)
    aged(some)
    expected = {each.address: each.rtt_ms for each in destinations(whole)}
    kept = destinations(some)
    assert 2 == len(kept)
    assert all(expected[each.address] == each.rtt_ms for each in kept)


@pytest.mark.parametrize("family", [4, 6])
def test_the_newest_answers_from_other_hosts_outlive_older_errors(family, by_flow):
    answered = [sent(9, family), b.datagram(ROUTER[family], CLIENT[family], PORT, 40009, b"y")]
    analyzer = followed(
        [frame for n in range(1, 9) for frame in with_refusal(sent(n, family))] + answered, by_flow=by_flow
    )
    age(analyzer, 2)
    found = {each.address: each for each in destinations(analyzer, by_flow=by_flow)}
    assert [(ROUTER[family], 1)] == [(each.reporter, each.count) for each in found[host(9, family)].findings]


def test_loops_are_forgotten_too():
    analyzer = followed([sent(n, ttl=ttl, id=n) for n in range(1, 8) for ttl in (64, 62, 60)])
    assert 7 == analyzer.findings.loops.size
    aged(analyzer)
    assert 2 == analyzer.findings.loops.size


def test_findings_of_one_destination_are_bounded_too():
    reporters = [f"203.0.113.{n}" for n in range(1, 8)]
    analyzer = followed(
        [
            frame
            for reporter in reporters
            for frame in (sent(1, ttl=64), error_about(sent(1, ttl=1), TIME_EXCEEDED, reporter=reporter))
        ]
    )
    aged(analyzer)
    (destination,) = destinations(analyzer)
    assert reporters[-2:] == sorted(each.reporter for each in destination.findings)
    assert ROUTER[4] == reporters[0]
