"""Routers that say that nothing gets through: believed soon, and never at their first word."""

from __future__ import annotations

import pytest
from mtu_world import LEAST, World, run

from udpprobe.core.limiter import MS, SECOND

SMALLEST = set(LEAST[4])
SERVICE, CONTROL = range(2)


def always(verdict):
    return lambda _probe, _now_ns: verdict


def first(most, verdict="unreachable"):
    """A limit without end: so many errors, and not one more."""
    left = iter(range(most))
    return lambda _probe, _now_ns: verdict if next(left, None) is not None else "unsaid"


class Limited(World):
    """What is `unsaid` is barred without a word."""

    def reply(self, said, sent_ns, time_ns):
        if not (said.event and said.event.verdict == "unsaid"):
            super().reply(said, sent_ns, time_ns)


class Seeking(World):
    """Nothing is said in the first three seconds, and then all at once."""

    def reply(self, said, sent_ns, time_ns):
        super().reply(said, sent_ns, max(time_ns, 3 * SECOND + 5 * MS))


@pytest.mark.parametrize("control", [True, False])
@pytest.mark.parametrize("verdict", ["unreachable", "prohibited", "rejected", "loop", "malformed"])
def test_what_is_said_again_of_the_smallest_packets_is_believed(verdict, control):
    rounds, now_ns = run(World(1500, objects=always(verdict)), control=control)
    assert ({verdict}, 0, 500 * MS) == (set(rounds.complaints), rounds.search.passed, now_ns)
    assert len(rounds.sent) <= 6


@pytest.mark.parametrize(("limit", "most_ms"), [(2, 1050), (3, 1050), (5, 520)])
def test_who_limits_what_he_says_is_believed_when_nothing_arrives_meanwhile(limit, most_ms):
    _, now_ns = run(Limited(1500, objects=first(limit)))
    assert 500 * MS <= now_ns <= most_ms * MS


def test_one_error_every_half_second_is_enough():
    spoken = []

    def ios(_probe, now_ns):
        if spoken and now_ns < spoken[-1] + 500 * MS:
            return "unsaid"
        spoken.append(now_ns)
        return "unreachable"

    _, now_ns = run(Limited(1500, objects=ios))
    assert now_ns < 600 * MS


def test_errors_that_come_when_a_neighbour_was_sought_for_three_seconds_are_believed_at_once():
    _, now_ns = run(Seeking(1500, objects=always("unreachable")))
    assert 3 * SECOND < now_ns <= 3 * SECOND + 10 * MS


@pytest.mark.parametrize("until_ms", [1, 200])
def test_an_error_of_the_moment_is_not_believed(until_ms):
    world = World(1500, objects=lambda _probe, now_ns: "unreachable" if now_ns < until_ms * MS else None)
    assert 1500 == run(world)[0].search.passed


@pytest.mark.parametrize("rtt_ms", [20, 400])
def test_who_forwards_all_the_same_is_not_believed(rtt_ms):
    world = World(1500, objects=always("unreachable"), is_barred=False, rtt_ns=rtt_ms * MS)
    assert 1500 == run(world)[0].search.passed


@pytest.mark.parametrize("verdict", ["unreachable", "prohibited"])
def test_an_error_about_the_size_is_none_about_the_host(verdict):
    world = World(1500, objects=lambda outgoing, _now_ns: verdict if outgoing.probe.size > 1000 else None)
    assert 1000 == run(world)[0].search.passed


def test_nor_where_the_host_says_nothing_of_small_ones_either():
    world = World(
        1500,
        service="silent",
        control=False,
        objects=lambda outgoing, _now_ns: None if outgoing.probe.size in SMALLEST else "prohibited",
    )
    assert 4 * SECOND == run(world)[1]


@pytest.mark.parametrize("verdict", ["prohibited", "rejected"])
def test_an_error_about_one_port_leaves_the_other(verdict):
    world = World(1400, objects=lambda outgoing, _now_ns: verdict if outgoing.role == SERVICE else None)
    assert 1400 == run(world)[0].search.passed
    world = World(1400, control=False, objects=world.objects)
    assert 4 * SECOND == run(world)[1]


@pytest.mark.parametrize("role", [SERVICE, CONTROL])
def test_an_error_about_the_host_counts_for_both_ports(role):
    world = World(
        1500,
        service="silent",
        control=False,
        objects=lambda outgoing, _now_ns: "unreachable" if outgoing.role == role else None,
    )
    assert 500 * MS == run(world)[1]


@pytest.mark.parametrize("seed", range(20))
def test_losses_delay_the_verdict_and_do_not_change_it(seed):
    rounds, now_ns = run(World(1500, objects=always("unreachable"), loss=0.3, seed=seed))
    assert {"unreachable"} == set(rounds.complaints)
    assert now_ns <= 2 * SECOND


@pytest.mark.parametrize("seed", range(20))
def test_an_error_of_the_moment_on_a_lossy_path_is_not_believed(seed):
    world = World(1400, loss=0.2, seed=seed, objects=lambda _probe, now_ns: "unreachable" if now_ns < MS else None)
    assert 1400 == run(world)[0].search.passed


def test_other_errors_say_nothing_of_what_gets_through():
    assert 4 * SECOND == run(World(1500, objects=always("reassembly")))[1]
