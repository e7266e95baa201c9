"""Which probes a trace sends when, and when it knows enough. No clock: what time it is, it is told.

First one probe for each TTL, several at a time, until the destination, another end or a loop shows; then the other
queries, only as far as that. A router that left some of them is asked again later: perhaps it limits its errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from udpprobe.core.limiter import MS, NEVER, SECOND
from udpprobe.replies import Probe, Reply
from udpprobe.tracing.model import Hop, TraceReport
from udpprobe.tracing.path import Flight, Path, TracePolicy

AT_ONCE_NS = 10 * MS
"""What the rate allows in this time may leave at once: each time that probes leave costs some milliseconds."""


class Schedule:
    """A trace under way.

    Args:
        policy: how much to send, and how long to wait.
        flows: how many there are.
        size: bytes of each IP packet, 0 for as many as the payload needs.
        first_number: of the first probe.
    """

    def __init__(self, policy: TracePolicy, *, flows: int = 1, size: int = 0, first_number: int = 0) -> None:
        self._policy, self._size = policy, size
        self.paths = [Path(flow, policy) for flow in range(flows)]
        self._flights: dict[int, Flight] = {}
        self.next_number = first_number
        self.quenches = 0
        """Source quenches that came back."""
        self._next_ns = 0

    def due(self, now_ns: int) -> list[Probe]:
        """What is to be sent now; then `refused` is told what could not be."""
        probes: list[Probe] = []
        interval_ns = self._policy.interval_ns
        self._next_ns = max(self._next_ns, now_ns - max(AT_ONCE_NS - interval_ns, 0))
        while now_ns >= self._next_ns:
            some = [probe for path in self.paths for probe in self._due_of(path, now_ns)]
            if not some:
                break
            probes += some
            self._next_ns += len(some) * interval_ns
        return probes

    def _due_of(self, path: Path, now_ns: int) -> Iterator[Probe]:
        """One probe of a flow, if it has any."""
        if not path.has_room(now_ns):
            return
        ttl, again = path.next_ttl(now_ns), 0
        if ttl is None:
            ttl = next((ttl for ttl, again_ns in path.again() if again_ns <= now_ns), None)
            again = path.next_burst(ttl) if ttl is not None else 0
        if ttl is not None:
            yield self._fire(path, ttl, now_ns, again)

    def _fire(self, path: Path, ttl: int, now_ns: int, again: int) -> Probe:
        probe = Probe(self.next_number, ttl, self._size, path.flow)
        flight = Flight(probe, now_ns, again=again)
        self._flights[probe.number] = flight
        path.launch(flight)
        self.next_number += 1
        return probe

    def refused(self, probes: Sequence[Probe], errnos: Sequence[int]) -> None:
        """What became of sending: for each probe 0, or why this host refused."""
        for probe, errno in zip(probes, errnos, strict=True):
            self._flights[probe.number].errno = errno

    def take(self, replies: Sequence[Reply]) -> None:
        """What came back; of probes that are none of this trace, nothing is taken.

        Nor of a source quench: whoever sent it forwarded the probe, whatever its TTL (RFC 1122, section 3.2.2.3).
        """
        for reply in replies:
            flight = self._flights.get(reply.number)
            if flight is not None and reply.is_quench:
                self.quenches += 1
            elif flight is not None:
                self.paths[flight.probe.flow].take(flight, reply)

    def wake_ns(self, now_ns: int) -> int:
        """When something is to be done although nothing is heard: NEVER when nothing is left to do."""
        return max(min((self._wake_of(path, now_ns) for path in self.paths), default=NEVER), self._next_ns)

    def _wake_of(self, path: Path, now_ns: int) -> int:
        """When a flow has room for a probe that is left, gives one up, or asks again."""
        if path.next_ttl() is not None:
            if path.next_ttl(now_ns) is not None and path.has_room(now_ns):
                return now_ns
            return min(until for flight in path.all_flights() if (until := path.held_until_ns(flight)) > now_ns)
        waiting = [
            until
            for ttl in path.hops()
            if path.is_open(ttl)
            for flight in path.at(ttl)
            for until in (path.deadline_ns(flight), path.held_until_ns(flight))
            if until > now_ns
        ]
        waiting += [until for until in (path.beyond_until_ns(),) if until > now_ns]
        if path.has_room(now_ns):
            waiting += [max(again_ns, now_ns) for _, again_ns in path.again()]
        return min(waiting, default=NEVER)

    def is_settled(self, ttl: int, now_ns: int) -> bool:
        """Whether nothing more is asked of a TTL, and no reply to its probes is waited for."""
        return not any(self._is_pending(path, ttl, now_ns) for path in self.paths if ttl in path.hops())

    @staticmethod
    def _is_pending(path: Path, ttl: int, now_ns: int) -> bool:
        if not path.is_open(ttl):
            return False
        return (
            path.next_ttl() is not None
            or ttl in dict(path.again())
            or not path.at(ttl)
            or any(path.deadline_ns(flight) > now_ns for flight in path.missing(ttl))
        )

    def done(self, now_ns: int) -> bool:
        """Whether all is known that there is to know."""
        return all(self._wake_of(path, now_ns) == NEVER for path in self.paths)


LEAST_S, MOST_S = 1.0, 10.0
"""Between the rounds of a target, where the user does not say."""
THOROUGH_S = 30
"""So often hops are asked again that left a probe; longer pauses leave room for it in every round."""


NO_END = frozenset({None, "loop", "silent", "expired", "unsent"})
"""Verdicts of paths that do not end at a hop."""


class Pace:
    """How soon rounds of `--watch` to one target follow each other, and how thorough they are.

    Somebody who looks at a screen expects a round a second, as of mtr and trippy. That is also what routers take: Linux
    answers one error a second and source, for ever, and six at once (net.ipv4.icmp_ratelimit, and the bucket behind
    it). So a round has one probe for each hop. With several targets, whose paths begin at the same routers, a round
    takes a second for each of them. Only now and then a hop that left a probe unanswered is asked again in bursts,
    which tells a limit from loss; they cost a router's budget, and a round its second.

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
