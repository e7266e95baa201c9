"""Errors that this host sends: to whom, for which port, why; and what its rate limits hold back."""

from __future__ import annotations

import socket
import sys
from ipaddress import ip_address

import builders as b
import pytest

from udpprobe.core.addresses import mapped_address
from udpprobe.core.analyzer import Analyzer
from udpprobe.core.model import Process
from udpprobe.linux import errors_sent as module
from udpprobe.linux.errors_sent import NO_SOCKET_ON_PORT, SentErrors, rate_limited, rate_limited_of
from udpprobe.linux.sockdiag import UdpSocket
from udpprobe.linux.sockets import Sockets
from udpprobe.report import events_of

OWN = {4: "192.0.2.1", 6: "2001:db8::1"}
FAR = {4: "198.51.100.7", 6: "2001:db8:7::7"}
BEHIND = {4: "203.0.113.5", 6: "2001:db8:9::5"}
PORT = 5353
DNS = Process("dnsmasq", 812)
SNMP = """\
Icmp: InMsgs OutMsgs OutErrors OutRateLimitGlobal OutRateLimitHost OutDestUnreachs
Icmp: 1 2 0 30 40 5
IcmpMsg: InType3 OutType3
IcmpMsg: 1 2
Icmp6OutRateLimitHost           	50
"""

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="sock_diag is Linux's")


@pytest.fixture(params=[4, 6])
def family(request):
    return request.param


def udp(*, address="", peer="", peer_port=0, is_v4=True):
    numbers = [mapped_address(ip_address(text)) if text else 0 for text in (address, peer)]
    return UdpSocket(is_v4, numbers[0], PORT, numbers[1], peer_port, bool(peer), 1, None)


class Held(Sockets):
    """A host with some sockets."""

    def __init__(self, *found):
        super().__init__(lambda: map(ip_address, OWN.values()))
        self.there = found

    def of_port(self, port):
        return [(each, DNS) for each in self.there if each.port == port]


def asked(family, to=OWN, port=PORT, **fields):
    return b.datagram(FAR[family], to[family], 40000, port, b"x", **fields)


def taken(sent, *packets, each_ns=1_000_000):
    analyzer = Analyzer(7, keeps_events=True)
    analyzer.feed_frames((n * each_ns, packet, len(packet), 101) for n, packet in enumerate(packets, 1))
    analyzer.flush()
    return [event for kept in analyzer.take_events() for event in sent.take(list(events_of(analyzer, kept, 32)))]


def rows(sockets, *packets):
    sent = SentErrors(sockets)
    taken(sent, *packets)
    return [
        (each.to, each.address, each.port, each.verdict, each.count, each.process, each.why)
        for each in sent.found().rows
    ]


def refusal(packet):
    return b.port_unreachable(packet)


def test_a_closed_port_has_no_socket(family):
    packet = asked(family)
    assert [(FAR[family], OWN[family], PORT, "refused", 2, None, NO_SOCKET_ON_PORT)] == rows(
        Held(), packet, refusal(packet), packet, refusal(packet)
    )


@pytest.mark.parametrize(
    ("family", "held", "why"),
    [
        (4, [udp(address="127.0.0.1")], "is bound to the port at 127.0.0.1 only"),
        (6, [udp(address="::1", is_v4=False)], "is bound to the port at ::1 only"),
        (6, [udp()], "is bound to the port over IPv4 only"),
        (4, [udp(is_v4=False)], "is bound to the port, but over IPv6 only (IPV6_V6ONLY), or a firewall rejects"),
        (4, [udp(peer="198.51.100.9", peer_port=53)], "is bound to the port, but connected to port 53 of 198.51.100.9"),
        (
            6,
            [udp(peer="2001:db8:7::9", peer_port=53, is_v4=False)],
            "is bound to the port, but connected to port 53 of 2001:db8:7::9",
        ),
        (4, [udp()], "is bound to the port: a firewall rejects, or the socket was opened later"),
        (
            4,
            [udp(peer=FAR[4], peer_port=40000)],
            "is bound to the port: a firewall rejects, or the socket was opened later",
        ),
        (6, [udp(is_v4=False)], "is bound to the port: a firewall rejects, or the socket was opened later"),
        (
            4,
            [udp(address="127.0.0.1"), udp()],
            "is bound to the port: a firewall rejects, or the socket was opened later",
        ),
    ],
)
def test_a_socket_with_the_port_that_did_not_match_is_named_with_the_reason(family, held, why):
    packet = asked(family)
    [(_, _, _, _, _, process, text)] = rows(Held(*held), packet, refusal(packet))
    assert (DNS, f"dnsmasq[812] {why}") == (process, text)


