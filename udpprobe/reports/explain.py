"""The table of meanings in words: what an ICMP error says, and which Linux sockets get it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

from udpprobe.core.advice import ANSWER, Case, case_of_error, sentence
from udpprobe.core.kernel import MODES, SOCKETS, TOO_BIG, calls_of, path_of
from udpprobe.core.verdicts import ANY_CODE, ERRNO_OF_VERDICT, MEANINGS, VERDICTS, Meaning
from udpprobe.errors import UsageError, meant
from udpprobe.reports import OutputFormat
from udpprobe.reports.text import Layout, markdown, table, without_tags, wrap


class About(NamedTuple):
    """The explanation of a word."""

    word: str
    kind: str
    """`verdict`, `silence`, `path MTU`, `reason`, `name` or `errno`."""
    text: str
    sender: str | None = None
    """Who sends it."""
    listener: str | None = None
    """Who gets it."""
    advice: str | None = None
    further: str | None = None
    """A command for further diagnosis."""


_NO_ICMP = "nobody: there is no ICMP error"
_TEXTS: Mapping[str, tuple[str, str, str, str]] = MappingProxyType(
    {
        "refused": (
            "Nothing listens on the UDP port, and the host itself reports it.",
            "the destination's kernel, or its own firewall",
            "a connected socket (ECONNREFUSED), one with IP_RECVERR, a client of udpprobe icmpd; no other",
            "udpprobe scan HOST:PORT",
        ),
        "rejected": (
            "Something on the way refuses on the destination's behalf: port unreachable from another address.",
            "a firewall or NAT on the way",
            "as for refused: programs cannot tell the two apart",
            "udpprobe trace HOST:PORT",
        ),
        "too-big": (
            "The packet is larger than a link on the way takes.",
            "the router before that link",
            "a connected socket (EMSGSIZE), one with IP_RECVERR; the kernel remembers the MTU",
            "udpprobe mtu HOST:PORT",
        ),
        "loop": (
            "The TTL ran out, and there is evidence that routers send the packet in a loop.",
            "the router at which the TTL runs out",
            "a socket with IP_RECVERR (EHOSTUNREACH); no other",
            "udpprobe trace HOST:PORT",
        ),
        "expired": (
            "The TTL ran out on the way, with no evidence of a loop: a traceroute, or a TTL set too low.",
            "the router at which the TTL runs out",
            "a socket with IP_RECVERR (EHOSTUNREACH); no other",
            "udpprobe trace HOST:PORT",
        ),
        "prohibited": (
            "A filter blocks the packet, and reports it.",
            "a router or firewall, or the host's own firewall",
            "a connected socket, and one with IP_RECVERR; the errno depends on type and code",
            "udpprobe trace HOST:PORT",
        ),
        "unreachable": (
            "A router cannot deliver the packet: no route, no such host, no UDP there.",
            "the last router that had it",
            "mostly only a socket with IP_RECVERR",
            "udpprobe trace HOST:PORT",
        ),
        "reassembly": (
            "Some fragments of the datagram never arrived.",
            "the destination, half a minute later or more",
            "over IPv4 nobody: Linux drops it; over IPv6 a socket with IPV6_RECVERR",
            "udpprobe mtu HOST:PORT",
        ),
        "quenched": (
            "A router or host asks the sender to slow down. Obsolete: RFC 6633.",
            "old routers and hosts",
            "nobody: Linux drops it",
            "udpprobe scan --rate 10 HOST:PORT",
        ),
        "malformed": (
            "A router or host cannot parse the packet's headers.",
            "the router or host that could not parse them",
            "a connected socket, and one with IP_RECVERR (EPROTO)",
            "udpprobe trace HOST:PORT",
        ),
        "answered": (
            "A UDP datagram came back from the destination.",
            _NO_ICMP,
            "the program that sent the request",
            "udpprobe check HOST:PORT",
        ),
        "silent": (
            (
                "Sent, and nothing came back. `meaning` says what the silence shows: listening-or-filtered, "
                "no-evidence or "
                "rate-limited."
            ),
            _NO_ICMP,
            "nobody",
            "udpprobe trace HOST:PORT",
        ),
        "unsent": (
            "This host did not send it: no route, its own firewall, a packet larger than the interface's MTU.",
            _NO_ICMP,
            "the program, from the send call itself",
            "ip route get HOST",
        ),
    }
)
_SILENCE = MappingProxyType(
    {
        "listening-or-filtered": (
            "Silent, while a closed port of the same host was refused: so this one is not closed. "
            "Something listens and does not answer, or a filter drops the packets."
        ),
        "no-evidence": "Silent, and no port of the host was refused: it is down, or a filter drops datagrams or "
        "errors.",
        "rate-limited": "Silent, but the host's limit on ICMP errors was used up: the port may be closed.",
    }
)
_BLACK_HOLE = About(
    "black-hole",
    "path MTU",
    "Packets larger than the path MTU disappear, with no ICMP error: the router sends none, or a filter drops it.",
    "nobody, and that is the problem",
    "nobody; programs see timeouts, but only for large datagrams",
    "Make routers send ICMP 3/4 (fragmentation needed) and ICMPv6 2 (packet too big), and let them through; until "
    "then, set the MTU of the route to HOST to what fits.",
    "udpprobe mtu HOST:PORT",
)
_NMAP = MappingProxyType(
    {
        ANSWER: About(
            ANSWER,
            "reason",
            "A UDP datagram came back. In a finding of a report: from an address or port other than the one probed.",
            _NO_ICMP,
            "the program that sent the request; not a connected socket if the answer is from another address or port",
            None,
            "udpprobe scan HOST:PORT",
        ),
        "no-response": About(
            "no-response",
            "reason",
            "nmap's word for silent: it calls the port open|filtered.",
            _NO_ICMP,
            "nobody",
            None,
            "udpprobe scan HOST:PORT",
        ),
    }
)
"""nmap's reasons that are not ICMP errors."""
_SOME = "the reporter"


