"""The common shapes, thousands at once: one gather for the headers of each frame.

UDP over IPv4 without options, or over IPv6 without extension headers, whole, on a common link with at most
one VLAN tag. What is of no interest (TCP, ARP) is dropped here; the rest is left to `walk`, which comes to
the same answer by a slower road.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from udpprobe.core.batch import I32, I64, U8, U64, Bool, FrameBatch
from udpprobe.core.decoding.layers_ip import TUNNEL_PORTS
from udpprobe.core.decoding.layers_link import ETHERNET, RAW_LINKS, SLL, SLL2
from udpprobe.core.packets import MAPPED, Datagrams, u64

HEADER_BYTES = 56
"""Eight bytes before the IP header, which end in the EtherType or stand for it, and 48 of its own."""

IPV4, IPV6, ARP, VLAN, QINQ = (u64(number) for number in (0x0008, 0xDD86, 0x0608, 0x0081, 0xA888))
"""EtherTypes as a little-endian machine reads them."""

LINK_SIZES = {ETHERNET: 14, SLL: 16, SLL2: 20} | dict.fromkeys(RAW_LINKS, 0)
"""Link type -> length of its header. Ethernet's and SLL's end in the sender's address and the EtherType."""

ADDRESS = u64(0xFFFF_FFFF_FFFF)

VERSIONS = np.zeros(16, np.uint64)
VERSIONS[[4, 6]] = IPV4, IPV6
"""IP version -> EtherType, for links without one."""

OPENS_TUNNEL = np.zeros(65536, np.bool_)
OPENS_TUNNEL[list(TUNNEL_PORTS)] = True

Unpack = Callable[[U64], tuple[U64, ...]]

V4_SHAPE, V4_PLAIN = u64(0xFF3F_0000_0000_00FF), u64(0x45)
"""Version and header length, fragment offset and MF: as one masked word."""


def gather(data: U8, at: I64, size: int) -> U64:
    """(n, size / 8) the words at each place, as this machine reads them: one copy a row."""
    rows = np.ndarray((max(data.size - size + 1, 0),), f"V{size}", data, strides=(1,))
    return rows[at].view(np.uint64).reshape(-1, size // 8)


def uniform_link(link_type: I32) -> int | None:
    """The link type all frames have, if it is one of the fast lane's."""
    first = int(link_type[0])
    uniform = link_type.strides == (0,) or bool((link_type == first).all())
    return first if uniform and first in LINK_SIZES else None


def decode_common(batch: FrameBatch) -> tuple[list[Datagrams], I64]:
    """The datagrams of common shape, a set for each family, and the rows that need a walk."""
    link_type = uniform_link(batch.link_type)
    if link_type is None:
        return [], np.arange(len(batch))
    headers, ether_type, room = _headers(batch, link_type)
    plain4, plain6, dull = _classify(headers, ether_type, room)
    rest = ~(plain4 | plain6 | dull)
    shapes = (plain4, _unpack_v4, 28), (plain6, _unpack_v6, 48)
    return [_datagrams(batch, headers, shape, rest) for shape in shapes], np.flatnonzero(rest)


def _headers(batch: FrameBatch, link_type: int) -> tuple[U64, U64, I64]:
    """(n, 7) words: who sent the frame, then its IP header; its EtherType; the bytes from there on."""
    size = LINK_SIZES[link_type]
    room = batch.captured - size
    if link_type in RAW_LINKS:
        headers = np.zeros((len(batch), 7), np.uint64)
        headers[:, 1:] = gather(batch.data, batch.offset, HEADER_BYTES - 8)
        return headers, VERSIONS[(headers[:, 1] >> u64(4) & u64(15)).view(np.int64)], room
    headers = gather(batch.data, batch.offset + (size - 8), HEADER_BYTES)
    ether_type = headers[:, 0] >> u64(48)
    if link_type == SLL2:
        ether_type = gather(batch.data, batch.offset, 8)[:, 0] & u64(0xFFFF)
    if link_type == ETHERNET:
        tagged = np.flatnonzero((ether_type == VLAN) | (ether_type == QINQ))
        inner = gather(batch.data, batch.offset[tagged] + (size - 4), HEADER_BYTES)
        headers[tagged, 1:], ether_type[tagged] = inner[:, 1:], inner[:, 0] >> u64(48)
        room[tagged] -= 4
    return headers, ether_type, room


def _classify(headers: U64, ether_type: U64, room: I64) -> tuple[Bool, Bool, Bool]:
    """Plain UDP over IPv4, plain UDP over IPv6, and what is of no interest."""
    first = headers[:, 1]
    v4, v6 = ether_type == IPV4, ether_type == IPV6
    protocol4, protocol6 = headers[:, 2] & u64(0xFF00), first & u64(0xFF_0000_0000_00F0)
    plain4 = v4 & (first & V4_SHAPE == V4_PLAIN) & (protocol4 == 0x1100) & (room >= 28)
    plain6 = v6 & (protocol6 == 0x11_0000_0000_0060) & (room >= 48)
    tcp4 = v4 & (first & u64(0xFF) == V4_PLAIN) & (protocol4 == 0x0600) & (room >= 20)
    tcp6 = v6 & (protocol6 == 0x06_0000_0000_0060) & (room >= 40)
    return plain4, plain6, tcp4 | tcp6 | ((ether_type == ARP) & (room >= 0))


def _unpack_v4(headers: U64) -> tuple[U64, ...]:
    """High and low halves of source and destination, ports, detail, IP length."""
    w0, w1, w2, w3 = (headers[:, i].byteswap() for i in range(1, 5))
    high = np.zeros(len(headers), np.uint64)
    detail = (w0 & u64(0xFFFF_0000)) << u64(32) | w3 >> u64(32) << u64(16) | w1 >> u64(56) << u64(8)
    return (high, w1 & u64(0xFFFF_FFFF) | MAPPED, high, w2 >> u64(32) | MAPPED,
            w2 & u64(0xFFFF_FFFF), detail, w0 >> u64(32) & u64(0xFFFF))


def _unpack_v6(headers: U64) -> tuple[U64, ...]:
    """High and low halves of source and destination, ports, detail, IP length."""
    w0, w1, w2, w3, w4, w5 = (headers[:, i].byteswap() for i in range(1, 7))
    detail = (w5 & u64(0xFFFF_FFFF)) << u64(16) | (w0 & u64(0xFF)) << u64(8)
    return w1, w2, w3, w4, w5 >> u64(32), detail, (w0 >> u64(16) & u64(0xFFFF)) + u64(40)


def _datagrams(batch: FrameBatch, headers: U64, shape: tuple[Bool, Unpack, int], rest: Bool) -> Datagrams:
    """The datagrams of one family; those that open a tunnel or lie about their length are left to `rest`."""
    plain, unpack, smallest = shape
    rows = np.flatnonzero(plain)
    own = headers.take(rows, axis=0)
    source_high, source_low, destination_high, destination_low, ports, detail, ip_length = unpack(own)
    datagrams = Datagrams(batch.frame[rows], batch.time_ns[rows], source_high, source_low, destination_high,
                          destination_low, ports, detail, ip_length.view(np.int64), own[:, 0] & ADDRESS)
    # Below 8 wraps around to a huge number: a UDP length below that, or beyond its packet, is greater than this.
    beyond = (detail >> u64(32) & u64(0xFFFF)) - u64(8) > ip_length - u64(smallest)
    odd = OPENS_TUNNEL.take((ports & u64(0xFFFF)).view(np.int64)) | (ip_length < smallest) | beyond
    if not odd.any():
        return datagrams
    rest[rows[odd]] = True
    return datagrams.take(~odd)
