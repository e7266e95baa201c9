"""Crafted packets onto the wire, hundreds a system call: sendmmsg(2) out of NumPy matrices.

The IP header is the probe's own (source, TTL, id, flow label); the way is the kernel's: its routes, its neighbours,
its firewall. What the kernel refuses comes back as an errno, and the rest goes on.
"""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U8
from udpprobe.core.craft import Crafted
from udpprobe.errors import PrivilegeError, UdpprobeError
from udpprobe.links import bind_to_interface, interface_index
from udpprobe.nexthops import NextHops
from udpprobe.sendmmsg import CHUNK, Messages

SEND_BUFFER_BYTES = 4 << 20
SO_SNDBUFFORCE = 32
IPV6_HDRINCL = 36
IPV6_RECVERR = 25
IP_RECVERR = 11
IP_PKTINFO = 8
MTU_DISCOVERY: dict[int, tuple[int, int]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 10), socket.AF_INET6: (socket.IPPROTO_IPV6, 23)}
PMTUDISC_PROBE = 3
"""The only limit is the interface's: what the kernel has learned of the path is what is being probed (linux/in.h)."""
ETHERTYPES = {4: 0x0800, 6: 0x86DD}

CMSGHDR = [("bytes", np.uintp), ("level", np.int32), ("type", np.int32)]

SOCKADDR_IN = np.dtype([("family", np.uint16), ("port", np.uint16), ("address", np.uint8, 4), ("zero", np.uint64)])
SOCKADDR_IN6 = np.dtype([("family", np.uint16), ("port", np.uint16), ("flow", np.uint32),
                         ("address", np.uint8, 16), ("zone", np.uint32)])
SOCKADDR_LL = np.dtype([("family", np.uint16), ("protocol", ">u2"), ("interface", np.int32), ("hardware", np.uint16),
                        ("kind", np.uint8), ("address_bytes", np.uint8), ("address", np.uint8, 8)])
PKTINFO_IN = np.dtype([*CMSGHDR, ("interface", np.int32), ("source", np.uint8, 4), ("address", np.uint32)], align=True)
PKTINFO_IN6 = np.dtype([*CMSGHDR, ("source", np.uint8, 16), ("interface", np.uint32)], align=True)
"""ip(7) IP_PKTINFO, RFC 3542 IPV6_PKTINFO."""


Where = npt.NDArray[Any]
"""(m,) zones, or next hops: what the kernel wants to know beside the packet."""


class Lane:
    """A socket, and the messages that leave by it.

    Raises:
        PrivilegeError: this user may not open such a socket.
        UdpprobeError: this host knows none.
    """

    def __init__(self, domain: int, kind: int, protocol: int, messages: Messages) -> None:
        try:
            self.socket = socket.socket(domain, kind, protocol)
        except PermissionError:
            raise PrivilegeError("sending needs CAP_NET_RAW: run as root, or give it by `setcap cap_net_raw+ep`, "
                                 "or take --engine recverr") from None
        except OSError as error:
            raise UdpprobeError(f"cannot open a raw socket: {error.strerror}") from None
        self.messages = messages
        with suppress(OSError):     # without the privilege the buffer is what the system gives
            self.socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES)

    def send(self, crafted: Crafted, where: Where, rows: I64) -> I64:
        """Send the packets of some rows; (len(rows),) errnos. `where` is of all rows."""
        errnos = np.zeros(len(rows), np.int64)
        for at in range(0, len(rows), CHUNK):
            chunk = rows[at:at + CHUNK]
            self.messages.put(crafted.packets, crafted.length, chunk)
            self.address(crafted.packets.take(chunk, axis=0), where.take(chunk))
            errnos[at:at + CHUNK] = self.messages.send(self.socket, len(chunk))
        return errnos

    def address(self, packets: U8, where: Where) -> None:
        """Say where the first messages go."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class RawFamily:
    """How the raw socket of a family is spoken to."""

    domain: int
    options: tuple[tuple[int, int], ...]
    """(level, option) to turn on: the header is ours; a full queue is an error and no silent loss."""
    name: np.dtype[np.void]
    control: np.dtype[np.void]
    control_header: tuple[int, int, int]
    """Length, level and type of the control message that names the source: there may be routes by source."""
    source: slice
    """Where in the packet it stands."""
    destination: slice


RAW_FAMILIES = {
    4: RawFamily(socket.AF_INET, ((socket.IPPROTO_IP, socket.IP_HDRINCL), (socket.IPPROTO_IP, IP_RECVERR)),
                 SOCKADDR_IN, PKTINFO_IN, (socket.CMSG_LEN(12), socket.IPPROTO_IP, IP_PKTINFO),
                 slice(12, 16), slice(16, 20)),
    6: RawFamily(socket.AF_INET6, ((socket.IPPROTO_IPV6, IPV6_HDRINCL), (socket.IPPROTO_IPV6, IPV6_RECVERR)),
                 SOCKADDR_IN6, PKTINFO_IN6, (socket.CMSG_LEN(20), socket.IPPROTO_IPV6, socket.IPV6_PKTINFO),
                 slice(8, 24), slice(24, 40)),
}


class RawLane(Lane):
    """A raw socket of one family (raw(7))."""

    def __init__(self, family: int, interface: str | None) -> None:
        self._how = how = RAW_FAMILIES[family]
        super().__init__(how.domain, socket.SOCK_RAW, socket.IPPROTO_RAW, Messages(how.name, how.control))
        for level, option in (*how.options, (socket.SOL_SOCKET, socket.SO_BROADCAST)):
            self.socket.setsockopt(level, option, 1)
        self.socket.setsockopt(*MTU_DISCOVERY[how.domain], PMTUDISC_PROBE)
        if interface is not None:
            bind_to_interface(self.socket, interface)
        self.messages.names["family"] = how.domain
        for name, value in zip(("bytes", "level", "type"), how.control_header, strict=True):
            self.messages.controls[name] = value

    def address(self, packets: U8, where: Where) -> None:
        """As the packets' own headers say."""
        names, controls = self.messages.names[:len(packets)], self.messages.controls[:len(packets)]
        names["address"] = packets[:, self._how.destination]
        controls["source"] = packets[:, self._how.source]
        if self._how.domain == socket.AF_INET6:
            names["zone"] = where


