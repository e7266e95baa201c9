"""Follow a source without sending: what `analyze` does with files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from udpprobe import __version__
from udpprobe.core.batch import Source, SourceState
from udpprobe.core.conclude import Question, conclude
from udpprobe.core.events import events_of
from udpprobe.core.model import Event, Report, SourceReport
from udpprobe.core.pipeline import Pipeline, Resolved
from udpprobe.core.summary import Summary
from udpprobe.interrupt import CtrlC, Interrupted
from udpprobe.sources import open_captures

__all__ = ["Interrupted", "OnEvents", "OnProgress", "Options", "analyze", "report_of"]

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


def analyze(paths: Sequence[str], options: Options, *, on_events: OnEvents | None = None,
            on_progress: OnProgress | None = None) -> Report:
    """Read captures to their end and report what happened to the datagrams in them.

    Args:
        paths: files; several are one capture in the order of time stamps, "-" is standard input.
        options: what to look at, and how to report it.
        on_events: gets every ICMP error, in capture order, as it becomes known.
        on_progress: gets the source's state after every batch.

    Raises:
        CaptureError: a file cannot be read, or is no capture.
        UsageError: the filter is wrong.
        Interrupted: on Ctrl-C, once all that was read by then is told.
        KeyboardInterrupt: on Ctrl-C before anything was read, and on a second one.
    """
    source = _chosen(open_captures(paths), options)
    pipeline = Pipeline(by_flow=options.group_by == "flow", keep_messages=on_events is not None)

    def tell(known: list[Resolved]) -> None:
        if on_events is not None:
            for resolved in known:
                on_events(events_of(resolved, pipeline.summary, options.loop_ttl))

    with CtrlC() as ctrl_c:
        for batch in source:     # a pipe gives one at least every quarter of a second, a tick if need be
            tell(pipeline.feed(batch))
            if on_progress is not None:
                on_progress(source.state)
            if ctrl_c.came:
                break
        tell(pipeline.finish())
        report = report_of("analyze", pipeline.summary, source.state, options)
    if ctrl_c.came:
        raise Interrupted(report)
    return report


def _chosen(source: Source, options: Options) -> Source:
    """The source without the frames that were not asked for."""
    if options.since_ns is None and options.until_ns is None and options.filter is None:
        return source
    from udpprobe.sources.filter import FilteredSource, TimeWindow  # noqa: PLC0415 - brings libpcap along

    if options.since_ns is not None or options.until_ns is not None:
        source = TimeWindow(source, options.since_ns, options.until_ns)
    return FilteredSource(source, options.filter) if options.filter is not None else source


def report_of(command: str, summary: Summary, state: SourceState, options: Options) -> Report:
    """What a summary says, as a report of a command."""
    destinations, unmatched = conclude(
        summary, Question(options.loop_ttl, options.all_destinations, options.group_by))
    source = SourceReport(
        kind=state.kind, name=state.name, link_types=tuple(sorted(summary.link_types)), packets=summary.packets,
        bytes=summary.bytes, first_time_ns=summary.first_ns, last_time_ns=summary.last_ns, dropped=state.dropped,
        cut_short=state.cut_short)
    faults: Counter[str] = summary.faults + state.faults
    return Report(command, __version__, source, destinations, unmatched, dict(sorted(faults.items())))
