"""Probes one by one, as a kernel socket takes them: to whom, with which TTL, which bytes."""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass

from udpprobe.core.probing.craft import HEADER_BYTES, Crafter
from udpprobe.core.probing.probes import Probes

Address = tuple[str, int] | tuple[str, int, int, int]
"""As the socket module writes it: host and port, of IPv6 also flow and zone."""

AF = {4: socket.AF_INET, 6: socket.AF_INET6}
TTL_OPTION = {4: (socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)}
SOURCE_AT, TTL_AT = {4: slice(12, 16), 6: slice(8, 24)}, {4: 8, 6: 7}


@dataclass(slots=True)
class Outgoing:
    """A probe, crafted."""

    task: int
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
        return self.packet[HEADER_BYTES[self.family]:]

    @property
    def source(self) -> bytes:
        """4 or 16 bytes."""
        return self.packet[SOURCE_AT[self.family]]

    @property
    def destination(self) -> bytes:
        """4 or 16 bytes."""
        at = SOURCE_AT[self.family]
        return self.packet[at.stop:2 * at.stop - at.start]

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


def outgoing(probes: Probes, crafter: Crafter) -> list[Outgoing]:
    """The probes in their order."""
    tasks, zones = probes.task.tolist(), probes.zone.tolist()
    packets: dict[int, bytes] = {}
    for crafted in crafter.craft(probes):
        lengths = crafted.length.tolist()
        for row, packet, length in zip(crafted.rows.tolist(), crafted.packets, lengths, strict=True):
            packets[row] = packet[:length].tobytes()
    return [Outgoing(tasks[row], zones[row], packets[row]) for row in range(len(tasks))]
