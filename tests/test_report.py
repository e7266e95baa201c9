"""From what was found to the report: verdicts, the meaning of silence, order, groups."""

from __future__ import annotations

import builders as b
import pytest
from builders import CLIENT, PORT, ROUTER, TIME_EXCEEDED, error_about, expired, host, sent, with_refusal
from following import EVERYTHING, MS, story_of

from udpprobe.core.destinations import period_of
from udpprobe.core.model import Loop, Quoted, Spread
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, VERDICTS
from udpprobe.report import Question, conclude

KINDS = [
    (4, (3, 3), True, "refused"),
    (6, (1, 4), True, "refused"),
    (4, (3, 3), False, "rejected"),
    (6, (1, 4), False, "rejected"),
    (4, (3, 4), False, "too-big"),
    (6, (2, 0), False, "too-big"),
    (6, (2, 9), False, "too-big"),
    (4, (11, 0), False, "loop"),
    (6, (3, 0), False, "loop"),
    (4, (3, 9), False, "prohibited"),
    (4, (3, 10), False, "prohibited"),
    (4, (3, 13), False, "prohibited"),
    (6, (1, 1), False, "prohibited"),
    (6, (1, 5), False, "prohibited"),
    (6, (1, 6), False, "prohibited"),
    (4, (3, 0), False, "unreachable"),
    (4, (3, 1), False, "unreachable"),
    (4, (3, 2), True, "unreachable"),
    (4, (3, 99), False, "unreachable"),
    (6, (1, 0), False, "unreachable"),
    (6, (1, 3), True, "unreachable"),
    (4, (11, 1), True, "reassembly"),
    (6, (3, 1), True, "reassembly"),
    (4, (4, 0), False, "quenched"),
    (4, (12, 0), False, "malformed"),
    (6, (4, 1), True, "malformed"),
]


@pytest.mark.parametrize(("family", "kind", "itself", "verdict"), KINDS)
def test_every_error_has_its_verdict_and_errno(family, kind, itself, verdict):
    packet = sent(1, family)
    story = story_of([packet, b.error(packet, *kind, reporter=None if itself else ROUTER[family])])
    (finding,), (event,) = story.only.findings, story.events
    told_as = (verdict, ERRNO_OF_VERDICT.get(verdict))
    assert [told_as] * 3 == [(each.verdict, each.errno) for each in (story.only, finding, event)]
    assert (family, *kind) == (finding.family, finding.icmp_type, finding.icmp_code)


def test_an_expired_low_ttl_is_not_a_loop():
    packet = sent(1, ttl=3)
    assert "expired" == story_of([packet, b.time_exceeded(packet, ROUTER[4])]).only.verdict


def test_an_undefined_icmpv6_error_alone_leaves_a_destination_silent_or_answered():
    packet = sent(1, 6)
    answer = b.datagram(host(1, 6), CLIENT[6], PORT, 40001, b"!")
    unknown = b.error(packet, 127, 0)
    only = story_of([packet, unknown]).only
    assert ("silent", "no-evidence") == (only.verdict, only.meaning)
    assert "answered" == story_of([packet, unknown, answer]).only.verdict


def test_the_most_significant_finding_gives_the_verdict():
    packet = sent(1, ttl=3)
    errors = [b.error(packet, *kind, reporter=ROUTER[4]) for kind in ((12, 0), (4, 0), (11, 1), (3, 0), (3, 13))]
    errors += [
        b.time_exceeded(packet, ROUTER[4]),
        b.frag_needed(packet, 1400, ROUTER[4]),
        b.port_unreachable(packet, ROUTER[4]),
        b.port_unreachable(packet),
    ]
    found = story_of([packet, *errors]).only
    order = [
        "refused",
        "rejected",
        "too-big",
        "expired",
        "prohibited",
        "unreachable",
        "reassembly",
        "quenched",
        "malformed",
    ]
    assert order == [finding.verdict for finding in found.findings]
    assert ("refused", 9) == (found.verdict, found.errors)
    assert order == [verdict for verdict in VERDICTS if verdict in order]


