"""The terminal of `trace --watch`: the screen is drawn, keys are read, and all is put back at the end."""

from __future__ import annotations

import math
import os
import select
import sys
import termios
import time
import tty
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from msgspec.structs import replace

from udpprobe.cli.output import is_ascii
from udpprobe.commands.trace import Wish
from udpprobe.reports.screen import View, trace_screen
from udpprobe.resolver import Names
from udpprobe.tracing.statistics import Rounds

if TYPE_CHECKING:
    from rich.live import Live

    from udpprobe.reports.text import Style
    from udpprobe.tracing.model import TraceReport

REDRAWN_S = 1.0
"""The clock goes on even if nothing else does."""
MOST_KEYS = 64


class Screen:
    """What is shown while rounds go on; a context that gives what takes each change.

    Args:
        name: of the target, as it was typed.
        style: how text looks there.
        numeric: whether routers are shown by address until a key asks for names.
        asn_db: a file of autonomous systems.
        interval_s: pause between rounds.
    """

    def __init__(self, name: str | None, style: Style, *, numeric: bool, asn_db: str | None, interval_s: float) -> None:
        self.has_quit = False
        self._name, self._interval_s = name, interval_s
        self._names = Names(asn_db=asn_db)
        self._style = style._replace(name=self._names.of)
        self._rounds = Rounds()
        self._running: TraceReport | None = None
        self._next_s = math.inf
        self._has_names, self._has_help, self._is_paused = not numeric, False, False
        self._due_s = 0.0
        self._keys = _Keys()
        self._held = ExitStack()
        self._live: Live | None = None

    def __enter__(self) -> Callable[[TraceReport], None]:
        from rich.console import Console  # noqa: PLC0415 - when it is shown
        from rich.live import Live  # noqa: PLC0415 - as above

        console = Console(file=sys.stdout, color_system="standard" if self._style.is_coloured else None,
                          no_color=not self._style.is_coloured, highlight=False)
        self._held.enter_context(self._keys)
        self._live = self._held.enter_context(Live(
            console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False))
        return self._change

    def __exit__(self, *_: object) -> None:
        self._live = None
        self._held.close()

    def _change(self, report: TraceReport) -> None:
        """What is known of the round under way."""
        self._running, self._next_s = report, math.inf
        self._draw()

    def take(self, report: TraceReport) -> None:
        """A round that is over."""
        self._rounds.take(report)
        self._running, self._next_s = None, time.monotonic() + self._interval_s
        self._draw()

    def wish(self) -> Wish:
        """What the keys say by now."""
        keys = self._keys.pressed()
        for key in keys:
            self._press(key)
        if keys or time.monotonic() >= self._due_s:
            self._draw()
        return Wish.STOP if self.has_quit else Wish.PAUSE if self._is_paused else Wish.GO_ON

    def _press(self, key: str) -> None:
        if key == "q":
            self.has_quit = True
        elif key == "p":
            self._is_paused = not self._is_paused
        elif key == "n":
            self._has_names = not self._has_names
        elif key in {"?", "h"}:
            self._has_help = not self._has_help
        elif key == "r":
            self._rounds.reset()

    def _state(self) -> str:
        if self._is_paused:
            return "paused"
        left_s = self._next_s - time.monotonic()
        return "running" if left_s == math.inf else f"next round in {max(math.ceil(left_s), 0)} s"

    def _draw(self) -> None:
        """Draw all anew; rich asks the terminal for its size each time."""
        self._due_s = time.monotonic() + REDRAWN_S
        report = self._rounds.shown(self._running)
        if self._live is None or report is None:
            return
        from rich.text import Text  # noqa: PLC0415 - when it is shown

        if self._has_names:
            self._names.ask(each.address for hop in report.hops for each in hop.reporters)
        number = max(self._rounds.count + (self._running is not None), 1)
        view = View(replace(report, name=self._name), time.time_ns(), number, self._state(), self._has_names,
                    self._has_help, self._keys.are_read, is_ascii(sys.stdout))
        size = self._live.console.size
        text = trace_screen(view, size.width, size.height, self._style)
        self._live.update(Text.from_ansi(text, no_wrap=True, overflow="crop"), refresh=True)


class _Keys:
    """Keys as they are pressed, without Enter; Ctrl-C stays what it is. None where standard input is no terminal."""

    def __init__(self) -> None:
        self.are_read = False
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        with suppress(OSError, ValueError, termios.error):
            number = sys.stdin.fileno()
            # in the background, whoever sets the terminal is stopped
            if os.isatty(number) and os.tcgetpgrp(number) == os.getpgrp():
                self._before = termios.tcgetattr(number)
                tty.setcbreak(number)
                self.are_read = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._before:
            # what was typed and not read is not for the shell
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSAFLUSH, self._before)
        self.are_read = False

    def pressed(self) -> str:
        """Those since the last look; none of what arrows and other keys send that begins with Escape."""
        if not self.are_read or not select.select([sys.stdin], [], [], 0)[0]:
            return ""
        try:
            typed = os.read(sys.stdin.fileno(), MOST_KEYS)
        except OSError:
            typed = b""
        self.are_read = bool(typed)
        return "" if typed.startswith(b"\x1b") else typed.decode("ascii", "ignore")
