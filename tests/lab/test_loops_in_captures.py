"""Traceroutes through all scenarios, as `analyze` reads them: those into loops are loops, and no other is."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from builders import datagram
from following import RAW, follow
from playing import QUERY

from udpprobe.lab.scenario import load, names
from udpprobe.lab.world import World
from udpprobe.report import Question

MS = 10**6
LOOPS = {"loop-2": ("2", "3"), "loop-3": ("1", "2", "3"), "late-loop": ("6", "7")}
"""Names of scenarios, and which routers are in their loops."""
TRACES = {
    "a port for all probes": {},
    "three probes a hop": {"each": 3, "most": 12},
    "all at once": {"gap_ns": MS, "has_checksum": True, "most": 12},
    "the highest TTL first": {"step": -1, "most": 12},
    "a source port for each probe": {"source_ports": 1, "most": 12},
    "a port for each probe": {"ports": 1, "most": 12},
}
"""How probes are sent; all routers of all scenarios are reached by a TTL of 12."""


def targets_of(scenario):
    for text in scenario.targets:
        host, _, ports = text.replace("[", "").replace("]", "").rpartition(":")
        yield host, int(ports.replace("-", ",").split(",")[0])


def first_of_each_host(targets):
    return dict(reversed(list(targets))).items()


def traced(
    scenario, host, port, *, each=1, gap_ns=100 * MS, step=1, source_ports=0, ports=0, has_checksum=False, most=30
):
    """What is known of a capture of probes with TTLs of 1 to `most`, and what came back."""
    world, now_ns, frames = World(scenario), 10**9, []
    version = ip_address(host).version
    source = str(next(network.ip for network in scenario.networks if network.version == version))

    def receive(until_ns):
        while world.next_ns is not None and world.next_ns <= until_ns:
            at_ns = world.next_ns
            frames.extend((at_ns, bytes(raw), len(raw), RAW) for raw in world.due(at_ns))

    for number, ttl in enumerate([ttl for ttl in range(1, most + 1) for _ in range(each)][::step]):
        receive(now_ns)
        data = QUERY + bytes([number] * 2) if has_checksum else QUERY
        fields = {"ttl": ttl, "id": number + 1} if version == 4 else {"ttl": ttl}
        raw = datagram(source, host, 4000 + number * source_ports, port + number * ports, data, **fields)
        frames.append((now_ns, raw, len(raw), RAW))
        world.receive(raw, now_ns)
        now_ns += gap_ns
    receive(now_ns + 5 * 10**9)
    return follow(frames, Question(all_destinations=True))


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize("how", TRACES)
def test_only_a_traceroute_into_a_loop_is_a_loop(name, how):
    scenario = load(name)
    targets = targets_of(scenario)
    for host, port in targets if how == "a port for all probes" else first_of_each_host(targets):
        story = traced(scenario, host, port, **TRACES[how])
        loops = {finding.loop for each in story.destinations for finding in each.findings if finding.verdict == "loop"}
        assert bool(loops) == ("loop" in {event.verdict for event in story.events}) == (name in LOOPS), (host, port)
        if loops:
            prefix = "198.18.{}.1" if ":" not in host else "2001:db8:{}::1"
            (loop,) = loops
            assert sorted(prefix.format(n) for n in LOOPS[name]) == sorted(loop.routers)
            assert loop.period in {len(LOOPS[name]), None if how == "all at once" else len(LOOPS[name])}
