"""Craft, send, listen, conclude: what `scan` does."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from udpprobe import __version__
from udpprobe.core.admission import Admission
from udpprobe.core.answers import FirstAnswers
from udpprobe.core.batch import I64, FrameBatch, tick
from udpprobe.core.conclude import Question, conclude
from udpprobe.core.craft import Crafter
from udpprobe.core.events import events_of
from udpprobe.core.limiter import SECOND
from udpprobe.core.model import Destination, Event, Report, SourceReport
from udpprobe.core.outcome import comments_of, outcome, with_notes, without_origin
from udpprobe.core.pacing import Pacing, Patience
from udpprobe.core.pipeline import Pipeline, Resolved
from udpprobe.core.plan import Candidates, Plan, Sources
from udpprobe.core.probes import Destinations
from udpprobe.core.runs import firsts
from udpprobe.engines import Engine
from udpprobe.engines.blind import RECVERR
from udpprobe.hostfacts import has_net_raw, reserve_neighbours, reserve_ports, sources_for
from udpprobe.interrupt import CtrlC, Interrupted
from udpprobe.payloads import Catalogue, chosen, from_nmap, load, notes_of_answers
from udpprobe.recorder import Recorder

LONGEST_WAIT_S = 0.05
BULK_PPS = 5000
"""Beyond this rate the portable capture does not keep up."""
SOURCE_PORTS = 64
"""Where none is asked for: a host's ports get one each, as far as they go."""
ROOM = 8192
"""Probes sent between two looks at what came back."""
TELL_S = 0.1


@dataclass(frozen=True, slots=True)
class Options:
    """How to probe, and how to report it."""

    rate_pps: float = 1000
    """Datagrams a second, of all hosts together; 0 for as many as this host sends."""
    retries: int = 2
    """How often a port that said nothing is asked again, where a closed one would have spoken."""
    timeout_s: float = 4
    """How long a host that was never heard of is waited for: a router looks for a host for 3 s."""
    payload: str = "auto"
    payload_file: str | None = None
    """`nmap:FILE`: payloads by port from there, before the own ones."""
    size: int = 0
    """Bytes of the IP packet that every probe is filled up to; 0 for no filling."""
    ttl: int = 64
    source_port: int = 0
    """0 for one that the kernel chooses."""
    source_addresses: tuple[str, ...] = ()
    """Instead of the one that the kernel would take."""
    interface: str | None = None
    """Where probes leave, and answers are listened for; None for wherever the kernel routes them."""
    write: str | None = None
    """File that gets the probes and the answers."""
    control: bool = True
    """Whether closed ports are asked too, to learn what silence means."""
    engine: str = "auto"
    """`raw`, `recverr`, `connected`, or `auto`: raw where that is allowed, else recverr."""
    loop_ttl: int = 32


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


def catalogue_of(options: Options) -> Catalogue:
    """What these options have sent to which port.

    Raises:
        UsageError: the payload is unknown, or the file has a mistake.
        UdpprobeError: the file cannot be read.
    """
    catalogue = load()
    if options.payload_file is not None:
        catalogue = from_nmap(catalogue, options.payload_file)
    return chosen(catalogue, options.payload)


def make_plan(destinations: Destinations, options: Options, ports: tuple[int, ...]) -> tuple[Plan, I64]:
    """The tasks, and (hosts,) errno of hosts that this one has no way to.

    Raises:
        UdpprobeError: a source address or interface is none of this host's.
    """
    catalogue = catalogue_of(options)
    sources, errno = _sources(destinations, options, ports)
    first, count = catalogue.candidates(destinations.port)
    key = secrets.randbits(64), secrets.randbits(64)
    return Plan(destinations, sources, Candidates(first, count, catalogue.order), key, ttl=options.ttl), errno


def _sources(destinations: Destinations, options: Options, ports: tuple[int, ...]) -> tuple[Sources, I64]:
    """Each host's source addresses; those that cannot be used for it stand in for by one that can."""
    hosts = destinations.take(firsts(destinations.host))
    columns = [sources_for(hosts.high, hosts.low, hosts.zone, bind=address, interface=options.interface)
               for address in options.source_addresses or (None,)]
    high, low, errno = (np.stack(each, axis=1) for each in zip(*columns, strict=True))
    usable = (errno == 0).argmax(axis=1)
    rows, bad = np.arange(len(hosts)), errno != 0
    high, low = (np.where(bad, each[rows, usable][:, None], each) for each in (high, low))
    return Sources(high, low, ports[0], len(ports)), errno[rows, usable]


