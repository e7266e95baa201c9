"""pcapng: sections, interfaces, clocks, every packet block, and blocks that are not as they should be."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
import subprocess
import sys
import tracemalloc

import containers as c
import pytest
from containers import read, rows_from

from udpprobe.capture.files import Arrival, CaptureFile
from udpprobe.core import is_compiled
from udpprobe.core.analyzer import Analyzer

FRAMES = [
    c.Frame(c.START_NS + number * 1_001_000, bytes([number]) * (number * 7 % 90), 100 + number) for number in range(40)
]
ONE = c.Frame(c.START_NS, b"one frame")


@pytest.mark.parametrize(("order", "packet"), [*itertools.product("<>", (c.enhanced, c.old))])
def test_packets_of_either_byte_order_are_read(order, packet):
    rows, state = read(c.bytes_of_pcapng(FRAMES, order=order, packet=packet, link_type=113))

    assert rows_from(FRAMES, 113) == rows
    assert (False, None, {}) == (state.cut_short, state.dropped, dict(state.faults))


@pytest.mark.parametrize("order", "<>")
def test_sections_may_differ_in_byte_order_clock_and_blocks(order):
    rows, state = read(c.bytes_in_sections(FRAMES) + c.bytes_of_pcapng([], order=order))

    assert [row.data for row in rows_from(FRAMES)] == [row.data for row in rows]
    assert {c.ETHERNET} == {row.link_type for row in rows}
    # two to the power of -30 is not exact, but better than a nanosecond
    assert all(abs(row.time_ns - frame.time_ns) <= 1 for row, frame in zip(rows, FRAMES, strict=True))
    assert {} == dict(state.faults)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize(
    ("resolution", "unit_ns"), [(None, 1000), (0, 10**9), (3, 10**6), (6, 1000), (9, 1), (0x80, 10**9)]
)
def test_clocks_of_every_resolution_are_read(order, resolution, unit_ns):
    rows, _ = read(c.bytes_of_pcapng(FRAMES[:3], order=order, resolution=resolution))

    assert rows_from(FRAMES[:3], unit_ns=unit_ns) == rows


@pytest.mark.parametrize("resolution", [0x80 | power for power in (10, 20, 30, 33, 34)] + [12, 127, 0xFF])
def test_clocks_are_converted_like_whole_numbers(resolution):
    ticks, exponent = 0x0123_4567_89AB_CDEF, resolution & 0x7F
    per_second = 2**exponent if resolution & 0x80 else 10**exponent
    packet = struct.pack("<5I", 0, ticks >> 32, ticks & 0xFFFF_FFFF, 0, 0)
    rows, _ = read(c.section() + c.interface(resolution=resolution) + c.block(c.ENHANCED_PACKET, packet))
    exact = ticks * 10**9 // per_second

    assert exact % 2**64 == rows[0].time_ns % 2**64


@pytest.mark.parametrize("offset_s", [3600, -3600, 1 << 62])
def test_an_offset_is_added_to_a_clock(offset_s):
    frame = c.Frame(10**15, b"x")
    data = c.section() + c.interface(offset_s=offset_s) + c.enhanced(frame)

    assert (frame.time_ns + offset_s * 10**9) % 2**64 == read(data)[0][0].time_ns % 2**64


def test_simple_packets_have_the_time_of_the_packet_before_and_the_first_interfaces_snap_length():
    data = (
        c.section()
        + c.interface(snap=5)
        + c.interface(link_type=113)
        + c.simple(c.Frame(0, b"12345", 900))
        + c.enhanced(ONE, number=1)
        + c.simple(c.Frame(0, b"abc"))
        + c.simple(c.Frame(0, b"12345678", 8))
    )

    assert [
        (0, b"12345", 900, 1),
        (ONE.time_ns, ONE.data, 9, 113),
        (ONE.time_ns, b"abc", 3, 1),
        (ONE.time_ns, b"12345", 8, 1),
    ] == [row[1:] for row in read(data)[0]]


def test_interfaces_of_a_section_have_their_own_link_types_and_clocks():
    data = (
        c.section()
        + c.interface(link_type=1)
        + c.interface(link_type=113, resolution=9)
        + c.enhanced(ONE)
        + c.interface(link_type=228, resolution=0x80 | 10)
        + c.enhanced(ONE, number=1, resolution=9)
        + c.enhanced(c.Frame(5 * 10**9, b""), number=2, resolution=0x80 | 10)
    )
    rows, _ = read(data)

    assert [1, 113, 228] == [row.link_type for row in rows]
    assert [ONE.time_ns, ONE.time_ns, 5 * 10**9] == [row.time_ns for row in rows]


def test_a_packet_of_an_interface_that_is_declared_only_later_is_a_fault():
    data = c.section() + c.enhanced(ONE) + c.interface() + c.enhanced(ONE) + c.enhanced(ONE, number=7)
    rows, state = read(data)

    assert rows_from([ONE]) == rows
    assert {"no-interface": 2} == dict(state.faults)


def test_drops_are_the_last_count_of_each_interface_in_each_section():
    part = (
        c.interface()
        + c.interface()
        + c.statistics(number=0, drops=3)
        + c.statistics(number=1, system_drops=10)
        + c.statistics(number=0, drops=5, system_drops=1)
        + c.statistics(number=1)
    )

    assert 16 == read(c.section() + part)[1].dropped
    assert 32 == read(c.section() + part + c.section() + part)[1].dropped
    assert None is read(c.section() + c.interface() + c.statistics())[1].dropped


def test_truncated_options_are_ignored():
    torn = struct.pack("<H2xI", 1, 0) + struct.pack("<2H", c.TIME_RESOLUTION, 9999) + b"\x09"
    rows, _ = read(c.section() + c.block(c.INTERFACE, torn) + c.enhanced(ONE))

    assert rows_from([ONE]) == rows


def test_a_truncated_interface_block_keeps_its_number():
    data = c.section() + c.block(c.INTERFACE, b"") + c.interface(link_type=113) + c.enhanced(ONE, number=1)
    rows, state = read(data)

    assert [113] == [row.link_type for row in rows]
    assert {"bad-block": 1} == dict(state.faults)


def test_a_trailing_length_that_differs_is_counted_and_the_packet_kept():
    lie = c.enhanced(ONE)[:-4] + b"\x07\0\0\0"
    rows, state = read(c.section() + c.interface() + c.enhanced(ONE) + lie + c.enhanced(ONE))

    assert rows_from([ONE] * 3) == rows
    assert (False, {"bad-block": 1}) == (state.cut_short, dict(state.faults))


@pytest.mark.parametrize("length", [0, 4, 11, (16 << 20) + 1, 0xFFFF_FFFF])
def test_an_absurd_block_length_ends_reading(length):
    bad = struct.pack("<2I", c.ENHANCED_PACKET, length) + bytes(100)
    rows, state = read(c.bytes_of_pcapng(FRAMES) + bad)

    assert rows_from(FRAMES) == rows
    assert (True, {"bad-block": 1}) == (state.cut_short, dict(state.faults))


def test_a_captured_length_beyond_its_block_is_cut_and_counted():
    body = struct.pack("<5I", 0, 0, 0, 500, 600) + b"only this"
    rows, state = read(c.section() + c.interface() + c.block(c.ENHANCED_PACKET, body) + c.enhanced(ONE))

    assert [b"only this\0\0\0", ONE.data] == [row.data for row in rows]
    assert {"bad-block": 1} == dict(state.faults)


def test_a_packet_block_without_room_for_its_header_is_a_fault():
    data = c.section() + c.interface() + c.block(c.ENHANCED_PACKET, bytes(16)) + c.enhanced(ONE)
    rows, state = read(data)

    assert rows_from([ONE]) == rows
    assert {"bad-block": 1} == dict(state.faults)


def test_a_block_whose_length_is_no_multiple_of_four_is_padded():
    odd = struct.pack("<2I5I", c.ENHANCED_PACKET, 37, 0, 0, 0, 5, 5) + b"12345\0\0\0" + struct.pack("<I", 37)
    rows, state = read(c.section() + c.interface() + odd + c.enhanced(ONE))

    assert [b"12345", ONE.data] == [row.data for row in rows]
    assert {} == dict(state.faults)


def test_a_section_header_without_a_byte_order_ends_reading():
    bad = c.block(c.SECTION, struct.pack("<IHHq", 0x11223344, 1, 0, -1))
    rows, state = read(c.bytes_of_pcapng([ONE]) + bad + c.bytes_of_pcapng([ONE]))

    assert rows_from([ONE]) == rows
    assert (True, {"bad-block": 1}) == (state.cut_short, dict(state.faults))


def test_a_cut_at_every_byte_gives_the_rows_before_it():
    parts = [
        c.section(),
        c.interface(),
        c.enhanced(ONE),
        c.statistics(drops=1),
        c.section(">"),
        c.interface(">"),
        c.enhanced(ONE, ">"),
    ]
    data, bounds = b"".join(parts), [sum(map(len, parts[:count])) for count in range(len(parts) + 1)]

    for cut in range(28, len(data)):
        rows, state = read(data[:cut])
        assert [ONE.data] * sum(bounds[index] <= cut for index in (3, 7)) == [row.data for row in rows]
        assert (cut not in bounds) == state.cut_short


def test_interfaces_are_not_declared_without_bound():
    packets = c.enhanced(ONE, number=65_535) + c.enhanced(ONE, number=65_536)
    rows, state = read(c.section() + c.interface() * 100_000 + packets)

    assert 1 == len(rows)
    assert {"bad-block": 100_000 - 65_536, "no-interface": 1} == dict(state.faults)


@pytest.mark.skipif(not is_compiled(), reason="interpreted, each takes calls")
@pytest.mark.parametrize(
    "unit",
    [
        struct.pack("<4I", 1, 1, 0, 0),
        struct.pack("<4I", 1, 1, 1, 1) + b"x",
        c.section(),
        c.section() + c.interface(),
        c.interface(),
        c.simple(c.Frame(0, b"")),
        c.enhanced(c.Frame(c.START_NS, b"")),
        c.block(c.UNKNOWN, b""),
    ],
    ids=[
        "empty-record",
        "tiny-record",
        "section",
        "section-and-interface",
        "interface",
        "simple",
        "enhanced",
        "unknown",
    ],
)
def test_empty_blocks_cost_neither_calls_nor_memory(unit):
    """A call of Python's each made a GiB of sections 69 s, and of empty records a minute."""
    head = c.bytes_of_pcap([]) if len(unit) < 20 and unit[:2] == b"\1\0" else c.section() + c.interface()
    costs = [cost_of(head + unit * count) for count in (1_000, 30_000)]
    assert costs[1][0] - costs[0][0] < 1_000
    assert costs[1][1] - costs[0][1] < 1 << 21  # of interfaces up to 65,536 are remembered


