"""What an ICMP or ICMPv6 error quotes: the start of the datagram that caused it.

A quote is the least trustworthy piece of a packet: cut after 8 bytes of UDP, its lengths changed or swapped
by the router, followed by padding or by extensions (RFC 4884). Whatever is there is read, the rest is noted.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.checksum import address_sums, adds_up, word_sums
from udpprobe.core.decoding.layers_ip import ICMP, ICMPV6, IPV4, IPV6, QUOTED, UDP
from udpprobe.core.decoding.walk import LATER_FRAGMENT, Walk
from udpprobe.core.notes import Note
from udpprobe.core.packets import DONT_FRAGMENT, FRAGMENTED, TUNNELLED, UNKNOWN_LENGTH, Errors, u64


def _table(*types: int) -> Bool:
    """(256,) True for some types: looked up faster than `numpy.isin` finds them."""
    table = np.zeros(256, np.bool_)
    table[list(types)] = True
    return table


V4_ERRORS, V6_ERRORS = _table(3, 4, 11, 12), _table(*range(1, 128))
V4_EXTENSIBLE, V6_EXTENSIBLE = _table(3, 11, 12), _table(1, 3)
"""Types with a length field (RFC 4884, section 4)."""


def decode_errors(walk: Walk, frame: I64, time_ns: I64) -> tuple[Errors, Counter[str]]:
    """The errors among the walked packets that stopped at ICMP, and the faults met in them.

    Args:
        walk: packets after a walk; only those whose kind is ICMP or ICMPV6 are looked at.
        frame: (n,) their frame numbers.
        time_ns: (n,) their times.
    """
    rows = _error_rows(walk)
    quotes, faults = _walk_quotes(walk, rows)
    quoted_rows = np.arange(len(rows))
    udp = (quotes.kind == UDP) | ((quotes.kind == LATER_FRAGMENT) & (quotes.protocol == UDP & 0xFF))
    rows, kept = rows[udp], quoted_rows[udp]
    notes = _notes(walk, rows, quotes, kept)
    faults["cut-icmp"] += int(np.count_nonzero(walk.cut[rows]))
    return _columns(walk, rows, quotes, kept, (frame[rows], time_ns[rows], notes)), +faults


def _error_rows(walk: Walk) -> I64:
    """Packets that are an error message, of a type we know or an unknown ICMPv6 error (RFC 4443, 2.1)."""
    rows = np.flatnonzero(((walk.kind == ICMP) & (walk.family == 4)) | ((walk.kind == ICMPV6) & (walk.family == 6)))
    rows = rows[walk.need(rows, 8, "icmp")]
    kind = walk.u8(rows)
    is_error = np.where(walk.family[rows] == 4, V4_ERRORS[kind], V6_ERRORS[kind])
    return rows[is_error]


def _walk_quotes(walk: Walk, rows: I64) -> tuple[Walk, Counter[str]]:
    """Walk the quotes of these packets as far as their UDP headers."""
    start = walk.cursor[rows] + 8
    given = quote_length(walk, rows)
    end = np.where(given > 0, np.minimum(start + given, walk.end[rows]), walk.end[rows])
    cut = walk.cut[rows] & (end == walk.end[rows])
    kind = np.where(walk.family[rows] == 4, IPV4, IPV6)
    quotes = Walk(walk.data, start, end, kind, cut=cut, quoted=True)
    quotes.run(QUOTED, np.arange(len(rows)))
    return quotes, Counter({f"quoted-{name}": count for name, count in quotes.fault_counts().items()})


def quote_length(walk: Walk, rows: I64) -> I64:
    """Bytes of the quote as RFC 4884's length field says; 0 where it says nothing believable."""
    v4 = walk.family[rows] == 4
    kind = walk.u8(rows)
    length = np.where(v4, walk.u8(rows, 5) * 4, walk.u8(rows, 4) * 8)
    has_field = np.where(v4, V4_EXTENSIBLE[kind], V6_EXTENSIBLE[kind])
    smallest = np.where(v4, 20, 40)
    fits = (length >= smallest) & (walk.cursor[rows] + 8 + length <= walk.end[rows])
    return np.where(has_field & fits, length, 0)


def _columns(walk: Walk, rows: I64, quotes: Walk, kept: I64, more: tuple[I64, I64, I64]) -> Errors:
    frame, time_ns, notes = more
    family, type_and_code = walk.family[rows], walk.u16(rows)
    return Errors(
        frame=frame, time_ns=time_ns, family=family, type=type_and_code >> 8, code=type_and_code & 0xFF,
        outer=(id_of(walk, rows) << 48 | walk.ttl[rows] << 8 | _dont_fragment(walk, rows)).view(np.uint64),
        mtu=next_hop_mtu(family, type_and_code, walk.u32(rows, 4)),
        reporter_high=walk.source_high[rows], reporter_low=walk.source_low[rows],
        source_high=quotes.source_high[kept], source_low=quotes.source_low[kept],
        destination_high=quotes.destination_high[kept], destination_low=quotes.destination_low[kept],
        ports=np.where(notes & Note.NO_PORTS, 0, quotes.u32(kept)).astype(np.uint64),
        detail=_detail(walk, rows, quotes, kept, notes),
        ip_length=quotes.ip_length[kept], length=_known_length(quotes, kept, notes),
        quoted_bytes=quotes.end[kept] - quotes.ip_start[kept],
        message=walk.cursor[rows], message_end=walk.end[rows], notes=notes)


