"""Services that a port may speak: the answer is made of the request's bytes and the time alone."""

from __future__ import annotations

import struct
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

_DNS = struct.Struct("!HH4H")
"""Id, flags, and how many questions, answers, authorities and others there are (RFC 1035, 4.1.1)."""
_RESPONSE, _OPCODE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x7800, 0x0100, 0x0080
_FORMAT_ERROR, _NOT_IMPLEMENTED = 1, 4
_QUESTION_AT = 0xC000 | _DNS.size
"""A pointer to the name asked for (RFC 1035, 4.1.4)."""
_RECORDS = {
    (1, 1): IPv4Address("192.0.2.53").packed,
    (28, 1): IPv6Address("2001:db8::53").packed,
}
"""By type and class, what any name has: addresses that belong to nobody (RFC 5737; RFC 3849)."""
_RECORD_TTL_S = 60


class _Question(NamedTuple):
    raw: bytes
    kind: tuple[int, int]
    """Type and class."""


def dns(request: bytes, now_ns: int) -> bytes | None:   # noqa: ARG001 - as every service
    """A resolver's answer to one question: one address for every name (RFC 1035); None for what is no query.

    It knows no EDNS, and leaves that to be seen from the answer (RFC 6891, 7). Bytes behind the question are ignored.
    """
    if len(request) < _DNS.size:
        return None
    identity, flags, questions = _DNS.unpack_from(request)[:3]
    if flags & _RESPONSE:
        return None
    said = _RESPONSE | _RECURSION_AVAILABLE | flags & (_OPCODE | _RECURSION_DESIRED)
    asked = _question(request) if questions == 1 else None
    if asked is None or flags & _OPCODE:
        return _DNS.pack(identity, said | (_NOT_IMPLEMENTED if flags & _OPCODE else _FORMAT_ERROR), 0, 0, 0, 0)
    record = _record(asked)
    return _DNS.pack(identity, said, 1, bool(record), 0, 0) + asked.raw + record


def _question(request: bytes) -> _Question | None:
    at = _DNS.size
    while 0 < (size := int.from_bytes(request[at:at + 1])) < 64:
        at += 1 + size
    end = at + 5    # the root label, type, class
    if len(request) < end or request[at] or at - _DNS.size > 254:
        return None
    return _Question(request[_DNS.size:end], struct.unpack_from("!HH", request, at + 1))


def _record(asked: _Question) -> bytes:
    data = _RECORDS.get(asked.kind, b"")
    return struct.pack("!HHHIH", _QUESTION_AT, *asked.kind, _RECORD_TTL_S, len(data)) + data if data else b""


_NTP = struct.Struct("!BBBbII4s8s8s8s8s")
"""Leap, version and mode; stratum, poll, precision, root delay and dispersion, id, four times (RFC 5905, 7.3)."""
_NTP_EPOCH_S = 2_208_988_800
"""From 1900 to 1970."""
_CLIENT, _SERVER = 3, 4
_PRECISION = -20
"""2 to the power of this, in seconds: a microsecond."""


def ntp(request: bytes, now_ns: int) -> bytes | None:
    """A primary server's answer, whose clock is the lab's (RFC 5905, 9.2); None for what is no client's request."""
    if len(request) < _NTP.size or request[0] & 7 != _CLIENT:
        return None
    now, mode = _ntp_time(now_ns), request[0] & 0x38 | _SERVER      # the client's version
    return _NTP.pack(mode, 1, request[2], _PRECISION, 0, 0, b"LOCL", now, request[40:48], now, now)


def _ntp_time(now_ns: int) -> bytes:
    """Seconds since 1900, and 2**-32 of them (RFC 5905, 6)."""
    seconds, rest_ns = divmod(now_ns, 1_000_000_000)
    return struct.pack("!II", seconds + _NTP_EPOCH_S & 0xFFFF_FFFF, (rest_ns << 32) // 1_000_000_000)


SERVICES: dict[str, Callable[[bytes, int], bytes | None]] = {"dns": dns, "ntp": ntp}
"""By the name that a scenario may use: what answers a request at a time; None: nothing."""
