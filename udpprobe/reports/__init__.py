"""Results as text for people or programs. Pure: returns text, prints nothing.

`table`, `markdown`, `json`, `csv`, `html` and `parquet` write a report, and its events; `trace`, `mtu`, `diff`,
`checks`, `explain` and `lists` each cover one result in all formats. Field names come from the model alone.
"""

from __future__ import annotations

from enum import StrEnum
from typing import IO, TYPE_CHECKING, Protocol

from udpprobe.reports.text import PLAIN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from udpprobe.core.model import Event, Report
    from udpprobe.reports.text import Style


class OutputFormat(StrEnum):
    """How a result is written."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    CSV = "csv"
    MARKDOWN = "markdown"
    HTML = "html"
    """One page for a browser: for reports, traces, path MTUs and comparisons."""
    PARQUET = "parquet"
    """Binary: for reports and their events only."""


class EventWriter(Protocol):
    """Writes ICMP errors one by one, as they become known; keeps none of them, except the rows of a table."""

    def add(self, events: Sequence[Event]) -> str | bytes:
        """The text to write now.

        Args:
            events: all of one class, in all calls.
        """
        ...

    def end(self, report: Report, width: int) -> Iterator[str | bytes]:
        """The rest of the text, in chunks.

        Args:
            report: of the same run.
            width: of the screen in characters, for tables.
        """
        ...


# The command line's help needs the names of the formats, and loads none of their code.
# ruff: noqa: PLC0415


def report_pieces(  # noqa: PLR0911 - a format each
    report: Report,
    output_format: OutputFormat,
    width: int,
    style: Style | None = None,
) -> Iterator[str] | Iterator[bytes]:
    """A report in chunks, because the text of a million destinations would take a gigabyte.

    Args:
        report: with its destinations worst first.
        output_format: the format.
        width: of the screen in characters, for tables.
        style: colours and time zone, for people; by default no colours, and UTC.

    Raises:
        ImportError: the format's library is not installed.
    """
    match output_format:
        case OutputFormat.TABLE:
            from udpprobe.reports.table import report_table

            return iter((report_table(report, width, style or PLAIN),))
        case OutputFormat.MARKDOWN:
            from udpprobe.reports.markdown import report_markdown

            return report_markdown(report, style or PLAIN)
        case OutputFormat.JSON:
            from udpprobe.reports.json import report_json

            return report_json(report)
        case OutputFormat.NDJSON:
            from udpprobe.reports.json import report_ndjson

            return report_ndjson(report)
        case OutputFormat.CSV:
            from udpprobe.reports.csv import report_csv

            return report_csv(report)
        case OutputFormat.HTML:
            from udpprobe.reports.html import report_html

            return report_html(report, style or PLAIN)
        case OutputFormat.PARQUET:
            from udpprobe.reports.parquet import report_parquet

            return report_parquet(report)


def events_in(  # noqa: PLR0911 - a format each
    output_format: OutputFormat,
    spool: Callable[[], IO[str]],
    style: Style | None = None,
) -> EventWriter:
    """A writer of events.

    Args:
        output_format: the format.
        spool: opens a temporary file, for formats that begin with something known only at the end.
        style: as for `report_pieces`.

    Raises:
        ImportError: the format's library is not installed.
    """
    match output_format:
        case OutputFormat.TABLE:
            from udpprobe.reports.table import EventsTable

            return EventsTable(style or PLAIN)
        case OutputFormat.MARKDOWN:
            from udpprobe.reports.markdown import EventsMarkdown

            return EventsMarkdown(style or PLAIN)
        case OutputFormat.JSON:
            from udpprobe.reports.json import EventsJson

            return EventsJson(spool())
        case OutputFormat.NDJSON:
            from udpprobe.reports.json import EventsNdjson

            return EventsNdjson()
        case OutputFormat.CSV:
            from udpprobe.reports.csv import EventsCsv

            return EventsCsv()
        case OutputFormat.HTML:
            from udpprobe.reports.html import Timeline

            return Timeline(style or PLAIN)
        case OutputFormat.PARQUET:
            from udpprobe.reports.parquet import EventsParquet

            return EventsParquet()
