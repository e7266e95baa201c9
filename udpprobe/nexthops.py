"""By which interface, and to which neighbour, the kernel would send: asked of its own tables, and briefly remembered.

rtnetlink(7) says the route of a destination (RTM_GETROUTE) and the hardware address of the neighbour it leads to
(RTM_GETNEIGH). Only what is plain Ethernet is answered here; for all else there is no next hop, and the kernel
must send it itself.
"""

from __future__ import annotations

import fcntl
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U8, U64, Bool

NLMSG_HEADER = struct.Struct("=IHHII")
ATTRIBUTE = struct.Struct("=HH")
ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, bits of destination and source, TOS, table, protocol, scope, type, flags."""
NEIGHBOUR = struct.Struct("=BBHiHBB")
"""struct ndmsg: family, padding, interface, state, flags, type."""

REQUEST = 1
NEW_ROUTE, GET_ROUTE, NEW_NEIGHBOUR, GET_NEIGHBOUR = 24, 26, 28, 30
UNICAST = 1
USABLE = 0x02 | 0x04 | 0x08 | 0x10 | 0x80
"""States of a neighbour whose address may be sent to: reachable, stale, delay, probe, permanent."""

DESTINATION, SOURCE, INTERFACE, GATEWAY, VIA, TUNNEL = 1, 2, 4, 5, 18, 21
"""Attributes of a route (rtnetlink(7)); VIA is a gateway of the other family, TUNNEL anything that wraps packets."""
HARDWARE_ADDRESS = 2
"""Attribute of a neighbour."""

SIOCGIFHWADDR = 0x8927
ETHERNET = 1

DOMAINS = {4: socket.AF_INET, 6: socket.AF_INET6}
ADDRESSES = {4: slice(12, 20), 6: slice(8, 40)}
"""Source and destination in the packet."""

SLOTS_BITS = 17
KNOWN_NS = 30_000_000_000
"""As long as a neighbour is believed; then one packet goes the kernel's way, and it looks again."""
UNKNOWN_NS = 20_000_000
"""How soon is asked again where the kernel had no neighbour: it may be about to find it."""


@dataclass(frozen=True, slots=True)
class Hop:
    """Where packets for a destination go next."""

    interface: int
    address: bytes
    """Hardware address of the neighbour."""


