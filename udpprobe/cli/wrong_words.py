"""What a command line's mistake is, in a sentence of ours: the parser's own sentences never reach a user."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

EXTRA = {
    "watch": "watch takes options only; a pcap filter goes behind --filter, as in --filter 'port 53'",
}
"""By command: what is said of a word too many."""
_KINDS = {"integer": "whole number", "int": "whole number", "float": "number"}
_RANGE = re.compile(r"(?:(?P<least>[-\d.e+]+)<=)?x(?:<=(?P<most>[-\d.e+]+)|>=(?P<from>[-\d.e+]+))?")
_TOO_MANY = re.compile(r"Got unexpected extra argument(?:s|\(s\))? \((?P<words>.*)\)\.?", re.DOTALL)


def said_of(error: Any, commands: Iterable[str] = ()) -> str:  # noqa: ANN401 - Click's, either copy
    """The sentence.

    Args:
        error: of the parser's.
        commands: that there are.
    """
    context, text = getattr(error, "ctx", None), error.format_message()
    if option := getattr(error, "option_name", None):
        parameters = context.command.params if context else ()
        known = [name for each in parameters for name in (*each.opts, *each.secondary_opts)]
        if text.startswith("No such option"):
            return f"No such option: {option}{meant(option, [*known, '--help'] if option.startswith('--') else [])}"
    if found := re.match(r"No such command '(?P<word>.*?)'", text, re.DOTALL):
        return f"No such command {found['word']!r}{meant(found['word'], commands)}"
    if found := _TOO_MANY.fullmatch(text):
        return f"{found['words']!r}: {EXTRA.get(context.info_name if context else '', 'too many words')}"
    if text.startswith("Invalid value"):
        text = re.sub(r"^Invalid value(?: for (?P<what>.*?))?: ", lambda found: f"{found['what']}: " if found["what"]
                      else "", text, count=1)
        text = re.sub(r"is not a valid (integer|int|float)( range)?", lambda found: f"is no {_KINDS[found[1]]}", text)
        text = re.sub(r"not in the range (\S+?)\.?$", lambda found: f"not in the range {_range(found[1])}", text)
        if (found := re.search(r"(?P<word>'[^']*') is not one of (?P<known>'.*')", text)):
            text = text.rstrip(".") + meant(found["word"].strip("'"), re.findall(r"'([^']+)'", found["known"]))
    return text.rstrip(".")


def _range(text: str) -> str:
    """`1<=x<=9` as `1 to 9`."""
    found = _RANGE.fullmatch(text)
    if not found:
        return text
    least, most = found["least"] or found["from"], found["most"]
    return f"{least} to {most}" if least and most else f"{least} or more" if least else f"{most} or less"


def meant(word: str, known: Iterable[str]) -> str:
    """`: did you mean loop-3?`, of the word that looks most like one that is not known; empty where none does."""
    alike = get_close_matches(word, list(known), n=1)
    return f": did you mean {alike[0]}?" if alike else ""
