"""Raw ICMP sockets: messages in, decoded errors out.

The kernel passes ICMP with its IPv4 header, whatever its checksum, and ICMPv6 verified without its header. One system
call takes everything that waits, and one call decodes it, so an error is cheap when many arrive.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
import sys
from array import array
from collections import Counter
from collections.abc import Sequence

from udpprobe.core.decode import Decoder
from udpprobe.errors import PrivilegeError, UdpprobeError
from udpprobe.icmpd.registry import Errors

MESSAGES = 4096
"""Messages read at a time, 15 ms of work, so that clients are served in between. With a thousand clients, each then
gets several errors per system call."""
MESSAGE_BYTES = 2048
"""Errors have at most 576 and 1280 bytes (RFC 1812, 4.3.2.3; RFC 4443, 2.4); Ethernet carries at most 1500."""
RECEIVE_BUFFER_BYTES = 32 << 20

SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_MEMINFO, SK_MEMINFO_DROPS = 33, 35, 55, 8
SOL_RAW, ICMP_FILTER, ICMP6_FILTER, IP_PKTINFO = 255, 1, 1, 8
ICMP_ERRORS, ICMP6_ERRORS = (3, 4, 11, 12), range(1, 128)

MSGHDR = struct.Struct("@PI4xPNPNi4x")
"""struct msghdr: name, its bytes, pieces, their count, control, its bytes, flags (64-bit Linux)."""
MMSGHDR_BYTES = MSGHDR.size + 8
IOVEC = struct.Struct("@PN")
STAMP = struct.Struct("@ll")
"""struct timespec."""
NAME_BYTES, CONTROL_BYTES = 32, 80
"""Room for a struct sockaddr_in6 (28 bytes); for two messages of control data."""
WITH_CONTROL = {4: 64, 6: 72}
"""By family, length of the kernel's control data (raw_recvmsg, rawv6_recvmsg): a struct timespec and a struct
in_pktinfo (interface, address that the packet reached, its destination) or in6_pktinfo (destination, interface),
with a header of 16 bytes each, in units of 8 bytes."""

_libc = ctypes.CDLL(None, use_errno=True)
_recvmmsg = _libc.recvmmsg
_recvmmsg.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p]


class RawIcmp:
    """A raw socket that receives the ICMP errors of one family.

    Args:
        family: 4 or 6.

    Raises:
        PrivilegeError: this user may not open one.
        UdpprobeError: this host does not support the family.
    """

    def __init__(self, family: int) -> None:
        self.family = family
        self._socket = _open(family)
        self._decoder = Decoder(MESSAGES)
        self._faults: Counter[str] = Counter()
        self._data, self._pieces, self._names, self._control, self._headers = (
            bytearray(MESSAGES * size) for size in (MESSAGE_BYTES, IOVEC.size, NAME_BYTES, CONTROL_BYTES, MMSGHDR_BYTES)
        )
        self._at = _laid_out(self._data, self._pieces, self._names, self._control, self._headers)
        self._fresh_headers = bytes(self._headers)
        self._header_words, self._control_words = (
            memoryview(each).cast("I") for each in (self._headers, self._control)
        )
        self._lengths = memoryview(bytearray(8 * MESSAGES)).cast("q")
        self._addresses = memoryview(bytearray(32 * MESSAGES if family == 6 else 0)).cast("Q")
        self._errors = Errors(self._decoder.rows, self._data, self._time_ns)
        self.is_full = False
        """Whether the last read took as many messages as possible."""

    def fileno(self) -> int:
        """For a selector."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def dropped(self) -> int:
        """Messages that the kernel dropped so far for lack of buffer space (SO_MEMINFO)."""
        said = self._socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 4 * (SK_MEMINFO_DROPS + 1))
        return int(struct.unpack("=9I", said)[SK_MEMINFO_DROPS])

    def faults(self) -> Counter[str]:
        """Faults of messages so far, by name."""
        return self._faults + self._decoder.counted_faults()

    def receive(self, most: int = MESSAGES) -> Errors:
        """The errors among the waiting messages, at most `most`, without waiting. The next call overwrites them."""
        count = max(_recvmmsg(self.fileno(), self._at, most, socket.MSG_DONTWAIT, None), 0)
        self.is_full = count == most
        interfaces = self._read_headers(count)
        used = MMSGHDR_BYTES * count
        self._headers[:used] = self._fresh_headers[:used]  # the kernel overwrote the sizes
        self._decoder.receive(self._data, MESSAGE_BYTES, self._lengths, self._addresses, count)
        self._errors.load(interfaces)
        return self._errors

    def _read_headers(self, count: int) -> list[int]:
        """Read each message's ancillary data; return the incoming interface by message.

        Messages that cannot be handled get a length of -1, and are counted.
        """
        headers, control, end = self._header_words, self._control_words, MMSGHDR_BYTES // 4 * count
        controls, flags, lengths = (headers[place : end : MMSGHDR_BYTES // 4].tolist() for place in (10, 12, 14))
        step, wanted, lost = CONTROL_BYTES // 4, WITH_CONTROL[self.family], socket.MSG_TRUNC | socket.MSG_CTRUNC
        if any(flags) or controls.count(wanted) < count:
            self._pass_over(
                lengths,
                "oversized-icmp",
                [bits & lost or size != wanted for bits, size in zip(flags, controls, strict=True)],
            )
        if self.family == 4:
            interfaces, own, destinations = (control[place : step * count : step].tolist() for place in (12, 13, 14))
            if own != destinations:
                self._pass_over(
                    lengths, "to-broadcast", [one != other for one, other in zip(own, destinations, strict=True)]
                )
        else:
            interfaces = control[16 : step * count : step].tolist()
            names = in_network_order(self._names, NAME_BYTES * count)
            arrived = in_network_order(self._control, CONTROL_BYTES * count)
            for word, column in enumerate((names[1::4], names[2::4], arrived[6 :: step // 2], arrived[7 :: step // 2])):
                self._addresses[word : 4 * count : 4] = memoryview(column)
        self._lengths[:count] = array("q", lengths)
        return interfaces

    def _pass_over(self, lengths: list[int], fault: str, wrong: Sequence[int]) -> None:
        for row, is_wrong in enumerate(wrong):
            if is_wrong and lengths[row] >= 0:
                self._faults[fault] += 1
                lengths[row] = -1

    def _time_ns(self, message: int) -> int:
        seconds, nanoseconds = STAMP.unpack_from(self._control, CONTROL_BYTES * message + 16)
        return int(seconds) * 1_000_000_000 + int(nanoseconds)


def in_network_order(data: bytearray, size: int) -> array[int]:
    """The first bytes as words."""
    words = array("Q", bytes(memoryview(data)[:size]))
    if sys.byteorder == "little":
        words.byteswap()
    return words


def _laid_out(data: bytearray, pieces: bytearray, names: bytearray, control: bytearray, headers: bytearray) -> int:
    """Let headers (struct mmsghdr) point to room for each message; return their address in memory."""
    at_data, at_pieces, at_names, at_control, at_headers = (
        ctypes.addressof(ctypes.c_char.from_buffer(each)) for each in (data, pieces, names, control, headers)
    )
    for row in range(MESSAGES):
        IOVEC.pack_into(pieces, IOVEC.size * row, at_data + MESSAGE_BYTES * row, MESSAGE_BYTES)
        MSGHDR.pack_into(
            headers,
            MMSGHDR_BYTES * row,
            at_names + NAME_BYTES * row,
            NAME_BYTES,
            at_pieces + IOVEC.size * row,
            1,
            at_control + CONTROL_BYTES * row,
            CONTROL_BYTES,
            0,
        )
    return at_headers


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
    except PermissionError:  # CAP_NET_RAW alone is not enough
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
