"""Wrong conclusions that were found by looking for them, each as the capture that showed it."""

from __future__ import annotations

import struct

import pytest
from builders import datagram, error, forwarded, frag_needed, ipv4, port_unreachable, time_exceeded
from following import MS, story_of

from udpprobe.report import Question

CLIENT, SERVER, ROUTER = "10.0.0.1", "10.9.9.9", "10.5.5.5"
CLIENT6, SERVER6 = "2001:db8::1", "2001:db8:9::9"


def asked(number=1, port=53, **fields):
    return datagram(CLIENT, SERVER, 4000, port, b"?", **{"id": number, **fields})


def findings_of(story):
    return {finding.verdict for each in story.destinations for finding in each.findings}


# ---- copies and loops


@pytest.mark.parametrize(
    "make",
    [
        lambda at: datagram(CLIENT6, SERVER6, 4000, 5000, bytes([at] * 100), checksum=0x1234),
        lambda at: datagram(CLIENT, SERVER, 4000, 5000, bytes([at] * 100), checksum=0x1234, id=0, df=True),
    ],
    ids=["IPv6", "IPv4 with DF and id 0"],
)
def test_a_fast_stream_with_equal_checksums_is_not_one_datagram(make):
    story = story_of([make(at) for at in range(100)], times_ns=[at * 100_000 for at in range(100)])
    assert [100] == [each.sent for each in story.destinations]


@pytest.mark.parametrize("identity", [0, 1])
def test_a_repeated_traceroute_is_not_a_loop(identity):
    probes = [asked(identity, ttl=ttl) for _ in range(3) for ttl in range(1, 7)]
    frames = [frame for probe in probes for frame in (probe, time_exceeded(probe, f"10.7.{probe[8]}.1"))]
    story = story_of(frames, times_ns=[at * 10 * MS for at in range(len(frames))])
    assert {"expired"} == findings_of(story)
    assert [18] == [each.sent for each in story.destinations]


def test_a_later_equal_payload_with_a_lower_ttl_is_not_a_loop():
    story = story_of([asked(0, ttl=64), asked(0, ttl=32)], times_ns=[0, 500 * MS])
    assert {(SERVER, 53): "silent"} == story.verdicts


# ---- the same verdict whatever a row is about


def test_a_router_seen_by_two_traceroutes_is_not_a_loop_by_reporter():
    probes = [datagram(CLIENT, f"10.8.0.{ttl}", 4000, 33434, b"", ttl=ttl, id=ttl) for ttl in (3, 4)]
    frames = [frame for probe in probes for frame in (probe, time_exceeded(probe, ROUTER))]
    assert {"expired"} == findings_of(story_of(frames, question=Question(group_by="reporter")))


@pytest.mark.parametrize("by", ["destination", "host", "flow", "reporter"])
def test_a_loop_by_its_ttls_is_a_loop_in_every_grouping(by):
    probes = [datagram(CLIENT, SERVER, 4000 + ttl, 33434, b"", ttl=ttl, id=ttl) for ttl in (3, 5, 7)]
    frames = [frame for probe in probes for frame in (probe, time_exceeded(probe, ROUTER))]
    assert {"loop"} == findings_of(story_of(frames, question=Question(group_by=by)))


@pytest.mark.parametrize("by", ["destination", "host", "flow", "reporter"])
def test_a_captured_loop_is_a_loop_in_every_grouping(by):
    probe = asked(5, ttl=9)
    rounds = [forwarded(probe, 2 * at) for at in range(5)]
    frames = [*rounds, time_exceeded(rounds[-1], ROUTER)]
    assert {"loop"} == findings_of(story_of(frames, question=Question(group_by=by)))


# ---- silence


def test_a_scan_beyond_the_rate_limit_is_not_listening():
    probes = [asked(number, 2000 + number) for number in range(1, 31)]
    story = story_of([*probes[:6], *map(port_unreachable, probes[:6]), *probes[6:]])
    assert {"rate-limited"} == {each.meaning for each in story.destinations if each.verdict == "silent"}


def test_a_host_that_still_refuses_later_is_not_rate_limited():
    probes = [asked(number, 2000 + number) for number in range(1, 31)]
    frames = [frame for probe in probes[:-1] for frame in (probe, port_unreachable(probe))]
    story = story_of([frames[0], probes[-1], *frames[1:]])
    assert {"listening-or-filtered"} == {each.meaning for each in story.destinations if each.verdict == "silent"}


def test_silence_with_an_unknown_error_has_a_meaning():
    probe = datagram(CLIENT6, SERVER6, 4000, 53, b"?")
    (told,) = story_of([probe, error(probe, 100, 0, reporter=SERVER6)]).destinations
    assert ("silent", "no-evidence") == (told.verdict, told.meaning)


# ---- notes about an MTU


def quoting(packet, length, size=28):
    quote = bytearray(packet[:size])
    quote[2:4] = struct.pack("!H", length)
    return bytes(quote)


BIG = datagram(CLIENT, SERVER, 4000, 53, bytes(1472), id=1)


@pytest.mark.parametrize(("length", "size"), [(0, 28), (20, 24)])
def test_a_wrong_quoted_length_does_not_make_an_mtu_too_large(length, size):
    refused = error(BIG, 3, 4, 1400, reporter=ROUTER, quote=quoting(BIG, length, size))
    assert not any("≥ packet size" in note for note in story_of([BIG, refused]).only.findings[0].notes)


def test_the_estimate_of_an_mtu_corrects_a_swapped_length():
    refused = error(BIG, 3, 4, 0, reporter=ROUTER, quote=quoting(BIG, 0xDC05))
    assert any("1492" in note for note in story_of([BIG, refused]).only.findings[0].notes)


def test_the_estimate_of_an_mtu_is_below_every_datagram_that_was_too_big():
    small = datagram(CLIENT, SERVER, 4000, 53, bytes(1372), id=2)
    story = story_of([BIG, frag_needed(BIG, 0, ROUTER), small, frag_needed(small, 0, ROUTER)])
    assert any("1006" in note for note in story.only.findings[0].notes)


def test_an_unseen_later_fragment_is_not_matched():
    quoted = ipv4(CLIENT, SERVER, bytes(100), id=77, frag_offset=185)
    (lost,) = story_of([error(quoted, 11, 1)]).unmatched
    assert not any("matched" in note for note in lost.finding.notes)