def test_an_error_outweighs_an_answer():
    packet = sent(1)
    found = story_of([packet, b.datagram(host(1), CLIENT[4], PORT, 40001, b"!"), error_about(packet)]).only
    assert ("refused", 1) == (found.verdict, found.answered)


# ---- what is told of each


def test_errors_of_one_kind_and_reporter_are_one_finding():
    packets = [sent(1, id=number) for number in range(1, 6)]
    frames = [frame for packet in packets for frame in (packet, error_about(packet))]
    found = story_of(frames, times_ns=[n * MS for n in (0, 1, 10, 13, 20, 25, 30, 37, 40, 49)]).only
    (finding,) = found.findings
    assert (5, 5, 5) == (found.sent, found.errors, finding.count)
    assert (1 * MS, 49 * MS, Spread(1, 5, 9)) == (finding.first_time_ns, finding.last_time_ns, finding.rtt_ms)


def test_another_reporter_mtu_or_code_is_another_finding():
    packet = sent(1, size=1400)
    errors = [
        b.frag_needed(packet, 1300, ROUTER[4]),
        b.frag_needed(packet, 1200, ROUTER[4]),
        b.frag_needed(packet, 1300, "203.0.113.2"),
        b.error(packet, 3, 1, reporter=ROUTER[4]),
    ]
    found = story_of([packet, *errors, *errors]).only
    assert [(1200, 2), (1300, 2), (1300, 2), (None, 2)] == sorted(
        ((finding.mtu, finding.count) for finding in found.findings), key=lambda row: row[0] or 9999
    )


def test_a_finding_shows_its_most_certain_match():
    frames = [sent(1, id=1), error_about(sent(1, id=2)), error_about(sent(1, id=1))]
    assert "exact" == story_of(frames).only.findings[0].match


def test_matched_and_unmatched_errors_of_one_destination_are_kept_apart():
    story = story_of([sent(1), error_about(sent(1)), error_about(b.datagram(CLIENT[4], host(1), 9, PORT, b"", id=9))])
    assert (1, 1) == (story.only.errors, len(story.unmatched))


def test_unmatched_errors_are_listed_worst_first():
    frames = [
        b.time_exceeded(sent(1, ttl=1), ROUTER[4]),
        error_about(sent(2)),
        error_about(sent(2)),
        error_about(sent(3)),
    ]
    assert [(host(2), 2), (host(3), 1), (host(1), 1)] == [
        (each.address, each.finding.count) for each in story_of(frames).unmatched
    ]


# ---- silence


@pytest.mark.parametrize("family", [4, 6])
def test_silence_of_a_host_that_refused_another_port_means_listening_or_filtered(family):
    other = b.datagram(CLIENT[family], host(1, family), 40001, 9, b"")
    story = story_of([sent(1, family), *with_refusal(other), sent(2, family)])
    meanings = {(each.address, each.port): each.meaning for each in story.destinations}
    assert {
        (host(1, family), PORT): "listening-or-filtered",
        (host(1, family), 9): None,
        (host(2, family), PORT): "no-evidence",
    } == meanings


def test_a_refusal_by_a_router_does_not_count_for_the_host():
    other = b.datagram(CLIENT[4], host(1), 40001, 9, b"")
    story = story_of([sent(1), *with_refusal(other, reporter=ROUTER[4])])
    assert ["no-evidence"] == [each.meaning for each in story.destinations if each.verdict == "silent"]


def test_an_answered_destination_has_no_meaning_of_silence():
    story = story_of([sent(1), b.datagram(host(1), CLIENT[4], PORT, 40001, b"!")])
    assert [("answered", None)] == [(each.verdict, each.meaning) for each in story.destinations]


# ---- which, and in which order

MIXED = [
    sent(1),
    *with_refusal(sent(2)),
    b.datagram(host(1), CLIENT[4], PORT, 40001, b"!"),
    sent(3),
    sent(3, id=9),
    sent(4),
    *with_refusal(sent(5)),
    error_about(sent(5)),
]


def test_healthy_destinations_are_listed_only_on_request():
    assert {host(2), host(5)} == {each.address for each in story_of(MIXED, question=Question()).destinations}
    assert 5 == len(story_of(MIXED, question=EVERYTHING).destinations)


