"""The engine that sees everything: raw sockets send, and a capture receives."""

from __future__ import annotations

import socket
import struct
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import compress
from threading import Event
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from udpprobe.capture.live import open_capture
from udpprobe.capture.packet_socket import Sift
from udpprobe.core.departures import copy
from udpprobe.core.probe import Batch
from udpprobe.engines import BATCHES, Arrivals, EngineState
from udpprobe.errors import PrivilegeError, UdpprobeError, raw_hint
from udpprobe.linux.netlink import bind_to_interface, interface_index, up_interfaces
from udpprobe.linux.sendmmsg import CHUNK, PATIENCE_S, Messages

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

SEND_BUFFER_BYTES = 4 << 20
SO_SNDBUFFORCE = 32
IPV6_HDRINCL = 36
IPV6_RECVERR = 25
IP_RECVERR = 11
IP_PKTINFO = 8
MTU_DISCOVERY: dict[int, tuple[int, int]] = {
    socket.AF_INET: (socket.IPPROTO_IP, 10),
    socket.AF_INET6: (socket.IPPROTO_IPV6, 23),
}
PMTUDISC_PROBE = 3
"""Limit packets by the interface's MTU only, because the kernel's path MTU is what is being probed (linux/in.h)."""

CMSGHDR = "@Nii"


OnLeaving = Callable[["array[int]"], None]
"""Called with rows of a batch, right before they leave."""


class RawFamily(Struct, frozen=True):
    """How to use a family's raw socket."""

    domain: int
    options: tuple[tuple[int, int], ...]
    """(level, option) to set: headers are included; a full queue is an error, not silent loss."""
    name: bytes
    """An empty struct sockaddr_in or sockaddr_in6."""
    address_at: int
    """Offset of the address in it."""
    control: bytes
    """Control message with the source, for routing by source: ip(7) IP_PKTINFO, RFC 3542 IPV6_PKTINFO."""
    source_at: int
    """Offset of the source in it."""
    address_bytes: int
    header_at: int
    """Offset of the source in the packet; the destination follows it."""


RAW_FAMILIES = {
    4: RawFamily(
        socket.AF_INET,
        ((socket.IPPROTO_IP, socket.IP_HDRINCL), (socket.IPPROTO_IP, IP_RECVERR)),
        struct.pack("@H14x", socket.AF_INET),
        4,
        struct.pack(f"{CMSGHDR}16x", socket.CMSG_LEN(12), socket.IPPROTO_IP, IP_PKTINFO),
        20,
        4,
        12,
    ),
    6: RawFamily(
        socket.AF_INET6,
        ((socket.IPPROTO_IPV6, IPV6_HDRINCL), (socket.IPPROTO_IPV6, IPV6_RECVERR)),
        struct.pack("@H26x", socket.AF_INET6),
        8,
        struct.pack(f"{CMSGHDR}24x", socket.CMSG_LEN(20), socket.IPPROTO_IPV6, socket.IPV6_PKTINFO),
        16,
        16,
        8,
    ),
}
ZONE_AT = 24
"""Offset of the interface index in struct sockaddr_in6."""


class _RawSocket:
    """A raw socket of one family (raw(7)) and its message headers.

    Raises:
        PrivilegeError: this user may not open such a socket.
        UdpprobeError: this host does not support it.
    """

    def __init__(self, family: int, interface: str | None, patience_s: float, stopped: Event) -> None:
        self._how = how = RAW_FAMILIES[family]
        self.socket = _raw_socket(how.domain)
        for level, option in (*how.options, (socket.SOL_SOCKET, socket.SO_BROADCAST)):
            self.socket.setsockopt(level, option, 1)
        self.socket.setsockopt(*MTU_DISCOVERY[how.domain], PMTUDISC_PROBE)
        if interface is not None:
            bind_to_interface(self.socket, interface)
        self._messages = Messages(how.name, how.control, patience_s=patience_s, stopped=stopped)
        self._has_zones = False  # until one is written

    def send(
        self, batch: Batch, rows: array[int], zones: Sequence[int], on_leaving: OnLeaving | None
    ) -> Iterable[tuple[int, int]]:
        """Send some rows of a batch in order; return the rows that were not sent, each with the errno."""
        for at in range(0, len(rows), CHUNK):
            some = rows[at : at + CHUNK]
            self._messages.put(batch, some)
            self._address(batch, some, zones)
            errnos = self._messages.send(self.socket, len(some), on_leaving and _after(some, on_leaving))
            yield from compress(zip(some, errnos, strict=True), errnos)

    def _address(self, batch: Batch, rows: array[int], zones: Sequence[int]) -> None:
        """Set the destinations of the first messages, as in the packets' own headers."""
        how, names, size = self._how, self._messages.names, self._how.address_bytes
        copy(batch, rows, how.header_at, size, self._messages.controls, how.source_at, len(how.control))
        copy(batch, rows, how.header_at + size, size, names, how.address_at, len(how.name))
        if self._has_zones or any(zones):
            self._has_zones = how.domain == socket.AF_INET6
            for number, row in enumerate(rows if self._has_zones else ()):
                struct.pack_into("@I", names, number * len(how.name) + ZONE_AT, zones[row])


