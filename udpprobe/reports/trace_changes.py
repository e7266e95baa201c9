"""What is different between two rounds of a trace, in words."""

from __future__ import annotations

from collections.abc import Iterator

from udpprobe.tracing.model import Hop, TraceReport
from udpprobe.reports.text import escape, rfc3339
from udpprobe.reports.trace import loop_words


def changes(before: TraceReport, after: TraceReport) -> str:
    """A line a change, each with the time of the later round; nothing where all is as before.

    A hop that was silent in one of the rounds is no change: errors are limited, and lost.
    """
    when = rfc3339(after.time_ns)
    return "".join(f"{when} {words}\n" for words in (*_hops(before, after), *_ends(before, after)))


def _hops(before: TraceReport, after: TraceReport) -> Iterator[str]:
    earlier = {hop.ttl: _routers(hop) for hop in before.hops}
    for hop in after.hops:
        old, new = earlier.get(hop.ttl, ()), _routers(hop)
        if old and new and set(old).isdisjoint(new):
            yield f"hop {hop.ttl}: {_told(old)} -> {_told(new)}"


def _ends(before: TraceReport, after: TraceReport) -> Iterator[str]:
    old, new = (loop_words(each.loop) if each.loop else each.verdict for each in (before, after))
    if old != new:
        yield f"verdict: {old} -> {new}"
    elif len(before.hops) != len(after.hops) and before.reached:
        yield f"length: {len(before.hops)} -> {len(after.hops)} hops"


def _routers(hop: Hop) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reporter.address for reporter in hop.reporters))


def _told(routers: tuple[str, ...]) -> str:
    return " or ".join(map(escape, routers))