def test_a_router_reports_why_it_does_not_forward(family):
    packet = asked(family, BEHIND, ttl=1)
    big = (b.frag_needed if family == 4 else b.packet_too_big)(packet, 1400, OWN[family])
    found = {
        each[3]: each[-1]
        for each in rows(
            Held(), packet, b.time_exceeded(packet, OWN[family]), big, b.port_unreachable(packet, OWN[family])
        )
    }
    assert {
        "expired": "its TTL ran out here",
        "too-big": "the next link's MTU is smaller",
        "rejected": "a firewall",
    } == found


def test_errors_sent_by_others_are_not_counted(family):
    packet = asked(family, BEHIND)
    sent = SentErrors(Held())
    [event] = taken(sent, packet, refusal(packet))
    assert ((), ()) == (sent.found().rows, event.notes)


def test_events_are_noted(family):
    packet = asked(family)
    [event] = taken(SentErrors(Held()), packet, refusal(packet))
    assert f"sent by this host: {NO_SOCKET_ON_PORT}" == event.notes[-1]


def test_an_error_captured_on_several_interfaces_counts_once(family):
    first, second = asked(family), asked(family, length=10)
    sent = SentErrors(Held())
    taken(sent, first, refusal(first), refusal(first), second, refusal(second), refusal(second), each_ns=10_000)
    assert [2] == [each.count for each in sent.found().rows]


def test_equal_errors_on_one_interface_all_count(family):
    packet, sent = asked(family), SentErrors(Held(), copy_ns=0)
    taken(sent, packet, refusal(packet), refusal(packet), refusal(packet), each_ns=0)
    assert [3] == [each.count for each in sent.found().rows]


def test_a_scan_of_all_ports_takes_a_bounded_number_of_rows(monkeypatch, family):
    monkeypatch.setattr(module, "MOST_ROWS", 3)
    sent = SentErrors(Held())
    for port in range(1, 9):
        packet = asked(family, port=port)
        taken(sent, packet, refusal(packet))
    assert (3, 5) == (len(sent.found().rows), sent.found().more)


def test_the_most_frequent_come_first(family):
    seldom, often = asked(family, port=1), asked(family, port=2)
    assert [2, 1] == [each[2] for each in rows(Held(), seldom, refusal(seldom), often, refusal(often), refusal(often))]


def test_rate_limits_are_read_by_the_names_of_their_columns():
    assert {"global": 30, "ipv4_host": 40, "ipv6_host": 50} == rate_limited_of(SNMP)
    assert {} == rate_limited_of("Icmp: InMsgs OutMsgs\nIcmp: 1 2\n")  # before Linux 6.1
    assert {} == rate_limited_of("")


def test_errors_suppressed_before_the_watch_do_not_count(monkeypatch):
    counters = [{"global": 30, "ipv4_host": 40}, {"global": 31, "ipv4_host": 40, "ipv6_host": 2}]
    monkeypatch.setattr(module, "rate_limited", lambda: counters.pop(0))
    assert {"global": 1, "ipv4_host": 0, "ipv6_host": 2} == SentErrors(Held()).found().rate_limited


def test_this_kernel_s_counters_are_numbers():
    assert all(number >= 0 for number in rate_limited().values())


def test_the_socket_of_a_port_is_looked_up_on_this_host(family):
    host = {4: "127.0.0.1", 6: "::1"}[family]
    with socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM) as opened:
        opened.bind((host, 0))
        sockets, port = Sockets(lambda: [ip_address(host)], idle_share=-1), opened.getsockname()[1]
        assert [port] == [found.port for found, _ in sockets.of_port(port)]
        assert sockets.is_own(host)
    assert [] == sockets.of_port(port)
