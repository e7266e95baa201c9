"""The words of reports, explained: verdicts, silences, black holes, nmap's reasons, names of errors, errnos."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from udpprobe.core.advice import ANSWER, Case, case_of_error, sentence
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, MEANINGS, VERDICTS, Meaning
from udpprobe.errors import UsageError, meant


class About(NamedTuple):
    """What there is to say of a word."""

    word: str
    kind: str
    """`verdict`, `silence`, `path MTU`, `reason`, `name` or `errno`."""
    text: str
    sender: str | None = None
    """Who sends what it stands for."""
    listener: str | None = None
    """Who hears of it."""
    advice: str | None = None
    further: str | None = None
    """A command that looks further."""


_NO_ICMP = "nobody: there is no ICMP error"
_TEXTS: Mapping[str, tuple[str, str, str, str]] = MappingProxyType(
    {
        "refused": (
            "Nothing listens on the UDP port, and the host itself says so.",
            "the destination's kernel, or its own firewall",
            "a connected socket (ECONNREFUSED), one with IP_RECVERR, a client of udpprobe icmpd; no other",
            "udpprobe scan HOST:PORT",
        ),
        "rejected": (
            "Something on the way refuses in the destination's name: port unreachable from another address.",
            "a firewall or NAT on the way",
            "as of refused: programs cannot tell the two apart",
            "udpprobe trace HOST:PORT",
        ),
        "too-big": (
            "The packet is larger than a link on the way takes.",
            "the router before that link",
            "a connected socket (EMSGSIZE), one with IP_RECVERR; the kernel remembers the MTU",
            "udpprobe mtu HOST:PORT",
        ),
        "loop": (
            "The TTL ran out, and there is evidence that routers send the packet round.",
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
            "A filter forbids the packet, and says so.",
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
            "Somebody asks for slower sending. Obsolete: RFC 6633.",
            "old routers and hosts",
            "nobody: Linux drops it",
            "udpprobe scan --rate 10 HOST:PORT",
        ),
        "malformed": (
            "A router or host cannot read the packet's headers.",
            "whoever could not read them",
            "a connected socket, and one with IP_RECVERR (EPROTO)",
            "udpprobe trace HOST:PORT",
        ),
        "answered": (
            "A UDP datagram came back from the destination.",
            _NO_ICMP,
            "the program that asked",
            "udpprobe check HOST:PORT",
        ),
        "silent": (
            (
                "Sent, and nothing came back. `meaning` says what that tells: listening-or-filtered, no-evidence or "
                "rate-limited."
            ),
            _NO_ICMP,
            "nobody",
            "udpprobe trace HOST:PORT",
        ),
        "unsent": (
            "This host did not send it: no route, its own firewall, a packet larger than the interface's MTU.",
            _NO_ICMP,
            "the program, from send itself",
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
        "no-evidence": "Silent, and no port of the host is refused: it is down, or a filter drops datagrams or errors.",
        "rate-limited": "Silent, but the host's limit on ICMP errors was used up: the port may be closed.",
    }
)
_BLACK_HOLE = About(
    "black-hole",
    "path MTU",
    "Packets above the path MTU disappear, and no router says so: it sends no ICMP error, or a filter drops the error.",
    "nobody, and that is the fault",
    "nobody; programs see timeouts, for large datagrams only",
    "Have ICMP 3/4 (fragmentation needed) and ICMPv6 2 (packet too big) sent and let through; until then, set the MTU "
    "of the route to HOST to what fits.",
    "udpprobe mtu HOST:PORT",
)
_NMAP = MappingProxyType(
    {
        ANSWER: About(
            ANSWER,
            "reason",
            "A UDP datagram came back. In a finding of a report: from another address or port than was asked.",
            _NO_ICMP,
            "the program that asked; not a connected socket where it is another address or port",
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
"""Of nmap's reasons, those that are no ICMP errors."""
_SOME = "the reporter"


def known_words() -> list[str]:
    """Every word there is to explain."""
    rows = {word for row in MEANINGS for word in (row.reason, row.name, row.connected, row.recverr, row.errno) if word}
    return [*VERDICTS, *_SILENCE, _BLACK_HOLE.word, *_NMAP, *sorted(rows - set(VERDICTS))]


def explained(word: str) -> tuple[About, tuple[Meaning, ...]]:
    """What a word means, in upper or lower case, and the ICMP errors that it stands for.

    Raises:
        UsageError: it is no word of a report.
    """
    asked, word = word, word.lower()
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
        f"{asked!r} is no word of a report"
        + (
            meant(asked, known_words())
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
    """What reports advise, about a destination that has no name."""
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
"""What people look up that is no error (RFC 792, RFC 4443, RFC 4861)."""
_REDIRECT = (
    "the datagram was forwarded, and the host is told of a shorter way (RFC 792; RFC 4861, 8); "
    "`ip route get HOST` shows what it learnt"
)


def no_error(family: int, icmp_type: int) -> str | None:
    """What a type is that is no error; None for one that is, or that nobody looks up."""
    what = NO_ERRORS.get((family, icmp_type))
    if what is None:
        return None
    protocol = "ICMP" if family == 4 else "ICMPv6"
    more = f": {_REDIRECT}" if what == "a redirect" else ""
    return f"{protocol} type {icmp_type} is {what}, and no error{more}"
