"""The command, in its own process namespace below a keeper: when the keeper ends, the kernel ends everything in it."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import struct
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from enum import Enum, auto
from typing import NoReturn, Self

from udpprobe.errors import UdpprobeError
from udpprobe.lab.namespace import libc, mount_private

NOT_EXECUTABLE, NOT_FOUND, BY_SIGNAL = 126, 127, 128
"""Exit statuses as shells give them (POSIX.1-2024, Shell Command Language 2.8.2)."""
CRASHED = 3
IGNORED_BY_PYTHON = (signal.SIGPIPE, signal.SIGXFSZ)
TERMINAL = "/dev/tty"


class NotRun(UdpprobeError):  # noqa: N818 - as Interrupted
    """A program cannot be started; the exit status says why, as in a shell."""

    def __init__(self, name: str, error: OSError) -> None:
        super().__init__(f"cannot run {name}: {error.strerror}")
        self.exit_status = NOT_FOUND if isinstance(error, FileNotFoundError) else NOT_EXECUTABLE


class Group(Enum):
    """The process group of the command."""

    OURS = auto()
    OWN = auto()
    FOREGROUND = auto()
    """Its own, in the terminal's foreground."""


class Command:
    """A running command, the first child of a process that has entered its namespaces, with its signals blocked.

    In a terminal it shares the terminal with this process: Ctrl-C and Ctrl-Z reach both. Otherwise it has its own
    process group, so that it gets a signal once, from here. It ends when this process ends, in whatever way.

    Args:
        words: the program and its arguments.
        environment: all of it.
        is_shell: it passes the terminal to its own jobs, and back to a group that it must be able to name.
    """

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], *, is_shell: bool = False) -> None:
        self._has_terminal = is_foreground()
        group = Group.FOREGROUND if is_shell and self._has_terminal else Group.OURS if self._has_terminal else Group.OWN
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()
        alive, self._alive = os.pipe()
        self._keeper = os.fork()
        if not self._keeper:
            os.close(self._alive)
            _keep(words, environment, alive, group)
        os.close(alive)
        self._descriptor = os.pidfd_open(self._keeper)

    def fileno(self) -> int:
        """For a selector: readable when it has ended."""
        return self._descriptor

    def take(self, signals: Signals) -> None:
        """Pass on the signals that arrived for it."""
        for number, by_terminal in signals.read():
            # when a terminal closes, only the process that opened it gets a signal
            if number == signal.SIGHUP or not (by_terminal and self._has_terminal):
                signal.pidfd_send_signal(self._descriptor, number)

    def status(self) -> int:
        """Its exit status, as in a shell; waits for the end."""
        status = os.waitstatus_to_exitcode(os.waitpid(self._keeper, 0)[1])
        if self._has_terminal:
            _take_terminal()
        return shell_status(status)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._alive)
        os.close(self._descriptor)


def is_foreground() -> bool:
    """Whether this process is in the terminal's foreground, and gets its signals."""
    try:
        terminal = os.open(TERMINAL, os.O_RDONLY)
    except OSError:
        return False
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    finally:
        os.close(terminal)


def _take_terminal() -> None:
    """Take back the terminal's foreground process group, which a shell inside took and could not return."""
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    with suppress(OSError):  # the terminal may be gone
        terminal = os.open(TERMINAL, os.O_RDONLY)
        os.tcsetpgrp(terminal, os.getpgrp())
        os.close(terminal)
    signal.signal(signal.SIGTTOU, before)


def shell_status(status: int) -> int:
    """The exit status in a shell for a program's status; a negative one is the signal that ended it."""
    return BY_SIGNAL - status if status < 0 else status


def start(words: Sequence[str], environment: Mapping[str, str], *, own_group: bool = False) -> int:
    """Start a program without the signals that we block or ignore.

    Args:
        words: the program and its arguments.
        environment: all of it.
        own_group: whether it gets its own process group.

    Returns:
        Its process id.

    Raises:
        NotRun: it cannot be started.
    """
    try:
        if own_group:
            return os.posix_spawnp(
                words[0], list(words), environment, setpgroup=0, setsigmask=(), setsigdef=IGNORED_BY_PYTHON
            )
        return os.posix_spawnp(words[0], list(words), environment, setsigmask=(), setsigdef=IGNORED_BY_PYTHON)
    except ValueError:  # an empty name, or one with a NUL byte
        raise NotRun(repr(words[0]), FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))) from None
    except OSError as error:
        raise NotRun(words[0], error) from None


