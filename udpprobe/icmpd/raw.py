"""Raw ICMP sockets: messages in, decoded errors out.

The kernel hands over ICMP with its IPv4 header, whatever its checksum; ICMPv6 without its header, verified.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import Counter
from typing import Any

from udpprobe.core.decode import Decoder
from udpprobe.core.rows import Packet
from udpprobe.errors import PrivilegeError, UdpprobeError
from udpprobe.icmpd.protocol import Arrival

MESSAGES = 256
"""Read at a time, so that clients are served in between."""
MESSAGE_BYTES = 4096
"""Errors are 576 and 1280 bytes at most (RFC 1812, 4.3.2.3; RFC 4443, 2.4)."""
CONTROL_BYTES = 128
RECEIVE_BUFFER_BYTES = 32 << 20

SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_MEMINFO, SK_MEMINFO_DROPS = 33, 35, 55, 8
SOL_RAW, ICMP_FILTER, ICMP6_FILTER, IP_PKTINFO = 255, 1, 1, 8
ICMP_ERRORS, ICMP6_ERRORS = (3, 4, 11, 12), range(1, 128)

STAMP, PKTINFO, PKTINFO6 = struct.Struct("@ll"), struct.Struct("=i4s4s"), struct.Struct("=16sI")
"""struct timespec; struct in_pktinfo: interface, address that the packet reached here, its destination; in6_pktinfo."""
HALVES = struct.Struct(">QQ")
RAW = 101
"""LINKTYPE_RAW."""


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
        self._decoder = Decoder(1, keeps_messages=True)
        self._faults: Counter[str] = Counter()
        self._count = 0

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

    def faults(self) -> Counter[str]:
        """What was wrong with messages so far, by name."""
        return self._faults + self._decoder.counted_faults()

    def receive(self) -> list[Arrival]:
        """The errors that wait, MESSAGES at most, without waiting."""
        found: list[Arrival] = []
        take, decode = self._socket.recvmsg, self._error_v4 if self.family == 4 else self._error_v6
        for _ in range(MESSAGES):
            try:
                data, control, flags, sender = take(MESSAGE_BYTES, CONTROL_BYTES, socket.MSG_DONTWAIT)
            except OSError:     # BlockingIOError: no more; any other is told again, if it stays
                break
            if flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC):
                self._faults["oversized-icmp"] += 1
                continue
            self._count += 1
            error, interface = decode(data, {kind: value for _, kind, value in control}, sender)
            if error is not None:
                found.append((error, interface))
        return found

    def _error_v4(self, data: bytes, control: dict[int, bytes], _sender: Any) -> tuple[Packet | None, int]:  # noqa: ANN401 - of sockets
        interface, local, destination = PKTINFO.unpack(control[IP_PKTINFO])
        if local != destination:
            self._faults["to-broadcast"] += 1
            return None, 0
        packets = self._decoder.packets(data, len(data), _time_ns(control), RAW, self._count)
        return next((packet for packet in packets if packet.is_error), None), interface

    def _error_v6(self, data: bytes, control: dict[int, bytes], sender: Any) -> tuple[Packet | None, int]:  # noqa: ANN401 - of sockets
        destination, interface = PKTINFO6.unpack(control[socket.IPV6_PKTINFO])
        source = socket.inet_pton(socket.AF_INET6, sender[0].partition("%")[0])
        error = self._decoder.message(data, HALVES.unpack(source), HALVES.unpack(destination), _time_ns(control),
                                      self._count)
        return error, interface


def _time_ns(control: dict[int, bytes]) -> int:
    seconds, nanoseconds = STAMP.unpack(control[SO_TIMESTAMPNS])
    return int(seconds) * 1_000_000_000 + int(nanoseconds)


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

