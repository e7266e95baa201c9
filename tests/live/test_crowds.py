"""Thousands of destinations at full speed: the sender says what left, and every verdict is right all the same."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter

import forked
import pytest
from network import Network, address, require
from record import play

pytestmark = pytest.mark.live
PORTS = 6000
UNLIMITED = (
    "sysctl -q net.ipv4.icmp_ratemask=0 net.ipv6.icmp.ratelimit=0 net.ipv4.icmp_msgs_burst=1000000"
    " net.ipv4.icmp_msgs_per_sec=1000000"
)


@pytest.fixture(scope="module")
def network():
    require("sysctl")
    with Network("prober", "host") as made:
        made.run(f"host: {UNLIMITED}")
        yield made


def scanned(network, words, node="prober"):
    command = network.command(f"{node}: {sys.executable} -m udpprobe scan --rate 0 --no-progress --format json {words}")
    return json.loads(forked.run(command, check=True).stdout)


@pytest.mark.parametrize("family", [4, 6])
def test_every_closed_port_is_refused(network, family):
    told = scanned(network, f"-p 1-{PORTS} {address(family, 1, 2)}")
    rows = told["destinations"]
    assert (PORTS, {"refused"}) == (len(rows), {row["verdict"] for row in rows})
    assert told["source"]["packets"] >= 2 * PORTS  # probes count although they are not captured
    once = [row["findings"][0] for row in rows if row["sent"] == 1]
    assert len(once) > PORTS / 2
    assert all(found["rtt_ms"]["min"] >= 0 for found in once)
    assert {"exact"} == {found["match"] for found in once}


def test_an_answer_among_many_refusals_has_an_rtt(network):
    network.start("host: answer 4000")
    (row,) = [
        row
        for row in scanned(network, f"-p 1-{PORTS} {address(4, 1, 2)}")["destinations"]
        if row["verdict"] == "answered"
    ]
    assert 4000 == row["port"]
    assert row["sent"] > 1 or row["rtt_ms"]["min"] > 0


def test_this_host_is_scanned_like_others(network):
    report = scanned(network, f"-p 1-{PORTS} 127.0.0.1", node="host")
    rows = report["destinations"]
    assert report["source"]["packets"] < 2.1 * PORTS  # its probes come in, too, but count once
    assert (PORTS, 0) == (len(rows), sum(row["verdict"] not in {"refused", "answered"} for row in rows))


@pytest.mark.parametrize(
    ("family", "refusing"), [(4, ["198.51.100.1", "198.51.100.2"]), (6, ["2001:db8:ffff::1", "2001:db8:ffff::2"])]
)
def test_unsendable_ports_are_unsent_and_the_others_refused(network, family, refusing):
    for kind, to in zip(("unreachable", "prohibit"), refusing, strict=True):
        network.run(f"prober: ip route replace {kind} {to}")
    told = scanned(network, f"-p 1-2000 {refusing[0]} {address(family, 1, 2)} {refusing[1]}")
    counted = Counter((row["address"], row["verdict"], row["errno"]) for row in told["destinations"])
    assert counted == {
        (refusing[0], "unsent", "EHOSTUNREACH"): 2000,
        (address(family, 1, 2), "refused", "ECONNREFUSED"): 2000,
        (refusing[1], "unsent", "EACCES"): 2000,
    }
    assert {0} == {row["sent"] for row in told["destinations"] if row["verdict"] == "unsent"}


def test_ports_blocked_by_our_firewall_are_unsent_and_not_counted_as_sent(network):
    """The errno comes from the sender's thread, when they have been counted as sent."""
    play(network, ["prober: output: udp dport 6001-6500 drop"])
    try:
        told = scanned(network, f"-p 5001-10000 --retries 0 {address(4, 1, 2)}")
    finally:
        network.run("prober: nft flush ruleset")
    rows = told["destinations"]
    assert {"unsent": 500, "refused": 4500} == Counter(row["verdict"] for row in rows)
    assert {("EPERM", 0)} == {(row["errno"], row["sent"]) for row in rows if row["verdict"] == "unsent"}
    assert told["source"]["packets"] == sum(row["sent"] + sum(f["count"] for f in row["findings"]) for row in rows)


def test_a_recording_contains_the_probes_too(network, tmp_path):
    path = tmp_path / "scan.pcapng"
    scanned(network, f"-p 1-{PORTS} -w {path} {address(4, 1, 2)}")
    done = subprocess.run(
        [sys.executable, "-m", "udpprobe", "analyze", "--all", "--format", "json", str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    rows = json.loads(done.stdout)["destinations"]
    assert PORTS <= sum(row["sent"] for row in rows)
    assert {"exact"} == {found["match"] for row in rows for found in row["findings"]}
