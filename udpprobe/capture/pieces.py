"""A capture file in pieces that are read side by side, and the proof that they are as if read in one go.

Where records begin can be known only from the file's start, so a piece guesses. Afterwards the `Seam` compares: a
piece whose first record is not where the piece before it ended, or that knew other interfaces, is read again from
there. A wrong guess thus costs time, never exactness.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from udpprobe.capture.files import BEFORE_ALL, PEEK_BYTES, Arrival, CaptureFile
from udpprobe.capture.frames import SourceState
from udpprobe.core.capture import CAPACITY_BYTES, EVERYTHING, FRAME, Entry

TAIL_BYTES = 1 << 18
"""Of a file that is asked for the time it ends at."""


class Piece(Struct, frozen=True):
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
    """Whether only frames get numbers, as in what mergecap writes: not blocks without a packet."""

    def open(self, capacity: int = CAPACITY_BYTES) -> CaptureFile:
        """The piece, to be read.

        Raises:
            CaptureError: it cannot be opened, or is no capture.
        """
        return CaptureFile(
            self.name,
            entry=self.entry,
            first=self.first,
            stop=self.stop,
            is_guess=self.is_guess,
            is_gapless=self.is_gapless,
            capacity=capacity,
        )


class Edges(Struct, frozen=True):
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
    is_disordered: bool
    """Whether a frame is older than the one before it, by a second at most."""

    @classmethod
    def of(cls, file: CaptureFile) -> Edges:
        """The edges of a piece that was read to its end."""
        records = file.records
        has_frames = records.first_ns != BEFORE_ALL
        return cls(
            file.began,
            records.position,
            records.entry,
            records.is_torn,
            records.leans_on_time,
            records.first_drops,
            records.drops,
            records.frame,
            records.first_ns if has_frames else None,
            records.latest_ns if has_frames else None,
            records.is_disordered,
        )

    def fits(self, before: Edges, piece: Piece) -> bool:
        """Whether the piece was read as it must be behind the one `before` it in the file."""
        assumed, entry = piece.entry, before.entry
        return (
            assumed is not None
            and self.began == before.ended
            and assumed.known == entry.known
            and (assumed.last_ns == entry.last_ns or not self.leans_on_time)
        )


class Survey(Struct, frozen=True):
    """What a look into a file's start shows."""

    name: str
    total_bytes: int
    first_ns: int
    """Time of its first frame; of a file without frames, before all."""
    last_ns: int
    """A good guess at the latest time of its frames, where that is easily had; else `first_ns`."""
    entry: Entry | None
    """What is known behind its first packets; None where it cannot be read in pieces: compressed, or no ranges."""


def survey(name: str) -> Survey:
    """Look into a file's start; not for pipes, which would be emptied.

    Raises:
        CaptureError: it cannot be read, or is no capture.
    """
    file = CaptureFile(name, capacity=PEEK_BYTES)
    records = file.records
    while records.first_ns == BEFORE_ALL and file.fill() is not Arrival.END:
        while records.next() == FRAME:
            pass
    entry = records.entry if file.is_seekable else None
    file.close()
    total_bytes = file.state.total_bytes or 0
    return Survey(name, total_bytes, records.first_ns, _last_ns(name, total_bytes, entry, records.first_ns), entry)


def _last_ns(name: str, total_bytes: int, entry: Entry | None, first_ns: int) -> int:
    first = max(total_bytes - TAIL_BYTES, PEEK_BYTES)
    if entry is None or first >= total_bytes:
        return first_ns
    tail = CaptureFile(name, entry=entry, first=first, is_guess=True, capacity=TAIL_BYTES)
    while tail.fill() is not Arrival.END:
        while tail.records.next() == FRAME:
            pass
    tail.close()
    return max(first_ns, tail.records.latest_ns)


def cut(surveyed: Survey, parts: int, *, is_gapless: bool = False) -> list[Piece]:
    """About as many pieces of the same size, all of the file; one where it cannot be read in pieces."""
    whole = Piece(surveyed.name, is_gapless=is_gapless)
    size = -(-surveyed.total_bytes // parts)
    bounds = [size * number for number in range(1, parts) if size * number < surveyed.total_bytes]
    if surveyed.entry is None or not bounds:
        return [whole]
    return [
        replace(whole, stop=bounds[0]),
        *(
            replace(whole, first=first, stop=stop, entry=surveyed.entry, is_guess=True)
            for first, stop in zip(bounds, [*bounds[1:], EVERYTHING], strict=True)
        ),
    ]


class Seam:
    """Joins pieces of one file in their order; `state` says what its reader would, had it read all in one go."""

    def __init__(self) -> None:
        self.state = SourceState("file", "")
        self._edges: Edges | None = None
        self._is_over = False
        self._drops: dict[int, int] = {}

    def needs(self, piece: Piece) -> bool:
        """Whether there is anything to read in the piece, now that those before it are known."""
        before = self._edges
        return not self._is_over and (before is None or before.ended < piece.stop)

    def give_up(self) -> None:
        """Nothing more of the file can be read."""
        self._is_over = True

    def mended(self, piece: Piece, edges: Edges) -> Piece | None:
        """What to read instead of a piece that does not fit behind those before; None where it fits."""
        before = self._edges
        if before is None or edges.fits(before, piece):
            return None
        return replace(piece, first=before.ended, entry=before.entry, is_guess=False)

    def add(self, edges: Edges, state: SourceState) -> None:
        """Take in what a piece that fits showed."""
        self.state.absorb(state)
        if self.state.dropped is not None and state.dropped is not None:
            # An interface counts from its section's start, so a piece repeats the count of those before it.
            counted = edges.drops if edges.first_drops is None else edges.first_drops
            again = sum(self._drops.get(interface, 0) for interface in counted)
            self.state.dropped = (self.state.dropped - again) % (1 << 64)
        self._drops = self._drops | edges.drops if edges.first_drops is None else edges.drops
        self._edges, self._is_over = edges, edges.is_last
