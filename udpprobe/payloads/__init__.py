"""What probes carry: requests in the protocol of a port, because many services answer nothing else.

A payload is a request and the pattern of its answer. The table is payloads.toml, which tests/payload_recipes.py writes,
with Scapy; `--payload` and `--payloads` add the user's own bytes and those of an installed nmap. The end of the file
derives notes from answers.
"""

from __future__ import annotations

import re
import tomllib
from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from udpprobe.core.probe import GENERIC, TOKEN_BYTES, VARIANTS, Payloads
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.files import read_at_most
from udpprobe.scanning.plan import Plan


class Payload(Struct, frozen=True):
    """A request, and how to recognise its answer."""

    name: str
    ports: tuple[int, ...]
    """UDP ports of its service."""
    data: bytes
    """The bytes sent, with zeros in place of the token."""
    token_at: int = 0
    token_size: int = 0
    """Bytes of the probe's token that go into `data` at `token_at`; 0 where it has no room."""
    answer: str = ""
    """Regular expression over the bytes of an answer, from their first on (`re`, with DOTALL). Its group `token`
    is what the server copies from the request. Empty: no answer is expected without a key or a session."""
    source: str = ""
    """Its specification."""
    loose: bool = False
    """The answer is too simple to be recognised by its bytes alone."""


def recognise(payload: Payload, token: bytes, answer: bytes) -> bool:
    """Whether `answer` is the service's answer to a request with this token.

    Args:
        payload: the request.
        token: the probe's, TOKEN_BYTES of it; its first `token_size` were sent.
        answer: bytes of the UDP datagram that came back.
    """
    found = _pattern(payload.answer).match(answer) if payload.answer else None
    if found is None:
        return False
    sent = token[: payload.token_size]
    return found.groupdict().get("token", sent) == sent


def name_of_answer(payloads: Iterable[Payload], port: int, answer: bytes) -> str | None:
    """The protocol that an answer looks like, whatever was sent: the port's own first, then all others.

    Args:
        payloads: the table.
        port: UDP port it came from.
        answer: bytes of the datagram.
    """
    known = [each for each in payloads if each.answer and (port in each.ports or not each.loose)]
    known.sort(key=lambda each: port not in each.ports)
    return next((each.name for each in known if _pattern(each.answer).match(answer)), None)


@cache
def _pattern(answer: str) -> re.Pattern[bytes]:
    return re.compile(answer.encode("latin-1"), re.DOTALL)


PORTS = 1 << 16

Row = tuple[str, str, int, str, str]
"""Row of `listing`: name, ports, bytes, whether an answer is known, source."""

BUILT_IN = (
    *(
        Payload("token", (), bytes(TOKEN_BYTES + more), 0, TOKEN_BYTES, source="the probe's token and zeros")
        for more in range(VARIANTS)
    ),
    Payload("empty", (), b"", source="an empty payload"),
)
"""The first rows of every catalogue."""


class Catalogue(Struct, frozen=True, dict=True):
    """The table, and the payloads for each port."""

    rows: tuple[Payload, ...]
    """`BUILT_IN` first."""
    forced: tuple[int, ...] | None = None
    """Rows (or GENERIC) for every port, whatever its protocol."""

    def payloads(self) -> Payloads:
        """The rows and choices, in the form that crafting needs."""
        return Payloads([(row.data, row.token_at, row.token_size) for row in self.rows], self.choices)

    def choices_by_port(self) -> array[int]:
        """(65,536,) index into `choices` for every UDP port."""
        found = array("H", [1]) * PORTS
        for port, choice in self._choices[1].items():
            found[port] = choice
        return found

    @property
    def choices(self) -> list[tuple[int, ...]]:
        """Rows (or GENERIC) sent in turn: to control ports, to ports without a known service, to all others."""
        return self._choices[0]

    @property
    def proving(self) -> list[int]:
        """By choice, the one that alternates the generic payload with its rows; the user's own choice stays."""
        return self._choices[2]

    @cached_property
    def _choices(self) -> tuple[list[tuple[int, ...]], dict[int, int], list[int]]:
        choices, of_port = [(GENERIC,), self.forced or (GENERIC,)], {}
        numbers: dict[tuple[int, ...], int] = {}
        for port, rows in ({} if self.forced else self._by_port()).items():
            number = numbers.setdefault(tuple(rows), len(choices))
            if number == len(choices):
                choices.append(tuple(rows))
            of_port[port] = number
        plain = len(choices)
        proving = [number if number < 2 else plain + number - 2 for number in range(plain)]
        return choices + [(*rows, GENERIC) for rows in choices[2:]], of_port, proving

    def _by_port(self) -> dict[int, list[int]]:
        rows = defaultdict(list)
        for number, row in enumerate(self.rows):
            for port in row.ports:
                rows[port].append(number)
        return rows


