"""Reports and events as Parquet, for DuckDB, Polars and Spark: the fields of JSON, typed, in row groups.

A report has one row per destination, with its findings nested so that sums count nothing twice, and then one row per
unmatched error with its finding; `kind` says which. Source and faults are JSON in the file's metadata, under
`udpprobe`.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, chain, islice
from types import UnionType
from typing import TYPE_CHECKING, Any, TypeVar, get_args, get_origin, get_type_hints

import pyarrow as pa
from msgspec import Struct
from pyarrow.parquet import ParquetWriter

from udpprobe.core.model import REPORT_SCHEMA, Destination, Event, Model, Report, Unmatched, is_time, json_name
from udpprobe.core.stencils import rounded
from udpprobe.reports.csv import values_of
from udpprobe.reports.json import EVENTS_SCHEMA, encoded, head_of, tail_of, valid_text

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

GROUP_ROWS, GROUP_EVENTS = 1 << 16, 1 << 14
"""Destinations and events in a row group, which is kept in memory until it is full."""
METADATA = "udpprobe"
"""The key in the file's metadata for everything that is not a row."""


class _Column(Struct, frozen=True):
    """How a field is stored."""

    type: pa.DataType
    array: Callable[[Sequence[Any]], pa.Array]
    """Makes an array of its values in (n,) records; None for a record without the field."""


def report_parquet(report: Report) -> Iterator[bytes]:
    """The whole file, in chunks."""
    rows = _Rows({"kind": _column(str), **_columns(Destination)})
    for some in _groups(report.destinations, GROUP_ROWS):
        yield rows.add({"kind": ["destination"] * len(some), **_values(Destination, some)})
    for entries in _groups(report.unmatched, GROUP_ROWS):
        findings = [(entry.finding,) for entry in entries]
        yield rows.add({"kind": ["unmatched"] * len(entries), **_values(Unmatched, entries), "findings": findings})
    yield rows.end(_about(report, REPORT_SCHEMA))


class EventsParquet:
    """Events as Parquet, written as they come; at most one row group is kept in memory."""

    def __init__(self) -> None:
        self._rows: _Rows | None = None
        self._kind: type[Event] = Event
        self._waiting: list[Event] = []

    def add(self, events: Sequence[Event]) -> bytes:
        """Add events. Returns the bytes that can be written now.

        Args:
            events: all of one class, in all calls.
        """
        self._waiting += events
        return self._written_groups(len(self._waiting) - len(self._waiting) % GROUP_EVENTS)

    def end(self, report: Report, _width: int) -> Iterator[bytes]:
        """The rest of the file."""
        yield self._written_groups(len(self._waiting))
        yield self._started().end(_about(report, EVENTS_SCHEMA))

    def _written_groups(self, count: int) -> bytes:
        """Row groups for the first `count` waiting events. They do not depend on how the events arrived."""
        some, self._waiting = self._waiting[:count], self._waiting[count:]
        return b"".join(self._started(some).add(_values(self._kind, each)) for each in _groups(some, GROUP_EVENTS))

    def _started(self, some: Sequence[Event] = ()) -> _Rows:
        if self._rows is None:
            self._kind = type(some[0]) if some else Event
            self._rows = _Rows(_columns(self._kind))
        return self._rows


class _Rows:
    """Writes one file."""

    def __init__(self, columns: Mapping[str, _Column]) -> None:
        self._columns, self._sink = columns, _Sink()
        self._schema = pa.schema([(name, column.type) for name, column in columns.items()])
        self._writer = ParquetWriter(self._sink, self._schema, compression="zstd")

    def add(self, values: Mapping[str, Sequence[Any]]) -> bytes:
        """Add a row group with values by column; missing columns are null."""
        nothing = (None,) * len(next(iter(values.values())))
        arrays = [column.array(values.get(name, nothing)) for name, column in self._columns.items()]
        self._writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=self._schema))
        return self._sink.drained()

    def end(self, about: str) -> bytes:
        self._writer.add_key_value_metadata({METADATA: about})
        self._writer.close()
        return self._sink.drained()


class _Sink(io.RawIOBase):
    """Collects the writer's output until it is fetched."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, chunk: ReadableBuffer) -> int:
        self._chunks.append(bytes(chunk))
        self._written += len(self._chunks[-1])
        return len(self._chunks[-1])

    def drained(self) -> bytes:
        data, self._chunks = b"".join(self._chunks), []
        return data


Record = TypeVar("Record")


def _groups(records: Iterable[Record], rows: int) -> Iterator[list[Record]]:
    records = iter(records)
    while some := list(islice(records, rows)):
        yield some


def _about(report: Report, schema: str) -> str:
    return encoded({"schema": schema, **head_of(report), **tail_of(report)})


def _values(kind: type[Model], records: Sequence[Model | None]) -> dict[str, Sequence[Any]]:
    """The values of each field, by its name in JSON, in all records; None for a missing record."""
    return {json_name(name): values for name, values in values_of(kind, records).items()}


def _columns(kind: type[Model]) -> dict[str, _Column]:
    """How the fields of a record are stored, by their names in JSON."""
    hints = get_type_hints(kind)
    return {json_name(name): _TIME if is_time(name) else _column(hints[name]) for name in kind.__struct_fields__}


def _column(hint: Any) -> _Column:  # noqa: ANN401 - a type hint has no type
    options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    kind = next(option for option in options if option is not type(None))
    if isinstance(kind, type) and issubclass(kind, Model):
        return _struct(kind)
    return _list(_column(get_args(kind)[0])) if get_origin(kind) is tuple else _PLAIN[kind]


def _struct(kind: type[Model]) -> _Column:
    columns = _columns(kind)

    def array(records: Sequence[Any]) -> pa.Array:
        values = _values(kind, records)
        arrays = [column.array(values[name]) for name, column in columns.items()]
        return pa.StructArray.from_arrays(arrays, names=list(columns), mask=_are_missing(records))

    return _Column(pa.struct([(name, column.type) for name, column in columns.items()]), array)


def _list(inner: _Column) -> _Column:
    def array(values: Sequence[Any]) -> pa.Array:
        offsets = pa.array([0, *accumulate(len(value or ()) for value in values)], pa.int32())
        items = inner.array([*chain.from_iterable(value or () for value in values)])
        return pa.ListArray.from_arrays(offsets, items, mask=_are_missing(values))

    return _Column(pa.list_(inner.type), array)


def _are_missing(values: Sequence[Any]) -> pa.Array:
    return pa.array([value is None for value in values], pa.bool_())


def _stored(type_: pa.DataType, change: Callable[[Any], Any] = lambda value: value) -> _Column:
    """A field with a plain value, converted by `change` before it is stored."""
    return _Column(
        type_, lambda values: pa.array([None if value is None else change(value) for value in values], type_)
    )


_TIME = _stored(pa.timestamp("ns", "UTC"))
_PLAIN: dict[Any, _Column] = {
    int: _stored(pa.int64()),
    bool: _stored(pa.bool_()),
    str: _stored(pa.string(), valid_text),
    float: _stored(pa.float64(), rounded),
    dict[str, str | None]: _stored(pa.map_(pa.string(), pa.string()), lambda value: [*value.items()]),
    # no two of them have the same members
    dict[str, Any]: _stored(pa.string(), encoded),
}
