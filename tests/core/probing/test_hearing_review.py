"""Replies that say more than that they came: from another port, and of a TTL that should not have run out."""

from __future__ import annotations

import builders as b
import pytest
from test_hearing import FAMILIES, OWN, PORT, ROUTER, SOURCE_PORTS, TO, Gun, answer, changed

from udpprobe.core.probing.hearing import Hearing
from udpprobe.core.probing.shots import Shot


@FAMILIES
def test_an_answer_from_another_port_is_one_and_told(family):
    gun = Gun(family)
    packet, = gun.fire(Shot(3, 9))
    elsewhere = b.datagram(TO[family], OWN[family], PORT + 1, SOURCE_PORTS[0], b"pong", ttl=61)
    replies = gun.hear(packet, elsewhere, answer(family, b"pong"))
    assert [(3, ("port",)), (3, ())] == [(each.number, each.changed) for each in replies]


@FAMILIES
@pytest.mark.parametrize(("ttl", "verdict"), [(31, "expired"), (32, "loop"), (64, "loop")])
def test_a_high_ttl_that_runs_out_is_a_loop_where_that_is_asked_for(family, ttl, verdict):
    gun = Gun(family)
    gun.hearing = Hearing(gun.shots, loop_ttl=32)
    packet, = gun.fire(Shot(3, ttl))
    reply, = gun.hear(packet, b.time_exceeded(packet, ROUTER[family]))
    assert verdict == reply.event.verdict


@FAMILIES
def test_a_shot_that_is_routed_back_to_this_host_is_counted(family):
    gun = Gun(family)
    packet, = gun.fire(Shot(3, 9))
    at = {4: 8, 6: 7}[family]
    gun.hear(packet, packet)        # captured on two interfaces
    assert {} == gun.hearing.faults
    gun.hear(changed(packet, at, b"\x08"))
    assert 1 == gun.hearing.faults["returned"]
