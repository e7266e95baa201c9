"""A host's answers: to datagrams, pings, TCP segments, and IPv6 extension headers that it rejects."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

from udpprobe.lab import packets
from udpprobe.lab.model import DONT_FRAGMENT, ICMP, ICMPV6, KINDS, TCP, UDP, Address, ErrorKind, IpPacket, ns
from udpprobe.lab.packets import Datagram
from udpprobe.lab.scenario import NodeSpec, ServiceSpec

_NO_NEXT_HEADER = 59


@dataclass(frozen=True, slots=True)
class Response:
    """What a node sends; it sets the rest of the header itself."""

    source: Address
    destination: Address
    protocol: int
    payload: bytes
    tos: int = 0
    flags: int = 0
    wait_ns: int = 0


class HostStack:
    """The upper layers of a node.

    Args:
        spec: of the node.
    """

    def __init__(self, spec: NodeSpec) -> None:
        self._spec = spec
        self._ports = spec.ports

    def replies(self, packet: IpPacket, now_ns: int) -> Iterator[Response | ErrorKind]:
        """The answers to a whole packet at a time, or the error to send."""
        if (found := flaws(packet)) is not None:
            yield from found
            return
        handlers = {ICMP: self._ping, ICMPV6: self._ping, UDP: self._datagram, TCP: self._segment}
        if packet.protocol in handlers:
            yield from handlers[packet.protocol](packet, now_ns)
        elif packet.protocol != _NO_NEXT_HEADER:
            yield _unknown_protocol(packet)

    def _ping(self, packet: IpPacket, _: int) -> Iterator[Response | ErrorKind]:
        if self._spec.ping and (message := packets.echo_reply(packet)):
            # RFC 1349, 5.1; Linux does so in IPv6, too
            yield Response(packet.destination, packet.source, packet.protocol, message, packet.tos)

    def _segment(self, packet: IpPacket, _: int) -> Iterator[Response | ErrorKind]:
        """No port is open; silence would make a TCP client wait for minutes."""
        if message := packets.tcp_reset(packet):
            yield Response(packet.destination, packet.source, TCP, message)

    def _datagram(self, packet: IpPacket, now_ns: int) -> Iterator[Response | ErrorKind]:
        request = packets.datagram(packet)
        if request is None:
            return
        answer = self._answer(request.destination_port)
        if answer.refuse:
            yield KINDS["port-unreachable"][packet.family]
        else:
            yield from _answers(packet, request, answer, now_ns)

    def _answer(self, port: int) -> ServiceSpec:
        return next((answer for low, high, answer in self._ports if low <= port <= high), self._spec.otherwise)


def _answers(packet: IpPacket, request: Datagram, answer: ServiceSpec, now_ns: int) -> Iterator[Response]:
    data = SERVICES[answer.like](request.data, now_ns) if answer.like else answer.data
    if data is None and not answer.echo:
        return
    source = next((each.ip for each in answer.from_address if each.version == packet.family), packet.destination)
    said = Datagram(
        answer.from_port or request.destination_port, request.source_port, request.data if data is None else data
    )
    reply = Response(
        source,
        packet.source,
        UDP,
        packets.udp(source, packet.source, said),
        flags=DONT_FRAGMENT,
        wait_ns=ns(answer.delay_ms),
    )
    yield from [reply] * answer.times


def _unknown_protocol(packet: IpPacket) -> ErrorKind:
    """In IPv6 a parameter problem with a pointer to the next-header field (RFC 8200, 4)."""
    kind = KINDS["proto-unreachable"][packet.family]
    if packet.extensions:
        before = sum(1 + len(body) for _, body in packet.extensions[:-1])
        return kind._replace(word=40 + before)
    return kind


_HOP_BY_HOP, _ROUTING, _DESTINATION = 0, 43, 60
_FIRST_NAMED_AT = 6
"""Offset of the next-header field in the IPv6 header."""
_PAD = 0
_TAKEN = {0xC2, 0xC9}
"""Options that may not be skipped if unknown, but are known: jumbo payload and home address."""
_IN_SILENCE = 1
"""Highest bits of an unknown option that drops its packet silently; 2 and 3: with an error."""


def flaws(packet: IpPacket) -> list[ErrorKind] | None:
    """The errors for a packet that must be dropped, maybe none; None if it is accepted."""
    named_at, at = _FIRST_NAMED_AT, 40
    for number, body in packet.extensions:
        if number == _HOP_BY_HOP and named_at != _FIRST_NAMED_AT:
            return [ErrorKind(4, 1, named_at)]
        found = _route(body, at) if number == _ROUTING else _options(number, body, at)
        if found is not None:
            return found
        named_at, at = at, at + 1 + len(body)
    return None


def _route(body: bytes, at: int) -> list[ErrorKind] | None:
    """No host here forwards by a routing header (4.4)."""
    segments_left = body[2]
    return [ErrorKind(4, 0, at + 2)] if segments_left else None


def _options(number: int, body: bytes, at: int) -> list[ErrorKind] | None:
    place = 1
    while number in {_HOP_BY_HOP, _DESTINATION} and place < len(body):
        option = body[place]
        action = 0 if option in _TAKEN else option >> 6
        if action:
            return [] if action == _IN_SILENCE else [ErrorKind(4, 2, at + 1 + place)]
        place += 1 if option == _PAD else 2 + int.from_bytes(body[place + 1 : place + 2])
    return None


_DNS = struct.Struct("!HH4H")
"""Id, flags, and number of questions, answers, authorities and additional records (RFC 1035, 4.1.1)."""
_RESPONSE, _OPCODE, _RECURSION_DESIRED, _RECURSION_AVAILABLE = 0x8000, 0x7800, 0x0100, 0x0080
_FORMAT_ERROR, _NOT_IMPLEMENTED = 1, 4
_QUESTION_AT = 0xC000 | _DNS.size
"""A pointer to the queried name (RFC 1035, 4.1.4)."""
_RECORDS = {
    (1, 1): IPv4Address("192.0.2.53").packed,
    (28, 1): IPv6Address("2001:db8::53").packed,
}
"""By type and class, the record of any name: addresses reserved for documentation (RFC 5737; RFC 3849)."""
_RECORD_TTL_S = 60


class _Question(NamedTuple):
    raw: bytes
    kind: tuple[int, int]
    """Type and class."""


def dns(request: bytes, now_ns: int) -> bytes | None:  # noqa: ARG001 - as every service
    """A resolver's answer to one question: one address for every name (RFC 1035); None if it is no query.

    It does not know EDNS, as the answer shows (RFC 6891, 7). Bytes after the question are ignored.
    """
    if len(request) < _DNS.size:
        return None
    identity, flags, questions = _DNS.unpack_from(request)[:3]
    if flags & _RESPONSE:
        return None
    said = _RESPONSE | _RECURSION_AVAILABLE | flags & (_OPCODE | _RECURSION_DESIRED)
    question = _question(request) if questions == 1 else None
    if question is None or flags & _OPCODE:
        return _DNS.pack(identity, said | (_NOT_IMPLEMENTED if flags & _OPCODE else _FORMAT_ERROR), 0, 0, 0, 0)
    record = _record(question)
    return _DNS.pack(identity, said, 1, bool(record), 0, 0) + question.raw + record


def _question(request: bytes) -> _Question | None:
    at = _DNS.size
    while 0 < (size := int.from_bytes(request[at : at + 1])) < 64:
        at += 1 + size
    end = at + 5  # the root label, type, class
    if len(request) < end or request[at] or at - _DNS.size > 254:
        return None
    return _Question(request[_DNS.size : end], struct.unpack_from("!HH", request, at + 1))


def _record(question: _Question) -> bytes:
    data = _RECORDS.get(question.kind, b"")
    return struct.pack("!HHHIH", _QUESTION_AT, *question.kind, _RECORD_TTL_S, len(data)) + data if data else b""


_NTP = struct.Struct("!BBBbII4s8s8s8s8s")
"""Leap, version and mode; stratum, poll, precision, root delay and dispersion, id, four times (RFC 5905, 7.3)."""
_NTP_EPOCH_S = 2_208_988_800
"""From 1900 to 1970."""
_CLIENT, _SERVER = 3, 4
_PRECISION = -20
"""Exponent of 2, in seconds: a microsecond."""


def ntp(request: bytes, now_ns: int) -> bytes | None:
    """A primary server's answer, with the lab's clock (RFC 5905, 9.2); None if it is no client's request."""
    if len(request) < _NTP.size or request[0] & 7 != _CLIENT:
        return None
    now, mode = _ntp_time(now_ns), request[0] & 0x38 | _SERVER  # the client's version
    return _NTP.pack(mode, 1, request[2], _PRECISION, 0, 0, b"LOCL", now, request[40:48], now, now)


def _ntp_time(now_ns: int) -> bytes:
    """Seconds since 1900, and units of 2^-32 s (RFC 5905, 6)."""
    seconds, rest_ns = divmod(now_ns, 1_000_000_000)
    return struct.pack("!II", seconds + _NTP_EPOCH_S & 0xFFFF_FFFF, (rest_ns << 32) // 1_000_000_000)


SERVICES: dict[str, Callable[[bytes, int], bytes | None]] = {"dns": dns, "ntp": ntp}
"""By the name in a scenario: returns the answer to a request at a time, or None."""
