"""What rounds of a trace come to: loss and times of each hop, and what was otherwise than before."""

from __future__ import annotations

import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from trace_world import ANSWER, EXPIRED, REFUSED, TO, reply_of

from udpprobe.core.limiter import MS
from udpprobe.tracing.hops import hops_of
from udpprobe.tracing.model import Hop, Reporter, Target, TraceLoop, TraceReport
from udpprobe.tracing.path import TracePolicy
from udpprobe.tracing.schedule import Schedule
from udpprobe.tracing.statistics import MOST_CHANGES, REMEMBERED, Rounds, Series

A, B, END = (
    Reporter(address, 1, None, 11, 0, "time-exceeded", "expired", None, (), (), (0,), ())
    for address in ("10.0.0.1", "10.0.0.2", "192.0.2.7")
)
LOOP = TraceLoop((A.address, B.address), 2, 1)


def hop(*rtts_ms, ttl=1, lost=None, reporters=(A,)):
    return Hop(ttl, reporters, len(rtts_ms), rtts_ms.count(None) if lost is None else lost, rtts_ms=rtts_ms)


def report_of(*hops, verdict="refused", time_ns=0, **fields):
    return TraceReport(
        "1.0",
        Target(END.address, 7),
        "192.0.2.1",
        (40_000,),
        "eth0",
        time_ns,
        verdict,
        None,
        verdict == "refused",
        hops,
        fields.pop("loop", None),
        **fields,
    )


def way(*reporters, **fields):
    """A round whose hops have one reporter each; None for a silent one."""
    return report_of(
        *(
            hop(1.0, ttl=ttl, reporters=(each,)) if each else hop(None, ttl=ttl, reporters=())
            for ttl, each in enumerate(reporters, 1)
        ),
        **fields,
    )


def summary(*hops):
    series = Series()
    for each in hops:
        series.take(each)
    return series.summary()


def test_nothing_is_known_before_the_first_reply():
    said = summary(hop(None, None))
    assert (2, 2, 0, (None, None)) == (said.sent, said.lost, said.replies, said.history_ms)
    assert {None} == {said.last_ms, said.average_ms, said.best_ms, said.worst_ms, said.deviation_ms, said.jitter_ms}


def test_one_reply_has_neither_deviation_nor_jitter():
    said = summary(hop(4.0))
    assert (4, 4, 4, 4) == (said.last_ms, said.average_ms, said.best_ms, said.worst_ms)
    assert (None, None) == (said.deviation_ms, said.jitter_ms)


def test_probes_left_unanswered_by_a_limit_are_not_lost():
    said = summary(hop(1.0, None, None, lost=0), hop(2.0))
    assert (4, 0, 2, (1.0, None, None, 2.0)) == (said.sent, said.lost, said.replies, said.history_ms)


def test_jitter_follows_rfc_3550_across_rounds_and_losses():
    # J(i) = J(i-1) + (|D(i-1,i)| - J(i-1)) / 16, section 6.4.1: |D| is 16, then 8
    assert summary(hop(1.0, 17.0)).jitter_ms == 1.0
    assert summary(hop(1.0, 17.0), hop(None, 9.0)).jitter_ms == 1 + (8 - 1) / 16
    assert summary(*[hop(5.0, 5.0)] * 9).jitter_ms == 0


@given(st.lists(st.floats(0.001, 60_000), min_size=2, max_size=50))
def test_mean_and_deviation_equal_those_of_the_statistics_module(rtts_ms):
    said = summary(*(hop(each) for each in rtts_ms))
    assert math.isclose(said.average_ms, statistics.fmean(rtts_ms), rel_tol=1e-9)
    assert math.isclose(said.deviation_ms, statistics.stdev(rtts_ms), rel_tol=1e-6, abs_tol=1e-6)
    assert (min(rtts_ms), max(rtts_ms), rtts_ms[-1]) == (said.best_ms, said.worst_ms, said.last_ms)


def test_a_small_deviation_of_large_times_keeps_its_digits():
    assert summary(*[hop(50_000.0, 50_000.002)] * 1000).deviation_ms == pytest.approx(0.001, rel=1e-3)


def test_the_history_has_only_the_last_probes():
    said = summary(*(hop(float(n)) for n in range(1, 1000)))
    assert (REMEMBERED, 999.0) == (len(said.history_ms), said.history_ms[-1])


