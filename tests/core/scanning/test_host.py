"""One host's open ports: what is probed next, and what a refusal says of those that were not."""

from __future__ import annotations

import pytest

from udpprobe.core.limiter import MS, SECOND, Limiter
from udpprobe.core.scanning.host import FEW_OPEN, FIRST_PORTION, Host
from udpprobe.core.scanning.lane import Lane, since_closed
from udpprobe.core.scanning.suspects import SETTLED, SILENT, States

KNOWN = 0
START_NS = 100 * SECOND


def host(tasks=50, sources=1):
    """All open but the known one."""
    state = States([0] * tasks)
    state[KNOWN] = SETTLED
    return Host(range(tasks), state, KNOWN, [START_NS] * sources, 3), state


def limited(**fields):
    """A host whose known port missed, and when that is known."""
    made, state = host(**fields)
    made.due(START_NS)
    now_ns = START_NS + made.wait_ns
    made.due(now_ns)
    return made, state, now_ns


def test_some_ports_are_asked_together_and_a_closed_one_behind_them():
    made, _ = host()
    due = made.due(START_NS)
    assert FIRST_PORTION + 1 == len(due)
    assert (KNOWN, 0) == due[-1]
    assert KNOWN not in [task for task, _ in due[:-1]]


def test_where_the_closed_one_is_refused_more_are_asked_together():
    made, _ = host()
    made.due(START_NS)
    made.hit(KNOWN, 0, START_NS, START_NS + MS)
    assert [] == made.due(START_NS + made.wait_ns)      # the verdict of the first
    assert 49 - FIRST_PORTION + 1 == len(made.due(made.wake_ns()))
    assert not made.limited


def test_a_closed_port_that_misses_shows_a_limit():
    made, _, _ = limited()
    assert made.limited


def test_a_port_that_was_silent_and_is_refused_now_shows_a_limit():
    made, state = host()
    made.due(START_NS)
    state[7] = SETTLED
    made.hit(7, 0, START_NS, START_NS + MS)
    assert made.limited


def test_with_a_limit_each_port_is_tried_alone():
    (made, _, now_ns), tried = limited(), []
    for _ in range(10):
        now_ns = max(now_ns, made.wake_ns())
        tried.append(made.due(now_ns))
    assert [1] * 10 == [len(due) for due in tried]
    assert 10 == len({due[0] for due in tried})


def test_where_few_are_left_before_the_limit_is_learned_they_are_asked_together():
    made, state, now_ns = limited()
    for task in range(5, len(state)):
        state[task] = SETTLED
    assert [1, 2, 3, 4, KNOWN] == [task for task, _ in made.due(max(now_ns, made.wake_ns()))]


def test_each_source_address_has_a_turn_of_its_own():
    made, _, now_ns = limited(sources=3)
    assert [0, 1, 2] == [source for _, source in made.due(now_ns)]


def test_a_port_whose_error_may_still_come_is_not_probed_again():
    made, _, now_ns = limited(tasks=FEW_OPEN + 2)
    made.wait_ns = 10 * SECOND
    probed = []
    while now_ns < START_NS + SECOND:
        now_ns = max(now_ns, made.wake_ns())
        probed += [task for task, _ in made.due(now_ns)]
    assert sorted(set(probed)) == sorted(probed)
    assert FEW_OPEN + 2 == len(probed)
    assert START_NS + 10 * SECOND <= made.wake_ns()


def test_what_waits_to_be_sent_is_not_due_again():
    made, _ = host()
    made.hold(START_NS)
    assert (START_NS + made.wait_ns, []) == (made.wake_ns(), made.due(START_NS))


def test_a_host_is_finished_when_nothing_is_open():
    made, state = host()
    assert not made.finished
    for task in range(1, len(state)):
        state[task] = SILENT
    assert made.finished


@pytest.mark.parametrize(("closed", "expected"), [((), [1, 2, 3]), ((2,), [3]), ((1, 2), [3]), ((3,), [])])
def test_what_missed_before_a_closed_port_did_says_nothing(closed, expected):
    assert expected == [task for task, _ in since_closed([(1, 10), (2, 20), (3, 30)], closed)]


def test_a_lane_is_split_at_the_last_probe_of_a_task():
    lane = Lane(Limiter(0), tried=[(1, 10), (2, 20), (1, 30), (3, 40)])
    assert lane.split(9) is None
    assert ([(1, 10), (2, 20)], [(3, 40)]) == (lane.split(1), lane.tried)


def test_nothing_has_missed_where_no_token_was_sure():
    lane = Lane(Limiter(0), tried=[(1, SECOND)])
    assert set() == lane.missed(3 * SECOND, MS, ())
    lane.limiter.interval_ns = SECOND
    assert {1} == lane.missed(3 * SECOND, MS, ())
    assert {1: SECOND} == lane.flying(SECOND, MS)


def test_what_missed_while_this_host_lost_packets_is_tried_anew():
    made, _ = host()
    first = made.due(START_NS)
    made.distrust()
    assert first[:-1] == made.due(START_NS + made.wait_ns)[:FIRST_PORTION]
    assert not made.limited