def test_destinations_are_listed_worst_first():
    assert [host(5), host(2), host(1), host(3), host(4)] == [each.address for each in story_of(MIXED).destinations]


# ---- groups


def test_by_host_all_ports_are_one_row():
    packets = [b.datagram(CLIENT[4], host(1), 40001, port, b"") for port in (7, 9, 11)]
    answer = b.datagram(host(1), CLIENT[4], 11, 40001, b"!")
    (found,) = story_of(
        [*with_refusal(packets[0]), *with_refusal(packets[1]), packets[2], answer], question=Question(32, True, "host")
    ).destinations
    assert (host(1), None, "refused", 3, 1, 2) == (
        found.address,
        found.port,
        found.verdict,
        found.sent,
        found.answered,
        found.errors,
    )
    assert [2] == [finding.count for finding in found.findings]
    assert Spread(1, 1, 1) == found.rtt_ms


def test_by_host_a_captured_loop_belongs_to_the_host():
    (found,) = story_of([sent(1, ttl=ttl) for ttl in (64, 62, 60)], question=Question(32, True, "host")).destinations
    assert (host(1), None, "loop", 2) == (found.address, found.port, found.verdict, found.findings[0].loop.period)


def test_by_reporter_each_row_has_its_own_errors():
    frames = [
        *with_refusal(sent(1), reporter=ROUTER[4]),
        *with_refusal(sent(2), reporter=ROUTER[4]),
        *with_refusal(sent(3)),
        sent(4),
    ]
    found = story_of(frames, question=Question(32, True, "reporter")).destinations
    assert [(host(3), None, "refused", 1), (ROUTER[4], None, "rejected", 2)] == [
        (each.address, each.port, each.verdict, each.errors) for each in found
    ]


@pytest.mark.parametrize("family", [4, 6])
def test_advice_by_reporter_does_not_take_the_reporter_for_a_destination(family):
    prohibited = {4: (3, 13), 6: (1, 1)}[family]
    frames = [
        *with_refusal(sent(1, family=family)),
        b.error(sent(2, family=family), *prohibited, reporter=ROUTER[family]),
    ]
    found = story_of(frames, question=Question(32, True, "reporter"))
    rows = {each.address: each.advice for each in (*found.destinations, *found.unmatched)}
    assert {
        host(1, family): f"Nothing listens on some ports of {host(1, family)}: start the service or check the port.",
        ROUTER[family]: f"Ask whoever runs {ROUTER[family]} about its filter: it blocks UDP to some destinations.",
    } == rows


def test_by_flow_every_source_is_a_row():
    packets = [b.datagram(CLIENT[4], host(1), source, PORT, b"") for source in (1, 2)]
    found = story_of([*with_refusal(packets[0]), packets[1]], question=Question(32, True, "flow")).destinations
    assert [(CLIENT[4], 1, "refused", 1), (CLIENT[4], 2, "silent", 0)] == [
        (each.source, each.source_port, each.verdict, each.errors) for each in found
    ]


@pytest.mark.parametrize("by", ["destination", "flow"])
def test_a_captured_loop_is_shown_by_destination_and_by_flow(by):
    (found,) = story_of([sent(1, ttl=ttl) for ttl in (64, 62, 60)], question=Question(32, True, by)).destinations
    assert ("loop", host(1), PORT) == (found.verdict, found.address, found.port)
    assert (CLIENT[4] if by == "flow" else None) == found.source


@pytest.mark.parametrize("by", ["destination", "host", "reporter", "flow"])
def test_errors_without_datagrams_make_no_destination(by):
    errors = [b.port_unreachable(sent(n)) for n in (1, 2)]
    story = story_of(errors, question=Question(32, True, by))
    assert (2, ()) == (len(story.unmatched), story.destinations)


def test_a_report_can_be_repeated_with_another_grouping():
    story = story_of(MIXED)
    for _ in range(2):
        assert 5 == len(conclude(story.analyzer, EVERYTHING)[0])
        assert 5 == len(conclude(story.analyzer, Question(32, True, "host"))[0])


