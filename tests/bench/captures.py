"""Seeded captures of the kind the speed goals are about, made by the million with NumPy.

65 % UDP (QUIC, DNS, RTP), the rest TCP; 70/30 IPv4/IPv6; a tenth in a VLAN; 100,000 flows, few busy; one packet in
a thousand is an ICMP error, 10 ms after its datagram; 3 % of these quote what was never sent. UDP checksums are a
counter, not sums: they tell datagrams apart as real ones do.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

CHUNK = 100_000
FLOWS = 100_000
STEP_NS = 2000
START_S = 1_700_000_000
ERROR_EVERY = 1000
ERROR_DELAY_NS = 10_000_000
UNSENT = 0.03
HEADERS = 80          # Ethernet, a VLAN tag, IPv6, TCP; and some payload where it is shorter
SNAP_FULL, SNAP_SHORT = 262_144, 96

QUIC, DNS, RTP, TCP = range(4)
PORTS = {QUIC: 443, DNS: 53, RTP: 16_384, TCP: 443}


@dataclass
class Flows:
    """Columns over all flows; `template` is each one's headers, with what differs by packet left zero."""
    kind: np.ndarray
    is_v6: np.ndarray
    ip_at: np.ndarray
    template: np.ndarray

    @property
    def transport_at(self):
        return self.ip_at + np.where(self.is_v6, 40, 20)


def make_flows(rng) -> Flows:
    kind = rng.choice(4, FLOWS, p=[0.28, 0.13, 0.24, 0.35])
    is_v6, has_vlan = rng.random(FLOWS) < 0.3, rng.random(FLOWS) < 0.1
    template = np.zeros((FLOWS, HEADERS), np.uint8)
    ports = rng.integers(1024, 65_535, FLOWS)
    addresses = rng.integers(0, 256, (FLOWS, 32), np.uint8)
    for row in range(FLOWS):
        head = _template(int(kind[row]), bool(is_v6[row]), bool(has_vlan[row]), int(ports[row]),
                         addresses[row].tobytes())
        template[row, :len(head)] = np.frombuffer(head, np.uint8)
    return Flows(kind, is_v6, np.where(has_vlan, 18, 14), template)


def _template(kind: int, is_v6: bool, has_vlan: bool, port: int, addresses: bytes) -> bytes:
    ether = b"\x02\0\0\0\0\x01\x02\0\0\0\0\x02" + (b"\x81\0\0\x64" if has_vlan else b"")
    protocol = 6 if kind == TCP else 17
    transport = struct.pack("!HH", port, PORTS[kind])
    if kind == TCP:
        transport += struct.pack("!IIBBHHH", 1, 1, 0x50, 0x10, 65_535, 0, 0)
    if is_v6:
        prefix = b"\x20\x01\x0d\xb8"
        return (ether + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, 0, protocol, 60) + prefix + addresses[:12]
                + prefix + addresses[12:24] + transport)
    return (ether + b"\x08\0" + struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0x4000, 60, protocol, 0)
            + b"\x0a" + addresses[:3] + b"\x64" + addresses[3:6] + transport)


def put_u16(rows: np.ndarray, column: np.ndarray, value: np.ndarray) -> None:
    index = np.arange(len(rows))
    rows[index, column] = value >> 8
    rows[index, column + 1] = value & 0xFF


class Chunk(NamedTuple):
    """Some packets: (n, HEADERS) their first bytes, lengths on the wire, times; the errors among them whole."""

    rows: np.ndarray
    length: np.ndarray
    time_ns: np.ndarray
    errors: dict[int, bytes]


