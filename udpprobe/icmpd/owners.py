"""The kernel's view of addresses and UDP sockets: is an address local, and which socket has a port now?

A registered socket may be closed while its client stays connected, and its port may belong to another process next. The
kernel identifies each socket by a cookie, and tells which one it would give an error to (sock_diag(7)).
"""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress

from udpprobe.core.addresses import MAPPED_PREFIX, address_text
from udpprobe.icmpd.registry import ClientSocket, Quote
from udpprobe.linux.netlink import DONE, DUMP, ERROR, FAMILIES, REQUEST, message, messages
from udpprobe.linux.sockdiag import ANSWER_BYTES, ANY_STATE, NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY

TRUSTED_S = 1.0
"""Seconds for which an answer of the kernel is cached."""
MOST_KEPT = 65536
"""Cached answers, whatever errors quote."""

UDP_REQUEST = struct.Struct("=BBBxI2s2s16s16sIQ")
"""struct inet_diag_req_v2."""
ANSWER = struct.Struct("=4x2s38xII")
"""struct inet_diag_msg: the source port, and the halves of the cookie."""
ANY_COOKIE = (1 << 64) - 1

Name = tuple[int, int]
"""A socket's cookie and port; disconnecting a socket releases a port that the kernel chose (connect(2))."""
NO_OWNER: Name = (0, 0)


class Owners:
    """The kernel's answers, cached for TRUSTED_S."""

    def __init__(self) -> None:
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
        self._netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@qq", int(TRUSTED_S), 0))
        self._cached_s = 0.0
        self._own: dict[tuple[int, int], bool] = {}
        self._alive: dict[int, bool] = {}
        self._peers: dict[Quote, Name] = {}
        self._all: set[Name] | None = None

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()

    def at(self, now_s: float) -> None:
        """Forget what is too old at this time."""
        kept = len(self._own) + len(self._alive) + len(self._peers)
        if now_s - self._cached_s > TRUSTED_S or kept > MOST_KEPT:
            self._cached_s, self._all = now_s, None
            self._own.clear()
            self._alive.clear()
            self._peers.clear()

    def add(self, handed: ClientSocket) -> None:
        """Add a socket that a cached answer may lack."""
        if self._all is not None:
            self._all.add((handed.cookie, handed.port))

    def is_own(self, address: int, interface: int) -> bool:
        """Whether an address (128 bits, IPv4 mapped) is local: whether a socket may bind to it.

        Args:
            address: of any kind.
            interface: scope of a link-local one.
        """
        key = (address, interface)
        if key not in self._own:
            self._own[key] = _can_bind(address, interface)
        return self._own[key]

    def is_alive(self, handed: ClientSocket, quote: Callable[[], Quote]) -> bool:
        """Whether the registered socket is still open, on its port; True if the kernel does not answer.

        Args:
            handed: the socket.
            quote: returns a datagram that it may have sent.
        """
        cookie = handed.cookie
        if not cookie:
            return True
        if cookie not in self._alive:
            self._alive[cookie] = self._ask((cookie, handed.port), quote())
        return self._alive[cookie]

    def is_peer_now(self, handed: ClientSocket, quote: Quote) -> bool:
        """Whether the kernel would give this error to the socket; False if it does not answer.

        Args:
            handed: a socket that was connected elsewhere when it was registered.
            quote: a datagram that it may have sent.
        """
        if not handed.cookie:
            return False
        if quote not in self._peers:
            self._peers[quote] = NO_OWNER
            with suppress(OSError):
                self._peers[quote] = self._owner(quote)
        return self._peers[quote] == (handed.cookie, handed.port)

    def _ask(self, name: Name, quote: Quote) -> bool:
        try:
            return name == self._owner(quote) or name in self._everybody()
        except OSError:
            return True

    def _owner(self, quote: Quote) -> Name:
        """The socket to which the kernel would give this error.

        A request for a UDP socket has source and destination of the packets that the socket receives.
        """
        wanted = (
            quote.destination_port.to_bytes(2),
            quote.source_port.to_bytes(2),
            _packed(quote.destination, quote.family),
            _packed(quote.source, quote.family),
            quote.interface,
        )
        answers = self._exchange(quote.family, REQUEST, wanted)
        return next(answers, NO_OWNER)

    def _everybody(self) -> set[Name]:
        """All UDP sockets: of several on one port, the kernel names only one."""
        if self._all is None:
            none = (b"", b"", b"", b"", 0)
            self._all = {name for family in FAMILIES for name in self._exchange(family, REQUEST | DUMP, none)}
        return self._all

    def _exchange(self, family: int, flags: int, wanted: tuple[bytes, bytes, bytes, bytes, int]) -> Iterator[Name]:
        body = UDP_REQUEST.pack(FAMILIES[family], socket.IPPROTO_UDP, 0, ANY_STATE, *wanted, ANY_COOKIE)
        with suppress(BlockingIOError):
            while self._netlink.recv(ANSWER_BYTES, socket.MSG_DONTWAIT):
                pass  # the answer to an earlier request that timed out
        self._netlink.send(message(SOCK_DIAG_BY_FAMILY, flags, body))
        while True:
            for kind, answer in messages(self._netlink.recv(ANSWER_BYTES)):
                if kind in {DONE, ERROR}:
                    return
                if kind == SOCK_DIAG_BY_FAMILY:
                    port, low, high = ANSWER.unpack_from(answer)
                    yield high << 32 | low, int.from_bytes(port)
            if flags == REQUEST:
                return


def _packed(address: int, family: int) -> bytes:
    return (address & 0xFFFF_FFFF).to_bytes(4) if family == 4 else address.to_bytes(16)


def _can_bind(address: int, interface: int) -> bool:
    """Whether a socket can bind to this address; True if that cannot be tested."""
    is_v4 = address >> 32 == MAPPED_PREFIX
    text = address_text(address >> 64, address & (1 << 64) - 1)
    try:
        with socket.socket(FAMILIES[4 if is_v4 else 6], socket.SOCK_DGRAM) as tried:
            tried.bind((text, 0) if is_v4 else (text, 0, 0, interface if address >> 118 == 0xFE80 >> 6 else 0))
    except OSError as error:
        return error.errno not in {errno.EADDRNOTAVAIL, errno.EINVAL, errno.ENODEV}
    return True
