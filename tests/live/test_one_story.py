"""What this host finds out by itself: no neighbour, no route, its own firewall. Every command tells the same of it."""

from __future__ import annotations

import json

import forked
import pytest
from network import Network, address, require
from scanning import FAMILIES, UDPPROBE, UNPRIVILEGED, target

pytestmark = [pytest.mark.live, pytest.mark.slow]
NOBODY = {family: address(family, 1, 9) for family in FAMILIES}
"""On the prober's link, and not there."""
NO_ROUTE = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}
DROPPED, REJECTED = 7004, 7005
"""Ports that the prober's own firewall lets nothing go to."""
RULES = (
    f"chain o {{ type filter hook output priority 0; udp dport {DROPPED} drop;"
    f" udp dport {REJECTED} reject with icmpx admin-prohibited; }}"
)
HOST = {family: address(family, 1, 2) for family in FAMILIES}
ITSELF = {family: address(family, 1, 1) for family in FAMILIES}
"""The prober: there, its firewall rejects in the destination's name."""
ENGINES = ("raw", "recverr", "connected")
UNSENT = [
    (NO_ROUTE, 53, "ENETUNREACH"),
    (HOST, DROPPED, "EPERM"),
    (HOST, REJECTED, "EPERM"),
    (ITSELF, DROPPED, "EPERM"),
    (ITSELF, REJECTED, "EPERM"),
]
"""What this host stops by itself: where to, and the errno."""


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    rules = tmp_path_factory.mktemp("rules") / "prober"
    rules.write_text(f"table inet own {{\n{RULES}\n}}\n")
    require("nft")
    with Network("prober", "host") as made:
        made.run("prober: ip -4 route del default")
        made.run("prober: ip -6 route del default")
        made.run(f"prober: nft -f {rules}")
        yield made


@pytest.fixture
def _quick_neighbours(network):
    """A neighbour that is not there is given up after 0.6 s: one test waits for the kernel's usual 3 s."""
    for table in ("ipv4", "ipv6"):
        network.run(f"prober: sysctl -q net.{table}.neigh.right.retrans_time_ms=200")
    yield
    for table in ("ipv4", "ipv6"):
        network.run(f"prober: sysctl -q net.{table}.neigh.right.retrans_time_ms=1000")


def told(network, words, *, before=""):
    """Report, exit status, and what stands on stderr."""
    done = forked.run(network.command(f"prober: {before}{UDPPROBE} {words}"))
    return json.loads(done.stdout), done.returncode, done.stderr


def story(family):
    return ["no-neighbour", f"no {'ARP' if family == 4 else 'NDP'} (neighbour) reply on right"]


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("engine", ["raw", "recverr"])
def test_a_missing_neighbour_is_unreachable_without_reporter_in_scan(network, engine, family):
    before = "" if engine == "raw" else UNPRIVILEGED
    report, status, _ = told(
        network, f"scan --format json --engine {engine} {target(NOBODY[family], 53)}", before=before
    )
    (found,) = report["destinations"]
    (finding,) = found["findings"]
    assert ("unreachable", 0, "host-unreach", None, None, story(family)) == (
        found["verdict"],
        status,
        finding["reason"],
        finding["reporter"],
        finding["rtt_ms"],
        finding["notes"],
    )


@pytest.mark.usefixtures("_quick_neighbours")
@pytest.mark.parametrize("family", FAMILIES)
def test_a_missing_neighbour_is_unreachable_in_check_trace_and_mtu(network, family):
    place = target(NOBODY[family], 53)
    found, status, _ = told(network, f"check --format json {place}")
    assert (2, "unreachable", f"unreachable: {story(family)[1]}") == (
        status,
        found["checks"][0]["verdict"],
        found["checks"][0]["text"],
    )
    found, _, _ = told(network, f"trace --format json {place}")
    (hop,) = found["hops"]
    (said,) = hop["reporters"]
    assert ("unreachable", False, None, None, "host-unreach", story(family)) == (
        found["verdict"],
        found["reached"],
        said["address"],
        said["rtt_ms"],
        said["reason"],
        said["notes"],
    )
    found, _, _ = told(network, f"mtu --format json {place}")
    assert ("unreachable", None, []) == (found["verdict"], found["path_mtu"], found["reports"])
    assert story(family) == found["notes"][:2]


@pytest.mark.usefixtures("_quick_neighbours")
@pytest.mark.parametrize("output", ["", "--format csv", "--format ndjson", "--format markdown"])
@pytest.mark.parametrize("command", ["scan", "trace", "mtu"])
def test_every_format_can_show_a_missing_reporter(network, command, output):
    done = forked.run(network.command(f"prober: {UDPPROBE} {command} {output} {target(NOBODY[4], 53)}"))
    assert (0, True) == (done.returncode, "unreachable" in done.stdout), done.stderr


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("engine", ENGINES)
def test_probes_this_host_stops_are_unsent_in_every_engine(network, engine, family):
    places = " ".join(target(to[family], port) for to, port, _ in UNSENT)
    before = "" if engine == "raw" else UNPRIVILEGED
    report, _, _ = told(network, f"scan --format json --engine {engine} {places}", before=before)
    expected = {(to[family], port): ("unsent", errno, 0, []) for to, port, errno in UNSENT}
    assert expected == {
        (each["address"], each["port"]): (each["verdict"], each["errno"], each["sent"], each["findings"])
        for each in report["destinations"]
    }
    found, status, _ = told(network, f"check --format json --engine {engine} {places}", before=before)
    assert (3, ["unsent"] * len(UNSENT)) == (status, [each["verdict"] for each in found["checks"]])


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(("to", "port", "errno"), UNSENT)
def test_probes_this_host_stops_give_no_hop_and_no_path_mtu(network, family, to, port, errno):
    place, status = target(to[family], port), 3 if errno == "ENETUNREACH" else 0
    found, ended, said = told(network, f"trace --format json {place}")
    assert ("unsent", errno, [], False, status) == (
        found["verdict"],
        found["errno"],
        found["hops"],
        found["reached"],
        ended,
    )
    assert ("cannot send to" in said) == (status == 3)
    found, ended, said = told(network, f"mtu --format json {place}")
    assert ("unsent", errno, None, status) == (found["verdict"], found["errno"], found["path_mtu"], ended)
