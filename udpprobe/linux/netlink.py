"""Addresses, routes and interfaces: read from the kernel, and set (rtnetlink(7), netdevice(7)).

This needs no `ip` command, and no process per request.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import IPv4Interface, IPv6Interface

from udpprobe.errors import UdpprobeError

# linux/netlink.h
MESSAGE = struct.Struct("=IHHII")
"""struct nlmsghdr: length, kind, flags, number, port."""
ATTRIBUTE = struct.Struct("=HH")
REQUEST, ACKNOWLEDGE, DUMP, CREATE = 1, 4, 0x300, 0x400
ERROR, DONE = 2, 3
ERROR_NUMBER = struct.Struct("=i")

# linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
LINK = struct.Struct("=BxHiII")
"""struct ifinfomsg: family, kind, index, flags, mask of flags to change."""
ADDRESS = struct.Struct("=BBBBI")
"""struct ifaddrmsg: family, prefix length, flags, scope, index."""
ROUTE = struct.Struct("=BBBBBBBBI")
"""struct rtmsg: family, prefix lengths of destination and source, TOS, table, protocol, scope, type, flags."""
SET_LINK, NEW_ADDRESS, GET_ADDRESS, NEW_ROUTE, GET_ROUTE = 16, 20, 22, 24, 26
IS_UP = 1
LINK_MTU, LINK_QUEUE, LINK_FAMILIES, LINK_ADDRESS_MODE = 4, 13, 26, 8
NO_LINK_LOCAL = 1
"""For LINK_ADDRESS_MODE: the kernel generates no link-local address, hence sends no router solicitations from it."""
ADDRESS_PEER, ADDRESS_LOCAL, ADDRESS_FLAGS = 1, 2, 8
"""On a point-to-point link ADDRESS_PEER is the peer's address, and ADDRESS_LOCAL the own one."""
NO_DAD = 2
"""No other host is on the link, so the address can be used at once (RFC 4862, 5.4)."""
ROUTE_DESTINATION, ROUTE_SOURCE, ROUTE_OUT = 1, 2, 4
MAIN_TABLE, BY_BOOT = 254, 3

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
"""By IP version."""
FAMILIES_BY_SIZE = {4: socket.AF_INET, 16: socket.AF_INET6}
"""By length of an address."""
InterfaceAddress = IPv4Interface | IPv6Interface
"""An address with its prefix length."""

SIOCGIFMTU, SIOCGIFFLAGS, IFF_UP = 0x8921, 0x8913, 1
IFREQ = struct.Struct("16si20x")
"""struct ifreq: a name and a number; the kernel reads 40 bytes at most."""


def message(kind: int, flags: int, body: bytes) -> bytes:
    """A request to the kernel."""
    return MESSAGE.pack(MESSAGE.size + len(body), kind, flags, 0, 0) + body


def messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    """Kind and body of each message of an answer."""
    at = 0
    while at + MESSAGE.size <= len(answer):
        size, kind, *_ = MESSAGE.unpack_from(answer, at)
        yield kind, answer[at + MESSAGE.size : at + size]
        at += max(MESSAGE.size, -(-size // 4) * 4)


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute."""
    at = 0
    while at + ATTRIBUTE.size <= len(data):
        length, name = ATTRIBUTE.unpack_from(data, at)
        yield name, data[at + ATTRIBUTE.size : at + max(length, ATTRIBUTE.size)]
        at += max(ATTRIBUTE.size, -(-length // 4) * 4)


def outgoing_interface(source: bytes, destination: bytes, interface: int = 0) -> int:
    """The outgoing interface for packets of a flow.

    Args:
        source: address, 4 or 16 bytes.
        destination: likewise.
        interface: index of the only one to use, or 0. For IPv6 it is a hint.

    Returns:
        Its index; 0 without a route.
    """
    bits = len(destination) * 8
    wanted = _attribute(ROUTE_DESTINATION, destination) + _attribute(ROUTE_SOURCE, source)
    if interface:
        wanted += _attribute(ROUTE_OUT, struct.pack("=i", interface))
    head = ROUTE.pack(FAMILIES_BY_SIZE[len(destination)], bits, bits, 0, 0, 0, 0, 0, 0)
    with _kernel() as kernel:
        kernel.send(message(GET_ROUTE, REQUEST, head + wanted))
        kind, body = next(messages(kernel.recv(65536)))
    if kind != NEW_ROUTE:
        return 0
    route = dict(attributes(body[ROUTE.size :]))
    return struct.unpack("=i", route[ROUTE_OUT])[0] if ROUTE_OUT in route else 0


def interface_addresses() -> Iterator[bytes]:
    """The addresses of all interfaces, 4 or 16 bytes each (RTM_GETADDR).

    Raises:
        OSError: the kernel refuses.
    """
    with _kernel() as kernel:
        kernel.send(message(GET_ADDRESS, REQUEST | DUMP, bytes(ADDRESS.size)))
        while True:
            for kind, body in messages(kernel.recv(65536)):
                if kind == DONE:
                    return
                if kind == ERROR:
                    _raise_error(body)
                known = dict(attributes(body[ADDRESS.size :]))
                if kind == NEW_ADDRESS and (address := known.get(ADDRESS_LOCAL) or known.get(ADDRESS_PEER)):
                    yield address


def set_up(name: str) -> None:
    """Bring an interface up.

    Raises:
        OSError: this process may not, or there is no such interface.
    """
    _set(SET_LINK, LINK.pack(0, 0, socket.if_nametoindex(name), IS_UP, IS_UP))


def shape(name: str, mtu: int, queue_packets: int) -> None:
    """Set an interface's MTU and queue length in packets.

    Raises:
        OSError: this process may not, or the interface rejects the MTU.
    """
    link = LINK.pack(0, 0, socket.if_nametoindex(name), 0, 0)
    _set(SET_LINK, link + _attribute(LINK_MTU, struct.pack("=I", mtu)))
    _set(SET_LINK, link + _attribute(LINK_QUEUE, struct.pack("=I", queue_packets)))
    no_link_local = _attribute(LINK_ADDRESS_MODE, bytes([NO_LINK_LOCAL]))
    try:
        _set(SET_LINK, link + _attribute(LINK_FAMILIES, _attribute(socket.AF_INET6, no_link_local)))
    except OSError as error:
        if error.errno != errno.EAFNOSUPPORT:  # no IPv6 at this MTU, hence no link-local address
            raise


def add_address(name: str, address: InterfaceAddress) -> None:
    """Give an interface an address.

    Args:
        name: of the interface.
        address: the address, with its prefix length.

    Raises:
        OSError: this process may not, or the kernel lacks the family.
    """
    local = address.ip.packed
    head = ADDRESS.pack(FAMILIES[address.version], address.network.prefixlen, 0, 0, socket.if_nametoindex(name))
    _set(
        NEW_ADDRESS,
        head
        + _attribute(ADDRESS_LOCAL, local)
        + _attribute(ADDRESS_PEER, local)
        + _attribute(ADDRESS_FLAGS, struct.pack("=I", NO_DAD)),
    )


def add_default_route(name: str, version: int) -> None:
    """Add a default route through an interface, without a gateway.

    Args:
        name: of the interface.
        version: IP version, 4 or 6.

    Raises:
        OSError: this process may not, or the interface is down.
    """
    head = ROUTE.pack(FAMILIES[version], 0, 0, 0, MAIN_TABLE, BY_BOOT, 0, 1, 0)
    _set(NEW_ROUTE, head + _attribute(ROUTE_OUT, struct.pack("=i", socket.if_nametoindex(name))))


def interface_index(name: str) -> int:
    """Index of an interface, as in zones and sockaddr_ll.

    Raises:
        UdpprobeError: there is no such interface.
    """
    try:
        return socket.if_nametoindex(name)
    except OSError:
        there = ", ".join(each for _, each in socket.if_nameindex())
        raise UdpprobeError(f"no interface {name!r}; existing ones: {there}") from None


def interface_name(index: int) -> str:
    """Name of an interface; its index if it is gone."""
    with suppress(OSError):
        return socket.if_indextoname(index)
    return str(index)


def interface_mtu(name: str) -> int:
    """MTU of an interface in bytes (netdevice(7)).

    Raises:
        OSError: it is gone.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        return int(IFREQ.unpack(fcntl.ioctl(asking, SIOCGIFMTU, IFREQ.pack(name.encode(), 0)))[1])


def up_interfaces() -> frozenset[str]:
    """The interfaces that are up (netdevice(7))."""
    found = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asking:
        for _, name in socket.if_nameindex():
            with suppress(OSError):  # it is gone
                if IFREQ.unpack(fcntl.ioctl(asking, SIOCGIFFLAGS, IFREQ.pack(name.encode(), 0)))[1] & IFF_UP:
                    found.add(name)
    return frozenset(found)


def bind_to_interface(opened: socket.socket, interface: str) -> None:
    """Restrict a socket to one interface (SO_BINDTODEVICE, socket(7)).

    Raises:
        UdpprobeError: there is no such interface, or this process may not.
    """
    interface_index(interface)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    except OSError as error:
        raise UdpprobeError(f"cannot send by {interface}: {os.strerror(error.errno or errno.EIO)}") from None


def _set(kind: int, body: bytes) -> None:
    flags = REQUEST | ACKNOWLEDGE | (CREATE if kind != SET_LINK else 0)
    with _kernel() as kernel:
        kernel.send(message(kind, flags, body))
        _raise_error(kernel.recv(65536)[MESSAGE.size :])  # an acknowledgement is an error with number 0


def _kernel() -> socket.socket:
    return socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, 0)


def _raise_error(body: bytes) -> None:
    number = -ERROR_NUMBER.unpack_from(body)[0]
    if number:
        raise OSError(number, os.strerror(number))


def _attribute(name: int, value: bytes) -> bytes:
    return ATTRIBUTE.pack(ATTRIBUTE.size + len(value), name) + value + bytes(-len(value) % 4)
