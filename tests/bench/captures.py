"""Seeded captures of the kind the speed goals are about, made by the million with NumPy.

The usual one: 65 % UDP (QUIC, DNS, RTP), the rest TCP; 70/30 IPv4/IPv6; a tenth in a VLAN; 100,000 flows, few busy;
one packet in a thousand is an ICMP error, 10 ms after its datagram; 3 % of these quote what was never sent. UDP
checksums are a counter, not sums: they tell datagrams apart as real ones do. A `Mix` says what else there is.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .layouts import LAYOUTS, SNAP_FULL, Chunk, encode, random_bytes

CHUNK = 100_000
STEP_NS = 2000
START_S = 1_700_000_000
HEADERS = 80  # Ethernet, a VLAN tag, IPv6, TCP; and some payload where it is shorter

QUIC, DNS, RTP, TCP = range(4)
PORTS = {QUIC: 443, DNS: 53, RTP: 16_384, TCP: 443}


@dataclass(frozen=True)
class Mix:
    """What the packets of a capture are: shares of 1, unless they are numbers of something."""

    flows: int = 100_000
    kinds: tuple[float, ...] = (0.28, 0.13, 0.24, 0.35)
    """QUIC, DNS, RTP, TCP."""
    v6: float = 0.3
    vlan: float = 0.1
    skew: int = 3
    """1: all flows are equally busy; the higher, the fewer carry most."""
    answers: float = 0
    """Packets that go back to who asked."""
    unsent: float = 0.03
    """Errors that quote what was never sent."""
    error_every: int = 1000
    """Packets; so that one of so many is an ICMP error."""
    error_behind: int = 5000
    """Packets from a datagram to its error: 10 ms."""
    fresh_clients: bool = False
    """Each packet comes from an address of its own (of 2^24), and is a conversation of its own."""


USUAL = Mix()
RANDOM = Mix(flows=20_000, kinds=(0.4, 0.2, 0.4, 0), v6=0.5, vlan=0, skew=1, answers=0.5, unsent=0)
"""UDP alone, both ways; no cache holds what the next packet needs."""
CONVERSATIONS = Mix(flows=20_000, kinds=(0, 1, 0, 0), v6=0.5, vlan=0, skew=1, unsent=0, fresh_clients=True)
HUNDRED = Mix(flows=20, unsent=0, error_every=10, error_behind=10)
"""For a capture of 100 packets: enough errors to see whether they are matched."""


@dataclass
class Flows:
    """Columns over all flows; `template` is each one's headers, with what differs by packet left zero.

    Behind them stand the same flows again, the other way.
    """

    kind: np.ndarray
    is_v6: np.ndarray
    ip_at: np.ndarray
    template: np.ndarray

    @property
    def transport_at(self):
        return self.ip_at + np.where(self.is_v6, 40, 20)


def make_flows(rng, mix: Mix) -> Flows:
    count = mix.flows
    kind = rng.choice(4, count, p=mix.kinds)
    is_v6, has_vlan = rng.random(count) < mix.v6, rng.random(count) < mix.vlan
    template = np.zeros((2 * count, HEADERS), np.uint8)
    ports = rng.integers(1024, 65_535, count)
    addresses = rng.integers(0, 256, (count, 32), np.uint8)
    for row in range(count):
        head = _template(
            int(kind[row]), bool(is_v6[row]), bool(has_vlan[row]), int(ports[row]), addresses[row].tobytes()
        )
        template[row, : len(head)] = np.frombuffer(head, np.uint8)
    flows = Flows(*(np.tile(column, 2) for column in (kind, is_v6, np.where(has_vlan, 18, 14))), template)
    _turn(flows, count)
    return flows


def _turn(flows: Flows, count: int) -> None:
    """Fill in the second half: the first one with source and destination exchanged."""
    template = flows.template
    template[count:] = template[:count]
    for is_v6 in (False, True):
        for ip_at in (14, 18):
            row = np.flatnonzero((flows.is_v6[:count] == is_v6) & (flows.ip_at[:count] == ip_at))
            width, at = (16, ip_at + 8) if is_v6 else (4, ip_at + 12)
            for size, start in ((6, 0), (width, at), (2, at + 2 * width)):
                one, other = slice(start, start + size), slice(start + size, start + 2 * size)
                template[count + row, one], template[count + row, other] = template[row, other], template[row, one]


def _template(kind: int, is_v6: bool, has_vlan: bool, port: int, addresses: bytes) -> bytes:
    ether = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02" + (b"\x81\0\0\x64" if has_vlan else b"")
    protocol = 6 if kind == TCP else 17
    transport = struct.pack("!HH", port, PORTS[kind])
    if kind == TCP:
        transport += struct.pack("!IIBBHHH", 1, 1, 0x50, 0x10, 65_535, 0, 0)
    if is_v6:
        prefix = b"\x20\x01\x0d\xb8"
        return (
            ether
            + b"\x86\xdd"
            + struct.pack("!IHBB", 6 << 28, 0, protocol, 60)
            + prefix
            + addresses[:12]
            + prefix
            + addresses[12:24]
            + transport
        )
    return (
        ether
        + b"\x08\0"
        + struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0x4000, 60, protocol, 0)
        + b"\x0a"
        + addresses[:3]
        + b"\x64"
        + addresses[3:6]
        + transport
    )


def put_u16(rows: np.ndarray, column: np.ndarray, value: np.ndarray) -> None:
    index = np.arange(len(rows))
    rows[index, column] = value >> 8
    rows[index, column + 1] = value & 0xFF


class Traffic:
    """Packets, chunk by chunk: headers as a matrix, lengths, times; the errors are made from earlier rows."""

    def __init__(self, seed: int, mix: Mix = USUAL) -> None:
        self.rng = np.random.default_rng(seed)
        self.mix = mix
        self.flows = make_flows(self.rng, mix)
        self.packets = 0
        self.past = None
        self.truth: list[tuple[int, int, int]] = []

    def chunk(self, count: int) -> Chunk:
        flow = (self.mix.flows * self.rng.random(count) ** self.mix.skew).astype(np.int64)
        if self.mix.answers:
            flow += self.mix.flows * (self.rng.random(count) < self.mix.answers)
        number = np.arange(self.packets, self.packets + count)
        length = self._lengths(flow)
        rows = self.flows.template[flow]
        self._fill(rows, flow, number, length)
        time_ns = START_S * 1_000_000_000 + number * STEP_NS
        errors = self._errors(rows, flow)
        for row, error in errors.items():
            length[row] = len(error)
        self.packets += count
        return Chunk(rows, length, time_ns, errors)

    def _lengths(self, flow):
        kind, count = self.flows.kind[flow], len(flow)
        payload = np.select(
            [kind == QUIC, kind == DNS, kind == RTP],
            [self.rng.integers(1100, 1251, count), self.rng.integers(30, 300, count), np.full(count, 172)],
            np.where(self.rng.random(count) < 0.63, 0, 1400),
        )
        return self.flows.transport_at[flow] + np.where(kind == TCP, 20, 8) + payload

    def _fill(self, rows, flow, number, length):
        ip_at, is_v6 = self.flows.ip_at[flow], self.flows.is_v6[flow]
        transport_at = self.flows.transport_at[flow]
        put_u16(rows, np.where(is_v6, ip_at + 4, ip_at + 2), length - np.where(is_v6, transport_at, ip_at))
        v4, udp = np.flatnonzero(~is_v6), np.flatnonzero(self.flows.kind[flow] != TCP)
        ids = rows[v4]
        put_u16(ids, ip_at[v4] + 4, number[v4] & 0xFFFF)
        rows[v4] = ids
        sums = rows[udp]
        put_u16(sums, transport_at[udp] + 4, length[udp] - transport_at[udp])
        put_u16(sums, transport_at[udp] + 6, np.maximum(number[udp] * 40_503 & 0xFFFF, 1))
        rows[udp] = sums
        if self.mix.fresh_clients:
            source_ends = ip_at + np.where(is_v6, 24, 16)
            put_u16(rows, source_ends - 3, number >> 8 & 0xFFFF)
            put_u16(rows, source_ends - 2, number & 0xFFFF)

    def _errors(self, rows, flow):
        """Errors take the place of some packets; each quotes the last UDP packet that is far enough behind."""
        old_rows, old_flow, old_lost = self.past or (rows[:0], flow[:0], np.zeros(0, np.bool_))
        places = np.flatnonzero(self.rng.random(len(rows)) < 1 / self.mix.error_every)
        all_rows, all_flow = np.concatenate([old_rows, rows]), np.concatenate([old_flow, flow])
        lost = np.isin(np.arange(len(rows)), places)
        udp = np.flatnonzero((self.flows.kind[all_flow] != TCP) & ~np.append(old_lost, lost))
        errors = {}
        for place in places.tolist():
            want = place + len(old_rows) - self.mix.error_behind
            found = int(np.searchsorted(udp, want, "right")) - 1
            if found < 0:
                continue
            target = int(udp[found])
            errors[place] = self._error(
                all_rows[target], int(all_flow[target]), place, self.packets + target - len(old_rows)
            )
        self.past = rows, flow, lost
        return errors

    def _error(self, row, flow, place, target):
        at, is_v6 = int(self.flows.ip_at[flow]), bool(self.flows.is_v6[flow])
        is_sent = self.rng.random() >= self.mix.unsent
        quote = bytearray(row[at : at + (48 if is_v6 else 28)].tobytes())
        if not is_sent:
            quote[24 if is_v6 else 16] = 0x0B  # an address outside of all flows'
        self.truth.append((self.packets + place + 1, target + 1 if is_sent else 0, 6 if is_v6 else 4))
        kind = int(self.rng.integers(3))
        return icmp6_error(bytes(quote), kind) if is_v6 else icmp_error(bytes(quote), kind)


def checksum(data: bytes) -> int:
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def icmp_error(quote: bytes, kind: int) -> bytes:
    """Port unreachable, time exceeded, or fragmentation needed."""
    icmp_type, code, rest = ((3, 3, 0), (11, 0, 0), (3, 4, 1400))[kind]
    reporter = quote[16:20] if kind == 0 else b"\xc0\0\x02\x01"
    body = struct.pack("!BBHI", icmp_type, code, 0, rest) + quote
    body = body[:2] + struct.pack("!H", checksum(body)) + body[4:]
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 0, 0, 64, 1, 0) + reporter + quote[12:16]
    head = head[:10] + struct.pack("!H", checksum(head)) + head[12:]
    return b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x08\0" + head + body


def icmp6_error(quote: bytes, kind: int) -> bytes:
    """Port unreachable, time exceeded, or packet too big."""
    icmp_type, code, rest = ((1, 4, 0), (3, 0, 0), (2, 0, 1400))[kind]
    reporter = quote[24:40] if kind == 0 else bytes.fromhex("20010db8000000000000000000000001")
    body = struct.pack("!BBHI", icmp_type, code, 0, rest) + quote
    pseudo = reporter + quote[8:24] + struct.pack("!II", len(body), 58)
    body = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    head = struct.pack("!IHBB", 6 << 28, len(body), 58, 64) + reporter + quote[8:24]
    return b"\x02\0\0\0\0\x02\x02\0\0\0\0\x01\x86\xdd" + head + body


def make(path: Path, packets: int, snap: str, container: str, *, seed: int = 1, mix: Mix = USUAL) -> None:
    """Writes `packets` packets, unless that was done before.

    PATH.truth has a line for each error: its frame number, its datagram's (0: never sent), and the IP version.
    `snap` is the longest capture of a packet, like "s96", or "full".
    """
    if truth_of(path).exists():
        return
    traffic = Traffic(seed, mix)
    chunks = (traffic.chunk(min(CHUNK, packets - start)) for start in range(0, packets, CHUNK))
    write(path, chunks, traffic.truth, snap, container, seed=seed)


def write(
    path: Path,
    chunks: Iterable[Chunk],
    truth: list[tuple[int, int, int]],
    snap: str,
    container: str,
    *,
    seed: int = 1,
    interfaces: int = 1,
) -> None:
    """The file of these chunks, and last its truth, whose presence says that the file is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layout, pool = LAYOUTS[container], random_bytes(seed)
    longest = SNAP_FULL if snap == "full" else int(snap.removeprefix("s"))
    with path.open("wb") as out:
        out.write(layout.head(longest, interfaces))
        for chunk in chunks:
            out.write(encode(layout, pool, chunk, longest).data)
    truth_of(path).write_text("".join(f"{frame} {matched} {family}\n" for frame, matched, family in truth))


