"""Frames off the wire: of one interface, or of all of them.

A ring that the kernel fills (AF_PACKET) is the usual way: it is quick to open and loses little. Scapy's capture sockets
take over where there is no such ring.
"""

from __future__ import annotations

import sys

from udpprobe.capture.packet_socket import LiveCapture
from udpprobe.capture.state import SourceState
from udpprobe.errors import PrivilegeError, raw_hint
from udpprobe.linux.netlink import interface_index

__all__ = ["LiveCapture", "open_capture"]


def open_capture(expression: str, *, interface: str | None = None, bulk: bool = False,
                 kind: str = "interface", capture: str = "auto", outgoing: bool = True) -> LiveCapture:
    """Start to capture; when this returns, nothing is missed any more.

    Args:
        expression: what to capture, pcap-filter(7).
        interface: where; None for every interface.
        bulk: whether many packets a second are to be expected; they get 64 MB to wait in, others 1 MB.
        kind: of `SourceState`.
        capture: `ring`, `scapy`, or `auto`: the ring where there is one.
        outgoing: whether what this host sends is captured.

    Raises:
        PrivilegeError: this user may not.
        UsageError: there is no such interface, or the expression is wrong.
        UdpprobeError: the interface is down, or memory is short.
    """
    if interface is not None:
        interface_index(interface)
    state = SourceState(kind, interface or "any")
    try:
        if capture == "scapy" or (capture == "auto" and sys.platform != "linux"):
            from udpprobe.capture.sniffer import Sniffer  # noqa: PLC0415 - Scapy takes 0.1 s

            return Sniffer(expression, interface, state, outgoing=outgoing)
        from udpprobe.capture.ring import FEW, MANY, Ring  # noqa: PLC0415 - Linux only

        return Ring(expression, interface, state, MANY if bulk else FEW, outgoing=outgoing)
    except PermissionError:
        without = ", or do without with --engine recverr" if kind == "probe" else ""
        raise PrivilegeError(f"capturing needs CAP_NET_RAW: {raw_hint()}{without}") from None
