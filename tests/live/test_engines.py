"""The engines without privilege beside real kernels: client, router, server; the link behind the router is narrow."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from network import Network, address
from record import play

pytestmark = [pytest.mark.live, pytest.mark.slow]
PROBE = Path(__file__).with_name("probe.py")
MTU = 1400
CLIENT, ROUTER, SERVER = (
    {family: address(family, link, end) for family in (4, 6)} for link, end in ((1, 1), (1, 2), (2, 2))
)
NEIGHBOUR, BEHIND = ({4: f"10.0.{link}.99", 6: f"2001:db8:{link}::99"} for link in (1, 2))
"""Addresses where nobody is: on the client's own link, and on the one behind the router."""
ANSWERING, PROHIBITED, DROPPED, CLOSED, ALSO_CLOSED, FORBIDDEN, REJECTED = range(7000, 7007)
REFUSING_ROUTES = {"prohibit": "EACCES", "blackhole": "EINVAL", "unreachable": "EHOSTUNREACH", "throw": "ENETUNREACH"}
NETS = {4: "198.51.100.{}", 6: "2001:db8:ffff::{}"}
FRAMES = {"unsent": 0, "silent": 1}
"""Those of an attempt by its verdict; of any other, the probe and what came back."""
REACH = {4: (3, 3), 6: (1, 4)}
GIVEN_UP_S = 0.9
"""When a neighbour was asked for three times."""
SETUP = [
    *(
        f"{node}: sysctl -q net.ipv{family}.neigh.right.retrans_time_ms={GIVEN_UP_S * 1000 / 3:.0f}"
        for node in ("client", "router")
        for family in (4, 6)
    ),
    *(
        f"{node}: sysctl -q net.ipv4.icmp_ratemask=0 net.ipv6.icmp.ratelimit=0 net.ipv4.icmp_msgs_burst=10000"
        " net.ipv4.icmp_msgs_per_sec=10000"
        for node in ("router", "server")
    ),
    f"router: ip link set right mtu {MTU}",
    f"server: ip link set left mtu {MTU}",
    f"server: input: udp dport {PROHIBITED} reject with icmpx admin-prohibited",
    f"server: input: udp dport {DROPPED} drop",
    f"client: output: udp dport {FORBIDDEN} drop",
    f"client: output: udp dport {REJECTED} reject",
    *(
        f"client: ip route add {kind} {NETS[family].format(n)}"
        for family in (4, 6)
        for n, kind in enumerate(REFUSING_ROUTES, 1)
    ),
    "client: ip -4 route del default",
    f"client: ip -4 route add {address(4, 2, 0)}/24 via {ROUTER[4]}",
    "client: ip -6 route del default",
    f"client: ip -6 route add {address(6, 2, 0)}/64 via {ROUTER[6]}",
    f"server: answer {ANSWERING}&",
]


@pytest.fixture(scope="module")
def network():
    with Network("client", "router", "server") as made:
        play(made, SETUP)
        yield made


@pytest.fixture(params=["recverr", "connected"])
def engine(request):
    return request.param


def refused(family):
    return ["refused", SERVER[family], *REACH[family], None]


def both(each):
    return [answer for family in (4, 6) for answer in each(family)]


def check(said, network, engine, targets, **options):
    """What happens to each `(address, port)` that `targets` gives for a family: first of IPv4, then of IPv6."""
    check_flows(
        said, network, engine, both(lambda family: [[CLIENT[family], *each] for each in targets(family)]), **options
    )


def check_flows(said, network, engine, flows, *, wait_s=0.1, **options):
    """The same of each `(source, address, port)`; `wait_s` is for what shall not come."""
    frames = sum(FRAMES.get(verdict, 2) for verdict, *_ in said)
    asked = json.dumps({"engine": engine, "frames": frames, "wait_s": wait_s, "flows": flows, **options})
    command = network.command(f"client: {sys.executable} {PROBE}")
    done = subprocess.run([*command, asked], check=True, capture_output=True, text=True)
    told, faults = json.loads(done.stdout)
    assert {} == faults
    assert said == [told[f"{to} {port}"] for _, to, port in flows]


