"""Probes to send without a scan, by hand or by an engine, and what the engine says of them."""

from __future__ import annotations

import time
from array import array
from dataclasses import dataclass

from scan_setup import halves

from udpprobe.core.probe import Batch, Payloads, Prober, Tasks
from udpprobe.linux.hostfacts import source_of
from udpprobe.scanning.record import Answer, Error, ProbeSent

PATIENCE_S = 20
"""What is to come has come by then, on a machine however busy."""
MANY = 1 << 30
KEY = (1, 2)
TOKEN = Payloads([(bytes(8), 0, 8)])
"""The one payload: the token."""


@dataclass
class Probes:
    """What an engine's `send` takes."""

    batch: Batch
    count: int
    zones: list[int]


def probes_to(flows, source_port, *, ttl=64, attempt=0, zone=0, size=0):
    """A probe for each `(source, address, port)`; tasks are numbered from 0."""
    n = len(flows)
    own = list(dict.fromkeys(halves(source) for source, _, _ in flows))
    high, low = zip(*(halves(address) for _, address, _ in flows), strict=True)
    tasks = Tasks(
        array("Q", high),
        array("Q", low),
        array("H", [source_port] * n),
        array("H", [port for _, _, port in flows]),
        array("H", [0] * n),
    )
    batch = Batch(n, (max(size, 56) + 3) // 4 * 4)
    for row, (source, _, _) in enumerate(flows):
        batch.task[row], batch.source[row], batch.attempt[row] = row, own.index(halves(source)), attempt
        batch.ttl[row], batch.size[row] = ttl, size
    Prober(KEY, TOKEN, own, first_port=source_port).craft(tasks, batch, n)
    return Probes(batch, n, [zone] * n)


def crafted_for(addresses, ports, *, source=None, source_port=40000, zone=0, size=0, ttl=64):
    """A batch of a probe to each address and port of one family, how many, and their zones.

    Its source is what the kernel says. `tokens_of` tells what they carry.
    """
    n = len(addresses)
    own = halves(source) if source else divmod(source_of(addresses[0], zone).address, 1 << 64)
    high, low = zip(*map(halves, addresses), strict=True)
    tasks = Tasks(
        array("Q", high), array("Q", low), array("H", [source_port] * n), array("H", ports), array("H", [0] * n)
    )
    batch = Batch(n, max(size + 3, 56) // 4 * 4)
    for row in range(n):
        batch.task[row], batch.attempt[row], batch.ttl[row], batch.size[row] = row, row, ttl, size
    Prober(KEY, TOKEN, [own], first_port=source_port).craft(tasks, batch, n)
    return batch, n, [zone] * n


def data_of(batch, row):
    """What a packet of a batch carries."""
    packet = bytes(memoryview(batch.packets)[row * batch.stride : row * batch.stride + batch.length[row]])
    return packet[28 if packet[0] >> 4 == 4 else 48 :]


# ---- by an engine


def send(engine, probes):
    engine.send(probes.batch, probes.count, probes.zones)


def heard(engine, events=MANY, *, faults=MANY, wait_s=PATIENCE_S):
    """Events until there are so many, or the engine has so many faults; else for `wait_s` seconds."""
    end, found = time.monotonic() + wait_s, []
    while len(found) < events and engine.state.faults.total() < faults and (left_s := end - time.monotonic()) > 0:
        found += engine.receive(left_s).events
    return found


def sent(events):
    """The tasks of probes that left, in order."""
    return [event.task for event in events if isinstance(event, ProbeSent)]


def errors(events):
    return [event for event in events if isinstance(event, Error)]


def answers(events):
    return [event for event in events if isinstance(event, Answer)]


def all_heard(engine, probes, events=MANY, *, wait_s=PATIENCE_S):
    """What the engine says when the probes are sent and listened to as `heard` does."""
    send(engine, probes)
    return heard(engine, events, wait_s=wait_s)
