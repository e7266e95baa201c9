"""The simulated internet: packets in, packets out, the time as an argument."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from itertools import count

from udpprobe.lab import packets
from udpprobe.lab.model import Departure, Dice, IpPacket, ns
from udpprobe.lab.nodes import Alarm, Effect, Node
from udpprobe.lab.scenario import YOU, LinkSpec, Scenario


class World:
    """A simulated scenario. The same scenario, seed, packets and times give the same packets.

    Events are handled in the order of time, and simultaneous ones in the order of the packets that caused them. So it
    does not matter how often `due` is called.

    Args:
        scenario: the network.
        seed: of the random numbers, instead of the scenario's own.
    """

    def __init__(self, scenario: Scenario, seed: int | None = None) -> None:
        seed = scenario.seed if seed is None else seed
        self.faults: Counter[str] = Counter()
        """Packets of the program that are no IP packets, by fault."""
        self._nodes = {name: Node(name, scenario, seed) for name in scenario.nodes}
        self._links = {ends: Link(spec, Dice(seed, " > ".join(ends))) for ends, spec in scenario.links.items()}
        self._events: list[tuple[int, int, int, Callable[[], None]]] = []
        self._numbers = count()
        self._now_ns = 0
        self._cause = 0
        self._received = 0
        self._out: list[bytes] = []

    @property
    def next_ns(self) -> int | None:
        """Time of the next event, even if the program will not see it; None for never."""
        return self._events[0][0] if self._events else None

    def receive(self, raw: bytes, now_ns: int) -> None:
        """Handle an IP packet of the program.

        Args:
            raw: any bytes; what is no packet is counted under `faults`.
            now_ns: time, which must not decrease.
        """
        packet = packets.dissect(raw)
        if isinstance(packet, str):
            self.faults[packet] += 1
            return
        self._received += 1
        self._cause = self._received
        self._at(max(now_ns, self._now_ns), partial(self._enter, packet))

    def due(self, now_ns: int, most: int | None = None) -> list[bytes]:
        """The packets for the program that are due, in order.

        Args:
            now_ns: time.
            most: most events at once; the rest waits for the next call. Two hosts that echo each other never come to an
                end.
        """
        self._out = []
        for _ in count() if most is None else range(most):
            if not self._events or self._events[0][0] > now_ns:
                break
            self._now_ns, self._cause, _, action = heapq.heappop(self._events)
            action()
        return self._out

    def _at(self, when_ns: int, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when_ns, self._cause, next(self._numbers), action))

    def _enter(self, packet: IpPacket) -> None:
        self._follow(YOU, self._nodes[YOU].send(packet))

    def _arrive(self, name: str, came_from: str, packet: IpPacket) -> None:
        if name == YOU:
            self._out.append(packets.build(packet))
        else:
            self._follow(name, self._nodes[name].handle(packet, came_from, self._now_ns))

    def _on_timeout(self, name: str, piece: IpPacket) -> None:
        self._follow(name, self._nodes[name].on_timeout(piece, self._now_ns))

    def _follow(self, name: str, effects: Iterable[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Alarm):
                self._at(self._now_ns + effect.wait_ns, partial(self._on_timeout, name, effect.piece))
            elif effect.wait_ns:
                self._at(self._now_ns + effect.wait_ns, partial(self._depart, name, effect))
            else:
                self._depart(name, effect)

    def _depart(self, name: str, departure: Departure) -> None:
        for arrival_ns, packet in self._links[name, departure.next_hop].carry(departure.packet, self._now_ns):
            self._at(arrival_ns, partial(self._arrive, departure.next_hop, name, packet))


QUEUE = 1000
"""Most packets on a link, as in netem: where a loop doubles packets, nothing else would end it."""


class Link:
    """One direction of a link.

    Args:
        spec: its behaviour.
        dice: its own.
    """

    def __init__(self, spec: LinkSpec, dice: Dice) -> None:
        self.spec = spec
        self._dice = dice
        self._latest_ns = 0
        self._under_way: list[int] = []

    def carry(self, packet: IpPacket, now_ns: int) -> list[tuple[int, IpPacket]]:
        """When a packet arrives, and its content: never, once, or twice."""
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
        """Jitter keeps the order, as queues do; only reordered packets are overtaken."""
        due = now_ns + ns(self.spec.delay_ms) + self._dice.below(ns(self.spec.jitter_ms) + 1)
        if self._dice.happens(self.spec.reorder):
            return due + ns(self.spec.reorder_ms)
        self._latest_ns = max(self._latest_ns, due)
        return self._latest_ns

    def _corrupted(self, packet: IpPacket) -> IpPacket:
        if not packet.payload:
            return packet
        payload = bytearray(packet.payload)
        bit = self._dice.below(8 * len(payload))
        payload[bit // 8] ^= 1 << bit % 8
        return replace(packet, payload=bytes(payload))
