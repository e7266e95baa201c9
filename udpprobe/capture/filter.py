"""Which frames of a capture are looked at: by a libpcap filter expression, and by time."""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module
from typing import Any

from msgspec import Struct

from udpprobe.core.filter import Filter, Rows
from udpprobe.errors import UsageError

SNAP_BYTES = 262_144

DLT_OF_LINK_TYPE = {14: 12, 100: 11, 101: 12, 102: 15, 103: 16, 106: 19}
"""Link types of files that libpcap's compiler knows by another number on Linux (pcap/dlt.h)."""

ETHERNET = 1


class Selection(Struct, frozen=True):
    """Frames that are asked for; small, and picklable."""

    filter: str | None = None
    """A pcap filter expression; None for every frame."""
    since_ns: int | None = None
    """First time, nanoseconds since 1970."""
    until_ns: int | None = None
    """Time from which on frames are left out."""


def compile_program(expression: str, link_type: int, snap_bytes: int = SNAP_BYTES) -> Any:  # noqa: ANN401 - cypcap has no types
    """Compiles a libpcap filter expression (pcap-filter(7)) to cypcap's BpfProgram: rows of (code, jt, jf, k).

    Args:
        expression: what passes.
        link_type: LINKTYPE_ value.
        snap_bytes: how many bytes of a passing frame to keep.

    Raises:
        UsageError: the expression is wrong, or libpcap cannot filter that link type by it.
    """
    cypcap = import_module("cypcap")  # only who filters pays for it
    dlt = DLT_OF_LINK_TYPE.get(link_type, link_type)
    try:
        return cypcap.compile(dlt, snap_bytes, expression, True, cypcap.NETMASK_UNKNOWN)
    except cypcap.Error as error:
        raise UsageError(f"--filter: {' '.join(error.msg.split())} (link type {link_type})") from error


def filter_of(expression: str) -> Filter:
    """A filter for frames of any link type; those that libpcap cannot filter so do not pass, and are counted.

    Raises:
        UsageError: the expression is wrong: not even Ethernet can be filtered by it.
    """
    compile_program(expression, ETHERNET)

    def rows_for(link_type: int) -> Rows | None:
        with suppress(UsageError):
            return list(compile_program(expression, link_type))
        return None

    return Filter(rows_for)