def test_an_empty_capture_gives_an_empty_report():
    story = story_of([])
    assert ((), (), [], {}) == (story.destinations, story.unmatched, story.events, story.faults)


GROUPS = {4: ("224.0.0.251", "239.1.2.3", "255.255.255.255"), 6: ("ff02::fb", "ff05::1:3", "ff0e::1")}


@pytest.mark.parametrize(("family", "group"), [(family, group) for family in (4, 6) for group in GROUPS[family]])
@pytest.mark.parametrize("kind", [{4: (3, 3), 6: (1, 4)}, {4: (3, 13), 6: (1, 1)}, {4: (3, 1), 6: (1, 3)}])
def test_an_error_about_a_group_address_is_rejected_with_a_note(family, group, kind):
    packet = b.datagram(CLIENT[family], group, 40001, PORT, b"hello")
    story = story_of([packet, b.error(packet, *kind[family], reporter=host(1, family))])
    (finding,), (event,) = story.only.findings, story.events
    assert ["rejected"] * 3 == [each.verdict for each in (story.only, finding, event)]
    assert "group-member" in finding.notes
    assert "group-member" in event.notes


@pytest.mark.parametrize(
    ("family", "address"), [(4, "223.255.255.255"), (4, "240.0.0.1"), (6, "fe80::1"), (6, "fec0::1")]
)
def test_no_other_destination_is_a_group(family, address):
    packet = b.datagram(CLIENT[family], address, 40001, PORT, b"hello")
    found = story_of([packet, b.error(packet, *{4: (3, 13), 6: (1, 1)}[family], reporter=ROUTER[family])]).only
    assert ("prohibited", False) == (found.verdict, "group-member" in found.findings[0].notes)


def test_packet_too_big_about_a_group_address_is_too_big():
    packet = b.datagram(CLIENT[6], "ff0e::1", 40001, PORT, b"hello")  # RFC 4443, 2.4 (e.3)
    assert "too-big" == story_of([packet, b.error(packet, 2, 0, 1280, reporter=ROUTER[6])]).only.verdict


# ---- what anybody may send any number of


@pytest.mark.parametrize("ttl", [5, 64])
def test_a_thousand_reporters_are_listed_and_all_are_counted(ttl):
    packet = sent(1, ttl=ttl)
    frames = [packet, *(b.time_exceeded(packet, f"198.51.{n >> 8}.{n & 255}") for n in range(1200))]
    only = story_of(frames).only
    assert (1200, 1000) == (only.errors, len(only.findings))
    assert ("200 more findings are counted, not listed",) == only.notes


@pytest.mark.parametrize(("family", "kind"), [(4, (3, 1)), (6, (1, 3))])
def test_a_missing_neighbour_has_neither_reporter_nor_rtt(family, kind):
    packet = sent(1, family)
    story = story_of([packet, b.error(packet, *kind, reporter=CLIENT[family])])
    (finding,), (event,) = story.only.findings, story.events
    for found in (finding, event):
        assert ("unreachable", "host-unreach", None, None) == (
            found.verdict,
            found.reason,
            found.reporter,
            found.rtt_ms,
        )
        assert "no-neighbour" in found.notes
    assert "nothing answers ARP" in story.only.advice


@pytest.mark.parametrize(("family", "kind"), [(4, (3, 13)), (6, (1, 1)), (4, (3, 0)), (6, (1, 0))])
def test_other_errors_from_the_own_address_do_not_mean_a_missing_neighbour(family, kind):
    packet = sent(1, family)
    found = story_of([packet, b.error(packet, *kind, reporter=CLIENT[family])]).only.findings[0]
    assert (CLIENT[family], False) == (found.reporter, "no-neighbour" in found.notes)


@pytest.mark.parametrize(("family", "kind"), [(4, (3, 1)), (6, (1, 3))])
def test_an_error_of_the_last_router_has_a_reporter(family, kind):
    packet = sent(1, family)
    found = story_of([packet, b.error(packet, *kind, reporter=ROUTER[family])]).only.findings[0]
    assert (ROUTER[family], True) == (found.reporter, found.rtt_ms is not None)


