"""Frames into datagrams and errors: the common ones in bulk, the rest by walking their headers.

Batches are collected into a chunk before its odd packets are walked, so that a walk's fixed cost is shared;
a tick, the end of the capture or enough frames close the chunk.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from udpprobe.core.batch import I64, PADDING_BYTES, U8, U64, FrameBatch, tick
from udpprobe.core.checksum import WASTED, windows
from udpprobe.core.decoding.fastlane import ADDRESS, LINK_SIZES, decode_common, gather
from udpprobe.core.decoding.layers_ip import INTERNET, TUNNEL_PORTS, UDP
from udpprobe.core.decoding.layers_link import ETHERNET, LINKS, SLL, SLL2, kind_of_link
from udpprobe.core.decoding.quote import decode_errors, id_of
from udpprobe.core.decoding.walk import LINK, MAX_LAYERS, Walk
from udpprobe.core.packets import FRAGMENTED, TUNNELLED, Datagrams, Errors, u64
from udpprobe.core.runs import is_among

CHUNK_FRAMES = 1 << 17
CHUNK_ODD_BYTES = 16 << 20
"""Frames that need a walk are copied: so many bytes of them make a chunk too."""

WALKED_BYTES = 4096
"""As much of a frame as is kept for the walk: headers, and whole ICMP errors (RFC 4443: 1280 bytes at most)."""

HANDLERS = LINKS | INTERNET


@dataclass(slots=True)
class Chunk:
    """What some batches in a row held."""

    datagrams: Datagrams
    """Those of one family in the order of frames; a tunnel's datagram before those inside it."""
    errors: Errors
    data: U8
    """The bytes that `Errors.message` points into."""
    now_ns: int
    faults: Counter[str] = field(default_factory=Counter)


class Decoder:
    """Feed it batches; take a chunk whenever one is `full`, and at every tick."""

    def __init__(self) -> None:
        self._start()

    def _start(self) -> None:
        self.frames = 0
        self._now_ns = 0
        self._common: list[Datagrams] = []
        self._odd: list[FrameBatch] = []
        self._odd_bytes = 0

    @property
    def full(self) -> bool:
        """Whether there is enough for a chunk."""
        return self.frames >= CHUNK_FRAMES or self._odd_bytes >= CHUNK_ODD_BYTES

    def feed(self, batch: FrameBatch) -> None:
        """Decode the common frames and keep the others."""
        self._now_ns = batch.now_ns or self._now_ns
        if len(batch) == 0:
            return
        self.frames += len(batch)
        common, rest = decode_common(batch)
        self._common += common
        if len(rest):
            self._odd.append(copy_frames(batch.take(rest)))
            self._odd_bytes += self._odd[-1].data.size

    def take(self) -> Chunk:
        """All that was fed since the last chunk."""
        walked, errors, data, faults = decode_odd(join_frames(self._odd))
        datagrams = Datagrams.concatenate([*self._common, walked])
        if len(walked):
            datagrams = datagrams.take(np.argsort(datagrams.frame, kind="stable"))
        chunk = Chunk(datagrams, errors, data, self._now_ns, faults)
        self._start()
        return chunk


def copy_frames(batch: FrameBatch) -> FrameBatch:
    """The frames in bytes of their own, one behind the other, so that the source may go on."""
    captured = np.minimum(batch.captured, WALKED_BYTES)
    data = slices(batch.data, batch.offset, batch.offset + captured)
    return FrameBatch(data, np.cumsum(captured) - captured, captured, batch.length, batch.time_ns,
                      batch.link_type, batch.frame, batch.now_ns)


def slices(data: U8, start: I64, end: I64) -> U8:
    """The bytes of each `data[start:end]`, one behind the other, and PADDING_BYTES more."""
    length = end - start
    width = int(length.max(initial=0))
    if 0 < width * len(length) <= WASTED * length.sum() and (start + width <= data.size).all():
        rows = windows(data, width)[start].view(np.uint8).reshape(-1, width)
        return np.concatenate([rows[np.arange(width) < length[:, None]], np.zeros(PADDING_BYTES, np.uint8)])
    view = memoryview(data)  # type: ignore[arg-type]  # an array is a buffer; only Python 3.12 can say so
    parts = [view[first:last] for first, last in zip(start.tolist(), end.tolist(), strict=True)]
    return np.frombuffer(b"".join([*parts, bytes(PADDING_BYTES)]), np.uint8)


