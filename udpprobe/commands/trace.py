"""Probes with rising TTLs to one destination, all at once: the `trace` command."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from enum import StrEnum
from errno import errorcode

from msgspec import Struct
from msgspec.structs import replace

from udpprobe import __version__
from udpprobe.core.limiter import SECOND
from udpprobe.engines.wire import Endpoint, Listener, Wire, payload_for
from udpprobe.errors import UnsentError, UsageError
from udpprobe.interrupt import CtrlC
from udpprobe.replies import MOST_PROBES, Reply
from udpprobe.tracing.hops import advised, end_of, hops_of, loop_of, worst
from udpprobe.tracing.model import Hop, Target, TraceReport
from udpprobe.tracing.path import BURST, TracePolicy
from udpprobe.tracing.schedule import Pace, Schedule

LONGEST_WAIT_S = 0.05
UPDATE_S = 0.1
MOST_TARGETS = 64
MOST_OF_A_ROUND = MOST_PROBES // 2
"""Most probes of a round: those of two rounds are remembered."""


class TraceOptions(Struct, frozen=True):
    """How to trace."""

    max_ttl: int = 30
    first_ttl: int = 1
    queries: int = 3
    timeout_s: float = 4
    """Seconds to wait for a reply if no later hop has replied: a router tries to resolve an address for 3 s."""
    rate_pps: float = 1000
    """0 for no limit but the window."""
    flows: int = 1
    interface: str | None = None
    source_address: str | None = None
    source_port: int = 0
    payload: str = "auto"
    size: int = 0
    """Bytes of the IP packet; 0 for the payload's size."""
    capture: str = "auto"


class Traced(Struct, frozen=True):
    """One round of a trace."""

    report: TraceReport
    interrupted: bool
    failure: str | None = None
    """Why nothing could be sent."""
    pause_s: float = 0.0
    """Pause before the next round."""


class KeyCommand(StrEnum):
    """What a key of the user asks for."""

    GO_ON = "go on"
    PAUSE = "pause"
    """Begin no further round."""
    STOP = "stop"


SURE = frozenset({"answered", "refused"})
"""Verdicts that no later reply changes, because the destination itself has replied."""


def trace(endpoint: Endpoint, options: TraceOptions, on_change: Callable[[TraceReport], None] | None = None) -> Traced:
    """Trace the path to a destination once.

    Args:
        endpoint: the destination.
        options: how.
        on_change: called with the results so far, some times a second; the verdict is None until it is settled.

    Raises:
        UsageError: an option is invalid: an unknown payload, a first TTL beyond the last, too many probes.
        PrivilegeError: raw sockets are not allowed.
        UdpprobeError: this host cannot do it.
    """
    return next(
        traced
        for _, traced in trace_all([endpoint], options, (lambda _, report: on_change(report)) if on_change else None)
    )


def trace_all(
    endpoints: Sequence[Endpoint],
    options: TraceOptions,
    on_change: Callable[[int, TraceReport], None] | None = None,
    *,
    on_hops: Callable[[int, Target, Sequence[Hop]], None] | None = None,
    interval_s: float | None = None,
    rounds: int | None = 1,
    key_command: Callable[[], KeyCommand] | None = None,
) -> Iterator[tuple[int, Traced]]:
    """Trace the paths to some destinations in parallel, once or in rounds.

    Args:
        endpoints: the destinations; the callbacks get their index.
        options: how. The rate is that of all probes together.
        on_change: called with a trace's results so far, some times a second; the verdict is None until it is settled.
        on_hops: called with the hops of each round in order, once they are probed no more.
        interval_s: pause between the rounds of a destination; None to choose it.
        rounds: most rounds per destination; None for no limit.
        key_command: returns what to do; called at least twenty times a second.

    Yields:
        Each round of each destination; the last one may have been interrupted.

    Raises:
        UsageError: as for `trace`, or too many destinations.
        PrivilegeError: raw sockets are not allowed.
        UdpprobeError: this host cannot do it.
    """
    guard(options, len(endpoints))
    with ExitStack() as held:
        stop = _Stop(held.enter_context(CtrlC()), key_command)
        running: list[_TargetRounds] = []
        for place, endpoint in enumerate(endpoints):
            try:
                wire = held.enter_context(_wire_to(endpoint, place, options))
            except UnsentError as error:
                yield place, Traced(_unsent(endpoint, error), interrupted=False, failure=str(error))
            else:
                running.append(_TargetRounds(place, wire, options, Pace(interval_s, len(endpoints)), len(endpoints)))
        if not running:
            return
        listener = held.enter_context(
            Listener([each.wire for each in running], options.interface, capture=options.capture)
        )
        while True:
            for place, traced in _finished_rounds(running, listener, stop, rounds):
                if on_change:
                    on_change(place, traced.report)
                yield place, traced
            if stop.came or all(each.done == rounds for each in running):
                if all(each.round is None for each in running):
                    return
                continue  # Ctrl-C came meanwhile: end the rounds of earlier destinations too
            wait_s = min(each.send(listener) for each in running)
            received = listener.receive_each(min(max(wait_s, 0), LONGEST_WAIT_S))
            stop.read_key()
            for each, replies in zip(running, received, strict=True):
                each.take(replies)
                each.report_changes(stop, on_change, on_hops)


