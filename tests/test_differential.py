"""The same packets in every container and every link layer give the same report and the same events."""

from __future__ import annotations

import gzip
import json

import builders as b
import containers as c
import pytest
import zstandard
from builders import CLIENT, PORT, ROUTER, TIME_EXCEEDED, error_about, expired, host, sent, with_refusal
from samples import parsed
from wraps import LINKS

from udpprobe.capture.inputs import Inputs
from udpprobe.commands.analyze import AnalyzeOptions, analyze
from udpprobe.reports.json import plain

RAW = 101
STEP_NS = 10**9 // 64
"""Exact in microseconds and in binary fractions of a second."""


def answered(n, family):
    return [sent(n, family), b.datagram(host(n, family), CLIENT[family], PORT, 40000 + n, b"answer")]


def labelled(n, family):
    structure = b.extension_structure(b.mpls_labels(16001))
    return expired(sent(n, family, ttl=3), lambda quote: b.padded(quote) + structure)


def too_big(n, family):
    packet = sent(n, family, size=1400)
    error = b.frag_needed if family == 4 else b.packet_too_big
    return [packet, error(packet, 1300, ROUTER[family])]


def fragmented(n, family):
    first, later = b.fragments(sent(n, family, size=1800), 1208)
    return [first, later, error_about(later, TIME_EXCEEDED, reporter=ROUTER[family])]


def conversations(family):
    """One of each kind; no two packets are alike."""
    rounds = [sent(7, family, ttl=ttl) for ttl in (64, 62, 60)]
    lone = error_about(sent(8, family))
    in_tunnel = [b.ip("10.0.0.1", "10.0.0.2", b.gre(packet), b.GRE) for packet in with_refusal(sent(9, family))]
    of_4 = in_tunnel if family == 4 else []
    return [
        *with_refusal(sent(1, family)),
        *with_refusal(sent(2, family), reporter=ROUTER[family]),
        *answered(3, family),
        sent(4, family),
        *labelled(5, family),
        *too_big(6, family),
        *rounds,
        lone,
        *fragmented(10, family),
        *of_4,
    ]


PACKETS = {
    families: [packet for family in families for packet in conversations(family)] for families in ((4, 6), (4,), (6,))
}


def frames_of(packets, wrap=lambda packet: packet):
    start_ns = 1_700_000_000 * 10**9
    return [c.Frame(start_ns + number * STEP_NS, wrap(packet)) for number, packet in enumerate(packets)]


def told_by(*files):
    """The report, but for what was read where, and every event."""
    events = []
    report = parsed(
        analyze(Inputs.of(*map(str, files)), AnalyzeOptions(all_destinations=True), on_events=events.extend)
    )
    for name in ("name", "link_types", "bytes"):
        del report["source"][name]
    return report, [plain(event) for event in events]


def told_of(data, tmp_path):
    file = tmp_path / "capture"
    file.write_bytes(data)
    return told_by(file)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """What raw IP in a plain pcap file tells, by the families in it."""
    folder = tmp_path_factory.mktemp("reference")
    return {
        families: told_of(c.bytes_of_pcap(frames_of(packets), link_type=RAW), folder)
        for families, packets in PACKETS.items()
    }


def test_the_reference_capture_covers_every_case(reference):
    report, events = reference[4, 6]
    assert {"refused", "rejected", "too-big", "loop", "expired", "answered", "silent"} == {
        each["verdict"] for each in report["destinations"]
    }
    assert {"exact", "none"} == {event["match"] for event in events}
    assert 2 == len(report["unmatched"])
    assert 2 == len([event for event in events if event["extensions"]])
    assert {} == report["faults"]


# ---- link layers


@pytest.mark.parametrize("name", LINKS)
def test_every_link_layer_gives_the_same_report(name, reference, tmp_path):
    link_type, families, wrap = LINKS[name]
    data = c.bytes_of_pcap(frames_of(PACKETS[families], wrap), link_type=link_type)
    assert reference[families] == told_of(data, tmp_path)


# ---- containers


def in_sections(frames, link_type):
    """A section a frame: byte orders, clocks and packet blocks take turns; unknown blocks between."""
    parts = []
    for number, frame in enumerate(frames):
        order, resolution, packet = "<>"[number % 2], (None, 9, 0x80 | 30)[number % 3], (c.enhanced, c.old)[number % 2]
        parts += [
            c.section(order),
            c.interface(order, 0),
            c.block(c.NAMES, b"\0" * 4, order),
            c.interface(order, link_type, resolution=resolution),
            c.block(c.UNKNOWN, b"???", order),
            packet(frame, order, 1, resolution=resolution),
            c.statistics(order),
        ]
    return b"".join(parts)


