"""For each error the datagram that caused it: exact, flow, rewritten or none."""

from __future__ import annotations

import builders as b
import pytest
from builders import CLIENT, PORT, ROUTER, TIME_EXCEEDED, error_about, host, sent, with_refusal
from following import story_of

from udpprobe.core import is_compiled


def probe(family=6, data=b"data", sport=40001, **fields):
    return b.datagram(CLIENT[family], host(1, family), sport, PORT, data, **fields)


# ---- how sure


def test_addresses_ports_and_ipv4_id_are_an_exact_match():
    assert [("exact", 1)] == story_of(with_refusal(sent(1))).matches


def test_addresses_and_ports_alone_are_a_flow():
    assert [("flow", 1)] == story_of(with_refusal(sent(1, 6), quote=sent(1, 6)[:44])).matches
    assert [("flow", 1)] == story_of([sent(1, id=0x5555), error_about(sent(1, id=0x6666))]).matches


def test_an_ipv6_fragment_s_id_makes_the_match_exact():
    first = b.fragments(sent(1, 6, size=3000), 1448)[0]
    assert [("exact", 1)] == story_of(with_refusal(first)).matches


def test_an_ipv4_id_of_zero_proves_nothing_and_a_checksum_does():
    packet = sent(1, id=0, df=True)
    assert [("flow", 1)] == story_of(with_refusal(packet, quote=packet[:24])).matches
    assert [("exact", 1)] == story_of(with_refusal(packet, quote=packet[:28])).matches


@pytest.mark.parametrize(
    ("size", "evidence"),
    [(44, ()), (48, ("udp-checksum",)), (51, ("udp-checksum",)), (52, ("udp-checksum", "payload"))],
)
def test_in_ipv6_a_checksum_or_payload_makes_the_match_exact(size, evidence):
    (event,) = story_of(with_refusal(sent(1, 6), quote=sent(1, 6)[:size])).events
    assert ("exact" if evidence else "flow", evidence) == (event.match, event.match_evidence)


def half_computed(packet):
    """With the sum of the pseudo header alone, the same for every payload of one length."""
    pseudo = b.internet_checksum(packet[8:40] + packet[44:46] + bytes([0, 17])) ^ 0xFFFF
    return packet[:46] + pseudo.to_bytes(2) + packet[48:]


def test_a_partial_checksum_is_completed_and_then_proves():
    packet = probe(6)
    assert [("exact", 1)] == story_of([half_computed(packet), error_about(packet, quote=packet[:48])]).matches
    cut = half_computed(packet)[:50]
    story = story_of([cut, error_about(packet, quote=packet[:48])], lengths=[len(packet), 100])
    assert [("flow", 1)] == story.matches


def test_a_partial_checksum_in_the_quote_too_proves_nothing():
    packet = half_computed(probe(6))
    assert [("flow", 1)] == story_of([packet, error_about(packet, quote=packet[:48])]).matches


def test_equal_payloads_are_ambiguous():
    packets = [probe(6, b"same", checksum=0) for _ in range(2)]
    assert [("flow", 2)] == story_of([*packets, error_about(packets[0])]).matches


def behind_nat(n, **fields):
    return b.datagram("203.0.113.77", host(n), 61000, PORT, b"0123456789" * 2, **fields)


def test_a_changed_source_with_the_same_id_and_length_is_rewritten():
    story = story_of([sent(1, id=7), error_about(behind_nat(1, id=7))])
    assert [("rewritten", 1)] == story.matches
    assert ("a NAT changed the source",) == story.events[0].notes
    assert "refused" == story.only.verdict


@pytest.mark.parametrize(
    "quoted",
    [
        behind_nat(1, id=8),
        behind_nat(2, id=7),
        b.datagram("203.0.113.77", host(1), 61000, PORT, b"another length", id=7),
        b.datagram("203.0.113.77", host(1), 61000, PORT + 1, b"0123456789" * 2, id=7),
    ],
)
def test_a_changed_source_without_the_same_id_and_length_is_no_match(quoted):
    assert [("none", None)] == story_of([sent(1, id=7), error_about(quoted)]).matches


@pytest.mark.parametrize("quoted_id", [0, 7])
def test_without_an_id_the_payload_proves_a_changed_source(quoted_id):
    story = story_of([sent(1, id=0), error_about(behind_nat(1, id=quoted_id))])
    assert [("rewritten", 1)] == story.matches
    short = error_about(behind_nat(1, id=0), quote=behind_nat(1, id=0)[:28])
    assert [("none", None)] == story_of([sent(1, id=0), short]).matches


def test_a_changed_source_in_ipv6_is_proven_by_the_payload():
    quoted = b.datagram("2001:db8:ff::77", host(1, 6), 61000, PORT, b"0123456789" * 2)
    assert [("rewritten", 1)] == story_of([sent(1, 6), error_about(quoted)]).matches
    other = b.datagram("2001:db8:ff::77", host(1, 6), 61000, PORT, b"9876543210" * 2)
    assert [("none", None)] == story_of([sent(1, 6), error_about(other)]).matches


