"""Base of both engines with kernel UDP sockets: sockets, sending, answers."""

from __future__ import annotations

import errno
import selectors
import socket
import struct
import sys
import time
from abc import ABC, abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from operator import attrgetter

from msgspec import Struct

from udpprobe.capture.frames import SourceState
from udpprobe.capture.packet_socket import Sift
from udpprobe.core.probe import Batch
from udpprobe.core.verdicts import MEANINGS
from udpprobe.engines import Arrivals, EngineState
from udpprobe.errors import UdpprobeError
from udpprobe.linux.netlink import bind_to_interface
from udpprobe.scanning.record import Answer, Error, Event, ProbeSent

HEADER_BYTES = {4: 28, 6: 48}
"""IP and UDP header, by family."""

Address = tuple[str, int] | tuple[str, int, int, int]
"""As in the socket module: host and port, for IPv6 also flow and zone."""

AF = {4: socket.AF_INET, 6: socket.AF_INET6}
TTL_OPTION = {4: (socket.IPPROTO_IP, socket.IP_TTL), 6: (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)}
SOURCE_AT, TTL_AT = {4: slice(12, 16), 6: slice(8, 24)}, {4: 8, 6: 7}


class Outgoing(Struct):
    """A crafted probe."""

    task: int
    attempt: int
    zone: int
    packet: bytes
    """The whole IP packet as the core crafted it; the kernel replaces IP id and flow label."""
    sent_ns: int = 0
    """Send time, nanoseconds since 1970."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return self.packet[0] >> 4

    @property
    def data(self) -> bytes:
        """The UDP payload."""
        return self.packet[HEADER_BYTES[self.family] :]

    @property
    def source(self) -> bytes:
        """4 or 16 bytes."""
        return self.packet[SOURCE_AT[self.family]]

    @property
    def destination(self) -> bytes:
        """4 or 16 bytes."""
        at = SOURCE_AT[self.family]
        return self.packet[at.stop : 2 * at.stop - at.start]

    @property
    def ports(self) -> tuple[int, int]:
        """Source and destination port."""
        source, destination = struct.unpack_from("!HH", self.packet, HEADER_BYTES[self.family] - 8)
        return source, destination

    @property
    def ttl_option(self) -> list[tuple[int, int, bytes]]:
        """The TTL or hop limit, as ancillary data for sendmsg."""
        return [(*TTL_OPTION[self.family], struct.pack("i", self.packet[TTL_AT[self.family]]))]

    @property
    def sockname(self) -> Address:
        """Source address and port."""
        return address_of(self.source, self.ports[0], self.zone)

    @property
    def peername(self) -> Address:
        """Destination address and port."""
        return address_of(self.destination, self.ports[1], self.zone)


def address_of(packed: bytes, port: int, zone: int) -> Address:
    """An address of 4 or 16 bytes in the socket module's form."""
    if len(packed) == 4:
        return socket.inet_ntop(socket.AF_INET, packed), port
    return socket.inet_ntop(socket.AF_INET6, packed), port, 0, zone


def halves(packed: bytes) -> tuple[int, int]:
    """An address of 4 or 16 bytes as two halves of 64 bits, IPv4 mapped."""
    number = int.from_bytes(packed)
    return (0, 0xFFFF << 32 | number) if len(packed) == 4 else divmod(number, 1 << 64)


def outgoing(batch: Batch, count: int, zones: Sequence[int]) -> Iterator[Outgoing]:
    """The first probes of a batch, in their order."""
    packets = memoryview(batch.packets)
    for row in range(count):
        at = row * batch.stride
        yield Outgoing(batch.task[row], batch.attempt[row], zones[row], bytes(packets[at : at + batch.length[row]]))


# from linux/in.h, linux/in6.h, asm-generic/socket.h; missing in Python
IP_MTU_DISCOVER, IPV6_MTU_DISCOVER, PMTUDISC_PROBE = 10, 23, 3
SO_TIMESTAMPNS, SO_MEMINFO = 35, 55
DROPS_AT, MEMINFO_BYTES = 32, 36
"""Nine numbers, the last of which counts datagrams that the socket dropped (linux/sock_diag.h); Linux 4.12 and
later."""

