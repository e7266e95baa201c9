"""How seldom errors are sent: plain buckets, and Linux as it was measured."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from playing import SECOND, played, probe, told, world

from udpprobe.lab.icmp import LinuxLimit
from udpprobe.lab.model import KINDS, Dice

CLIENT = {4: ip_address("198.18.0.2"), 6: ip_address("2001:db8::2")}
CLOSED, TOO_BIG = KINDS["port-unreachable"], KINDS["packet-too-big"]


def allowed(times_s, family=4, kind=CLOSED, to=CLIENT, **about):
    """When an error may be sent, of the times when there is one to be told."""
    limit = LinuxLimit(Dice(1))
    return [now_s for now_s in times_s
            if limit.allows(to[family], kind[family], int(now_s * SECOND), **({"routed": False} | about))]


def every(gap_s, count):
    return [round(number * gap_s, 3) for number in range(count)]


@pytest.mark.parametrize(("family", "gap_s"), [(4, 1.0), (6, 0.1)])
def test_linux_tells_a_source_six_times_and_then_at_intervals(family, gap_s):
    moments = [0.0] * 30 + every(gap_s / 10, 40)[1:]
    assert [0.0] * 6 + [gap_s, 2 * gap_s, 3 * gap_s] == pytest.approx(allowed(moments, family))


def test_six_are_there_again_after_a_pause():
    assert 12 == len(allowed([0.0] * 30 + [6.0] * 30))
    assert 9 == len(allowed([0.0] * 30 + [3.0] * 30))


def test_an_mtu_is_always_told():
    for family in (4, 6):
        assert 1000 == len(allowed([0.0] * 1000, family, TOO_BIG))


@pytest.mark.parametrize("family", [4, 6])
def test_all_sources_together_get_about_fifty_at_once(family):
    """Measured: 37 to 73; the kernel takes 0 to 2 tokens for each, at random."""
    limit = LinuxLimit(Dice(1))
    told_now = sum(limit.allows(CLIENT[family] + n, CLOSED[family], 0, routed=False) for n in range(1000))
    assert 37 <= told_now <= 73


@pytest.mark.parametrize(("gap_s", "expected"), [
    (0.1, [0, 0.1]), (0.5, [0, 0.5, 1.0]), (0.9, [0, 0.9, 1.8]), (2.1, every(2.1, 20))])
def test_what_the_routing_table_of_linux_refuses_is_told_more_seldom_still(gap_s, expected):
    assert expected == allowed(every(gap_s, 20), routed=True)


def test_in_ipv6_the_routing_table_is_as_free_as_all():
    assert 6 == len(allowed([0.0] * 30, 6, routed=True))


@pytest.mark.parametrize(("limit", "expected"), [
    ("{}", 1), ("{ burst = 5 }", 5), ("{ per_s = 1000, burst = 3 }", 3), ('{ by = "source", burst = 2 }', 4)])
def test_a_scenario_limits_a_node_or_each_source(limit, expected):
    other = probe(port=54)
    other.src = "198.18.0.3"
    assert expected == len(played(world(host=f"limit = {limit}"), *[probe(port=54), other] * 10))


def test_tokens_come_back_with_time():
    host = world(host="limit = { per_s = 2 }")
    counts = [len(played(host, *[probe(port=54)] * 3, at_ns=int(at_s * SECOND))) for at_s in (0, 1.25, 2.5, 60)]
    assert [1, 1, 1, 1] == counts


def test_answers_are_not_limited():
    host = world(host="limit = {}, udp = { 53 = 'echo' }")
    assert 21 == len(played(host, *[probe()] * 20, *[probe(port=54)] * 5))


def test_who_is_silent_tells_nothing_and_answers():
    host = world(host="silent = true, udp = { 53 = 'echo' }")
    assert ["198.18.9.9 udp 53"] == [told(each) for each in played(host, probe(), probe(port=54))]
