"""Probes with growing TTLs to one destination, all at once: what `trace` does."""

from __future__ import annotations

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
from udpprobe.replies import MOST_PROBES
from udpprobe.tracing.hops import advised, ending_of, hops_of, loop_of, worst
from udpprobe.tracing.model import Hop, Target, TraceReport
from udpprobe.tracing.path import BURST, Patience
from udpprobe.tracing.schedule import Tracing

LONGEST_WAIT_S = 0.05
TELL_S = 0.1
MOST_OF_A_ROUND = MOST_PROBES // 2
"""Probes: those of a round and of the one before it are remembered."""


class Options(Struct, frozen=True):
    """How to trace."""

    max_ttl: int = 30
    first_ttl: int = 1
    queries: int = 3
    timeout_s: float = 4
    """How long a reply is waited for where no later hop was heard: a router looks for a host for 3 s."""
    rate_pps: float = 1000
    """0 for as fast as the window lets."""
    flows: int = 1
    interface: str | None = None
    source_address: str | None = None
    source_port: int = 0
    payload: str = "auto"
    size: int = 0
    """Bytes of the IP packet; 0 for as many as the payload needs."""
    capture: str = "auto"


class Traced(Struct, frozen=True):
    """One round of a trace."""

    report: TraceReport
    interrupted: bool
    failure: str | None = None
    """Why nothing could be sent."""


class Wish(StrEnum):
    """What somebody at the keys wants."""

    GO_ON = "go on"
    PAUSE = "pause"
    """Begin no other round."""
    STOP = "stop"


SURE = frozenset({"answered", "refused"})
"""Verdicts that no later reply changes; the destination itself has spoken."""


def trace(endpoint: Endpoint, options: Options, on_change: Callable[[TraceReport], None] | None = None, *,
          on_hops: Callable[[Sequence[Hop]], None] | None = None,
          interval_s: float | None = None, rounds: int | None = None,
          wish: Callable[[], Wish] | None = None) -> Iterator[Traced]:
    """Trace the way to a destination.

    Args:
        endpoint: the destination.
        options: how.
        on_change: gets what is known so far, some times a second; the verdict is None until it is settled.
        on_hops: gets the hops of each round in their order, once nothing more is asked of them.
        interval_s: pause between rounds; None for one round.
        rounds: how many there are at most.
        wish: is asked what to do, at least twenty times a second.

    Yields:
        Each round; the last one may have been interrupted.

    Raises:
        UsageError: an option is off: an unknown payload or interface, a first TTL beyond the last, too many probes.
        PrivilegeError: raw sockets are not allowed.
        UdpprobeError: this host cannot do it.
    """
    guard(options)
    payload = payload_for(endpoint.port, options.payload)
    with ExitStack() as held:
        ending = _Ending(held.enter_context(CtrlC()), wish)
        try:
            wire = held.enter_context(Wire(
                endpoint, payload, source_port=options.source_port, interface=options.interface,
                source_address=options.source_address, flows=options.flows))
        except UnsentError as error:
            yield Traced(_unsent(endpoint, error), interrupted=False, failure=str(error))
            return
        listener = held.enter_context(Listener([wire], options.interface, capture=options.capture))
        number = done = 0
        while True:
            run = _Round(listener, options, ending, number)
            run.follow(on_change, on_hops)
            report = run.report()
            if on_change:
                on_change(report)
            yield Traced(report, ending.came)
            number, done = run.tracing.next_number, done + 1
            if interval_s is None or done == rounds or not _paused(listener, ending, interval_s):
                return


def _unsent(endpoint: Endpoint, error: UnsentError) -> TraceReport:
    """Of a destination that this host has no way to: no hop."""
    return advised(TraceReport(
        version=__version__, target=Target(endpoint.text, endpoint.port, error.zone), source_address="",
        source_ports=(), interface="", time_ns=time.time_ns(), verdict="unsent",
        errno=errorcode.get(error.code), reached=False, hops=(), loop=None))


def guard(options: Options) -> None:
    """See to it that a trace can be made.

    Raises:
        UsageError: options contradict each other, or ask for more probes than are remembered.
    """
    if options.first_ttl > options.max_ttl:
        raise UsageError(f"--first-ttl {options.first_ttl} is beyond --max-ttl {options.max_ttl}")
    probes = _probes(options, 1)
    if probes > MOST_OF_A_ROUND:
        raise UsageError(f"up to {probes:,} probes are too many, at most {MOST_OF_A_ROUND:,}; lower --flows, --queries "
                         "or --max-ttl")


