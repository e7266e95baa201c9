"""A program under test: run it, and say per socket which ICMP errors about its datagrams it was told of."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing, suppress

from msgspec import Struct, field

from udpprobe.commands.watch import Listeners, Watch, WatchOptions, open_source
from udpprobe.core.kernel import TOO_BIG
from udpprobe.core.model import Process, WatchedEvent
from udpprobe.core.notes import LEAST_MTU
from udpprobe.errors import UdpprobeError
from udpprobe.lab.command import Signals, is_foreground, reaped, shell_status, start
from udpprobe.linux.error_reports import KernelEvents
from udpprobe.linux.hostfacts import own_addresses
from udpprobe.linux.processes import Descendants
from udpprobe.linux.sockets import Sockets, number_of
from udpprobe.reports.lists import SocketErrors

LINGER_NS = 500_000_000
"""How long after the program's end errors about its last datagrams may come. Measured by the packets' time stamps, so
that a busy machine reads them all."""
MOST_LINGER_S = 30
"""The wait ends by then even if the clock is set back."""
POLL_S = 0.05
BIAS_NS = 1 << 63
"""Added to times in the core's tables."""
FLOW_WORDS = 12
"""Words in a row of `Conversations.totals`."""
MOST_SOCKETS, MOST_FLOWS = 1 << 12, 1 << 12
"""Sockets that are told apart, and flows of each: a resolver opens a socket for each question."""

Flow = tuple[int, int, int, int]
"""Destination and its port, source and its port; addresses are 128 bits."""


class ProgramOutcome(Struct, frozen=True):
    """How a program ended, and what was found."""

    status: int
    """Its exit status, as shells give it."""
    sockets: tuple[SocketErrors, ...]
    """Those with errors, the one with the most errors first."""
    strays: int
    """Errors about this host's datagrams whose sender is unknown, or whose sockets there was no room to count."""
    running: int
    """Processes of the program that still run, unwatched."""
    lost: int
    """Packets that the kernel dropped before they were read."""
    failure: UdpprobeError | None = None
    """What ended the watch before the program ended."""


def watch_program(
    options: WatchOptions, words: Sequence[str], environment: Mapping[str, str], listeners: Listeners
) -> ProgramOutcome:
    """Run a program to its end, and watch which ICMP errors its datagrams draw. Signals are passed on to the program.

    Raises:
        NotRun: there is no such program, or it cannot be run.
        UdpprobeError: as `watch`, before the program is started.
    """
    with ExitStack() as held:
        # before there is any thread: each one inherits what is blocked
        signals = held.enter_context(Signals(signal.SIGCHLD))
        kernel = held.enter_context(closing(KernelEvents(options.kernel, listeners.on_warning)))
        kernel.settle()
        capture, rotation = open_source(options, held)
        sockets = Sockets(own_addresses, idle_share=0)  # its sockets are there only as long as it is
        sockets.look()
        family = Descendants()
        sockets.on_holders = family.meet
        watching = Watch(capture, options, sockets, rotation, kernel=kernel, by_flow=True)
        found = ProgramFindings(family)
        listeners.on_start()
        has_terminal = is_foreground()
        program = Program(start(words, environment, own_group=not has_terminal), signals, has_terminal=has_terminal)
        family.add(program.pid)
        failure = None
        try:
            watching.follow(
                Listeners(on_events=found.take, on_progress=listeners.on_progress),
                lambda: program.is_over(watching.heard_ns),
            )
        except UdpprobeError as why:
            failure = why
            program.wait()
        return ProgramOutcome(
            program.status,
            found.sockets(last_sent(watching)),
            found.strays,
            family.running(),
            capture.state.dropped or 0,
            failure,
        )


class Program:
    """A child of this process, and the signals that come for it.

    Args:
        pid: its process.
        signals: blocked ones.
        has_terminal: whether what the terminal sends reaches it without our help.
    """

    def __init__(self, pid: int, signals: Signals, *, has_terminal: bool) -> None:
        self.pid, self._signals, self._has_terminal = pid, signals, has_terminal
        self.status = 0
        self._ended_ns, self._given_up_s = 0, 0.0

    def is_over(self, heard_ns: int) -> bool:
        """Whether it ended, and its last datagrams had time to meet errors.

        Args:
            heard_ns: until when all packets were read, since 1970.
        """
        self._heed()
        return bool(self._ended_ns) and (heard_ns >= self._ended_ns + LINGER_NS or time.monotonic() >= self._given_up_s)

    def wait(self) -> None:
        """Until it ended."""
        while not self._ended_ns:
            time.sleep(POLL_S)
            self._heed()

    def _heed(self) -> None:
        if self._ended_ns:
            return
        if (status := reaped(self.pid)) is not None:
            self.status, self._ended_ns = shell_status(status), time.time_ns()
            self._given_up_s = time.monotonic() + MOST_LINGER_S
            return
        for number, by_terminal in self._signals.read():
            if number == signal.SIGCHLD:
                continue
            # a terminal that closes signals only the process that opened it
            if number == signal.SIGHUP or not (by_terminal and self._has_terminal):
                self._send(number)
                self._send(signal.SIGCONT)  # a stopped process would not act on it

    def _send(self, number: int) -> None:
        """Signal the program, and all of its process group if it has one of its own; it is not reaped yet."""
        with suppress(ProcessLookupError, PermissionError):  # it may be another user by now
            if self._has_terminal:
                os.kill(self.pid, number)
            else:
                os.killpg(self.pid, number)


