"""A report and its events in GitHub's Markdown: all rows of the table, unwrapped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

from udpprobe.core.model import Event, Report
from udpprobe.reports.own_host import SENT_COLUMNS, sent_row
from udpprobe.reports.table import (
    SENTENCES_SHOWN,
    LineBuilder,
    Totals,
    closing,
    columns_of,
    event_columns,
    event_row,
    is_scan,
    summed_up,
    totals_of,
    wide_row,
)
from udpprobe.reports.text import PLAIN, MarkdownTable, Style, without_tags

ROWS_AT_A_TIME = 1024


def report_markdown(report: Report, style: Style = PLAIN) -> Iterator[str]:
    """A row per finding, worst first, advice, and a last line. In pieces."""
    totals, builder = Totals(), LineBuilder(report, style)
    subject = report.group_by if report.group_by in {"host", "reporter"} else "destination"
    destinations = (
        (row for row, _ in summed_up(totals.parts(report.destinations)))
        if is_scan(report)
        else totals.destinations(report.destinations)
    )
    lines = chain(
        chain.from_iterable(map(builder.destination, destinations)),
        map(builder.unmatched, totals.entries(report.unmatched)),
    )
    rows, table, between = (wide_row(line, subject) for line in lines), MarkdownTable(columns_of(subject)), ""
    while some := list(islice(rows, ROWS_AT_A_TIME)):
        yield table.add(some)
        between = "\n"
    yield (table.end() if between else "") + between
    if report.errors_sent and report.errors_sent.rows:
        sent = MarkdownTable(SENT_COLUMNS)
        yield sent.add([sent_row(each) for each in report.errors_sent.rows]) + sent.end() + "\n"
    advice = [f"- {without_tags(each)}\n" for each in builder.advice.sentences()[:SENTENCES_SHOWN]]
    yield "".join([*advice, "\n"] if advice else ()) + without_tags(closing(report, totals, style)) + "\n"


class EventsMarkdown:
    """A row per error in capture order, and a last line."""

    def __init__(self, style: Style = PLAIN) -> None:
        self._style = style
        self._table: MarkdownTable | None = None

    def add(self, events: Sequence[Event]) -> str:
        """Their rows."""
        if self._table is None:
            self._table = MarkdownTable(event_columns(events, self._style))
        return self._table.add([event_row(event, self._style) for event in events])

    def end(self, report: Report, _width: int) -> Iterator[str]:
        """The rest of them, and the last line."""
        if self._table is not None:
            yield self._table.end() + "\n"
        yield without_tags(closing(report, totals_of(report), self._style)) + "\n"