def _raw_socket(domain: int) -> socket.socket:
    try:
        opened = socket.socket(domain, socket.SOCK_RAW, socket.IPPROTO_RAW)
    except PermissionError:
        raise PrivilegeError(f"sending needs CAP_NET_RAW: {raw_hint()}; or use --engine recverr") from None
    except OSError as error:
        raise UdpprobeError(f"cannot open a raw socket: {error.strerror}") from None
    with suppress(OSError):  # without the privilege, keep the default size
        opened.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, SEND_BUFFER_BYTES)
    return opened


def _after(rows: array[int], on_leaving: OnLeaving) -> Callable[[int], None]:
    return lambda sent: on_leaving(rows[sent:])


def _rows_of(family: int, firsts: bytes) -> array[int]:
    """The packets of a family, by the first byte of each; most batches have one family only."""
    if firsts.count(firsts[:1]) == len(firsts):
        return array("I", range(len(firsts)) if firsts[0] >> 4 == family else ())
    return array("I", [row for row, first in enumerate(firsts) if first >> 4 == family])


class RawSender:
    """Sends by raw sockets: the kernel applies routes, neighbours and firewall to each packet.

    Args:
        interface: the only one to send on; None lets the routes decide.
        patience_s: how long its queue may stay full before a packet is given up.

    Raises:
        UdpprobeError: there is no such interface.
    """

    def __init__(self, *, interface: str | None = None, patience_s: float = PATIENCE_S) -> None:
        if interface is not None:
            interface_index(interface)
        self._interface, self._patience_s, self._stopped = interface, patience_s, Event()
        self._sockets: dict[int, _RawSocket] = {}

    def stop(self) -> None:
        """Send nothing more; what has not left is unsent with ECANCELED."""
        self._stopped.set()

    def send(
        self, batch: Batch, count: int, zones: Sequence[int], on_leaving: OnLeaving | None = None
    ) -> list[tuple[int, int]]:
        """Send the first `count` packets of a batch; in order within each family.

        Args:
            batch: packets; their headers have source and destination.
            count: number of packets.
            zones: (count,) interface index of a link-local destination, else 0.
            on_leaving: told which rows leave now; again, where they had to wait for the interface's queue.

        Returns:
            (row, errno) of those that did not leave.

        Raises:
            PrivilegeError: this user may not open raw sockets.
            UdpprobeError: this host does not support the family.
        """
        unsent: list[tuple[int, int]] = []
        firsts = bytes(memoryview(batch.packets)[: count * batch.stride : batch.stride])
        for family in (4, 6):
            rows = _rows_of(family, firsts)
            if rows:
                if family not in self._sockets:
                    self._sockets[family] = _RawSocket(family, self._interface, self._patience_s, self._stopped)
                unsent += self._sockets[family].send(batch, rows, zones, on_leaving)
        return unsent

    def close(self) -> None:
        """Close the sockets."""
        for each in self._sockets.values():
            each.socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


FILTER = "udp portrange {first}-{last} or icmp or icmp6 or (ip[6:2] & 0x1fff != 0) or ip6 proto 44"
"""Answers, errors, and later fragments, which have no ports."""
INTERFACES_S = 0.5
"""Seconds between two checks of the interfaces."""


def _one_thread() -> ThreadPoolExecutor:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - 6 ms, and few scans need it

    return ThreadPoolExecutor(1, "send")


