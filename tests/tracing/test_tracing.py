"""Traces of simulated ways: what is sent, when it ends, what it finds."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from trace_world import ANSWER, EXPIRED, HOST_UNREACH, QUENCH, REFUSED, SILENCE, SIZE, TO, Way, reply_of, traced

from udpprobe.core.limiter import MS, NEVER
from udpprobe.tracing.hops import end_of, hops_of, loop_of
from udpprobe.tracing.path import TracePolicy
from udpprobe.tracing.schedule import Schedule

R = [f"10.0.{n}.1" for n in range(30)]
SOON = 1000 * MS


@pytest.mark.parametrize("last", [REFUSED, ANSWER])
def test_a_clean_path_takes_three_round_trips(last):
    trace = traced(Way(R[:4], last))
    assert [*R[:4], TO] == trace.routers()
    assert [(3, 3, 0)] * 4 == [(hop.sent, hop.reporters[0].count, hop.lost) for hop in trace.hops[:4]]
    assert trace.hops[4].reporters[0].count >= 3
    assert ("refused" if last else "answered", True, None) == (trace.end.verdict, trace.end.reached, trace.loop)
    assert trace.took_ms < 3 * 50
    assert max(probe.ttl for probe, _ in trace.way.sent) <= 4 + TracePolicy().window


def test_probes_beyond_the_end_count_for_the_end():
    trace = traced(Way(R[:7], rtt_ms=20))
    assert trace.took_ms < 2.2 * 8 * 20
    assert [8] == [probe.ttl for probe, _ in trace.way.sent if probe.ttl == 8]


@pytest.mark.parametrize(("hops", "round_trips"), [(8, 2), (12, 2.1), (16, 2.5), (24, 3.1)])
def test_a_long_path_takes_few_round_trips(hops, round_trips):
    assert traced(Way(R[: hops - 1], rtt_ms=20)).took_ms < round_trips * hops * 20


@pytest.mark.parametrize(("queries", "first"), [(1, 1), (5, 3)])
def test_queries_and_first_ttl_are_respected(queries, first):
    trace = traced(Way(R[:4]), queries=queries, first_ttl=first)
    assert list(range(first, 6)) == [hop.ttl for hop in trace.hops]
    assert {queries} == {hop.sent for hop in trace.hops[:-1]}


def test_probes_keep_the_interval():
    times = [now_ns for _, now_ns in traced(Way(R[:4]), interval_ns=20 * MS).way.sent]
    assert min(later - time for time, later in pairwise(times)) >= 20 * MS


def test_probes_due_within_ten_milliseconds_leave_together():
    tracing = Schedule(TracePolicy(window=100, interval_ns=2 * MS))
    assert (5, 0, 2) == tuple(len(tracing.due(now_ns)) for now_ns in (SOON, SOON + MS, SOON + 4 * MS))


def test_no_more_than_the_window_is_in_flight_before_the_first_reply():
    sent = traced(Way(R[:20], rtt_ms=100), window=4, interval_ns=0, first_hold_ns=10_000 * MS).way.sent
    assert 4 == sum(now_ns < 100 * MS for _, now_ns in sent)


def test_a_silent_hop_costs_no_timeout_and_is_probed_once_more_later():
    trace = traced(Way([R[0], SILENCE, R[2]]))
    assert [R[0], SILENCE, R[2], TO] == trace.routers()
    assert (4, 4) == (trace.hops[1].sent, trace.hops[1].lost)
    assert 1100 < trace.took_ms < 2000


def test_a_silent_destination_is_waited_for():
    trace = traced(Way(R[:3], SILENCE))
    assert ("silent", False, None) == (trace.end.verdict, trace.end.reached, trace.loop)
    assert [*R[:3], *[SILENCE] * 27] == trace.routers()
    assert 4000 < trace.took_ms < 8000


def test_an_error_after_three_seconds_ends_the_path():
    trace = traced(Way(R[:3], HOST_UNREACH, last_delay_ms=3000))
    assert ("unreachable", 4) == (trace.end.verdict, len(trace.hops))


def test_the_highest_ttl_is_not_an_end():
    trace = traced(Way(R[:9]), max_ttl=5)
    assert ("expired", False, 5) == (trace.end.verdict, trace.end.reached, len(trace.hops))


def test_source_quench_does_not_end_the_path():
    trace = traced(Way(R[:3], QUENCH), max_ttl=6)
    assert ("silent", 6) == (trace.end.verdict, len(trace.hops))
    assert [1, 1, 1, 0, 0, 0] == [len(hop.reporters) for hop in trace.hops]
    assert trace.quenches > 0


# ---- loops


@examples(60)
@given(st.integers(2, 7), st.integers(0, 6), st.sets(st.integers(0, 60), max_size=6))
def test_any_loop_is_named_even_if_probes_are_lost(period, before, lost):
    trace = traced(Way(R[: before + period], period=period, lost=lost))
    assert "loop" == trace.end.verdict
    assert (period, before + 1) == (trace.loop.period, trace.loop.first_ttl)
    assert tuple(R[before : before + period]) == trace.loop.routers


def test_a_loop_ends_the_trace_early():
    trace = traced(Way(R[:4], period=2))
    assert max(probe.ttl for probe, _ in trace.way.sent) <= 8 + TracePolicy().window
    assert [3, 3, 3, 3, *[1] * (len(trace.hops) - 4)] == [hop.sent for hop in trace.hops]
    assert trace.took_ms < 1000


def test_a_loop_with_a_silent_router_is_named():
    trace = traced(Way([R[0], R[1], SILENCE], period=2))
    assert ("loop", 2, (R[1], None)) == (trace.end.verdict, trace.loop.period, trace.loop.routers)


def test_a_loop_of_rate_limited_routers_is_named():
    limits = dict.fromkeys(R, (1, 1))
    trace = traced(Way(R[:2], period=2, limits=limits))
    assert ("loop", 2, 1) == (trace.end.verdict, trace.loop.period, trace.loop.first_ttl)


# ---- limits and losses


def test_a_limited_router_is_probed_slowly_and_shows_no_loss():
    trace = traced(Way(R[:4], limits={R[1]: (1, 1)}))
    hop = trace.hops[1]
    assert (2, 0) == (hop.reporters[0].count, hop.lost)
    assert ("limits its replies: answered 2 of 9",) == hop.reporters[0].notes
    assert trace.took_ms < 1500


def test_a_router_with_an_exhausted_limit_replies_in_the_end():
    way = Way(R[:4], limits={R[1]: (1, 1)})
    way.buckets[R[1]] = 0, 0
    assert [*R[:4], TO] == traced(way).routers()


def test_permanently_lost_probes_count_as_lost():
    way = Way(R[:4], lost=set(range(1, 400, 2)))
    trace = traced(way)
    assert any(hop.lost for hop in trace.hops)
    assert not any("limits" in note for hop in trace.hops if hop.lost for each in hop.reporters for note in each.notes)


# ---- flows


def test_flows_take_their_own_paths():
    trace = traced(Way([R[0], R[1], R[3]]), Way([R[0], R[2], R[3]]))
    assert [R[0], f"{R[1]}/{R[2]}", R[3], TO] == trace.routers()
    assert [(0,), (1,)] == [each.flows for each in trace.hops[1].reporters]


def test_the_worst_verdict_of_several_paths_counts_and_any_reaches():
    trace = traced(Way(R[:3]), Way([R[0], R[4], R[5]], period=2))
    assert ("refused", True, 2) == (trace.end.verdict, trace.end.reached, trace.loop.period)
    trace = traced(Way(R[:3], ANSWER), Way([R[0], R[4], R[5]], period=2))
    assert ("loop", True) == (trace.end.verdict, trace.end.reached)


# ---- answers that repeat nothing


@pytest.mark.parametrize("routers", [R[:3], [R[0], SILENCE, SILENCE], [SILENCE], []])
def test_answers_without_a_token_are_assigned_one_by_one(routers):
    trace = traced(Way(routers, ANSWER, is_sure=False))
    assert [*routers, TO] == trace.routers()
    assert (3, 0) == (trace.hops[-1].reporters[0].count, trace.hops[-1].lost)
    assert ("answered", True) == (trace.end.verdict, trace.end.reached)


def test_a_late_answer_without_a_token_is_not_for_an_expired_ttl():
    tracing = Schedule(TracePolicy(interval_ns=0, queries=2, max_ttl=3))
    now_ns, first = 0, tracing.due(0)
    tracing.take(
        [
            reply_of(first[0].number, 0, MS, R[0], EXPIRED),
            reply_of(first[1].number, 0, MS, R[1], EXPIRED),
            reply_of(first[2].number, 0, 2 * MS, TO, ANSWER, is_sure=False),
        ]
    )
    while not tracing.done(now_ns):
        now_ns = max(now_ns + MS, tracing.wake_ns(now_ns))
        for probe in tracing.due(now_ns):
            late = reply_of(probe.number, now_ns, now_ns, TO, ANSWER, is_sure=False)
            own = reply_of(probe.number, now_ns, now_ns, R[probe.ttl - 1], EXPIRED)
            tracing.take([late] if probe.ttl == 3 else [late, own])
    hops = hops_of(tracing.paths, TO, now_ns)
    assert [[R[0]], [R[1]], [TO]] == [[each.address for each in hop.reporters] for hop in hops]


@pytest.mark.parametrize("period", [0, 2])
def test_a_destination_that_answers_once_is_answered_and_not_looping(period):
    """It may forget who asked; which of the probes under way it answered is not known."""
    tracing = Schedule(TracePolicy(interval_ns=0, queries=1, max_ttl=8))
    way, now_ns, is_first = Way(R[:3], SILENCE, period=period), 0, True
    while not tracing.done(now_ns):
        for probe in tracing.due(now_ns):
            if probe.ttl == 8 and is_first:
                is_first = False
                tracing.take([reply_of(probe.number, now_ns, now_ns + MS, TO, ANSWER, is_sure=False)])
            elif reply := way.reply(probe, now_ns):
                tracing.take([reply])
        now_ns = max(now_ns + MS, tracing.wake_ns(now_ns)) if not tracing.done(now_ns) else now_ns
    end = end_of(tracing.paths[0])
    assert ("answered", True, None) == (end.verdict, end.reached, loop_of(tracing.paths))


def test_routers_up_to_the_last_ttl_mean_expired_not_silent():
    trace = traced(Way(R[:3]), max_ttl=2)
    assert ("expired", False) == (trace.end.verdict, trace.end.reached)
    assert "silent" == traced(Way([R[0], SILENCE, SILENCE]), max_ttl=2).end.verdict


# ---- odd ends


def test_a_transient_error_does_not_end_a_path_that_goes_on():
    tracing = Schedule(TracePolicy(interval_ns=0, queries=1, max_ttl=3))
    probes = [probe for _ in range(3) for probe in tracing.due(0)]
    said = (("10.0.0.1", HOST_UNREACH), ("10.0.1.1", (11, 0)), ("10.0.2.1", (11, 0)))
    tracing.take([reply_of(probe.number, 0, MS, *each) for probe, each in zip(probes, said, strict=True)])
    assert None is tracing.paths[0].end_ttl


TOO_BIG, PROHIBITED = (3, 4), (3, 13)


@dataclass
class Talkative(Way):
    """A router says something about every packet that it forwards."""

    place: int = 1
    word: tuple = (TOO_BIG, 1400)

    def replies(self, probe, now_ns):
        own = super().reply(probe, now_ns)
        kind, mtu = self.word
        if probe.ttl > self.place:
            yield reply_of(
                probe.number, now_ns, now_ns + self.place * 10 * MS, self.routers[self.place - 1], kind, mtu=mtu
            )
        if own:
            yield own


def traced_all(way, **policy):
    """Where a probe draws several replies."""
    tracing = Schedule(TracePolicy(**policy))
    now_ns, coming = 0, []
    while not tracing.done(now_ns):
        coming += [reply for probe in tracing.due(now_ns) for reply in way.replies(probe, now_ns)]
        coming.sort(key=lambda reply: reply.time_ns)
        wake_ns = tracing.wake_ns(now_ns)
        now_ns = max(now_ns + MS // 100, min(wake_ns, coming[0].time_ns if coming else wake_ns))
        while coming and coming[0].time_ns <= now_ns:
            tracing.take([coming.pop(0)])
    return tracing.paths[0], now_ns


@pytest.mark.parametrize("last", [REFUSED, ANSWER])
@pytest.mark.parametrize("place", [1, 3])
def test_an_mtu_that_is_large_enough_does_not_end_a_path(place, last):
    path, now_ns = traced_all(Talkative(R[:5], last, place=place))
    assert (6, True) == (path.end_ttl, path.is_reached)
    assert ("refused" if last else "answered") == end_of(path).verdict
    assert now_ns < 1000 * MS


def test_a_router_with_a_large_enough_mtu_is_listed_if_nothing_else_replies():
    path, _ = traced_all(Talkative(R[:2], SILENCE, place=2), max_ttl=4)
    assert (None, "silent") == (path.end_ttl, end_of(path).verdict)
    assert {R[1]} == {reply.event.reporter for _, reply in path.exchanges(4)}


def test_an_mtu_that_is_too_small_ends_a_path():
    path, _ = traced_all(Talkative(R[:5], SILENCE, place=2, word=(TOO_BIG, 35)))
    assert (3, "too-big") == (path.end_ttl, end_of(path).verdict)


class Moody(Way):
    """A router objects to the first packets, then no more."""

    def reply(self, probe, now_ns):
        if probe.ttl > 2 and probe.number < 5:
            return reply_of(probe.number, now_ns, now_ns + MS, R[1], PROHIBITED)
        return super().reply(probe, now_ns)


@pytest.mark.parametrize("rtt_ms", [1, 20, 60])
def test_a_router_error_does_not_end_a_path_that_reaches_its_destination(rtt_ms):
    said = traced(Moody(R[:6], rtt_ms=rtt_ms))
    assert ("refused", True, 7) == (said.end.verdict, said.end.reached, len(said.hops))


class OddFirst(Way):
    """The first router has something to say about whatever runs out there."""

    word = PROHIBITED
    mtu = None

    def reply(self, probe, now_ns):
        if probe.ttl == 1:
            return reply_of(probe.number, now_ns, now_ns + MS // 2, R[0], self.word, mtu=self.mtu)
        return super().reply(probe, now_ns)


@pytest.mark.parametrize("interval_ms", [0, 1, 20, 300])
@pytest.mark.parametrize(
    ("word", "mtu"),
    [
        ((3, 4), 9000),
        ((3, 4), SIZE),
        ((3, 4), 0),
        (PROHIBITED, None),
        (HOST_UNREACH, None),
        ((3, 3), None),
        ((12, 0), None),
    ],
)
@pytest.mark.parametrize("hops", [1, 3])
def test_an_error_of_the_first_router_alone_does_not_end_a_path(interval_ms, word, mtu, hops):
    way = OddFirst(R[:hops], rtt_ms=1)
    way.word, way.mtu = word, mtu
    said = traced(way, interval_ns=interval_ms * MS)
    assert ("refused", True, [*R[:hops], TO]) == (said.end.verdict, said.end.reached, said.routers())


@pytest.mark.parametrize("interval_ms", [0, 1, 20])
def test_a_filter_that_also_rejects_higher_ttls_ends_a_path(interval_ms):
    class Filter(OddFirst):
        def reply(self, probe, now_ns):
            return reply_of(probe.number, now_ns, now_ns + MS, R[0], PROHIBITED)

    said = traced(Filter(R[:3], rtt_ms=1), interval_ns=interval_ms * MS)
    assert ("prohibited", [R[0]]) == (said.end.verdict, said.routers())
    assert (
        12 >= len(said.way.sent)
        if interval_ms == 0
        else 5 >= sum(not flight.send_errno for path in said.paths for flight in path.all_flights())
    )


def test_checking_a_filter_takes_no_longer_than_reaching_a_destination():
    said = traced(Way(R[:3], PROHIBITED, lost={11}))
    assert ("prohibited", 4) == (said.end.verdict, len(said.hops))
    assert said.took_ms < 1000


def test_only_the_first_reply_to_a_probe_counts():
    tracing = Schedule(TracePolicy(interval_ns=0, queries=1, max_ttl=1))
    (probe,) = tracing.due(0)
    replies = [
        reply_of(number, 0, time, who, (11, 0))
        for number, time, who in (
            (probe.number, MS, "10.0.0.1"),
            (probe.number, 2 * MS, "10.0.0.2"),
            (99, MS, "10.0.0.3"),
        )
    ]
    tracing.take(replies)
    assert [replies[0]] == [reply for _, reply in tracing.paths[0].exchanges(1)]
    assert tracing.done(3 * MS)
    assert NEVER == tracing.wake_ns(3 * MS)


def test_a_probe_this_host_refuses_is_not_retried():
    tracing = Schedule(TracePolicy(interval_ns=0))
    probes = tracing.due(0)
    tracing.unsent(probes, [90] * len(probes))
    assert ([], True) == (tracing.due(MS), tracing.done(MS))


def test_no_probe_goes_beyond_the_previous_end():
    trace = traced(Way(R[:7]), likely_ttl=8)
    assert 3 * 8 == len(trace.way.sent)
    assert [*R[:7], TO] == trace.routers()


@pytest.mark.parametrize("likely_ttl", [1, 4, 7, 12, 30])
@pytest.mark.parametrize(
    "way",
    [Way(R[:7]), Way(R[:7], SILENCE), Way(R[:7], period=2), Way([*R[:3], SILENCE, *R[4:7]])],
    ids=["reached", "silent", "loop", "a silent hop"],
)
def test_the_previous_end_does_not_decide_the_new_one(way, likely_ttl):
    now, before = (
        traced(Way(way.routers, way.last, way.period), **likely) for likely in ({}, {"likely_ttl": likely_ttl})
    )
    laps = slice(11 if way.period else None)  # how often a loop is gone round is chance
    assert (now.routers()[laps], now.end, now.loop) == (before.routers()[laps], before.end, before.loop)


def test_a_lost_probe_to_the_likely_end_delays_others_only_briefly():
    trace = traced(Way(R[:9], lost={3}), likely_ttl=4)
    assert [*R[:9], TO] == trace.routers()
    assert trace.took_ms < 2000


def test_a_quick_round_repeats_no_probe():
    trace = traced(Way([R[0], SILENCE, R[2]], lost={0}), queries=1, probes_again=False)
    assert [1, 1, 1] == [hop.sent for hop in trace.hops[:3]]
    assert [1, 1, 0, 0] == [hop.lost for hop in trace.hops]
    assert trace.took_ms < 1000


@pytest.mark.parametrize(("likely_ttl", "beyond"), [(0, 2), (4, 0), (3, 2)])
def test_in_a_quick_round_the_previous_end_is_accepted_at_once(likely_ttl, beyond):
    trace = traced(Way(R[:3], (3, 13)), queries=1, probes_again=False, likely_ttl=likely_ttl, window=1)
    assert 4 + beyond >= len(trace.way.sent)
