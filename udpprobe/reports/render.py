"""The registry: what each format makes of a report, of its events, of the table of meanings, and of plain rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from udpprobe.reports import events, explain, machine, rows, table
from udpprobe.reports.formats import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from udpprobe.core.model import Event, Report
    from udpprobe.core.verdicts import Meaning
    from udpprobe.reports.rows import Rows


@dataclass(frozen=True, slots=True)
class Renderer:
    """One format. Each function takes the width of the screen last; programs' formats do not care."""

    report: Callable[[Report, int], Iterator[str]]
    """In pieces: of a million destinations, the whole text would take a gigabyte."""
    events: Callable[[Report, Sequence[Event], int], str]
    meanings: Callable[[Sequence[Meaning], int], str]
    rows: Callable[[Rows, int], str]



def _whole(render: Callable[[Report, int], str]) -> Callable[[Report, int], Iterator[str]]:
    """A report for people, which is short, as one piece."""
    return lambda report, width: iter((render(report, width),))


FORMATS: Mapping[Format, Renderer] = {
    Format.TABLE: Renderer(_whole(table.report_table), events.events_table, explain.meanings_table, rows.rows_table),
    Format.JSON: Renderer(machine.report_json, machine.events_json, machine.meanings_json,
                          machine.rows_json),
    Format.NDJSON: Renderer(machine.report_ndjson, machine.events_ndjson, machine.meanings_ndjson,
                            machine.rows_ndjson),
    Format.CSV: Renderer(machine.report_csv, machine.events_csv, machine.meanings_csv,
                         machine.rows_csv),
    Format.MARKDOWN: Renderer(_whole(table.report_markdown), events.events_markdown, explain.meanings_markdown,
                              rows.rows_markdown),
}
