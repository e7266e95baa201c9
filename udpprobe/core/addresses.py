"""Addresses of 128 bits as people write them."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address

MAPPED_PREFIX = 0xFFFF


def mapped_address(address: IPv4Address | IPv6Address) -> int:
    """128 bits, IPv4 mapped (RFC 4291, section 2.5.5.2)."""
    return int(address) | (MAPPED_PREFIX << 32 if address.version == 4 else 0)


@lru_cache(maxsize=65536)
def address_text(high: int, low: int) -> str:
    """The address in text; an IPv4-mapped one as IPv4 (RFC 5952 for the rest)."""
    if high == 0 and low >> 32 == MAPPED_PREFIX:
        return str(IPv4Address(low & 0xFFFF_FFFF))
    return str(IPv6Address(high << 64 | low))
