"""NATs, byte for byte: what leaves, and what becomes of the errors that come back (measured on Linux)."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from playing import HOST, YOU, described, played, probe, quoted
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6
from scapy.packet import Raw

from udpprobe.lab.model import ICMPV6, IpPacket
from udpprobe.lab.nat import Translator
from udpprobe.lab.nodes import fragments
from udpprobe.lab.packets import build, dissect, icmp_intact
from udpprobe.lab.scenario import Nat, parse
from udpprobe.lab.world import World

BOTH = pytest.mark.parametrize("family", [4, 6])
OUTSIDE = {4: "198.19.0.1", 6: "2001:db8:19::1"}
TTL_AT = {4: 8, 6: 7}
PAGE = """
conclude = "nothing"
[nodes]
you = {{ address = ["198.18.0.2/24", "2001:db8::2/64"] }}
isp = {{ address = ["198.18.1.1", "2001:db8:1::1"], {isp} }}
host = {{ address = ["198.18.9.9", "2001:db8:9::9"], udp = {{ 53 = "echo" }} }}
[nodes.home]
address = ["198.18.0.1", "2001:db8::1"]
nat = {{ inside = "you", quotes = "{quotes}", address = ["198.19.0.1", "2001:db8:19::1"] }}
[links]
"you - home - isp - host" = {{}}
{links}
"""


def behind(quotes="well", isp="silent = false", links=""):
    return World(parse(PAGE.format(quotes=quotes, isp=isp, links=links), "page"))


def differing(one, other):
    return [at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


@BOTH
@pytest.mark.parametrize("kind", [{}, {"isp": "quote = 8"}, {"isp": "quote = 20"}])
def test_a_good_nat_restores_a_quote_except_its_ttl(family, kind):
    sent = probe(family, ttl=2)
    (error,) = played(behind(**kind), sent)
    shown = quoted(error)
    changed = differing(bytes(sent)[: len(shown)], shown)
    # the header checksum of IPv4 follows the TTL
    assert {4: [8, 10], 6: [7]}[family] == changed
    assert 1 == shown[TTL_AT[family]]


@BOTH
def test_a_nat_quotes_the_original_packet_in_its_own_errors(family):
    sent = probe(family, ttl=1)
    assert bytes(sent) == quoted(played(behind(), sent)[0])


@BOTH
def test_a_bad_nat_leaves_its_own_address_in_the_quote(family):
    (error,) = played(behind("badly"), probe(family, port=54))
    shown = IP(quoted(error)) if family == 4 else IPv6(quoted(error))
    assert (YOU[family], OUTSIDE[family], HOST[family]) == (error.dst, shown.src, shown.dst)
    assert icmp_intact(dissect(bytes(error)))


@BOTH
def test_a_deaf_nat_lets_only_answers_in(family):
    assert [f"{HOST[family]} udp 53"] == [
        described(each) for each in played(behind("never"), probe(family, port=54), probe(family, ttl=2), probe(family))
    ]


@BOTH
def test_replies_to_pings_and_tcp_come_back(family):
    header = IP(src=YOU[4], dst=HOST[4]) if family == 4 else IPv6(src=YOU[6], dst=HOST[6])
    ping = ICMP(id=77) / b"x" if family == 4 else ICMPv6EchoRequest(id=77, data=b"x")
    reply, reset = played(behind(), header / ping, header / TCP(sport=4000, dport=443, flags="S", seq=1))
    assert (YOU[family], 77) == (reply.dst, int.from_bytes(bytes(reply.payload)[4:6]))
    assert (YOU[family], 4000, "RA") == (reset.dst, reset[TCP].dport, reset[TCP].flags)


@pytest.mark.parametrize("isp", ["quote = 4", "quote = 0", 'mangles = "swap-offset"'])
def test_a_packet_that_a_nat_cannot_parse_is_lost(isp):
    """Quotes below 8 bytes of the datagram, or that look like a later fragment; as Linux does."""
    assert [] == played(behind(isp=isp), probe(ttl=2))


@pytest.mark.parametrize(
    "quote",
    [
        bytes(IP(src=OUTSIDE[4], dst=HOST[4]) / UDP(sport=9, dport=53)),
        b"",
        bytes(28),
        bytes(IPv6(src=OUTSIDE[6], dst=HOST[6]) / UDP())[:39],
        bytes(IP(src=YOU[4], dst=HOST[4]) / UDP(sport=4000, dport=53)),
    ],
)
def test_an_error_about_an_unsent_packet_is_not_translated(quote):
    nat = Translator(Nat(inside=["a"]), [dissect(bytes(IP(dst=OUTSIDE[4]))).destination])
    nat.outbound(dissect(bytes(probe())))
    error = dissect(bytes(IP(src=HOST[4], dst=OUTSIDE[4]) / ICMP(type=3, code=3) / Raw(quote)))
    assert error == nat.inbound(error)


def test_an_error_with_a_wrong_checksum_is_not_translated():
    nat = Translator(Nat(inside=["a"]), [dissect(bytes(IP(dst=OUTSIDE[4]))).destination])
    left = build(nat.outbound(dissect(bytes(probe()))))
    right, wrong = (
        dissect(bytes(IP(src=HOST[4], dst=OUTSIDE[4]) / ICMP(type=3, code=3, **checksum) / Raw(left)))
        for checksum in ({}, {"chksum": 1})
    )
    assert (YOU[4], OUTSIDE[4]) == (str(nat.inbound(right).destination), str(nat.inbound(wrong).destination))


def test_two_hosts_with_one_port_get_two_and_their_own_answers():
    nat = Translator(Nat(inside=["a"]), [dissect(bytes(IP(dst=OUTSIDE[4]))).destination])
    inner = [dissect(bytes(IP(src=f"198.18.0.{n}", dst=HOST[4]) / UDP(sport=65535, dport=53))) for n in (2, 3, 4)]
    outer = [nat.outbound(packet) for packet in inner]
    assert [65535, 1024, 1025] == [packet.ports[0] for packet in outer]
    assert outer == [nat.outbound(packet) for packet in inner]
    answers = [
        dissect(bytes(IP(src=HOST[4], dst=OUTSIDE[4]) / UDP(sport=53, dport=port) / b"x"))
        for port in (65535, 1024, 1025)
    ]
    assert [packet.source for packet in inner] == [nat.inbound(answer).destination for answer in answers]
    assert all(IP(build(nat.inbound(answer)))[UDP].dport == 65535 for answer in answers)


@pytest.mark.parametrize(("checksum", "expected"), [(0, 0), (None, None), (0x1234, "wrong")])
def test_a_wrong_checksum_stays_wrong_and_a_missing_one_missing(checksum, expected):
    nat = Translator(Nat(inside=["a"]), [dissect(bytes(IP(dst=OUTSIDE[4]))).destination])
    packet = dissect(bytes(IP(src=YOU[4], dst=HOST[4]) / UDP(sport=9, dport=53, chksum=checksum) / b"x"))
    left = IP(build(nat.outbound(packet)))
    stored = left[UDP].chksum
    del left[UDP].chksum
    right = IP(bytes(left))[UDP].chksum
    assert {0: stored == 0, None: stored == right, "wrong": stored not in {0, right}}[expected]


def test_fragments_are_reassembled_before_translation():
    back = played(behind(), *fragment(probe(flags=0, port=54, data=bytes(2000)), 1200))
    assert ["198.18.9.9 3/3"] == [described(each) for each in back]
    assert YOU[4] == IP(quoted(back[0])).src


@BOTH
@pytest.mark.parametrize("link", ["mtu = 1300", "mtu = 1300, black_hole = true"])
def test_a_nat_sends_no_fragments_larger_than_it_received(family, link):
    narrow = behind(links=f'"home > isp" = {{ {link} }}')
    whole = dissect(bytes(probe(family, port=54, data=bytes(3000), **({"flags": 0} if family == 4 else {}))))
    back = played(narrow, *map(build, fragments(replace(whole, ip_id=5), 1280)))
    assert [f"{HOST[family]} {'3/3' if family == 4 else '1/4'}"] == [described(each) for each in back]


def test_a_nat_with_a_narrow_link_translates_all_its_fragments():
    narrow = behind(links='"home > isp" = { mtu = 600 }')
    back = played(narrow, probe(flags=0, port=54, data=bytes(1200)))
    assert ["198.18.9.9 3/3"] == [described(each) for each in back]
    assert YOU[4] == IP(quoted(back[0])).src


@BOTH
def test_a_packet_for_no_inside_host_is_for_the_nat(family):
    nat = Translator(Nat(inside=["a"]), [dissect(bytes(probe(family, to=OUTSIDE[family]))).destination])
    stranger = dissect(bytes(probe(family, to=OUTSIDE[family])))
    assert stranger == nat.inbound(stranger)
    foreign = IpPacket(stranger.source, stranger.destination, 1 if family == 4 else ICMPV6, bytes([3, 3]) + bytes(60))
    assert foreign == nat.inbound(foreign)


@pytest.mark.parametrize(
    "packet", [IP(dst=OUTSIDE[4], proto=1) / Raw(b"\3\3"), IP(dst=OUTSIDE[4], frag=8) / Raw(bytes(64))]
)
def test_a_packet_without_ports_is_for_the_nat(packet):
    nat = Translator(Nat(inside=["a"]), [dissect(bytes(IP(dst=OUTSIDE[4]))).destination])
    assert dissect(bytes(packet)) == nat.inbound(dissect(bytes(packet)))


def test_a_family_without_an_outside_address_passes_as_it_is():
    nat = Translator(Nat(inside=["a"]), [dissect(bytes(IP(dst=OUTSIDE[4]))).destination])
    packet = dissect(bytes(IPv6(src=YOU[6], dst=HOST[6]) / Raw(b"")))
    assert packet == nat.outbound(packet) == nat.inbound(packet)


@pytest.mark.slow
def test_a_nat_without_a_free_port_gives_one_away_again():
    nat = Translator(Nat(inside="you"), [ip_address("198.19.0.1")])
    first, second = (
        IpPacket(ip_address(source), ip_address(HOST[4]), 17, b"\x04\x00\x00\x35\x00\x08\0\0")
        for source in ("198.18.0.2", "198.18.0.3")
    )
    for port in range(1024, 65_536):
        nat.outbound(replace(first, payload=port.to_bytes(2) + first.payload[2:]))
    left = nat.outbound(second)
    assert 1024 == left.ports[0]
    answer = IpPacket(left.destination, left.source, 17, left.payload[2:4] + left.payload[:2] + left.payload[4:])
    assert second.source == nat.inbound(answer).destination