class Sender:
    """Sends by raw sockets: routes, neighbours and firewall are the kernel's, for each packet.

    Args:
        interface: the only one to leave by; None lets the routes decide.

    Raises:
        UsageError: there is no such interface.
    """

    def __init__(self, *, interface: str | None = None) -> None:
        if interface is not None:
            interface_index(interface)
        self._interface = interface
        self._lanes: dict[int, RawLane] = {}

    def send(self, crafted: Crafted, zone: I64, rows: I64 | None = None) -> I64:
        """Send packets in their order.

        Args:
            crafted: (m,) packets; their headers name source and destination.
            zone: (m,) index of the interface of a link-local destination, else 0.
            rows: which of the packets; None for all.

        Returns:
            errno of each row: 0 for those that left.

        Raises:
            PrivilegeError: this user may not open raw sockets.
            UdpprobeError: this host knows none of the family.
        """
        if crafted.family not in self._lanes:
            self._lanes[crafted.family] = RawLane(crafted.family, self._interface)
        rows = np.arange(len(crafted.length)) if rows is None else rows
        return self._lanes[crafted.family].send(crafted, zone, rows)

    def close(self) -> None:
        """Close the sockets."""
        for lane in self._lanes.values():
            lane.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class PacketLane(Lane):
    """A packet socket that writes the Ethernet header itself (packet(7)): past routes, neighbours and firewall."""

    def __init__(self, family: int) -> None:
        super().__init__(socket.AF_PACKET, socket.SOCK_DGRAM, 0, Messages(SOCKADDR_LL))
        self.messages.names["family"] = socket.AF_PACKET
        self.messages.names["protocol"] = ETHERTYPES[family]
        self.messages.names["address_bytes"] = 6

    def address(self, packets: U8, where: Where) -> None:
        """To the next hops."""
        names = self.messages.names[:len(packets)]
        names["interface"] = where["interface"]
        names["address"][:, :6] = where["address"]


class BulkSender:
    """Sends as `Sender` does, and faster where a destination lies behind an Ethernet neighbour the kernel knows.

    Interface and neighbour are asked of the kernel, once for each destination; then a packet socket sends. What
    has no such neighbour (yet) goes by the raw sockets: so the kernel finds it, and says what it refuses.

    The firewall's output rules and IPsec policies do not see what a packet socket sends: for who asks for speed.

    Args:
        interface: the only one to leave by; None lets the routes decide.

    Raises:
        UsageError: there is no such interface.
    """

    def __init__(self, *, interface: str | None = None) -> None:
        self._raw = Sender(interface=interface)
        self._only = 0 if interface is None else interface_index(interface)
        self._lanes: dict[int, tuple[NextHops, PacketLane]] = {}

    def send(self, crafted: Crafted, zone: I64) -> I64:
        """As `Sender.send`."""
        hops, lane = self._lane(crafted.family)
        flows = hops.flows(crafted.packets, zone)
        now_ns = time.monotonic_ns()
        where, known = hops.find(flows, now_ns)
        direct = known & (where["interface"] > 0)
        errnos = np.zeros(len(zone), np.int64)
        for rows, sent in ((np.flatnonzero(~direct), partial(self._raw.send, crafted, zone)),
                           (np.flatnonzero(direct), partial(lane.send, crafted, where))):
            errnos[rows] = sent(rows)
        hops.learn(flows[~known], now_ns)
        return errnos

    def _lane(self, family: int) -> tuple[NextHops, PacketLane]:
        if family not in self._lanes:
            self._lanes[family] = NextHops(family, self._only), PacketLane(family)
        return self._lanes[family]

    def close(self) -> None:
        """Close the sockets."""
        self._raw.close()
        for hops, lane in self._lanes.values():
            hops.close()
            lane.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
