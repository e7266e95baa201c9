"""Probes that are numbered and counted hundreds at once, as they would be one by one."""

from __future__ import annotations

from array import array
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scan_setup import HOST, OTHER_HOST, START_NS, plan_of

from udpprobe.core.departures import Queue, counts, firsts, in_turn, values_at
from udpprobe.core.probe import Batch

PAIRS = [(host, port) for host in (HOST[4], OTHER_HOST[4]) for port in (1, 2, 3)]
TASKS = len(PAIRS) + 2  # the last two are the hosts' controls
some = st.lists(st.lists(st.tuples(st.integers(0, TASKS - 1), st.integers(0, 1)), max_size=8), max_size=4)


def story(plan, seen):
    columns = [
        (plan.attempts[task], plan.sent[task], plan.sent_bytes[task], plan.sent_ns(task), seen[task])
        for task in range(len(plan))
    ]
    return columns, [
        plan.departure(task, attempt) for task in range(len(plan)) for attempt in range(plan.attempts[task])
    ]


lists = st.lists(st.lists(st.integers(0, 11), max_size=12), max_size=4)


@given(lists, st.lists(st.integers(0, 9), max_size=12), st.binary(min_size=12, max_size=12), st.integers(1, 3))
def test_a_queue_yields_each_open_task_once_and_in_turn(waiting, rooms, wanted, per_host):
    hosts, attempts = array("I", [task // 5 for task in range(12)]), array("I", range(12))
    state, again = bytearray(each & 1 for each in wanted), bytearray(each >> 1 & 1 for each in wanted)
    last_ns = array("q", [0]) * 3
    queue = Queue(hosts, per_host, attempts, state, again, last_ns)
    for some in waiting:
        queue.put(array("I", some))
    rest, told_ns = [task for some in waiting for task in some], [0] * 3
    for now_ns, room in enumerate(rooms, 1):
        taken, rest = rest[:room], rest[room:]
        due = dict.fromkeys(task for task in taken if state[task] == 0 or again[task])
        for task in due:
            told_ns[hosts[task]] = now_ns
        found, ended = queue.take(room, now_ns)
        assert [(task, (attempts[task] + task) % per_host) for task in due] == found
        assert {hosts[task] for task in taken} - {hosts[task] for task in rest} == set(ended)
        assert [sum(hosts[task] == host for task in rest) for host in range(3)] == list(queue.of_host)
        assert (len(rest), told_ns) == (queue.size, list(last_ns))


@given(st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_hosts_are_probed_in_turn(sizes):
    starts = array("I", accumulate(sizes, initial=0))
    tasks = array("I", reversed(range(starts[-1])))
    ranked = sorted((rank, host) for host, size in enumerate(sizes) for rank in range(size))
    assert [tasks[starts[host] + rank] for rank, host in ranked] == list(in_turn(tasks, starts))


@given(st.lists(st.integers(0, 9)), st.binary(min_size=10, max_size=10))
def test_columns_are_counted_found_and_looked_up(numbers, values):
    some = array("I", numbers)
    assert [numbers.count(number) for number in range(10)] == list(counts(some, 10))
    assert [numbers.index(number) if number in numbers else 0 for number in range(10)] == list(firsts(some, 10))
    assert bytes(values[number] for number in numbers) == values_at(values, some)
    if numbers:
        with pytest.raises(IndexError):
            counts(some, max(numbers))
        with pytest.raises(IndexError):
            values_at(values[: max(numbers)], some)


def packets_of(batch, count):
    return [bytes(batch.packets[row * batch.stride : row * batch.stride + batch.length[row]]) for row in range(count)]


@given(some, st.sampled_from((0, 60)))
def test_counting_departures_in_bulk_equals_counting_one_by_one(batches, size):
    plans = [plan_of(*PAIRS, source_ports=4, size=size) for _ in range(2)]
    noted, counted = (bytearray(TASKS) for _ in range(2))
    batch, total = Batch(8, 160), 0
    departures = plans[1].departures(batch, counted)
    for number, due in enumerate(batches):
        sent, now_ns = [], START_NS + 1000 * number
        for task, source in due:
            attempt = plans[0].next_attempt(task, now_ns)
            sent.append(
                plans[0].prober.craft_one(
                    plans[0].crafted, task, source=plans[0].source_number(task, source), attempt=attempt, size=size
                )
            )
            plans[0].count_sent(task, len(sent[-1]))
        for task, _ in due:
            noted[task] = 1
            plans[0].set_sent_ns(task, now_ns + 7)
        zones = departures.number(due, now_ns, plans[1].keep_last)
        plans[1].prober.craft(plans[1].crafted, batch, len(due))
        total += departures.count_sent(len(due))
        departures.set_sent_ns(array("I", range(len(due))), now_ns + 7)
        assert (sent, [0] * len(due)) == (packets_of(batch, len(due)), zones)
    assert story(plans[0], noted) == story(plans[1], counted)
    assert total == sum(plans[1].sent_bytes)
