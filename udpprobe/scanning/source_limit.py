"""What goes to a host from one of our addresses, which meets a limit of its own there (Linux counts by address)."""

from __future__ import annotations

from collections.abc import Container

from msgspec import Struct, field

from udpprobe.core.limiter import Limiter

Tried = list[tuple[int, int]]
"""Tasks, each with the time it was probed at."""


class SourceLimit(Struct):
    """The probes from one source address."""

    limiter: Limiter
    next_ns: int = 0
    tried: Tried = field(default_factory=list)
    """Since the last error, in order."""
    strikes: int = 0
    """Patient probes in a row without an error."""
    ended: bool = False

    def flying(self, now_ns: int, wait_ns: int) -> dict[int, int]:
        """Tasks that an error may still come for, and when each was probed."""
        return {task: when for task, when in self.tried if now_ns < when + wait_ns}

    def missed(self, now_ns: int, wait_ns: int, closed: Container[int]) -> set[int]:
        """Tasks that have missed in this gap although a token was surely there, as far as `closed` ones tell."""
        landed = [(task, when) for task, when in self.tried if when + wait_ns <= now_ns]
        return {task for task, when in since_closed(landed, closed) if self.limiter.suffices(when)}

    def split(self, task: int, sent_ns: int) -> Tried | None:
        """Take out what was tried before a task that was refused, and that one; None if it was not tried.

        Args:
            task: it.
            sent_ns: when the probe left that was refused; it was tried before that.
        """
        own = max((at for at, (each, when) in enumerate(self.tried) if each == task and when <= sent_ns), default=None)
        if own is None:
            return None
        before, self.tried = self.tried[:own], self.tried[own + 1 :]
        return before


def since_closed(missed: Tried, closed: Container[int]) -> Tried:
    """What missed since a closed port did: until then there was no token."""
    last = max((at for at, (task, _) in enumerate(missed) if task in closed), default=-1)
    return missed[last + 1 :]
