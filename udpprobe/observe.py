"""Follow a source without sending: what `analyze` does with files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import starmap

from udpprobe import __version__
from udpprobe.core.batch import SourceState
from udpprobe.core.following.events import events_of
from udpprobe.core.following.pipeline import Pipeline, Resolved
from udpprobe.core.model import Event, Report, SourceReport, Unread
from udpprobe.core.summaries.conclude import Question, conclude
from udpprobe.core.summaries.summary import Summary
from udpprobe.interrupt import CtrlC, Interrupted
from udpprobe.sources import open_captures
from udpprobe.sources.content import is_stored
from udpprobe.sources.inputs import Inputs
from udpprobe.sources.selection import Selection

__all__ = ["Interrupted", "OnEvents", "OnProgress", "Options", "analyze", "report_of"]

TOLD_AT_A_TIME = 1 << 13
"""Errors that are made events together: each takes a kilobyte."""

OnEvents = Callable[[Sequence[Event]], None]
OnProgress = Callable[[SourceState], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What to look at, and how to report it."""

    filter: str | None = None
    """A pcap filter expression; None for every frame."""
    since_ns: int | None = None
    """First time, nanoseconds since 1970."""
    until_ns: int | None = None
    """Time from which on frames are left out."""
    all_destinations: bool = False
    """Healthy destinations too."""
    group_by: str = "destination"
    """`destination`, `host`, `flow` or `reporter`."""
    loop_ttl: int = 32
    """A datagram that left with this TTL or more and expired was in a loop."""

    @property
    def by_flow(self) -> bool:
        """Whether each source is counted apart."""
        return self.group_by == "flow"

    @property
    def selection(self) -> Selection:
        """Which frames."""
        return Selection(self.filter, self.since_ns, self.until_ns)


def analyze(
        inputs: Inputs, options: Options, *, on_events: OnEvents | None = None,
        on_progress: OnProgress | None = None) -> Report:
    """Read captures to their end and report what happened to the datagrams in them.

    Args:
        inputs: files; those of one capture are read in the order of time stamps, "-" is standard input.
        options: what to look at, and how to report it.
        on_events: gets every ICMP error, in capture order: of files at the end of their capture, for what tells a
            loop may come behind; of a pipe as soon as its datagram was looked for.
        on_progress: gets the source's state now and then.

    Raises:
        CaptureError: a file cannot be read, or is no capture; of several, all.
        UsageError: the filter is wrong.
        Interrupted: on Ctrl-C, once all that was read by then is told.
        KeyboardInterrupt: on Ctrl-C before anything was read, and on a second one.
    """
    with CtrlC() as ctrl_c:
        tally = _Tally(inputs, options, on_events, on_progress, ctrl_c)
        tally.follow_each()
        summary = tally.summary or Summary(by_flow=options.by_flow)
        report = report_of("analyze", summary, tally.state, options)
    if ctrl_c.came:
        raise Interrupted(report)
    return report


class _Tally:
    """What is known of all captures so far."""

    def __init__(self, inputs: Inputs, options: Options, on_events: OnEvents | None, on_progress: OnProgress | None,
                 ctrl_c: CtrlC) -> None:
        self.summary: Summary | None = None
        self.state = SourceState("file", inputs.name, unread=dict(inputs.unread))
        self._inputs, self._options = inputs, options
        self._on_events, self._on_progress, self._ctrl_c = on_events, on_progress, ctrl_c

    def follow_each(self) -> None:
        """In this process, one capture after the other."""
        for files in self._inputs.captures:
            if not self._ctrl_c.came:
                self._follow(files)

    def _follow(self, files: Sequence[str]) -> None:
        opened = open_captures(files)
        source = self._options.selection.of(opened)
        pipeline = Pipeline(by_flow=self._options.by_flow, keep_messages=self._on_events is not None)
        waits, known = self._on_events is not None and all(map(is_stored, files)), list[Resolved]()
        for batch in source:     # a pipe gives one at least every quarter of a second, a tick if need be
            known += pipeline.feed(batch)
            if not waits:
                self._tell(known, pipeline.summary)
            self._tell_progress(source.state)
            if self._ctrl_c.came:
                break
        self._tell(known + pipeline.finish(), pipeline.summary)
        self._add(pipeline.summary, source.state)

    def _tell_progress(self, state: SourceState) -> None:
        if self._on_progress is not None:
            self._on_progress(state)

    def _tell(self, known: list[Resolved], summary: Summary) -> None:
        """Tell errors, which are used up: there may be many."""
        while known:
            resolved = known.pop(0)
            if self._on_events is not None:
                for some in resolved.slices(TOLD_AT_A_TIME):
                    self._on_events(events_of(some, summary, self._options.loop_ttl))

    def _add(self, summary: Summary, state: SourceState) -> None:
        self.state.absorb(state)
        if self.summary is None:
            self.summary = summary
        else:
            self.summary.merge(summary)


def report_of(command: str, summary: Summary, state: SourceState, options: Options) -> Report:
    """What a summary says, as a report of a command."""
    destinations, unmatched = conclude(
        summary, Question(options.loop_ttl, options.all_destinations, options.group_by))
    source = SourceReport(
        kind=state.kind, name=state.name, link_types=tuple(sorted(summary.link_types)), packets=summary.packets,
        bytes=summary.bytes, first_time_ns=summary.first_ns, last_time_ns=summary.last_ns, dropped=state.dropped,
        cut_short=state.cut_short, unread=tuple(starmap(Unread, state.unread.items())))
    faults: Counter[str] = summary.faults + state.faults
    return Report(command, __version__, source, destinations, unmatched, dict(sorted(faults.items())))
