"""IP packets for what the kernel tells a UDP socket in words, so that the core has one path for every engine.

They are what the words say and no more: an answer's TTL is 64 and its id 0 because nobody knows better.
"""

from __future__ import annotations

import struct
from operator import itemgetter

import numpy as np

from udpprobe.core.batch import PADDING_BYTES, FrameBatch, tick

LINKTYPE_RAW = 101
ICMP, UDP, ICMP6 = 1, 17, 58
MOST_CAPTURED = 2048
"""Bytes kept of a packet, as live capture keeps them."""

MOST_QUOTED = {4: 548, 6: 1232}
"""An error fills 576 bytes (RFC 1812, 4.3.2.3), of IPv6 1280 (RFC 4443, 2.4)."""

DONT_FRAGMENT = 0x4000
INFO_SHIFT = {(4, 3): 0, (4, 12): 24, (6, 2): 0, (6, 4): 0}
"""Where a type's MTU or pointer stands in the 32 bits behind the checksum; other types leave them zero."""


class Tape:
    """Packets sent and heard, which become frames in the order of their times."""

    def __init__(self) -> None:
        self._held: list[tuple[int, bytes]] = []
        self._frames, self._now_ns = 0, 0

    def __len__(self) -> int:
        return len(self._held)

    def add(self, time_ns: int, packet: bytes) -> None:
        """Take a whole IP packet; its time is in nanoseconds since 1970."""
        self._held.append((time_ns, packet))

    def until(self, now_ns: int) -> FrameBatch:
        """All that is not later than `now_ns`; what is later waits for what may still come before it."""
        self._now_ns = max(self._now_ns, now_ns)
        self._held.sort(key=itemgetter(0))
        due = [entry for entry in self._held if entry[0] <= self._now_ns]
        self._held = self._held[len(due):]
        self._frames += len(due)
        return _batch(due, self._frames - len(due) + 1, self._now_ns)


def _batch(entries: list[tuple[int, bytes]], first: int, now_ns: int) -> FrameBatch:
    if not entries:
        return tick(now_ns)
    times, packets = zip(*entries, strict=True)
    kept = [packet[:MOST_CAPTURED] for packet in packets]
    captured = np.array([len(packet) for packet in kept], np.int64)
    return FrameBatch(
        data=np.frombuffer(b"".join(kept) + bytes(PADDING_BYTES), np.uint8),
        offset=np.cumsum(captured) - captured, captured=captured,
        length=np.array([len(packet) for packet in packets], np.int64), time_ns=np.array(times, np.int64),
        link_type=np.full(len(kept), LINKTYPE_RAW, np.int32), frame=np.arange(first, first + len(kept)), now_ns=now_ns)


def answer(source: bytes, destination: bytes, ports: tuple[int, int], data: bytes) -> bytes:
    """A UDP datagram in an IP packet.

    Args:
        source: 4 or 16 bytes of the address it came from.
        destination: likewise, where it was heard.
        ports: source and destination port.
        data: what it carries.
    """
    length = 8 + len(data)
    header = struct.pack("!HHH", *ports, length)
    checksum = _checksum(_pseudo_header(source, destination, length, UDP) + header + data) or 0xFFFF
    return _ip(source, destination, UDP, header + checksum.to_bytes(2) + data)


def error(offender: bytes, packet: bytes, kind: tuple[int, int], info: int = 0) -> bytes:
    """An ICMP or ICMPv6 error about a packet, to its source (RFC 792, RFC 4443).

    Args:
        offender: 4 or 16 bytes of the address it comes from.
        packet: the IP packet that it quotes.
        kind: type and code.
        info: the next-hop MTU or the pointer, where the type has one.
    """
    family = packet[0] >> 4
    shift = INFO_SHIFT.get((family, kind[0]))
    rest = 0 if shift is None else info << shift & 0xFFFF_FFFF
    body = rest.to_bytes(4) + packet[:MOST_QUOTED[family]]
    source = packet[12:16] if family == 4 else packet[8:24]
    protocol, pseudo = (ICMP, b"") if family == 4 else (
        ICMP6, _pseudo_header(offender, source, 4 + len(body), ICMP6))
    checksum = _checksum(pseudo + bytes([*kind, 0, 0]) + body)
    return _ip(offender, source, protocol, bytes(kind) + checksum.to_bytes(2) + body)


def _ip(source: bytes, destination: bytes, protocol: int, payload: bytes) -> bytes:
    if len(source) == 16:
        return struct.pack("!IHBB", 6 << 28, len(payload), protocol, 64) + source + destination + payload
    header = struct.pack("!BBHHHBB", 0x45, 0, 20 + len(payload), 0, DONT_FRAGMENT, 64, protocol)
    checksum = _checksum(header + source + destination)
    return header + checksum.to_bytes(2) + source + destination + payload


def _pseudo_header(source: bytes, destination: bytes, length: int, protocol: int) -> bytes:
    """RFC 768 and RFC 8200, 8.1; the fields' widths do not matter to the sum."""
    return source + destination + struct.pack("!II", length, protocol)


def _checksum(data: bytes) -> int:
    """RFC 1071: a sum in ones' complement is a remainder by 0xFFFF."""
    return 0xFFFF - int.from_bytes(data + bytes(len(data) % 2)) % 0xFFFF
