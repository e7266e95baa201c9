"""Which processes come of this one, however deep, even where their parents have ended (prctl(2), proc(5))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""
MOST_STEPS = 1000
"""Up a chain of parents: one that changes meanwhile must not go round for ever."""


class Descendants:
    """Those of this process. Orphans among them become its children (prctl(2)), so the chain of parents leads here.

    It is asked of each process while that is there: nobody knows the parents of one that has ended.
    """

    def __init__(self) -> None:
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # Linux 3.4
        self._known: set[int] = set()

    def add(self, pid: int) -> None:
        """Add a process that is known to be a descendant."""
        self._known.add(pid)

    def meet(self, pids: Iterable[int]) -> None:
        """Add those of these processes that are descendants."""
        self._known.update(filter(_is_descendant, pids))

    def running(self) -> int:
        """How many of the known descendants still run."""
        return sum(_is_descendant(pid) and not _has_ended(pid) for pid in self._known)

    def __contains__(self, pid: int) -> bool:
        return pid in self._known


def _is_descendant(pid: int) -> bool:
    own = os.getpid()
    for _ in range(MOST_STEPS):
        parent = _parent_of(pid)
        if parent in {own, 0}:
            return parent == own
        pid = parent
    return False


def _parent_of(pid: int) -> int:
    """0 of the first process, and of one that is gone."""
    return int((_state_of(pid) or ["", "0"])[1])


def _has_ended(pid: int) -> bool:
    """Whether it is gone, or only waits for its parent to notice."""
    return (_state_of(pid) or "Z")[0] in {"Z", "X"}


def _state_of(pid: int) -> list[str]:
    """What stands behind its name in /proc/PID/stat: its state, its parent and so on; nothing where it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()  # the name before may hold anything
