"""Live capture on one interface or on all.

The usual way is a ring of blocks that the kernel fills (AF_PACKET, TPACKET_V3): it opens quickly and drops little.
`core.capture.Records` walks a block, thousands of packets at once. See packet(7) and
https://www.kernel.org/doc/html/latest/networking/packet_mmap.html. Where there is no ring, Scapy's sockets are used.
"""

from __future__ import annotations

import mmap
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, NamedTuple

from udpprobe.capture.frames import RAW, SourceState
from udpprobe.capture.packet_socket import (
    SOL_PACKET,
    LiveCapture,
    attach_filter,
    program_for,
    set_option,
    start,
)
from udpprobe.core.capture import BLOCKS, FRAME, Records
from udpprobe.errors import PrivilegeError, UdpprobeError, raw_hint
from udpprobe.linux.netlink import interface_index

if TYPE_CHECKING:
    from udpprobe.capture.frames import Frames, RawFrame
    from udpprobe.capture.packet_socket import Remember
    from udpprobe.core.analyzer import Analyzer

__all__ = ["LiveCapture", "open_capture"]

PACKET_RX_RING, PACKET_VERSION, PACKET_IGNORE_OUTGOING, TPACKET_V3 = 5, 10, 23, 2


class Blocks(NamedTuple):
    """The blocks of a ring. The kernel releases each after RETIRE_MS, so their number bounds a reader's pauses."""

    number: int
    size: int
    """Bytes of each; a multiple of the page size."""

    @property
    def total(self) -> int:
        """Bytes of all."""
        return self.number * self.size


MANY, FEW = Blocks(512, 1 << 17), Blocks(128, 1 << 13)
"""For any rate, and for the traffic of a few probes."""
SNAP_BYTES = 2048
"""Bytes kept of a packet: all of it on most links, and all headers on the others."""
RETIRE_MS = 2
"""A block is released after this time, even if it is not full."""
BUSY_FRAMES, GATHER_S = 256, 0.005
"""After a batch of this many packets, a follower waits this long for more: each batch has a fixed cost."""
MOST_FRAMES = 1 << 16
"""Packets returned at a time."""

STATUS, COUNT, USED = 2, 3, 5
"""Words of struct tpacket_block_desc: owner, number of packets, bytes used."""
KERNEL, USER = 0, 1
WORD_BYTES = 4


class Ring(LiveCapture):
    """Captures on one interface or on all; frames start with their IP header.

    Args:
        expression: what to capture, pcap-filter(7).
        interface: where; None for all.
        state: as for LiveCapture.
        blocks: size of the ring.
        outgoing: whether to capture what this host sends.

    Raises:
        PermissionError: this user may not.
        UdpprobeError: the interface is down, or memory is short.
    """

    def __init__(
        self,
        expression: str,
        interface: str | None,
        state: SourceState,
        blocks: Blocks = MANY,
        *,
        outgoing: bool = True,
    ) -> None:
        super().__init__(state)
        program = program_for(expression, RAW, SNAP_BYTES, outgoing=outgoing)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)  # protocol 0: receives nothing yet
        with ExitStack() as on_failure:
            on_failure.callback(self._socket.close)
            attach_filter(self._socket, program)
            if not outgoing:
                with suppress(OSError):  # before Linux 4.20, its filter alone sorts them out, each copied for that
                    self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
            self._map = _mapped(self._socket, blocks)
            start(self._socket, interface)
            on_failure.pop_all()
        self._words = memoryview(self._map).cast("I")
        self._block_words = blocks.size // WORD_BYTES
        self._number, self._next = blocks.number, 0
        self._is_busy = False
        self._records = Records(BLOCKS, capacity=1)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def receive(self, wait_s: float) -> Frames:
        """See LiveCapture."""
        before_ns = self._wait(wait_s)
        captured = [packet for block in self._take() for packet in self._packets(block)]
        self._count_dropped(self._socket)
        return self._in_order(captured, max(before_ns if self._is_idle() else 0, self._records.latest_ns))

    def _packets(self, block: bytes) -> Iterable[RawFrame]:
        rest = self.sift(self._records, block, self._now_ns) if self.sift else None
        return packets_of(self._records, block) if rest is None else rest

    def follow(self, analyzer: Analyzer, wait_s: float, remember: Remember | None = None) -> int:
        """See LiveCapture; no frame becomes an object."""
        if self._is_busy:
            time.sleep(min(GATHER_S, wait_s))
        before_ns, before = self._wait(wait_s), self._records.frame
        for block in self._take():
            first = self._records.frame + 1
            self._records.take_block(block)
            analyzer.feed(self._records)
            if remember:
                remember(first, block)
        self._is_busy = self._records.frame - before >= BUSY_FRAMES
        self._count_dropped(self._socket)
        self._now_ns = max(self._now_ns, self._records.latest_ns, before_ns if self._is_idle() else 0)
        return self._now_ns

    def _wait(self, wait_s: float) -> int:
        """Wait until a block is ready; return the time of the check."""
        if self._words[self._next * self._block_words + STATUS] == KERNEL:
            for _, events in self._poll.poll(wait_s * 1000):
                if events & select.POLLERR:
                    self._note_error(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), self.state.name)
        return time.time_ns()

    def _take(self) -> Iterator[bytes]:
        """A copy of each ready block; the block itself returns to the kernel."""
        frames = 0
        while frames < MOST_FRAMES:
            at = self._next * self._block_words
            if self._words[at + STATUS] == KERNEL:
                return
            count, used = self._words[at + COUNT], self._words[at + USED]
            block = self._map[at * WORD_BYTES : at * WORD_BYTES + (used + 7 & -8)] if count else b""
            self._words[at + STATUS] = KERNEL
            self._next = (self._next + 1) % self._number
            frames += count
            if count:  # old kernels release empty ones
                yield block

    def _is_idle(self) -> bool:
        """Whether the block that the kernel is filling is empty; it counts packets as they arrive."""
        at = self._next * self._block_words
        return self._words[at + STATUS] == KERNEL and self._words[at + COUNT] == 0

    def close(self) -> None:
        """See LiveCapture."""
        self._socket.close()
        self._words.release()  # nothing uses the mapping any more
        # unmapping takes some 30 ms, until no processor fills the ring; there is no need to wait for that
        threading.Thread(target=self._map.close, name="unmap").start()


