"""What an IP packet may come in: every link layer, and every tunnel, as functions from packet to frame."""

from __future__ import annotations

import builders as b
import rare_links as r

BOTH, V4, V6 = (4, 6), (4,), (6,)
NEAR, FAR = {4: "10.0.0.1", 6: "fd00::1"}, {4: "10.0.0.2", 6: "fd00::2"}


def _null(order, family6):
    return lambda p: b.null_loop(p, order, 2 if b.family_of(p) == 4 else family6)


def _same(packet):
    return packet


def _compressed_ppp(packet):
    """The protocol in one byte (RFC 1661, 6.5)."""
    return bytes([b.PPP_TYPE[b.ethertype_of(packet)]]) + packet


def _null_with_ethertype(order):
    return lambda p: b.null_loop(p, order, b.ethertype_of(p))


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
    **{
        f"null {order} {family}": (0, BOTH, _null(order, family))
        for order in ("little", "big")
        for family in (10, 23, 24, 28, 30)
    },
    "loop": (108, BOTH, _null("big", 24)),
    "ppp": (9, BOTH, b.ppp),
    "ppp without address": (9, BOTH, lambda p: b.ppp(p, address_control=b"")),
    "ppp compressed": (9, BOTH, _compressed_ppp),
    "ppp with mpls": (9, BOTH, lambda p: b.ppp(b.mpls(p, 16001), 0x0281)),
    "ppp in hdlc": (50, BOTH, b.ppp),
    "pppoe alone": (51, BOTH, b.pppoe),
    "c-hdlc": (104, BOTH, b.chdlc),
    "ppp in c-hdlc": (104, BOTH, b.ppp),
    **{f"null {order} ethertype": (0, BOTH, _null_with_ethertype(order)) for order in ("little", "big")},
    "null with ppp": (0, BOTH, b.ppp),
    "loop with ethertype": (108, BOTH, _null_with_ethertype("big")),
    "802.11": (105, BOTH, lambda p: r.wlan(r.snap(p))),
    "802.11 to the station": (105, BOTH, lambda p: r.wlan(r.snap(p), flags=2)),
    "802.11 ad hoc": (105, BOTH, lambda p: r.wlan(r.snap(p), flags=0)),
    "802.11 with fcs": (105, BOTH, lambda p: r.wlan(r.snap(p)) + bytes(4)),
    "802.11 qos": (105, BOTH, lambda p: r.wlan(r.snap(p), quality=5)),
    "802.11 qos retried": (105, BOTH, lambda p: r.wlan(r.snap(p), quality=5, flags=0x0A)),
    "802.11 qos with ht control": (105, BOTH, lambda p: r.wlan(r.snap(p), quality=5, flags=0x81, control=bytes(4))),
    "802.11 four addresses": (105, BOTH, lambda p: r.wlan(r.snap(p), flags=3)),
    "802.11 four addresses qos": (105, BOTH, lambda p: r.wlan(r.snap(p), flags=3, quality=0x0105)),
    "802.11 mesh": (105, BOTH, lambda p: r.wlan(b"\0\x1f" + bytes(4) + r.snap(p), flags=3, quality=0x0100)),
    "802.11 mesh with addresses": (
        105,
        BOTH,
        lambda p: r.wlan(b"\2\x1f" + bytes(16) + r.snap(p), flags=3, quality=0x0100),
    ),
    "802.11 a-msdu": (105, BOTH, r.amsdu),
    "802.11 a-msdu four addresses": (105, BOTH, lambda p: r.amsdu(p, flags=3) + bytes(4)),
    "802.11 with vlan": (105, BOTH, lambda p: r.wlan(r.SNAP + b"\x81\0" + b.vlan(p))),
    "radiotap": (127, BOTH, lambda p: r.radiotap(r.wlan(r.snap(p)))),
    "radiotap with fields": (
        127,
        BOTH,
        lambda p: r.radiotap(r.wlan(r.snap(p), quality=0), present=(0xF, 0x20), fields=bytes(19)),
    ),
    "radiotap with flags": (127, BOTH, lambda p: r.radiotap(r.wlan(r.snap(p)) + bytes(4), **r.with_flags(0x10))),
    "radiotap with padded 802.11": (127, BOTH, r.padded_wlan),
    "radiotap with a-msdu": (127, BOTH, lambda p: r.radiotap(r.amsdu(p))),
    "prism": (119, BOTH, lambda p: r.prism(r.wlan(r.snap(p)))),
    "prism big": (119, BOTH, lambda p: r.prism(r.wlan(r.snap(p)), ">")),
    "avs as prism": (119, BOTH, lambda p: r.avs(r.wlan(r.snap(p)))),
    "avs": (163, BOTH, lambda p: r.avs(r.wlan(r.snap(p), quality=1))),
    "ppi": (192, BOTH, lambda p: r.ppi(r.wlan(r.snap(p)))),
    "ppi with fields": (192, BOTH, lambda p: r.ppi(r.wlan(r.snap(p)), fields=bytes(24))),
    "ppi with ethernet": (192, BOTH, lambda p: r.ppi(b.ethernet(p), 1)),
    "ppi with raw ip": (192, BOTH, lambda p: r.ppi(p, 12)),
    "ppi with radiotap": (192, BOTH, lambda p: r.ppi(r.radiotap(r.wlan(r.snap(p))), 127)),
    **{
        f"pflog of {size}": (117, BOTH, lambda p, size=size: r.pflog(p, size)) for size in (45, 48, 61, 64, 69, 72, 100)
    },
    "old pflog": (17, BOTH, r.old_pflog),
    "enc": (109, BOTH, r.enc),
    "enc big": (109, BOTH, lambda p: r.enc(p, "big")),
    "pktap": (258, BOTH, lambda p: r.pktap(b.ethernet(p))),
    "pktap longer": (258, BOTH, lambda p: r.pktap(b.ethernet(b.vlan(p), b.VLAN_TYPE), size=156)),
    "pktap with raw ip": (258, BOTH, lambda p: r.pktap(p, 12)),
    "pktap with null": (258, BOTH, lambda p: r.pktap(b.null_loop(p), 0)),
    "pktap with radiotap": (258, BOTH, lambda p: r.pktap(r.radiotap(r.wlan(r.snap(p))), 127)),
    "pktap as user": (149, BOTH, lambda p: r.pktap(b.ethernet(p))),
    "nflog": (239, BOTH, r.nflog),
    "nflog big": (239, BOTH, lambda p: r.nflog(p, ">")),
    "nflog of inet": (239, BOTH, lambda p: r.nflog(p, family=1)),
    "nflog of a bridge": (239, BOTH, lambda p: r.nflog(p, family=7)),
    "nflog packet first": (239, BOTH, lambda p: r.nflog(p, before=b"") + r.attribute(10, b"late\0")),
    "erf": (197, BOTH, lambda p: r.erf(b.ethernet(p))),
    "erf with extensions": (197, BOTH, lambda p: r.erf(b.ethernet(p), extensions=2)),
    "erf with ip": (197, BOTH, lambda p: r.erf(p, 22 if b.family_of(p) == 4 else 23)),
    "erf with hdlc": (197, BOTH, lambda p: r.erf(b.chdlc(p), 1)),
    "frame relay": (107, BOTH, r.frame_relay),
    "frame relay long": (107, BOTH, lambda p: r.frame_relay(p, b"\x18@@\3", b"\0")),
    "frame relay snap": (107, BOTH, r.frame_relay_snap),
    "frame relay by cisco": (107, BOTH, r.frame_relay_cisco),
    "frame relay with direction": (206, BOTH, lambda p: b"\1" + r.frame_relay(p)),
    "ppp with direction": (204, BOTH, lambda p: b"\1" + b.ppp(p)),
    "c-hdlc with direction": (205, BOTH, lambda p: b"\0" + b.chdlc(p)),
    "atm": (100, BOTH, r.snap),
    "atm with ethernet": (100, BOTH, r.bridged_atm),
    "ipnet": (226, BOTH, lambda p: bytes(24) + p),
    "ieee 1394": (138, BOTH, r.typed(16)),
    "infiniband": (242, BOTH, r.typed(40, 2)),
    "netanalyzer": (240, BOTH, lambda p: bytes(4) + b.ethernet(p) + bytes(4)),
    "broadcom tag": (281, BOTH, r.typed(16)),
    "broadcom tag in front": (282, BOTH, lambda p: bytes(4) + b.ethernet(p)),
    "marvell tag": (284, BOTH, r.typed(16)),
    "marvell tag with ethertype": (285, BOTH, r.typed(20)),
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
    "4 in 4": (V4, _over(4, b.IPIP)),
    "6 in 4": (V6, _over(4, b.IP6_IN_IP)),
    "4 in 6": (V4, _over(6, b.IPIP)),
    "6 in 6": (V6, _over(6, b.IP6_IN_IP)),
    "vxlan": (BOTH, _in_udp(4789, lambda p: b.vxlan(b.ethernet(p)))),
    "vxlan on linux's port": (BOTH, _in_udp(8472, lambda p: b.vxlan(b.ethernet(p)))),
    "vxlan with group policy": (BOTH, _in_udp(4789, lambda p: b"\x88\0\0\5\0\0\x2a\0" + b.ethernet(p))),
    "vxlan with vlan": (BOTH, _in_udp(4789, lambda p: b.vxlan(b.ethernet(b.vlan(p), b.VLAN_TYPE)))),
    "geneve": (BOTH, _in_udp(6081, lambda p: b.geneve(b.ethernet(p)))),
    "geneve with options": (BOTH, _in_udp(6081, _geneve_with_options)),
    "gtp-u": (BOTH, _in_udp(2152, b.gtpu)),
    "gtp-u with sequence": (BOTH, _in_udp(2152, lambda p: b.gtpu(p, sequence=1))),
    "gtp-u with extension": (BOTH, _in_udp(2152, _gtpu_with_extension)),
    "gre with key": (BOTH, _over(4, b.GRE, lambda p: b.gre(p, key=5))),
    "gre with sequence": (BOTH, _over(6, b.GRE, lambda p: b.gre(p, sequence=6))),
    "gre with checksum": (BOTH, _over(4, b.GRE, lambda p: b.gre(p, with_checksum=True))),
    "gre with vlan": (BOTH, _over(4, b.GRE, lambda p: b.gre(b.vlan(p), b.VLAN_TYPE))),
    "gre with mpls": (BOTH, _over(4, b.GRE, lambda p: b.gre(b.mpls(p, 5), b.MPLS_TYPE))),
    "wccp": (V4, _over(4, b.GRE, lambda p: b.gre(p, 0x883E))),
    "wccp version 2": (V4, _over(4, b.GRE, lambda p: b.gre(b"\0\0\0\1" + p, 0x883E))),
    "erspan i": (BOTH, _over(4, b.GRE, lambda p: r.erspan(b.ethernet(p), 1))),
    "erspan ii": (BOTH, _over(4, b.GRE, lambda p: r.erspan(b.ethernet(p), 2))),
    "erspan ii over ipv6": (BOTH, _over(6, b.GRE, lambda p: r.erspan(b.ethernet(b.vlan(p), b.VLAN_TYPE), 2))),
    "erspan iii": (BOTH, _over(4, b.GRE, lambda p: r.erspan(b.ethernet(p), 3))),
    "erspan iii with more": (BOTH, _over(4, b.GRE, lambda p: r.erspan(b.ethernet(p), 3, subheader=bytes(8)))),
    "erspan iii with ip": (BOTH, _over(4, b.GRE, lambda p: r.erspan(p, 3, frame_type=2))),
    "etherip": (BOTH, _over(4, 97, lambda p: r.etherip(b.ethernet(p)))),
    "etherip over ipv6": (BOTH, _over(6, 97, lambda p: r.etherip(b.ethernet(b.vlan(p), b.VLAN_TYPE)))),
    "etherip the other way round": (BOTH, _over(4, 97, lambda p: r.etherip(b.ethernet(p), b"\3\0"))),
    "mpls in ip": (BOTH, _over(4, 137, lambda p: b.mpls(p, 5, 6))),
    "mpls in udp": (BOTH, _in_udp(6635, lambda p: b.mpls(p, 5))),
    "gre in udp": (BOTH, _in_udp(4754, lambda p: b.gre(p, key=1))),
    "vxlan-gpe": (BOTH, _in_udp(4790, lambda p: r.vxlan_gpe(b.ethernet(p), 3))),
    "vxlan-gpe with ip": (BOTH, _in_udp(4790, lambda p: r.vxlan_gpe(p, 1 if b.family_of(p) == 4 else 2))),
    "geneve with many options": (BOTH, _in_udp(6081, lambda p: b.geneve(b.ethernet(p), options=bytes(252)))),
    "l2tp": (BOTH, _in_udp(1701, r.l2tp)),
    "l2tp with all fields": (BOTH, _in_udp(1701, lambda p: r.l2tp(p, 0x4A02, bytes(10) + b"\0\3" + bytes(3)))),
    "gue": (BOTH, _in_udp(6080, r.gue)),
    "gue with options": (BOTH, _in_udp(6080, lambda p: r.gue(p, 3))),
    "gue version 1": (BOTH, _in_udp(6080, _same)),
    "capwap": (BOTH, _in_udp(5247, lambda p: r.capwap(b.ethernet(p)))),
    "capwap from the controller": (
        BOTH,
        lambda p: b.datagram(NEAR[6], FAR[6], 5247, 40000, r.capwap(b.ethernet(p), hlen=4)),
    ),
    "capwap with 802.11": (BOTH, _in_udp(5247, lambda p: r.capwap(r.wlan(r.snap(p), flags=2), is_wlan=True))),
    "capwap with swapped 802.11": (BOTH, _in_udp(5247, lambda p: r.capwap(r.swapped_wlan(p), is_wlan=True))),
    "capwap with a-msdu": (BOTH, _in_udp(5247, lambda p: r.capwap(r.amsdu(p), is_wlan=True))),
    "teredo": (V6, _in_udp(3544, _same)),
    "gre in vxlan": (BOTH, _in_udp(4789, lambda p: b.vxlan(b.ethernet(_over(4, b.GRE, b.gre)(p))))),
}
"""Name -> families it carries, and what makes an IP packet of an IP packet."""


def cases(table):
    """(name, family) of every row and each family it carries."""
    return [(name, family) for name, row in table.items() for family in row[-2]]
