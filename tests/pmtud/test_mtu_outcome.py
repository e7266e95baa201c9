"""The verdict of a path MTU search, what is wrong with what routers said, and what to do."""

from __future__ import annotations

import pytest
from msgspec import structs
from msgspec.structs import replace
from mtu_world import LEAST, World, mute, run
from samples import EVENT

from udpprobe.core.limiter import MS, SECOND
from udpprobe.pmtud.locator import Locator, LocatorPlan
from udpprobe.pmtud.outcome import Reports, SearchContext, outcome, verdict_of
from udpprobe.pmtud.rounds import RetryPolicy, SearchRounds
from udpprobe.pmtud.search import Search
from udpprobe.replies import Reply
from udpprobe.tracing.model import Target

CONTEXT = SearchContext("0.1.0", Target("198.51.100.7", 53), 4, "eth0", 1500, "192.0.2.9", 55_555, 0, 0, 3 * SECOND, {})


def report_of(rounds, reports=None, locator=None, **changes):
    return outcome(rounds, reports or Reports(), locator, replace(CONTEXT, **changes))


def of(world, *, control=True, **changes):
    rounds, now_ns = run(world, control=control)
    return report_of(
        rounds,
        now_ns=now_ns,
        interface_mtu=world.interface,
        family=world.family,
        control_port=CONTEXT.control_port if control else None,
        **changes,
    )


def untold(most=1500, least=(60, 36)):
    return SearchRounds(Search(4, min(least), most), least, RetryPolicy(), 0)


def reports_of(*words):
    """What routers said: MTUs, each of a packet of some size."""
    reports = Reports()
    for mtu, size in words:
        reports.take(structs.replace(EVENT, mtu=mtu), size)
    return reports


@pytest.mark.parametrize(
    ("world", "verdict", "mtu", "proof"),
    [
        (World(1500), "ok", 1500, "refusal"),
        (World(1500, service="answers"), "ok", 1500, "answer"),
        (World(1400), "too-big", 1400, "refusal"),
        (World(1400, lambda _size, _mtu: 0), "too-big", 1400, "refusal"),
        (World(1400, mute), "black-hole", 1400, "refusal"),
        (World(1500, service="silent", control=False), "silent", None, None),
        (World(1400, service="silent", control=False), "too-big", 1400, "routers"),
        (World(1400, lambda _size, _mtu: 0, service="silent", control=False), "too-big", None, None),
        (World(1400, lambda size, _mtu: 1420 * (size > 1420), service="silent", control=False), "too-big", None, None),
    ],
)
def test_the_verdict_names_the_limiting_router(world, verdict, mtu, proof):
    report = of(world)
    assert (verdict, mtu, proof) == (report.verdict, report.path_mtu, report.proof)
    assert (None if mtu is None else mtu - 28) == report.udp_payload_max


def test_a_black_hole_has_its_sizes_and_its_place():
    rounds, _ = run(World(1400, mute))
    locator = Locator(LocatorPlan(0, 1401, 36, 2, 1, 0, len(rounds.sent), CONTEXT.target.address))
    locator.due(0)
    locator.take(Reply(len(rounds.sent), 0, 1, "error", structs.replace(EVENT, verdict="expired"), 64))
    report = report_of(rounds, locator=locator)
    assert (1400, 1401, EVENT.reporter, None) == (
        report.black_hole.largest_passed,
        report.black_hole.smallest_lost,
        report.black_hole.after,
        report.black_hole.before,
    )
    assert len(rounds.sent) + 2 == report.sent
    assert (
        f"Make the device behind {EVENT.reporter} send ICMP 3/4 (fragmentation needed), and let these through; until then, "
        "set the MTU of the route to 198.51.100.7 to 1400."
    ) == report.advice


def test_an_unlocated_black_hole_may_be_this_host():
    assert "behind this host" in of(World(1400, mute)).advice


def test_a_service_that_answers_only_its_own_request_proves_nothing():
    report = of(World(1500, service="picky"), control=False)
    assert ("answered", None, None) == (report.verdict, report.path_mtu, report.black_hole)
    assert "but no larger one" in report.notes[0]


