"""Whether Linux reported an ICMP error to a socket: captured errors, joined with the kernel's own events.

`sock:inet_sk_error_report` (Linux 5.14 and later) says which socket was woken: addresses, ports and errno, but neither
process nor network namespace. So an error and a report belong together if ports, addresses and errno agree and the
report comes within `GRACE_S` of the error. A report that a socket of this namespace should not have got may be for
another namespace: then the two contradict, and the event is not used.
"""

from __future__ import annotations

import errno
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from threading import Thread
from typing import Protocol

from msgspec import Struct

from udpprobe.core.addresses import MAPPED_PREFIX
from udpprobe.core.model import Event
from udpprobe.core.verdicts import meaning_of
from udpprobe.errors import UdpprobeError
from udpprobe.linux.drop_reasons import EVENT as DROP
from udpprobe.linux.drop_reasons import DropReasons
from udpprobe.linux.sockets import Sender, number_of
from udpprobe.linux.tracefs import Record, Tracing

EVENT, FILTER = "sock/inet_sk_error_report", "protocol == 17"
GRACE_S = 0.2
"""Longest time from reading an error to its report. The kernel makes the report microseconds after the capture's copy,
in the same softirq."""
KEPT_S = 5.0
"""Time that a report waits for its error to be read: a busy machine reads it much later."""
IDLE_S = 0.1
"""Interval of reading events while no error waits: a read takes 30 µs, and a busy interface delivers packets every 3
ms."""
EARLY_NS = 100_000
"""Possible offset between the two clocks."""
ANY = {0, MAPPED_PREFIX << 32}
NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}  # Python's name is ENOTSUP


class Source(Protocol):
    """The interface of `Tracing`."""

    lost: int

    def read(self) -> list[Record]:
        """Events since the last call."""


class ErrorReport(Struct, frozen=True):
    """A socket that was woken for an error; addresses are 128 bits, IPv4 mapped, 0 for any."""

    time_ns: int
    errno: str | None
    """None if the program had read it before the event was written, or if the event announces an entry of the error
    queue, which may be a time stamp."""
    address: int
    port: int
    peer: int
    peer_port: int
    """0 for an unconnected socket."""

    @classmethod
    def of(cls, record: Record) -> ErrorReport:
        """Parse an event."""
        fields = record.fields
        address, peer = (int.from_bytes(fields[name]) for name in ("saddr_v6", "daddr_v6"))
        return cls(
            record.time_ns,
            NAMES.get(fields["error"]),
            0 if address in ANY else address,
            fields["sport"],
            0 if peer in ANY else peer,
            fields["dport"],
        )


class Awaited(Struct):
    """An error about a local datagram, until it is known whether a socket got it."""

    event: Event
    sender: Sender | None
    expected: bool | None
    """What the socket's state implies."""
    due_s: float
    report: ErrorReport | None = None
    is_doubtful: bool = False
    """Whether a report that was matched to another error may be about this one."""

    def fits(self, report: ErrorReport) -> bool:
        """Whether the report may be about this error."""
        quoted = self.event.quoted
        if report.errno and report.errno != meaning_of(self.event.family, self.event.type, self.event.code).recverr:
            return False
        if report.time_ns < self.event.time_ns - EARLY_NS or report.address not in {0, number_of(quoted.source)}:
            return False
        return not report.peer_port or (
            (report.peer, report.peer_port) == (number_of(quoted.destination), quoted.destination_port)
        )


class Judged(Struct, frozen=True, gc=False):
    """An error, the sender of the quoted datagram, and the kernel's report."""

    event: Event
    sender: Sender | None
    is_reported: bool | None
    """Whether a socket got an errno; None if the kernel's events do not say."""


