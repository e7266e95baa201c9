"""Autonomous systems by Team Cymru's zone: https://www.team-cymru.com/ip-asn-mapping, asked over DNS.

The standard library asks for addresses and names only, so the two questions in TXT are built here. They go to the
host's own resolvers. What comes back is from the network: whatever is no answer to the question is no name.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import struct
from contextlib import closing
from functools import lru_cache
from pathlib import Path

RESOLV_CONF = Path("/etc/resolv.conf")
PORT, MOST_SERVERS = 53, 3
"""resolv.conf(5): as many as the system's resolver asks."""
PATIENCE_S = 2.0
"""For each of them. A report waits for a second in all; a live screen shows what comes later."""
TXT, IN, RECURSION_DESIRED = 16, 1, 0x0100
RESPONSE, TRUNCATED, RCODE = 0x8000, 0x0200, 0x000F
MOST_BYTES, POINTER = 4096, 0xC0
_HEADER, _QUESTION, _RECORD = struct.Struct("!6H"), struct.Struct("!2H"), struct.Struct("!2HIH")


def system_of(address: str) -> str:
    """`AS64500 EXAMPLE, DE`; empty for nothing known, and for an address that is in nobody's network.

    Args:
        address: in text, perhaps with a zone.
    """
    found = ipaddress.ip_address(address.partition("%")[0])
    if not found.is_global or found.is_multicast:
        return ""
    zone = "origin.asn.cymru.com" if found.version == 4 else "origin6.asn.cymru.com"
    # 64500 64501 | 192.0.2.0/24 | DE | ripencc | 2001-01-01: every system that announces it
    numbers, *rest = _fields(_text_of(f"{found.reverse_pointer.rpartition('.')[0].rpartition('.')[0]}.{zone}"))
    number = numbers.partition(" ")[0]
    if not number.isdecimal():
        return ""
    return _owner_of(number) or ", ".join(filter(None, (f"AS{number}", rest[1] if len(rest) > 1 else "")))


@lru_cache(1 << 12)
def _owner_of(number: str) -> str:
    # 64500 | DE | ripencc | 2001-01-01 | EXAMPLE-AS Example, DE
    fields = _fields(_text_of(f"AS{number}.asn.cymru.com"))
    return f"AS{number} {fields[4]}" if len(fields) > 4 and fields[4] else ""


def _fields(text: str) -> list[str]:
    return [each.strip() for each in text.split("|")]


def _text_of(name: str) -> str:
    """What the first resolver that answers says in TXT."""
    for server in _servers():
        try:
            return _asked(server, name)
        except (OSError, ValueError, struct.error, IndexError):  # a bad answer is as good as none
            continue
    return ""


def _servers() -> list[str]:
    try:
        words = [line.split() for line in RESOLV_CONF.read_text("utf-8", "replace").splitlines()]
    except OSError:
        words = []
    return [each[1] for each in words if each[:1] == ["nameserver"] and len(each) > 1][:MOST_SERVERS] or ["127.0.0.1"]


def _asked(server: str, name: str) -> str:
    """What a resolver says.

    Raises:
        OSError: it says nothing in time, or refuses.
        ValueError: it says something else (so do struct.error and IndexError).
    """
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    question = labels + b"\0" + _QUESTION.pack(TXT, IN)
    number = secrets.randbits(16)
    family, kind, protocol, _, where = socket.getaddrinfo(
        server, PORT, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    with closing(socket.socket(family, kind, protocol)) as asking:
        asking.settimeout(PATIENCE_S)
        asking.connect(where)  # from anywhere else nothing is heard
        asking.send(_HEADER.pack(number, RECURSION_DESIRED, 1, 0, 0, 0) + question)
        return _answer_in(asking.recv(MOST_BYTES), number, question)


def _answer_in(data: bytes, number: int, question: bytes) -> str:
    """The text of the first TXT record; RFC 1035, section 4."""
    got, flags, _, answers, _, _ = _HEADER.unpack_from(data)
    at = _HEADER.size + len(question)
    # names are compared without case: a resolver may have mixed it
    if got != number or not flags & RESPONSE or data[_HEADER.size : at].lower() != question.lower():
        raise ValueError("no answer to this question")
    if flags & (TRUNCATED | RCODE):
        return ""
    for _ in range(answers):
        while (length := data[at]) and length < POINTER:
            at += 1 + length
        at += 2 if length else 1
        kind, _, _, size = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if at + size > len(data):
            raise ValueError("cut short")
        if kind == TXT:
            return _strings(data[at : at + size])
        at += size
    return ""


def _strings(data: bytes) -> str:
    """Character strings in a row, as one."""
    text, at = b"", 0
    while at < len(data):
        text += data[at + 1 : at + 1 + data[at]]
        at += 1 + data[at]
    return text.decode("utf-8", "replace")
