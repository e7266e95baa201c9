"""The complete daemon: it opens what needs privileges, gives them up, handles signals, and notifies systemd.

A file at the socket's path is replaced only if it is a socket on which nobody listens. The protocols of
sd_listen_fds(3) and sd_notify(3) are a few lines each, and need no library.
"""

from __future__ import annotations

import ctypes
import errno
import os
import pwd
import resource
import signal
import socket
import stat
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from udpprobe.errors import UdpprobeError
from udpprobe.icmpd.peers import gate_for, user_id
from udpprobe.icmpd.protocol import QUEUE_MESSAGES, Protocol
from udpprobe.icmpd.raw import RawIcmp
from udpprobe.icmpd.server import Server

BACKLOG = 4096
FIRST_PASSED = 3
"""SD_LISTEN_FDS_START."""
DIRECTORY, NAME = "udpprobe", "icmpd.sock"

WANTED_DESCRIPTORS = 65536
RESERVED_DESCRIPTORS = 64
"""For everything but clients, and to tell clients beyond the last that there is no room."""

PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL = 38, 47, 4
CAPABILITY_VERSION_3 = 0x2008_0522

_libc = ctypes.CDLL(None, use_errno=True)

PRIVATE, OPEN = 0o600, 0o666
"""Credentials decide who may register; if only the own user may, the file mode says so too."""


@dataclass(frozen=True, slots=True)
class DaemonOptions:
    """Options of the daemon."""

    socket: Path | None = None
    """None: the usual path, or the socket that systemd passed."""
    mode: int | None = None
    """Permissions of the socket; None: by who may register."""
    user: str | None = None
    """User to become once everything is open."""
    allow_users: tuple[str, ...] = ()
    allow_groups: tuple[str, ...] = ()
    queue_messages: int = QUEUE_MESSAGES
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


def run(options: DaemonOptions, say: Callable[[str], None], report_status: Callable[[dict[str, Any]], None]) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        options: how.
        say: called with a line for the log.
        report_status: called with the counters, at SIGHUP and at the end.

    Returns:
        The signal that ended it.

    Raises:
        PrivilegeError: this user may not open raw sockets.
        UdpprobeError: the socket cannot be opened; there is no such user.
    """
    with ExitStack() as opened:
        server = _prepare(options, say, opened)
        with _signals() as came:
            got = _watch_signals(server, came, report_status)
            notify(options.environment, "READY=1")
            server.serve()
        notify(options.environment, "STOPPING=1")
        report_status(server.status())
        return got[-1]


def _prepare(options: DaemonOptions, say: Callable[[str], None], opened: ExitStack) -> Server:
    user = user_id(options.user) if options.user else os.geteuid()
    gate = gate_for(options.allow_users, options.allow_groups, user)
    raws = [opened.enter_context(closing(raw)) for raw in _raws(say)]
    listener = opened.enter_context(closing(_listener(options, user)))
    most_clients = raise_descriptors()
    if options.user:
        become(options.user)
    give_up_privileges()
    say(f"listens at {listener.path or listener.socket.getsockname()} for {most_clients} clients at most")
    server = Server(listener.socket, raws, gate, Protocol(options.queue_messages), most_clients)
    return opened.enter_context(closing(server))


def _raws(say: Callable[[str], None]) -> list[RawIcmp]:
    """A source of errors for each family that this host supports."""
    found, missing = [], []
    for family in (4, 6):
        try:
            found.append(RawIcmp(family))
        except UdpprobeError as why:
            missing.append(why)
    if not found:
        raise missing[0]
    for each in missing:
        say(str(each))
    return found


def _listener(options: DaemonOptions, user: int) -> ListeningSocket:
    given = passed(options.environment) if options.socket is None else None
    if given:
        return given
    is_private = not options.allow_users and not options.allow_groups
    mode = options.mode if options.mode is not None else PRIVATE if is_private else OPEN
    owner = (user, -1) if os.geteuid() == 0 else (-1, -1)
    return listen(options.socket or default_path(options.environment), mode, owner)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket from which signal numbers are read, in place of the signals' usual effects."""
    handled = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = {number: signal.signal(number, _noted) for number in handled}
        old = signal.set_wakeup_fd(writer.fileno())
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """Do nothing: the number is in the socket already (signal.set_wakeup_fd)."""


def _watch_signals(server: Server, came: socket.socket, report_status: Callable[[dict[str, Any]], None]) -> list[int]:
    """Serve signals like other events; return the list that collects them."""
    got: list[int] = []

    def read_signals() -> None:
        for number in came.recv(64):
            got.append(number)
            if number != signal.SIGHUP:
                server.stop()
                return
            report_status(server.status())

    server.watch(came, read_signals)
    return got


# ---- the Unix socket: its own path, or one that systemd opened


def default_path(environment: Mapping[str, str]) -> Path:
    """`/run/udpprobe/icmpd.sock` for the superuser if that directory exists, else below `$XDG_RUNTIME_DIR`."""
    system = Path("/run") / DIRECTORY / NAME
    runtime = environment.get("XDG_RUNTIME_DIR")
    if os.geteuid() == 0 or system.exists() or not runtime:
        return system
    return Path(runtime) / DIRECTORY / NAME


