"""Conversations to craft captures of: who sends what, and who complains.

Each case `n` has a destination of its own (198.51.100.n or 2001:db8:1::n), so that a report tells them apart.
"""

from __future__ import annotations

import builders as b

ETHERNET = 1
CLIENT = {4: "192.0.2.1", 6: "2001:db8::1"}
ROUTER = {4: "203.0.113.1", 6: "2001:db8:ff::1"}
PORT = 4242
PORT_UNREACHABLE = {4: (3, 3), 6: (1, 4)}
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}


def host(n, family=4):
    return f"198.51.100.{n}" if family == 4 else f"2001:db8:1::{n}"


def sent(n, family=4, size=20, **fields):
    """A datagram to the destination of case `n`."""
    data = b"0123456789" * (size // 10)
    return b.datagram(CLIENT[family], host(n, family), 40000 + n, PORT, data, **fields)


def said(packet, kind=PORT_UNREACHABLE, **fields):
    """An error about it: of the destination, or of the `reporter`."""
    return b.error(packet, *kind[b.family_of(packet)], **fields)


def told(packet, *, reporter=None, **fields):
    """A datagram and the refusal of its destination."""
    return [packet, said(packet, reporter=reporter, **fields)]


def expired(packet, extend=None, **fields):
    """A datagram, and a router that quotes it, with a TTL of 1, and what `extend` makes of the quote."""
    quote = b.forwarded(packet, b.ttl_of(packet) - 1)
    return [packet, said(packet, TIME_EXCEEDED, reporter=ROUTER[b.family_of(packet)],
                         quote=extend(quote) if extend else quote, **fields)]


def in_ethernet(*conversations):
    return ETHERNET, [b.ethernet(packet) for conversation in conversations for packet in conversation]
