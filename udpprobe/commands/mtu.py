"""Which packet sizes fit the path to a destination, and who limits them: the `mtu` command."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from errno import errorcode
from functools import partial
from random import SystemRandom
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from udpprobe import __version__
from udpprobe.core.advice import sentence, unsent_case
from udpprobe.core.limiter import SECOND
from udpprobe.endpoints import endpoint_text
from udpprobe.engines.wire import Endpoint, Listener, Wire, payload_for
from udpprobe.errors import UnsentError, UsageError
from udpprobe.interrupt import CtrlC
from udpprobe.pmtud.locator import Locator, LocatorPlan, hops_to
from udpprobe.pmtud.model import MtuReport
from udpprobe.pmtud.outcome import Reports, SearchContext, outcome, verdict_of
from udpprobe.pmtud.rounds import (
    ARRIVED,
    CONTROL,
    FLOWS,
    SERVICE,
    TOO_BIG,
    RetryPolicy,
    SearchRounds,
    SizedProbe,
    result_of,
)
from udpprobe.pmtud.search import Phase, Search
from udpprobe.replies import Reply
from udpprobe.tracing.model import Target

LONGEST_WAIT_S = 0.05
CONTROL_PORTS = (49_152, 65_536)
"""Range of closed ports: nothing is registered there (RFC 6335, section 6)."""
LOOP_TTL = 32
"""An expired TTL that started this high is evidence of a loop, as in `scan`."""
MOST_BYTES = {4: 65_535, 6: 65_575}
"""Longest packet (RFC 791; RFC 8200 without jumbograms)."""


class MtuOptions(Struct, frozen=True):
    """How to search."""

    most: int = 0
    """The largest packet to try, in bytes; 0 for the interface's MTU."""
    retries: int = 2
    """Retries of a lost size before it counts as lost."""
    timeout_s: float = 4
    """Seconds to wait for a silent host."""
    rate_pps: float = 1000
    """0 for no limit."""
    ttl: int = 64
    interface: str | None = None
    source_address: str | None = None
    source_port: int = 0
    """The first of several consecutive ports; 0 lets the kernel choose."""
    payload: str = "auto"
    control: bool = True
    """Whether to probe a closed port too, whose refusals show what arrives."""
    capture: str = "auto"


class Measured(Struct, frozen=True):
    """The result."""

    report: MtuReport
    interrupted: bool
    failure: str | None = None
    """Why nothing could be sent."""


class SearchProgress(Struct, frozen=True):
    """The progress of a search."""

    passed: int
    """The largest size that arrived, bytes of the IP packet; 0 for none."""
    lost: int | None
    """The smallest that did not arrive."""
    sent: int


class Machine(Protocol):
    """Decides when to send which probe, and learns from replies."""

    @property
    def wake_ns(self) -> int:
        """When to call `due` if no reply comes before."""
        ...

    @property
    def is_over(self) -> bool:
        """Whether it is done."""
        ...

    def due(self, now_ns: int) -> list[SizedProbe]:
        """The probes to send now."""
        ...

    def take(self, reply: Reply) -> None:
        """Take a reply."""
        ...


def mtu(
    endpoint: Endpoint, options: MtuOptions, on_progress: Callable[[SearchProgress], None] | None = None
) -> Measured:
    """Find the path MTU to a destination.

    Args:
        endpoint: the destination.
        options: how.
        on_progress: called at each step.

    Raises:
        UsageError: an option is invalid: an unknown payload, a largest size below the smallest probe.
        PrivilegeError: raw sockets are not allowed.
        UdpprobeError: this host has no route.
    """
    with ExitStack() as held, CtrlC() as ctrl_c:
        try:
            wires = _wires(endpoint, options, held)
        except UnsentError as error:
            return Measured(_unsent(endpoint, error), interrupted=False, failure=str(error))
        listener = held.enter_context(Listener(wires, options.interface, capture=options.capture))
        run = _Run(listener, options, ctrl_c, on_progress)
        return Measured(run.report(), ctrl_c.came)


def _unsent(endpoint: Endpoint, error: UnsentError) -> MtuReport:
    """The report on a destination without a route: no path MTU."""
    name = errorcode.get(error.code)
    advice = sentence(unsent_case(name), [endpoint_text(endpoint.text, endpoint.port, error.zone)], endpoint.text)
    return MtuReport(
        version=__version__,
        target=Target(endpoint.text, endpoint.port, error.zone),
        verdict="unsent",
        errno=name,
        path_mtu=None,
        udp_payload_max=None,
        proof=None,
        state=Phase.ERROR.value,
        interface="",
        interface_mtu=0,
        source_address="",
        control_port=None,
        reports=(),
        black_hole=None,
        sent=0,
        duration_ms=0,
        time_ns=time.time_ns(),
        advice=advice,
    )


