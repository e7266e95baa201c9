"""The same datagram again: captured twice it is one, with a falling TTL it is in a loop."""

from __future__ import annotations

import builders as b
import pytest
from builders import CLIENT, PORT, ROUTER, TIME_EXCEEDED, error_about, host, sent, with_refusal
from following import MS, story_of

from udpprobe.core.model import Loop

ETHERNET = 1
HOPS = {4: "ttl", 6: "hop_limit"}
MACS = [bytes.fromhex("020000000002 020000000001"), bytes.fromhex("020000000001 020000000002")]


def round_a_loop(ttls, family=4, **fields):
    return [sent(1, family, ttl=ttl, **fields) for ttl in ttls]


def loop_of(frames, *link, **fields):
    """How often it came round, and the period; None for no loop."""
    story = story_of(frames, *link, **fields)
    (destination,) = story.destinations
    if destination.verdict != "loop":
        return None
    (finding,) = destination.findings
    return finding.count, finding.loop.period


# ---- one datagram


@pytest.mark.parametrize(("family", "apart_ns"), [(4, MS // 2), (6, 20_000)])
def test_a_datagram_mirrored_at_once_counts_once(family, apart_ns):
    story = story_of([sent(1, family)] * 3, times_ns=[0, apart_ns, 2 * apart_ns])
    assert (1, "silent") == (story.destinations[0].sent, story.destinations[0].verdict)


@pytest.mark.parametrize(("family", "longest_ms"), [(4, 1000), (6, 20)])
def test_a_datagram_forwarded_soon_after_counts_once(family, longest_ms):
    both_sides = [sent(1, family), sent(1, family, ttl=63)]
    assert 1 == story_of(both_sides, times_ns=[0, longest_ms * MS]).destinations[0].sent
    assert 2 == story_of(both_sides, times_ns=[0, (longest_ms + 1) * MS]).destinations[0].sent


def test_partial_checksums_do_not_distinguish_copies():
    # the sum of the pseudo header alone, the same for every payload of one length
    packet = sent(1, 6)
    pseudo = b.internet_checksum(packet[8:40] + packet[44:46] + bytes([0, 17])) ^ 0xFFFF
    half = [packet[:46] + pseudo.to_bytes(2) + bytes([number] * 20) for number in range(3)]
    assert 3 == story_of(half, times_ns=[0, 5000, 10_000]).destinations[0].sent


def unfinished(packet):
    """With the sum of the pseudo header alone, as the network card gets it."""
    at = 26 if b.family_of(packet) == 4 else 46
    addresses, segment = packet[12:20] if at == 26 else packet[8:40], packet[at - 6 :]
    pseudo = b.internet_checksum(addresses + segment[4:6] + bytes([0, 17])) ^ 0xFFFF
    return packet[:at] + pseudo.to_bytes(2) + packet[at + 2 :]


SHOWN = {
    "-i any, out and in": (113, [lambda p: b.sll(p, packet_type=4), b.sll]),
    "-i any, three interfaces": (276, [lambda p, n=n: b.sll2(p, ifindex=n) for n in (2, 3, 4)]),
    "a bridge that is seen from both sides": (1, [lambda p, n=n: b.ethernet(p, macs=MACS[n]) for n in (0, 1)]),
}
UNTOLD = [sent(1, id=0, checksum=0), unfinished(sent(1, 6)), unfinished(sent(1, id=0)), sent(1, 6), sent(1, 4)]
"""Datagrams that little or nothing tells from others like them."""


@pytest.mark.parametrize("name", SHOWN)
@pytest.mark.parametrize("packet", UNTOLD)
@pytest.mark.parametrize("snap", [72, 2000])
def test_a_datagram_on_several_links_counts_as_often_as_on_the_first(name, packet, snap):
    link_type, shown = SHOWN[name]
    error = error_about(packet, id=0) if b.family_of(packet) == 4 else error_about(packet)
    for times in (1, 2):
        if times == 2 and b.family_of(packet) == 4 and packet[4:6] != b"\0\0":
            continue  # an id is told apart
        frames = [show(each) for each in (packet, error) for _ in range(times) for show in shown]
        times_ns = [30_000 * number + (number >= len(frames) // 2) * 10 * MS for number in range(len(frames))]
        story = story_of(
            [frame[:snap] for frame in frames], link_type, times_ns=times_ns, lengths=[len(frame) for frame in frames]
        )
        assert times == story.destinations[0].sent
        if snap == 2000:
            assert times == story.only.errors


@pytest.mark.parametrize("packet", UNTOLD[:4])
def test_indistinguishable_datagrams_on_one_link_were_sent_again(packet):
    frames = [b.sll2(packet)] * 2
    assert 2 == story_of(frames, 276, times_ns=[0, 30_000]).destinations[0].sent


@pytest.mark.parametrize("packet", [sent(1), sent(1, 6), sent(1, id=0)])
def test_the_same_datagram_later_is_a_second_one(packet):
    assert 2 == story_of([packet] * 2, times_ns=[0, 2 * MS]).destinations[0].sent


@pytest.mark.parametrize(
    "other",
    [
        sent(1, id=2),
        sent(1, size=30, id=1),
        b.datagram(CLIENT[4], host(1), 40001, PORT, b"9876543210" * 2, id=1),
        b.datagram(CLIENT[4], host(1), 40002, PORT, b"0123456789" * 2, id=1),
        sent(1, id=1, ttl=65),
    ],
)
def test_a_difference_or_a_rising_ttl_means_another_datagram(other):
    story = story_of([sent(1, id=1, ttl=64), other])
    assert 2 == sum(each.sent for each in story.destinations)


@pytest.mark.parametrize("family", [4, 6])
def test_both_sides_of_a_router_show_one_datagram_without_a_loop(family):
    packet = sent(1, family)
    frames = [b.ethernet(packet, macs=MACS[0]), b.ethernet(b.forwarded(packet), macs=MACS[1])]
    story = story_of([*frames, b.ethernet(error_about(packet))], ETHERNET)
    assert (1, "refused") == (story.only.sent, story.only.verdict)
    assert [2] == [event.matched_frame for event in story.events]


@pytest.mark.parametrize(
    ("family", "apart_ns", "ttl", "count"),
    [
        (4, 1000, 64, 1),
        (4, 1000, 63, 1),
        (4, 2 * MS, 64, 2),
        (6, 1000, 63, 1),
        (6, 1000, 64, 1),
        (6, 21_000, 64, 2),
    ],
)
def test_an_error_captured_twice_counts_once_and_is_marked(family, apart_ns, ttl, count):
    datagram = sent(1, family)
    frames = [datagram, b.port_unreachable(datagram), b.port_unreachable(datagram, **{HOPS[family]: ttl})]
    story = story_of(frames, times_ns=[0, 10 * MS, 10 * MS + apart_ns])
    assert count == story.only.errors
    assert [count == 1] == [any("captured before" in note for note in event.notes) for event in story.events[1:]]


# ---- loops without an error


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("ttls", "told_as"),
    [
        ((64, 62), None),
        ((64, 62, 60), (2, 2)),
        ((64, 62, 60, 58), (3, 2)),
        ((63, 60, 57), (2, 3)),
        ((64, 60, 52), None),
        ((64, 60, 52, 44), (2, 8)),
        ((255, 5), None),
        ((255, 130, 5), (2, 125)),
    ],
)
def test_three_passes_with_equally_falling_ttls_are_a_loop(family, ttls, told_as):
    assert told_as == loop_of(round_a_loop(ttls, family))


def test_a_loop_without_any_error_has_no_router_and_no_icmp_type():
    (destination,) = story_of(round_a_loop((64, 62, 60))).destinations
    (finding,) = destination.findings
    assert ("loop", "EHOSTUNREACH", 1, 0) == (
        destination.verdict,
        destination.errno,
        destination.sent,
        destination.errors,
    )
    assert (None, None, None, "none", ()) == (
        finding.icmp_type,
        finding.icmp_code,
        finding.reporter,
        finding.match,
        finding.loop.routers,
    )
    assert (2 * MS, 3 * MS) == (finding.first_time_ns, finding.last_time_ns)
    assert ("seen looping: the same datagram again, its TTL lower each time",) == finding.notes


@pytest.mark.parametrize("family", [4, 6])
def test_both_directions_of_a_link_in_the_loop_show_its_period_too(family):
    frames = [
        b.ethernet(packet, macs=MACS[turn % 2]) for turn, packet in enumerate(round_a_loop(range(64, 50, -1), family))
    ]
    assert (12, 2) == loop_of(frames, ETHERNET)


def test_a_steady_fall_by_one_is_a_loop_if_the_id_proves_it():
    assert (3, 1) == loop_of(round_a_loop((64, 63, 62, 61)))


def test_a_traceroute_that_counts_down_is_not_a_loop():
    assert loop_of([sent(1, 6, ttl=ttl) for ttl in (5, 4, 3, 2, 1)]) is None
    assert loop_of([sent(1, 4, ttl=ttl, id=ttl) for ttl in (5, 4, 3, 2, 1)]) is None


def test_a_traceroute_that_counts_up_is_not_a_loop():
    assert loop_of([sent(1, 6, ttl=ttl) for ttl in (1, 2, 3, 4, 5)]) is None


def test_a_single_fall_by_one_on_a_link_is_not_a_loop():
    assert loop_of(round_a_loop((64, 63))) is None


def test_an_error_about_a_looping_datagram_belongs_to_the_loop():
    packet = sent(1, ttl=9)
    error = error_about(sent(1, ttl=1), TIME_EXCEEDED, reporter=ROUTER[4])
    (destination,) = story_of([packet, sent(1, ttl=7), sent(1, ttl=5), error]).destinations
    assert ["loop", "loop"] == [finding.verdict for finding in destination.findings]
    assert {Loop((ROUTER[4],), 2)} == {finding.loop for finding in destination.findings}


def test_an_answer_is_not_a_copy_of_its_question():
    packet = b.datagram(CLIENT[4], CLIENT[4], 5000, 5001, b"data")
    back = b.datagram(CLIENT[4], CLIENT[4], 5001, 5000, b"data")
    assert 2 == sum(each.sent + each.answered for each in story_of([packet, back]).destinations)


def test_an_unrelated_refusal_changes_nothing():
    story = story_of([*round_a_loop((64, 62, 60)), *with_refusal(sent(2))])
    assert {(host(1), PORT): "loop", (host(2), PORT): "refused"} == story.verdicts
