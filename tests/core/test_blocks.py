"""Frames as packet blocks: as the recorder makes them, many at a time."""

from io import BytesIO

import containers as c
import pytest

from udpprobe.capture.frames import Frame
from udpprobe.capture.recorder import packet_block
from udpprobe.core.blocks import FULL, PacketBlocks
from udpprobe.core.capture import FRAME, MORE, Entry, Records


def records_of(some):
    data = c.bytes_of_pcap(some, nanos=True)
    records = Records(Entry(data[:24]), capacity=len(data) + 64)
    records.room()[: len(data) - 24] = data[24:]
    records.filled(len(data) - 24)
    return records


def expected(some):
    return b"".join(
        packet_block(Frame(each.time_ns, each.data, each.wire_length, 1, number), 0)
        for number, each in enumerate(some, 1)
    )


@pytest.mark.parametrize("sizes", [(0, 1, 2, 3, 4, 5, 60, 1500), (262_144,) * 9])
def test_blocks_equal_those_of_the_recorder(sizes):
    some = [
        c.Frame(c.START_NS + number, bytes([number % 251]) * size, size + number) for number, size in enumerate(sizes)
    ]
    records, blocks, out = records_of(some), PacketBlocks(), BytesIO()
    while (status := blocks.copy(records, 1 << 62)) == FULL:
        out.write(blocks.take())
        blocks.add(records)
    out.write(blocks.take())
    assert MORE == status
    assert expected(some) == out.getvalue()


@pytest.mark.parametrize("frame", [1, 3, 8])
def test_copying_stops_at_the_given_frame(frame):
    some = [c.Frame(c.START_NS + number, b"x" * number) for number in range(8)]
    records, blocks = records_of(some), PacketBlocks()
    assert FRAME == blocks.copy(records, frame)
    assert frame == records.frame
    assert expected(some[: frame - 1]) == blocks.take()
    blocks.add(records)
    assert expected(some[:frame])[-blocks.size :] == blocks.take()
    assert b"" == blocks.take()


def test_padding_is_always_zero():
    blocks = PacketBlocks()
    for data in (b"\xff" * 64, b"a", b"bc", b"def"):
        some = [c.Frame(c.START_NS, data)]
        assert MORE == blocks.copy(records_of(some), 9)
        assert expected(some) == blocks.take()
