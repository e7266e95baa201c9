"""Notes on errors, as bits in a row and as text in a report."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import IntFlag
from functools import cache

NO_NEIGHBOUR, GROUP_MEMBER = "no-neighbour", "group-member"
"""Notes that programs look for: no neighbour on the link answers for the address; an error about a group address."""

NO_REPLY = "no reply; host down or filtered"
"""Of a silent destination: nothing came back from the host, although a closed port was probed too."""
NO_ERRORS_ARRIVE = "no closed port was refused, though another port of this host answers"
"""Of a silent destination: the host is up, but its errors do not arrive."""
AMPLIFIER = "an amplifier"
"""Ends the note on a service whose answers are much larger than the requests."""
OWN_SOCKET = "its socket"
"""Part of every note on the local socket that sent the datagram."""
SCANNER = "its socket only reserves the port: it probes, and receives by other means"
"""On the socket of a scanner, which may try closed ports."""


def says(notes: Sequence[str], fact: str) -> bool:
    """Whether one of the notes says it: one of the constants above, which also hold in a report read from JSON."""
    return any(fact in note for note in notes)


def in_words(notes: Sequence[str]) -> Iterator[str]:
    """Notes for people: `no-neighbour` is followed by its meaning."""
    return (note for note in notes if note != NO_NEIGHBOUR)


def no_neighbour_notes(family: int, interface: str) -> tuple[str, ...]:
    """The notes where this host sends the error to itself, because it finds no neighbour.

    Args:
        family: 4 or 6.
        interface: name of the link's interface; empty if unknown.
    """
    how = "ARP" if family == 4 else "NDP"
    return NO_NEIGHBOUR, f"no {how} (neighbour) reply" + (f" on {interface}" if interface else "")


UNKNOWN_LENGTH = 1 << 20
"""Longer than any packet, so it never wins a minimum."""

PLATEAUS = (65535, 32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296, 68)
"""Common MTUs, RFC 1191, table 7-1."""


class Note(IntFlag):
    """One bit each; several may hold."""

    BAD_ICMP_CHECKSUM = 1
    ICMP_FRAGMENTED = 2
    NO_PORTS = 4
    NO_LENGTH = 8
    NO_CHECKSUM = 16
    QUOTES_LATER_FRAGMENT = 32
    IP_LENGTH_SWAPPED = 64
    IP_LENGTH_LIES = 128
    IP_ID_SWAPPED = 256
    MTU_ZERO = 512
    MTU_BELOW_MINIMUM = 1024
    MTU_NOT_SMALLER = 2048
    TUNNELLED = 4096
    SOURCE_REWRITTEN = 8192
    NO_EXTENSION = 16384
    BAD_EXTENSION = 32768
    SEEN_BEFORE = 65536
    DESTINATION_REWRITTEN = 1 << 17
    OFFLOADED = 1 << 18
    ABOUT_TUNNEL = 1 << 19
    NO_NEIGHBOUR = 1 << 20


TEXTS = {
    Note.BAD_ICMP_CHECKSUM: "bad ICMP checksum: a host would ignore this error",
    Note.ICMP_FRAGMENTED: "the error itself arrived in fragments",
    Note.NO_PORTS: "the quote ends before the UDP ports",
    Note.QUOTES_LATER_FRAGMENT: "quotes a later fragment, which has no ports",
    Note.IP_LENGTH_SWAPPED: "the quoted IP length is byte-swapped",
    Note.IP_LENGTH_LIES: "the quoted IP length differs from the datagram's",
    Note.IP_ID_SWAPPED: "the quoted IP id is byte-swapped",
    Note.MTU_ZERO: "the router reports no MTU{estimate}",
    Note.MTU_BELOW_MINIMUM: "reported MTU below what every link must carry: bogus",
    Note.MTU_NOT_SMALLER: "reported MTU ≥ packet size: bogus",
    Note.TUNNELLED: "inside a tunnel",
    Note.SOURCE_REWRITTEN: "a NAT changed the source",
    Note.DESTINATION_REWRITTEN: "the quoted destination differs: a service address was translated",
    Note.OFFLOADED: "quotes one segment of a larger record, captured before the network card split it",
    Note.ABOUT_TUNNEL: "about the tunnel's packet: its headers take {tunnel} bytes{remaining}",
    Note.NO_EXTENSION: "padding follows the quote, not an extension",
    Note.SEEN_BEFORE: "captured before: a copy of the same error",
    Note.BAD_EXTENSION: "the extension's checksum or lengths are wrong",
}
"""Every note that people see; the others only mark missing fields."""

REMAIN = " remain inside"
"""Ends the note ABOUT_TUNNEL; advice takes the MTU inside of the tunnel from in front of it."""

_MTU_ZERO = int(Note.MTU_ZERO)
_TEXTS = [(int(note), text) for note, text in TEXTS.items()]


def plateau_below(length: int, family: int = 4) -> int:
    """RFC 1191's next common MTU below a datagram of `length` bytes; for IPv6 at least 1280."""
    below = next((plateau for plateau in PLATEAUS if plateau < length), PLATEAUS[-1])
    return below if family == 4 else max(below, 1280)


def texts_of(bits: int, length: int, family: int = 4, tunnel: int = 0, mtu: int | None = None) -> tuple[str, ...]:
    """The notes as text.

    Args:
        bits: of `Note`.
        length: bytes of the datagram's IP packet, to estimate its MTU, or UNKNOWN_LENGTH.
        family: of the packet that the error is about.
        tunnel: bytes of the tunnel's headers around the datagram's packet.
        mtu: as reported.
    """
    is_estimated = bits & _MTU_ZERO and length < UNKNOWN_LENGTH
    estimate = f"; RFC 1191's next plateau is {plateau_below(length + tunnel, family)}" if is_estimated else ""
    return _texts(bits, estimate, tunnel, f", and {mtu - tunnel}{REMAIN}" if mtu and mtu > tunnel else "")


@cache
def _texts(bits: int, estimate: str, tunnel: int, remaining: str) -> tuple[str, ...]:
    return tuple(
        text.format(estimate=estimate, tunnel=tunnel, remaining=remaining) for note, text in _TEXTS if bits & note
    )


LEAST_MTU = {4: 68, 6: 1280}
"""Smallest MTU that every link must have, by family (RFC 791; RFC 8200, section 5)."""

NOTHING = Note(0)
"""A constant, because making a Note takes a microsecond."""


def mtu_notes(family: int, mtu: int, length: int) -> Note:
    """Notes on the MTU that an error reports.

    Args:
        family: 4 or 6.
        mtu: as reported; negative for none.
        length: bytes of the packet that was too big, or UNKNOWN_LENGTH.
    """
    if mtu < 0:
        return NOTHING
    if mtu == 0:
        return Note.MTU_ZERO
    notes = Note.MTU_BELOW_MINIMUM if mtu < LEAST_MTU[family] else NOTHING
    return notes | Note.MTU_NOT_SMALLER if mtu >= length else notes
