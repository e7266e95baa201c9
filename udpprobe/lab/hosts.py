"""What a host answers to what has arrived: datagrams, pings, segments."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from udpprobe.lab import packets
from udpprobe.lab.headers import flaws
from udpprobe.lab.links import ns
from udpprobe.lab.model import DONT_FRAGMENT, ICMP, ICMPV6, KINDS, TCP, UDP, Address, Kind, Packet
from udpprobe.lab.packets import Datagram
from udpprobe.lab.services import SERVICES
from udpprobe.lab.spec import Answer, NodeSpec

_NO_NEXT_HEADER = 59


@dataclass(frozen=True, slots=True)
class Reply:
    """What a node sends; the rest of the header is its own affair."""

    source: Address
    destination: Address
    protocol: int
    payload: bytes
    tos: int = 0
    flags: int = 0
    wait_ns: int = 0


class Host:
    """The upper layers of a node.

    Args:
        spec: of the node.
    """

    def __init__(self, spec: NodeSpec) -> None:
        self._spec = spec
        self._ports = spec.ports

    def replies(self, packet: Packet, now_ns: int) -> Iterator[Reply | Kind]:
        """What it answers to a whole packet at a time, or the error that it wants to send."""
        if (found := flaws(packet)) is not None:
            yield from found
            return
        handlers = {ICMP: self._ping, ICMPV6: self._ping, UDP: self._datagram, TCP: self._segment}
        if packet.protocol in handlers:
            yield from handlers[packet.protocol](packet, now_ns)
        elif packet.protocol != _NO_NEXT_HEADER:
            yield _unknown_protocol(packet)

    def _ping(self, packet: Packet, _: int) -> Iterator[Reply | Kind]:
        if self._spec.ping and (message := packets.echo_reply(packet)):
            # RFC 1349, 5.1; Linux does so in IPv6, too
            yield Reply(packet.destination, packet.source, packet.protocol, message, packet.tos)

    def _segment(self, packet: Packet, _: int) -> Iterator[Reply | Kind]:
        """No port is open; silence would make a client of TCP wait for minutes."""
        if message := packets.tcp_reset(packet):
            yield Reply(packet.destination, packet.source, TCP, message)

    def _datagram(self, packet: Packet, now_ns: int) -> Iterator[Reply | Kind]:
        asked = packets.datagram(packet)
        if asked is None:
            return
        answer = self._answer(asked.destination_port)
        if answer.refuse:
            yield KINDS["port-unreachable"][packet.family]
        else:
            yield from _answers(packet, asked, answer, now_ns)

    def _answer(self, port: int) -> Answer:
        return next((answer for low, high, answer in self._ports if low <= port <= high), self._spec.otherwise)


def _answers(packet: Packet, asked: Datagram, answer: Answer, now_ns: int) -> Iterator[Reply]:
    data = SERVICES[answer.like](asked.data, now_ns) if answer.like else answer.data
    if data is None and not answer.echo:
        return
    source = next((each.ip for each in answer.from_address if each.version == packet.family), packet.destination)
    said = Datagram(answer.from_port or asked.destination_port, asked.source_port, asked.data if data is None else data)
    reply = Reply(source, packet.source, UDP, packets.udp(source, packet.source, said),
                  flags=DONT_FRAGMENT, wait_ns=ns(answer.delay_ms))
    yield from [reply] * answer.times


def _unknown_protocol(packet: Packet) -> Kind:
    """In IPv6 a parameter problem that points at the number (RFC 8200, 4)."""
    kind = KINDS["proto-unreachable"][packet.family]
    if packet.extensions:
        before = sum(1 + len(body) for _, body in packet.extensions[:-1])
        return kind._replace(word=40 + before)
    return kind