def join_frames(batches: list[FrameBatch]) -> FrameBatch:
    """Several copied batches as one."""
    if not batches:
        return tick(0)
    sizes = [batch.data.size for batch in batches]
    bases = np.repeat(np.cumsum([0, *sizes[:-1]]), [len(batch) for batch in batches])
    return FrameBatch(
        data=np.concatenate([batch.data for batch in batches]),
        offset=np.concatenate([batch.offset for batch in batches]) + bases,
        captured=np.concatenate([batch.captured for batch in batches]),
        length=np.concatenate([batch.length for batch in batches]),
        time_ns=np.concatenate([batch.time_ns for batch in batches]),
        link_type=np.concatenate([batch.link_type for batch in batches]),
        frame=np.concatenate([batch.frame for batch in batches]))


def decode_odd(batch: FrameBatch) -> tuple[Datagrams, Errors, U8, Counter[str]]:
    """Walk frames of any shape: their datagrams (a tunnel's inner ones too), errors and faults."""
    walk = Walk(batch.data, batch.offset, batch.offset + batch.captured, kind_of_link(batch.link_type),
                cut=batch.captured < batch.length)
    rows = np.arange(len(walk))
    walk.fail(rows[(walk.kind >> 16 == LINK >> 16) & ~is_among(walk.kind, LINKS)], "unknown-link-type")
    link = _senders(batch)
    found = []
    for _ in range(MAX_LAYERS):
        walk.run(HANDLERS, rows)
        rows = rows[walk.kind[rows] == UDP]
        rows = rows[walk.need(rows, 8, "udp")]
        if len(rows) == 0:
            break
        found.append(_datagrams(walk, rows, batch, link))
        rows = _into_tunnels(walk, rows)
    errors, faults = decode_errors(walk, batch.frame, batch.time_ns)
    datagrams = Datagrams.concatenate([*found, _datagrams(walk, rows[:0], batch, link)])
    faults += walk.fault_counts() + Counter({"bad-udp-length": lies_about_length(datagrams)})
    return datagrams, errors, batch.data, faults


def _into_tunnels(walk: Walk, rows: I64) -> I64:
    """Move those datagrams that carry packets on to their payload; which they are."""
    port = walk.u16(rows, 2)
    inner = np.zeros(len(rows), np.int64)
    for tunnel_port, kind in TUNNEL_PORTS.items():
        inner[port == tunnel_port] = kind
    walk.skip(rows, 8, inner)
    return rows[inner > 0]


def _datagrams(walk: Walk, rows: I64, batch: FrameBatch, link: U64) -> Datagrams:
    """The datagrams these packets' cursors stand at."""
    detail = (id_of(walk, rows) << 48 | walk.u16(rows, 4) << 32 | walk.u16(rows, 6) << 16 | walk.ttl[rows] << 8)
    flags = (np.where(walk.depth[rows] > 0, TUNNELLED, u64(0))
             | np.where(walk.first_fragment[rows], FRAGMENTED, u64(0)))
    return Datagrams(
        batch.frame[rows], batch.time_ns[rows],
        walk.source_high[rows], walk.source_low[rows], walk.destination_high[rows], walk.destination_low[rows],
        walk.u32(rows).astype(np.uint64), detail.view(np.uint64) | flags, _packet_length(walk, rows), link[rows])


def _packet_length(walk: Walk, rows: I64) -> I64:
    """Bytes of the IP packet; of a fragmented one as it was before."""
    header = walk.cursor[rows] - walk.ip_start[rows]
    return np.where(walk.first_fragment[rows], header + walk.u16(rows, 4), walk.ip_length[rows])


def _senders(batch: FrameBatch) -> U64:
    """(n,) who sent each frame on its link, 0 where that does not say; as the fast lane tells it."""
    sizes = np.zeros(len(batch), np.int64)
    for link_type in (ETHERNET, SLL, SLL2):
        sizes[batch.link_type == link_type] = LINK_SIZES[link_type]
    at = batch.offset + np.maximum(sizes - 8, 0)
    addresses = gather(batch.data, at, 8)[:, 0] & ADDRESS
    return np.where((sizes > 0) & (batch.captured >= sizes), addresses, u64(0))


def lies_about_length(datagrams: Datagrams) -> int:
    """How many datagrams have a UDP length below 8 or beyond their IP packet (RFC 768).

    The common ones need no look: with such a length they would not be among them.
    """
    length = datagrams.udp_length.view(np.int64)
    header = np.where((datagrams.source_high == 0) & (datagrams.source_low >> u64(32) == 0xFFFF), 20, 40)
    whole = datagrams.detail & FRAGMENTED == 0
    return int(np.count_nonzero((length < 8) | (whole & (length + header > datagrams.ip_length))))


def excerpt(errors: Errors, data: U8) -> tuple[Errors, U8]:
    """The errors with only their own messages' bytes."""
    own = slices(data, errors.message, errors.message_end)
    size = errors.message_end - errors.message
    errors.message, errors.message_end = np.cumsum(size) - size, np.cumsum(size)
    return errors, own