class Tables:
    """Questions to the kernel's routes and neighbours, in this network namespace."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)

    def hop(self, family: int, source: bytes, destination: bytes, interface: int = 0) -> Hop | None:
        """The Ethernet neighbour that packets of a flow go to.

        Args:
            family: 4 or 6.
            source: address, 4 or 16 bytes.
            destination: likewise.
            interface: the only one to leave by, or 0.

        Returns:
            None where the route is none to a neighbour, or its address is not known (yet).
        """
        head, route = self._route(family, source, destination, interface)
        if not head or ROUTE.unpack(head)[7] != UNICAST or TUNNEL in route:
            return None
        out = struct.unpack("=i", route[INTERFACE])[0]
        if out != (interface or out) or not self._is_ethernet(out):     # IPv6 takes the wish for a hint
            return None
        return self._neighbour(out, *_gateway(DOMAINS[family], route, destination))

    def interface(self, family: int, source: bytes, destination: bytes, interface: int = 0) -> int:
        """Index of the interface that packets of a flow leave by, 0 where there is none. Arguments as of `hop`."""
        _, route = self._route(family, source, destination, interface)
        return struct.unpack("=i", route[INTERFACE])[0] if INTERFACE in route else 0

    def _route(self, family: int, source: bytes, destination: bytes, interface: int) -> tuple[bytes, dict[int, bytes]]:
        bits = len(destination) * 8
        asked = [(DESTINATION, destination), (SOURCE, source)]
        if interface:
            asked.append((INTERFACE, struct.pack("=i", interface)))
        return self._ask(GET_ROUTE, ROUTE.pack(DOMAINS[family], bits, bits, 0, 0, 0, 0, 0, 0), asked, NEW_ROUTE)

    def _neighbour(self, interface: int, domain: int, address: bytes) -> Hop | None:
        head, found = self._ask(GET_NEIGHBOUR, NEIGHBOUR.pack(domain, 0, 0, interface, 0, 0, 0),
                                [(DESTINATION, address)], NEW_NEIGHBOUR)
        hardware = found.get(HARDWARE_ADDRESS, b"")
        usable = head and NEIGHBOUR.unpack(head)[4] & USABLE and len(hardware) == 6
        return Hop(interface, hardware) if usable else None

    def _is_ethernet(self, interface: int) -> bool:
        try:
            request = struct.pack("16s24x", socket.if_indextoname(interface).encode())
            answer = fcntl.ioctl(self._socket, SIOCGIFHWADDR, request)
        except OSError:     # it went away meanwhile
            return False
        return struct.unpack_from("=H", answer, 16)[0] == ETHERNET

    def _ask(self, kind: int, head: bytes, attributes: list[tuple[int, bytes]], expected: int,
             ) -> tuple[bytes, dict[int, bytes]]:
        """The fixed part of the answer and its attributes; nothing where the kernel has none."""
        body = head + b"".join(ATTRIBUTE.pack(4 + len(value), name) + value for name, value in attributes)
        self._socket.send(NLMSG_HEADER.pack(NLMSG_HEADER.size + len(body), kind, REQUEST, 0, 0) + body)
        answer = self._socket.recv(65536)
        if NLMSG_HEADER.unpack_from(answer)[1] != expected:
            return b"", {}
        start = NLMSG_HEADER.size + len(head)
        return answer[NLMSG_HEADER.size:start], dict(_attributes(answer[start:]))

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        length, name = ATTRIBUTE.unpack_from(data, at)
        yield name, data[at + ATTRIBUTE.size:at + length]
        at += max(ATTRIBUTE.size, -(-length // 4) * 4)


def _gateway(domain: int, route: dict[int, bytes], destination: bytes) -> tuple[int, bytes]:
    """Family and address of the neighbour a route leads to."""
    if VIA in route:
        return struct.unpack_from("=H", route[VIA])[0], route[VIA][2:]
    return domain, route.get(GATEWAY, destination)


class NextHops:
    """What `Tables` said of the flows of one family, in columns.

    A table of 2**SLOTS_BITS slots, one flow each, as a processor's cache: where two flows want a slot, the later
    one has it, and the other is asked for again.

    Args:
        family: 4 or 6.
        interface: index of the only one to leave by, or 0.
    """

    def __init__(self, family: int, interface: int = 0) -> None:
        self._family, self._interface = family, interface
        self._tables = Tables()
        words = (ADDRESSES[family].stop - ADDRESSES[family].start) // 8 + 1
        self._slots = np.zeros(1 << SLOTS_BITS, [("flow", np.uint64, words), ("until_ns", np.int64),
                                                 ("interface", np.int32), ("address", np.uint8, 6)])
        self._multipliers = np.array([0x9E3779B97F4A7C15 * (2 * n + 1) % (1 << 64) for n in range(words)], np.uint64)

    def flows(self, packets: U8, zone: I64) -> U64:
        """(m, words) what a packet's way depends on: its addresses, and (m,) zone."""
        made = np.empty((len(packets), len(self._multipliers)), np.uint64)
        made[:, :-1] = np.ascontiguousarray(packets[:, ADDRESSES[self._family]]).view(np.uint64)
        made[:, -1] = zone
        return made

    def find(self, flows: U64, now_ns: int) -> tuple[npt.NDArray[np.void], Bool]:
        """What is known of (m,) flows.

        Returns:
            (m,) records with `interface` (0 where there is no next hop) and `address`; and (m,) whether they hold.
        """
        found = self._slots.take(self._slot(flows))
        known = found["until_ns"] > now_ns
        for word in range(flows.shape[1]):
            known &= found["flow"][:, word] == flows[:, word]
        return found, known

    def learn(self, flows: U64, now_ns: int) -> None:
        """Ask the kernel about (m,) flows, each once."""
        rows = {flow.tobytes(): row for row, flow in enumerate(flows)}
        distinct = flows[np.fromiter(rows.values(), np.int64, len(rows))]
        for flow, slot in zip(distinct, self._slot(distinct).tolist(), strict=True):
            addresses = flow[:-1].tobytes()
            middle = len(addresses) // 2
            hop = self._tables.hop(self._family, addresses[:middle], addresses[middle:],
                                   int(flow[-1]) or self._interface)
            self._slots[slot] = (flow, now_ns + (KNOWN_NS if hop else UNKNOWN_NS), hop.interface if hop else 0,
                                 np.frombuffer(hop.address if hop else bytes(6), np.uint8))

    def _slot(self, flows: U64) -> I64:
        return ((flows @ self._multipliers) >> np.uint64(64 - SLOTS_BITS)).view(np.int64)

    def close(self) -> None:
        """Close the socket."""
        self._tables.close()
