"""ICMP errors of nodes: about which packets, what they quote, and how often they are sent, also as Linux was measured."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

import pytest
from playing import HOST, SECOND, YOU, described, played, probe, quoted, world
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.inet6 import (
    HBHOptUnknown,
    ICMPv6DestUnreach,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Pad1,
)
from scapy.packet import Raw

from udpprobe.lab.icmp import GUESS, LinuxLimit, may_be_sent
from udpprobe.lab.model import KINDS, Dice
from udpprobe.lab.packets import dissect

ROUTER = {4: "198.18.0.1", 6: "2001:db8::1"}
BOTH = pytest.mark.parametrize("family", [4, 6])
HEADER = {4: 20, 6: 40}


def the_error(family=4, *, size=10, port=54, ttl=64, **about):
    (back,) = played(world(**about), probe(family, port, ttl, bytes(size)))
    return back


@BOTH
def test_the_quote_is_the_datagram_as_it_arrived(family):
    arrived = bytes(probe(family, 54, ttl=63, data=bytes(10)))
    assert arrived == quoted(the_error(family))


@pytest.mark.parametrize(
    ("family", "size", "quote", "total"),
    [(4, 520, 548, 576), (4, 521, 548, 576), (4, 1400, 548, 576), (6, 1184, 1232, 1280), (6, 1400, 1232, 1280)],
)
def test_an_error_is_as_long_as_the_rfcs_allow(family, size, quote, total):
    error = the_error(family, size=size)
    assert (quote, total) == (len(quoted(error)), len(bytes(error)))


@BOTH
@pytest.mark.parametrize("quote", [0, 4, 8, 100])
def test_a_scenario_sets_the_length_of_quotes(family, quote):
    assert HEADER[family] + quote == len(quoted(the_error(family, size=200, host=f"quote = {quote}")))


@pytest.mark.parametrize(
    ("mangle", "at", "expected"),
    [
        ("swap-length", 2, "2600"),
        ("swap-id", 4, "0700"),
        ("swap-offset", 6, "0040"),
        ("short-length", 2, "0012"),
        ("zero-checksum", 10, "0000"),
    ],
)
def test_a_mangled_quote_differs_in_two_bytes(mangle, at, expected):
    sound = quoted(the_error())
    assert sound[:at] + bytes.fromhex(expected) + sound[at + 2 :] == quoted(the_error(host=f'mangles = "{mangle}"'))


@pytest.mark.parametrize(
    ("mangle", "changed"),
    [("swap-length", [4, 5]), ("swap-id", []), ("swap-offset", []), ("short-length", []), ("zero-checksum", [])],
)
def test_in_ipv6_only_the_length_can_be_mangled(mangle, changed):
    assert changed == differing(quoted(the_error(6)), quoted(the_error(6, host=f'mangles = "{mangle}"')))


@BOTH
def test_a_router_may_decrement_the_ttl_before_quoting(family):
    at = {4: 8, 6: 7}[family]
    assert [1, 0] == [quoted(the_error(family, ttl=1, router=about))[at] for about in ("quote = 8", 'mangles = "ttl"')]


@pytest.mark.parametrize("tos", [0, 0x10, 0xB8])
def test_the_precedence_of_an_error_is_that_of_network_control(tos):
    (error,) = played(world(), probe(4, 54, tos=tos))
    assert 0xC0 | tos & 0x1E == error.tos


@BOTH
def test_errors_may_come_from_another_address(family):
    about = 'reports_from = ["198.18.77.7", "2001:db8:77::7"]'
    assert {4: "198.18.77.7", 6: "2001:db8:77::7"}[family] == the_error(family, ttl=1, router=about).src


@pytest.mark.parametrize(
    "packet",
    [
        IP(src=YOU[4], dst=HOST[4], ttl=1) / ICMP(type=11) / Raw(bytes(28)),
        IP(src=YOU[4], dst=HOST[4], ttl=1) / ICMP(type=3, code=3) / Raw(bytes(28)),
        IPv6(src=YOU[6], dst=HOST[6], hlim=1) / ICMPv6DestUnreach() / Raw(bytes(48)),
        IP(src=YOU[4], dst="224.0.0.1", ttl=1) / UDP(),
        IP(src=YOU[4], dst="255.255.255.255", ttl=1) / UDP(),
        IPv6(src=YOU[6], dst="ff02::1", hlim=1) / UDP(),
        IPv6(src="::", dst=HOST[6], hlim=1) / UDP(),
        IP(src="0.0.0.0", dst=HOST[4], ttl=1) / UDP(),
        IP(src="127.0.0.1", dst=HOST[4], ttl=1) / UDP(),
        IP(src=YOU[4], dst=HOST[4], ttl=1, frag=8) / Raw(bytes(32)),
    ],
)
def test_some_packets_draw_no_error(packet):
    assert [] == played(world(), packet)


def test_packet_too_big_may_be_sent_about_ipv6_multicast():
    packet = dissect(bytes(IPv6(src=YOU[6], dst="ff0e::1") / UDP()))
    assert may_be_sent(packet, KINDS["packet-too-big"][6])
    assert not may_be_sent(packet, KINDS["port-unreachable"][6])
    assert not may_be_sent(replace(packet, source=packet.destination), KINDS["packet-too-big"][6])


@pytest.mark.parametrize(
    "packet",
    [
        IP(src=YOU[4], dst=HOST[4], ttl=1) / ICMP() / b"ping",
        IPv6(src=YOU[6], dst=HOST[6], hlim=1) / ICMPv6EchoRequest(data=b"ping"),
    ],
)
def test_a_ping_draws_errors_too(packet):
    assert ROUTER[packet.version] == played(world(), packet)[0].src


@BOTH
def test_mpls_labels_and_the_interface_follow_128_bytes(family):
    error = the_error(family, ttl=1, router='mpls = [24001, 17], interface = "eth0"')
    shown = quoted(error)
    assert (128, 32 if family == 4 else 16) == (
        shown.index(bytes.fromhex("20 00")),
        bytes(error.payload)[5 if family == 4 else 4],
    )
    labels = bytes.fromhex("000c 01 01 05dc1001 00011101")
    assert labels in shown[132:]
    address = {4: "0001 0000 c6120001", 6: "0002 0000 20010db8 00000000 00000000 00000001"}[family]
    assert bytes.fromhex(address) + b"\x08eth0\0\0\0" == shown[132 + len(labels) + 4 :]


@BOTH
def test_an_old_router_sends_labels_without_a_length_field(family):
    old, new = (the_error(family, ttl=1, router=f"mpls = [16], rfc4884 = {about}") for about in ("false", "true"))
    length, checksum = {4: 5, 6: 4}[family], (2, 3)
    assert [length] == [at for at in differing(bytes(old.payload), bytes(new.payload)) if at not in checksum]
    assert quoted(old) == quoted(new)


def differing(one, other):
    return [at for at, (a, b) in enumerate(zip(one, other, strict=True)) if a != b]


def test_packet_too_big_carries_no_extensions():
    (error,) = played(world(router="mpls = [16]", link="mtu = 1300"), probe(6, data=bytes(1400)))
    assert (2, 1300, 1232) == (bytes(error.payload)[0], int.from_bytes(bytes(error.payload)[4:8]), len(quoted(error)))


@pytest.mark.parametrize(
    ("rule", "v4", "v6"),
    [
        ('with = "port-unreachable"', "3/3", "1/4"),
        ('with = "policy-fail"', "3/13", "1/5"),
        ('with = ["3/9", "1/6"]', "3/9", "1/6"),
        ('with = "11/1"', "11/1", None),
        ('with = "source-quench"', "4/0", None),
        ('with = ["3/4/1200", "2/0/1290"]', "3/4", "2/0"),
        ('with = ["5/1", "100/0"]', "5/1", "100/0"),
    ],
)
def test_a_firewall_rejects_with_any_error(rule, v4, v6):
    for family, kind in ((4, v4), (6, v6)):
        back = played(world(router=f'rules = [{{ do = "reject", {rule} }}]'), probe(family))
        assert ([] if kind is None else [f"{ROUTER[family]} {kind}"]) == [described(each) for each in back]


@pytest.mark.parametrize(
    ("rule", "dropped"),
    [
        ('ports = "1-60"', True),
        ('ports = "54-60"', False),
        ('proto = "tcp"', False),
        ('proto = "any"', True),
        ("larger_than = 37", True),
        ("larger_than = 38", False),
        ('to = "host"', True),
        ('to = "router"', False),
        ('to = "198.18.8.0/22"', True),
        ("every = 2", False),
    ],
)
def test_a_rule_matches_what_it_names(rule, dropped):
    back = played(world(router=f'rules = [{{ do = "drop", {rule} }}]'), probe())
    assert dropped == (not back)


def test_an_earlier_rule_can_pass_what_a_later_one_drops():
    firewall = world(router='rules = [{ do = "pass", ports = "53" }, { do = "drop" }]')
    assert ["198.18.9.9 3/3"] == [described(each) for each in played(firewall, probe(port=53), probe(port=54))]


@BOTH
@pytest.mark.parametrize(
    ("wrong", "fields"),
    [("ports", {"sport"}), ("source", {"src"}), ("destination", {"dst"}), ("token", {"load"}), ("id", {"id"})],
)
def test_a_forgery_differs_in_what_must_be_guessed(family, wrong, fields):
    about = f'rules = [{{ do = "reject", wrong = "{wrong}" }}]'
    shown = quoted(played(world(router=about), probe(family))[0])
    layers = IP(shown) if family == 4 else IPv6(shown)
    seen = {
        "src": layers.src,
        "dst": layers.dst,
        "id": getattr(layers, "id", None),
        "sport": layers[UDP].sport,
        "load": layers[UDP].load,
    }
    true = {
        "src": YOU[family],
        "dst": HOST[family],
        "id": 7 if family == 4 else None,
        "sport": 4000,
        "load": b"0123456789",
    }
    expected = fields | {"id"} if wrong == "token" else fields
    expected = expected - {"id"} if family == 6 else expected
    assert expected == {name for name, value in seen.items() if value != true[name]}


@pytest.mark.parametrize(
    ("wrong", "packet"),
    [("source", IP(src="255.255.255.255", dst=HOST[4]) / UDP()), ("destination", probe(to="255.255.255.255"))],
)
def test_a_forger_is_silent_about_a_broadcast_too(wrong, packet):
    forger = world(router=f'rules = [{{ do = "remark", wrong = "{wrong}" }}]')
    assert [f"{HOST[4]} 3/3"] == [
        described(each) for each in played(forger, packet, probe(port=54)) if each.src == HOST[4]
    ]


def test_an_unknown_protocol_draws_an_error_and_in_ipv6_a_pointer():
    v4 = IP(src=YOU[4], dst=HOST[4], proto=99) / Raw(b"x")
    v6 = IPv6(src=YOU[6], dst=HOST[6], nh=99) / Raw(b"x")
    behind = IPv6(src=YOU[6], dst=HOST[6]) / IPv6ExtHdrDestOpt(nh=99) / Raw(bytes(8))
    errors = played(world(), v4, v6, behind)
    assert ["198.18.9.9 3/2", "2001:db8:9::9 4/1", "2001:db8:9::9 4/1"] == [described(each) for each in errors]
    assert [0, 6, 40] == [int.from_bytes(bytes(each.payload)[4:8]) for each in errors]


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        (IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x1E, optdata=b"abcd")]), "1/4 0"),  # to be skipped
        (IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0xC9, optdata=bytes(16))]), "1/4 0"),  # a home address
        (IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x5E, optdata=b"abcd")]), None),
        (IPv6ExtHdrDestOpt(options=[Pad1(), HBHOptUnknown(otype=0x9E, optdata=b"abc")]), "4/2 43"),
        (IPv6ExtHdrHopByHop(options=[HBHOptUnknown(otype=0xDE, optdata=b"abcd")]), "4/2 42"),
        (IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=[HOST[6]], segleft=1), "4/0 50"),
        (IPv6ExtHdrRouting(addresses=[HOST[6]], segleft=0), "1/4 0"),
        (IPv6ExtHdrDestOpt() / IPv6ExtHdrHopByHop(), "4/1 40"),
    ],
)
def test_a_host_points_at_extension_headers_it_rejects(headers, said):
    back = played(world(), IPv6(src=YOU[6], dst=HOST[6]) / headers / UDP(sport=4000, dport=54) / b"x")
    words = [bytes(each.payload) for each in back]
    assert ([said] if said else []) == [f"{word[0]}/{word[1]} {int.from_bytes(word[4:8])}" for word in words]


def test_a_packet_without_an_upper_layer_draws_no_error():
    assert [] == played(world(), IPv6(src=YOU[6], dst=HOST[6], nh=59))


def test_without_a_return_route_no_error_is_sent():
    assert [] == played(world(), IP(src="203.0.113.1", dst=HOST[4]) / UDP(dport=54))


def test_any_address_of_the_programs_network_is_answered():
    (error,) = played(world(), IP(src="198.18.0.77", dst=HOST[4]) / UDP(dport=54))
    assert ("198.18.9.9 3/3", "198.18.0.77") == (described(error), error.dst)


@pytest.mark.parametrize(("kind", "expected"), [("3/4", 0xFFFF), ("12/0", 0xFF00_0000), ("4/0", 0)])
def test_a_value_too_large_for_the_header_is_capped(kind, expected):
    (error,) = played(world(router=f'rules = [{{ do = "reject", with = "{kind}", word = 4294967295 }}]'), probe())
    assert expected == int.from_bytes(bytes(error[ICMP])[4:8])


def test_a_rule_sets_the_rest_of_the_header():
    (error,) = played(world(router='rules = [{ do = "reject", with = "parameter-problem", word = 22 }]'), probe())
    assert (12, 0, 22) == tuple(bytes(error[ICMP])[n] for n in (0, 1, 4))


def test_no_forged_id_is_the_true_one_byte_swapped():
    assert not [identity for identity in range(1 << 16) if identity ^ GUESS == (identity & 0xFF) << 8 | identity >> 8]


CLIENT = {4: ip_address("198.18.0.2"), 6: ip_address("2001:db8::2")}
CLOSED, TOO_BIG = KINDS["port-unreachable"], KINDS["packet-too-big"]


def allowed(times_s, family=4, kind=CLOSED, to=CLIENT, **about):
    """When an error may be sent, of the times when there is one to send."""
    limit = LinuxLimit(Dice(1))
    return [
        now_s
        for now_s in times_s
        if limit.allows(to[family], kind[family], int(now_s * SECOND), **({"routed": False} | about))
    ]


def every(gap_s, count):
    return [round(number * gap_s, 3) for number in range(count)]


@pytest.mark.parametrize(("family", "gap_s"), [(4, 1.0), (6, 0.1)])
def test_linux_sends_six_errors_to_a_source_and_then_one_per_interval(family, gap_s):
    moments = [0.0] * 30 + every(gap_s / 10, 40)[1:]
    assert [0.0] * 6 + [gap_s, 2 * gap_s, 3 * gap_s] == pytest.approx(allowed(moments, family))


def test_six_errors_are_available_again_after_a_pause():
    assert 12 == len(allowed([0.0] * 30 + [6.0] * 30))
    assert 9 == len(allowed([0.0] * 30 + [3.0] * 30))


def test_packet_too_big_is_never_limited():
    for family in (4, 6):
        assert 1000 == len(allowed([0.0] * 1000, family, TOO_BIG))


@pytest.mark.parametrize("family", [4, 6])
def test_all_sources_together_get_about_fifty_errors_at_once(family):
    """Measured: 37 to 73; the kernel takes 0 to 2 tokens for each, at random."""
    limit = LinuxLimit(Dice(1))
    told_now = sum(limit.allows(CLIENT[family] + n, CLOSED[family], 0, routed=False) for n in range(1000))
    assert 37 <= told_now <= 73


@pytest.mark.parametrize(
    ("gap_s", "expected"), [(0.1, [0, 0.1]), (0.5, [0, 0.5, 1.0]), (0.9, [0, 0.9, 1.8]), (2.1, every(2.1, 20))]
)
def test_errors_of_the_linux_routing_table_are_even_rarer(gap_s, expected):
    assert expected == allowed(every(gap_s, 20), routed=True)


def test_in_ipv6_routing_errors_have_the_usual_limit():
    assert 6 == len(allowed([0.0] * 30, 6, routed=True))


@pytest.mark.parametrize(
    ("limit", "expected"),
    [("{}", 1), ("{ burst = 5 }", 5), ("{ per_s = 1000, burst = 3 }", 3), ('{ by = "source", burst = 2 }', 4)],
)
def test_a_scenario_can_limit_a_node_or_each_source(limit, expected):
    other = probe(port=54)
    other.src = "198.18.0.3"
    assert expected == len(played(world(host=f"limit = {limit}"), *[probe(port=54), other] * 10))


def test_tokens_come_back_with_time():
    host = world(host="limit = { per_s = 2 }")
    counts = [len(played(host, *[probe(port=54)] * 3, at_ns=int(at_s * SECOND))) for at_s in (0, 1.25, 2.5, 60)]
    assert [1, 1, 1, 1] == counts


def test_answers_are_not_limited():
    host = world(host="limit = {}, udp = { 53 = 'echo' }")
    assert 21 == len(played(host, *[probe()] * 20, *[probe(port=54)] * 5))


def test_a_silent_node_sends_no_errors_but_answers():
    host = world(host="silent = true, udp = { 53 = 'echo' }")
    assert ["198.18.9.9 udp 53"] == [described(each) for each in played(host, probe(), probe(port=54))]
