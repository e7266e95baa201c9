"""Sources that leave frames out, by a libpcap filter expression or by time; frame numbers stay."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from udpprobe.core.runs import distinct
from udpprobe.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from udpprobe.core.batch import Bool, FrameBatch, Source

SNAP_BYTES = 262_144

DLT_OF_LINK_TYPE = {14: 12, 100: 11, 101: 12, 102: 15, 103: 16, 106: 19}
"""Link types of files that libpcap's compiler knows by another number on Linux (pcap/dlt.h)."""

ETHERNET = 1
UNFILTERABLE = "unfilterable-link-type"
"""The fault of frames that the compiler has no filter for."""


def compile_program(expression: str, link_type: int,
                    snap_bytes: int = SNAP_BYTES) -> Any:   # noqa: ANN401 - cypcap has no types
    """Compiles a libpcap filter expression (pcap-filter(7)) to cypcap's BpfProgram: rows of (code, jt, jf, k).

    Args:
        expression: what passes.
        link_type: LINKTYPE_ value.
        snap_bytes: how many bytes of a passing frame to keep.

    Raises:
        UsageError: the expression is wrong, or libpcap cannot filter that link type by it.
    """
    cypcap = import_module("cypcap")     # only who filters pays for it
    dlt = DLT_OF_LINK_TYPE.get(link_type, link_type)
    try:
        return cypcap.compile(dlt, snap_bytes, expression, True, cypcap.NETMASK_UNKNOWN)
    except cypcap.Error as error:
        raise UsageError(f"--filter: {' '.join(error.msg.split())} (link type {link_type})") from error


def compile_filter(expression: str, link_type: int) -> Callable[[FrameBatch], Bool]:
    """Compiles a libpcap filter expression (pcap-filter(7)) for one link type.

    Returns:
        What says, for each frame of a batch of that link type, whether it passes.

    Raises:
        UsageError: the expression is wrong, or libpcap cannot filter that link type by it.
    """
    passes = compile_program(expression, link_type).offline_filter
    header = import_module("cypcap").Pkthdr(0, 0, 0)

    def apply(batch: FrameBatch) -> Bool:
        keep = np.zeros(len(batch), np.bool_)
        spans = zip(batch.offset.tolist(), batch.captured.tolist(), batch.length.tolist(), strict=True)
        for row, (offset, captured, length) in enumerate(spans):
            header.caplen, header.len = captured, length
            keep[row] = passes(header, batch.data[offset:offset + captured].tobytes())
        return keep
    return apply


class FilteredSource:
    """The frames that a libpcap filter expression lets pass.

    Frames of a link type that libpcap cannot filter, or not by this expression, do not pass; they are a fault.

    Args:
        source: where frames come from.
        expression: see pcap-filter(7).

    Raises:
        UsageError: the expression is wrong: not even Ethernet can be filtered by it.
    """

    def __init__(self, source: Source, expression: str) -> None:
        self.state = source.state
        self._source = source
        self._expression = expression
        self._filters: dict[int, Callable[[FrameBatch], Bool] | None] = {
            ETHERNET: compile_filter(expression, ETHERNET)}
        self._faults: Counter[str] = Counter()

    def __iter__(self) -> Iterator[FrameBatch]:
        for batch in self._source:
            passing = self._passing(batch)
            self._tell_faults()
            yield batch.take(passing)
        self._tell_faults()

    def _tell_faults(self) -> None:
        # again and again, as a source of several files counts its own faults anew at every batch
        self.state.faults |= self._faults

    def _passing(self, batch: FrameBatch) -> Bool:
        keep = np.zeros(len(batch), np.bool_)
        for link_type in distinct(batch.link_type):
            rows = np.flatnonzero(batch.link_type == link_type)
            if passes := self._filter_of(link_type):
                keep[rows] = passes(batch.take(rows))
            else:
                self._faults[UNFILTERABLE] += len(rows)
        return keep

    def _filter_of(self, link_type: int) -> Callable[[FrameBatch], Bool] | None:
        if link_type not in self._filters:
            self._filters[link_type] = None
            with suppress(UsageError):
                self._filters[link_type] = compile_filter(self._expression, link_type)
        return self._filters[link_type]


class TimeWindow:
    """The frames of a span of time.

    Args:
        source: where frames come from.
        since_ns: the first time that passes; None for no bound.
        until_ns: the first that does not; None for no bound.
    """

    def __init__(self, source: Source, since_ns: int | None, until_ns: int | None) -> None:
        self.state = source.state
        self._source = source
        self._since_ns = since_ns
        self._until_ns = until_ns

    def __iter__(self) -> Iterator[FrameBatch]:
        for batch in self._source:
            keep = np.ones(len(batch), np.bool_)
            if self._since_ns is not None:
                keep &= batch.time_ns >= self._since_ns
            if self._until_ns is not None:
                keep &= batch.time_ns < self._until_ns
            yield batch.take(keep)
