"""A whole daemon: everything opened that needs privileges, they given up, signals heeded, systemd told."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from udpprobe.errors import UdpprobeError
from udpprobe.icmpd.confine import become, give_up_privileges, raise_descriptors
from udpprobe.icmpd.listening import Listener, default_path, listen, notify, passed
from udpprobe.icmpd.peers import gate_for, user_id
from udpprobe.icmpd.protocol import QUEUE_MESSAGES, Protocol
from udpprobe.icmpd.raw import RawIcmp
from udpprobe.icmpd.server import Server

PRIVATE, OPEN = 0o600, 0o666
"""Who is let in is decided by credentials; where it is only oneself, the file says so too."""


@dataclass(frozen=True, slots=True)
class Options:
    """What the daemon is asked to do."""

    socket: Path | None = None
    """None: the usual place, or what systemd passed."""
    mode: int | None = None
    """Permissions of the socket; None: for whom it is meant."""
    user: str | None = None
    """Whom to become once everything is open."""
    allow_users: tuple[str, ...] = ()
    allow_groups: tuple[str, ...] = ()
    queue_messages: int = QUEUE_MESSAGES
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)


def run(options: Options, say: Callable[[str], None], tell: Callable[[dict[str, Any]], None]) -> int:
    """Serve until SIGTERM or Ctrl-C.

    Args:
        options: how.
        say: takes a line for the log.
        tell: takes the counters, at SIGHUP and at the end.

    Returns:
        The signal that ended it.

    Raises:
        PrivilegeError: this user may not open raw sockets.
        UdpprobeError: the socket cannot be opened; there is no such user.
    """
    with ExitStack() as opened:
        server = _prepare(options, say, opened)
        with _signals() as came:
            got = _heed(server, came, tell)
            notify(options.environment, "READY=1")
            server.serve()
        notify(options.environment, "STOPPING=1")
        tell(server.status())
        return got[-1]


def _prepare(options: Options, say: Callable[[str], None], opened: ExitStack) -> Server:
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
    """A source of errors for each family that this host speaks."""
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


def _listener(options: Options, user: int) -> Listener:
    given = passed(options.environment) if options.socket is None else None
    if given:
        return given
    is_private = not options.allow_users and not options.allow_groups
    mode = options.mode if options.mode is not None else PRIVATE if is_private else OPEN
    owner = (user, -1) if os.geteuid() == 0 else (-1, -1)
    return listen(options.socket or default_path(options.environment), mode, owner)


@contextmanager
def _signals() -> Iterator[socket.socket]:
    """A socket from which the numbers of signals can be read, instead of their usual effects."""
    heeded = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    reader, writer = socket.socketpair()
    with reader, writer:
        reader.setblocking(False)
        writer.setblocking(False)
        before = {number: signal.signal(number, _noted) for number in heeded}
        old = signal.set_wakeup_fd(writer.fileno())
        try:
            yield reader
        finally:
            signal.set_wakeup_fd(old)
            for number, handler in before.items():
                signal.signal(number, handler)


def _noted(_number: int, _frame: FrameType | None) -> None:
    """The number is in the socket already (signal.set_wakeup_fd)."""


def _heed(server: Server, came: socket.socket, tell: Callable[[dict[str, Any]], None]) -> list[int]:
    """Let signals be served like everything else; the list they will be in."""
    got: list[int] = []

    def heed() -> None:
        for number in came.recv(64):
            got.append(number)
            if number != signal.SIGHUP:
                server.stop()
                return
            tell(server.status())

    server.watch(came, heed)
    return got
