"""Which probes a trace sends when, and when it is complete. No clock: the caller passes the time.

First it sends one probe per TTL, several at a time, until the destination, another end or a loop shows; then the other
queries, only as far as that. A router with unanswered probes is probed again later: it may limit its errors.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from udpprobe.core.limiter import MS, NEVER, SECOND
from udpprobe.replies import Probe, Reply
from udpprobe.tracing.model import Hop, TraceReport
from udpprobe.tracing.path import Flight, Path, TracePolicy

AT_ONCE_NS = 10 * MS
"""Probes that the rate allows within this time may be sent together: each send costs some milliseconds."""


class Schedule:
    """A trace in progress.

    Args:
        policy: how much to send, and how long to wait.
        flows: number of flows.
        size: bytes of each IP packet, 0 for the payload's size.
        first_number: of the first probe.
    """

    def __init__(self, policy: TracePolicy, *, flows: int = 1, size: int = 0, first_number: int = 0) -> None:
        self._policy, self._size = policy, size
        self.paths = [Path(flow, policy) for flow in range(flows)]
        self._flights: dict[int, Flight] = {}
        self.next_number = first_number
        self.quenches = 0
        """Source quenches received."""
        self._next_ns = 0

    def due(self, now_ns: int) -> list[Probe]:
        """The probes to send now; then report failures to `unsent`."""
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
        """The next probe of a flow, if there is one."""
        if not path.has_room(now_ns):
            return
        ttl, again = path.next_ttl(now_ns), 0
        if ttl is None:
            ttl = next((ttl for ttl, again_ns in path.again_at() if again_ns <= now_ns), None)
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

    def unsent(self, probes: Sequence[Probe], send_errnos: Sequence[int]) -> None:
        """Record the result of sending: for each probe 0, or the errno of the failed send."""
        for probe, send_errno in zip(probes, send_errnos, strict=True):
            self._flights[probe.number].send_errno = send_errno

    def take(self, replies: Sequence[Reply]) -> None:
        """Record replies; those to other probes are ignored.

        So is a source quench: its sender forwarded the probe, whatever its TTL (RFC 1122, section 3.2.2.3).
        """
        for reply in replies:
            flight = self._flights.get(reply.number)
            if flight is not None and reply.is_quench:
                self.quenches += 1
            elif flight is not None:
                self.paths[flight.probe.flow].take(flight, reply)

    def wake_ns(self, now_ns: int) -> int:
        """When to act even if nothing arrives; NEVER when nothing is left to do."""
        return max(min((self._wake_of(path, now_ns) for path in self.paths), default=NEVER), self._next_ns)

    def _wake_of(self, path: Path, now_ns: int) -> int:
        """When a flow has room for a remaining probe, gives one up, or probes again."""
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
            waiting += [max(again_ns, now_ns) for _, again_ns in path.again_at()]
        return min(waiting, default=NEVER)

    def is_settled(self, ttl: int, now_ns: int) -> bool:
        """Whether a TTL is probed no more, and no reply to its probes is expected."""
        return not any(self._is_pending(path, ttl, now_ns) for path in self.paths if ttl in path.hops())

    @staticmethod
    def _is_pending(path: Path, ttl: int, now_ns: int) -> bool:
        if not path.is_open(ttl):
            return False
        return (
            path.next_ttl() is not None
            or ttl in dict(path.again_at())
            or not path.at(ttl)
            or any(path.deadline_ns(flight) > now_ns for flight in path.missing(ttl))
        )

    def done(self, now_ns: int) -> bool:
        """Whether the trace is complete."""
        return all(self._wake_of(path, now_ns) == NEVER for path in self.paths)


LEAST_S, MOST_S = 1.0, 10.0
"""Seconds between the rounds of a target, unless the user sets them."""
THOROUGH_S = 30
"""Seconds between two rounds that probe unanswered hops again; if rounds are rarer, all of them do."""


NO_END = frozenset({None, "loop", "silent", "expired", "unsent"})
"""Verdicts of paths that do not end at a hop."""


class Pace:
    """Interval and depth of the rounds of `--watch` to one target.

    Users expect a round a second, as from mtr and trippy. Routers allow that: Linux sends each source one error a
    second indefinitely, and six at once (net.ipv4.icmp_ratelimit, and the bucket behind it). So a round has one probe
    per hop, and each further target adds a second, because targets share their first routers. Bursts at unanswered hops
    tell a limit from loss, but use up a router's budget, so they are rare.

    Args:
        interval_s: seconds between two rounds, as set by the user; None to choose.
        targets: number of targets traced side by side.
    """

    def __init__(self, interval_s: float | None, targets: int = 1) -> None:
        self._is_chosen = interval_s is None
        self._least_s = min(LEAST_S * targets, MOST_S)
        self.pause_s = self._least_s if interval_s is None else interval_s
        """Pause before the next round."""
        self._thorough_ns: int | None = None
        """End of the last thorough round."""
        self.likely_ttl = 0
        """TTL at which the path ended in the last round; 0 if it did not."""
        self._limited: frozenset[int] = frozenset()
        """TTLs whose routers rate-limit their errors."""

    def is_thorough(self, now_ns: int) -> bool:
        """Whether the round that begins now probes unanswered hops again."""
        return self._thorough_ns is None or self.pause_s >= MOST_S or now_ns >= self._thorough_ns + THOROUGH_S * SECOND

    def take(self, report: TraceReport, now_ns: int, *, thorough: bool) -> TraceReport:
        """Complete a round's report with what is known about rate limits.

        Args:
            report: of the round.
            now_ns: current time.
            thorough: whether it probed unanswered hops again.
        """
        if thorough:
            self._thorough_ns = now_ns
            self._limited = frozenset(hop.ttl for hop in report.hops if _unanswered_of(hop) > hop.lost)
        else:
            report = replace(
                report, hops=tuple(replace(hop, lost=0) if hop.ttl in self._limited else hop for hop in report.hops)
            )
        is_end = bool(report.hops) and report.verdict not in NO_END
        self.likely_ttl = report.hops[-1].ttl if is_end else 0
        if self._is_chosen:
            is_limited = any(hop.ttl in self._limited and _unanswered_of(hop) for hop in report.hops)
            self.pause_s = min(2 * self.pause_s, MOST_S) if is_limited else max(self.pause_s / 2, self._least_s)
        return report


def _unanswered_of(hop: Hop) -> int:
    """Probes without a reply."""
    return hop.sent - sum(each.count for each in hop.reporters)