# ---- every error as an event of its own


def test_an_event_has_the_fields_of_the_error():
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


def test_events_are_in_capture_order():
    packets = [sent(n, family) for n in range(1, 20) for family in (4, 6)]
    frames = [frame for packet in packets for frame in with_refusal(packet)]
    assert list(range(2, 2 * len(packets) + 1, 2)) == [event.frame for event in story_of(frames).events]


def test_extensions_are_reported_with_their_notes():
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
        ("padding follows the quote, not an extension",),
    ] == [event.notes for event in events]


def test_a_later_error_may_show_that_it_is_a_loop():
    frames = [frame for ttl in (5, 7, 9) for frame in expired(sent(1, ttl=ttl, id=ttl))]
    assert ["loop"] * 3 == [event.verdict for event in story_of(frames).events]


def test_an_error_about_a_fragment_gets_the_ports_of_its_datagram():
    first, later = b.fragments(sent(1, size=2000), 1480)
    (event,) = story_of([first, later, error_about(later, TIME_EXCEEDED, reporter=ROUTER[4])]).events
    assert (None, None) == (event.quoted.source_port, event.quoted.destination_port)
    assert (0x4321 if event.quoted.ip_id == 0x4321 else 0xCAFE) == event.quoted.ip_id


# ---- evidence of a routing loop, the three kinds of it; and what is none


OTHER_ROUTER = {4: "203.0.113.2", 6: "2001:db8:ff::2"}


def traced(ttls, family=4, reporters=ROUTER, n=1, **fields):
    """A datagram for each TTL, and each time an error of the reporter."""
    frames = []
    for ttl in ttls:
        ids = {"id": ttl} if family == 4 else {}
        packet = sent(n, family, ttl=ttl, **ids, **fields)
        quote = b.forwarded(packet, ttl - 1)
        frames += [packet, b.time_exceeded(quote, reporters[family])]
    return frames


# ---- the TTL it left with


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("ttl", "verdict"),
    [
        (64, "loop"),
        (32, "loop"),
        (31, "expired"),
        (1, "expired"),
        (255, "loop"),
    ],
)
def test_an_expired_datagram_sent_with_ttl_32_or_more_was_in_a_loop(family, ttl, verdict):
    assert verdict == story_of(traced([ttl], family)).only.verdict


@pytest.mark.parametrize(("loop_ttl", "verdict"), [(5, "loop"), (6, "expired"), (255, "expired"), (1, "loop")])
def test_the_ttl_that_means_a_loop_can_be_chosen(loop_ttl, verdict):
    story = story_of(traced([5]), question=Question(loop_ttl, True))
    assert [verdict, verdict] == [story.only.verdict, story.events[0].verdict]


def test_the_quoted_ttl_is_no_evidence():
    packet = sent(1, ttl=5)
    assert "expired" == story_of([packet, b.time_exceeded(sent(1, ttl=200), ROUTER[4])]).only.verdict


def test_an_error_without_its_datagram_is_no_evidence():
    (unmatched,) = story_of([b.time_exceeded(sent(1, ttl=64), ROUTER[4])]).unmatched
    assert "expired" == unmatched.finding.verdict


@pytest.mark.parametrize(("family", "kind"), [(4, (11, 1)), (4, (11, 2)), (4, (3, 0)), (6, (3, 1)), (6, (1, 0))])
def test_only_a_ttl_expired_in_transit_can_be_a_loop(family, kind):
    packet = sent(1, family, ttl=64)
    assert "loop" != story_of([packet, b.error(packet, *kind, reporter=ROUTER[family])]).only.verdict


# ---- one reporter at several TTLs


@pytest.mark.parametrize("family", [4, 6])
def test_one_reporter_at_three_ttls_is_a_loop(family):
    story = story_of(traced([5, 7, 9], family))
    assert ("loop", Loop((ROUTER[family],), 2)) == (story.only.verdict, story.only.findings[0].loop)


