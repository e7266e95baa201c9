"""What is remembered of the kernel's next hops; the kernel itself is asked in tests/live."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from sending import crafted_for

from udpprobe import nexthops
from udpprobe.nexthops import KNOWN_NS, UNKNOWN_NS, Hop, NextHops, Tables

MAC = bytes.fromhex("0200000001ff")


class Played(Tables):
    """Neighbours by the last byte of the destination: odd ones are there."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def hop(self, family, source, destination, interface=0):
        self.asked.append((family, source[-1], destination[-1], interface))
        return Hop(7, MAC[:5] + destination[-1:]) if destination[-1] % 2 else None


@pytest.fixture
def hops(monkeypatch):
    monkeypatch.setattr(nexthops, "Tables", Played)
    made = []

    def make(*arguments):
        made.append(NextHops(*arguments))
        return made[-1]

    yield make
    for each in made:
        each.close()


def flows_of(hops, family, ends, zone=0):
    prefix, source = {4: ("10.0.0.", "10.0.0.254"), 6: ("2001:db8::", "2001:db8::fe")}[family]
    crafted, zones = crafted_for([f"{prefix}{end}" for end in ends], [9] * len(ends), source=source, zone=zone)
    return hops.flows(crafted.packets, zones)


@pytest.mark.parametrize("family", [4, 6])
def test_what_was_learnt_is_found(hops, family):
    made = hops(family)
    flows = flows_of(made, family, [1, 2, 3])
    assert [False] * 3 == made.find(flows, 5)[1].tolist()
    made.learn(flows, 5)
    found, known = made.find(flows, 6)
    assert [True] * 3 == known.tolist()
    assert [7, 0, 7] == found["interface"].tolist()
    assert [MAC[:5] + b"\1", MAC[:5] + b"\3"] == [found["address"][row].tobytes() for row in (0, 2)]


def test_each_flow_is_asked_for_once(hops):
    made = hops(4)
    made.learn(flows_of(made, 4, [3, 1, 3, 1]), 0)
    assert [(4, 254, 1, 0), (4, 254, 3, 0)] == sorted(made._tables.asked)   # noqa: SLF001  the kernel is played there


def test_nothing_to_learn_asks_nothing(hops):
    made = hops(6)
    made.learn(flows_of(made, 6, [1])[:0], 0)
    assert [] == made._tables.asked     # noqa: SLF001  as above


def test_a_neighbour_is_believed_for_a_while_and_none_but_shortly(hops):
    made = hops(4)
    flows = flows_of(made, 4, [1, 2])
    made.learn(flows, 0)
    assert [True, True] == made.find(flows, UNKNOWN_NS - 1)[1].tolist()
    assert [True, False] == made.find(flows, UNKNOWN_NS)[1].tolist()
    assert [False, False] == made.find(flows, KNOWN_NS)[1].tolist()


def test_a_zone_is_another_flow_and_goes_before_the_only_interface(hops):
    made = hops(6, 9)
    flows = np.concatenate([flows_of(made, 6, [1]), flows_of(made, 6, [1], zone=4)])
    made.learn(flows[1:], 0)
    assert [False, True] == made.find(flows, 0)[1].tolist()
    made.learn(flows[:1], 0)
    assert [(6, 0xFE, 1, 4), (6, 0xFE, 1, 9)] == made._tables.asked     # noqa: SLF001  as above


def test_flows_that_want_one_slot_are_never_mistaken_for_each_other(hops, monkeypatch):
    monkeypatch.setattr(nexthops, "SLOTS_BITS", 1)
    made = hops(4)
    flows = flows_of(made, 4, range(1, 20, 2))
    made.learn(flows, 0)
    found, known = made.find(flows, 0)
    assert 1 <= known.sum() <= 2
    assert all(found["address"][row][5] == 1 + 2 * row for row in np.flatnonzero(known))


def test_loopback_has_no_next_hop():
    with contextlib.closing(Tables()) as tables:
        assert tables.hop(4, bytes([127, 0, 0, 1]), bytes([127, 0, 0, 1])) is None
        assert tables.hop(6, bytes(15) + b"\1", bytes(15) + b"\1") is None