def test_a_round_in_progress_is_shown_but_not_counted():
    rounds = Rounds()
    rounds.take(way(A, END))
    running = replace(way(A, verdict=None), hops=(hop(9.0, None, lost=0),))
    for _ in range(2):  # however often it is drawn
        shown = rounds.shown(running)
        assert ("refused", [3, 1]) == (shown.verdict, [each.statistics.sent for each in shown.hops])
    assert [1, 1] == [each.statistics.sent for each in rounds.report().hops]


def test_the_verdict_is_open_until_the_first_round_is_over():
    rounds = Rounds()
    assert rounds.shown(None) is rounds.report() is None
    shown = rounds.shown(way(A, verdict=None))
    assert (None, 1, 0) == (shown.verdict, shown.hops[0].statistics.sent, shown.rounds)


def test_a_hop_silent_for_one_round_keeps_its_router():
    rounds = Rounds()
    rounds.take(way(A, END))
    rounds.take(way(None, END))
    assert [(A,), (END,)] == [each.reporters for each in rounds.shown(None).hops]
    assert () == rounds.report().hops[0].reporters


def test_another_router_after_silence_is_a_change():
    rounds = Rounds()
    assert [()] * 2 == [rounds.take(way(A, END)), rounds.take(way(None, END, time_ns=1))]
    (change,) = rounds.take(way(B, END, time_ns=2))
    assert (2, "route", 1, A.address, B.address) == (
        change.time_ns,
        change.kind,
        change.ttl,
        change.before,
        change.after,
    )
    assert (change,) == rounds.report().changes


def test_a_new_loop_and_its_end_are_two_changes():
    rounds = Rounds()
    rounds.take(way(A, END))
    (began,) = rounds.take(way(A, verdict="loop", loop=LOOP))
    (ended,) = rounds.take(way(A, END))
    assert ("loop", "refused", "loop of 2 between 10.0.0.1 and 10.0.0.2, entered at hop 1") == (
        began.kind,
        began.before,
        began.after,
    )
    assert ("verdict", "refused") == (ended.kind, ended.after)


def test_an_interrupted_round_makes_no_change_but_counts_its_replies():
    rounds = Rounds()
    rounds.take(way(A, END))
    assert () == rounds.take(way(B, verdict=None, interrupted=True))
    report = rounds.report()
    assert ("refused", 1, 2) == (report.verdict, report.rounds, report.hops[0].statistics.sent)


def test_an_interrupted_first_round_is_reported():
    rounds = Rounds()
    rounds.take(way(A, verdict=None, interrupted=True))
    assert (None, 0, True) == (rounds.report().verdict, rounds.report().rounds, rounds.report().interrupted)


def test_a_reset_clears_the_counts_but_keeps_the_path():
    rounds = Rounds()
    rounds.take(way(A, END))
    rounds.take(way(B, END))
    rounds.reset()
    assert (0, ()) == (rounds.report().rounds, rounds.report().changes)
    assert 0 == rounds.shown(None).hops[0].statistics.sent
    assert ["route"] == [each.kind for each in rounds.take(way(A, END))]


def test_the_number_of_changes_is_bounded():
    rounds = Rounds()
    for n in range(MOST_CHANGES + 10):
        rounds.take(way((A, B)[n % 2], END, time_ns=n))
    assert (MOST_CHANGES, MOST_CHANGES + 9) == (len(rounds.report().changes), rounds.report().changes[-1].time_ns)


@pytest.mark.parametrize(("who", "kind"), [("10.0.0.1", EXPIRED), (TO, REFUSED), (TO, ANSWER)])
def test_rtts_are_in_probe_order_without_pending_ones(who, kind):
    tracing = Schedule(TracePolicy(interval_ns=0, queries=3, max_ttl=1))
    first, _, third = tracing.due(0)
    tracing.take([reply_of(probe.number, 0, rtt_ms * MS, who, kind) for probe, rtt_ms in ((third, 7), (first, 5))])
    (at_once,), (later,) = (hops_of(tracing.paths, TO, now_ms * MS) for now_ms in (8, 900))
    assert ((5.0, 7.0), 0) == (at_once.rtts_ms, at_once.lost)
    assert ((5.0, None, 7.0), 1) == (later.rtts_ms, later.lost)


def test_an_error_of_this_host_itself_has_no_rtt():
    tracing = Schedule(TracePolicy(interval_ns=0, queries=1, max_ttl=1))
    (probe,) = tracing.due(0)
    tracing.take([replace(reply_of(probe.number, 0, 3000 * MS, "192.0.2.1", (3, 1)), kind="no-neighbour")])
    assert (None,) == hops_of(tracing.paths, TO, 3001 * MS)[0].rtts_ms
