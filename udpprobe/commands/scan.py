"""Craft, send, receive, conclude: the `scan` command."""

from __future__ import annotations

import errno
import socket
import time
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from functools import partial
from itertools import compress, cycle, islice
from typing import TYPE_CHECKING

from msgspec import Struct
from msgspec.structs import replace

from udpprobe import __version__
from udpprobe.capture.frames import RAW, Frame
from udpprobe.core.addresses import address_text
from udpprobe.core.decode import Decoder
from udpprobe.core.limiter import SECOND
from udpprobe.core.model import Destination, Event, Report, SourceReport
from udpprobe.core.probe import Batch
from udpprobe.endpoints import endpoint_text
from udpprobe.engines import BATCHES, Arrivals
from udpprobe.engines.prepare import EngineOptions, are_own, catalogue_of, make_plan, open_engine, reserve_source_ports
from udpprobe.interrupt import CtrlC, Interrupted
from udpprobe.linux.clock import SteadyClock
from udpprobe.linux.netlink import outgoing_interface
from udpprobe.linux.sendmmsg import CHUNK
from udpprobe.payloads import answers_request, notes_of_answers, notes_of_other_ports
from udpprobe.scanning.outcome import Known, comments_of, outcome, settled_rows, unsettled_tasks
from udpprobe.scanning.pacing import Pacing, Patience
from udpprobe.scanning.plan import ProbedDestinations
from udpprobe.scanning.record import ScanRecord
from udpprobe.scanning.replies import AT_PORT_0, NO_TASK, Believed, Replies
from udpprobe.scanning.streaming import Settling, event_of
from udpprobe.scanning.unanswered import UNSENT

if TYPE_CHECKING:
    from udpprobe.capture.frames import RawFrame
    from udpprobe.capture.recorder import Recorder
    from udpprobe.core.capture import Records
    from udpprobe.core.departures import Departures
    from udpprobe.core.sweep import Sweep
    from udpprobe.linux.drop_reasons import DropReasons

LONGEST_WAIT_S = 0.05
ROOM = 8192
"""Most probes sent between two reads of what came back; with a thread for sending, one batch."""
READY_S = 0.01
"""Longest wait for a sending thread, so that replies are taken and Ctrl-C is noticed even if its queue is full."""
PROGRESS_S = 0.1
MOST_LATEST = 5
BATCH_PROBES, BATCH_BYTES = 2048, 1 << 22
"""Most probes crafted together, and their most bytes."""
LINK_SOURCES = {1: slice(6, 12), 113: slice(6, 12), 276: slice(12, 18)}
"""Position of the sender's link address in frames of LINKTYPE_ETHERNET, LINUX_SLL and LINUX_SLL2."""
MOST_FROM_ELSEWHERE = 1 << 16
"""Datagrams that answer no probe but belong to the scan: so many are counted and recorded."""
STOPPED = frozenset({"UDP_CSUM", "ICMP_CSUM", "IP_CSUM", "IP_RPFILTER"})
"""Drop reasons that hide replies from an engine without privilege. The raw engine still captures those packets."""
LONGEST_PACKET = 65_535
"""Bytes (RFC 791)."""


def _drops_from_now() -> DropReasons:
    from udpprobe.linux.drop_reasons import DropReasons  # noqa: PLC0415 - the raw engine does without

    return DropReasons()


class Progress(Struct, frozen=True):
    """The progress of a scan."""

    decided: int
    total: int
    sent: int
    remaining_s: float | None
    """An estimate; None if unknown."""
    answered: int = 0
    latest: tuple[str, ...] = ()
    """Addresses and ports that answered last, latest first."""


class ScanListeners(Struct, frozen=True):
    """Callbacks of a running scan."""

    on_events: Callable[[Sequence[Event]], None] | None = None
    """Every ICMP error that is proven to be about a probe, as it becomes known."""
    on_settled: Callable[[Sequence[Destination]], None] | None = None
    """Every destination once, when it is settled; the report starts with these, in the same order."""
    on_progress: Callable[[Progress], None] | None = None
    on_warning: Callable[[str], None] | None = None
    """Warnings for the user."""

    def warn(self, text: str) -> None:
        """Warn the user."""
        if self.on_warning:
            self.on_warning(text)


NO_LISTENERS = ScanListeners()


