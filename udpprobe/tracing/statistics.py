"""Statistics over a trace's rounds: loss and times of each hop, and changes between rounds."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from copy import copy
from math import sqrt

from msgspec.structs import replace

from udpprobe.tracing.model import NO_REPORTER, Change, Hop, HopStatistics, TraceReport, loop_words

REMEMBERED = 120
"""RTTs kept per hop."""
MOST_CHANGES = 1000
JITTER_SHARE = 16
"""Gain of the jitter estimate (RFC 3550, section 6.4.1)."""


class Series:
    """The probes of one TTL.

    Mean and deviation are computed by Welford's method (Technometrics 4, 1962), which keeps its precision over weeks.
    """

    def __init__(self) -> None:
        self.sent = self.lost = self.replies = 0
        self._last_ms: float | None = None
        self._mean_ms = self._squares = self._worst_ms = self._jitter_ms = 0.0
        self._best_ms = float("inf")
        self._history: tuple[float | None, ...] = ()

    def take(self, hop: Hop) -> None:
        """Add a round's results."""
        self.sent += hop.sent
        self.lost += hop.lost
        self._history = (*self._history, *hop.rtts_ms)[-REMEMBERED:]
        for rtt_ms in hop.rtts_ms:
            if rtt_ms is not None:
                self._reply(rtt_ms)

    def _reply(self, rtt_ms: float) -> None:
        self.replies += 1
        if self._last_ms is not None:
            # RFC 3550 uses transit times; the difference of two RTTs cancels the clock offset as well
            self._jitter_ms += (abs(rtt_ms - self._last_ms) - self._jitter_ms) / JITTER_SHARE
        off_ms = rtt_ms - self._mean_ms
        self._mean_ms += off_ms / self.replies
        self._squares += off_ms * (rtt_ms - self._mean_ms)
        self._last_ms = rtt_ms
        self._best_ms, self._worst_ms = min(self._best_ms, rtt_ms), max(self._worst_ms, rtt_ms)

    def summary(self) -> HopStatistics:
        """The statistics so far."""
        if self._last_ms is None:
            return HopStatistics(self.sent, self.lost, 0, None, None, None, None, None, None, self._history)
        is_varied = self.replies > 1
        return HopStatistics(
            self.sent,
            self.lost,
            self.replies,
            self._last_ms,
            self._mean_ms,
            self._best_ms,
            self._worst_ms,
            sqrt(self._squares / (self.replies - 1)) if is_varied else None,
            self._jitter_ms if is_varied else None,
            self._history,
        )


class Rounds:
    """All rounds of a trace to one destination."""

    def __init__(self) -> None:
        self.count = 0
        """Complete rounds."""
        self._series: dict[int, Series] = {}
        self._changes: deque[Change] = deque(maxlen=MOST_CHANGES)
        self._last: TraceReport | None = None
        self._known: dict[int, Hop] = {}
        """By TTL, the last hop with a reporter: errors are rate limited, and lost, so silence is no change."""

    @property
    def is_unsent(self) -> bool:
        """Whether this host has no route, so that further rounds are pointless."""
        return self._last is not None and self._last.verdict == "unsent" and not self._last.source_ports

    def reset(self) -> None:
        """Reset the counters; the known path remains."""
        self.count = 0
        self._series.clear()
        self._changes.clear()

    def take(self, report: TraceReport) -> tuple[Change, ...]:
        """Add a round; return its changes. An interrupted round counts for the statistics only."""
        _count(self._series, report)
        if report.interrupted and self._last is not None:
            return ()
        changes = tuple(self._changed(report)) if self._last is not None else ()
        self._changes += changes
        self._known |= {hop.ttl: hop for hop in report.hops if hop.reporters}
        self._last = report
        self.count += not report.interrupted
        return changes

    def report(self) -> TraceReport | None:
        """The last complete round, with statistics over all; None before the first."""
        return self._with_statistics(self._last, self._series) if self._last else None

    def shown(self, running: TraceReport | None) -> TraceReport | None:
        """The same for a screen, with results of the current round.

        The verdict is that of the last complete round. A hop that is silent once keeps its router.
        """
        series = self._series
        if running is not None:
            series = {ttl: copy(each) for ttl, each in series.items()}
            _count(series, running)
        base = self._last or running
        if base is None:
            return None
        last_ttl = base.hops[-1].ttl if base.hops else 0
        hops = {
            hop.ttl: hop
            for hop in (*base.hops, *(running.hops if running else ()))
            if base is running or hop.ttl <= last_ttl
        }
        merged = tuple(
            hop if hop.reporters or ttl not in self._known else replace(hop, reporters=self._known[ttl].reporters)
            for ttl, hop in sorted(hops.items())
        )
        return self._with_statistics(replace(base, hops=merged), series)

    def _with_statistics(self, report: TraceReport, series: dict[int, Series]) -> TraceReport:
        nothing = Series()
        hops = tuple(replace(hop, statistics=series.get(hop.ttl, nothing).summary()) for hop in report.hops)
        return replace(report, hops=hops, rounds=self.count, changes=tuple(self._changes))

    def _changed(self, report: TraceReport) -> Iterator[Change]:
        for hop in report.hops:
            old, new = _routers(self._known.get(hop.ttl)), _routers(hop)
            if old and new and set(old).isdisjoint(new):
                yield Change(report.time_ns, "route", hop.ttl, " or ".join(old), " or ".join(new))
        before = self._last
        if before is None:
            return
        was, became = _end(before), _end(report)
        if was != became:
            yield Change(report.time_ns, "loop" if report.loop else "verdict", None, was, became)
        elif len(before.hops) != len(report.hops) and before.reached:
            yield Change(report.time_ns, "length", None, str(len(before.hops)), str(len(report.hops)))


def _count(series: dict[int, Series], report: TraceReport) -> None:
    for hop in report.hops:
        series.setdefault(hop.ttl, Series()).take(hop)


def _routers(hop: Hop | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reporter.address or NO_REPORTER for reporter in hop.reporters)) if hop else ()


def _end(report: TraceReport) -> str:
    return loop_words(report.loop) if report.loop else report.verdict or "undecided"