MTU_DISCOVERY = {4: (socket.IPPROTO_IP, IP_MTU_DISCOVER), 6: (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER)}
BUFFER_BYTES = 1 << 24
"""Requested size; the kernel grants at most net.core.rmem_max."""

CONTROL_BYTES = 512
MOST_READ = 4096
"""Datagrams or errors read from a socket at a time, so that a flood on one does not starve the others."""

BUSY_TRIES, BUSY_S = 200, 0.001
"""Tries, and seconds between them, for a probe that finds the interface's queue full."""

ICMP_ERRNOS = frozenset(getattr(errno, name) for row in MEANINGS for name in (row.recverr, row.connected) if name)
"""Errnos by which a pending ICMP error can fail a call; any other errno is this host's own."""


class KernelSocket(Struct):
    """A socket and its local address."""

    socket: socket.socket
    source: bytes
    """4 or 16 bytes."""
    port: int
    drops: int = 0
    """Datagrams dropped because its buffer was full, or the checksum was bad; modulo 2^32."""

    def dropped(self) -> int:
        """Number of drops since the last call."""
        memory = self.socket.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, MEMINFO_BYTES)
        before, self.drops = self.drops, int.from_bytes(memory[DROPS_AT:], sys.byteorder)
        return self.drops - before & 0xFFFF_FFFF

    def send(self, probe: Outgoing) -> int:
        """Send a probe and record the time: 0, or the errno of the failed send."""
        for _ in range(BUSY_TRIES):
            probe.sent_ns = time.time_ns()
            try:
                self.socket.sendmsg([probe.data], probe.ttl_option, 0, probe.peername)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    return error.errno or errno.EIO
                time.sleep(BUSY_S)
            else:
                return 0
        return errno.ENOBUFS


def bound_socket(probe: Outgoing, interface: str | None) -> socket.socket:
    """A socket that sends what the probe's packet says: from its address and port, never in fragments.

    SO_REUSEADDR lets it share the port with the socket that reserved it, and with the other sockets of the scan.

    Raises:
        UdpprobeError: this host lacks the address or interface, or the port is taken.
    """
    family = probe.family
    opened = socket.socket(AF[family], socket.SOCK_DGRAM)
    opened.setsockopt(*MTU_DISCOVERY[family], PMTUDISC_PROBE)
    for option, value in (
        (SO_TIMESTAMPNS, 1),
        (socket.SO_BROADCAST, 1),
        (socket.SO_REUSEADDR, 1),
        (socket.SO_RCVBUF, BUFFER_BYTES),
        (socket.SO_SNDBUF, BUFFER_BYTES),
    ):
        opened.setsockopt(socket.SOL_SOCKET, option, value)
    try:
        if interface is not None:
            bind_to_interface(opened, interface)
        opened.bind(probe.sockname)
    except UdpprobeError:
        opened.close()
        raise
    except OSError as reason:
        opened.close()
        host, port = probe.sockname[:2]
        raise UdpprobeError(
            f"cannot send from {host} port {port}: {reason.strerror}; try another --source-port or --source-address"
        ) from reason
    return opened


