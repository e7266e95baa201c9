"""Where packets of a size disappear: sent with rising TTL, they draw "time exceeded" from routers that they reach.

A router looks at the TTL before it looks at the next link's MTU, so the last one that reports has the packet and
fails to forward it (Luckie, Cho and Owens, "Inferring and debugging path MTU discovery failures", IMC 2005). Small
ones behind the large ones show how soon whoever comes next would have reported.
"""

from __future__ import annotations

from msgspec import Struct

from udpprobe.core.limiter import MS
from udpprobe.pmtud.rounds import ARRIVED, SizedProbe, result_of
from udpprobe.replies import Probe, Reply

FIRST_TTLS = (32, 64, 128, 255)
"""TTLs that systems send with."""
SLACK = 2
"""Hops that the way back may be shorter."""
MOST_HOPS = 30
"""Where the TTL of replies says nothing."""
LEAST_WAIT_NS = 250 * MS
"""Routers may take a while to generate errors."""
GRACE_NS = 10 * MS
"""How long, beside a part of the round trip, to wait for a large packet's reply after a later small one's."""
BEYOND = 3
"""Hops behind the last router that replied in which to look for one that gets smaller packets."""


def hops_to(reply_ttl: int | None) -> int:
    """How far away somebody may be whose reply arrived with this TTL, on a way as long as the way there."""
    first = next((each for each in FIRST_TTLS if reply_ttl and each >= reply_ttl), None)
    return MOST_HOPS if first is None or reply_ttl is None else min(first - reply_ttl + 1 + SLACK, MOST_HOPS)


class LocatorPlan(Struct, frozen=True):
    """Which packets to send, and how far."""

    role: int
    large: int
    """The size that disappears."""
    small: int
    """One that does not."""
    hops: int
    tries: int
    wait_ns: int
    """How long a round is waited for."""
    number: int
    """Of the first probe."""
    destination: str


class Locator:
    """Looks for the last router that gets packets of a size."""

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
        """The last router known to get the large packets."""
        return self._last[1]

    @property
    def before(self) -> str | None:
        """Who comes behind it: the next one known to get the small ones."""
        return self._beyond.get(self._next_ttl)

    @property
    def _next_ttl(self) -> int:
        """How far it is to who gets the small ones behind that router; 0 where nobody does so far."""
        return min((ttl for ttl in self._beyond if ttl > self._last[0]), default=0)

    @property
    def is_over(self) -> bool:
        """Whether all is known, or all rounds are done."""
        return not self._rounds and not self._open

    def due(self, now_ns: int) -> list[SizedProbe]:
        """What is to be sent now."""
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
        """Beyond the last router that is known to get the large ones; of the small ones not far beyond."""
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
        """A large packet's reply is due soon after the small one's that left behind it, unless one nearer may reply."""
        if ttl == self._last[0] + 1:
            self.wake_ns = min(self.wake_ns, reply.time_ns + GRACE_NS + (reply.time_ns - reply.sent_ns) // 4)
