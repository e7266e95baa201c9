"""Every error as an event of its own."""

from __future__ import annotations

import builders as b
from builders import CLIENT, PORT, ROUTER, TIME_EXCEEDED, error_about, expired, host, sent, with_refusal
from following import MS, story_of

from udpprobe.core.model import Quoted


def test_an_event_tells_what_the_error_says():
    packet = sent(1, size=1400, df=True, id=0x4321)
    (event,) = story_of([packet, b.frag_needed(packet, 1300, ROUTER[4])], times_ns=[5 * MS, 12 * MS]).events
    assert (2, 12 * MS, 4, 3, 4, ROUTER[4], 1300) == (
        event.frame,
        event.time_ns,
        event.family,
        event.type,
        event.code,
        event.reporter,
        event.mtu,
    )
    assert ("too-big", "EMSGSIZE", "packet-too-big", "exact", 1, 7.0) == (
        event.verdict,
        event.errno,
        event.reason,
        event.match,
        event.matched_frame,
        event.rtt_ms,
    )
    assert (None, ()) == (event.extensions, event.notes)
    checksum = int.from_bytes(packet[26:28])
    assert Quoted(CLIENT[4], 40001, host(1), PORT, 0x4321, 64, 1428, 1408, checksum, 548) == event.quoted


def test_an_event_without_a_datagram_has_no_frame_and_no_rtt():
    (event,) = story_of([error_about(sent(1))]).events
    assert ("none", None, None) == (event.match, event.matched_frame, event.rtt_ms)


def test_events_are_told_in_capture_order_whatever_they_quote():
    packets = [sent(n, family) for n in range(1, 20) for family in (4, 6)]
    frames = [frame for packet in packets for frame in with_refusal(packet)]
    assert list(range(2, 2 * len(packets) + 1, 2)) == [event.frame for event in story_of(frames).events]


def test_extensions_are_told_with_notes_of_their_own():
    def extended(n, structure):
        packet = sent(n, ttl=1)
        return expired(packet, lambda quote: b.padded(quote) + structure, rest=b.quote_length(b.padded(packet), 4))

    labels = [b.extension_structure(b.mpls_labels(number)) for number in (16001, 16002)]
    bad = b.extension_structure(b.mpls_labels(3), checksum=9)
    one, two = [*extended(1, labels[0]), *extended(2, labels[1])], [*extended(3, bad), *extended(4, bytes(8))]
    events = story_of([*one, *two]).events
    assert [16001, 16002, 3, None] == [event.extensions and event.extensions[0]["mpls"][0]["label"] for event in events]
    assert [
        (),
        (),
        ("the extension's checksum or lengths are wrong",),
        ("what follows the quote is padding, no extension",),
    ] == [event.notes for event in events]


def test_a_later_error_may_tell_that_it_is_a_loop():
    frames = [frame for ttl in (5, 7, 9) for frame in expired(sent(1, ttl=ttl, id=ttl))]
    assert ["loop"] * 3 == [event.verdict for event in story_of(frames).events]


def test_an_error_about_a_fragment_s_ports_is_told_by_the_datagram_s():
    first, later = b.fragments(sent(1, size=2000), 1480)
    (event,) = story_of([first, later, error_about(later, TIME_EXCEEDED, reporter=ROUTER[4])]).events
    assert (None, None) == (event.quoted.source_port, event.quoted.destination_port)
    assert (0x4321 if event.quoted.ip_id == 0x4321 else 0xCAFE) == event.quoted.ip_id
