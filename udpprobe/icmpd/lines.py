"""The daemon's JSON: a line for what was registered, one an error, one for what was dropped.

An error's fields are those of `analyze --events`, but for what a daemon that saw no datagram leave cannot know; the
interface it came by and the client's socket are added.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

from udpprobe import __version__
from udpprobe.core.addresses import address_text
from udpprobe.core.batch import I64, U8
from udpprobe.core.extensions import extensions_of
from udpprobe.core.following.events import quoted_of
from udpprobe.core.model import Model, Quoted
from udpprobe.core.notes import texts_of
from udpprobe.core.packets import Errors
from udpprobe.core.summaries.findings import reported_by_itself
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, meaning_of, verdict_of
from udpprobe.icmpd.registry import UdpSocket
from udpprobe.reports.json import plain

SCHEMA = "udpprobe.icmpd/1"
STATUS_SCHEMA = "udpprobe.icmpd.status/1"
_NAMES = tuple(column.name for column in fields(Errors))


class Told(Model, frozen=True):
    """An error as a client hears it; the fields are those of `core.model.Event`."""

    kind: str
    time_ns: int
    family: int
    type: int
    code: int
    verdict: str | None
    errno: str | None
    reason: str
    reporter: str
    mtu: int | None
    interface: int | None
    """Index of the interface it came by."""
    quoted: Quoted
    extensions: tuple[dict[str, Any], ...] | None
    notes: tuple[str, ...]


def line(**values: Any) -> bytes:  # noqa: ANN401 - JSON's values have no narrower type
    """One object, on one line, in ASCII: nothing in it can break the line."""
    return json.dumps(values, separators=(",", ":")).encode() + b"\n"


def errors_told(errors: Errors, interface: I64, data: U8) -> Iterator[bytes]:
    """An object an error, without its closing brace: `with_socket` ends it.

    Args:
        errors: all with ports; their `message` points into `data`.
        interface: (n,) index of the interface each one came by.
        data: the bytes they were read from.
    """
    columns = zip(*(getattr(errors, name).tolist() for name in _NAMES), strict=True)
    others = zip(columns, interface.tolist(), reported_by_itself(errors).tolist(), strict=True)
    for values, index, itself in others:
        error = dict(zip(_NAMES, values, strict=True))
        message = data[error["message"]:error["message_end"]].tobytes()
        yield line(**plain(_told(error, index, bool(itself), message)))[:-2]


def _told(error: dict[str, int], interface: int, itself: bool, message: bytes) -> Told:
    family = error["family"]
    meaning = meaning_of(family, error["type"], error["code"])
    verdict = verdict_of(meaning, itself=itself, loop=False)
    objects, more = extensions_of(message, family)
    return Told(
        kind="error", time_ns=error["time_ns"], family=family, type=error["type"], code=error["code"],
        verdict=verdict, errno=ERRNO_OF_VERDICT.get(verdict or ""), reason=meaning.reason,
        reporter=address_text(error["reporter_high"], error["reporter_low"]),
        mtu=error["mtu"] if error["mtu"] >= 0 else None, interface=interface or None, quoted=quoted_of(error),
        extensions=objects, notes=texts_of(error["notes"] | more, error["length"], family))


def with_socket(told: bytes, handed: UdpSocket) -> bytes:
    """The whole line of an error for one client."""
    return told + b',"socket":' + line(**socket_object(handed))[:-1] + b"}\n"


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