def _open(options: Options, crafter: Crafter, ports: tuple[int, ...], listeners: Listeners) -> Engine:
    """The engine that was asked for, or the best one that is allowed."""
    engine = options.engine
    if engine == "auto":
        engine = "raw" if has_net_raw() else "recverr"
        if engine == "recverr":
            listeners.warn(f"raw sockets are not allowed (CAP_NET_RAW; run as root, or `setcap cap_net_raw+ep` the "
                           f"Python interpreter): falling back to --engine recverr, which cannot see {RECVERR}")
    return ENGINES[engine](options, crafter, ports)


def _open_raw(options: Options, crafter: Crafter, ports: tuple[int, ...]) -> Engine:
    from udpprobe.engines.raw import Raw  # noqa: PLC0415 - the others do without a capture

    bulk = not 0 < options.rate_pps <= BULK_PPS
    return Raw(crafter, ports=(ports[0], ports[-1]), interface=options.interface, bulk=bulk)


def _open_recverr(options: Options, crafter: Crafter, _: tuple[int, ...]) -> Engine:
    from udpprobe.engines.recverr import RecvErr  # noqa: PLC0415 - as above

    return RecvErr(crafter, interface=options.interface)


def _open_connected(options: Options, crafter: Crafter, _: tuple[int, ...]) -> Engine:
    from udpprobe.engines.connected import Connected  # noqa: PLC0415 - as above

    return Connected(crafter, interface=options.interface)


ENGINES = {"raw": _open_raw, "recverr": _open_recverr, "connected": _open_connected}


class _Run:
    """One scan under way."""

    def __init__(self, destinations: Destinations, options: Options, held: ExitStack, listeners: Listeners) -> None:
        self._options, self._listeners = options, listeners
        self._catalogue = catalogue_of(options)
        payloads = self._catalogue.columns()
        crafter = Crafter(payloads, size=options.size)
        ports = held.enter_context(reserve_ports(port=options.source_port) if options.source_port
                                   else reserve_neighbours(SOURCE_PORTS))
        self._plan, errno = make_plan(destinations, options, ports.ports)
        self._recorder = held.enter_context(Recorder(options.write)) if options.write else None
        self._engine = _open(options, crafter, ports.ports, listeners)
        held.enter_context(closing(self._engine))
        if self._engine.owns_port:
            ports.share()
        self._admission = Admission(self._plan, payloads, crafter)
        self._answers = FirstAnswers(len(self._plan))
        self._pipeline = Pipeline(keep_messages=True, admission=self._admission)
        patience = Patience(options.rate_pps, options.retries, int(options.timeout_s * SECOND), options.control)
        self._now_ns = time.time_ns()
        self._pacing = Pacing(self._plan, patience, self._now_ns)
        self._errnos: dict[int, int] = {}
        errno = errno[self._plan.tasks.host]
        self._refused(np.flatnonzero(errno), errno[errno != 0])
        self._marks: list[tuple[I64, I64]] = []
        self._sent, self._told_s = 0, 0.0

    def step(self) -> bool:
        """Hear, then send what is due; False when all is decided."""
        wait_s = (self._pacing.wake_ns(self._now_ns) - self._now_ns) / SECOND
        self._hear(self._engine.receive(min(max(wait_s, 0), LONGEST_WAIT_S)))
        tasks, source = self._pacing.due(self._now_ns, ROOM - self._engine.backlog)
        if len(tasks):
            self._plan.sent_ns[tasks] = self._now_ns    # until the capture has seen them leave
            self._engine.send(self._plan.next_probes(tasks, source))
            self._sent += len(tasks)
            tasks, errno = self._engine.unsent()
            self._refused(tasks, errno)
        self._tell_progress()
        return not self._pacing.done(self._now_ns)

    def _hear(self, batch: FrameBatch) -> None:
        self._now_ns = max(self._now_ns, batch.now_ns)
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

    def _refused(self, tasks: I64, errno: I64) -> None:
        self._errnos.update(zip(tasks.tolist(), errno.tolist(), strict=True))
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
        other_ports = {task: f"answered from port {port}" for task, port in self._admission.other_ports.items()}
        destinations = outcome(told, self._plan, self._pacing, self._errnos)
        for notes in (other_ports, protocols):
            destinations = with_notes(destinations, self._plan, notes)
        if not self._engine.tells_origin:
            destinations = tuple(map(without_origin, destinations))
        self._write(destinations)
        return Report("scan", __version__, self._source(), destinations, unmatched, self._faults())

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
