"""Limits on errors are told from losses: a limit answers the first of a burst and no other, after each pause anew."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from trace_world import SILENCE, TO, Way, traced

from udpprobe.tracing.path import UNLIKELY, UNUSUAL, chance_of_loss

R = [f"10.0.0.{n}" for n in range(1, 31)]


def probes(text):
    return [each == "+" for each in text]


@pytest.mark.parametrize(
    ("first", "bursts", "beyond"),
    [
        ("+--", ["+-----"], 3),
        ("---", ["+-----"], 9),
        ("+--", ["+-----"] * 3, 0),
        ("+--", ["------", "+-----"], 3),
    ],
)
def test_a_burst_that_runs_dry_each_time_is_a_limit(first, bursts, beyond):
    assert UNLIKELY > chance_of_loss(probes(first), list(map(probes, bursts)), beyond)


@pytest.mark.parametrize(
    ("first", "bursts", "beyond"),
    [
        ("+--", ["++++++"], 9),
        ("---", ["+"], 9),
        ("+--", ["+-----"], 0),
    ],
)
def test_an_outage_or_too_few_probes_may_be_a_limit(first, bursts, beyond):
    assert UNLIKELY <= chance_of_loss(probes(first), list(map(probes, bursts)), beyond) < UNUSUAL


@pytest.mark.parametrize(
    ("first", "bursts", "beyond"),
    [
        ("++-", ["+"], 9),
        ("++-", ["++++++"], 9),
        ("-++", ["++++++"], 20),
        ("+-+", ["++++++"], 9),
    ],
)
def test_one_or_two_losses_are_not_a_limit(first, bursts, beyond):
    assert UNUSUAL <= chance_of_loss(probes(first), list(map(probes, bursts)), beyond) < 1


@pytest.mark.parametrize(
    ("first", "bursts"),
    [
        ("+--", []),
        ("+--", ["------"]),
        ("+++", ["+-----"]),
        ("+--", ["+---+-"]),
        ("+--", ["+++++-"]),
    ],
)
def test_losses_that_no_limit_explains_are_loss(first, bursts):
    assert 1 == chance_of_loss(probes(first), list(map(probes, bursts)), 1000)


@dataclass
class Lossy(Way):
    """Probes to a hop, or also to all behind it, or their replies, get lost by chance."""

    at: int = 2
    also_behind: bool = True
    rate: float = 0.3
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def reply(self, probe, now_ns):
        said = super().reply(probe, now_ns)
        is_there = probe.ttl == self.at or (self.also_behind and probe.ttl > self.at)
        return None if is_there and self.dice.random() < self.rate else said


def limits_of(trace):
    return [note for hop in trace.hops for each in hop.reporters for note in each.notes if "limits" in note]


@pytest.mark.parametrize("also_behind", [True, False])
@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_a_lossy_hop_is_not_reported_as_limited(rate, also_behind):
    ways = [Lossy(R[:3], at=2, also_behind=also_behind, rate=rate, dice=random.Random(seed)) for seed in range(15)]
    traces = [traced(way) for way in ways]
    assert not [note for trace in traces for note in limits_of(trace) if not note.startswith("perhaps")]
    assert sum(hop.lost for trace in traces for hop in trace.hops[1:]) > 15 * rate


@pytest.mark.parametrize("hops", [2, 5])
@pytest.mark.parametrize("limit", [(1, 1), (2, 2), (1, 2)])
@pytest.mark.parametrize("tokens", [0, None])
def test_a_limit_is_always_recognised_and_not_counted_as_loss(hops, limit, tokens):
    for place in range(hops):
        way = Way(R[:hops], limits={R[place]: limit})
        if tokens is not None:
            way.buckets[R[place]] = tokens, 0
        trace = traced(way)
        assert [0] * (hops + 1) == [hop.lost for hop in trace.hops]
        assert ["limits"] == [note.split()[0] for note in limits_of(trace)]
        assert trace.took_ms < 1500


def test_a_limit_at_the_last_hop_needs_more_bursts():
    trace = traced(Way(R[:3], last=SILENCE, limits={R[2]: (1, 1)}))
    assert (0, [True]) == (trace.hops[2].lost, [note.startswith("limits") for note in limits_of(trace)])
    assert trace.took_ms < 5600


def test_a_path_of_limited_routers_is_completed():
    trace = traced(Way(R[:14], limits=dict.fromkeys(R, (1, 1))))
    assert (0, 14) == (sum(hop.lost for hop in trace.hops), len(limits_of(trace)))


@pytest.mark.parametrize("limit", [(2, 0.5), (1, 0.4)])
def test_a_limit_slower_than_the_pause_is_waited_for(limit):
    trace = traced(Way(R[:2], limits={R[1]: limit}))
    assert (0, [True]) == (trace.hops[1].lost, [note.startswith("limits") for note in limits_of(trace)])
    assert 3300 < trace.took_ms < 3800


def test_a_limit_at_the_end_of_the_path_is_recognised():
    trace = traced(Way(R[:2], limits={TO: (1, 1)}))
    assert 0 == trace.hops[2].lost


@pytest.mark.parametrize("period", [1, 2, 3])
def test_routers_of_a_loop_with_linux_limits_are_recognised(period):
    trace = traced(Way(R[:4], period=period, limits=dict.fromkeys(R, (6, 1))))
    assert (period, 5 - period) == (trace.loop.period, trace.loop.first_ttl)
    assert 0 == sum(hop.lost for hop in trace.hops[:4])
    assert trace.took_ms < 2000


def test_losses_at_a_later_hop_are_no_evidence_of_a_limit():
    way = Lossy(R[:4], at=4, also_behind=False, rate=0.6, dice=random.Random(3), limits={R[1]: (1, 1)})
    trace = traced(way)
    assert (0, True) == (trace.hops[1].lost, trace.hops[3].lost > 0)