def test_each_kind_of_port_has_its_verdict(network, engine):
    ports = [CLOSED, ANSWERING, PROHIBITED, DROPPED, ALSO_CLOSED]
    said = both(
        lambda family: [
            refused(family),
            ["answered", 1],
            ["prohibited", SERVER[family], *{4: (3, 13), 6: (1, 1)}[family], None],
            ["silent", 0],
            refused(family),
        ]
    )
    check(said, network, engine, lambda family: [(SERVER[family], port) for port in ports])


def test_earlier_errors_do_not_block_later_attempts(network, engine):
    said = both(lambda family: [refused(family), ["answered", 3]])
    check(said, network, engine, lambda family: [(SERVER[family], port) for port in (CLOSED, ANSWERING)], attempts=3)


def test_300_closed_ports_are_all_refused(network, engine):
    check(
        both(lambda family: [refused(family)] * 300),
        network,
        engine,
        lambda family: [(SERVER[family], port) for port in range(20000, 20300)],
    )


def test_a_narrow_link_reports_its_mtu_and_later_probes_keep_their_size(network, engine):
    reporter = {"recverr": ROUTER, "connected": SERVER}[engine]
    said = both(lambda family: [["too-big", reporter[family], *{4: (3, 4), 6: (2, 0)}[family], MTU]] * 2)
    check(
        said,
        network,
        engine,
        lambda family: [(SERVER[family], port) for port in (CLOSED, ANSWERING)],
        size=1500,
        attempts=2,
    )


def test_a_probe_larger_than_the_own_link_is_unsent(network, engine):
    check(
        [["unsent", "EMSGSIZE"]] * 4,
        network,
        engine,
        lambda family: [(SERVER[family], port) for port in (CLOSED, ANSWERING)],
        size=1501,
    )


def test_only_recverr_reports_an_expired_ttl(network, engine):
    said = {
        "recverr": lambda family: [["expired", ROUTER[family], *{4: (11, 0), 6: (3, 0)}[family], None]],
        "connected": lambda _: [["silent", 0]],
    }
    check(both(said[engine]), network, engine, lambda family: [(SERVER[family], CLOSED)], ttl=1)


def test_a_refused_send_is_unsent_and_the_scan_continues(network, engine):
    unsent = [["unsent", name] for name in REFUSING_ROUTES.values()]
    check(
        both(lambda family: [refused(family), *unsent, refused(family)]),
        network,
        engine,
        lambda family: [
            (SERVER[family], CLOSED),
            *((NETS[family].format(n), 9) for n in range(1, 5)),
            (SERVER[family], ALSO_CLOSED),
        ],
    )


def test_probes_stopped_by_our_firewall_are_unsent(network, engine):
    check(
        both(lambda family: [["unsent", "EPERM"]] * 2 + [refused(family)]),
        network,
        engine,
        lambda family: [(SERVER[family], port) for port in (FORBIDDEN, REJECTED, CLOSED)],
        attempts=2,
    )


def test_only_recverr_reports_a_missing_neighbour(network, engine):
    def said(family):
        if engine == "connected":
            return [["silent", 0]] * 2
        return [
            ["unreachable", reporter, *{4: (3, 1), 6: (1, 3)}[family], None]
            for reporter in (CLIENT[family], ROUTER[family])
        ]

    check(
        both(said),
        network,
        engine,
        lambda family: [(NEIGHBOUR[family], 9), (BEHIND[family], 9)],
        wait_s=2 * GIVEN_UP_S if engine == "connected" else 0.1,
    )


def test_a_neighbour_is_probed_by_its_link_local_address(network, engine):
    client, router = ("fe80::ff:fe00:10" + end for end in "12")  # of the MAC addresses that the network gives
    check_flows([["refused", router, *REACH[6], None]], network, engine, [[client, router, CLOSED]], zone="right")