def known_words() -> list[str]:
    """Every word that can be explained."""
    rows = {word for row in MEANINGS for word in (row.reason, row.name, row.connected, row.recverr, row.errno) if word}
    return [*VERDICTS, *_SILENCE, _BLACK_HOLE.word, *_NMAP, *sorted(rows - set(VERDICTS))]


def explained(word: str) -> tuple[About, tuple[Meaning, ...]]:
    """The meaning of a word, in upper or lower case, and the ICMP errors that it stands for.

    Raises:
        UsageError: reports do not use the word.
    """
    typed, word = word, word.lower()
    if word in _TEXTS:
        text, sender, listener, further = _TEXTS[word]
        verdict = {"rejected": "refused", "loop": "expired"}.get(word, word)
        rows = tuple(row for row in MEANINGS if row.verdict == verdict and (word != "loop" or row.code == 0))
        return About(word, "verdict", text, sender, listener, _advice(word), further), rows
    if word in _SILENCE:
        return About(word, "silence", _SILENCE[word], None, None, _advice(word), "udpprobe scan HOST:PORT"), ()
    if word == _BLACK_HOLE.word:
        return _BLACK_HOLE, tuple(row for row in MEANINGS if row.verdict == "too-big")
    if word in _NMAP:
        return _NMAP[word], ()
    if rows := tuple(row for row in MEANINGS if word in {row.name, row.reason}):
        return _of_rows(word, "reason" if any(row.reason == word for row in rows) else "name", rows), rows
    errno = {"ENOTSUP": "EOPNOTSUPP"}.get(word.upper(), word.upper())
    if rows := tuple(row for row in MEANINGS if errno in {row.errno, row.connected, row.recverr}):
        verdicts = ", ".join(verdict for verdict, own in ERRNO_OF_VERDICT.items() if own == errno)
        unp = f"Stevens, UNP, table 28.1 has it for {verdicts}." if verdicts else "Stevens, UNP, table 28.1 lacks it."
        return About(errno, "errno", f"What a program gets for the ICMP errors below. {unp}"), rows
    raise UsageError(
        f"{typed!r} is not a word of a report"
        + (
            meant(typed, known_words())
            or "; give a verdict, an nmap reason, the name of an ICMP error, an errno, or an ICMP type and code"
        )
    )


