"""Links that delay, lose, double and narrow; hosts that answer, in one piece or several."""

from __future__ import annotations

import pytest
from playing import HOST, SECOND, YOU, described, dissected, page, played, probe, quoted, world
from scapy.layers.inet import ICMP, IP, TCP, UDP, fragment
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6TimeExceeded, IPv6, IPv6ExtHdrFragment, fragment6
from scapy.packet import Raw

from udpprobe.lab.model import Dice
from udpprobe.lab.packets import dissect
from udpprobe.lab.scenario import LinkSpec, load, parse
from udpprobe.lab.world import Link, World

BOTH = pytest.mark.parametrize("family", [4, 6])
MS = 1_000_000
ECHO = "udp = { 53 = 'echo' }"


def times(world, *packets, gap_ns=0):
    """When what comes back does, in ms, and its data."""
    for number, packet in enumerate(packets):
        world.receive(bytes(packet), number * gap_ns)
    rows = []
    while (now_ns := world.next_ns) is not None:
        rows += [(now_ns / MS, dissected(raw)) for raw in world.due(now_ns)]
    return rows


@BOTH
def test_each_direction_of_a_link_takes_its_time(family):
    ((at_ms, _),) = times(world(link="delay_ms = 7"), probe(family))
    assert 1 + 7 + 7 + 1 == at_ms


def test_jitter_keeps_the_order():
    rows = times(world(host=ECHO, link="jitter_ms = 50"), *(probe(data=bytes([n])) for n in range(40)), gap_ns=MS)
    assert [bytes([n]) for n in range(40)] == [packet[UDP].load for _, packet in rows]
    assert len({at_ms - n for n, (at_ms, _) in enumerate(rows)}) > 20


def test_a_packet_that_is_reordered_is_overtaken():
    probes = [probe(data=bytes([n])) for n in range(40)]
    rows = times(world(host=ECHO, link="reorder = 0.2, reorder_ms = 10"), *probes, gap_ns=MS)
    order = [packet[UDP].load[0] for _, packet in rows]
    assert sorted(order) == list(range(40)) != order


def test_a_loop_that_doubles_packets_ends():
    looping = world(router='routes = { you = "host" }', link="duplicate = 1, delay_ms = 1")
    assert [] == played(looping, probe(port=54))
    assert None is looping.next_ns


def test_a_link_holds_a_thousand_packets():
    assert 1000 == len(times(world(), *[probe()] * 1200))
    assert 1200 == len(times(world(), *[probe()] * 1200, gap_ns=MS))


@pytest.mark.parametrize(
    ("link", "low", "high"),
    [("loss = 1", 0, 0), ("loss = 0.5", 30, 70), ("duplicate = 0.5", 390, 510), ("duplicate = 1", 800, 800)],
)
def test_packets_are_lost_and_doubled_in_both_directions(link, low, high):
    """Of 200: half of a half comes back, or 1.5 times 1.5."""
    assert low <= len(times(world(link=link), *[probe()] * 200)) <= high


def test_packets_damaged_on_the_way_out_are_dropped_and_on_the_way_back_arrive():
    rows = times(world(host=ECHO, link="corrupt = 0.5"), *[probe()] * 100)
    (sound,) = played(world(host=ECHO), probe())
    damaged = [packet for _, packet in rows if bytes(packet)[20:] != bytes(sound)[20:]]
    assert 35 <= len(rows) <= 65
    assert 15 <= len(damaged) <= 40


def test_a_packet_without_a_payload_is_never_damaged():
    packet = dissect(bytes(IP(src=YOU[4], dst=HOST[4], proto=99)))
    assert [(MS, packet)] == Link(LinkSpec(corrupt=1), Dice(1)).carry(packet, 0)


@pytest.mark.parametrize(("family", "size"), [(4, 972), (6, 1252)])
def test_a_narrow_link_passes_what_fits_and_reports_its_mtu(family, size):
    mtu = {4: 1000, 6: 1300}[family]
    narrow = world(host=ECHO, link=f"mtu = {mtu}")
    assert [f"{HOST[family]} udp 53"] == [described(each) for each in played(narrow, probe(family, data=bytes(size)))]
    (error,) = played(narrow, probe(family, data=bytes(size + 1)))
    assert {4: "198.18.0.1 3/4", 6: "2001:db8::1 2/0"}[family] == described(error)
    assert mtu == int.from_bytes(bytes(error.payload)[4:8])
    assert 64 == quoted(error)[8 if family == 4 else 7]


