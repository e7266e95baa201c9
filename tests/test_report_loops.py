"""Evidence of a routing loop, the three kinds of it; and what is none."""

from __future__ import annotations

import builders as b
import pytest
from builders import CLIENT, PORT, ROUTER, host, sent
from following import story_of

from udpprobe.core.destinations import period_of
from udpprobe.core.model import Loop
from udpprobe.report import Question

OTHER_ROUTER = {4: "203.0.113.2", 6: "2001:db8:ff::2"}


def traced(ttls, family=4, reporters=ROUTER, n=1, **fields):
    """A datagram for each TTL, and each time an error of the reporter."""
    frames = []
    for ttl in ttls:
        ids = {"id": ttl} if family == 4 else {}
        packet = sent(n, family, ttl=ttl, **ids, **fields)
        quote = b.forwarded(packet, ttl - 1)
        frames += [packet, b.time_exceeded(quote, reporters[family])]
    return frames


# ---- the TTL it left with


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("ttl", "verdict"),
    [
        (64, "loop"),
        (32, "loop"),
        (31, "expired"),
        (1, "expired"),
        (255, "loop"),
    ],
)
def test_a_datagram_that_left_with_a_ttl_of_32_or_more_went_round(family, ttl, verdict):
    assert verdict == story_of(traced([ttl], family)).only.verdict


@pytest.mark.parametrize(("loop_ttl", "verdict"), [(5, "loop"), (6, "expired"), (255, "expired"), (1, "loop")])
def test_that_ttl_can_be_chosen(loop_ttl, verdict):
    story = story_of(traced([5]), question=Question(loop_ttl, True))
    assert [verdict, verdict] == [story.only.verdict, story.events[0].verdict]


def test_the_quoted_ttl_is_no_evidence():
    packet = sent(1, ttl=5)
    assert "expired" == story_of([packet, b.time_exceeded(sent(1, ttl=200), ROUTER[4])]).only.verdict


def test_an_error_without_its_datagram_is_no_evidence():
    (unmatched,) = story_of([b.time_exceeded(sent(1, ttl=64), ROUTER[4])]).unmatched
    assert "expired" == unmatched.finding.verdict


@pytest.mark.parametrize(("family", "kind"), [(4, (11, 1)), (4, (11, 2)), (4, (3, 0)), (6, (3, 1)), (6, (1, 0))])
def test_only_an_expiry_in_transit_is_of_a_loop(family, kind):
    packet = sent(1, family, ttl=64)
    assert "loop" != story_of([packet, b.error(packet, *kind, reporter=ROUTER[family])]).only.verdict


# ---- one reporter at several TTLs


@pytest.mark.parametrize("family", [4, 6])
def test_one_reporter_at_three_ttls_is_a_loop(family):
    story = story_of(traced([5, 7, 9], family))
    assert ("loop", Loop((ROUTER[family],), 2)) == (story.only.verdict, story.only.findings[0].loop)


@pytest.mark.parametrize("ttls", [[5, 7], [5, 6], [5, 6, 7]])
def test_one_reporter_at_two_ttls_or_at_neighbours_is_none(ttls):
    assert {"expired"} == {finding.verdict for finding in story_of(traced(ttls)).only.findings}


@pytest.mark.parametrize("family", [4, 6])
def test_another_reporter_at_each_ttl_is_a_traceroute(family):
    frames = traced([1], family) + traced([2], family, OTHER_ROUTER)
    assert {"expired"} == {finding.verdict for finding in story_of(frames).only.findings}


def test_one_reporter_for_two_destinations_is_none():
    assert {"expired"} == {each.verdict for each in story_of(traced([5]) + traced([7], n=2)).destinations}


def test_one_ttl_again_and_again_is_none():
    frames = [frame for number in range(3) for frame in traced([5], size=20 + 10 * number)]
    assert "expired" == story_of(frames).only.verdict


def test_of_any_number_of_reporters_the_first_32_are_named():
    packet = sent(1, ttl=64)
    story = story_of([packet, *(b.time_exceeded(packet, f"203.0.113.{number}") for number in range(1, 101))])
    assert 100 == len(story.only.findings)
    assert {tuple(f"203.0.113.{number}" for number in range(1, 33))} == {
        finding.loop.routers for finding in story.only.findings
    }


def test_two_routers_in_turn_are_both_named_and_the_period_is_two():
    frames = [frame for ttl in (3, 4, 5, 6) for frame in traced([ttl], 4, (ROUTER, OTHER_ROUTER)[ttl % 2])]
    loop = Loop((OTHER_ROUTER[4], ROUTER[4]), 2)
    assert [loop, loop] == [finding.loop for finding in story_of(frames).only.findings]


def test_backwards_too():
    frames = [frame for ttl in (6, 5, 4, 3) for frame in traced([ttl], 6, (ROUTER, OTHER_ROUTER)[ttl % 2])]
    assert Loop((ROUTER[6], OTHER_ROUTER[6]), 2) == story_of(frames).only.findings[0].loop


def test_a_loop_beside_an_honest_hop_has_its_routers_only():
    frames = traced([1], 4, {4: "203.0.113.9"}) + traced([3, 5, 7], 4)
    verdicts = {finding.reporter: finding.verdict for finding in story_of(frames).only.findings}
    assert {"203.0.113.9": "expired", ROUTER[4]: "loop"} == verdicts
    assert Loop((ROUTER[4],), 2) == story_of(frames).only.findings[0].loop


def test_a_report_by_flow_has_its_loops_by_flow():
    question = Question(32, True, "flow")
    (looping,) = story_of(traced([5, 7, 9]), question=question).destinations
    assert ("loop", CLIENT[4]) == (looping.verdict, looping.source)
    apart = [*traced([5, 7])]
    for port, ttl in ((999, 9), (998, 11)):
        apart.append(b.datagram(CLIENT[4], host(1), port, PORT, bytes(20), ttl=ttl, id=ttl))
        apart.append(b.time_exceeded(apart[-1], ROUTER[4]))
    assert {"loop"} == {each.verdict for each in story_of(apart, question=question).destinations}
    assert {"loop"} == {each.verdict for each in story_of(apart).destinations}


# ---- its period


@pytest.mark.parametrize(
    ("ttl_sets", "period"),
    [
        ([], None),
        ([[64]], None),
        ([[62], [63], [64]], None),
        ([[5, 7]], None),  # once round, or twice
        ([[5, 7, 9]], 2),
        ([[5, 7, 9, 11]], 2),
        ([[3, 6, 9]], 3),
        ([[5, 7], [6, 8]], 2),
        ([[5, 8], [6, 9], [7, 10]], 3),
        ([[5, 9], [6, 10]], None),
        ([[5, 7, 13]], None),
        ([[5, 7, 11], [6, 8]], 2),
        ([[5, 8, 11], [6]], 3),
    ],
)
def test_the_period_is_told_only_by_what_tells_it(ttl_sets, period):
    assert period == period_of(ttl_sets)
