"""What reports are by: a destination, or a flow to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U64
from udpprobe.core.growing import Tally, column
from udpprobe.core.keys import endpoint_key, pair_key
from udpprobe.core.packets import Datagrams, Errors, u64

NO_PORT = -1


@dataclass(init=False)
class Subject(Tally):
    """A table whose rows are about destinations or flows."""

    high: U64 = column(np.uint64)
    """Address of the destination, in two halves."""
    low: U64 = column(np.uint64)
    port: I64 = column(np.int64)
    """Its UDP port; NO_PORT where that is not known, or where the row is about a host."""
    source_high: U64 = column(np.uint64)
    """Source of a flow; 0 in a report that is not by flow."""
    source_low: U64 = column(np.uint64)
    source_port: I64 = column(np.int64)


@dataclass(slots=True)
class Subjects:
    """(n,) what reports are by: a destination, or a flow to it. `key` is as in `Endpoints`."""

    key: U64
    columns: dict[str, npt.NDArray[Any]]


def subjects(some: Datagrams | Errors, ports: U64, *, by_flow: bool) -> Subjects:
    """The destination, or by flow also the source, of each row."""
    port, source_port = ports & u64(0xFFFF), ports >> u64(16)
    destination = endpoint_key(some.destination_high, some.destination_low, port)
    columns: dict[str, npt.NDArray[Any]] = {
        "high": some.destination_high, "low": some.destination_low, "port": port.view(np.int64)}
    if not by_flow:
        return Subjects(destination, columns)
    source = endpoint_key(some.source_high, some.source_low, source_port)
    columns |= {"source_high": some.source_high, "source_low": some.source_low,
                "source_port": source_port.view(np.int64)}
    return Subjects(pair_key(destination, source), columns)
