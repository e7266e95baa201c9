"""The builders against Scapy, so that the tests stand on frames that somebody else finds right."""

from __future__ import annotations

import builders as b
import pytest
from scapy.layers.inet import ICMP, IP, UDP, defragment
from scapy.layers.inet6 import ICMPv6DestUnreach, IPv6, IPv6ExtHdrFragment
from scapy.packet import Raw

V4, V6 = ("192.0.2.1", "198.51.100.1"), ("2001:db8::1", "2001:db8:1::1")
UDP_FIELDS = {"sport": 40000, "dport": 53}


def test_datagrams_equal_those_of_scapy():
    assert bytes(IP(src=V4[0], dst=V4[1], id=7, ttl=9, flags="DF") / UDP(**UDP_FIELDS) / b"odd") == b.datagram(
        *V4, 40000, 53, b"odd", id=7, ttl=9, df=True
    )
    assert bytes(IPv6(src=V6[0], dst=V6[1], hlim=9, fl=5) / UDP(**UDP_FIELDS) / b"odd") == b.datagram(
        *V6, 40000, 53, b"odd", ttl=9, flow_label=5
    )


def test_errors_equal_those_of_scapy():
    packet4, packet6 = b.datagram(*V4, 40000, 53, b"data"), b.datagram(*V6, 40000, 53, b"data")
    assert bytes(IP(src=V4[1], dst=V4[0], id=0x1234) / ICMP(type=3, code=3) / Raw(packet4)) == b.port_unreachable(
        packet4
    )
    assert bytes(IPv6(src=V6[1], dst=V6[0]) / ICMPv6DestUnreach(code=4) / Raw(packet6)) == b.port_unreachable(packet6)


def test_fragments_make_the_packet_again():
    packet = b.datagram(*V4, 40000, 53, bytes(3000), id=5)
    (whole,) = defragment([IP(piece) for piece in b.fragments(packet, 1480, id=5)])
    assert packet == bytes(whole)


def test_fragments_of_ipv6_carry_all_of_the_payload():
    packet = b.datagram(*V6, 40000, 53, bytes(3000))
    pieces = [IPv6(piece)[IPv6ExtHdrFragment] for piece in b.fragments(packet, 1448)]
    assert [(0, 1), (181, 1), (362, 0)] == [(piece.offset, piece.m) for piece in pieces]
    assert packet[40:] == b"".join(bytes(piece.payload) for piece in pieces)


@pytest.mark.parametrize("ends", [V4, V6])
def test_a_forwarded_packet_has_a_lower_ttl_and_a_right_checksum(ends):
    aged = b.forwarded(b.datagram(*ends, 40000, 53, ttl=64), 3)
    assert b.datagram(*ends, 40000, 53, ttl=61) == aged
