"""Descendants of this process, at any depth, even if their parents have ended (prctl(2), proc(5))."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterable
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""
MOST_STEPS = 1000
"""Steps up a chain of parents: one that changes meanwhile must not loop forever."""


class Descendants:
    """Descendants of this process. Orphans among them become its children (prctl(2)), where their chain ends.

    Ask about a process while it runs: the parents of an ended one are unknown.
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
        """Number of known descendants that still run."""
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
    """0 for the first process, and for one that is gone."""
    return int((_state_of(pid) or ["", "0"])[1])


def _has_ended(pid: int) -> bool:
    """Whether it is gone, or a zombie."""
    return (_state_of(pid) or "Z")[0] in {"Z", "X"}


def _state_of(pid: int) -> list[str]:
    """The fields after its name in /proc/PID/stat: state, parent and so on; empty if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()  # the name before may contain anything
