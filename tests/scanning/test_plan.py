"""What a scan will send: tasks in columns, payloads in turn, a control port for each host."""

from __future__ import annotations

from array import array

import pytest
from scan_setup import (
    BARE,
    EMPTY,
    HOST,
    KEY,
    OTHER_HOST,
    OWN,
    OWN_PORT,
    ROWS,
    SHORT_TOKEN,
    destinations_of,
    halves,
    next_packet,
    plan_of,
)

from udpprobe.core.probe import GENERIC, VARIANTS, Payloads
from udpprobe.scanning.plan import CONTROL_PORTS, Plan, Sources

BOTH = ((HOST[4], 53), (OTHER_HOST[4], 53), (HOST[4], 123))


def test_after_the_tasks_comes_a_control_port_for_each_host():
    plan = plan_of(*BOTH)
    assert (3, 2, 5) == (plan.requested_count, plan.hosts, len(plan))
    assert [0, 1, 0, 0, 1] == list(plan.tasks.host)
    assert plan.tasks.low[:2] == plan.tasks.low[plan.requested_count :]


def control_ports(pairs, key=KEY):
    plan = plan_of(*pairs, key=key)
    return list(plan.tasks.port[plan.requested_count :])


def test_control_ports_are_high_and_not_requested():
    asked = range(CONTROL_PORTS[0], CONTROL_PORTS[1] - 2)
    pairs = [(OTHER_HOST[4], 53), *((HOST[4], port) for port in asked)]
    assert {65_534, 65_535} >= set(control_ports(pairs))


def test_none_of_the_scan_s_own_ports_is_a_control_port():
    first = CONTROL_PORTS[0]
    some = [(HOST[4], port) for port in range(first + 10, CONTROL_PORTS[1])]
    plans = (plan_of(*some, key=(secret, secret), own_port=first, source_ports=9) for secret in range(20))
    assert {first + 9} == {int(plan.tasks.port[-1]) for plan in plans}


def test_if_every_high_port_is_requested_port_0_is_the_control():
    assert [0] == control_ports([(HOST[4], port) for port in range(*CONTROL_PORTS)])


def test_which_ports_are_controls_depends_on_the_secret():
    chosen = {control_ports([(HOST[4], 53)], (secret, secret))[0] for secret in range(20)}
    assert len(chosen) > 15


@pytest.mark.parametrize("family", [4, 6])
def test_a_destination_is_found_by_its_address_and_port(family):
    plan = plan_of((HOST[family], 53), (OTHER_HOST[family], 53), (HOST[family], 123), (HOST[family], 7))
    assert [0, 1, 2, 3, -1, -1] == [
        plan.find(*halves(address), port)
        for address, port in (
            (HOST[family], 53),
            (OTHER_HOST[family], 53),
            (HOST[family], 123),
            (HOST[family], 7),
            (OTHER_HOST[family], 123),
            (OWN[family][0], 53),
        )
    ]


def test_a_control_port_is_found_as_well():
    plan = plan_of(*BOTH)
    assert 4 == plan.find(*halves(OTHER_HOST[4]), plan.port[4])


def test_a_host_is_found_by_its_address():
    plan = plan_of(*BOTH)
    assert [0, 1, -1] == [plan.host_of(*halves(address)) for address in (HOST[4], OTHER_HOST[4], OWN[4][0])]


def test_the_tasks_of_a_host_come_by_port():
    plan = plan_of(*BOTH, (HOST[4], 7))
    assert ([3, 0, 2], [1]) == (list(plan.tasks_of(0)), list(plan.tasks_of(1)))


def test_an_empty_plan_finds_nothing():
    plan = Plan(destinations_of([]), Sources([], OWN_PORT), array("H"), Payloads(ROWS, [(GENERIC,)]), KEY)
    assert (0, -1) == (len(plan), plan.find(*halves(HOST[4]), 53))


def sent_rows(plan, task, count):
    return [plan.payload_of(task, attempt) for attempt in range(count)]


def test_payloads_are_sent_in_turn():
    plan = plan_of((HOST[4], 53), payload=(SHORT_TOKEN, EMPTY, BARE))
    assert [0, 1, 2, 3] == [plan.next_attempt(0, 1) for _ in range(4)]
    assert [SHORT_TOKEN, EMPTY, BARE, SHORT_TOKEN] == sent_rows(plan, 0, 4)


