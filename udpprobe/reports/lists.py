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
"""Columns of the list of payloads; `answer`: whether one is known by its bytes."""

GAP, MOST_ELASTIC, LEAST_PROSE = 2, 24, 20
"""Columns: between two, of the elastic one beside prose, and of prose."""


class Listing(Struct, frozen=True):
    """A list for all formats."""

    schema: str
    name: str
    """What the rows are called in JSON."""
    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    elastic: int
    """The column that is wrapped where the screen is narrow."""
    prose: int | None = None
    """Another one, of text; what it is wrapped to is what the others leave."""


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
    """A table; no word is broken to fit the width."""
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
    return table((Layout(_headers(rows), cells, rows.elastic),), width) + "\n"


def rows_markdown(rows: Listing, _width: int) -> str:
    """The same in GitHub's Markdown."""
    return markdown(_headers(rows), tuple(_cells(rows))) + "\n"


def _headers(rows: Listing) -> tuple[str, ...]:
    return tuple(column.replace("_", " ") for column in rows.columns)


def _cells(rows: Listing) -> Iterator[tuple[str, ...]]:
    # commas glue a list of ports together, which may be longer than a line
    return (tuple(re.sub(r",(?=\S)", ", ", cell(value)) for value in row) for row in rows.rows)


def rows_json(rows: Listing, _width: int) -> str:
    """One object: the schema, and the rows by their own name."""
    return "".join(document({"schema": rows.schema, rows.name: iter((lines(_records(rows)),))}))


def rows_ndjson(rows: Listing, _width: int) -> str:
    """A line a row."""
    return lines(_records(rows))


def rows_csv(rows: Listing, _width: int) -> str:
    """The columns' names, then a line a row."""
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
"""What each format makes of a list; the width of the screen is for tables."""


# ---- the counters of a running daemon

STATUS_COLUMNS = ("counter", "count")


def status_text(status: dict[str, Any], output_format: OutputFormat, width: int) -> str:
    """The counters in any format: an object, or a row a counter.

    Args:
        status: `udpprobe.icmpd.status/1`.
        output_format: how.
        width: columns of the screen.
    """
    return _STATUS_FORMATS[output_format](status, width)


def _status_rows(status: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    state = {name: status[name] for name in ("clients", "sockets", "queued_bytes")}
    return tuple((name, str(count)) for name, count in (state | status["counts"]).items())


_STATUS_FORMATS: dict[OutputFormat, Callable[[dict[str, Any], int], str]] = {
    OutputFormat.TABLE: lambda status, width: table((Layout(STATUS_COLUMNS, _status_rows(status), 1),), width) + "\n",
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
"""In JSON, NDJSON and CSV."""
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
    """Those that Linux gave it an errno for."""
    blind: int
    """Those of which Linux told it nothing."""
    ignored: int
    """Those it was told of, and yet it kept sending to the same destination."""
    verdicts: tuple[str, ...]
    """Of the errors, the most frequent first."""
    too_big: int
    """Those that say a datagram was too big."""

    @property
    def unknown(self) -> int:
        """Those for which it is unknown whether it was told."""
        return self.errors - self.told - self.blind

    @property
    def findings(self) -> frozenset[str]:
        """Words of `--fail-on` that are true of it."""
        return frozenset((*self.verdicts, *(["blind"] if self.blind else ()), *(["ignored"] if self.ignored else ())))


def program_text(
    sockets: Sequence[SocketErrors], output_format: OutputFormat, width: int, *, is_all: bool = True
) -> str:
    """A row per socket. If there is none, a sentence; nothing at all if `is_all` is false, as errors may be missing."""
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
