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
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)     # Linux 3.4
        self._known: set[int] = set()

    def add(self, pid: int) -> None:
        """Know one without a look."""
        self._known.add(pid)

    def meet(self, pids: Iterable[int]) -> None:
        """Look who of these belongs to them."""
        self._known.update(filter(_is_descendant, pids))

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
    """0 of the first process, and of one that has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return 0
    return int(stat.rpartition(b")")[2].split()[1])     # the name before may hold anything
