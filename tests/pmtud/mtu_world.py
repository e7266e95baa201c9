"""A path with an MTU, routers that say what they like, and a host that limits its errors; in simulated time."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from msgspec import structs
from msgspec.structs import replace
from samples import EVENT

from udpprobe.core.limiter import MS, SECOND
from udpprobe.pmtud.rounds import RetryPolicy, SearchRounds, SizedProbe
from udpprobe.pmtud.search import Search
from udpprobe.replies import Reply

HOST, ROUTER = EVENT.quoted.destination, "192.0.2.1"
LEAST = {4: (60, 36), 6: (80, 56)}
END_NS = 600 * SECOND


def honest(_size, mtu):
    return mtu


def mute(_size, _mtu):
    return None


@dataclass
class World:
    """A path and its end. Sizes are bytes of IP packets."""

    mtu: Callable[[int], int] | int
    """The path's; a function of the time where it changes."""
    says: Callable[[int, int], int | None] = honest
    """What a router says of a packet that is too big: its size and the MTU give the next-hop MTU, None for silence."""
    slanders: Callable[[int], int | None] = lambda _size: None
    """What it says of one that it forwards all the same."""
    service: str = "refuses"
    """answers, refuses, silent, forgets (answers, but does not repeat anything), picky (only what is not padded)"""
    control: bool = True
    """Whether closed ports are refused."""
    burst: int = 6
    interval_ns: int = SECOND
    loss: float = 0.0
    rtt_ns: int = 20 * MS
    family: int = 4
    interface: int = 1500
    seed: int = 1
    objects: Callable[[SizedProbe, int], str | None] = lambda _probe, _now_ns: None
    """The verdict that it says of one, of whatever size, at a time; None where it does not."""
    is_barred: bool = True
    """Whether it drops what it objects to, and does not only say so."""
    arrived: list = field(default_factory=list)
    refusals: int = 0

    def __post_init__(self):
        self.random = random.Random(self.seed)
        self.tokens, self.filled_ns = float(self.burst), 0
        self.heap, self.order = [], 0

    def mtu_at(self, now_ns):
        return self.mtu(now_ns) if callable(self.mtu) else self.mtu

    def lost(self):
        return self.random.random() < self.loss

    def take(self, outgoing, now_ns):
        """A probe enters the path."""
        verdict = self.objects(outgoing, now_ns)
        if verdict and not self.lost():
            event = structs.replace(EVENT, verdict=verdict, reporter=ROUTER)
            self.reply(self.said(outgoing, event), now_ns, now_ns + self.rtt_ns // 2)
        if not verdict or not self.is_barred:
            self.enters(outgoing, now_ns)

    def enters(self, outgoing, now_ns):
        probe, mtu = outgoing.probe, self.mtu_at(now_ns)
        fits = probe.size <= mtu
        word = self.slanders(probe.size) if fits else self.says(probe.size, mtu)
        if word is not None and not self.lost():
            event = structs.replace(EVENT, verdict="too-big", reporter=ROUTER, mtu=word)
            self.reply(self.said(outgoing, event), now_ns, now_ns + self.rtt_ns // 2)
        if fits and not self.lost():
            self.arrives(outgoing, now_ns, now_ns + self.rtt_ns // 2)

    def arrives(self, outgoing, sent_ns, now_ns):
        self.arrived.append(outgoing.probe.size)
        kind = self.service if outgoing.role == 0 else "refuses" if self.control else "silent"
        padded = outgoing.probe.size > LEAST[self.family][0]
        if kind in {"answers", "forgets"} or (kind == "picky" and not padded):
            self.reply(self.said(outgoing, None, is_sure=kind != "forgets"), sent_ns, now_ns + self.rtt_ns // 2)
        elif kind == "refuses" and self.has_token(now_ns):
            self.refusals += 1
            event = structs.replace(EVENT, verdict="refused", reporter=HOST, mtu=None)
            self.reply(self.said(outgoing, event), sent_ns, now_ns + self.rtt_ns // 2)

    def has_token(self, now_ns):
        self.tokens = min(self.burst, self.tokens + (now_ns - self.filled_ns) / self.interval_ns)
        self.filled_ns = now_ns
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def said(self, outgoing, event, *, is_sure=True):
        return Reply(outgoing.probe.number, 0, 0, "error" if event else "answer", event, 60, is_sure=is_sure)

    def reply(self, said, sent_ns, time_ns):
        """A reply is on its way, if it does not get lost."""
        if not self.lost():
            self.order += 1
            made = replace(said, sent_ns=sent_ns, time_ns=time_ns)
            heapq.heappush(self.heap, (time_ns, self.order, made))


def run(world, *, tries=3, timeout_ns=4 * SECOND, control=True):
    """The search to its end; the rounds, and when it ended."""
    least = LEAST[world.family][: 2 if control else 1]
    rounds = SearchRounds(Search(world.family, min(least), world.interface), least, RetryPolicy(tries, timeout_ns), 0)
    now_ns = 0
    while now_ns < END_NS:
        for outgoing in rounds.due(now_ns):
            world.take(outgoing, now_ns)
        if rounds.is_over:
            return rounds, now_ns
        next_ns = max(rounds.wake_ns, now_ns)
        if world.heap and world.heap[0][0] <= next_ns:
            now_ns, _, reply = heapq.heappop(world.heap)
            rounds.take(reply)
        else:
            now_ns = next_ns
    raise AssertionError("it never ends")
