"""Network interfaces by their names."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from contextlib import suppress

from udpprobe.errors import UdpprobeError, UsageError

SIOCGIFMTU, SIOCGIFFLAGS, IFF_UP = 0x8921, 0x8913, 1
IFREQ = struct.Struct("16si20x")
"""A name and a number: what `struct ifreq` is here, of 40 bytes at most."""


def interface_index(name: str) -> int:
    """Index of an interface, as zones and sockaddr_ll count them.

    Raises:
        UsageError: there is none of this name.
    """
    try:
        return socket.if_nametoindex(name)
    except OSError:
        there = ", ".join(each for _, each in socket.if_nameindex())
        raise UsageError(f"no interface {name!r}; there are {there}") from None


def interface_name(index: int) -> str:
    """Name of an interface; the index again where it is gone."""
    with suppress(OSError):
        return socket.if_indextoname(index)
    return str(index)


def interface_mtu(name: str) -> int:
    """Bytes of the largest IP packet that an interface takes (netdevice(7)).

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
            with suppress(OSError):     # it is gone
                if IFREQ.unpack(fcntl.ioctl(asking, SIOCGIFFLAGS, IFREQ.pack(name.encode(), 0)))[1] & IFF_UP:
                    found.add(name)
    return frozenset(found)


def bind_to_interface(opened: socket.socket, interface: str) -> None:
    """Let a socket leave by one interface only (SO_BINDTODEVICE, socket(7)).

    Raises:
        UdpprobeError: there is no such interface, or this process may not.
    """
    interface_index(interface)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode() + b"\0")
    except OSError as error:
        raise UdpprobeError(f"cannot send by {interface}: {os.strerror(error.errno or errno.EIO)}") from None
