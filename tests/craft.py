"""Make the captures of what no kernel here emits: `craft.py --into pcaps/`. The same bytes every time.

A capture is a link type and its frames, a millisecond apart.
"""

from __future__ import annotations

import argparse
import struct
from pathlib import Path

import builders as b
from builders import (
    CLIENT,
    ETHERNET,
    PORT,
    ROUTER,
    TIME_EXCEEDED,
    error_about,
    expired,
    host,
    in_ethernet,
    sent,
    with_refusal,
)

# ---- quotes


def quotes_short():
    """8 bytes of UDP; the ports only; the IP header only; a cut IP header."""
    cases = [(1, 4, 28), (2, 4, 24), (3, 4, 20), (4, 4, 12), (1, 6, 48), (2, 6, 44), (3, 6, 40), (4, 6, 24)]
    return in_ethernet(
        *(
            with_refusal(packet, quote=packet[:size])
            for packet, size in ((sent(n, family), size) for n, family, size in cases)
        )
    )


def quotes_altered():
    """What stacks and NATs make of a quote before they send it back."""
    cases = [
        lambda q: q[:2] + q[3:1:-1] + q[4:],  # 1: total length, byte-swapped
        lambda q: q[:2] + q[3:1:-1] + q[5:3:-1] + q[6:],  # 2: total length and id
        lambda q: q[:2] + struct.pack("!H", 20) + q[4:],  # 3: 20, with more behind it
        lambda q: q[:2] + b"\0\0" + q[4:],  # 4: 0
        lambda q: q[:10] + b"\0\0" + q[12:],  # 5: header checksum zeroed
        lambda q: q[:26] + b"\0\0" + q[28:],  # 6: UDP checksum zeroed
        lambda q: q[:2] + struct.pack("!H", len(q) - 20) + q[4:],  # 7: without the header's own 20 bytes
    ]
    packets = [(sent(n), alter) for n, alter in enumerate(cases, 1)]
    return in_ethernet(*(with_refusal(packet, quote=alter(packet)) for packet, alter in packets))


def quotes_headers():
    """IP options, and each extension header of IPv6, in what was sent and in the quote."""

    def behind(n, *headers):
        packet, next_header = b.udp(40000 + n, PORT, b"data", CLIENT[6], host(n, 6)), b.UDP
        for number, build in headers:
            packet, next_header = build(packet, next_header), number
        return b.ipv6(CLIENT[6], host(n, 6), packet, next_header)

    hop, routing, piece, options, ah = (
        (0, b.hop_by_hop),
        (b.ROUTING, b.routing),
        (b.FRAGMENT, b.fragment),
        (b.DSTOPTS, b.destination_options),
        (b.AH, b.ah),
    )
    chains = [(hop,), (options,), (routing,), (piece,), (ah,), (piece, options, hop), (ah, routing, options, hop)]
    record_route = sent(1, options=bytes([7, 11, 4]) + b"\0" * 8)
    return in_ethernet(
        with_refusal(record_route), *(with_refusal(behind(n, *chain)) for n, chain in enumerate(chains, 1))
    )


def quotes_fragments():
    """An error about a later fragment has no ports; one about the first has them."""
    big4, big6 = sent(1, size=2000, ttl=5), sent(1, 6, size=2000, ttl=5)
    first4, later4 = b.fragments(big4, 1480, id=0x4321)
    first6, later6 = b.fragments(big6, 1448)
    other = b.fragments(sent(2, size=2000), 1480, id=0x4322)
    return in_ethernet(
        [first4, later4, error_about(later4, TIME_EXCEEDED, reporter=ROUTER[4])],
        [first6, later6, error_about(later6, TIME_EXCEEDED, reporter=ROUTER[6])],
        [*other, error_about(other[0], reporter=host(2))],
    )


# ---- extensions


def rfc4884():
    """With and without the length field, with padding that is none, with a bad checksum, with a lie."""
    labels = b.extension_structure(b.mpls_labels(16001, 16002))
    interface = b.extension_structure(
        b.interface_information(0, 3, "203.0.113.1", "ge-0/0/1", 1500),
        b.interface_information(2, 4, "2001:db8:ff::2", "ge-0/0/2"),
    )
    cases = [
        (4, labels, True),
        (4, labels, False),
        (4, interface, True),
        (6, labels, True),
        (6, interface, True),
        (4, b"\0" * 16, False),  # padding, version 0
        (4, b.extension_structure(b.mpls_labels(16001), checksum=0x1234), True),
        (4, labels[:6], True),  # cut in an object's header
    ]
    return in_ethernet(
        *(
            extended(sent(n, family, ttl=5), extension, with_length=with_length)
            for n, (family, extension, with_length) in enumerate(cases, 1)
        ),
        beyond(sent(9, ttl=5)),
    )


