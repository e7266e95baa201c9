"""The search in simulated time: right about every path, and sparing with what hosts limit."""

from __future__ import annotations

import errno

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from mtu_world import HOST, LEAST, World, honest, mute, run
from samples import EVENT

from udpprobe.core.limiter import MS, SECOND
from udpprobe.pmtud.outcome import verdict_of
from udpprobe.pmtud.rounds import (
    ARRIVED,
    OTHER,
    SERVICE,
    TOO_BIG,
    UNSENT,
    RetryPolicy,
    RoundTrip,
    SearchRounds,
    result_of,
)
from udpprobe.pmtud.search import Phase, Search
from udpprobe.replies import Reply

LIARS = {
    "honest": honest,
    "mute": mute,
    "zero": lambda _size, _mtu: 0,
    "below the minimum": lambda _size, _mtu: 67,
    "not smaller": lambda size, _mtu: size,
    "huge": lambda _size, _mtu: 65_535,
    "one less": lambda size, _mtu: size - 1,
    "too low": lambda _size, mtu: mtu - 7,
    "too high": lambda _size, mtu: mtu + 1,
}
SLANDERS = {"none": lambda _size: None, "all": lambda _size: 576, "large": lambda size: 1300 if size > 1350 else None}


def passed(world, **how):
    rounds, _ = run(world, **how)
    assert Phase.SEARCH_COMPLETE is rounds.search.state
    return rounds.search.passed


@st.composite
def worlds(draw):
    family, rtt_ms = draw(st.sampled_from([4, 6])), draw(st.sampled_from([0.1, 20, 300]))
    burst, interval_ns = draw(st.sampled_from([(1, SECOND), (6, SECOND), (6, 100 * MS), (50, MS)]))
    return World(
        draw(st.integers({4: 68, 6: 1280}[family], 65_535)),
        LIARS[draw(st.sampled_from(sorted(LIARS)))],
        SLANDERS[draw(st.sampled_from(sorted(SLANDERS)))],
        draw(st.sampled_from(["answers", "forgets", "refuses", "silent", "picky"])),
        burst=burst,
        interval_ns=interval_ns,
        rtt_ns=int(rtt_ms * MS),
        family=family,
        interface=draw(st.sampled_from([1280, 1500, 9000, 65_535])),
    )


@given(world=worlds())
def test_the_mtu_is_exact_on_every_path(world):
    assert min(world.mtu, world.interface) == passed(world)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("says", ["honest", "mute"])
@pytest.mark.parametrize("service", ["answers", "refuses"])
def test_random_loss_is_not_mistaken_for_size(service, says, seed):
    assert 1400 == passed(World(1400, LIARS[says], service=service, loss=0.05, seed=seed))


def test_a_clean_path_takes_one_round_trip():
    world = World(1500)
    rounds, now_ns = run(world)
    assert (1500, 4, world.rtt_ns) == (rounds.search.passed, len(rounds.sent), now_ns)
    assert world.rtt_ns < rounds.timeout_ns < SECOND


@pytest.mark.parametrize(("says", "most_refusals", "most_s"), [("honest", 6, 0.1), ("zero", 6, 0.2), ("mute", 12, 5)])
def test_refusals_are_used_sparingly(says, most_refusals, most_s):
    world = World(1400, LIARS[says])
    _, now_ns = run(world)
    assert world.refusals <= most_refusals
    assert now_ns <= most_s * SECOND


def test_a_limit_is_noticed_and_waited_for():
    rounds, _ = run(World(1387, mute))
    assert 0.8 * SECOND < rounds.refusals.gap_ns < 1.3 * SECOND


def test_an_answer_without_a_token_is_assigned_by_its_port():
    rounds, _ = run(World(1387, mute, service="forgets"), control=False)
    assert 1387 == rounds.search.passed
    assert len({sent.flow for sent in rounds.sent.values()}) > 5


def test_a_service_that_rejects_padding_proves_nothing():
    world = World(1387, service="picky")
    assert 1387 == passed(world)


def test_a_service_that_rejects_padding_proves_its_own_request():
    rounds, _ = run(World(1387, service="picky"), control=False)
    assert LEAST[4][0] == rounds.search.passed


def test_for_a_silent_host_only_router_reports_remain():
    rounds, now_ns = run(World(1400, service="silent", control=False))
    assert (0, {1400}, 4 * SECOND) == (rounds.search.passed, rounds.search.hints, now_ns)
    assert not rounds.search.is_reported(1400)


def test_reported_mtus_are_followed_from_router_to_router():
    links = (1480, 1450, 1400)
    world = World(1400, lambda size, _mtu: next(mtu for mtu in links if mtu < size))
    _, now_ns = run(world)
    assert now_ns < 6 * world.rtt_ns


@pytest.mark.parametrize(("says", "when_ns"), [("honest", 30 * MS), ("mute", 3 * SECOND)])
def test_a_shrinking_path_is_measured_as_it_ends_up(says, when_ns):
    world = World(lambda now_ns: 1500 if now_ns < when_ns else 1400, LIARS[says], interface=9000)
    rounds, _ = run(world)
    assert (1400, {1500}) == (rounds.search.passed, rounds.search.shrunk_from)


def test_a_reply_sent_before_a_change_does_not_undo_it():
    world = World(lambda now_ns: 1500 if now_ns < 3 * SECOND else 1400, mute, interface=9000)
    rounds, now_ns = run(world)
    number = next(number for number, sent in rounds.sent.items() if sent.size == 1500 and sent.arrived)
    rounds.take(reply(number, refusal(), time_ns=now_ns))
    assert 1400 == rounds.search.passed


