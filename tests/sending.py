"""Probes to send, by hand."""

from __future__ import annotations

from array import array

from scan_setup import halves

from udpprobe.core.probe import Batch, Payloads, Prober, Tasks
from udpprobe.linux.hostfacts import source_of

TOKEN_ONLY = Payloads([(bytes(8), 0, 8)])
KEY = (1, 2)


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
    Prober(KEY, TOKEN_ONLY, [own], first_port=source_port).craft(tasks, batch, n)
    return batch, n, [zone] * n


def data_of(batch, row):
    """What a packet of a batch carries."""
    packet = bytes(memoryview(batch.packets)[row * batch.stride : row * batch.stride + batch.length[row]])
    return packet[28 if packet[0] >> 4 == 4 else 48 :]
