"""Probes for an engine without a scan, and what its frames tell the core."""

from __future__ import annotations

import time
from ipaddress import ip_address

import numpy as np
from feeding import follow

from udpprobe.core.packets import MAPPED
from udpprobe.core.probing.craft import Crafter
from udpprobe.core.probing.probes import Payloads, Probes, token_of

KEY = (1, 2)
TOKEN = Payloads(np.zeros((1, 8), np.uint8), *(np.array([value]) for value in (8, 0, 8)))
"""The one payload: the token."""


def crafter(size=0):
    return Crafter(TOKEN, size=size)


def halves(address):
    parsed = ip_address(address)
    number = int(parsed) | (int(MAPPED) if parsed.version == 4 else 0)
    return number >> 64, number & (1 << 64) - 1


def probes_to(destinations, source, source_port, *, ttl=64, attempt=0, zone=0):
    """A probe for each `(address, port)`; tasks are numbered from 0."""
    n = len(destinations)
    sources = [np.full(n, half, np.uint64) for half in halves(source)]
    high, low = (np.array(half, np.uint64) for half in zip(*(halves(address) for address, _ in destinations),
                                                           strict=True))
    ports = np.array([source_port << 16 | port for _, port in destinations], np.uint64)
    return Probes(np.arange(n), *sources, high, low, ports, np.full(n, zone), np.zeros(n, np.int64),
                  np.full(n, attempt), np.full(n, ttl), token_of(KEY, tuple(sources), (high, low), ports))


def heard(engine, wait_s, until=1 << 30):
    """Batches of `wait_s` seconds; the last of them is the first that brings the frames to `until`."""
    end, frames = time.monotonic() + wait_s, 0
    while frames < until and (left_s := end - time.monotonic()) > 0:
        batch = engine.receive(left_s)
        frames += len(batch)
        yield batch


def story_of(engine, sets, *, wait_s=0.3, until=1 << 30):
    """What the core concludes when the sets of probes are sent, each after the last was listened to."""
    batches = []
    for probes in sets:
        engine.send(probes)
        batches += heard(engine, wait_s, until)
    return follow(batches)
