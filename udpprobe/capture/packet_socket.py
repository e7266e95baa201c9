"""What live captures have in common: packet(7) sockets, filters that the kernel applies, frames in order of time."""

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
"""Gets what walks a block, that, and the time that no packet is older than; see `LiveCapture.sift`."""
Remember = Callable[[int, bytes | Frames], None]
"""Gets the number of the first of some frames, and those: objects, or a block of the ring."""

ETH_P_ALL, SO_ATTACH_FILTER = 3, 26
SOL_PACKET, PACKET_STATISTICS = 263, 6

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

INCOMING = (
    (LOAD, 0, 0, PACKET_TYPE),
    (JUMP_EQUAL, 0, 1, socket.PACKET_OUTGOING),
    (RETURN, 0, 0, 0),
)
"""What this host sends is known without the capture."""

ONLY_IP = (
    (LOAD, 0, 0, PROTOCOL),
    (JUMP_EQUAL, 2, 0, 0x0800),
    (JUMP_EQUAL, 1, 0, 0x86DD),
    (RETURN, 0, 0, 0),
)
"""Without its link header, a bridge's BPDU can look like ICMP."""

_libc = ctypes.CDLL(None, use_errno=True)


class LiveCapture(ABC):
    """A source that never ends by itself, and captures as soon as it is made.

    Args:
        state: what is known about it; `dropped` is what the kernel counted up to the last frames.
    """

    def __init__(self, state: SourceState) -> None:
        self.state = state
        self._frames, self._now_ns = 0, 0
        self.sift: Sift | None = None
        """Takes what it can out of a block of the ring, and returns the packets that are left; None for all of them."""

    @abstractmethod
    def receive(self, wait_s: float) -> Frames:
        """What came, after waiting for it `wait_s` at most; none where nothing did."""

    def follow(self, analyzer: Analyzer, wait_s: float, remember: Remember | None = None) -> int:
        """Hand what came to an analyzer, as `receive` would give it; how far the source has listened."""
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
            captured: what came.
            now_ns: how far the source has listened, if that is known.
        """
        captured.sort(key=lambda each: each[0])  # several processors stamp
        # A packet between its stamp and this socket may be older than what the last call said was complete.
        since_ns, first = self._now_ns, self._frames + 1
        frames = [
            Frame(max(time_ns, since_ns), data, length, link_type, number)
            for number, (time_ns, data, length, link_type) in enumerate(captured, first)
        ]
        self._frames += len(frames)
        self._now_ns = max(since_ns, now_ns, frames[-1].time_ns if frames else 0)
        return Frames(self._now_ns, frames)

    def _count_dropped(self, opened: socket.socket) -> None:
        """Add what the kernel dropped since it was asked last (struct tpacket_stats)."""
        _, dropped = struct.unpack_from("=2I", opened.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))
        self.state.dropped = (self.state.dropped or 0) + dropped

    def _note_error(self, error: int | None, interface: str) -> None:
        """Count an interface that went down, which may come up again.

        Raises:
            UdpprobeError: the socket's error is something else.
        """
        if error != errno.ENETDOWN:
            raise UdpprobeError(f"cannot capture on {interface}: {os.strerror(error or errno.EIO)}")
        self.state.faults["interface-down"] += 1


def start(opened: socket.socket, interface: str | None) -> None:
    """Start to capture on a packet socket that was made with protocol 0, so that it got nothing so far.

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
    """setsockopt(2) without the GIL, for an option that takes the kernel long.

    Raises:
        OSError: as the kernel says.
    """
    if _libc.setsockopt(opened.fileno(), level, option, value, len(value)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def program_for(expression: str, link_type: int, snap_bytes: int, *, outgoing: bool = True) -> bytes:
    """Classic BPF that lets through what a pcap filter expression does, and of that so many bytes.

    Args:
        expression: what passes, pcap-filter(7).
        link_type: LINKTYPE_ value of the socket.
        snap_bytes: what is kept of a packet.
        outgoing: whether what this host sends passes; what it sends to itself comes in, too.

    Raises:
        UsageError: the expression is wrong.
    """
    once = ONCE if outgoing else INCOMING
    prelude = ONLY_IP + once if link_type == RAW else once
    program = [*prelude, *compile_program(expression, link_type, snap_bytes)]
    return b"".join(struct.pack("=HBBI", *each) for each in program)


def attach_filter(opened: socket.socket, program: bytes) -> None:
    """Make the kernel filter what a socket receives."""
    code = ctypes.create_string_buffer(program)
    opened.setsockopt(
        socket.SOL_SOCKET,
        SO_ATTACH_FILTER,  # struct sock_fprog
        struct.pack("HP", len(program) // INSTRUCTION_BYTES, ctypes.addressof(code)),
    )
