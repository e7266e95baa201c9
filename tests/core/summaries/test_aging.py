"""What is forgotten when there is too much: the quiet first, never without a count."""

from __future__ import annotations

import builders as b
import numpy as np
import pytest
from crafting import CLIENT, PORT, ROUTER, TIME_EXCEEDED, host, said, sent, told
from feeding import EVERYTHING, MS, batch_of, follow

from udpprobe.core.batch import tick
from udpprobe.core.following.pipeline import Pipeline
from udpprobe.core.summaries.aging import AGED_OUT, Aging
from udpprobe.core.summaries.conclude import Question, conclude
from udpprobe.core.summaries.elsewhere import SOON_NS

MINUTE_NS = 60 * 10**9


def aged(summary, most=2, **how):
    summary.conversations.fold()
    Aging(most, **how).age(summary)
    return summary


def addresses_of(summary):
    return [each.address for each in conclude(summary, EVERYTHING)[0]]


@pytest.fixture(params=[False, True], ids=["destinations", "flows"])
def by_flow(request):
    return request.param


def followed(frames, *, by_flow=False, **how):
    return follow([batch_of(frames, **how)], Question(group_by="flow" if by_flow else "destination")).summary


def test_twice_as_many_are_still_kept_as_they_are(by_flow):
    whole, same = (followed([frame for n in (1, 2) for frame in told(sent(n))], by_flow=by_flow) for _ in range(2))
    assert conclude(whole, EVERYTHING) == conclude(aged(same), EVERYTHING)
    assert 0 == same.faults[AGED_OUT]


def test_the_latest_stay_with_all_that_is_known_of_them(by_flow):
    frames = [frame for n in range(1, 8) for frame in told(sent(n))]
    whole, some = (followed(frames, by_flow=by_flow) for _ in range(2))
    kept = [each for each in conclude(whole, EVERYTHING)[0] if each.address in {host(6), host(7)}]
    assert kept == list(conclude(aged(some), EVERYTHING)[0])
    assert 2 * 5 == some.faults[AGED_OUT]       # destinations, and the findings about them


def test_who_is_heard_of_again_is_kept_as_new_ones_come():
    pipeline = Pipeline()
    for n in range(2, 40):
        pipeline.feed(batch_of(told(sent(1)) + told(sent(n)), first=4 * n))
        pipeline.feed(tick(4 * n * MS))
        aged(pipeline.summary)
    destinations = {each.address: each for each in conclude(pipeline.summary, EVERYTHING)[0]}
    assert (38, 38) == (destinations[host(1)].errors, destinations[host(1)].sent)
    assert 5 > len(destinations)


def test_a_destination_that_fails_outlives_those_that_answer_no_more():
    late_error = said(sent(1))
    frames = [sent(n) for n in range(1, 7)] + [late_error]
    assert host(1) in addresses_of(aged(followed(frames)))


def test_those_that_nobody_asked_go_first_and_are_no_loss():
    answers = [b.datagram(host(1), CLIENT[4], PORT, 40001, bytes([n])) for n in range(3)]
    asked = [b.datagram(CLIENT[4], host(1), source, PORT, b"x") for source in range(40001, 40009)]
    answered = [b.datagram(host(1), CLIENT[4], PORT, source, b"y") for source in range(40001, 40009)]
    summary = aged(followed(asked + answered + answers))
    assert [host(1)] == addresses_of(summary)
    assert 0 == summary.faults[AGED_OUT]


def test_rtts_go_with_their_destinations():
    frames = [frame for n in range(1, 8) for frame in (
        sent(n), b.datagram(host(n), CLIENT[4], PORT, 40000 + n, b"y"))]
    whole, some = followed(frames), aged(followed(frames))
    expected = {each.address: each.rtt_ms for each in conclude(whole, EVERYTHING)[0]}
    kept = conclude(some, EVERYTHING)[0]
    assert 2 == len(kept)
    assert all(expected[each.address] == each.rtt_ms for each in kept)


def test_loops_are_forgotten_too():
    frames = [sent(n, ttl=ttl, id=n) for n in range(1, 8) for ttl in (64, 62, 60)]
    summary = followed(frames)
    assert 7 == summary.record.loops.size
    assert 2 == aged(summary).record.loops.size


def test_findings_of_one_destination_are_bounded_too():
    reporters = [f"203.0.113.{n}" for n in range(1, 8)]
    summary = followed([frame for reporter in reporters for frame in (
        sent(1, ttl=64), said(sent(1, ttl=1), TIME_EXCEEDED, reporter=reporter))])
    destination, = conclude(aged(summary), EVERYTHING)[0]
    assert reporters[-2:] == sorted(each.reporter for each in destination.findings)
    assert ROUTER[4] == reporters[0]


def test_many_rtts_are_rounded_and_then_left_alone():
    frames = [frame for n in range(200) for frame in (
        b.datagram(CLIENT[4], host(1), 4000, PORT, b"x", id=n), b.datagram(host(1), CLIENT[4], PORT, 4000, b"y"))]
    times_ns = [each for n in range(200) for each in (n * MS, n * MS + 100_000 + 7 * n)]
    exact, pipeline = followed(frames, times_ns=times_ns), Pipeline()
    pipeline.feed(batch_of(frames, times_ns=times_ns))
    pipeline.finish()
    rough = pipeline.summary
    assert 200 == rough.conversations.unfolded
    Aging(most_samples=10).age(rough)
    assert 0 == rough.conversations.unfolded
    assert 10 > len(rough.conversations.rtt)
    expected, spread = (conclude(each, EVERYTHING)[0][0].rtt_ms for each in (exact, rough))
    assert (expected.min, expected.max) == (spread.min, spread.max)
    assert expected.median == pytest.approx(spread.median, rel=0.07)


def test_rounding_that_has_no_effect_is_not_tried_again():
    frames = [frame for n in range(1, 8) for frame in told(sent(n))]
    summary, aging = followed(frames), Aging(most_samples=3)
    aging.age(summary)
    assert 14 == aging.most_samples


@pytest.mark.slow
def test_an_hour_of_strangers_leaves_tables_as_small_as_a_minute():
    pipeline, aging, sizes, random = Pipeline(horizon=1000), Aging(64, 1000), [], np.random.default_rng(1)
    for minute in range(60):
        frames = [frame for n in random.integers(1, 250, 100) for frame in told(
            b.datagram(CLIENT[4], f"198.51.{minute}.{n}", 4000, PORT, b"x"))]
        pipeline.feed(batch_of(frames, times_ns=minute * MINUTE_NS + np.arange(200) * MS, first=1 + 200 * minute))
        pipeline.feed(tick(minute * MINUTE_NS + SOON_NS))
        pipeline.summary.conversations.fold()
        aging.age(pipeline.summary)
        summary = pipeline.summary
        sizes.append(summary.conversations.endpoints.size + summary.record.findings.size + len(summary.record.rtt))
    assert max(sizes) <= 6 * 64
    assert 6000 == summary.packets // 2
