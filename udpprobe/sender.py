"""Crafted packets onto the wire, hundreds a system call: sendmmsg(2) out of NumPy matrices.

The IP header is the probe's own (source, TTL, id, flow label); the way is the kernel's: its routes, its neighbours,
its firewall. What the kernel refuses comes back as an errno, and the rest goes on.
"""

from __future__ import annotations

import ctypes
import errno
import socket
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U8
from udpprobe.core.craft import Crafted
from udpprobe.errors import UdpprobeError
from udpprobe.links import bind_to_interface, interface_index

CHUNK = 512
"""Messages a system call: beyond 256 it gets no faster."""

SEND_BUFFER_BYTES = 4 << 20
SO_SNDBUFFORCE = 32
IPV6_HDRINCL = 36
IPV6_RECVERR = 25
IP_RECVERR = 11
IP_PKTINFO = 8

FULL = frozenset({errno.ENOBUFS, errno.EAGAIN})
"""The interface's queue is full: it empties by itself."""
WAIT_S = 0.001
PATIENCE_S = 1.0
"""How long a queue may stay full, without taking one packet, before its packet is given up."""

MSGHDR = np.dtype([("name", np.uintp), ("name_bytes", np.uint32), ("pieces", np.uintp), ("piece_count", np.uintp),
                   ("control", np.uintp), ("control_bytes", np.uintp), ("flags", np.int32)], align=True)
MMSGHDR = np.dtype([("message", MSGHDR), ("sent_bytes", np.uint32)], align=True)
IOVEC = np.dtype([("base", np.uintp), ("bytes", np.uintp)])
CMSGHDR = [("bytes", np.uintp), ("level", np.int32), ("type", np.int32)]

SOCKADDR_IN = np.dtype([("family", np.uint16), ("port", np.uint16), ("address", np.uint8, 4), ("zero", np.uint64)])
SOCKADDR_IN6 = np.dtype([("family", np.uint16), ("port", np.uint16), ("flow", np.uint32),
                         ("address", np.uint8, 16), ("zone", np.uint32)])
PKTINFO_IN = np.dtype([*CMSGHDR, ("interface", np.int32), ("source", np.uint8, 4), ("address", np.uint32)], align=True)
PKTINFO_IN6 = np.dtype([*CMSGHDR, ("source", np.uint8, 16), ("interface", np.uint32)], align=True)
"""ip(7) IP_PKTINFO, RFC 3542 IPV6_PKTINFO."""

_libc = ctypes.CDLL(None, use_errno=True)     # lets other threads run while it sends
_sendmmsg = _libc.sendmmsg
_sendmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int]


class Messages:
    """Room for CHUNK messages, laid out as sendmmsg(2) reads them. Only what differs is written again.

    Args:
        name: the layout of their destinations.
        control: the layout of what is said beside their bytes, or None.
    """

    def __init__(self, name: np.dtype[np.void], control: np.dtype[np.void] | None = None) -> None:
        self.names = np.zeros(CHUNK, name)
        self._pieces = np.zeros(CHUNK, IOVEC)
        self._headers = np.zeros(CHUNK, MMSGHDR)
        message = self._headers["message"]
        message["name"], message["name_bytes"] = _places(self.names), name.itemsize
        message["pieces"], message["piece_count"] = _places(self._pieces), 1
        if control:
            self.controls = np.zeros(CHUNK, control)
            message["control"], message["control_bytes"] = _places(self.controls), control.itemsize

    def put(self, crafted: Crafted, rows: I64) -> None:
        """Let the first messages carry these rows' packets; `crafted` must outlive their sending."""
        packets = crafted.packets
        self._pieces["base"][:len(rows)] = packets.ctypes.data + rows * packets.strides[0]
        self._pieces["bytes"][:len(rows)] = crafted.length[rows]

    def send(self, opened: socket.socket, count: int) -> I64:
        """Send the first `count`; (count,) errno of each, 0 where it left."""
        errnos = np.zeros(count, np.int64)
        done, patience_s = 0, PATIENCE_S
        while done < count:
            sent, number = self._send_some(opened, done, count)
            if sent > 0:
                done, patience_s = done + sent, PATIENCE_S
            elif number in FULL and patience_s > 0:
                time.sleep(WAIT_S)
                patience_s -= WAIT_S
            elif number != errno.EINTR:
                errnos[done] = number
                done += 1
        return errnos

    def _send_some(self, opened: socket.socket, done: int, count: int) -> tuple[int, int]:
        """How many of the messages from `done` on left before one was refused; errno where that is the first."""
        sent = _sendmmsg(opened.fileno(), self._headers.ctypes.data + done * MMSGHDR.itemsize, count - done, 0)
        return sent, ctypes.get_errno() if sent < 0 else 0


def _places(array: npt.NDArray[np.void]) -> npt.NDArray[np.uintp]:
    """(n,) address of each element."""
    return array.ctypes.data + np.arange(len(array), dtype=np.uintp) * np.uintp(array.itemsize)


class Lane:
    """A socket, and the messages that leave by it.

    Raises:
        UdpprobeError: this user may not open such a socket, or this host knows none.
    """

    def __init__(self, domain: int, kind: int, protocol: int, messages: Messages) -> None:
        try:
            self.socket = socket.socket(domain, kind, protocol)
        except PermissionError:
            raise UdpprobeError("sending needs CAP_NET_RAW: run as root, or give it by `setcap cap_net_raw+ep`, "
                                "or take --engine recverr") from None
        except OSError as error:
            raise UdpprobeError(f"cannot open a raw socket: {error.strerror}") from None
        self.messages = messages
        with suppress(OSError):     # without the privilege the buffer is what the system gives
            self.socket.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES)

    def send(self, crafted: Crafted, zone: I64, rows: I64) -> I64:
        """Send the packets of some rows, (len(rows),) errnos; `zone` is of all rows."""
        errnos = np.zeros(len(rows), np.int64)
        for at in range(0, len(rows), CHUNK):
            chunk = rows[at:at + CHUNK]
            self.messages.put(crafted, chunk)
            self.address(crafted.packets[chunk], zone[chunk])
            errnos[at:at + CHUNK] = self.messages.send(self.socket, len(chunk))
        return errnos

    def address(self, packets: U8, zone: I64) -> None:
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
        if interface is not None:
            bind_to_interface(self.socket, interface)
        self.messages.names["family"] = how.domain
        for name, value in zip(("bytes", "level", "type"), how.control_header, strict=True):
            self.messages.controls[name] = value

    def address(self, packets: U8, zone: I64) -> None:
        """As the packets' own headers say."""
        names, controls = self.messages.names[:len(packets)], self.messages.controls[:len(packets)]
        names["address"] = packets[:, self._how.destination]
        controls["source"] = packets[:, self._how.source]
        if self._how.domain == socket.AF_INET6:
            names["zone"] = zone


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
            UdpprobeError: this user may not open a raw socket of the family.
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