def test_a_search_without_arrivals_reports_only_router_errors():
    rounds = untold()
    rounds.due(0)
    refusal = structs.replace(EVENT, verdict="refused", reporter=EVENT.quoted.destination)
    rounds.take(Reply(1, 0, 1, "error", refusal, 64))
    report = report_of(rounds)
    assert ("refused", None, "BASE") == (report.verdict, report.path_mtu, report.state.replace("SEARCHING", "BASE"))
    assert "too few" in " ".join(report.notes)


def test_an_interrupted_search_reports_the_results_so_far():
    report = of(World(lambda now_ns: 1400 if now_ns < SECOND // 2 else 20, mute))
    assert "SEARCHING" == report.state
    assert "the search is incomplete: " in " ".join(report.notes)
    assert report.advice is None


def test_without_arrivals_the_most_significant_other_error_is_the_verdict():
    rounds = untold()
    rounds.due(0)
    for verdict in ("expired", "prohibited", "prohibited"):
        rounds.take(Reply(0, 0, 1, "error", structs.replace(EVENT, verdict=verdict), 64))
    assert "expired" == verdict_of(rounds)


def test_with_arrivals_other_errors_are_a_note():
    rounds, _ = run(World(1500))
    rounds.take(Reply(0, 0, 1, "error", structs.replace(EVENT, verdict="prohibited"), 64))
    assert "other ICMP errors came back: prohibited (1)" in report_of(rounds).notes


def test_a_size_this_host_cannot_send_has_its_errno():
    rounds = untold()
    rounds.due(0)
    rounds.unsent(0, 101, 0)
    report = report_of(rounds)
    assert ("unsent", "ENETUNREACH", None) == (report.verdict, report.errno, report.path_mtu)


def test_the_host_s_own_limit_is_ok_and_noted():
    rounds = untold()
    rounds.search.arrived(1400)
    rounds.search.unsent(1401)
    report = report_of(rounds)
    assert ("ok", ("this host itself cannot send 1401 bytes",)) == (report.verdict, report.notes)


def test_a_requested_limit_is_noted():
    rounds, _ = run(World(1500, interface=1300))
    assert ("packets larger than 1300 bytes were not tried",) == report_of(rounds, most_requested=1300).notes
    assert () == report_of(rounds, most_requested=1300, interface_mtu=1300).notes


def test_a_silent_service_is_noted():
    assert "the service is silent; refusals of port 55555" in of(World(1400, service="silent")).notes[0]


def test_a_limit_on_refusals_is_noted():
    assert "one every" in " ".join(of(World(1387, mute)).notes)


def test_a_path_that_changed_is_noted():
    report = of(World(lambda now_ns: 1500 if now_ns < 3 * SECOND // 100 else 1400, interface=9000))
    assert "1500 bytes arrived at first" in " ".join(report.notes)


def test_an_mtu_below_the_ipv6_minimum_is_noted():
    report = of(World(1000, mute, family=6))
    assert (1000, 952) == (report.path_mtu, report.udp_payload_max)
    assert "every link must carry 1280 bytes: look for a filter" in report.notes


def test_advice_contains_the_numbers():
    assert (
        "Send UDP payloads of at most 1372 bytes to 198.51.100.7:53: larger ones do not fit beyond 192.0.2.1."
        == report_of(run(World(1400))[0], reports_of((1400, 1500))).advice
    )
    assert of(World(1500, family=6)).advice is None


@pytest.mark.parametrize(
    ("mtu", "words"),
    [
        (1480, "Ask whoever runs 192.0.2.1 to correct the MTU it reports; until then, set the MTU of the route to"),
        (0, "Ask whoever runs 192.0.2.1 to correct the MTU it reports; until then,"),
        (1300, "Ask whoever runs 192.0.2.1 to correct the MTU it reports; until then,"),
    ],
)
def test_setting_an_mtu_is_advised_if_routers_report_a_wrong_one(mtu, words):
    assert words in report_of(run(World(1400))[0], reports_of((mtu, 1500))).advice


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda rounds: rounds.unsent(0, 1, 0), "Allow UDP to 198.51.100.7:53 in this host's own firewall"),
        (
            lambda rounds: rounds.take(Reply(0, 0, 1, "error", structs.replace(EVENT, verdict="prohibited"), 64)),
            "See what stops probes with `udpprobe trace 198.51.100.7:53`.",
        ),
        (lambda _: None, "See how far packets get with `udpprobe trace 198.51.100.7:53`"),
    ],
)
def test_if_nothing_arrives_advice_says_where_to_look(make, words):
    rounds = untold()
    rounds.due(0)
    make(rounds)
    assert words in report_of(rounds).advice


def said(*words, family=4, passed=1400):
    return reports_of(*words).reported(family, passed)


def test_reported_mtus_are_counted_most_frequent_first():
    first, second = said((1450, 1500), (1400, 1450), (1400, 1401))
    assert (1400, 2, 1401, ()) == (first.mtu, first.count, first.smallest, first.notes)
    assert (1450, 1, 1500, ()) == (second.mtu, second.count, second.smallest, second.notes)


@pytest.mark.parametrize(
    ("mtu", "size", "words"),
    [
        (0, 1500, "reports no MTU"),
        (None, 1500, "reports no MTU"),
        (67, 1500, "below what every link must carry"),
        (1500, 1500, "≥ packet size"),
        (9000, 1500, "≥ packet size"),
        (1300, 1401, "larger packets fit"),
        (1200, 1400, "packets of 1400 bytes arrived nevertheless"),
    ],
)
def test_wrong_reported_mtus_are_named(mtu, size, words):
    (report,) = said((mtu, size))
    assert words in "; ".join(report.notes)


def test_ipv6_has_a_higher_minimum():
    (report,) = said((1279, 1500), family=6, passed=1200)
    assert ("reported MTU below what every link must carry: bogus",) == report.notes


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ("df", "a refusal quotes packets without DF: a router may clear it and fragment large packets"),
        ("port", "the service answers from a port other than the one probed"),
    ],
)
def test_changes_in_arrived_packets_are_noted(changed, words):
    assert (words,) == of(World(1500), changed=frozenset({changed})).notes
    assert () == of(World(1500), changed=frozenset({"source"})).notes


