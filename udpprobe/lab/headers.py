"""Extension headers of IPv6 that their destination does not take, and what it says about them (RFC 8200, 4)."""

from __future__ import annotations

from udpprobe.lab.model import Kind, Packet

_HOP_BY_HOP, _ROUTING, _DESTINATION = 0, 43, 60
_FIRST_NAMED_AT = 6
"""Where the IPv6 header says which header follows."""
_PAD = 0
_TAKEN = {0xC2, 0xC9}
"""Options that are not to be skipped by who does not know them, but known: a jumbo's length and a home address."""
_IN_SILENCE = 1
"""Highest bits of an option that has its packet dropped without a word, if it is not known; 2 and 3: with one."""


def flaws(packet: Packet) -> list[Kind] | None:
    """The error that a packet is dropped with, if any is sent; None where it is taken."""
    named_at, at = _FIRST_NAMED_AT, 40
    for number, body in packet.extensions:
        if number == _HOP_BY_HOP and named_at != _FIRST_NAMED_AT:
            return [Kind(4, 1, named_at)]
        found = _route(body, at) if number == _ROUTING else _options(number, body, at)
        if found is not None:
            return found
        named_at, at = at, at + 1 + len(body)
    return None


def _route(body: bytes, at: int) -> list[Kind] | None:
    """No host here knows a route that goes on (4.4)."""
    segments_left = body[2]
    return [Kind(4, 0, at + 2)] if segments_left else None


def _options(number: int, body: bytes, at: int) -> list[Kind] | None:
    place = 1
    while number in {_HOP_BY_HOP, _DESTINATION} and place < len(body):
        option = body[place]
        action = 0 if option in _TAKEN else option >> 6
        if action:
            return [] if action == _IN_SILENCE else [Kind(4, 2, at + 1 + place)]
        place += 1 if option == _PAD else 2 + int.from_bytes(body[place + 1:place + 2])
    return None
