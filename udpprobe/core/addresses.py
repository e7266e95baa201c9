"""Text of 128-bit addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    import cython
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, u64

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

MAPPED_PREFIX = 0xFFFF
_LOWER = cython.declare(cython.const[u64], 0xFFFF_FFFF)
_MAPPED = cython.declare(cython.const[u64], 0xFFFF)

_RUNS_OF_ZEROS = tuple(":" + "0:" * count for count in range(8, 1, -1))
"""The longest first; of equally long ones the first is shortened, and none of a single group (RFC 5952, 4.2)."""


def mapped_address(address: IPv4Address | IPv6Address) -> int:
    """The address in 128 bits, IPv4 mapped (RFC 4291, section 2.5.5.2)."""
    return int(address) | (MAPPED_PREFIX << 32 if address.version == 4 else 0)


def address_text(high: u64, low: u64, *, as_ipv4: bool = True) -> str:
    """The address in text (RFC 5952).

    Args:
        high: upper half of its 128 bits.
        low: lower half.
        as_ipv4: whether an IPv4-mapped address stands for an IPv4 address; false for one seen in an IPv6 header.
    """
    if high == 0 and low >> 32 == _MAPPED:
        text = f"{low >> 24 & 255}.{low >> 16 & 255}.{low >> 8 & 255}.{low & 255}"
        return text if as_ipv4 else f"::ffff:{text}"
    # five times as fast as str(IPv6Address(...)); a report may need millions
    groups = (
        f":{high >> 48:x}:{high >> 32 & 65535:x}:{high >> 16 & 65535:x}:{high & 65535:x}"
        f":{low >> 48:x}:{low >> 32 & 65535:x}:{low >> 16 & 65535:x}:{low & 65535:x}:"
    )
    for zeros in _RUNS_OF_ZEROS:
        if zeros in groups:
            before, _, behind = groups.partition(zeros)
            return f"{before[1:]}::{behind.rstrip(':')}"
    return groups.strip(":")


@cython.ccall
@cython.nogil
@cython.exceptval(-1, check=False)
def is_group(high: u64, low: u64) -> cython.bint:
    """Whether an address is a group's: multicast (RFC 5771, RFC 4291 2.7) or the limited broadcast (RFC 919)."""
    if high == 0 and low >> 32 == _MAPPED:
        return low >> 28 & 0xF == 0xE or low & _LOWER == _LOWER
    return high >> 56 == 0xFF