def _dont_fragment(walk: Walk, rows: I64) -> I64:
    """DONT_FRAGMENT of those IPv4 packets that have DF set."""
    flags = walk.data[walk.ip_start[rows] + 6].astype(np.int64)
    return np.where((walk.family[rows] == 4) & (flags & 0x40 > 0), int(DONT_FRAGMENT), 0)


def _detail(walk: Walk, rows: I64, quotes: Walk, kept: I64, notes: I64) -> U64:
    """The packed word of `Datagrams.detail`, zero for what the quote does not reach."""
    length = np.where(notes & Note.NO_LENGTH, 0, quotes.u16(kept, 4))
    checksum = np.where(notes & Note.NO_CHECKSUM, 0, quotes.u16(kept, 6))
    packed = id_of(quotes, kept) << 48 | length << 32 | checksum << 16 | quotes.ttl[kept] << 8
    return (packed.astype(np.uint64)
            | np.where(quotes.first_fragment[kept], FRAGMENTED, u64(0))
            | np.where(walk.depth[rows] > 0, TUNNELLED, u64(0)))


def id_of(walk: Walk, rows: I64) -> I64:
    """The IPv4 id; of an IPv6 fragment the lower half of its own; else 0."""
    return np.where(walk.family[rows] == 4, walk.ip_id[rows], np.maximum(walk.fragment_id[rows], 0) & 0xFFFF)


def _notes(walk: Walk, rows: I64, quotes: Walk, kept: I64) -> I64:
    """What is odd about each error and its quote."""
    later = quotes.kind[kept] == LATER_FRAGMENT
    there = np.where(later, 0, quotes.end[kept] - quotes.cursor[kept])
    header = quotes.cursor[kept] - quotes.ip_start[kept]
    udp_length = np.where(there >= 6, quotes.u16(kept, 4), 0)
    said, real = quotes.ip_length[kept], udp_length + header
    swapped = (said & 0xFF) << 8 | said >> 8
    whole = (there >= 6) & ~quotes.first_fragment[kept] & (said != real) & (said > 0)
    pairs: tuple[tuple[Note, Bool], ...] = (
        (Note.QUOTES_LATER_FRAGMENT, later),
        (Note.NO_PORTS, there < 4), (Note.NO_LENGTH, there < 6), (Note.NO_CHECKSUM, there < 8),
        (Note.IP_LENGTH_SWAPPED, whole & (swapped == real)),
        (Note.IP_LENGTH_LIES, whole & (swapped != real)),
        (Note.TUNNELLED, walk.depth[rows] > 0),
        (Note.ICMP_FRAGMENTED, walk.first_fragment[rows]),
        (Note.BAD_ICMP_CHECKSUM, ~_checksum_holds(walk, rows)),
    )
    return _bits(pairs, len(rows))


def _bits(pairs: tuple[tuple[Note, Bool], ...], n: int) -> I64:
    notes = np.zeros(n, np.int64)
    for note, holds in pairs:
        notes |= np.where(holds, note, 0)
    return notes


def _known_length(quotes: Walk, kept: I64, notes: I64) -> I64:
    """(n,) bytes of the quoted IP packet, by the UDP length where that is quoted; UNKNOWN_LENGTH where neither helps.

    The IP header's own length is believed of a fragment, and where it says more than was quoted.
    """
    said, quoted = quotes.ip_length[kept], quotes.end[kept] - quotes.ip_start[kept]
    header = quotes.cursor[kept] - quotes.ip_start[kept]
    udp_length = np.where(notes & Note.NO_LENGTH, 0, quotes.u16(kept, 4))
    believed = np.where((said > quoted) | (quotes.fragment_id[kept] >= 0), said, UNKNOWN_LENGTH)
    return np.where((udp_length >= 8) & ~quotes.first_fragment[kept], udp_length + header, believed)


def next_hop_mtu(family: I64, type_and_code: I64, rest: I64) -> I64:
    """(n,) the MTU an error reports; -1 where it is none that does."""
    v4 = (family == 4) & (type_and_code == 0x0304)
    v6 = (family == 6) & (type_and_code >> 8 == 2)
    return np.where(v4, rest & 0xFFFF, np.where(v6, rest, -1))


def _checksum_holds(walk: Walk, rows: I64) -> Bool:
    """False where the message is all there and its checksum wrong."""
    whole = ~walk.cut[rows] & ~walk.first_fragment[rows]
    start, end = walk.cursor[rows], np.where(whole, walk.end[rows], walk.cursor[rows])
    pseudo = (address_sums(walk.source_high[rows], walk.source_low[rows])
              + address_sums(walk.destination_high[rows], walk.destination_low[rows]) + end - start + 58)
    sums = word_sums(walk.data, start, end) + np.where(walk.family[rows] == 6, pseudo, 0)
    return adds_up(sums) | ~whole
