"""Traces through a NAT before many routers, through one that clears DF, and to a service with two ports."""

from __future__ import annotations

import pytest
from network import Network, address, require
from scanning import FAMILIES, NETS, UNLIMITED
from trace_network import install, notes, routers, trace

pytestmark = [pytest.mark.live, pytest.mark.slow]
ROW = ("prober", "gate", "first", "second", "third", "fourth", "fifth", "sixth", "host")
HOPS = len(ROW) - 1
BY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
CLOSED, DROPPED, ELSEWHERE, CLEARED = 7000, 7001, 7002, 7003
VIRTUAL = {family: net.format(1) for family, net in NETS.items()}
HOST = {family: address(family, HOPS, 2) for family in FAMILIES}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    require("nft", "sysctl")
    with Network(*ROW) as made:
        rules = tmp_path_factory.mktemp("rules")
        for node in ROW[1:]:
            made.run(f"{node}: {UNLIMITED}")
        install(
            made,
            rules,
            "gate",
            (
                f"chain n {{ type nat hook prerouting priority -100; ip daddr {VIRTUAL[4]} dnat ip to {HOST[4]};"
                f" ip6 daddr {VIRTUAL[6]} dnat ip6 to {HOST[6]}; \n}}"
            ),
        )
        install(
            made,
            rules,
            "second",
            (
                "chain p { type filter hook prerouting priority -300;"
                f" udp dport {CLEARED} meta nfproto ipv4 ip frag-off set 0; \n}}"
            ),
        )
        install(made, rules, "host", (f"chain i {{ type filter hook input priority 0; udp dport {DROPPED} drop; \n}}"))
        made.start(f"host: answer {ELSEWHERE} --from-port {ELSEWHERE + 100}")
        yield made


@BY_FAMILY
@pytest.mark.parametrize(("port", "verdict"), [(CLOSED, "refused"), (DROPPED, "silent")])
def test_routers_hidden_by_a_nat_are_not_a_loop(network, family, port, verdict):
    said = trace(network, VIRTUAL[family], port, "--timeout 1")
    assert (verdict, None) == (said["verdict"], said["loop"])
    assert {hop: {VIRTUAL[family]} for hop in range(2, HOPS)} == {
        hop: who for hop, who in routers(said).items() if 2 <= hop < HOPS
    }
    assert "a NAT replies with the destination's address for the hosts behind it" in notes(said)


def test_a_router_that_clears_df_is_revealed_by_the_next_one(network):
    said = trace(network, HOST[4], CLEARED)
    cleared = [
        hop["ttl"]
        for hop in said["hops"]
        if any("DF bit was cleared" in note for each in hop["reporters"] for note in each["notes"])
    ]
    assert list(range(3, HOPS + 1)) == cleared


@BY_FAMILY
def test_an_answer_from_another_port_is_an_answer_with_a_note(network, family):
    said = trace(network, HOST[family], ELSEWHERE)
    assert ("answered", True) == (said["verdict"], said["reached"])
    assert {"answers from a port other than the one probed"} == notes(said)
