"""ICMP errors about UDP that this host sends: to whom, about which port, why, and how many it suppressed.

They are taken from the capture of outgoing packets, in both families. (Linux's event icmp:icmp_send covers IPv4 only,
and mixes all network namespaces.) The kernel counts the errors that a rate limit suppressed, per network namespace and
over all protocols.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from udpprobe.core.addresses import MAPPED_PREFIX, address_text
from udpprobe.core.model import ErrorSent, ErrorsSent, Event, Process, Quoted
from udpprobe.linux.receive_drops import MASK64
from udpprobe.linux.sockdiag import UdpSocket
from udpprobe.linux.sockets import Sockets, number_of

MOST_ROWS = 1 << 12
"""Most rows: a scan of this host draws errors about every port. Errors beyond them are only counted."""
COPY_NS = 100_000
"""A bridge and its port, both captured, show an error within this time, with the same quote."""
FORWARDED = {
    "too-big": "the next link's MTU is smaller",
    "expired": "its TTL ran out here",
    "loop": "its TTL ran out here",
    "prohibited": "a firewall or a prohibit route",
    "rejected": "a firewall",
    "refused": "a firewall",
    "unreachable": "no route, or no neighbour",
    "reassembly": "missing fragments",
}
"""Why a router does not forward a datagram, by verdict."""
NO_SOCKET_ON_PORT = "no socket is bound to the port"
Key = tuple[str, str, int | None, int, int, int]
"""Receiver; destination and port of the datagram; family, type and code of the error."""


class _Row(Struct):
    event: Event
    """The first one."""
    process: Process | None
    why: str
    quoted: Quoted
    """In the last one."""
    last_ns: int
    count: int = 1


class SentErrors:
    """Counts errors by receiver and subject.

    Args:
        sockets: of this network namespace.
        copy_ns: equal errors within this time are copies from several interfaces; 0 if one is captured.
    """

    def __init__(self, sockets: Sockets, copy_ns: int = COPY_NS) -> None:
        self._sockets, self._copy_ns = sockets, copy_ns
        self._rows: dict[Key, _Row] = {}
        self._more = 0
        self._before = rate_limited()

    def take(self, events: Iterable[Event]) -> list[Event]:
        """Count those that this host sent; return all events, with a note on each of these."""
        return [self._count(each) if each.reporter and self._sockets.is_own(each.reporter) else each for each in events]

    def _count(self, event: Event) -> Event:
        quoted = event.quoted
        key = (quoted.source, quoted.destination, quoted.destination_port, event.family, event.type, event.code)
        row = self._rows.get(key)
        if row is None:
            if len(self._rows) >= MOST_ROWS:
                self._more += 1
                return event
            row = self._rows[key] = _Row(event, *self._why(event), quoted, event.time_ns)
        elif row.quoted != quoted or not self._copy_ns or event.time_ns - row.last_ns > self._copy_ns:
            row.count, row.quoted, row.last_ns = row.count + 1, quoted, max(row.last_ns, event.time_ns)
        return replace(event, notes=(*event.notes, f"sent by this host: {row.why}"))

    def _why(self, event: Event) -> tuple[Process | None, str]:
        quoted = event.quoted
        if not self._sockets.is_own(quoted.destination):
            return None, FORWARDED.get(event.verdict or "", event.reason)
        if event.reason != "port-unreach":
            return None, "missing fragments" if event.verdict == "reassembly" else "a firewall"
        source = number_of(quoted.source), quoted.source_port
        ranked = [
            (*_reason(found, number_of(quoted.destination), source), process)
            for found, process in self._sockets.of_port(quoted.destination_port or 0)
        ]
        if not ranked:
            return None, NO_SOCKET_ON_PORT
        _, text, process = min(ranked, key=lambda one: one[0])
        return process, f"{f'{process.name}[{process.pid}]' if process else 'an unknown process'} {text}"

    def found(self) -> ErrorsSent:
        """All errors sent so far, most frequent first."""
        rows = [
            ErrorSent(
                quoted.source,
                quoted.destination,
                quoted.destination_port,
                event.verdict,
                event.reason,
                event.family,
                event.type,
                event.code,
                row.count,
                event.time_ns,
                row.last_ns,
                row.process,
                row.why,
            )
            for row in self._rows.values()
            for event in (row.event,)
            for quoted in (event.quoted,)
        ]
        rows.sort(key=lambda each: (-each.count, each.to, each.address, each.port or 0))
        held = {name: (number - self._before.get(name, 0)) & MASK64 for name, number in rate_limited().items()}
        return ErrorsSent(tuple(rows), self._more, held)


def _reason(found: UdpSocket, destination: int, source: tuple[int, int | None]) -> tuple[int, str]:
    """A rank, and why a socket on the right port got no datagram: of several, the lowest rank counts."""
    is_v4 = destination >> 32 == MAPPED_PREFIX
    if found.is_v4 and not is_v4:
        return 3, "is bound to the port over IPv4 only"
    if found.address not in {0, destination}:
        return 2, f"is bound to the port at {address_text(found.address >> 64, found.address & MASK64)} only"
    if found.is_connected and (found.peer, found.peer_port) != source:
        peer = address_text(found.peer >> 64, found.peer & MASK64)
        return 1, f"is bound to the port, but connected to port {found.peer_port} of {peer}"
    if is_v4 and not found.is_v4:
        return 0, "is bound to the port, but over IPv6 only (IPV6_V6ONLY), or a firewall rejects"
    return 0, "is bound to the port: a firewall rejects, or the socket was opened later"


def rate_limited() -> dict[str, int]:
    """ICMP errors that this network namespace suppressed, by limit; without those the kernel does not count."""
    texts = []
    for name in ("snmp", "snmp6"):
        with suppress(OSError):
            texts.append(Path(f"/proc/thread-self/net/{name}").read_text())
    return rate_limited_of("\n".join(texts))


def rate_limited_of(text: str) -> dict[str, int]:
    """Likewise, from the texts of /proc/net/snmp and snmp6."""
    found: dict[str, int] = {}
    if rows := re.search(r"^Icmp: (\D.*)\nIcmp: (.*)", text, re.MULTILINE):
        counts = dict(zip(rows[1].split(), rows[2].split(), strict=False))
        found |= {
            name: int(counts[theirs])
            for name, theirs in (("ipv4_host", "OutRateLimitHost"), ("global", "OutRateLimitGlobal"))
            if theirs in counts
        }
    if row := re.search(r"^Icmp6OutRateLimitHost\s+(\d+)", text, re.MULTILINE):
        found["ipv6_host"] = int(row[1])
    return found
