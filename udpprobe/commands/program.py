"""`watch -- COMMAND`: run a program, and count for each of its sockets which ICMP errors the kernel passed to it."""

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
"""How long to keep listening after the program has ended, for errors about its last datagrams. Measured by the packets'
time stamps rather than by the clock, so that a busy machine reads all of them."""
MOST_LINGER_S = 30
"""Stop waiting after this long by the monotonic clock, even if the wall clock was set back."""
POLL_S = 0.05
BIAS_NS = 1 << 63
"""`BIAS_NS` of core/findings.py, which is added to the times in the core's tables."""
FLOW_WORDS = 12
"""Words in a row of `Conversations.totals`."""
MOST_SOCKETS, MOST_FLOWS = 1 << 12, 1 << 12
"""Limits on the sockets counted, and on the flows of each. A resolver opens a new socket for each query."""

Flow = tuple[int, int, int, int]
"""Destination address and port, then source address and port; addresses are 128-bit integers."""


class ProgramOutcome(Struct, frozen=True):
    """How the program ended, and which errors its sockets met."""

    status: int
    """Its exit status as a shell reports it: 128 plus the number of a signal that killed it."""
    sockets: tuple[SocketErrors, ...]
    """Sockets that errors were about, most errors first."""
    strays: int
    """Errors about this host's datagrams whose process is unknown, or whose socket is beyond `MOST_SOCKETS`."""
    running: int
    """Descendants of the program that are still running, and no longer watched."""
    lost: int
    """Packets that the kernel dropped before udpprobe read them."""
    failure: UdpprobeError | None = None
    """What stopped the watch before the program ended, if anything did."""


def watch_program(
    options: WatchOptions, words: Sequence[str], environment: Mapping[str, str], listeners: Listeners
) -> ProgramOutcome:
    """Run a program until it ends, and count the ICMP errors about its datagrams. Signals are passed on to it.

    Raises:
        NotRun: the program does not exist, or cannot be run.
        UdpprobeError: as for `watch`; the program has not been started then.
    """
    with ExitStack() as held:
        # before any thread starts: threads inherit the mask of blocked signals
        signals = held.enter_context(Signals(signal.SIGCHLD))
        kernel = held.enter_context(closing(KernelEvents(options.kernel, listeners.on_warning)))
        kernel.settle()
        capture, rotation = open_source(options, held)
        sockets = Sockets(own_addresses, idle_share=0)  # never skip a read: a socket may be gone a moment later
        sockets.refresh()
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
                lambda: program.is_over(watching.read_until_ns),
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
    """The program as our child process: waits for its end, and passes signals on to it.

    Args:
        pid: its process id.
        signals: signals sent to us, which are blocked and read here.
        has_terminal: whether it is in the terminal's foreground process group, and so gets the terminal's own signals
            (Ctrl-C) without our help.
    """

    def __init__(self, pid: int, signals: Signals, *, has_terminal: bool) -> None:
        self.pid, self._signals, self._has_terminal = pid, signals, has_terminal
        self.status = 0
        self._ended_ns, self._given_up_s = 0, 0.0

    def is_over(self, read_until_ns: int) -> bool:
        """Whether it has ended, and errors about its last datagrams have had time to arrive.

        Args:
            read_until_ns: the time up to which all packets have been read, since 1970.
        """
        self._check_child()
        return bool(self._ended_ns) and (
            read_until_ns >= self._ended_ns + LINGER_NS or time.monotonic() >= self._given_up_s
        )

    def wait(self) -> None:
        """Wait until the program has ended."""
        while not self._ended_ns:
            time.sleep(POLL_S)
            self._check_child()

    def _check_child(self) -> None:
        if self._ended_ns:
            return
        if (status := reaped(self.pid)) is not None:
            self.status, self._ended_ns = shell_status(status), time.time_ns()
            self._given_up_s = time.monotonic() + MOST_LINGER_S
            return
        for number, by_terminal in self._signals.read():
            if number == signal.SIGCHLD:
                continue
            # SIGHUP is always passed on: a closing terminal sends it to its session leader only
            if number == signal.SIGHUP or not (by_terminal and self._has_terminal):
                self._send(number)
                self._send(signal.SIGCONT)  # a stopped process does not act on a signal until it continues

    def _send(self, number: int) -> None:
        """Signal the program, and its whole process group if it has its own. It is not reaped yet, so the id is its."""
        with suppress(ProcessLookupError, PermissionError):  # it may have changed its user
            if self._has_terminal:
                os.kill(self.pid, number)
            else:
                os.killpg(self.pid, number)


