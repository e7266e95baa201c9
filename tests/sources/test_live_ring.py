"""What a block of the ring says; blocks are built here by `struct`, as linux/if_packet.h has them."""

from __future__ import annotations

import errno
import socket
import struct
import threading
from itertools import islice
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from source_rows import Row, rows_of_batch

from udpprobe.core.batch import SourceState
from udpprobe.sources.packet_socket import SOL_PACKET, LiveCapture, set_option
from udpprobe.sources.ring import PACKET_RX_RING, Ring, batch_of, starts_of

DATA_AT = 96
"""Behind struct tpacket3_hdr and struct sockaddr_ll, as the kernel lays out SOCK_DGRAM."""
LOOKS_LIKE_A_HEADER = struct.pack("<2H", DATA_AT, DATA_AT)


class Packet(NamedTuple):
    data: bytes
    time_ns: int = 0
    cut: int = 0


packets = st.lists(st.builds(
    Packet, st.one_of(st.binary(max_size=80), st.integers(0, 20).map(LOOKS_LIKE_A_HEADER.__mul__)),
    st.integers(0, 2**32 * 10**9 - 1), st.integers(0, 100)), min_size=1, max_size=9)


def record(packet, *, last):
    body = packet.data + bytes(-(DATA_AT + len(packet.data)) % 8)
    header = struct.pack("<6I2H", 0 if last else DATA_AT + len(body), *divmod(packet.time_ns, 10**9),
                         len(packet.data), len(packet.data) + packet.cut, 1 << 29, DATA_AT, DATA_AT)
    return header + bytes(DATA_AT - len(header)) + body


def block(packets):
    data = b"".join(record(each, last=each is packets[-1]) for each in packets)
    return len(packets), np.frombuffer(data, np.uint32)


def starts(packets):
    sizes = [len(record(each, last=False)) // 4 for each in packets]
    return [sum(sizes[:row]) for row in range(len(sizes))]


@given(packets)
def test_headers_are_found_whatever_the_packets_carry(packets):
    count, words = block(packets)
    assert starts(packets) == starts_of(words, count).tolist()


@pytest.mark.parametrize("lie", [LOOKS_LIKE_A_HEADER * 20, bytes(DATA_AT)], ids=["alike", "unlike"])
def test_what_looks_like_a_header_is_none(lie):
    some = [Packet(b"one"), Packet(lie), Packet(b"three")]
    count, words = block(some)
    assert starts(some) == starts_of(words, count).tolist()


def test_a_liar_that_makes_up_for_a_missing_mark_is_seen_through():
    """As many marks as packets, but one of them is within a packet: the chain does not hold together."""
    some = [Packet(LOOKS_LIKE_A_HEADER * 2), Packet(b"two"), Packet(b"three")]
    count, words = block(some)
    words = words.copy()
    words[starts(some)[1] + 6] += 1 << 16       # this one's header says something else of its place
    assert count == np.count_nonzero(words[6::2] == words[6])
    assert starts(some) == starts_of(words, count).tolist()


@given(st.lists(packets, min_size=1, max_size=3))
def test_blocks_become_rows(blocks):
    expected = [Row(0, each.time_ns, each.data, len(each.data) + each.cut, 101)
                for packets in blocks for each in packets]
    rows = rows_of_batch(batch_of([block(each) for each in blocks], 0))
    assert expected == [row._replace(frame=0) for row in rows]


class Fed(LiveCapture):
    """Gives what it was made with: times of batches, or what a tick says."""

    def __init__(self, *batches):
        super().__init__(SourceState("interface", "any"))
        self._given = iter(batches)

    def receive(self, _):
        times, now_ns = next(self._given)
        if not times:
            return self._tick(now_ns)
        return self._in_order(batch_of([block([Packet(b"%d" % each, each) for each in times])], now_ns))

    def close(self):
        pass


def told(*batches):
    capture = Fed(*batches)
    return [(rows_of_batch(batch), batch.now_ns) for batch in (capture.receive(0) for _ in batches)]


def test_frames_are_numbered_in_the_order_of_time_through_all_batches():
    (first, _), _, (second, _) = told(([30, 10, 20], 0), ([], 35), ([50, 40], 0))
    assert [(1, 10, b"10"), (2, 20, b"20"), (3, 30, b"30")] == [row[:3] for row in first]
    assert [(4, 40, b"40"), (5, 50, b"50")] == [row[:3] for row in second]


@pytest.mark.parametrize(("batches", "expected"), [
    ([([10, 20], 0), ([], 15), ([], 25)], [20, 20, 25]),
    ([([10, 20], 30), ([], 0), ([40], 35)], [30, 30, 40]),
], ids=["of frames", "of the source"])
def test_time_is_the_farthest_that_was_seen(batches, expected):
    assert expected == [now_ns for _, now_ns in told(*batches)]


def test_what_was_overtaken_by_the_promise_of_time_is_told_as_of_then():
    _, (late, now_ns) = told(([], 100), ([99, 101], 0))
    assert ([(100, b"99"), (101, b"101")], 101) == ([row[1:3] for row in late], now_ns)


def test_a_live_capture_is_a_source():
    assert [20, 25] == [batch.now_ns for batch in islice(Fed(([20], 0), ([], 25)), 2)]


def test_who_closes_a_ring_does_not_wait_for_the_kernel():
    done, may_end = threading.Event(), threading.Event()
    ring = object.__new__(Ring)
    ring._socket, ring._blocks = SimpleNamespace(close=lambda: None), np.zeros((1, 8), np.uint32)
    ring._map = SimpleNamespace(close=lambda: may_end.wait(10) and done.set())
    ring.close()
    assert not done.is_set()
    may_end.set()
    assert done.wait(10)


def test_an_option_that_a_socket_does_not_take_is_the_kernels_error():
    with socket.socket(socket.AF_UNIX) as other, pytest.raises(OSError) as raised:  # noqa: PT011 - its number follows
        set_option(other, SOL_PACKET, PACKET_RX_RING, bytes(28))
    assert errno.EOPNOTSUPP == raised.value.errno
