"""IPv4, IPv6 and what carries IP in IP."""

from __future__ import annotations

import struct

import builders as b
import pytest
import rare_links as r
from builders import CLIENT, PORT, ROUTER, error_about, host, sent, with_refusal
from following import story_of
from wraps import TUNNELS, cases

from udpprobe.core.notes import TEXTS, Note

UDP_TUNNELS = {name: row for name, row in TUNNELS.items() if 4 in row[0] and row[1](sent(1))[9] == b.UDP}


def behind(*headers, udp=None):
    """An IPv6 datagram behind a chain of (number, builder), the innermost first."""
    packet, next_header = udp or b.udp(40001, PORT, b"data", CLIENT[6], host(1, 6)), b.UDP
    for number, build in headers:
        packet, next_header = build(packet, next_header), number
    return b.ipv6(CLIENT[6], host(1, 6), packet, next_header)


# ---- source routes

VIA = {4: ("203.0.113.1", "203.0.113.2"), 6: ("2001:db8:ffff::1", "2001:db8:ffff::2")}


def routed(route, data=b"0123456789" * 2):
    """On its way to the first of some hops, IPv4: behind these options."""
    segment = b.udp(40001, PORT, data, CLIENT[4], host(1))
    return b.ipv4(CLIENT[4], VIA[4][0], segment, options=route)


def route_option(number, *hops, pointer=4, size=None):
    body = b"".join(map(b.packed, hops))
    return bytes([number, 3 + len(body) if size is None else size, pointer]) + body


def routed6(build):
    """Likewise IPv6, behind a routing header."""
    segment = b.udp(40001, PORT, b"0123456789" * 2, CLIENT[6], host(1, 6))
    return b.ipv6(CLIENT[6], VIA[6][0], build(segment), b.ROUTING)


