"""Ctrl-C, in an orderly way: noted at once, obeyed where a command can stop and still tell what it knows.

So are SIGTERM, and a time limit that a caller sets.
"""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType
from typing import Any, Self


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while something was looked at; `report` says what was known by then.

    Args:
        report: it, of the kind that the caller would have got.
        undecided: addresses and ports of which what it says may still have changed.
    """

    def __init__(
        self,
        report: Any,  # noqa: ANN401 - as above
        undecided: frozenset[tuple[str, int]] = frozenset(),
    ) -> None:
        from msgspec.structs import replace  # noqa: PLC0415 - help and empty commands do without

        super().__init__()
        self.report, self.undecided = replace(report, interrupted=True), undecided


SAME_PRESS_S = 0.2
"""One Ctrl-C may come as two signals: `timeout -s INT` sends one to the command and one to its process group, and so do
programs that pass on what the terminal sent to all. Nobody presses twice so fast."""

_came: set[int] = set()
"""Signals that came so far."""


def heed_sigterm() -> None:
    """Let SIGTERM do what Ctrl-C does, unless who started this program wants it ignored."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _strike)


def was_terminated() -> bool:
    """Whether it was SIGTERM that ended it."""
    return signal.SIGTERM in _came


def _strike(number: int, _: FrameType | None) -> None:
    _came.add(number)
    raise KeyboardInterrupt


class _Limit:
    """A time, shared by all copies of a context."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s


_LIMIT: ContextVar[_Limit] = ContextVar("limit", default=_Limit(math.inf))  # noqa: B039 - nobody changes the default


@contextmanager
def until(limit_s: float) -> Iterator[None]:
    """What is begun inside, in this thread or in copies of its context, stops at `limit_s` as on Ctrl-C.

    Args:
        limit_s: by `time.monotonic`.
    """
    token = _LIMIT.set(_Limit(limit_s))
    try:
        yield
    finally:
        _LIMIT.reset(token)


def hurry() -> None:
    """Let all that was begun inside of the innermost `until` stop now, whichever threads it runs in."""
    if _LIMIT.get().limit_s < math.inf:
        _LIMIT.get().limit_s = -math.inf


def is_late() -> bool:
    """Whether the time is up that `until` gave."""
    return time.monotonic() >= _LIMIT.get().limit_s


class CtrlC:
    """Takes note of the first Ctrl-C or SIGTERM, which would else strike in the middle of a sum; the second strikes.

    Only where it would raise KeyboardInterrupt: in the main thread, with nobody else's handler set.
    """

    def __init__(self) -> None:
        self._is_noted = self._strikes = False
        self._noted_s = -math.inf
        self._limit = _LIMIT.get()
        of_main = threading.current_thread() is threading.main_thread()
        striking = ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, _strike))
        self._ours = [
            (number, handler) for number, handler in striking if of_main and signal.getsignal(number) is handler
        ]

    @property
    def came(self) -> bool:
        """Whether it is time to stop."""
        return self._is_noted or time.monotonic() >= self._limit.limit_s

    @contextmanager
    def striking(self) -> Iterator[None]:
        """While nothing is known yet, and what is waited for may never come, let the first one strike.

        Raises:
            KeyboardInterrupt: it came.
        """
        self._strikes = True
        try:
            if self._is_noted:
                raise KeyboardInterrupt
            yield
        finally:
            self._strikes = False

    def __enter__(self) -> Self:
        for number, _ in self._ours:
            signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._ours:
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        if self._is_noted and now_s - self._noted_s < SAME_PRESS_S:
            return
        if self._is_noted or self._strikes:
            _strike(number, frame)
        _came.add(number)
        self._is_noted, self._noted_s = True, now_s
