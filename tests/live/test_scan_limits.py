"""Hosts and routers with Linux's default limits on ICMP errors: no closed port is called silent for want of a token."""

from __future__ import annotations

import pytest
from network import Network, address
from scanning import FAMILIES, SECONDARY, Scan, both, listening, target

pytestmark = [pytest.mark.live, pytest.mark.slow]
HOST = {family: address(family, 2, 2) for family in FAMILIES}
OTHERS = ("10.0.1.61", "10.0.1.62")
"""More addresses of the prober: Linux limits its errors by the address they go to."""
CLOSED, SILENT, ANSWERING = range(7000, 7020), (7020, 7021), 7022
PROHIBITED, FOUR_PORTS = {4: "198.51.100.1", 6: "2001:db8:ffff::1"}, range(7000, 7004)
TRUTH = {**dict.fromkeys(CLOSED, "refused"), **dict.fromkeys(SILENT, "silent"), ANSWERING: "answered"}
BURST = 6
"""Errors that Linux sends at once before its limit shows."""
PORTS = {
    "v4": target(HOST[4], *TRUTH),
    "v6": target(HOST[6], *TRUTH),
    "two-sources": f"--source-address {','.join(OTHERS)} {target(HOST[4], *TRUTH)}",
    "router": both(PROHIBITED, *FOUR_PORTS),
}


@pytest.fixture(scope="module")
def network():
    with Network("prober", "router", "host") as made:
        made.start(f"host: answer {ANSWERING}")
        for source in OTHERS:
            made.run(f"prober: ip addr add {SECONDARY[4].format(source, 'right')}")
        for family in FAMILIES:
            made.run(f"router: ip route add prohibit {PROHIBITED[family]}")
        with listening(made, "host", *SILENT):
            yield made


@pytest.fixture(scope="module")
def said(network):
    """What each scan said; all at once, for each has limits of its own."""
    running = {name: Scan(network, targets) for name, targets in PORTS.items()}
    return {name: scan.said() for name, scan in running.items()}


def duration_s(said):
    source = said.report["source"]
    return seconds(source["last_time"]) - seconds(source["first_time"])


def seconds(time):
    hours, minutes, rest = time.partition("T")[2].rstrip("Z").split(":")
    return int(hours) * 3600 + int(minutes) * 60 + float(rest)


@pytest.mark.parametrize(("name", "family"), [("v4", 4), ("v6", 6), ("two-sources", 4)])
def test_every_port_of_a_limited_host_gets_its_verdict(said, name, family):
    assert {(HOST[family], port): verdict for port, verdict in TRUTH.items()} == said[name].verdicts()
    assert (0, "") == (said[name].status, said[name].stderr)


@pytest.mark.parametrize(("name", "family"), [("v4", 4), ("v6", 6), ("two-sources", 4)])
def test_silent_ports_are_distinguished_from_rate_limited_ones(said, name, family):
    meanings = {said[name].by_destination()[HOST[family], port]["meaning"] for port in SILENT}
    assert {"listening-or-filtered"} == meanings


def test_the_scan_takes_as_long_as_the_limit_requires(said):
    assert duration_s(said["v4"]) >= len(CLOSED) - BURST - 1  # one error a second: the limit was real
    assert duration_s(said["v6"]) < 0.5 * duration_s(said["v4"])


def test_a_router_with_a_resetting_limit_reports_every_port(said):
    assert {(PROHIBITED[family], port): "prohibited" for family in FAMILIES for port in FOUR_PORTS} == said[
        "router"
    ].verdicts()
