"""Plain rows, for lists that are no report: the payloads there are, the probes that would be sent."""

from __future__ import annotations

import re
from dataclasses import astuple, dataclass, fields
from typing import TYPE_CHECKING, Any

from udpprobe.core.model import Planned
from udpprobe.reports.layout import Layout, markdown, table
from udpprobe.reports.plain import cell, plain

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PAYLOADS = ("name", "ports", "bytes", "answer", "source")
"""Columns of the list of payloads; `answer`: whether one is known by its bytes."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A list for all formats."""

    schema: str
    name: str
    """What the rows are called in JSON."""
    columns: tuple[str, ...]
    rows: Sequence[tuple[Any, ...]]
    elastic: int
    """The column that is wrapped where the screen is narrow."""


def payload_rows(listing: Sequence[tuple[Any, ...]]) -> Rows:
    """The table of payloads, `udpprobe.payloads/1`.

    Args:
        listing: rows of `PAYLOADS`.
    """
    return Rows("udpprobe.payloads/1", "payloads", PAYLOADS, listing, PAYLOADS.index("ports"))


def plan_rows(planned: Iterable[Planned]) -> Rows:
    """What a scan would send, `udpprobe.plan/1`."""
    columns = tuple(field.name for field in fields(Planned))
    return Rows("udpprobe.plan/1", "probes", columns, [astuple(each) for each in planned], columns.index("payload"))


def rows_table(rows: Rows, width: int) -> str:
    """A table; no word is broken to fit the width."""
    return table((_layout(rows),), width) + "\n"


def rows_markdown(rows: Rows, _width: int) -> str:
    """The same in GitHub's Markdown."""
    return markdown(_layout(rows)) + "\n"


def _layout(rows: Rows) -> Layout:
    cells = tuple(tuple(_loosened(cell(plain(value))) for value in row) for row in rows.rows)
    headers = tuple(column.replace("_", " ") for column in rows.columns)
    return Layout(headers, cells, rows.elastic)


def _loosened(text: str) -> str:
    # commas glue a list of ports together, which may be longer than a line
    return re.sub(r",(?=\S)", ", ", text)
