"""A capture file in pieces that are read in parallel, and the proof that the result is the same as in one go.

Only the start of the file shows for sure where records begin, so a piece guesses. Afterwards the `Seam` compares: a
piece whose first record is not where the piece before it ended, or that assumed other interfaces, is read again from
there. So a wrong guess costs time, never correctness.
"""

from __future__ import annotations

from msgspec import Struct
from msgspec.structs import replace

from udpprobe.capture.files import BEFORE_ALL, PEEK_BYTES, Arrival, CaptureFile
from udpprobe.capture.frames import SourceState
from udpprobe.core.capture import CAPACITY_BYTES, EVERYTHING, FRAME, Entry

TAIL_BYTES = 1 << 18
"""Read from a file's end to find its last time."""


class Piece(Struct, frozen=True):
    """Consecutive records of one capture; small and picklable."""

    name: str
    """File or URL."""
    first: int = 0
    """Offset in the file. No record begins before it."""
    stop: int = EVERYTHING
    """Offset. Records that begin before it belong to the piece, whole."""
    entry: Entry | None = None
    """None at the file's start."""
    is_guess: bool = False
    """Whether the first record may begin after `first`."""
    is_gapless: bool = False
    """Whether only frames get numbers, as in files of mergecap; blocks without a packet do not."""

    def open(self, capacity: int = CAPACITY_BYTES) -> CaptureFile:
        """Open the piece.

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
    """Where a piece begins and ends, as reading it showed."""

    began: int | None
    """Offset of its first record as guessed; None if none was found."""
    ended: int
    """Offset of the first byte after its last record."""
    entry: Entry
    """What is known there."""
    is_last: bool
    """Nothing of the file can be read after it, because of a torn end or damage."""
    leans_on_time: bool
    """Whether the time of the packet before its first one mattered."""
    first_drops: dict[int, int] | None
    """Per interface of the section in which it began: drops by that section's end; None if the section goes on."""
    drops: dict[int, int]
    """The same for the section in which it ends, up to there."""
    frames: int
    """Frame numbers used."""
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
        """Whether the piece was read correctly, given the one `before` it."""
        assumed, entry = piece.entry, before.entry
        return (
            assumed is not None
            and self.began == before.ended
            and assumed.known == entry.known
            and (assumed.last_ns == entry.last_ns or not self.leans_on_time)
        )


class Survey(Struct, frozen=True):
    """What the start of a file shows."""

    name: str
    total_bytes: int
    first_ns: int
    """Time of its first frame; before all for a file without frames."""
    last_ns: int
    """A good guess at its latest time if that is cheap to get; else `first_ns`."""
    entry: Entry | None
    """What is known after its first packets; None if it cannot be read in pieces: compressed, or no ranges."""


def survey(name: str) -> Survey:
    """Look at a file's start; not for pipes, which this would consume.

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
    """About `parts` pieces of equal size that cover the file; one if it cannot be read in pieces."""
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
    """Joins pieces of one file in order; `state` is what a single reader of the file would have."""

    def __init__(self) -> None:
        self.state = SourceState("file", "")
        self._edges: Edges | None = None
        self._is_over = False
        self._drops: dict[int, int] = {}

    def needs(self, piece: Piece) -> bool:
        """Whether the piece has anything to read, given those before it."""
        before = self._edges
        return not self._is_over and (before is None or before.ended < piece.stop)

    def give_up(self) -> None:
        """Nothing more of the file can be read."""
        self._is_over = True

    def mended(self, piece: Piece, edges: Edges) -> Piece | None:
        """What to read instead of a piece that does not fit those before; None if it fits."""
        before = self._edges
        if before is None or edges.fits(before, piece):
            return None
        return replace(piece, first=before.ended, entry=before.entry, is_guess=False)

    def add(self, edges: Edges, state: SourceState) -> None:
        """Add a piece that fits."""
        self.state.absorb(state)
        if self.state.dropped is not None and state.dropped is not None:
            # Interface counters are totals since their section's start, so a piece repeats the counts of those before
            # it.
            counted = edges.drops if edges.first_drops is None else edges.first_drops
            again = sum(self._drops.get(interface, 0) for interface in counted)
            self.state.dropped = (self.state.dropped - again) % (1 << 64)
        self._drops = self._drops | edges.drops if edges.first_drops is None else edges.drops
        self._edges, self._is_over = edges, edges.is_last
