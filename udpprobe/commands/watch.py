"""Watch an interface without sending, for weeks if need be: what failed, and which local programs were told."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from itertools import chain
from random import SystemRandom
from typing import TYPE_CHECKING, Any

from msgspec import Struct
from msgspec.structs import astuple, replace

from udpprobe import __version__
from udpprobe.capture.live import LiveCapture, open_capture
from udpprobe.capture.recorder import Rotation
from udpprobe.core.advice import case_of
from udpprobe.core.aging import AGED_OUT, MOST_ROWS, age
from udpprobe.core.analyzer import Analyzer
from udpprobe.core.model import Destination, Event, Report, Unmatched, WatchedEvent, changed
from udpprobe.core.verdicts import meaning_of
from udpprobe.errors import UdpprobeError
from udpprobe.interrupt import CtrlC, Interrupted
from udpprobe.linux.error_reports import Judged, KernelEvents
from udpprobe.linux.errors_sent import COPY_NS, SentErrors
from udpprobe.linux.hostfacts import own_addresses
from udpprobe.linux.netlink import interface_index
from udpprobe.linux.sockets import Sockets
from udpprobe.report import LoopsSoFar, Question, events_of, report_of
from udpprobe.reports.text import endpoint

if TYPE_CHECKING:
    from udpprobe.capture.frames import SourceState

TRAFFIC = "udp or icmp or icmp6 or proto 4 or proto 41 or proto 47 or ip6 proto 44"
"""Datagrams and errors, also in IP in IP and GRE tunnels, and IPv6's fragments."""
WAIT_S = 0.25
"""Longest wait for packets before checking whether the watch is over."""
MOST_NOTED = 1 << 14
NOTES_EACH = 4
"""Destinations whose senders are remembered, and notes per destination."""


class Stopped(UdpprobeError):  # noqa: N818 - as Interrupted
    """Something prevents the watch from going on; `report` has the results so far."""

    def __init__(self, why: UdpprobeError, report: Report) -> None:
        super().__init__(str(why))
        self.report = report


class WatchOptions(Struct, frozen=True):
    """What to watch, and when to end."""

    interface: str | None = None
    """None for all."""
    filter: str | None = None
    """A pcap filter expression; None for everything related to UDP."""
    write: str | None = None
    """A file for errors and their datagrams."""
    rotate_bytes: int = 100_000_000
    """Size at which that file is full."""
    keep: int = 10
    """Number of such files to keep."""
    duration_s: float | None = None
    """None for until Ctrl-C."""
    count: int | None = None
    """End after this many errors."""
    all_destinations: bool = False
    loop_ttl: int = 32
    capture: str = "auto"
    kernel: str = "auto"
    """Whether to use the kernel's own events, which show what sockets got: `on`, `off`, or `auto`: if available."""
    sent: bool = False
    """Whether to count errors that this host sends separately."""


class Listeners(Struct, frozen=True):
    """Callbacks."""

    on_events: Callable[[Sequence[WatchedEvent]], None] = lambda _: None
    """Every error, as soon as it is known."""
    on_progress: Callable[[SourceState, Callable[[], Report]], None] = lambda _state, _report: None
    """The source's state after every batch, and a function that makes a report of everything so far."""
    on_start: Callable[[], None] = lambda: None
    """Called once packets are captured."""
    on_warning: Callable[[str], None] = lambda _: None
    """A warning about something missing."""


def open_source(options: WatchOptions, held: ExitStack) -> tuple[LiveCapture, Rotation | None]:
    """The capture to follow, and the files to write to if there are any; `held` closes both."""
    capture = held.enter_context(
        closing(open_capture(expression_of(options), interface=options.interface, bulk=True, capture=options.capture))
    )
    if not options.write:
        return capture, None
    rotation = Rotation(
        options.write, most_bytes=options.rotate_bytes, files=options.keep, application=f"udpprobe {__version__}"
    )
    return capture, held.enter_context(rotation)


