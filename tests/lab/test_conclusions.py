"""What our commands conclude in every scenario, in both families and in simulated time: what its sentence says."""

from __future__ import annotations

from contextlib import nullcontext
from ipaddress import ip_address, ip_interface
from itertools import zip_longest

import pytest
from playing import page
from virtual import commanded

from udpprobe.lab.scenario import load, names

HOST = {4: "198.18.9.9", 6: "[2001:db8:9::9]"}
ELSEWHERE = {4: "198.18.8.8", 6: "[2001:db8:8::8]"}

CONCLUSIONS = """
amplifier            scan 1900   answered
amplifier            trace 1900  answered: home isp host
amplifier            mtu 1900    ok 1500
asymmetric           scan 53     answered
asymmetric           trace 53    answered: home isp dns
asymmetric           mtu 53      ok 1500
bad-nat              scan 53     answered
bad-nat              scan 54     refused by dns, rewritten
bad-nat              trace 53    answered: home isp dns
deaf-nat             scan 53     answered
deaf-nat             scan 54     silent: no-evidence
deaf-nat             trace 53    answered: home ? dns
ecmp                 scan 53     answered
ecmp                 trace 53    answered: home left|right core dns
ecmp-per-packet      scan 53     answered
ecmp-per-packet      trace 53    answered: home left+right core+extra core+dns dns
firewall-drops       scan 53     answered
firewall-drops       scan 54     refused by dns
firewall-drops       scan 20     silent: listening-or-filtered
firewall-rejects     scan 53     answered
firewall-rejects     scan 20     prohibited by isp
firewall-rejects     scan 60     rejected by isp
firewall-rejects     trace 20    prohibited: home isp
firewall-rejects     trace 60    rejected: home isp
forger               scan 53     answered; foreign
forger               trace 53    answered: home isp dns; foreign
forger               mtu 53      ok 1500; foreign
home-nat             scan 53     answered
home-nat             scan 54     refused by dns
home-nat             trace 53    answered: home isp dns
icmp-storm           scan 53     answered
late-loop            scan 53     loop by r7
late-loop            trace 53    loop of 2 from hop 7: r6 r7
late-loop            mtu 53      loop
loop-2               scan 53     loop by b
loop-2               trace 53    loop of 2 from hop 3: a b
loop-2               mtu 53      loop
loop-3               scan 53     loop by core
loop-3               trace 53    loop of 3 from hop 2: leaf spine core
lossy-link           scan 53     answered
lossy-link           trace 53    answered: home isp dns
lossy-link           mtu 53      ok 1500
lying-router         mtu 53      too-big 1400, isp says 1480
mangled-quotes       scan 53     answered
mangled-quotes       trace 53    answered: home isp old dns
mpls-core            scan 53     answered
mpls-core            trace 53    answered: home pe1(24001,16) p(24002,16) pe2(24003) dns
mtu-zero             mtu 53      too-big 1400, isp says 0
no-route             scan 53     answered
no-route             scan !53    unreachable by isp
no-route             trace !53   unreachable: home isp|isp(limits)
no-route             mtu !53     unreachable
other-port           scan 69     answered
other-port           scan 53     silent: listening-or-filtered
other-port           trace 69    answered: home isp host
other-port           mtu 69      ok 1500
parameter-problem    scan 53     answered
parameter-problem    scan 54     malformed by isp
plain                scan 53     answered
plain                scan 54     refused by dns
plain                trace 53    answered: home isp dns
plain                trace 54    refused: home isp dns
plain                mtu 53      ok 1500
plain                mtu 54      ok 1500
rate-limited-host    scan 1      refused by dns
rate-limited-host    trace 1     refused: home isp dns
rate-limited-router  scan 53     answered
rate-limited-router  trace 53    answered: home isp(limits) dns
reordering-link      scan 53     answered
reordering-link      mtu 53      ok 1500
reordering-link      trace 53    answered: home isp dns
silent-hops          scan 53     answered
silent-hops          trace 53    answered: home ? ? edge dns
source-quench        scan 53     answered
source-quench        trace 53    answered: home isp dns
source-quench        mtu 53      ok 1500
two-narrow-links     mtu 53      too-big 1300, isp says 1300, home says 1400
vpn-black-hole       scan 53     answered
vpn-black-hole       trace 53    answered: home vpn far dns
vpn-black-hole       mtu 53      black-hole 1420 after vpn before far
short-quotes         trace 53    answered: home isp|? ? dns
short-quotes         mtu 53      ok 1500
zero-ttl             scan 53     answered
zero-ttl             trace 53    answered: home core core dns
"""
CASES = [(family, *line.split(maxsplit=3)) for line in CONCLUSIONS.strip().splitlines() for family in (4, 6)]


