"""Link layers: the same refusal is found in each, and what carries no UDP ends without a fault."""

from __future__ import annotations

import builders as b
import pytest
import rare_links as r
from builders import error_about, host, sent, with_refusal
from following import story_of
from wraps import LINKS, cases

ETHERNET, SLL = 1, 113


@pytest.mark.parametrize(("name", "family"), cases(LINKS))
def test_a_refusal_is_found_in_every_link_layer(name, family):
    link_type, _, wrap = LINKS[name]
    story = story_of([wrap(packet) for packet in with_refusal(sent(1, family))], link_type)
    assert [("exact", 1)] == story.matches
    assert "refused" == story.only.verdict
    assert {} == story.faults


@pytest.mark.parametrize(
    ("link_type", "frame"),
    [
        (ETHERNET, b.ethernet(b"\0" * 28, 0x0806)),  # ARP
        (ETHERNET, b.ethernet(b"\x01" * 40, 0x88CC)),  # LLDP
        (ETHERNET, b.ethernet(b"\x42\x42\x03" + bytes(40), 43)),  # spanning tree: LLC without SNAP
        (ETHERNET, b.ethernet(b.llc_snap(bytes(40), 0x2000), 48)),  # CDP
        (ETHERNET, b.ethernet(b.mpls(b"\0" * 40, 16), b.MPLS_TYPE)),  # a pseudowire: no IP version
        (ETHERNET, b.ethernet(b.pppoe(bytes(20), protocol=0xC021), b.PPPOE_TYPE)),  # LCP
        (SLL, b.sll(bytes(20), 0x0004)),
        (0, b.null_loop(b"\x45" + bytes(27), "big", family=0x0806)),
        (9, b.ppp(bytes(20), 0xC021)),
        (105, b"\x80\0" + bytes(40)),
        (105, b"\xd4\0" + bytes(8)),
        (105, r.wlan(b"", subtype=4)),  # beacon, ACK, no data
        (105, r.wlan(b"", subtype=4, quality=0)),
        (105, r.wlan(r.snap(sent(1)), sequence=0x11)),  # a later fragment
        (105, r.wlan(r.SNAP + b"\x88\x8e" + bytes(20))),
        (105, b"\x09" + r.wlan(r.snap(sent(1)))[1:]),  # EAPOL, version 1
        (258, r.pktap(b"", kind=0)),
        (239, r.nflog(b"\x45" + bytes(27), family=7, before=r.attribute(1, b"\x08\x06\0\0"))),  # ARP on a bridge
        (197, r.erf(b"", 5)),
        (107, b"\x18\x41\x03\xb1" + bytes(9)),
        (100, b"\xaa\xaa\x03\0\x80\xc2\0\x0e" + bytes(40)),
    ],
)
def test_a_frame_without_ip_is_not_a_fault(link_type, frame):
    story = story_of([frame, *[LINKS_BY_TYPE[link_type](packet) for packet in with_refusal(sent(1))]], link_type)
    assert [("exact", 2)] == story.matches
    assert {} == story.faults


LINKS_BY_TYPE = {
    ETHERNET: b.ethernet,
    SLL: b.sll,
    0: b.null_loop,
    9: b.ppp,
    105: lambda p: r.wlan(r.snap(p)),
    258: lambda p: r.pktap(b.ethernet(p)),
    239: r.nflog,
    197: lambda p: r.erf(b.ethernet(p)),
    107: r.frame_relay,
    100: r.snap,
}


