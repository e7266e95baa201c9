"""Sets up interfaces as `ip` would, which need not be installed (rtnetlink(7))."""

from __future__ import annotations

import errno
import os
import socket
import struct
from ipaddress import IPv4Interface, IPv6Interface

from udpprobe.linux.routes import ATTRIBUTE, MESSAGE, REQUEST, ROUTE

Network = IPv4Interface | IPv6Interface
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}

LINK = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, kind, index, flags, which of them."""
ADDRESS = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, bits of the prefix, flags, scope, index."""
ERROR = struct.Struct("=i")

SET_LINK, NEW_ADDRESS, NEW_ROUTE = 16, 20, 24
ACKNOWLEDGE, CREATE = 4, 0x400
IS_UP = 1
LINK_MTU, LINK_QUEUE, LINK_FAMILIES, LINK_ADDRESS_MODE = 4, 13, 26, 8
NO_LINK_LOCAL = 1
"""Of LINK_ADDRESS_MODE: no address of its own making, hence no router solicitations from it."""
ADDRESS_PEER, ADDRESS_LOCAL, ADDRESS_FLAGS = 1, 2, 8
NO_DAD = 2
"""Nobody else is on the link; the address can be used at once (RFC 4862, 5.4)."""
ROUTE_OUT, MAIN_TABLE, BY_BOOT = 4, 254, 3


def set_up(name: str) -> None:
    """Switch an interface on.

    Raises:
        OSError: this process may not, or there is none of this name.
    """
    _ask(SET_LINK, LINK.pack(0, 0, socket.if_nametoindex(name), IS_UP, IS_UP))


def shape(name: str, mtu: int, queue_packets: int) -> None:
    """Set what an interface takes at once, and how much of it waits for its reader.

    Raises:
        OSError: this process may not, or the MTU is none that the interface takes.
    """
    link = LINK.pack(0, 0, socket.if_nametoindex(name), 0, 0)
    _ask(SET_LINK, link + _attribute(LINK_MTU, struct.pack("=I", mtu)))
    _ask(SET_LINK, link + _attribute(LINK_QUEUE, struct.pack("=I", queue_packets)))
    no_link_local = _attribute(LINK_ADDRESS_MODE, bytes([NO_LINK_LOCAL]))
    try:
        _ask(SET_LINK, link + _attribute(LINK_FAMILIES, _attribute(socket.AF_INET6, no_link_local)))
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:   # what has no IPv6, as with a smaller MTU, makes no address
            raise


def add_address(name: str, network: Network) -> None:
    """Give an interface an address.

    Args:
        name: of the interface.
        network: the address and the bits of its network.

    Raises:
        OSError: this process may not, or the kernel lacks the family.
    """
    address = network.ip.packed
    head = ADDRESS.pack(FAMILIES[network.version], network.network.prefixlen, 0, 0, socket.if_nametoindex(name))
    _ask(NEW_ADDRESS, head + _attribute(ADDRESS_LOCAL, address) + _attribute(ADDRESS_PEER, address)
         + _attribute(ADDRESS_FLAGS, struct.pack("=I", NO_DAD)))


def add_default_route(name: str, version: int) -> None:
    """Let all that has no other route leave by an interface, without a gateway.

    Args:
        name: of the interface.
        version: of the Internet Protocol, 4 or 6.

    Raises:
        OSError: this process may not, or the interface is down.
    """
    head = ROUTE.pack(FAMILIES[version], 0, 0, 0, MAIN_TABLE, BY_BOOT, 0, 1, 0)
    _ask(NEW_ROUTE, head + _attribute(ROUTE_OUT, struct.pack("=i", socket.if_nametoindex(name))))


def _attribute(name: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), name) + value + bytes(-len(value) % 4)


def _ask(kind: int, body: bytes) -> None:
    flags = REQUEST | ACKNOWLEDGE | (CREATE if kind != SET_LINK else 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as kernel:
        kernel.send(MESSAGE.pack(MESSAGE.size + len(body), kind, flags, 0, 0) + body)
        number = -ERROR.unpack_from(kernel.recv(65536), MESSAGE.size)[0]
    if number:
        raise OSError(number, os.strerror(number))
