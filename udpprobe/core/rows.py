"""Decoded packets in capture order: what the decoder writes and the analyzer reads.

Addresses are 128 bits in two words, IPv4 mapped (RFC 4291, section 2.5.5.2). A row is a UDP datagram on the wire, or an
ICMP error. The address, port and `detail` columns of an error hold what it quotes.
"""

from __future__ import annotations

from typing import SupportsIndex

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

from udpprobe.core.views import Pickled, pickled

# Flags, the lowest byte of `detail`.
TUNNELLED = 1
FRAGMENTED = 2

_SIGNED = (
    "frame",
    "time_ns",
    "ip_length",
    "payload_at",
    "payload_end",
    "mtu",
    "quoted_ip_length",
    "length",
    "quoted_bytes",
    "message",
    "message_end",
)
_UNSIGNED = (
    "source_high",
    "source_low",
    "destination_high",
    "destination_low",
    "ports",
    "detail",
    "link",
    "payload_high",
    "payload_low",
    "proof",
    "outer",
    "kind",
    "reporter_high",
    "reporter_low",
    "notes",
)


@cython.final
@cython.cclass
class Packet:
    """A datagram or an ICMP error; of an error, all but the last line is what it quotes.

    Attributes:
        is_error, frame, time_ns, family.
        source, destination: 128 bits in two halves, IPv4 mapped.  source_port, destination_port.
        ip_id, udp_length, udp_checksum, ttl, is_tunnelled, is_fragmented.
        ip_length: bytes of the IP packet; of an error, as the quote says.
        data: of a datagram, its payload as far as it was captured; of an error, the ICMP message.
        icmp_type, icmp_code, reporter, mtu (-1 without), reply_id, reply_ttl, has_df, notes (bits of `Note`),
            length (the datagram's bytes as far as the quote can be trusted, or UNKNOWN_LENGTH), quoted_bytes,
            quoted_family, tunnel_bytes (of a tunnel's headers around the quoted packet).
    """

    def __init__(self) -> None:
        self.is_error = self.is_tunnelled = self.is_fragmented = self.has_df = False
        self.frame = self.time_ns = self.family = self.source_port = self.destination_port = 0
        self.ip_id = self.udp_length = self.udp_checksum = self.ttl = self.ip_length = 0
        self.icmp_type = self.icmp_code = self.reply_id = self.reply_ttl = 0
        self.mtu, self.notes, self.length, self.quoted_bytes, self.quoted_family, self.tunnel_bytes = -1, 0, 0, 0, 0, 0
        self.source = self.destination = self.reporter = (0, 0)
        self.data = b""


