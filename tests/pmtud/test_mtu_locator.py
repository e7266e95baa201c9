"""Where large packets disappear: who still gets them, and who comes behind."""

import pytest
from msgspec.structs import replace
from samples import EVENT

from udpprobe.core.limiter import MS
from udpprobe.pmtud.locator import GRACE_NS, LEAST_WAIT_NS, MOST_HOPS, Locator, LocatorPlan, hops_to
from udpprobe.replies import Reply

DESTINATION = EVENT.quoted.destination
LARGE, SMALL = 1401, 36


def router(ttl):
    return f"192.0.2.{ttl}"


def locate(*, last, away=6, mute=(), hops=10, answers=False):
    """A path of `away` hops to the destination, whose router at hop `last` cannot forward the large ones."""
    made, now_ns = Locator(LocatorPlan(0, LARGE, SMALL, hops, 2, 0, 100, DESTINATION)), 0
    while not made.is_over:
        for outgoing in made.due(now_ns):
            event = said_of(outgoing.probe, last, away, mute)
            kind = "answer" if answers and event and event.reporter == DESTINATION else "error"
            if event:
                made.take(
                    Reply(outgoing.probe.number, now_ns, now_ns + MS, kind, None if kind == "answer" else event, 60)
                )
        now_ns = max(now_ns + MS, made.wake_ns)
    return made


def said_of(probe, last, away, mute):
    arrives = probe.size == SMALL or probe.ttl <= last
    if not arrives or probe.ttl in mute:
        return None
    if probe.ttl >= away:
        return replace(EVENT, verdict="refused", reporter=DESTINATION, mtu=None)
    return replace(EVENT, verdict="expired", reporter=router(probe.ttl), mtu=None)


def test_the_routers_before_and_behind_the_black_hole_are_named():
    made = locate(last=3)
    assert (router(3), router(4)) == (made.after, made.before)


@pytest.mark.parametrize("answers", [True, False])
def test_the_destination_may_be_behind_the_black_hole(answers):
    made = locate(last=5, answers=answers)
    assert (router(5), DESTINATION) == (made.after, made.before)


def test_a_silent_router_is_skipped():
    made = locate(last=3, mute=(3, 4))
    assert (router(2), router(5)) == (made.after, made.before)


def test_without_replies_no_router_is_named():
    made = locate(last=0, mute=range(1, 20))
    assert (None, None) == (made.after, made.before)


def test_a_path_is_not_searched_beyond_its_known_length():
    made = locate(last=3, hops=3)
    assert (router(3), None, 3) == (made.after, made.before, made.sent)


def test_the_locator_waits_for_replies():
    made = Locator(LocatorPlan(0, LARGE, SMALL, 2, 1, 0, 100, DESTINATION))
    assert 2 == len(made.due(0))
    assert [] == made.due(1)


def test_only_a_small_packet_from_the_next_hop_ends_the_wait_for_a_large_one():
    made = Locator(LocatorPlan(0, LARGE, SMALL, 3, 3, 0, 100, DESTINATION))
    made.due(0)
    outgoing = made.due(made.wake_ns)
    assert [(1, LARGE), (2, LARGE), (3, LARGE), (1, SMALL), (2, SMALL), (3, SMALL)] == [
        (each.probe.ttl, each.probe.size) for each in outgoing
    ]
    sent_ns, patience_ns = LEAST_WAIT_NS, 2 * LEAST_WAIT_NS
    for ttl, wake_ns in ((2, patience_ns), (1, sent_ns + 4 * MS + GRACE_NS + MS)):
        event = replace(EVENT, verdict="expired", reporter=router(ttl))
        made.take(Reply(outgoing[2 + ttl].probe.number, sent_ns, sent_ns + 4 * MS, "error", event, 60))
        assert wake_ns == made.wake_ns
    assert [(1, LARGE), (2, LARGE), (3, LARGE), (1, SMALL)] == [
        (each.probe.ttl, each.probe.size) for each in made.due(made.wake_ns)
    ]


def test_other_replies_and_errors_are_ignored():
    made = Locator(LocatorPlan(0, LARGE, SMALL, 2, 1, 0, 100, DESTINATION))
    made.due(0)
    for number, verdict in ((99, "expired"), (100, "too-big")):
        made.take(Reply(number, 0, MS, "error", replace(EVENT, verdict=verdict), 60))
    made.take(Reply(100, 0, MS, "unsent", None, 60))
    assert made.after is None


@pytest.mark.parametrize(
    ("ttl", "hops"),
    [(64, 3), (62, 5), (128, 3), (250, 8), (255, 3), (33, MOST_HOPS), (0, MOST_HOPS), (None, MOST_HOPS)],
)
def test_the_ttl_of_a_reply_gives_its_distance(ttl, hops):
    assert hops == hops_to(ttl)