@pytest.mark.parametrize(("about", "expected"), [("reports_mtu = 0", 0), ("reports_mtu = 1480", 1480)])
def test_a_router_can_report_a_wrong_mtu(about, expected):
    for family in (4, 6):
        (error,) = played(world(link=f"mtu = 1300, {about}"), probe(family, data=bytes(1400)))
        assert expected == int.from_bytes(bytes(error.payload)[4:8])


@BOTH
def test_a_black_hole_sends_no_error(family):
    assert [] == played(world(link="mtu = 1300, black_hole = true"), probe(family, data=bytes(1400)))


def test_time_exceeded_takes_precedence_over_packet_too_big():
    (error,) = played(world(link="mtu = 1300"), probe(ttl=1, data=bytes(1400)))
    assert "198.18.0.1 11/0" == described(error)


def test_without_df_packets_pass_a_narrow_link_in_fragments():
    data = bytes(range(256)) * 5
    back = played(world(host=ECHO, link="mtu = 500"), probe(flags=0, data=data))
    assert all(len(bytes(each)) <= 500 for each in back)
    assert [0, 480, 960] == [each.frag * 8 for each in back]
    whole = b"".join(bytes(each.payload) for each in back)
    assert data == UDP(whole).load


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2, 2, 1), (0, 0, 1, 2)])
@BOTH
def test_a_host_reassembles_fragments_in_any_order(family, order):
    if family == 4:
        pieces = fragment(probe(flags=0, data=bytes(2500)), 1200)
    else:
        packet = IPv6(src=YOU[6], dst=HOST[6]) / IPv6ExtHdrFragment(id=5) / UDP(sport=4000, dport=54) / bytes(2500)
        pieces = fragment6(packet, 1200)
    assert len(pieces) == 3
    (error,) = played(world(), *(pieces[n] for n in order))
    assert f"{HOST[family]} {'3/3' if family == 4 else '1/4'}" == described(error)
    length = int.from_bytes(quoted(error)[2:4] if family == 4 else quoted(error)[4:6])
    assert {4: 2528, 6: 2508}[family] == length


@BOTH
def test_incomplete_fragments_time_out_with_an_error(family):
    if family == 4:
        first, late, wait_s = IP(src=YOU[4], dst=HOST[4], flags="MF") / Raw(bytes(64)), "198.18.9.9 11/1", 30
    else:
        first = IPv6(src=YOU[6], dst=HOST[6]) / IPv6ExtHdrFragment(nh=17, m=1, id=5) / Raw(bytes(64))
        late, wait_s = "2001:db8:9::9 3/1", 60
    ((at_ms, error),) = times(world(), first)
    assert (late, wait_s * 1000 + 4) == (described(error), at_ms)


def test_later_fragments_alone_time_out_silently():
    assert [] == times(world(), IP(src=YOU[4], dst=HOST[4], frag=8) / Raw(bytes(64)))


def test_an_atomic_fragment_is_complete_by_itself():
    atomic = IPv6(src=YOU[6], dst=HOST[6]) / IPv6ExtHdrFragment(id=5) / UDP(sport=4000, dport=54) / b"x"
    first, last = in_two(probe(6, port=54, data=bytes(2000)))
    back = played(world(), first, atomic, last)
    assert ["2001:db8:9::9 1/4"] * 2 == [described(each) for each in back]
    assert bytes(atomic)[8:] == quoted(back[0])[8:]  # with its fragment header


def test_fragments_that_overlap_are_lost():
    pieces = [
        IP(src=YOU[4], dst=HOST[4], flags="MF", proto=17) / Raw(bytes(64)),
        IP(src=YOU[4], dst=HOST[4], frag=4, proto=17) / Raw(bytes(64)),
    ]
    assert ["198.18.9.9 11/1"] == [described(packet) for _, packet in times(world(), *pieces)]


