"""Destinations of a command's events and report, and the resulting exit status."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import IO, TYPE_CHECKING, NoReturn, TextIO

from msgspec import Struct
from typer import Exit

from udpprobe.cli.output import complain, width_of
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.reports import EventWriter, OutputFormat, events_in, report_pieces
from udpprobe.reports.text import PLAIN, Style

if TYPE_CHECKING:
    from udpprobe.core.model import Destination, Event, Report
    from udpprobe.resolver import Names

ROWS_NAMED = 1000
"""Rows whose addresses are looked up: as many as a table shows."""
SPOOLED_BYTES = 1 << 24
"""Event text kept in memory before it goes to a temporary file."""


class ReportWriter(Struct):
    """Writes the events and the report in the requested format.

    Raises:
        UsageError: it is binary, and would go to a terminal.
        UdpprobeError: a format's library is not installed.
    """

    out: TextIO
    format: OutputFormat
    events: bool
    """Whether to write the events instead of the report."""
    hide_healthy: bool = False
    """Whether to leave out destinations without any finding."""
    style: Style = PLAIN
    names: Names | None = None
    """Looks up names for a table."""
    is_live: bool = False
    """Whether the source has no end: each event is then printed at once, instead of a table."""
    _events: EventWriter | None = None
    _rows_written: int = 0
    """Destinations that were written when they were settled; the report begins with them."""

    def __post_init__(self) -> None:
        if self.format is OutputFormat.PARQUET and self.out.isatty():
            raise UsageError("--format parquet is binary; name a file with -o")
        if self.is_live and self.events and self.format is OutputFormat.TABLE:
            from udpprobe.reports.table import EventLines  # noqa: PLC0415 - of one format

            self._events = EventLines(self.style, width_of(self.out) if self.out.isatty() else None)
        elif self.events or self.format in {OutputFormat.HTML, OutputFormat.PARQUET}:
            try:
                self._events = events_in(self.format, _spool, self.style)
            except ImportError as error:
                raise UdpprobeError("--format parquet needs pyarrow; install udpprobe[parquet]") from error

    @property
    def wants_events(self) -> bool:
        """Whether `take` needs the events: to write them, or for the timeline of a page."""
        return self.events or self.format is OutputFormat.HTML

    def take(self, events: Sequence[Event]) -> None:
        """Write events as they become known: NDJSON line by line, other formats once they have enough rows."""
        if self._events is None:
            return
        self._write((self._events.add(events),))
        if is_stream(self.format, events=self.events, is_live=self.is_live):
            self.out.flush()

    def take_settled(self, destinations: Sequence[Destination]) -> None:
        """Write settled destinations, a line each, at once."""
        from udpprobe.reports.json import destination_lines  # noqa: PLC0415 - of one format

        self._write((destination_lines(destinations),))
        self._rows_written += len(destinations)
        self.out.flush()

    def text(self, report: Report, width: int) -> str:
        """The text that `write` would write."""
        return "".join(map(str, self._report(report, width)))

    def write(self, report: Report) -> None:
        """Write what is not written yet."""
        if self.wants_events and self._events is not None:
            if self.hide_healthy and not self.events:
                report = _shown(report, 0, only_unhealthy=True)
            self._write(self._events.end(report, width_of(self.out)))
        else:
            self._write(self._report(report, width_of(self.out)))

    def _report(self, report: Report, width: int) -> Iterator[str] | Iterator[bytes]:
        if self.hide_healthy or self._rows_written:
            report = _shown(report, self._rows_written, only_unhealthy=self.hide_healthy)
        if self.names:
            self.names.ask(_addresses(report))
            self.names.wait()
        return report_pieces(report, self.format, width, self.style)

    def _write(self, pieces: Iterable[str | bytes]) -> None:
        for piece in pieces:
            if isinstance(piece, bytes):
                self.out.buffer.write(piece)
            else:
                self.out.write(piece)


def _addresses(report: Report) -> Iterator[str | None]:
    """Addresses of the rows that a table shows."""
    for each in report.destinations[:ROWS_NAMED]:
        yield each.address
        yield from (found.reporter for found in each.findings)
    for entry in report.unmatched[:ROWS_NAMED]:
        yield entry.address
        yield entry.finding.reporter


def _spool() -> IO[str]:
    from tempfile import SpooledTemporaryFile  # noqa: PLC0415 - for one format

    return SpooledTemporaryFile(SPOOLED_BYTES, "w+", encoding="ascii", newline="\n")


def _shown(report: Report, rows_written: int, *, only_unhealthy: bool) -> Report:
    """The report without rows that were written already, and optionally without healthy ones."""
    from msgspec.structs import replace  # noqa: PLC0415 - help does not need it

    from udpprobe.core.model import LazyRows  # noqa: PLC0415 - as above

    def shown() -> Iterator[Destination]:
        rows = report.destinations
        rest = rows.after(rows_written) if isinstance(rows, LazyRows) else islice(rows, rows_written, None)
        return (each for each in rest if each.findings or not only_unhealthy)

    return replace(report, destinations=LazyRows(shown))


def is_stream(output_format: OutputFormat, *, events: bool, is_live: bool = False) -> bool:
    """Whether the result is written line by line, as it becomes known."""
    return events and (output_format is OutputFormat.NDJSON or (is_live and output_format is OutputFormat.TABLE))


def finish(
    verdicts: Iterable[str | None],
    failing: frozenset[str],
    *,
    interrupted: bool,
    failure: UdpprobeError | None = None,
    is_incomplete: bool = False,
) -> NoReturn:
    """Exit: 130 after Ctrl-C, 3 if something could not be done, 1 if `--fail-on` found something.

    Status 3 hides 1, so stderr names both.

    Args:
        verdicts: all that the command found.
        failing: those of `--fail-on`.
        interrupted: whether Ctrl-C ended the command.
        failure: what could not be done.
        is_incomplete: whether something could not be done that was already reported on stderr.
    """
    found = failing.intersection(verdicts) if failing else frozenset()
    if found and (failure or is_incomplete):
        complain(f"--fail-on: found {', '.join(sorted(found))}; but the answer is incomplete")
    if failure:
        raise failure
    raise Exit(130 if interrupted else 3 if is_incomplete else int(bool(found)))


def failing_verdicts(fail_on: str | None, known: Sequence[str] = ()) -> frozenset[str]:
    """The verdicts of `--fail-on`.

    Args:
        fail_on: the option's value.
        known: the valid ones, if not those of all commands.

    Raises:
        UsageError: one is unknown.
    """
    if fail_on is None:
        return frozenset()
    from udpprobe.core.verdicts import VERDICTS, parse_verdicts  # noqa: PLC0415 - help does not need it

    return frozenset(parse_verdicts(fail_on, known or VERDICTS))


def verdicts_in(report: Report) -> Iterator[str | None]:
    """Every verdict of a destination, of its findings, and of the unmatched errors."""
    from udpprobe.core.model import Alike, parts_of  # noqa: PLC0415 - help does not need it

    for part in parts_of(report.destinations):
        one = part.template if isinstance(part, Alike) else part
        yield one.verdict
        yield from (finding.verdict for finding in one.findings)
    yield from (entry.finding.verdict for entry in report.unmatched)
