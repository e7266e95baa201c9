"""Probes to send, by hand."""

from __future__ import annotations

import socket

import numpy as np

from udpprobe.core.probing.craft import Crafter
from udpprobe.core.probing.probes import Payloads, Probes
from udpprobe.hostfacts import sources_for

TOKEN_ONLY = Payloads(np.zeros((1, 8), np.uint8), np.array([8]), np.array([0]), np.array([8]))
MAPPED = 0xFFFF_0000_0000


def columns_of(addresses):
    """(n,) high and low halves."""
    numbers = [int.from_bytes(socket.inet_pton(socket.AF_INET6 if ":" in text else socket.AF_INET, text), "big")
               | (0 if ":" in text else MAPPED) for text in addresses]
    return (np.array([number >> 64 for number in numbers], np.uint64),
            np.array([number & (1 << 64) - 1 for number in numbers], np.uint64))


def crafted_for(addresses, ports, *, source=None, source_port=40000, zone=0, size=0, ttl=64):
    """A probe to each address and port of one family, its row the token in its payload; and their zones.

    Its source is what the kernel says, or 0 where it says an errno.
    """
    n = len(addresses)
    high, low = columns_of(addresses)
    zones = np.full(n, zone, np.int64)
    source_high, source_low = columns_of([source] * n) if source else sources_for(high, low, zones)[:2]
    zeros = np.zeros(n, np.int64)
    ports = np.array(ports, np.uint64) | np.uint64(source_port << 16)
    (crafted,) = Crafter(TOKEN_ONLY, size=size).craft(Probes(
        np.arange(n), source_high, source_low, high, low, ports, zones, zeros, zeros, np.full(n, ttl),
        np.arange(n, dtype=np.uint64)))
    return crafted, zones
