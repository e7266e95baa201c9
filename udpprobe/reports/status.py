"""The counters of a running daemon."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from typing import Any

from udpprobe.reports.formats import Format
from udpprobe.reports.layout import Layout, markdown, table


def status_text(status: dict[str, Any], output_format: Format, width: int) -> str:
    """The counters in any format: an object, or a row a counter.

    Args:
        status: `udpprobe.icmpd.status/1`.
        output_format: how.
        width: columns of the screen.
    """
    return _FORMATS[output_format](status, width) + "\n"


def _rows(status: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    state = {name: status[name] for name in ("clients", "sockets", "queued_bytes")}
    return tuple((name, str(count)) for name, count in (state | status["counts"]).items())


def _layout(status: dict[str, Any]) -> Layout:
    return Layout(("counter", "count"), _rows(status), 1)


def _csv(status: dict[str, Any], _width: int) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([("counter", "count"), *_rows(status)])
    return out.getvalue().rstrip("\n")


_FORMATS: dict[Format, Callable[[dict[str, Any], int], str]] = {
    Format.TABLE: lambda status, width: table((_layout(status),), width),
    Format.MARKDOWN: lambda status, _width: markdown(_layout(status)),
    Format.JSON: lambda status, _width: json.dumps(status, indent=2),
    Format.NDJSON: lambda status, _width: json.dumps(status),
    Format.CSV: _csv,
}
