"""A refusal in every link layer and tunnel, for craft.py."""

from __future__ import annotations

import builders as b
from crafting import ETHERNET, in_ethernet, sent, told

NULL, PPP, RAW, C_HDLC, LOOP = 0, 9, 101, 104, 108


# ---- links and tunnels

def links_ethernet():
    """One refusal in each of what Ethernet carries."""
    wraps = [
        lambda p: b.ethernet(b.vlan(p, 7), b.VLAN_TYPE), lambda p: b.ethernet(b.qinq(p), b.QINQ_TYPE),
        lambda p: b.ethernet(b.vlan(b.vlan(p, 7), 8, b.VLAN_TYPE), b.VLAN_TYPE),
        lambda p: b.ethernet(b.pppoe(p), b.PPPOE_TYPE), lambda p: b.ethernet(b.mpls(p, 16001), b.MPLS_TYPE),
        lambda p: b.ethernet(b.mpls(p, 16001, 16002, 16003), b.MPLS_TYPE),
        lambda p: b.ethernet(b.vlan(b.pppoe(p), 7, b.PPPOE_TYPE), b.VLAN_TYPE),
        lambda p: b.ethernet_802_3(b.llc_snap(p)),
    ]
    return ETHERNET, [wrap(packet) for n, wrap in enumerate(wraps, 1)
                      for family in (4, 6) for packet in told(sent(n, family))]


def both_families(wrap):
    return [wrap(packet) for family in (4, 6) for packet in told(sent(1, family))]


def links_null():
    """The family as each BSD numbers it, in either byte order."""
    sides = [(order, family) for order in ("little", "big") for family in (24, 28, 30)]
    return NULL, [b.null_loop(packet, order, family if version == 6 else 2)
                  for n, (order, family) in enumerate(sides, 1)
                  for version in (4, 6) for packet in told(sent(n, version))]


def links_loop():
    return LOOP, both_families(lambda packet: b.null_loop(packet, "big"))


def links_ppp():
    return PPP, both_families(b.ppp)


def links_chdlc():
    return C_HDLC, both_families(b.chdlc)


def links_raw():
    return RAW, both_families(lambda packet: packet)


def tunnels():
    """A refusal inside each tunnel."""
    near, far = {4: "10.0.0.1", 6: "fd00::1"}, {4: "10.0.0.2", 6: "fd00::2"}

    def over(family, proto, build=lambda p: p):
        return lambda p: b.ip(near[family], far[family], build(p), proto)

    def in_udp(port, build):
        return lambda p: b.datagram(near[4], far[4], port, port, build(p))

    wraps = [
        over(4, b.GRE, b.gre), over(6, b.GRE, b.gre),
        over(4, b.GRE, lambda p: b.gre(p, key=5, sequence=6, with_checksum=True)),
        in_udp(4789, lambda p: b.vxlan(b.ethernet(p))), in_udp(6081, lambda p: b.geneve(b.ethernet(p))),
        in_udp(6081, lambda p: b.geneve(p, protocol=b.ethertype_of(p), options=b"\0" * 8)),
        in_udp(2152, b.gtpu), in_udp(2152, lambda p: b.gtpu(p, sequence=1)),
    ]
    ip_in_ip = [(over(outer, proto), inner) for outer in (4, 6)
                for inner, proto in ((4, b.IPIP), (6, b.IP6_IN_IP))]
    cases = [(wrap, family) for wrap in wraps for family in (4, 6)] + ip_in_ip
    return in_ethernet(*([wrap(packet) for packet in told(sent(n, family))]
                         for n, (wrap, family) in enumerate(cases, 1)))


def tunnel_dead():
    """Nobody at the tunnel's end: the error quotes the tunnel's own UDP header and is about it."""
    tunnel = b.datagram("10.0.0.1", "10.0.0.2", 2152, 2152, b.gtpu(sent(1)))
    return in_ethernet(told(tunnel))


CAPTURES = (links_ethernet, links_null, links_loop, links_ppp, links_chdlc, links_raw, tunnels, tunnel_dead)
