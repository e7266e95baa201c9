"""A clock that is set while packets are captured: times go on as if it had not been."""

from __future__ import annotations

import pytest

from udpprobe.linux.clock import SteadyClock

SECOND, MS = 10**9, 10**6
BEGIN_NS = 1_800_000_000 * SECOND


class Clocks:
    """Both of them; `step_ns` is how far the clock of the day was set ahead."""

    def __init__(self):
        self.passed_ns, self.step_ns = 0, 0
        self.steady = SteadyClock(self.realtime_ns, lambda: self.passed_ns)

    def realtime_ns(self):
        return BEGIN_NS + self.passed_ns + self.step_ns

    def heard(self, *ages_ns, wait_ns=100 * MS):
        """Captured times and how far the capture has seen, since the beginning, of packets that came that long ago."""
        self.passed_ns += wait_ns
        now_ns = self.realtime_ns()
        times_ns = [now_ns - age for age in ages_ns]
        now_ns, steadied = self.steady.steadied(now_ns)
        return [steadied(time_ns) - BEGIN_NS for time_ns in times_ns], now_ns - BEGIN_NS


def test_without_a_clock_step_times_are_unchanged():
    now_ns, steadied = Clocks().steady.steadied(BEGIN_NS)
    assert (BEGIN_NS, 7) == (now_ns, steadied(7))


@pytest.mark.parametrize("jitter_ns", [-5 * MS, 5 * MS])
def test_time_between_two_readings_is_not_a_step(jitter_ns):
    clocks = Clocks()
    clocks.step_ns = jitter_ns
    clocks.heard()
    assert 0 == clocks.steady.step_ns


@pytest.mark.parametrize("step_ns", [-3600 * SECOND, -SECOND // 2, SECOND // 2, 3600 * SECOND])
def test_times_go_on_when_the_clock_is_set(step_ns):
    clocks = Clocks()
    assert ([90 * MS], 100 * MS) == clocks.heard(10 * MS)
    clocks.step_ns = step_ns
    assert ([170 * MS, 190 * MS], 200 * MS) == clocks.heard(30 * MS, 10 * MS)
    assert ([290 * MS], 300 * MS) == clocks.heard(10 * MS)
    assert step_ns == clocks.steady.step_ns


@pytest.mark.parametrize(("step_ns", "expected_ns"), [(-SECOND, 200 * MS), (SECOND, 100 * MS)])
def test_times_stamped_before_a_step_lie_between_the_batches(step_ns, expected_ns):
    clocks = Clocks()
    clocks.heard()
    clocks.step_ns = step_ns
    assert ([expected_ns], 200 * MS) == clocks.heard(step_ns + 50 * MS)


def test_a_clock_set_back_does_not_stall_a_scan():
    clocks = Clocks()
    clocks.heard()
    old_ns = clocks.realtime_ns()
    clocks.step_ns, clocks.passed_ns = -10 * SECOND, SECOND
    now_ns, steadied = clocks.steady.steadied(old_ns)
    assert (BEGIN_NS + SECOND, BEGIN_NS + SECOND) == (steadied(old_ns), now_ns)
