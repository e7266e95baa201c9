"""Ctrl-C, in an orderly way: noted at once, obeyed where a command can stop and still tell what it knows."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Self

from udpprobe.core.model import Report


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while a source was followed; `report` says what was known by then."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self.report = report


class CtrlC:
    """Takes note of the first Ctrl-C, which would else strike in the middle of a sum; the second one strikes.

    Only where Python itself would raise KeyboardInterrupt: in the main thread, with nobody else's handler set.
    """

    def __init__(self) -> None:
        self.came = False
        self._is_ours = (threading.current_thread() is threading.main_thread()
                         and signal.getsignal(signal.SIGINT) is signal.default_int_handler)

    def __enter__(self) -> Self:
        if self._is_ours:
            signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._is_ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.came:
            signal.default_int_handler(number, frame)
        self.came = True
