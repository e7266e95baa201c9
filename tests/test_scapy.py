"""What Scapy builds we decode as Scapy says: addresses, ports, ids, lengths, TTLs, of datagrams and of quotes."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from following import ETHERNET, packets_of, story_of
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from scapy.contrib.geneve import GENEVE
from scapy.contrib.gtp import GTP_U_Header
from scapy.contrib.mpls import MPLS
from scapy.layers.inet import GRE, ICMP, IP, UDP, IPerror, IPOption_NOP, IPOption_RR, IPOption_Timestamp, UDPerror
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPerror6,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
)
from scapy.layers.l2 import Dot1AD, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import NoPayload, Raw

from udpprobe.core.addresses import address_text

TUNNEL_PORTS = {2152, 4789, 6081, 8472}
OURS = "192.0.2.9"
MAC = {"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}

bytes_ = st.integers(0, 255)
words = st.integers(0, 0xFFFF)
ports = words.filter(lambda port: port not in TUNNEL_PORTS)
v4_addresses = st.integers(0, 2**32 - 1).map(lambda number: str(ip_address(number)))
v6_addresses = st.integers(2**64, 2**128 - 1).map(lambda number: str(ip_address(number)))
payloads = st.binary(max_size=40).map(Raw)
udps = st.builds(UDP, sport=ports, dport=ports, chksum=st.one_of(st.none(), words))
some_options = st.sampled_from((IPOption_NOP(), IPOption_RR(routers=["10.0.0.1"]), IPOption_Timestamp()))
options = st.lists(some_options, max_size=2)
ipv4s = st.builds(
    IP,
    src=v4_addresses,
    dst=v4_addresses,
    id=words,
    ttl=bytes_,
    tos=bytes_,
    options=options,
    flags=st.sampled_from(("", "DF", "MF")),
)
extensions = st.sampled_from(
    (
        IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]),
        IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)]),
        IPv6ExtHdrRouting(addresses=["2001:db8::9"]),
        IPv6ExtHdrFragment(id=0x12345678, m=1),
        IPv6ExtHdrFragment(id=9),
    )
)
bare_ipv6s = st.builds(IPv6, src=v6_addresses, dst=v6_addresses, hlim=bytes_, tc=bytes_, fl=st.integers(0, 2**20 - 1))


def stacked(first, *others):
    for each in others:
        first = first / each.copy()
    return first


ipv6s = st.builds(lambda ip, more: stacked(ip, *more), bare_ipv6s, st.lists(extensions, max_size=3))
ips = st.one_of(ipv4s, ipv6s)
datagrams = st.builds(stacked, ips, udps, payloads)
outer = st.one_of(st.builds(IP, src=v4_addresses, dst=v4_addresses), bare_ipv6s)
TUNNELS = (
    (GRE(),),
    (GRE(key_present=1, key=7, seqnum_present=1, chksum_present=1),),
    (),
    (UDP(sport=9999, dport=4789), VXLAN(flags="Instance", vni=5), Ether(**MAC)),
    (UDP(sport=9999, dport=6081), GENEVE(vni=5), Ether(**MAC)),
    (UDP(sport=9999, dport=2152), GTP_U_Header(teid=5)),
)
tunnels = st.sampled_from(TUNNELS)
tunnelled = st.builds(lambda ip, tunnel, inner: stacked(ip, *tunnel) / inner, outer, tunnels, datagrams)
LINKS = ((), (Dot1Q(vlan=7),), (Dot1AD(vlan=8), Dot1Q(vlan=7)), (MPLS(label=16001, s=1),))
links = st.sampled_from(LINKS)
MESSAGES = {
    4: [ICMP(type=3, code=3), ICMP(type=3, code=4, nexthopmtu=1400), ICMP(type=11), ICMP(type=12, ptr=20)],
    6: [ICMPv6DestUnreach(code=4), ICMPv6PacketTooBig(mtu=1400), ICMPv6TimeExceeded(), ICMPv6ParamProblem()],
}
quickly = examples(150)


def framed(link, packet):
    """The bytes, and what Scapy itself reads there."""
    frame = bytes(stacked(Ether(**MAC), *link) / packet)
    return frame, Ether(frame)


def layers(packet):
    while not isinstance(packet, NoPayload):
        yield packet
        packet = packet.payload


def scapy_says(packet):
    """(source, destination, ports, id, UDP length, checksum, TTL, IP length) of every datagram, the outermost first."""
    ip, fragment_id, end, told = None, 0, None, []
    for layer in layers(packet):
        if type(layer) in {IP, IPv6}:
            ip, fragment_id, end = layer, 0, layer.dst
        elif type(layer) is IPv6ExtHdrRouting:  # segments are left: the header names the next hop only
            end = layer.addresses[-1]
        elif type(layer) is IPv6ExtHdrFragment:
            fragment_id = layer.id & 0xFFFF if layer.m else 0  # an atomic fragment is none (RFC 6946)
        elif type(layer) is UDP:
            told.append(headers(ip, layer, ip.id if ip.version == 4 else fragment_id, end))
    return told


def headers(ip, udp, ident, end=None):
    v4 = ip.version == 4
    return (
        ip.src,
        end or ip.dst,
        udp.sport,
        udp.dport,
        ident,
        udp.len,
        udp.chksum,
        ip.ttl if v4 else ip.hlim,
        ip.len if v4 else 40 + ip.plen,
    )


def we_say(frame):
    found, _ = packets_of(frame, ETHERNET)
    return [
        (
            address_text(*each.source),
            address_text(*each.destination),
            each.source_port,
            each.destination_port,
            each.ip_id,
            each.udp_length,
            each.udp_checksum,
            each.ttl,
            each.ip_length,
        )
        for each in found
    ]


@quickly
@given(links, datagrams)
def test_we_and_scapy_agree_on_a_datagram(link, packet):
    frame, dissected = framed(link, packet)
    assert scapy_says(dissected) == we_say(frame)


@quickly
@given(links, tunnelled)
def test_we_and_scapy_agree_on_every_datagram_of_a_tunnel(link, packet):
    frame, dissected = framed(link, packet)
    assert scapy_says(dissected) == we_say(frame)


@quickly
@given(st.sampled_from((4, 6)), st.data())
def test_we_and_scapy_agree_on_an_error_and_its_quote(family, data):
    quoted = data.draw(st.builds(stacked, ipv4s if family == 4 else bare_ipv6s, udps, payloads))
    reporter = data.draw(v4_addresses if family == 4 else v6_addresses)
    message = data.draw(st.sampled_from(MESSAGES[family]))
    ip = IP(src=reporter, dst=quoted.src) if family == 4 else IPv6(src=reporter, dst=quoted.src)
    frame, packet = framed((), ip / message / Raw(bytes(quoted)))
    (event,) = story_of([frame], ETHERNET).events
    inner, udp = packet[IPerror if family == 4 else IPerror6], packet[UDPerror]
    assert (reporter, message.type, message.code) == (event.reporter, event.type, event.code)
    said = headers(inner, udp, inner.id if family == 4 else None)
    told = event.quoted
    assert said == (
        told.source,
        told.destination,
        told.source_port,
        told.destination_port,
        told.ip_id,
        told.udp_length,
        told.udp_checksum,
        told.ttl,
        told.ip_length,
    )
    assert getattr(message, "nexthopmtu", getattr(message, "mtu", None)) in {event.mtu, 0}


@pytest.mark.parametrize("family", [4, 6])
def test_an_icmp_checksum_from_scapy_is_correct(family):
    ends = ("192.0.2.1", "198.51.100.1") if family == 4 else ("2001:db8::1", "2001:db8::2")
    ip = IP if family == 4 else IPv6
    quoted = ip(src=ends[0], dst=ends[1]) / UDP(sport=1, dport=2) / b"odd"
    (event,) = story_of(
        [framed((), ip(src=ends[1], dst=ends[0]) / MESSAGES[family][0] / Raw(bytes(quoted)))[0]], ETHERNET
    ).events
    assert () == event.notes