def truth_of(path: Path) -> Path:
    return path.with_suffix(path.suffix + ".truth")


def make_adversarial(path: Path, packets: int, container: str) -> None:
    """Writes a capture of a capture being transferred: every payload is full of genuine record headers."""
    layout = LAYOUTS[container]
    shift = -(layout.before + 42) % 4  # so that inner blocks are aligned like outer ones
    with path.open("wb") as out:
        out.write(layout.head(SNAP_FULL))
        for start in range(0, packets, CHUNK):
            _write_transfer(out, layout, np.arange(start, min(start + CHUNK, packets)), shift)
    truth_of(path).touch()


def _write_transfer(out, layout, number, shift) -> None:
    payload = 1400
    time_ns = START_S * 1_000_000_000 + number * STEP_NS
    inner = np.repeat(time_ns, payload // (layout.before + 24 + layout.after) + 1)
    size = np.full(len(inner), layout.before + 24 + layout.after)
    records = np.zeros((len(inner), int(size[0])), np.uint8)
    records[:, : layout.before] = layout.headers(inner, np.full(len(inner), 24), np.full(len(inner), 60), size)
    if layout.after:
        records[:, -4:] = size.astype("<u4").view(np.uint8).reshape(-1, 4)
    stream = np.resize(records.reshape(-1), (len(number), payload))
    length = 42 + shift + payload
    head = _template(RTP, False, False, 5000, bytes(32))
    frames = np.zeros(
        (len(number), layout.before + length + 3 & -4) if layout.after else (len(number), layout.before + length),
        np.uint8,
    )
    columns = np.full(len(number), length)
    frames[:, : layout.before] = layout.headers(time_ns, columns, columns, layout.sizes(columns))
    frames[:, layout.before : layout.before + len(head)] = np.frombuffer(head, np.uint8)
    put_u16(frames, np.full(len(number), layout.before + 16), columns - 14)
    put_u16(frames, np.full(len(number), layout.before + 38), columns - 34)
    frames[:, layout.before + 42 + shift : layout.before + length] = stream
    if layout.after:
        frames = np.concatenate([frames, layout.sizes(columns).astype("<u4").view(np.uint8).reshape(-1, 4)], axis=1)
    out.write(np.ascontiguousarray(frames).data)