def test_a_growing_path_is_measured_as_it_ends_up():
    assert 1492 == passed(World(lambda now_ns: 1400 if now_ns < SECOND else 1492, mute))


def test_a_host_that_goes_silent_is_given_up():
    world = World(lambda now_ns: 1400 if now_ns < 500 * MS else 20, mute)
    rounds, now_ns = run(world)
    assert Phase.SEARCHING is rounds.search.state
    assert now_ns < 10 * SECOND


def test_a_constantly_changing_path_is_given_up(monkeypatch):
    monkeypatch.setattr("udpprobe.pmtud.rounds.MOST_PROBES", 50)
    rounds, _ = run(World(1387, mute))
    assert 50 <= len(rounds.sent) < 60


def rounds_of(most=1500, least=(60, 36)):
    return SearchRounds(Search(4, min(least), most), least, RetryPolicy(), 0)


def reply(number, event=None, kind="error", time_ns=20 * MS, **changes):
    return Reply(number, 0, time_ns, kind, event, 60, **changes)


def refusal(**changes):
    return replace(EVENT, **{"verdict": "refused", "reporter": HOST, "mtu": None, **changes})


def test_the_limit_of_this_host_is_found_by_searching():
    rounds, now_ns = rounds_of(), 0
    while not rounds.is_over:
        for outgoing in rounds.due(now_ns):
            if outgoing.probe.size > 1444:
                rounds.unsent(outgoing.probe.number, errno.EMSGSIZE, now_ns)
            else:
                rounds.take(reply(outgoing.probe.number, refusal(), time_ns=now_ns + MS))
        now_ns = max(now_ns + 2 * MS, rounds.wake_ns)
    assert (1444, 1445) == (rounds.search.passed, rounds.search.local_limit)


def test_the_search_stops_at_once_if_this_host_cannot_send():
    rounds = rounds_of()
    for outgoing in rounds.due(0):
        rounds.unsent(outgoing.probe.number, errno.ENETUNREACH, 0)
    assert [] == rounds.due(0)
    assert (True, {errno.ENETUNREACH: 2}) == (rounds.is_over, rounds.send_errnos)


def test_a_sent_control_does_not_replace_an_unsent_service_probe():
    rounds = rounds_of()
    for outgoing in rounds.due(0):
        if outgoing.role == SERVICE:
            rounds.unsent(outgoing.probe.number, errno.EPERM, 0)
        else:
            rounds.take(reply(outgoing.probe.number, refusal()))
    assert [] == rounds.due(0)
    assert (True, "unsent") == (rounds.is_over, verdict_of(rounds))


def test_a_full_queue_is_no_reason_to_stop():
    rounds = rounds_of()
    for outgoing in rounds.due(0):
        rounds.unsent(outgoing.probe.number, errno.ENOBUFS, 0)
    assert not rounds.send_errnos


def test_a_later_error_of_this_host_stops_the_search_too():
    rounds = rounds_of()
    rounds.due(0)
    rounds.take(reply(0, replace(EVENT, verdict="unreachable"), "unsent"))
    assert {errno.EPERM: 1} == rounds.send_errnos


def test_a_missing_neighbour_stops_the_search_too():
    rounds = rounds_of()
    rounds.due(0)
    own = reply(0, replace(EVENT, verdict="unreachable"), "no-neighbour")
    rounds.take(own)
    assert [] == rounds.due(own.time_ns)
    assert (True, "unreachable") == (rounds.is_over, verdict_of(rounds))


def test_other_errors_are_counted_by_verdict():
    rounds = rounds_of()
    rounds.due(0)
    for verdict in ("prohibited", None):
        rounds.take(reply(0, replace(EVENT, verdict=verdict)))
    assert {"prohibited": 1, "unreachable": 1} == rounds.complaints


def test_a_reply_to_an_unsent_probe_is_ignored():
    rounds = rounds_of()
    rounds.take(reply(99, refusal()))
    assert 0 == rounds.search.passed


def test_an_error_about_a_size_that_arrived_is_ignored():
    rounds = rounds_of()
    rounds.due(0)
    rounds.take(reply(0, refusal()))
    rounds.take(reply(0, EVENT))
    assert set() == rounds.search.hints


def test_an_error_about_a_size_smaller_than_one_that_arrived_is_ignored():
    rounds = rounds_of()
    rounds.due(0)
    rounds.take(reply(0, refusal()))
    rounds.take(reply(1, EVENT))
    assert (1500, None) == (rounds.search.passed, rounds.search.smallest_lost)


def test_an_answer_without_a_token_proves_the_smallest_size_sent():
    rounds = rounds_of()
    rounds.due(0)
    rounds.take(reply(0, kind="answer", is_sure=False))
    assert 60 == rounds.search.passed


def test_an_error_of_the_destination_proves_arrival():
    itself, other = {"reporter": HOST}, {"reporter": "192.0.2.1"}
    cases = [
        ("refused", itself, ARRIVED),
        ("prohibited", itself, ARRIVED),
        ("too-big", itself, TOO_BIG),
        ("expired", itself, OTHER),
        ("rejected", other, OTHER),
        ("too-big", other, TOO_BIG),
    ]
    for verdict, reporter, word in cases:
        assert word == result_of(reply(0, replace(EVENT, verdict=verdict, **reporter)))
    assert ARRIVED == result_of(reply(0, kind="answer"))
    assert UNSENT == result_of(reply(0, kind="unsent"))


def test_the_deadline_of_a_reply_depends_on_earlier_replies():
    trip = RoundTrip()
    assert SECOND == trip.timeout_ns
    for _ in range(20):
        trip.take(100 * MS)
    assert 100 * MS <= trip.timeout_ns < 120 * MS
    assert 25 * MS == trip.grace_ns
