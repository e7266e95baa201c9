"""Live capture by Scapy's own sockets, one an interface: its bytes, undissected."""

from __future__ import annotations

import errno
import select
import socket
import time
from collections.abc import Iterator
from typing import Self

import numpy as np
import scapy.layers.l2  # noqa: F401 - else it warns that it does not know Ethernet
from scapy.arch.linux import L2ListenSocket

from udpprobe.core.batch import PADDING_BYTES, FrameBatch, SourceState, tick
from udpprobe.sources.live import DLT_EN10MB, DLT_RAW, attach_bpf, compile_bpf

ETHERNET, RAW = 1, 101
"""LINKTYPE_ values."""
ETHERNET_LIKE = frozenset({1, 772})
"""ARPHRD_ETHER and ARPHRD_LOOPBACK (linux/if_arp.h); what else there is has no link header here, as tunnels."""

BUFFER_BYTES = 16 << 20
SO_RCVBUFFORCE = 33
SOL_PACKET, PACKET_STATISTICS = 263, 6
MOST_FRAMES = 16_384
LONGEST_BYTES = 65_535

Packet = tuple[int, bytes, int]
"""When it came, in nanoseconds; its bytes; its link type."""


class Sniffer:
    """Captures on one interface or on all that are up.

    Raises:
        PermissionError: this user may not.
    """

    def __init__(self, expression: str, interface: str | None, state: SourceState) -> None:
        self.state = state
        self._frame, self._now_ns = 1, 0
        self._sockets: dict[socket.socket, tuple[L2ListenSocket, int]] = {}
        for name in [interface] if interface else [name for _, name in socket.if_nameindex()]:
            self._open(name, expression)

    def _open(self, name: str, expression: str) -> None:
        try:
            opened = L2ListenSocket(iface=name, promisc=False)
        except OSError as error:
            if error.errno in {errno.ENETDOWN, errno.ENODEV}:    # it is down, and shows nothing
                return
            raise
        link_type = ETHERNET if opened.ins.getsockname()[3] in ETHERNET_LIKE else RAW
        attach_bpf(opened.ins, compile_bpf(expression, DLT_EN10MB if link_type == ETHERNET else DLT_RAW))
        opened.ins.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, BUFFER_BYTES)
        opened.ins.setblocking(False)
        self._sockets[opened.ins] = opened, link_type

    def receive(self, wait_s: float) -> FrameBatch:
        """What came, in the order of time."""
        before_ns = time.time_ns()
        ready, _, _ = select.select(list(self._sockets), [], [], wait_s)
        packets = sorted((packet for each in ready for packet in self._read(each)), key=lambda packet: packet[0])
        self._count_dropped()
        # a packet that came after its socket was read has a time after this was begun
        last_ns = packets[-1][0] if packets else 0
        self._now_ns = max(self._now_ns, last_ns, before_ns if ready else time.time_ns())
        return self._batch(packets) if packets else tick(self._now_ns)

    def _read(self, ready: socket.socket) -> Iterator[Packet]:
        opened, link_type = self._sockets[ready]
        for _ in range(MOST_FRAMES):
            try:
                _, data, seconds = opened.recv_raw(LONGEST_BYTES)
            except BlockingIOError:
                break
            except OSError as error:
                if error.errno == errno.ENETDOWN:   # told once; what comes later is read later
                    break
                raise
            if data and seconds:
                yield round(seconds * 1e9), data, link_type

    def _batch(self, packets: list[Packet]) -> FrameBatch:
        data = np.frombuffer(b"".join([*(each for _, each, _ in packets), bytes(PADDING_BYTES)]), np.uint8)
        size = np.array([len(each) for _, each, _ in packets], np.int64)
        frame = np.arange(self._frame, self._frame + len(packets))
        self._frame += len(packets)
        return FrameBatch(data, np.cumsum(size) - size, size, size, np.array([each for each, _, _ in packets]),
                          np.array([each for _, _, each in packets], np.int32), frame, self._now_ns)

    def _count_dropped(self) -> None:
        for each in self._sockets:
            statistics = each.getsockopt(SOL_PACKET, PACKET_STATISTICS, 8)
            self.state.dropped = (self.state.dropped or 0) + int.from_bytes(statistics[4:8], "little")

    def __iter__(self) -> Iterator[FrameBatch]:
        while True:
            yield self.receive(0.25)

    def close(self) -> None:
        """Stop capturing."""
        for opened, _ in self._sockets.values():
            opened.close()
        self._sockets = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
