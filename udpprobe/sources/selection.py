"""Which frames of a source are looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from udpprobe.core.batch import Source


@dataclass(frozen=True, slots=True)
class Selection:
    """By a filter and by time; small, and picklable."""

    filter: str | None = None
    """A pcap filter expression; None for every frame."""
    since_ns: int | None = None
    """First time, nanoseconds since 1970."""
    until_ns: int | None = None
    """Time from which on frames are left out."""

    def of(self, source: Source) -> Source:
        """The source without the frames that were not asked for.

        Raises:
            UsageError: the filter is wrong.
        """
        if self == EVERY_FRAME:
            return source
        from udpprobe.sources.filter import FilteredSource, TimeWindow  # noqa: PLC0415 - brings libpcap along

        if self.since_ns is not None or self.until_ns is not None:
            source = TimeWindow(source, self.since_ns, self.until_ns)
        return FilteredSource(source, self.filter) if self.filter is not None else source


EVERY_FRAME = Selection()
