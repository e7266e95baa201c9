"""Lists other than reports, in all formats: payloads, planned probes, icmpd's counters, errors of watched programs."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from msgspec import Struct
from msgspec.structs import astuple

from udpprobe.core.model import Planned, Process
from udpprobe.reports import OutputFormat
from udpprobe.reports.csv import cell, csv_text
from udpprobe.reports.json import document, lines
from udpprobe.reports.text import Layout, endpoint, escape, markdown, table

PAYLOADS = ("name", "ports", "bytes", "answer", "source")
"""Columns of the list of payloads; `answer` says whether answers can be recognised by their bytes."""

GAP, MOST_ELASTIC, LEAST_PROSE = 2, 24, 20
"""Characters between two columns; most of the elastic column beside prose; least of prose."""


class Listing(Struct, frozen=True):
    """A list for all formats."""

    schema: str
    name: str
    """The name of the rows in JSON."""
    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    elastic: int
    """The column that is wrapped on a narrow screen."""
    prose: int | None = None
    """A column of text, if there is one, which is wrapped to the width the others leave."""


def payload_rows(listing: Sequence[tuple[Any, ...]]) -> Listing:
    """The table of payloads, `udpprobe.payloads/1`.

    Args:
        listing: rows of `PAYLOADS`.
    """
    return Listing(
        "udpprobe.payloads/1", "payloads", PAYLOADS, listing, PAYLOADS.index("ports"), PAYLOADS.index("source")
    )


def plan_rows(planned: Iterable[Planned]) -> Listing:
    """What a scan would send, `udpprobe.plan/1`."""
    columns = Planned.__struct_fields__
    return Listing("udpprobe.plan/1", "probes", columns, [astuple(each) for each in planned], columns.index("payload"))


def rows_table(rows: Listing, width: int) -> str:
    """A table; words are never broken to fit the width."""
    cells = tuple(_cells(rows))
    if rows.prose is not None:
        widths = [max(map(len, column)) for column in zip(_headers(rows), *cells, strict=True)]
        taken = sum(min(each, MOST_ELASTIC) + GAP for place, each in enumerate(widths) if place != rows.prose)
        cells = tuple(
            (
                *row[: rows.prose],
                textwrap.fill(row[rows.prose], max(width - taken - GAP, LEAST_PROSE)),
                *row[rows.prose + 1 :],
            )
            for row in cells
        )
    return table((Layout(_headers(rows), cells, elastic=rows.elastic),), width) + "\n"


def rows_markdown(rows: Listing, _width: int) -> str:
    """The same in GitHub's Markdown."""
    return markdown(_headers(rows), tuple(_cells(rows))) + "\n"


def _headers(rows: Listing) -> tuple[str, ...]:
    return tuple(column.replace("_", " ") for column in rows.columns)


def _cells(rows: Listing) -> Iterator[tuple[str, ...]]:
    # a space after each comma lets a long list of ports be wrapped
    return (tuple(re.sub(r",(?=\S)", ", ", cell(value)) for value in row) for row in rows.rows)


def rows_json(rows: Listing, _width: int) -> str:
    """One object: the schema, and the rows by their own name."""
    return "".join(document({"schema": rows.schema, rows.name: iter((lines(_records(rows)),))}))


def rows_ndjson(rows: Listing, _width: int) -> str:
    """One line per row."""
    return lines(_records(rows))


def rows_csv(rows: Listing, _width: int) -> str:
    """The names of the columns, then one line per row."""
    return csv_text([rows.columns, *rows.rows])


def _records(rows: Listing) -> Iterator[dict[str, Any]]:
    return (dict(zip(rows.columns, row, strict=True)) for row in rows.rows)


ROWS_FORMATS: Mapping[OutputFormat, Callable[[Listing, int], str]] = {
    OutputFormat.TABLE: rows_table,
    OutputFormat.JSON: rows_json,
    OutputFormat.NDJSON: rows_ndjson,
    OutputFormat.CSV: rows_csv,
    OutputFormat.MARKDOWN: rows_markdown,
}
"""The function that writes a list in each format; tables use the width of the screen."""


# ---- the counters of a running daemon