def _probes(options: Options, burst: int) -> int:
    """How many there are at most."""
    return options.flows * options.max_ttl * (options.queries + Patience.again * burst)


def _paused(listener: Listener, ending: _Ending, interval_s: float) -> bool:
    """Hear what comes late, and forget it; False when it is to end."""
    until_s = time.monotonic() + interval_s
    while not ending.came and (ending.is_held or time.monotonic() < until_s):
        listener.hear(LONGEST_WAIT_S)
        ending.look()
    return not ending.came


class _Ending:
    """Ctrl-C, and what the keys say."""

    def __init__(self, ctrl_c: CtrlC, wish: Callable[[], Wish] | None) -> None:
        self._ctrl_c, self._wish = ctrl_c, wish
        self._is_stopped = self.is_held = False

    @property
    def came(self) -> bool:
        """Whether it is time to stop."""
        return self._is_stopped or self._ctrl_c.came

    def look(self) -> None:
        """Ask what is wished."""
        if self._wish:
            wish = self._wish()
            self.is_held = wish is Wish.PAUSE
            self._is_stopped |= wish is Wish.STOP


class _Round:
    """One round under way."""

    def __init__(self, listener: Listener, options: Options, ending: _Ending, number: int) -> None:
        interval_ns = int(SECOND / options.rate_pps) if options.rate_pps else 0
        patience = Patience(options.max_ttl, options.first_ttl, options.queries, int(options.timeout_s * SECOND),
                            interval_ns, burst=BURST if _probes(options, BURST) <= MOST_OF_A_ROUND else 1)
        self.tracing = Tracing(patience, flows=options.flows, size=options.size, first_number=number)
        self._listener, self._wire, self._ending = listener, listener.wires[0], ending
        self._start_ns = listener.now_ns
        self._told_s, self._told_ttl, self._is_done = 0.0, 0, False

    def follow(self, on_change: Callable[[TraceReport], None] | None,
               on_hops: Callable[[Sequence[Hop]], None] | None) -> None:
        """Send and hear to the end."""
        while not self._ending.came:
            if self.tracing.done(self._listener.now_ns):
                self._is_done = True
                return
            self._step()
            self._ending.look()
            if on_hops and (hops := self._settled_hops()):
                on_hops(hops)
            if on_change and time.monotonic() >= self._told_s + TELL_S:
                self._told_s = time.monotonic()
                on_change(self.report())

    def _step(self) -> None:
        now_ns = self._listener.now_ns
        probes = self.tracing.due(now_ns)
        self.tracing.refused(probes, self._wire.send(probes))
        wait_s = (self.tracing.wake_ns(now_ns) - now_ns) / SECOND
        self.tracing.heard(self._listener.hear(min(max(wait_s, 0), LONGEST_WAIT_S)))

    def _settled_hops(self) -> list[Hop]:
        """Hops that were not told yet, as far as they and all before them are settled."""
        now_ns, last_ttl = self._listener.now_ns, self._told_ttl
        for ttl in sorted({ttl for path in self.tracing.paths for ttl in path.hops() if ttl > self._told_ttl}):
            if not self.tracing.is_settled(ttl, now_ns):
                break
            last_ttl = ttl
        first_ttl, self._told_ttl = self._told_ttl, last_ttl
        if first_ttl == last_ttl:
            return []
        hops = hops_of(self.tracing.paths, self._wire.target.address, now_ns, self._wire.interface)
        return [hop for hop in hops if first_ttl < hop.ttl <= last_ttl]

    def report(self) -> TraceReport:
        """What is known."""
        paths, wire = self.tracing.paths, self._wire
        ending = worst([ending_of(path) for path in paths])
        report = TraceReport(
            version=__version__, target=wire.target, source_address=wire.source,
            source_ports=wire.flows.source_ports, interface=wire.interface, time_ns=self._start_ns,
            verdict=ending.verdict, errno=ending.errno, reached=ending.reached,
            hops=hops_of(paths, wire.target.address, self._listener.now_ns, wire.interface), loop=loop_of(paths),
            notes=wire.notes,
            faults=dict(sorted((self._listener.faults + Counter({"source-quench": self.tracing.quenches})).items())))
        if self._is_done or self.tracing.done(self._listener.now_ns):
            return advised(report)
        if ending.verdict in SURE:
            return replace(advised(report), interrupted=self._ending.came)
        return replace(report, verdict=None, errno=None, loop=None, interrupted=self._ending.came)
