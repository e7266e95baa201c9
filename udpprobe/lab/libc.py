"""System calls that Python 3.11 does not have; errors come as OSError."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS, CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x0002_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000
"""linux/sched.h"""
MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REC, MS_PRIVATE = 2, 4, 8, 0x4000, 0x4_0000
"""linux/mount.h"""
SFD_NONBLOCK, SFD_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC
"""sys/signalfd.h"""
SIGSET_LONGS = 128 // ctypes.sizeof(ctypes.c_ulong)
"""Of a sigset_t."""

_LIBC = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> int:
    result: int = getattr(_LIBC, name)(*arguments)
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def unshare(flags: int) -> None:
    """Leave namespaces for new ones (unshare(2)).

    Raises:
        OSError: the kernel does not want to.
    """
    _call("unshare", flags)


def mount(kind: str, target: str, flags: int) -> None:
    """Mount a file system that has no device (mount(2)).

    Raises:
        OSError: the kernel does not want to.
    """
    _call("mount", kind.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), None)


def signalfd(numbers: set[int]) -> int:
    """A descriptor to read signals from, 128 bytes each; they must be blocked (signalfd(2)).

    Args:
        numbers: signals below 32.
    """
    mask = sum(1 << number - 1 for number in numbers)
    return _call("signalfd", -1, (ctypes.c_ulong * SIGSET_LONGS)(mask), SFD_NONBLOCK | SFD_CLOEXEC)
