"""Payloads of an installed nmap (up to 7.93, which keeps them in a file nmap-payloads whose head describes it)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.payloads.catalogue import BUILT_IN, PORTS, Catalogue
from udpprobe.payloads.model import Payload
from udpprobe.reading import read_at_most

MOST_BYTES = 16 << 20
"""Of a file; nmap's has 30,000."""

GAP = r"(?:\s++|\#.*+)"
STRING = r'"(?:[^"\\\n]|\\.)*+"'
ENTRY = re.compile(rf"udp\b{GAP}*+(?P<ports>\d[\d,-]*){GAP}*+(?P<strings>(?:{STRING}{GAP}*+)++)")
BETWEEN = re.compile(rf"{GAP}|(?!udp\b)[a-z]\w*\b.*+")
"""What stands between entries; a keyword such as `source`, known or not, has its whole line."""

LEXEME = re.compile(rf"(?P<string>{STRING})|{GAP}")
ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))")
NAMED_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r"}


def from_nmap(catalogue: Catalogue, text: str) -> Catalogue:
    """The catalogue with an nmap's payloads in front: where both know a port, nmap's are sent first.

    Args:
        catalogue: the table.
        text: value of `--payloads`: `nmap:` and the path of a file nmap-payloads.

    Raises:
        UsageError: the value is another one, or a line of the file is not in nmap's format.
        UdpprobeError: the file cannot be read.
    """
    kind, _, name = text.partition(":")
    if kind != "nmap":
        raise UsageError(f"--payloads {text}: only nmap:FILE can be read")
    try:
        content = read_at_most(name, MOST_BYTES).decode("latin-1")
    except OSError as error:
        raise UdpprobeError(f"cannot read {name}: {error.strerror}") from error
    built_in = len(BUILT_IN)
    return Catalogue((*catalogue.rows[:built_in], *_entries(name, content), *catalogue.rows[built_in:]))


def _entries(name: str, text: str) -> Iterator[Payload]:
    at = 0
    while at < len(text):
        entry = ENTRY.match(text, at)
        found = entry or BETWEEN.match(text, at)
        if not found:
            raise _fault(name, text, at)
        if entry:
            yield _payload(name, text, entry)
        at = found.end()


def _payload(name: str, text: str, entry: re.Match[str]) -> Payload:
    line = _line(text, entry.start())
    ports = _ports(entry["ports"])
    if not ports:
        raise _fault(name, text, entry.start("ports"))
    data = "".join(_unescaped(found["string"][1:-1]) for found in LEXEME.finditer(entry["strings"]) if found["string"])
    return Payload(f"nmap-{line}", ports, data.encode("latin-1"), source=f"{Path(name).name} line {line}")


def _ports(text: str) -> tuple[int, ...]:
    """Of `53,1000-1002`; none where that is no list of ports."""
    ranges = [re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part) for part in text.split(",")]
    if not all(ranges):
        return ()
    ports = [port for found in ranges if found for port in range(int(found[1]), int(found[2] or found[1]) + 1)]
    return tuple(ports) if max(ports, default=PORTS) < PORTS else ()


def _unescaped(string: str) -> str:
    return ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else NAMED_ESCAPES.get(found[2], found[2]),
                      string)


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _fault(name: str, text: str, at: int) -> UsageError:
    return UsageError(f"{name}, line {_line(text, at)}: not what an nmap-payloads file has")
