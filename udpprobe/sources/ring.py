"""Live capture at high rates: a ring of blocks that the kernel fills (AF_PACKET, TPACKET_V3).

A block is read as columns, thousands of packets at once. See packet(7) and
https://www.kernel.org/doc/html/latest/networking/packet_mmap.html.
"""

from __future__ import annotations

import mmap
import select
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import BATCH_FRAMES, I64, PADDING_BYTES, FrameBatch, SourceState
from udpprobe.core.decoding.fastlane import gather
from udpprobe.errors import UdpprobeError
from udpprobe.sources.packet_socket import RAW, SOL_PACKET, LiveCapture, attach, program_for, set_option, start

U32 = npt.NDArray[np.uint32]

PACKET_RX_RING, PACKET_VERSION, TPACKET_V3 = 5, 10, 2

class Blocks(NamedTuple):
    """What a ring is made of. As a block is handed over after a while, their number bounds how long we may be busy."""

    number: int
    size: int
    """Bytes of each; whole pages."""

    @property
    def total(self) -> int:
        """Bytes of all."""
        return self.number * self.size


MANY, FEW = Blocks(512, 1 << 17), Blocks(128, 1 << 13)
"""For as much as there may be, and for what a few probes cause."""
SNAP_BYTES = 2048
"""What is kept of a packet: all of it on most links, and every header on the others."""
RETIRE_MS = 2
"""After so long a block is handed over although there is room in it."""
MOST_FRAMES = BATCH_FRAMES

STATUS, COUNT, FIRST, USED = 2, 3, 4, 5
"""Words of struct tpacket_block_desc: whose it is, how many packets, where the first starts, bytes in use."""
KERNEL, USER = 0, 1

NEXT, SECONDS, NANOSECONDS, CAPTURED, LENGTH, PLACE = 0, 1, 2, 3, 4, 6
"""Words of struct tpacket3_hdr; PLACE are two halves, which both say where the packet's bytes are."""
HEADER_BYTES = 32
PADDING = np.zeros(PADDING_BYTES // 4, np.uint32)


class Ring(LiveCapture):
    """Captures on one interface or on all; frames start with their IP header.

    Args:
        expression: what to capture, pcap-filter(7).
        interface: where; None for all.
        state: as LiveCapture has it.
        blocks: how much may wait to be read.

    Raises:
        PermissionError: this user may not.
        UdpprobeError: the interface is down, or memory is short.
    """

    def __init__(self, expression: str, interface: str | None, state: SourceState,
                 blocks: Blocks = MANY) -> None:
        super().__init__(state)
        program = program_for(expression, RAW, SNAP_BYTES)
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)    # protocol 0: nothing comes yet
        with ExitStack() as on_failure:
            on_failure.callback(self._socket.close)
            attach(self._socket, program)
            self._map = _mapped(self._socket, blocks)
            start(self._socket, interface)
            on_failure.pop_all()
        self._blocks: U32 = np.frombuffer(self._map, np.uint32).reshape(blocks.number, -1)
        self._next = 0
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)

    def receive(self, wait_s: float) -> FrameBatch:
        """See LiveCapture."""
        if self._blocks[self._next, STATUS] == KERNEL:
            self._wait(wait_s)
        before_ns = time.time_ns()
        taken = list(self._take())
        self._count_dropped(self._socket)
        now_ns = before_ns if self._is_idle() else 0
        return self._in_order(batch_of(taken, now_ns)) if taken else self._tick(now_ns)

    def _wait(self, wait_s: float) -> None:
        for _, events in self._poll.poll(wait_s * 1000):
            if events & select.POLLERR:
                self._heed(self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), self.state.name)

    def _take(self) -> Iterator[tuple[int, U32]]:
        """The packets of each block that is ready, how many and their words; the block goes back to the kernel."""
        frames = 0
        while frames < MOST_FRAMES and self._blocks[self._next, STATUS] != KERNEL:
            block = self._blocks[self._next]
            count, first, used = block[[COUNT, FIRST, USED]].tolist()
            if count:   # old kernels hand over empty ones
                yield count, block[first // 4:-(-used // 4)].copy()
            block[STATUS] = KERNEL
            self._next = (self._next + 1) % len(self._blocks)
            frames += count

    def _is_idle(self) -> bool:
        """Whether no packet waits in the block that the kernel fills now: it counts them as they come."""
        block = self._blocks[self._next]
        return bool(block[STATUS] == KERNEL and block[COUNT] == 0)

    def close(self) -> None:
        """See LiveCapture."""
        self._socket.close()
        self._blocks = self._blocks[:, :0].copy()     # nothing looks into the mapping any more
        # the kernel waits some 30 ms until no processor fills it, and nobody need wait with it
        threading.Thread(target=self._map.close, name="unmap").start()


def _mapped(opened: socket.socket, blocks: Blocks) -> mmap.mmap:
    opened.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
    try:
        set_option(opened, SOL_PACKET, PACKET_RX_RING, struct.pack(     # struct tpacket_req3
            "=7I", blocks.size, blocks.number, SNAP_BYTES, blocks.total // SNAP_BYTES, RETIRE_MS, 0, 0))
        return mmap.mmap(opened.fileno(), blocks.total)
    except OSError as error:
        less = "; a --rate of up to 5000 does without" if blocks == MANY else ""
        raise UdpprobeError(f"no {blocks.total >> 20} MB for captured packets: {error.strerror}{less}") from None


def batch_of(blocks: list[tuple[int, U32]], now_ns: int) -> FrameBatch:
    """The packets of some blocks; not numbered yet.

    Args:
        blocks: of each, how many packets it has, and its words from the first one's header on.
        now_ns: how far the ring has been seen.
    """
    words = np.concatenate([*(block for _, block in blocks), PADDING])
    bases = np.cumsum([0, *(len(block) for _, block in blocks)])
    starts = 4 * np.concatenate([starts_of(block, count) + base
                                 for (count, block), base in zip(blocks, bases.tolist(), strict=False)])
    data = words.view(np.uint8)
    header = gather(data, starts, HEADER_BYTES).view(np.uint32).astype(np.int64)
    return FrameBatch(data, starts + (header[:, PLACE] & 0xFFFF), header[:, CAPTURED], header[:, LENGTH],
                      header[:, SECONDS] * 1_000_000_000 + header[:, NANOSECONDS],
                      np.broadcast_to(np.int32(RAW), len(starts)), starts, now_ns)


def starts_of(words: U32, count: int) -> I64:
    """(count,) the word that each packet's header starts at; the first is at 0.

    All headers say the same of where the bytes are. If as many places say so as there are packets, and each
    leads to the next, they are the headers; if a packet's own bytes look like one, the chain is walked.
    """
    marks = 2 * np.flatnonzero(words[PLACE::2] == words[PLACE])
    if len(marks) == count and (marks[:-1] + words[marks[:-1]] // 4 == marks[1:]).all():
        return marks
    return _walked(words, count)


def _walked(words: U32, count: int) -> I64:
    view = memoryview(words)    # type: ignore[arg-type]  # an array is a buffer; only Python 3.12 can say so
    starts, at = np.empty(count, np.int64), 0
    for row in range(count):
        starts[row] = at
        at += view[at] // 4
    return starts
