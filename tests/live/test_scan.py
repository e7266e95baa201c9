"""All that can happen to a probe, between real kernels and with every engine: what scan says of it."""

from __future__ import annotations

from typing import NamedTuple

import pytest
from scanning import (
    ALSO_CLOSED,
    ANSWERING,
    BLACKHOLE,
    CLOSED,
    DROPPED,
    ELSEWHERE,
    FAMILIES,
    FAR,
    FORBIDDEN,
    HOST,
    LISTENING,
    LOOP,
    MUTE,
    NEAR,
    NO_ROUTE,
    NOBODY,
    OTHER_PORT,
    PROHIBITED,
    PROHIBITED_NET,
    REJECTED,
    TWICE,
    UNREACHABLE_NET,
    UNSENT_BLACKHOLE,
    UNSENT_PROHIBIT,
    UNSENT_UNREACHABLE,
    VIRTUAL,
    Scan,
    both,
    scan,
)

pytestmark = [pytest.mark.live, pytest.mark.slow]
ENGINES = ("raw", "recverr", "connected")


class Case(NamedTuple):
    """A destination, and what is to be said of it."""

    to: dict[int, str]
    port: int
    verdict: str
    detail: str | None = None
    """What is meant by silence, or the errno of what this host did not send."""
    reporter: dict[int, str] | None = None
    icmp: dict[int, tuple[int, int]] | None = None
    """Type and code by family."""
    connected: str | None = None
    """What sockets that hear only an errno say instead, ..."""
    why: str = ""
    """... and why they do."""


REFUSED, PROHIBITION, EXPIRY = {4: (3, 3), 6: (1, 4)}, {4: (3, 13), 6: (1, 1)}, {4: (11, 0), 6: (3, 0)}
SOFT = "Linux tells a connected socket of no error that may pass"
NO_ORIGIN = "an errno names no reporter"
CASES = {
    "refused": Case(HOST, CLOSED, "refused", None, HOST, REFUSED),
    "rejected": Case(HOST, REJECTED, "rejected", None, FAR, REFUSED, "refused", NO_ORIGIN),
    "answered": Case(HOST, ANSWERING, "answered"),
    "answered-twice": Case(HOST, TWICE, "answered"),
    "answered-from-another-port": Case(
        HOST, ELSEWHERE, "answered", connected="silent", why="it hears the port it is connected to only"
    ),
    "silent": Case(HOST, LISTENING, "silent", "listening-or-filtered"),
    "dropped": Case(HOST, DROPPED, "silent", "listening-or-filtered"),
    "mute": Case(MUTE, CLOSED, "silent", "no-evidence"),
    "blackhole": Case(BLACKHOLE, CLOSED, "silent", "no-evidence"),
    "prohibited-by-rule": Case(HOST, PROHIBITED, "prohibited", None, FAR, PROHIBITION),
    "prohibited-by-route": Case(PROHIBITED_NET, CLOSED, "prohibited", None, NEAR, PROHIBITION),
    "unreachable-by-route": Case(
        UNREACHABLE_NET, CLOSED, "unreachable", None, FAR, {4: (3, 1), 6: (1, 0)}, "silent", SOFT
    ),
    "no-route": Case(NO_ROUTE, CLOSED, "unreachable", None, HOST, {4: (3, 0), 6: (1, 0)}, "silent", SOFT),
    "no-neighbour": Case(NOBODY, CLOSED, "unreachable", None, FAR, {4: (3, 1), 6: (1, 3)}, "silent", SOFT),
    "loop": Case(LOOP, CLOSED, "loop", None, FAR, EXPIRY, "silent", SOFT),
    "refused-behind-dnat": Case(VIRTUAL, CLOSED, "refused", None, VIRTUAL, REFUSED),
    "answered-behind-dnat": Case(VIRTUAL, ANSWERING, "answered"),
    "own-prohibit": Case(UNSENT_PROHIBIT, CLOSED, "unsent", "EACCES"),
    "own-unreachable": Case(UNSENT_UNREACHABLE, CLOSED, "unsent", "EHOSTUNREACH"),
    "own-blackhole": Case(UNSENT_BLACKHOLE, CLOSED, "unsent", "EINVAL"),
    "own-firewall": Case(HOST, FORBIDDEN, "unsent", "EPERM"),
    "refused-last": Case(HOST, ALSO_CLOSED, "refused", None, HOST, REFUSED),
}


