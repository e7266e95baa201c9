"""What an error quotes: whatever is there is read, what is odd is noted, what is missing is None."""

from __future__ import annotations

import struct
from array import array

import builders as b
import pytest
from builders import CLIENT, PORT, ROUTER, TIME_EXCEEDED, error_about, host, sent, with_refusal
from following import story_of

from udpprobe.core.decode import Decoder
from udpprobe.core.notes import Note

HEADER = {4: 20, 6: 40}
UDP_FIELDS = ("udp_checksum", "udp_length", "source_port", "destination_port")
CUT_LENGTH = ("the quoted IP length differs from the datagram's",)


def event_of(packet, **fields):
    """The one event of a datagram and an error about it."""
    (event,) = story_of(with_refusal(packet, **fields)).events
    return event


def quote_of(packet, **fields):
    return event_of(packet, **fields).quoted


# ---- how much of it is there


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("udp_bytes", "missing"),
    [
        (8, ()),
        (7, ("udp_checksum",)),
        (6, ("udp_checksum",)),
        (5, ("udp_checksum", "udp_length")),
        (4, ("udp_checksum", "udp_length")),
        (3, UDP_FIELDS),
        (0, UDP_FIELDS),
    ],
)
def test_fields_that_the_quote_does_not_reach_are_none(family, udp_bytes, missing):
    packet = sent(1, family)
    quoted = quote_of(packet, quote=packet[: HEADER[family] + udp_bytes])
    checksum = int.from_bytes(packet[HEADER[family] + 6 : HEADER[family] + 8])
    whole = {"source_port": 40001, "destination_port": PORT, "udp_length": 28, "udp_checksum": checksum}
    assert whole | dict.fromkeys(missing) == {name: getattr(quoted, name) for name in whole}
    assert HEADER[family] + udp_bytes == quoted.bytes


@pytest.mark.parametrize("family", [4, 6])
def test_the_quoted_header_is_reported_field_by_field(family):
    quoted = quote_of(sent(1, family, ttl=9, **({"id": 0x4321} if family == 4 else {})))
    assert (CLIENT[family], 40001, host(1, family), PORT) == (
        quoted.source,
        quoted.source_port,
        quoted.destination,
        quoted.destination_port,
    )
    assert (9, HEADER[family] + 28, 0x4321 if family == 4 else None) == (quoted.ttl, quoted.ip_length, quoted.ip_id)


def test_a_quote_without_ports_is_about_an_address_alone():
    packet = sent(1)
    story = story_of(with_refusal(packet, quote=packet[:20]))
    ((unmatched,), (event,)) = story.unmatched, story.events
    assert (host(1), None, "none") == (unmatched.address, unmatched.port, unmatched.finding.match)
    assert ("the quote ends before the UDP ports",) == event.notes


@pytest.mark.parametrize(("size", "fault"), [(0, "quoted-short-ipv4"), (19, "quoted-short-ipv4")])
def test_a_quote_without_a_whole_ip_header_is_a_fault(size, fault):
    packet = sent(1)
    story = story_of(with_refusal(packet, quote=packet[:size]))
    assert ({fault: 1}, []) == (story.faults, story.events)


def test_a_quote_of_another_version_is_a_fault():
    story = story_of([error_about(sent(1), quote=sent(1, 6))])
    assert ({"quoted-bad-ipv4-header": 1}, []) == (story.faults, story.events)


@pytest.mark.parametrize("family", [4, 6])
def test_a_quote_cut_by_the_snap_length_is_read_as_far_as_it_goes(family):
    packet, error = with_refusal(sent(1, family))
    kept = HEADER[family] + 8 + HEADER[family] + 6
    story = story_of([packet, error[:kept]], lengths=[len(packet), len(error)])
    (event,) = story.events
    assert (40001, PORT, 28, None) == (
        event.quoted.source_port,
        event.quoted.destination_port,
        event.quoted.udp_length,
        event.quoted.udp_checksum,
    )
    assert {"cut-icmp": 1} == story.faults
    assert () == event.notes


def test_a_quote_cut_before_its_header_is_a_cut_fault():
    packet, error = with_refusal(sent(1))
    story = story_of([packet, error[:40]], lengths=[len(packet), len(error)])
    assert {"quoted-cut-ipv4": 1} == story.faults


def test_an_error_about_tcp_or_an_echo_is_ignored():
    tcp = b.ipv4(CLIENT[4], host(2), bytes(20), 6)
    echo = b.ipv6(CLIENT[6], host(2, 6), bytes(20), b.ICMP6)
    story = story_of([error_about(tcp), error_about(echo)])
    assert ([], (), {}) == (story.events, story.unmatched, story.faults)


@pytest.mark.parametrize(("family", "type_"), [(4, 0), (4, 5), (4, 8), (6, 0), (6, 128), (6, 135), (6, 255)])
def test_a_message_that_is_not_an_error_is_ignored(family, type_):
    assert [] == story_of([b.error(sent(1, family), type_)]).events


