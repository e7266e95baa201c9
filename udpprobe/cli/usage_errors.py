"""Usage errors in our own words, because the parser's wording changes between its versions."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from udpprobe.errors import meant

EXTRA = {
    "watch": "watch takes only options; a pcap filter follows --filter, as in --filter 'port 53'",
}
"""By command: the message for an extra word."""
_KINDS = {"integer": "a whole number", "int": "a whole number", "float": "a number"}
_NUMBER = r"[-+]?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_RANGE = re.compile(rf"\b(?:(?P<least>{_NUMBER})<=)?x(?:<=(?P<most>{_NUMBER})|>=(?P<from>{_NUMBER}))")
_TOO_MANY = re.compile(r"Got unexpected extra argument(?:s|\(s\))? \((?P<words>.*)\)\.?", re.DOTALL)
_TAKES_NONE = re.compile(r"Option '(?P<option>[^']*)' does not take a value")
_TAKES_ONE = re.compile(r"Option '(?P<option>[^']*)' requires an argument")
_WRONG = re.compile(r"Invalid value(?: for (?P<what>.*?))?: (?P<why>.*)", re.DOTALL)
_NO_NUMBER = re.compile(r"(?P<value>'.*') is not a valid (?P<kind>integer|int|float)(?: range)?", re.DOTALL)
_OUTSIDE = re.compile(r"(?P<value>\S+) is not in the range .*")
_NO_CHOICE = re.compile(r"(?P<value>'.*') is not one of (?P<known>'.*')", re.DOTALL)
OPTIONS_ALIKE = 0.75
"""--nonsense and --silence have six letters of nine in common."""


def sentence_of(  # noqa: PLR0911 - a sentence a kind
    error: Any,  # noqa: ANN401 - Click's, either copy
    commands: Iterable[str] = (),
) -> str:
    """A usage error in one sentence, with a suggestion for a misspelt word.

    Args:
        error: raised by the parser.
        commands: names of all commands.
    """
    context, text = getattr(error, "ctx", None), error.format_message().rstrip(".")
    if text.startswith("No such option") and (option := getattr(error, "option_name", None)):
        known = [
            name for each in (context.command.params if context else ()) for name in (*each.opts, *each.secondary_opts)
        ]
        alike = meant(option, [*known, "--help"] if option.startswith("--") else [], OPTIONS_ALIKE)
        return f"No such option: {option}{alike}"
    if found := re.match(r"No such command '(?P<word>.*?)'", text, re.DOTALL):
        return f"No such command {found['word']!r}{meant(found['word'], commands)}"
    if found := _TOO_MANY.fullmatch(text):
        return f"{found['words']!r}: {EXTRA.get(context.info_name if context else '', 'too many words')}"
    if found := _TAKES_NONE.match(text):
        return f"{found['option']} takes no value"
    if found := _TAKES_ONE.match(text):
        return f"{found['option']} needs a value"
    if found := _WRONG.fullmatch(text):
        return _of_value(found["what"] or "", found["why"], getattr(error, "param", None))
    return str(text)


def _of_value(what: str, why: str, parameter: Any) -> str:  # noqa: ANN401 - the parser's own types
    """What is wrong with the value of an option or an argument, and which values are valid."""
    name = name_of(parameter) if parameter else what.strip("'")
    if found := _NO_NUMBER.fullmatch(why):
        return f"{name} {found['value']}: give {_KINDS[found['kind']]}{_limits(parameter)}"
    if found := _OUTSIDE.fullmatch(why):
        return f"{name} {found['value'].removesuffix('.0')}: give {_limits(parameter).removeprefix(', ')}"
    if found := _NO_CHOICE.fullmatch(why):
        listed = str(getattr(parameter, "metavar", None) or "")
        known = listed.strip("[]").split("|") if "|" in listed else re.findall(r"'([^']+)'", found["known"])
        return f"{name} {found['value']}: give {' or '.join(filter(None, (', '.join(known[:-1]), known[-1])))}" + meant(
            found["value"].strip("'"), known
        )
    return f"{name}: {why}" if name else why


def name_of(parameter: Any) -> str:  # noqa: ANN401 - the parser's own types
    """`--retries`; for an argument its name in help."""
    is_option = parameter.param_type_name == "option"
    return str(max(parameter.opts, key=len) if is_option else parameter.metavar or parameter.name)


def _limits(parameter: Any) -> str:  # noqa: ANN401 - as above
    """`, 1 to 9`; empty where there are none."""
    kind = getattr(parameter, "type", None)
    least, most = getattr(kind, "min", None), getattr(kind, "max", None)
    return "" if least is most is None else f", {_said(least, most)}"


def with_ranges(text: str) -> str:
    """A text with the parser's `1<=x<=9` as `1 to 9`."""
    return _RANGE.sub(_in_words, text)


def _in_words(found: re.Match[str]) -> str:
    return _said(found["least"] or found["from"], found["most"])


def _said(least: object, most: object) -> str:
    if least is None or most is None:
        return f"{least} or more" if most is None else f"{most} or less"
    return f"{least} to {most}"
