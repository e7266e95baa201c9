"""A simulated scan: hosts with limits, losses and silent ports behind a path, and no clock but the one that is told."""

from __future__ import annotations

import heapq
import random

import numpy as np

from udpprobe.core.limiter import MS, SECOND
from udpprobe.core.probing.probes import Destinations
from udpprobe.core.scanning.admission import ANSWER, PROBE, REFUSAL, Heard
from udpprobe.core.scanning.pacing import Pacing, Patience
from udpprobe.core.scanning.plan import GENERIC, Candidates, Plan, Sources

START_NS = 1_000 * SECOND


class Bucket:
    """Linux's inet_peer_xrlim_allow: tokens are time, `burst` of them at most."""

    def __init__(self, interval_ns, burst=6, *, resets=False):
        self.interval_ns, self.burst, self.resets = interval_ns, burst, resets
        self.tokens_ns, self.last_ns = interval_ns * burst, START_NS

    def allows(self, now_ns):
        if self.interval_ns == 0:
            return True
        self.tokens_ns = min(self.tokens_ns + now_ns - self.last_ns, self.interval_ns * self.burst)
        self.last_ns = now_ns
        if self.tokens_ns < self.interval_ns:
            if self.resets:
                self.tokens_ns = 0
            return False
        self.tokens_ns -= self.interval_ns
        return True


class World:
    """`closed` etc. are ports; every host is alike, each with its own bucket for each of our addresses."""

    def __init__(self, *, ports, answering=(), silent=(), hosts=1, sources=1, interval_ns=0, burst=6, rtt_ns=MS,
                 loss=0.0, closed_control=True, mute=False, resets=False, thief_ns=0):
        self.answering, self.silent = set(answering), set(silent)
        self.rtt_ns, self.loss, self.closed_control, self.mute = rtt_ns, loss, closed_control, mute
        self.random = random.Random(1)
        count = len(ports)
        host = np.repeat(np.arange(hosts), count)
        address = np.uint64(0xFFFF_0A00_0001) + host.astype(np.uint64)
        destinations = Destinations(host, np.zeros(len(host), np.uint64), address, np.tile(np.array(ports), hosts),
                                    np.zeros(len(host), np.int64))
        high = np.zeros((hosts, sources), np.uint64)
        low = np.uint64(0xFFFF_0A01_0001) + np.tile(np.arange(sources, dtype=np.uint64), (hosts, 1))
        none = np.zeros(len(host), np.int64)
        candidates = Candidates(none, none + 1, np.array([GENERIC]))
        self.plan = Plan(destinations, Sources(high, low, 40000), candidates, (1, 2))
        self.buckets = {(each, source): Bucket(interval_ns, burst, resets=resets)
                        for each in range(hosts) for source in range(sources)}
        self.events = []
        self.sent = 0
        self.thief_ns, self.thief_next_ns = thief_ns, START_NS

    def run(self, *, rate_pps=1000, retries=2, timeout_ns=4 * SECOND, control=True, loop_ns=MS, most_s=3600):
        """Returns the seconds it took."""
        self.pacing = Pacing(self.plan, Patience(rate_pps, retries, timeout_ns, control), START_NS)
        now_ns = START_NS
        while not self.pacing.done(now_ns):
            assert now_ns < START_NS + most_s * SECOND, "does not end"
            tasks, sources = self.pacing.due(now_ns, 8192)
            if len(tasks):
                self.send(tasks, sources, now_ns)
            wake_ns = max(self.pacing.wake_ns(now_ns), now_ns + loop_ns)
            now_ns = min([wake_ns, *([max(self.events[0][0], now_ns + loop_ns // 10)] if self.events else [])])
            self.hear(now_ns)
        return (now_ns - START_NS) / SECOND

    def send(self, tasks, sources, now_ns):
        probes = self.plan.next_probes(tasks, sources)
        self.sent += len(tasks)
        left_ns = np.full(len(tasks), now_ns)
        self.pacing.heard(Heard(tasks, left_ns, np.full(len(tasks), PROBE), sources, probes.attempt))
        for task, source, attempt in zip(tasks.tolist(), sources.tolist(), probes.attempt.tolist(), strict=True):
            kind = self.reply(task, source, now_ns + self.rtt_ns // 2)
            if kind is not None:
                heapq.heappush(self.events, (now_ns + self.rtt_ns, task, kind, source, attempt))

    def reply(self, task, source, now_ns):
        port = int(self.plan.tasks.port[task])
        if self.random.random() < self.loss:
            return None
        if port in self.answering:
            return ANSWER
        is_control = task >= self.plan.asked
        if port in self.silent or self.mute or (is_control and not self.closed_control):
            return None
        bucket = self.buckets[int(self.plan.tasks.host[task]), source]
        while self.thief_ns and self.thief_next_ns <= now_ns:
            bucket.allows(self.thief_next_ns)
            self.thief_next_ns += self.thief_ns
        return REFUSAL if bucket.allows(now_ns) else None

    def hear(self, now_ns):
        while self.events and self.events[0][0] <= now_ns:
            time_ns, task, kind, source, attempt = heapq.heappop(self.events)
            if self.random.random() < self.loss:
                continue
            self.pacing.heard(Heard(*(np.array([each]) for each in (
                task, time_ns, kind, source, -1 if kind == ANSWER else attempt))))

    def silent_found(self):
        """(host, port) of what the scan calls silent."""
        rows = np.flatnonzero(self.pacing.state[:self.plan.asked] == 2)
        tasks = self.plan.tasks
        return set(zip(tasks.host[rows].tolist(), tasks.port[rows].tolist(), strict=True))
