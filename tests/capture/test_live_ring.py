"""What a block of the ring says, and how live frames are numbered and timed."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ring_blocks import DATA_AT, FIRST_AT, Packet, block

from udpprobe.capture.frames import SourceState
from udpprobe.capture.live import PACKET_RX_RING, Ring, packets_of
from udpprobe.capture.packet_socket import SOL_PACKET, LiveCapture, set_option
from udpprobe.core.analyzer import Analyzer
from udpprobe.core.capture import BLOCKS, FRAME, MORE, Records

LOOKS_LIKE_A_HEADER = struct.pack("<2H", DATA_AT, DATA_AT)

packets = st.lists(
    st.builds(
        Packet,
        st.one_of(st.binary(max_size=80), st.integers(0, 20).map(LOOKS_LIKE_A_HEADER.__mul__)),
        st.integers(0, 2**32 * 10**9 - 1),
        st.integers(0, 100),
    ),
    min_size=1,
    max_size=9,
)


@given(st.lists(packets, min_size=1, max_size=3))
def test_blocks_become_packets_whatever_their_content(blocks):
    records = Records(BLOCKS, capacity=1)
    expected = [(each.time_ns, each.data, len(each.data) + each.cut, 101) for some in blocks for each in some]
    assert expected == [found for some in blocks for found in packets_of(records, block(some))]
    assert records.frame == len(expected)


@given(packets, st.integers(0), st.binary(min_size=1, max_size=8))
def test_a_block_with_wrong_offsets_reads_nothing_outside_it(some, at, wrong):
    """The kernel does not lie; a defect must not read beyond the block all the same."""
    data = bytearray(block(some))
    at = at % len(data)
    data[at : at + len(wrong)] = wrong
    data = bytes(data[: len(data) & -8])
    records = Records(BLOCKS, capacity=1)
    try:
        found = list(packets_of(records, data))
    except IndexError:
        return
    assert all(len(each) <= len(data) for _, each, _, _ in found)


def test_a_packet_beyond_its_block_is_a_fault_and_ends_the_block():
    data = bytearray(block([Packet(b"one"), Packet(b"two")]))
    struct.pack_into("=I", data, FIRST_AT + 12, 1 << 20)
    records = Records(BLOCKS, capacity=1)
    records.take_block(bytes(data))
    assert (MORE, 1) == (records.next(), records.faults[0])
    records.take_block(block([Packet(b"three")]))
    assert (FRAME, 1) == (records.next(), records.frame)


def test_an_analyzer_counts_the_packets_of_blocks():
    analyzer, records = Analyzer(7), Records(BLOCKS, capacity=1)
    for some in ([Packet(b"E", 5), Packet(b"F", 3, cut=9)], [Packet(b"G", 8)]):
        records.take_block(block(some))
        assert MORE == analyzer.feed(records)
    assert (3, 12, 3, 8, [101]) == (
        analyzer.packets,
        analyzer.bytes,
        analyzer.first_ns,
        analyzer.last_ns,
        analyzer.link_types(),
    )


class Fed(LiveCapture):
    """Gives what it was made with: times of packets, and how far the source has listened."""

    def __init__(self, *heard):
        super().__init__(SourceState("interface", "any"))
        self._given = iter(heard)

    def receive(self, _):
        times, now_ns = next(self._given)
        return self._in_order([(each, b"%d" % each, 9, 101) for each in times], now_ns)

    def close(self):
        pass


def told(*heard):
    capture = Fed(*heard)
    return [(frames.frames, frames.now_ns) for frames in (capture.receive(0) for _ in heard)]


def test_frames_are_numbered_in_the_order_of_time_throughout():
    (first, _), _, (second, _) = told(([30, 10, 20], 0), ([], 35), ([50, 40], 0))
    assert [(10, b"10", 1), (20, b"20", 2), (30, b"30", 3)] == [(*each[:2], each.number) for each in first]
    assert [(40, b"40", 4), (50, b"50", 5)] == [(*each[:2], each.number) for each in second]


@pytest.mark.parametrize(
    ("heard", "expected"),
    [
        ([([10, 20], 0), ([], 15), ([], 25)], [20, 20, 25]),
        ([([10, 20], 30), ([], 0), ([40], 35)], [30, 30, 40]),
    ],
    ids=["of frames", "of the source"],
)
def test_the_time_is_the_latest_seen(heard, expected):
    assert expected == [now_ns for _, now_ns in told(*heard)]


def test_a_packet_older_than_the_promised_time_gets_that_time():
    _, (late, now_ns) = told(([], 100), ([99, 101], 0))
    assert ([(100, b"99"), (101, b"101")], 101) == ([each[:2] for each in late], now_ns)


def test_an_analyzer_may_follow_a_source_frame_by_frame():
    analyzer, remembered = Analyzer(7), []
    capture = Fed(([20, 10], 0), ([], 25))
    assert [20, 25] == [
        capture.follow(analyzer, 0, lambda first, held: remembered.append((first, len(held)))) for _ in range(2)
    ]
    assert ([(1, 2)], 2, 10) == (remembered, analyzer.packets, analyzer.first_ns)


def test_closing_a_ring_does_not_wait_for_the_kernel():
    done, may_end = threading.Event(), threading.Event()
    ring = object.__new__(Ring)
    ring._socket, ring._words = SimpleNamespace(close=lambda: None), memoryview(b"")
    ring._map = SimpleNamespace(close=lambda: may_end.wait(10) and done.set())
    ring.close()
    assert not done.is_set()
    may_end.set()
    assert done.wait(10)


def test_an_unsupported_socket_option_raises_the_kernels_error():
    with socket.socket(socket.AF_UNIX) as other, pytest.raises(OSError) as raised:  # noqa: PT011 - its number follows
        set_option(other, SOL_PACKET, PACKET_RX_RING, bytes(28))
    assert errno.EOPNOTSUPP == raised.value.errno