@pytest.mark.parametrize("size", [65_516, 65_555])
def test_fragments_of_more_than_a_packet_holds_are_lost(size):
    pieces = [
        IP(src=YOU[4], dst=HOST[4], frag=at // 8, flags=int(at + 1400 < size), proto=17)
        / Raw(bytes(min(1400, size - at)))
        for at in range(0, size, 1400)
    ]
    assert ["198.18.9.9 11/1"] == [described(packet) for _, packet in times(world(), *pieces)]


@BOTH
def test_reusing_an_id_does_not_shorten_the_reassembly_time(family):
    whole = probe(family, port=54, data=bytes(2000), **({"flags": 0} if family == 4 else {}))
    late_s, (first, last) = {4: 30, 6: 60}[family], in_two(whole)
    host = world()
    assert 1 == len(played(host, first, last))
    assert [] == played(host, first, at_ns=10 * SECOND, until_s=late_s - 1)
    assert [f"{HOST[family]} {'3/3' if family == 4 else '1/4'}"] == [
        described(each) for each in played(host, last, at_ns=(late_s + 9) * SECOND)
    ]


def in_two(packet):
    if packet.version == 4:
        return fragment(packet, 1200)
    return fragment6(IPv6(src=packet.src, dst=packet.dst) / IPv6ExtHdrFragment(id=5) / packet.payload, 1300)


@pytest.mark.parametrize(
    ("answer", "rows"),
    [
        ('"echo"', [("198.18.9.9", 53, b"0123456789")]),
        ('"silent"', []),
        ('{ text = "hi" }', [("198.18.9.9", 53, b"hi")]),
        ('{ hex = "00ff", from_port = 9 }', [("198.18.9.9", 9, b"\x00\xff")]),
        ('{ text = "", from_address = "198.18.7.7" }', [("198.18.7.7", 53, b"")]),
        ('{ text = "x", times = 3 }', [("198.18.9.9", 53, b"x")] * 3),
    ],
)
def test_a_port_answers_as_configured(answer, rows):
    back = played(world(host=f"udp = {{ 53 = {answer} }}"), probe())
    assert rows == [(each.src, each[UDP].sport, bytes(each[UDP].payload)) for each in back]


def test_the_narrowest_range_of_ports_wins():
    host = world(host='otherwise = "silent", udp = { "1-99" = "refuse", "53" = "echo" }')
    back = played(host, probe(port=52), probe(port=53), probe(port=100))
    assert ["198.18.9.9 3/3", "198.18.9.9 udp 53"] == [described(each) for each in back]


def test_a_host_with_a_whole_network_answers_from_the_requested_address():
    text = NARROW_BEFORE_A_ROUTER.replace('"198.18.9.9", "2001:db8:9::9"', '"198.18.9.0/24", "2001:db8:9::/64"')
    many = World(parse(text, "page"))
    asked = ["198.18.9.0", "198.18.9.77", "198.18.9.255"]
    assert [f"{each} 3/3" for each in asked] == [
        described(each) for each in played(many, *(probe(port=54, to=each) for each in asked))
    ]
    assert ["2001:db8:9::abcd 1/4"] == [described(each) for each in played(many, probe(6, 54, to="2001:db8:9::abcd"))]
    assert ["198.18.0.1 3/0"] == [described(each) for each in played(many, probe(port=54, to="198.18.10.1"))]


def test_a_late_answer_does_not_delay_others():
    slow = world(host='udp = { 53 = { text = "slow", delay_ms = 100 }, 54 = "echo" }')
    assert [(4, 54), (104, 53)] == [(at_ms, each[UDP].sport) for at_ms, each in times(slow, probe(), probe(port=54))]


NARROW_BEFORE_A_ROUTER = f"""
conclude = "nothing"
[nodes]
you = {{ address = ["198.18.0.2/24", "2001:db8::2/64"] }}
near = {{ address = ["198.18.0.1", "2001:db8::1"] }}
far = {{ address = ["198.18.1.1", "2001:db8:1::1"] }}
host = {{ address = ["198.18.9.9", "2001:db8:9::9"], udp = {{ 53 = {{ text = "{"x" * 1400}" }} }} }}
[links]
"you - near - far - host" = {{}}
"near - far" = {{ mtu = 1300 }}
"""


@BOTH
def test_a_host_learns_the_path_mtu_of_its_answers(family):
    """The first answer is lost, as on the real Internet; the second comes in fragments."""
    narrow = World(parse(NARROW_BEFORE_A_ROUTER, "page"))
    assert [] == played(narrow, probe(family))
    pieces = played(narrow, probe(family), at_ns=SECOND)
    assert {4: [1300, 148], 6: [1296, 208]}[family] == [len(bytes(each)) for each in pieces]
    if family == 4:
        assert {0} == {int(each.flags.DF) for each in pieces}


def test_a_forged_mtu_is_learned_only_with_a_correct_checksum_and_to_a_limit():
    host = world(host="udp = { 53 = { text = '" + "x" * 1000 + "' } }")
    wrong, right = (
        IP(src=YOU[4], dst=HOST[4])
        / ICMP(type=3, code=4, nexthopmtu=68, **checksum)
        / Raw(bytes(IP(src=HOST[4], dst=YOU[4]) / UDP()))
        for checksum in ({"chksum": 1}, {})
    )
    assert [1028] == [len(bytes(each)) for each in played(host, wrong, probe())]
    assert [548, 500] == [len(bytes(each)) for each in played(host, right, probe(), at_ns=SECOND)]


def test_the_programs_interface_has_the_mtu_of_its_link():
    text = NARROW_BEFORE_A_ROUTER.replace('"near - far" = { mtu = 1300 }', '"you > near" = { mtu = 1400 }')
    assert 1400 == parse(text, "page").mtu


@pytest.mark.parametrize(
    "spoilt",
    [
        IP(src=YOU[4], dst=HOST[4]) / UDP(dport=54, chksum=0x1234) / b"x",
        IP(src=YOU[4], dst=HOST[4]) / UDP(len=99),
        IP(src=YOU[4], dst=HOST[4]) / UDP(len=7),
        IP(src=YOU[4], dst=HOST[4], proto=17) / Raw(b"short"),
        IPv6(src=YOU[6], dst=HOST[6]) / UDP(dport=54, chksum=0) / b"x",
        IP(src=YOU[4], dst=HOST[4]) / ICMP(chksum=1),
        IP(src=YOU[4], dst=HOST[4], proto=1) / Raw(b"\x08"),
        IP(src=YOU[4], dst=HOST[4]) / TCP(flags="R"),
        IP(src=YOU[4], dst=HOST[4], proto=6) / Raw(b"short"),
    ],
)
def test_a_corrupt_message_is_dropped(spoilt):
    assert [] == played(world(), spoilt)


def test_an_ipv4_datagram_without_a_checksum_is_accepted():
    assert ["198.18.9.9 3/3"] == [
        described(each) for each in played(world(), IP(src=YOU[4], dst=HOST[4]) / UDP(chksum=0))
    ]


@BOTH
@pytest.mark.parametrize("to", ["host", "router"])
def test_pings_are_answered_with_their_payload(family, to):
    address = {"host": HOST, "router": {4: "198.18.0.1", 6: "2001:db8::1"}}[to][family]
    ping = (
        IP(src=YOU[4], dst=address) / ICMP(id=3, seq=4) / b"data"
        if family == 4
        else (IPv6(src=YOU[6], dst=address) / ICMPv6EchoRequest(id=3, seq=4, data=b"data"))
    )
    (reply,) = played(world(), ping)
    assert (address, b"\x00\x03\x00\x04data") == (reply.src, bytes(reply.payload)[4:])
    assert [] == played(world(router="ping = false", host="ping = false"), ping)


def test_an_answer_to_a_ping_has_its_type_of_service():
    for ping in (
        IP(src=YOU[4], dst=HOST[4], tos=0x29) / ICMP(),
        IPv6(src=YOU[6], dst=HOST[6], tc=0x29) / ICMPv6EchoRequest(),
    ):
        (reply,) = played(world(), ping)
        assert 0x29 == (reply.tos if reply.version == 4 else reply.tc)


@pytest.mark.parametrize(
    ("flags", "expected"), [("S", ("RA", 0, 101)), ("A", ("R", 500, 0)), ("FA", ("R", 500, 0)), ("F", ("RA", 0, 105))]
)
@BOTH
def test_tcp_is_reset(family, flags, expected):
    header = IP(src=YOU[4], dst=HOST[4]) if family == 4 else IPv6(src=YOU[6], dst=HOST[6])
    segment = TCP(sport=4000, dport=443, flags=flags, seq=100, ack=500) / Raw(b"data" if flags == "F" else b"")
    (reset,) = played(world(), header / segment)
    assert expected == (reset[TCP].flags, reset[TCP].seq, reset[TCP].ack)


@BOTH
def test_a_damaged_segment_is_dropped(family):
    header = IP(src=YOU[4], dst=HOST[4]) if family == 4 else IPv6(src=YOU[6], dst=HOST[6])
    assert [] == played(world(), header / TCP(chksum=1))


def test_ids_count_up_by_one_and_flow_labels_stay():
    back = played(world(), *(probe(port=port) for port in (1, 2, 3)))
    assert [0, 1, 2] == [(each.id - back[0].id) & 0xFFFF for each in back]
    labels = {each.fl for each in played(world(), *(probe(6, port=port) for port in (1, 2, 3)))}
    assert 1 == len(labels)
    assert 0 not in labels


@pytest.mark.parametrize(
    ("word", "expected"), [("unreachable", "198.18.0.1 3/1"), ("prohibit", "198.18.0.1 3/13"), ("blackhole", None)]
)
def test_a_route_may_lead_nowhere(word, expected):
    back = played(world(router=f'routes = {{ "198.18.9.0/24" = "{word}" }}'), probe())
    assert ([expected] if expected else []) == [described(each) for each in back]


def test_time_never_goes_backwards():
    here = World(page())
    assert 1 == len(played(here, probe(), at_ns=SECOND))
    here.receive(bytes(probe()), 0)
    assert here.next_ns >= SECOND


def sent(world, packet, now_ns=0):
    world.receive(bytes(packet), now_ns)
    return [IP(raw) if raw[0] >> 4 == 4 else IPv6(raw) for raw in world.due(now_ns + 10**9)]


def test_an_open_port_answers():
    (answer,) = sent(World(load("plain")), IP(src="198.18.0.2", dst="198.18.9.9") / UDP(sport=4000, dport=7) / b"hello")
    assert ("198.18.9.9", "198.18.0.2", 7, 4000, b"hello") == (
        answer.src,
        answer.dst,
        answer[UDP].sport,
        answer[UDP].dport,
        answer[UDP].load,
    )


@pytest.mark.parametrize(("ttl", "reporter"), [(1, "2001:db8::1"), (2, "2001:db8:1::1")])
def test_each_router_on_the_path_reports_an_expired_hop_limit(ttl, reporter):
    (error,) = sent(World(load("plain")), IPv6(src="2001:db8::2", dst="2001:db8:9::9", hlim=ttl) / UDP(dport=53))
    assert (reporter, True) == (error.src, ICMPv6TimeExceeded in error)


def test_a_closed_port_refuses():
    (error,) = sent(World(load("plain")), IP(src="198.18.0.2", dst="198.18.9.9") / UDP(dport=54))
    assert ("198.18.9.9", 3, 3) == (error.src, error[ICMP].type, error[ICMP].code)


def test_the_world_takes_the_requested_steps_and_then_resumes():
    packets = [bytes(IP(src="198.18.0.2", dst="198.18.9.9") / UDP(sport=4000 + n, dport=7) / b"x") for n in range(5)]
    whole, stepped = World(load("plain")), World(load("plain"))
    for each in (whole, stepped):
        for raw in packets:
            each.receive(raw, 0)
    parts = [stepped.due(10**9, most=3) for _ in range(20)]
    assert [] == parts[0]
    assert whole.due(10**9) == [raw for part in parts for raw in part]
    assert stepped.next_ns is None