def _wire_to(endpoint: Endpoint, place: int, options: TraceOptions) -> Wire:
    first_port = options.source_port + place * options.flows if options.source_port else 0
    return Wire(
        endpoint,
        payload_for(endpoint.port, options.payload),
        source_port=first_port,
        interface=options.interface,
        source_address=options.source_address,
        flows=options.flows,
    )


def _finished_rounds(
    running: Sequence[_TargetRounds], listener: Listener, stop: _Stop, rounds: int | None
) -> Iterator[tuple[int, Traced]]:
    """Begin rounds that are due; yield those that are over."""
    for each in running:
        each.begin(listener, stop, rounds)
        if each.is_over(listener, stop):
            report = each.end(listener, stop)
            yield each.place, Traced(report, stop.came, pause_s=each.pause_s)


def _unsent(endpoint: Endpoint, error: UnsentError) -> TraceReport:
    """The report on a destination without a route: no hop."""
    return advised(
        TraceReport(
            version=__version__,
            target=Target(endpoint.text, endpoint.port, error.zone),
            source_address="",
            source_ports=(),
            interface="",
            time_ns=time.time_ns(),
            verdict="unsent",
            errno=errorcode.get(error.code),
            reached=False,
            hops=(),
            loop=None,
        )
    )


def guard(options: TraceOptions, targets: int = 1) -> None:
    """Check that traces can be made.

    Raises:
        UsageError: options contradict each other, or need more probes than are remembered.
    """
    if options.first_ttl > options.max_ttl:
        raise UsageError(f"--first-ttl {options.first_ttl} is beyond --max-ttl {options.max_ttl}")
    probes = _probes(options, 1)
    if probes > MOST_OF_A_ROUND:
        raise UsageError(
            f"up to {probes:,} probes are too many (at most {MOST_OF_A_ROUND:,}); lower --flows, --queries or --max-ttl"
        )
    if targets > MOST_TARGETS:
        raise UsageError(f"{targets} targets are too many to trace side by side (at most {MOST_TARGETS})")
    if options.source_port + targets * options.flows > 65_536:
        raise UsageError(
            f"--source-port {options.source_port}: each flow to each target needs a port of its own from there on, "
            "and there are too few"
        )


def _probes(options: TraceOptions, burst: int) -> int:
    """Most probes of a round."""
    return options.flows * options.max_ttl * (options.queries + TracePolicy.most_pauses * burst)


class _Stop:
    """Ctrl-C and the user's keys."""

    def __init__(self, ctrl_c: CtrlC, key_command: Callable[[], KeyCommand] | None) -> None:
        self._ctrl_c, self._key_command = ctrl_c, key_command
        self._is_stopped = self.is_held = False

    @property
    def came(self) -> bool:
        """Whether it is time to stop."""
        return self._is_stopped or self._ctrl_c.came

    def read_key(self) -> None:
        """Read what the user's keys ask for."""
        if self._key_command:
            command = self._key_command()
            self.is_held = command is KeyCommand.PAUSE
            self._is_stopped |= command is KeyCommand.STOP


