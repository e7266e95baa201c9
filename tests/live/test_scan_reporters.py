"""Hosts and routers that refuse some ports each, with limits of their own: a port is evidence only for its reporter."""

from __future__ import annotations

import pytest
from network import CannotRun, Network, address, require
from scanning import FAMILIES, UNPRIVILEGED, Scan, listening, target

pytestmark = [pytest.mark.live, pytest.mark.slow]
HOST = {family: address(family, 2, 2) for family in FAMILIES}
HOST_S, ROUTER_S = range(125, 133), (135, 136)
"""What the host prohibits, one error a second; and what the router prohibits, as often as it is asked."""
LISTENING = 200
FREE = "sysctl -q net.ipv4.icmp_ratemask=0 net.ipv6.icmp.ratelimit=0"
RULES = {
    "router": f"chain f {{ type filter hook forward priority 0; udp dport {{ {', '.join(map(str, ROUTER_S))} }}"
              " reject with icmpx admin-prohibited; }",
    "host": f"chain i {{ type filter hook input priority 0; udp dport {LISTENING} accept;"
            " meta l4proto udp reject with icmpx admin-prohibited; }",
}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rules")
    try:
        require("nft", "sysctl")
        with Network("prober", "router", "host") as made:
            made.run(f"router: {FREE}")
            made.run("host: sysctl -q net.ipv4.icmp_ratelimit=1000 net.ipv6.icmp.ratelimit=1000")
            for node, chains in RULES.items():
                (directory / node).write_text(f"table inet r {{\n{chains}\n}}\n")
                made.run(f"{node}: nft -f {directory / node}")
            with listening(made, "host", LISTENING):
                yield made
    except CannotRun as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(("engine", "family"), [("raw", 4), ("raw", 6), ("recverr", 4), ("connected", 6)])
def test_what_the_host_prohibits_is_not_silent_because_a_router_prohibits_other_ports(network, engine, family):
    before = "" if engine == "raw" else UNPRIVILEGED
    ports = (*HOST_S, *ROUTER_S, LISTENING)
    said = Scan(network, f"--engine {engine} {target(HOST[family], *ports)}", before=before).said()
    assert 0 == said.status, said.stderr
    expected = {(HOST[family], port): "silent" if port == LISTENING else "prohibited" for port in ports}
    assert expected == said.verdicts()
