"""Where packets of a size disappear: sent with rising TTLs, they draw "time exceeded" from the routers that they reach.

A router checks the TTL before it checks the next link's MTU. So the last router that reports has received the packet
but fails to forward it (Luckie, Cho and Owens, "Inferring and debugging path MTU discovery failures", IMC 2005). A
small packet after each large one shows how soon the next router would have reported.
"""

from __future__ import annotations

from msgspec import Struct

from udpprobe.core.limiter import MS
from udpprobe.pmtud.rounds import ARRIVED, SizedProbe, result_of
from udpprobe.replies import Probe, Reply

FIRST_TTLS = (32, 64, 128, 255)
"""Initial TTLs of common systems."""
SLACK = 2
"""Hops by which the return path may be shorter."""
MOST_HOPS = 30
"""Used if the TTL of replies shows nothing."""
LEAST_WAIT_NS = 250 * MS
"""Routers may take a while to generate errors."""
GRACE_NS = 10 * MS
"""Time (besides a part of the RTT) to wait for a large packet's reply after a later small one's."""
BEYOND = 3
"""Hops beyond the last router that replied to large packets in which to look for one that receives small ones."""


def hops_to(reply_ttl: int | None) -> int:
    """Distance of a host whose reply arrived with this TTL, on a return path as long as the forward path."""
    first = next((each for each in FIRST_TTLS if reply_ttl and each >= reply_ttl), None)
    return MOST_HOPS if first is None or reply_ttl is None else min(first - reply_ttl + 1 + SLACK, MOST_HOPS)


class LocatorPlan(Struct, frozen=True):
    """Which packets to send, and how far."""

    role: int
    large: int
    """The size that disappears."""
    small: int
    """A size that arrives."""
    hops: int
    tries: int
    wait_ns: int
    """Time to wait for a round's replies."""
    number: int
    """Of the first probe."""
    destination: str


class Locator:
    """Finds the last router that receives packets of a size."""

    def __init__(self, plan: LocatorPlan) -> None:
        self._plan = plan
        both = (plan.large, plan.small)
        self._rounds = [both[:1], *[both] * (plan.tries - 1), both[1:]]
        self._sent: dict[int, Probe] = {}
        self._last: tuple[int, str | None] = (0, None)
        self._beyond: dict[int, str] = {}
        self._open: set[int] = set()
        self.wake_ns = 0

    @property
    def sent(self) -> int:
        """Number of probes sent."""
        return len(self._sent)

    @property
    def after(self) -> str | None:
        """The last router known to receive the large packets."""
        return self._last[1]

    @property
    def before(self) -> str | None:
        """The next one after it known to receive the small ones."""
        return self._beyond.get(self._next_ttl)

    @property
    def _next_ttl(self) -> int:
        """TTL of the router after that one that receives the small packets; 0 if none is known."""
        return min((ttl for ttl in self._beyond if ttl > self._last[0]), default=0)

    @property
    def is_over(self) -> bool:
        """Whether the result is known, or all rounds are done."""
        return not self._rounds and not self._open

    def due(self, now_ns: int) -> list[SizedProbe]:
        """The probes to send now."""
        if self._open and now_ns < self.wake_ns:
            return []
        self._open.clear()
        while self._rounds and not self._open:
            for size in self._rounds.pop(0):
                self._fire(size)
        self.wake_ns = now_ns + max(self._plan.wait_ns, LEAST_WAIT_NS)
        return [SizedProbe(self._plan.role, self._sent[number]) for number in sorted(self._open)]

    def _fire(self, size: int) -> None:
        for ttl in self._ttls(size):
            number = self._plan.number + len(self._sent)
            self._sent[number] = Probe(number, ttl, size)
            self._open.add(number)

    def _ttls(self, size: int) -> range:
        """TTLs beyond the last router known to receive large packets; for small packets not far beyond."""
        first, hops = self._last[0] + 1, self._plan.hops
        if size == self._plan.large:
            return range(first, hops + 1)
        if self._next_ttl:
            return range(self._next_ttl, self._next_ttl + 1) if self._rounds else range(0)
        return range(first, min(hops, first + BEYOND - 1) + 1)

    def take(self, reply: Reply) -> None:
        """Take a reply to one of these probes."""
        probe, event = self._sent.get(reply.number), reply.event
        if probe is None or not (result_of(reply) == ARRIVED or (event and event.verdict in {"expired", "loop"})):
            return
        self._open.discard(reply.number)
        reporter = (event.reporter if event else None) or self._plan.destination
        if probe.size == self._plan.large:
            self._last = max(self._last, (probe.ttl, reporter), key=lambda each: each[0])
        else:
            self._beyond[probe.ttl] = reporter
            self._hurry(probe.ttl, reply)

    def _hurry(self, ttl: int, reply: Reply) -> None:
        """Expect a large packet's reply soon after that of the small one sent after it, unless a nearer hop replies."""
        if ttl == self._last[0] + 1:
            self.wake_ns = min(self.wake_ns, reply.time_ns + GRACE_NS + (reply.time_ns - reply.sent_ns) // 4)
