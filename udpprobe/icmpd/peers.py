"""Who may register which socket; and closing descriptors without waiting for their owners.

The mode of the daemon's own Unix socket decides first who may connect (`daemon.OPEN`, `PRIVATE`, `--mode`). A socket is
registered if all of this holds, checked in this order:

1. Its client's user is permitted (`Gate.admits`): when it connects, and again with each message.
2. There is room for one more client; no user may have more than half of the room (`Server._why_not`).
3. Exactly one descriptor came (`receive_request`): a UDP socket of the daemon's network namespace, owned by its user
   (`inspect`).
4. Its user has fewer than MOST_ON_PORT sockets of that port (`Protocol._is_crowded`).

Root may hand over another user's socket; root and the daemon's own user are exempt from the shares of 2 and 4.

close(2) waits if a TCP socket has SO_LINGER and unsent data, for as long as its owner chose. It also waits for a Unix
socket that has such a socket in an unread message. The kernel does not linger for a task that exits, so the last
reference is left to a thread with its own table of descriptors (unshare(2), CLONE_FILES), which exits at once.
"""

from __future__ import annotations

import ctypes
import grp
import os
import pwd
import socket
import struct
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Self

from udpprobe.core.addresses import MAPPED_PREFIX
from udpprobe.errors import UsageError
from udpprobe.icmpd.protocol import NO_DESCRIPTOR, Refusal
from udpprobe.icmpd.registry import ClientSocket

SO_PEERGROUPS, SO_COOKIE, SO_NETNS_COOKIE = 59, 57, 71
MOST_DESCRIPTORS = 253
"""Most descriptors of a message (SCM_MAX_FD). The kernel closes any that do not fit during the call, and would wait if
their owner so chose."""
MOST_GROUPS = 65536
"""NGROUPS_MAX of Linux."""
MOST_ID = (1 << 32) - 2
"""The largest user or group number; chown(2) takes the next one for "unchanged"."""
EVERYBODY = "*"
NOT_PERMITTED = "not-permitted"
CLONE_FILES = 0x400
V4, V6 = frozenset({4}), frozenset({6})

_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class Gate:
    """Who may register sockets; root and the daemon's own user always may."""

    users: frozenset[int]
    groups: frozenset[int] = frozenset()
    everybody: bool = False

    def admits(self, client: socket.socket) -> bool:
        """Whether the client's process may, by its credentials at connect time (SO_PEERCRED, unix(7))."""
        _, user, group = credentials(client)
        if self.everybody or user == 0 or user in self.users or group in self.groups:
            return True
        return bool(self.groups) and not self.groups.isdisjoint(_groups(client))


def gate_for(users: Collection[str], groups: Collection[str], own_user: int) -> Gate:
    """A gate for users and groups by name or number; `*` is every user.

    Raises:
        UsageError: there is no such user or group.
    """
    wanted = frozenset(user_id(name) for name in users if name != EVERYBODY)
    return Gate(wanted | {own_user}, frozenset(map(group_id, groups)), EVERYBODY in users)


def user_id(name: str) -> int:
    """Number of a user, or UsageError."""
    try:
        return _id(name) if name.isdecimal() else pwd.getpwnam(name).pw_uid
    except KeyError:
        raise UsageError(f"no user {name!r}") from None


def group_id(name: str) -> int:
    """Number of a group, or UsageError."""
    try:
        return _id(name) if name.isdecimal() else grp.getgrnam(name).gr_gid
    except KeyError:
        raise UsageError(f"no group {name!r}") from None


def _id(digits: str) -> int:
    """The number of a user or group; KeyError if it is too large."""
    if int(digits) > MOST_ID:
        raise KeyError(digits)
    return int(digits)


