"""The model's records as plain values: nested for JSON, flat for CSV. One truth: the dataclass fields."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from functools import cache
from operator import attrgetter
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from udpprobe.core.model import REPORT_SCHEMA, Destination, Event, Finding, Report, Unmatched
from udpprobe.reports.text import escape, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

EVENTS_SCHEMA = "udpprobe.events/1"


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON's values have no narrower type
    """What `json.dumps` takes: records as objects, times as RFC 3339, milliseconds to the nanosecond."""
    if type(value) in _AS_IS:
        return value
    converter = _CONVERTERS.get(type(value))
    return _object(value) if converter is None else converter(value)


def _object(record: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the model's dataclasses
    names, values_of, times = plan_of(type(record))  # type: ignore[arg-type]  # a class is hashable
    return {name: value if type(value) in _AS_IS and name not in times else _field(name, value, times)
            for name, value in zip(names, values_of(record), strict=True)}


def _field(name: str, value: Any, times: frozenset[str]) -> Any:  # noqa: ANN401 - as above
    return _time(value) if name in times else plain(value)


@cache
def plan_of(kind: Hashable) -> tuple[tuple[str, ...], Callable[[Any], tuple[Any, ...]], frozenset[str]]:
    """A record's fields: their names in JSON, what fetches their values, and which of them are times."""
    attributes = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # a dataclass
    times = frozenset(_key(name) for name in attributes if _is_time(name))
    return tuple(map(_key, attributes)), attrgetter(*attributes), times


def _text(value: str) -> str:
    # a file's name may hold any byte
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def _list(values: Iterable[Any]) -> list[Any]:
    return [plain(value) for value in values]


_AS_IS = frozenset({int, bool, type(None)})
_CONVERTERS: dict[type[Any], Callable[[Any], Any]] = {
    str: _text, tuple: _list, list: _list,
    float: lambda value: round(value, 6),
    dict: lambda value: {key: plain(item) for key, item in value.items()},
}


def _time(time_ns: int | None) -> str | None:
    return None if time_ns is None else rfc3339(time_ns)


@cache
def _is_time(name: str) -> bool:
    return name.endswith("time_ns")


def _key(name: str) -> str:
    return name.removesuffix("_ns") if _is_time(name) else name


def report_object(report: Report) -> dict[str, Any]:
    """The contract's `udpprobe.report/1`."""
    unmatched = [unmatched_object(entry) for entry in report.unmatched]
    return {"schema": REPORT_SCHEMA, **plain(report), "unmatched": unmatched}


def unmatched_object(entry: Unmatched) -> dict[str, Any]:
    """Whom it is about, and the finding's own fields."""
    own = {name: value for name, value in plain(entry).items() if name != "finding"}
    return own | plain(entry.finding)


def flat(record: object, kind: type[Any], prefix: str = "") -> dict[str, str]:
    """The record's fields as cells of text, nested records joined by `_`; all empty for no record (None)."""
    row: dict[str, str] = {}
    for attribute, name, inner in _columns(kind, prefix):  # type: ignore[arg-type]  # a class is hashable
        value = getattr(record, attribute, None)
        row |= flat(value, inner, f"{name}_") if inner else {name: _told(attribute, value)}
    return row


@cache
def _columns(kind: Hashable, prefix: str) -> tuple[tuple[str, str, type[Any] | None], ...]:
    """Of each field: its name, its column's, and the type of the record in it, if it is one; several are no cell."""
    hints = get_type_hints(kind)
    return tuple((field.name, prefix + _key(field.name), _record_type(hints[field.name]))
                 for field in fields(kind)  # type: ignore[arg-type]  # a dataclass
                 if not _are_records(hints[field.name]))


def _told(attribute: str, value: Any) -> str:  # noqa: ANN401 - as above
    if type(value) is int and not _is_time(attribute):
        return str(value)
    return cell(_time(value) if _is_time(attribute) else plain(value))


def _record_type(hint: Any) -> type[Any] | None:  # noqa: ANN401 - a type hint has no type
    options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return next((option for option in options if isinstance(option, type) and is_dataclass(option)), None)


def _are_records(hint: Any) -> bool:  # noqa: ANN401 - as above
    return get_origin(hint) is tuple and is_dataclass(get_args(hint)[0])


def cell(value: Any) -> str:  # noqa: ANN401 - as above
    """One value for a table of text; what is nested stays JSON."""
    if value is None:
        return ""
    if isinstance(value, str):
        return escape(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "; ".join(map(escape, value))
    return json.dumps(value)


def report_rows(report: Report) -> Iterator[dict[str, str]]:
    """A row a finding, the destination's fields in each; a row also for a destination without any."""
    for destination in report.destinations:
        own = {"kind": "destination", **flat(destination, Destination)}
        for finding in destination.findings or (None,):
            yield own | flat(finding, Finding, "finding_")
    for entry in report.unmatched:
        yield {"kind": "unmatched"} | flat(entry, Unmatched)


def report_columns() -> list[str]:
    """The columns of `report_rows`, in order."""
    return list({"kind": "", **flat(None, Destination), **flat(None, Finding, "finding_")})


def event_columns() -> list[str]:
    """The columns of an event's `flat` row, in order."""
    return list(flat(None, Event))