def scan(destinations: ProbedDestinations, options: EngineOptions, listeners: ScanListeners = NO_LISTENERS) -> Report:
    """Probe destinations and report what happened to the probes.

    Args:
        destinations: what to probe.
        options: how.
        listeners: called while it runs.

    Raises:
        UsageError: an option is invalid: an unknown payload or address.
        PrivilegeError: raw sockets are not allowed, and `engine` is `raw`.
        UdpprobeError: this host cannot do it.
        Interrupted: on Ctrl-C, after everything received by then was reported.
    """
    with ExitStack() as held, CtrlC() as ctrl_c:
        run = _Run(destinations, options, held, listeners)
        while not ctrl_c.came and run.step():
            pass
        report = run.report(interrupted=ctrl_c.came)
    if ctrl_c.came:
        raise Interrupted(report, run.undecided())
    return report


def _recorder(path: str) -> Recorder:
    from udpprobe.capture.recorder import Recorder  # noqa: PLC0415 - few want one

    return Recorder(path)


class _Run:
    """One scan in progress."""

    def __init__(
        self, destinations: ProbedDestinations, options: EngineOptions, held: ExitStack, listeners: ScanListeners
    ) -> None:
        self._options, self._listeners = options, listeners
        self._catalogue = catalogue_of(options)
        own = are_own(destinations)
        ports = held.enter_context(reserve_source_ports(destinations, own, options))
        self._plan, send_errnos = make_plan(destinations, options, ports.ports)
        self._recorder = held.enter_context(_recorder(options.write)) if options.write else None
        self._engine = open_engine(options, ports.ports, listeners.warn, tasks=len(destinations))
        held.enter_context(closing(self._engine))
        if self._engine.owns_port:
            ports.share()
            if self._recorder:
                listeners.warn(f"the kernel's sockets show no packets: {options.write} will contain none")
        patience = Patience(
            options.rate_pps,
            options.retries,
            int(options.timeout_s * SECOND),
            options.control,
            int(options.linger_s * SECOND),
        )
        self._clock = SteadyClock()
        self._now_ns = time.time_ns()
        self._pacing = Pacing(self._plan, patience, self._now_ns)
        for task in compress(range(len(own)), own):
            self._pacing.watched[self._plan.host[task]] = 1  # this host sees its own probes arrive, with their times
        self._pacing.leave_out(
            task for task in compress(range(len(own)), own) if self._plan.is_own(destinations.port[task])
        )
        self._record = ScanRecord(self._plan)
        self._send_errnos: dict[int, int] = {}
        self._drops = _drops_from_now() if self._engine.blind_to else None
        self._known = Known(
            self._plan,
            self._pacing,
            self._record,
            self._send_errnos,
            options.loop_ttl,
            self._engine.tells_origin,
            interface_of=self._interface_of,
        )
        self._replies = Replies(
            self._plan,
            self._pacing,
            self._record,
            self._keep_event if listeners.on_events else None,
            recognises=self._recognises,
            tells_origin=self._engine.tells_origin,
        )
        self._sweep: Sweep | None = None
        self._sweep_packets = self._sweep_bytes = 0
        """Packets that the sweep took, and their bytes, as far as they are counted here."""
        self._has_rest = False
        """Whether it returned packets that are not handled yet."""
        if not self._engine.sees_own and not listeners.on_events:
            self._sweep, self._engine.sift = self._replies.sweep(), self._sift
        self._decoder = Decoder(64, keeps_messages=True)
        self._events: list[Event] = []
        self._settling = Settling(self._known) if listeners.on_settled else None
        for task, host in enumerate(self._plan.host) if any(send_errnos) else ():
            if send_errnos[host]:
                self._mark_unsent(task, send_errnos[host])
        self._stride = (max(48 + self._plan.prober.payloads.longest, options.size) + 3) // 4 * 4
        """Room for a probe in a batch, bytes."""
        self._batches, self._most = self._make_batches()
        self._steadied: Callable[[int], int] = int
        self._marks = array("I"), array("i")
        """Frames that were recorded, and their tasks or other return values of `Replies.packets`."""
        self._from_elsewhere = 0
        """Datagrams that answer no probe."""
        self._sent, self._dropped, self._progress_s = 0, 0, 0.0
        self._packets = self._bytes = 0
        self._first_ns: int | None = None
        self._last_ns: int | None = None
        self._link_types: set[int] = set()

    def _make_batches(self) -> tuple[Iterator[tuple[Batch, Departures]], int]:
        """The batches, to be filled in turn without end, and the most probes in each."""
        probes = BATCH_PROBES if self._engine.sees_own else CHUNK
        most = max(1, min(probes, BATCH_BYTES // self._stride))
        batches = [Batch(most, self._stride) for _ in range(BATCHES)]
        return cycle([(batch, self._plan.departures(batch, self._record.is_seen)) for batch in batches]), most

    def step(self) -> bool:
        """Receive, then send what is due; False when everything is decided."""
        wait_s = (self._pacing.wake_ns(self._now_ns) - self._now_ns) / SECOND
        self._take_arrivals(self._engine.receive(min(max(wait_s, 0), LONGEST_WAIT_S)))
        if self._engine.is_ready(READY_S):
            due = self._pacing.due(self._now_ns, ROOM if self._engine.sees_own else self._most)
            for start in range(0, len(due), self._most):
                self._send(due[start : start + self._most])
            self._sent += len(due)
        self._take_unsent()
        self._report_settled()
        self._report_progress()
        return self._engine.is_sending or not self._pacing.done(self._now_ns)

    def _send(self, due: Sequence[tuple[int, int]]) -> None:
        """Send one more probe of each task, each from one of its source addresses."""
        plan = self._plan
        if self._stride > LONGEST_PACKET:
            too_long = [pair for pair in due if self._is_too_long(*pair)]
            for task, _ in too_long:
                plan.next_attempt(task, self._now_ns)
                self._mark_unsent(task, errno.EMSGSIZE)
            due = [pair for pair in due if pair not in too_long]
        if not due:
            return
        batch, departures = next(self._batches)  # the engine gets each, in this order: see `Engine.send`
        zones = departures.number(due, self._now_ns, plan.keep_last)
        plan.prober.craft(plan.crafted, batch, count := len(zones))
        length = departures.count_sent(count)
        if self._engine.sees_own:
            self._engine.send(batch, count, zones)
        else:
            self._engine.send(batch, count, zones, partial(self._are_leaving, departures))
            self._packets += count
            self._bytes += length
            self._span(self._now_ns, self._now_ns)

    def _are_leaving(self, departures: Departures, rows: array[int]) -> None:
        """Note the time of probes that leave now; perhaps on the engine's thread."""
        departures.set_sent_ns(rows, self._steadied(time.time_ns()))

    def _take_unsent(self) -> None:
        """Take over which probes this host could not send."""
        plan = self._plan
        for task, send_errno, length in self._engine.unsent():
            plan.uncount_sent(task, length)
            if send_errno != errno.ECANCELED:  # Ctrl-C: nothing is known of it
                self._mark_unsent(task, send_errno)
            if not self._engine.sees_own:
                self._packets, self._bytes = self._packets - 1, self._bytes - length
                self._record.is_seen[task] = plan.sent[task] > 0

    def _is_too_long(self, task: int, source: int) -> bool:
        """Whether the next probe is longer than an IP packet can be."""
        return self._plan.length_of(task, self._plan.attempts[task], source) > LONGEST_PACKET

    def _take_arrivals(self, arrivals: Arrivals) -> None:
        now_ns, steadied = self._clock.steadied(arrivals.now_ns)
        self._steadied = steadied
        self._now_ns = max(self._now_ns, now_ns)
        if (dropped := self._engine.state.dropped or 0) > self._dropped:
            self._dropped = dropped
            self._pacing.distrust()
        self._count_sweep()
        frames = arrivals.frames
        if self._clock.step_ns:
            frames = [frame._replace(time_ns=steadied(frame.time_ns)) for frame in frames]
        own = [frame for frame in frames if self._take(frame)]
        for event in arrivals.events:
            stamped = event._replace(time_ns=steadied(event.time_ns))
            self._replies.event(stamped)
            self._count(stamped.time_ns, stamped.length)
        if self._recorder and own:
            self._recorder.add(own)
        if self._events and self._listeners.on_events:
            events, self._events = self._events, []
            self._listeners.on_events(events)

    def _sift(self, records: Records, block: bytes, since_ns: int) -> list[RawFrame] | None:
        """Take the ordinary refusals out of a block of captured packets."""
        if self._sweep is None or self._clock.is_set:  # after a clock step, each time must be corrected
            return None
        rest = self._sweep.take(records, block, since_ns, is_first=not self._has_rest)
        self._has_rest |= bool(rest)
        return rest

    def _count_sweep(self) -> None:
        self._has_rest = False
        if self._sweep is None or (count := self._sweep.count - self._sweep_packets) == 0:
            return
        self._packets += count
        self._bytes += self._sweep.bytes - self._sweep_bytes
        self._sweep_packets, self._sweep_bytes = self._sweep.count, self._sweep.bytes
        self._span(self._sweep.first_ns, self._sweep.last_ns)
        self._link_types.add(RAW)
        self._pacing.take_over(self._sweep)

    def _take(self, frame: Frame) -> bool:
        """Handle a frame; return whether it belongs to the scan."""
        packets = self._decoder.packets(frame.data, frame.length, frame.time_ns, frame.link_type, frame.number)
        if not packets:
            return False
        place = LINK_SOURCES.get(frame.link_type)
        task = self._replies.packets(packets, int.from_bytes(frame.data[place]) if place else 0)
        if task == NO_TASK:
            return False
        if task < NO_TASK:
            self._from_elsewhere += 1
            if self._from_elsewhere > MOST_FROM_ELSEWHERE:
                return False
        if self._engine.sees_own or packets[0].is_error or not self._plan.is_own(packets[0].source_port):
            self._count(frame.time_ns, frame.length)  # else the sender counted this probe, which comes in on lo
        self._link_types.add(frame.link_type)
        if self._recorder:
            self._marks[0].append(frame.number)
            self._marks[1].append(task)
        return True

    def _count(self, time_ns: int, length: int) -> None:
        """Count a packet that belongs to the scan."""
        self._packets += 1
        self._bytes += length
        self._span(time_ns, time_ns)

    def _span(self, first_ns: int, last_ns: int) -> None:
        self._first_ns = first_ns if self._first_ns is None else min(self._first_ns, first_ns)
        self._last_ns = last_ns if self._last_ns is None else max(self._last_ns, last_ns)

    def _keep_event(self, believed: Believed) -> None:
        self._events.append(event_of(self._known, believed))

    def _recognises(self, task: int, data: bytes) -> bool:
        """Whether a datagram is an answer to a task's payload."""
        return answers_request(self._catalogue, self._plan, task, data)

    def _interface_of(self, task: int) -> str:
        """Name of the outgoing interface of a task's probes; empty if unknown."""
        plan, size = self._plan, {4: 4, 6: 16}[self._plan.family_of(task)]
        source, destination = (
            ((high << 64) | low).to_bytes(16, "big")[-size:]
            for high, low in (plan.sources.addresses[plan.host[task]][0], plan.tasks.address(task))
        )
        with suppress(OSError):
            return socket.if_indextoname(outgoing_interface(source, destination, plan.tasks.zone[task]))
        return ""

    def _mark_unsent(self, task: int, send_errno: int) -> None:
        """Record that this host cannot send to a task."""
        self._send_errnos[task] = send_errno
        self._pacing.unsent(task)

    def _report_settled(self) -> None:
        if self._settling and self._listeners.on_settled and (tasks := self._settling.due(self._now_ns)):
            answers = {task: self._record.answers[task] for task in tasks if task in self._record.answers}
            known = replace(self._known, notes=self._notes_of(answers), unsolicited=self._replies.unsolicited())
            self._listeners.on_settled(settled_rows(known, tasks))

    def _notes_of(self, answers: Mapping[int, bytes]) -> tuple[Mapping[int, str], ...]:
        return (
            notes_of_other_ports(self._catalogue, self._plan, answers, self._replies.other_ports),
            notes_of_answers(self._catalogue, self._plan, answers),
        )

    def _report_progress(self) -> None:
        now_s = time.monotonic()
        if self._listeners.on_progress and now_s >= self._progress_s + PROGRESS_S:
            self._progress_s = now_s
            answers, tasks = self._record.answers, self._plan.tasks
            latest = tuple(
                endpoint_text(address_text(*tasks.address(task)), tasks.port[task])
                for task in islice(reversed(answers), MOST_LATEST)
            )
            self._listeners.on_progress(
                Progress(
                    self._pacing.decided(),
                    self._plan.requested_count,
                    self._sent,
                    self._pacing.remaining_s(),
                    len(answers),
                    latest,
                )
            )

    def report(self, *, interrupted: bool = False) -> Report:
        """The results so far."""
        self._engine.flush(stop=interrupted)
        self._take_unsent()
        answers, replies = self._record.answers, self._replies
        notes = (*self._notes_of(answers), self._record.header_traits.notes(), replies.forged())
        undecided = unsettled_tasks(self._known, self._now_ns) if interrupted else frozenset()
        destinations = outcome(replace(self._known, notes=notes, unsolicited=replies.unsolicited()), undecided)
        self._write(destinations)
        self._warn_of_gaps(len(destinations))
        if self._settling:
            destinations = destinations.beginning_with(self._settling.returned)
        return Report(
            "scan", __version__, self._source(), destinations.rows(), (), self._faults(), interrupted=interrupted
        )

    def undecided(self) -> frozenset[tuple[str, int]]:
        """Addresses and ports whose verdict a later packet might change."""
        plan = self._plan
        return frozenset(
            (address_text(*plan.tasks.address(task)), plan.port[task])
            for task in unsettled_tasks(self._known, self._now_ns)
        )

    def _warn_of_gaps(self, reported: int) -> None:
        """Warn about destinations that were not probed, and replies that may have been missed."""
        if reported < self._plan.requested_count:
            self._listeners.warn(
                f"stopped after {reported} of {self._plan.requested_count} destinations: the others were not probed"
            )
        states = self._pacing.state.values
        gone = (
            [task for task, state in enumerate(states) if state == UNSENT and self._plan.sent[task]]
            if (UNSENT in states)
            else []
        )
        if names := sorted({errno.errorcode.get(self._send_errnos[task], "?") for task in gone}):
            self._listeners.warn(
                f"{len(gone)} ports were not probed again, because this host could no longer send to them "
                f"({', '.join(names)}): their silence means nothing"
            )
        if self._engine.state.faults["interface-down"]:
            self._listeners.warn("a capture interface went down: answers may be missing, and silence may mean nothing")

        if step_ns := self._clock.step_ns:
            self._listeners.warn(
                f"the clock was set {'forward' if step_ns > 0 else 'back'} by "
                f"{abs(step_ns) / SECOND:.3g} s; times are given as if it had not been"
            )

    def _write(self, destinations: Mapping[int, Destination]) -> None:
        if self._recorder:
            if self._from_elsewhere > MOST_FROM_ELSEWHERE:
                self._listeners.warn(
                    f"{self._options.write} has the first {MOST_FROM_ELSEWHERE} of {self._from_elsewhere} datagrams "
                    "that answer no probe"
                )
            only = self._replies.only_task_at
            marks = (
                (number, task if task >= 0 else only(AT_PORT_0 - task))
                for number, task in zip(*self._marks, strict=True)
            )
            self._recorder.finish(comments_of(destinations, marks), application=f"udpprobe {__version__}")

    def _faults(self) -> dict[str, int]:
        faults = Counter(self._decoder.counted_faults() + self._engine.state.faults)
        faults["foreign"] += self._replies.foreign
        if self._replies.foreign:
            self._listeners.warn(
                f"{self._replies.foreign} ICMP errors quote datagrams that this scan did not send: "
                "forged, or caused by another program; they are ignored"
            )
        return dict(sorted((+faults).items()))

    def _source(self) -> SourceReport:
        state = self._engine.state
        if state.dropped:
            how = (
                "at this scan's sockets (full receive buffers or bad checksums)"
                if self._engine.blind_to
                else "before they were read"
            )
            self._listeners.warn(
                f"the kernel dropped {state.dropped} packets {how}: some answers may be missing; try a lower --rate"
            )
        stopped = [each for each in self._drops.found() if each.reason in STOPPED] if self._drops else []
        if number := sum(each.namespace or 0 for each in stopped):
            self._listeners.warn(
                f"meanwhile this network namespace dropped {number} packets before any socket could receive them "
                f"({', '.join(each.reason for each in stopped)}): some may be answers; --engine raw sees these"
            )
        return SourceReport(
            kind="probe",
            name=state.name,
            link_types=tuple(sorted(self._link_types)),
            packets=self._packets,
            bytes=self._bytes,
            first_time_ns=self._first_ns,
            last_time_ns=self._last_ns,
            dropped=state.dropped,
            cut_short=False,
        )
