"""Live capture at high rates: a ring of blocks that the kernel fills (AF_PACKET, TPACKET_V3, packet_mmap).

A block is read as columns, thousands of packets at once; the bytes stay where the kernel put them until the
next batch is asked for.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from typing import Self

import numpy as np

from udpprobe.core.batch import I64, PADDING_BYTES, U8, FrameBatch, SourceState, tick
from udpprobe.core.fastlane import gather
from udpprobe.sources.live import DLT_RAW, attach_bpf, compile_bpf

RAW = 101
"""LINKTYPE_RAW: the kernel takes the link header off."""
ETH_P_ALL, ALL_INTERFACES = 3, 0
SOL_PACKET, PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION = 263, 5, 6, 10
TPACKET_V3 = 2

BLOCK_BYTES, BLOCKS, SLOT_BYTES = 1 << 20, 64, 2048
RETIRE_MS = 2
"""After so long a block is handed over although there is room in it."""
LATE_NS = 10 * RETIRE_MS * 1_000_000
"""How long a packet may wait in a block before it is seen; the kernel's timer is coarse."""
STATUS_AT, COUNT_AT, FIRST_AT = 8, 12, 16
"""In struct tpacket_block_desc."""
TP_STATUS_USER, TP_STATUS_KERNEL = 1, 0
HEADER_BYTES = 32
"""Of struct tpacket3_hdr as much as is wanted: next offset, seconds, nanoseconds, captured, length, …, net offset."""


_libc = ctypes.CDLL(None, use_errno=True)


class Ring:
    """Captures on one interface or on all.

    Raises:
        PermissionError: this user may not.
    """

    def __init__(self, expression: str, interface: str | None, state: SourceState) -> None:
        self.state = state
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)    # protocol 0: nothing comes yet
        attach_bpf(self._socket, compile_bpf(expression, DLT_RAW))
        self._socket.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
        self._socket.setsockopt(SOL_PACKET, PACKET_RX_RING, struct.pack(
            "=7I", BLOCK_BYTES, BLOCKS, SLOT_BYTES, BLOCK_BYTES // SLOT_BYTES * BLOCKS, RETIRE_MS, 0, 0))
        self._map = mmap.mmap(self._socket.fileno(), BLOCK_BYTES * BLOCKS)
        self._data = np.frombuffer(self._map, np.uint8)
        self._words = self._data.view(np.uint32)
        _bind(self._socket, socket.if_nametoindex(interface) if interface else ALL_INTERFACES)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        self._next, self._held = 0, 0
        self._frame, self._now_ns = 1, 0

    def receive(self, wait_s: float) -> FrameBatch:
        """What came, in the order of time."""
        self._give_back()
        if not self._is_ready(self._next):
            self._poll.poll(wait_s * 1000)
        self._count_dropped()
        now_ns = time.time_ns() - LATE_NS
        starts = list(self._ready())
        if not starts:
            self._now_ns = max(self._now_ns, now_ns)
            return tick(self._now_ns)
        return self._batch(np.concatenate([packets_of(self._words, each) for each in starts]))

    def _is_ready(self, block: int) -> bool:
        return bool(self._words[(block * BLOCK_BYTES + STATUS_AT) // 4] & TP_STATUS_USER)

    def _ready(self) -> Iterator[int]:
        """Where the blocks start that are to be read; they are ours until the next batch is asked for."""
        while self._held < BLOCKS // 4 and self._is_ready((self._next + self._held) % BLOCKS):
            yield (self._next + self._held) % BLOCKS * BLOCK_BYTES
            self._held += 1

    def _give_back(self) -> None:
        for _ in range(self._held):
            self._words[(self._next * BLOCK_BYTES + STATUS_AT) // 4] = TP_STATUS_KERNEL
            self._next = (self._next + 1) % BLOCKS
        self._held = 0

    def _batch(self, at: I64) -> FrameBatch:
        if len(at) == 0:    # a block that was handed over empty
            return tick(self._now_ns)
        header = gather(self._data, at, HEADER_BYTES).view(np.uint32).reshape(-1, HEADER_BYTES // 4).astype(np.int64)
        time_ns = header[:, 1] * 1_000_000_000 + header[:, 2]
        if (np.diff(time_ns) < 0).any():    # several processors stamp
            order = np.argsort(time_ns, kind="stable")
            at, header, time_ns = at[order], header[order], time_ns[order]
        self._now_ns = max(self._now_ns, int(time_ns[-1]))
        data, offset = padded(self._data, at + (header[:, 6] >> 16))
        frame = np.arange(self._frame, self._frame + len(at))
        self._frame += len(at)
        return FrameBatch(data, offset, header[:, 3], header[:, 4], time_ns,
                          np.broadcast_to(np.int32(RAW), len(at)), frame, self._now_ns)

    def _count_dropped(self) -> None:
        _, dropped, _ = struct.unpack("=3I", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))
        self.state.dropped = (self.state.dropped or 0) + dropped

    def __iter__(self) -> Iterator[FrameBatch]:
        while True:
            yield self.receive(0.25)

    def close(self) -> None:
        """Stop capturing."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _bind(opened: socket.socket, interface: int) -> None:
    """As socket.bind, which does not know how to say all interfaces."""
    address = struct.pack("=HHiHBB8x", socket.AF_PACKET, socket.htons(ETH_P_ALL), interface, 0, 0, 0)
    if _libc.bind(opened.fileno(), address, len(address)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def packets_of(words: np.ndarray[tuple[int], np.dtype[np.uint32]], block: int) -> I64:
    """(n,) where in the ring the headers of a block's packets stand.

    Args:
        words: the whole ring.
        block: the byte its descriptor begins at.
    """
    count, first = int(words[(block + COUNT_AT) // 4]), int(words[(block + FIRST_AT) // 4])
    steps = memoryview(words)   # type: ignore[arg-type]  # an array is a buffer; only Python 3.12 can say so
    at, found = block + first, []
    for _ in range(count):
        found.append(at)
        at += steps[at >> 2]
    return np.array(found, np.int64)


def padded(data: U8, offset: I64) -> tuple[U8, I64]:
    """The bytes and offsets such that PADDING_BYTES can be read behind every offset, also at the ring's end."""
    beyond = np.flatnonzero(offset + PADDING_BYTES > data.size)
    if len(beyond) == 0:
        return data, offset
    first = int(offset.min())
    return np.concatenate([data[first:], np.zeros(PADDING_BYTES, np.uint8)]), offset - first
