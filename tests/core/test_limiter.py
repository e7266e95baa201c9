"""What is learned of a limit from when errors come: an interval that surely suffices, and not much more."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpprobe.core.limiter import (
    FIRST_PAUSE_NS,
    LAST_PAUSE_NS,
    LEAST_STEP_NS,
    MOST_FAR_OFF,
    MS,
    MUTE_NS,
    SECOND,
    Limiter,
)

WAIT_NS = 20 * MS


class Bucket:
    """One token at most, since when there was none."""

    def __init__(self, interval_ns):
        self.interval_ns, self.empty_ns = interval_ns, 0

    def allows(self, now_ns):
        there = now_ns - self.empty_ns >= self.interval_ns
        if there:
            self.empty_ns = now_ns
        return there


def poll(limiter, bucket, errors, now_ns=0):
    """Probe whenever the limiter says, until so many errors came; when, and how many probes it took."""
    missed, probes, times = [], 0, []
    while len(times) < errors:
        probes += 1
        if bucket.allows(now_ns):
            times.append(now_ns)
            now_ns, missed = limiter.hit(now_ns, missed), []
        else:
            missed.append(now_ns)
            now_ns = limiter.next_ns(now_ns, WAIT_NS)
    return times, probes


@pytest.mark.parametrize("interval_ns", [40 * MS, 100 * MS, SECOND, 3 * SECOND])
def test_an_interval_is_learned_to_the_percent(interval_ns):
    limiter = Limiter(0)
    poll(limiter, Bucket(interval_ns), 12)
    assert interval_ns <= limiter.interval_ns <= 1.03 * interval_ns + LEAST_STEP_NS


@given(st.integers(20 * MS, 3 * SECOND), st.integers(3, 30))
def test_a_learned_interval_is_never_shorter_than_the_limit(interval_ns, errors):
    limiter = Limiter(0)
    poll(limiter, Bucket(interval_ns), errors)
    assert limiter.interval_ns is None or interval_ns <= limiter.interval_ns


def test_a_learned_interval_costs_one_probe_an_error():
    limiter, bucket = Limiter(0), Bucket(SECOND)
    times, _ = poll(limiter, bucket, 12)
    later, probes = poll(limiter, bucket, 20, limiter.ready_ns)
    assert 23 >= probes
    assert later[-1] - times[-1] <= 1.02 * 20 * SECOND


def test_before_anything_is_known_steps_grow_with_the_wait():
    limiter = Limiter(0)
    assert LEAST_STEP_NS == limiter.next_ns(0, WAIT_NS)
    assert 1050 * MS == limiter.next_ns(SECOND, WAIT_NS)


def test_if_every_probe_draws_an_error_the_wait_is_the_interval():
    limiter, gap_ns = Limiter(0), 150 * MS
    for number in range(1, MOST_FAR_OFF + 1):
        limiter.hit(number * gap_ns, [])
    assert limiter.interval_ns is None
    limiter.hit((MOST_FAR_OFF + 1) * gap_ns, [])
    assert gap_ns <= limiter.interval_ns <= 1.01 * gap_ns


def learned(interval_ns=SECOND):
    limiter = Limiter(0)
    poll(limiter, Bucket(interval_ns), 12)
    return limiter


def test_a_token_is_certain_after_the_interval():
    limiter = learned()
    assert (False, True) == (limiter.suffices(limiter.ready_ns - 1), limiter.suffices(limiter.ready_ns))
    assert not Limiter(0).suffices(1 << 60)


def slow(limiter, times, *, known_missed):
    for _ in range(times):
        limiter.hit(limiter.hit_ns + int(1.2 * SECOND), [], known_missed=known_missed)


def test_an_interval_exceeded_several_times_in_a_row_is_dropped():
    limiter = learned()
    slow(limiter, MOST_FAR_OFF - 1, known_missed=True)
    assert limiter.interval_ns is not None
    slow(limiter, 1, known_missed=True)
    assert limiter.interval_ns is None


@pytest.mark.parametrize("known_missed", [False, True])
def test_an_interval_exceeded_only_sometimes_is_kept(known_missed):
    limiter = learned()
    for _ in range(MOST_FAR_OFF):
        slow(limiter, MOST_FAR_OFF - 1, known_missed=known_missed)
        limiter.hit(limiter.ready_ns, [])
    assert limiter.interval_ns is not None


def test_late_errors_without_a_missed_closed_port_are_ignored():
    limiter = learned()
    slow(limiter, 3 * MOST_FAR_OFF, known_missed=False)
    assert limiter.interval_ns is not None


def test_a_limiter_is_mute_after_four_seconds_or_four_intervals():
    assert (False, True) == (Limiter(0).is_mute(MUTE_NS), Limiter(0).is_mute(MUTE_NS + 1))
    limiter = learned(3 * SECOND)
    assert not limiter.is_mute(limiter.hit_ns + 12 * SECOND)


def test_the_pause_grows_up_to_a_limit():
    limiter = Limiter(0)
    assert [True, True, True, False] == [limiter.be_patient() for _ in range(4)]
    assert limiter.pause_ns > LAST_PAUSE_NS


def test_a_patient_limiter_keeps_its_pause():
    limiter = Limiter(0)
    limiter.be_patient()
    assert (5 + FIRST_PAUSE_NS, False) == (limiter.next_ns(5, WAIT_NS), limiter.is_mute(1 << 60))
    assert 7 * SECOND + FIRST_PAUSE_NS == limiter.hit(7 * SECOND, [])
    assert (FIRST_PAUSE_NS, limiter.ready_ns) == (limiter.interval_ns, limiter.late_ns)
