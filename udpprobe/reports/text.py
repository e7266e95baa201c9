"""Numbers, times, addresses and foreign text as a person reads them."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, timedelta
from functools import lru_cache

NO_BREAK = "\u00a0"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SCALES = ((1e3, "k"), (1e6, "M"), (1e9, "G"))
_LINK_TYPES = {
    0: "BSD loopback", 1: "Ethernet", 9: "PPP", 12: "raw IP", 14: "raw IP", 50: "PPP", 51: "PPPoE",
    101: "raw IP", 104: "Cisco HDLC", 108: "OpenBSD loopback", 113: "Linux cooked", 228: "raw IPv4",
    229: "raw IPv6", 276: "Linux cooked v2",
}
"""The link layers people meet (https://www.tcpdump.org/linktypes.html)."""


def escape(text: str) -> str:
    r"""Foreign text with everything that could steer a terminal as `\x1b`, `\u202e` and so on."""
    return text if text.isprintable() else "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    # categories C*: controls, format characters (bidirectional overrides), lone surrogates, unassigned;
    # Zl and Zp are the line and paragraph separators
    if unicodedata.category(character)[0] == "C" or unicodedata.category(character) in {"Zl", "Zp"}:
        return character.encode("unicode_escape").decode("ascii")
    return character


def endpoint(address: str, port: int | None, zone: str | None = None) -> str:
    """`192.0.2.1:53`, `[2001:db8::1]:53`, `[fe80::1%eth0]:53`, or the address alone where there is no port."""
    address = f"{address}%{zone}" if zone else address
    if port is None:
        return escape(address)
    return f"[{escape(address)}]:{port}" if ":" in address else f"{escape(address)}:{port}"


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339, UTC, nine decimals."""
    seconds, nanoseconds = divmod(time_ns, 1_000_000_000)
    return f"{_second(seconds)}.{nanoseconds:09}Z"


@lru_cache
def _second(seconds: int) -> str:
    return (_EPOCH + timedelta(seconds=seconds)).replace(tzinfo=None).isoformat()


def count(number: int) -> str:
    """At most five characters: `9999`, `12.3k`, `4.57M`."""
    if number < 10_000:
        return str(number)
    size, unit = next((scale for scale in _SCALES if number < scale[0] * 999.5), _SCALES[-1])
    return _three_digits(number / size) + unit


def _three_digits(value: float) -> str:
    return f"{value:#.3g}".rstrip(".")


def duration(span_ms: float) -> str:
    """`0.052 ms`, `31.4 ms`, `2.50 s`, `3 min 20 s`, `2 h 5 min`."""
    if span_ms < 1000:
        return (f"{span_ms:.3f}" if span_ms < 1 else _three_digits(span_ms)) + " ms"
    if span_ms < 60_000:
        return _three_digits(span_ms / 1000) + " s"
    minutes, seconds = divmod(round(span_ms / 1000), 60)
    return f"{minutes} min {seconds} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def glued(text: str) -> str:
    """A phrase that no line may break; `layout` turns its blanks back."""
    return text.replace(" ", NO_BREAK)


def plural(number: int, noun: str) -> str:
    """`1 packet`, `12,345 packets`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def link_name(link_type: int) -> str:
    """What a LINKTYPE_ value is called."""
    return _LINK_TYPES.get(link_type, f"link type {link_type}")
