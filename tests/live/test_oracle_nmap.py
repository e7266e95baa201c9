"""nmap -sU as an oracle: the same ports in the same states, and where not, why we are right."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import NamedTuple

import pytest
from network import CannotRun, Network, address

pytestmark = [pytest.mark.live, pytest.mark.slow]

STATES = {
    "answered": "open",
    "refused": "closed",
    "rejected": "filtered",
    "prohibited": "filtered",
    "unreachable": "filtered",
    "silent": "open|filtered",
}
"""Our verdicts in nmap's words."""

UNLIMITED = (
    "net.ipv4.icmp_ratemask=0 net.ipv4.icmp_msgs_per_sec=100000 net.ipv4.icmp_msgs_burst=100000"
    " net.ipv6.icmp.ratelimit=0"
)
ANSWERING, LISTENING = 7, 9


class Port(NamedTuple):
    """A port, what stands before it, and what becomes of a datagram there."""

    number: int
    rule: str
    """Of nftables; none where the host itself decides."""
    verdict: str
    reason: str | None
    why: str = ""
    """Why we are right where nmap says something else."""


def rejected(number, kind, verdict, reason, why=""):
    return Port(number, f"reject with {kind}", verdict, reason, why)


MUTE_TO_NMAP = "nmap knows no 3/4 about UDP and takes it for silence, but somebody said that the packet is too big"
COMMON = (
    Port(ANSWERING, "", "answered", None),
    Port(LISTENING, "", "silent", None),
    Port(11, "", "refused", "port-unreach"),
)
V4 = (
    Port(100, "drop", "silent", None),
    rejected(101, "icmp type net-unreachable", "unreachable", "net-unreach"),
    rejected(102, "icmp type host-unreachable", "unreachable", "host-unreach"),
    rejected(103, "icmp type prot-unreachable", "unreachable", "proto-unreach"),
    rejected(104, "icmp type port-unreachable", "refused", "port-unreach"),
    rejected(105, "icmp type frag-needed", "too-big", "packet-too-big", MUTE_TO_NMAP),
    rejected(106, "icmp type net-prohibited", "prohibited", "net-prohibited"),
    rejected(107, "icmp type host-prohibited", "prohibited", "host-prohibited"),
    rejected(108, "icmp type admin-prohibited", "prohibited", "admin-prohibited"),
)
V6 = (
    Port(100, "drop", "silent", None),
    rejected(101, "icmpv6 type no-route", "unreachable", "no-route"),
    rejected(102, "icmpv6 type admin-prohibited", "prohibited", "admin-prohibited"),
    rejected(103, "icmpv6 type addr-unreachable", "unreachable", "host-unreach"),
    rejected(104, "icmpv6 type port-unreachable", "refused", "port-unreach"),
    rejected(105, "icmpv6 type policy-fail", "prohibited", "admin-prohibited"),
    rejected(106, "icmpv6 type reject-route", "prohibited", "reject-route"),
)


def on_the_router(ports):
    """The same rules a hop earlier: a port unreachable from there is no word of the host."""
    return tuple(
        port._replace(number=port.number + 100, verdict="rejected" if port.verdict == "refused" else port.verdict)
        for port in ports
    )


FILTERED = {("host", 4): V4, ("router", 4): on_the_router(V4), ("host", 6): V6, ("router", 6): on_the_router(V6)}
HOOKS = {"host": "input", "router": "forward"}
PORTS = {
    (family, port.number): port
    for family in (4, 6)
    for port in (*COMMON, *FILTERED["host", family], *FILTERED["router", family])
}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """A client, a router that filters, and a host that filters, answers, listens and refuses."""
    with Network("client", "router", "host") as network, contextlib.ExitStack() as listeners:
        for node, hook in HOOKS.items():
            rules = tmp_path_factory.mktemp("rules") / node
            rules.write_text(ruleset(node, hook))
            network.run(f"{node}: sysctl -q -w {UNLIMITED}")
            network.run(f"{node}: nft -f {rules}")
        network.run(f"host: answer {ANSWERING} &")
        with network.inside("host"):
            listener = listeners.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
            listener.bind(("::", LISTENING))
        yield network


def ruleset(node, hook):
    rules = [
        f"meta nfproto ipv{family} udp dport {port.number} {port.rule}"
        for family in (4, 6)
        for port in FILTERED[node, family]
    ]
    return "\n".join(["table inet f {", f"chain c {{ type filter hook {hook} priority 0;", *rules, "}", "}", ""])


def output_of(network, line):
    done = subprocess.run(network.command(line), check=False, capture_output=True, text=True)
    assert 0 == done.returncode, done.stderr
    return done.stdout


def ports_of(family):
    return ",".join(str(number) for of, number in PORTS if of == family)


@pytest.fixture(scope="module")
def nmap_says(network):
    """State and reason by family and port."""
    try:
        return {(family, number): state for family in (4, 6) for number, state in nmap(network, family)}
    except CannotRun as reason:
        pytest.skip(str(reason))


def nmap(network, family):
    report = ET.fromstring(
        output_of(
            network,
            f"client: nmap -sU -Pn -n {'-6' if family == 6 else ''} -oX -"
            f" -p {ports_of(family)} {address(family, 2, 2)}",
        )
    )
    for port in report.iter("port"):
        state = port.find("state")
        yield int(port.get("portid")), (state.get("state"), state.get("reason"))


@pytest.fixture(scope="module")
def we_say(network):
    """Verdict, and the reason of the error behind it, by family and port."""
    report = json.loads(
        output_of(
            network,
            f"client: {sys.executable} -m udpprobe scan --format json"
            f" {address(4, 2, 2)}:{ports_of(4)} [{address(6, 2, 2)}]:{ports_of(6)}",
        )
    )
    return {
        (6 if ":" in each["address"] else 4, each["port"]): (
            each["verdict"],
            each["findings"][0]["reason"] if each["findings"] else None,
        )
        for each in report["destinations"]
    }


def named(key):
    return "v{}-{}".format(*key)


@pytest.mark.parametrize("key", PORTS, ids=named)
def test_we_report_what_happened_to_the_datagram(we_say, key):
    assert (PORTS[key].verdict, PORTS[key].reason) == we_say[key]


@pytest.mark.parametrize("key", [key for key in PORTS if not PORTS[key].why], ids=named)
def test_nmap_reports_the_same_state(nmap_says, we_say, key):
    assert nmap_says[key][0] == STATES[we_say[key][0]]


@pytest.mark.parametrize("key", [key for key in PORTS if PORTS[key].reason and not PORTS[key].why], ids=named)
def test_nmap_gives_the_same_reason(nmap_says, we_say, key):
    assert nmap_says[key][1] == we_say[key][1]


@pytest.mark.parametrize("key", [key for key in PORTS if PORTS[key].why], ids=named)
def test_differences_from_nmap_are_additional_knowledge(nmap_says, we_say, key):
    assert ("open|filtered", "no-response") == nmap_says[key], PORTS[key].why
    assert "silent" != we_say[key][0]
