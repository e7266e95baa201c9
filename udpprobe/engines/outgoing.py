"""Probes one by one, as a kernel socket takes them: to whom, with which TTL, which bytes."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Sequence

from msgspec import Struct

from udpprobe.core.probe import Batch

HEADER_BYTES = {4: 28, 6: 48}
"""IP and UDP header, by family."""

Address = tuple[str, int] | tuple[str, int, int, int]
"""As the socket module writes it: host and port, of IPv6 also flow and zone."""

AF = {4: socket.AF_INET, 6: socket.AF_INET6}
TTL_OPTION = {4: (socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)}
SOURCE_AT, TTL_AT = {4: slice(12, 16), 6: slice(8, 24)}, {4: 8, 6: 7}


class Outgoing(Struct):
    """A probe, crafted."""

    task: int
    attempt: int
    zone: int
    packet: bytes
    """The whole IP packet, as the core knows it; the kernel takes its own IP id or flow label."""
    sent_ns: int = 0
    """When it left, nanoseconds since 1970."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.packet[0] >> 4

    @property
    def data(self) -> bytes:
        """What the UDP datagram carries."""
        return self.packet[HEADER_BYTES[self.family] :]

    @property
    def source(self) -> bytes:
        """4 or 16 bytes."""
        return self.packet[SOURCE_AT[self.family]]

    @property
    def destination(self) -> bytes:
        """4 or 16 bytes."""
        at = SOURCE_AT[self.family]
        return self.packet[at.stop : 2 * at.stop - at.start]

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port."""
        source, destination = struct.unpack_from("!HH", self.packet, HEADER_BYTES[self.family] - 8)
        return source, destination

    @property
    def ttl_option(self) -> list[tuple[int, int, bytes]]:
        """The TTL or hop limit, as ancillary data for sendmsg."""
        return [(*TTL_OPTION[self.family], struct.pack("i", self.packet[TTL_AT[self.family]]))]

    @property
    def sockname(self) -> Address:
        """Where it comes from."""
        return address_of(self.source, self.ports[0], self.zone)

    @property
    def peername(self) -> Address:
        """Where it goes to."""
        return address_of(self.destination, self.ports[1], self.zone)


def address_of(packed: bytes, port: int, zone: int) -> Address:
    """What the socket module calls an address of 4 or 16 bytes."""
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed), port
    return socket.inet_ntop(socket.AF_INET6, packed), port, 0, zone


def halves(packed: bytes) -> tuple[int, int]:
    """An address of 4 or 16 bytes as two halves of 64 bits, IPv4 mapped."""
    number = int.from_bytes(packed)
    return (0, 0xFFFF << 32 | number) if len(packed) == 4 else divmod(number, 1 << 64)


def outgoing(batch: Batch, count: int, zones: Sequence[int]) -> Iterator[Outgoing]:
    """The first probes of a batch, in their order."""
    packets = memoryview(batch.packets)
    for row in range(count):
        at = row * batch.stride
        yield Outgoing(batch.task[row], batch.attempt[row], zones[row], bytes(packets[at : at + batch.length[row]]))