def reaped(command: int) -> int | None:
    """A child's status once it has ended; also reaps orphans."""
    while (found := os.waitpid(-1, os.WNOHANG)) != (0, 0):
        if found[0] == command:
            return os.waitstatus_to_exitcode(found[1])
    return None


# ---- in the keeper, process 1 of its namespace


def _keep(words: Sequence[str], environment: Mapping[str, str], alive: int, group: Group) -> NoReturn:
    status = CRASHED
    try:
        _join(group)
        mount_private()
        status = _run(words, environment, alive)
    except Exception:  # noqa: BLE001 - nobody above could report it
        traceback.print_exc()
    finally:
        os._exit(status)  # buffered output of the parent must be left to the parent


def _join(group: Group) -> None:
    if group is not Group.OURS:
        os.setpgid(0, 0)
    if group is Group.FOREGROUND:
        _take_terminal()


def _run(words: Sequence[str], environment: Mapping[str, str], alive: int) -> int:
    with Signals(signal.SIGCHLD) as signals:
        try:
            return _wait(start(words, environment), signals, alive)
        except NotRun as why:
            if sys.stderr is not None:  # print would take None as standard output
                print(f"udpprobe: {why}", file=sys.stderr, flush=True)  # noqa: T201 - the one line
            return why.exit_status


def _wait(command: int, signals: Signals, alive: int) -> int:
    while (status := reaped(command)) is None:
        ready, _, _ = select.select([signals.fileno(), alive], [], [])
        if alive in ready:
            return CRASHED  # the parent is gone: the other end of the pipe is closed
        for number, by_terminal in signals.read():
            if number != signal.SIGCHLD and not by_terminal:
                os.kill(command, number)
                os.kill(command, signal.SIGCONT)  # a stopped process would not handle it
    return shell_status(status)


PASSED_ON = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2})
"""Signals that end programs, or make them do something; they are for the command, not for its keeper."""

RECORD = struct.Struct("=IiI116x")
"""struct signalfd_siginfo: number, errno (unused), code."""
BY_KERNEL = 0x80
"""SI_KERNEL: sent by the terminal, to the command as well."""
SFD_NONBLOCK, SFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
"""sys/signalfd.h"""
SIGSET_LONGS = 128 // ctypes.sizeof(ctypes.c_ulong)
"""Length of a sigset_t."""


class Signals:
    """Signals that are queued to be read while this is open.

    Args:
        also: signals besides those that are passed on.
    """

    def __init__(self, *also: signal.Signals) -> None:
        self._numbers = PASSED_ON | set(also)
        self._before = signal.pthread_sigmask(signal.SIG_BLOCK, self._numbers)
        self._descriptor = signalfd(set(self._numbers))

    def fileno(self) -> int:
        """For a selector: readable when signals wait."""
        return self._descriptor

    def read(self) -> Iterator[tuple[signal.Signals, bool]]:
        """The signals that arrived, each with whether a terminal sent it: then the command has it already."""
        with suppress(BlockingIOError):
            while True:
                number, code = RECORD.unpack(os.read(self._descriptor, RECORD.size))[::2]
                yield signal.Signals(number), code == BY_KERNEL

    def close(self) -> None:
        """Restore the signals' former effect; unread ones were for a command that has ended."""
        for _ in self.read():
            pass
        os.close(self._descriptor)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._before)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def signalfd(numbers: set[int]) -> int:
    """A descriptor to read signals from, 128 bytes each; they must be blocked (signalfd(2)).

    Args:
        numbers: signals below 32.
    """
    mask = sum(1 << number - 1 for number in numbers)
    return libc("signalfd", -1, (ctypes.c_ulong * SIGSET_LONGS)(mask), SFD_NONBLOCK | SFD_CLOEXEC)
