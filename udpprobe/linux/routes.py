"""What the kernel knows of addresses and routes (rtnetlink(7)): which it has, and by which interface it would send."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator

MESSAGE = struct.Struct("=IHHII")
"""struct nlmsghdr: length, kind, flags, number, port."""
ATTRIBUTE = struct.Struct("=HH")
ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, bits of destination and source, TOS, table, protocol, scope, type, flags."""

ADDRESS_BYTES = 8
"""Of struct ifaddrmsg."""

REQUEST, DUMP = 1, 0x300
ERROR, DONE = 2, 3
NEW_ADDRESS, GET_ADDRESS = 20, 22
ADDRESS, LOCAL = 1, 2
"""Attributes of an address: of a point-to-point link the first is the peer's, and LOCAL is there too."""
NEW_ROUTE, GET_ROUTE = 24, 26
DESTINATION, SOURCE, INTERFACE = 1, 2, 4
"""Attributes of a route."""
DOMAINS = {4: socket.AF_INET, 16: socket.AF_INET6}
"""By bytes of an address."""


def outgoing_interface(source: bytes, destination: bytes, interface: int = 0) -> int:
    """The interface that packets of a flow leave by.

    Args:
        source: address, 4 or 16 bytes.
        destination: likewise.
        interface: index of the only one to leave by, or 0. IPv6 takes it for a hint.

    Returns:
        Its index; 0 where there is no route.
    """
    bits = len(destination) * 8
    asked = [(DESTINATION, destination), (SOURCE, source)]
    if interface:
        asked.append((INTERFACE, struct.pack("=i", interface)))
    route = _ask(ROUTE.pack(DOMAINS[len(destination)], bits, bits, 0, 0, 0, 0, 0, 0), asked)
    return struct.unpack("=i", route[INTERFACE])[0] if INTERFACE in route else 0


def interface_addresses() -> Iterator[bytes]:
    """The addresses of all interfaces, of 4 or 16 bytes (RTM_GETADDR).

    Raises:
        OSError: the kernel does not say.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0) as kernel:
        kernel.send(MESSAGE.pack(MESSAGE.size + ADDRESS_BYTES, GET_ADDRESS, REQUEST | DUMP, 0, 0)
                    + bytes(ADDRESS_BYTES))
        while True:
            answer, at = kernel.recv(65536), 0
            while at < len(answer):
                length, kind, *_ = MESSAGE.unpack_from(answer, at)
                if kind == DONE:
                    return
                if kind == ERROR:
                    code, = struct.unpack_from("=i", answer, at + MESSAGE.size)
                    raise OSError(-code, os.strerror(-code))
                known = dict(_attributes(answer[at + MESSAGE.size + ADDRESS_BYTES:at + length]))
                if kind == NEW_ADDRESS and (address := known.get(LOCAL) or known.get(ADDRESS)):
                    yield address
                at += -(-length // 4) * 4


def _ask(head: bytes, attributes: list[tuple[int, bytes]]) -> dict[int, bytes]:
    """The attributes of the kernel's answer; none where it knows no route."""
    body = head + b"".join(ATTRIBUTE.pack(4 + len(value), name) + value for name, value in attributes)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.send(MESSAGE.pack(MESSAGE.size + len(body), GET_ROUTE, REQUEST, 0, 0) + body)
        answer = kernel.recv(65536)
    known = MESSAGE.unpack_from(answer)[1] == NEW_ROUTE
    return dict(_attributes(answer[MESSAGE.size + ROUTE.size:])) if known else {}


def _attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        length, name = ATTRIBUTE.unpack_from(data, at)
        yield name, data[at + ATTRIBUTE.size:at + max(length, ATTRIBUTE.size)]
        at += max(ATTRIBUTE.size, -(-length // 4) * 4)
