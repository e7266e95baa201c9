"""Frames off the wire: one interface, or all of them, as batches.

Scapy's capture socket is the portable way and the default; a ring that the kernel fills (AF_PACKET) takes over
where rates are high, and where a command is done before Scapy would be loaded.
"""

from __future__ import annotations

import sys

from udpprobe.core.batch import SourceState
from udpprobe.errors import PrivilegeError
from udpprobe.links import interface_index
from udpprobe.sources.packet_socket import LiveCapture

__all__ = ["LiveCapture", "open_capture"]


def open_capture(expression: str, *, interface: str | None, bulk: bool, prompt: bool = False,
                 kind: str = "interface") -> LiveCapture:
    """Start to capture; when this returns, nothing is missed any more.

    Args:
        expression: what to capture, pcap-filter(7).
        interface: where; None for every interface.
        bulk: whether more packets a second are to be expected than a portable capture keeps up with.
        prompt: whether little is to be expected, and to be ready soon is worth more than to be portable.
        kind: of `SourceState`.

    Raises:
        PrivilegeError: this user may not.
        UsageError: there is no such interface, or the expression is wrong.
        UdpprobeError: the interface is down.
    """
    if interface is not None:
        interface_index(interface)
    state = SourceState(kind, interface or "any")
    try:
        if (bulk or prompt) and sys.platform == "linux":
            from udpprobe.sources.ring import FEW, MANY, Ring  # noqa: PLC0415 - Linux only

            return Ring(expression, interface, state, MANY if bulk else FEW)
        from udpprobe.sources.sniffer import Sniffer  # noqa: PLC0415 - Scapy takes 0.1 s

        return Sniffer(expression, interface, state)
    except PermissionError:
        without = ", or do without with --engine recverr" if kind == "probe" else ""
        raise PrivilegeError("capturing needs CAP_NET_RAW: run as root, or `setcap cap_net_raw+ep` the Python "
                             f"interpreter{without}") from None
