"""The kernel's own list of UDP sockets (sock_diag(7), linux/inet_diag.h)."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator

from msgspec import Struct

from udpprobe.core.addresses import MAPPED_PREFIX
from udpprobe.linux.netlink import DONE, DUMP, ERROR, REQUEST, attributes, message, messages

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY = 4, 20
UDP_REQUEST = struct.Struct("=BBBxI48x")
"""struct inet_diag_req_v2: family, protocol, extensions, states; all addresses."""
MESSAGE = struct.Struct("=BB2x2s2s16s16s28xI")
"""struct inet_diag_msg: family, state, ports and addresses, inode."""
ANY_STATE, ESTABLISHED = 0xFFFF_FFFF, 1
INET_DIAG_SOCKOPT, RECVERR = 22, 1
"""Since Linux 5.8: bits of socket options, without those of IPv6."""
INET_DIAG_SKMEMINFO, MEMINFO_DROPS = 7, 8
"""On request; since Linux 4.7 the ninth number is SK_MEMINFO_DROPS (linux/sock_diag.h)."""
MEMINFO_RCVBUF, MEMINFO_SNDBUF = 1, 3
LEAST_RCVBUF, LEAST_SNDBUF = 4096, 8192
"""Who asks for no buffers at all gets less (SOCK_MIN_RCVBUF, SOCK_MIN_SNDBUF: 2304 and 4608 bytes on most machines)."""
ANSWER_BYTES = 1 << 16
TIMEOUT_S = 1


class UdpSocket(Struct, frozen=True):
    """A UDP socket; addresses are 128 bits, IPv4 mapped, 0 for any."""

    is_v4: bool
    """AF_INET; an AF_INET6 socket may send both families."""
    address: int
    port: int
    peer: int
    peer_port: int
    is_connected: bool
    inode: int
    recverr: bool | None
    """IP_RECVERR; None if unknown."""
    drops: int | None = None
    """Datagrams that reached it and were dropped, modulo 2^32; None if unknown."""
    keeps_port: bool = False
    """Whether its buffers have no room: it only reserves the port for a sender of raw packets, as in `scan`."""


def udp_sockets() -> list[UdpSocket]:
    """All UDP sockets of this network namespace.

    Raises:
        OSError: the kernel refuses.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG) as netlink:
        netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@qq", TIMEOUT_S, 0))
        return [each for family in (socket.AF_INET, socket.AF_INET6) for each in _of_family(netlink, family)]


def _of_family(netlink: socket.socket, family: int) -> Iterator[UdpSocket]:
    wanted = UDP_REQUEST.pack(family, socket.IPPROTO_UDP, 1 << INET_DIAG_SKMEMINFO - 1, ANY_STATE)
    netlink.send(message(SOCK_DIAG_BY_FAMILY, REQUEST | DUMP, wanted))
    while True:
        for kind, body in messages(netlink.recv(ANSWER_BYTES)):
            if kind in {DONE, ERROR}:
                return
            if kind == SOCK_DIAG_BY_FAMILY:
                yield udp_socket(body)


def udp_socket(body: bytes) -> UdpSocket:
    """Parse a struct inet_diag_msg and its attributes."""
    family, state, port, peer_port, address, peer, inode = MESSAGE.unpack_from(body)
    is_v4 = family == socket.AF_INET
    known = dict(attributes(body[MESSAGE.size :]))
    options, memory = known.get(INET_DIAG_SOCKOPT), known.get(INET_DIAG_SKMEMINFO, b"")
    recverr = bool(options[0] & RECVERR) if options else None
    rcvbuf, sndbuf = (
        int.from_bytes(memory[4 * at : 4 * at + 4], sys.byteorder) for at in (MEMINFO_RCVBUF, MEMINFO_SNDBUF)
    )
    drops = memory[4 * MEMINFO_DROPS : 4 * MEMINFO_DROPS + 4]
    return UdpSocket(
        is_v4,
        _number(address, is_v4=is_v4),
        int.from_bytes(port),
        _number(peer, is_v4=is_v4),
        int.from_bytes(peer_port),
        state == ESTABLISHED,
        inode,
        recverr,
        int.from_bytes(drops, sys.byteorder) if drops else None,
        0 < rcvbuf < LEAST_RCVBUF and 0 < sndbuf < LEAST_SNDBUF,
    )


def _number(address: bytes, *, is_v4: bool) -> int:
    if not is_v4:
        return int.from_bytes(address)
    number = int.from_bytes(address[:4])
    return number and number | MAPPED_PREFIX << 32
