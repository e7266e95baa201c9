"""How scan gets on with the rest of the world: its kernel, other programs, other scans, its user, its files."""

from __future__ import annotations

import json
import socket
import time

import forked
import pytest
from network import stop
from scanning import (
    ANSWERING,
    BLACKHOLE,
    CLOSED,
    DROPPED,
    FAMILIES,
    HOST,
    LISTENING,
    LOOP,
    MUTE,
    PROBER,
    PROHIBITED,
    PROHIBITED_NET,
    REJECTED,
    TWICE,
    UDPPROBE,
    UNPRIVILEGED,
    UNSENT_PROHIBIT,
    Scan,
    both,
    packets_sent,
    scan,
    target,
    wait_until,
)
from waiting import until_it_sleeps

pytestmark = [pytest.mark.live, pytest.mark.slow]
SOURCE_PORT = 45_000
DOMAINS = {4: socket.AF_INET, 6: socket.AF_INET6}
MANY = range(8000, 8300)


@pytest.fixture(params=["raw", "recverr", "connected"])
def engine(request):
    return request.param


def output_of(network, line):
    return forked.run(network.command(line), check=True).stdout


def counted(network, path, expression):
    """Frames of a capture that a display filter of tshark lets through."""
    return len(output_of(network, f"prober: tshark -r {path} -Y '{expression}'").splitlines())


def under_way(network, options):
    """A scan from SOURCE_PORT that has heard of its first probes; it would wait a minute for the others."""
    before = packets_sent(network)
    begun = Scan(network, f"--source-port {SOURCE_PORT} --timeout 60 {options}")
    wait_until(lambda: not all(bind_all(network)))
    wait_until(lambda: packets_sent(network) > before)
    until_it_sleeps(begun.process)
    return begun


def bind_all(network):
    """Whether each family's SOURCE_PORT could be bound."""
    with network.inside("prober"):
        return [0 == bind_once(family) for family in FAMILIES]


def bind_once(family):
    """0, or the errno."""
    with socket.socket(DOMAINS[family], socket.SOCK_DGRAM) as other:
        if family == 6:
            other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        try:
            other.bind(("", SOURCE_PORT))
        except OSError as refusal:
            return refusal.errno
    return 0


def test_no_other_program_gets_the_source_port_during_a_scan(network, engine):
    begun = under_way(network, f"--engine {engine} {both(MUTE, CLOSED)}")
    assert [False, False] == bind_all(network)
    begun.interrupt()
    assert 130 == begun.said().status
    assert [True, True] == bind_all(network)


def test_a_source_port_in_use_is_an_error_in_one_line(network, engine):
    with network.inside("prober"), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", SOURCE_PORT))
        said = Scan(network, f"--engine {engine} --source-port {SOURCE_PORT} {target(HOST[4], CLOSED)}").said()
    assert (3, 1) == (said.status, said.stderr.count("\n"))
    assert str(SOURCE_PORT) in said.stderr


def test_our_kernel_refuses_no_answer(network, engine, tmp_path):
    path = tmp_path / "wire.pcap"
    own_errors = f"(src host {PROBER[4]} and icmp) or (src host {PROBER[6]} and icmp6 and ip6[40] < 128)"
    with network.capturing(path, f"prober: tcpdump -i right 'udp or {own_errors}'"):
        said = scan(network, f"--engine {engine} {both(HOST, ANSWERING, TWICE, CLOSED)}")
        time.sleep(0.2)
    assert {"answered"} == {said.verdicts()[HOST[family], port] for family in FAMILIES for port in (ANSWERING, TWICE)}
    assert 4 == counted(network, path, f"udp.srcport == {TWICE}")
    assert 0 == counted(network, path, "icmp or icmpv6")


def test_other_traffic_does_not_enter_the_report(network, engine):
    before = packets_sent(network)
    others = [
        network.start(f"prober: send {HOST[family]} {port} --count 1000 --source-port {40_000 + port + family}")
        for port in (CLOSED, ANSWERING)
        for family in FAMILIES
    ]  # one of the ports is scanned too
    wait_until(lambda: packets_sent(network) >= before + 3 * len(others))
    said = scan(network, f"--engine {engine} {both(HOST, CLOSED)} {both(MUTE, CLOSED)} --timeout 2 --no-control")
    still = [each.poll() for each in others]
    for each in others:
        stop(each)
    assert [None] * len(others) == still
    assert {(HOST[family], CLOSED): "refused" for family in FAMILIES} | {
        (MUTE[family], CLOSED): "silent" for family in FAMILIES
    } == said.verdicts()
    report = said.report
    sent = sum(each["sent"] for each in report["destinations"])
    assert (sent + 2, [], {}) == (report["source"]["packets"], report["unmatched"], report["faults"])