@pytest.mark.parametrize("ttls", [[5, 7], [5, 6], [5, 6, 7]])
def test_one_reporter_at_two_or_adjacent_ttls_is_not_a_loop(ttls):
    assert {"expired"} == {finding.verdict for finding in story_of(traced(ttls)).only.findings}


@pytest.mark.parametrize("family", [4, 6])
def test_another_reporter_at_each_ttl_is_a_traceroute(family):
    frames = traced([1], family) + traced([2], family, OTHER_ROUTER)
    assert {"expired"} == {finding.verdict for finding in story_of(frames).only.findings}


def test_one_reporter_for_two_destinations_is_not_a_loop():
    assert {"expired"} == {each.verdict for each in story_of(traced([5]) + traced([7], n=2)).destinations}


def test_one_repeated_ttl_is_not_a_loop():
    frames = [frame for number in range(3) for frame in traced([5], size=20 + 10 * number)]
    assert "expired" == story_of(frames).only.verdict


def test_at_most_32_routers_of_a_loop_are_named():
    packet = sent(1, ttl=64)
    story = story_of([packet, *(b.time_exceeded(packet, f"203.0.113.{number}") for number in range(1, 101))])
    assert 100 == len(story.only.findings)
    assert {tuple(f"203.0.113.{number}" for number in range(1, 33))} == {
        finding.loop.routers for finding in story.only.findings
    }


def test_two_routers_in_turn_are_both_named_and_the_period_is_two():
    frames = [frame for ttl in (3, 4, 5, 6) for frame in traced([ttl], 4, (ROUTER, OTHER_ROUTER)[ttl % 2])]
    loop = Loop((OTHER_ROUTER[4], ROUTER[4]), 2)
    assert [loop, loop] == [finding.loop for finding in story_of(frames).only.findings]


def test_two_alternating_routers_are_a_loop_with_falling_ttls_too():
    frames = [frame for ttl in (6, 5, 4, 3) for frame in traced([ttl], 6, (ROUTER, OTHER_ROUTER)[ttl % 2])]
    assert Loop((ROUTER[6], OTHER_ROUTER[6]), 2) == story_of(frames).only.findings[0].loop


def test_a_loop_beside_an_honest_hop_has_its_routers_only():
    frames = traced([1], 4, {4: "203.0.113.9"}) + traced([3, 5, 7], 4)
    verdicts = {finding.reporter: finding.verdict for finding in story_of(frames).only.findings}
    assert {"203.0.113.9": "expired", ROUTER[4]: "loop"} == verdicts
    assert Loop((ROUTER[4],), 2) == story_of(frames).only.findings[0].loop


def test_a_report_by_flow_assigns_loops_to_flows():
    question = Question(32, True, "flow")
    (looping,) = story_of(traced([5, 7, 9]), question=question).destinations
    assert ("loop", CLIENT[4]) == (looping.verdict, looping.source)
    apart = [*traced([5, 7])]
    for port, ttl in ((999, 9), (998, 11)):
        apart.append(b.datagram(CLIENT[4], host(1), port, PORT, bytes(20), ttl=ttl, id=ttl))
        apart.append(b.time_exceeded(apart[-1], ROUTER[4]))
    assert {"loop"} == {each.verdict for each in story_of(apart, question=question).destinations}
    assert {"loop"} == {each.verdict for each in story_of(apart).destinations}


# ---- its period


@pytest.mark.parametrize(
    ("ttl_sets", "period"),
    [
        ([], None),
        ([[64]], None),
        ([[62], [63], [64]], None),
        ([[5, 7]], None),  # once round, or twice
        ([[5, 7, 9]], 2),
        ([[5, 7, 9, 11]], 2),
        ([[3, 6, 9]], 3),
        ([[5, 7], [6, 8]], 2),
        ([[5, 8], [6, 9], [7, 10]], 3),
        ([[5, 9], [6, 10]], None),
        ([[5, 7, 13]], None),
        ([[5, 7, 11], [6, 8]], 2),
        ([[5, 8, 11], [6]], 3),
    ],
)
def test_the_period_is_given_only_if_the_ttls_determine_it(ttl_sets, period):
    assert period == period_of(ttl_sets)