def _of_rows(word: str, kind: str, rows: tuple[Meaning, ...]) -> About:
    """A reason or a name is explained by its errors' own sentences, and by their verdict."""
    of_verdict = _TEXTS.get(rows[0].verdict or "")
    sender, listener, further = of_verdict[1:] if of_verdict else (None, None, None)
    text = " ".join(dict.fromkeys(row.text for row in rows[:2]))
    return About(word, kind, text, sender, listener, _advice(rows[0].verdict or "", rows[0].reason), further)


def _advice(word: str, reason: str = "") -> str | None:
    """The advice that reports give, for an unspecified destination."""
    if word == "too-big":
        return "Send smaller datagrams; `udpprobe mtu HOST:PORT` measures what fits."
    if word in _SILENCE or word == "silent":
        case: Case | None = Case(word if word in _SILENCE else "no-evidence")
    elif word == "unsent":
        case = Case("unsent")
    elif word in {"answered", ""}:
        case = None
    else:
        case = case_of_error(
            word, reason=reason, reporter=_SOME, address="", family=4, routers=["its routers"] if word == "loop" else ()
        )
    return sentence(case, ["HOST:PORT"], "HOST")


NO_ERRORS = MappingProxyType(
    {
        (4, 0): "an echo reply (ping)",
        (4, 5): "a redirect",
        (4, 8): "an echo request (ping)",
        (4, 9): "a router advertisement",
        (4, 10): "a router solicitation",
        (4, 13): "a timestamp request",
        (4, 14): "a timestamp reply",
        (6, 128): "an echo request (ping)",
        (6, 129): "an echo reply (ping)",
        (6, 133): "a router solicitation",
        (6, 134): "a router advertisement",
        (6, 135): "a neighbour solicitation",
        (6, 136): "a neighbour advertisement",
        (6, 137): "a redirect",
    }
)
"""Types that people look up although they are not errors (RFC 792, RFC 4443, RFC 4861)."""
_REDIRECT = (
    "the datagram was forwarded, and the host is informed of a better route (RFC 792; RFC 4861, 8); "
    "`ip route get HOST` shows what it learned"
)


def no_error(family: int, icmp_type: int) -> str | None:
    """The name of a type that is not an error; None for an error, or for a type that nobody looks up."""
    what = NO_ERRORS.get((family, icmp_type))
    if what is None:
        return None
    protocol = "ICMP" if family == 4 else "ICMPv6"
    more = f": {_REDIRECT}" if what == "a redirect" else ""
    return f"{protocol} type {icmp_type} is {what}, not an error{more}"


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
    "refused": "refused if the destination itself sends it, rejected if any other address does",
    "expired": "expired; loop if there is evidence of a routing loop",
}
_LEGEND: tuple[tuple[Callable[[Meaning], bool], str], ...] = (
    (lambda row: row.verdict == "refused", "refused becomes rejected if the reporter is not the destination."),
    (lambda row: row.verdict == "expired", "expired becomes loop if there is evidence of a loop."),
    (lambda row: row.code == ANY_CODE, "Code * stands for every code without a row."),
    (
        lambda row: (row.family, row.type, row.code) == (6, 4, ANY_CODE),
        ("ICMPv6 types without a row, up to 127, have no verdict and give EPROTO with IP_RECVERR."),
    ),
    (
        lambda _row: True,
        (
            "UNP: Stevens, UNIX Network Programming, table 28.1. Linux gives a connected socket the errno from its "
            "next call, once; a socket with IP_RECVERR gets it too, and reads the whole error with MSG_ERRQUEUE. An "
            "unconnected socket never gets it: the kernel cannot know which sendto the error belongs to."
        ),
    ),
    (
        lambda row: row.verdict == "too-big",
        ("But the route learns the MTU: with IP_PMTUDISC_DO, each larger send fails with EMSGSIZE, from any socket."),
    ),
)
"""The notes below a table, each with a test for the rows that need it."""