@pytest.fixture(scope="module")
def said(network):
    """By engine, what a scan of all cases said; those without privilege at the same time."""
    targets = " ".join(both(case.to, case.port) for case in CASES.values())
    raw = scan(network, f"--engine raw {targets}")
    others = {engine: Scan(network, f"--engine {engine} {targets}") for engine in ENGINES[1:]}
    return {"raw": raw, **{engine: each.said() for engine, each in others.items()}}


@pytest.fixture(params=ENGINES)
def engine(request):
    return request.param


@pytest.fixture(params=FAMILIES)
def family(request):
    return request.param


@pytest.fixture(params=CASES)
def case(request):
    return CASES[request.param]


def expected_verdict(case, engine):
    return (engine == "connected" and case.connected) or case.verdict


def about(said, case, family):
    return said.by_destination()[case.to[family], case.port]


def test_every_engine_gives_the_verdict_it_can_observe(said, engine, case, family):
    assert expected_verdict(case, engine) == about(said[engine], case, family)["verdict"], case.why


@pytest.mark.parametrize("engine", ["raw", "recverr"])
def test_an_error_is_reported_with_its_reporter_type_and_code(said, engine, case, family):
    told = {
        (each["reporter"], each["icmp_type"], each["icmp_code"], each["match"])
        for each in about(said[engine], case, family)["findings"]
    }
    assert ({(case.reporter[family], *case.icmp[family], "exact")} if case.icmp else set()) == told


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.verdict == "silent"])
def test_silence_has_a_meaning_and_a_reason(said, engine, name, family):
    assert CASES[name].detail == about(said[engine], CASES[name], family)["meaning"]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.verdict == "unsent"])
def test_a_refused_send_has_its_errno_and_does_not_count_as_sent(said, engine, name, family):
    told = about(said[engine], CASES[name], family)
    assert (CASES[name].detail, 0) == (told["errno"], told["sent"])


def test_nothing_else_is_reported(said, engine):
    asked = {(case.to[family], case.port) for case in CASES.values() for family in FAMILIES}
    assert (asked, [], {}) == (
        set(said[engine].by_destination()),
        said[engine].report["unmatched"],
        said[engine].report["faults"],
    )
    assert (0, "probe") == (said[engine].status, said[engine].report["source"]["kind"])


def test_an_engine_names_its_limits_in_one_line(said, engine):
    assert engine == "raw" or f"--engine {engine} cannot see" in said[engine].stderr
    assert (engine != "raw") == said[engine].stderr.count("\n")


def test_a_loop_names_its_routers(said, family):
    (loop,) = about(said["raw"], CASES["loop"], family)["findings"]
    assert set(loop["loop"]["routers"]) <= {NEAR[family], FAR[family]}
    assert loop["loop"]["routers"]


def test_connected_invents_no_reporter(said):
    origins = {
        (each["reporter"], each["icmp_type"], each["icmp_code"], each["mtu"])
        for told in said["connected"].report["destinations"]
        for each in told["findings"]
    }
    assert {(None, None, None, None)} == origins


@pytest.mark.parametrize("engine", ["raw", "recverr"])
def test_an_answer_from_another_port_is_noted(said, engine, family):
    assert f"answer-from port {OTHER_PORT}" in about(said[engine], CASES["answered-from-another-port"], family)["notes"]


def test_two_answers_to_a_datagram_count_once(said, engine, family):
    told = about(said[engine], CASES["answered-twice"], family)
    assert (1, 1) == (told["sent"], told["answered"])


def test_only_silent_ports_are_probed_again(said, engine, family):
    asked_once = [
        case
        for case in CASES.values()
        if case.to is HOST
        and case.port not in (CLOSED, ALSO_CLOSED)
        and expected_verdict(case, engine) == "answered"  # known ports of reporters are asked again
        and case.port != ELSEWHERE
    ]
    assert {1} == {about(said[engine], case, family)["sent"] for case in asked_once}
    assert about(said[engine], CASES["silent"], family)["sent"] >= 3
