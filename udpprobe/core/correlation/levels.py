"""How a datagram is recognised in an ICMP error's quote: from all that agrees to next to nothing."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.keys import pair_key
from udpprobe.core.notes import Note
from udpprobe.core.packets import TUNNELLED, Columns, Errors, u64

MATCHES = ("none", "rewritten", "flow", "exact")
"""How sure a match is, least first; columns hold the position in here."""
NONE, REWRITTEN, FLOW, EXACT = range(4)


@dataclass(slots=True)
class Sent(Columns):
    """(n,) datagrams as the log keeps them."""

    destination: U64
    """Endpoint keys."""
    source: U64
    detail: U64
    frame: I64
    time_ns: I64


@dataclass(frozen=True, slots=True)
class Level:
    """One way to recognise a datagram in a quote."""

    fields: np.uint64
    """Bits of `detail` that must agree."""
    source: bool = True
    """Whether the source endpoint must agree; the destination always must."""
    idless: bool = False
    """Whether quotes without an id may be recognised this way."""
    swapped: bool = False
    note: int = 0

    def applies(self, quotes: Errors) -> Bool:
        """Which quotes have what this level asks for; an id has to make up for a changed source."""
        nonzero = quotes.detail & ID > 0
        return nonzero | self.idless | (self.source & (quotes.family == 4))

    def match(self, quotes: Errors) -> I64:
        """How sure a match of each quote at this level is."""
        if not self.source:
            return np.full(len(quotes), REWRITTEN)
        by_id = ((quotes.detail & ID > 0) | (quotes.family == 4)) & (self.fields & ID > 0)
        return np.where(by_id, EXACT, FLOW)

    def key(self, sent: Sent, *, swap_id: bool = False) -> U64:
        """(n,) equal where two rows agree in what this level asks for."""
        detail = sent.detail
        if swap_id:
            identity = detail >> u64(48)
            detail = (identity & u64(0xFF)) << u64(56) | (identity >> u64(8)) << u64(48) | detail & ~ID
        key = pair_key(sent.destination, detail & self.fields)
        return pair_key(sent.source, key) if self.source else key


PORT = u64(0xFFFF)
ID, LENGTH, CHECKSUM = u64(0xFFFF << 48), u64(0xFFFF << 32), u64(0xFFFF << 16)
SUMS = LENGTH | CHECKSUM

ALL_AGREE = Level(ID | SUMS | TUNNELLED, idless=True)
"""What nearly every error agrees in with its datagram, which nearly always came just before: tried first."""

LEVELS = (
    ALL_AGREE,
    Level(ID | SUMS),
    Level(ID | TUNNELLED),
    Level(ID),
    Level(ID, swapped=True, note=Note.IP_ID_SWAPPED),
    Level(SUMS | TUNNELLED, idless=True),
    Level(SUMS, idless=True),
    Level(TUNNELLED, idless=True),
    Level(u64(0), idless=True),
    Level(ID | LENGTH, source=False, note=Note.SOURCE_REWRITTEN),
)
"""Strictest first. A checksum only breaks ties: offloading leaves it half computed, a NAT changes it."""

NOTES = np.array([*(level.note for level in LEVELS), 0])
"""By `Matches.level`."""