class _FlowErrors(Struct):
    """Errors about one flow that the kernel passed to the socket, and when the socket is known to have sent last."""

    ignored: int = 0
    """Errors older than `sent_ns`: the program sent on in spite of them."""
    times_ns: list[int] = field(default_factory=list)
    """Times of the errors since `sent_ns`."""
    sent_ns: int = 0

    def sent(self, time_ns: int) -> int:
        """Note that a datagram was sent at this time. Returns how many errors have been ignored so far."""
        self.sent_ns = max(self.sent_ns, time_ns)
        since = [each for each in self.times_ns if each >= self.sent_ns]
        self.ignored += len(self.times_ns) - len(since)
        self.times_ns = since
        return self.ignored


class _Errors(Struct):
    """The counters of one socket."""

    verdicts: Counter[str] = field(default_factory=Counter)
    told: int = 0
    blind: int = 0
    flows: dict[tuple[Flow, bool], _FlowErrors] = field(default_factory=dict)
    """Keyed by flow and by whether the errors are "too big": a program that then sends smaller ones ignores nothing."""


class ProgramFindings:
    """Collects the errors about a program's datagrams, by socket.

    Args:
        family: the program and its descendants.
    """

    def __init__(self, family: Descendants) -> None:
        self._family = family
        self._sockets: dict[tuple[str, int, Process], _Errors] = {}
        self.strays = 0

    def take(self, events: Sequence[WatchedEvent]) -> None:
        """Count the events that are about the program's datagrams."""
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
        got_errno = has_errno(event)
        errors.told += got_errno is True
        errors.blind += got_errno is False
        if quoted.source_port is None or quoted.destination_port is None:
            return
        flow = (number_of(quoted.destination), quoted.destination_port, number_of(quoted.source), quoted.source_port)
        key = flow, event.verdict == "too-big"
        if key not in errors.flows and len(errors.flows) >= MOST_FLOWS:
            return
        flow_errors = errors.flows.setdefault(key, _FlowErrors())
        if got_errno:
            flow_errors.times_ns.append(event.time_ns)
        if event.rtt_ms is not None:
            flow_errors.sent(event.time_ns - round(event.rtt_ms * 1e6))

    def sockets(self, last_sent: Mapping[Flow, int]) -> tuple[SocketErrors, ...]:
        """The sockets that errors were about, most errors first.

        Args:
            last_sent: when the last datagram of each unanswered flow was sent.
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
    """Whether a program gets an errno for an error about its datagram, now or later; None if that is unknown.

    With IP_PMTUDISC_DO, a socket that the kernel did not notify of "too big" gets EMSGSIZE when it next sends a
    datagram that is too large, because the route has learnt the MTU. Linux learns no IPv6 MTU below 1280 bytes.
    """
    if event.reported is not False or event.verdict != "too-big":
        return event.reported
    if event.mtu is not None and event.family == 6 and event.mtu < LEAST_MTU[6]:
        return False
    return None if event.mtu_discover is None else TOO_BIG[event.family, event.mtu_discover].later == "EMSGSIZE"


def _ignored(errors: _Errors, last_sent: Mapping[Flow, int]) -> int:
    """Count the errors that the program knew of and sent on regardless.

    Linux returns the errno from the next call, and that call sends nothing. So a datagram that was sent after the error
    comes from a program that has already seen the errno. After "too big", only another datagram that is too big counts:
    a smaller one means that the program took notice.
    """
    return sum(
        flow_errors.sent(0 if is_too_big else last_sent.get(flow, 0))
        for (flow, is_too_big), flow_errors in errors.flows.items()
    )


def last_sent(watching: Watch) -> dict[Flow, int]:
    """When each flow's last datagram was sent. Answered flows are left out: their last datagram may be an answer."""
    totals, _ = watching.analyzer.conversations.totals()
    words = memoryview(totals.words)
    found: dict[Flow, int] = {}
    for at in range(0, FLOW_WORDS * totals.size, FLOW_WORDS):
        high, low, port, source_high, source_low, source_port, _, _, _, answered, last_ns = words[at : at + 11]
        if not answered and last_ns:
            found[high << 64 | low, port, source_high << 64 | source_low, source_port] = last_ns - BIAS_NS
    return found
