"""What the options of scan change, between real kernels: sizes, TTLs, sources, zones, interfaces, names, files."""

from __future__ import annotations

import json
from pathlib import Path

import forked
import pytest
from scanning import (
    ALSO_CLOSED,
    ANSWERING,
    CLOSED,
    DROPPED,
    FAMILIES,
    FORBIDDEN,
    HOST,
    LISTENING,
    NARROW,
    NATTED,
    NEAR,
    NOBODY,
    OTHER_SIDE,
    PROBER,
    PROHIBITED,
    REJECTED,
    SIDE,
    UDPPROBE,
    Scan,
    both,
    scan,
    target,
)

pytestmark = [pytest.mark.live, pytest.mark.slow]
LINK_LOCAL = "fe80::ff:fe00:102"
"""Near's, from the MAC address that the network gives it."""


@pytest.fixture(params=["raw", "recverr"])
def engine(request):
    return request.param


def findings(said, to, port):
    """(verdict, reporter, type, code, MTU) of each finding, first of IPv4."""
    told = said.by_destination()
    return [
        (each["verdict"], each["reporter"], each["icmp_type"], each["icmp_code"], each["mtu"])
        for family in FAMILIES
        for each in told[to[family], port]["findings"]
    ]


def flows(network, path):
    """(source, source port) of what was sent, as `analyze` reads it in a file."""
    command = network.command(f"prober: {UDPPROBE} analyze {path} --all --group-by flow --format json")
    done = forked.run(command, check=True)
    return {(each["source"], each["source_port"]) for each in json.loads(done.stdout)["destinations"]}


def test_a_probe_too_big_for_a_link_on_the_path_gets_its_mtu(network, engine):
    said = scan(network, f"--engine {engine} --size 1500 {both(HOST, CLOSED)}")
    assert [("too-big", NEAR[4], 3, 4, NARROW), ("too-big", NEAR[6], 2, 0, NARROW)] == findings(said, HOST, CLOSED)


def test_a_probe_that_just_fits_arrives(network, engine):
    said = scan(network, f"--engine {engine} --size {NARROW} {both(HOST, CLOSED)}")
    assert [("refused", HOST[4], 3, 3, None), ("refused", HOST[6], 1, 4, None)] == findings(said, HOST, CLOSED)


@pytest.mark.parametrize("any_engine", ["raw", "recverr", "connected"])
def test_a_probe_too_big_for_our_own_link_is_unsent(network, any_engine):
    said = scan(network, f"--engine {any_engine} --size 1501 {both(HOST, CLOSED)}")
    assert {("unsent", "EMSGSIZE", 0)} == {
        (each["verdict"], each["errno"], each["sent"]) for each in said.report["destinations"]
    }
    assert 2 == len(said.report["destinations"])


def test_a_ttl_of_one_expires_at_the_first_router_without_a_loop(network, engine):
    said = scan(network, f"--engine {engine} --ttl 1 {both(HOST, CLOSED)}")
    assert [("expired", NEAR[4], 11, 0, None), ("expired", NEAR[6], 3, 0, None)] == findings(said, HOST, CLOSED)


def test_behind_a_masquerade_the_verdicts_are_the_same(network, engine):
    ports = {CLOSED: "refused", REJECTED: "rejected", ANSWERING: "answered", PROHIBITED: "prohibited"}
    said = scan(network, f"--engine {engine} --source-address {NATTED[4]},{NATTED[6]} {both(HOST, *ports)}")
    assert {(HOST[family], port): verdict for port, verdict in ports.items() for family in FAMILIES} == said.verdicts()
    assert {} == said.report["faults"]


def test_probes_leave_from_every_source_address_and_from_the_source_port(network, tmp_path):
    path = tmp_path / "sources.pcapng"
    sources = [addresses[family] for addresses in (PROBER, NATTED) for family in FAMILIES]
    said = scan(
        network,
        f"--source-address {','.join(sources)} --source-port 45000 -w {path}"
        f" {both(HOST, CLOSED, ALSO_CLOSED, ANSWERING)}",
    )
    assert {"refused", "answered"} == set(said.verdicts().values())
    assert {(source, 45000) for source in sources} == flows(network, path)


def test_a_foreign_source_address_is_an_error_in_one_line(network, engine):
    said = Scan(network, f"--engine {engine} --source-address 192.0.2.1 {target(HOST[4], CLOSED)}").said()
    assert (3, 1) == (said.status, said.stderr.count("\n"))
    assert "192.0.2.1" in said.stderr


