"""JSON and NDJSON. msgspec encodes the model's classes; this module adds our own conventions.

Times are written as RFC 3339, milliseconds are rounded to the nanosecond, and all output is ASCII, so no text from the
network can control a terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from types import UnionType
from typing import IO, Any, NamedTuple, get_args, get_origin, get_type_hints

from msgspec import defstruct, to_builtins
from msgspec.json import Encoder
from msgspec.structs import astuple, replace

from udpprobe.core.model import (
    REPORT_SCHEMA,
    Destination,
    Event,
    Finding,
    Model,
    Report,
    Spread,
    Unmatched,
    is_time,
    json_name,
)
from udpprobe.core.stencils import Stencil, rfc3339, rounded
from udpprobe.reports.rows import ROWS_AT_A_TIME, texts_of

EVENTS_SCHEMA = "udpprobe.events/1"

_ITEM_END = ",\n"
_ENCODER = Encoder()
_NOT_ASCII = re.compile(r"[^\x00-\x7e]")


# ---- one value


def encoded(value: object) -> str:
    """The JSON of any value: a model record, or anything `json.dumps` accepts, with model records inside."""
    return lines([value])[:-1]


def lines(values: Iterable[object]) -> str:
    """The JSON of several values, one per line."""
    return _lines([ready(value) for value in values])


def _lines(some: Sequence[object]) -> str:
    """The same, for values that have been through `ready`."""
    try:
        text = _ENCODER.encode_lines(some).decode()
    except UnicodeEncodeError:  # a file name may contain any byte
        text = _ENCODER.encode_lines([_valid(to_builtins(value)) for value in some]).decode()
    return text if text.isascii() and "\x7f" not in text else _NOT_ASCII.sub(_escaped, text)


def _escaped(character: re.Match[str]) -> str:
    from json.encoder import encode_basestring_ascii  # noqa: PLC0415 - the import takes 2 ms, and few texts need it

    return encode_basestring_ascii(character[0])[1:-1]


def _valid(value: Any) -> Any:  # noqa: ANN401 - JSON's values have no narrower type
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, dict):
        return {_valid(name): _valid(member) for name, member in value.items()}
    return [_valid(member) for member in value] if isinstance(value, (list, tuple)) else value


def valid_text(text: str) -> str:
    r"""Text in which bytes that are not valid UTF-8 are written as `\udce9`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def plain(record: Any) -> Any:  # noqa: ANN401 - as `ready`
    """A model record, or a container of them, as Python's built-in types, with the values that JSON gets."""
    return to_builtins(ready(record))


# ---- records ready to be encoded: the same fields, with times and milliseconds in their written form


def ready(value: Any) -> Any:  # noqa: ANN401 - JSON's values have no narrower type
    """A copy of a value in which every record's times and milliseconds have their written form."""
    if isinstance(value, Model):
        return _READY.get(type(value), _record)(value)
    if isinstance(value, dict):
        return {name: ready(member) for name, member in value.items()}
    return list(map(ready, value)) if isinstance(value, (list, tuple)) else value


def _record(record: Model) -> Model:
    changed = {}
    for name, change in _changes(type(record)):
        value = getattr(record, name)
        if value is not None:
            changed[name] = change(value)
    return replace(record, **changed)


@cache
def _changes(kind: type[Model]) -> tuple[tuple[str, Callable[[Any], Any]], ...]:
    """The fields whose written form differs, each with the function that converts it."""
    changes = (
        (name, _change(name, hint)) for name, hint in get_type_hints(kind).items() if name in kind.__struct_fields__
    )
    return tuple((name, change) for name, change in changes if change)


def _change(name: str, hint: Any) -> Callable[[Any], Any] | None:  # noqa: ANN401 - a type hint has no type
    if is_time(name):
        return rfc3339
    options = get_args(hint) if get_origin(hint) is UnionType else (hint,)
    if float in options:
        return rounded
    inner = [kind for option in options for kind in (option, *get_args(option)) if isinstance(kind, type)]
    return ready if any(issubclass(kind, Model) for kind in inner) else None


# There may be millions of these, so each is written by hand instead of using `_record`; a test compares the two.


def _spread(spread: Spread) -> Spread:
    least = rounded(spread.min)
    if spread.min == spread.max:
        return Spread(least, least, least)
    return Spread(least, rounded(spread.median), rounded(spread.max))


def _finding(found: Finding) -> Finding:
    first = last = rfc3339(found.first_time_ns)
    if found.last_time_ns != found.first_time_ns:
        last = rfc3339(found.last_time_ns)
    return replace(found, first_time_ns=first, last_time_ns=last, rtt_ms=found.rtt_ms and _spread(found.rtt_ms))


def _destination(found: Destination) -> Destination:
    return replace(found, rtt_ms=found.rtt_ms and _spread(found.rtt_ms), findings=[*map(_finding, found.findings)])


_READY: dict[type[Model], Callable[[Any], Model]] = {
    Spread: _spread,
    Finding: _finding,
    Destination: _destination,
}


# ---- the rows of a report

_Row = Callable[..., object]
_OF_UNMATCHED = [*(name for name in Unmatched.__struct_fields__ if name != "finding"), *Finding.__struct_fields__]
"""The destination's fields, then the finding's own."""


def _row(fields: Sequence[str], kind: str | None) -> _Row:
    """A class with these fields. NDJSON mixes several kinds of lines, so there a `kind` comes first."""
    tag = {"tag_field": "kind", "tag": kind} if kind else {}
    return defstruct("Row", fields, rename=json_name, gc=False, **tag)  # type: ignore[arg-type]  # keywords