def translated(packet, service="10.0.0.80"):
    """As it reaches the server behind a service address."""
    return packet[:16] + b.packed(service) + packet[20:]


def test_a_translated_service_address_is_found_by_its_reporter():
    packet = sent(1, id=7)
    story = story_of([packet, b.port_unreachable(translated(packet), host(1))])
    assert [("rewritten", 1)] == story.matches
    assert {(host(1), PORT): "refused"} == story.verdicts
    stranger = story_of([packet, b.port_unreachable(translated(packet), ROUTER[4])])
    assert [("none", None)] == stranger.matches


def test_a_changed_source_is_preferred_to_a_service_address():
    nat = b.datagram("203.0.113.77", "10.0.0.80", 40001, PORT, b"0123456789" * 2, id=7)
    service = sent(1, id=7)
    quoted = b.datagram(CLIENT[4], "10.0.0.80", 40001, PORT, b"0123456789" * 2, id=7)
    for packets in ([nat, service], [service, nat]):
        (match,) = story_of([*packets, b.port_unreachable(quoted, host(1))]).matches
        assert ("rewritten", packets.index(nat) + 1) == match


def test_an_error_without_a_captured_datagram_is_unmatched():
    story = story_of([sent(1), error_about(sent(2))])
    ((unmatched,), destinations) = story.unmatched, story.verdicts
    assert (host(2), PORT, "refused", "none") == (
        unmatched.address,
        unmatched.port,
        unmatched.finding.verdict,
        unmatched.finding.match,
    )
    assert {(host(1), PORT): "silent"} == destinations


# ---- records that the network card has still to split

SPLIT = "quotes one segment of a larger record, captured before the network card split it"


def record(family, segments, size=1200, last=1200, **fields):
    """One record of several datagrams with different payloads, and those datagrams."""
    data = [bytes([65 + n]) * (size if n < segments - 1 else last) for n in range(segments)]
    ids = [{"id": 100 + n} if family == 4 else {} for n in range(segments)]
    pieces = [probe(family, each, **id_) for each, id_ in zip(data, ids, strict=True)]
    return probe(family, b"".join(data), **ids[0], **fields), pieces


def unfinished(packet):
    """With the sum of the pseudo header alone."""
    at = 26 if b.family_of(packet) == 4 else 46
    addresses, segment = packet[12:20] if at == 26 else packet[8:40], packet[at - 6 :]
    pseudo = b.internet_checksum(addresses + segment[4:6] + bytes([0, 17])) ^ 0xFFFF
    return packet[:at] + pseudo.to_bytes(2) + packet[at + 2 :]


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(("segments", "last"), [(9, 1200), (2, 1), (3, 700), (50, 1200)])
def test_errors_about_segments_count_them_as_datagrams(family, segments, last):
    whole, pieces = record(family, segments, last=last)
    story = story_of([unfinished(whole), *(error_about(piece, reporter=ROUTER[family]) for piece in pieces)])
    assert (segments, segments) == (story.only.sent, story.only.errors)
    assert {1} == {frame for _, frame in story.matches}
    assert all(SPLIT in event.notes for event in story.events)
    assert sum(map(len, pieces)) == story.only.sent_bytes


def test_a_record_counts_as_one_datagram_until_an_error_quotes_a_segment():
    whole, pieces = record(4, 9)
    assert [1] == [each.sent for each in story_of([unfinished(whole)]).destinations]
    assert 9 == story_of([unfinished(whole), error_about(pieces[4])]).only.sent


def test_the_longest_quoted_segment_gives_the_number_of_datagrams():
    whole, pieces = record(4, 9, last=100)
    assert 9 == story_of([unfinished(whole), error_about(pieces[8]), error_about(pieces[0])]).only.sent


def test_the_ids_after_that_of_a_record_belong_to_its_segments():
    whole, pieces = record(4, 9)
    matches = story_of([unfinished(whole), *map(error_about, pieces)]).matches
    assert [("exact", 1)] * 9 == matches
    stranger = probe(4, b"A" * 1200, id=109)
    assert [("flow", 1)] == story_of([unfinished(whole), error_about(stranger)]).matches


@pytest.mark.parametrize("family", [4, 6])
def test_a_record_longer_than_any_packet_needs_no_partial_checksum(family):
    whole, pieces = record(family, 9)
    assert 9 == story_of([whole, error_about(pieces[3])]).only.sent


@pytest.mark.parametrize("family", [4, 6])
def test_a_datagram_that_fits_better_wins_over_a_record(family):
    whole, pieces = record(family, 3)
    lone = probe(family, b"Z" * 1200, **({"id": 9} if family == 4 else {}))
    story = story_of([lone, unfinished(whole), error_about(lone), error_about(pieces[0])])
    assert [1, 2] == [frame for _, frame in story.matches]
    assert 4 == story.only.sent


