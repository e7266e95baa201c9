"""What an IP packet may come in: every link layer, and every tunnel, as functions from packet to frame."""

from __future__ import annotations

import builders as b

BOTH, V4, V6 = (4, 6), (4,), (6,)
NEAR, FAR = {4: "10.0.0.1", 6: "fd00::1"}, {4: "10.0.0.2", 6: "fd00::2"}


def _null(order, family6):
    return lambda p: b.null_loop(p, order, 2 if b.family_of(p) == 4 else family6)


def _same(packet):
    return packet


def _compressed_ppp(packet):
    """The protocol in one byte (RFC 1661, 6.5)."""
    return bytes([b.PPP_TYPE[b.ethertype_of(packet)]]) + packet


LINKS = {
    "ethernet": (1, BOTH, b.ethernet),
    "vlan": (1, BOTH, lambda p: b.ethernet(b.vlan(p, 7), b.VLAN_TYPE)),
    "vlan in vlan": (1, BOTH, lambda p: b.ethernet(b.vlan(b.vlan(p, 7), 8, b.VLAN_TYPE), b.VLAN_TYPE)),
    "qinq": (1, BOTH, lambda p: b.ethernet(b.qinq(p), b.QINQ_TYPE)),
    "802.1ad alone": (1, BOTH, lambda p: b.ethernet(b.vlan(p, 7), b.QINQ_TYPE)),
    "0x9100": (1, BOTH, lambda p: b.ethernet(b.vlan(p, 7), 0x9100)),
    "pppoe": (1, BOTH, lambda p: b.ethernet(b.pppoe(p), b.PPPOE_TYPE)),
    "pppoe in vlan": (1, BOTH, lambda p: b.ethernet(b.vlan(b.pppoe(p), 7, b.PPPOE_TYPE), b.VLAN_TYPE)),
    "mpls": (1, BOTH, lambda p: b.ethernet(b.mpls(p, 16001), b.MPLS_TYPE)),
    "mpls stack": (1, BOTH, lambda p: b.ethernet(b.mpls(p, 1, 2, 3), b.MPLS_TYPE)),
    "mpls multicast": (1, BOTH, lambda p: b.ethernet(b.mpls(p, 16001), 0x8848)),
    "llc snap": (1, BOTH, lambda p: b.ethernet_802_3(b.llc_snap(p))),
    "vlan with llc snap": (1, BOTH, lambda p: b.ethernet(b.vlan(b.llc_snap(p), 7, len(p) + 8), b.VLAN_TYPE)),
    "sll": (113, BOTH, b.sll),
    "sll with vlan": (113, BOTH, lambda p: b.sll(b.vlan(p, 7), b.VLAN_TYPE)),
    "sll2": (276, BOTH, b.sll2),
    "sll2 with mpls": (276, BOTH, lambda p: b.sll2(b.mpls(p, 5), b.MPLS_TYPE)),
    "raw 12": (12, BOTH, _same),
    "raw 14": (14, BOTH, _same),
    "raw 101": (101, BOTH, _same),
    "ipv4": (228, V4, _same),
    "ipv6": (229, V6, _same),
    **{f"null {order} {family}": (0, BOTH, _null(order, family))
       for order in ("little", "big") for family in (10, 23, 24, 28, 30)},
    "loop": (108, BOTH, _null("big", 24)),
    "ppp": (9, BOTH, b.ppp),
    "ppp without address": (9, BOTH, lambda p: b.ppp(p, address_control=b"")),
    "ppp compressed": (9, BOTH, _compressed_ppp),
    "ppp with mpls": (9, BOTH, lambda p: b.ppp(b.mpls(p, 16001), 0x0281)),
    "ppp in hdlc": (50, BOTH, b.ppp),
    "pppoe alone": (51, BOTH, b.pppoe),
    "c-hdlc": (104, BOTH, b.chdlc),
    "ppp in c-hdlc": (104, BOTH, b.ppp),
}
"""Name -> LINKTYPE_ value, families it carries, and what makes a frame of a packet."""


def _over(family, proto, build=_same):
    return lambda p: b.ip(NEAR[family], FAR[family], build(p), proto)


def _in_udp(port, build):
    return lambda p: b.datagram(NEAR[4], FAR[4], 40000, port, build(p))


def _gre_with_routing(packet):
    """RFC 1701's routing bit costs four bytes, of which nothing else is known."""
    return b"\x40\0" + b.ethertype_of(packet).to_bytes(2, "big") + bytes(4) + packet


def _pptp(packet):
    """Version 1 (RFC 2637) with key and acknowledgement; PPP inside."""
    inner = b.ppp(packet)
    return b"\x20\x81\x88\x0b" + len(inner).to_bytes(2, "big") + bytes(2) + bytes(4) + inner


def _geneve_with_options(packet):
    return b.geneve(packet, protocol=b.ethertype_of(packet), options=bytes(8))


def _gtpu_with_extension(packet):
    """A header of four bytes behind the optional ones, the type of the next one last: none."""
    optional = b"\0\0" + b"\0" + b"\x85" + b"\x01\0\0\0"
    return b"\x34\xff" + (len(optional) + len(packet)).to_bytes(2, "big") + bytes(4) + optional + packet


TUNNELS = {
    "gre": (BOTH, _over(4, b.GRE, b.gre)),
    "gre over ipv6": (BOTH, _over(6, b.GRE, b.gre)),
    "gre with options": (BOTH, _over(4, b.GRE, lambda p: b.gre(p, key=5, sequence=6, with_checksum=True))),
    "gre with routing": (BOTH, _over(4, b.GRE, _gre_with_routing)),
    "gre with ethernet": (BOTH, _over(4, b.GRE, lambda p: b.gre(b.ethernet(p), 0x6558))),
    "pptp": (BOTH, _over(4, b.GRE, _pptp)),
    "4 in 4": (V4, _over(4, b.IPIP)), "6 in 4": (V6, _over(4, b.IP6_IN_IP)),
    "4 in 6": (V4, _over(6, b.IPIP)), "6 in 6": (V6, _over(6, b.IP6_IN_IP)),
    "vxlan": (BOTH, _in_udp(4789, lambda p: b.vxlan(b.ethernet(p)))),
    "vxlan on linux's port": (BOTH, _in_udp(8472, lambda p: b.vxlan(b.ethernet(p)))),
    "vxlan with group policy": (BOTH, _in_udp(4789, lambda p: b"\x88\0\0\5\0\0\x2a\0" + b.ethernet(p))),
    "vxlan with vlan": (BOTH, _in_udp(4789, lambda p: b.vxlan(b.ethernet(b.vlan(p), b.VLAN_TYPE)))),
    "geneve": (BOTH, _in_udp(6081, lambda p: b.geneve(b.ethernet(p)))),
    "geneve with options": (BOTH, _in_udp(6081, _geneve_with_options)),
    "gtp-u": (BOTH, _in_udp(2152, b.gtpu)),
    "gtp-u with sequence": (BOTH, _in_udp(2152, lambda p: b.gtpu(p, sequence=1))),
    "gtp-u with extension": (BOTH, _in_udp(2152, _gtpu_with_extension)),
    "gre in vxlan": (BOTH, _in_udp(4789, lambda p: b.vxlan(b.ethernet(_over(4, b.GRE, b.gre)(p))))),
}
"""Name -> families it carries, and what makes an IP packet of an IP packet."""


def cases(table):
    """(name, family) of every row and each family it carries."""
    return [(name, family) for name, row in table.items() for family in row[-2]]
