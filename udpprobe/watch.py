"""Follow an interface without sending, for weeks if need be: what failed, and which programs of this host know it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

from msgspec.structs import replace

from udpprobe import __version__
from udpprobe.core.batch import FrameBatch, Source, SourceState, tick
from udpprobe.core.following.events import events_of
from udpprobe.core.following.pipeline import Pipeline, Resolved
from udpprobe.core.model import Destination, Event, Report, Unmatched, WatchedEvent, changed
from udpprobe.core.summaries.aging import Aging
from udpprobe.errors import UdpprobeError
from udpprobe.hostfacts import own_addresses
from udpprobe.interrupt import CtrlC, Interrupted
from udpprobe.links import interface_index
from udpprobe.observe import Options, report_of
from udpprobe.reports.text import endpoint
from udpprobe.rotation import Rotation
from udpprobe.sockets import Sender, Sockets
from udpprobe.sources.live import open_capture

TRAFFIC = "udp or icmp or icmp6 or proto 4 or proto 41 or proto 47 or ip6 proto 44"
"""Datagrams and errors, also in IP in IP and GRE tunnels, and IPv6's fragments."""
TICK_NS, BURST_NS = 25_000_000, 500_000_000
"""On a busy interface packets wait so long for being looked at together; where it was quiet for a while they do not,
for a socket may not be there for long."""
MOST_NOTED = 1 << 14
NOTES_EACH = 4
"""Destinations whose senders are remembered, and how many of each."""


class Stopped(UdpprobeError):  # noqa: N818 - as Interrupted
    """Something keeps the watch from going on; `report` says what was known by then."""

    def __init__(self, why: UdpprobeError, report: Report) -> None:
        super().__init__(str(why))
        self.report = report


@dataclass(frozen=True, slots=True)
class WatchOptions:
    """What to listen to, and when to end."""

    interface: str | None = None
    """None for all."""
    filter: str | None = None
    """A pcap filter expression; None for all that has to do with UDP."""
    write: str | None = None
    """A file for errors and their datagrams."""
    rotate_bytes: int = 100_000_000
    """When that is full."""
    keep: int = 10
    """How many of them there are at a time."""
    duration_s: float | None = None
    """None for until Ctrl-C."""
    count: int | None = None
    """End after so many errors."""
    all_destinations: bool = False
    loop_ttl: int = 32


@dataclass(frozen=True, slots=True)
class Listeners:
    """Who is told."""

    on_events: Callable[[Sequence[WatchedEvent]], None] = lambda _: None
    """Gets every error, as soon as it is known."""
    on_progress: Callable[[SourceState, Callable[[], Report]], None] = lambda _state, _report: None
    """Gets the source's state after every batch, and what makes a report of all so far."""


def watch(options: WatchOptions, listeners: Listeners) -> Report:
    """Listen to an interface until the time is over.

    Raises:
        PrivilegeError: this user may not.
        UsageError: there is no such interface, or the filter is wrong.
        UdpprobeError: the interface is down; the capture cannot be written.
        Stopped: the same, later; or the interface is gone.
        Interrupted: on Ctrl-C, once all that was heard by then is told.
    """
    expression = TRAFFIC if options.filter is None else f"({TRAFFIC}) and ({options.filter})"
    with ExitStack() as held:
        capture = held.enter_context(closing(open_capture(expression, interface=options.interface, bulk=True)))
        rotation = options.write and held.enter_context(Rotation(
            options.write, most_bytes=options.rotate_bytes, files=options.keep, application=f"udpprobe {__version__}"))
        sockets = Sockets(own_addresses)
        sockets.look()
        watching = Watch(capture, options, sockets, rotation or None)
        with CtrlC() as ctrl_c:
            try:
                watching.follow(listeners, lambda: ctrl_c.came)
            except UdpprobeError as why:
                raise Stopped(why, watching.report()) from why
            report = watching.report()
    if ctrl_c.came:
        raise Interrupted(report)
    return report


