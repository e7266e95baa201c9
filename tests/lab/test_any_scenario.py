"""Any scenario that is taken can be played, and plays the same twice."""

from __future__ import annotations

import json

from hypothesis import assume, given
from hypothesis import strategies as st
from playing import SECOND, page, probe
from profiles import examples
from test_soundness import others

from udpprobe.errors import UsageError
from udpprobe.lab.model import KINDS
from udpprobe.lab.world import World

CHANCE = st.sampled_from([0, 0.3, 1])
MILLIS = st.sampled_from([0, 0.5, 40])
ANSWER = st.sampled_from(["echo", "dns", "ntp", "silent", "refuse"]) | st.fixed_dictionaries(
    {},
    optional={
        "echo": st.booleans(),
        "like": st.sampled_from(["dns", "ntp"]),
        "text": st.sampled_from(["", "é", "x" * 2000]),
        "hex": st.sampled_from(["", "00ff"]),
        "from_port": st.integers(1, 65535),
        "from_address": st.sampled_from(["198.18.7.7", "2001:db8:7::7"]),
        "delay_ms": MILLIS,
        "times": st.integers(0, 3),
        "refuse": st.booleans(),
    },
)
RULE = st.fixed_dictionaries(
    {"do": st.sampled_from(["drop", "reject", "remark", "pass"])},
    optional={
        "proto": st.sampled_from(["udp", "tcp", "icmp", "any"]),
        "ports": st.sampled_from(["53", "0-65535", "1,54"]),
        "to": st.sampled_from(["host", "you", "198.18.0.0/15"]),
        "larger_than": st.sampled_from([0, 100]),
        "every": st.integers(1, 3),
        "word": st.sampled_from([0, 70_000, 2**32 - 1]),
        "as": st.sampled_from(["host", "you"]),
        "with": st.sampled_from([*KINDS, "3/9", "255/255/4294967295", ["12/0/999", "4/2/9"], ["5/1", "137/0"]]),
        "wrong": st.sampled_from(["id", "token", "ports", "source", "destination"]),
        "times": st.integers(1, 3),
    },
)
NODE = st.fixed_dictionaries(
    {},
    optional={
        "system": st.just("linux"),
        "ttl": st.integers(1, 255),
        "silent": st.booleans(),
        "ping": st.booleans(),
        "forwards_zero_ttl": st.booleans(),
        "quote": st.integers(0, 1280),
        "rfc4884": st.booleans(),
        "mangles": st.lists(
            st.sampled_from(["swap-length", "swap-id", "swap-offset", "short-length", "zero-checksum", "ttl"]),
            max_size=4,
        ),
        "limit": st.fixed_dictionaries(
            {},
            optional={
                "per_s": st.floats(1e-6, 1e9),
                "burst": st.integers(1, 9),
                "by": st.sampled_from(["source", "router"]),
            },
        ),
        "reports_from": st.sampled_from(["198.18.77.7", "2001:db8:77::7", "0.0.0.0", "ff02::1"]),
        "mpls": st.lists(st.integers(0, 2**20 - 1), max_size=20),
        "interface": st.text(max_size=63),
        "rules": st.lists(RULE, max_size=3),
        "otherwise": ANSWER,
        "udp": st.dictionaries(st.sampled_from(["53", "54", "1-100"]), ANSWER, max_size=3),
    },
)
ROUTER = st.fixed_dictionaries(
    {},
    optional={
        "nat": st.fixed_dictionaries(
            {"inside": st.sampled_from(["you", "host"]), "quotes": st.sampled_from(["well", "badly", "never"])}
        ),
        "routes": st.dictionaries(
            st.sampled_from(["host", "you", "0.0.0.0/0", "2001:db8::/32"]),
            st.sampled_from(["you", "host", ["you", "host"], "unreachable", "prohibit", "blackhole"]),
            max_size=2,
        ),
        "balance": st.sampled_from(["flow", "packet"]),
    },
)
LINK = st.fixed_dictionaries(
    {},
    optional={
        "mtu": st.sampled_from([68, 600, 1280]),
        "reports_mtu": st.sampled_from([0, 65_535]),
        "black_hole": st.booleans(),
        "delay_ms": MILLIS,
        "jitter_ms": MILLIS,
        "loss": CHANCE,
        "duplicate": st.sampled_from([0, 0.1]),
        "reorder": CHANCE,
        "reorder_ms": MILLIS,
        "corrupt": CHANCE,
    },
)


def toml(value):
    """A value as it stands behind `=`."""
    if isinstance(value, dict):
        return "{ " + pairs(value) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(each) for each in value) + "]"
    return json.dumps(value).replace("\x7f", "\\u007f")


def pairs(value):
    return ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items())


SHOTS = (53, 0, 9), (53, 1, 9), (54, 2, 9), (53, 64, 1400)
PROBES = [
    each
    for family in (4, 6)
    for each in (
        *(probe(family, port, ttl, bytes(size)) for port, ttl, size in SHOTS),
        probe(family, to={4: "198.18.200.1", 6: "2001:db8:f00::1"}[family]),
        *others({4: "198.18.9.9", 6: "2001:db8:9::9"}[family], family),
    )
]


@examples(15)
@given(NODE, ROUTER, NODE, LINK)
def test_any_accepted_scenario_can_be_played(node, router, host, link):
    try:
        scenario = page(
            router=pairs({"silent": False} | node | router), host=pairs({"silent": False} | host), link=pairs(link)
        )
    except UsageError:
        assume(False)
    assert run(scenario) == run(scenario)


def run(scenario):
    world = World(scenario)
    for number, packet in enumerate(PROBES):
        world.receive(bytes(packet), number * 10_000_000)
    return world.due(200 * SECOND)