class Traffic:
    """Packets, chunk by chunk: headers as a matrix, lengths, times; the errors are made from earlier rows."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.flows = make_flows(self.rng)
        self.packets = 0
        self.past = None
        self.truth: list[tuple[int, int, int]] = []

    def chunk(self, count: int) -> Chunk:
        flow = (FLOWS * self.rng.random(count) ** 3).astype(np.int64)
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
            np.where(self.rng.random(count) < 0.63, 0, 1400))
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

    def _errors(self, rows, flow):
        """Errors take the place of some packets; each quotes the UDP packet nearest to 10 ms before."""
        old_rows, old_flow, old_lost = self.past or (rows[:0], flow[:0], np.zeros(0, np.bool_))
        places = np.flatnonzero(self.rng.random(len(rows)) < 1 / ERROR_EVERY)
        all_rows, all_flow = np.concatenate([old_rows, rows]), np.concatenate([old_flow, flow])
        lost = np.isin(np.arange(len(rows)), places)
        udp = np.flatnonzero((self.flows.kind[all_flow] != TCP) & ~np.append(old_lost, lost))
        errors = {}
        for place in places.tolist():
            want = place + len(old_rows) - ERROR_DELAY_NS // STEP_NS
            found = int(np.searchsorted(udp, want, "right")) - 1
            if found < 0:
                continue
            target = int(udp[found])
            errors[place] = self._error(all_rows[target], int(all_flow[target]), place,
                                        self.packets + target - len(old_rows))
        self.past = rows, flow, lost
        return errors

    def _error(self, row, flow, place, target):
        at, is_v6 = int(self.flows.ip_at[flow]), bool(self.flows.is_v6[flow])
        is_sent = self.rng.random() >= UNSENT
        quote = bytearray(row[at:at + (48 if is_v6 else 28)].tobytes())
        if not is_sent:
            quote[24 if is_v6 else 16] = 0x0B      # an address outside of all flows'
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


class PcapLayout:
    before, after = 16, 0
    head = staticmethod(lambda snap: struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, snap, 1))

    @staticmethod
    def sizes(captured):
        return 16 + captured

    @staticmethod
    def headers(time_ns, captured, length, _size):
        seconds, rest = np.divmod(time_ns, 1_000_000_000)
        return np.stack([seconds, rest // 1000, captured, length], axis=1).astype("<u4").view(np.uint8)


class PcapngLayout:
    before, after = 28, 4

    @staticmethod
    def head(snap):
        return (struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
                + struct.pack("<IIHHII", 1, 20, 1, 0, snap, 20))

    @staticmethod
    def sizes(captured):
        return 32 + (captured + 3 & -4)

    @staticmethod
    def headers(time_ns, captured, length, size):
        ticks = time_ns // 1000
        zero = np.zeros_like(ticks)
        return np.stack([zero + 6, size, zero, ticks >> 32, ticks & 0xFFFFFFFF, captured, length],
                        axis=1).astype("<u4").view(np.uint8)


def encode(layout, pool: np.ndarray, chunk: Chunk, snap: int) -> np.ndarray:
    """The records of one chunk as bytes. Rows overlap the next record, which is then written over them."""
    rows, length, time_ns, errors = chunk
    captured = np.minimum(length, snap)
    sizes = layout.sizes(captured)
    ends = np.cumsum(sizes)
    starts = ends - sizes
    width = layout.before + HEADERS
    data = np.resize(pool, int(ends[-1]) + width)
    records = np.empty((len(rows), width), np.uint8)
    records[:, :layout.before] = layout.headers(time_ns, captured, length, sizes)
    records[:, layout.before:] = rows
    np.ndarray((len(data) - width + 1,), f"V{width}", data, strides=(1,))[starts] = records.view(f"V{width}")[:, 0]
    for row, error in errors.items():
        at = int(starts[row]) + layout.before
        data[at:at + int(captured[row])] = np.frombuffer(error, np.uint8)[:int(captured[row])]
    if layout.after:
        trailer = np.ndarray((len(data) - 3,), "V4", data, strides=(1,))
        trailer[ends - 4] = sizes.astype("<u4").view("V4")
    return data[:int(ends[-1])]


LAYOUTS = {"pcap": PcapLayout, "pcapng": PcapngLayout}
SNAPS = {"full": SNAP_FULL, "s96": SNAP_SHORT}


def make(path: Path, packets: int, snap: str, container: str, seed: int = 1) -> None:
    """Writes `packets` packets, unless that was done before.

    PATH.truth has a line for each error: its frame number, its datagram's (0: never sent), and the IP version.
    """
    truth = path.with_suffix(path.suffix + ".truth")
    if not truth.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        traffic, layout = Traffic(seed), LAYOUTS[container]
        pool = np.random.default_rng(seed).integers(0, 256, 16 << 20, np.uint8)
        with path.open("wb") as out:
            out.write(layout.head(SNAPS[snap]))
            for start in range(0, packets, CHUNK):
                out.write(encode(layout, pool, traffic.chunk(min(CHUNK, packets - start)), SNAPS[snap]).data)
        truth.write_text("".join(f"{frame} {matched} {family}\n" for frame, matched, family in traffic.truth))


def make_adversarial(path: Path, packets: int, container: str) -> None:
    """Writes a capture of a capture being transferred: every payload is full of genuine record headers."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        layout = LAYOUTS[container]
        shift = -(layout.before + 42) % 4      # so that inner blocks are aligned like outer ones
        with path.open("wb") as out:
            out.write(layout.head(SNAP_FULL))
            for start in range(0, packets, CHUNK):
                _write_transfer(out, layout, np.arange(start, min(start + CHUNK, packets)), shift)


def _write_transfer(out, layout, number, shift) -> None:
    payload = 1400
    time_ns = START_S * 1_000_000_000 + number * STEP_NS
    inner = np.repeat(time_ns, payload // (layout.before + 24 + layout.after) + 1)
    size = np.full(len(inner), layout.before + 24 + layout.after)
    records = np.zeros((len(inner), int(size[0])), np.uint8)
    records[:, :layout.before] = layout.headers(inner, np.full(len(inner), 24), np.full(len(inner), 60), size)
    if layout.after:
        records[:, -4:] = size.astype("<u4").view(np.uint8).reshape(-1, 4)
    stream = np.resize(records.reshape(-1), (len(number), payload))
    length = 42 + shift + payload
    head = _template(RTP, False, False, 5000, bytes(32))
    frames = np.zeros((len(number), layout.before + length + 3 & -4) if layout.after
                      else (len(number), layout.before + length), np.uint8)
    columns = np.full(len(number), length)
    frames[:, :layout.before] = layout.headers(time_ns, columns, columns, layout.sizes(columns))
    frames[:, layout.before:layout.before + len(head)] = np.frombuffer(head, np.uint8)
    put_u16(frames, np.full(len(number), layout.before + 16), columns - 14)
    put_u16(frames, np.full(len(number), layout.before + 38), columns - 34)
    frames[:, layout.before + 42 + shift:layout.before + length] = stream
    if layout.after:
        frames = np.concatenate([frames, layout.sizes(columns).astype("<u4").view(np.uint8).reshape(-1, 4)], axis=1)
    out.write(np.ascontiguousarray(frames).data)