def cost_of(data):
    """Calls of Python's that it takes to decode a capture, and bytes of memory at most."""
    analyzer, calls, fd = Analyzer(7), 0, os.memfd_create("capture")

    def count(_frame, event, _what):
        nonlocal calls
        calls += event in {"call", "c_call"}

    os.write(fd, data)
    file = CaptureFile(f"/proc/self/fd/{fd}")
    tracemalloc.start()
    sys.setprofile(count)
    try:
        while file.fill() is not Arrival.END:
            analyzer.feed(file.records)
        analyzer.finish()
        return calls, tracemalloc.get_traced_memory()[1]
    finally:
        sys.setprofile(None)
        tracemalloc.stop()
        file.close()
        os.close(fd)


def test_many_short_sections_take_linear_time():
    data = (c.section() + c.interface() + c.enhanced(ONE) * 70) * 2000
    rows, _ = read(data)

    assert 140_000 == len(rows)


@pytest.mark.skipif(not shutil.which("tshark"), reason="tshark is not installed")
def test_frames_are_numbered_as_in_wireshark(tmp_path):
    path = tmp_path / "numbers.pcapng"
    custom = c.block(c.CUSTOM, struct.pack("<I", 32473) + b"hello")
    journal = c.block(9, b"__REALTIME_TIMESTAMP=1000000\nMESSAGE=hi\n")
    path.write_bytes(
        c.section()
        + c.interface()
        + c.enhanced(ONE)
        + custom
        + c.block(c.UNKNOWN, b"")
        + c.enhanced(ONE)
        + c.statistics()
        + journal
        + c.simple(ONE)
    )
    fields = ["-T", "fields", "-e", "frame.number", "-e", "frame.cap_len"]
    told = subprocess.run(["tshark", "-nr", path, *fields], capture_output=True, text=True, check=True).stdout
    numbers = [int(line.split()[0]) for line in told.splitlines() if line.split()[1] == str(len(ONE.data))]

    assert numbers == [row.frame for row in read(path.read_bytes())[0]]
