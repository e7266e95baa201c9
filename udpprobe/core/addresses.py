"""Addresses of 128 bits as people write them."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

MAPPED_PREFIX = 0xFFFF


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
        text = str(IPv4Address(low & 0xFFFF_FFFF))
        return text if as_ipv4 else f"::ffff:{text}"
    return str(IPv6Address(high << 64 | low))