STATUS_COLUMNS = ("counter", "count")


def status_text(status: dict[str, Any], output_format: OutputFormat, width: int) -> str:
    """The counters in any format: one object, or one row per counter.

    Args:
        status: `udpprobe.icmpd.status/1`.
        output_format: the format.
        width: of the screen, in characters.
    """
    return _STATUS_FORMATS[output_format](status, width)


def _status_rows(status: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    state = {name: status[name] for name in ("clients", "sockets", "queued_bytes")}
    return tuple((name, str(count)) for name, count in (state | status["counts"]).items())


_STATUS_FORMATS: dict[OutputFormat, Callable[[dict[str, Any], int], str]] = {
    OutputFormat.TABLE: lambda status, width: (
        table((Layout(STATUS_COLUMNS, _status_rows(status), elastic=1),), width) + "\n"
    ),
    OutputFormat.MARKDOWN: lambda status, _width: markdown(STATUS_COLUMNS, _status_rows(status)) + "\n",
    OutputFormat.JSON: lambda status, _width: "".join(document(status)),
    OutputFormat.NDJSON: lambda status, _width: lines([status]),
    OutputFormat.CSV: lambda status, _width: csv_text([STATUS_COLUMNS, *_status_rows(status)]),
}


PROGRAM_SCHEMA = "udpprobe.program/1"
PROGRAM_COLUMNS = (
    "address",
    "port",
    "process",
    "pid",
    "errors",
    "told",
    "blind",
    "ignored",
    "unknown",
    "too_big",
    "verdicts",
)
"""Columns in JSON, NDJSON and CSV."""
PROGRAM_TABLE_COLUMNS = ("socket", "errors", "told", "blind", "ignored", "verdicts")
NO_PROGRAM_ERRORS = "udpprobe: no ICMP errors about the program's datagrams\n"


class SocketErrors(Struct, frozen=True):
    """ICMP errors about the datagrams of one socket."""

    address: str
    """Source address of its datagrams."""
    port: int
    process: Process
    errors: int
    """ICMP errors that arrived about its datagrams."""
    told: int
    """Errors for which Linux gave it an errno."""
    blind: int
    """Errors that Linux did not pass to it."""
    ignored: int
    """Errors that it got an errno for, and sent on to the same destination regardless."""
    verdicts: tuple[str, ...]
    """Verdicts of the errors, the most frequent first."""
    too_big: int
    """Errors that report a datagram as too big."""

    @property
    def unknown(self) -> int:
        """Errors for which it is unknown whether it got an errno."""
        return self.errors - self.told - self.blind

    @property
    def findings(self) -> frozenset[str]:
        """The words of `--fail-on` that apply to it."""
        return frozenset((*self.verdicts, *(["blind"] if self.blind else ()), *(["ignored"] if self.ignored else ())))


def program_text(
    sockets: Sequence[SocketErrors], output_format: OutputFormat, width: int, *, is_all: bool = True
) -> str:
    """A row per socket. Without any, a sentence; but no text if `is_all` is false, because errors may be missing."""
    if output_format not in {OutputFormat.TABLE, OutputFormat.MARKDOWN}:
        rows = [
            (
                each.address,
                each.port,
                each.process.name,
                each.process.pid,
                each.errors,
                each.told,
                each.blind,
                each.ignored,
                each.unknown,
                each.too_big,
                each.verdicts,
            )
            for each in sockets
        ]
        return ROWS_FORMATS[output_format](Listing(PROGRAM_SCHEMA, "sockets", PROGRAM_COLUMNS, rows, 0), width)
    if not sockets:
        return NO_PROGRAM_ERRORS if is_all else ""
    shown = [
        (
            f"{endpoint(each.address, each.port)} {escape(each.process.name)}[{each.process.pid}]",
            str(each.errors),
            str(each.told),
            str(each.blind),
            str(each.ignored),
            ", ".join(each.verdicts),
        )
        for each in sockets
    ]
    return ROWS_FORMATS[output_format](
        Listing(PROGRAM_SCHEMA, "sockets", PROGRAM_TABLE_COLUMNS, shown, 0, prose=5), width
    )