def _wires(endpoint: Endpoint, options: MtuOptions, held: ExitStack) -> list[Wire]:
    """One per role; the control's goes to a port without a registered service."""
    open_wire = partial(Wire, interface=options.interface, source_address=options.source_address, loop_ttl=LOOP_TTL)
    payload = payload_for(endpoint.port, options.payload)
    wires = [held.enter_context(open_wire(endpoint, payload, source_port=options.source_port, flows=FLOWS))]
    if options.control:
        control = replace(endpoint, port=_other_port(endpoint.port))
        wires.append(held.enter_context(open_wire(control, payload_for(0, "token"))))
    return wires


def _other_port(port: int) -> int:
    first, end = CONTROL_PORTS
    found = first + SystemRandom().randrange(end - first - 1)
    return found + (found >= port >= first)


class _Run:
    """One search in progress."""

    def __init__(
        self,
        listener: Listener,
        options: MtuOptions,
        ctrl_c: CtrlC,
        on_progress: Callable[[SearchProgress], None] | None,
    ) -> None:
        self._listener, self._wires, self._options, self._ctrl_c = listener, listener.wires, options, ctrl_c
        self._on_progress = on_progress or (lambda _: None)
        self._wire = self._wires[SERVICE]
        least = [wire.least_size for wire in self._wires]
        family = self._wire.flows.family
        most = min(each for each in (self._wire.mtu, options.most, MOST_BYTES[family]) if each)
        if max(least) > most:
            raise UsageError(
                f"the smallest probe has {max(least)} bytes, more than the {most} allowed; see --max, --payload"
            )
        policy = RetryPolicy(options.retries + 1, int(options.timeout_s * SECOND), options.ttl)
        self._start_ns = self._now_ns = self._free_ns = listener.now_ns
        self._rounds = SearchRounds(Search(family, min(least), most), least, policy, self._now_ns)
        self._reports = Reports()
        self._sent = 0
        self._reply_ttl: int | None = None
        self._changed: set[str] = set()

    def report(self) -> MtuReport:
        """Search, then look for the router behind which larger packets disappear."""
        self._follow(self._rounds)
        locator = None
        if verdict_of(self._rounds) == "black-hole":
            locator = Locator(self._plan())
            self._follow(locator)
        found = outcome(self._rounds, self._reports, locator, self._context())
        if not self._ctrl_c.came or (self._rounds.is_over and (locator is None or locator.is_over)):
            return found
        return replace(
            found, verdict=None, errno=None, black_hole=None, notes=self._forged(), advice=None, interrupted=True
        )

    def _plan(self) -> LocatorPlan:
        rounds, role = self._rounds, self._rounds.deciding_role
        return LocatorPlan(
            role,
            rounds.search.smallest_lost or 0,
            rounds.least[role],
            hops_to(self._reply_ttl),
            self._options.retries + 1,
            rounds.timeout_ns,
            len(rounds.sent),
            self._wire.target.address,
        )

    def _follow(self, machine: Machine) -> None:
        while not self._ctrl_c.came and not machine.is_over:
            if self._now_ns >= self._free_ns:
                self._send(machine.due(self._now_ns))
            self._on_progress(SearchProgress(self._rounds.search.passed, self._rounds.search.smallest_lost, self._sent))
            wake_ns = max(machine.wake_ns, self._free_ns)
            for reply in self._receive(min(max((wake_ns - self._now_ns) / SECOND, 0), LONGEST_WAIT_S)):
                self._take(reply)
                self._rounds.take(reply)  # a router's error may be late
                if machine is not self._rounds:
                    machine.take(reply)

    def _send(self, outgoing: list[SizedProbe]) -> None:
        self._sent += len(outgoing)
        for role, wire in enumerate(self._wires):
            probes = [each.probe for each in outgoing if each.role == role]
            for probe, code in zip(probes, wire.send(probes), strict=True):
                if code and probe.number in self._rounds.sent:
                    self._rounds.unsent(probe.number, code, self._now_ns)
        if self._options.rate_pps:
            self._free_ns = self._now_ns + int(len(outgoing) * SECOND / self._options.rate_pps)

    def _receive(self, wait_s: float) -> list[Reply]:
        replies = self._listener.receive(wait_s)
        self._now_ns = self._listener.now_ns
        return replies

    def _take(self, reply: Reply) -> None:
        word = result_of(reply)
        if word == ARRIVED:
            self._reply_ttl = reply.ttl
            self._changed.update(reply.changed)
        if word == TOO_BIG and reply.event and reply.number in self._rounds.sent:
            self._reports.take(reply.event, self._rounds.sent[reply.number].size)

    def _context(self) -> SearchContext:
        wire = self._wire
        control = self._wires[CONTROL].flows.port if len(self._wires) > CONTROL else None
        return SearchContext(
            __version__,
            wire.target,
            wire.flows.family,
            wire.interface,
            wire.mtu,
            wire.source,
            control,
            self._options.most,
            self._start_ns,
            self._now_ns,
            dict(sorted(self._listener.faults.items())),
            frozenset(self._changed),
            self._forged(),
        )

    def _forged(self) -> tuple[str, ...]:
        """Notes on forged errors about the host; all wires lead there, and each counts for itself."""
        return next((wire.notes for wire in self._wires if wire.notes), ())
