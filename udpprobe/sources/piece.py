"""A piece of a capture file: which records, what their reader has to know, and what reading them shows of the edges.

A piece begins where a record does, or where one is guessed to; it has all records that begin before its stop. What
it assumed and what the piece before it found are compared afterwards: `follows` says whether they fit.
"""

from __future__ import annotations

from dataclasses import dataclass

from udpprobe.sources.chain import EVERYTHING
from udpprobe.sources.interfaces import Known


@dataclass(frozen=True, slots=True)
class Entry:
    """What a reader must know to begin in the middle of a file."""

    head: bytes
    """The file's first bytes, which say its format, and for pcap all there is to know."""
    known: Known | None = None
    """In pcapng: of the section."""
    last_ns: int = 0
    """In pcapng: the time of the packet before, nanoseconds since 1970."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Some records in a row of one capture; small, and picklable."""

    name: str
    """File or URL."""
    first: int = 0
    """Byte of the file. No record begins before it."""
    stop: int = EVERYTHING
    """Byte of the file. Records that begin before it belong to the piece, whole."""
    entry: Entry | None = None
    """None at the file's start."""
    is_guess: bool = False
    """Whether the first record may begin behind `first`."""
    is_gapless: bool = False
    """Whether frames are counted as they are yielded, as mergecap's are: blocks without a packet get no number."""


@dataclass(frozen=True, slots=True)
class Edges:
    """What reading a piece showed of where it begins and ends."""

    began: int | None
    """Byte of the file where its first record was taken to begin; None where none was found."""
    ended: int
    """Byte of the file behind its last record."""
    entry: Entry
    """What is known there."""
    is_last: bool
    """Behind it nothing of the file can be read: it is torn there, or damaged."""
    leans_on_time: bool
    """Whether the time of the packet before its first one mattered."""
    first_drops: dict[int, int] | None
    """Per interface of the section in which it began, what was dropped by that section's end; None if it goes on."""
    drops: dict[int, int]
    """The same of the section in which it ends, up to there."""
    frames: int
    """Numbers that its frames took."""
    first_ns: int | None
    """Time of its first frame; None without any."""
    last_ns: int | None
    """The latest time in it."""


def follows(before: Edges, piece: Piece, edges: Edges) -> bool:
    """Whether a piece was read as it must be behind the one `before` it in the file."""
    assumed, entry = piece.entry, before.entry
    return (assumed is not None and edges.began == before.ended and assumed.known == entry.known
            and (assumed.last_ns == entry.last_ns or not edges.leans_on_time))


def drops_told_twice(drops: dict[int, int], edges: Edges) -> int:
    """Drops that a piece counts again, as its interfaces count from their section's start.

    Args:
        drops: per interface, of the open section before the piece.
        edges: of the piece.
    """
    told = edges.drops if edges.first_drops is None else edges.first_drops
    return sum(drops.get(interface, 0) for interface in told)


def drops_behind(drops: dict[int, int], edges: Edges) -> dict[int, int]:
    """Per interface of the section that is open behind a piece, what was dropped; arguments as above."""
    return drops | edges.drops if edges.first_drops is None else edges.drops