def credentials(peer: socket.socket) -> tuple[int, int, int]:
    """Process, user and group of the peer."""
    process, user, group = struct.unpack("=iII", peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    return process, user, group


def _groups(peer: socket.socket) -> list[int]:
    """Supplementary groups of the peer; Python's own getsockopt has room for 256."""
    numbers = (ctypes.c_uint32 * MOST_GROUPS)()
    size = ctypes.c_uint32(ctypes.sizeof(numbers))
    failed = _libc.getsockopt(peer.fileno(), socket.SOL_SOCKET, SO_PEERGROUPS, numbers, ctypes.byref(size))
    return [] if failed else numbers[: size.value // 4]


def close_foreign(*descriptors: int) -> None:
    """Close descriptors of any kind at once, without lingering."""
    if not descriptors:
        return
    is_ready, is_closed = threading.Event(), threading.Event()
    has_own: list[bool] = []

    def hold() -> None:
        has_own.append(_libc.unshare(CLONE_FILES) == 0)
        is_ready.set()
        is_closed.wait()
        if not has_own[0]:  # then only this thread waits
            _close(descriptors)

    try:
        threading.Thread(target=hold, name="close", daemon=True).start()
    except RuntimeError:  # no more threads: close here, even if that waits
        _close(descriptors)
        return
    is_ready.wait()
    if has_own[0]:
        _close(descriptors)
    is_closed.set()


def _close(descriptors: tuple[int, ...]) -> None:
    for each in descriptors:
        with suppress(OSError):
            os.close(each)


class Received:
    """Descriptors that came in a message; a context manager that closes those that were not taken."""

    def __init__(self, descriptors: list[int]) -> None:
        self.descriptors = descriptors

    def __len__(self) -> int:
        return len(self.descriptors)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        descriptors, self.descriptors = self.descriptors, []
        close_foreign(*descriptors)

    def take(self) -> int:
        """The last descriptor; the caller closes it."""
        return self.descriptors.pop()


def receive_request(client: socket.socket, gate: Gate) -> tuple[bytes, ClientSocket | Refusal]:
    """A client's next byte, and the socket that came with it; no byte at the end.

    All descriptors that came are closed before this returns. None is taken from a client that is not permitted: its
    message stays in the queue, and is closed with the connection.

    Raises:
        BlockingIOError: nothing has arrived.
        OSError: the client is gone.
    """
    if not gate.admits(client):
        byte, _, flags, _ = client.recvmsg(1, 0, socket.MSG_PEEK)
        if not flags & socket.MSG_CTRUNC:
            client.recv(1)
        return byte, Refusal(NOT_PERMITTED)
    byte, received = receive(client, 1)
    with received:
        if len(received) != 1:
            return byte, Refusal("too-many-descriptors" if received else NO_DESCRIPTOR)
        found = inspect(received.descriptors[0], credentials(client)[1])
        if isinstance(found, ClientSocket):
            os.close(received.take())  # UDP does not linger
        return byte, found


def receive(client: socket.socket, size: int) -> tuple[bytes, Received]:
    """Bytes of a client's next message, and its descriptors.

    Raises:
        OSError: as `receive_request`.
    """
    said, descriptors, _, _ = socket.recv_fds(client, size, MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
    return said, Received(descriptors)


def inspect(descriptor: int, user: int) -> ClientSocket | Refusal:
    """Describe a descriptor; a UDP socket without a port is bound to one (as in UNP 28.7).

    Args:
        descriptor: it stays open, with its options unchanged: they belong to its owner.
        user: sender; only the superuser may register another user's socket.
    """
    try:
        handed = socket.socket(fileno=descriptor)
    except OSError:
        return Refusal("not-a-socket")
    try:
        reason = _reason_against(handed, user)
        return Refusal(reason) if reason else _bound_and_described(handed)
    except OSError:
        return Refusal("not-a-socket")
    finally:
        handed.detach()


def _reason_against(handed: socket.socket, user: int) -> str | None:
    if handed.type != socket.SOCK_DGRAM or handed.proto != socket.IPPROTO_UDP:
        return "not-udp"
    if namespace_of(handed) != own_namespace():
        return "other-network-namespace"
    return None if user in (0, os.fstat(handed.fileno()).st_uid) else "not-your-socket"


def _bound_and_described(handed: socket.socket) -> ClientSocket:
    if handed.getsockname()[1] == 0:
        handed.bind(("", 0))
    name, peer = handed.getsockname(), _remote_end(handed)
    address = _mapped(name[0])
    is_v6 = handed.family == socket.AF_INET6
    dual = is_v6 and not handed.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
    return ClientSocket(
        6 if is_v6 else 4,
        _carries(address, dual=dual, is_v6=is_v6),
        name[1],
        address,
        name[3] if is_v6 else 0,
        peer,
        _number(handed, SO_COOKIE),
    )


def _carries(address: int, *, dual: bool, is_v6: bool) -> frozenset[int]:
    if address:
        return V4 if address >> 32 == MAPPED_PREFIX else V6
    if dual:
        return V4 | V6
    return V6 if is_v6 else V4


def _remote_end(handed: socket.socket) -> tuple[int, int] | None:
    try:
        peer = handed.getpeername()
    except OSError:
        return None
    return (_mapped(peer[0]), peer[1]) if int(ip_address(peer[0].partition("%")[0])) else None


def _mapped(text: str) -> int:
    """128 bits; 0 for the unspecified address of either family."""
    address = ip_address(text.partition("%")[0])
    if address.version == 4 and int(address):
        return MAPPED_PREFIX << 32 | int(address)
    return int(address)


def _number(handed: socket.socket, option: int) -> int:
    """A 64-bit socket option; 0 if this kernel lacks it."""
    try:
        return int(struct.unpack("=Q", handed.getsockopt(socket.SOL_SOCKET, option, 8))[0])
    except OSError:
        return 0


def namespace_of(handed: socket.socket) -> int:
    """Identifies the network namespace of a socket (Linux 5.14); 0 if unknown."""
    return _number(handed, SO_NETNS_COOKIE)


def own_namespace() -> int:
    """The same for this process."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
        return namespace_of(own)