def pcapng(**fields):
    return lambda frames: c.bytes_of_pcapng(frames, link_type=RAW, **fields)


def pcap(**fields):
    return lambda frames: c.bytes_of_pcap(frames, link_type=RAW, **fields)


CONTAINERS = {
    **{
        f"pcap {order} {'ns' if nanos else 'us'}": pcap(order=order, nanos=nanos)
        for order in "<>"
        for nanos in (False, True)
    },
    **{f"modified pcap {order}": pcap(order=order, modified=True) for order in "<>"},
    **{
        f"pcapng {order} {resolution}": pcapng(order=order, resolution=resolution)
        for order in "<>"
        for resolution in (None, 6, 9, 0x80 | 6, 0x80 | 30, 0x80 | 33)
    },
    "pcapng with offset": pcapng(offset_s=1_600_000_000),
    "pcapng with picoseconds": pcapng(offset_s=1_700_000_000, resolution=12),
    "pcapng old": pcapng(packet=c.old),
    "pcapng old >": pcapng(order=">", packet=c.old),
    "pcapng sections": lambda frames: in_sections(frames, RAW),
    "pcap in gzip": lambda frames: gzip.compress(pcap()(frames)),
    "pcapng in gzip": lambda frames: gzip.compress(pcapng()(frames)),
    "pcap in zstd": lambda frames: zstandard.compress(pcap()(frames)),
    "pcapng in zstd": lambda frames: zstandard.compress(pcapng()(frames)),
    "two gzip members": lambda frames: b"".join(map(gzip.compress, halves(pcap()(frames)))),
    "two zstd frames": lambda frames: b"".join(map(zstandard.compress, halves(pcap()(frames)))),
}


def halves(data):
    return data[: len(data) // 2], data[len(data) // 2 :]


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_container_gives_the_same_report(name, reference, tmp_path):
    assert reference[4, 6] == told_of(CONTAINERS[name](frames_of(PACKETS[4, 6])), tmp_path)


@pytest.mark.parametrize("order", "<>")
def test_simple_packet_blocks_give_the_same_report_except_for_times(order, reference, tmp_path):
    data = c.bytes_of_pcapng(frames_of(PACKETS[4, 6]), order=order, link_type=RAW, packet=c.simple)
    assert timeless(reference[4, 6]) == timeless(told_of(data, tmp_path))


TIMES = {"time", "first_time", "last_time", "rtt_ms", "sent", "sent_bytes"}
"""What times say, or decide: whether a datagram was sent again or is a copy of the one before."""


def timeless(told):
    """Without times; where they decided on an order, in any order."""
    if isinstance(told, dict):
        return {key: timeless(value) for key, value in told.items() if key not in TIMES}
    return sorted(map(timeless, told), key=json.dumps) if isinstance(told, (list, tuple)) else told


@pytest.mark.parametrize("name", ["qinq", "sll2", "null big 24", "ppp"])
def test_containers_and_link_layers_are_independent(name, reference, tmp_path):
    link_type, families, wrap = LINKS[name]
    assert reference[families] == told_of(in_sections(frames_of(PACKETS[families], wrap), link_type), tmp_path)


def test_several_files_are_one_capture(reference, tmp_path):
    frames = frames_of(PACKETS[4, 6])
    files = tmp_path / "one", tmp_path / "other", tmp_path / "third"
    files[0].write_bytes(c.bytes_of_pcap(frames[::3], link_type=RAW))
    files[1].write_bytes(gzip.compress(c.bytes_of_pcapng(frames[1::3], link_type=RAW, resolution=9)))
    files[2].write_bytes(c.bytes_of_pcap(frames[2::3], link_type=RAW, nanos=True, order=">"))
    assert reference[4, 6] == told_by(*files) == told_by(*files[::-1])


def test_several_link_layers_are_one_capture(reference, tmp_path):
    wraps = [LINKS[name] for name in ("qinq", "sll", "null little 30")]
    frames = frames_of(PACKETS[4, 6])
    files = [tmp_path / str(link_type) for link_type, _, _ in wraps]
    for number, (file, (link_type, _, wrap)) in enumerate(zip(files, wraps, strict=True)):
        some = [frame._replace(data=wrap(frame.data)) for frame in frames[number::3]]
        file.write_bytes(c.bytes_of_pcap(some, link_type=link_type))
    report, events = told_by(*files)
    expected, expected_events = reference[4, 6]
    assert (without_loops_in_sight(expected), expected_events) == (without_loops_in_sight(report), events)


def without_loops_in_sight(report):
    """A datagram passes another link when it is seen there; that is no evidence of a loop."""
    kept = [each for each in report["destinations"] if not each["address"].endswith(("100.7", "1::7"))]
    return report | {"destinations": kept}