@cython.final
@cython.cclass
class Rows:
    """Columns of `room` rows, `size` of them filled.

    Columns of every row:
        is_error: 0 for a datagram, 1 for an ICMP error.
        frame: Wireshark's number, from 1.  time_ns: since 1970, UTC.
        source_high, source_low, destination_high, destination_low: addresses.
        ports: source port << 16 | destination port.
        detail: id << 48 | UDP length << 32 | UDP checksum << 16 | TTL << 8 | flags. The id is IPv4's, or the lower
            half of an IPv6 fragment's.
        link: hash of the link and of the frame's sender on it; 0 if unknown.
        payload_high, payload_low: the first 16 payload bytes, with zeros after the captured ones.
        proof: complete checksum << 16 | payload bytes captured (at most 16) << 8 | 1 if the checksum is partial. The
            complete checksum is 0 if it cannot be computed.

    Of datagrams only:
        ip_length: bytes of the IP packet as its header says; of a fragmented one, as it was before.
        payload_at, payload_end: place of the captured payload in the bytes it was read from.

    Of errors only:
        kind: family << 16 | type << 8 | code.  outer: its own IP header, id << 48 | bytes of a tunnel's headers around
            the quoted packet << 16 | TTL << 8 | 8 if it quotes the other family | 4 if DF is set.
        mtu: next-hop MTU, -1 for none.  reporter_high, reporter_low: its sender.
        quoted_ip_length: the length in the quote.  length: the datagram's bytes as far as the quote can be trusted, or
            UNKNOWN_LENGTH.  quoted_bytes: length of the quote, from its IP header on.
        message, message_end: place of the ICMP message in the decoder's `messages`.  notes: bits of `Note`.
    """

    frame: memoryview[int]
    time_ns: memoryview[int]
    ip_length: memoryview[int]
    payload_at: memoryview[int]
    payload_end: memoryview[int]
    mtu: memoryview[int]
    quoted_ip_length: memoryview[int]
    length: memoryview[int]
    quoted_bytes: memoryview[int]
    message: memoryview[int]
    message_end: memoryview[int]
    source_high: memoryview[int]
    source_low: memoryview[int]
    destination_high: memoryview[int]
    destination_low: memoryview[int]
    ports: memoryview[int]
    detail: memoryview[int]
    link: memoryview[int]
    payload_high: memoryview[int]
    payload_low: memoryview[int]
    proof: memoryview[int]
    outer: memoryview[int]
    kind: memoryview[int]
    reporter_high: memoryview[int]
    reporter_low: memoryview[int]
    notes: memoryview[int]

    def __init__(self, room: index) -> None:
        self.size, self.room = 0, room
        self.is_error = memoryview(bytearray(room))
        for name in _SIGNED:
            setattr(self, name, memoryview(bytearray(8 * room)).cast("q"))
        for name in _UNSIGNED:
            setattr(self, name, memoryview(bytearray(8 * room)).cast("Q"))

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        columns = {
            name: pickled(memoryview(getattr(self, name))[: self.size], protocol) for name in (*_SIGNED, *_UNSIGNED)
        }
        return _restored, (self.size, bytes(memoryview(self.is_error)[: self.size]), columns)

    def packet(self, row: index, data: bytes, messages: bytes) -> Packet:
        """A row as an object, for callers that look at few.

        Args:
            row: which.
            data: buffer of a datagram's frame.
            messages: buffer of an error's message.
        """
        made = Packet()
        detail: u64 = self.detail[row]
        made.is_error = self.is_error[row] != 0
        made.frame, made.time_ns = self.frame[row], self.time_ns[row]
        made.source = (self.source_high[row], self.source_low[row])
        made.destination = (self.destination_high[row], self.destination_low[row])
        made.source_port, made.destination_port = self.ports[row] >> 16, self.ports[row] & 0xFFFF
        made.ip_id, made.udp_length, made.udp_checksum = detail >> 48, detail >> 32 & 0xFFFF, detail >> 16 & 0xFFFF
        made.ttl, made.is_tunnelled, made.is_fragmented = detail >> 8 & 0xFF, detail & 1 != 0, detail & 2 != 0
        if made.is_error:
            kind: u64 = self.kind[row]
            outer: u64 = self.outer[row]
            made.family, made.icmp_type, made.icmp_code = kind >> 16, kind >> 8 & 0xFF, kind & 0xFF
            made.reporter = (self.reporter_high[row], self.reporter_low[row])
            made.reply_id, made.reply_ttl, made.has_df = outer >> 48, outer >> 8 & 0xFF, outer & 4 != 0
            made.mtu, made.notes = self.mtu[row], self.notes[row]
            made.ip_length, made.length = self.quoted_ip_length[row], self.length[row]
            made.quoted_bytes, made.tunnel_bytes = self.quoted_bytes[row], outer >> 16 & 0xFFFF
            made.quoted_family = 10 - made.family if outer & 8 else made.family
            made.data = messages[self.message[row] : self.message_end[row]]
        else:
            made.family = 4 if self.source_high[row] == 0 and self.source_low[row] >> 32 == 0xFFFF else 6
            made.ip_length = self.ip_length[row]
            made.data = data[self.payload_at[row] : self.payload_end[row]]
        return made

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def start_row(self) -> index:
        """Begin the next row; columns that not every decoder sets are zero."""
        row: index = self.size
        self.size = row + 1
        self.payload_high[row] = self.payload_low[row] = self.proof[row] = 0
        return row

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def copy_row(self, other: Rows, row: index) -> index:
        """Append a row of `other`."""
        new: index = self.size
        self.size = new + 1
        self.is_error[new] = other.is_error[row]
        self.frame[new], self.time_ns[new] = other.frame[row], other.time_ns[row]
        self.source_high[new], self.source_low[new] = other.source_high[row], other.source_low[row]
        self.destination_high[new] = other.destination_high[row]
        self.destination_low[new] = other.destination_low[row]
        self.ports[new], self.detail[new] = other.ports[row], other.detail[row]
        self.payload_high[new], self.payload_low[new] = other.payload_high[row], other.payload_low[row]
        self.proof[new] = other.proof[row]
        self.ip_length[new], self.link[new] = other.ip_length[row], other.link[row]
        self.payload_at[new], self.payload_end[new] = other.payload_at[row], other.payload_end[row]
        if other.is_error[row]:
            self.kind[new], self.outer[new], self.mtu[new] = other.kind[row], other.outer[row], other.mtu[row]
            self.reporter_high[new], self.reporter_low[new] = other.reporter_high[row], other.reporter_low[row]
            self.quoted_ip_length[new], self.length[new] = other.quoted_ip_length[row], other.length[row]
            self.quoted_bytes[new], self.notes[new] = other.quoted_bytes[row], other.notes[row]
            self.message[new], self.message_end[new] = other.message[row], other.message_end[row]
        return new


def _restored(size: int, is_error: bytes, columns: dict[str, Pickled]) -> Rows:
    rows = Rows(max(size, 1))
    rows.size = size
    memoryview(rows.is_error)[:size] = is_error
    for name, values in columns.items():
        memoryview(getattr(rows, name)).cast("B")[: 8 * size] = memoryview(values).cast("B")
    return rows
