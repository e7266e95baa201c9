"""Link layers: the same refusal is found in each, and what carries no UDP ends without a fault."""

from __future__ import annotations

import builders as b
import pytest
from crafting import sent, told
from following import story_of
from wraps import LINKS, cases

ETHERNET, SLL = 1, 113


@pytest.mark.parametrize(("name", "family"), cases(LINKS))
def test_a_refusal_is_found_in_every_link_layer(name, family):
    link_type, _, wrap = LINKS[name]
    story = story_of([wrap(packet) for packet in told(sent(1, family))], link_type)
    assert [("exact", 1)] == story.matches
    assert "refused" == story.only.verdict
    assert {} == story.faults


@pytest.mark.parametrize(("link_type", "frame"), [
    (ETHERNET, b.ethernet(b"\0" * 28, 0x0806)),                     # ARP
    (ETHERNET, b.ethernet(b"\x01" * 40, 0x88CC)),                   # LLDP
    (ETHERNET, b.ethernet(b"\x42\x42\x03" + bytes(40), 43)),        # spanning tree: LLC without SNAP
    (ETHERNET, b.ethernet(b.llc_snap(bytes(40), 0x2000), 48)),      # CDP
    (ETHERNET, b.ethernet(b.mpls(b"\0" * 40, 16), b.MPLS_TYPE)),    # a pseudowire: no IP version
    (ETHERNET, b.ethernet(b.pppoe(bytes(20), protocol=0xC021), b.PPPOE_TYPE)),  # LCP
    (SLL, b.sll(bytes(20), 0x0004)),
    (0, b.null_loop(b"\x45" + bytes(20), family=99)),
    (9, b.ppp(bytes(20), 0xC021)),
])
def test_what_carries_no_ip_is_no_fault(link_type, frame):
    story = story_of([frame, *[LINKS_BY_TYPE[link_type](packet) for packet in told(sent(1))]], link_type)
    assert [("exact", 2)] == story.matches
    assert {} == story.faults


LINKS_BY_TYPE = {ETHERNET: b.ethernet, SLL: b.sll, 0: b.null_loop, 9: b.ppp}


@pytest.mark.parametrize(("link_type", "frame", "fault"), [
    (ETHERNET, bytes(13), "short-ethernet"),
    (ETHERNET, b.ethernet(bytes(3), b.VLAN_TYPE), "short-vlan"),
    (ETHERNET, b.ethernet(b"\xaa\xaa\x03", 3), "short-llc"),
    (ETHERNET, b.ethernet(bytes(5), b.PPPOE_TYPE), "short-pppoe"),
    (ETHERNET, b.ethernet(bytes(4), b.MPLS_TYPE), "short-mpls"),
    (ETHERNET, b.ethernet(bytes(4) * 99, b.MPLS_TYPE), "too-many-headers"),
    (SLL, bytes(15), "short-sll"), (276, bytes(19), "short-sll2"), (0, bytes(3), "short-null"),
    (9, bytes(3), "short-ppp"), (104, bytes(3), "short-hdlc"), (101, b"", "short-ip"),
    (101, b"\x50" + bytes(40), "bad-ip-version"),
    (105, bytes(60), "unknown-link-type"), (65535, bytes(60), "unknown-link-type"),
])
def test_a_frame_that_ends_or_lies_is_a_fault_by_name(link_type, frame, fault):
    assert {fault: 1} == story_of([frame], link_type).faults


def test_a_frame_cut_by_the_snap_length_is_cut_not_short():
    assert {"cut-ethernet": 1} == story_of([bytes(13)], ETHERNET, lengths=[60]).faults


def test_frames_of_several_link_types_stand_side_by_side():
    both = [b.ethernet(sent(1)), b.sll(b.port_unreachable(sent(1)))]
    assert [("exact", 1)] == story_of(both, [ETHERNET, SLL]).matches
