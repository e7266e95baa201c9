"""What a scan will send: tasks in columns, payloads in turn, a control port for each host."""

from __future__ import annotations

import numpy as np
import pytest
from scan_setup import (
    BARE,
    EMPTY,
    HOST,
    KEY,
    OTHER_HOST,
    OWN,
    OWN_PORT,
    SHORT_TOKEN,
    WHOLE_TOKEN,
    destinations_of,
    halves,
    plan_of,
)

from udpprobe.core.probing.probes import token_of
from udpprobe.core.scanning.plan import CONTROL_PORTS, GENERIC, GENERIC_VARIANTS, Candidates, Plan, Sources

BOTH = ((HOST[4], 53), (OTHER_HOST[4], 53), (HOST[4], 123))


def columns(address, port):
    high, low = halves(address)
    return np.array([high], np.uint64), np.array([low], np.uint64), np.array([port], np.uint64)


def test_behind_the_tasks_stands_a_control_port_for_each_host():
    plan = plan_of(*BOTH)
    assert (3, 2, 5) == (plan.asked, plan.hosts, len(plan))
    assert [0, 1, 0, 0, 1] == plan.tasks.host.tolist()
    assert plan.tasks.low[[0, 1]].tolist() == plan.tasks.low[plan.asked:].tolist()


def control_ports(pairs, key=KEY):
    plan = plan_of(*pairs, key=key)
    return plan.tasks.port[plan.asked:].tolist()


def test_control_ports_are_high_ones_that_were_not_asked_for():
    asked = range(CONTROL_PORTS[0], CONTROL_PORTS[1] - 2)
    pairs = [(OTHER_HOST[4], 53), *((HOST[4], port) for port in asked)]
    assert {65_534, 65_535} >= set(control_ports(pairs))


def test_none_of_the_scan_s_own_ports_is_a_control_port():
    first = CONTROL_PORTS[0]
    some = [(HOST[4], port) for port in range(first + 10, CONTROL_PORTS[1])]
    plans = (plan_of(*some, key=(secret, secret), own_port=first, source_ports=9) for secret in range(20))
    assert {first + 9} == {int(plan.tasks.port[-1]) for plan in plans}


def test_where_every_high_port_is_asked_for_port_0_is_the_control():
    assert [0] == control_ports([(HOST[4], port) for port in range(*CONTROL_PORTS)])


def test_which_ports_are_controls_depends_on_the_secret():
    chosen = {control_ports([(HOST[4], 53)], (secret, secret))[0] for secret in range(20)}
    assert len(chosen) > 15


@pytest.mark.parametrize("family", [4, 6])
def test_a_destination_is_found_by_its_address_and_port(family):
    plan = plan_of((HOST[family], 53), (OTHER_HOST[family], 53), (HOST[family], 123))
    assert [0, 1, 2, -1] == [int(plan.find(*columns(*pair))[0]) for pair in (
        (HOST[family], 53), (OTHER_HOST[family], 53), (HOST[family], 123), (OTHER_HOST[family], 123))]


def test_a_control_port_is_found_as_well():
    plan = plan_of(*BOTH)
    assert [4] == plan.find(*columns(OTHER_HOST[4], int(plan.tasks.port[4]))).tolist()


def test_a_host_is_found_by_its_address():
    plan = plan_of(*BOTH)
    assert [0, 1, -1] == [int(plan.host_of(*columns(address, 0)[:2])[0])
                          for address in (HOST[4], OTHER_HOST[4], OWN[4][0])]


def test_a_plan_of_nothing_finds_nothing():
    none = np.empty((0, 1), np.uint64)
    empty = np.empty(0, np.int64)
    plan = Plan(destinations_of([]), Sources(none, none, OWN_PORT), Candidates(empty, empty, empty), KEY)
    assert (0, [-1]) == (len(plan), plan.find(*columns(HOST[4], 53)).tolist())


def next_probes(plan, *tasks, source=0):
    return plan.next_probes(np.array(tasks), np.full(len(tasks), source))


def test_payloads_are_sent_in_turn():
    plan = plan_of((HOST[4], 53), payload=(SHORT_TOKEN, EMPTY, BARE))
    sent = [next_probes(plan, 0) for _ in range(4)]
    assert [0, 1, 2, 3] == [int(each.attempt[0]) for each in sent]
    assert [SHORT_TOKEN, EMPTY, BARE, SHORT_TOKEN] == [int(each.payload[0]) for each in sent]


def test_the_token_says_which_generic_payload_is_sent():
    plan = plan_of(*((HOST[4], port) for port in range(1, 200)), payload=GENERIC)
    assert set(range(GENERIC_VARIANTS)) == set(next_probes(plan, *range(plan.asked)).payload.tolist())


def test_a_control_port_is_sent_a_generic_payload():
    payload = next_probes(plan_of((HOST[4], 53), payload=1 << 10), 1).payload
    assert 0 <= payload[0] < GENERIC_VARIANTS


def test_the_same_probe_is_made_whenever_it_is_asked_for():
    plan = plan_of(*BOTH, ttl=9)
    sent = next_probes(plan, 2, source=1)
    again = plan.probes(sent.task, np.array([1]), sent.attempt)
    assert [getattr(sent, name).tolist() for name in sent.__slots__] == [
        getattr(again, name).tolist() for name in again.__slots__]
    assert ([9], [1]) == (sent.ttl.tolist(), plan.attempts[[2]].tolist())


def test_a_probe_leaves_from_the_address_it_is_told_to_and_its_token_is_of_that_flow():
    plan = plan_of(*BOTH, payload=WHOLE_TOKEN)
    sent = next_probes(plan, 1, source=1)
    source, destination = columns(OWN[4][1], 0)[:2], columns(OTHER_HOST[4], 0)[:2]
    ports = np.array([OWN_PORT << 16 | 53], np.uint64)
    assert (source, destination, ports) == ((sent.source_high, sent.source_low),
                                            (sent.destination_high, sent.destination_low), sent.ports)
    assert token_of(KEY, source, destination, ports).tolist() == sent.token.tolist()


def test_what_left_is_counted_without_what_this_host_refused_to_send():
    plan = plan_of(*BOTH)
    plan.leave(np.array([0, 2]), np.array([48, 60]))
    plan.leave(np.array([0]), np.array([50]))
    plan.stay(np.array([0, 2]))
    assert ([1, 0, 0], [48, 0, 0]) == (plan.left[:3].tolist(), plan.left_bytes[:3].tolist())


def test_the_tasks_of_a_host_take_its_source_ports_in_turn():
    some = [(HOST[4], port) for port in (1, 2, 3)]
    plan = plan_of(*some, (OTHER_HOST[4], 1), source_ports=2)
    assert [OWN_PORT, OWN_PORT + 1, OWN_PORT, OWN_PORT] == plan.source_port[:4].tolist()
    tasks = np.arange(4)
    sent = plan.next_probes(tasks, np.zeros(4, np.int64)).ports >> np.uint64(16)
    assert plan.source_port[:4].tolist() == sent.tolist()