def watch(options: WatchOptions, listeners: Listeners) -> Report:
    """Watch an interface until the time is over.

    Raises:
        PrivilegeError: this user may not; also if `kernel` is on.
        UsageError: the filter is invalid.
        UdpprobeError: there is no such interface, or the interface is down; the capture cannot be written.
        Stopped: the same, later; or the interface is gone.
        Interrupted: on Ctrl-C, after everything captured by then was reported.
    """
    with ExitStack() as held:
        kernel = held.enter_context(closing(KernelEvents(options.kernel, listeners.on_warning)))
        capture, rotation = open_source(options, held)
        sockets = Sockets(own_addresses)
        sockets.refresh()
        watching = Watch(capture, options, sockets, rotation, kernel=kernel)
        with CtrlC() as ctrl_c:
            listeners.on_start()
            try:
                watching.follow(listeners, lambda: ctrl_c.came)
            except UdpprobeError as why:
                raise Stopped(why, watching.report()) from why
            report = watching.report()
    if ctrl_c.came:
        raise Interrupted(report)
    return report


def expression_of(options: WatchOptions) -> str:
    """The pcap filter expression of the capture."""
    return TRAFFIC if options.filter is None else f"({TRAFFIC}) and ({options.filter})"


class Watch:
    """The state of a watch, bounded in size.

    Args:
        source: the capture.
        options: what counts.
        sockets: local sockets that send datagrams.
        rotation: records the packets.
        most_rows: of destinations and of findings; up to twice as many for a while.
        kernel: reports which sockets got an errno.
        by_flow: whether datagrams are counted by their source, too.
    """

    def __init__(
        self,
        source: LiveCapture,
        options: WatchOptions,
        sockets: Sockets,
        rotation: Rotation | None = None,
        most_rows: int = MOST_ROWS,
        kernel: KernelEvents | None = None,
        *,
        by_flow: bool = False,
    ) -> None:
        self.source, self.options, self.sockets, self.rotation = source, options, sockets, rotation
        self.most_rows, self._kernel = most_rows, kernel or KernelEvents("off")
        self.event_count = 0
        """Number of errors."""
        self.read_until_ns = 0
        """Time up to which everything was read, since 1970; 0 at first."""
        self._notes: dict[tuple[str, int | None], dict[str, None]] = {}
        """By destination: notes on the senders."""
        self._aged_out = 0
        self._sent = SentErrors(sockets, 0 if options.interface else COPY_NS) if options.sent else None
        self.analyzer = Analyzer(SystemRandom().getrandbits(64), by_flow=by_flow, keeps_events=True)
        self.analyzer.ports = self.sockets.ports
        self._loops = LoopsSoFar(self.analyzer, self.options.loop_ttl)
        self._index = interface_index(self.options.interface) if self.options.interface else 0

    def follow(self, listeners: Listeners, is_over: Callable[[], bool]) -> None:
        """Watch until the time is over, enough errors came, or `is_over`.

        Raises:
            UdpprobeError: the interface is gone, which the source reports as down.
        """
        end_ns = None
        remember = self.rotation.remember if self.rotation else None
        while True:
            self.read_until_ns = now_ns = self.source.follow(self.analyzer, self._kernel.wait_s(WAIT_S), remember)
            # Do not wait for a group to be full: a socket may exist only briefly.
            self.analyzer.flush()
            self.sockets.look_up_new()
            self._take_events(listeners)
            listeners.on_progress(self.source.state, self.report)
            if end_ns is None and now_ns and self.options.duration_s is not None:
                end_ns = now_ns + int(self.options.duration_s * 1e9)
            is_late = end_ns is not None and now_ns >= end_ns
            if is_late or is_over() or self._is_enough() or self._is_gone():
                break
        while self._kernel.waits():  # for the kernel's events about the last errors
            time.sleep(self._kernel.wait_s(WAIT_S))
            self._report_events(listeners)
        self.sockets.refresh()
        if self._is_gone():
            raise UdpprobeError(f"interface {self.options.interface} is gone; watch it again when it is back")

    def _is_gone(self) -> bool:
        """Whether the interface is gone. A new one with the same name is another, which the capture does not see."""
        if self._index and self.source.state.faults["interface-down"]:
            try:
                socket.if_indextoname(self._index)
            except OSError:
                return True
        return False

    def _is_enough(self) -> bool:
        return self.options.count is not None and self.event_count >= self.options.count

    def _take_events(self, listeners: Listeners) -> None:
        kept = self.analyzer.take_events()
        events: list[Event] = list(
            chain.from_iterable(
                events_of(self.analyzer, some, self.options.loop_ttl, self._loops.of(some)) for some in kept
            )
        )
        if forgotten := age(self.analyzer, self.most_rows):
            self._aged_out += forgotten
            self._loops.forget()
        if self.options.count is not None:
            events = events[: self.options.count - self.event_count]
        if events:
            self.event_count += len(events)
            events = self._sent.take(events) if self._sent else events
            for event, sender in zip(events, self.sockets.senders(events), strict=True):
                self._kernel.expect(event, sender)
        self._report_events(listeners)

    def _report_events(self, listeners: Listeners) -> None:
        if events := list(map(self._watched, self._kernel.judged())):
            listeners.on_events(events)
            self._record(events)

    def _watched(self, judged: Judged) -> WatchedEvent:
        event, sender, is_reported = judged.event, judged.sender, judged.is_reported
        own: dict[str, Any] = dict(zip(Event.__struct_fields__, astuple(event), strict=True))
        if sender is None:
            return WatchedEvent(**own)
        meaning = meaning_of(event.family, event.type, event.code)
        note = sender.note(meaning, is_reported)
        self._note((event.quoted.destination, event.quoted.destination_port), note)
        is_expected = event.verdict == "refused" and sender.keeps_port
        return WatchedEvent(
            **own | {"notes": (*event.notes, note)} | ({"advice": None} if is_expected else {}),
            process=sender.process,
            sees=sender.sees,
            reported=sender.is_reported(meaning) if is_reported is None else is_reported,
            reported_by="inference" if is_reported is None else "kernel",
            mtu_discover=sender.mode,
        )

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
        """Of everything that was not forgotten."""
        report = report_of(
            "watch", self.analyzer, self.source.state, Question(self.options.loop_ttl, self.options.all_destinations)
        )
        faults = Counter(report.faults)
        if self.rotation:
            faults += self.rotation.faults
        if self._aged_out:
            faults[AGED_OUT] = self._aged_out
        if lost := self._kernel.lost:
            faults["kernel-events-lost"] = lost
        return replace(
            report,
            destinations=changed(report.destinations, self._noted),
            unmatched=changed(report.unmatched, self._noted_unmatched),
            faults=dict(sorted(faults.items())),
            receive_drops=self.sockets.receive_drops(),
            drop_reasons=self._kernel.drops.found(),
            errors_sent=self._sent.found() if self._sent else None,
        )

    def _noted(self, destination: Destination) -> Destination:
        notes = self._notes.get((destination.address, destination.port))
        if not notes:
            return destination
        noted = replace(destination, notes=(*destination.notes, *notes))
        return noted if case_of(noted) else replace(noted, advice=None)

    def _noted_unmatched(self, entry: Unmatched) -> Unmatched:
        notes, finding = self._notes.get((entry.address, entry.port), {}), entry.finding
        return replace(entry, finding=replace(finding, notes=(*finding.notes, *notes))) if notes else entry


def _comment(event: WatchedEvent) -> str:
    quoted = event.quoted
    what = f"{endpoint(quoted.destination, quoted.destination_port)}: {event.verdict or event.reason}"
    return "; ".join((what, *event.notes))
