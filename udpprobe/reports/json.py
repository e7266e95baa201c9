"""JSON and NDJSON: msgspec writes the model's classes; this adds what it does not know.

Times become RFC 3339, milliseconds are rounded to the nanosecond, and everything is ASCII, so nothing can control a
terminal.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from json.encoder import encode_basestring_ascii
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
    """The JSON of any value: a record of the model, or what `json.dumps` takes with records in it."""
    return lines([value])[:-1]


def lines(values: Iterable[object]) -> str:
    """The JSON of each, a line each."""
    return _lines([ready(value) for value in values])


def _lines(some: Sequence[object]) -> str:
    """Likewise, of what is ready."""
    try:
        text = _ENCODER.encode_lines(some).decode()
    except UnicodeEncodeError:  # the name of a file may hold any byte
        text = _ENCODER.encode_lines([_valid(to_builtins(value)) for value in some]).decode()
    return text if text.isascii() and "\x7f" not in text else _NOT_ASCII.sub(_escaped, text)


def _escaped(character: re.Match[str]) -> str:
    return encode_basestring_ascii(character[0])[1:-1]


def _valid(value: Any) -> Any:  # noqa: ANN401 - JSON's values have no narrower type
    if isinstance(value, str):
        return valid_text(value)
    if isinstance(value, dict):
        return {_valid(name): _valid(member) for name, member in value.items()}
    return [_valid(member) for member in value] if isinstance(value, (list, tuple)) else value


def valid_text(text: str) -> str:
    r"""Text with a byte that is no UTF-8 as `\udce9`."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def plain(record: Any) -> Any:  # noqa: ANN401 - as `ready`
    """A record, or what has records in it, as JSON has it, in Python's own types."""
    return to_builtins(ready(record))


# ---- the records of the model, ready to be encoded: the same fields, but times and milliseconds as they are written


def ready(value: Any) -> Any:  # noqa: ANN401 - JSON's values have no narrower type
    """A value with all records in it ready."""
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
    """The fields that are not written as they are, and what makes them so."""
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


# of these there may be millions, so each is written out; a test sees to it that they do as `_record` does


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
"""Whom it is about, then the finding's own fields."""


def _row(fields: Sequence[str], kind: str | None) -> _Row:
    """A class of these fields; in NDJSON, where one document has several, `kind` stands before them."""
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
    """The JSON of all rows, a line each, many lines at a time."""
    rows = iter(rows)
    while some := list(islice(rows, ROWS_AT_A_TIME)):
        yield lines(some)


def _encoded_one_by_one(rows: Iterable[Any], row: Callable[[Destination], object]) -> Iterator[str]:
    rows = iter(rows)
    while some := list(islice(rows, ROWS_AT_A_TIME)):
        yield _lines([row(_destination(each)) for each in some])


def _destinations(rows: Sequence[Destination], row: Callable[[Destination], object], end: str = "\n") -> Iterator[str]:
    """The JSON of all destinations, a line each, many lines at a time: the same as `lines` makes of them.

    Args:
        rows: in their order.
        row: makes of a destination, whose times and milliseconds are ready, what is encoded.
        end: of each line.
    """
    return texts_of(
        rows,
        lambda some: (text.replace("\n", end) for text in _encoded_one_by_one(some, row)),
        lambda marked: Stencil(_lines([row(marked)]).replace("\n", end), is_json=True),
    )


class _Items(NamedTuple):
    """A list's items as text, any number of them at a time, each with its end behind it."""

    texts: Iterator[str]


def document(members: Mapping[str, object]) -> Iterator[str]:
    """One object, each of its members on a line of its own, in pieces.

    Args:
        members: by name; one that is an iterator gives the lines of a list's items, any number of them at a time.
    """
    before = "{\n"
    for name, value in members.items():
        yield f"{before}{encoded(name)}:"
        if isinstance(value, _Items):
            yield from _list(value.texts)
        elif isinstance(value, Iterator):
            # a line's end stands behind an item only: within them it is escaped
            yield from _list(text.replace("\n", _ITEM_END) for text in value)
        else:
            yield encoded(value)
        before = ",\n"
    yield "\n}\n"


def _list(texts: Iterator[str]) -> Iterator[str]:
    """Each item on a line of its own."""
    before = "[\n"
    for text in filter(None, texts):
        yield before
        yield text[: -len(_ITEM_END)]
        before = _ITEM_END
    yield "[]" if before == "[\n" else "\n]"


def head_of(report: Report) -> dict[str, object]:
    """What stands before the rows."""
    return {"command": report.command, "version": report.version, "source": report.source}


def tail_of(report: Report) -> dict[str, object]:
    """What stands behind them."""
    drops = {} if report.receive_drops is None else {"receive_drops": report.receive_drops}
    reasons = {} if report.drop_reasons is None else {"drop_reasons": report.drop_reasons}
    sent = {} if report.errors_sent is None else {"errors_sent": report.errors_sent}
    return {"faults": report.faults, "interrupted": report.interrupted, **drops, **reasons, **sent}


def report_json(report: Report) -> Iterator[str]:
    """One object, `udpprobe.report/1`, a row a line, in pieces."""
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
    """The lines of NDJSON for some destinations."""
    return "".join(_destinations(destinations, _destination_line))


def _destination_line(ready_one: Destination) -> object:
    return _DestinationLine(*astuple(ready_one))


def _as_it_is(ready_one: Destination) -> Destination:
    return ready_one


def report_ndjson(report: Report) -> Iterator[str]:
    """A line a destination, then a line an unmatched error, then one `summary`; `kind` says which. In pieces."""
    yield from _destinations(report.destinations, _destination_line)
    yield from _encoded(_unmatched(entry, _UnmatchedLine) for entry in report.unmatched)
    yield lines([{"kind": "summary", "schema": REPORT_SCHEMA, **head_of(report), **tail_of(report)}])


class EventsNdjson:
    """A line an error, for a stream."""

    def add(self, events: Sequence[Event]) -> str:
        """Their lines."""
        return lines(events)

    def end(self, _report: Report, _width: int) -> Iterator[str]:
        """Nothing more."""
        return iter(())


class EventsJson:
    """One object, `udpprobe.events/1`: what was read, and the errors in capture order.

    Args:
        spool: where the errors wait, for what was read stands before them.
    """

    def __init__(self, spool: IO[str]) -> None:
        self._spool = spool

    def add(self, events: Sequence[Event]) -> str:
        """Nothing yet."""
        self._spool.write(lines(events))
        return ""

    def end(self, report: Report, _width: int) -> Iterator[str]:
        """The whole object."""
        self._spool.seek(0)
        yield from document(
            {"schema": EVENTS_SCHEMA, **head_of(report), "events": iter(self._spool), **tail_of(report)}
        )
        self._spool.close()
