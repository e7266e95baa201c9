"""Each scenario, hop by hop, in both families: 198.18.n.1 and 2001:db8:n::1 are the same router."""

from __future__ import annotations

import re

import pytest
from playing import traced

from udpprobe.lab.scenario import load, names

HOME, ISP, A, B, C = (f"198.18.{n}.1 11/0" for n in range(5))
DNS, CLOSED = "198.18.9.9 udp 53", "198.18.9.9 3/3"

WAYS = {
    "plain": {53: [HOME, ISP, DNS], 54: [HOME, ISP, CLOSED]},
    "home-nat": {53: [HOME, ISP, DNS], 54: [HOME, ISP, CLOSED]},
    "bad-nat": {53: [HOME, ISP, DNS], 54: [HOME, ISP, CLOSED]},
    "deaf-nat": {53: [HOME, "", DNS], 54: [HOME, *[""] * 8]},
    "vpn-black-hole": {53: [HOME, ISP, A, DNS]},
    "loop-2": {53: [HOME, ISP, A, B, A, B, A, B, A]},
    "loop-3": {53: [HOME, ISP, A, B, ISP, A, B, ISP, A]},
    "late-loop": {53: [HOME, *(f"198.18.{n}.1 11/0" for n in (1, 2, 3, 4, 5, 6, 7, 6))]},
    "lying-router": {53: [HOME, ISP, DNS]},
    "mtu-zero": {53: [HOME, ISP, DNS]},
    "two-narrow-links": {53: [HOME, ISP, DNS]},
    "rate-limited-host": {1: [HOME, ISP, CLOSED]},
    "rate-limited-router": {53: [HOME, ISP, DNS]},
    "forger": {53: [HOME, f"198.18.5.5 3/3 + {ISP}"]},
    "icmp-storm": {53: [HOME, " + ".join([*["198.18.1.1 3/13"] * 20, ISP])]},
    "ecmp": {53: [HOME, re.compile(r"198\.18\.[23]\.1 11/0"), C, DNS]},
    "ecmp-per-packet": {53: [HOME, B, C, C, DNS]},
    "mpls-core": {53: [HOME, ISP, A, B, DNS]},
    "firewall-rejects": {53: [HOME, ISP, DNS], 20: [HOME, "198.18.1.1 3/13"], 60: [HOME, "198.18.1.1 3/3"]},
    "firewall-drops": {53: [HOME, ISP, DNS], 54: [HOME, ISP, CLOSED], 20: [HOME, *[""] * 8]},
    "short-quotes": {53: [HOME, ISP, A, DNS]},
    "mangled-quotes": {53: [HOME, ISP, A, DNS]},
    "silent-hops": {53: [HOME, "", "", B, DNS]},
    "zero-ttl": {53: [HOME, A, A, DNS]},
    "source-quench": {53: [HOME, ISP, f"198.18.1.1 4/0 + {DNS}"]},
    "parameter-problem": {53: [HOME, ISP, DNS], 54: [HOME, "198.18.1.1 12/0"]},
    "asymmetric": {53: [HOME, ISP, DNS]},
    "no-route": {53: [HOME, "198.18.1.1 3/0"]},
    "other-port": {69: [HOME, ISP, "198.18.9.9 udp 40069"], 53: [HOME, ISP, "198.18.9.10 udp 53"]},
    "amplifier": {1900: [HOME, ISP, " + ".join(["198.18.9.9 udp 1900"] * 10)]},
}
"""By scenario and port. The links of the rest lose and reorder: test_links_of_scenarios."""

V6_KINDS = {"11/0": "3/0", "3/3": "1/4", "3/13": "1/1", "3/0": "1/0", "12/0": "4/0"}
CASES = [(name, port, way) for name, ways in WAYS.items() for port, way in ways.items()]


def in_v6(text):
    """The same of the other family; IPv6 has no source quench."""
    text = text.replace("198.18.1.1 4/0 + ", "")
    text = re.sub(r"198\.18\.0\.1\b", "2001:db8::1", text)
    text = re.sub(r"198\.18\.(\d+)\.(\d+)", r"2001:db8:\1::\2", text)
    return re.sub(r"\d+/\d+", lambda kind: V6_KINDS[kind[0]], text)


def like(expected, actual):
    """Whether they agree; where the way depends on a hash there is a pattern."""
    return len(expected) == len(actual) and all(
        want.fullmatch(got) if isinstance(want, re.Pattern) else want == got
        for want, got in zip(expected, actual, strict=True)
    )


def target_with(name, port, family):
    return next(each for each in load(name).targets if each.endswith(f":{port}") and ("[" in each) == (family == 6))


@pytest.mark.parametrize(("name", "port", "way"), CASES)
def test_each_hop_says_what_the_scenario_promises(name, port, way):
    actual = traced(name, target_with(name, port, 4))
    assert like(way, actual), (way, actual)


@pytest.mark.parametrize(("name", "port", "way"), [case for case in CASES if case[0] != "rate-limited-host"])
def test_each_hop_says_the_same_in_ipv6(name, port, way):
    way = [re.compile(r"2001:db8:[23]::1 3/0") if isinstance(each, re.Pattern) else in_v6(each) for each in way]
    actual = traced(name, target_with(name, port, 6))
    assert like(way, actual), (way, actual)


def test_every_scenario_is_played():
    assert set(names()) == WAYS.keys() | {"lossy-link", "reordering-link"}
