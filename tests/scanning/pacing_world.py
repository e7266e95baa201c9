"""A simulated scan: hosts with limits, losses and silent ports behind a path, and no clock but the one that is told."""

from __future__ import annotations

import heapq
import random
from array import array

from udpprobe.core.limiter import MS, SECOND
from udpprobe.core.probe import GENERIC, Payloads
from udpprobe.scanning.pacing import Pacing, Patience
from udpprobe.scanning.plan import Plan, ProbedDestinations, Sources
from udpprobe.scanning.unanswered import LIMITED, REPLIED, SILENT

PAYLOADS = Payloads([(bytes(8), 0, 8)] * 8, [(GENERIC,)])
ANSWER, REFUSAL = range(2)
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
    """`silent` etc. are ports; every host is alike, each with its own bucket for each of our addresses.

    `rules` are other reporters, who refuse some ports: of each their ports, interval and burst. What no rule is about,
    the host itself refuses. To an engine that is `anonymous` all errors are alike.
    """

    def __init__(
        self,
        *,
        ports,
        answering=(),
        silent=(),
        hosts=1,
        sources=1,
        interval_ns=0,
        burst=6,
        rtt_ns=MS,
        loss=0.0,
        closed_control=True,
        mute=False,
        resets=False,
        thief_ns=0,
        rules=(),
        anonymous=False,
        seed=1,
    ):
        self.answering, self.silent = set(answering), set(silent)
        self.reporter = {port: number for number, (some, _, _) in enumerate(rules, 1) for port in some}
        self.anonymous = anonymous
        self.rtt_ns, self.loss, self.closed_control, self.mute = rtt_ns, loss, closed_control, mute
        self.random = random.Random(seed)
        destinations = ProbedDestinations()
        for host in range(hosts):
            destinations.add(host, (0, 0xFFFF_0A00_0001 + host), list(ports))
        own = [(0, 0xFFFF_0A01_0001 + source) for source in range(sources)]
        choice = array("H", bytes(2 * len(destinations)))
        self.plan = Plan(destinations, Sources([own] * hosts, 40000), choice, PAYLOADS, (1, 2))
        limits = [(interval_ns, burst), *(limit for _, *limit in rules)]
        self.buckets = {
            (each, source, reporter): Bucket(*limit, resets=resets)
            for each in range(hosts)
            for source in range(sources)
            for reporter, limit in enumerate(limits)
        }
        self.lost, self.limited = [0] * len(self.plan), [0] * len(self.plan)
        """By task, how many of its probes drew nothing for a loss, and for want of a token."""
        self.events = []
        self.sent = 0
        self.thief_ns, self.thief_next_ns = thief_ns, START_NS

    def run(self, *, rate_pps=1000, retries=2, timeout_ns=4 * SECOND, control=True, loop_ns=MS, most_s=3600):
        """Returns the seconds it took."""
        self.pacing = Pacing(self.plan, Patience(rate_pps, retries, timeout_ns, control), START_NS)
        now_ns = START_NS
        while not self.pacing.done(now_ns):
            assert now_ns < START_NS + most_s * SECOND, "does not end"
            due = self.pacing.due(now_ns, 8192)
            if due:
                self.send(due, now_ns)
            wake_ns = max(self.pacing.wake_ns(now_ns), now_ns + loop_ns)
            now_ns = min([wake_ns, *([max(self.events[0][0], now_ns + loop_ns // 10)] if self.events else [])])
            self.receive(now_ns)
        return (now_ns - START_NS) / SECOND

    def send(self, due, now_ns):
        self.sent += len(due)
        for task, source in due:
            attempt = self.plan.next_attempt(task, now_ns)
            kind = self.reply(task, source, now_ns + self.rtt_ns // 2)
            if kind is not None:
                heapq.heappush(self.events, (now_ns + self.rtt_ns, task, kind, source, attempt))

    def reply(self, task, source, now_ns):
        port = self.plan.port[task]
        if self.random.random() < self.loss:
            self.lost[task] += 1
            return None
        if port in self.answering:
            return ANSWER
        is_control = task >= self.plan.requested_count
        if port in self.silent or self.mute or (is_control and not self.closed_control):
            return None
        bucket = self.buckets[self.plan.host[task], source, self.reporter.get(port, 0)]
        while self.thief_ns and self.thief_next_ns <= now_ns:
            bucket.allows(self.thief_next_ns)
            self.thief_next_ns += self.thief_ns
        if bucket.allows(now_ns):
            return REFUSAL
        self.limited[task] += 1
        return None

    def receive(self, now_ns):
        while self.events and self.events[0][0] <= now_ns:
            time_ns, task, kind, source, attempt = heapq.heappop(self.events)
            if self.random.random() < self.loss:
                self.lost[task] += 1
                continue
            if kind == ANSWER:
                self.pacing.answered(task, time_ns)
            else:
                reporter = self.reporter.get(self.plan.port[task], 0)
                origin = (0, task % 16) if self.anonymous else (reporter, 0)
                self.pacing.failed(task, source, attempt, time_ns, is_refusal=reporter == 0, origin=origin)

    def silent_found(self):
        """(host, port) of what the scan calls silent, for whatever reason."""
        plan = self.plan
        return {
            (plan.host[task], plan.port[task])
            for task in range(plan.requested_count)
            if self.pacing.state[task] in {SILENT, LIMITED}
        }

    def wrongly_silent(self, tries=3):
        """Ports that are called silent although who refuses them was heard, and losses do not explain it."""
        heard = {
            self.reporter.get(self.plan.port[task], 0)
            for task in range(len(self.plan))
            if self.pacing.state[task] == REPLIED and self.plan.port[task] not in self.answering
        }
        return {
            (self.plan.host[task], self.plan.port[task])
            for task in range(self.plan.requested_count)
            if self.pacing.state[task] == SILENT
            and self.plan.port[task] not in self.silent | self.answering
            and self.reporter.get(self.plan.port[task], 0) in heard
            and self.lost[task] < tries - 1
        }
