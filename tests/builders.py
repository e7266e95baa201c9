"""Frames by `struct`: what the tests decode is built here, without the code under test and without Scapy.

Every builder takes its payload and returns bytes, so that a frame reads from the outside in:
`ethernet(vlan(datagram("10.0.0.1", "10.0.0.2", 4000, 53, b"?"), 7), VLAN_TYPE)`. Lengths and checksums are
right unless an argument says otherwise. `datagram`, `error` and what follows make whole IP packets of either
family; `padded(quote) + extension_structure(mpls_labels(16001))` is a quote for `error`.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from ipaddress import ip_address

ICMP, IPIP, UDP, IP6_IN_IP, ROUTING, FRAGMENT, GRE, AH, ICMP6, DSTOPTS = 1, 4, 17, 41, 43, 44, 47, 51, 58, 60
IP4_TYPE, IP6_TYPE = 0x0800, 0x86DD
VLAN_TYPE, QINQ_TYPE, MPLS_TYPE, PPPOE_TYPE = 0x8100, 0x88A8, 0x8847, 0x8864
PPP_TYPE = {IP4_TYPE: 0x0021, IP6_TYPE: 0x0057}
QUOTE_LIMIT = {4: 548, 6: 1232}  # what Linux quotes: the error is to fit in 576 and 1280 bytes
MACS = bytes.fromhex("020000000002 020000000001")


@lru_cache(maxsize=1 << 16)
def packed(address):
    return ip_address(address).packed


def internet_checksum(data):
    """RFC 1071."""
    total = sum(struct.unpack(f"!{(len(data) + 1) // 2}H", data + b"\0" * (len(data) % 2)))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return 0xFFFF ^ total


def family_of(packet):
    return packet[0] >> 4


def ethertype_of(packet):
    return IP6_TYPE if family_of(packet) == 6 else IP4_TYPE


def or_else(override, value):
    return value if override is None else override


# ---- links


def ethernet(payload, ethertype=None, macs=MACS):
    return macs + struct.pack("!H", or_else(ethertype, ethertype_of(payload))) + payload


def vlan(payload, vid=1, ethertype=None, priority=0):
    """A tag and what is behind it; goes into `ethernet(..., VLAN_TYPE)`."""
    return struct.pack("!HH", priority << 13 | vid, or_else(ethertype, ethertype_of(payload))) + payload


def qinq(payload, outer=100, inner=7):
    """Two tags; goes into `ethernet(..., QINQ_TYPE)`."""
    return vlan(vlan(payload, inner), outer, VLAN_TYPE)


def llc_snap(payload, ethertype=None):
    """Goes into `ethernet_802_3`."""
    return b"\xaa\xaa\x03\0\0\0" + struct.pack("!H", or_else(ethertype, ethertype_of(payload))) + payload


def ethernet_802_3(payload):
    """A length where Ethernet II has a type."""
    return ethernet(payload, len(payload))


def mpls(payload, *labels, ttl=64):
    """A label stack; goes into `ethernet(..., MPLS_TYPE)`."""
    last = len(labels) - 1
    entries = (label << 12 | (i == last) << 8 | ttl for i, label in enumerate(labels))
    return b"".join(struct.pack("!I", entry) for entry in entries) + payload


def ppp(payload, protocol=None, address_control=b"\xff\x03"):
    return address_control + struct.pack("!H", or_else(protocol, PPP_TYPE[ethertype_of(payload)])) + payload


def pppoe(payload, session=1, protocol=None):
    """Goes into `ethernet(..., PPPOE_TYPE)`."""
    inner = ppp(payload, protocol, b"")
    return struct.pack("!BBHH", 0x11, 0, session, len(inner)) + inner


def chdlc(payload, ethertype=None):
    return struct.pack("!BBH", 0x0F, 0, or_else(ethertype, ethertype_of(payload))) + payload


def sll(payload, ethertype=None, packet_type=0):
    header = struct.pack("!HHH8s", packet_type, 1, 6, MACS[6:])
    return header + struct.pack("!H", or_else(ethertype, ethertype_of(payload))) + payload


def sll2(payload, ethertype=None, packet_type=0, ifindex=2):
    protocol = or_else(ethertype, ethertype_of(payload))
    return struct.pack("!HHIHBB8s", protocol, 0, ifindex, 1, packet_type, 6, MACS[6:]) + payload


def null_loop(payload, order="little", family=None):
    """The address family in 4 bytes: NULL in the recorder's order, LOOP big-endian. IPv6: 24, 28 or 30."""
    return or_else(family, {4: 2, 6: 30}[family_of(payload)]).to_bytes(4, order) + payload


