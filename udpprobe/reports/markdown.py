"""A report and its events in GitHub's Markdown: the rows of the table, unwrapped, and all of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from udpprobe.core.model import Event, Report
from udpprobe.reports.table import (
    COLUMNS,
    EVENT_COLUMNS,
    Totals,
    closing,
    destination_lines,
    event_row,
    is_scan,
    summed_up,
    totals_of,
    unmatched_line,
    wide_row,
)
from udpprobe.reports.text import MarkdownTable, without_tags

ROWS_AT_A_TIME = 1024


def report_markdown(report: Report) -> Iterator[str]:
    """A row a finding, worst first, and a last line. In pieces."""
    totals = Totals()
    destinations = totals.destinations(report.destinations)
    if is_scan(report):
        destinations = (row for row, _ in summed_up(destinations))
    lines = chain(chain.from_iterable(map(destination_lines, destinations)),
                  map(unmatched_line, totals.entries(report.unmatched)))
    rows, table, between = map(wide_row, lines), MarkdownTable(COLUMNS), ""
    while some := list(islice(rows, ROWS_AT_A_TIME)):
        yield table.add(some)
        between = "\n"
    yield (table.end() if between else "") + between + without_tags(closing(report, totals)) + "\n"


class EventsMarkdown:
    """A row an error in capture order, and a last line."""

    def __init__(self) -> None:
        self._table: MarkdownTable | None = None

    def add(self, events: Sequence[Event]) -> str:
        """Their rows."""
        if self._table is None:
            self._table = MarkdownTable(EVENT_COLUMNS)
        return self._table.add([*map(event_row, events)])

    def end(self, report: Report, _width: int) -> Iterator[str]:
        """The rest of them, and the last line."""
        if self._table is not None:
            yield self._table.end() + "\n"
        yield without_tags(closing(report, totals_of(report))) + "\n"
