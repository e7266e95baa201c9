"""Raw ICMP sockets: hundreds of messages a system call (recvmmsg(2)), decoded at once.

The kernel hands over ICMP with its IPv4 header, whatever its checksum; ICMPv6 without its header, verified. A header is
put before the latter, so that both are decoded alike.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from collections import Counter
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, PADDING_BYTES, U8, Bool
from udpprobe.core.decoding.layers_ip import QUOTED
from udpprobe.core.decoding.quote import decode_errors
from udpprobe.core.decoding.walk import RAW_IP, Walk
from udpprobe.core.packets import Errors
from udpprobe.errors import PrivilegeError, UdpprobeError
from udpprobe.sendmmsg import IOVEC, MMSGHDR

MESSAGES = 1024
MESSAGE_BYTES = 4096
"""Errors are 576 and 1280 bytes at most (RFC 1812, 4.3.2.3; RFC 4443, 2.4)."""
HEADER_BYTES = 40
"""Room for an IPv6 header before each message."""
ROW_BYTES = HEADER_BYTES + MESSAGE_BYTES + PADDING_BYTES
RECEIVE_BUFFER_BYTES = 32 << 20

SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_MEMINFO, SK_MEMINFO_DROPS = 33, 35, 55, 8
SOL_RAW, ICMP_FILTER, ICMP6_FILTER, IP_PKTINFO = 255, 1, 1, 8
ICMP_ERRORS, ICMP6_ERRORS = (3, 4, 11, 12), range(1, 128)

CONTROL = np.dtype([("stamp_header", "V16"), ("seconds", "i8"), ("nanoseconds", "i8"), ("info_header", "V16"),
                    ("info", "V20"), ("pad", "V4")])
"""A time stamp, then struct in_pktinfo or in6_pktinfo: cmsghdrs in the order in which Linux writes them."""
PKTINFO = np.dtype([("interface", "i4"), ("local", "V4"), ("destination", "V4"), ("unused", "V8")])
PKTINFO6 = np.dtype([("destination", "V16"), ("interface", "i4")])
SOCKADDR6 = np.dtype([("family", "u2"), ("port", "u2"), ("flow", "u4"), ("address", "V16"), ("scope", "u4")])

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """ICMP errors as they came, valid until the next are received."""

    errors: Errors
    """(n,) that quote UDP."""
    interface: I64
    """(n,) index of the interface each came by."""
    data: U8
    """The bytes that `errors.message` points into."""
    faults: Counter[str]
    more: bool
    """Whether others may be waiting."""


class RawIcmp:
    """A raw socket that hears the ICMP errors of one family.

    Args:
        family: 4 or 6.

    Raises:
        PrivilegeError: this user may not open one.
        UdpprobeError: this host does not speak the family.
    """

    def __init__(self, family: int) -> None:
        self.family = family
        self._socket = _open(family)
        self._rows = np.zeros((MESSAGES, ROW_BYTES), np.uint8)
        self._control, self._names = np.zeros(MESSAGES, CONTROL), np.zeros(MESSAGES, SOCKADDR6)
        pieces = np.zeros(MESSAGES, IOVEC)
        pieces["base"], pieces["bytes"] = _places(self._rows) + np.uintp(HEADER_BYTES), MESSAGE_BYTES
        self._pieces, self._headers = pieces, np.zeros(MESSAGES, MMSGHDR)
        message = self._headers["message"]
        message["name"], message["pieces"], message["piece_count"] = _places(self._names), _places(pieces), 1
        message["control"] = _places(self._control)
        self._expect(MESSAGES)

    def _expect(self, count: int) -> None:
        """Say again how much room there is: the kernel wrote how much it used."""
        message = self._headers["message"][:count]
        message["name_bytes"], message["control_bytes"] = SOCKADDR6.itemsize, CONTROL.itemsize

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Hear no more."""
        self._socket.close()

    def dropped(self) -> int:
        """Messages for which the kernel had no room so far (SO_MEMINFO)."""
        said = self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * (SK_MEMINFO_DROPS + 1))
        return int(struct.unpack("=9I", said)[SK_MEMINFO_DROPS])

    def receive(self) -> Arrivals | None:
        """What waits, without waiting; None where nothing does."""
        count = _recvmmsg(self.fileno(), self._headers.ctypes.data, MESSAGES, socket.MSG_DONTWAIT, None)
        if count <= 0:
            return None
        sizes = self._headers["sent_bytes"][:count].astype(np.int64)
        control = self._control[:count]
        message = self._headers["message"][:count]
        whole = (message["flags"] & (socket.MSG_TRUNC | socket.MSG_CTRUNC)) == 0
        arrived = self._arrived_v4(sizes, control) if self.family == 4 else self._arrived_v6(sizes, control)
        start, sizes, interface, ours = arrived
        arrivals = _decode(self._rows, (start, sizes), control, interface, whole & ours)
        arrivals.faults.update({"oversized-icmp": int(np.count_nonzero(~whole)),
                                "to-broadcast": int(np.count_nonzero(whole & ~ours))})
        self._expect(count)
        return Arrivals(arrivals.errors, arrivals.interface, arrivals.data, +arrivals.faults, count == MESSAGES)

    def _arrived_v4(self, sizes: I64, control: npt.NDArray[np.void]) -> tuple[I64, I64, I64, Bool]:
        """Where each packet starts, its bytes, its interface, and whether it was sent to this host alone."""
        info = control["info"].copy().view(PKTINFO)
        start = np.arange(len(sizes)) * ROW_BYTES + HEADER_BYTES
        return start, sizes, info["interface"].astype(np.int64), info["local"] == info["destination"]

    def _arrived_v6(self, sizes: I64, control: npt.NDArray[np.void]) -> tuple[I64, I64, I64, Bool]:
        """The same, behind headers that say what the kernel says."""
        count = len(sizes)
        info = control["info"].copy().view(PKTINFO6)
        header = self._rows[:count, :HEADER_BYTES]
        header[:, :8] = (0x60, 0, 0, 0, 0, 0, socket.IPPROTO_ICMPV6, 0)
        header[:, 4], header[:, 5] = sizes >> 8, sizes & 0xFF
        header[:, 8:24] = self._names["address"][:count].copy().view(np.uint8).reshape(-1, 16)
        header[:, 24:40] = info["destination"].copy().view(np.uint8).reshape(-1, 16)
        start = np.arange(count) * ROW_BYTES
        return start, sizes + HEADER_BYTES, info["interface"].astype(np.int64), np.ones(count, np.bool_)