_UnmatchedRow = _row(_OF_UNMATCHED, None)
_DestinationLine = _row(Destination.__struct_fields__, "destination")
_UnmatchedLine = _row(_OF_UNMATCHED, "unmatched")


def _unmatched(entry: Unmatched, row: _Row = _UnmatchedRow) -> object:
    return row(
        entry.address, entry.port, entry.source, entry.source_port, entry.advice, *astuple(_finding(entry.finding))
    )


def _encoded(rows: Iterable[object]) -> Iterator[str]:
    """The JSON of all rows, one per line, in chunks of many lines."""
    rows = iter(rows)
    while some := list(islice(rows, ROWS_AT_A_TIME)):
        yield lines(some)


def _encoded_one_by_one(rows: Iterable[Any], row: Callable[[Destination], object]) -> Iterator[str]:
    rows = iter(rows)
    while some := list(islice(rows, ROWS_AT_A_TIME)):
        yield _lines([row(_destination(each)) for each in some])


def _destinations(rows: Sequence[Destination], row: Callable[[Destination], object], end: str = "\n") -> Iterator[str]:
    """The JSON of all destinations, one per line, in chunks of many lines. The text is the same as that of `lines`.

    Args:
        rows: in the order in which they are written.
        row: returns what to encode for a destination whose times and milliseconds are `ready`.
        end: ends each line.
    """
    return texts_of(
        rows,
        lambda some: (text.replace("\n", end) for text in _encoded_one_by_one(some, row)),
        lambda marked: Stencil(_lines([row(marked)]).replace("\n", end), is_json=True),
    )


class _Items(NamedTuple):
    """A list's items as text, any number of them per chunk, each followed by `_ITEM_END`."""

    texts: Iterator[str]


def document(members: Mapping[str, object]) -> Iterator[str]:
    """One JSON object with each member on its own line, in chunks.

    Args:
        members: by name. An iterator stands for a list: it yields the lines of its items, any number per chunk.
    """
    before = "{\n"
    for name, value in members.items():
        yield f"{before}{encoded(name)}:"
        if isinstance(value, _Items):
            yield from _list(value.texts)
        elif isinstance(value, Iterator):
            # a newline can only end an item: inside one, JSON escapes it
            yield from _list(text.replace("\n", _ITEM_END) for text in value)
        else:
            yield encoded(value)
        before = ",\n"
    yield "\n}\n"


def _list(texts: Iterator[str]) -> Iterator[str]:
    """A JSON list with each item on its own line."""
    before = "[\n"
    for text in filter(None, texts):
        yield before
        yield text[: -len(_ITEM_END)]
        before = _ITEM_END
    yield "[]" if before == "[\n" else "\n]"


def head_of(report: Report) -> dict[str, object]:
    """The members before the rows."""
    return {"command": report.command, "version": report.version, "source": report.source}


def tail_of(report: Report) -> dict[str, object]:
    """The members after the rows."""
    drops = {} if report.receive_drops is None else {"receive_drops": report.receive_drops}
    reasons = {} if report.drop_reasons is None else {"drop_reasons": report.drop_reasons}
    sent = {} if report.errors_sent is None else {"errors_sent": report.errors_sent}
    return {"faults": report.faults, "interrupted": report.interrupted, **drops, **reasons, **sent}


def report_json(report: Report) -> Iterator[str]:
    """One object, `udpprobe.report/1`, with one row per line, in chunks."""
    return document(
        {
            "schema": REPORT_SCHEMA,
            **head_of(report),
            "destinations": _Items(_destinations(report.destinations, _as_it_is, _ITEM_END)),
            "unmatched": _encoded(map(_unmatched, report.unmatched)),
            **tail_of(report),
        }
    )


def destination_lines(destinations: Sequence[Destination]) -> str:
    """The NDJSON lines of some destinations."""
    return "".join(_destinations(destinations, _destination_line))


def _destination_line(ready_one: Destination) -> object:
    return _DestinationLine(*astuple(ready_one))


def _as_it_is(ready_one: Destination) -> Destination:
    return ready_one


def report_ndjson(report: Report) -> Iterator[str]:
    """One line per destination, one per unmatched error, then a `summary`; `kind` says which. In chunks."""
    yield from _destinations(report.destinations, _destination_line)
    yield from _encoded(_unmatched(entry, _UnmatchedLine) for entry in report.unmatched)
    yield lines([{"kind": "summary", "schema": REPORT_SCHEMA, **head_of(report), **tail_of(report)}])


class EventsNdjson:
    """Events as NDJSON, one line per error, written as they come."""

    def add(self, events: Sequence[Event]) -> str:
        """The events' lines."""
        return lines(events)

    def end(self, _report: Report, _width: int) -> Iterator[str]:
        """Nothing: every line has been written."""
        return iter(())


class EventsJson:
    """Events as one object, `udpprobe.events/1`: the source, then the errors in capture order.

    Args:
        spool: holds the errors until the end, because `source` is complete only then and is written before them.
    """

    def __init__(self, spool: IO[str]) -> None:
        self._spool = spool

    def add(self, events: Sequence[Event]) -> str:
        """Nothing: the events are kept until the end."""
        self._spool.write(lines(events))
        return ""

    def end(self, report: Report, _width: int) -> Iterator[str]:
        """The whole object."""
        self._spool.seek(0)
        yield from document(
            {"schema": EVENTS_SCHEMA, **head_of(report), "events": iter(self._spool), **tail_of(report)}
        )
        self._spool.close()