def extended(packet, extension, *, with_length):
    rest = b.quote_length(b.padded(packet), b.family_of(packet)) if with_length else 0
    return expired(packet, lambda quote: b.padded(quote) + extension, rest=rest)


def beyond(packet):
    """A length field that reaches beyond the end of the error."""
    return expired(packet, rest=200 << 16)


# ---- kinds of errors


def mtus():
    """0 (a router older than RFC 1191), below the least, and not smaller than what was sent."""
    packets4 = [(sent(n, 4, 1400, df=True), mtu) for n, mtu in enumerate((0, 60, 1428, 1500, 1400), 1)]
    packets6 = [(sent(n, 6, 1400), mtu) for n, mtu in enumerate((0, 1000, 1500, 1400), 1)]
    return in_ethernet(
        *([packet, b.frag_needed(packet, mtu, ROUTER[4])] for packet, mtu in packets4),
        *([packet, b.packet_too_big(packet, mtu, ROUTER[6])] for packet, mtu in packets6),
    )


def kinds():
    """Every type and code of the table, and some that nobody has defined."""
    kinds4 = [(3, code) for code in range(17)] + [(4, 0), (11, 1), (11, 2), (12, 0), (12, 1), (12, 2)]
    kinds6 = [(1, code) for code in range(9)] + [(2, 1), (3, 1), (3, 2), (100, 0), (127, 0)]
    kinds6 += [(4, code) for code in range(4)]
    cases = [
        (sent(n, family), family, kind)
        for family, table in ((4, kinds4), (6, kinds6))
        for n, kind in enumerate(table, 1)
    ]
    return in_ethernet(
        *(
            [packet, b.error(packet, *kind, kind_rest(family, kind), reporter=ROUTER[family])]
            for packet, family, kind in cases
        )
    )


def kind_rest(family, kind):
    """An MTU, or a pointer: a byte in ICMP, a word in ICMPv6."""
    return {(4, 3, 4): 1400, (6, 2, 1): 1400, (4, 12, 0): 20 << 24, (6, 4, 1): 40}.get((family, *kind), 0)


def icmp_checksums():
    """Bad ones: the error is believed, with a note."""
    return in_ethernet(with_refusal(sent(1), checksum=0x1234), with_refusal(sent(1, 6), checksum=0x1234))


def icmp_fragmented():
    """The error itself came in fragments: the first holds the quote's headers."""
    packet4, packet6 = sent(1, size=500), sent(1, 6, size=900)
    return in_ethernet(
        [packet4, *b.fragments(error_about(packet4), 256)], [packet6, *b.fragments(error_about(packet6), 512)]
    )


def negatives():
    """No error about UDP: an echo, errors about TCP and an echo, a redirect."""
    tcp = b.ipv4(CLIENT[4], host(2), struct.pack("!HHIIHHHH", 40002, 80, 1, 0, 0x5002, 65535, 0, 0), 6)
    echo = b.ipv4(CLIENT[4], host(3), b.icmp4(8, 0, 1, b"ping"), b.ICMP)
    return in_ethernet(with_refusal(tcp), with_refusal(echo), [sent(1), b.error(sent(1), 5, 1, reporter=ROUTER[4])])


# ---- correlation


def correlation():
    """Whose error it is: the datagram whose checksum agrees, never a later one, or none."""
    first, second = (b.datagram(CLIENT[6], host(1, 6), 40001, PORT, data) for data in (b"first", b"other"))
    unseen, late = sent(2), sent(3)
    behind_nat = b.datagram("203.0.113.77", host(4), 61000, PORT, b"same", id=0x7777)
    inside = b.datagram(CLIENT[4], host(4), 40004, PORT, b"same", id=0x7777)
    other_id = sent(5, id=0x5555)
    return in_ethernet(
        [first, second, error_about(first)],  # 1: the earlier of two, by its checksum
        [error_about(unseen)],  # 2: nobody saw it being sent
        [error_about(late), late],  # 3: sent after the error
        [inside, error_about(behind_nat)],  # 4: a NAT changed the source
        [other_id, error_about(sent(5, id=0x6666))],
    )  # 5: a flow, not the same id


