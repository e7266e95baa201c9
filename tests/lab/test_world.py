"""The simulated internet: what comes back for what goes in, in simulated time."""

from __future__ import annotations

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import ICMPv6TimeExceeded, IPv6

from udpprobe.lab.scenario import load
from udpprobe.lab.world import World


def sent(world, packet, now_ns=0):
    world.receive(bytes(packet), now_ns)
    return [IP(raw) if raw[0] >> 4 == 4 else IPv6(raw) for raw in world.due(now_ns + 10**9)]


def test_a_port_that_answers_does():
    answer, = sent(World(load("plain")), IP(src="198.18.0.2", dst="198.18.9.9") / UDP(sport=4000, dport=7) / b"hello")
    assert ("198.18.9.9", "198.18.0.2", 7, 4000, b"hello") == (
        answer.src, answer.dst, answer[UDP].sport, answer[UDP].dport, answer[UDP].load)


@pytest.mark.parametrize(("ttl", "reporter"), [(1, "2001:db8::1"), (2, "2001:db8:1::1")])
def test_each_router_on_the_way_reports_a_hop_limit_that_ran_out(ttl, reporter):
    error, = sent(World(load("plain")), IPv6(src="2001:db8::2", dst="2001:db8:9::9", hlim=ttl) / UDP(dport=53))
    assert (reporter, True) == (error.src, ICMPv6TimeExceeded in error)


def test_a_closed_port_refuses():
    error, = sent(World(load("plain")), IP(src="198.18.0.2", dst="198.18.9.9") / UDP(dport=54))
    assert ("198.18.9.9", 3, 3) == (error.src, error[ICMP].type, error[ICMP].code)


def test_the_world_takes_as_few_steps_as_it_is_told_and_goes_on_where_it_was():
    packets = [bytes(IP(src="198.18.0.2", dst="198.18.9.9") / UDP(sport=4000 + n, dport=7) / b"x") for n in range(5)]
    whole, stepped = World(load("plain")), World(load("plain"))
    for world in (whole, stepped):
        for raw in packets:
            world.receive(raw, 0)
    parts = [stepped.due(10**9, most=3) for _ in range(20)]
    assert [] == parts[0]
    assert whole.due(10**9) == [raw for part in parts for raw in part]
    assert stepped.next_ns is None