def test_an_unknown_icmpv6_error_is_reported_by_number():
    (event,) = story_of([sent(1, 6), b.error(sent(1, 6), 100, 3)]).events
    assert (100, 3, None, "unknown-response", 1) == (
        event.type,
        event.code,
        event.verdict,
        event.reason,
        event.matched_frame,
    )


@pytest.mark.parametrize("inside", [b.ICMP6, b.ICMP])
def test_icmp_of_the_wrong_family_is_not_an_error(inside):
    message = b.icmp4(3, 3, 0, sent(1))
    packet = (
        b.ipv6(host(1, 6), CLIENT[6], message, b.ICMP)
        if inside == b.ICMP
        else b.ipv4(host(1), CLIENT[4], message, b.ICMP6)
    )
    assert [] == story_of([packet]).events


# ---- lengths and ids that lie


def changed(packet, at, field):
    return packet[:at] + field + packet[at + len(field) :]


@pytest.mark.parametrize(
    ("alter", "note"),
    [
        (lambda q: changed(q, 2, q[3:1:-1]), ("the quoted IP length is byte-swapped",)),
        (lambda q: changed(q, 2, struct.pack("!H", 20)), CUT_LENGTH),
        (lambda q: changed(q, 2, struct.pack("!H", len(q) - 20)), CUT_LENGTH),
        (lambda q: changed(q, 2, struct.pack("!H", 65535)), CUT_LENGTH),
        (lambda q: changed(q, 2, b"\0\0"), ()),
        (lambda q: changed(q, 10, b"\0\0"), ()),
        (lambda q: changed(q, 26, b"\0\0"), ()),
        (lambda q: changed(q, 26, b"\xbe\xef"), ()),
    ],
)
def test_a_wrong_quoted_length_or_checksum_does_not_prevent_a_match(alter, note):
    packet = sent(1)
    story = story_of(with_refusal(packet, quote=alter(packet)))
    assert [("exact", 1)] == story.matches
    assert note == story.events[0].notes


def test_a_byte_swapped_id_is_recognised():
    packet = sent(1, id=0x1234)
    story = story_of(with_refusal(packet, quote=changed(packet, 4, b"\x34\x12")))
    assert [("exact", 1)] == story.matches
    assert ("the quoted IP id is byte-swapped",) == story.events[0].notes


def test_the_quoted_length_of_a_first_fragment_is_accepted():
    first = b.fragments(sent(1, size=3000), 1480)[0]
    assert () == event_of(first).notes


# ---- fragments


@pytest.mark.parametrize("family", [4, 6])
def test_a_quoted_later_fragment_is_matched_by_addresses_and_id(family):
    first, later, *_ = b.fragments(sent(1, family, size=3000), 1448)
    story = story_of([first, later, error_about(later, TIME_EXCEEDED, reporter=ROUTER[family])])
    (event,) = story.events
    assert ("exact", 1) == (event.match, event.matched_frame)
    assert ("quotes a later fragment, which has no ports",) == event.notes[-1:]
    assert (host(1, family), PORT) == (story.only.address, story.only.port)
    assert (None, None) == (event.quoted.source_port, event.quoted.udp_length)


def test_a_quoted_later_fragment_of_an_unseen_datagram_is_unmatched():
    first, later = b.fragments(sent(1, size=2000), 1480, id=7)
    others = b.fragments(sent(1, size=2000), 1480, id=8)
    assert [("none", None)] == story_of([*others, error_about(later)]).matches
    assert [("none", None)] == story_of([error_about(later), first]).matches


@pytest.mark.parametrize("family", [4, 6])
def test_an_error_that_came_in_fragments_is_read_from_its_first(family):
    packet = sent(1, family, size=900)
    story = story_of([packet, *b.fragments(error_about(packet), 512)])
    assert [1] == [event.matched_frame for event in story.events]
    assert ("the error itself arrived in fragments",) == story.events[0].notes


# ---- checksums


@pytest.mark.parametrize("family", [4, 6])
def test_a_bad_icmp_checksum_is_a_note_and_the_error_is_believed(family):
    story = story_of(with_refusal(sent(1, family), checksum=0x1234))
    assert "refused" == story.only.verdict
    assert ("bad ICMP checksum: a host would ignore this error",) == story.only.findings[0].notes


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("size", [20, 21, 530])
def test_a_correct_icmp_checksum_is_accepted(family, size):
    packet = b.datagram(CLIENT[family], host(1, family), 1, PORT, bytes(range(256)) * 3)
    assert () == event_of(packet, quote=packet[: HEADER[family] + 8 + size]).notes


# ---- MTUs