class ErrorReports:
    """Errors in order of arrival, each held until its report arrives or can no longer arrive.

    Args:
        source: of kernel events.
        now_s: a clock that cannot be set.
    """

    def __init__(self, source: Source, now_s: Callable[[], float] = time.monotonic) -> None:
        self._source, self._now_s = source, now_s
        self._awaited: deque[Awaited] = deque()
        self._by_port: dict[int, dict[int, Awaited]] = {}
        """Errors without a report, by source port and identity: first come, first served."""
        self._spare: dict[int, list[ErrorReport]] = {}
        """By port, reports whose error was not read yet; and those of other namespaces, which match none."""
        self._pruned_s = now_s()
        self._read_s = now_s() - IDLE_S
        self._lost_ns = 0
        """When events were last lost: before that, silence proves nothing."""
        self._since_ns = time.time_ns()
        """Earlier errors may have had reports."""

    def __len__(self) -> int:
        return len(self._awaited)

    @property
    def lost(self) -> int:
        """Kernel events that were lost."""
        return self._source.lost

    def expect(self, event: Event, sender: Sender | None) -> None:
        """Hold an error; one about another host's datagram waits only for those before it."""
        due_s = self._now_s() + GRACE_S if sender else 0.0
        expected = sender.is_reported(meaning_of(event.family, event.type, event.code)) if sender else None
        one = Awaited(event, sender, expected, due_s)
        self._awaited.append(one)
        if sender and event.quoted.source_port is not None:
            self._by_port.setdefault(event.quoted.source_port, {})[id(one)] = one
            self._join(self._spare.pop(event.quoted.source_port, ()))

    def judged(self) -> Iterator[Judged]:
        """Errors with a final result, in order of arrival."""
        self.read_reports()
        now_s = self._now_s()
        while self._awaited and (self._awaited[0].report or self._awaited[0].due_s <= now_s):
            one = self._awaited.popleft()
            self._forget(one)
            yield self._concluded(one)

    def read_reports(self) -> None:
        """Read the kernel's reports, and match them with the waiting errors."""
        now_s = self._now_s()
        if not self._awaited and now_s < self._read_s + IDLE_S:
            return
        self._read_s = now_s
        if now_s > self._pruned_s + KEPT_S:
            self._pruned_s, before_ns = now_s, time.time_ns() - int(KEPT_S * 1e9)
            self._spare = {
                port: kept
                for port, some in self._spare.items()
                if (kept := [each for each in some if each.time_ns > before_ns])
            }
        lost = self._source.lost
        records = self._source.read()
        if self._source.lost > lost:
            self._lost_ns = time.time_ns()
        self._join(ErrorReport.of(each) for each in records if each.event == EVENT)

    def _join(self, reports: Iterable[ErrorReport]) -> None:
        """Match each report to the first error that its socket should get; otherwise to the last one before it.

        An entry of the error queue is announced twice: the second report must not match another error.
        """
        for report in reports:
            fitting = []
            for one in self._by_port.get(report.port, {}).values():
                if one.fits(report):
                    fitting.append(one)
                    if one.expected:
                        break
            if fitting and fitting[-1].expected:
                fitting[-1].report = report
                self._forget(fitting[-1])
            elif fitting:  # sockets share the port, and some of them get the error
                last = max(fitting, key=lambda one: (one.expected is None, one.event.time_ns))
                if report.errno:
                    last.report = report
                else:
                    last.is_doubtful = True
                for one in fitting:
                    one.is_doubtful |= one is not last
            else:
                self._spare.setdefault(report.port, []).append(report)

    def _forget(self, one: Awaited) -> None:
        waiting = self._by_port.get(one.event.quoted.source_port or 0, {})
        if waiting.pop(id(one), None) and not waiting:
            del self._by_port[one.event.quoted.source_port or 0]

    def _concluded(self, one: Awaited) -> Judged:
        """The report's view of the socket outweighs our last look at it, because the socket may have changed since."""
        sender, report = one.sender, one.report
        if sender and not report:
            is_open = one.is_doubtful or one.event.time_ns < max(self._since_ns, self._lost_ns)
            return Judged(one.event, sender, None if is_open else False)
        if not sender or not report or (one.expected is False and not report.peer_port and not sender.is_gone):
            return Judged(one.event, sender, None)  # any namespace may have a socket on that port
        if not one.expected:
            sender = Sender(sender.process, "connected" if report.peer_port else "recverr", sender.mode)
        return Judged(one.event, sender, True)


class KernelEvents:
    """The kernel's events about errors and drops, or none.

    Args:
        wanted: `off` for none; `on`, or `auto` if available. Setting up takes some 30 ms; `auto` does that in the
            background, and judges errors meanwhile by their sockets' states.
        on_warning: called with a line about what is missing.

    Raises:
        PrivilegeError: it is `on`, and this user may not.
        UdpprobeError: it is `on`, and this kernel cannot.
    """

    def __init__(self, wanted: str, on_warning: Callable[[str], None] = lambda _: None) -> None:
        self._tracing: Tracing | None = None
        self._reports: ErrorReports | None = None
        self._unjudged: deque[Judged] = deque()
        self.drops = DropReasons()
        self._on_warning = on_warning
        self._opening = Thread(target=self._try, daemon=True)
        if wanted == "on":
            self._open()
        elif wanted == "auto":
            self._opening.start()

    def _open(self) -> None:
        self._tracing = Tracing({EVENT: FILTER})
        self._reports = ErrorReports(self._tracing)
        try:
            self.drops.count_all(self._tracing.format_of(DROP))
        except UdpprobeError as why:
            self._on_warning(f"what this host dropped is known only from this network namespace's counters: {why}")

    def _try(self) -> None:
        try:
            self._open()
        except UdpprobeError as why:
            self._on_warning(f"whether a socket got an error is inferred from its state: {why}")

    def settle(self) -> None:
        """Wait until `auto` has decided, so that no later error needs the socket's state."""
        if self._opening.ident is not None:
            self._opening.join()

    @property
    def lost(self) -> int:
        """Kernel events that were lost."""
        return self._tracing.lost if self._tracing else 0

    def waits(self) -> bool:
        """Whether an error waits for its report."""
        return bool(self._reports)

    def wait_s(self, most_s: float) -> float:
        """Seconds until the next call should come."""
        return min(most_s, GRACE_S / 4) if self._reports else most_s

    def expect(self, event: Event, sender: Sender | None) -> None:
        """Add an error, and the sender of the quoted datagram."""
        if self._reports is None:
            self._unjudged.append(Judged(event, sender, None))
        else:
            self._reports.expect(event, sender)

    def judged(self) -> Iterator[Judged]:
        """Errors with a final result, in order of arrival."""
        while self._unjudged:
            yield self._unjudged.popleft()
        if self._reports is not None:
            yield from self._reports.judged()

    def close(self) -> None:
        """Remove the instance."""
        self.settle()
        self.drops.close()
        if self._tracing:
            self._tracing.close()