def test_the_hash_selects_the_generic_payload():
    plan = plan_of(*((HOST[4], port) for port in range(1, 200)), payload=GENERIC)
    assert set(range(VARIANTS)) == {plan.payload_of(task, 0) for task in range(plan.requested_count)}


def test_a_control_port_gets_a_generic_payload():
    plan = plan_of(*((HOST[4], port) for port in range(1, 200)), payload=EMPTY)
    assert {EMPTY} == {plan.payload_of(task, 0) for task in range(plan.requested_count)}
    controls = (plan_of((HOST[4], 53), payload=EMPTY, key=(secret, 0)) for secret in range(50))
    assert set(range(VARIANTS)) == {plan.payload_of(1, 0) for plan in controls}


@pytest.mark.parametrize("family", [4, 6])
def test_a_probe_has_the_requested_source_and_length(family):
    plan = plan_of((HOST[family], 53), (OTHER_HOST[family], 53), size=90)
    packet = next_packet(plan, 1, source=1)
    size = {4: 4, 6: 16}[family]
    at = {4: 12, 6: 8}[family]
    numbers = [int.from_bytes(packet[start : start + size]) for start in (at, at + size)]
    mapped = 0xFFFF << 32 if family == 4 else 0
    assert [halves(OWN[family][1]), halves(OTHER_HOST[family])] == [divmod(each | mapped, 1 << 64) for each in numbers]
    assert len(packet) == plan.length_of(1, 0, 1) == 90


def test_hosts_may_have_their_own_source_addresses():
    hosts = [(HOST[4], 53), (HOST[6], 53)]
    payloads = Payloads(ROWS, [(GENERIC,)])
    plan = Plan(
        destinations_of(hosts),
        Sources([[halves(OWN[family][0])] for family in (4, 6)], OWN_PORT),
        array("H", [0, 0]),
        payloads,
        KEY,
    )
    assert [0, 1] == [plan.source_number(task, 0) for task in range(2)]
    assert [0, -1, -1, 0] == [plan.source_of(task, halves(OWN[family][0])) for task in range(2) for family in (4, 6)]
    assert [4, 6, 4, 6] == [plan.family_of(task) for task in range(len(plan))]


def test_refused_sends_are_not_counted_as_sent():
    plan = plan_of(*BOTH)
    for task, length in ((0, 48), (2, 60), (0, 50)):
        plan.count_sent(task, length)
    plan.uncount_sent(0, 50)
    plan.uncount_sent(2, 60)
    assert ([1, 0, 0], [48, 0, 0]) == (list(plan.sent[:3]), list(plan.sent_bytes[:3]))


def test_each_probe_s_departure_is_remembered():
    plan = plan_of(*BOTH)
    assert (0, (0, 0)) == (plan.sent_ns(0), plan.departure(0, -1))
    for task, time_ns in ((0, 10), (1, 20), (0, 30), (0, 40)):
        plan.next_attempt(task, time_ns)
    plan.seen(0, 44, 7)
    plan.seen(0, 45, 8)  # the same on another interface
    assert (44, 20) == (plan.sent_ns(0), plan.sent_ns(1))
    assert [(10, 0), (30, 0), (44, 7), (44, 7)] == [plan.departure(0, attempt) for attempt in (0, 1, 2, -1)]


def test_the_tasks_of_a_host_take_its_source_ports_in_turn():
    some = [(HOST[4], port) for port in (1, 2, 3)]
    plan = plan_of(*some, (OTHER_HOST[4], 1), source_ports=2)
    first, second, third, _ = plan.source_port[:4]
    assert {OWN_PORT, OWN_PORT + 1} == {first, second}
    assert first == third
    assert plan.source_port[1] == int.from_bytes(next_packet(plan, 1)[20:22])


def test_the_first_source_port_is_secret():
    plans = (plan_of((HOST[4], 1), source_ports=8, key=(secret, 0)) for secret in range(99))
    assert set(range(OWN_PORT, OWN_PORT + 8)) == {plan.source_port[0] for plan in plans}
