"""Frames off the wire: one interface, or all of them, as batches.

Scapy's capture socket is the portable way and the default; a ring that the kernel fills (AF_PACKET) takes over
where rates are high.
"""

from __future__ import annotations

import ctypes
import socket
import struct
from collections.abc import Iterator
from importlib import import_module
from typing import Protocol, Self

from udpprobe.core.batch import FrameBatch, SourceState
from udpprobe.errors import PrivilegeError, UsageError

SO_ATTACH_FILTER = 26
DLT_EN10MB, DLT_RAW = 1, 12
SNAP_BYTES = 65_535

LOOPBACK_ONCE = (
    (0x28, 0, 0, 0xFFFF_F004),      # the kind of packet (SKF_AD_PKTTYPE, linux/filter.h) ...
    (0x15, 0, 3, socket.PACKET_OUTGOING),
    (0x28, 0, 0, 0xFFFF_F01C),      # ... and the link it is on (SKF_AD_HATYPE):
    (0x15, 0, 1, 772),              # the loopback interface shows every packet twice, going and coming
    (0x06, 0, 0, 0),
)
"""Classic BPF before every filter: one of the two is enough."""

Instruction = tuple[int, int, int, int]


class LiveCapture(Protocol):
    """A source that never ends by itself."""

    state: SourceState
    """`dropped` is what the kernel counted up to the last batch."""

    def receive(self, wait_s: float) -> FrameBatch:
        """What came, after waiting for it `wait_s` at most; a tick where nothing did."""
        ...

    def __iter__(self) -> Iterator[FrameBatch]:
        """Batches and ticks, for ever."""
        ...

    def close(self) -> None:
        """Stop capturing."""
        ...

    def __enter__(self) -> Self:
        """For `with`."""
        ...

    def __exit__(self, *_: object) -> None:
        """Stop capturing."""
        ...


def open_capture(expression: str, *, interface: str | None, bulk: bool, kind: str = "interface") -> LiveCapture:
    """Start to capture; when this returns, nothing is missed any more.

    Args:
        expression: what to capture, pcap-filter(7).
        interface: where; None for every interface.
        bulk: whether more packets a second are to be expected than a portable capture keeps up with.
        kind: of `SourceState`.

    Raises:
        PrivilegeError: this user may not.
        UsageError: there is no such interface, or the expression is wrong.
    """
    if interface is not None and interface not in (names := [name for _, name in socket.if_nameindex()]):
        raise UsageError(f"no interface {interface!r}; there are {', '.join(names)}")
    state = SourceState(kind, interface or "any")
    try:
        if bulk and hasattr(socket, "AF_PACKET"):
            from udpprobe.sources.ring import Ring  # noqa: PLC0415 - Linux only

            return Ring(expression, interface, state)
        from udpprobe.sources.sniffer import Sniffer  # noqa: PLC0415 - Scapy takes 0.2 s

        return Sniffer(expression, interface, state)
    except PermissionError:
        raise PrivilegeError(
            "capturing needs CAP_NET_RAW: run as root, or `setcap cap_net_raw+ep` the Python interpreter, or do "
            "without with --engine recverr") from None


def compile_bpf(expression: str, link_type: int) -> list[Instruction]:
    """Classic BPF of a pcap filter expression, for the kernel.

    Raises:
        UsageError: the expression is wrong.
    """
    cypcap = import_module("cypcap")
    try:
        program = cypcap.compile(link_type, SNAP_BYTES, expression, True, cypcap.NETMASK_UNKNOWN)
    except cypcap.Error as error:
        raise UsageError(f"filter: {' '.join(error.msg.split())}") from error
    return [*LOOPBACK_ONCE, *program]


def attach_bpf(opened: socket.socket, program: list[Instruction]) -> None:
    """Let the kernel pass on only what the program lets through."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program), ctypes.addressof(code)))
