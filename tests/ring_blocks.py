"""Blocks of a ring, built by `struct` as linux/if_packet.h has them."""

from __future__ import annotations

import struct
from typing import NamedTuple

DATA_AT = 96
"""Behind struct tpacket3_hdr and struct sockaddr_ll, as the kernel lays out SOCK_DGRAM."""
FIRST_AT = 48
"""Behind struct tpacket_block_desc."""


class Packet(NamedTuple):
    data: bytes
    time_ns: int = 0
    cut: int = 0


def record(packet, *, last):
    body = packet.data + bytes(-(DATA_AT + len(packet.data)) % 8)
    header = struct.pack(
        "=6I2H",
        0 if last else DATA_AT + len(body),
        *divmod(packet.time_ns, 10**9),
        len(packet.data),
        len(packet.data) + packet.cut,
        1 << 29,
        DATA_AT,
        DATA_AT,
    )
    return header + bytes(DATA_AT - len(header)) + body


def block(packets):
    data = b"".join(record(each, last=number == len(packets)) for number, each in enumerate(packets, 1))
    return struct.pack("=6I24x", 2, 0, 1, len(packets), FIRST_AT, FIRST_AT + len(data)) + data
