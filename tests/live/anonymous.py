"""Take out of a pcapng file what names the host that recorded it."""

from __future__ import annotations

import struct

SECTION, INTERFACE, STATISTICS = 0x0A0D0D0A, 1, 5
END, RESOLUTION = 0, 9


def without_host(data: bytes) -> bytes:
    """The same packets; sections without options, interfaces with their time resolution only (little-endian)."""
    out, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<2I", data, at)
        body = data[at + 8:at + size - 4]
        if kind == SECTION:
            body = struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1)
        elif kind == INTERFACE:
            body = body[:8] + resolution_of(body[8:])
        if kind != STATISTICS:
            out.append(struct.pack("<2I", kind, len(body) + 12) + body + struct.pack("<I", len(body) + 12))
        at += size
    return b"".join(out)


def resolution_of(options: bytes) -> bytes:
    """The option that gives the time stamps' resolution, if there is one."""
    at = 0
    while at + 4 <= len(options):
        code, size = struct.unpack_from("<HH", options, at)
        if code == RESOLUTION:
            return options[at:at + 8] + struct.pack("<HH", END, 0)
        at += 4 + (size + 3) // 4 * 4
    return b""
