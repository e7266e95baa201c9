"""Loops in traces: of any period, entered anywhere, with routers that never speak; and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from trace_world import REFUSED, SILENCE, Way, traced

from udpprobe.core.loops import find_round

LIMIT = 30


def rows_of(path, first=1):
    """By TTL; `path` has a word a hop, `-` for silence, `A/B` where both reported."""
    return {ttl: frozenset(word.split("/")) for ttl, word in enumerate(path.split(), first) if word != "-"}


def distances_of(path):
    """By TTL, that of the report: who comes again is as far away as before, and so are `B`, `b` and `B/b`."""
    routers = [word.partition("/")[0].lower() for word in path.split()]
    return {ttl: frozenset({255 - routers.index(router)}) for ttl, router in enumerate(routers, 1)}


def found(path, limit=None, back=None):
    rows = rows_of(path)
    limit = len(path.split()) if limit is None else limit
    said = find_round(rows, limit, back or distances_of(path))
    return said and (said.period, said.first_ttl, said.routers)


@given(st.integers(1, 8), st.integers(0, 9), st.data())
def test_a_loop_is_found_with_its_period_and_entry(period, before, data):
    routers = [f"loop{n}" for n in range(period)]
    path = [f"way{n}" for n in range(before)] + [routers[n % period] for n in range(LIMIT - before)]
    assert (period, before + 1, tuple(routers)) == found(" ".join(path), LIMIT)
    silent = data.draw(st.sets(st.integers(1, period), max_size=period - 1)) if period > 1 else set()
    quiet = ["-" if hop >= before and (hop - before) % period in silent else each for hop, each in enumerate(path)]
    told = tuple(None if n in silent else routers[n] for n in range(period))
    assert (period, before + 1, told) == found(" ".join(quiet), LIMIT)


@given(st.integers(2, 6), st.integers(0, 5), st.sets(st.integers(1, LIMIT), max_size=4))
def test_a_few_lost_replies_do_not_hide_a_loop(period, before, lost):
    path = [f"way{n}" if n < before else f"loop{(n - before) % period}" for n in range(LIMIT)]
    said = found(" ".join("-" if ttl in lost else each for ttl, each in enumerate(path, 1)), LIMIT)
    assert period == said[0]


@given(st.lists(st.sampled_from([*"ABCDEFGH", "-"]), min_size=1, max_size=30, unique=True))
def test_without_a_repeated_router_there_is_no_loop(path):
    assert None is found(" ".join(path))


@pytest.mark.parametrize(
    "path",
    [
        "A B B C D E",  # a router answers for its neighbour, or forwards what has no TTL left
        "A B B C C D",
        "A B B B C D E F",
        "A B A C D E",  # balancing by packet
        "A B C D C D E F",  # a flap, after which it goes on
        "A B C D C D - - - - - - - - - - - - - -",  # unequal ways, then a filter
        "A A/B B/C C/D D/E E/F F/G",  # by packet, over ways whose lengths differ by one
        "A B/X C/Y B/Z C/W D E",
        "A B A",
        "A B B",
        "A",
        "",
    ],
)
def test_an_address_seen_twice_is_not_yet_a_loop(path):
    assert None is found(path)


@pytest.mark.parametrize(
    ("path", "period", "first", "routers"),
    [
        ("A B C B C B", 2, 2, ("B", "C")),
        ("A B C B C", 2, 2, ("B", "C")),  # only two came again, but at the limit
        ("A - C - C - C", 2, 3, ("C", None)),
        ("A B C B C B C - - - - - - -", 2, 2, ("B", "C")),  # then their limit on errors
        ("A A B A A B A A B", 3, 1, ("A", "A", "B")),
        ("X A A A A A A", 1, 2, ("A",)),
        ("A B/b C b C B C", 2, 2, ("B", "C")),  # a router with two addresses
        ("A B C B C B C B X B C B C", 2, 2, ("B", "C")),
    ],
)
def test_a_repetition_up_to_the_end_is_a_loop(path, period, first, routers):
    assert (period, first, routers) == found(path)


def test_less_evidence_is_enough_only_at_the_limit():
    assert (2, 1, ("A", "B")) == found("A B A B", 4)
    assert None is found("A B A B", 8)


def test_a_router_with_two_addresses_is_recognised_by_its_distance():
    path = "X A1 B A2 B A2 B A2"
    far = {1: 64, 2: 63, 3: 62, 4: 63, 5: 62, 6: 63, 7: 62, 8: 63}
    back = {ttl: frozenset({value}) for ttl, value in far.items()}
    assert (2, 2, ("A1", "B")) == found(path, back=back)
    assert (2, 3, ("B", "A2")) == found(path, back=back | {2: frozenset({61})})
    assert (2, 2, ("B", "A")) == found(
        "X B A B A B A", back={ttl: frozenset({60}) for ttl in range(1, 8)} | {1: frozenset({64})}
    )


@pytest.mark.parametrize(
    ("path", "certain", "end"),
    [("A B C B C B C", True, 3), ("A B C B C B", False, 3), ("A A A A A A", True, 1), ("A B A B A B", True, 2)],
)
def test_a_loop_is_certain_after_three_rounds(path, certain, end):
    rows = rows_of(path)
    said = find_round(rows, len(rows), {ttl: frozenset({ttl}) for ttl in rows})
    assert (certain, end) == (said.is_certain, said.end_ttl)


# ---- what looks like a loop behind a NAT, and where a loop is entered although replies are missing


NAT = "203.0.113.50"
FARTHER = {ttl: frozenset({255 - ttl}) for ttl in range(1, 31)}


@pytest.mark.parametrize("hidden", [1, 5, 6, 9])
@pytest.mark.parametrize(("last", "verdict"), [(REFUSED, "refused"), (SILENCE, "silent")])
def test_routers_hidden_by_a_nat_are_not_a_loop(hidden, last, verdict):
    said = traced(Way(["10.0.0.1", *[NAT] * hidden], last), max_ttl=14)
    assert (verdict, None) == (said.end.verdict, said.loop)
    assert ["10.0.0.1", *[NAT] * hidden] == said.routers()[: hidden + 1]


def test_two_nats_in_turn_are_not_a_loop():
    assert None is found("A B A B A B A B A B", back=FARTHER)


def test_one_repeated_router_is_a_loop_of_1_or_none():
    near = {ttl: frozenset({250}) for ttl in range(1, 7)}
    assert None is find_round(rows_of("A B B B B B"), 30, near)
    assert (1, 2, ("B",)) == found("A B B B B B B", 30)


def test_a_loop_starts_at_its_entry_even_if_that_falls_silent():
    back = {ttl: frozenset({value}) for ttl, value in {1: 64, 2: 63, 3: 62, 5: 62, 6: 63, 7: 62, 9: 62}.items()}
    assert (2, 2, ("B1", "C")) == found("A B1 C - C B2 C - C", back=back)
    assert (2, 3, ("C", "B2")) == found("A B1 C - C B2 C - C", back=back | {2: frozenset({61})})
