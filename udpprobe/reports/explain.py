"""The table of meanings in words: what an ICMP error says, and who in a Linux program hears of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from udpprobe.core.kernel import MODES, SOCKETS, TOO_BIG, calls_of, path_of
from udpprobe.core.verdicts import ANY_CODE, Meaning
from udpprobe.reports import OutputFormat
from udpprobe.reports.text import Layout, markdown, table, without_tags, wrap
from udpprobe.reports.words import About

SCHEMA = "udpprobe.explain/1"
COLUMNS = (
    "family",
    "type",
    "code",
    "name",
    "reason",
    "verdict",
    "errno",
    "linux_unconnected",
    "linux_connected",
    "linux_recverr",
    "text",
)

_OTHERWISE = {"refused": "rejected", "expired": "loop"}
_WHEN = {
    "refused": "refused when the destination itself says so, rejected when any other address does",
    "expired": "expired; loop when there is evidence of a routing loop",
}
_LEGEND: tuple[tuple[Callable[[Meaning], bool], str], ...] = (
    (lambda row: row.verdict == "refused", "refused becomes rejected when the reporter is not the destination."),
    (lambda row: row.verdict == "expired", "expired becomes loop when there is evidence of a loop."),
    (lambda row: row.code == ANY_CODE, "Code * is every code without a row."),
    (
        lambda row: (row.family, row.type, row.code) == (6, 4, ANY_CODE),
        ("ICMPv6 types without a row, up to 127, have no verdict and give EPROTO with IP_RECVERR."),
    ),
    (
        lambda _row: True,
        (
            "UNP: Stevens, UNIX Network Programming, table 28.1. Linux gives a connected socket the errno from its "
            "next call, once; a socket with IP_RECVERR gets it too, and reads the whole error with MSG_ERRQUEUE. An "
            "unconnected socket hears nothing, ever: the kernel cannot know which sendto the error belongs to."
        ),
    ),
    (
        lambda row: row.verdict == "too-big",
        (
            "But the route learns the MTU: with IP_PMTUDISC_DO each send that is larger fails with EMSGSIZE, from "
            "whatever socket."
        ),
    ),
)
"""What is said below a table, and of which of its rows."""


_LATER = (
    "nothing of the error; but the route's MTU is known then: with IP_PMTUDISC_DO each sendto that is larger "
    "gives EMSGSIZE, by default it leaves in fragments"
)
_HOW = {"fragments": "leave in fragments", "whole": "leave whole, and are lost", "EMSGSIZE": "EMSGSIZE, from each send"}


def verdict_words(meaning: Meaning) -> str:
    """The verdict, and when it is another one."""
    if _otherwise(meaning):
        return _WHEN[meaning.verdict or ""]
    return meaning.verdict or "none: nobody has defined this error"


def _otherwise(meaning: Meaning) -> str | None:
    """What the verdict becomes with more knowledge; only code 0 says that a TTL ran out, so only it can be a loop."""
    return None if meaning.verdict == "expired" and meaning.code != 0 else _OTHERWISE.get(meaning.verdict or "")


def linux_words(meaning: Meaning) -> dict[str, str]:
    """What a program sees on Linux, by kind of socket: `unconnected`, `connected`, `recverr`."""
    return {
        "unconnected": _LATER
        if meaning.verdict == "too-big"
        else "nothing, ever: the kernel cannot know which sendto it belongs to",
        "connected": _connected(meaning),
        "recverr": _recverr(meaning),
    }


def _connected(meaning: Meaning) -> str:
    if meaning.connected:
        return f"{meaning.connected} from its next call (send, recv or SO_ERROR), once"
    if meaning.recverr:
        return "nothing: Linux treats it as transient, and reports it only to sockets with IP_RECVERR"
    return "nothing: Linux drops it"


def _recverr(meaning: Meaning) -> str:
    if not meaning.recverr:
        return "nothing: Linux drops it"
    extra = ", with the MTU in ee_info" if meaning.verdict == "too-big" else ""
    return f"{meaning.recverr} from its next call, and the error itself with MSG_ERRQUEUE{extra}"


def _code(meaning: Meaning) -> str:
    return "*" if meaning.code == ANY_CODE else str(meaning.code)


def _title(meaning: Meaning) -> str:
    protocol = "ICMP" if meaning.family == 4 else "ICMPv6"
    return f"{protocol} {meaning.type}/{_code(meaning)} {meaning.name}"


def meanings_table(meanings: Sequence[Meaning], width: int, about: About | None = None) -> str:
    """One error: a story. Several: a table a family. Of a word, what it means before that."""
    head = f"{_about(about, width)}\n\n" if about else ""
    if not meanings:
        return head[:-1]
    return head + _meanings_table(meanings, width)


def _about(about: About, width: int) -> str:
    facts = (
        ("who sends it", about.sender),
        ("who hears of it", about.listener),
        ("what to do", about.advice),
        ("look further", about.further),
    )
    said = "\n".join(_fact(key, value, width) for key, value in facts if value)
    return f"{about.word} ({about.kind})\n{wrap(about.text, width)}" + (f"\n\n{said}" if said else "")


def _fact(key: str, value: str, width: int) -> str:
    return f"{key:20}{wrap(value, width - 20)}".replace("\n", "\n" + " " * 20)


def _meanings_table(meanings: Sequence[Meaning], width: int) -> str:
    if len({(row.type, row.code) for row in meanings}) == 1 and meanings[0].code != ANY_CODE:
        return "\n\n".join(_story(row, width) for row in meanings) + "\n"
    tables = (_family_table(meanings, family, width) for family in (4, 6))
    legend = " ".join(text for is_about, text in _LEGEND if any(map(is_about, meanings)))
    return "\n\n".join(part for part in (*tables, wrap(legend, width)) if part) + "\n"


def _family_table(meanings: Sequence[Meaning], family: int, width: int) -> str:
    rows = tuple(_row(row) for row in meanings if row.family == family)
    headers = ("ICMP" if family == 4 else "ICMPv6", "verdict", "UNP", "connected", "IP_RECVERR")
    return table((Layout(headers, rows, 0),), width) if rows else ""


def _row(meaning: Meaning) -> tuple[str, ...]:
    said = (meaning.verdict, meaning.errno, meaning.connected, meaning.recverr)
    return (f"{meaning.type}/{_code(meaning):3}{meaning.name}", *(word or "-" for word in said))


def _story(meaning: Meaning, width: int) -> str:
    words = linux_words(meaning)
    facts = (
        ("verdict", verdict_words(meaning)),
        ("nmap's word", meaning.reason),
        ("Stevens, UNP 28.1", meaning.errno or "none: the daemon of UNP 28.7 does not forward it"),
        ("Linux, unconnected", words["unconnected"]),
        ("Linux, connected", words["connected"]),
        ("Linux, IP_RECVERR", words["recverr"]),
    )
    body = "\n".join(_fact(key, value, width) for key, value in facts)
    way = "\n".join(_fact(step.function, step.text, width) for step in path_of(meaning))
    parts = (
        f"{_title(meaning)}\n{wrap(meaning.text, width)}",
        body,
        _modes(meaning, width),
        f"The error's way through Linux, and what each function wants or does:\n{way}",
    )
    return "\n\n".join(filter(None, parts))


def _modes(meaning: Meaning, width: int) -> str:
    """What depends on IP_MTU_DISCOVER; empty for an error of which nothing does."""
    if meaning.verdict != "too-big":
        return ""
    option, name = ("IP_MTU_DISCOVER", "IP_RECVERR") if meaning.family == 4 else ("IPV6_MTU_DISCOVER", "IPV6_RECVERR")
    rows = tuple(
        (mode + " (default)" * (mode == "WANT"), of.connected or "-", of.recverr or "-", _HOW[of.later])
        for mode in MODES
        for of in (TOO_BIG[meaning.family, mode],)
    )
    return table((Layout((option, "connected", name, "larger datagrams from then on"), rows, 0),), width)


def meanings_markdown(meanings: Sequence[Meaning], width: int, about: About | None = None) -> str:
    """What a word means, and one table of all columns."""
    head = f"{without_tags(_about(about, width))}\n\n" if about else ""
    return head + (markdown(COLUMNS, tuple(map(_cells, meanings))) + "\n" if meanings else "")


def meanings_json(meanings: Sequence[Meaning], _width: int, about: About | None = None) -> str:
    """One object, `udpprobe.explain/1`."""
    from udpprobe.reports.json import document, lines  # noqa: PLC0415 - a table needs none of it

    return "".join(
        document(
            {
                "schema": SCHEMA,
                "about": about._asdict() if about else None,
                "errors": iter((lines(map(as_object, meanings)),)),
            }
        )
    )


def meanings_ndjson(meanings: Sequence[Meaning], _width: int, _about: About | None = None) -> str:
    """A line an error."""
    from udpprobe.reports.json import lines  # noqa: PLC0415 - as above

    return lines(map(as_object, meanings))


def meanings_csv(meanings: Sequence[Meaning], _width: int, _about: About | None = None) -> str:
    """A row an error."""
    from udpprobe.reports.csv import csv_text  # noqa: PLC0415 - as above

    return csv_text([COLUMNS, *map(_cells, meanings)])


def as_object(meaning: Meaning) -> dict[str, Any]:
    """The row for JSON; `code` null stands for every code that has no row of its own."""
    return {
        **meaning._asdict(),
        "code": None if meaning.code == ANY_CODE else meaning.code,
        "verdict_otherwise": _otherwise(meaning),
        "errno": meaning.errno,
        "linux": meaning.linux,
        "linux_words": linux_words(meaning),
        "linux_calls": [
            {"socket": socket, "pmtudisc": mode, **calls_of(meaning, socket, mode or "WANT")._asdict()}
            for socket in SOCKETS
            for mode in (MODES if meaning.verdict == "too-big" else (None,))
        ],
        "linux_path": [step._asdict() for step in path_of(meaning)],
    }


def _cells(meaning: Meaning) -> tuple[str, ...]:
    """The row for CSV and Markdown; code `*` stands for every code that has no row of its own."""
    from udpprobe.reports.csv import cell  # noqa: PLC0415 - as above

    values = as_object(meaning) | {f"linux_{kind}": errno for kind, errno in meaning.linux.items()}
    values["code"] = _code(meaning)
    return tuple(cell(values[column]) for column in COLUMNS)


MEANINGS_FORMATS: Mapping[OutputFormat, Callable[[Sequence[Meaning], int, About | None], str]] = {
    OutputFormat.TABLE: meanings_table,
    OutputFormat.JSON: meanings_json,
    OutputFormat.NDJSON: meanings_ndjson,
    OutputFormat.CSV: meanings_csv,
    OutputFormat.MARKDOWN: meanings_markdown,
}
"""What each format makes of the table of meanings; the width of the screen is for tables."""
