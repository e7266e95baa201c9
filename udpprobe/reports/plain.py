"""The model's records as plain values: nested for JSON, flat for CSV. One truth: the dataclass fields."""

from __future__ import annotations

import json
from dataclasses import fields, is_dataclass
from functools import cache
from types import UnionType
from typing import TYPE_CHECKING, Any, get_args, get_origin, get_type_hints

from udpprobe.core.model import REPORT_SCHEMA, Destination, Event, Finding, Report, Unmatched
from udpprobe.reports.text import escape, rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

EVENTS_SCHEMA = "udpprobe.events/1"


def plain(value: Any) -> Any:  # noqa: ANN401 - JSON's values have no narrower type
    """What `json.dumps` takes: records as objects, times as RFC 3339, milliseconds to the nanosecond."""
    converter = _CONVERTERS.get(type(value))
    if converter is not None:
        return converter(value)
    plan = _plan(type(value))  # type: ignore[arg-type]  # a class is hashable, whatever its instances are
    return {key: told(getattr(value, name)) for name, key, told in plan}


@cache
def _plan(kind: Hashable) -> tuple[tuple[str, str, Callable[[Any], Any]], ...]:
    """A record's fields: attribute, name in JSON, and what makes its value plain."""
    return tuple((field.name, _key(field.name), _time if _is_time(field.name) else plain)
                 for field in fields(kind))  # type: ignore[arg-type]  # a dataclass


def _as_is(value: Any) -> Any:  # noqa: ANN401 - as above
    return value


def _text(value: str) -> str:
    # a file's name may hold any byte
    return value if value.isascii() else value.encode("utf-8", "backslashreplace").decode()


def _list(values: Iterable[Any]) -> list[Any]:
    return [plain(value) for value in values]


_CONVERTERS: dict[type[Any], Callable[[Any], Any]] = {
    int: _as_is, bool: _as_is, type(None): _as_is, str: _text, tuple: _list, list: _list,
    float: lambda value: round(value, 6),
    dict: lambda value: {key: plain(item) for key, item in value.items()},
}


def _time(time_ns: int | None) -> str | None:
    return None if time_ns is None else rfc3339(time_ns)


def _is_time(name: str) -> bool:
    return name.endswith("time_ns")


def _key(name: str) -> str:
    return name.removesuffix("_ns") if _is_time(name) else name


def report_object(report: Report) -> dict[str, Any]:
    """The contract's `udpprobe.report/1`."""
    unmatched = [unmatched_object(entry) for entry in report.unmatched]
    return {"schema": REPORT_SCHEMA, **plain(report), "unmatched": unmatched}


def unmatched_object(entry: Unmatched) -> dict[str, Any]:
    """Address and port, and the finding's own fields."""
    return {"address": plain(entry.address), "port": entry.port, **plain(entry.finding)}


def flat(record: object, kind: type[Any], prefix: str = "") -> dict[str, str]:
    """The record's fields as cells of text, nested records joined by `_`; all empty for no record (None)."""
    row: dict[str, str] = {}
    hints = get_type_hints(kind)
    for field in fields(kind):
        name = prefix + _key(field.name)
        value = getattr(record, field.name, None)
        inner = _record_type(hints[field.name])
        told = _time if _is_time(field.name) else plain
        row |= flat(value, inner, f"{name}_") if inner else {name: cell(told(value))}
    return row


def _record_type(hint: Any) -> type[Any] | None:  # noqa: ANN401 - a type hint has no type
    options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    return next((option for option in options if isinstance(option, type) and is_dataclass(option)), None)


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
    columns = {"kind": "", **flat(None, Destination), **flat(None, Finding, "finding_")}
    return [column for column in columns if column != "findings"]


def event_columns() -> list[str]:
    """The columns of an event's `flat` row, in order."""
    return list(flat(None, Event))