@cache
def load() -> Catalogue:
    """The built-in table."""
    text = Path(__file__).with_name("payloads.toml").read_text("utf-8")
    return Catalogue((*BUILT_IN, *map(_payload, tomllib.loads(text)["payload"])))


def known_ports() -> tuple[range, ...]:
    """The ports of the table, which are probed if the user names none."""
    return tuple(range(port, port + 1) for port in sorted({port for row in load().rows for port in row.ports}))


def _payload(row: dict[str, Any]) -> Payload:
    """A row of the file; zeros at the end of its bytes are not written there."""
    data = bytes.fromhex(row.pop("hex")).ljust(row.pop("size", 0), b"\0")
    return Payload(ports=tuple(row.pop("ports")), data=data, **row)


def listing(catalogue: Catalogue) -> list[Row]:
    """The table for people, as in `--list-payloads`; only the shortest of the generic payloads."""
    rows = (catalogue.rows[0], *catalogue.rows[VARIANTS:])
    return [
        (row.name, ",".join(map(str, row.ports)) or "any", len(row.data), "yes" if row.answer else "no", row.source)
        for row in rows
    ]


# ---- the user's own

MAX_BYTES = 65_507
"""Longest payload of a UDP datagram over IPv4 (RFC 768, RFC 791)."""


def chosen(catalogue: Catalogue, text: str) -> Catalogue:
    """The payloads of `--payload`: `auto`, `empty`, `token`, `hex:…`, `file:…`, or names from the table.

    Args:
        catalogue: the table.
        text: the option's value; several names, separated by commas, are sent in turn.

    Raises:
        UsageError: an unknown name, bad hexadecimal digits, or too long for a datagram.
        UdpprobeError: the file cannot be read.
    """
    if text == "auto":
        return catalogue
    kind, colon, value = text.partition(":")
    if colon and kind in READERS:
        given = Payload(kind, (), _bounded(READERS[kind](value)), source="given by --payload")
        return Catalogue((*catalogue.rows, given), (len(catalogue.rows),))
    return replace(catalogue, forced=tuple(_row(catalogue, name.strip()) for name in text.split(",")))


def _row(catalogue: Catalogue, name: str) -> int:
    if name == "token":
        return GENERIC
    names = [row.name for row in catalogue.rows]
    if name not in names:
        raise UsageError(f"there is no payload {name!r}{_near(names, name)}; --list-payloads shows all")
    return names.index(name)


def _near(names: list[str], name: str) -> str:
    near = get_close_matches(name, ["auto", *dict.fromkeys(names)])
    return f" ({', '.join(near)}?)" if near else ""


def _from_hex(digits: str) -> bytes:
    try:
        return bytes.fromhex(digits.replace(":", ""))
    except ValueError:
        raise UsageError(f"'hex:{digits}' is not pairs of hexadecimal digits") from None


def _from_file(name: str) -> bytes:
    try:
        with Path(name).open("rb") as file:
            return file.read(MAX_BYTES + 1)  # not all of it: a device may have no end
    except OSError as error:
        raise UdpprobeError(f"cannot read the payload {name}: {error.strerror}") from error


READERS = {"hex": _from_hex, "file": _from_file}


def _bounded(data: bytes) -> bytes:
    if len(data) > MAX_BYTES:
        raise UsageError(f"the payload is larger than the {MAX_BYTES} bytes that fit into a datagram")
    return data


# ---- an installed nmap's (up to 7.93, which keeps them in a file nmap-payloads whose head describes it)

MOST_NMAP_BYTES = 16 << 20
"""Largest file nmap-payloads; nmap's own has 30,000 bytes."""

GAP = r"(?:\s++|\#.*+)"
STRING = r'"(?:[^"\\\n]|\\.)*+"'
ENTRY = re.compile(rf"udp\b{GAP}*+(?P<ports>\d[\d,-]*){GAP}*+(?P<strings>(?:{STRING}{GAP}*+)++)")
BETWEEN = re.compile(rf"{GAP}|(?!udp\b)[a-z]\w*\b.*+")
"""Text between entries; a keyword such as `source`, known or not, takes its whole line."""

