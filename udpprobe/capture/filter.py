"""Which frames of a capture to analyse: by a libpcap filter expression, and by time."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from msgspec import Struct

from udpprobe.core.filter import Filter, Instructions
from udpprobe.errors import UsageError

SNAP_BYTES = 262_144

DLT_OF_LINK_TYPE = {14: 12, 100: 11, 101: 12, 102: 15, 103: 16, 106: 19}
"""Link types of files for which libpcap's compiler uses another number on Linux (pcap/dlt.h)."""

ETHERNET = 1


class Selection(Struct, frozen=True):
    """The frames to analyse; small and picklable."""

    filter: str | None = None
    """A pcap filter expression; None for every frame."""
    since_ns: int | None = None
    """First time to include, nanoseconds since 1970."""
    until_ns: int | None = None
    """First time to exclude."""


def compile_program(expression: str, link_type: int, snap_bytes: int = SNAP_BYTES) -> Any:  # noqa: ANN401 - cypcap has no types
    """Compile a libpcap filter expression (pcap-filter(7)) to cypcap's BpfProgram: rows of (code, jt, jf, k).

    Args:
        expression: what passes.
        link_type: LINKTYPE_ value.
        snap_bytes: bytes of a passing frame to keep.

    Raises:
        UsageError: the expression is invalid, or libpcap cannot apply it to that link type.
    """
    cypcap = import_module("cypcap")  # imported only if a filter is used
    dlt = DLT_OF_LINK_TYPE.get(link_type, link_type)
    try:
        return cypcap.compile(dlt, snap_bytes, expression, True, cypcap.NETMASK_UNKNOWN)
    except cypcap.Error as error:
        raise UsageError(f"--filter: {' '.join(error.msg.split())} (link type {link_type})") from error


def filter_of(expression: str) -> Filter:
    """A filter for frames of any link type; frames that libpcap cannot filter are rejected and counted.

    Raises:
        UsageError: the expression is invalid even for Ethernet.
    """
    compile_program(expression, ETHERNET)

    def rows_for(link_type: int) -> Instructions | None:
        with suppress(UsageError):
            return list(compile_program(expression, link_type))
        return None

    return Filter(rows_for)
