"""What a source of frames knows about itself."""

from __future__ import annotations

from collections import Counter

from msgspec import Struct, field


class SourceState(Struct):
    """What a source knows about itself beyond its frames; final when it is read to its end."""

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