@pytest.mark.parametrize("any_engine", ["raw", "recverr", "connected"])
def test_a_neighbour_is_probed_by_its_link_local_address(network, any_engine):
    zoned = scan(network, f"--engine {any_engine} '[{LINK_LOCAL}%right]:{CLOSED}'").report["destinations"]
    by_interface = scan(network, f"--engine {any_engine} -i right '[{LINK_LOCAL}]:{CLOSED}'").report["destinations"]
    assert ["refused"] * 2 == [each["verdict"] for each in zoned + by_interface]
    assert {(LINK_LOCAL, "right")} == {(each["address"], each["zone"]) for each in zoned + by_interface}


def test_one_scan_reaches_over_all_interfaces(network, engine):
    said = scan(
        network,
        f"--engine {engine} {both(HOST, CLOSED)} {both(OTHER_SIDE, CLOSED, ANSWERING)}"
        f" {both({4: '127.0.0.1', 6: '::1'}, CLOSED)} {both(SIDE, CLOSED)}",
    )
    assert {(OTHER_SIDE[family], ANSWERING): "answered" for family in FAMILIES} == {
        key: verdict for key, verdict in said.verdicts().items() if verdict != "refused"
    }
    assert 10 == len(said.verdicts())


def test_only_the_named_interface_is_used(network, tmp_path):
    path = tmp_path / "side.pcapng"
    said = scan(network, f"-i side -w {path} {both(OTHER_SIDE, CLOSED, ANSWERING)}")
    assert {"refused", "answered"} == set(said.verdicts().values())
    assert {SIDE[4], SIDE[6]} == {source for source, _ in flows(network, path)}


@pytest.fixture
def hosts_file(network):
    """Names that only the prober knows."""
    directory = Path("/etc/netns", network.namespace("prober"))
    directory.mkdir(parents=True)
    (directory / "hosts").write_text(f"{HOST[4]} service.test\n{HOST[6]} service.test\n127.0.0.1 localhost\n")
    yield
    (directory / "hosts").unlink()
    directory.rmdir()


@pytest.mark.usefixtures("hosts_file")
def test_a_file_of_names_is_scanned_at_all_their_addresses(network, tmp_path):
    names = tmp_path / "names"
    names.write_text(f"# the services\nservice.test:{CLOSED}\nservice.test   # on the ports of -p\n")
    said = scan(network, f"--targets-file {names} -p {ANSWERING}")
    assert {
        (HOST[family], port): verdict
        for family in FAMILIES
        for port, verdict in ((CLOSED, "refused"), (ANSWERING, "answered"))
    } == said.verdicts()
    assert all("service.test" in str(each["notes"]) for each in said.report["destinations"])


@pytest.mark.parametrize(("verdicts", "status"), [("refused", 1), ("too-big,silent", 0), ("answered,loop", 1)])
def test_a_verdict_of_fail_on_is_exit_status_1(network, verdicts, status):
    said = Scan(network, f"--fail-on {verdicts} {both(HOST, CLOSED, ANSWERING)}").said()
    assert (status, "") == (said.status, said.stderr)


def test_without_control_no_other_port_is_probed(network, tmp_path):
    path = tmp_path / "no-control.pcapng"
    said = scan(network, f"--no-control -w {path} --timeout 0.5 {both(HOST, LISTENING, DROPPED)}")
    assert {("silent", "no-evidence")} == {(each["verdict"], each["meaning"]) for each in said.report["destinations"]}
    told = forked.run(network.command(f"prober: {UDPPROBE} analyze {path} --all --format json"), check=True)
    assert {LISTENING, DROPPED} == {each["port"] for each in json.loads(told.stdout)["destinations"]}


def test_control_distinguishes_a_silent_port_from_a_dead_host(network):
    said = scan(network, f"--timeout 1 {both(HOST, LISTENING)}").report["destinations"]
    assert {("silent", "listening-or-filtered")} == {(each["verdict"], each["meaning"]) for each in said}


def test_a_scan_with_a_short_timeout_does_not_wait_for_arp(network):
    hasty = scan(network, f"--timeout 0.3 --retries 0 {both(NOBODY, CLOSED)}").report["destinations"]
    assert {"silent"} == {each["verdict"] for each in hasty}


def test_no_rate_bypasses_the_firewall_of_this_host(network):
    said = scan(network, f"--rate 0 {both(HOST, '1-3000', FORBIDDEN)}")
    told = said.by_destination()
    assert {("unsent", "EPERM")} == {
        (told[HOST[family], FORBIDDEN]["verdict"], told[HOST[family], FORBIDDEN]["errno"]) for family in FAMILIES
    }
