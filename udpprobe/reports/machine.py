"""For programs: JSON, NDJSON and CSV of a report, of events, of the table of meanings, and of plain rows."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from udpprobe.core.model import REPORT_SCHEMA, Event, Report, Unmatched
from udpprobe.reports import bulk, explain
from udpprobe.reports.plain import (
    EVENTS_SCHEMA,
    cell,
    event_columns,
    flat,
    plain,
    report_columns,
    report_object,
    report_rows,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from udpprobe.core.verdicts import Meaning
    from udpprobe.reports.rows import Rows


def _document(value: dict[str, Any]) -> str:
    """One object, each of its members and each item of a list on a line of its own."""
    members = (f"{json.dumps(key)}: {_member(member)}" for key, member in value.items())
    return "{\n" + ",\n".join(members) + "\n}\n"


def _member(value: Any) -> str:  # noqa: ANN401 - JSON's values have no narrower type
    if not isinstance(value, list) or not value:
        return json.dumps(value)
    return "[\n" + ",\n".join(map(json.dumps, value)) + "\n]"


def _lines(values: Iterable[Any]) -> str:
    return "".join(json.dumps(value) + "\n" for value in values)


def _csv(columns: Sequence[str], rows: Iterable[dict[str, str]]) -> str:
    return _csv_rows(columns, (dict(zip(columns, columns, strict=True)), *rows))


def _csv_rows(columns: Sequence[str], rows: Iterable[dict[str, str]]) -> str:
    out = io.StringIO()
    csv.DictWriter(out, columns, restval="", extrasaction="ignore", lineterminator="\n").writerows(rows)
    return out.getvalue()


def report_json(report: Report, _width: int) -> Iterator[str]:
    """One object, `udpprobe.report/1`, in pieces."""
    rest = report_object(replace(report, destinations=(), unmatched=()))
    told = {"destinations": bulk.chunks(report.destinations), "unmatched": _unmatched(report.unmatched)}
    for number, (name, value) in enumerate(rest.items()):
        yield ",\n" if number else "{\n"
        yield f"{json.dumps(name)}: "
        yield from _list(told[name]) if name in told else (_member(value),)
    yield "\n}\n"


def report_ndjson(report: Report, _width: int) -> Iterator[str]:
    """A line a destination, then a line an unmatched error, then one `summary`; `kind` says which. In pieces."""
    told = {"destination": bulk.chunks(report.destinations), "unmatched": _unmatched(report.unmatched)}
    for kind, chunks in told.items():
        yield from ("".join(f'{{"kind": "{kind}", {text[1:]}\n' for text in texts) for texts in chunks)
    yield _lines([{"kind": "summary", "schema": REPORT_SCHEMA, "command": report.command, "version": report.version,
                   "source": plain(report.source), "faults": report.faults}])


def _unmatched(entries: Sequence[Unmatched]) -> Iterator[list[str]]:
    """As `unmatched_object`: the finding's own fields behind those that say whom it is about."""
    findings = bulk.chunks([entry.finding for entry in entries])
    for own, found in zip(bulk.chunks(entries, "finding"), findings, strict=True):
        yield [f"{whom[:-1]}, {finding[1:]}" for whom, finding in zip(own, found, strict=True)]


def _list(chunks: Iterable[list[str]]) -> Iterator[str]:
    """As `_member`."""
    is_empty = True
    for texts in chunks:
        yield "[\n" if is_empty else ",\n"
        yield ",\n".join(texts)
        is_empty = False
    yield "[]" if is_empty else "\n]"


def report_csv(report: Report, _width: int) -> Iterator[str]:
    """A row a finding; `finding_` stands before its columns, the destination's own stand before those. In pieces."""
    rows, columns = report_rows(report), report_columns()
    yield _csv(columns, ())
    while some := list(islice(rows, bulk.CHUNK)):
        yield _csv_rows(columns, some)


def events_json(report: Report, events: Sequence[Event], _width: int) -> str:
    """One object, `udpprobe.events/1`: the errors in capture order, and what was read."""
    return _document({"schema": EVENTS_SCHEMA, "command": report.command, "version": report.version,
                      "source": plain(report.source), "events": plain(events), "faults": report.faults})


def events_ndjson(_report: Report, events: Sequence[Event], _width: int) -> str:
    """A line an error."""
    return event_lines(events)


def event_lines(events: Sequence[Event]) -> str:
    """A line an error, for a stream."""
    return _lines(map(plain, events))


def events_csv(_report: Report, events: Sequence[Event], _width: int) -> str:
    """A row an error."""
    return _csv(event_columns(), (flat(event, Event) for event in events))


def meanings_json(meanings: Sequence[Meaning], _width: int) -> str:
    """One object, `udpprobe.explain/1`."""
    return _document({"schema": explain.SCHEMA, "errors": [explain.as_object(row) for row in meanings]})


def meanings_ndjson(meanings: Sequence[Meaning], _width: int) -> str:
    """A line an error."""
    return _lines(map(explain.as_object, meanings))


def meanings_csv(meanings: Sequence[Meaning], _width: int) -> str:
    """A row an error."""
    return _csv(explain.COLUMNS, map(explain.as_row, meanings))


def rows_json(rows: Rows, _width: int) -> str:
    """One object: the schema, and the rows by their own name."""
    return _document({"schema": rows.schema, rows.name: list(_records(rows))})


def rows_ndjson(rows: Rows, _width: int) -> str:
    """A line a row."""
    return _lines(_records(rows))


def rows_csv(rows: Rows, _width: int) -> str:
    """The columns' names, then a line a row."""
    return _csv(rows.columns, ({name: cell(value) for name, value in row.items()} for row in _records(rows)))


def _records(rows: Rows) -> Iterator[dict[str, Any]]:
    return (dict(zip(rows.columns, map(plain, row), strict=True)) for row in rows.rows)
