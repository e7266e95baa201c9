"""The ordinary refusals of a block, taken at once, against the same frames taken one by one."""

from __future__ import annotations

from array import array
from functools import partial
from itertools import groupby, pairwise

import builders as b
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from ring_blocks import Packet, block
from scan_setup import (
    BARE,
    EMPTY,
    HEADER,
    HOST,
    LONG,
    MS,
    OTHER_HOST,
    OWN,
    RAW,
    SHORT_TOKEN,
    START_NS,
    WHOLE_TOKEN,
    Scan,
    plan_of,
    with_proof,
    with_udp,
    wrong_proof,
)
from waiting import state_behind_start

from udpprobe.core import is_compiled
from udpprobe.core.capture import BLOCKS, FRAME, Records
from udpprobe.core.model import Alike, Report, SourceReport
from udpprobe.core.sweep import divided, runs
from udpprobe.reports.json import destination_lines, report_json, report_ndjson
from udpprobe.scanning.outcome import destination_of, outcome, settled_rows

PORTS = (7, 53, 54, 55, 1000)
ROUTER = {4: "203.0.113.1", 6: "2001:db8:ff::1"}
US = 1000


def scan_of(family, payload=(WHOLE_TOKEN, LONG), **fields):
    pairs = [(host[family], port) for host in (HOST, OTHER_HOST) for port in PORTS]
    return Scan(plan=plan_of(*pairs, payload=payload, source_ports=4, **fields))


def swept_up(scan, packets, times_ns):
    """Have a sweep take what it can, and the rest one by one; how many it took."""
    sweep, rest = scan.replies.sweep(), []
    sizes = range(0, len(packets), 3)  # several blocks
    records = Records(BLOCKS, capacity=1)
    for at in sizes:
        some = [
            Packet(packet, time_ns, cut)
            for (packet, cut), time_ns in zip(packets[at : at + 3], times_ns[at : at + 3], strict=True)
        ]
        rest += sweep.take(records, block(some), START_NS, is_first=not rest)
    scan.pacing.take_over(sweep)
    take_rest(scan, rest)
    return sweep.count


def one_by_one(scan, packets, times_ns):
    records = Records(BLOCKS, capacity=1)
    records.take_block(
        made := block([Packet(packet, time_ns, cut) for (packet, cut), time_ns in zip(packets, times_ns, strict=True)])
    )
    heard = []
    while records.next() == FRAME:
        heard.append((records.time_ns, made[records.at : records.at + records.captured], records.length, RAW))
    take_rest(scan, heard)


def take_rest(scan, heard):
    for number, (time_ns, data, length, link_type) in enumerate(sorted(heard, key=lambda each: each[0]), 1):
        scan.replies.packets(scan.decoder.packets(data, length, time_ns, link_type, number))


def story(scan):
    pacing, replies = scan.pacing, scan.replies
    return {
        "rows": outcome(scan.known),
        "foreign": replies.foreign,
        "forged": replies.forged(),
        "odd": scan.record.header_traits.notes(),
        "faults": scan.decoder.counted_faults(),
        "states": list(pacing.state.values),
        "undecided_of": list(pacing.state.undecided_of),
        "undecided": pacing.state.undecided,
        "drew_error": list(pacing.drew_error),
        "refusals": list(pacing.refusal_count),
        "rtts": list(pacing.rtt_ns),
        "hits": list(pacing.hit_ns),
        "has_reply": list(scan.record.has_reply),
    }


# ---- what may come for a probe


def flipped(packet, at):
    at %= len(packet)
    return packet[:at] + bytes([packet[at] ^ 1 << at % 8]) + packet[at + 1 :]


def with_source(packet, source):
    at = {4: 12, 6: 8}[b.family_of(packet)]
    return packet[:at] + b.packed(source) + packet[at + len(b.packed(source)) :]