@pytest.mark.parametrize(
    ("mtu", "notes"),
    [
        (1400, ()),
        (68, ()),
        (0, ("the router reports no MTU; RFC 1191's next plateau is 1006",)),
        (67, ("reported MTU below what every link must carry: bogus",)),
        (1427, ()),
        (1428, ("reported MTU ≥ packet size: bogus",)),
        (65535, ("reported MTU ≥ packet size: bogus",)),
    ],
)
def test_the_mtu_of_an_ipv4_error_is_reported_and_noted_if_odd(mtu, notes):
    packet = sent(1, size=1400, df=True)
    (event,) = story_of([packet, b.frag_needed(packet, mtu, ROUTER[4])]).events
    assert (mtu, notes) == (event.mtu, event.notes)


@pytest.mark.parametrize(
    ("mtu", "notes"),
    [
        (1280, ()),
        (1447, ()),
        (1279, ("reported MTU below what every link must carry: bogus",)),
        (1448, ("reported MTU ≥ packet size: bogus",)),
        (2**32 - 1, ("reported MTU ≥ packet size: bogus",)),
    ],
)
def test_the_mtu_of_an_ipv6_error_is_32_bits(mtu, notes):
    packet = sent(1, 6, size=1400)
    (event,) = story_of([packet, b.packet_too_big(packet, mtu, ROUTER[6])]).events
    assert (mtu, notes) == (event.mtu, event.notes)


@pytest.mark.parametrize(("family", "kind"), [(4, (3, 3)), (4, (12, 0)), (6, (1, 4)), (6, (4, 0))])
def test_any_other_error_has_no_mtu(family, kind):
    (event,) = story_of([b.error(sent(1, family), *kind, 1400)]).events
    assert event.mtu is None


# ---- RFC 4884's length


@pytest.mark.parametrize("family", [4, 6])
def test_the_length_field_ends_the_quote(family):
    packet = sent(1, family)
    quote = b.padded(packet)
    extended = quote + b.extension_structure(b.mpls_labels(16001))
    error = error_about(packet, TIME_EXCEEDED, quote=extended, rest=b.quote_length(quote, family))
    (event,) = story_of([packet, error]).events
    assert (128, 1) == (event.quoted.bytes, event.matched_frame)
    assert [16001] == [entry["label"] for entry in event.extensions[0]["mpls"]]


@pytest.mark.parametrize(("family", "rest"), [(4, 200 << 16), (4, 1 << 16), (6, 200 << 24), (6, 1 << 24)])
def test_an_impossible_length_field_is_ignored(family, rest):
    packet = sent(1, family)
    (event,) = story_of([packet, error_about(packet, TIME_EXCEEDED, rest=rest)]).events
    assert (len(packet), 1) == (event.quoted.bytes, event.matched_frame)


def test_without_a_length_field_its_bits_have_another_meaning():
    packet = sent(1)
    (event,) = story_of([packet, b.error(packet, 4, 0, 6 << 16)]).events
    assert len(packet) == event.quoted.bytes


# ---- as raw sockets give them

MESSAGES = {
    4: b.error(b.datagram("192.0.2.1", "198.51.100.7", 40000, 53, b"hello"), 3, 3),
    6: b.error(b.datagram("2001:db8::1", "2001:db8:1::7", 40000, 53, b"hello"), 1, 4),
}


def received(decoder, messages, addresses=(), stride=300):
    data = b"".join(each.ljust(stride, b"\0") for each in messages)
    decoder.receive(
        data,
        stride,
        memoryview(array("q", [len(each) or -1 for each in messages])),
        memoryview(array("Q", addresses)),
        len(messages),
    )
    return [(decoder.rows.packet(row, b"", data), decoder.rows.frame[row]) for row in range(decoder.rows.size)]


def story(packet):
    return (
        packet.family,
        packet.icmp_type,
        packet.icmp_code,
        packet.reporter,
        packet.source,
        packet.destination,
        packet.source_port,
        packet.destination_port,
        packet.udp_checksum,
        packet.notes,
        packet.data,
    )


def test_messages_of_a_raw_socket_are_decoded_like_frames():
    decoder, other = Decoder(4), b.icmp4(8)
    whole = MESSAGES[4]
    found = received(decoder, [b"", whole, b.ipv4("192.0.2.1", "192.0.2.2", other, 1), whole])
    (frame,) = Decoder(1, keeps_messages=True).packets(whole, len(whole), 0, 101, 1)
    assert [(story(frame), 1), (story(frame), 3)] == [(story(packet), number) for packet, number in found]


def test_icmpv6_messages_without_header_use_the_given_addresses():
    whole = MESSAGES[6]
    (frame,) = Decoder(1, keeps_messages=True).packets(whole, len(whole), 0, 101, 1)
    ends = [int.from_bytes(whole[at : at + 8]) for at in (8, 16, 24, 32)]
    found = received(Decoder(2), [whole[40:], whole[40:]], ends * 2)
    assert [(story(frame), 0), (story(frame), 1)] == [(story(packet), number) for packet, number in found]
    wrong = received(Decoder(2), [whole[40:]], [*ends[:3], ends[3] ^ 1])  # its checksum covers them
    assert wrong[0][0].notes & Note.BAD_ICMP_CHECKSUM
