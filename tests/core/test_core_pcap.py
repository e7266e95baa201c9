"""Classic pcap in every variant, whole and torn."""

from __future__ import annotations

import itertools
import struct

import containers as c
import pytest
from containers import Row, plain_pcap, read, rows_from

FRAMES = [
    c.Frame(c.START_NS + number * 1_000_003, bytes([number]) * (number * 7 % 90), 100 + number) for number in range(40)
]

VARIANTS = [
    {"order": order, **rest} for order, rest in itertools.product("<>", ({}, {"nanos": True}, {"modified": True}))
]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_is_read(variant):
    rows, state = read(c.bytes_of_pcap(FRAMES, link_type=113, **variant))

    assert rows_from(FRAMES, 113, 1 if variant.get("nanos") else 1000) == rows
    assert (False, None, {}) == (state.cut_short, state.dropped, dict(state.faults))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cut_at_every_byte_gives_the_rows_before_it(variant):
    data = c.bytes_of_pcap(FRAMES[:6], **variant)
    whole, _ = read(data)
    ends = [len(c.bytes_of_pcap(FRAMES[:count], **variant)) for count in range(7)]

    for cut in range(24, len(data)):
        rows, state = read(data[:cut])
        assert whole[: sum(end <= cut for end in ends) - 1] == rows
        assert (cut not in ends) == state.cut_short


def test_the_link_type_is_read_without_the_fcs_bits():
    rows, _ = read(c.bytes_of_pcap(FRAMES[:1], link_type=0x2400_0001))

    assert [1] == [row.link_type for row in rows]


def test_a_wrong_snap_length_does_not_hide_records():
    frames = [c.Frame(c.START_NS, bytes(size)) for size in [300, 70_000, 5, 255, 256] * 60]
    rows, state = read(c.bytes_of_pcap(frames, snap=64))

    assert rows_from(frames, unit_ns=1000) == rows
    assert not state.cut_short


def test_a_fraction_above_a_second_is_added_as_is():
    record = struct.pack("<4I", 10, 2_500_000, 1, 1) + b"x"
    rows, _ = read(c.pcap_header() + record)

    assert [Row(1, 12_500_000_000, b"x", 1, 1)] == rows


@pytest.mark.parametrize("captured", [262_145, 0x8000_0000, 0xFFFF_FFFF])
def test_an_absurd_length_ends_reading(captured):
    bad = struct.pack("<4I", 1, 1, captured, 60)
    rows, state = read(c.bytes_of_pcap(FRAMES) + bad + bytes(300_000))

    assert rows_from(FRAMES, unit_ns=1000) == rows
    assert (True, {"bad-record": 1}) == (state.cut_short, dict(state.faults))


def test_an_absurd_length_among_many_records_is_found_at_its_place():
    record = c.pcap_record(c.Frame(c.START_NS, b"x" * 100))
    bad = struct.pack("<4I", c.START_NS // 10**9, 0, 0x0001_0064 + 0x0010_0000, 100) + b"x" * 100
    data = c.pcap_header() + record * 3000 + bad + record * 3000

    assert plain_pcap(data) == (read(data)[0], True, {"bad-record": 1})
    assert 3000 == len(plain_pcap(data)[0])


def test_more_on_the_wire_than_captured_and_less_are_both_kept():
    lengths = [1500, 2, 0]
    rows, _ = read(c.bytes_of_pcap([c.Frame(c.START_NS, b"abc", length) for length in lengths]))

    assert lengths == [row.length for row in rows]


def test_a_file_with_only_a_header_is_an_empty_capture():
    rows, state = read(c.pcap_header())

    assert ([], False) == (rows, state.cut_short)