def tunnelled(packet):
    return b.ip(*(ROUTER[b.family_of(packet)],) * 2, b.gre(packet), b.GRE)


def refused_with(alter):
    return lambda probe, number: b.port_unreachable(probe, quote=alter(probe, HEADER[b.family_of(probe)], number))


HAPPENS = {
    "refused": lambda probe, _: b.port_unreachable(probe),
    "refused from afar": lambda probe, number: b.port_unreachable(
        probe, **{{4: "ttl", 6: "hop_limit"}[b.family_of(probe)]: 40 + number % 20}
    ),
    "as the router saw it": refused_with(lambda probe, _, number: b.forwarded(probe, 1 + number % 60)),
    "eight bytes of UDP": refused_with(lambda probe, header, _: probe[:header]),
    "some of the payload": refused_with(lambda probe, header, number: probe[: header + number % 30]),
    "less than a header": refused_with(lambda probe, header, number: probe[: header - 8 + number % 8]),
    "padded": refused_with(lambda probe, header, number: probe[: header + number % 9] + bytes(90)),
    "forged proof": refused_with(lambda probe, *_: wrong_proof(probe)),
    "no proof": refused_with(lambda probe, *_: with_proof(probe, bytes(2))),
    "forged checksum": refused_with(lambda probe, *_: with_udp(probe, 6, b"\x12\x34")),
    "forged payload": refused_with(lambda probe, header, number: flipped(probe, header + number % 20)),
    "a bit of the quote": refused_with(lambda probe, _, number: flipped(probe, number)),
    "behind a NAT": refused_with(lambda probe, *_: with_source(probe, ROUTER[b.family_of(probe)])),
    "from our other address": refused_with(lambda probe, *_: with_source(probe, OWN[b.family_of(probe)][1])),
    "another port of ours": refused_with(lambda probe, *_: flipped(probe, HEADER[b.family_of(probe)] - 7)),
    "a bit of it all": lambda probe, number: flipped(b.port_unreachable(probe), number),
    "cut": lambda probe, number: b.port_unreachable(probe)[: 20 + number % 60],
    "rejected": lambda probe, _: b.port_unreachable(probe, ROUTER[b.family_of(probe)]),
    "expired": lambda probe, _: b.time_exceeded(probe, ROUTER[b.family_of(probe)]),
    "prohibited": lambda probe, _: b.error(probe, *{4: (3, 13), 6: (1, 1)}[b.family_of(probe)]),
    "too big": lambda probe, _: b.frag_needed(probe, 500) if b.family_of(probe) == 4 else b.packet_too_big(probe, 1280),
    "bad ICMP checksum": lambda probe, _: b.port_unreachable(probe, checksum=1),
    "in a tunnel": lambda probe, _: tunnelled(b.port_unreachable(probe)),
    "about a tunnel": refused_with(lambda probe, *_: tunnelled(probe)),
    "answered": lambda probe, _: b.datagram(*reversed(b.ends(probe)), *reversed(ports_of(probe)), b"answer"),
    "itself": lambda probe, _: probe,
}


def ports_of(packet):
    at = HEADER[b.family_of(packet)] - 8
    return int.from_bytes(packet[at : at + 2]), int.from_bytes(packet[at + 2 : at + 4])


happenings = st.lists(
    st.tuples(
        st.integers(0, 2 * len(PORTS) + 1),  # a task; the last two are the hosts' controls
        st.sampled_from(["refused", "refused", *HAPPENS]),
        st.integers(0, 200),
        st.sampled_from((1, 5 * US, 300 * US, MS)),
        st.sampled_from((0, 0, 0, 0, 9)),
        st.booleans(),
    ),
    max_size=20,
)
payloads = st.sampled_from(((WHOLE_TOKEN,), (LONG, WHOLE_TOKEN), (EMPTY,), (SHORT_TOKEN, BARE)))