@pytest.mark.parametrize(
    ("link_type", "frame", "fault"),
    [
        (ETHERNET, bytes(13), "short-ethernet"),
        (ETHERNET, b.ethernet(bytes(3), b.VLAN_TYPE), "short-vlan"),
        (ETHERNET, b.ethernet(b"\xaa\xaa\x03", 3), "short-llc"),
        (ETHERNET, b.ethernet(bytes(5), b.PPPOE_TYPE), "short-pppoe"),
        (ETHERNET, b.ethernet(bytes(4), b.MPLS_TYPE), "short-mpls"),
        (ETHERNET, b.ethernet(bytes(4) * 99, b.MPLS_TYPE), "too-many-headers"),
        (SLL, bytes(15), "short-sll"),
        (276, bytes(19), "short-sll2"),
        (0, bytes(3), "short-null"),
        (9, bytes(3), "short-ppp"),
        (104, bytes(3), "short-hdlc"),
        (101, b"", "short-ip"),
        (101, b"\x50" + bytes(40), "bad-ip-version"),
        (147, bytes(60), "unknown-link-type"),
        (65535, bytes(60), "unknown-link-type"),
        (0, b.null_loop(sent(1), family=99), "unknown-null-family"),
        (108, bytes(60), "unknown-null-family"),
        (0, b.null_loop(sent(1, 6), "big", family=7), "unknown-null-family"),
        (105, b"\x08", "short-wlan"),
        (105, r.wlan(b"")[:23], "short-wlan"),
        (105, r.wlan(b"", flags=3)[:29], "short-wlan"),
        (105, r.wlan(b"", quality=0)[:25], "short-wlan"),
        (105, r.wlan(b"", quality=0, flags=0x81), "short-wlan"),
        (105, r.wlan(b""), "short-llc"),
        (105, r.wlan(bytes(13), quality=0x80), "short-wlan"),
        (105, r.wlan(r.snap(sent(1)), flags=0x41), "encrypted-wlan"),
        (105, r.amsdu(sent(1, 6), flags=0x43), "encrypted-wlan"),
        (127, bytes(7), "short-link-header"),
        (127, r.radiotap(b"", version=1), "bad-link-header"),
        (127, r.radiotap(b"", length=7), "bad-link-header"),
        (127, r.radiotap(b"", length=9), "short-link-header"),
        (127, r.radiotap(b"", length=60_000), "short-link-header"),
        (127, r.radiotap(r.wlan(r.snap(sent(1))), **r.with_flags(0x50)), "bad-wlan-checksum"),
        (127, r.radiotap(r.wlan(r.snap(sent(1, 6)), flags=0x42)), "encrypted-wlan"),
        (119, bytes(7), "short-link-header"),
        (119, r.prism(b"", length=23), "bad-link-header"),
        (119, r.prism(b"", length=145), "short-link-header"),
        (163, r.avs(b"", 63), "bad-link-header"),
        (163, r.avs(b"", 65), "short-link-header"),
        (163, bytes(7), "short-link-header"),
        (192, bytes(7), "short-link-header"),
        (192, r.ppi(b"", length=7), "bad-link-header"),
        (192, r.ppi(b"", length=9), "short-link-header"),
        (192, r.ppi(b.ethernet(sent(1)), 147), "unknown-link-type"),
        (192, r.ppi(b"", 1 << 31), "unknown-link-type"),
        (192, r.ppi(r.ppi(b"", 1), 192), "unknown-link-type"),
        (117, b"", "short-link-header"),
        (117, b"\x2c" + bytes(99), "bad-link-header"),
        (117, r.pflog(b"")[:63], "short-link-header"),
        (117, r.pflog(b""), "short-ip"),
        (117, r.pflog(bytes(20)), "bad-ip-version"),
        (17, bytes(27), "short-link-header"),
        (109, bytes(11), "short-link-header"),
        (226, bytes(23), "short-link-header"),
        (258, r.pktap(b"")[:107], "short-link-header"),
        (258, r.pktap(bytes(9), size=107), "bad-link-header"),
        (258, r.pktap(b"")[:-8] + bytes(8), "short-ethernet"),
        (258, r.pktap(b"", 147), "unknown-link-type"),
        (258, b"\xff" * 4 + r.pktap(b"")[4:], "short-link-header"),
        (258, r.pktap(b"", 1 << 20), "unknown-link-type"),
        (149, r.pktap(b.ethernet(sent(1)))[:107], "unknown-link-type"),
        (149, bytes(200), "unknown-link-type"),
        (149, r.pktap(b.ethernet(sent(1)), kind=0), "unknown-link-type"),
        (239, bytes(3), "short-link-header"),
        (239, r.nflog(b"", before=bytes(4)), "bad-link-header"),
        (239, r.nflog(b"", before=b"\3\0\x0a\0"), "bad-link-header"),
        (239, r.nflog(b"")[:-4], "short-link-header"),
        (239, r.nflog(b"", before=b"\xff\0\x0a\0"), "short-link-header"),
        (239, r.nflog(sent(1), before=r.attribute(8, b"") * 65), "too-many-headers"),
        (239, r.nflog(b"", family=2), "cut-ip"),
        (239, r.nflog(sent(1)[:27]), "cut-udp"),
        (197, bytes(15), "short-link-header"),
        (197, r.erf(b"", extensions=1)[:23], "short-link-header"),
        (197, r.erf(b"")[:17], "short-link-header"),
        (107, bytes(9), "bad-link-header"),
        (107, b"\0\1\3", "short-link-header"),
        (107, b"\0\1\3\0", "short-link-header"),
        (107, b"\0\1\3\x80" + bytes(4), "short-link-header"),
        (100, bytes(7), "short-link-header"),
        (204, b"", "short-link-header"),
        (240, bytes(3), "short-link-header"),
        (281, bytes(17), "short-link-header"),
        (285, bytes(21), "short-link-header"),
        (242, bytes(43), "short-link-header"),
        (138, bytes(17), "short-link-header"),
        (282, bytes(17), "short-ethernet"),
    ],
)
def test_a_truncated_or_inconsistent_frame_is_a_fault_by_name(link_type, frame, fault):
    assert {fault: 1} == story_of([frame], link_type).faults


def test_a_frame_cut_by_the_snap_length_is_not_a_short_frame():
    assert {"cut-ethernet": 1} == story_of([bytes(13)], ETHERNET, lengths=[60]).faults


