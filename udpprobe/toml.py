"""TOML files: read within bounds, with errors that name line and key."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from udpprobe.errors import UsageError, meant

MOST_CHARACTERS = 16 << 20
"""Largest file: 200,000 targets with their expectations. Without a bound, /dev/zero would fill the memory."""
MOST_LISTED = 8
"""Keys that are listed if none resembles an unknown one."""
MOST_PARTS = 100
"""Most parts of a dotted key. tomllib takes quadratic time for them, 35 s for 40,000."""
_WORD = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w.-]){_WORD}(?:[ \t]*+\.[ \t]*+{_WORD}){{{MOST_PARTS}}}")


def read_toml(path: str) -> str:
    """The text of a TOML file.

    Raises:
        UsageError: it is too large.
        OSError, UnicodeDecodeError: it cannot be read, or is no text.
    """
    with Path(path).open(encoding="utf-8-sig") as file:  # some editors write a byte order mark
        text = file.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"{path}: more than {MOST_CHARACTERS >> 20} MB")
    return text


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a TOML file, in linear time.

    Raises:
        ValueError: it has a mistake; names the line.
        RecursionError: its brackets are nested too deeply.
    """
    if found := _LONG_KEY.search(text):
        line = text.count("\n", 0, found.start()) + 1
        column = found.start() - text.rfind("\n", 0, found.start())
        raise ValueError(f"A key has more than {MOST_PARTS} parts (at line {line}, column {column})")
    return tomllib.loads(text)


_TABLE = re.compile(r"(?P<open>\[\[?)(?P<name>[^\]]+)\]")
_PART = re.compile(r"""[\w-]+|"[^"]*"|'[^']*'""")
_KEY = re.compile(rf"\s*(?P<key>(?:{_PART.pattern})(?:\s*\.\s*(?:{_PART.pattern}))*)\s*=")
_ROW = re.compile(r"\s*\{")


def line_of(text: str, place: tuple[int | str, ...]) -> int:
    """Line number of a place in a TOML file; of its table, if the place itself is not found.

    Args:
        text: of the file.
        place: keys and, in lists, numbers from 0: `("targets", 2, "expect")`.
    """
    best, least = 1, 0
    for number, found in _places(text):
        common = len(found) if place[: len(found)] == found else 0
        if common > least:
            best, least = number, common
    return best


def _places(text: str) -> Iterator[tuple[int, tuple[int | str, ...]]]:
    """Line number and place of each table, each of its keys, and of multi-line inline tables."""
    table: tuple[int | str, ...] = ()
    latest, row = table, 0
    counts: dict[str, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _TABLE.match(line.lstrip()):
            name = header["name"].strip()
            table = _parts(name)
            if header["open"] == "[[":
                counts[name] = counts.get(name, -1) + 1
                table += (counts[name],)
            yield number, table
        elif key := _KEY.match(line):
            latest, row = (*table, *_parts(key["key"])), line.count("{")
            yield number, latest
        elif _ROW.match(line):
            yield number, (*latest, row)
            row += line.count("{")


def _parts(name: str) -> tuple[str, ...]:
    """The parts of a dotted key."""
    return tuple(part.strip("\"'") for part in _PART.findall(name))


def keys_of(*models: type[BaseModel]) -> frozenset[str]:
    """The keys of these models' tables."""
    return frozenset(field.alias or name for model in models for name, field in model.model_fields.items())


def reason_of(error: ErrorDetails, keys: Iterable[str]) -> str:  # noqa: PLR0911 - a table
    """What is wrong with a value, in our own words.

    Args:
        error: from pydantic.
        keys: valid keys of the tables.
    """
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            there = sorted(keys)
            listed = f"; there are {', '.join(there)}" if len(there) <= MOST_LISTED else ""
            return "there is no such key" + (meant(str(error["loc"][-1]), there) or listed)
        case "missing":
            return "is missing"
        case "literal_error":
            wrong = error["input"]
            known = re.findall(r"'([^']+)'", str(context["expected"]))
            return f"{wrong!r} is not one of {context['expected']}{meant(str(wrong), known)}"
        case "list_type" if isinstance(error["input"], dict):
            return f"there may be several: write [[{error['loc'][-1]}]]"
        case "dict_type" if isinstance(error["input"], list):
            return f"each has a name: write [{error['loc'][-1]}.NAME]"
        case "string_pattern_mismatch":
            return f"{error['input']!r} is malformed"
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
        case kind if kind in _BOUNDS:
            name, words = _BOUNDS[kind]
            return f"{error['input']!r} must be {words} {context[name]}"
        case kind:
            what = next((words for start, words in _KINDS.items() if kind.startswith(start)), "something else")
            return f"{error['input']!r} must be {what}"


_BOUNDS = {
    "greater_than_equal": ("ge", "at least"),
    "less_than_equal": ("le", "at most"),
    "less_than": ("lt", "less than"),
    "too_short": ("min_length", "of a length of at least"),
    "too_long": ("max_length", "of a length of at most"),
    "string_too_short": ("min_length", "of a length of at least"),
}
"""pydantic's error types about bounds: the key of the limit, and its wording."""
_KINDS = {
    "string": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "dict": "a table",
    "model": "a table",
    "list": "a list in brackets",
}
"""By the prefix of pydantic's error types."""
