"""What live captures have in common: packet(7) sockets, filters that the kernel applies, frames in order of time."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Self

import numpy as np

from udpprobe.core.batch import FrameBatch, SourceState, tick
from udpprobe.errors import UdpprobeError
from udpprobe.sources.filter import compile_program

ETHERNET, RAW = 1, 101
"""LINKTYPE_ values."""

ETH_P_ALL, SO_ATTACH_FILTER = 3, 26
SOL_PACKET, PACKET_STATISTICS = 263, 6
ITERATION_S = 0.25

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
"""Classic BPF (linux/bpf_common.h): a word into the accumulator; compare that with a constant; accept so many bytes."""
PROTOCOL, PACKET_TYPE, HARDWARE_TYPE = 0xFFFF_F000, 0xFFFF_F004, 0xFFFF_F01C
"""Where a load finds what the kernel knows beside the packet's bytes (SKF_AD_, linux/filter.h)."""
ARPHRD_LOOPBACK = 772
INSTRUCTION_BYTES = 8

ONCE = (
    (LOAD, 0, 0, PACKET_TYPE),
    (JUMP_EQUAL, 0, 3, socket.PACKET_OUTGOING),
    (LOAD, 0, 0, HARDWARE_TYPE),
    (JUMP_EQUAL, 0, 1, ARPHRD_LOOPBACK),
    (RETURN, 0, 0, 0),
)
"""The loopback interface shows every packet as it goes and as it comes; as libpcap does, take what comes."""

ONLY_IP = (
    (LOAD, 0, 0, PROTOCOL),
    (JUMP_EQUAL, 2, 0, 0x0800),
    (JUMP_EQUAL, 1, 0, 0x86DD),
    (RETURN, 0, 0, 0),
)
"""Without its link header, a bridge's BPDU can look like ICMP."""

_libc = ctypes.CDLL(None, use_errno=True)


class LiveCapture(ABC):
    """A source that never ends by itself, and captures from when it is made.

    Args:
        state: what is known about it; `dropped` is what the kernel counted up to the last batch.
    """

    def __init__(self, state: SourceState) -> None:
        self.state = state
        self._frames, self._now_ns = 0, 0

    @abstractmethod
    def receive(self, wait_s: float) -> FrameBatch:
        """What came, after waiting for it `wait_s` at most; a tick where nothing did."""

    @abstractmethod
    def close(self) -> None:
        """Stop capturing."""

    def __iter__(self) -> Iterator[FrameBatch]:
        while True:
            yield self.receive(ITERATION_S)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _in_order(self, batch: FrameBatch) -> FrameBatch:
        """Sort a batch by time, number its frames, and see to it that time never goes back."""
        if (np.diff(batch.time_ns) < 0).any():      # several processors stamp
            batch = batch.take(np.argsort(batch.time_ns, kind="stable"))
        # a packet on its way from the stamp to us may be overtaken by an earlier batch's promise
        batch.time_ns = np.maximum(batch.time_ns, self._now_ns)
        batch.frame = np.arange(self._frames + 1, self._frames + len(batch) + 1)
        self._frames += len(batch)
        self._now_ns = batch.now_ns = max(int(batch.time_ns[-1]), batch.now_ns)
        return batch

    def _tick(self, now_ns: int) -> FrameBatch:
        self._now_ns = max(self._now_ns, now_ns)
        return tick(self._now_ns)

    def _count_dropped(self, opened: socket.socket) -> None:
        """Add what the kernel dropped since it was asked last (struct tpacket_stats)."""
        _, dropped = struct.unpack_from("=2I", opened.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))
        self.state.dropped = (self.state.dropped or 0) + dropped

    def _heed(self, error: int | None, interface: str) -> None:
        """Take note of a socket's error: an interface that went down may come up again.

        Raises:
            UdpprobeError: it is something else.
        """
        if error != errno.ENETDOWN:
            raise UdpprobeError(f"cannot capture on {interface}: {os.strerror(error or errno.EIO)}")
        self.state.faults["interface-down"] += 1


def start(opened: socket.socket, interface: str | None) -> None:
    """Let a packet socket that was made with protocol 0, and heard nothing so far, capture.

    Raises:
        UdpprobeError: the interface is down, or gone.
    """
    # socket.bind has no way to say all interfaces
    index = socket.if_nametoindex(interface) if interface else 0
    address = struct.pack("=HHiHBB8x", socket.AF_PACKET, socket.htons(ETH_P_ALL), index, 0, 0, 0)
    failed = _libc.bind(opened.fileno(), address, len(address))
    error = ctypes.get_errno() if failed else opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise UdpprobeError(f"cannot capture on {interface or 'any interface'}: {os.strerror(error)}")


def set_option(opened: socket.socket, level: int, option: int, value: bytes) -> None:
    """setsockopt(2), while which other threads run: for an option that the kernel takes its time for.

    Raises:
        OSError: as the kernel says.
    """
    if _libc.setsockopt(opened.fileno(), level, option, value, len(value)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def program_for(expression: str, link_type: int, snap_bytes: int) -> bytes:
    """Classic BPF that lets through what a pcap filter expression does, and of that so many bytes.

    Raises:
        UsageError: the expression is wrong.
    """
    prelude = ONLY_IP + ONCE if link_type == RAW else ONCE
    program = [*prelude, *compile_program(expression, link_type, snap_bytes)]
    return b"".join(struct.pack("=HBBI", *each) for each in program)


def attach(opened: socket.socket, program: bytes) -> None:
    """Let the kernel pass on only what a program lets through."""
    code = ctypes.create_string_buffer(program)
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER,      # struct sock_fprog
                      struct.pack("HP", len(program) // INSTRUCTION_BYTES, ctypes.addressof(code)))
