"""How soon rounds of `--watch` follow each other, and how thorough they are. No clock: what time it is, it is told.

Somebody who looks at a screen expects a round a second, as of mtr and trippy. That is also what routers take: Linux
answers one error a second and source, for ever, and six at once (net.ipv4.icmp_ratelimit, and the bucket behind it).
So a round has one probe for each hop, and with several targets, whose ways begin at the same routers, a second for each
of them goes by. Only now and then a hop that left a probe is asked again in bursts, which tells a limit from loss; they
cost a router's budget, and a round its second.
"""

from __future__ import annotations

from msgspec.structs import replace

from udpprobe.core.limiter import SECOND
from udpprobe.tracing.model import Hop, TraceReport

LEAST_S, MOST_S = 1.0, 10.0
"""Between the rounds of a target, where the user does not say."""
THOROUGH_S = 30
"""So often hops are asked again that left a probe; longer pauses leave room for it in every round."""


NO_END = frozenset({None, "loop", "silent", "expired", "unsent"})
"""Verdicts of paths that do not end at a hop."""


class Pace:
    """Of the rounds to one target.

    Args:
        interval_s: between two rounds, as the user wants it; None to choose.
        targets: that are traced side by side.
    """

    def __init__(self, interval_s: float | None, targets: int = 1) -> None:
        self._is_chosen = interval_s is None
        self._least_s = min(LEAST_S * targets, MOST_S)
        self.pause_s = self._least_s if interval_s is None else interval_s
        """Before the next round."""
        self._thorough_ns: int | None = None
        """When the last thorough round was over."""
        self.likely_ttl = 0
        """Where the path ended in the last round; 0 where it did not."""
        self._limited: frozenset[int] = frozenset()
        """The TTLs whose routers limit their replies."""

    def is_thorough(self, now_ns: int) -> bool:
        """Whether the round that begins now asks again where a probe has no reply."""
        return self._thorough_ns is None or self.pause_s >= MOST_S or now_ns >= self._thorough_ns + THOROUGH_S * SECOND

    def take(self, report: TraceReport, now_ns: int, *, thorough: bool) -> TraceReport:
        """A round that is over; with what is known of limits by now.

        Args:
            report: it.
            now_ns: what time it is.
            thorough: whether it asked again.
        """
        if thorough:
            self._thorough_ns = now_ns
            self._limited = frozenset(hop.ttl for hop in report.hops if _left(hop) > hop.lost)
        else:
            report = replace(
                report, hops=tuple(replace(hop, lost=0) if hop.ttl in self._limited else hop for hop in report.hops)
            )
        is_end = bool(report.hops) and report.verdict not in NO_END
        self.likely_ttl = report.hops[-1].ttl if is_end else 0
        if self._is_chosen:
            is_limited = any(hop.ttl in self._limited and _left(hop) for hop in report.hops)
            self.pause_s = min(2 * self.pause_s, MOST_S) if is_limited else max(self.pause_s / 2, self._least_s)
        return report


def _left(hop: Hop) -> int:
    """Probes without a reply."""
    return hop.sent - sum(each.count for each in hop.reporters)
