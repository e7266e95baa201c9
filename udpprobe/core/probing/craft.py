"""Probes into packets, thousands at once: a template's row each, then the fields that differ, in columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U8, U64
from udpprobe.core.packets import MAPPED, u64
from udpprobe.core.probing.probes import TOKEN_BYTES, Payloads, Probes, flow_label, ip_id

UDP = 17
UDP_BYTES = 8
HEADER_BYTES = {4: 20 + UDP_BYTES, 6: 40 + UDP_BYTES}
"""IP and UDP header, by family."""

TEMPLATES = {
    4: bytes.fromhex("4500001c000040004011000000000000000000000000000000080000"),
    6: bytes.fromhex("6000000000081140" + "00" * 32 + "0000000000080000"),
}
"""As Scapy makes them: IP(flags="DF")/UDP() and IPv6()/UDP(), addresses, ports and checksums zero."""

WIDTHS = (64, 256, 1536, 1 << 16)
"""Packets of about a length share a matrix, so that one long payload does not widen the rows of all."""


@dataclass(slots=True)
class Crafted:
    """(m,) packets of one family."""

    family: int
    rows: I64
    """Which of the probes they are."""
    packets: U8
    """(m, width) IP packets, zeros behind their end."""
    length: I64
    """(m,) bytes of each packet."""


class Crafter:
    """Makes packets of probes.

    Args:
        payloads: what `Probes.payload` counts in.
        size: bytes of the IP packet that shorter payloads are filled up to, with zeros; 0 leaves them as they are.
    """

    def __init__(self, payloads: Payloads, *, size: int = 0) -> None:
        self._payloads, self._size = payloads, size

    def craft(self, probes: Probes) -> list[Crafted]:
        """The packets of (n,) probes, in sets of one family and of about the same length."""
        v4 = is_v4(probes)
        made = []
        for family, rows in ((4, np.flatnonzero(v4)), (6, np.flatnonzero(~v4))):
            for some, width in self._by_width(probes.payload[rows], HEADER_BYTES[family]):
                made.append(self._crafted(family, rows[some], probes.take(rows[some]), width))
        return made

    def lengths(self, payload: I64, header: int | I64) -> I64:
        """(n,) bytes of an IP packet with each of these payloads behind `header` bytes."""
        return np.maximum(self._payloads.length[payload] + header, self._size)

    def lengths_of(self, probes: Probes) -> I64:
        """(n,) bytes of each probe's IP packet."""
        return self.lengths(probes.payload, np.where(is_v4(probes), HEADER_BYTES[4], HEADER_BYTES[6]))

    def _by_width(self, payload: I64, header: int) -> Iterator[tuple[I64, int]]:
        lengths = self.lengths(payload, header)
        classes = np.searchsorted(WIDTHS, lengths)
        for each in np.flatnonzero(np.bincount(classes, minlength=len(WIDTHS))).tolist():
            rows = np.flatnonzero(classes == each)
            yield rows, -(-int(lengths[rows].max()) // 8) * 8

    def _crafted(self, family: int, rows: I64, probes: Probes, width: int) -> Crafted:
        header = HEADER_BYTES[family]
        lengths = self.lengths(probes.payload, header)
        packets = np.zeros((len(rows), width), np.uint8)
        packets[:, :header] = np.frombuffer(TEMPLATES[family], np.uint8)
        taken = min(width - header, self._payloads.data.shape[1])
        packets[:, header:header + taken] = self._payloads.data[probes.payload, :taken]
        self._put_tokens(packets[:, header:], probes)
        words = packets.view(">u2")
        FILL[family](packets, words, probes, lengths)
        _put_ports(words[:, header // 2 - 4:], probes.ports, lengths - header + UDP_BYTES)
        words[:, header // 2 - 1] = _udp_checksum(family, words, lengths - header + UDP_BYTES)
        return Crafted(family, rows, packets, lengths)

    def _put_tokens(self, data: U8, probes: Probes) -> None:
        token = probes.token.astype(">u8").view(np.uint8).reshape(-1, TOKEN_BYTES)
        for each in np.flatnonzero(np.bincount(probes.payload, minlength=1)).tolist():
            at, size = int(self._payloads.token_at[each]), int(self._payloads.token_size[each])
            if size:
                rows = np.flatnonzero(probes.payload == each)
                data[rows, at:at + size] = token[rows, :size]


def is_v4(probes: Probes) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
    """(n,) whether each goes to an IPv4 address."""
    return (probes.destination_high == 0) & (probes.destination_low >> u64(32) == MAPPED >> u64(32))


def _fill_v4(packets: U8, words: U64, probes: Probes, lengths: I64) -> None:
    """The IPv4 header (RFC 791) but its template."""
    words[:, 1], words[:, 2], packets[:, 8] = lengths, ip_id(probes), probes.ttl
    for at, low in ((6, probes.source_low), (8, probes.destination_low)):
        words[:, at], words[:, at + 1] = low >> u64(16) & u64(0xFFFF), low & u64(0xFFFF)
    words[:, 5] = _complement(words[:, :10].sum(axis=1, dtype=np.int64))


def _fill_v6(packets: U8, words: U64, probes: Probes, lengths: I64) -> None:
    """The IPv6 header (RFC 8200) but its template."""
    label = flow_label(probes)
    words[:, 0], words[:, 1] = u64(0x6000) | label >> u64(16), label & u64(0xFFFF)
    words[:, 2], packets[:, 7] = lengths - 40, probes.ttl
    halves = packets.view(">u8")
    halves[:, 1], halves[:, 2] = probes.source_high, probes.source_low
    halves[:, 3], halves[:, 4] = probes.destination_high, probes.destination_low


FILL = {4: _fill_v4, 6: _fill_v6}


def _put_ports(words: U64, ports: U64, udp_length: I64) -> None:
    words[:, 0], words[:, 1], words[:, 2] = ports >> u64(16), ports & u64(0xFFFF), udp_length


def _udp_checksum(family: int, words: U64, udp_length: I64) -> I64:
    """(n,) of packets whose checksum field is still zero (RFC 768: 0 is sent as 0xFFFF)."""
    addresses = 6 if family == 4 else 4
    sums = words[:, addresses:].sum(axis=1, dtype=np.int64) + UDP + udp_length
    checksum = _complement(sums)
    return np.where(checksum == 0, 0xFFFF, checksum)


def _complement(sums: I64) -> I64:
    for _ in range(2):
        sums = (sums & 0xFFFF) + (sums >> 16)
    return sums ^ 0xFFFF
