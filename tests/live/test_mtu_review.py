"""Path MTUs where packets go round, where DF is cleared, and behind an interface whose peer takes less."""

from __future__ import annotations

import json
import subprocess

import forked
import pytest
from network import Network, address, require
from scanning import FAMILIES, HOST, NETS, UDPPROBE, UNLIMITED, target

pytestmark = [pytest.mark.live, pytest.mark.slow]
BY_FAMILY = pytest.mark.parametrize("family", FAMILIES)
CLOSED, CLEARED = 7000, 7001
LOOP = {family: net.format(1) for family, net in NETS.items()}


@pytest.fixture(scope="module")
def network():
    require("nft", "sysctl")
    with Network("prober", "near", "far", "host") as made:
        for node in ("near", "far", "host"):
            made.run(f"{node}: {UNLIMITED}")
        for family in FAMILIES:
            made.run(f"far: ip -{family} route add {LOOP[family]} via {address(family, 2, 1)}")
        made.run("near: nft add table ip clear")
        made.run("near: nft add chain ip clear p '{ type filter hook prerouting priority -300; }'")
        made.run(f"near: nft add rule ip clear p udp dport {CLEARED} ip frag-off set 0")
        yield made


def measure(network, to, port=CLOSED, options=""):
    command = network.command(f"prober: {UDPPROBE} mtu --format json {options} {target(to, port)}")
    done = forked.run(command, timeout=90)
    assert (0, "") == (done.returncode, done.stderr)
    return json.loads(done.stdout)


@BY_FAMILY
@pytest.mark.parametrize(("ttl", "verdict"), [(64, "loop"), (20, "expired")])
def test_a_loop_is_named_if_the_ttl_is_evidence(network, family, ttl, verdict):
    told = measure(network, LOOP[family], options=f"--timeout 0.5 --ttl {ttl}")
    assert (verdict, None) == (told["verdict"], told["path_mtu"])


def test_a_cleared_df_is_noted_because_fragments_may_arrive(network):
    network.run("far: ip link set right mtu 1400")
    try:
        kept, cleared = measure(network, HOST[4]), measure(network, HOST[4], CLEARED, "--no-control")
    finally:
        network.run("far: ip link set right mtu 1500")
    assert ("too-big", 1400, []) == (kept["verdict"], kept["path_mtu"], kept["notes"])
    assert ("ok", 1500) == (cleared["verdict"], cleared["path_mtu"])
    assert any("without DF" in note for note in cleared["notes"])


@BY_FAMILY
def test_a_packet_the_peer_interface_drops_is_not_resent_endlessly(network, family):
    network.run("prober: ip link set right mtu 9000")
    try:
        before = packets_sent(network)
        told = measure(network, HOST[family])
        sent = packets_sent(network) - before
    finally:
        network.run("prober: ip link set right mtu 1500")
    assert (1500, []) == (told["path_mtu"], told["notes"])
    assert sent < 20 * told["sent"]
    assert told["duration_ms"] < 4000  # it waits for silence, and not for a queue


def packets_sent(network):
    said = subprocess.run(
        network.command("prober: ip -s -j link show right"), check=True, capture_output=True, text=True
    ).stdout
    counts = json.loads(said)[0]["stats64"]["tx"]
    return counts["packets"] + counts["dropped"]
