"""Large results from one process of this host to another, without a pipe: memory is written once and read once.

A pipe holds 64 KiB, so that tens of megabytes of columns go through it in a thousand steps, and pickling them first
takes their size once more on either side.
"""

from __future__ import annotations

import os
import pickle
from collections import deque
from dataclasses import dataclass
from io import FileIO
from typing import Any

import numpy as np

from udpprobe.core.batch import U8

LEAST_BYTES = 1 << 20
"""Smaller ones go as they are."""

MOST_KEPT = 256
"""Files that a process keeps open for those who have yet to read them; what was read takes no memory."""

_kept: deque[int] = deque()


@dataclass(frozen=True, slots=True)
class Parcel:
    """Where a result is."""

    head: bytes
    """The result, pickled, without its columns."""
    sizes: tuple[int, ...]
    """Bytes of each column."""
    path: str
    """Of the columns, one behind the other."""


def wrap(value: object) -> object:
    """The value itself, or a `Parcel` of a large one; it is to be unwrapped once, while this process lives."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(value, 5, buffer_callback=buffers.append)
    views = [buffer.raw() for buffer in buffers]
    if sum(map(len, views)) < LEAST_BYTES:
        return value
    fd = os.memfd_create("udpprobe")
    _keep(fd)
    with FileIO(fd, "w", closefd=False) as file:
        for view in views:
            file.write(view)
    return Parcel(head, tuple(buffer.raw().nbytes for buffer in buffers), f"/proc/{os.getpid()}/fd/{fd}")


def _keep(fd: int) -> None:
    _kept.append(fd)
    if len(_kept) > MOST_KEPT:
        os.close(_kept.popleft())


def unwrap(value: Any) -> Any:  # noqa: ANN401 - whatever was wrapped
    """What was wrapped.

    Raises:
        OSError: the process that wrapped it is no more.
    """
    if not isinstance(value, Parcel):
        return value
    with FileIO(value.path, "r+") as file:
        columns = [_read(file, size) for size in value.sizes]
        file.truncate(0)
    return pickle.loads(value.head, buffers=columns)  # noqa: S301 - from a process of our own


def _read(file: FileIO, size: int) -> U8:
    column = np.empty(size, np.uint8)
    file.readinto(memoryview(column))  # type: ignore[arg-type]  # an array is a buffer; only Python 3.12 can say so
    return column
