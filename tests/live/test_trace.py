"""Traces between real kernels: clean and looping ways, silence, limits, NAT, two ways; beside what others find."""

from __future__ import annotations

import pytest
from network import address, require
from scanning import FAMILIES, UNLIMITED
from trace_network import (
    ANSWERING,
    BALANCED,
    CLOSED,
    DROPPED,
    HOST,
    LOOP_AB,
    LOOP_BC,
    LOOP_BCD,
    MARKED,
    NAT,
    PEERS,
    PROHIBITED,
    REJECTED,
    REWRITTEN,
    SIDE,
    notes,
    routers,
    routers_of_peer,
    silent_b,
    trace,
    trace_network,
)

pytestmark = [pytest.mark.live, pytest.mark.slow]
BY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
LIMITED = "sysctl -q net.ipv4.icmp_ratemask=6168 net.ipv4.icmp_ratelimit=1000 net.ipv6.icmp.ratelimit=1000"


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("rules")


@pytest.fixture(scope="module")
def network(directory):
    with trace_network(directory) as made:
        yield made


def way(family, hops=5):
    return {hop: {address(family, hop, 2)} for hop in range(1, hops + 1)}


@BY_FAMILY
@pytest.mark.parametrize(("port", "verdict"), [(CLOSED, "refused"), (ANSWERING, "answered")])
def test_a_clean_path_is_traced(network, family, port, verdict):
    said = trace(network, HOST[family], port)
    assert (verdict, True, None) == (said["verdict"], said["reached"], said["loop"])
    assert way(family) == routers(said)
    assert set() == notes(said)
    assert {0} == {hop["lost"] for hop in said["hops"]}


@BY_FAMILY
def test_a_silent_destination_is_named(network, family):
    said = trace(network, HOST[family], DROPPED, "--timeout 1")
    assert ("silent", False, None) == (said["verdict"], said["reached"], said["loop"])
    assert way(family, 4) == routers(said)


@BY_FAMILY
def test_a_filter_on_the_path_is_the_end(network, family):
    said = trace(network, HOST[family], REJECTED)
    assert ("prohibited", False) == (said["verdict"], said["reached"])
    assert way(family, 4).keys() == routers(said).keys() - {5}
    said = trace(network, PROHIBITED[family], CLOSED)
    assert "prohibited" == said["verdict"]


@BY_FAMILY
@pytest.mark.parametrize(("to", "period", "first"), [(LOOP_AB, 2, 1), (LOOP_BC, 2, 2), (LOOP_BCD, 3, 2)])
def test_a_loop_is_named(network, family, to, period, first):
    said = trace(network, to[family], CLOSED)
    assert ("loop", False) == (said["verdict"], said["reached"])
    assert (period, first) == (said["loop"]["period"], said["loop"]["first_ttl"])
    assert [address(family, first + n, 2) for n in range(period)] == said["loop"]["routers"]


@BY_FAMILY
def test_silent_hops_and_silent_routers_of_a_loop_are_shown(network, directory, family):
    with silent_b(network, directory):
        clean, looping = trace(network, HOST[family], CLOSED), trace(network, LOOP_BC[family], CLOSED)
    assert ("refused", [1, 3, 4, 5]) == (clean["verdict"], list(routers(clean)))
    assert ("loop", 2) == (looping["verdict"], looping["loop"]["period"])
    assert {None, address(family, 3, 2)} == set(looping["loop"]["routers"])


@BY_FAMILY
def test_a_nat_is_noticed_in_quotes_from_beyond_it(network, family):
    said = trace(network, HOST[family], REWRITTEN)
    assert ("refused", [1, 2, 3, 4, 5]) == (said["verdict"], list(routers(said)))
    told = {hop["ttl"]: [note for each in hop["reporters"] for note in each["notes"]] for hop in said["hops"]}
    assert [] == told[1]
    assert all("a NAT changed the source" in told[ttl] for ttl in (2, 3, 4, 5)), NAT


@BY_FAMILY
def test_a_changed_traffic_class_is_noticed(network, family):
    said = trace(network, HOST[family], MARKED)
    assert {"the DSCP was changed"} == notes(said)


@BY_FAMILY
def test_a_flow_keeps_to_one_path_and_several_show_both(network, family):
    both = {address(family, 2, 2), SIDE[family][1]}
    one = routers(trace(network, BALANCED[family], CLOSED, "--queries 5"))
    assert {1} == {len(one[ttl]) for ttl in (1, 2, 3)}
    assert both == routers(trace(network, BALANCED[family], CLOSED, "--flows 12"))[2]


@BY_FAMILY
def test_a_limited_router_is_not_reported_as_loss(network, family):
    network.run(f"b: {LIMITED}")
    try:
        said = [trace(network, HOST[family], CLOSED, "--queries 5") for _ in range(2)][-1]
    finally:
        network.run(f"b: {UNLIMITED}")
    assert way(family) == routers(said)
    assert {0} == {hop["lost"] for hop in said["hops"]}
    limited = any("limits its replies" in note for note in notes(said))
    assert limited or family == 6  # where Linux lets ten through a second


@BY_FAMILY
def test_a_trace_this_host_cannot_send_is_unsent(network, family):
    said = trace(network, HOST[family], CLOSED, "--size 1501")
    assert ("unsent", "EMSGSIZE") == (said["verdict"], said["errno"])


@BY_FAMILY
@pytest.mark.parametrize("name", PEERS)
def test_a_peer_tracer_finds_no_additional_router(network, family, name):
    require(name)
    theirs = routers_of_peer(network, name, HOST[family])
    ours = routers(trace(network, HOST[family], CLOSED))
    assert theirs
    assert all(found <= ours.get(ttl, set()) for ttl, found in theirs.items()), theirs
