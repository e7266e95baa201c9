"""Base of live captures: packet(7) sockets, kernel filters, frames in order of time."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Self

from udpprobe.capture.filter import compile_program
from udpprobe.capture.frames import RAW, Frame, Frames, RawFrame
from udpprobe.errors import UdpprobeError

if TYPE_CHECKING:
    from udpprobe.capture.frames import SourceState
    from udpprobe.core.analyzer import Analyzer
    from udpprobe.core.capture import Records

Sift = Callable[["Records", bytes, int], list[RawFrame] | None]
"""Called with a block's `Records`, the block, and a lower bound of its packets' times; see `LiveCapture.sift`."""
Remember = Callable[[int, bytes | Frames], None]
"""Called with the number of the first of some frames, and the frames: objects, or a block of the ring."""

ETH_P_ALL, SO_ATTACH_FILTER = 3, 26
SOL_PACKET, PACKET_STATISTICS = 263, 6

LOAD, JUMP_EQUAL, RETURN = 0x20, 0x15, 0x06
"""Classic BPF (linux/bpf_common.h): load a word into the accumulator; compare it with a constant; accept n bytes."""
PROTOCOL, PACKET_TYPE, HARDWARE_TYPE = 0xFFFF_F000, 0xFFFF_F004, 0xFFFF_F01C
"""Offsets at which a load finds packet metadata (SKF_AD_, linux/filter.h)."""
ARPHRD_LOOPBACK = 772
INSTRUCTION_BYTES = 8

ONCE = (
    (LOAD, 0, 0, PACKET_TYPE),
    (JUMP_EQUAL, 0, 3, socket.PACKET_OUTGOING),
    (LOAD, 0, 0, HARDWARE_TYPE),
    (JUMP_EQUAL, 0, 1, ARPHRD_LOOPBACK),
    (RETURN, 0, 0, 0),
)
"""The loopback interface shows each packet outgoing and incoming; take the incoming one, like libpcap."""

INCOMING = (
    (LOAD, 0, 0, PACKET_TYPE),
    (JUMP_EQUAL, 0, 1, socket.PACKET_OUTGOING),
    (RETURN, 0, 0, 0),
)
"""Skip what this host sends, which is known anyway."""

ONLY_IP = (
    (LOAD, 0, 0, PROTOCOL),
    (JUMP_EQUAL, 2, 0, 0x0800),
    (JUMP_EQUAL, 1, 0, 0x86DD),
    (RETURN, 0, 0, 0),
)
"""Without its link header, a bridge's BPDU may look like ICMP."""

_libc = ctypes.CDLL(None, use_errno=True)


class LiveCapture(ABC):
    """A source without an end, which captures from its creation on.

    Args:
        state: its state; `dropped` is the kernel's count up to the last frames.
    """

    def __init__(self, state: SourceState) -> None:
        self.state = state
        self._frames, self._now_ns = 0, 0
        self.sift: Sift | None = None
        """Handles what it can of a ring's block, and returns the other packets; None to get all packets."""

    @abstractmethod
    def receive(self, wait_s: float) -> Frames:
        """What arrived, after waiting for at most `wait_s` seconds."""

    def follow(self, analyzer: Analyzer, wait_s: float, remember: Remember | None = None) -> int:
        """Pass what arrived to an analyzer, as `receive` returns it; return the time up to which it has listened."""
        frames = self.receive(wait_s)
        if frames:
            analyzer.feed_frames(frame[:4] for frame in frames.frames)
            if remember:
                remember(frames.frames[0].number, frames)
        return frames.now_ns

    @abstractmethod
    def close(self) -> None:
        """Stop capturing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _in_order(self, captured: list[RawFrame], now_ns: int) -> Frames:
        """Sort packets by time, number them, and never let time go back.

        Args:
            captured: the packets.
            now_ns: time up to which the source has listened, if known.
        """
        captured.sort(key=lambda each: each[0])  # several processors set time stamps
        # A packet on its way from time stamp to socket may be older than what the last call declared complete.
        since_ns, first = self._now_ns, self._frames + 1
        frames = [
            Frame(max(time_ns, since_ns), data, length, link_type, number)
            for number, (time_ns, data, length, link_type) in enumerate(captured, first)
        ]
        self._frames += len(frames)
        self._now_ns = max(since_ns, now_ns, frames[-1].time_ns if frames else 0)
        return Frames(self._now_ns, frames)

    def _count_dropped(self, opened: socket.socket) -> None:
        """Add the kernel's drops since the last call (struct tpacket_stats)."""
        _, dropped = struct.unpack_from("=2I", opened.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))
        self.state.dropped = (self.state.dropped or 0) + dropped

    def _note_error(self, error: int | None, interface: str) -> None:
        """Count an interface that went down; it may come up again.

        Raises:
            UdpprobeError: the socket has another error.
        """
        if error != errno.ENETDOWN:
            raise UdpprobeError(f"cannot capture on {interface}: {os.strerror(error or errno.EIO)}")
        self.state.faults["interface-down"] += 1


def start(opened: socket.socket, interface: str | None) -> None:
    """Start capturing on a packet socket with protocol 0, which has received nothing so far.

    Raises:
        UdpprobeError: the interface is down, or gone.
    """
    # socket.bind cannot bind to all interfaces
    index = socket.if_nametoindex(interface) if interface else 0
    address = struct.pack("=HHiHBB8x", socket.AF_PACKET, socket.htons(ETH_P_ALL), index, 0, 0, 0)
    failed = _libc.bind(opened.fileno(), address, len(address))
    error = ctypes.get_errno() if failed else opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error:
        raise UdpprobeError(f"cannot capture on {interface or 'any interface'}: {os.strerror(error)}")


def set_option(opened: socket.socket, level: int, option: int, value: bytes) -> None:
    """setsockopt(2) without the GIL, for an option that takes the kernel long.

    Raises:
        OSError: from the kernel.
    """
    if _libc.setsockopt(opened.fileno(), level, option, value, len(value)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def program_for(expression: str, link_type: int, snap_bytes: int, *, outgoing: bool = True) -> bytes:
    """Classic BPF that passes what a pcap filter expression passes, cut to a snap length.

    Args:
        expression: what passes, pcap-filter(7).
        link_type: LINKTYPE_ value of the socket.
        snap_bytes: bytes kept of a packet.
        outgoing: whether what this host sends passes; what it sends to itself also comes in.

    Raises:
        UsageError: the expression is invalid.
    """
    once = ONCE if outgoing else INCOMING
    prelude = ONLY_IP + once if link_type == RAW else once
    program = [*prelude, *compile_program(expression, link_type, snap_bytes)]
    return b"".join(struct.pack("=HBBI", *each) for each in program)


def attach_filter(opened: socket.socket, program: bytes) -> None:
    """Let the kernel filter what a socket receives."""
    code = ctypes.create_string_buffer(program)
    opened.setsockopt(
        socket.SOL_SOCKET,
        SO_ATTACH_FILTER,  # struct sock_fprog
        struct.pack("HP", len(program) // INSTRUCTION_BYTES, ctypes.addressof(code)),
    )
