"""The counters of a running daemon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from udpprobe.reports import OutputFormat
from udpprobe.reports.csv import csv_text
from udpprobe.reports.json import document, lines
from udpprobe.reports.text import Layout, markdown, table

HEADERS = ("counter", "count")


def status_text(status: dict[str, Any], output_format: OutputFormat, width: int) -> str:
    """The counters in any format: an object, or a row a counter.

    Args:
        status: `udpprobe.icmpd.status/1`.
        output_format: how.
        width: columns of the screen.
    """
    return _FORMATS[output_format](status, width)


def _rows(status: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    state = {name: status[name] for name in ("clients", "sockets", "queued_bytes")}
    return tuple((name, str(count)) for name, count in (state | status["counts"]).items())


_FORMATS: dict[OutputFormat, Callable[[dict[str, Any], int], str]] = {
    OutputFormat.TABLE: lambda status, width: table((Layout(HEADERS, _rows(status), 1),), width) + "\n",
    OutputFormat.MARKDOWN: lambda status, _width: markdown(HEADERS, _rows(status)) + "\n",
    OutputFormat.JSON: lambda status, _width: "".join(document(status)),
    OutputFormat.NDJSON: lambda status, _width: lines([status]),
    OutputFormat.CSV: lambda status, _width: csv_text([HEADERS, *_rows(status)]),
}
