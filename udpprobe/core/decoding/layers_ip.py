"""Handlers of IPv4, IPv6 and its extension headers, and of what carries IP in IP."""

from __future__ import annotations

import numpy as np

from udpprobe.core.batch import I64, U64
from udpprobe.core.decoding.walk import (
    ETHER,
    GENEVE,
    GTP_U,
    IP,
    LATER_FRAGMENT,
    LINK,
    PPP,
    RAW_IP,
    VXLAN,
    Handler,
    Walk,
)
from udpprobe.core.packets import MAPPED

IPV4, IPV6 = ETHER | 0x0800, ETHER | 0x86DD
UDP, ICMP, ICMPV6 = IP | 17, IP | 1, IP | 58

TUNNEL_PORTS = {4789: VXLAN, 8472: VXLAN, 6081: GENEVE, 2152: GTP_U}
"""UDP destination ports whose datagrams carry packets (RFC 7348, Linux's own VXLAN port, RFC 8926, TS 29.281)."""


def mapped(address: I64) -> U64:
    """Lower half of an IPv4-mapped address."""
    return address.astype(np.uint64) | MAPPED


def ipv4(walk: Walk, rows: I64) -> None:
    """RFC 791."""
    rows = rows[walk.need(rows, 20, "ipv4")]
    first = walk.u8(rows)
    right = walk.check(rows, (first >> 4 == 4) & (first & 15 >= 5), "bad-ipv4-header")
    rows, size = rows[right], (first[right] & 15) * 4
    there = walk.need(rows, size, "ipv4")
    rows, size = rows[there], size[there]
    _end_at_length(walk, rows, walk.u16(rows, 2), size)
    walk.family[rows] = 4
    walk.ttl[rows], walk.ip_id[rows] = walk.u8(rows, 8), walk.u16(rows, 4)
    walk.source_high[rows] = walk.destination_high[rows] = 0
    walk.source_low[rows] = mapped(walk.u32(rows, 12))
    walk.destination_low[rows] = mapped(walk.u32(rows, 16))
    word = walk.u16(rows, 6)
    _fragment(walk, rows, (word & 0x1FFF, word & 0x2000, walk.ip_id[rows], walk.u8(rows, 9)), size)


def ipv6(walk: Walk, rows: I64) -> None:
    """RFC 8200, section 3."""
    rows = rows[walk.need(rows, 40, "ipv6")]
    rows = rows[walk.check(rows, walk.u8(rows) >> 4 == 6, "bad-ipv6-header")]
    payload_length = walk.u16(rows, 4)
    # A length of 0 is a jumbogram's, or that of a packet the network card has still to split.
    _end_at_length(walk, rows, np.where(payload_length > 0, payload_length + 40, 0), 40)
    walk.family[rows] = 6
    walk.ttl[rows], walk.ip_id[rows], walk.fragment_id[rows] = walk.u8(rows, 7), 0, -1
    walk.first_fragment[rows] = False
    walk.source_high[rows], walk.source_low[rows] = walk.u64(rows, 8), walk.u64(rows, 16)
    walk.destination_high[rows], walk.destination_low[rows] = walk.u64(rows, 24), walk.u64(rows, 32)
    walk.skip(rows, 40, IP | walk.u8(rows, 6))


def _end_at_length(walk: Walk, rows: I64, length: I64, header: I64 | int) -> None:
    """Note where the IP packet starts and, unless quoted, end it where its header says: padding follows."""
    start, end = walk.cursor[rows], walk.end[rows]
    believed = length >= header
    walk.ip_start[rows] = start
    walk.ip_length[rows] = length if walk.quoted else np.where(believed, length, end - start)
    if not walk.quoted:
        inside = believed & (start + length <= end)
        walk.cut[rows] &= ~inside
        walk.end[rows] = np.where(inside, start + length, end)


def _fragment(walk: Walk, rows: I64, fields: tuple[I64, I64, I64, I64], size: I64 | int) -> None:
    """Keep what tells the fragments of a datagram together; only the first one has its UDP header."""
    offset, more, fragment_id, protocol = fields
    walk.first_fragment[rows] = (offset == 0) & (more > 0)
    walk.fragment_id[rows] = np.where((offset > 0) | (more > 0), fragment_id, -1)
    walk.protocol[rows] = protocol
    walk.skip(rows, size, np.where(offset > 0, LATER_FRAGMENT, IP | protocol))


def extension(walk: Walk, rows: I64) -> None:
    """Hop-by-hop, routing and destination options, mobility, HIP, shim6 (RFC 6564's common shape)."""
    _skip_extension(walk, rows, 8, 8)


def authentication(walk: Walk, rows: I64) -> None:
    """AH (RFC 4302): its length counts in units of four bytes, less two."""
    _skip_extension(walk, rows, 4, 8)


def _skip_extension(walk: Walk, rows: I64, unit: int, base: int) -> None:
    rows = rows[walk.need(rows, 8, "ipv6-extension")]
    size = walk.u8(rows, 1) * unit + base
    there = walk.need(rows, size, "ipv6-extension")
    rows, size = rows[there], size[there]
    walk.skip(rows, size, IP | walk.u8(rows))