def test_a_long_datagram_is_not_a_record():
    jumbo = probe(4, b"A" * 8000, id=100)
    for other in (probe(4, b"A" * 1200, id=200), probe(4, b"A" * 4, id=100)):
        assert 1 == story_of([jumbo, error_about(other)]).only.sent
    pieces = b.fragments(probe(4, b"A" * 12000), 1480, id=100)
    assert 1 == story_of([*pieces, error_about(pieces[0])]).only.sent


def test_datagrams_are_distinguished_by_length_and_payload():
    long, short = probe(6, b"A" * 40, checksum=0), probe(6, b"B" * 20, checksum=0)
    assert [("none", None)] == story_of([long, error_about(short)]).matches
    assert [("flow", 1)] == story_of([long, error_about(short, quote=short[:48])]).matches


# ---- which of several


@pytest.mark.parametrize("family", [4, 6])
def test_the_latest_datagram_before_the_error_is_matched(family):
    packet = probe(family)
    assert [(3)] == [frame for _, frame in story_of([packet, sent(2), packet, error_about(packet), packet]).matches]


@pytest.mark.parametrize("family", [4, 6])
def test_no_error_is_about_a_datagram_sent_after_it(family):
    packet = probe(family)
    assert [("none", None)] == story_of([error_about(packet), packet]).matches


def test_the_datagram_with_the_quoted_id_is_matched():
    packets = [probe(4, id=number) for number in (1, 2, 3)]
    assert [("exact", 2)] == story_of([*packets, error_about(packets[1])]).matches


@pytest.mark.parametrize("family", [4, 6])
def test_the_datagram_with_the_quoted_length_and_checksum_is_matched(family):
    first, second = probe(family, b"first"), probe(family, b"other")
    assert [1] == [frame for _, frame in story_of([first, second, error_about(first)]).matches]


def test_an_id_outweighs_a_checksum():
    first, second = probe(4, b"first", id=1), probe(4, b"other", id=2)
    quote = second[:26] + first[26:28] + second[28:]
    assert [("exact", 2)] == story_of([first, second, error_about(second, quote=quote)]).matches


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("checksum", [0, 0xBEEF])
def test_a_zeroed_or_changed_checksum_does_not_prevent_a_match(family, checksum):
    first, second = probe(family, b"first"), probe(family, b"other")
    at = {4: 26, 6: 46}[family]
    quote = first[:at] + checksum.to_bytes(2, "big") + first[at + 2 :]
    assert [1] == [frame for _, frame in story_of([first, second, error_about(first, quote=quote)]).matches]
    cut = quote[: at + 2]
    assert [2] == [frame for _, frame in story_of([first, second, error_about(first, quote=cut)]).matches]


def test_a_checksum_alone_is_not_a_match():
    sent_one, quoted = probe(6, sport=1, checksum=7), probe(6, sport=2, checksum=7)
    assert [("none", None)] == story_of([sent_one, error_about(quoted)]).matches


def test_a_quote_of_eight_bytes_of_udp_is_enough():
    first, second = probe(6, b"first"), probe(6, b"other")
    assert [("exact", 1)] == story_of([first, second, error_about(first, quote=first[:48])]).matches


def test_a_quote_of_ports_only_matches_the_latest_datagram():
    first, second = probe(6, b"first"), probe(6, b"other")
    assert [("flow", 2)] == story_of([first, second, error_about(first, quote=first[:44])]).matches


def test_an_error_inside_a_tunnel_prefers_a_datagram_inside_one():
    inside, other = sent(1, 6), sent(1, 6)
    tunnel = [b.ip("10.0.0.1", "10.0.0.2", b.gre(packet), b.GRE) for packet in with_refusal(inside)]
    assert [("exact", 1)] == story_of([tunnel[0], other, tunnel[1]]).matches


@pytest.mark.parametrize("packets", [with_refusal(sent(1)), with_refusal(sent(1, 6))])
def test_an_error_inside_a_tunnel_may_match_a_datagram_outside(packets):
    packet, error = packets
    story = story_of([packet, b.ip("10.0.0.1", "10.0.0.2", b.gre(error), b.GRE)])
    assert [1] == [frame for _, frame in story.matches]


def test_two_errors_can_match_one_datagram():
    packet = sent(1)
    story = story_of([packet, error_about(packet, TIME_EXCEEDED, reporter=ROUTER[4]), error_about(packet)])
    assert [("exact", 1), ("exact", 1)] == story.matches
    assert (2, "refused") == (story.only.errors, story.only.verdict)


def test_many_flows_are_not_confused():
    many = 3000 if is_compiled() else 600
    packets = [b.datagram(CLIENT[6], host(n % 7, 6), 1000 + n, PORT + n % 3, b"data") for n in range(many)]
    errors = [error_about(packet) for packet in packets[::-1]]
    assert list(range(many, 0, -1)) == [frame for _, frame in story_of([*packets, *errors]).matches]
