"""`struct icmpd_err`, as the book's client reads it on Linux: 144 bytes in this machine's byte order.

Two fields are more truthful than the book's daemon was: padding is zero, and a link-local destination has its scope.
The family tells what the type means, so an error about a v4-mapped destination is told as what it is, an IPv4 one.
"""

from __future__ import annotations

import errno
from functools import cache

import numpy as np

from udpprobe.core.batch import I64, U8
from udpprobe.core.packets import Errors, u64
from udpprobe.core.verdicts import meaning_of

RECORD_BYTES = 144
AF_INET, AF_INET6 = 2, 10
"""Linux's (bits/socket.h); the sizes of their addresses are 16 and 28 bytes."""

RECORD = np.dtype({
    "names": ["errno", "type", "code", "size", "family", "port", "address", "high", "low", "scope"],
    "formats": ["i4", "u1", "u1", "i4", "u2", ">u2", ">u4", ">u8", ">u8", "u4"],
    "offsets": [0, 4, 5, 8, 16, 18, 20, 24, 32, 40],
    "itemsize": RECORD_BYTES,
})
"""`address` is IPv4's; `high`, `low` and `scope` are IPv6's."""

LINK_LOCAL = u64(0xFE80_0000_0000_0000 >> 54)
"""The first ten bits of fe80::/10."""


@cache
def errno_of(family: int, icmp_type: int, icmp_code: int) -> int:
    """The errno of UNP table 28.1, 0 for an error that the book's daemon keeps to itself."""
    return getattr(errno, meaning_of(family, icmp_type, icmp_code).errno or "", 0)


def errnos_of(errors: Errors) -> I64:
    """(n,) errno of each error."""
    rows = zip(errors.family.tolist(), errors.type.tolist(), errors.code.tolist(), strict=True)
    return np.array([errno_of(*row) for row in rows], np.int64)


def zones_of(errors: Errors, interface: I64) -> I64:
    """(n,) interface of the quoted destination where that is link-local, else 0."""
    return np.where(errors.destination_high >> u64(54) == LINK_LOCAL, interface, 0)


def records_of(errors: Errors, interface: I64) -> U8:
    """(n, 144) a record an error.

    Args:
        errors: all with ports.
        interface: (n,) index of the interface each one came by.
    """
    made = np.zeros(len(errors), RECORD)
    v4 = errors.family == 4
    made["errno"], made["type"], made["code"] = errnos_of(errors), errors.type, errors.code
    made["size"], made["family"] = np.where(v4, 16, 28), np.where(v4, AF_INET, AF_INET6)
    made["port"] = errors.ports & u64(0xFFFF)
    made["address"] = np.where(v4, errors.destination_low & u64(0xFFFF_FFFF), u64(0))
    made["high"] = np.where(v4, u64(0), errors.destination_high)
    made["low"] = np.where(v4, u64(0), errors.destination_low)
    made["scope"] = np.where(v4, 0, zones_of(errors, interface))
    return made.view(np.uint8).reshape(-1, RECORD_BYTES)