class Names:
    """What a scenario calls its addresses."""

    def __init__(self, scenario):
        self._of = {
            ip_interface(str(each)).ip: name for name, node in load(scenario).nodes.items() for each in node.address
        }

    def __call__(self, address):
        return self._of.get(ip_address(address), address)


@pytest.mark.parametrize(("family", "scenario", "command", "port", "conclusion"), CASES)
def test_a_command_concludes_what_the_scenario_says(family, scenario, command, port, conclusion):
    to = (ELSEWHERE if port[0] == "!" else HOST)[family]
    said = commanded(scenario, command, f"{to}:{port.lstrip('!')}")
    wanted, _, fault = conclusion.partition("; ")
    assert 0 == said["status"]
    assert told_alike(wanted, SHORT[command](said, Names(scenario)))
    assert not fault or said["faults"][fault] > 0


def test_every_scenario_has_a_conclusion():
    assert set(names()) == {scenario for _, scenario, *_ in CASES}


@pytest.mark.parametrize("scenario", ["lossy-link", "reordering-link", "ecmp-per-packet"])
@pytest.mark.parametrize("family", [4, 6])
def test_randomness_changes_no_conclusion(scenario, family):
    said = [
        commanded(scenario, *words, seed=seed)
        for seed in range(5)
        for words in (("scan", f"{HOST[family]}:53"), ("mtu", f"{HOST[family]}:53"))
    ]
    assert {"answered", "ok"} == {each.get("verdict") or each["destinations"][0]["verdict"] for each in said}


def told_alike(wanted, told):
    """Word by word; `a|b` is either."""
    pairs = zip_longest(wanted.split(), told.split(), fillvalue="")
    return all(word in choice.split("|") for choice, word in pairs) or wanted == told


def short_scan(said, name):
    (told,) = said["destinations"]
    if told["verdict"] in ("answered", "silent"):
        return "answered" if told["verdict"] == "answered" else f"silent: {told['meaning']}"
    (finding,) = told["findings"]
    times = f" {finding['count']} times" if finding["count"] > 1 else ""
    match = "" if finding["match"] == "exact" else f", {finding['match']}"
    return f"{told['verdict']} by {name(finding['reporter'])}{times}{match}"


def short_trace(said, name):
    if loop := said["loop"]:
        routers = " ".join(map(name, loop["routers"]))
        return f"loop of {loop['period']} from hop {loop['first_ttl']}: {routers}"
    return f"{said['verdict']}: " + " ".join(short_hop(hop, name) for hop in said["hops"])


def short_hop(hop, name):
    if not hop["reporters"]:
        return "?"
    words = []
    for each in hop["reporters"]:
        labels = ",".join(str(label["label"]) for label in each["labels"])
        limits = any("limits its replies" in note for note in each["notes"])
        words.append(name(each["address"]) + (f"({labels})" if labels else "") + ("(limits)" if limits else ""))
    return "+".join(sorted(set(words)))


def short_mtu(said, name):
    size = f" {said['path_mtu']}" if said["path_mtu"] else ""
    if hole := said["black_hole"]:
        return f"{said['verdict']}{size} after {name(hole['after'])} before {name(hole['before'])}"
    return f"{said['verdict']}{size}" + "".join(
        f", {name(each['reporter'])} says {each['mtu']}" for each in said["reports"]
    )


SHORT = {"scan": short_scan, "trace": short_trace, "mtu": short_mtu}


@pytest.mark.parametrize(("delay_ms", "rtt_ms", "sent"), [(200, 204, 1), (600, None, 2)])
def test_a_slow_service_gets_its_own_rtt_or_none(delay_ms, rtt_ms, sent):
    slow = page(host=f"udp.53 = {{ echo = true, delay_ms = {delay_ms} }}")
    told = {each["port"]: each for each in commanded(slow, "scan", f"{HOST[4]}:53,54")["destinations"]}
    assert ("answered", "refused") == (told[53]["verdict"], told[54]["verdict"])
    assert told[53]["sent"] >= sent
    assert rtt_ms == (told[53]["rtt_ms"] and round(told[53]["rtt_ms"]["median"]))


def test_a_search_reports_its_progress_at_each_step(monkeypatch):
    told = []
    monkeypatch.setattr("udpprobe.cli.mtu.shown_of_search", lambda: nullcontext(told.append))
    said = commanded("vpn-black-hole", "mtu", f"{HOST[4]}:53")
    assert (0, 1420, 1421, said["sent"]) == (told[0].passed, told[-1].passed, told[-1].lost, told[-1].sent)
    assert told == sorted(told, key=lambda each: (each.sent, each.passed))
