"""How soon rounds follow each other, and how thorough they are."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from screens import SECOND, around, hop, path, report

from udpprobe.tracing.schedule import LEAST_S, MOST_S, THOROUGH_S, Pace


def round_of(replies, sent=1, lost=0):
    """Of two hops, the first of which leaves probes that a limit explains unless they are `lost`."""
    first = hop(1, "10.0.1.2")
    first = replace(
        first, sent=sent, lost=lost, reporters=(replace(first.reporters[0], count=replies),) if replies else ()
    )
    return report([first, hop(2, "192.0.2.7", verdict="refused")])


def test_the_default_pace_is_one_round_per_second_and_target():
    assert [LEAST_S, 3 * LEAST_S, MOST_S] == [Pace(None, targets).pause_s for targets in (1, 3, 60)]
    pace = Pace(0.25, 9)
    pace.take(round_of(1, sent=6), 0, thorough=True)
    assert 0.25 == pace.pause_s


def test_a_limit_slows_rounds_down_and_they_recover():
    pace, pauses = Pace(None), []
    for replies in (1, 0, 0, 0, 0, 1, 1, 1, 1, 1):
        pace.take(round_of(replies, sent=6 if not pauses else 1), 0, thorough=not pauses)
        pauses.append(pace.pause_s)
    assert [2, 4, 8, 10, 10, 5, 2.5, 1.25, 1, 1] == pauses


def test_loss_does_not_slow_rounds_down():
    pace = Pace(None)
    pace.take(round_of(3, sent=6, lost=3), 0, thorough=True)
    pace.take(round_of(0, lost=1), 0, thorough=False)
    assert LEAST_S == pace.pause_s


@pytest.mark.parametrize(("is_limited", "lost"), [(True, 0), (False, 1)])
def test_a_known_limit_is_not_loss_in_a_quick_round(is_limited, lost):
    pace = Pace(1)
    pace.take(round_of(2, sent=6, lost=0 if is_limited else 4), 0, thorough=True)
    assert [lost, 0] == [each.lost for each in pace.take(round_of(0, lost=1), 0, thorough=False).hops]


def test_rounds_are_thorough_occasionally_and_always_with_long_pauses():
    pace = Pace(1)
    assert pace.is_thorough(0)
    pace.take(round_of(1), 7 * SECOND, thorough=True)
    assert not pace.is_thorough(7 * SECOND)
    pace.take(round_of(1), 20 * SECOND, thorough=False)
    assert not pace.is_thorough((7 + THOROUGH_S) * SECOND - 1)
    assert pace.is_thorough((7 + THOROUGH_S) * SECOND)
    slow = Pace(60)
    slow.take(round_of(1), 0, thorough=True)
    assert slow.is_thorough(1)


@pytest.mark.parametrize(
    ("made", "ttl"),
    [
        (path(0), 5),
        (around(0), 0),
        (replace(path(0), verdict="silent"), 0),
        (replace(path(0), verdict=None), 0),
        (replace(path(0), hops=()), 0),
    ],
)
def test_the_previous_end_is_the_likely_end(made, ttl):
    pace = Pace(1)
    pace.take(made, 0, thorough=True)
    assert ttl == pace.likely_ttl