@given(st.sampled_from((4, 6)), payloads, st.lists(st.integers(0, 11), max_size=3), happenings)
def test_a_sweep_finds_the_same_as_looking_at_each_frame(family, payload, asked_again, some):
    scans = [scan_of(family, payload) for _ in range(2)]
    probes = [[scan.send(task, task % 2) for task in range(len(scan.plan))] for scan in scans]
    for scan, sent in zip(scans, probes, strict=True):
        for task in asked_again:
            sent[task] = scan.send(task)
    assert probes[0] == probes[1]
    packets, times_ns, now_ns = [], [], START_NS + MS
    for task, what, number, pause_ns, cut, twice in some:
        for _ in range(1 + twice):
            now_ns += pause_ns
            packets.append((HAPPENS[what](probes[0][task], number), cut))
            times_ns.append(now_ns)
    one_by_one(scans[0], packets, times_ns)
    swept_up(scans[1], packets, times_ns)
    assert story(scans[0]) == story(scans[1])


@pytest.mark.parametrize("family", [4, 6])
def test_many_refusals_are_taken_at_once(family):
    scan = scan_of(family)
    packets = [(b.port_unreachable(scan.send(task)), 0) for task in range(len(scan.plan))]
    assert len(packets) == swept_up(scan, packets, [START_NS + MS + n for n in range(len(packets))])
    assert {"refused"} == {row.verdict for row in outcome(scan.known).values()}
    assert scan.pacing.state.undecided == 0


@pytest.mark.skipif(not is_compiled(), reason="the interpreter holds its lock")
def test_the_next_probes_can_be_sent_while_refusals_are_taken():
    """The sender is a thread: if a sweep held the GIL, the two would take turns."""
    scan, seen = Scan(ports=range(1, 4001)), []
    errors = block([Packet(b.port_unreachable(scan.send(task)), START_NS + MS, 0) for task in range(4000)])
    for _ in range(10):
        again = Scan(plan=scan.plan)
        sweep, records = again.replies.sweep(), Records(BLOCKS, capacity=1)
        seen.append(state_behind_start(partial(sweep.take, records, errors, START_NS, is_first=True)))
        assert sweep.count == 4000
    assert seen.count(["begun"]) > len(seen) / 2


@pytest.mark.parametrize(
    "what",
    sorted(
        set(HAPPENS)
        - {
            "refused",
            "refused from afar",
            "as the router saw it",
            "some of the payload",
            "padded",
            "eight bytes of UDP",
            "a bit of it all",
        }
    ),
)
@pytest.mark.parametrize("family", [4, 6])
def test_unusual_frames_are_left_to_the_slow_path(family, what):
    scan = scan_of(family)
    error = HAPPENS[what](scan.send(0), 3)
    assert 0 == swept_up(scan, [(error, 0)], [START_NS + MS])


@pytest.mark.parametrize("family", [4, 6])
def test_after_a_miss_short_quotes_are_left_to_the_slow_path(family):
    """Of 28 bytes a guess may hit; each miss takes from what a hit proves, and is counted where frames are looked at."""
    scan = scan_of(family, payload=EMPTY)
    quotes = [(b.port_unreachable(probe := scan.send(task), quote=probe[: HEADER[family]]), 0) for task in range(3)]
    packets = [quotes[0], (b.port_unreachable(scan.send(3), quote=b"\x45" + bytes(40)), 0), *quotes[1:]]
    assert 1 == swept_up(scan, packets, [START_NS + MS + n for n in range(4)])
    assert {"refused"} == {
        row.verdict for row in outcome(scan.known).values() if row.port in PORTS[:3] and row.address == HOST[family]
    }


@pytest.mark.parametrize("family", [4, 6])
def test_frames_of_a_watched_host_are_left_to_the_slow_path(family):
    scan = scan_of(family)
    packets = [(b.port_unreachable(scan.send(task)), 0) for task in (0, len(PORTS))]
    scan.pacing.watched[0] = 1
    assert 1 == swept_up(scan, packets, [START_NS + MS, START_NS + 2 * MS])
    assert [1, 1] == list(scan.pacing.refusal_count)


