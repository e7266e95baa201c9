"""Hosts and routers that refuse some ports each, with limits of their own: a port is evidence only for its reporter."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import forked
import pytest
from network import Network, address, require
from scanning import FAMILIES, UDPPROBE, UNPRIVILEGED, Scan, listening, target

from udpprobe.endpoints import endpoint_text

pytestmark = [pytest.mark.live, pytest.mark.slow]
HOST = {family: address(family, 2, 2) for family in FAMILIES}
OTHER = {4: "10.0.2.77", 6: "2001:db8:2::77"}
"""Another address of the host, without firewall."""
HOST_S, ROUTER_S = range(125, 133), (135, 136)
"""What the host prohibits, one error a second; and what the router prohibits, as often as it is asked."""
LISTENING = 200
MOSTLY_REJECTED = 300
"""A port of the host's that drops one probe a second and rejects the rest."""
SLOW = 400
"""A port of the host's that answers after 1.2 s."""
FREE = "sysctl -q net.ipv4.icmp_ratemask=0 net.ipv6.icmp.ratelimit=0"
RULES = {
    "router": f"chain f {{ type filter hook forward priority 0; udp dport {{ {', '.join(map(str, ROUTER_S))} }}"
    " reject with icmpx admin-prohibited; }",
    "host": f"chain i {{ type filter hook input priority 0; udp dport {{ {LISTENING}, {SLOW} }} accept;"
    f" ip daddr {OTHER[4]} udp dport {MOSTLY_REJECTED} limit rate 1/second burst 1 packets drop;"
    f" ip6 daddr {OTHER[6]} udp dport {MOSTLY_REJECTED} limit rate 1/second burst 1 packets drop;"
    f" ip daddr {OTHER[4]} return; ip6 daddr {OTHER[6]} return;"
    " meta l4proto udp reject with icmpx admin-prohibited; }",
}


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    directory = tmp_path_factory.mktemp("rules")
    require("nft", "sysctl")
    with Network("prober", "router", "host") as made:
        made.run(f"router: {FREE}")
        made.run("host: sysctl -q net.ipv4.icmp_ratelimit=1000 net.ipv6.icmp.ratelimit=1000")
        for node, chains in RULES.items():
            (directory / node).write_text(f"table inet r {{\n{chains}\n}}\n")
            made.run(f"{node}: nft -f {directory / node}")
        for family, bits in ((4, 32), (6, 128)):
            made.run(f"host: ip addr add {OTHER[family]}/{bits} dev left" + (" preferred_lft 0" if family == 6 else ""))
        made.start(f"host: answer {SLOW} --delay 1.2")
        with listening(made, "host", LISTENING):
            yield made


@pytest.mark.parametrize(("engine", "family"), [("raw", 4), ("raw", 6), ("recverr", 4), ("connected", 6)])
def test_a_port_prohibited_by_the_host_is_not_silent_because_of_a_router(network, engine, family):
    before = "" if engine == "raw" else UNPRIVILEGED
    ports = (*HOST_S, *ROUTER_S, LISTENING)
    said = Scan(network, f"--engine {engine} {target(HOST[family], *ports)}", before=before).said()
    assert 0 == said.status, said.stderr
    expected = {(HOST[family], port): "silent" if port == LISTENING else "prohibited" for port in ports}
    assert expected == said.verdicts()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_port_that_drops_a_probe_a_second_and_rejects_the_rest_is_refused(network, family):
    said = Scan(network, target(OTHER[family], MOSTLY_REJECTED)).said()
    assert {(OTHER[family], MOSTLY_REJECTED): "refused"} == said.verdicts(), said


def check(network, words):
    done = forked.run(network.command(f"prober: {UDPPROBE} check --format json {words}"))
    return done.returncode, json.loads(done.stdout)["checks"][0]


@pytest.mark.parametrize("family", FAMILIES)
def test_an_answer_that_takes_longer_than_the_wait_is_an_answer(network, family):
    status, found = check(network, target(HOST[family], SLOW))
    assert (0, "answered") == (status, found["verdict"])


@pytest.mark.parametrize("family", FAMILIES)
def test_other_traffic_that_uses_up_a_limit_leaves_ports_rate_limited(network, family):
    flood = start(network, "prober", family, 45000, OTHER[family], [9], 0.002)
    try:
        time.sleep(1)
        for _ in range(3):  # one probe in hundreds comes just when the host may send an error again
            (found,) = Scan(network, f"--timeout 2 {target(OTHER[family], 10)}").said().report["destinations"]
            if found["verdict"] != "refused":
                break
    finally:
        flood.kill()
        flood.wait()
    assert ("silent", "rate-limited") == (found["verdict"], found["meaning"])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("node", "engine"), [("host", "raw"), ("router", "raw"), ("host", "recverr")])
def test_a_datagram_from_an_unprobed_address_is_no_answer_but_is_written(network, tmp_path, family, node, engine):
    source, path = 41000, tmp_path / "scan.pcapng"
    write = f"-w {path} " if engine == "raw" else ""
    stream = start(network, node, family, 7777, address(family, 1, 1), range(source, source + 1), 0.05)
    try:
        said = Scan(
            network, f"{write}--engine {engine} --source-port {source} {target(HOST[family], LISTENING)}"
        ).said()
    finally:
        stream.kill()
        stream.wait()
    (found,) = said.report["destinations"]
    assert "silent" == found["verdict"]
    (finding,) = found["findings"]
    assert [f"answer-from {note_of(node, family)}"] == finding["notes"]
    if write:
        capture = path.read_bytes()
        strays = capture.count(b"unrelated")
        assert 0 < finding["count"] <= strays
        assert strays < capture.count(b"silent (no-evidence)")  # their comments, and those of the probes


def note_of(node, family):
    if node == "host":
        return "port 7777, which was not probed: not taken for an answer"
    return f"{endpoint_text(address(family, 1, 2), 7777)}, which was not probed"


def start(network, node, family, source_port, to, ports, interval_s):
    """Datagrams from a port to others of an address, without end."""
    code = f"""
import socket, time
kind = socket.AF_INET6 if {family} == 6 else socket.AF_INET
opened = socket.socket(kind, socket.SOCK_DGRAM)
opened.bind(("", {source_port}))
while True:
    for port in {list(ports)}:
        try:
            opened.sendto(b"unrelated", ({to!r}, port))
        except OSError:
            pass
    time.sleep({interval_s})
"""
    with network.inside(node):
        return subprocess.Popen([sys.executable, "-c", code])
