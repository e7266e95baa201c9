"""One reporter and a host's open ports: what is probed next, and what an error says of those that drew none."""

from __future__ import annotations

from array import array

import pytest

from udpprobe.core.limiter import MS, SECOND, Limiter
from udpprobe.scanning.host import Host
from udpprobe.scanning.rate_limit_check import (
    BURST,
    FEW_UNDECIDED,
    FIRST_BATCH,
    RateLimitCheck,
    SourceLimit,
    since_closed,
)
from udpprobe.scanning.unanswered import REPLIED, SILENT, UNDECIDED, Ballot, States

KNOWN = 0
START_NS = 100 * SECOND


def ballot_of(state):
    """Of the only reporter."""

    def agree(task):
        ballot.passed.discard(task)
        state[task] = SILENT

    ballot = Ballot(state, 0, agree)
    return ballot


def host(tasks=50, sources=1):
    """All open but the known one."""
    state = States(array("I", [0] * tasks))
    state[KNOWN] = REPLIED
    return RateLimitCheck(range(tasks), ballot_of(state), {KNOWN: 0}, [START_NS] * sources, 3, tasks), state


def limited(**fields):
    """A host whose known port missed, and when that is known."""
    made, state = host(**fields)
    made.due(START_NS)
    now_ns = START_NS + made.wait_ns
    made.due(now_ns)
    return made, state, now_ns


def test_some_ports_are_probed_together_followed_by_a_closed_one():
    made, _ = host()
    due = made.due(START_NS)
    assert FIRST_BATCH + 1 == len(due)
    assert (KNOWN, 0) == due[-1]
    assert KNOWN not in [task for task, _ in due[:-1]]


def test_if_the_closed_port_is_refused_more_are_probed_together():
    made, _ = host()
    made.due(START_NS)
    made.hit(KNOWN, 0, 0, START_NS, START_NS + MS)
    assert [] == made.due(START_NS + made.wait_ns)  # the verdict of the first
    assert 49 - FIRST_BATCH + 1 == len(made.due(made.wake_ns()))
    assert not made.limited


def test_a_closed_port_that_misses_shows_a_limit():
    made, _, _ = limited()
    assert made.limited


def test_a_silent_port_that_is_now_refused_shows_a_limit():
    made, state = host()
    made.due(START_NS)
    state[7] = REPLIED
    made.hit(7, 0, 0, START_NS, START_NS + MS)
    assert made.limited


def test_with_a_limit_each_port_is_tried_alone():
    (made, _, now_ns), tried = limited(), []
    for _ in range(10):
        now_ns = max(now_ns, made.wake_ns())
        tried.append(made.due(now_ns))
    assert [1] * 10 == [len(due) for due in tried]
    assert 10 == len({due[0] for due in tried})


def test_few_remaining_ports_are_probed_together_before_the_limit_is_learned():
    made, state, now_ns = limited()
    for task in range(5, len(state)):
        state[task] = REPLIED
    assert [1, 2, 3, 4, KNOWN] == [task for task, _ in made.due(max(now_ns, made.wake_ns()))]


def test_each_source_address_takes_turns_separately():
    made, _, now_ns = limited(sources=3)
    assert [0, 1, 2] == [source for _, source in made.due(now_ns)]


def test_a_port_whose_error_may_still_come_is_not_probed_again():
    made, _, now_ns = limited(tasks=FEW_UNDECIDED + 2)
    made.wait_ns = 10 * SECOND
    probed = []
    while now_ns < START_NS + SECOND:
        now_ns = max(now_ns, made.wake_ns())
        probed += [task for task, _ in made.due(now_ns)]
    assert sorted(set(probed)) == sorted(probed)
    assert FEW_UNDECIDED + 2 == len(probed)
    assert START_NS + 10 * SECOND <= made.wake_ns()


def test_a_queued_port_is_not_due_again():
    made, _ = host()
    made.hold(START_NS)
    assert (START_NS + made.wait_ns, []) == (made.wake_ns(), made.due(START_NS))


def test_a_host_is_finished_when_nothing_is_undecided():
    made, state = host()
    assert not made.finished
    for task in range(1, len(state)):
        state[task] = SILENT
    assert made.finished


