"""What looks like a loop behind a NAT, and where a loop is entered although replies are missing."""

from __future__ import annotations

import pytest
from test_rounds import found, rows_of
from trace_world import REFUSED, SILENCE, Way, traced

from udpprobe.core.loops import find_round

NAT = "203.0.113.50"
FARTHER = {ttl: frozenset({255 - ttl}) for ttl in range(1, 31)}


@pytest.mark.parametrize("hidden", [1, 5, 6, 9])
@pytest.mark.parametrize(("last", "verdict"), [(REFUSED, "refused"), (SILENCE, "silent")])
def test_routers_in_whose_names_a_nat_speaks_are_no_loop(hidden, last, verdict):
    said = traced(Way(["10.0.0.1", *[NAT] * hidden], last), max_ttl=14)
    assert (verdict, None) == (said.end.verdict, said.loop)
    assert ["10.0.0.1", *[NAT] * hidden] == said.routers()[: hidden + 1]


def test_two_nats_in_turn_are_no_loop_either():
    assert None is found("A B A B A B A B A B", back=FARTHER)


def test_one_router_again_and_again_is_a_loop_of_1_or_none():
    near = {ttl: frozenset({250}) for ttl in range(1, 7)}
    assert None is find_round(rows_of("A B B B B B"), 30, near)
    assert (1, 2, ("B",)) == found("A B B B B B B", 30)


def test_a_loop_is_named_from_its_entry_although_that_is_silent_the_next_time_round():
    back = {ttl: frozenset({value}) for ttl, value in {1: 64, 2: 63, 3: 62, 5: 62, 6: 63, 7: 62, 9: 62}.items()}
    assert (2, 2, ("B1", "C")) == found("A B1 C - C B2 C - C", back=back)
    assert (2, 3, ("C", "B2")) == found("A B1 C - C B2 C - C", back=back | {2: frozenset({61})})
