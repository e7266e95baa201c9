"""JSON of many records, a column at a time: what `json.dumps` makes of `plain`, several times as fast."""

from __future__ import annotations

import json
from functools import lru_cache
from itertools import chain, islice
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any

from udpprobe.reports.plain import plain, plan_of
from udpprobe.reports.text import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CHUNK = 4096
"""Records at a time: so many texts are held besides the records themselves."""


def chunks(records: Sequence[Any], leave_out: str = "") -> Iterator[list[str]]:
    """The JSON of all records, some thousands at a time.

    Args:
        records: of the model, all of one class.
        leave_out: a field that is not told.
    """
    return (objects(records[start:start + CHUNK], leave_out) for start in range(0, len(records), CHUNK))


def objects(records: Sequence[Any], leave_out: str = "") -> list[str]:
    """See `chunks`."""
    names, values_of, times = plan_of(type(records[0]))     # type: ignore[arg-type]  # a class is hashable
    columns = zip(names, zip(*map(values_of, records), strict=True), strict=True)
    told = {name: list(map(_time, values)) if name in times else texts(values)
            for name, values in columns if name != leave_out}
    template = "{" + ", ".join(f'"{name}": %s' for name in told) + "}"
    return list(map(template.__mod__, zip(*told.values(), strict=True)))


def texts(values: Sequence[Any]) -> list[str]:
    """The JSON of each value of a column."""
    kinds = set(map(type, values))
    if len(kinds) == 1:
        kind = kinds.pop()
        return _WRITERS[kind](values) if kind in _WRITERS else objects(values)
    told = [""] * len(values)
    for kind in kinds:
        places = [place for place, value in enumerate(values) if type(value) is kind]
        for place, text in zip(places, texts([values[place] for place in places]), strict=True):
            told[place] = text
    return told


def _strings(values: Sequence[str]) -> list[str]:
    told = {value: encode_basestring_ascii(plain(value)) for value in set(values)}
    return list(map(told.__getitem__, values))


@lru_cache(2 * CHUNK)
def _float(value: float) -> str:
    return repr(round(value, 6))


@lru_cache(2 * CHUNK)
def _time(time_ns: int | None) -> str:
    return "null" if time_ns is None else f'"{rfc3339(time_ns)}"'


def _dicts(values: Sequence[dict[str, Any]]) -> list[str]:
    # those of one kind of error are one and the same
    told = {key: json.dumps(plain(value)) for key, value in {id(value): value for value in values}.items()}
    return [told[id(value)] for value in values]


def _lists(values: Sequence[Sequence[Any]]) -> list[str]:
    inner = iter(texts([*chain.from_iterable(values)]))
    return [f"[{', '.join(islice(inner, len(value)))}]" for value in values]


_WRITERS: dict[type[Any], Callable[[Sequence[Any]], list[str]]] = {
    str: _strings, tuple: _lists, list: _lists, dict: _dicts,
    int: lambda values: list(map(repr, values)),
    float: lambda values: list(map(_float, values)),
    bool: lambda values: list(map(json.dumps, values)),
    type(None): lambda values: ["null"] * len(values),
}
