"""Craft, send, listen, conclude: what `scan` does."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from udpprobe import __version__
from udpprobe.clock import SteadyClock
from udpprobe.core.batch import I64, FrameBatch, tick
from udpprobe.core.decoding.answers import FirstAnswers
from udpprobe.core.following.events import events_of
from udpprobe.core.following.pipeline import Pipeline, Resolved
from udpprobe.core.limiter import SECOND
from udpprobe.core.model import Destination, Event, Report, SourceReport
from udpprobe.core.probing.craft import Crafter
from udpprobe.core.probing.probes import Destinations
from udpprobe.core.scanning.admission import Admission
from udpprobe.core.scanning.outcome import comments_of, outcome, with_notes, without_origin
from udpprobe.core.scanning.pacing import Pacing, Patience
from udpprobe.core.scanning.suspects import UNSENT
from udpprobe.core.summaries.conclude import Question, conclude
from udpprobe.interrupt import CtrlC, Interrupted
from udpprobe.payloads import notes_of_answers, notes_of_other_ports
from udpprobe.prepare import Options, are_own, catalogue_of, make_plan, open_engine, reserve_source_ports
from udpprobe.recorder import Recorder

LONGEST_WAIT_S = 0.05
ROOM = 8192
"""Probes sent between two looks at what came back."""
TELL_S = 0.1


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a scan has come."""

    decided: int
    total: int
    sent: int
    remaining_s: float | None
    """An estimate; None where nothing is known yet."""


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who hears of a scan while it runs."""

    on_events: Callable[[Sequence[Event]], None] | None = None
    """Every ICMP error that proves to be about a probe, as it becomes known."""
    on_progress: Callable[[Progress], None] | None = None
    on_warning: Callable[[str], None] | None = None
    """What the user should know."""

    def warn(self, text: str) -> None:
        """Tell the user."""
        if self.on_warning:
            self.on_warning(text)


def scan(destinations: Destinations, options: Options, listeners: Listeners = Listeners()) -> Report:
    """Probe destinations and report what became of the probes.

    Args:
        destinations: what to probe.
        options: how.
        listeners: who hears of it while it runs.

    Raises:
        UsageError: an option is off: an unknown payload, interface or address.
        PrivilegeError: raw sockets are not allowed, and `engine` is `raw`.
        UdpprobeError: the host cannot do it.
        Interrupted: on Ctrl-C, once all that was heard by then is told.
    """
    with ExitStack() as held, CtrlC() as ctrl_c:
        run = _Run(destinations, options, held, listeners)
        while not ctrl_c.came and run.step():
            pass
        report = run.report()
    if ctrl_c.came:
        raise Interrupted(report)
    return report


class _Run:
    """One scan under way."""

    def __init__(self, destinations: Destinations, options: Options, held: ExitStack, listeners: Listeners) -> None:
        self._options, self._listeners = options, listeners
        self._catalogue = catalogue_of(options)
        payloads = self._catalogue.columns()
        crafter = Crafter(payloads, size=options.size)
        own = are_own(destinations)
        ports = held.enter_context(reserve_source_ports(destinations, own, options))
        self._plan, codes = make_plan(destinations, options, ports.ports)
        self._recorder = held.enter_context(Recorder(options.write)) if options.write else None
        self._crafter = crafter
        self._engine = open_engine(options, crafter, ports.ports, listeners.warn)
        held.enter_context(closing(self._engine))
        if self._engine.owns_port:
            ports.share()
        self._admission = Admission(self._plan, payloads, crafter)
        self._answers = FirstAnswers(len(self._plan))
        self._pipeline = Pipeline(keep_messages=True, admission=self._admission)
        patience = Patience(options.rate_pps, options.retries, int(options.timeout_s * SECOND), options.control)
        self._clock = SteadyClock()
        self._now_ns = time.time_ns()
        self._pacing = Pacing(self._plan, patience, self._now_ns)
        self._pacing.leave_out(np.flatnonzero(own & np.isin(destinations.port, ports.ports)))
        self._errnos: dict[int, int] = {}
        codes = codes[self._plan.tasks.host]
        self._refused(np.flatnonzero(codes), codes[codes != 0])
        self._marks: list[tuple[I64, I64]] = []
        self._sent, self._dropped, self._told_s = 0, 0, 0.0

    def step(self) -> bool:
        """Hear, then send what is due; False when all is decided."""
        wait_s = (self._pacing.wake_ns(self._now_ns) - self._now_ns) / SECOND
        self._hear(self._engine.receive(min(max(wait_s, 0), LONGEST_WAIT_S)))
        tasks, source = self._pacing.due(self._now_ns, ROOM - self._engine.backlog)
        if len(tasks):
            self._plan.sent_ns[tasks] = self._now_ns    # until the capture has seen them leave
            probes = self._plan.next_probes(tasks, source)
            self._plan.leave(tasks, self._crafter.lengths_of(probes))
            self._engine.send(probes)
            self._sent += len(tasks)
            tasks, codes = self._engine.unsent()
            self._plan.stay(tasks)
            self._refused(tasks, codes)
        self._tell_progress()
        return not self._pacing.done(self._now_ns)

    def _hear(self, batch: FrameBatch) -> None:
        batch = self._clock.steadied(batch)
        self._now_ns = max(self._now_ns, batch.now_ns)
        if (dropped := self._engine.state.dropped or 0) > self._dropped:
            self._dropped = dropped
            self._pacing.distrust()
        known = self._pipeline.feed(batch)
        if len(batch):
            known += self._pipeline.feed(tick(batch.now_ns))
        self._keep(batch)
        for heard in self._admission.heard():
            self._pacing.heard(heard)
        if self._listeners.on_events:
            for resolved in known:
                self._tell_events(resolved)

    def _tell_events(self, resolved: Resolved) -> None:
        events = events_of(resolved, self._pipeline.summary, self._options.loop_ttl)
        if events and self._listeners.on_events:
            self._listeners.on_events(events)

    def _keep(self, batch: FrameBatch) -> None:
        """Count, and record, the frames of a batch that belong to the scan."""
        frames, tasks = self._admission.frames()
        own = batch if len(frames) == len(batch) else batch.take(np.flatnonzero(np.isin(batch.frame, frames)))
        self._pipeline.summary.count(own)
        self._answers.take(batch, *self._admission.answers())
        if self._recorder:
            self._recorder.add(own)
            self._marks.append((frames, tasks))

    def _refused(self, tasks: I64, codes: I64) -> None:
        self._errnos.update(zip(tasks.tolist(), codes.tolist(), strict=True))
        self._pacing.unsent(tasks)

    def _tell_progress(self) -> None:
        now_s = time.monotonic()
        if self._listeners.on_progress and now_s >= self._told_s + TELL_S:
            self._told_s = now_s
            self._listeners.on_progress(Progress(self._pacing.decided(), self._plan.asked, self._sent,
                                                 self._pacing.remaining_s()))

    def report(self) -> Report:
        """What is known."""
        self._pipeline.finish()
        told, unmatched = conclude(self._pipeline.summary, Question(self._options.loop_ttl, all_destinations=True))
        protocols = notes_of_answers(self._catalogue, self._plan, self._answers.data)
        other_ports = notes_of_other_ports(self._catalogue, self._plan, self._answers.data,
                                           self._admission.other_ports)
        destinations = outcome(told, self._plan, self._pacing, self._errnos)
        for notes in (other_ports, protocols, self._admission.looks.notes()):
            destinations = with_notes(destinations, self._plan, notes)
        if not self._engine.tells_origin:
            destinations = tuple(map(without_origin, destinations))
        self._write(destinations)
        self._warn_of_gaps(len(destinations))
        return Report("scan", __version__, self._source(), destinations, unmatched, self._faults())

    def _warn_of_gaps(self, told: int) -> None:
        """What was not asked, or not heard, that should have been."""
        if told < self._plan.asked:
            self._listeners.warn(f"stopped after {told} of {self._plan.asked} destinations: the others were not asked")
        gone = np.flatnonzero((self._pacing.state == UNSENT) & (self._plan.left > 0))
        if names := sorted({errno.errorcode.get(self._errnos[task], "?") for task in gone.tolist()}):
            self._listeners.warn(f"{len(gone)} ports were not asked again, for this host could not send to them any "
                                 f"more ({', '.join(names)}): their silence means nothing")
        if self._engine.state.faults["interface-down"]:
            self._listeners.warn("an interface that was listened to went down: answers may be missing, and silence "
                                 "may mean nothing")

        if step_ns := self._clock.step_ns:
            self._listeners.warn(f"the clock was set {'forward' if step_ns > 0 else 'back'} by "
                                 f"{abs(step_ns) / SECOND:.3g} s; times are told as if it had not been")

    def _write(self, destinations: tuple[Destination, ...]) -> None:
        if self._recorder:
            none = np.empty(0, np.int64)
            frames, tasks = (np.concatenate([none, *each]) for each in zip((none, none), *self._marks, strict=True))
            self._recorder.finish(comments_of(destinations, self._plan, frames, tasks),
                                  application=f"udpprobe {__version__}")

    def _faults(self) -> dict[str, int]:
        faults = self._pipeline.summary.faults + self._engine.state.faults
        faults["foreign"] += self._admission.foreign
        if self._admission.foreign:
            self._listeners.warn(f"{self._admission.foreign} ICMP errors quote datagrams that this scan did not send: "
                                 "forged, or caused by another program; they are not believed")
        return dict(sorted((+faults).items()))

    def _source(self) -> SourceReport:
        summary, state = self._pipeline.summary, self._engine.state
        if state.dropped:
            self._listeners.warn(f"the kernel dropped {state.dropped} packets before they were read: some answers may "
                                 "be missing; try a lower --rate")
        return SourceReport(
            kind="probe", name=state.name, link_types=tuple(sorted(summary.link_types)), packets=summary.packets,
            bytes=summary.bytes, first_time_ns=summary.first_ns, last_time_ns=summary.last_ns, dropped=state.dropped,
            cut_short=False)
