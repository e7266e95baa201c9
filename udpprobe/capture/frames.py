"""Frames as Python objects: what live sources give to who looks at few of them."""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct, field


class Frame(NamedTuple):
    """One frame."""

    time_ns: int
    """Since 1970, UTC."""
    data: bytes
    """As much of it as was captured."""
    length: int
    """Bytes it had on the wire."""
    link_type: int
    """LINKTYPE_ value."""
    number: int
    """Counted from 1 in the whole capture."""


class Frames(Struct):
    """What a live source heard since it was asked last, in the order of its numbers."""

    now_ns: int
    """How far the source has listened: no later frame is from before, as far as the kernel keeps order."""
    frames: list[Frame] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames)
