"""The common shapes, thousands at once: one gather for the link header, one for what follows.

UDP over IPv4 without options, or over IPv6 without extension headers, whole, on a common link with at most
one VLAN tag. What is of no interest (TCP, ARP) is dropped here; the rest is left to `walk`, which comes to
the same answer by a slower road.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U8, U64, Bool, FrameBatch
from udpprobe.core.layers_ip import TUNNEL_PORTS
from udpprobe.core.layers_link import ETHERNET, RAW_LINKS, SLL, SLL2
from udpprobe.core.packets import MAPPED, Datagrams, u64

LINK_BYTES, IP_BYTES = 24, 48

IPV4, IPV6, ARP, VLAN, QINQ = (u64(number) for number in (0x0008, 0xDD86, 0x0608, 0x0081, 0xA888))
"""EtherTypes as a little-endian machine reads them."""

TYPE_AT = {ETHERNET: (1, 32, 14), SLL: (1, 48, 16), SLL2: (0, 0, 20)}
"""Link type -> word and shift of the EtherType among the gathered ones, and the header's length."""

OPENS_TUNNEL = np.zeros(65536, np.bool_)
OPENS_TUNNEL[list(TUNNEL_PORTS)] = True

Unpack = Callable[[U64], tuple[U64, ...]]

V4_SHAPE, V4_PLAIN = u64(0xFF3F_0000_0000_00FF), u64(0x45)
"""Version and header length, fragment offset and MF: as one masked word."""


def gather(data: U8, at: I64, size: int) -> U64:
    """(n, size / 8) the words at each place, as this machine reads them: one copy a row."""
    rows = np.ndarray((max(data.size - size + 1, 0),), f"V{size}", data, strides=(1,))
    return rows[at].view(np.uint64).reshape(-1, size // 8)


def uniform_link(link_type: npt.NDArray[np.int32]) -> int | None:
    """The link type all frames have, if it is one of the fast lane's."""
    first = int(link_type[0])
    uniform = link_type.strides == (0,) or bool((link_type == first).all())
    return first if uniform and (first in TYPE_AT or first in RAW_LINKS) else None


def decode_common(batch: FrameBatch) -> tuple[list[Datagrams], I64]:
    """The datagrams of common shape, a set for each family, and the rows that need a walk."""
    link_type = uniform_link(batch.link_type)
    if link_type is None:
        return [], np.arange(len(batch))
    start, ether_type, link = _link(batch, link_type)
    room = batch.offset + batch.captured - start
    ip = gather(batch.data, start, IP_BYTES)
    plain4, plain6, dull = _classify(ip, ether_type, room)
    rest = ~(plain4 | plain6 | dull)
    shapes = (plain4, _unpack_v4, 28), (plain6, _unpack_v6, 48)
    return [_datagrams(batch, ip, link, shape, rest) for shape in shapes], np.flatnonzero(rest)


def _link(batch: FrameBatch, link_type: int) -> tuple[I64, U64, U64]:
    """Where each IP header starts, its EtherType, and the link's addresses."""
    head = gather(batch.data, batch.offset, LINK_BYTES)
    if link_type in RAW_LINKS:
        version = head[:, 0] & u64(0xF0)
        ether_type = np.where(version == 0x40, IPV4, np.where(version == 0x60, IPV6, u64(0)))
        return batch.offset, ether_type, np.zeros(len(batch), np.uint64)
    word, shift, size = TYPE_AT[link_type]
    ether_type = (head[:, word] >> u64(shift)) & u64(0xFFFF)
    start = batch.offset + size
    link = (head[:, 0] >> u64(32)) | (head[:, 1] << u64(32))
    if link_type == ETHERNET:
        tagged = np.flatnonzero((ether_type == VLAN) | (ether_type == QINQ))
        start[tagged] += 4
        ether_type[tagged] = head[tagged, 2] & u64(0xFFFF)
    return start, ether_type, link


def _classify(ip: U64, ether_type: U64, room: I64) -> tuple[Bool, Bool, Bool]:
    """Plain UDP over IPv4, plain UDP over IPv6, and what is of no interest."""
    first = ip[:, 0]
    v4, v6 = ether_type == IPV4, ether_type == IPV6
    protocol4, protocol6 = ip[:, 1] & u64(0xFF00), first & u64(0xFF_0000_0000_00F0)
    plain4 = v4 & (first & V4_SHAPE == V4_PLAIN) & (protocol4 == 0x1100) & (room >= 28)
    plain6 = v6 & (protocol6 == 0x11_0000_0000_0060) & (room >= 48)
    dull = (v4 & (protocol4 == 0x0600) & (room >= 20)) | (v6 & (protocol6 == 0x06_0000_0000_0060) & (room >= 40))
    return plain4, plain6, dull | (ether_type == ARP)


def _unpack_v4(ip: U64) -> tuple[U64, ...]:
    """High and low halves of source and destination, ports, detail, IP length."""
    w0, w1, w2, w3 = (ip[:, i].byteswap() for i in range(4))
    high = np.zeros(len(ip), np.uint64)
    detail = (w0 & u64(0xFFFF_0000)) << u64(32) | w3 >> u64(32) << u64(16) | w1 >> u64(56) << u64(8)
    return (high, w1 & u64(0xFFFF_FFFF) | MAPPED, high, w2 >> u64(32) | MAPPED,
            w2 & u64(0xFFFF_FFFF), detail, w0 >> u64(32) & u64(0xFFFF))


def _unpack_v6(ip: U64) -> tuple[U64, ...]:
    """High and low halves of source and destination, ports, detail, IP length."""
    w0, w1, w2, w3, w4, w5 = (ip[:, i].byteswap() for i in range(6))
    detail = (w5 & u64(0xFFFF_FFFF)) << u64(16) | (w0 & u64(0xFF)) << u64(8)
    return w1, w2, w3, w4, w5 >> u64(32), detail, (w0 >> u64(16) & u64(0xFFFF)) + u64(40)


def _datagrams(batch: FrameBatch, ip: U64, link: U64, shape: tuple[Bool, Unpack, int], rest: Bool) -> Datagrams:
    """The datagrams of one family; those that open a tunnel or lie about their length are left to `rest`."""
    plain, unpack, smallest = shape
    rows = np.flatnonzero(plain)
    *columns, ip_length = unpack(ip.take(rows, axis=0))
    odd = OPENS_TUNNEL.take((columns[4] & u64(0xFFFF)).view(np.int64)) | (ip_length < smallest)
    datagrams = Datagrams(batch.frame[rows], batch.time_ns[rows], *columns, ip_length.view(np.int64), link[rows])
    if not odd.any():
        return datagrams
    rest[rows[odd]] = True
    return datagrams.take(~odd)