def loops():
    """Loop or traceroute: by the TTL it left with, by one reporter at three TTLs, by neither: at two."""
    high, low = sent(1, ttl=64), sent(2, ttl=3)
    twice = [packet for ttl in (5, 7) for packet in expired(sent(3, ttl=ttl, id=ttl))]
    walk = [
        packet
        for ttl in (1, 2)
        for packet in (sent(4, ttl=ttl, id=ttl), b.time_exceeded(sent(4, ttl=1, id=ttl), f"203.0.113.{10 + ttl}"))
    ]
    router_copy = [sent(5), b.forwarded(sent(5))]  # a router captured on both sides is no loop
    thrice = [packet for ttl in (5, 7, 9) for packet in expired(sent(6, ttl=ttl, id=ttl))]
    return in_ethernet(expired(high), expired(low), twice, walk, router_copy, thrice)


START_S = 1_600_000_000


# ---- links and tunnels

NULL, PPP, RAW, C_HDLC, LOOP = 0, 9, 101, 104, 108


def links_ethernet():
    """One refusal in each of what Ethernet carries."""
    wraps = [
        lambda p: b.ethernet(b.vlan(p, 7), b.VLAN_TYPE),
        lambda p: b.ethernet(b.qinq(p), b.QINQ_TYPE),
        lambda p: b.ethernet(b.vlan(b.vlan(p, 7), 8, b.VLAN_TYPE), b.VLAN_TYPE),
        lambda p: b.ethernet(b.pppoe(p), b.PPPOE_TYPE),
        lambda p: b.ethernet(b.mpls(p, 16001), b.MPLS_TYPE),
        lambda p: b.ethernet(b.mpls(p, 16001, 16002, 16003), b.MPLS_TYPE),
        lambda p: b.ethernet(b.vlan(b.pppoe(p), 7, b.PPPOE_TYPE), b.VLAN_TYPE),
        lambda p: b.ethernet_802_3(b.llc_snap(p)),
    ]
    return ETHERNET, [
        wrap(packet) for n, wrap in enumerate(wraps, 1) for family in (4, 6) for packet in with_refusal(sent(n, family))
    ]


def both_families(wrap):
    return [wrap(packet) for family in (4, 6) for packet in with_refusal(sent(1, family))]


def links_null():
    """The family as each BSD numbers it, in either byte order."""
    sides = [(order, family) for order in ("little", "big") for family in (24, 28, 30)]
    return NULL, [
        b.null_loop(packet, order, family if version == 6 else 2)
        for n, (order, family) in enumerate(sides, 1)
        for version in (4, 6)
        for packet in with_refusal(sent(n, version))
    ]


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
        over(4, b.GRE, b.gre),
        over(6, b.GRE, b.gre),
        over(4, b.GRE, lambda p: b.gre(p, key=5, sequence=6, with_checksum=True)),
        in_udp(4789, lambda p: b.vxlan(b.ethernet(p))),
        in_udp(6081, lambda p: b.geneve(b.ethernet(p))),
        in_udp(6081, lambda p: b.geneve(p, protocol=b.ethertype_of(p), options=b"\0" * 8)),
        in_udp(2152, b.gtpu),
        in_udp(2152, lambda p: b.gtpu(p, sequence=1)),
    ]
    ip_in_ip = [(over(outer, proto), inner) for outer in (4, 6) for inner, proto in ((4, b.IPIP), (6, b.IP6_IN_IP))]
    cases = [(wrap, family) for wrap in wraps for family in (4, 6)] + ip_in_ip
    return in_ethernet(
        *([wrap(packet) for packet in with_refusal(sent(n, family))] for n, (wrap, family) in enumerate(cases, 1))
    )


def tunnel_dead():
    """Nobody at the tunnel's end: the error quotes the tunnel's own UDP header and is about it."""
    tunnel = b.datagram("10.0.0.1", "10.0.0.2", 2152, 2152, b.gtpu(sent(1)))
    return in_ethernet(with_refusal(tunnel))


CAPTURES = {
    f"{make.__name__.replace('_', '-')}.pcap": make
    for make in (
        quotes_short,
        quotes_altered,
        quotes_headers,
        quotes_fragments,
        rfc4884,
        mtus,
        kinds,
        icmp_checksums,
        icmp_fragmented,
        negatives,
        correlation,
        loops,
        links_ethernet,
        links_null,
        links_loop,
        links_ppp,
        links_chdlc,
        links_raw,
        tunnels,
        tunnel_dead,
    )
}


def pcap(link_type, frames):
    """The bytes of a little-endian capture with microseconds."""
    records = (
        struct.pack("<IIII", START_S, 1000 * i, len(frame), len(frame)) + frame for i, frame in enumerate(frames)
    )
    return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, link_type) + b"".join(records)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--into", type=Path, required=True)
    into = parser.parse_args().into
    for name, make in CAPTURES.items():
        (into / name).write_bytes(pcap(*make()))


if __name__ == "__main__":
    main()
