"""Frames into rows: UDP datagrams, those of a tunnel and those inside it, and ICMP errors with their quotes.

A quote is the least reliable part of a packet. It may be cut after 8 bytes of UDP, its lengths changed or byte-swapped
by the router, or followed by padding or extensions (RFC 4884). What is there is read; the rest is noted.
"""

from __future__ import annotations

from collections import Counter

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

from udpprobe.core import views
from udpprobe.core.encapsulation import Encapsulation
from udpprobe.core.headers import FAULTS, Headers
from udpprobe.core.rows import Packet, Rows

MAX_LAYERS = 40
"""Most rows of a frame; as `headers.MAX_LAYERS`."""

MOST_AGGREGATED = 20
"""After this many rows of an A-MSDU, no further packet of it is read. The analyzer has room for one more packet's
rows."""

MESSAGE_BYTES = 4096
"""Most bytes kept of an ICMP message. RFC 4443 allows 1,280 bytes; IPv4 routers send 576 (RFC 1812, 4.3.2.3)."""

UNKNOWN_LENGTH = 1 << 20
"""Longer than any packet, so it never wins a minimum."""

_RAW = cython.declare(cython.const[cython.int], 101)  # LINKTYPE_RAW
_UDP = cython.declare(cython.const[cython.int], 17)
_ICMP = cython.declare(cython.const[cython.int], 1)
_ICMPV6 = cython.declare(cython.const[cython.int], 58)

_CUT_UDP = cython.declare(cython.const[cython.int], 17)
_CUT_ICMP = cython.declare(cython.const[cython.int], 18)
_SHORT = cython.declare(cython.const[cython.int], 26)
_TOO_MANY_HEADERS = cython.declare(cython.const[cython.int], 53)
_BAD_UDP_LENGTH = cython.declare(cython.const[cython.int], 57)

_TUNNELLED = cython.declare(cython.const[u64], 1)
_FRAGMENTED = cython.declare(cython.const[u64], 2)
_UNKNOWN = cython.declare(cython.const[i64], 1 << 20)
_LAYERS = cython.declare(cython.const[cython.int], 40)
_MESSAGE = cython.declare(cython.const[index], 4096)
_AGGREGATED = cython.declare(cython.const[index], 20)  # same as MOST_AGGREGATED
_MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)

# Bits of `notes.Note`.
_BAD_ICMP_CHECKSUM = cython.declare(cython.const[u64], 1)
_ICMP_FRAGMENTED = cython.declare(cython.const[u64], 2)
_NO_PORTS = cython.declare(cython.const[u64], 4)
_NO_LENGTH = cython.declare(cython.const[u64], 8)
_NO_CHECKSUM = cython.declare(cython.const[u64], 16)
_QUOTES_LATER_FRAGMENT = cython.declare(cython.const[u64], 32)
_IP_LENGTH_SWAPPED = cython.declare(cython.const[u64], 64)
_IP_LENGTH_LIES = cython.declare(cython.const[u64], 128)
_IN_TUNNEL = cython.declare(cython.const[u64], 4096)
_QUOTED_LAYERS = cython.declare(cython.const[cython.int], 4)
_LONGEST_TUNNEL = cython.declare(cython.const[i64], (1 << 14) - 1)
_ABOUT_TUNNEL = cython.declare(cython.const[u64], 1 << 19)