@dataclass(slots=True)
class Watch:
    """What is known of a source that may never end; it forgets what it has to."""

    source: Source
    options: WatchOptions
    sockets: Sockets
    rotation: Rotation | None = None
    aging: Aging = field(default_factory=Aging)
    told: int = 0
    """How many errors."""
    pipeline: Pipeline = field(init=False)
    _notes: dict[tuple[str, int | None], dict[str, None]] = field(default_factory=dict)
    """Of destinations: what is to be said of who sent there."""
    _due_ns: int = 0
    _index: int = field(init=False)

    def __post_init__(self) -> None:
        self.pipeline = Pipeline(keep_messages=True, on_datagrams=self.sockets.heed)
        self._index = interface_index(self.options.interface) if self.options.interface else 0

    def follow(self, listeners: Listeners, is_over: Callable[[], bool]) -> None:
        """Listen until the source ends, the time is over, enough errors came, or somebody says so.

        Raises:
            UdpprobeError: the interface is gone, which the source takes for one that is down.
        """
        end_ns = None
        for batch in self.source:
            self._tell(self._feed(batch), listeners)
            listeners.on_progress(self.source.state, self.report)
            if end_ns is None and self.options.duration_s is not None:
                end_ns = batch.now_ns + int(self.options.duration_s * 1e9)
            is_late = end_ns is not None and batch.now_ns >= end_ns
            if is_late or is_over() or self._is_enough() or self._is_gone():
                break
        self._tell(self.pipeline.finish(), listeners)
        if self._is_gone():
            raise UdpprobeError(f"interface {self.options.interface} is gone; watch it again when it is there")

    def _is_gone(self) -> bool:
        """A new interface of the same name is another, and the capture does not hear it."""
        if self._index and self.source.state.faults["interface-down"]:
            try:
                socket.if_indextoname(self._index)
            except OSError:
                return True
        return False

    def _is_enough(self) -> bool:
        return self.options.count is not None and self.told >= self.options.count

    def _feed(self, batch: FrameBatch) -> list[Resolved]:
        """What became known; a source that is never idle has no ticks of its own."""
        if self.rotation:
            self.rotation.remember(batch)
        known = self.pipeline.feed(batch)
        if len(batch) and batch.now_ns >= self._due_ns:
            self._due_ns = max(self._due_ns, batch.now_ns - BURST_NS) + TICK_NS
            known += self.pipeline.feed(tick(batch.now_ns))
        return known

    def _tell(self, known: Sequence[Resolved], listeners: Listeners) -> None:
        events = [event for resolved in known
                  for event in events_of(resolved, self.pipeline.summary, self.options.loop_ttl)]
        self.aging.age(self.pipeline.summary)
        if self.options.count is not None:
            events = events[:self.options.count - self.told]
        if events:
            self.told += len(events)
            told = list(map(self._watched, events, self.sockets.senders(events)))
            listeners.on_events(told)
            self._record(told)

    def _watched(self, event: Event, sender: Sender | None) -> WatchedEvent:
        own = {name: getattr(event, name) for name in Event.__struct_fields__}
        if sender is None:
            return WatchedEvent(**own)
        note = sender.note(event.linux or {})
        self._note((event.quoted.destination, event.quoted.destination_port), note)
        return WatchedEvent(**own | {"notes": (*event.notes, note)}, process=sender.process, sees=sender.sees)

    def _note(self, destination: tuple[str, int | None], note: str) -> None:
        notes = self._notes.setdefault(destination, {})
        if len(notes) < NOTES_EACH:
            notes[note] = None
        if len(self._notes) > MOST_NOTED:
            del self._notes[next(iter(self._notes))]

    def _record(self, events: Sequence[WatchedEvent]) -> None:
        if self.rotation:
            frames = [frame for event in events for frame in (event.frame, event.matched_frame) if frame]
            self.rotation.write(frames, {event.frame: _comment(event) for event in events})

    def report(self) -> Report:
        """Of all that was not forgotten."""
        report = report_of("watch", self.pipeline.summary, self.source.state, Options(
            all_destinations=self.options.all_destinations, loop_ttl=self.options.loop_ttl))
        faults = report.faults | (self.rotation.faults if self.rotation else {})
        return replace(
            report, destinations=changed(report.destinations, self._noted),
            unmatched=changed(report.unmatched, self._noted_unmatched), faults=dict(sorted(faults.items())))

    def _noted(self, destination: Destination) -> Destination:
        notes = self._notes.get((destination.address, destination.port), {})
        return replace(destination, notes=(*destination.notes, *notes)) if notes else destination

    def _noted_unmatched(self, entry: Unmatched) -> Unmatched:
        notes, finding = self._notes.get((entry.address, entry.port), {}), entry.finding
        return replace(entry, finding=replace(finding, notes=(*finding.notes, *notes))) if notes else entry


def _comment(event: WatchedEvent) -> str:
    quoted = event.quoted
    what = f"{endpoint(quoted.destination, quoted.destination_port)}: {event.verdict or event.reason}"
    return "; ".join((what, *event.notes))