# ---- rows of a crowd


def mostly_refused(family):
    """A scan and what comes back: a refusal of each probe, but a router's error about one and an answer to another."""
    scan = scan_of(family)
    probes = [scan.send(task) for task in range(len(scan.plan))]
    errors = [b.port_unreachable(probe) for probe in probes]
    errors[3] = b.port_unreachable(probes[3], ROUTER[family])
    errors[5] = b.datagram(*reversed(b.ends(probes[5])), *reversed(ports_of(probes[5])), b"answer")
    return scan, errors


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), unique_by=lambda pair: pair[0]))
def test_tasks_are_divided_by_marks_and_into_runs(pairs):
    tasks, marks = array("I", [task for task, _ in pairs]), bytearray(10)
    for task, mark in pairs:
        marks[task] = mark
    assert [[t for t, mark in pairs if mark], [t for t, mark in pairs if not mark]] == list(
        map(list, divided(tasks, marks))
    )
    values = bytes(mark for _, mark in pairs)
    assert [len(list(run)) for _, run in groupby(values)] == [
        end - begin for begin, end in pairwise([0, *runs(values)])
    ]


@pytest.mark.parametrize("family", [4, 6])
def test_a_row_made_in_bulk_equals_one_made_singly(family):
    scan, errors = mostly_refused(family)
    took_ns = [0, 1, 12, 999, 1000, 10 * US, 999_999, MS, MS + 1, 10 * MS, 123_456_789, 4 * 10**9]
    swept_up(scan, [(error, 0) for error in errors], [START_NS + each for each in took_ns])
    found = outcome(scan.known)
    rows = [destination_of(scan.known, task) for task in found]
    assert rows == list(found.rows()) == [found.rows()[at] for at in range(len(found))] == list(found.values())
    assert sum(isinstance(part, Alike) for part in found.rows().parts()) > 0
    source = SourceReport("probe", "any", (), 0, 0, None, None, 0, cut_short=False)
    plain, compact = (Report("scan", "0", source, told, ()) for told in (rows, found.rows()))
    assert "".join(report_json(plain)) == "".join(report_json(compact))
    assert "".join(report_ndjson(plain)) == "".join(report_ndjson(compact))
    assert all(rows[count:] == list(found.rows().after(count)) for count in (0, 1, len(rows) - 1, len(rows)))


@pytest.mark.parametrize("family", [4, 6])
def test_lines_of_settled_rows_equal_those_of_single_destinations(family):
    scan, errors = mostly_refused(family)
    swept_up(scan, [(error, 0) for error in errors], [START_NS + MS + n for n in range(len(errors))])
    for tasks in ([0, 1, 2, 4, 6, 7, 8, 9, 3, 5], [5, 9, 8, 7, 6, 4, 2, 1, 0], [0, 3, 1, 5, 2], [4]):
        for notes in ({}, {8: "a note"}):
            known = replace(scan.known, notes=(notes,))
            plain, compact = [destination_of(known, task) for task in tasks], settled_rows(known, tasks)
            assert plain == list(compact) == [compact[at] for at in range(len(tasks))]
            assert destination_lines(plain) == destination_lines(compact)
            is_crowd = len(tasks) > 8 and not notes
            assert is_crowd == any(isinstance(part, Alike) for part in compact.parts())


def test_rows_are_reported_in_the_order_they_settled():
    scan = scan_of(4)
    packets = [(b.port_unreachable(scan.send(task)), 0) for task in range(len(scan.plan))]
    swept_up(scan, packets, [START_NS + MS + n for n in range(len(packets))])
    found = outcome(scan.known)
    assert [6, 3, *(task for task in found if task not in {6, 3})] == list(found.beginning_with([6, 3]))