class _FlowErrors(Struct):
    """Errors about one flow that a socket was told of, and when it is known to have sent last."""

    ignored: int = 0
    """Errors before the last datagram known to be sent."""
    times_ns: list[int] = field(default_factory=list)
    """Times of the errors since."""
    sent_ns: int = 0

    def sent(self, time_ns: int) -> int:
        """Note that a datagram left at this time; returns how many errors were ignored before it."""
        self.sent_ns = max(self.sent_ns, time_ns)
        since = [each for each in self.times_ns if each >= self.sent_ns]
        self.ignored += len(self.times_ns) - len(since)
        self.times_ns = since
        return self.ignored


class _Errors(Struct):
    """What is counted of one socket."""

    verdicts: Counter[str] = field(default_factory=Counter)
    told: int = 0
    blind: int = 0
    flows: dict[tuple[Flow, bool], _FlowErrors] = field(default_factory=dict)
    """By flow, and whether the errors say that a datagram was too big: who sends smaller ones then ignores nothing."""


class ProgramFindings:
    """Collects errors by the program's sockets.

    Args:
        family: the program's processes.
    """

    def __init__(self, family: Descendants) -> None:
        self._family = family
        self._sockets: dict[tuple[str, int, Process], _Errors] = {}
        self.strays = 0

    def take(self, events: Sequence[WatchedEvent]) -> None:
        """Count those about the program's datagrams."""
        for event in events:
            quoted = event.quoted
            if event.process is None:
                self.strays += event.sees is not None
            elif event.process.pid in self._family and quoted.source_port is not None:
                key = quoted.source, quoted.source_port, event.process
                if key in self._sockets or len(self._sockets) < MOST_SOCKETS:
                    self._count(self._sockets.setdefault(key, _Errors()), event)
                else:
                    self.strays += 1

    def _count(self, errors: _Errors, event: WatchedEvent) -> None:
        quoted = event.quoted
        errors.verdicts[event.verdict or event.reason] += 1
        heard = has_errno(event)
        errors.told += heard is True
        errors.blind += heard is False
        if quoted.source_port is None or quoted.destination_port is None:
            return
        flow = (number_of(quoted.destination), quoted.destination_port, number_of(quoted.source), quoted.source_port)
        key = flow, event.verdict == "too-big"
        if key not in errors.flows and len(errors.flows) >= MOST_FLOWS:
            return
        flow_errors = errors.flows.setdefault(key, _FlowErrors())
        if heard:
            flow_errors.times_ns.append(event.time_ns)
        if event.rtt_ms is not None:
            flow_errors.sent(event.time_ns - round(event.rtt_ms * 1e6))

    def sockets(self, last_sent: Mapping[Flow, int]) -> tuple[SocketErrors, ...]:
        """The sockets that met errors, the one with most of them first.

        Args:
            last_sent: when the last datagram of a flow left, of flows that nobody answered.
        """
        found = [
            SocketErrors(
                address,
                port,
                process,
                errors.verdicts.total(),
                errors.told,
                errors.blind,
                _ignored(errors, last_sent),
                tuple(word for word, _ in errors.verdicts.most_common()),
                errors.verdicts["too-big"],
            )
            for (address, port, process), errors in self._sockets.items()
        ]
        return tuple(sorted(found, key=lambda each: (-each.errors, each.process.pid, each.port, each.address)))


def has_errno(event: WatchedEvent) -> bool | None:
    """Whether a program has an errno of an error about its datagram, now or later; None where nobody knows.

    With IP_PMTUDISC_DO a socket that was not told of "too big" is told by EMSGSIZE from whatever larger it sends later:
    the route has learnt the MTU, if that is not below the least of its family.
    """
    if event.reported is not False or event.verdict != "too-big":
        return event.reported
    if event.mtu is not None and event.family == 6 and event.mtu < LEAST_MTU[6]:
        return False
    return None if event.mtu_discover is None else TOO_BIG[event.family, event.mtu_discover].later == "EMSGSIZE"


def _ignored(errors: _Errors, last_sent: Mapping[Flow, int]) -> int:
    """Errors that the program was told of before it sent on.

    Linux gives the errno to the next call, and sends nothing then: so whatever left later was sent by a program that
    had the errno. Of "too big" only a later datagram that was too big again counts: a smaller one heeds it.
    """
    return sum(
        flow_errors.sent(0 if is_too_big else last_sent.get(flow, 0))
        for (flow, is_too_big), flow_errors in errors.flows.items()
    )


def last_sent(watching: Watch) -> dict[Flow, int]:
    """When each flow's last datagram left; without those that were answered, whose last datagram may be the answer."""
    totals, _ = watching.analyzer.conversations.totals()
    words = memoryview(totals.words)
    found: dict[Flow, int] = {}
    for at in range(0, FLOW_WORDS * totals.size, FLOW_WORDS):
        high, low, port, source_high, source_low, source_port, _, _, _, answered, last_ns = words[at : at + 11]
        if not answered and last_ns:
            found[high << 64 | low, port, source_high << 64 | source_low, source_port] = last_ns - BIAS_NS
    return found