# ---- IP


def ipv4(
    src,
    dst,
    payload=b"",
    proto=UDP,
    *,
    ttl=64,
    id=0x1234,  # noqa: A002 the field's name
    df=False,
    mf=False,
    frag_offset=0,
    options=b"",
    tos=0,
    total_length=None,
    checksum=None,
):
    """`frag_offset` in units of 8 bytes, as on the wire."""
    options += b"\0" * (-len(options) % 4)
    length = or_else(total_length, 20 + len(options) + len(payload))
    flags = df << 14 | mf << 13 | frag_offset
    start = struct.pack("!BBHHHBB", 0x45 + len(options) // 4, tos, length, id, flags, ttl, proto)
    rest = packed(src) + packed(dst) + options
    right = internet_checksum(start + b"\0\0" + rest)
    return start + struct.pack("!H", or_else(checksum, right)) + rest + payload


def ipv6(src, dst, payload=b"", next_header=UDP, *, hop_limit=64, flow_label=0, traffic_class=0, payload_length=None):
    word = 6 << 28 | traffic_class << 20 | flow_label
    length = or_else(payload_length, len(payload))
    return struct.pack("!IHBB", word, length, next_header, hop_limit) + packed(src) + packed(dst) + payload


def ip(src, dst, payload, proto=UDP, *, ttl=64, **fields):
    """A packet of the family of its addresses; `ttl` is the hop limit of IPv6 too."""
    if ":" in src:
        return ipv6(src, dst, payload, proto, **{"hop_limit": ttl, **fields})
    return ipv4(src, dst, payload, proto, ttl=ttl, **fields)


def options_header(payload, next_header=UDP, options=b""):
    """Hop-by-hop (0) or destination options (60), filled up with PadN."""
    gap = -(2 + len(options)) % 8
    pad = b"\0" if gap == 1 else bytes([1, gap - 2]) + b"\0" * (gap - 2) if gap else b""
    return bytes([next_header, (2 + len(options) + gap) // 8 - 1]) + options + pad + payload


hop_by_hop = destination_options = options_header


def routing(payload, next_header=UDP, addresses=(), segments_left=0, routing_type=0):
    hops = b"".join(map(packed, addresses))
    return struct.pack("!BBBBI", next_header, len(hops) // 8, routing_type, segments_left, 0) + hops + payload


def fragment(payload, next_header=UDP, *, offset=0, more=False, id=0xCAFE):  # noqa: A002 the field's name
    """`offset` in units of 8 bytes."""
    return struct.pack("!BBHI", next_header, 0, offset << 3 | more, id) + payload


def ah(payload, next_header=UDP, icv=b"\0" * 12):
    """RFC 4302; its length counts words minus two."""
    return struct.pack("!BBHII", next_header, (12 + len(icv)) // 4 - 2, 0, 1, 1) + icv + payload


def fragments(packet, size, id=0xCAFE):  # noqa: A002 the field's name
    """The packet (no options, no extension headers) in fragments of `size` payload bytes, a multiple of 8."""
    if family_of(packet) == 6:
        return [
            ipv6(
                *ends(packet),
                fragment(piece, packet[6], offset=at // 8, more=more, id=id),
                FRAGMENT,
                hop_limit=packet[7],
            )
            for at, more, piece in pieces(packet[40:], size)
        ]
    return [
        ipv4(*ends(packet), piece, packet[9], id=id, mf=more, frag_offset=at // 8, ttl=packet[8])
        for at, more, piece in pieces(packet[20:], size)
    ]


def pieces(payload, size):
    return [(at, at + size < len(payload), payload[at : at + size]) for at in range(0, len(payload), size)]


def ends(packet):
    """Source and destination of an IP packet, as text."""
    at, width = (8, 16) if family_of(packet) == 6 else (12, 4)
    return str(ip_address(packet[at : at + width])), str(ip_address(packet[at + width : at + 2 * width]))


# ---- transport


def pseudo_header(src, dst, length, proto):
    if ":" in src:
        return packed(src) + packed(dst) + struct.pack("!II", length, proto)
    return packed(src) + packed(dst) + struct.pack("!HH", proto, length)


def udp(sport, dport, payload=b"", src=None, dst=None, *, checksum=None, length=None):
    """Checksum 0 (none) where no addresses are given."""
    header = struct.pack("!HHH", sport, dport, or_else(length, 8 + len(payload)))
    if checksum is None and src is not None:
        pseudo = pseudo_header(src, dst, 8 + len(payload), UDP)
        checksum = internet_checksum(pseudo + header + b"\0\0" + payload) or 0xFFFF
    return header + struct.pack("!H", checksum or 0) + payload


def icmp4(type, code=0, rest=0, quote=b"", *, checksum=None):  # noqa: A002 the field's name
    """`rest`: the 32 bits behind the checksum."""
    body = struct.pack("!I", rest) + quote
    right = internet_checksum(bytes([type, code, 0, 0]) + body)
    return struct.pack("!BBH", type, code, or_else(checksum, right)) + body


def icmp6(type, code=0, rest=0, quote=b"", *, src, dst, checksum=None):  # noqa: A002 the field's name
    body = struct.pack("!I", rest) + quote
    pseudo = pseudo_header(src, dst, 4 + len(body), ICMP6)
    right = internet_checksum(pseudo + bytes([type, code, 0, 0]) + body)
    return struct.pack("!BBH", type, code, or_else(checksum, right)) + body


# ---- tunnels


def gre(payload, ethertype=None, *, key=None, sequence=None, with_checksum=False):
    """RFC 2784 and 2890."""
    flags = with_checksum << 15 | (key is not None) << 13 | (sequence is not None) << 12
    options = b"".join(struct.pack("!I", word) for word in (key, sequence) if word is not None)
    start = struct.pack("!HH", flags, or_else(ethertype, ethertype_of(payload)))
    if with_checksum:
        start += struct.pack("!HH", internet_checksum(start + b"\0" * 4 + options + payload), 0)
    return start + options + payload


def vxlan(frame, vni=42):
    """RFC 7348; port 4789; carries an Ethernet frame."""
    return struct.pack("!II", 0x08000000, vni << 8) + frame


def geneve(payload, vni=42, protocol=0x6558, options=b""):
    """RFC 8926; port 6081; an Ethernet frame unless `protocol` says otherwise."""
    return struct.pack("!BBHI", len(options) // 4, 0, protocol, vni << 8) + options + payload


def gtpu(packet, teid=1, sequence=None):
    """3GPP TS 29.281 G-PDU; port 2152."""
    optional = b"" if sequence is None else struct.pack("!HBB", sequence, 0, 0)
    flags = 0x30 | (0x02 if optional else 0)
    return struct.pack("!BBHI", flags, 255, len(optional) + len(packet), teid) + optional + packet


# ---- whole packets


def datagram(src, dst, sport, dport, payload=b"", *, checksum=None, length=None, **fields):
    """An IP packet with a UDP datagram in it."""
    return ip(src, dst, udp(sport, dport, payload, src, dst, checksum=checksum, length=length), UDP, **fields)


def ttl_of(packet):
    return packet[7 if family_of(packet) == 6 else 8]


def forwarded(packet, hops=1):
    """The packet as it leaves the router `hops` further on."""
    aged = bytearray(packet)
    if family_of(packet) == 6:
        aged[7] -= hops
        return bytes(aged)
    aged[8] -= hops
    aged[10:12] = b"\0\0"
    aged[10:12] = internet_checksum(bytes(aged[:20])).to_bytes(2, "big")
    return bytes(aged)


def error(packet, type, code=0, rest=0, *, reporter=None, quote=None, checksum=None, **fields):  # noqa: A002 the field's name
    """An ICMP error about `packet`, sent by `reporter` (its destination unless given) to its source."""
    family, (source, destination) = family_of(packet), ends(packet)
    src = or_else(reporter, destination)
    quote = or_else(quote, packet[: QUOTE_LIMIT[family]])
    if family == 6:
        message = icmp6(type, code, rest, quote, src=src, dst=source, checksum=checksum)
        return ipv6(src, source, message, ICMP6, **fields)
    return ipv4(src, source, icmp4(type, code, rest, quote, checksum=checksum), ICMP, **fields)


def port_unreachable(packet, reporter=None, **fields):
    return error(packet, *((1, 4) if family_of(packet) == 6 else (3, 3)), reporter=reporter, **fields)


def time_exceeded(packet, reporter, **fields):
    return error(packet, 3 if family_of(packet) == 6 else 11, 0, reporter=reporter, **fields)


def frag_needed(packet, mtu, reporter=None, **fields):
    return error(packet, 3, 4, mtu, reporter=reporter, **fields)


def packet_too_big(packet, mtu, reporter=None, **fields):
    return error(packet, 2, 0, mtu, reporter=reporter, **fields)


# ---- what an ICMP error may carry behind its quote: RFC 4884's structure, objects of RFC 4950 and RFC 5837


def padded(quote, size=128):
    return quote + b"\0" * (size - len(quote))


def quote_length(quote, family):
    """The `rest` of an error that says how long its quote is, in words of 32 (ICMP) or 64 bits (ICMPv6)."""
    return len(quote) // 4 << 16 if family == 4 else len(quote) // 8 << 24


def extension_structure(*objects, version=2, checksum=None):
    header, body = struct.pack("!H", version << 12), b"".join(objects)
    right = internet_checksum(header + b"\0\0" + body)
    return header + struct.pack("!H", or_else(checksum, right)) + body


def extension_object(class_num, c_type, payload):
    return struct.pack("!HBB", 4 + len(payload), class_num, c_type) + payload


def mpls_labels(*labels, ttl=1):
    """RFC 4950."""
    return extension_object(1, 1, mpls(b"", *labels, ttl=ttl))


def interface_information(role=0, index=None, address=None, name=None, mtu=None):
    """RFC 5837; role 0 incoming, 1 sub-IP, 2 outgoing, 3 next hop."""
    text = b"" if name is None else name.encode()
    text += b"\0" * (-(1 + len(text)) % 4)
    parts = (
        (8, index, lambda: struct.pack("!I", index)),
        (4, address, lambda: struct.pack("!HH", 2 if ":" in address else 1, 0) + packed(address)),
        (2, name, lambda: bytes([1 + len(text)]) + text),
        (1, mtu, lambda: struct.pack("!I", mtu)),
    )
    present = [(bit, build()) for bit, value, build in parts if value is not None]
    c_type = role << 6 | sum(bit for bit, _ in present)
    return extension_object(2, c_type, b"".join(part for _, part in present))


# ---- conversations: who sends what, and who reports an error
#
# Each case `n` has a destination of its own (198.51.100.n or 2001:db8:1::n), so that a report tells them apart.

ETHERNET = 1
CLIENT = {4: "192.0.2.1", 6: "2001:db8::1"}
ROUTER = {4: "203.0.113.1", 6: "2001:db8:ff::1"}
PORT = 4242
PORT_UNREACHABLE = {4: (3, 3), 6: (1, 4)}
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}


def host(n, family=4):
    return f"198.51.100.{n}" if family == 4 else f"2001:db8:1::{n}"


def sent(n, family=4, size=20, **fields):
    """A datagram to the destination of case `n`."""
    data = b"0123456789" * (size // 10)
    return datagram(CLIENT[family], host(n, family), 40000 + n, PORT, data, **fields)


def error_about(packet, kind=PORT_UNREACHABLE, **fields):
    """An error about it: of the destination, or of the `reporter`."""
    return error(packet, *kind[family_of(packet)], **fields)


def with_refusal(packet, *, reporter=None, **fields):
    """A datagram and the refusal of its destination."""
    return [packet, error_about(packet, reporter=reporter, **fields)]


def expired(packet, extend=None, **fields):
    """A datagram, and a router that quotes it, with a TTL of 1, and what `extend` makes of the quote."""
    quote = forwarded(packet, ttl_of(packet) - 1)
    return [
        packet,
        error_about(
            packet,
            TIME_EXCEEDED,
            reporter=ROUTER[family_of(packet)],
            quote=extend(quote) if extend else quote,
            **fields,
        ),
    ]


def in_ethernet(*conversations):
    return ETHERNET, [ethernet(packet) for conversation in conversations for packet in conversation]