def fragment(walk: Walk, rows: I64) -> None:
    """RFC 8200, section 4.5."""
    rows = rows[walk.need(rows, 8, "ipv6-extension")]
    word = walk.u16(rows, 2)
    _fragment(walk, rows, (word >> 3, word & 1, walk.u32(rows, 4), walk.u8(rows)), 8)


def raw_ip(walk: Walk, rows: I64) -> None:
    """IPv4 or IPv6, told by the version."""
    rows = rows[walk.need(rows, 1, "ip")]
    version = walk.u8(rows) >> 4
    rows_right = walk.check(rows, (version == 4) | (version == 6), "bad-ip-version")
    walk.kind[rows[rows_right]] = np.where(version[rows_right] == 4, IPV4, IPV6)


def ip_in_ip(walk: Walk, rows: I64) -> None:
    """IPv4 or IPv6 in either (RFC 2003, 2473, 4213)."""
    walk.depth[rows] += 1
    walk.kind[rows] = RAW_IP


def gre(walk: Walk, rows: I64) -> None:
    """RFC 2784 and 2890; version 1 is PPTP's (RFC 2637)."""
    rows = rows[walk.need(rows, 4, "gre")]
    flags, protocol = walk.u16(rows), walk.u16(rows, 2)
    size = (4 + 4 * (flags & 0xC000 > 0) + 4 * (flags & 0x2000 > 0) + 4 * (flags & 0x1000 > 0)
            + 4 * ((flags & 0x0080 > 0) & (flags & 7 == 1)))
    there = walk.need(rows, size, "gre")
    rows, protocol, size = rows[there], protocol[there], size[there]
    walk.depth[rows] += 1
    walk.skip(rows, size, np.select([protocol == 0x6558, protocol == 0x880B], [LINK | 1, PPP], ETHER | protocol))


def vxlan(walk: Walk, rows: I64) -> None:
    """RFC 7348: an Ethernet frame behind eight bytes. What only borrowed the port ends here.

    Beside the I flag, Linux and Cisco set a G flag and a group (draft-smith-vxlan-group-policy).
    """
    rows = rows[walk.end[rows] - walk.cursor[rows] >= 8]
    rows = rows[(walk.u8(rows) & 0x7F == 0x08) & (walk.u8(rows, 7) == 0)]
    walk.depth[rows] += 1
    walk.skip(rows, 8, LINK | 1)


def geneve(walk: Walk, rows: I64) -> None:
    """RFC 8926."""
    rows = rows[walk.end[rows] - walk.cursor[rows] >= 8]
    rows = rows[(walk.u8(rows) >> 6 == 0) & (walk.u8(rows, 7) == 0)]
    size, protocol = 8 + 4 * (walk.u8(rows) & 63), walk.u16(rows, 2)
    there = walk.need(rows, size, "geneve")
    rows, size, protocol = rows[there], size[there], protocol[there]
    walk.depth[rows] += 1
    walk.skip(rows, size, np.where(protocol == 0x6558, LINK | 1, ETHER | protocol))


def gtp_u(walk: Walk, rows: I64) -> None:
    """3GPP TS 29.281: version 1, message type 255 carries a packet."""
    rows = rows[walk.end[rows] - walk.cursor[rows] >= 12]
    rows = rows[(walk.u8(rows) & 0xF0 == 0x30) & (walk.u8(rows, 1) == 255)]
    flags = walk.u8(rows)
    extended = flags & 4 > 0
    size = np.where(flags & 7 > 0, 12, 8)
    following = np.where(extended, walk.u8(rows, 11), 0)
    for _ in range(8):
        more = (following > 0) & (walk.cursor[rows] + size + 4 <= walk.end[rows])
        if not more.any():
            break
        length = np.maximum(np.where(more, walk.u8(rows, np.where(more, size, 0)), 0), more) * 4
        size += length
        there = walk.cursor[rows] + size <= walk.end[rows]
        following = np.where(more & there, walk.u8(rows, np.where(more & there, size - 1, 0)), 0)
    there = walk.need(rows, size, "gtp")
    rows, size = rows[there], size[there]
    walk.depth[rows] += 1
    walk.skip(rows, size, RAW_IP)


QUOTED: dict[int, Handler] = {
    RAW_IP: raw_ip, IPV4: ipv4, IPV6: ipv6,
    IP | 0: extension, IP | 43: extension, IP | 60: extension, IP | 135: extension, IP | 139: extension,
    IP | 140: extension, IP | 44: fragment, IP | 51: authentication,
}
"""What may stand in a quote before the UDP header. A tunnel in there is not ours to open."""

INTERNET: dict[int, Handler] = {
    **QUOTED,
    IP | 4: ip_in_ip, IP | 41: ip_in_ip, IP | 47: gre,
    VXLAN: vxlan, GENEVE: geneve, GTP_U: gtp_u,
}
