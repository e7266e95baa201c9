"""`struct icmpd_err`, as the book's client reads it on Linux: 144 bytes in this machine's byte order.

Two fields are more truthful than the book's daemon was: padding is zero, and a link-local destination has its scope.
The family tells what the type means, so an error about a v4-mapped destination is told as what it is, an IPv4 one.
"""

from __future__ import annotations

import errno
import struct
from functools import cache

from udpprobe.core.rows import Packet
from udpprobe.core.verdicts import meaning_of

RECORD_BYTES = 144
AF_INET, AF_INET6 = 2, 10
"""Linux's (bits/socket.h); the sizes of their addresses are 16 and 28 bytes."""

HEAD = struct.Struct("=iBB2xi4xH")
"""errno, type, code, size of the address; its family. The port follows, and an IPv4 address."""


@cache
def errno_of(family: int, icmp_type: int, icmp_code: int) -> int:
    """The errno of UNP table 28.1, 0 for an error that the book's daemon keeps to itself."""
    return getattr(errno, meaning_of(family, icmp_type, icmp_code).errno or "", 0)


def record_of(error: Packet, interface: int) -> bytes | None:
    """The record of an error; None for one that the book's daemon keeps to itself.

    Args:
        error: with ports.
        interface: index of the interface it came by: the scope of a link-local destination.
    """
    number = errno_of(error.family, error.icmp_type, error.icmp_code)
    if not number:
        return None
    high, low = error.destination
    if error.family == 4:
        size, family, address = 16, AF_INET, (low & 0xFFFF_FFFF).to_bytes(4)
    else:
        scope = interface if high >> 54 == 0xFE80 >> 6 else 0
        size, family = 28, AF_INET6
        address = struct.pack(">4xQQ", high, low) + struct.pack("=I", scope)     # the flow label is zero
    said = HEAD.pack(number, error.icmp_type, error.icmp_code, size, family)
    return (said + error.destination_port.to_bytes(2) + address).ljust(RECORD_BYTES, b"\0")
