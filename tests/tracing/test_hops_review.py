"""Hops in whose name somebody else speaks, and those of a loop that limits its errors."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from trace_world import ANSWER, EXPIRED, REFUSED, TO, Way, reply_of, traced

from udpprobe.tracing.hops import hops_of
from udpprobe.tracing.schedule import Schedule, TracePolicy

TOO_BIG = (3, 4)


def notes_of(who, kind, **about):
    tracing = Schedule(TracePolicy(interval_ns=0, queries=1, max_ttl=1))
    tracing.take([reply_of(probe.number, 0, 1, who, kind, **about) for probe in tracing.due(0)])
    return hops_of(tracing.paths, TO, 0)[0].reporters[0].notes


@pytest.mark.parametrize(
    ("kind", "about", "note"),
    [
        (EXPIRED, {"changed": ("df",)}, "the DF bit was cleared: what is too big is fragmented"),
        (EXPIRED, {}, "a NAT speaks in the destination's name for who is behind it"),
    ],
)
def test_what_is_odd_about_an_error_is_told(kind, about, note):
    assert note in notes_of(TO, kind, **about)


def test_of_an_error_that_was_damaged_nothing_is_said_to_have_changed_before():
    damaged = "bad ICMP checksum: a host would not have listened"
    assert (damaged,) == notes_of("10.0.0.1", EXPIRED, changed=("source",), notes=(damaged,))


class Balanced(Way):
    """Each packet takes a way with this many routers, or with one more."""

    def reply(self, probe, now_ns):
        longer = probe.number % 3 == 0
        self.routers = [f"10.0.{longer:d}.{n}" for n in range(1, 4 + longer)]
        return super().reply(probe, now_ns)


def test_where_ways_are_of_different_lengths_a_quoted_ttl_betrays_no_hidden_hops():
    said = traced(Balanced([]), queries=9)
    assert {5} == {path.end_ttl for path in said.paths}
    assert not [note for each in said.hops[-1].reporters for note in each.notes if "too high" in note]


def test_an_answer_from_another_port_is_told_to_be_one():
    assert () == notes_of(TO, ANSWER)
    assert ("answers from another port than was asked",) == notes_of(TO, ANSWER, changed=("port",))


@dataclass
class Forgetful(Way):
    """All that expire at hop 4 are lost."""

    def reply(self, probe, now_ns):
        said = super().reply(probe, now_ns)
        return None if probe.ttl == 4 else said


def test_a_limit_seen_before_a_loop_is_no_loss_although_the_next_time_round_a_router_is_silent():
    routers = ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    said = traced(Forgetful(routers, period=2, limits={routers[0]: (1, 1)}))
    first = said.hops[0]
    assert (2, 2, 0) == (said.loop.period, said.loop.first_ttl, first.lost)
    assert ("limits its replies: answered 2 of 9",) == first.reporters[0].notes


@pytest.mark.parametrize("period", [0, 2])
def test_where_the_first_ttl_went_too_far_nothing_is_said_of_hidden_hops(period):
    said = traced(Way([f"10.0.0.{n}" for n in range(1, 4)], period=period), first_ttl=6)
    assert set() == {note for hop in said.hops for each in hop.reporters for note in each.notes}


def test_where_the_first_ttl_ran_out_hidden_hops_are_told():
    way = Way([f"10.0.0.{n}" for n in range(1, 4)], hidden=2)
    first = traced(way, first_ttl=2).hops[0].reporters[0]
    assert any("quotes a TTL that is 2 too high" in note for note in first.notes)


@pytest.mark.parametrize(
    ("who", "kind", "surplus"), [("10.0.0.1", TOO_BIG, 0), (TO, REFUSED, 1), ("10.0.0.1", EXPIRED, 1)]
)
def test_a_router_that_cannot_forward_may_say_so_before_it_counts_down(who, kind, surplus):
    assert bool(surplus) == any("too high" in note for note in notes_of(who, kind, quoted_ttl=2))
    assert any(f"that is {surplus + 1} too high" in note for note in notes_of(who, kind, quoted_ttl=3))


def test_hidden_hops_before_the_end_are_told_once():
    end = traced(Way([f"10.0.0.{n}" for n in range(1, 4)], hidden=2)).hops[-1].reporters[0]
    assert 1 == len([note for note in end.notes if "too high" in note])