def test_frames_of_several_link_types_can_be_mixed():
    both = [b.ethernet(sent(1)), b.sll(b.port_unreachable(sent(1)))]
    assert [("exact", 1)] == story_of(both, [ETHERNET, SLL]).matches


@pytest.mark.parametrize(
    ("link_type", "frame", "fault"),
    [
        (127, r.radiotap(b"", length=9), "cut-link-header"),
        (105, r.wlan(b"")[:20], "cut-wlan"),
        (117, r.pflog(b""), "cut-ip"),
        (239, r.nflog(b"")[:6], "cut-link-header"),
        (105, r.wlan(r.snap(sent(1)))[:50], "cut-ipv4"),
    ],
)
def test_rare_headers_can_be_truncated_too(link_type, frame, fault):
    assert {fault: 1} == story_of([frame], link_type, lengths=[500]).faults


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("fcs", [b"", bytes(4)])
def test_each_packet_of_an_amsdu_is_read(family, fcs):
    packets = [sent(n, family, size=10 * n) for n in range(1, 6)]
    story = story_of([r.amsdu(*packets) + fcs, r.amsdu(*map(error_about, packets), flags=2) + fcs], 105)
    assert {(host(n, family), 4242): "refused" for n in range(1, 6)} == story.verdicts
    assert [("exact", 1)] * 5 == story.matches
    assert {} == story.faults


@pytest.mark.parametrize("family", [4, 6])
def test_a_first_fragment_of_80211_stands_for_its_datagram(family):
    packet = sent(1, family, size=800)
    frames = [
        r.wlan(r.snap(packet)[:400], flags=5),
        r.wlan(r.snap(packet)[400:], sequence=0x11),
        r.wlan(r.snap(error_about(packet))),
    ]
    story = story_of(frames, 105)
    assert ("refused", {}) == (story.only.verdict, story.faults)


def test_an_amsdu_with_a_wrong_length_is_a_fault_and_is_read():
    frame = r.wlan(r.msdu(sent(1), 9999), quality=0x80)
    story = story_of([frame, r.wlan(r.snap(error_about(sent(1))))], 105)
    assert ("refused", {"short-wlan": 1}) == (story.only.verdict, story.faults)


def test_a_truncated_amsdu_is_read_as_far_as_it_goes():
    frame = r.amsdu(sent(1), sent(2))
    whole = len(r.amsdu(sent(1)))
    for size in (whole, whole + 9, len(frame) - 20):
        story = story_of([frame[:size]], 105, lengths=[len(frame)])
        assert (host(1), 4242) in story.verdicts
        assert story.faults == ({"cut-wlan": 1} if size == whole + 9 else {})


def test_an_amsdu_of_very_many_packets_ends_with_a_fault():
    story = story_of([r.amsdu(*(sent(n) for n in range(1, 41)))], 105)
    assert {"too-many-headers": 1} == story.faults
    assert 20 == len(story.destinations)


def test_there_is_room_for_the_rows_of_any_frame():
    """A group of 64 is all but full; then come as many rows as a frame can have."""
    packet = b.port_unreachable(b.datagram("10.0.0.1", "10.0.0.2", 4000, 2152, b.gtpu(sent(200))))
    for _ in range(45):
        packet = b.datagram("10.0.0.1", "10.0.0.2", 4000, 2152, b.gtpu(packet))
    aggregate = r.amsdu(*(sent(n) for n in range(1, 20)), packet, sent(99))
    story = story_of([*(r.wlan(r.snap(sent(n))) for n in range(100, 163)), aggregate], 105)
    assert {(host(n), 4242) for n in (*range(1, 20), *range(100, 163))} <= set(story.verdicts)


def test_nested_amsdus_are_not_followed_forever():
    inner = b.datagram("10.0.0.1", "10.0.0.2", 5247, 5247, r.capwap(r.amsdu(sent(1), sent(2)), is_wlan=True))
    assert {"too-many-headers": 1} == story_of([r.amsdu(inner, sent(3))], 105).faults
    assert {"too-many-headers": 2} == story_of([r.amsdu(inner, inner, sent(3))], 105).faults


def test_an_immediate_wireless_repeat_counts_once():
    frames = [r.wlan(r.snap(sent(1))), r.wlan(r.snap(sent(1)), flags=9), r.wlan(r.snap(error_about(sent(1))), flags=2)]
    story = story_of(frames, 105, times_ns=[0, 300_000, 900_000])
    assert (1, 1) == (story.only.sent, story.only.errors)


@pytest.mark.parametrize("depth", [2, 9])
def test_nested_link_layers_come_to_an_end(depth):
    frame = b.ethernet(sent(1))
    for _ in range(depth):
        frame = r.ppi(r.pktap(frame, 1 if frame[:2] == b.MACS[:2] else 192), 258)
    assert ({} if depth == 2 else {"too-many-headers": 1}) == story_of([frame], 192).faults
