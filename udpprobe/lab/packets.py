"""Bytes and packets: Scapy dissects what comes in and builds what leaves, one layer at a time.

Scapy copies and parses a packet several times to build all of its layers, which takes ten times as long. Quotes must
stay as they were anyway.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any, NamedTuple

from scapy.contrib.mpls import MPLS
from scapy.layers.inet import (
    ICMP,
    IP,
    TCP,
    UDP,
    ICMPExtension_Header,
    ICMPExtension_InterfaceInformation,
    ICMPExtension_Object,
)
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrFragment,
)
from scapy.utils import checksum

from udpprobe.lab import model
from udpprobe.lab.model import Address, ErrorKind, IpPacket

_FRAGMENT = 44
_EXTENSIONS = {0, 43, 60, 135}
"""Hop-by-hop options, routing, destination options, mobility: they share one format (RFC 6564)."""


def dissect(raw: bytes) -> IpPacket | str:
    """An IP packet, or what is wrong with it. Bytes after its end are padding."""
    if not raw:
        return "ip-cut"
    by_version = {4: _dissect_v4, 6: _dissect_v6}
    return by_version.get(raw[0] >> 4, _no_ip)(raw)


def _no_ip(_: bytes) -> str:
    return "ip-version"


def _dissect_v4(raw: bytes) -> IpPacket | str:
    if len(raw) < 20:
        return "ip-cut"
    layer = IP()
    layer.do_dissect(raw[:20])
    header = layer.ihl * 4
    if not 20 <= header <= layer.len:
        return "ip-length"
    if len(raw) < layer.len:
        return "ip-cut"
    if checksum(raw[:header]):
        return "ip-checksum"
    return IpPacket(
        IPv4Address(raw[12:16]),
        IPv4Address(raw[16:20]),
        layer.proto,
        raw[header : layer.len],
        layer.ttl,
        layer.tos,
        ip_id=layer.id,
        flags=int(layer.flags),
        offset=layer.frag * 8,
        options=raw[20:header],
    )


def _dissect_v6(raw: bytes) -> IpPacket | str:
    if len(raw) < 40:
        return "ip-cut"
    layer = IPv6()
    layer.do_dissect(raw[:40])
    if len(raw) < 40 + layer.plen:
        return "ip-cut"
    chain = _chain(layer.nh, raw[40 : 40 + layer.plen])
    if isinstance(chain, str):
        return chain
    extensions, protocol, fragment, payload = chain
    return IpPacket(
        IPv6Address(raw[8:24]),
        IPv6Address(raw[24:40]),
        protocol,
        payload,
        layer.hlim,
        layer.tc,
        layer.fl,
        fragment.id,
        int(fragment.m),
        fragment.offset * 8,
        fragment_header=fragment is not _WHOLE,
        extensions=tuple(extensions),
    )


_WHOLE = IPv6ExtHdrFragment(id=0, m=0, offset=0)

_Chain = tuple[list[tuple[int, bytes]], int, IPv6ExtHdrFragment, bytes]


def _chain(number: int, rest: bytes) -> _Chain | str:
    """Extension headers up to a fragment header, the number of what follows, the fragment header and the payload."""
    headers: list[tuple[int, bytes]] = []
    while number in _EXTENSIONS or (number == _FRAGMENT and _is_atomic(rest)):
        size = 8 * (rest[1] + 1) if number != _FRAGMENT and len(rest) > 1 else 8
        if len(rest) < size:
            return "extension-cut"
        headers.append((number, rest[1:size]))
        number, rest = rest[0], rest[size:]
    if number != _FRAGMENT:
        return headers, number, _WHOLE, rest
    if len(rest) < 8:
        return "extension-cut"
    fragment = IPv6ExtHdrFragment()
    fragment.do_dissect(rest[:8])
    return headers, fragment.nh, fragment, rest[8:]


def _is_atomic(rest: bytes) -> bool:
    """Whether a fragment header is that of a whole packet (RFC 6946): it is an extension header like any other."""
    return len(rest) >= 8 and not int.from_bytes(rest[2:4]) & 0xFFF9


def dissect_quote(raw: bytes) -> IpPacket | None:
    """The packet that an error quotes: it may be cut, with any lengths and checksums.

    IPv6 packets must have no extension headers.
    """
    header = 4 * (raw[0] & 15) if raw[:1] < b"\x60" and raw else 40
    if len(raw) < max(header, 20):
        return None
    if raw[0] >> 4 == 4 and header >= 20:
        layer = IP()
        layer.do_dissect(raw[:20])
        return IpPacket(
            IPv4Address(raw[12:16]), IPv4Address(raw[16:20]), layer.proto, raw[header:], offset=layer.frag * 8
        )
    if raw[0] >> 4 == 6:
        return IpPacket(IPv6Address(raw[8:24]), IPv6Address(raw[24:40]), raw[6], raw[40:])
    return None


def build(packet: IpPacket) -> bytes:
    """The bytes of a packet; IP's lengths and checksum are correct, the payload is as it is."""
    return (_build_v4 if packet.family == 4 else _build_v6)(packet)


