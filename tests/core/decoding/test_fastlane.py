"""The fast lane and the walk come to the same answer; what is not common is left to the walk."""

from __future__ import annotations

from dataclasses import fields

import builders as b
import numpy as np
import pytest
from crafting import CLIENT, PORT, host, sent, told
from feeding import batch_of
from wraps import LINKS, TUNNELS, cases

from udpprobe.core.decoding.decode import decode_odd
from udpprobe.core.decoding.fastlane import decode_common
from udpprobe.core.packets import Datagrams

TCP = 6
COMMON_LINKS = {"ethernet", "vlan", "802.1ad alone", "sll", "sll2", "raw 12", "raw 14", "raw 101", "ipv4", "ipv6"}
COMMON = [(name, family) for name, family in cases(LINKS) if name in COMMON_LINKS]


def rows_of(datagrams):
    """A tuple a datagram, in the order of frames."""
    columns = [getattr(datagrams, column.name).tolist() for column in fields(datagrams)]
    return sorted(zip(*columns, strict=True))


def in_fast_lane(frames, link_type, **fields_):
    """Datagrams of the fast lane, and the frames it left."""
    common, rest = decode_common(batch_of(frames, link_type, **fields_))
    found = rows_of(Datagrams.concatenate(common)) if common else []
    return found, (rest + 1).tolist()


@pytest.mark.parametrize(("name", "family"), COMMON)
@pytest.mark.parametrize("size", [0, 20, 1400])
def test_common_datagrams_are_decoded_as_a_walk_would(name, family, size):
    link_type, _, wrap = LINKS[name]
    frames = [wrap(sent(1, family, size=size, ttl=ttl)) for ttl in (1, 64, 255)]
    found, rest = in_fast_lane(frames, link_type)
    walked, _, _, faults = decode_odd(batch_of(frames, link_type))
    assert rows_of(walked) == found
    assert ([], {}) == (rest, faults)


@pytest.mark.parametrize("name", sorted(set(LINKS) - COMMON_LINKS))
def test_other_links_are_left_to_the_walk(name):
    link_type, _, wrap = LINKS[name]
    assert ([], [1]) == in_fast_lane([wrap(sent(1))], link_type)


LEFT = {
    "options": sent(1, options=bytes(4)), "first fragment": sent(1, mf=True), "later fragment": sent(1, frag_offset=2),
    "an error": told(sent(1))[1], "an error of v6": told(sent(1, 6))[1], "a tunnel": TUNNELS["gtp-u"][1](sent(1)),
    "a length of zero": sent(1, total_length=0), "a short length": sent(1, total_length=27),
    "udp length below 8": sent(1, length=7), "udp length beyond": sent(1, length=29),
    "udp length beyond in v6": sent(1, 6, length=29), "v6 length of zero": sent(1, 6, payload_length=0),
    "extension header": b.ipv6(CLIENT[6], host(1, 6), b.hop_by_hop(b.udp(1, 2)), 0),
    "cut header": sent(1)[:27], "cut v6 header": sent(1, 6)[:47], "nothing": b"", "no ip": b"\0" * 60,
}


@pytest.mark.parametrize("name", LEFT)
def test_odd_frames_are_left_to_the_walk(name):
    found, rest = in_fast_lane([LEFT[name], sent(2)], 101)
    assert ([2], [1]) == ([row[0] for row in found], rest)


DULL = [
    b.ethernet(b.ipv4(CLIENT[4], host(1), bytes(20), TCP)), b.ethernet(b.ipv6(CLIENT[6], host(1, 6), bytes(20), TCP)),
    b.ethernet(b.vlan(b.ipv4(CLIENT[4], host(1), bytes(20), TCP)), b.VLAN_TYPE), b.ethernet(bytes(28), 0x0806),
]


def test_what_is_of_no_interest_is_dropped_as_the_walk_drops_it():
    assert ([], []) == in_fast_lane(DULL, 1)
    walked, errors, _, faults = decode_odd(batch_of(DULL, 1))
    assert (0, 0, {}) == (len(walked), len(errors), faults)


SPOILT = {
    "short-ipv4": b"\x4f" + DULL[0][15:], "bad-ipv4-header": b"\x51" + DULL[0][15:],
    "bad-ipv6-header": b"\x50" + DULL[1][15:],
}


@pytest.mark.parametrize("fault", SPOILT)
def test_of_what_is_of_no_interest_a_wrong_header_is_left_to_the_walk(fault):
    version = 6 if "6" in fault else 4
    frame = b.ethernet(SPOILT[fault], {4: b.IP4_TYPE, 6: b.IP6_TYPE}[version])
    assert ([], [1]) == in_fast_lane([frame], 1)
    assert {fault: 1} == decode_odd(batch_of([frame], 1))[3]


def test_a_type_beyond_the_frame_s_end_is_not_believed():
    arp = b.ethernet(bytes(28), 0x0806)
    batch = batch_of([arp], 1)
    batch.captured[:] = 13
    assert [0] == decode_common(batch)[1].tolist()


def test_a_frame_cut_behind_its_headers_is_common_all_the_same():
    frame = b.ethernet(sent(1, size=1000))
    found, rest = in_fast_lane([frame[:42]], 1, lengths=[len(frame)])
    assert ([1028], []) == ([row[8] for row in found], rest)


def test_a_batch_of_several_link_types_is_left_to_the_walk():
    batch = batch_of([b.ethernet(sent(1)), sent(2)], [1, 101])
    common, rest = decode_common(batch)
    assert ([], [0, 1]) == (common, rest.tolist())


def test_a_column_of_equal_link_types_is_as_good_as_one_value():
    batch = batch_of([sent(1), sent(2)])
    batch.link_type = np.array([101, 101], np.int32)
    common, rest = decode_common(batch)
    assert (2, 0) == (sum(map(len, common)), len(rest))
    assert PORT == int(common[0].ports[0]) & 0xFFFF
