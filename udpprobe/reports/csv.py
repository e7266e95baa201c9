"""CSV: a row per finding or event, with columns from the fields of the model; nested names are joined by `_`."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from types import UnionType
from typing import Any, NamedTuple, get_args, get_origin, get_type_hints

from msgspec.structs import astuple

from udpprobe.core.model import Destination, Event, Finding, Model, Report, Unmatched, is_time, json_name
from udpprobe.core.stencils import Stencil, rfc3339, rounded
from udpprobe.reports.json import encoded
from udpprobe.reports.rows import ROWS_AT_A_TIME, texts_of
from udpprobe.reports.text import escape

_NUMBER = re.compile(r"[+-]?\d+(\.\d*)?([eE][+-]?\d+)?", re.ASCII)


# ---- one value


def cell(value: Any) -> str:  # noqa: ANN401 - JSON's values have no narrower type
    """A JSON value as text; lists of words are joined, other lists and objects stay JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value):
        return "; ".join(map(escape, value))
    return encoded(value)


def harmless(text: str) -> str:
    """Untrusted text, with a quote in front if a spreadsheet could take it for a formula.

    https://owasp.org/www-community/attacks/CSV_Injection
    """
    return f"'{text}" if text and text[0] in "=+-@\t\r" and not _NUMBER.fullmatch(text) else text


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """CSV lines from rows of JSON values."""
    return _lines(map(_cell, row) for row in rows)


def _cell(value: Any) -> str:  # noqa: ANN401 - as above
    text = harmless(cell(value))
    # RFC 4180, section 2; line ends are escaped
    return '"' + text.replace('"', '""') + '"' if "," in text or '"' in text else text


def _lines(rows: Iterable[Iterable[str]]) -> str:
    return "".join(f"{','.join(row)}\n" for row in rows)


# ---- records, many at once and column by column: most columns have few different values


def values_of(kind: type[Model], records: Sequence[Model | None]) -> dict[str, Sequence[Any]]:
    """The values of each field in all records; None for a missing record."""
    names = kind.__struct_fields__
    if not records:
        return dict.fromkeys(names, ())
    nothing = (None,) * len(names)
    return dict(
        zip(names, zip(*(nothing if each is None else astuple(each) for each in records), strict=True), strict=True)
    )


class _Column(NamedTuple):
    """A field of a record."""

    name: str
    cells: Callable[[Sequence[Any]], list[str]]
    """Makes cells of its values."""
    record: type[Model] | None
    """The kind of record that the field holds, which takes several cells; None for a plain value."""


@cache
def _columns(kind: type[Model]) -> tuple[_Column, ...]:
    """All fields except lists of records."""
    columns = (_column(name, hint) for name, hint in get_type_hints(kind).items() if name in kind.__struct_fields__)
    return tuple(column for column in columns if column)


def _column(name: str, hint: Any) -> _Column | None:  # noqa: ANN401 - a type hint has no type
    options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    what = next(option for option in options if option is not type(None))
    if get_origin(what) is tuple and _is_record(get_args(what)[0]):
        return None
    record = what if _is_record(what) else None
    return _Column(name, _times if is_time(name) else _CELLS.get(what, _json_cells), record)


def _is_record(kind: Any) -> bool:  # noqa: ANN401 - as above
    return isinstance(kind, type) and issubclass(kind, Model)


def _texts(values: Sequence[Any]) -> list[str]:
    cells = {value: _cell(value) for value in set(values)}
    return list(map(cells.__getitem__, values))


def _json_cells(values: Sequence[Any]) -> list[str]:
    # errors of the same kind share one object, so comparing identities is enough
    cells = {key: _cell(value) for key, value in {id(value): value for value in values}.items()}
    return [cells[id(value)] for value in values]


# A text among times and milliseconds is a mark of core.stencils.


def _times(values: Sequence[int | str | None]) -> list[str]:
    return ["" if value is None else value if isinstance(value, str) else rfc3339(value) for value in values]


def _floats(values: Sequence[float | str | None]) -> list[str]:
    return ["" if value is None else value if isinstance(value, str) else repr(rounded(value)) for value in values]


def _integers(values: Sequence[int | None]) -> list[str]:
    return ["" if value is None else str(value) for value in values]


_CELLS: dict[Any, Callable[[Sequence[Any]], list[str]]] = {
    int: _integers,
    float: _floats,
    str: _texts,
    tuple[str, ...]: _texts,
}


@cache
def _names(kind: type[Model], prefix: str = "") -> tuple[str, ...]:
    """The column names of a kind of record."""
    names: list[str] = []
    for name, _, record in _columns(kind):
        title = prefix + json_name(name)
        names += _names(record, f"{title}_") if record else [title]
    return tuple(names)


def _cells(kind: type[Model], values: Mapping[str, Sequence[Any]], count: int) -> list[list[str]]:
    """The cells of each column of a kind of record.

    Args:
        kind: the kind of record.
        values: by field; a missing field has empty cells.
        count: number of records.
    """
    columns: list[list[str]] = []
    for name, cells, record in _columns(kind):
        some = values.get(name, ())
        if not any(value is not None for value in some):
            columns += [[""] * count] * (len(_names(record)) if record else 1)
        elif record:
            columns += _cells(record, values_of(record, some), count)
        else:
            columns.append(cells(some))
    return columns


def report_csv(report: Report) -> Iterator[str]:
    """A row per finding, in chunks: the destination's columns, then the finding's with the prefix `finding_`.

    A destination without findings has one row.
    """
    yield _lines([["kind", *_names(Destination), *_names(Finding, "finding_")]])
    yield from texts_of(
        report.destinations,
        _destinations,
        lambda marked: Stencil("".join(_destinations((marked,))), is_json=False),
    )
    entries = iter(report.unmatched)
    while lone := list(islice(entries, ROWS_AT_A_TIME)):
        yield _rows("unmatched", Unmatched, lone, [each.finding for each in lone])


def _destinations(destinations: Iterable[Destination]) -> Iterator[str]:
    rows = ((each, finding) for each in destinations for finding in each.findings or (None,))
    while some := list(islice(rows, ROWS_AT_A_TIME)):
        yield _rows("destination", Destination, *zip(*some, strict=True))


def _rows(name: str, kind: type[Model], records: Sequence[Model], findings: Sequence[Finding | None]) -> str:
    count = len(records)
    return _lines(
        zip(
            [name] * count,
            *_cells(Destination, values_of(kind, records), count),
            *_cells(Finding, values_of(Finding, findings), count),
            strict=True,
        )
    )


class EventsCsv:
    """Events as CSV: a row per error."""

    def __init__(self) -> None:
        self._is_begun = False

    def add(self, events: Sequence[Event]) -> str:
        """The events' rows."""
        if not events:
            return ""
        values = values_of(type(events[0]), events)
        return self._header() + _lines(zip(*_cells(Event, values, len(events)), strict=True))

    def end(self, _report: Report, _width: int) -> Iterator[str]:
        """The header, if nothing has been written yet."""
        yield self._header()

    def _header(self) -> str:
        is_begun, self._is_begun = self._is_begun, True
        return "" if is_begun else _lines([_names(Event)])