class _TargetRounds:
    """The rounds to one destination, and the pauses between them.

    Args:
        place: index of the destination.
        wire: to it.
        options: how it is traced.
        pace: of the rounds.
        targets: number of destinations that share the rate.
    """

    def __init__(self, place: int, wire: Wire, options: TraceOptions, pace: Pace, targets: int) -> None:
        self.place, self.wire, self.done = place, wire, 0
        self.round: _Round | None = None
        self._options, self._pace, self._targets = options, pace, targets
        self._number = 0
        self._next_s = -math.inf

    def begin(self, listener: Listener, stop: _Stop, rounds: int | None) -> None:
        """Begin the next round if it is due."""
        is_due = self.done != rounds and time.monotonic() >= self._next_s
        if self.round is None and is_due and not (stop.is_held or stop.came):
            self.round = _Round(listener, self.wire, self._options, self._number, self._pace, self._targets)

    def is_over(self, listener: Listener, stop: _Stop) -> bool:
        """Whether a round is over: complete, or interrupted."""
        return self.round is not None and (stop.came or self.round.is_done(listener.now_ns))

    def end(self, listener: Listener, stop: _Stop) -> TraceReport:
        """The result of a round; the pause begins."""
        found = self.round
        assert found is not None  # noqa: S101 - it is over
        report = self._pace.take(found.report(interrupted=stop.came), listener.now_ns, thorough=found.is_thorough)
        self.round, self._number, self.done = None, found.tracing.next_number, self.done + 1
        self._next_s = time.monotonic() + self._pace.pause_s
        return report

    @property
    def pause_s(self) -> float:
        """Pause before the next round."""
        return self._pace.pause_s

    def send(self, listener: Listener) -> float:
        """Send what is due; return the seconds until the next probe."""
        if self.round:
            return self.round.send(listener.now_ns)
        remaining_s = self._next_s - time.monotonic()
        return remaining_s if remaining_s > 0 else LONGEST_WAIT_S  # paused, or all its rounds are done

    def take(self, replies: Sequence[Reply]) -> None:
        """Handle replies; those in a pause are late, and ignored."""
        if self.round:
            self.round.tracing.take(replies)

    def report_changes(
        self,
        stop: _Stop,
        on_change: Callable[[int, TraceReport], None] | None,
        on_hops: Callable[[int, Target, Sequence[Hop]], None] | None,
    ) -> None:
        """Report the results of the round so far."""
        if self.round is None:
            return
        if on_hops and (hops := self.round.settled_hops()):
            on_hops(self.place, self.wire.target, hops)
        if on_change and self.round.is_update_due():
            on_change(self.place, self.round.report(interrupted=stop.came))


class _Round:
    """One round in progress."""

    def __init__(
        self, listener: Listener, wire: Wire, options: TraceOptions, number: int, pace: Pace, targets: int
    ) -> None:
        self.is_thorough = pace.is_thorough(listener.now_ns)
        interval_ns = int(targets * SECOND / options.rate_pps) if options.rate_pps else 0
        policy = TracePolicy(
            options.max_ttl,
            options.first_ttl,
            options.queries,
            int(options.timeout_s * SECOND),
            interval_ns,
            burst=BURST if _probes(options, BURST) <= MOST_OF_A_ROUND else 1,
            probes_again=self.is_thorough,
            likely_ttl=pace.likely_ttl,
        )
        self.tracing = Schedule(policy, flows=options.flows, size=options.size, first_number=number)
        self._listener, self._wire = listener, wire
        self._start_ns = listener.now_ns
        self._updated_s, self._reported_ttl, self._is_done = 0.0, 0, False

    def is_done(self, now_ns: int) -> bool:
        """Whether the round is complete."""
        self._is_done = self._is_done or self.tracing.done(now_ns)
        return self._is_done

    def send(self, now_ns: int) -> float:
        """Send what is due; return the seconds until the next probe."""
        probes = self.tracing.due(now_ns)
        self.tracing.unsent(probes, self._wire.send(probes))
        return (self.tracing.wake_ns(now_ns) - now_ns) / SECOND

    def is_update_due(self) -> bool:
        """Whether the last update is long enough ago."""
        is_due = time.monotonic() >= self._updated_s + UPDATE_S
        self._updated_s = time.monotonic() if is_due else self._updated_s
        return is_due

    def settled_hops(self) -> list[Hop]:
        """Hops not reported yet that are settled, as are all before them."""
        now_ns, last_ttl = self._listener.now_ns, self._reported_ttl
        for ttl in sorted({ttl for path in self.tracing.paths for ttl in path.hops() if ttl > self._reported_ttl}):
            if not self.tracing.is_settled(ttl, now_ns):
                break
            last_ttl = ttl
        first_ttl, self._reported_ttl = self._reported_ttl, last_ttl
        if first_ttl == last_ttl:
            return []
        hops = hops_of(self.tracing.paths, self._wire.target.address, now_ns, self._wire.interface)
        return [hop for hop in hops if first_ttl < hop.ttl <= last_ttl]

    def report(self, *, interrupted: bool) -> TraceReport:
        """The results so far."""
        paths, wire = self.tracing.paths, self._wire
        end = worst([end_of(path) for path in paths])
        faults = self._listener.faults_of(wire) + Counter({"source-quench": self.tracing.quenches})
        report = TraceReport(
            version=__version__,
            target=wire.target,
            source_address=wire.source,
            source_ports=wire.flows.source_ports,
            interface=wire.interface,
            time_ns=self._start_ns,
            verdict=end.verdict,
            errno=end.errno,
            reached=end.reached,
            hops=hops_of(paths, wire.target.address, self._listener.now_ns, wire.interface),
            loop=loop_of(paths),
            notes=wire.notes,
            faults=dict(sorted(faults.items())),
        )
        if self._is_done or self.tracing.done(self._listener.now_ns):
            return advised(report)
        if end.verdict in SURE:
            return replace(advised(report), interrupted=interrupted)
        return replace(report, verdict=None, errno=None, loop=None, interrupted=interrupted)
