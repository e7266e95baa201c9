"""The terminal of `trace --watch`: draws the screen, reads keys, and restores the terminal at the end."""

from __future__ import annotations

import math
import os
import re
import select
import sys
import termios
import time
import tty
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Self

from msgspec.structs import replace

from udpprobe.cli.output import is_ascii
from udpprobe.commands.trace import KeyCommand
from udpprobe.reports.screen import View, trace_screen
from udpprobe.tracing.statistics import Rounds

if TYPE_CHECKING:
    from rich.live import Live

    from udpprobe.commands.trace import Traced
    from udpprobe.reports.text import Style
    from udpprobe.resolver import Names
    from udpprobe.tracing.model import TraceReport

REDRAWN_S = 1.0
"""The clock advances even if nothing else changes."""
MOST_KEYS = 64
_KEY = re.compile(r"\x1b[\[O][\d;]*.?|.", re.DOTALL)


NEXT, BEFORE = frozenset({"\t", "j", "\x1b[B", "\x1bOB"}), frozenset({"k", "\x1b[A", "\x1bOA", "\x1b[Z"})
"""Keys that select another target: Tab and arrow down, Shift-Tab and arrow up; and vi's."""


class _Shown:
    """What is shown of one target.

    Args:
        name: as it was typed; None for an address.
    """

    def __init__(self, name: str | None) -> None:
        self.name, self.rounds = name, Rounds()
        self.running: TraceReport | None = None
        self.next_s = math.inf
        """Start of the next round; infinite during one."""

    @property
    def report(self) -> TraceReport | None:
        """The results so far; None at first."""
        report = self.rounds.shown(self.running)
        return replace(report, name=self.name) if report else None

    @property
    def number(self) -> int:
        """Number of the current round, or the last one."""
        return max(self.rounds.count + (self.running is not None), 1)

    def state(self) -> str:
        """What it is doing."""
        remaining_s = self.next_s - time.monotonic()
        if self.rounds.is_unsent:
            return "not sent to"
        return "running" if remaining_s == math.inf else f"next round in {max(math.ceil(remaining_s), 0)} s"


class Screen:
    """The screen during rounds; a context manager that returns the callback for changes.

    Args:
        typed: names of the targets as typed; None for addresses.
        style: of the text.
        names: looks up names of routers.
        has_names: whether to show them at first; a key changes that.
    """

    def __init__(self, typed: Sequence[str | None], style: Style, names: Names, *, has_names: bool) -> None:
        self.has_quit = False
        self._targets, self._chosen = [_Shown(name) for name in typed], 0
        self._names = names
        self._style = style._replace(name=self._names.of)
        self._has_names, self._has_help, self._is_paused = has_names, False, False
        self._due_s = 0.0
        self._keys = _Keys()
        self._held = ExitStack()
        self._live: Live | None = None

    def __enter__(self) -> Callable[[int, TraceReport], None]:
        from rich.console import Console  # noqa: PLC0415 - when it is shown
        from rich.live import Live  # noqa: PLC0415 - as above

        console = Console(
            file=sys.stdout,
            color_system="standard" if self._style.is_coloured else None,
            no_color=not self._style.is_coloured,
            highlight=False,
        )
        self._held.enter_context(self._keys)
        self._live = self._held.enter_context(
            Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        )
        return self._change

    def __exit__(self, *_: object) -> None:
        self._live = None
        self._held.close()

    def _change(self, place: int, report: TraceReport) -> None:
        """Show the results of a round so far."""
        target = self._targets[place]
        target.running, target.next_s = report, math.inf
        self._draw()

    def take(self, place: int, traced: Traced) -> None:
        """Show a completed round."""
        target = self._targets[place]
        target.rounds.take(traced.report)
        target.running, target.next_s = None, time.monotonic() + traced.pause_s
        self._draw()

    def key_command(self) -> KeyCommand:
        """What the keys pressed so far ask for."""
        keys = self._keys.pressed()
        for key in keys:
            self._press(key)
        if keys or time.monotonic() >= self._due_s:
            self._draw()
        return KeyCommand.STOP if self.has_quit else KeyCommand.PAUSE if self._is_paused else KeyCommand.GO_ON

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
            for target in self._targets:
                target.rounds.reset()
        elif key in NEXT or key in BEFORE:
            self._chosen = (self._chosen + (1 if key in NEXT else -1)) % len(self._targets)
        elif key.isdecimal() and 0 < int(key) <= len(self._targets):
            self._chosen = int(key) - 1

    def _draw(self) -> None:
        """Redraw everything; rich asks the terminal for its size each time."""
        self._due_s = time.monotonic() + REDRAWN_S
        chosen = self._targets[self._chosen]
        report = chosen.report
        if self._live is None or report is None:
            return
        from rich.text import Text  # noqa: PLC0415 - when it is shown

        if self._has_names:
            self._names.ask(each.address for hop in report.hops for each in hop.reporters)
        targets = tuple(each.report for each in self._targets) if len(self._targets) > 1 else ()
        view = View(
            report,
            time.time_ns(),
            chosen.number,
            "paused" if self._is_paused else chosen.state(),
            self._has_names,
            self._has_help,
            self._keys.are_read,
            is_ascii(sys.stdout),
            targets,
            self._chosen,
        )
        size = self._live.console.size
        text = trace_screen(view, size.width, size.height, self._style)
        self._live.update(Text.from_ansi(text, no_wrap=True, overflow="crop"), refresh=True)


class _Keys:
    """Keys as they are pressed, without Enter; Ctrl-C works as usual. None if standard input is no terminal."""

    def __init__(self) -> None:
        self.are_read = False
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        with suppress(OSError, ValueError, termios.error):
            number = sys.stdin.fileno()
            # a background process that sets the terminal would be stopped
            if os.isatty(number) and os.tcgetpgrp(number) == os.getpgrp():
                self._before = termios.tcgetattr(number)
                tty.setcbreak(number)
                self.are_read = True
        return self

    def __exit__(self, *_: object) -> None:
        if self._before:
            # discard unread keys, which are not for the shell
            termios.tcsetattr(sys.stdin.fileno(), termios.TCSAFLUSH, self._before)
        self.are_read = False

    def pressed(self) -> list[str]:
        """Keys since the last call; an escape sequence, as of an arrow key, is one."""
        if not self.are_read or not select.select([sys.stdin], [], [], 0)[0]:
            return []
        try:
            typed = os.read(sys.stdin.fileno(), MOST_KEYS)
        except OSError:
            typed = b""
        self.are_read = bool(typed)
        return _KEY.findall(typed.decode("ascii", "ignore"))
