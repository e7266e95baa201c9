"""What leaves the simulated internet: sound packets, the same ones in every run, for any bytes that come in."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from playing import SECOND, YOU, dissected, probe
from profiles import examples
from scapy.layers.inet import ICMP, IP, TCP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Raw
from scapy.utils import PcapWriter

from udpprobe.lab.scenario import load, names
from udpprobe.lab.world import World

SPOILT = {"reordering-link", "mangled-quotes", "bad-nat", "forger"}
"""Where bytes are wrong on purpose."""
CHECKED = ("ip", "udp", "tcp", "icmp", "icmpv6", "icmp.ext")
BAD = " || ".join(["_ws.malformed", *(f"{name}.checksum.status == 0" for name in CHECKED)])
STRICT = [option for name in ("ip", "udp", "tcp") for option in ("-o", f"{name}.check_checksum:TRUE")]
AS_DATA = ["-d", "udp.port==1-65535,data"]
"""Payloads are not what their ports promise, so that tshark must not look into them."""


def shots(scenario):
    """Packets of all kinds to its targets, with every TTL that matters."""
    for target in scenario.targets[:6]:
        host, port = target.rsplit(":", 1)
        family, host = (6, host.strip("[]")) if "[" in host else (4, host)
        yield from (probe(family, int(port), ttl, to=host) for ttl in (1, 2, 3, 4, 5, 64))
        yield from (probe(family, int(port), to=host, data=bytes(size)) for size in (0, 1, 1300, 1400, 1452))
        yield from others(host, family)


def others(host, family):
    if family == 4:
        header = IP(src=YOU[4], dst=host, id=9)
        return [
            header / ICMP() / b"ping",
            header / TCP(dport=443, flags="S"),
            IP(src=YOU[4], dst=host, proto=99),
            IP(src=YOU[4], dst=host, id=8, flags="MF") / Raw(bytes(64)),
        ]
    header = IPv6(src=YOU[6], dst=host)
    return [
        header / ICMPv6EchoRequest(data=b"ping"),
        header / TCP(dport=443, flags="S"),
        header / IPv6ExtHdrDestOpt() / Raw(bytes(8)),
        header / IPv6ExtHdrFragment(m=1, id=5) / Raw(bytes(64)),
    ]


def run(name, step_ns=SECOND // 50, seed=None):
    """All that comes back, until nothing more will."""
    scenario = load(name)
    world, back = World(scenario, seed), []
    for number, shot in enumerate(shots(scenario)):
        world.receive(bytes(shot), number * step_ns)
        back += world.due(number * step_ns)
    while world.next_ns is not None:
        back += world.due(world.next_ns)
    return back


@pytest.fixture(scope="module")
def runs():
    return {name: run(name) for name in names()}


@pytest.mark.parametrize("name", names())
def test_the_same_run_twice_gives_the_same_packets(name, runs):
    assert runs[name]
    assert runs[name] == run(name)


@pytest.mark.parametrize("name", ["lossy-link", "reordering-link"])
def test_another_seed_is_another_run(name, runs):
    assert runs[name] != run(name, seed=99)


@pytest.mark.parametrize("name", sorted(set(names()) - SPOILT))
def test_scapy_rebuilds_the_same_bytes_from_what_it_dissects(name, runs):
    for raw in runs[name]:
        again = dissected(raw)
        for layer in (again, again.payload):
            for field in ("len", "plen", "chksum", "cksum"):
                if layer.fields.get(field) is not None:
                    layer.delfieldval(field)
        assert again.payload.name != "Raw" or again.nh == 44
        assert raw == bytes(again)


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_tshark_finds_nothing_malformed_and_every_checksum_right(runs, tmp_path):
    path = tmp_path / "all.pcap"
    with PcapWriter(str(path), linktype=101) as writer:
        for name in sorted(set(runs) - SPOILT):
            for raw in runs[name]:
                writer.write(raw)
    total, bad = (tshark(path, condition) for condition in ("ip || ipv6", BAD))
    assert total > 500
    assert 0 == bad


def tshark(path, condition):
    """How many packets fit."""
    command = [
        "tshark",
        "-n",
        "-r",
        str(path),
        *STRICT,
        *AS_DATA,
        "-Y",
        condition,
        "-T",
        "fields",
        "-e",
        "frame.number",
    ]
    return len(subprocess.run(command, capture_output=True, check=True, text=True).stdout.splitlines())


@examples(60)
@given(
    st.sampled_from(["home-nat", "loop-2", "reordering-link", "rate-limited-host"]),
    st.lists(st.tuples(st.integers(0, 20_000_000), st.integers(0, 3)), min_size=1, max_size=12),
)
def test_the_result_does_not_depend_on_how_often_due_packets_are_fetched(name, steps):
    """Each step: how much later, and how many shots; in one world everything is fetched in between."""
    scenario = load(name)
    ready = [bytes(shot) for shot in shots(scenario)]
    often, seldom = World(scenario), World(scenario)
    back, now_ns, at = [], 0, 0
    for wait_ns, count in steps:
        for number in range(count):
            for world in (often, seldom):
                world.receive(ready[(at + number) % len(ready)], now_ns)
        at += count
        back += often.due(now_ns)
        now_ns += wait_ns
        back += often.due(now_ns - wait_ns // 2)
    assert back + often.due(now_ns + 9 * SECOND) == seldom.due(now_ns + 9 * SECOND)


WHOLE = [
    bytes(each)
    for family in (4, 6)
    for each in (probe(family), *others("198.18.9.9" if family == 4 else "2001:db8:9::9", family))
]


@examples(200)
@given(
    st.one_of(
        st.binary(max_size=120),
        st.sampled_from(WHOLE).flatmap(
            lambda whole: st.tuples(
                st.integers(0, len(whole)),
                st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(0, 255)), max_size=4),
            ).map(lambda spoil: spoilt(whole, *spoil))
        ),
    ),
    st.sampled_from(["home-nat", "mpls-core", "firewall-rejects", "rate-limited-host"]),
)
@example(b"", "plain")
def test_any_bytes_are_accepted_as_input(raw, name):
    world = World(load(name))
    world.receive(raw, 0)
    for back in world.due(100 * SECOND):
        assert back[0] >> 4 in {4, 6}


def spoilt(whole, size, changes):
    raw = bytearray(whole)
    for at, value in changes:
        raw[at] = value
    return bytes(raw[:size])


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (b"", "ip-cut"),
        (bytes([0x45] + [0] * 10), "ip-cut"),
        (bytes(40), "ip-version"),
        (bytes([0x60] + [0] * 20), "ip-cut"),
        (bytes(probe(4))[:-1], "ip-cut"),
        (bytes(probe(6))[:-1], "ip-cut"),
        (bytes(probe(4))[:8] + b"\0" + bytes(probe(4))[9:], "ip-checksum"),
        (b"\x41" + bytes(probe(4))[1:], "ip-length"),
        (bytes(IPv6(nh=60) / Raw(b"\x11\x09" + bytes(14))), "extension-cut"),
        (bytes(IPv6(nh=44) / Raw(b"\x11\x00")), "extension-cut"),
    ],
)
def test_invalid_packets_are_counted_by_name(raw, fault):
    world = World(load("plain"))
    world.receive(raw, 0)
    assert {fault: 1} == world.faults
    assert world.next_ns is None