class SocketEngine(ABC):
    """An engine over UDP sockets; subclasses differ in how they read errors.

    Args:
        interface: the only one to send and receive on; None lets the routes decide.
    """

    sees_own = True
    sift: Sift | None = None
    tells_origin: bool
    """Whether reporter, type and code of its errors are known, not assumed from an errno."""
    blind_to: str | None

    def __init__(self, name: str, interface: str | None) -> None:
        self.state: EngineState = SourceState("probe", name)
        self._interface = interface
        self._selector = selectors.DefaultSelector()
        self._events: list[Event] = []
        self._now_ns = 0
        self._unsent: list[tuple[int, int, int]] = []
        self._room = bytearray(1 << 16)

    is_sending = False
    """A socket sends at once or never."""

    def is_ready(self, _wait_s: float) -> bool:
        """See `Engine`."""
        return True

    def send(
        self,
        batch: Batch,
        count: int,
        zones: Sequence[int],
        on_leaving: Callable[[array[int]], None] | None = None,  # noqa: ARG002 - each probe's own time is reported
    ) -> None:
        """Send each probe, in their order; what this host cannot send is reported by `unsent`.

        Raises:
            UdpprobeError: this host lacks the source address, or the source port is taken.
        """
        for probe in outgoing(batch, count, zones):
            send_errno = self._put(probe)
            if send_errno:
                self._unsent.append((probe.task, send_errno, len(probe.packet)))

    def flush(self, *, stop: bool = False) -> None:  # noqa: B027 - nothing is left to do
        """See `Engine`."""

    def unsent(self) -> list[tuple[int, int, int]]:
        """See `Engine`."""
        unsent, self._unsent = self._unsent, []
        return unsent

    def receive(self, wait_s: float) -> Arrivals:
        """What was sent and received, by time; waits for at most `wait_s` seconds.

        What is later than `now_ns` is kept until nothing earlier can follow.
        """
        self._selector.select(0 if self._events else wait_s)
        self._now_ns = max(self._now_ns, time.time_ns())  # everything read from here on is later, on any socket
        for key, _ in self._selector.select(0):
            self._read(key.data)
            self._count_dropped(key.data)
        self._events.sort(key=attrgetter("time_ns"))
        due = bisect_right(self._events, self._now_ns, key=attrgetter("time_ns"))
        events, self._events = self._events[:due], self._events[due:]
        return Arrivals(self._now_ns, events=events)

    def close(self) -> None:
        """Release sockets and ports."""
        for key in list(self._selector.get_map().values()):
            key.data.socket.close()
        self._selector.close()

    def _open(self, udp: KernelSocket) -> None:
        """Read this socket from now on."""
        self._selector.register(udp.socket, selectors.EVENT_READ, udp)

    def _count_dropped(self, udp: KernelSocket) -> None:
        """Count drops. A socket with a full buffer is readable, so it is enough to ask readable ones."""
        with suppress(OSError):  # older kernels lack this
            if dropped := udp.dropped():
                self.state.dropped = (self.state.dropped or 0) + dropped

    def _note_sent(self, probe: Outgoing) -> None:
        self._events.append(ProbeSent(probe.sent_ns, probe.task, len(probe.packet)))

    def _failed(self, time_ns: int, probe: Outgoing, reporter: bytes, kind: tuple[int, int], info: int) -> None:
        """Record an ICMP error about a probe; `info` is the MTU if its kind has one."""
        mtu = info if (probe.family, kind[0], kind[1]) == (4, 3, 4) or (probe.family, kind[0]) == (6, 2) else -1
        self._events.append(
            Error(time_ns, probe.task, probe.attempt, halves(probe.source), probe.family, *kind, halves(reporter), mtu)
        )

    @abstractmethod
    def _put(self, probe: Outgoing) -> int:
        """Send a probe despite pending errors: 0, or the errno of the failed send."""

    @abstractmethod
    def _read(self, udp: KernelSocket) -> None:
        """Read all errors and answers of a socket."""

    def _read_answers(self, udp: KernelSocket) -> int:
        """Read the waiting datagrams; return the errno that ended it, 0 if there are just no more."""
        for _ in range(MOST_READ):
            try:
                size, control, _, sender = udp.socket.recvmsg_into([self._room], CONTROL_BYTES, socket.MSG_DONTWAIT)
            except OSError as reason:
                return 0 if reason.errno == errno.EAGAIN else reason.errno or errno.EIO
            source = socket.inet_pton(udp.socket.family, sender[0].partition("%")[0])
            self._events.append(
                Answer(
                    time_of(control),
                    halves(source),
                    sender[1],
                    halves(udp.source),
                    udp.port,
                    bytes(memoryview(self._room)[:size]),
                )
            )
        return 0


def time_of(control: list[tuple[int, int, bytes]]) -> int:
    """Kernel receive time in a message's ancillary data, nanoseconds since 1970."""
    for level, kind, data in control:
        if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS):
            seconds, nanoseconds = struct.unpack_from("@ll", data)
            return seconds * 10**9 + nanoseconds
    return time.time_ns()
