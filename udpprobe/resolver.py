"""Names of addresses, looked up in the background: reverse DNS, and AS numbers from a local file or over DNS.

A look-up never delays anything: it runs in a daemon thread, and callers wait for at most a second in total.
"""

from __future__ import annotations

import ipaddress
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import closing
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from random import SystemRandom
from typing import Any

from udpprobe.errors import UdpprobeError
from udpprobe.files import require_regular

AT_ONCE = 16
"""Look-ups at a time."""
PATIENCE_S = 1.0
"""Seconds to wait for names, from the first request on."""
MOST = 4096
"""Most addresses that are looked up; a report may have a million."""


class Names:
    """Names of addresses.

    Args:
        dns: whether to ask DNS.
        asn_db: a file of autonomous systems, in MaxMind's format.
        asn_dns: whether to ask Team Cymru for those that the file lacks.

    Raises:
        UdpprobeError: the file cannot be read, or the library that reads it is missing.
    """

    def __init__(self, *, dns: bool = True, asn_db: str | None = None, asn_dns: bool = False) -> None:
        self._systems = _Systems(asn_db) if asn_db else None
        self._lookups: list[Callable[[str], str]] = [*([_name_of] if dns else []), *([system_of] if asn_dns else [])]
        self._found: dict[tuple[str, Callable[[str], str]], str] = {}
        self._queried: set[str] = set()
        self._waiting: SimpleQueue[tuple[str, Callable[[str], str]]] = SimpleQueue()
        self._threads = 0
        self._news = threading.Condition()
        self._began_s: float | None = None

    def ask(self, addresses: Iterable[str | None]) -> None:
        """Begin to look up new addresses."""
        for address in addresses:
            if address and address not in self._queried and len(self._queried) < MOST:
                self._queried.add(address)
                for lookup in self._lookups:
                    self._began_s = self._began_s or time.monotonic()
                    self._waiting.put((address, lookup))
                    self._start()

    def _start(self) -> None:
        if self._threads < AT_ONCE:
            self._threads += 1
            threading.Thread(target=self._work, name="names", daemon=True).start()

    def _work(self) -> None:
        while True:
            address, lookup = self._waiting.get()
            name = lookup(address)
            with self._news:
                self._found[address, lookup] = name
                self._news.notify_all()

    def wait(self, most_s: float = PATIENCE_S) -> None:
        """Wait for all look-ups, until the time is over, or the caller's own."""
        if self._began_s is None:
            return
        with self._news:
            self._news.wait_for(
                lambda: len(self._found) >= len(self._queried) * len(self._lookups),
                max(min(self._began_s + PATIENCE_S - time.monotonic(), most_s), 0),
            )

    def of(self, address: str) -> str:
        """What is known: `router.example, AS64500 Example, DE`; empty for nothing."""
        system = (self._systems.of(address) if self._systems else "") or self._found.get((address, system_of), "")
        return ", ".join(filter(None, (self._found.get((address, _name_of), ""), system)))


def _name_of(address: str) -> str:
    try:
        name, _ = socket.getnameinfo((address.partition("%")[0], 0), socket.NI_NAMEREQD)
    except (OSError, UnicodeError):
        return ""
    return name.rstrip(".")


class _Systems:
    """Autonomous systems by address, as MaxMind, DB-IP and IPinfo publish them."""

    def __init__(self, path: str) -> None:
        try:
            import maxminddb  # noqa: PLC0415 - an extra
        except ImportError:
            raise UdpprobeError("--asn-db needs maxminddb; install udpprobe[asn]") from None
        try:
            require_regular(path)
            self._file = maxminddb.open_database(path)
        except OSError as error:
            raise UdpprobeError(f"cannot read {path}: {error.strerror or error}") from error
        except (maxminddb.InvalidDatabaseError, ValueError) as error:
            raise UdpprobeError(f"{path} is not a MaxMind database") from error
        self._broken: tuple[type[Exception], ...] = (maxminddb.InvalidDatabaseError, ValueError)

    def of(self, address: str) -> str:
        """`AS64500 Example, DE`."""
        try:
            found = self._file.get(address.partition("%")[0])
        except self._broken:
            return ""
        return _system_text(found) if isinstance(found, dict) else ""


def _system_text(found: dict[str, Any]) -> str:
    number = found.get("autonomous_system_number") or str(found.get("asn") or "").upper().removeprefix("AS")
    owner = found.get("autonomous_system_organization") or found.get("as_name") or found.get("name") or ""
    country: Any = found.get("country") or found.get("country_code") or ""
    if isinstance(country, dict):
        country = country.get("iso_code") or ""
    system = " ".join(str(part) for part in (f"AS{number}" if number else "", owner) if part)
    return ", ".join(filter(None, (system, str(country))))


RESOLV_CONF = Path("/etc/resolv.conf")
DNS_PORT, MOST_SERVERS = 53, 3
"""resolv.conf(5): as many as the system's resolver asks."""
DNS_PATIENCE_S = 2.0
"""For each of them. A report waits for a second in total; a live screen shows later results too."""
TXT, IN, RECURSION_DESIRED = 16, 1, 0x0100
RESPONSE, TRUNCATED, RCODE = 0x8000, 0x0200, 0x000F
MOST_BYTES, POINTER = 4096, 0xC0
_HEADER, _QUESTION, _RECORD = struct.Struct("!6H"), struct.Struct("!2H"), struct.Struct("!2HIH")


def system_of(address: str) -> str:
    """`AS64500 EXAMPLE, DE`; empty if unknown, or if no network announces the address.

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
    """The TXT record from the first resolver that answers."""
    for server in _servers():
        try:
            return _query(server, name)
        except (OSError, ValueError, struct.error, IndexError):  # a bad answer is as good as none
            continue
    return ""


def _servers() -> list[str]:
    try:
        words = [line.split() for line in RESOLV_CONF.read_text("utf-8", "replace").splitlines()]
    except OSError:
        words = []
    return [each[1] for each in words if each[:1] == ["nameserver"] and len(each) > 1][:MOST_SERVERS] or ["127.0.0.1"]


def _query(server: str, name: str) -> str:
    """A resolver's answer.

    Raises:
        OSError: it does not answer in time, or refuses.
        ValueError: the answer is invalid (so do struct.error and IndexError).
    """
    labels = b"".join(bytes((len(label),)) + label.encode() for label in name.split("."))
    question = labels + b"\0" + _QUESTION.pack(TXT, IN)
    number = SystemRandom().getrandbits(16)  # `secrets` does the same but loads OpenSSL
    family, kind, protocol, _, where = socket.getaddrinfo(
        server, DNS_PORT, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST
    )[0]
    with closing(socket.socket(family, kind, protocol)) as udp:
        udp.settimeout(DNS_PATIENCE_S)
        udp.connect(where)  # accept answers from there only
        udp.send(_HEADER.pack(number, RECURSION_DESIRED, 1, 0, 0, 0) + question)
        return _answer_in(udp.recv(MOST_BYTES), number, question)


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
