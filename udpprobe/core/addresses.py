"""Addresses of 128 bits as people write them."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv6Address

MAPPED_PREFIX = 0xFFFF

_RUNS_OF_ZEROS = tuple(":" + "0:" * count for count in range(8, 1, -1))
"""The longest first; of equally long ones the first is shortened, and none of a single group (RFC 5952, 4.2)."""


def mapped_address(address: IPv4Address | IPv6Address) -> int:
    """128 bits, IPv4 mapped (RFC 4291, section 2.5.5.2)."""
    return int(address) | (MAPPED_PREFIX << 32 if address.version == 4 else 0)


@lru_cache(maxsize=65536)
def address_text(high: int, low: int, *, as_ipv4: bool = True) -> str:
    """The address in text (RFC 5952).

    Args:
        high: upper half of its 128 bits.
        low: lower half.
        as_ipv4: whether an IPv4-mapped one stands for an IPv4 address; not where it is seen in an IPv6 header.
    """
    if high == 0 and low >> 32 == MAPPED_PREFIX:
        text = f"{low >> 24 & 255}.{low >> 16 & 255}.{low >> 8 & 255}.{low & 255}"
        return text if as_ipv4 else f"::ffff:{text}"
    # five times as quick as str(IPv6Address(...)), of which a report may need millions
    groups = (f":{high >> 48:x}:{high >> 32 & 65535:x}:{high >> 16 & 65535:x}:{high & 65535:x}"
              f":{low >> 48:x}:{low >> 32 & 65535:x}:{low >> 16 & 65535:x}:{low & 65535:x}:")
    for zeros in _RUNS_OF_ZEROS:
        if zeros in groups:
            before, _, behind = groups.partition(zeros)
            return f"{before[1:]}::{behind[:-1]}"
    return groups[1:-1]


def is_group(high: int, low: int) -> bool:
    """Whether an address is of many hosts: multicast (RFC 5771, RFC 4291 2.7), the limited broadcast (RFC 919)."""
    if high == 0 and low >> 32 == MAPPED_PREFIX:
        return low >> 28 & 0xF == 0xE or low & 0xFFFF_FFFF == 0xFFFF_FFFF
    return high >> 56 == 0xFF
