"""Ways of routers in simulated time, and traces of them."""

from __future__ import annotations

import heapq
import itertools
from collections import defaultdict
from dataclasses import dataclass, field

from udpprobe.core.limiter import MS
from udpprobe.core.model import Event, Quoted
from udpprobe.core.verdicts import meaning_of
from udpprobe.replies import Reply
from udpprobe.tracing.hops import end_of, hops_of, loop_of, worst
from udpprobe.tracing.path import TracePolicy
from udpprobe.tracing.schedule import Schedule

TO, OWN = "198.51.100.7", "192.0.2.1"
EXPIRED, REFUSED, HOST_UNREACH, QUENCH, ANSWER = (11, 0), (3, 3), (3, 1), (4, 0), None
SILENCE = "-"
SIZE = 36
"""Bytes of each probe's IP packet."""
LONGEST_NS = 600_000 * MS


def event_of(reporter, kind, *, quoted_ttl=1, mtu=None, extensions=None, notes=()):
    meaning = meaning_of(4, *kind)
    quoted = Quoted(OWN, 40_000, TO, 7, 1, quoted_ttl, 36, 16, 1, 28)
    return Event(
        1,
        0,
        4,
        *kind,
        meaning.verdict,
        meaning.errno,
        None,
        meaning.reason,
        reporter,
        mtu,
        quoted,
        "exact",
        None,
        None,
        extensions,
        notes,
    )


def reply_of(number, sent_ns, time_ns, reporter, kind, *, ttl=64, changed=(), is_sure=True, **about):
    if kind is ANSWER:
        return Reply(number, sent_ns, time_ns, "answer", None, ttl, changed, is_sure=is_sure, size=SIZE)
    return Reply(number, sent_ns, time_ns, "error", event_of(reporter, kind, **about), ttl, changed, size=SIZE)


@dataclass
class Way:
    """Routers in a row, then the destination; `goes_round` routers at its end for ever."""

    routers: list[str]
    last: tuple[int, int] | str | None = REFUSED
    """What the destination says, or SILENCE."""
    period: int = 0
    """Of the loop that it ends in, made of its last routers."""
    rtt_ms: float = 10
    """For each hop."""
    lost: set[int] = field(default_factory=set)
    """Numbers of probes that nobody hears of."""
    limits: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By router: errors it sends at once, and a second."""
    is_sure: bool = True
    last_delay_ms: float = 0
    hidden: int = 0
    """Hops before the first router that do not count down."""
    buckets: dict = field(default_factory=lambda: defaultdict(lambda: None))
    sent: list = field(default_factory=list)

    def reply(self, probe, now_ns):
        self.sent.append((probe, now_ns))
        place = probe.ttl - 1
        if place >= len(self.routers) and self.period:
            first = len(self.routers) - self.period
            place = first + (place - first) % self.period
        if place < len(self.routers):
            reporter, kind, delay_ms = self.routers[place], EXPIRED, self.rtt_ms * probe.ttl
        else:
            reporter, kind = TO, self.last
            delay_ms = self.rtt_ms * (len(self.routers) + 1) + self.last_delay_ms
        if probe.number in self.lost or SILENCE in (reporter, kind) or not self.allows(reporter, now_ns):
            return None
        then_ns = now_ns + int(delay_ms * MS)
        quoted_ttl = self.hidden + (1 if kind is EXPIRED else probe.ttl - len(self.routers))
        return reply_of(
            probe.number,
            now_ns,
            then_ns,
            reporter,
            kind,
            is_sure=self.is_sure,
            ttl=64 - min(place, len(self.routers)),
            quoted_ttl=quoted_ttl,
        )

    def allows(self, reporter, now_ns):
        """A bucket of tokens (Linux: 6, and 1 more a second)."""
        if reporter not in self.limits:
            return True
        burst, per_second = self.limits[reporter]
        left, then_ns = self.buckets[reporter] or (burst, now_ns)
        left = min(burst, left + (now_ns - then_ns) / 1e9 * per_second)
        self.buckets[reporter] = left - (left >= 1), now_ns
        return left >= 1


@dataclass
class Outcome:
    """What a trace found, and when it was done."""

    paths: list
    took_ms: float
    way: Way
    quenches: int = 0

    @property
    def end(self):
        return worst([end_of(path) for path in self.paths])

    @property
    def hops(self):
        return hops_of(self.paths, TO, LONGEST_NS)

    @property
    def loop(self):
        return loop_of(self.paths)

    def routers(self):
        return [SILENCE if not hop.reporters else "/".join(each.address for each in hop.reporters) for hop in self.hops]


def traced(*ways, start_ns=0, **policy):
    """Trace several flows, each with a way of its own."""
    tracing = Schedule(TracePolicy(**policy), flows=len(ways))
    now_ns, coming, order = start_ns, [], itertools.count()
    while not tracing.done(now_ns):
        for probe in tracing.due(now_ns):
            reply = ways[probe.flow].reply(probe, now_ns)
            if reply:
                heapq.heappush(coming, (reply.time_ns, next(order), reply))
        wake_ns = tracing.wake_ns(now_ns)
        assert wake_ns >= now_ns
        now_ns = max(now_ns + MS // 100, min(wake_ns, coming[0][0] if coming else wake_ns))
        assert now_ns < start_ns + LONGEST_NS
        while coming and coming[0][0] <= now_ns:
            tracing.take([heapq.heappop(coming)[2]])
    return Outcome(tracing.paths, (now_ns - start_ns) / MS, ways[0], tracing.quenches)
