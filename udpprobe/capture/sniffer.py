"""Live capture by Scapy's own sockets, one per interface: bytes only, not dissected."""

from __future__ import annotations

import errno
import logging
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

from scapy.arch.linux import L2ListenSocket

from udpprobe.capture.frames import ETHERNET, RAW, Frames, RawFrame, SourceState
from udpprobe.capture.packet_socket import LiveCapture, attach_filter, program_for, start
from udpprobe.errors import UdpprobeError

ETHERNET_LIKE = frozenset({1, 772})
"""ARPHRD_ETHER and ARPHRD_LOOPBACK (linux/if_arp.h); others, such as tunnels, have no link header here."""

BUFFER_BYTES = 16 << 20
SO_RCVBUFFORCE, SO_TIMESTAMPNS, SO_TIMESTAMPING = 33, 35, 37
RECEIVED_BY_SOFTWARE = 1 << 3 | 1 << 4
"""Take time stamps on receive, and report them (SOF_TIMESTAMPING_, linux/net_tstamp.h)."""
STAMPING_S = 0.01
"""The kernel turns on time stamps in the background, when the first socket wants them."""
SNAP_BYTES = 66_000
"""The longest IP packet with its link header."""
ANCILLARY_BYTES = 256

NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE})

logging.getLogger("scapy.runtime").setLevel(logging.ERROR)  # it warns about links whose layers are not loaded


class Tap:
    """One interface's socket.

    Args:
        name: the interface.
        expression: what to capture.
        outgoing: whether to capture what this host sends.

    Raises:
        PermissionError: this user may not.
    """

    def __init__(self, name: str, expression: str, *, outgoing: bool = True) -> None:
        self._scapy = L2ListenSocket(iface=name, type=0, promisc=False, nofilter=1)  # type 0: captures nothing yet
        self.socket: socket.socket = self._scapy.ins
        self._link_type = ETHERNET if self.socket.getsockname()[3] in ETHERNET_LIKE else RAW
        attach_filter(self.socket, program_for(expression, self._link_type, SNAP_BYTES, outgoing=outgoing))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        with suppress(PermissionError):  # exceeding the system's limit needs CAP_NET_ADMIN
            self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        # SO_TIMESTAMPNS, which Scapy sets, gives a packet without a time stamp the time at which it is read
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 0)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, RECEIVED_BY_SOFTWARE)
        self.socket.setblocking(False)
        self._seen_ns = time.time_ns()
        self.held: RawFrame | None = None
        """A packet that was too late for the last batch."""

    def read(self, until_ns: int) -> Iterator[RawFrame]:
        """Packets that arrived before a time.

        Raises:
            OSError: the interface went down.
        """
        since_ns, self._seen_ns = self._seen_ns, until_ns
        while packet := self.held or self._read(since_ns):
            self.held = packet if packet[0] > until_ns else None
            if self.held:
                return
            yield packet

    def _read(self, since_ns: int) -> RawFrame | None:
        """The next packet with its time, which Scapy would round to a float; a packet without one gets `since_ns`."""
        try:
            data, ancillary, _, _ = self.socket.recvmsg(SNAP_BYTES, ANCILLARY_BYTES)
        except BlockingIOError:
            return None
        for _, kind, value in ancillary:
            if kind == SO_TIMESTAMPING:
                seconds, nanoseconds = struct.unpack_from("@ll", value)
                return seconds * 1_000_000_000 + nanoseconds, data, len(data), self._link_type
        return since_ns, data, len(data), self._link_type

    def close(self) -> None:
        """Stop capturing."""
        self._scapy.close()


class Sniffer(LiveCapture):
    """Captures on one interface, or on all that exist now.

    Raises:
        PermissionError: this user may not.
        UdpprobeError: the interface is down; there are too many for Scapy.
    """

    def __init__(self, expression: str, interface: str | None, state: SourceState, *, outgoing: bool = True) -> None:
        super().__init__(state)
        self._taps: dict[int, tuple[str, Tap]] = {}
        self._poll = select.poll()
        names = [interface] if interface else [name for _, name in socket.if_nameindex()]
        for name in names:
            try:
                tap = Tap(name, expression, outgoing=outgoing)
            except (OSError, ValueError) as error:  # select(2) cannot use descriptors above 1,023
                self.close()
                if isinstance(error, OSError) and error.errno not in NO_ROOM:
                    raise
                raise UdpprobeError(
                    f"{len(names):,} interfaces are too many for Scapy's sockets: name one with --interface, or use "
                    "--capture ring"
                ) from None
            self._taps[tap.socket.fileno()] = name, tap
            self._poll.register(tap.socket, select.POLLIN)
            try:
                start(tap.socket, name)
            except UdpprobeError:
                if interface:
                    raise
                # it may come up later and is then captured
        time.sleep(STAMPING_S)

    def receive(self, wait_s: float) -> Frames:
        """See LiveCapture."""
        held = [number for number, (_, tap) in self._taps.items() if tap.held]
        ready = {number for number, _ in self._poll.poll(0 if held else wait_s * 1000)}.union(held)
        # a socket may get a packet after it was read, earlier than one on a socket that is read later
        until_ns = time.time_ns()
        packets = [packet for number in ready for packet in self._read(*self._taps[number], until_ns)]
        for _, tap in self._taps.values():
            self._count_dropped(tap.socket)
        return self._in_order(packets, until_ns)

    def _read(self, name: str, tap: Tap, until_ns: int) -> Iterator[RawFrame]:
        try:
            yield from tap.read(until_ns)
        except OSError as error:
            self._note_error(error.errno, name)

    def close(self) -> None:
        """See LiveCapture."""
        for _, tap in self._taps.values():
            tap.close()
        self._taps = {}