LEXEME = re.compile(rf"(?P<string>{STRING})|{GAP}")
ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))")
NAMED_ESCAPES = {"0": "\0", "a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r"}


def from_nmap(catalogue: Catalogue, text: str) -> Catalogue:
    """The catalogue with nmap's payloads first: on ports that both know, nmap's are sent first.

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
        content = read_at_most(name, MOST_NMAP_BYTES).decode("latin-1")
    except OSError as error:
        raise UdpprobeError(f"cannot read {name}: {error.strerror}") from error
    built_in = len(BUILT_IN)
    return Catalogue((*catalogue.rows[:built_in], *_nmap_entries(name, content), *catalogue.rows[built_in:]))


def _nmap_entries(name: str, text: str) -> Iterator[Payload]:
    at = 0
    while at < len(text):
        entry = ENTRY.match(text, at)
        found = entry or BETWEEN.match(text, at)
        if not found:
            raise _nmap_error(name, text, at)
        if entry:
            yield _nmap_payload(name, text, entry)
        at = found.end()


def _nmap_payload(name: str, text: str, entry: re.Match[str]) -> Payload:
    line = _line(text, entry.start())
    ports = _nmap_ports(entry["ports"])
    if not ports:
        raise _nmap_error(name, text, entry.start("ports"))
    data = "".join(_unescaped(found["string"][1:-1]) for found in LEXEME.finditer(entry["strings"]) if found["string"])
    return Payload(f"nmap-{line}", ports, data.encode("latin-1"), source=f"{Path(name).name} line {line}")


def _nmap_ports(text: str) -> tuple[int, ...]:
    """The ports in `53,1000-1002`; empty if it is not a list of ports."""
    ranges = [re.fullmatch(r"(\d{1,5})(?:-(\d{1,5}))?", part) for part in text.split(",")]
    if not all(ranges):
        return ()
    ports = [port for found in ranges if found for port in range(int(found[1]), int(found[2] or found[1]) + 1)]
    return tuple(ports) if max(ports, default=PORTS) < PORTS else ()


def _unescaped(string: str) -> str:
    return ESCAPE.sub(
        lambda found: chr(int(found[1], 16)) if found[1] else NAMED_ESCAPES.get(found[2], found[2]), string
    )


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _nmap_error(name: str, text: str, at: int) -> UsageError:
    return UsageError(f"{name}, line {_line(text, at)}: not valid in an nmap-payloads file")


UNKNOWN = "answers, but not in any protocol of the table (--list-payloads)"


def notes_of_answers(catalogue: Catalogue, plan: Plan, answers: Mapping[int, bytes]) -> dict[int, str]:
    """By task, the protocol that its answer looks like.

    An unknown one is noted only if the port was sent a protocol's request: an answer to a token or to the user's own
    bytes says nothing about the protocol.

    Args:
        catalogue: what was sent.
        plan: to whom.
        answers: by task, bytes of the first datagram that came back.
    """
    notes = {}
    for task, answer in answers.items():
        name = name_of_answer(catalogue.rows, plan.port[task], answer)
        if name or catalogue.rows[plan.payload_of(task, 0)].answer:
            notes[task] = f"answers as {name}" if name else UNKNOWN
    return notes


def notes_of_other_ports(
    catalogue: Catalogue, plan: Plan, answers: Mapping[int, bytes], other_ports: Mapping[int, int]
) -> dict[int, str]:
    """By task, the other port of the host that answered, and whether the answer is in the requested protocol.

    Args:
        catalogue: what was sent.
        plan: to whom.
        answers: by task, bytes of the first datagram that came back.
        other_ports: by task, the port.
    """
    notes = {}
    for task, port in ((task, port) for task, port in other_ports.items() if task in answers):
        requests = _requests(catalogue, plan, task)
        known = not requests or name_of_answer(requests, plan.port[task], answers[task])
        notes[task] = f"answer-from port {port}" + ("" if known else f", not recognised as {requests[0].name}")
    return notes


def answers_request(catalogue: Catalogue, plan: Plan, task: int, answer: bytes) -> bool:
    """Whether a datagram is an answer in the protocol of a task's request."""
    requests = _requests(catalogue, plan, task)
    return bool(requests) and name_of_answer(requests, plan.port[task], answer) is not None


def _requests(catalogue: Catalogue, plan: Plan, task: int) -> list[Payload]:
    """The requests sent to a task whose answers are known."""
    sent = [catalogue.rows[plan.payload_of(task, attempt)] for attempt in range(plan.attempts[task])]
    return [row for row in sent if row.answer]