class Raw:
    """Sends by raw sockets, receives by a capture that was opened before.

    Without `sees_own`, a thread sends one batch after the other, while the caller takes replies and fills the next one.
    It calls `on_leaving` right before each system call, so no reply can come before its probe has a send time; and a
    batch is not filled again before it was sent, because `send` waits while BATCHES - 1 are under way. The GIL guards
    the columns that both threads write; a sweep, which runs without it, only reads whole words of them.

    Args:
        ports: the first and the last source port of probes.
        interface: the only one to use, or None.
        bulk: whether the rate needs a large ring.
        capture: as for `open_capture`.
        sees_own: whether to capture departing probes; otherwise the sender, on a thread of its own, reports their time.

    Raises:
        PrivilegeError: raw sockets are not allowed.
        UdpprobeError: there is no such interface.
    """

    tells_origin = True
    owns_port = False
    blind_to: str | None = None

    def __init__(
        self, *, ports: tuple[int, int], interface: str | None, bulk: bool, capture: str = "auto", sees_own: bool = True
    ) -> None:
        expression = FILTER.format(first=ports[0], last=ports[1])
        self._capture = open_capture(
            expression, interface=interface, bulk=bulk, kind="probe", capture=capture, outgoing=sees_own
        )
        self.sees_own = sees_own
        self.state: EngineState = self._capture.state
        self._sender = RawSender(interface=interface)
        self._thread = None if sees_own else _one_thread()
        self._leaving: deque[tuple[Batch, Future[list[tuple[int, int]]]]] = deque()
        """Batches that the thread sends, or will send next."""
        self._unsent: list[tuple[int, int, int]] = []
        self._up = up_interfaces() if interface is None else frozenset()
        self._checked_s = time.monotonic()

    @property
    def sift(self) -> Sift | None:
        """Handles captured packets before they become frames."""
        return self._capture.sift

    @sift.setter
    def sift(self, sift: Sift | None) -> None:
        self._capture.sift = sift

    def is_ready(self, wait_s: float) -> bool:
        """Whether a batch may be sent, after waiting for at most `wait_s` seconds."""
        while self._leaving and self._leaving[0][1].done():
            self._finish_first()
        if len(self._leaving) < BATCHES - 1:
            return True
        try:
            self._leaving[0][1].result(wait_s)
        except TimeoutError:
            return False
        return True

    def send(self, batch: Batch, count: int, zones: Sequence[int], on_leaving: OnLeaving | None = None) -> None:
        """Send probes, in order within each family; if there are many, from the thread."""
        if self._thread is None:
            self._note_unsent(batch, self._sender.send(batch, count, zones, on_leaving))
            return
        if len(self._leaving) == BATCHES - 1:
            self._finish_first()
        self._leaving.append((batch, self._thread.submit(self._sender.send, batch, count, zones, on_leaving)))

    def flush(self, *, stop: bool = False) -> None:
        """See `Engine`."""
        if stop and self._leaving:
            self._sender.stop()
        while self._leaving:
            self._finish_first()

    @property
    def is_sending(self) -> bool:
        """Whether a batch has not left yet."""
        return bool(self._leaving)

    def _finish_first(self) -> None:
        batch, sending = self._leaving.popleft()
        self._note_unsent(batch, sending.result())

    def _note_unsent(self, batch: Batch, rows: Iterable[tuple[int, int]]) -> None:
        self._unsent += [(batch.task[row], errno, batch.length[row]) for row, errno in rows]

    def unsent(self) -> list[tuple[int, int, int]]:
        """See `Engine`."""
        unsent, self._unsent = self._unsent, []
        return unsent

    def receive(self, wait_s: float) -> Arrivals:
        """What was captured."""
        found = self._capture.receive(wait_s)
        if self._up and time.monotonic() - self._checked_s >= INTERFACES_S:
            self._check_interfaces()
        return Arrivals(found.now_ns, found.frames)

    def _check_interfaces(self) -> None:
        """Count interfaces that went down; a capture on all interfaces gets no error for one."""
        self._checked_s = time.monotonic()
        up = up_interfaces()
        if self._up - up:
            self.state.faults["interface-down"] += 1
        self._up = up

    def close(self) -> None:
        """Stop sending and capturing."""
        if self._thread is not None:
            self._sender.stop()
            self._thread.shutdown(cancel_futures=True)
        self._capture.close()
        self._sender.close()
