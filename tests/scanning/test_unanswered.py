"""Ports that missed: they did so often enough once a closed port would hardly have missed as often."""

from __future__ import annotations

from array import array

import pytest

from udpprobe.core.limiter import SECOND
from udpprobe.scanning.unanswered import (
    BETWEEN_TRIES_NS,
    MOST_TRIES,
    REPLIED,
    SILENT,
    UNDECIDED,
    Ballot,
    States,
    Unanswered,
)

CLOSED, ONE, OTHER = range(3)
NOW_NS = 5 * SECOND


def unanswered(gaps=0, tries=3):
    """After so many gaps in which none missed."""
    state = States(array("I", [0] * 1000))
    made = Unanswered(Ballot(state, 0, lambda _: None), tries)
    for _ in range(gaps):
        made.refused(CLOSED, NOW_NS)
    return made, state


def misses_until_enough(made, task=ONE):
    for count in range(1, MOST_TRIES + 2):
        made.miss(task, NOW_NS)
        if task in made.enough:
            return count
        made.refused(CLOSED, NOW_NS)
    return None


@pytest.mark.parametrize(("gaps", "expected"), [(0, 4), (10, 2), (100, 1), (5000, 1)])
def test_with_more_errors_fewer_misses_are_enough(gaps, expected):
    assert expected == misses_until_enough(unanswered(gaps)[0])


@pytest.mark.parametrize(("tries", "expected"), [(1, 1), (2, 1), (3, 1), (6, 4)])
def test_a_port_is_tried_as_often_as_configured_including_the_first_round(tries, expected):
    assert expected == misses_until_enough(unanswered(100, tries)[0])


def test_several_misses_between_two_errors_count_once():
    made, _ = unanswered(10)
    made.miss(ONE, NOW_NS)
    made.miss(ONE, NOW_NS)
    assert ONE not in made.enough


def test_a_gap_in_which_a_closed_port_missed_proves_nothing():
    made, _state = unanswered(10)
    made.miss(ONE, NOW_NS)
    made.miss(OTHER, NOW_NS)
    assert ONE in made
    made.refused(OTHER, NOW_NS)
    assert ONE not in made
    made.miss(ONE, NOW_NS)
    assert ONE not in made.enough


def test_if_closed_ports_often_miss_more_misses_are_needed():
    made, _state = unanswered(10)
    for _ in range(5):
        made.miss(OTHER, NOW_NS)
        made.refused(OTHER, NOW_NS)
    assert 5 <= misses_until_enough(made)


def test_unanswered_ports_are_retried_one_after_the_other():
    made, _ = unanswered(10)
    made.miss(ONE, NOW_NS)
    made.miss(OTHER, NOW_NS)
    later_ns = NOW_NS + BETWEEN_TRIES_NS
    assert [None, ONE, OTHER, None] == [
        made.next(now_ns, set()) for now_ns in (later_ns - 1, later_ns, later_ns, later_ns)
    ]


def test_a_port_tried_in_this_gap_is_not_retried():
    made, _ = unanswered(10)
    made.miss(ONE, NOW_NS)
    assert made.next(NOW_NS + BETWEEN_TRIES_NS, {ONE}) is None


def test_a_decided_port_is_not_retried():
    made, state = unanswered(10)
    made.miss(ONE, NOW_NS)
    assert NOW_NS + BETWEEN_TRIES_NS == made.turn_ns(7)
    state[ONE] = REPLIED
    assert (False, 7, None) == (ONE in made, made.turn_ns(7), made.next(1 << 60, set()))


def test_undecided_tasks_are_counted_by_host_without_control_ports():
    state = States(array("I", [0, 1, 0, 0, 1]), 3)
    state[0], state[3], state[0] = REPLIED, REPLIED, SILENT
    assert (2, [1, 1]) == (state.undecided, list(state.undecided_of))
    state[0] = UNDECIDED
    assert (3, [2, 1], [0, 2]) == (state.undecided, list(state.undecided_of), state.undecided_among([0, 2, 3]))