@cython.final
@cython.cclass
class Decoder:
    """Writes what frames hold into `rows`; the caller takes the rows out before they are full.

    Args:
        room: rows to fill before they are taken; there is room for one more frame's.
        keeps_messages: whether the bytes of ICMP errors are kept in `messages`, for their extensions.
    """

    data: bytes | bytearray | memoryview

    def __init__(self, room: index, *, keeps_messages: bool = False) -> None:
        self.rows = Rows(room + MOST_AGGREGATED + MAX_LAYERS + 8)
        self.faults = memoryview(bytearray(8 * len(FAULTS))).cast("q")
        self.quote_faults = memoryview(bytearray(8 * len(FAULTS))).cast("q")
        self.headers, self.quote = Headers(memoryview(self.faults)), Headers(memoryview(self.quote_faults))
        self.quote.quoted = True
        self.encapsulation, self.quoted_encapsulation = Encapsulation(self.headers), Encapsulation(self.quote)
        self.keeps_messages = keeps_messages
        self.messages = bytearray((room + MAX_LAYERS + 1) * MESSAGE_BYTES if keeps_messages else 1)
        self.message_bytes = memoryview(self.messages)
        self.messages_end = 0

    def counted_faults(self) -> Counter[str]:
        """Number of each fault, by name; faults inside a quote begin with `quoted-`."""
        own = {name: count for name, count in zip(FAULTS, self.faults, strict=True) if count}
        quoted = {f"quoted-{name}": count for name, count in zip(FAULTS, self.quote_faults, strict=True) if count}
        return Counter(own | quoted)

    def packets(self, data: bytes, length: int, time_ns: int, link_type: int, frame: int) -> list[Packet]:
        """One frame's content as objects: a datagram, those inside its tunnel, an ICMP error about a plain datagram.

        Args:
            data: the frame, as far as it was captured.
            length: its bytes on the wire.
            time_ns: since 1970, UTC.
            link_type: LINKTYPE_ value.
            frame: its number.
        """
        self.load(data)
        self.rows.size = self.messages_end = 0
        self.quote.closed = True
        self.frame(0, len(data), length, time_ns, link_type, frame)
        messages = bytes(memoryview(self.message_bytes)[: self.messages_end]) if self.messages_end else b""
        found = [self.rows.packet(row, data, messages) for row in range(self.rows.size)]
        self.rows.size = self.messages_end = 0
        return found

    def receive(
        self, data: bytes | bytearray | memoryview, stride: int, lengths: views.i64s, addresses: views.u64s, count: int
    ) -> None:
        """Decode the messages of a raw ICMP socket into `rows`, replacing their content.

        A row's frame is the index of its message in `data`, from 0; the caller knows its time.

        Args:
            data: the messages: IP packets, or ICMPv6 messages without their IPv6 header (RFC 3542, section 3).
            stride: bytes from one to the next.
            lengths: bytes of each; a negative length is skipped.
            addresses: source and destination of each ICMPv6 message, as four words; empty for IP packets.
            count: number of messages; no more than there is room for.
        """
        number: index
        at: index
        before: index
        has_ip: cython.bint = len(addresses) == 0
        self.load(data)
        self.rows.size = self.messages_end = 0
        self.quote.closed = True
        for number in range(count):
            at = number * stride
            size: i64 = lengths[number]
            before = self.rows.size
            if size < 0:
                continue
            if has_ip:
                self.frame(at, size, size, 0, _RAW, number)
            else:
                self.headers.start_message(
                    size,
                    addresses[4 * number],
                    addresses[4 * number + 1],
                    addresses[4 * number + 2],
                    addresses[4 * number + 3],
                )
                self.headers.at, self.headers.end = at, at + size
                if self._has(8, _CUT_ICMP) and self._is_error():
                    self._error(0, number, 0)
            if self.rows.size == before + 1 and self.rows.is_error[before]:
                self.rows.message[before], self.rows.message_end[before] = self.headers.at, self.headers.end
            else:
                self.rows.size = before  # a packet that carries UDP is no ICMP message

    def add_faults(self, other: Decoder) -> None:
        """Add another decoder's counters."""
        place: index
        for place in range(len(FAULTS)):
            self.faults[place] += other.faults[place]
            self.quote_faults[place] += other.quote_faults[place]

    @cython.cfunc
    def load(self, data: bytes | bytearray | memoryview) -> cython.void:
        """Decode frames in these bytes from now on."""
        self.data = data
        self.headers.load(data)
        self.quote.load(data)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def frame(
        self, at: index, captured: i64, length: i64, time_ns: i64, link_type: cython.int, frame: i64
    ) -> cython.int:
        """Decode the frame at `at`; return 0."""
        if link_type != 1 and link_type != 113 and link_type != 276 and link_type != 101:
            return self._rare_link(at, at + captured, captured < length, time_ns, link_type, frame)
        before: index = self.rows.size
        link: u64 = self._sender(at, captured, link_type)
        protocol: cython.int = self.headers.walk_link(at, at + captured, captured < length, link_type)
        self._packet(protocol, time_ns, frame, link)
        if self.encapsulation.msdus_end:
            self._rest_of_aggregate(before, time_ns, frame, link)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _packet(self, protocol: cython.int, time_ns: i64, frame: i64, link: u64) -> cython.int:
        """Add rows for the packet at the cursor, and for those in its tunnels."""
        _layer: cython.int
        port: cython.int
        row: index
        for _layer in range(_LAYERS):
            if protocol == _UDP:
                if not self._has(8, _CUT_UDP):
                    return 0
                self._datagram(time_ns, frame, link)
                row = self.rows.size - 1
                port = cython.cast(cython.int, self.rows.ports[row] & 0xFFFF)
                if port == 4789 or port == 8472 or port == 6081 or port == 2152:
                    protocol = self.headers.walk_tunnel(port)
                    continue
                if not self._may_tunnel(row):
                    return 0
                protocol = self.encapsulation.enter_datagram(cython.cast(cython.int, self.rows.ports[row] >> 16), port)
            elif (protocol == _ICMP and self.headers.family == 4) or (protocol == _ICMPV6 and self.headers.family == 6):
                if self._has(8, _CUT_ICMP) and self._is_error():
                    self._error(time_ns, frame, link)
                return 0
            elif protocol < 50:
                return 0
            else:
                protocol = self.encapsulation.enter_protocol(protocol)
            if protocol <= 0:
                return 0
            self.headers.depth += 1
            protocol = self.headers.walk(protocol)
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _may_tunnel(self, row: index) -> cython.bint:
        """Whether a datagram has a port of the rarer tunnels, or a first byte that `enter_datagram` would recognize."""
        ports: u64 = self.rows.ports[row]
        byte: u64 = self.rows.payload_high[row] >> 56
        return (
            1701 <= ports & 0xFFFF <= 6635 or 1701 <= ports >> 16 <= 6635 or byte <= 4 or byte == 0x45 or byte == 0x60
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _rare_link(
        self, at: index, end: index, cut: cython.bint, time_ns: i64, link_type: cython.int, frame: i64
    ) -> cython.int:
        """Decode a frame of a rare link layer."""
        before: index = self.rows.size
        self.headers.at, self.headers.end, self.headers.cut = at, end, cut
        self.headers.depth = self.headers.family = 0
        self.encapsulation.sender = 0
        kind: cython.int = self.encapsulation.enter_link(link_type)
        if kind > 0:
            link: u64 = self.encapsulation.sender
            if kind >> 16 == 1:
                link = self._sender(self.headers.at, self.headers.end - self.headers.at, kind & 0xFFFF)
            self._packet(self.headers.walk(kind), time_ns, frame, link)
        if self.encapsulation.msdus_end:
            self._rest_of_aggregate(before, time_ns, frame, self.encapsulation.sender)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _rest_of_aggregate(self, before: index, time_ns: i64, frame: i64, link: u64) -> cython.int:
        """Decode the packets of an A-MSDU after its first, as long as there is room for rows."""
        kind: cython.int
        while self.encapsulation.msdus_end:
            if self.rows.size - before >= _AGGREGATED:
                self.faults[_TOO_MANY_HEADERS] += 1
                self.encapsulation.msdus_end = 0
                return 0
            kind = self.encapsulation.next_msdu()
            if kind > 0:
                self.headers.depth = self.headers.family = 0
                self._packet(self.headers.walk(kind), time_ns, frame, link)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _has(self, size: i64, fault: cython.int) -> cython.bint:
        if self.headers.end - self.headers.at >= size:
            return True
        self.faults[fault if self.headers.cut else _SHORT + fault] += 1
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def _sender(self, at: index, captured: i64, link_type: cython.int) -> u64:
        """Hash of the frame's sender and link, to tell links and their two directions apart; 0 if unknown."""
        if link_type == 1:
            return self.headers.word64(at + 6) >> 16 if captured >= 14 else 0
        if link_type == 113:  # LINKTYPE_LINUX_SLL: the address, and the packet's direction
            return (
                self.headers.word64(at + 6) >> 16 | cython.cast(u64, self.headers.u16(at) & 15) << 48
                if captured >= 16
                else 0
            )
        if link_type == 276:
            return (
                self.headers.word64(at + 12) >> 16
                | cython.cast(u64, self.headers.u8(at + 10) & 15) << 48
                | cython.cast(u64, self.headers.u32(at + 4) & 0xFFF) << 52
                if captured >= 20
                else 0
            )
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _datagram(self, time_ns: i64, frame: i64, link: u64) -> cython.int:
        """Add a row for the datagram at the cursor."""
        row: index = self.rows.start_row()
        at: index = self.headers.at
        self.headers.read(at)
        word: u64 = self.headers.first  # ports, length, checksum
        udp_length: i64 = cython.cast(i64, word >> 16 & 0xFFFF)
        checksum: i64 = cython.cast(i64, word & 0xFFFF)
        header: i64 = at - self.headers.ip_start
        self.rows.is_error[row] = 0
        self.rows.frame[row], self.rows.time_ns[row], self.rows.link[row] = frame, time_ns, link
        self.rows.source_high[row], self.rows.source_low[row] = self.headers.source_high, self.headers.source_low
        self.rows.destination_high[row] = self.headers.destination_high
        self.rows.destination_low[row] = self.headers.destination_low
        self.rows.ports[row] = word >> 32
        self.rows.ip_length[row] = header + udp_length if self.headers.first_fragment else self.headers.ip_length
        self.rows.detail[row] = (
            self._id(self.headers) << 48
            | cython.cast(u64, udp_length) << 32
            | cython.cast(u64, checksum) << 16
            | cython.cast(u64, self.headers.ttl) << 8
            | (_FRAGMENTED if self.headers.first_fragment else 0)
            | (_TUNNELLED if self.headers.depth else 0)
        )
        # A UDP length below 8 or beyond its IP packet (RFC 768), whose header has no options as far as this goes.
        if udp_length < 8 or (
            not self.headers.first_fragment
            and udp_length + (20 if self.headers.family == 4 else 40) > self.rows.ip_length[row]
        ):
            self.faults[_BAD_UDP_LENGTH] += 1
        self.rows.payload_at[row] = at + 8
        self.rows.payload_end[row] = max(min(self.headers.end, at + udp_length), at + 8)
        self._payload(row, min(self.headers.end, at + udp_length) - at - 8, self.headers.second, self.headers.third)
        self._finish_checksum(row, udp_length, checksum)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def _id(self, headers: Headers) -> u64:
        """The IPv4 id; the lower half of an IPv6 fragment's id; else 0."""
        if headers.family == 4:
            return cython.cast(u64, headers.ip_id)
        return cython.cast(u64, headers.fragment_id & 0xFFFF) if headers.fragment_id > 0 else 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _payload(self, row: index, size: i64, high: u64, low: u64) -> cython.int:
        """Store the payload bytes among the 16 bytes after a UDP header, and their number."""
        count: i64 = max(min(size, 16), 0)
        if count < 8:
            high, low = high & ~(_MASK64 >> (8 * count)), 0
        elif count < 16:
            low &= ~(_MASK64 >> (8 * count - 64))
        self.rows.payload_high[row], self.rows.payload_low[row] = high, low
        self.rows.proof[row] = cython.cast(u64, count) << 8
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _finish_checksum(self, row: index, udp_length: i64, checksum: i64) -> cython.int:
        """Complete a partial checksum, which the network card was to finish.

        Linux leaves the sum of the pseudo header there (`skb_checksum_start`, CHECKSUM_PARTIAL). A quote holds the
        complete one.
        """
        at: index = self.headers.at
        total: i64 = self.headers.pseudo_sum(udp_length, 17)
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        if checksum == 0 or checksum != total:
            return 0
        self.rows.proof[row] |= 1
        if udp_length < 8 or at + udp_length > self.headers.end:
            return 0
        total += self.headers.word_sum(at, at + udp_length) - checksum
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        total ^= 0xFFFF
        self.rows.proof[row] |= cython.cast(u64, total or 0xFFFF) << 16
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _is_error(self) -> cython.bint:
        """Whether the type is an error about a packet, or an unknown ICMPv6 error (RFC 4443, section 2.1)."""
        kind: i64 = self.headers.u8(self.headers.at)
        if self.headers.family == 4:
            return kind == 3 or kind == 4 or kind == 11 or kind == 12
        return 0 < kind < 128

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _error(self, time_ns: i64, frame: i64, link: u64) -> cython.int:
        """Add a row for the ICMP error at the cursor, if it quotes UDP.

        An error that quotes a tunnel's packet is about the datagram inside. If the tunnel itself is UDP, the error is
        about both, and there is a row for each.
        """
        at: index = self.headers.at
        given: i64 = self._quote_length()
        end: index = at + 8 + given if given else self.headers.end
        protocol: cython.int = self.quote.walk_quote(
            at + 8, end, self.headers.cut and end == self.headers.end, self.headers.family
        )
        first: index = self.rows.size
        port: cython.int
        kind: cython.int
        _layer: cython.int
        self.quoted_encapsulation.msdus_end = 0
        for _layer in range(_QUOTED_LAYERS):
            if protocol == _UDP or (self.quote.later_fragment and self.quote.protocol == _UDP):
                self._quote_row(time_ns, frame, link, at, first)
                if protocol != _UDP or self.quote.closed or self.quote.end - self.quote.at < 8:
                    return 0
                port = cython.cast(cython.int, self.quote.u16(self.quote.at + 2))
                if port == 4789 or port == 8472 or port == 6081 or port == 2152:
                    protocol = self.quote.walk_tunnel(port)
                    continue
                self.quote.depth += 1  # nothing inside counts as a fault
                kind = self.quoted_encapsulation.enter_datagram(
                    cython.cast(cython.int, self.quote.u16(self.quote.at)), port
                )
            elif protocol < 50 or self.quote.closed:
                return 0
            else:
                self.quote.depth += 1
                kind = self.quoted_encapsulation.enter_protocol(protocol)
            if kind <= 0:
                return 0
            protocol = self.quote.walk(kind)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _quote_row(self, time_ns: i64, frame: i64, link: u64, at: index, first: index) -> cython.int:
        """Add a row for an ICMP error and the UDP header at the quote's cursor.

        Args:
            time_ns, frame, link: of the error.
            at: where its ICMP message begins.
            first: the first row of this error.
        """
        row: index = self.rows.start_row()
        kind: i64 = self.headers.u16(at)
        tunnel: i64 = min(self.quote.ip_start - at - 8, _LONGEST_TUNNEL)
        self.rows.is_error[row] = 1
        self.rows.frame[row], self.rows.time_ns[row], self.rows.link[row] = frame, time_ns, link
        self.rows.kind[row] = cython.cast(u64, self.headers.family) << 16 | cython.cast(u64, kind)
        self.rows.outer[row] = (
            self._id(self.headers) << 48
            | cython.cast(u64, tunnel) << 16
            | cython.cast(u64, self.headers.ttl) << 8
            | (8 if self.headers.family != self.quote.family else 0)
            | (4 if self.headers.family == 4 and self.headers.u8(self.headers.ip_start + 6) & 0x40 else 0)
        )
        self.rows.mtu[row] = self._next_hop_mtu(kind)
        self.rows.reporter_high[row], self.rows.reporter_low[row] = self.headers.source_high, self.headers.source_low
        self.rows.source_high[row], self.rows.source_low[row] = self.quote.source_high, self.quote.source_low
        self.rows.destination_high[row] = self.quote.destination_high
        self.rows.destination_low[row] = self.quote.destination_low
        self.rows.quoted_ip_length[row] = self.quote.ip_length
        self.rows.quoted_bytes[row] = self.quote.end - self.quote.ip_start
        self._quoted_udp(row)
        self.rows.notes[row] |= self._notes() | (_ABOUT_TUNNEL if tunnel else 0)
        if row > first:
            self.rows.message[row], self.rows.message_end[row] = self.rows.message[first], self.rows.message_end[first]
            return 0
        if self.headers.cut:
            self.faults[_CUT_ICMP] += 1
        return self._keep_message(row, at, self.headers.end)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _quote_length(self) -> i64:
        """Length of the quote by RFC 4884's length field (section 4); 0 where that is not plausible."""
        at: index = self.headers.at
        kind: i64 = self.headers.u8(at)
        length: i64 = 0
        if self.headers.family == 4 and (kind == 3 or kind == 11 or kind == 12):
            length = self.headers.u8(at + 5) * 4
        elif self.headers.family == 6 and (kind == 1 or kind == 3):
            length = self.headers.u8(at + 4) * 8
        fits: cython.bint = length >= (20 if self.headers.family == 4 else 40) and at + 8 + length <= self.headers.end
        return length if fits else 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _next_hop_mtu(self, kind: i64) -> i64:
        """The MTU an error reports (RFC 1191; RFC 4443, section 3.2); -1 for errors without one."""
        if self.headers.family == 4:
            return self.headers.u16(self.headers.at + 6) if kind == 0x0304 else -1
        return self.headers.u32(self.headers.at + 4) if kind >> 8 == 2 else -1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _quoted_udp(self, row: index) -> cython.int:
        """Store ports, lengths, checksum and payload as far as they are quoted; notes tell what is missing or wrong."""
        at: index = self.quote.at
        there: i64 = 0 if self.quote.later_fragment else self.quote.end - at
        said: i64 = self.quote.ip_length
        header: i64 = at - self.quote.ip_start
        udp_length: i64 = self.quote.u16(at + 4) if there >= 6 else 0
        checksum: i64 = self.quote.u16(at + 6) if there >= 8 else 0
        notes: u64 = _QUOTES_LATER_FRAGMENT if self.quote.later_fragment else 0
        self.rows.ports[row] = cython.cast(u64, self.quote.u32(at)) if there >= 4 else 0
        if 2 <= there < 4:  # the source port alone helps to find the datagram
            self.rows.ports[row] = cython.cast(u64, self.quote.u16(at)) << 16
        if there < 4:
            notes |= _NO_PORTS
        if there < 6:
            notes |= _NO_LENGTH
        if there < 8:
            notes |= _NO_CHECKSUM
        else:
            self.quote.read(at)
            self._payload(
                row,
                (self.quote.end if udp_length < 8 else min(self.quote.end, at + udp_length)) - at - 8,
                self.quote.second,
                self.quote.third,
            )
        self.rows.detail[row] = (
            self._id(self.quote) << 48
            | cython.cast(u64, udp_length) << 32
            | cython.cast(u64, checksum) << 16
            | cython.cast(u64, self.quote.ttl) << 8
            | (_FRAGMENTED if self.quote.first_fragment else 0)
            | (_TUNNELLED if self.headers.depth or self.quote.depth else 0)
        )
        if there >= 6 and not self.quote.first_fragment and said > 0 and said != udp_length + header:
            swapped: i64 = (said & 0xFF) << 8 | said >> 8
            notes |= _IP_LENGTH_SWAPPED if swapped == udp_length + header else _IP_LENGTH_LIES
        # The UDP header gives the datagram's length. The IP header does for a fragment, or if it gives more than was
        # quoted.
        if udp_length >= 8 and not self.quote.first_fragment:
            self.rows.length[row] = udp_length + header
        elif said > self.rows.quoted_bytes[row] or self.quote.fragment_id >= 0:
            self.rows.length[row] = said
        else:
            self.rows.length[row] = _UNKNOWN
        self.rows.notes[row] = notes
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def _notes(self) -> u64:
        """Notes on the error itself."""
        notes: u64 = (_IN_TUNNEL if self.headers.depth else 0) | (
            _ICMP_FRAGMENTED if self.headers.first_fragment else 0
        )
        if self.headers.cut or self.headers.first_fragment:
            return notes  # part of what the checksum covers is missing
        total: i64 = self.headers.word_sum(self.headers.at, self.headers.end)
        if self.headers.family == 6:
            total += self.headers.pseudo_sum(self.headers.end - self.headers.at, 58)
        while total >> 16:
            total = (total & 0xFFFF) + (total >> 16)
        return notes if total == 0xFFFF else notes | _BAD_ICMP_CHECKSUM

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _keep_message(self, row: index, at: index, end: index) -> cython.int:
        """Copy the ICMP message, because the capture's buffer will be reused."""
        self.rows.message[row] = self.rows.message_end[row] = self.messages_end
        if not self.keeps_messages:
            return 0
        place: index
        size: index = min(end - at, _MESSAGE)
        for place in range(size):
            self.message_bytes[self.messages_end + place] = self.data[at + place]
        self.messages_end += size
        self.rows.message_end[row] = self.messages_end
        return 0