def _decode(rows: U8, place: tuple[I64, I64], control: npt.NDArray[np.void], interface: I64, kept: Bool) -> Arrivals:
    start, sizes = place[0][kept], place[1][kept]
    time_ns = control["seconds"][kept] * 1_000_000_000 + control["nanoseconds"][kept]
    data = rows.reshape(-1)
    number = np.arange(len(start))
    walk = Walk(data, start, start + sizes, np.full(len(start), RAW_IP), cut=np.zeros(len(start), np.bool_))
    walk.run(QUOTED, number)
    errors, faults = decode_errors(walk, number, time_ns)
    return Arrivals(errors, interface[kept][errors.frame], data, faults + walk.fault_counts(), more=False)


def _open(family: int) -> socket.socket:
    kind = (socket.AF_INET, socket.IPPROTO_ICMP) if family == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    try:
        opened = socket.socket(kind[0], socket.SOCK_RAW, kind[1])
    except PermissionError:
        raise PrivilegeError("raw ICMP sockets need CAP_NET_RAW: be root, or let systemd start it") from None
    except OSError as error:
        raise UdpprobeError(f"no raw ICMPv{family} socket: {os.strerror(error.errno or errno.EIO)}") from None
    _configure(opened, family)
    return opened


def _configure(opened: socket.socket, family: int) -> None:
    try:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BUFFER_BYTES)
    except PermissionError:     # CAP_NET_RAW alone does not suffice
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
    opened.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
    if family == 4:
        passed = sum(1 << number for number in ICMP_ERRORS)
        opened.setsockopt(SOL_RAW, ICMP_FILTER, struct.pack("=I", 0xFFFF_FFFF & ~passed))
        opened.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
    else:
        blocked = (1 << 256) - 1 & ~sum(1 << number for number in ICMP6_ERRORS)
        words = [blocked >> 32 * place & 0xFFFF_FFFF for place in range(8)]
        opened.setsockopt(socket.IPPROTO_ICMPV6, ICMP6_FILTER, struct.pack("=8I", *words))
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)


def _places(array: npt.NDArray[np.generic]) -> npt.NDArray[np.uintp]:
    """(n,) address of each row."""
    return array.ctypes.data + np.arange(len(array), dtype=np.uintp) * np.uintp(array.strides[0])
