"""Frames as columns: what a source yields and `decode` takes.

A batch is a window of bytes and, per frame, where in it the frame stands. Nothing is copied for a frame;
a file's batch is a view of its mapping. A batch of no frames is a tick: it only says how far time has come.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
I8 = npt.NDArray[np.int8]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
Bool = npt.NDArray[np.bool_]

BATCH_FRAMES = 1 << 16
"""Frames a batch aims at: its columns stay in the processor's cache."""

PADDING_BYTES = 128
"""Readable bytes behind the start of every frame, so that a header is gathered without a look at its end."""


@dataclass(slots=True)
class FrameBatch:
    """`n` frames in capture order. Valid until the source is asked for the next batch.

    A source promises `offset + captured <= data.size` and `offset + PADDING_BYTES <= data.size` per frame.
    """

    data: U8
    """The bytes all frames lie in."""
    offset: I64
    """(n,) where each frame's first byte stands in `data`."""
    captured: I64
    """(n,) bytes of the frame that are there (caplen)."""
    length: I64
    """(n,) bytes the frame had on the wire, 0 or less than `captured` in a lying file."""
    time_ns: I64
    """(n,) nanoseconds since 1970, UTC."""
    link_type: I32
    """(n,) LINKTYPE_ value of the interface (https://www.tcpdump.org/linktypes.html)."""
    frame: I64
    """(n,) Wireshark's frame number in the whole capture, from 1."""
    now_ns: int = 0
    """How far the source has seen: no later batch tells of an earlier time (as far as the file is in order)."""

    def __len__(self) -> int:
        return len(self.offset)

    def take(self, rows: I64 | Bool) -> FrameBatch:
        """The batch of some of the frames; `data` is shared."""
        return FrameBatch(self.data, self.offset[rows], self.captured[rows], self.length[rows],
                          self.time_ns[rows], self.link_type[rows], self.frame[rows], self.now_ns)


def tick(now_ns: int) -> FrameBatch:
    """A batch of no frames that says what time it is."""
    none = np.empty(0, np.int64)
    return FrameBatch(np.empty(0, np.uint8), none, none, none, none, none.astype(np.int32), none, now_ns)


@dataclass(slots=True)
class SourceState:
    """What a source knows about itself beyond its frames; final when its iterator is exhausted."""

    kind: str
    """"file", "interface" or "probe"."""
    name: str
    cut_short: bool = False
    """The capture ends in the middle of a record."""
    dropped: int | None = None
    """Packets the recorder says it lost; None where nobody counted."""
    done_bytes: int = 0
    """How far the reading has come, for a progress bar."""
    total_bytes: int | None = None
    """How far it goes; None where that cannot be known (a pipe)."""
    faults: Counter[str] = field(default_factory=Counter)
    """Bad records by name."""
    unread: dict[str, str] = field(default_factory=dict)
    """Files among several that could not be read, or not to their end, and why."""

    def absorb(self, other: SourceState) -> None:
        """Add what went wrong in another source, which was read for the same report."""
        self.cut_short |= other.cut_short
        self.faults.update(other.faults)
        self.unread |= other.unread
        if other.dropped is not None:
            self.dropped = (self.dropped or 0) + other.dropped


class Source(Protocol):
    """Anything frames come from."""

    state: SourceState

    def __iter__(self) -> Iterator[FrameBatch]:
        """Batches in capture order."""
        ...
