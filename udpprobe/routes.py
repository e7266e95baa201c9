"""By which interface the kernel would send: asked of its own routes (rtnetlink(7), RTM_GETROUTE)."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

MESSAGE = struct.Struct("=IHHII")
"""struct nlmsghdr: length, kind, flags, number, port."""
ATTRIBUTE = struct.Struct("=HH")
ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, bits of destination and source, TOS, table, protocol, scope, type, flags."""

REQUEST = 1
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
        yield name, data[at + ATTRIBUTE.size:at + length]
        at += max(ATTRIBUTE.size, -(-length // 4) * 4)
