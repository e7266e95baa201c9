"""Probes for an engine without a scan, and what its frames tell the core."""

from __future__ import annotations

import time
from ipaddress import ip_address

import numpy as np
from feeding import follow

from udpprobe.core.packets import MAPPED
from udpprobe.core.probing.craft import Crafter
from udpprobe.core.probing.probes import Payloads, Probes, token_of

PATIENCE_S = 20
"""What is to come has come by then, on a machine however busy."""
MANY = 1 << 30
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


def heard(engine, frames=MANY, *, faults=MANY, wait_s=PATIENCE_S):
    """Batches until they bring so many frames, or the engine has so many faults; else for `wait_s` seconds."""
    end, came = time.monotonic() + wait_s, 0
    while came < frames and engine.state.faults.total() < faults and (left_s := end - time.monotonic()) > 0:
        batch = engine.receive(left_s)
        came += len(batch)
        yield batch


def story_of(engine, probes, frames=MANY, *, wait_s=PATIENCE_S):
    """What the core concludes when the probes are sent and listened to as `heard` does."""
    engine.send(probes)
    return follow(list(heard(engine, frames, wait_s=wait_s)))
