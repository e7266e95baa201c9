"""Crafted packets onto the wire, hundreds a system call: sendmmsg(2) out of NumPy matrices.

The IP header is the probe's own (source, TTL, id, flow label); the way is the kernel's: its routes, its neighbours,
its firewall. What the kernel refuses comes back as an errno, and the rest goes on.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np

from udpprobe.core.batch import I64, U8
from udpprobe.core.probing.craft import Crafted
from udpprobe.errors import PrivilegeError, UdpprobeError
from udpprobe.links import bind_to_interface, interface_index
from udpprobe.sendmmsg import CHUNK, PATIENCE_S, Messages

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

CMSGHDR = [("bytes", np.uintp), ("level", np.int32), ("type", np.int32)]

SOCKADDR_IN = np.dtype([("family", np.uint16), ("port", np.uint16), ("address", np.uint8, 4), ("zero", np.uint64)])
SOCKADDR_IN6 = np.dtype([("family", np.uint16), ("port", np.uint16), ("flow", np.uint32),
                         ("address", np.uint8, 16), ("zone", np.uint32)])
PKTINFO_IN = np.dtype([*CMSGHDR, ("interface", np.int32), ("source", np.uint8, 4), ("address", np.uint32)], align=True)
PKTINFO_IN6 = np.dtype([*CMSGHDR, ("source", np.uint8, 16), ("interface", np.uint32)], align=True)
"""ip(7) IP_PKTINFO, RFC 3542 IPV6_PKTINFO."""


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


class Lane:
    """A raw socket of one family (raw(7)), and the messages that leave by it.

    Raises:
        PrivilegeError: this user may not open such a socket.
        UdpprobeError: this host knows none.
    """

    def __init__(self, family: int, interface: str | None, patience_s: float) -> None:
        self._how = how = RAW_FAMILIES[family]
        self.socket = _raw_socket(how.domain)
        for level, option in (*how.options, (socket.SOL_SOCKET, socket.SO_BROADCAST)):
            self.socket.setsockopt(level, option, 1)
        self.socket.setsockopt(*MTU_DISCOVERY[how.domain], PMTUDISC_PROBE)
        if interface is not None:
            bind_to_interface(self.socket, interface)
        self._messages = Messages(how.name, how.control, patience_s=patience_s)
        self._messages.names["family"] = how.domain
        for name, value in zip(("bytes", "level", "type"), how.control_header, strict=True):
            self._messages.controls[name] = value

    def send(self, crafted: Crafted, zone: I64) -> I64:
        """Send (m,) packets in their order; (m,) errnos."""
        errnos = np.zeros(len(zone), np.int64)
        for at in range(0, len(zone), CHUNK):
            rows = np.arange(at, min(at + CHUNK, len(zone)))
            self._messages.put(crafted.packets, crafted.length, rows)
            self._address(crafted.packets[rows], zone[rows])
            errnos[rows] = self._messages.send(self.socket, len(rows))
        return errnos

    def _address(self, packets: U8, zone: I64) -> None:
        """Say where the first messages go: as the packets' own headers do."""
        names, controls = self._messages.names[:len(packets)], self._messages.controls[:len(packets)]
        names["address"] = packets[:, self._how.destination]
        controls["source"] = packets[:, self._how.source]
        if self._how.domain == socket.AF_INET6:
            names["zone"] = zone


def _raw_socket(domain: int) -> socket.socket:
    try:
        opened = socket.socket(domain, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError:
        raise PrivilegeError("sending needs CAP_NET_RAW: run as root, or give it by `setcap cap_net_raw+ep`, "
                             "or take --engine recverr") from None
    except OSError as error:
        raise UdpprobeError(f"cannot open a raw socket: {error.strerror}") from None
    with suppress(OSError):     # without the privilege the buffer is what the system gives
        opened.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES)
    return opened


class Sender:
    """Sends by raw sockets: routes, neighbours and firewall are the kernel's, for each packet.

    Args:
        interface: the only one to leave by; None lets the routes decide.
        patience_s: how long its queue may stay full before a packet is given up.

    Raises:
        UsageError: there is no such interface.
    """

    def __init__(self, *, interface: str | None = None, patience_s: float = PATIENCE_S) -> None:
        if interface is not None:
            interface_index(interface)
        self._interface, self._patience_s = interface, patience_s
        self._lanes: dict[int, Lane] = {}

    def send(self, crafted: Crafted, zone: I64) -> I64:
        """Send packets in their order.

        Args:
            crafted: (m,) packets; their headers name source and destination.
            zone: (m,) index of the interface of a link-local destination, else 0.

        Returns:
            (m,) errno of each: 0 for those that left.

        Raises:
            PrivilegeError: this user may not open raw sockets.
            UdpprobeError: this host knows none of the family.
        """
        if crafted.family not in self._lanes:
            self._lanes[crafted.family] = Lane(crafted.family, self._interface, self._patience_s)
        return self._lanes[crafted.family].send(crafted, zone)

    def close(self) -> None:
        """Close the sockets."""
        for lane in self._lanes.values():
            lane.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