def segment_routing(segment, *, left, hops, tail=b""):
    """RFC 8754: the last segment first."""
    body = b"".join(map(b.packed, hops[::-1])) + tail
    return struct.pack("!BBBBBBH", b.UDP, len(body) // 8, 4, left, max(len(hops) - 1, 0), 0, 0) + body + segment


def rpl(segment, *, kept_inner=2, kept_last=2):
    """RFC 6554: of each address, only the last bytes; the others are those of the destination."""
    body = b.packed(VIA[6][1])[-kept_inner:] + b.packed(host(1, 6))[-kept_last:]
    pad = -len(body) % 8
    return (
        struct.pack("!BBBBBBH", b.UDP, (len(body) + pad) // 8, 3, 2, 16 - kept_inner << 4 | 16 - kept_last, pad << 4, 0)
        + body
        + bytes(pad)
        + segment
    )


ROUTED = {
    "loose": routed(route_option(131, host(1))),
    "strict": routed(route_option(137, VIA[4][1], host(1))),
    "one hop done": routed(route_option(131, VIA[4][1], host(1), pointer=8)),
    "behind padding": routed(b"\1\1\1" + route_option(131, host(1)) + b"\0"),
    "behind record route": routed(route_option(7, "0.0.0.0") + route_option(131, host(1))),
    "type 0": routed6(lambda segment: b.routing(segment, addresses=(VIA[6][1], host(1, 6)), segments_left=2)),
    "type 0, one hop to go": routed6(
        lambda segment: b.routing(segment, addresses=(VIA[6][1], host(1, 6)), segments_left=1)
    ),
    "Mobile IPv6": routed6(
        lambda segment: b.routing(segment, addresses=(host(1, 6),), segments_left=1, routing_type=2)
    ),
    "segment routing": routed6(lambda segment: segment_routing(segment, left=1, hops=(*VIA[6], host(1, 6)))),
    "segment routing, reduced": routed6(lambda segment: segment_routing(segment, left=2, hops=(VIA[6][1], host(1, 6)))),
    "segment routing, with HMAC": routed6(
        lambda segment: segment_routing(segment, left=1, hops=(VIA[6][0], host(1, 6)), tail=b"\5\x26" + bytes(38))
    ),
    "RPL": b.ipv6(
        CLIENT[6], "2001:db8:1::9", rpl(b.udp(40001, PORT, b"0123456789" * 2, CLIENT[6], host(1, 6))), b.ROUTING
    ),
    "RPL, more of the last": routed6(lambda segment: rpl(segment, kept_last=14)),
}


@pytest.mark.parametrize("name", ROUTED)
def test_a_source_route_ends_at_its_last_address(name):
    packet = ROUTED[name]
    family = b.family_of(packet)
    arrived = sent(1, family)
    story = story_of([packet, error_about(arrived)])
    assert {(host(1, family), PORT): "refused"} == story.verdicts
    assert 1 == story.only.sent
    assert ((), {}) == (story.unmatched, story.faults)


@pytest.mark.parametrize("name", ROUTED)
def test_an_error_along_a_source_route_is_about_its_end(name):
    packet = ROUTED[name]
    story = story_of([packet, error_about(packet, reporter=ROUTER[b.family_of(packet)])])
    assert [(host(1, b.family_of(packet)), "rejected", "exact")] == [
        (each.address, each.verdict, each.findings[0].match) for each in story.destinations
    ]


@pytest.mark.parametrize(
    "packet",
    [
        routed(route_option(131, host(1), pointer=8)),  # there already
        routed(route_option(131, host(1), size=2)),
        routed(route_option(131, host(1), size=39)),
        routed(route_option(131, host(1), size=0)),
        routed(b"\0" + route_option(131, host(1))),
        routed(route_option(7, host(1))),
        routed(b"\x83"),
        routed(b"\x83\x03\x04"),
    ],
)
def test_a_source_route_that_is_used_up_or_damaged_changes_nothing(packet):
    assert [VIA[4][0]] == [each.address for each in story_of([packet]).destinations]


@pytest.mark.parametrize(
    "build",
    [
        lambda segment: b.routing(segment, addresses=(host(1, 6),), segments_left=0),
        lambda segment: b.routing(segment, addresses=(host(1, 6),), segments_left=2),
        lambda segment: b.routing(segment, segments_left=1),
        lambda segment: b.routing(segment, addresses=(host(1, 6),), segments_left=1, routing_type=5),
        lambda segment: segment_routing(segment, left=0, hops=(host(1, 6),)),
        lambda segment: segment_routing(segment, left=9, hops=(host(1, 6),)),
        lambda segment: segment_routing(segment, left=1, hops=()),
        lambda segment: struct.pack("!BBBBI", b.UDP, 0, 3, 1, 0) + segment,
        lambda segment: struct.pack("!BBBBBBH", b.UDP, 1, 3, 1, 0xEE, 0xF0, 0) + bytes(8) + segment,
    ],
)
def test_a_routing_header_that_is_used_up_or_damaged_changes_nothing(build):
    assert [VIA[6][0]] == [each.address for each in story_of([routed6(build)]).destinations]


# ---- tunnels


@pytest.mark.parametrize(("name", "family"), cases(TUNNELS))
def test_an_error_inside_a_tunnel_is_about_the_datagram_inside(name, family):
    _, wrap = TUNNELS[name]
    story = story_of([wrap(packet) for packet in with_refusal(sent(1, family))])
    assert [("exact", 1)] == story.matches
    assert (host(1, family), PORT, "refused") == (story.only.address, story.only.port, story.only.verdict)
    assert ("inside a tunnel",) == story.only.findings[0].notes
    assert {} == story.faults


@pytest.mark.parametrize("name", UDP_TUNNELS)
def test_an_error_about_a_tunnel_s_own_datagram_is_about_that_and_the_one_inside(name):
    outer = TUNNELS[name][1](sent(1))
    story = story_of([outer, b.port_unreachable(outer)])
    assert [("exact", 1)] * 2 == story.matches
    found = {each.address: (each.verdict, len(each.findings[0].notes)) for each in story.destinations}
    assert {"10.0.0.2": ("refused", 0), host(1): ("rejected", 1)} == found


def too_big(packet, mtu, **fields):
    build = b.packet_too_big if b.family_of(packet) == 6 else b.frag_needed
    return build(packet, mtu, ROUTER[b.family_of(packet)], **fields)


@pytest.mark.parametrize(("name", "family"), cases(TUNNELS))
def test_an_error_about_a_tunnel_s_packet_is_about_the_datagram_inside(name, family):
    packet = sent(1, family, size=1400)
    outer = TUNNELS[name][1](packet)
    story = story_of([outer, too_big(outer, 1300)])
    (found,) = (each for each in story.destinations if each.address == host(1, family))
    (finding,), header = found.findings, len(outer) - len(packet)
    assert ("too-big", 1300, "exact", 1) == (found.verdict, finding.mtu, finding.match, found.errors)
    assert (
        f"about the tunnel's packet: its headers take {header} bytes, and {1300 - header} remain inside"
        in finding.notes
    )
    event = story.events[-1]
    assert (host(1, family), 40001, finding.notes) == (event.quoted.destination, event.quoted.source_port, event.notes)
    assert (0x1234 if family == 4 else None, {}) == (event.quoted.ip_id, story.faults)
    payload = 1300 - header - (28 if family == 4 else 48)
    assert f"Send UDP payloads of at most {payload} bytes" in found.advice
    assert found.advice == event.advice


@pytest.mark.parametrize(("name", "family"), cases(TUNNELS))
def test_a_tunnel_s_quote_may_end_anywhere(name, family):
    packet = sent(1, family)
    outer = TUNNELS[name][1](packet)
    start, header = len(outer) - len(packet), 20 if family == 4 else 40
    sizes = range(40 if b.family_of(outer) == 6 else 20, len(outer))
    story = story_of([outer, *(too_big(outer, 1300, quote=outer[:size]) for size in sizes)])
    inside = [(each.frame, each.matched_frame) for each in story.events if each.quoted.destination == host(1, family)]
    ports = start + header + (2 if family == 4 else 4)  # with an id, the source port is enough
    assert inside == [
        (frame, 1 if size >= ports else None) for frame, size in enumerate(sizes, 2) if size >= start + header
    ]
    assert {} == story.faults


def test_an_mtu_that_the_tunnel_packet_fits_is_no_reason_to_shrink():
    outer = TUNNELS["4 in 6"][1](sent(1, size=1200))
    note = TEXTS[Note.MTU_NOT_SMALLER]
    for mtu, is_odd in ((len(outer), True), (len(outer) - 1, False)):
        (event,) = story_of([outer, too_big(outer, mtu)]).events
        assert is_odd == (note in event.notes)


def test_an_mtu_of_zero_is_estimated_for_the_tunnel_s_packet():
    outer = TUNNELS["6 in 4"][1](sent(1, 6, size=1480))  # 1548 bytes, the datagram's packet 1528
    (event,) = story_of([outer, too_big(outer, 0)]).events
    assert any("plateau is 1492" in note for note in event.notes)


def test_a_datagram_that_a_nat_changed_inside_a_tunnel_is_found():
    inside = b.datagram("203.0.113.77", host(1), 61000, PORT, b"0123456789" * 2, id=0x1234)
    outer = TUNNELS["gre"][1](inside)
    assert [("rewritten", 1)] == story_of([sent(1), too_big(outer, 1300)]).matches


def test_a_quoted_fragment_inside_a_tunnel_is_matched_with_its_datagram():
    first, later = b.fragments(sent(1, size=1400), 800, id=9)
    wrap = TUNNELS["4 in 6"][1]
    story = story_of([wrap(first), wrap(later), too_big(wrap(first), 1280), too_big(wrap(later), 1280)])
    assert [("exact", 1)] * 2 == story.matches


def test_a_quoted_tunnel_packet_without_udp_inside_is_ignored():
    outer = TUNNELS["gre"][1](b.ipv4(CLIENT[4], host(1), bytes(20), 6))
    story = story_of([outer, b.error(outer, 3, 2)])
    assert ([], (), {}) == (story.events, story.unmatched, story.faults)


@pytest.mark.parametrize(
    ("port", "payload"),
    [
        (4789, b""),
        (4789, bytes(7)),
        (4789, b"\x09" + bytes(30)),
        (4789, b"\x08\0\0\0\0\0\0\x01" + bytes(30)),
        (6081, bytes(7)),
        (6081, b"\xc0" + bytes(30)),
        (6081, bytes(7) + b"\1" + bytes(30)),
        (2152, bytes(11)),
        (2152, b"\x50" + bytes(30)),
        (2152, b"\x30\x01" + bytes(30)),
    ],
)
def test_a_plain_datagram_may_use_the_port_of_a_tunnel(port, payload):
    packet = b.datagram(CLIENT[4], host(1), 5000, port, payload)
    story = story_of([packet, b.port_unreachable(packet)])
    assert {(host(1), port): "refused"} == story.verdicts
    assert {} == story.faults


def gtp_with_chain(*lengths):
    """Extension headers of so many words of four bytes each, then nothing more."""
    chain = b"".join(bytes([size]) + bytes(max(4 * size, 4) - 2) + b"\x85" for size in lengths)
    body = b"\0\0\0\x85" + chain
    return b.datagram(*OUTER, 4000, 2152, b"\x34\xff" + struct.pack("!HI", len(body), 1) + body)


OUTER = ("10.0.0.1", "10.0.0.2")
SIXES = ("fd00::1", "fd00::2")


@pytest.mark.parametrize(
    ("chain", "fault"),
    [
        ((1,), "short-ip"),
        ((2, 1), "short-ip"),
        ((0,), "short-ip"),
        ((1,) * 12, "bad-ip-version"),
    ],
)
def test_an_endless_gtp_header_chain_is_abandoned(chain, fault):
    assert {fault: 1} == story_of([gtp_with_chain(*chain)]).faults


@pytest.mark.parametrize(
    ("packet", "fault"),
    [
        (b.ipv4(*OUTER, b"\0\0", b.GRE), "short-gre"),
        (b.ipv4(*OUTER, b"\xb0\0\x08\0" + bytes(8), b.GRE), "short-gre"),
        (b.datagram(*OUTER, 4000, 6081, b"\x3f\0\x65\x58" + bytes(8)), "short-geneve"),
        (b.datagram(*OUTER, 4000, 2152, b"\x34\xff\0\x08" + bytes(7) + b"\x85\xff" + bytes(3)), "short-gtp"),
        (b.ipv4(*OUTER, b"\x70" + bytes(30), b.IPIP), "bad-ip-version"),
        (b.ipv4(*OUTER, b"", b.IP6_IN_IP), "short-ip"),
        (b.ipv4(*OUTER, r.erspan(b"", 2)[:-1], b.GRE), "short-erspan"),
        (b.ipv6(*SIXES, r.erspan(b"", 3)[:-1], b.GRE), "short-erspan"),
        (b.ipv4(*OUTER, r.erspan(b"", 3, subheader=bytes(7)), b.GRE), "short-erspan"),
        (b.ipv4(*OUTER, b.gre(b"\x30" + bytes(40), 0x88BE, sequence=1), b.GRE), "bad-erspan-header"),
        (b.ipv6(*SIXES, b.gre(b"\x10" + bytes(40), 0x22EB, sequence=1), b.GRE), "bad-erspan-header"),
        (b.ipv4(*OUTER, r.erspan(bytes(60), 3, frame_type=5), b.GRE), "bad-erspan-header"),
        (b.ipv4(*OUTER, r.erspan(b.ethernet(sent(1)), 2, is_cut=True)[:-25], b.GRE), "cut-udp"),
        (b.ipv4(*OUTER, b"\3", 97), "short-etherip"),
        (b.ipv6(*SIXES, b"\x40\0" + b.ethernet(sent(1)), 97), "bad-etherip-header"),
        (b.ipv6(*SIXES, b"\x30\0" + bytes(13), 97), "short-ethernet"),
        (b.ipv4(*OUTER, bytes(3), 137), "short-mpls"),
        (b.datagram(*OUTER, 1701, 1701, b"\2\2" + bytes(5)), "short-l2tp"),
        (b.datagram(*OUTER, 1701, 1701, b"\2\2\0\1\0\1\xff\xff" + bytes(9)), "short-l2tp"),
        (b.datagram(*SIXES, 1701, 1701, r.l2tp(sent(1))[:9]), "short-ppp"),
        (b.datagram(*OUTER, 6, 6080, b"\5\4\0\0" + bytes(9)), "short-gue"),
        (b.datagram(*SIXES, 6, 5247, r.capwap(b"", hlen=4)[:-1]), "short-capwap"),
        (b.datagram(*OUTER, 6, 5247, r.capwap(bytes(13))), "short-ethernet"),
        (b.datagram(*OUTER, 6, 5247, r.capwap(b"\x08", is_wlan=True)), "short-wlan"),
        (b.datagram(*OUTER, 6, 5247, r.capwap(r.wlan(b"", flags=0x42), is_wlan=True)), "encrypted-wlan"),
    ],
)
def test_a_truncated_tunnel_is_a_fault_by_name(packet, fault):
    assert {fault: 1} == story_of([packet]).faults


@pytest.mark.parametrize("protocol", [0, 0x0806, 0x2001, 0x00FE, 0x8200, 0x894F, 0xFFFF])
@pytest.mark.parametrize("ends", [OUTER, SIXES])
def test_a_gre_payload_that_is_not_entered_is_a_fault(protocol, ends):
    assert {"unknown-gre-payload": 1} == story_of([b.ip(*ends, b.gre(bytes(40), protocol), b.GRE)]).faults


def test_an_unknown_version_of_gre_is_a_fault():
    assert {"unknown-gre-payload": 1} == story_of([b.ipv4(*OUTER, b"\0\2\x08\0" + sent(1), b.GRE)]).faults


def test_pptp_may_acknowledge_without_a_packet():
    assert {} == story_of([b.ipv4(*OUTER, b"\x20\x81\x88\x0b" + bytes(8), b.GRE)]).faults


def fou(family, ends=OUTER, port=5555):
    return b.datagram(*ends, 41000, port, sent(1, family))


ESP = b"\xc0\x00\x00\x01\0\0\0\1" + bytes(range(40))


@pytest.mark.parametrize(
    ("packet", "fault"),
    [
        *(
            (b.datagram(*ends, *ports, r.wireguard(kind, size)), "encrypted-wireguard")
            for ends in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2"))
            for ports in ((40000, 51820), (9999, 1234))
            for kind, size in ((1, 148), (2, 92), (3, 64))
        ),
        (b.datagram("10.0.0.1", "10.0.0.2", 40000, 51820, r.wireguard(4, 32)), "encrypted-wireguard"),
        (b.datagram("fd00::1", "fd00::2", 51820, 40000, r.wireguard(4, 1312)), "encrypted-wireguard"),
        *((b.ip(*ends, ESP, 50), "encrypted-esp") for ends in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2"))),
        (b.datagram("10.0.0.1", "10.0.0.2", 4500, 4500, ESP), "encrypted-esp"),
        (b.datagram("fd00::1", "fd00::2", 1, 4500, ESP), "encrypted-esp"),
        *(
            (b.ip(*ends, b"\0\0\0\x05" + bytes(40), 115), "unread-l2tpv3")
            for ends in (("10.0.0.1", "10.0.0.2"), ("fd00::1", "fd00::2"))
        ),
        (b.datagram("10.0.0.1", "10.0.0.2", 1701, 1701, b"\0\3\0\0" + bytes(40)), "unread-l2tpv3"),
        (b.datagram("10.0.0.1", "10.0.0.2", 40000, 5247, b"\1\0\0\0\x17\xfe\xfd" + bytes(40)), "encrypted-capwap"),
        (fou(4), "unread-fou"),
        (fou(6), "unread-fou"),
        (fou(6, ("fd00::1", "fd00::2"), 7777), "unread-fou"),
        *((b.datagram("10.0.0.1", "10.0.0.2", 41000, 5555, r.gue(sent(1, family))), "unread-gue") for family in (4, 6)),
    ],
)
def test_a_tunnel_that_cannot_be_entered_is_counted_by_name(packet, fault):
    story = story_of([packet])
    assert {fault: 1} == story.faults
    assert {"silent"} >= set(story.verdicts.values())


@pytest.mark.parametrize(
    ("port", "payload"),
    [
        (51820, r.wireguard(4, 33)),
        (51820, r.wireguard(4, 16)),
        (4000, r.wireguard(4, 32)),
        (51820, r.wireguard(1, 147)),
        (51820, b"\1\0\0\1" + bytes(144)),
        (51820, r.wireguard(5, 64)),
        (51820, b"\1"),
        (5555, b""),
        (5555, sent(1)[:-1]),
        (5555, sent(1, 6) + b"x"),
        (5555, sent(1, checksum=1, ttl=3)[:10] + bytes(2) + sent(1)[12:]),
        (5555, b"\x45" + bytes(18)),
        (5555, b"\x60" + bytes(39)),
        (5555, b"\0\4\0\0" + sent(1)[:-1]),
        (4500, b"\xff"),
        (4500, bytes(4) + b"ike" * 20),
        (4500, b"\1\2\3\4"),
        (1701, b"\xc8\2" + bytes(40)),
        (1701, b"\0\1" + bytes(40)),
        (1701, b"\x10\2" + bytes(40)),
        (1701, b"\2"),
        (5247, b"\x10" + bytes(40)),
        (5247, bytes(40)),
        (5247, r.capwap(b"keep", 8)),
        (5247, bytes(3)),
        (5247, r.capwap(bytes(40), 0x80, offset=3)),
        (5247, b"\0\x10\x05\0" + bytes(40)),
        (6080, b"\x80" + bytes(40)),
        (6080, b"\x20\4\0\0" + bytes(40)),
        (6080, b"\0\x3b\0\0" + bytes(40)),
        (4754, b"\x4f\xff" + bytes(40)),
        (4790, bytes(40)),
        (4790, b"\x0c\0\0\1\0\0\0\1" + bytes(40)),
        (4790, r.vxlan_gpe(bytes(40), 4)),
        (3544, bytes(40)),
        (3544, b"\0\1" + bytes(40)),
    ],
)
@pytest.mark.parametrize("ends", [OUTER, SIXES])
def test_a_datagram_that_resembles_a_tunnel_is_a_plain_datagram(port, payload, ends):
    packet = b.datagram(*ends, 5000, port, payload)
    story = story_of([packet, b.port_unreachable(packet)])
    assert {(ends[1], port): "refused"} == story.verdicts
    assert {} == story.faults


def test_a_first_fragment_of_capwap_stands_for_its_datagram():
    inner = b.ethernet(sent(1, size=800))
    packet = b.datagram(*OUTER, 5247, 5247, r.capwap(inner[:400], 0x80))
    story = story_of([packet, error_about(sent(1, size=800))])
    assert ("refused", {}) == (story.only.verdict, story.faults)


def test_control_and_sessions_of_l2tpv3_are_distinguished():
    assert {} == story_of([b.ipv4(*OUTER, bytes(40), 115)]).faults


def test_endlessly_nested_tunnels_are_a_fault():
    packet = sent(1)
    for _ in range(60):
        packet = b.ipv4(*OUTER, packet, b.IPIP)
    assert {"too-many-headers": 1} == story_of([packet]).faults


def test_endlessly_nested_udp_tunnels_stop_without_a_fault():
    packet = sent(1)
    for _ in range(60):
        packet = b.datagram(*OUTER, 4000, 2152, b.gtpu(packet))
    story = story_of([packet])
    assert {("10.0.0.2", 2152): "silent"} == story.verdicts


# ---- headers


@pytest.mark.parametrize("options", [b"\1", bytes([7, 11, 4]) + bytes(8), bytes(40)])
def test_ipv4_options_are_skipped_in_datagram_and_quote(options):
    assert [("exact", 1)] == story_of(with_refusal(sent(1, options=options))).matches


HOP, ROUTING, OPTIONS = (0, b.hop_by_hop), (b.ROUTING, b.routing), (b.DSTOPTS, b.destination_options)
FRAGMENT, AH = (b.FRAGMENT, b.fragment), (b.AH, b.ah)
MOBILITY, HIP, SHIM6 = ((number, b.options_header) for number in (135, 139, 140))


@pytest.mark.parametrize(
    "chain",
    [
        (HOP,),
        (ROUTING,),
        (OPTIONS,),
        (FRAGMENT,),
        (AH,),
        (MOBILITY,),
        (HIP,),
        (SHIM6,),
        (FRAGMENT, OPTIONS, HOP),
        (AH, ROUTING, OPTIONS, HOP),
        (AH,) * 5,
    ],
)
def test_ipv6_extension_headers_are_walked_in_datagram_and_quote(chain):
    story = story_of(with_refusal(behind(*chain)))
    assert {(host(1, 6), PORT): "refused"} == story.verdicts
    assert [1] == [event.matched_frame for event in story.events]
    assert {} == story.faults


@pytest.mark.parametrize(
    ("packet", "fault"),
    [
        (b.ipv4(CLIENT[4], host(1))[:19], "short-ipv4"),
        (b.ipv4(CLIENT[4], host(1), options=bytes(8))[:24], "short-ipv4"),
        (b"\x44" + b.ipv4(CLIENT[4], host(1), bytes(8))[1:], "bad-ipv4-header"),
        (b"\x45\0\0\x13" + b.ipv4(CLIENT[4], host(1), bytes(8))[4:], "bad-ipv4-header"),
        (b"\x47\0\0\x1b" + b.ipv4(CLIENT[4], host(1), bytes(8), options=bytes(8))[4:], "bad-ipv4-header"),
        (b.ipv6(CLIENT[6], host(1, 6))[:39], "short-ipv6"),
        (b.ipv6(CLIENT[6], host(1, 6), b"\x11\0", 0), "short-ipv6-extension"),
        (b.ipv6(CLIENT[6], host(1, 6), b"\x11\x09" + bytes(14), 0), "short-ipv6-extension"),
        (b.ipv6(CLIENT[6], host(1, 6), b"\x11\0\0", b.FRAGMENT), "short-ipv6-extension"),
        (b.ipv4(CLIENT[4], host(1), bytes(7)), "short-udp"),
        (b.ipv4(CLIENT[4], host(1), bytes(7), b.ICMP), "short-icmp"),
    ],
)
def test_a_packet_that_ends_within_a_header_is_a_fault_by_name(packet, fault):
    assert {fault: 1} == story_of([packet]).faults


def test_a_version_that_contradicts_the_ethertype_is_a_fault():
    frames = [b.ethernet(sent(1, 4), b.IP6_TYPE), b.ethernet(sent(1, 6), b.IP4_TYPE)]
    assert {"bad-ipv6-header": 1, "bad-ipv4-header": 1} == story_of(frames, 1).faults


def test_ethernet_s_padding_is_not_part_of_the_packet():
    tiny = b.datagram(CLIENT[4], host(1), 40001, PORT, b"")
    story = story_of([b.ethernet(packet) + bytes(18) for packet in with_refusal(tiny)], 1)
    assert [("exact", 1)] == story.matches
    assert 28 == story.events[0].quoted.bytes
    assert () == story.events[0].notes


def test_an_ipv4_length_of_zero_is_that_of_an_offloaded_packet():
    packet = b.datagram(CLIENT[4], host(1), 40001, PORT, b"data", total_length=0)
    assert 32 == story_of([packet]).destinations[0].sent_bytes


def test_an_ipv6_length_of_zero_is_that_of_an_offloaded_or_jumbo_packet():
    packet = b.datagram(CLIENT[6], host(1, 6), 40001, PORT, b"data", payload_length=0)
    assert 52 == story_of([packet]).destinations[0].sent_bytes


def test_a_truncated_datagram_counts_with_its_whole_length():
    packet = sent(1, size=1000)
    assert 1028 == story_of([packet[:60]], lengths=[len(packet)]).destinations[0].sent_bytes


# ---- fragments


@pytest.mark.parametrize("family", [4, 6])
def test_the_first_fragment_stands_for_the_datagram(family):
    pieces = b.fragments(sent(1, family, size=3000), 1448)
    story = story_of([*pieces, error_about(pieces[0])])
    assert {(host(1, family), PORT): "refused"} == story.verdicts
    assert (1, 1) == (story.only.sent, story.events[0].matched_frame)
    assert {} == story.faults


@pytest.mark.parametrize("family", [4, 6])
def test_a_later_fragment_alone_is_not_a_datagram(family):
    later = b.fragments(sent(1, family, size=3000), 1448)[1]
    assert ((), {}) == (story_of([later]).destinations, story_of([later]).faults)


@pytest.mark.parametrize("length", [0, 7, 29])
def test_an_impossible_udp_length_is_a_fault_and_the_datagram_counts(length):
    story = story_of([sent(1, length=length), sent(1, 6, length=length)])
    assert {"bad-udp-length": 2} == story.faults
    assert [1, 1] == [each.sent for each in story.destinations]