@pytest.mark.parametrize(("closed", "expected"), [((), [1, 2, 3]), ((2,), [3]), ((1, 2), [3]), ((3,), [])])
def test_misses_before_that_of_a_closed_port_prove_nothing(closed, expected):
    assert expected == [task for task, _ in since_closed([(1, 10), (2, 20), (3, 30)], closed)]


def test_the_history_is_split_at_the_last_probe_of_a_task():
    limit = SourceLimit(Limiter(0), tried=[(1, 10), (2, 20), (1, 30), (3, 40)])
    assert limit.split(9, 50) is None
    assert ([(1, 10), (2, 20)], [(3, 40)]) == (limit.split(1, 35), limit.tried)


def test_a_late_error_is_about_the_previous_probe():
    limit = SourceLimit(Limiter(0), tried=[(2, 5), (1, 10), (2, 20), (1, 30)])
    assert ([(2, 5)], [(2, 20), (1, 30)]) == (limit.split(1, 29), limit.tried)


def test_without_a_certain_token_there_is_no_miss():
    limit = SourceLimit(Limiter(0), tried=[(1, SECOND)])
    assert set() == limit.missed(3 * SECOND, MS, ())
    limit.limiter.interval_ns = SECOND
    assert {1} == limit.missed(3 * SECOND, MS, ())
    assert {1: SECOND} == limit.flying(SECOND, MS)


def test_misses_while_this_host_lost_packets_are_retried():
    made, _ = host()
    first = made.due(START_NS)
    made.distrust()
    assert first[:-1] == made.due(START_NS + made.wait_ns)[:FIRST_BATCH]
    assert not made.limited


# ---- several reporters


def test_a_known_port_is_probed_again_for_every_kind_of_error():
    state = States(array("I", [0] * 50))
    made = RateLimitCheck(range(50), ballot_of(state), {3: 1, 4: 1, 5: 2}, [START_NS], 3, 50)
    assert [(3, 0), (5, 0)] == made.due(START_NS)[-2:]


def test_at_a_low_rate_few_ports_are_probed_together():
    state = States(array("I", [0] * 50))
    made = RateLimitCheck(range(50), ballot_of(state), {KNOWN: 0}, [START_NS], 3, 2)
    assert 3 == len(made.due(START_NS))


def test_few_remaining_ports_are_probed_several_times():
    made, _ = host(tasks=3)
    due = []
    for _ in range(6):
        now_ns = made.wake_ns()
        due.append(made.due(now_ns))
        made.hit(KNOWN, 0, 0, now_ns, now_ns + MS)
    assert [3, 3, 2 * BURST + 1] == [len(each) for each in due if each]


def two_reporters():
    """Ports 0 to 9; the first is refused by the host, the last by a router; the others said nothing."""
    state = States(array("I", [0] * 10))
    state[0] = state[9] = REPLIED
    return Host(range(10), state, {0: {0: 1}, 77: {9: 1}}, [START_NS], 3, 10), state


def rounds(made, state, refused):
    """Let so many rounds pass in which only these known ports are refused."""
    now_ns = START_NS
    for _ in range(20):
        now_ns = max(now_ns, made.wake_ns())
        for task, source in made.due(now_ns):
            if task in refused:
                made.hit(task, (0 if task == 0 else 77, 1), source, now_ns, now_ns + MS)
        now_ns += MS
    return {state[task] for task in range(1, 9)}


def test_a_port_is_silent_if_known_ports_of_all_reporters_are_refused_and_it_is_not():
    assert {SILENT} == rounds(*two_reporters(), {0, 9})


@pytest.mark.parametrize("refused", [{0}, {9}])
def test_errors_of_one_reporter_say_nothing_about_another(refused):
    assert {UNDECIDED} == rounds(*two_reporters(), refused)


def test_a_late_reporter_has_every_silent_port_probed_again():
    made, state = two_reporters()
    assert {SILENT} == rounds(made, state, {0, 9})
    state[3] = REPLIED
    made.hit(3, (99, 1), 0, START_NS, START_NS)
    assert {UNDECIDED} == {state[task] for task in (1, 2, 4, 5, 6, 7, 8)}
    assert not made.finished
