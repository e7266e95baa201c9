"""The daemon's JSON: a line for what was registered, one an error, one for what was dropped.

An error's fields are those of `analyze --events`, but for what a daemon that saw no datagram leave cannot know; the
interface it came by and the client's socket are added.
"""

from __future__ import annotations

from typing import Any

from udpprobe import __version__
from udpprobe.core.addresses import address_text
from udpprobe.core.extensions import extensions_of
from udpprobe.core.model import quoted_of
from udpprobe.core.mtu import mtu_notes
from udpprobe.core.notes import texts_of
from udpprobe.core.rows import Packet
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, meaning_of, verdict_of
from udpprobe.icmpd.registry import UdpSocket
from udpprobe.reports.json import encoded
from udpprobe.reports.text import rfc3339

SCHEMA = "udpprobe.icmpd/1"
STATUS_SCHEMA = "udpprobe.icmpd.status/1"


def line(**values: Any) -> bytes:  # noqa: ANN401 - JSON's values have no narrower type
    """One object, on one line, in ASCII: nothing in it can break the line."""
    return encoded(values).encode() + b"\n"


def error_object(error: Packet, interface: int) -> dict[str, Any]:
    """What a client is told of an error, but for its socket; the fields are those of `core.model.Event`.

    Args:
        error: with ports.
        interface: index of the interface it came by; 0 where that is not known.
    """
    family = error.family
    meaning = meaning_of(family, error.icmp_type, error.icmp_code)
    verdict = verdict_of(meaning, itself=error.reporter == error.destination, loop=False)
    objects, more = extensions_of(error.data, family)
    notes = error.notes | more | mtu_notes(family, error.mtu, error.length)
    return {
        "kind": "error", "time": rfc3339(error.time_ns), "family": family, "type": error.icmp_type,
        "code": error.icmp_code, "verdict": verdict, "errno": ERRNO_OF_VERDICT.get(verdict or ""),
        "reason": meaning.reason, "reporter": address_text(*error.reporter),
        "mtu": error.mtu if error.mtu >= 0 else None, "interface": interface or None,
        "quoted": quoted_of(error), "extensions": objects,
        "notes": texts_of(notes, error.length, family)}


def error_line(told: dict[str, Any], handed: UdpSocket) -> bytes:
    """The line of an error for one client."""
    return line(**told, socket=socket_object(handed))


def socket_object(handed: UdpSocket) -> dict[str, Any]:
    """What a client's socket was when it was handed over; no address where it was bound to none."""
    peer = handed.peer and {"address": _text(handed.peer[0]), "port": handed.peer[1]}
    return {"family": handed.family, "address": _text(handed.address) if handed.address else None,
            "port": handed.port, "peer": peer}


def registered(handed: UdpSocket) -> bytes:
    """The first line, where all is well."""
    return line(schema=SCHEMA, kind="registered", version=__version__, socket=socket_object(handed))


def refused(reason: str) -> bytes:
    """The first and last line, where it is not."""
    return line(schema=SCHEMA, kind="refused", version=__version__, reason=reason)


def dropped(count: int) -> bytes:
    """So many errors are missing here, for the client did not read."""
    return line(kind="dropped", count=count)


def closed() -> bytes:
    """The registered UDP socket is gone; nothing more will be told of it."""
    return line(kind="closed")


def _text(address: int) -> str:
    return address_text(address >> 64, address & (1 << 64) - 1)
