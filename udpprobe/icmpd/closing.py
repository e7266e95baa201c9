"""Closing what somebody else opened, without waiting for it.

close(2) waits where a TCP socket has SO_LINGER and unsent data, as long as its owner pleased; so it does for a Unix
socket with such a one in a message that nobody read. The kernel does not linger for a task that exits. So the last
reference is left to a thread with a table of descriptors of its own (unshare(2), CLONE_FILES), which exits at once.
"""

from __future__ import annotations

import ctypes
import os
import threading
from contextlib import suppress
from typing import Self

CLONE_FILES = 0x400

_libc = ctypes.CDLL(None, use_errno=True)


def close_foreign(*descriptors: int) -> None:
    """Close descriptors of whatever kind at once; who shares them is not waited for."""
    if not descriptors:
        return
    is_ready, is_closed = threading.Event(), threading.Event()
    has_own: list[bool] = []

    def hold() -> None:
        has_own.append(_libc.unshare(CLONE_FILES) == 0)
        is_ready.set()
        is_closed.wait()
        if not has_own[0]:      # then it is only this thread that waits
            _close(descriptors)

    try:
        threading.Thread(target=hold, name="close", daemon=True).start()
    except RuntimeError:        # no more threads: better late than never
        _close(descriptors)
        return
    is_ready.wait()
    if has_own[0]:
        _close(descriptors)
    is_closed.set()


def _close(descriptors: tuple[int, ...]) -> None:
    for each in descriptors:
        with suppress(OSError):
            os.close(each)


class Received:
    """Descriptors that came in a message; a context manager that closes those nobody took."""

    def __init__(self, descriptors: list[int]) -> None:
        self.descriptors = descriptors

    def __len__(self) -> int:
        return len(self.descriptors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        descriptors, self.descriptors = self.descriptors, []
        close_foreign(*descriptors)

    def take(self) -> int:
        """The last descriptor, which the caller closes."""
        return self.descriptors.pop()
