"""Signals as something to read, so that they come between two packets and say who sent them (signalfd(2))."""

from __future__ import annotations

import os
import signal
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Self

from udpprobe.lab import libc

PASSED_ON = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
"""What ends programs, or makes them do something else; it is for the command, not for its keeper."""

RECORD = struct.Struct("=IiI116x")
"""struct signalfd_siginfo: number, errno (unused), code."""
BY_KERNEL = 0x80
"""SI_KERNEL: the terminal sent it, to the command as well."""


class Signals:
    """Signals that wait to be read while this is open.

    Args:
        also: signals beside those that are to be passed on.
    """

    def __init__(self, *also: signal.Signals) -> None:
        self._numbers = PASSED_ON | set(also)
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        self._descriptor = libc.signalfd(set(self._numbers))

    def fileno(self) -> int:
        """For a selector: readable when signals wait."""
        return self._descriptor

    def read(self) -> Iterator[tuple[signal.Signals, bool]]:
        """Those that came, each with whether a terminal sent it, so that the command has it already."""
        with suppress(BlockingIOError):
            while True:
                number, code = RECORD.unpack(os.read(self._descriptor, RECORD.size))[::2]
                yield signal.Signals(number), code == BY_KERNEL

    def close(self) -> None:
        """Let signals do again what they did before; those that nobody read were for a command that has ended."""
        for _ in self.read():
            pass
        os.close(self._descriptor)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
