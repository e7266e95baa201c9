"""Packets as matrices, and the files they become: pcap and pcapng, written by the hundred thousand records."""

from __future__ import annotations

import struct
from typing import NamedTuple

import numpy as np

SNAP_FULL = 262_144
MICROSECOND_NS = 1000


class Chunk(NamedTuple):
    """Some packets: (n, width) their first bytes, lengths on the wire, times; the errors among them whole.

    Behind its first bytes a packet holds random ones.
    """

    rows: np.ndarray
    length: np.ndarray
    time_ns: np.ndarray
    errors: dict[int, bytes]
    interface: np.ndarray | int = 0


class PcapLayout:
    before, after = 16, 0

    @staticmethod
    def head(snap, _interfaces=1):
        return struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snap, 1)

    @staticmethod
    def sizes(captured):
        return 16 + captured

    @staticmethod
    def headers(time_ns, captured, length, _size, _interface=0):
        seconds, rest = np.divmod(time_ns, 1_000_000_000)
        return np.stack([seconds, rest // MICROSECOND_NS, captured, length], axis=1).astype("<u4").view(np.uint8)


class PcapngLayout:
    before, after = 28, 4

    @staticmethod
    def head(snap, interfaces=1):
        return (
            struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
            + struct.pack("<IIHHII", 1, 20, 1, 0, snap, 20) * interfaces
        )

    @staticmethod
    def sizes(captured):
        return 32 + (captured + 3 & -4)

    @staticmethod
    def headers(time_ns, captured, length, size, interface=0):
        ticks = time_ns // MICROSECOND_NS
        zero = np.zeros_like(ticks)
        return (
            np.stack([zero + 6, size, zero + interface, ticks >> 32, ticks & 0xFFFFFFFF, captured, length], axis=1)
            .astype("<u4")
            .view(np.uint8)
        )


LAYOUTS = {"pcap": PcapLayout, "pcapng": PcapngLayout}


def random_bytes(seed: int) -> np.ndarray:
    """The pool that payloads are taken from."""
    return np.random.default_rng(seed).integers(0, 256, 16 << 20, np.uint8)


def encode(layout, pool: np.ndarray, chunk: Chunk, snap: int) -> np.ndarray:
    """The records of one chunk as bytes. Rows overlap the next record, which is then written over them."""
    rows, length, time_ns, errors, interface = chunk
    captured = np.minimum(length, snap)
    sizes = layout.sizes(captured)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    width = layout.before + rows.shape[1]
    data = np.resize(pool, int(ends[-1]) + width)
    records = np.empty((len(rows), width), np.uint8)
    records[:, : layout.before] = layout.headers(time_ns, captured, length, sizes, interface)
    records[:, layout.before :] = rows
    np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))[starts] = records.view(f"V{width}")[:, 0]
    for row, error in errors.items():
        at = int(starts[row]) + layout.before
        data[at : at + int(captured[row])] = np.frombuffer(error, np.uint8)[: int(captured[row])]
    if layout.after:
        trailer = np.ndarray((len(data) - 3,), "V4", data, strides=(1,))
        trailer[ends - 4] = sizes.astype("<u4").view("V4")
    return data[: int(ends[-1])]
