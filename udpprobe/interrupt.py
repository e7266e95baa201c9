"""Ctrl-C, in an orderly way: recorded at once, handled where a command can stop and still report.

SIGTERM and a caller's time limit work the same way.
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
    """Ctrl-C during a run; `report` has the results so far.

    Args:
        report: of the kind that the caller would have got.
        undecided: addresses and ports whose verdict might still have changed.
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
"""One Ctrl-C may arrive as two signals: `timeout -s INT` sends one to the command and one to its process group, and so
do programs that pass on a terminal's signal. Nobody presses twice so fast."""

_came: set[int] = set()
"""Signals that arrived so far."""


def handle_sigterm() -> None:
    """Let SIGTERM work like Ctrl-C, unless the parent process had it ignored."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _strike)


def was_terminated() -> bool:
    """Whether SIGTERM ended it."""
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
    """Stop what is begun inside, in this thread or in copies of its context, at `limit_s` as on Ctrl-C.

    Args:
        limit_s: by `time.monotonic`.
    """
    token = _LIMIT.set(_Limit(limit_s))
    try:
        yield
    finally:
        _LIMIT.reset(token)


def hurry() -> None:
    """Stop everything that was begun inside the innermost `until`, in any thread."""
    if _LIMIT.get().limit_s < math.inf:
        _LIMIT.get().limit_s = -math.inf


def is_late() -> bool:
    """Whether the time limit of `until` has passed."""
    return time.monotonic() >= _LIMIT.get().limit_s


class CtrlC:
    """Records the first Ctrl-C or SIGTERM, which would otherwise interrupt in the middle; the second one interrupts.

    Only where KeyboardInterrupt would be raised: in the main thread, without another handler.
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
        """Let the first one interrupt, while there are no results yet and a wait may never end.

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
