"""Links: how long a packet is on its way, and what becomes of it there."""

from __future__ import annotations

import heapq
from dataclasses import replace

from udpprobe.lab.dice import Dice
from udpprobe.lab.model import Packet
from udpprobe.lab.spec import LinkSpec


def ns(milliseconds: float) -> int:
    """Milliseconds as nanoseconds."""
    return round(milliseconds * 1_000_000)


QUEUE = 1000
"""Packets that are on a link at most, as in netem: where a loop doubles packets, nothing else would end it."""


class Link:
    """One direction of a link.

    Args:
        spec: how it behaves.
        dice: its own.
    """

    def __init__(self, spec: LinkSpec, dice: Dice) -> None:
        self.spec = spec
        self._dice = dice
        self._latest_ns = 0
        self._under_way: list[int] = []

    def carry(self, packet: Packet, now_ns: int) -> list[tuple[int, Packet]]:
        """When a packet arrives, and as what: never, once, or twice."""
        while self._under_way and self._under_way[0] <= now_ns:
            heapq.heappop(self._under_way)
        if len(self._under_way) >= QUEUE or self._dice.happens(self.spec.loss):
            return []
        if self._dice.happens(self.spec.corrupt):
            packet = self._corrupted(packet)
        copies = 1 + self._dice.happens(self.spec.duplicate)
        arrivals = [self._arrival_ns(now_ns) for _ in range(copies)]
        for arrival_ns in arrivals:
            heapq.heappush(self._under_way, arrival_ns)
        return [(arrival_ns, packet) for arrival_ns in arrivals]

    def _arrival_ns(self, now_ns: int) -> int:
        """Jitter keeps the order, as queues do; only what is reordered is overtaken."""
        due = now_ns + ns(self.spec.delay_ms) + self._dice.below(ns(self.spec.jitter_ms) + 1)
        if self._dice.happens(self.spec.reorder):
            return due + ns(self.spec.reorder_ms)
        self._latest_ns = max(self._latest_ns, due)
        return self._latest_ns

    def _corrupted(self, packet: Packet) -> Packet:
        if not packet.payload:
            return packet
        payload = bytearray(packet.payload)
        bit = self._dice.below(8 * len(payload))
        payload[bit // 8] ^= 1 << bit % 8
        return replace(packet, payload=bytes(payload))