def test_advice_never_suggests_an_mtu_below_the_minimum():
    report = of(World(1000, mute, family=6))
    assert (
        "Look for a filter on the way to 198.51.100.7:53: every link must carry 1280 bytes, but packets larger than 1000 bytes disappear."
    ) == report.advice
    assert "every link must carry 1280 bytes: look for a filter" in report.notes


def test_if_only_answers_prove_arrival_the_return_path_may_be_the_hole():
    words = "only answers show what arrives: large answers may be lost on the way back"
    assert words in of(World(1400, mute, service="answers"), control=False).notes
    assert words in of(World(1400, mute, service="answers", control=False)).notes
    assert words not in of(World(1400, mute, service="answers")).notes
    assert words not in of(World(1400, mute), control=False).notes
    assert words not in of(World(1400, service="answers"), control=False).notes


# ---- routers that say that nothing gets through: believed soon, and never at their first word


SMALLEST = set(LEAST[4])
SERVICE, CONTROL = range(2)


def always(verdict):
    return lambda _probe, _now_ns: verdict


def first(most, verdict="unreachable"):
    """A limit without end: so many errors, and not one more."""
    left = iter(range(most))
    return lambda _probe, _now_ns: verdict if next(left, None) is not None else "unsaid"


class Limited(World):
    """What is `unsaid` is barred without a word."""

    def reply(self, said, sent_ns, time_ns):
        if not (said.event and said.event.verdict == "unsaid"):
            super().reply(said, sent_ns, time_ns)


class Seeking(World):
    """Nothing is said in the first three seconds, and then all at once."""

    def reply(self, said, sent_ns, time_ns):
        super().reply(said, sent_ns, max(time_ns, 3 * SECOND + 5 * MS))