def packets_of(records: Records, block: bytes) -> Iterator[RawFrame]:
    """The packets of a block, walked by `records`."""
    records.take_block(block)
    while records.next() == FRAME:
        at = records.at
        yield records.time_ns, block[at : at + records.captured], records.length, records.link_type


def _mapped(opened: socket.socket, blocks: Blocks) -> mmap.mmap:
    opened.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
    try:
        set_option(
            opened,
            SOL_PACKET,
            PACKET_RX_RING,
            struct.pack(  # struct tpacket_req3
                "=7I", blocks.size, blocks.number, SNAP_BYTES, blocks.total // SNAP_BYTES, RETIRE_MS, 0, 0
            ),
        )
        return mmap.mmap(opened.fileno(), blocks.total)
    except OSError as error:
        less = "; a --rate of up to 5000 needs less" if blocks == MANY else ""
        raise UdpprobeError(
            f"no {blocks.total >> 20} MB of memory to capture packets: {error.strerror}{less}"
        ) from None


def open_capture(
    expression: str,
    *,
    interface: str | None = None,
    bulk: bool = False,
    kind: str = "interface",
    capture: str = "auto",
    outgoing: bool = True,
) -> LiveCapture:
    """Start a capture; once this returns, no packet is missed.

    Args:
        expression: what to capture, pcap-filter(7).
        interface: where; None for every interface.
        bulk: whether to expect many packets a second: the ring has 64 MB, otherwise 1 MB.
        kind: of `SourceState`.
        capture: `ring`, `scapy`, or `auto`: the ring if available.
        outgoing: whether to capture what this host sends.

    Raises:
        PrivilegeError: this user may not.
        UsageError: the expression is invalid.
        UdpprobeError: there is no such interface; the interface is down, or memory is short.
    """
    if interface is not None:
        interface_index(interface)
    state = SourceState(kind, interface or "any")
    try:
        if capture == "scapy" or (capture == "auto" and sys.platform != "linux"):
            from udpprobe.capture.sniffer import Sniffer  # noqa: PLC0415 - Scapy takes 0.1 s

            return Sniffer(expression, interface, state, outgoing=outgoing)
        return Ring(expression, interface, state, MANY if bulk else FEW, outgoing=outgoing)
    except PermissionError:
        without = ", or use --engine recverr" if kind == "probe" else ""
        raise PrivilegeError(f"capturing needs CAP_NET_RAW: {raw_hint()}{without}") from None
