"""How many errors a node may send: token buckets, and what Linux makes of them."""

from __future__ import annotations

from typing import Protocol

from udpprobe.lab.dice import Dice
from udpprobe.lab.model import Address, Kind
from udpprobe.lab.spec import Limit

SECOND = 1_000_000_000


class Bucket:
    """A token bucket that counts its tokens in nanoseconds, as `inet_peer` in Linux does in jiffies: full at first."""

    def __init__(self) -> None:
        self.tokens_ns = 60 * SECOND
        self._last_ns = 0

    def fill(self, now_ns: int, cap_ns: int) -> None:
        """Add what has gathered since the last time."""
        self.tokens_ns = min(cap_ns, self.tokens_ns + now_ns - self._last_ns)
        self._last_ns = now_ns

    def take(self, now_ns: int, cost_ns: int, burst: int) -> bool:
        """Whether there is enough for one more."""
        self.fill(now_ns, burst * cost_ns)
        enough = self.tokens_ns >= cost_ns
        self.tokens_ns -= cost_ns * enough
        return enough


class Limiter(Protocol):
    """Whether an error may be sent."""

    def allows(self, to: Address, kind: Kind, now_ns: int, *, routed: bool) -> bool:
        """Whether it may, and count it.

        Args:
            to: who would get it.
            kind: what it says.
            now_ns: time.
            routed: whether the routing table itself refuses.
        """


class NoLimit:
    """Any number."""

    def allows(self, to: Address, kind: Kind, now_ns: int, *, routed: bool) -> bool:    # noqa: ARG002 - see `Limiter`
        """Always."""
        return True


class PlainLimit:
    """One bucket, or one for each who gets errors (RFC 1812, 4.3.2.8; RFC 4443, 2.4 f)."""

    def __init__(self, limit: Limit) -> None:
        self._limit = limit
        self._cost_ns = round(SECOND / limit.per_s)
        self._buckets: dict[Address | None, Bucket] = {}

    def allows(self, to: Address, kind: Kind, now_ns: int, *, routed: bool) -> bool:    # noqa: ARG002 - see `Limiter`
        """Whether the bucket has a token."""
        bucket = self._buckets.setdefault(to if self._limit.by == "source" else None, Bucket())
        return bucket.take(now_ns, self._cost_ns, self._limit.burst)


_BURST, _ROUTE_BURST, _GLOBAL_BURST = 6, 5, 50
_COST_NS = {4: SECOND, 6: SECOND // 10}
_GLOBAL_COST_NS = SECOND // 1000
_TOO_BIG = {4: (3, 4), 6: (2, 0)}


class LinuxLimit:
    """Linux's own: 6 at once to a source, then 1 a second (IPv6: 10), and 1000 a second with bursts of 50 in all.

    An error of the IPv4 routing table passes two limits that share one bucket, so that it is rarer still. An MTU is
    always told. Measured on Linux 6.18.
    """

    def __init__(self, dice: Dice) -> None:
        self._dice = dice
        self._global = Bucket()
        self._sources: dict[Address, Bucket] = {}

    def allows(self, to: Address, kind: Kind, now_ns: int, *, routed: bool) -> bool:
        """Whether both buckets have a token, the source's and that of all."""
        if kind[:2] == _TOO_BIG[to.version]:
            return True
        bucket, cost_ns = self._sources.setdefault(to, Bucket()), _COST_NS[to.version]
        if routed and to.version == 4 and not bucket.take(now_ns, cost_ns, _ROUTE_BURST):
            return False
        self._global.fill(now_ns, _GLOBAL_BURST * _GLOBAL_COST_NS)
        if self._global.tokens_ns < _GLOBAL_COST_NS or not bucket.take(now_ns, cost_ns, _BURST):
            return False
        self._global.tokens_ns -= self._dice.below(3) * _GLOBAL_COST_NS   # at random, so that nobody can count
        return True
