"""How a command ends: where its events and its report go, and what `--fail-on` finds in it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TextIO

from udpprobe.cli.output import width_of
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.reports.formats import Format

if TYPE_CHECKING:
    from collections.abc import Sequence

    from udpprobe.core.model import Event, Report
    from udpprobe.reports.parquet import EventsParquet


@dataclass(slots=True)
class Ending:
    """Where the events and the report go.

    Raises:
        UsageError: it is binary, and would go to a terminal.
        UdpprobeError: a format's library is not installed.
    """

    out: TextIO
    format: Format
    events: bool
    """Whether the events are asked for, instead of the report."""
    show_all: bool
    """Healthy destinations too."""
    kept: list[Event] = field(default_factory=list)
    _rows: EventsParquet | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        if self.format is Format.PARQUET:
            self._rows = _events_parquet(self.out)

    @property
    def stream(self) -> bool:
        """Whether events are written as they become known."""
        return is_stream(self.format, events=self.events)

    def take(self, events: Sequence[Event]) -> None:
        """Events as they become known: at once to a stream, by row groups to Parquet, kept for a table."""
        if self._rows is not None:
            self.out.buffer.write(self._rows.add(events))
            return
        if not self.stream:
            self.kept.extend(events)
            return
        from udpprobe.reports.machine import event_lines  # noqa: PLC0415 - help does not need it

        self.out.write(event_lines(events))
        self.out.flush()

    def text(self, report: Report, width: int) -> str:
        """A report as `write` would write it."""
        from udpprobe.reports.render import FORMATS  # noqa: PLC0415 - help does not need it

        return "".join(FORMATS[self.format].report(self._shown(report), width))

    def write(self, report: Report) -> None:
        """All that is not yet written."""
        if self._rows is not None:
            self._write_parquet(report, self._rows)
            return
        from udpprobe.reports.render import FORMATS  # noqa: PLC0415 - help does not need it

        if self.stream:
            return
        renderer, width = FORMATS[self.format], width_of(self.out)
        self.out.writelines((renderer.events(report, self.kept, width),) if self.events
                            else renderer.report(self._shown(report), width))

    def _write_parquet(self, report: Report, rows: EventsParquet) -> None:
        from udpprobe.reports.parquet import report_parquet  # noqa: PLC0415 - an extra

        self.out.buffer.writelines((rows.end(report),) if self.events else report_parquet(self._shown(report)))

    def _shown(self, report: Report) -> Report:
        # --fail-on answered looks at the healthy ones; that does not mean they are to be shown
        told = tuple(each for each in report.destinations if self.show_all or each.findings)
        return replace(report, destinations=told)


def _events_parquet(out: TextIO) -> EventsParquet:
    if out.isatty():
        raise UsageError("--format parquet is binary; name a file with -o")
    try:
        from udpprobe.reports.parquet import EventsParquet  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UdpprobeError("--format parquet needs pyarrow; install udpprobe[parquet]") from error
    return EventsParquet()


def is_stream(output_format: Format, *, events: bool) -> bool:
    """Whether the result is written line by line, as things become known."""
    return events and output_format is Format.NDJSON


def status_of(report: Report, failing: frozenset[str], *, interrupted: bool) -> int:
    """The exit status: 130 after Ctrl-C, 1 where a failing verdict was found, else 0."""
    return 130 if interrupted else int(bool(failing) and not failing.isdisjoint(_verdicts_in(report)))


def _verdicts_in(report: Report) -> set[str | None]:
    """Every verdict of a destination, of its findings, and of the unmatched errors."""
    findings = [finding for destination in report.destinations for finding in destination.findings]
    findings += [entry.finding for entry in report.unmatched]
    return {each.verdict for each in report.destinations} | {each.verdict for each in findings}