@pytest.mark.parametrize("control", [True, False])
@pytest.mark.parametrize("verdict", ["unreachable", "prohibited", "rejected", "loop", "malformed"])
def test_a_repeated_error_about_the_smallest_packets_is_believed(verdict, control):
    rounds, now_ns = run(World(1500, objects=always(verdict)), control=control)
    assert ({verdict}, 0, 500 * MS) == (set(rounds.complaints), rounds.search.passed, now_ns)
    assert len(rounds.sent) <= 6


@pytest.mark.parametrize(("limit", "most_ms"), [(2, 1050), (3, 1050), (5, 520)])
def test_a_rate_limited_error_is_believed_if_nothing_arrives(limit, most_ms):
    _, now_ns = run(Limited(1500, objects=first(limit)))
    assert 500 * MS <= now_ns <= most_ms * MS


def test_one_error_every_half_second_is_enough():
    spoken = []

    def ios(_probe, now_ns):
        if spoken and now_ns < spoken[-1] + 500 * MS:
            return "unsaid"
        spoken.append(now_ns)
        return "unreachable"

    _, now_ns = run(Limited(1500, objects=ios))
    assert now_ns < 600 * MS


def test_errors_after_three_seconds_of_arp_are_believed_at_once():
    _, now_ns = run(Seeking(1500, objects=always("unreachable")))
    assert 3 * SECOND < now_ns <= 3 * SECOND + 10 * MS


@pytest.mark.parametrize("until_ms", [1, 200])
def test_a_transient_error_is_not_believed(until_ms):
    world = World(1500, objects=lambda _probe, now_ns: "unreachable" if now_ns < until_ms * MS else None)
    assert 1500 == run(world)[0].search.passed


@pytest.mark.parametrize("rtt_ms", [20, 400])
def test_a_router_that_forwards_anyway_is_not_believed(rtt_ms):
    world = World(1500, objects=always("unreachable"), is_barred=False, rtt_ns=rtt_ms * MS)
    assert 1500 == run(world)[0].search.passed


@pytest.mark.parametrize("verdict", ["unreachable", "prohibited"])
def test_an_error_about_the_size_is_not_about_the_host(verdict):
    world = World(1500, objects=lambda outgoing, _now_ns: verdict if outgoing.probe.size > 1000 else None)
    assert 1000 == run(world)[0].search.passed


def test_an_error_about_the_size_is_not_about_a_silent_host_either():
    world = World(
        1500,
        service="silent",
        control=False,
        objects=lambda outgoing, _now_ns: None if outgoing.probe.size in SMALLEST else "prohibited",
    )
    assert 4 * SECOND == run(world)[1]


@pytest.mark.parametrize("verdict", ["prohibited", "rejected"])
def test_an_error_about_one_port_does_not_affect_the_other(verdict):
    world = World(1400, objects=lambda outgoing, _now_ns: verdict if outgoing.role == SERVICE else None)
    assert 1400 == run(world)[0].search.passed
    world = World(1400, control=False, objects=world.objects)
    assert 4 * SECOND == run(world)[1]


@pytest.mark.parametrize("role", [SERVICE, CONTROL])
def test_an_error_about_the_host_counts_for_both_ports(role):
    world = World(
        1500,
        service="silent",
        control=False,
        objects=lambda outgoing, _now_ns: "unreachable" if outgoing.role == role else None,
    )
    assert 500 * MS == run(world)[1]


@pytest.mark.parametrize("seed", range(20))
def test_losses_delay_the_verdict_and_do_not_change_it(seed):
    rounds, now_ns = run(World(1500, objects=always("unreachable"), loss=0.3, seed=seed))
    assert {"unreachable"} == set(rounds.complaints)
    assert now_ns <= 2 * SECOND


@pytest.mark.parametrize("seed", range(20))
def test_a_transient_error_on_a_lossy_path_is_not_believed(seed):
    world = World(1400, loss=0.2, seed=seed, objects=lambda _probe, now_ns: "unreachable" if now_ns < MS else None)
    assert 1400 == run(world)[0].search.passed


def test_other_errors_say_nothing_about_what_arrives():
    assert 4 * SECOND == run(World(1500, objects=always("reassembly")))[1]
