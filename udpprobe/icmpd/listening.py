"""The daemon's Unix socket: its own path, or one that systemd opened; and how systemd is told of it.

A file at the path is replaced only if it is a socket at which nobody listens. The protocols of sd_listen_fds(3) and
sd_notify(3) are a few words each, and need no library.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from udpprobe.errors import UdpprobeError

BACKLOG = 4096
FIRST_PASSED = 3
"""SD_LISTEN_FDS_START."""
DIRECTORY, NAME = "udpprobe", "icmpd.sock"


def default_path(environment: Mapping[str, str]) -> Path:
    """`/run/udpprobe/icmpd.sock` for the superuser and where that is, else below `$XDG_RUNTIME_DIR`."""
    system = Path("/run") / DIRECTORY / NAME
    runtime = environment.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0 or system.exists() or not runtime:
        return system
    return Path(runtime) / DIRECTORY / NAME


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket, and the file that is ours to remove."""

    socket: socket.socket
    path: Path | None
    """None where somebody else made it."""
    mark: tuple[int, int] = (0, 0)
    """What tells our file from another's; an inode's number alone may be given anew."""

    def close(self) -> None:
        """Listen no more; a file that another daemon put in the place of ours stays."""
        self.socket.close()
        try:
            if self.path is not None and _mark(self.path) == self.mark:
                self.path.unlink()
        except OSError:
            return      # it is gone, or not ours to remove any more; the next daemon replaces it


def passed(environment: Mapping[str, str]) -> Listener | None:
    """The socket that systemd opened for this process (LISTEN_FDS), or None.

    Raises:
        UdpprobeError: what was passed does not listen for streams of Unix sockets.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()) or environment.get("LISTEN_FDS", "0") == "0":
        return None
    try:
        given = socket.socket(fileno=FIRST_PASSED)
        is_right = (given.family, given.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
        if is_right and given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            given.set_inheritable(False)
            return Listener(given, None)
    except OSError as error:
        raise UdpprobeError(f"no socket was passed: {error.strerror}") from None
    raise UdpprobeError("what was passed is no listening Unix stream socket; say ListenStream=/run/...")


def listen(path: Path, mode: int, owner: tuple[int, int]) -> Listener:
    """Listen at a path, whose directory is made if it is not there.

    Args:
        path: of the socket.
        mode: its permissions.
        owner: user and group that it is to belong to.

    Raises:
        UdpprobeError: somebody listens there, something else is there, or others could replace it.
    """
    try:
        return _listen(path, mode, owner)
    except OSError as error:
        raise UdpprobeError(f"cannot listen at {path}: {error.strerror or error}") from None


def _listen(path: Path, mode: int, owner: tuple[int, int]) -> Listener:
    if not path.parent.exists():
        path.parent.mkdir(mode=0o755)
        os.chown(path.parent, *owner)
    _require_safe(path.parent, owner[0])
    _make_room(path)
    with ExitStack() as undo:
        opened = undo.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        _bind(opened, path)
        os.chown(path, *owner, follow_symlinks=False)
        path.chmod(mode)
        opened.listen(BACKLOG)
        undo.pop_all()
    return Listener(opened, path, _mark(path))


def _bind(opened: socket.socket, path: Path) -> None:
    """Nobody may connect before it is said who may."""
    before = os.umask(0o777)
    try:
        opened.bind(str(path))
    finally:
        os.umask(before)


def _mark(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


def _require_safe(directory: Path, user: int) -> None:
    """See to it that nobody else can put a socket of their own in the place of ours."""
    found = directory.stat()
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    if others_write or found.st_uid not in {0, os.geteuid(), user}:
        raise UdpprobeError(f"others may write to {directory}, and replace the socket; choose another --socket")


def _make_room(path: Path) -> None:
    """Remove a socket at which nobody listens."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise UdpprobeError(f"{path} is there and is no socket; choose another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
        tried.setblocking(False)
        refused = tried.connect_ex(str(path))
    if refused not in {errno.ECONNREFUSED, errno.ENOENT}:
        raise UdpprobeError(f"somebody listens at {path} already; stop that daemon, or choose another --socket")
    path.unlink(missing_ok=True)


def notify(environment: Mapping[str, str], state: str) -> None:
    """Tell systemd of a state, if it wants to know (NOTIFY_SOCKET)."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.setblocking(False)
        try:
            told.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            return      # it asked for nothing that could be done differently without
