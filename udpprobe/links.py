"""Network interfaces by their names."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress

from udpprobe.errors import UdpprobeError, UsageError


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