@dataclass(frozen=True, slots=True)
class ListeningSocket:
    """A listening socket, and the file to remove."""

    socket: socket.socket
    path: Path | None
    """None if another program made it."""
    mark: tuple[int, int] = (0, 0)
    """Identifies our file; an inode number alone may be reused."""

    def close(self) -> None:
        """Stop listening; a file of another daemon at the same path stays."""
        self.socket.close()
        try:
            if self.path is not None and _mark(self.path) == self.mark:
                self.path.unlink()
        except OSError:
            return  # gone, or no longer ours to remove; the next daemon replaces it


def passed(environment: Mapping[str, str]) -> ListeningSocket | None:
    """The socket that systemd passed to this process (LISTEN_FDS), or None.

    Raises:
        UdpprobeError: it is no listening Unix stream socket.
    """
    if environment.get("LISTEN_PID") != str(os.getpid()) or environment.get("LISTEN_FDS", "0") == "0":
        return None
    try:
        given = socket.socket(fileno=FIRST_PASSED)
        is_right = (given.family, given.type) == (socket.AF_UNIX, socket.SOCK_STREAM)
        if is_right and given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            given.set_inheritable(False)
            return ListeningSocket(given, None)
    except OSError as error:
        raise UdpprobeError(f"no socket was passed: {error.strerror}") from None
    raise UdpprobeError("the socket passed is not a listening Unix stream socket; use ListenStream=/run/...")


def listen(path: Path, mode: int, owner: tuple[int, int]) -> ListeningSocket:
    """Listen at a path, whose directory is created if missing.

    Args:
        path: of the socket.
        mode: its permissions.
        owner: its user and group.

    Raises:
        UdpprobeError: another process listens there, the file is something else, or others could replace it.
    """
    try:
        return _listen(path, mode, owner)
    except OSError as error:
        raise UdpprobeError(f"cannot listen at {path}: {error.strerror or error}") from None


def _listen(path: Path, mode: int, owner: tuple[int, int]) -> ListeningSocket:
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
    return ListeningSocket(opened, path, _mark(path))


def _bind(opened: socket.socket, path: Path) -> None:
    """Bind with permissions for nobody, until owner and mode are set."""
    before = os.umask(0o777)
    try:
        opened.bind(str(path))
    finally:
        os.umask(before)


def _mark(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_ino, found.st_mtime_ns


def _require_safe(directory: Path, user: int) -> None:
    """Check that nobody else can replace our socket by their own."""
    found = directory.stat()
    others_write = found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not found.st_mode & stat.S_ISVTX
    if others_write or found.st_uid not in {0, os.geteuid(), user}:
        raise UdpprobeError(f"others may write to {directory}, and replace the socket; choose another --socket")


def _make_room(path: Path) -> None:
    """Remove a socket on which nobody listens."""
    try:
        kind = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(kind):
        raise UdpprobeError(f"{path} exists and is not a socket; choose another --socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as tried:
        tried.setblocking(False)
        connect_errno = tried.connect_ex(str(path))
    if connect_errno not in {errno.ECONNREFUSED, errno.ENOENT}:
        raise UdpprobeError(f"another daemon listens at {path} already; stop it, or choose another --socket")
    path.unlink(missing_ok=True)


def notify(environment: Mapping[str, str], state: str) -> None:
    """Notify systemd of a state, if it asked for that (NOTIFY_SOCKET)."""
    address = environment.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifying:
        notifying.setblocking(False)
        try:
            notifying.sendto(state.encode(), "\0" + address[1:] if address[0] == "@" else address)
        except OSError:
            return  # failing to notify changes nothing here


# ---- privileges: as many descriptors as allowed, then none of the rest


def raise_descriptors() -> int:
    """Raise the descriptor limit as far as allowed; return the number of clients that fit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (max(hard, WANTED_DESCRIPTORS), hard):
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        except (ValueError, OSError):  # only the superuser can raise the hard limit
            continue
        soft = limit
        break
    return max(soft - RESERVED_DESCRIPTORS, 1)


def become(user: str) -> None:
    """Become another user, by name or number, with that user's groups, for good.

    Raises:
        UdpprobeError: this process may not.
    """
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
        os.initgroups(entry.pw_name, entry.pw_gid)
        os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
        os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    except KeyError:
        raise UdpprobeError(f"no user {user!r}") from None
    except PermissionError:
        raise UdpprobeError(f"only the superuser can become {user}; omit --user") from None


def give_up_privileges() -> None:
    """Give up all capabilities, and any way to new ones (capabilities(7), PR_SET_NO_NEW_PRIVS)."""
    header = struct.pack("=Ii", CAPABILITY_VERSION_3, 0)
    none = bytes(2 * 12)  # struct __user_cap_data_struct, twice
    _do(_libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _do(_libc.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))
    _do(_libc.capset(header, none))


def _do(result: int) -> None:
    if result:
        raise UdpprobeError(f"cannot give up privileges: {os.strerror(ctypes.get_errno() or errno.EPERM)}")