_LATER = (
    "nothing of the error itself, but the route's MTU is then known: with IP_PMTUDISC_DO each larger sendto fails "
    "with EMSGSIZE; by default it leaves in fragments"
)
_HOW = {"fragments": "leave in fragments", "whole": "leave whole and are lost", "EMSGSIZE": "EMSGSIZE, from each send"}


def verdict_words(meaning: Meaning) -> str:
    """The verdict, and in which cases it is a different one."""
    if _otherwise(meaning):
        return _WHEN[meaning.verdict or ""]
    return meaning.verdict or "none: this error is undefined"


def _otherwise(meaning: Meaning) -> str | None:
    """The verdict that further evidence may give. Only code 0 means that a TTL expired, so only that can be a loop."""
    return None if meaning.verdict == "expired" and meaning.code != 0 else _OTHERWISE.get(meaning.verdict or "")


def linux_words(meaning: Meaning) -> dict[str, str]:
    """What a program gets from Linux, by kind of socket: `unconnected`, `connected`, `recverr`."""
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
        return "nothing: Linux treats it as transient and reports it only to sockets with IP_RECVERR"
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
    """One error as text, several as a table per family; before that, the meaning of a word if one was asked for."""
    head = f"{_about(about, width)}\n\n" if about else ""
    if not meanings:
        return head[:-1]
    return head + _meanings_table(meanings, width)


def _about(about: About, width: int) -> str:
    facts = (
        ("who sends it", about.sender),
        ("who gets it", about.listener),
        ("what to do", about.advice),
        ("to find out more", about.further),
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
    return table((Layout(headers, rows, elastic=0),), width) if rows else ""


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
        f"The error's path through Linux, and what each function requires or does:\n{way}",
    )
    return "\n\n".join(filter(None, parts))


def _modes(meaning: Meaning, width: int) -> str:
    """How the result depends on IP_MTU_DISCOVER; empty if it does not."""
    if meaning.verdict != "too-big":
        return ""
    option, name = ("IP_MTU_DISCOVER", "IP_RECVERR") if meaning.family == 4 else ("IPV6_MTU_DISCOVER", "IPV6_RECVERR")
    rows = tuple(
        (mode + " (default)" * (mode == "WANT"), of.connected or "-", of.recverr or "-", _HOW[of.later])
        for mode in MODES
        for of in (TOO_BIG[meaning.family, mode],)
    )
    return table((Layout((option, "connected", name, "larger datagrams after that"), rows, elastic=0),), width)


def meanings_markdown(meanings: Sequence[Meaning], width: int, about: About | None = None) -> str:
    """The meaning of a word, and one table with all columns."""
    head = f"{without_tags(_about(about, width))}\n\n" if about else ""
    return head + (markdown(COLUMNS, tuple(map(_cells, meanings))) + "\n" if meanings else "")


def meanings_json(meanings: Sequence[Meaning], _width: int, about: About | None = None) -> str:
    """One object, `udpprobe.explain/1`."""
    from udpprobe.reports.json import document, lines  # noqa: PLC0415 - tables do not need it

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
    """One line per error."""
    from udpprobe.reports.json import lines  # noqa: PLC0415 - as above

    return lines(map(as_object, meanings))


def meanings_csv(meanings: Sequence[Meaning], _width: int, _about: About | None = None) -> str:
    """One row per error."""
    from udpprobe.reports.csv import csv_text  # noqa: PLC0415 - as above

    return csv_text([COLUMNS, *map(_cells, meanings)])


def as_object(meaning: Meaning) -> dict[str, Any]:
    """The row for JSON; a null `code` stands for every code without a row of its own."""
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
    """The row for CSV and Markdown; code `*` stands for every code without a row of its own."""
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
"""The function that writes meanings in each format; tables use the width of the screen."""