def test_two_simultaneous_scans_of_a_host_are_both_correct(network, engine):
    ports = {
        CLOSED: "refused",
        ANSWERING: "answered",
        LISTENING: "silent",
        DROPPED: "silent",
        REJECTED: "rejected",
        **dict.fromkeys(MANY, "refused"),
    }
    if engine == "connected":
        ports[REJECTED] = "refused"  # it hears no reporter
    both_scans = [Scan(network, f"--engine {engine} {both(HOST, *ports)}") for _ in range(2)]
    expected = {(HOST[family], port): verdict for family in FAMILIES for port, verdict in ports.items()}
    for each in both_scans:
        said = each.said()
        assert (0, expected) == (said.status, said.verdicts())


def test_ctrl_c_shows_the_results_so_far(network, engine):
    begun = under_way(network, f"--engine {engine} {both(HOST, CLOSED)} {both(MUTE, CLOSED)}")
    begun.interrupt()
    said = begun.said()
    assert (130, []) == (said.status, said.complaints)
    assert {(HOST[family], CLOSED): "refused" for family in FAMILIES} | {
        (MUTE[family], CLOSED): None for family in FAMILIES
    } == said.verdicts()  # it might still have answered


def test_without_privilege_recverr_is_used_and_named(network):
    said = Scan(network, both(HOST, CLOSED, ANSWERING, REJECTED), before=UNPRIVILEGED).said()
    assert {
        (HOST[family], port): verdict
        for family in FAMILIES
        for port, verdict in ((CLOSED, "refused"), (ANSWERING, "answered"), (REJECTED, "rejected"))
    } == said.verdicts()
    assert (0, "recverr", 1) == (said.status, said.report["source"]["name"], said.stderr.count("\n"))
    assert "CAP_NET_RAW" in said.stderr
    assert "cannot see errors that the kernel does not report" in said.stderr


@pytest.mark.parametrize("engine", ["recverr", "connected"])
def test_unprivileged_engines_need_no_privilege(network, engine):
    said = scan(network, f"--engine {engine} {both(HOST, CLOSED)}", before=UNPRIVILEGED)
    assert {"refused"} == set(said.verdicts().values())


def test_raw_without_privilege_says_what_to_do(network):
    said = Scan(network, f"--engine raw {both(HOST, CLOSED)}", before=UNPRIVILEGED).said()
    assert (3, None, 1) == (said.status, said.report, said.stderr.count("\n"))
    assert "root" in said.stderr
    assert "cap_net_raw" in said.stderr.lower()


@pytest.fixture(scope="module")
def written(network, tmp_path_factory):
    """A scan, and the file it wrote."""
    path = tmp_path_factory.mktemp("written") / "scan.pcapng"
    ports = (CLOSED, ANSWERING, TWICE, LISTENING, REJECTED, PROHIBITED)
    said = scan(
        network,
        f"-w {path} --timeout 1 {both(HOST, *ports)} "
        + " ".join(both(to, CLOSED) for to in (MUTE, BLACKHOLE, PROHIBITED_NET, LOOP, UNSENT_PROHIBIT)),
    )
    return said, path


def test_analyze_of_the_written_file_gives_the_same_verdicts(network, written):
    said, path = written
    report = json.loads(output_of(network, f"prober: {UDPPROBE} analyze {path} --all --format json"))
    found = {(each["address"], each["port"]): each for each in report["destinations"]}
    sent = {key: each for key, each in said.by_destination().items() if each["verdict"] != "unsent"}
    assert len(sent) >= 18
    for name in ("verdict", "errno", "sent", "answered", "errors"):
        assert {key: each[name] for key, each in sent.items()} == {key: found[key][name] for key in sent}
    assert {key[1] for key in set(found) - set(sent)} <= set(range(49_152, 65_536))  # control ports
    assert (said.report["source"]["packets"], []) == (report["source"]["packets"], report["unmatched"])


def test_tshark_shows_the_verdicts_as_comments(network, written):
    said, path = written
    told = {
        tuple(line.split("\t"))
        for line in output_of(
            network,
            f"prober: tshark -r {path} -Y 'udp.srcport && !icmp && !icmpv6 && udp.dstport == {CLOSED}'"
            " -T fields -e ip.dst -e ipv6.dst -e frame.comment",
        ).splitlines()
    }
    comments = {v4 or v6: comment for v4, v6, comment in told}
    sent = {
        address: each
        for (address, port), each in said.by_destination().items()
        if port == CLOSED and each["verdict"] != "unsent"
    }
    assert set(sent) == set(comments)
    assert all(comments[address].startswith(each["verdict"]) for address, each in sent.items())
    assert {f"refused by {HOST[family]}" for family in FAMILIES} <= set(comments.values())
    assert "silent (no-evidence)" in comments.values()
