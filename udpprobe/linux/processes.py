"""Processes: which one holds a socket, and which ones descend from this one.

A socket's options are read through its holder's descriptor (proc(5), pidfd_getfd(2)). Descendants are found at any
depth, even if their parents have ended (prctl(2), proc(5)).
"""

from __future__ import annotations

import ctypes
import os
import socket
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

from msgspec import Struct

from udpprobe.core.kernel import MODES
from udpprobe.core.model import Process

PIDFD_GETFD = 438
"""The system call's number, on every architecture."""
IPV6_RECVERR = 25
MTU_DISCOVER = (socket.IPPROTO_IP, 10), (socket.IPPROTO_IPV6, 23)
"""linux/in.h, linux/in6.h"""

_libc = ctypes.CDLL(None, use_errno=True)


class Holder(Struct, frozen=True):
    """A process, and its descriptor of the socket."""

    process: Process
    descriptor: int
    inode: int

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def holds(self) -> bool:
        """Whether it still holds it: a parent may leave a socket to its child."""
        with suppress(OSError):
            return os.readlink(f"/proc/{self.pid}/fd/{self.descriptor}") == f"socket:[{self.inode}]"  # noqa: PTH115 - a Path is slow
        return False


def holders_of(inodes: Collection[int], likely: Collection[int]) -> dict[int, Holder]:
    """The holders of sockets, without those that are unknown or not visible to this user.

    Args:
        inodes: of the sockets.
        likely: processes to search first; then the youngest follow.
    """
    found: dict[int, Holder] = {}
    wanted = set(inodes)
    for pid in dict.fromkeys([*likely, *_youngest_first()]):
        if not wanted:
            break
        with suppress(OSError):  # it has ended, or belongs to another user
            for descriptor, inode in _sockets_of(pid):
                if inode in wanted:
                    found[inode] = Holder(Process(_name_of(pid), pid), descriptor, inode)
                    wanted.discard(inode)
    return found


def _youngest_first() -> list[int]:
    return sorted((int(name) for name in os.listdir("/proc") if name.isdigit()), reverse=True)  # noqa: PTH208 - a Path a process is slow


def _sockets_of(pid: int) -> Iterator[tuple[int, int]]:
    """Descriptor and inode of each socket of a process."""
    for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208 - a Path a descriptor is slow
        with suppress(OSError):
            target = os.readlink(f"/proc/{pid}/fd/{descriptor}")  # noqa: PTH115 - as above
            if target.startswith("socket:["):
                yield int(descriptor), int(target[8:-1])


def _name_of(pid: int) -> str:
    import psutil  # noqa: PLC0415 - 10 ms that only who finds a process pays

    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "?"


class Options(Struct, frozen=True):
    """Options that only a socket's owner can read; None if this user may not, or the socket lacks the option."""

    ipv6_errors: bool | None = None
    """IPV6_RECVERR."""
    modes: tuple[str | None, str | None] = None, None
    """IP_MTU_DISCOVER and IPV6_MTU_DISCOVER, as words of `MODES`."""


def options_of(holder: Holder) -> Options:
    """Duplicate the socket for a moment, and read its options."""
    with suppress(OSError), ExitStack() as opened:
        pidfd = os.pidfd_open(holder.pid)
        opened.callback(os.close, pidfd)
        descriptor = _libc.syscall(PIDFD_GETFD, pidfd, holder.descriptor, 0)
        if descriptor < 0:
            return Options()
        opened.callback(os.close, descriptor)
        if os.fstat(descriptor).st_ino == holder.inode:  # otherwise it is another file now
            with socket.socket(fileno=os.dup(descriptor)) as shared:
                recverr = _option(shared, socket.IPPROTO_IPV6, IPV6_RECVERR)
                modes = [_option(shared, *option) for option in MTU_DISCOVER]
                v4, v6 = (MODES[mode] if mode is not None and mode < len(MODES) else None for mode in modes)
                return Options(None if recverr is None else bool(recverr), (v4, v6))
    return Options()


def _option(shared: socket.socket, level: int, name: int) -> int | None:
    """Its value; None if sockets of this family lack it."""
    with suppress(OSError):
        return shared.getsockopt(level, name)
    return None


PR_SET_CHILD_SUBREAPER = 36
"""linux/prctl.h"""
MOST_STEPS = 1000
"""Steps up a chain of parents: one that changes meanwhile must not loop forever."""


class Descendants:
    """Descendants of this process. Orphans among them become its children (prctl(2)), where their chain ends.

    Ask about a process while it runs: the parents of an ended one are unknown.
    """

    def __init__(self) -> None:
        _libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # Linux 3.4
        self._known: set[int] = set()

    def add(self, pid: int) -> None:
        """Add a process that is known to be a descendant."""
        self._known.add(pid)

    def meet(self, pids: Iterable[int]) -> None:
        """Add those of these processes that are descendants."""
        self._known.update(filter(_is_descendant, pids))

    def running(self) -> int:
        """Number of known descendants that still run."""
        return sum(_is_descendant(pid) and not _has_ended(pid) for pid in self._known)

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
    """0 for the first process, and for one that is gone."""
    return int((_state_of(pid) or ["", "0"])[1])


def _has_ended(pid: int) -> bool:
    """Whether it is gone, or a zombie."""
    return (_state_of(pid) or "Z")[0] in {"Z", "X"}


def _state_of(pid: int) -> list[str]:
    """The fields after its name in /proc/PID/stat: state, parent and so on; empty if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return []
    return stat.rpartition(")")[2].split()  # the name before may contain anything
