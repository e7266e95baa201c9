"""Handlers of link layers: what stands before IP (https://www.tcpdump.org/linktypes.html)."""

from __future__ import annotations

import numpy as np

from udpprobe.core.batch import I32, I64
from udpprobe.core.decoding.layers_ip import IPV4, IPV6
from udpprobe.core.decoding.walk import ETHER, LINK, LLC, MPLS, PPP, RAW_IP, Handler, Walk

ETHERNET, SLL, SLL2 = 1, 113, 276
RAW_LINKS = (12, 14, 101, 228, 229)
"""LINKTYPE_RAW as several systems wrote it, and LINKTYPE_IPV4 and LINKTYPE_IPV6."""

ADDRESS_FAMILIES = {2: IPV4, 10: IPV6, 23: IPV6, 24: IPV6, 28: IPV6, 30: IPV6}
"""AF_INET is 2 everywhere; AF_INET6 on Linux, Windows, Open- and NetBSD, FreeBSD, Darwin."""

PPP_PROTOCOLS = {0x0021: IPV4, 0x0057: IPV6, 0x0281: MPLS, 0x0283: MPLS}


def _ether(walk: Walk, rows: I64, size: int, number: I64) -> None:
    """What follows an EtherType, or an IEEE 802.3 length."""
    walk.skip(rows, size, np.where(number < 0x0600, LLC, ETHER | number))


def ethernet(walk: Walk, rows: I64) -> None:
    """Ethernet II or IEEE 802.3."""
    rows = rows[walk.need(rows, 14, "ethernet")]
    _ether(walk, rows, 14, walk.u16(rows, 12))


def vlan(walk: Walk, rows: I64) -> None:
    """IEEE 802.1Q and 802.1ad."""
    rows = rows[walk.need(rows, 4, "vlan")]
    _ether(walk, rows, 4, walk.u16(rows, 2))


def llc(walk: Walk, rows: I64) -> None:
    """LLC with SNAP (RFC 1042); anything else there carries no UDP."""
    rows = rows[walk.need(rows, 8, "llc")]
    rows = rows[(walk.u16(rows) == 0xAAAA) & (walk.u8(rows, 2) == 3)]
    _ether(walk, rows, 8, walk.u16(rows, 6))


def pppoe(walk: Walk, rows: I64) -> None:
    """PPPoE session stage (RFC 2516)."""
    rows = rows[walk.need(rows, 6, "pppoe")]
    walk.skip(rows, 6, PPP)


def ppp(walk: Walk, rows: I64) -> None:
    """PPP with or without address and control, and with a protocol of one or two bytes (RFC 1661, 1662)."""
    rows = rows[walk.need(rows, 4, "ppp")]
    start = np.where(walk.u16(rows) == 0xFF03, 2, 0)
    compressed = walk.u8(rows, start) & 1 == 1
    protocol = np.where(compressed, walk.u8(rows, start), walk.u16(rows, start))
    walk.skip(rows, start + np.where(compressed, 1, 2), _look_up(PPP_PROTOCOLS, protocol))


def c_hdlc(walk: Walk, rows: I64) -> None:
    """Cisco HDLC (RFC 1547, 4.3.1); a PPP frame may stand there too (LINKTYPE_PPP_HDLC)."""
    rows = rows[walk.need(rows, 4, "hdlc")]
    is_ppp = walk.u16(rows) == 0xFF03
    walk.kind[rows[is_ppp]] = PPP
    rows = rows[~is_ppp]
    _ether(walk, rows, 4, walk.u16(rows, 2))


def mpls(walk: Walk, rows: I64) -> None:
    """One label stack entry (RFC 3032); behind the last one the version tells what follows."""
    rows = rows[walk.need(rows, 5, "mpls")]
    bottom = walk.u8(rows, 2) & 1 == 1
    version = walk.u8(rows, 4) >> 4
    inner = np.where((version == 4) | (version == 6), RAW_IP, 0)
    walk.skip(rows, 4, np.where(bottom, inner, MPLS))


def sll(walk: Walk, rows: I64) -> None:
    """LINKTYPE_LINUX_SLL."""
    rows = rows[walk.need(rows, 16, "sll")]
    _ether(walk, rows, 16, walk.u16(rows, 14))


def sll2(walk: Walk, rows: I64) -> None:
    """LINKTYPE_LINUX_SLL2."""
    rows = rows[walk.need(rows, 20, "sll2")]
    _ether(walk, rows, 20, walk.u16(rows))


def null(walk: Walk, rows: I64) -> None:
    """LINKTYPE_NULL and LINKTYPE_LOOP: an address family in the byte order of whoever captured."""
    rows = rows[walk.need(rows, 4, "null")]
    big = walk.u32(rows)
    little = (big & 0xFF) << 24 | (big & 0xFF00) << 8 | big >> 8 & 0xFF00 | big >> 24
    walk.skip(rows, 4, _look_up(ADDRESS_FAMILIES, np.minimum(big, little)))


def _look_up(table: dict[int, int], keys: I64) -> I64:
    """The kind each key stands for, 0 for none."""
    kinds = np.zeros(len(keys), np.int64)
    for key, kind in table.items():
        kinds[keys == key] = kind
    return kinds


LINKS: dict[int, Handler] = {
    LINK | 0: null, LINK | ETHERNET: ethernet, LINK | 9: ppp, LINK | 50: c_hdlc, LINK | 51: pppoe,
    LINK | 104: c_hdlc, LINK | 108: null, LINK | SLL: sll, LINK | SLL2: sll2,
    ETHER | 0x8100: vlan, ETHER | 0x88A8: vlan, ETHER | 0x9100: vlan,
    ETHER | 0x8847: mpls, ETHER | 0x8848: mpls, MPLS: mpls,
    ETHER | 0x8864: pppoe, ETHER | 0x880B: ppp, PPP: ppp, LLC: llc,
}


def kind_of_link(link_type: I32) -> I64:
    """(n,) the kind a frame of each link type starts with."""
    kinds = LINK | link_type.astype(np.int64)
    kinds[np.isin(link_type, RAW_LINKS)] = RAW_IP
    return kinds