def _build_v4(packet: IpPacket) -> bytes:
    header = (
        IP(
            ihl=packet.header_size // 4,
            tos=packet.tos,
            len=packet.size,
            id=packet.ip_id,
            flags=packet.flags,
            frag=packet.offset // 8,
            ttl=packet.ttl,
            proto=packet.protocol,
            chksum=0,
            src=str(packet.source),
            dst=str(packet.destination),
        ).self_build()
        + packet.options
    )
    return header[:10] + checksum(header).to_bytes(2) + header[12:] + packet.payload


def _build_v6(packet: IpPacket) -> bytes:
    number, chain = packet.protocol, packet.payload
    if packet.fragment_header:
        chain = (
            IPv6ExtHdrFragment(
                nh=number, offset=packet.offset // 8, m=packet.flags & model.MORE_FRAGMENTS, id=packet.ip_id
            ).self_build()
            + chain
        )
        number = _FRAGMENT
    for extension, body in reversed(packet.extensions):
        number, chain = extension, bytes([number]) + body + chain
    header = IPv6(
        tc=packet.tos,
        fl=packet.flow_label,
        plen=len(chain),
        nh=number,
        hlim=packet.ttl,
        src=str(packet.source),
        dst=str(packet.destination),
    ).self_build()
    return header + chain


def pseudo_checksum(source: Address, destination: Address, protocol: int, message: bytes) -> int:
    """Checksum over a pseudo header (RFC 768; RFC 8200, 8.1) and a message; 0 if the message's own is correct."""
    pseudo = source.packed + destination.packed + len(message).to_bytes(4) + protocol.to_bytes(4)
    return checksum(pseudo + message)


class Datagram(NamedTuple):
    """A UDP message."""

    source_port: int
    destination_port: int
    data: bytes


def datagram(packet: IpPacket) -> Datagram | None:
    """The datagram in a whole UDP packet; None if its length or checksum is wrong, so that a host drops it."""
    if len(packet.payload) < 8:
        return None
    layer = UDP()
    layer.do_dissect(packet.payload[:8])
    message = packet.payload[: layer.len]
    if not 8 <= layer.len <= len(packet.payload) or not _is_intact(packet, layer.chksum, message):
        return None
    return Datagram(layer.sport, layer.dport, message[8:])


def _is_intact(packet: IpPacket, stored: int, message: bytes) -> bool:
    """RFC 768 allows IPv4 datagrams without checksum; RFC 8200, 8.1 does not for IPv6."""
    if stored == 0:
        return packet.family == 4
    return pseudo_checksum(packet.source, packet.destination, packet.protocol, message) == 0


def udp(source: Address, destination: Address, message: Datagram) -> bytes:
    """The UDP header and data between two addresses."""
    layer = UDP(sport=message.source_port, dport=message.destination_port, len=8 + len(message.data), chksum=0)
    body = layer.self_build() + message.data
    found = pseudo_checksum(source, destination, model.UDP, body) or 0xFFFF
    return body[:6] + found.to_bytes(2) + body[8:]


def echo_reply(packet: IpPacket) -> bytes | None:
    """The ICMP message that answers a ping (RFC 792; RFC 4443, 4.2); None if it is no ping."""
    request, reply = (8, 0) if packet.family == 4 else (128, 129)
    if len(packet.payload) < 8 or packet.payload[0] != request or not icmp_intact(packet):
        return None
    return icmp_sealed(packet.destination, packet.source, bytes([reply, 0]) + packet.payload[2:])


def icmp_intact(packet: IpPacket) -> bool:
    """Whether an ICMP message's checksum is correct."""
    if packet.family == 4:
        return checksum(packet.payload) == 0
    return pseudo_checksum(packet.source, packet.destination, model.ICMPV6, packet.payload) == 0


_REST_V4 = {3: ("nexthopmtu", 0xFFFF), 12: ("ptr", 0xFF)}
"""Field of `ErrorKind.word` in IPv4, and its largest value."""


def icmp_error(
    source: Address,
    destination: Address,
    kind: ErrorKind,
    quote: bytes,
    structure: bytes = b"",
    *,
    counted: bool = True,
) -> bytes:
    """The ICMP message of an error.

    Args:
        source: of the message.
        destination: of the message.
        kind: type, code, and the rest of the header.
        quote: of the datagram.
        structure: RFC 4884 extensions with their header; the quote then has 128 bytes, padded with zeros.
        counted: whether the header has the quote's length, if extensions follow.
    """
    if structure:
        quote = quote[:128].ljust(128, b"\0")
    words = len(quote) // (4 if source.version == 4 else 8) if structure and counted else 0
    header = (_error_v4 if source.version == 4 else _error_v6)(kind, words)
    return icmp_sealed(source, destination, header + quote + structure)


