"""Targets in a TOML file: what is expected of them, by target, group, template and for all."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from udpprobe.checking.asking import Ask, Expectation, Probing, target_with_port
from udpprobe.checking.thresholds import Range, State, parse_range
from udpprobe.core.targets import Target
from udpprobe.errors import UdpprobeError, UsageError


def _range(value: object) -> Range:
    try:
        return parse_range(str(value))
    except UsageError as error:
        raise ValueError(error) from None


def _target(value: object) -> Target:
    try:
        return target_with_port(str(value))
    except UsageError as error:
        raise ValueError(error) from None


_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]
"""Without what no file's and no interface's name has."""


class _Wish(BaseModel):
    """What may be said for all targets, in a template, of a group and of a target."""

    model_config = ConfigDict(extra="forbid", strict=True, arbitrary_types_allowed=True)

    expect: Literal["answered", "listening", "not-refused", "refused"] | None = None
    silence: Literal["ok", "warning", "critical"] | None = None
    warning: Annotated[Range | None, BeforeValidator(_range)] = None
    critical: Annotated[Range | None, BeforeValidator(_range)] = None
    min_mtu: Annotated[int, Field(ge=0, le=65_575)] | None = None
    no_loop: bool | None = None
    payload: _Text | None = None
    family: Literal[4, 6] | None = None
    allow_broadcast: bool | None = None
    interface: _Text | None = None


class _Group(_Wish):
    """Targets that have something in common."""

    template: str | None = None


class _Target(_Group):
    """One target."""

    target: Annotated[Target, BeforeValidator(_target)]
    name: str | None = None
    group: str | None = None


class _Config(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid")

    defaults: _Wish = _Wish()
    templates: dict[str, _Wish] = {}
    groups: dict[str, _Group] = {}
    targets: list[_Target] = []


def keys_of(*models: type[BaseModel]) -> frozenset[str]:
    """What may be said in tables of these kinds."""
    return frozenset(field.alias or name for model in models for name, field in model.model_fields.items())


def reason_of(error: ErrorDetails, keys: Iterable[str]) -> str:  # noqa: PLR0911 - a table
    """What is wrong, in words of ours.

    Args:
        error: pydantic's.
        keys: that there are.
    """
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            alike = get_close_matches(str(error["loc"][-1]), sorted(keys), n=1)
            return "there is no such key" + (f": did you mean {alike[0]}?" if alike else "")
        case "missing":
            return "is missing"
        case "literal_error":
            wrong = error["input"]
            alike = get_close_matches(str(wrong), re.findall(r"'([^']+)'", str(context["expected"])), n=1)
            return f"{wrong!r} is not one of {context['expected']}" + (f": did you mean {alike[0]}?" if alike else "")
        case "string_pattern_mismatch":
            return f"{error['input']!r} is not written as it has to be"
        case "value_error":
            return str(error["msg"]).removeprefix("Value error, ")
        case kind if kind in _BOUNDS:
            name, words = _BOUNDS[kind]
            return f"{error['input']!r} has to be {words} {context[name]}"
        case kind:
            what = next((words for start, words in _KINDS.items() if kind.startswith(start)), "something else")
            return f"{error['input']!r} has to be {what}"


_BOUNDS = {
    "greater_than_equal": ("ge", "at least"), "less_than_equal": ("le", "at most"), "less_than": ("lt", "less than"),
    "too_short": ("min_length", "of a length of at least"), "too_long": ("max_length", "of a length of at most"),
    "string_too_short": ("min_length", "of a length of at least"),
}
"""pydantic's types of errors about what is too much or too little: where the limit is, and how to say it."""
_KINDS = {"string": "text in quotes", "int": "a whole number", "float": "a number", "bool": "true or false",
          "dict": "a table", "model": "a table", "list": "a list in brackets"}
"""By the beginning of pydantic's types of errors."""
_KEYS = keys_of(_Config, _Target)


def read_config(path: str) -> list[Ask]:
    """The targets of a file, in its order.

    What a target says itself counts most, then what its template says, its group, its group's template, and
    `[defaults]`.

    Raises:
        UsageError: the file has a mistake; says in which line.
        UdpprobeError: it cannot be read.
    """
    config, text = _read(path)
    if not config.targets:
        raise UsageError(f"{path}: no [[targets]] in it")
    return [_ask(config, row, path, text) for row in range(len(config.targets))]


def read_templates(path: str) -> dict[str, tuple[Expectation, Probing]]:
    """What each template of a file expects, on top of its `[defaults]`.

    Raises:
        UsageError, UdpprobeError: as `read_config`.
    """
    config, _ = _read(path)
    return {name: _meant(_merged(config.defaults, template)) for name, template in config.templates.items()}


def _read(path: str) -> tuple[_Config, str]:
    try:
        text = read_toml(path)
        return _Config.model_validate(parse_toml(text)), text
    except OSError as error:
        raise UdpprobeError(f"cannot read {path}: {error.strerror or error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if not isinstance(part, int))
        reason = reason_of(first, _KEYS)
        raise UsageError(f"{path}, line {line_of(text, first['loc'])}: {where}: {reason}") from None
    except ValueError as error:     # no TOML; tomllib says in which line
        raise UsageError(f"{path}: {error}") from None
    except RecursionError:
        raise UsageError(f"{path}: brackets or braces are nested too deeply") from None


def _ask(config: _Config, row: int, path: str, text: str) -> Ask:
    target = config.targets[row]
    try:
        group = _named(config.groups, target.group, "group")
        several = (config.defaults, _named(config.templates, group.template, "template"), group,
                   _named(config.templates, target.template, "template"), target)
    except UsageError as error:
        raise UsageError(f"{path}, line {line_of(text, ('targets', row))}: {error}") from None
    expectation, probing = _meant(_merged(*several))
    return Ask(target.name or target.target.text, target.target, expectation, probing, target.group)


def _named(wishes: Mapping[str, Any], name: str | None, kind: str) -> Any:  # noqa: ANN401 - either of two kinds
    if name is None:
        return _Group()
    if name not in wishes:
        raise UsageError(f"no {kind} is called {name!r}")
    return wishes[name]


def _merged(*wishes: _Wish) -> dict[str, Any]:
    """What counts, the last one most."""
    return {name: value for wish in wishes for name in _Wish.model_fields
            if (value := getattr(wish, name)) is not None}


def _meant(wish: dict[str, Any]) -> tuple[Expectation, Probing]:
    probing = {name: wish.pop(name) for name in Probing.__struct_fields__ if name in wish}
    if "silence" in wish:
        wish["silence"] = State[wish["silence"].upper()]
    return Expectation(**wish), Probing(**probing)


MOST_CHARACTERS = 16 << 20
"""Of a file: 200,000 targets and what is expected of each. It keeps /dev/zero from filling the memory."""
MOST_PARTS = 100
"""Of a dotted key. tomllib takes quadratic time for them, 35 s for 40,000."""
_WORD = r"""(?:[\w-]++|"[^"\n]*+"|'[^'\n]*+')"""
_LONG_KEY = re.compile(rf"(?<![\w.-]){_WORD}(?:[ \t]*+\.[ \t]*+{_WORD}){{{MOST_PARTS}}}")


def read_toml(path: str) -> str:
    """The text of a TOML file.

    Raises:
        UsageError: it is too large.
        OSError, UnicodeDecodeError: it cannot be read; it is no text.
    """
    with Path(path).open(encoding="utf-8-sig") as file:     # some editors write a byte order mark
        text = file.read(MOST_CHARACTERS + 1)
    if len(text) > MOST_CHARACTERS:
        raise UsageError(f"{path}: more than {MOST_CHARACTERS >> 20} MB")
    return text


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML file says, in time that grows with its size.

    Raises:
        ValueError: it has a mistake; says in which line.
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
    """The number of the line that a place in a TOML file stands in; of its table, where it is not found itself.

    Args:
        text: of the file.
        place: keys and, in lists, numbers from 0: `("targets", 2, "expect")`.
    """
    best, least = 1, 0
    for number, found in _places(text):
        common = len(found) if place[:len(found)] == found else 0
        if common > least:
            best, least = number, common
    return best


def _places(text: str) -> Iterator[tuple[int, tuple[int | str, ...]]]:
    """Line number and place of each table, each of its keys, and of what stands in braces in lines of its own."""
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
    """The keys of a dotted one."""
    return tuple(part.strip("\"'") for part in _PART.findall(name))