@lru_cache(maxsize=1024)  # Scapy takes 0.1 ms for one, and they are all alike
def _error_v4(kind: ErrorKind, words: int) -> bytes:
    fields: dict[str, Any] = {"length": words} if kind.type in (3, 11, 12) else {}
    if kind.type in _REST_V4:
        name, most = _REST_V4[kind.type]
        fields[name] = min(kind.word, most)
    return ICMP(type=kind.type, code=kind.code, chksum=0, **fields).self_build()


@lru_cache(maxsize=1024)
def _error_v6(kind: ErrorKind, words: int) -> bytes:
    layers = {
        1: lambda: ICMPv6DestUnreach(code=kind.code, cksum=0, length=words),
        2: lambda: ICMPv6PacketTooBig(code=kind.code, cksum=0, mtu=kind.word),
        3: lambda: ICMPv6TimeExceeded(code=kind.code, cksum=0, length=words),
        4: lambda: ICMPv6ParamProblem(code=kind.code, cksum=0, ptr=kind.word),
    }
    unknown = ICMPv6Unknown(type=kind.type, code=kind.code, cksum=0, msgbody=kind.word.to_bytes(4))
    return layers.get(kind.type, lambda: unknown)().self_build()


def icmp_sealed(source: Address, destination: Address, message: bytes) -> bytes:
    """An ICMP message with the correct checksum (RFC 792; RFC 4443, 2.3)."""
    message = message[:2] + b"\0\0" + message[4:]
    found = checksum(message) if source.version == 4 else pseudo_checksum(source, destination, model.ICMPV6, message)
    return message[:2] + found.to_bytes(2) + message[4:]


def tcp_reset(packet: IpPacket) -> bytes | None:
    """The segment with which a host refuses another (RFC 9293, 3.10.7.1); None if there is nothing to refuse."""
    if len(packet.payload) < 20 or pseudo_checksum(packet.source, packet.destination, model.TCP, packet.payload):
        return None
    layer = TCP()
    layer.do_dissect(packet.payload[:20])
    if layer.flags.R:
        return None
    length = max(len(packet.payload) - layer.dataofs * 4, 0) + int(layer.flags.S) + int(layer.flags.F)
    numbers = (
        {"flags": "R", "seq": layer.ack}
        if layer.flags.A
        else {"flags": "RA", "seq": 0, "ack": (layer.seq + length) & 0xFFFFFFFF}
    )
    body = TCP(sport=layer.dport, dport=layer.sport, dataofs=5, window=0, chksum=0, **numbers).self_build()
    found = pseudo_checksum(packet.destination, packet.source, model.TCP, body)
    return body[:16] + found.to_bytes(2) + body[18:]


_EXTENDED = {4: {3, 11, 12}, 6: {1, 3}}
"""Types with a length field, by family (RFC 4884, 4)."""


def extensions(labels: list[int], interface: str | None, source: Address, kind: ErrorKind) -> bytes:
    """The extension structure of an error, with its header (RFC 4884); empty if there is nothing to show.

    Args:
        labels: the MPLS label stack of the datagram on arrival (RFC 4950).
        interface: name of its incoming interface (RFC 5837).
        source: of the error.
        kind: of the error; only some types have room for extensions.
    """
    if kind.type not in _EXTENDED[source.version]:
        return b""
    objects = _labels(labels) + _interface(interface, source)
    if not objects:
        return b""
    header = ICMPExtension_Header(chksum=0).self_build()
    return header[:2] + checksum(header + objects).to_bytes(2) + objects


def _labels(labels: list[int]) -> bytes:
    if not labels:
        return b""
    last = len(labels) - 1
    stack = b"".join(MPLS(label=label, s=row == last, ttl=1).self_build() for row, label in enumerate(labels))
    return ICMPExtension_Object(len=4 + len(stack), classnum=1, classtype=1).self_build() + stack


def _interface(name: str | None, source: Address) -> bytes:
    """The incoming interface (role 0) by address and name; the name's length includes its own byte (RFC 5837, 4.3)."""
    if name is None:
        return b""
    text = name.encode()
    text += bytes(-(1 + len(text)) % 4)
    address: dict[str, Any] = {"afi": 1, "ip4": str(source)} if source.version == 4 else {"afi": 2, "ip6": str(source)}
    size = 4 + 4 + len(source.packed) + 1 + len(text)
    return bytes(
        ICMPExtension_InterfaceInformation(
            len=size, has_ipaddr=1, has_ifname=1, ifname_len=1 + len(text), ifname=text, **address
        )
    )
