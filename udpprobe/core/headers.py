"""From a frame's first byte to its UDP or ICMP header: link layers, IPv4, IPv6, extension headers, tunnels.

`Headers` is a cursor that steps over one header after another. Nothing raises: a header that is short or wrong ends the
walk and is counted as a fault by name. What was read before it stays.
"""

from __future__ import annotations

import sys

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

NAMES = (
    "ethernet",
    "vlan",
    "llc",
    "pppoe",
    "ppp",
    "hdlc",
    "mpls",
    "sll",
    "sll2",
    "null",
    "ip",
    "ipv4",
    "ipv6",
    "ipv6-extension",
    "gre",
    "geneve",
    "gtp",
    "udp",
    "icmp",
    "link-header",
    "wlan",
    "erspan",
    "etherip",
    "l2tp",
    "gue",
    "capwap",
)
"""Headers, in the order of the constants below; `link-header` is that of a rare link layer (encapsulation.py)."""

FAULTS = (
    *(f"cut-{name}" for name in NAMES),
    *(f"short-{name}" for name in NAMES),
    "unknown-link-type",
    "too-many-headers",
    "bad-ip-version",
    "bad-ipv4-header",
    "bad-ipv6-header",
    "bad-udp-length",
    "bad-link-header",
    "unknown-null-family",
    "unknown-gre-payload",
    "bad-erspan-header",
    "bad-etherip-header",
    "bad-wlan-checksum",
    "encrypted-wlan",
    "encrypted-capwap",
    "encrypted-esp",
    "encrypted-wireguard",
    "unread-l2tpv3",
    "unread-fou",
    "unread-gue",
)
"""Names of the counters in `Headers.faults`: a header cut by the capture, or one that its packet is too short for."""

_CUT_ETHERNET = cython.declare(cython.const[cython.int], 0)
_CUT_VLAN = cython.declare(cython.const[cython.int], 1)
_CUT_LLC = cython.declare(cython.const[cython.int], 2)
_CUT_PPPOE = cython.declare(cython.const[cython.int], 3)
_CUT_PPP = cython.declare(cython.const[cython.int], 4)
_CUT_HDLC = cython.declare(cython.const[cython.int], 5)
_CUT_MPLS = cython.declare(cython.const[cython.int], 6)
_CUT_SLL = cython.declare(cython.const[cython.int], 7)
_CUT_SLL2 = cython.declare(cython.const[cython.int], 8)
_CUT_NULL = cython.declare(cython.const[cython.int], 9)
_CUT_IP = cython.declare(cython.const[cython.int], 10)
_CUT_IPV4 = cython.declare(cython.const[cython.int], 11)
_CUT_IPV6 = cython.declare(cython.const[cython.int], 12)
_CUT_IPV6_EXTENSION = cython.declare(cython.const[cython.int], 13)
_CUT_GRE = cython.declare(cython.const[cython.int], 14)
_CUT_GENEVE = cython.declare(cython.const[cython.int], 15)
_CUT_GTP = cython.declare(cython.const[cython.int], 16)
_CUT_ERSPAN = cython.declare(cython.const[cython.int], 21)
_SHORT = cython.declare(cython.const[cython.int], 26)
_UNKNOWN_LINK_TYPE = cython.declare(cython.const[cython.int], 52)
_TOO_MANY_HEADERS = cython.declare(cython.const[cython.int], 53)
_BAD_IP_VERSION = cython.declare(cython.const[cython.int], 54)
_BAD_IPV4_HEADER = cython.declare(cython.const[cython.int], 55)
_BAD_IPV6_HEADER = cython.declare(cython.const[cython.int], 56)
_UNKNOWN_NULL_FAMILY = cython.declare(cython.const[cython.int], 59)
_UNKNOWN_GRE_PAYLOAD = cython.declare(cython.const[cython.int], 60)
_BAD_ERSPAN_HEADER = cython.declare(cython.const[cython.int], 61)

# Kind of the header at the cursor: a number from one of these name spaces.
LINK = cython.declare(cython.const[cython.int], 1 << 16)  # LINKTYPE_ values, https://www.tcpdump.org/linktypes.html
ETHER = cython.declare(cython.const[cython.int], 2 << 16)  # EtherTypes
IP = cython.declare(cython.const[cython.int], 3 << 16)  # IP protocols
PPP = cython.declare(cython.const[cython.int], 4 << 16)  # PPP protocol field follows
RAW_IP = cython.declare(cython.const[cython.int], 5 << 16)  # IPv4 or IPv6, by the version field
LLC = cython.declare(cython.const[cython.int], 6 << 16)
MPLS = cython.declare(cython.const[cython.int], 7 << 16)
NOTHING = cython.declare(cython.const[cython.int], 0)

# Where a walk ends: an IP protocol, or one of these. `decode.py` uses these numbers.
_OTHER = cython.declare(cython.const[cython.int], -1)  # something that carries neither UDP nor ICMP
_MORE = cython.declare(cython.const[cython.int], -3)

MAPPED = cython.declare(cython.const[u64], 0xFFFF_0000_0000)
MASK32 = cython.declare(cython.const[u64], 0xFFFF_FFFF)
MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
EVEN_BYTES = cython.declare(cython.const[u64], 0x00FF_00FF_00FF_00FF)
EVEN_PAIRS = cython.declare(cython.const[u64], 0x0000_FFFF_0000_FFFF)

IS_LITTLE = sys.byteorder == "little"

# Most steps of a walk. A real packet needs about ten; a crafted one must not keep us busy.
MAX_LAYERS = cython.declare(cython.const[cython.int], 40)


@cython.final
@cython.cclass
class Headers:
    """A walk over the headers of one packet after another.

    Attributes:
        at, end: the cursor, and one past the last captured byte of the packet.
        cut: whether the packet was longer on the wire.
        family, ttl, ip_id, ip_length, ip_start: of the innermost IP header so far.
        source_high, source_low, destination_high, destination_low: its addresses.
        fragment_id: of a fragment, else -1.  first_fragment, later_fragment: which one it is.
        protocol: of a later fragment, what its datagram carries.
        depth: number of tunnels entered.
        quoted: the packet is a quote. Wrong length fields do not end it, and a tunnel cut by its end is no fault.
        closed: do not enter tunnels.
    """

    data: bytes | bytearray | memoryview
    first_fragment: cython.bint

    def __init__(self, faults: memoryview) -> None:
        self.faults = faults
        self.quoted = self.closed = False

    @cython.cfunc
    def load(self, data: bytes | bytearray | memoryview) -> cython.void:
        """Walk over these bytes from now on."""
        if len(data) % 8 or not IS_LITTLE:
            padded = bytearray(len(data) + 8 & -8)
            padded[: len(data)] = data
            data = padded
        self.data = data
        self.longs = memoryview(data).cast("B").cast("Q")
        # fields are read as unaligned words of eight bytes: two bounds checks instead of eight
        self.limit = len(data) - 16 if IS_LITTLE else -1

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def u8(self, at: index) -> i64:
        """The byte at a place."""
        return self.data[at]

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def u16(self, at: index) -> i64:
        """Two bytes, big-endian."""
        return cython.cast(i64, self.data[at]) << 8 | self.data[at + 1]

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def u32(self, at: index) -> i64:
        """Four bytes, big-endian."""
        return (
            cython.cast(i64, self.data[at]) << 24
            | cython.cast(i64, self.data[at + 1]) << 16
            | cython.cast(i64, self.data[at + 2]) << 8
            | self.data[at + 3]
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def word64(self, at: index) -> u64:
        """Eight bytes, big-endian."""
        if at > self.limit or at < 0:
            return cython.cast(u64, self.u32(at)) << 32 | cython.cast(u64, self.u32(at + 4))
        shift: u64 = at << 3 & 63
        return self._joined(self.longs[at >> 3], self.longs[(at >> 3) + 1], shift)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(check=False)
    def _joined(self, first: u64, second: u64, shift: u64) -> u64:
        """Eight bytes, big-endian, out of two aligned words, starting at bit `shift` (0 to 56)."""
        word: u64 = first >> shift | second << 1 << (63 - shift) & MASK64
        word = (word & EVEN_BYTES) << 8 | word >> 8 & EVEN_BYTES  # compilers turn this into one instruction
        word = (word & EVEN_PAIRS) << 16 | word >> 16 & EVEN_PAIRS
        return (word & MASK32) << 32 | word >> 32

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def read(self, at: index) -> cython.int:
        """Read the 24 bytes from `at` into `first`, `second` and `third`; zeros beyond the end of the data.

        This takes four aligned words and their bounds checks; three calls of `word64` would take six.
        """
        place: index
        if at > self.limit - 16 or at < 0:
            self.first = self.second = self.third = 0
            for place in range(at, min(at + 24, len(self.data))):
                if place < at + 8:
                    self.first |= cython.cast(u64, self.data[place]) << (56 - 8 * (place - at))
                elif place < at + 16:
                    self.second |= cython.cast(u64, self.data[place]) << (120 - 8 * (place - at))
                else:
                    self.third |= cython.cast(u64, self.data[place]) << (184 - 8 * (place - at))
            return 0
        shift: u64 = at << 3 & 63
        place = at >> 3
        one: u64 = self.longs[place]
        two: u64 = self.longs[place + 1]
        three: u64 = self.longs[place + 2]
        four: u64 = self.longs[place + 3]
        self.first = self._joined(one, two, shift)
        self.second = self._joined(two, three, shift)
        self.third = self._joined(three, four, shift)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def word_sum(self, at: index, end: index) -> i64:
        """Sum of the 16-bit words from `at` to `end`, an odd byte padded with zero (RFC 1071)."""
        total: i64 = 0
        while at + 1 < end:
            total += self.u16(at)
            at += 2
        return total + (self.u8(at) << 8 if at < end else 0)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def pseudo_sum(self, length: i64, protocol: cython.int) -> i64:
        """Sum of the pseudo header's words (RFC 768; RFC 8200, section 8.1) of the innermost IP packet, in 17 bits.

        The sum of words of 32 bits, folded, is that of words of 16 bits (RFC 1071, section 2).
        """
        total: u64 = (
            cython.cast(u64, length)
            + cython.cast(u64, protocol)
            + (self.source_low & MASK32)
            + (self.destination_low & MASK32)
        )
        if self.family == 6:
            total += (self.source_low >> 32) + (self.destination_low >> 32)
            total += (self.source_high & MASK32) + (self.source_high >> 32)
            total += (self.destination_high & MASK32) + (self.destination_high >> 32)
        total = (total & 0xFFFF) + (total >> 16 & 0xFFFF) + (total >> 32)
        return cython.cast(i64, (total & 0xFFFF) + (total >> 16))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def walk_link(self, at: index, end: index, cut: cython.bint, link_type: cython.int) -> cython.int:
        """Walk a frame from its link layer on.

        Returns:
            The IP protocol of the header at the cursor: 17, 1, 58 …; -1 if the packet carries nothing of interest, is a
            later fragment, or has a fault.
        """
        self.at, self.end, self.cut, self.depth, self.family = at, end, cut, 0, 0
        if link_type == 101:  # LINKTYPE_RAW
            return self.walk(RAW_IP)
        return self.walk(LINK | link_type)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def start_message(
        self, size: index, source_high: u64, source_low: u64, destination_high: u64, destination_low: u64
    ) -> cython.int:
        """Start at an ICMPv6 message without its IPv6 header, of which only the addresses are known."""
        self.at, self.end, self.cut, self.depth, self.family = 0, size, False, 0, 6
        self.ip_start, self.ttl, self.ip_id, self.fragment_id = 0, 0, 0, -1
        self.ip_length = 40 + size
        self.later_fragment = self.first_fragment = False
        self.source_high, self.source_low = source_high, source_low
        self.destination_high, self.destination_low = destination_high, destination_low
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def walk_quote(self, at: index, end: index, cut: cython.bint, family: cython.int) -> cython.int:
        """Walk a quote from its IP header on; like `walk_link`."""
        self.at, self.end, self.cut, self.depth, self.family = at, end, cut, 0, 0
        self.ip_start = at
        return self.walk(ETHER | (0x0800 if family == 4 else 0x86DD))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def walk(self, kind: cython.int) -> cython.int:
        """Step over headers to the innermost one; like `walk_link`."""
        self.later_fragment = self.first_fragment = False
        self.fragment_id = -1
        _layer: cython.int
        for _layer in range(MAX_LAYERS):
            if kind == (ETHER | 0x0800):
                kind = self._ipv4()
            elif kind == (ETHER | 0x86DD):
                kind = self._ipv6()
            elif kind >> 16 == 3:
                if kind == (IP | 17) or kind == (IP | 6):
                    return kind & 0xFF
                kind = self._inside_ip(kind & 0xFF)
                if kind >> 16 == 3 and kind & 0x100:
                    return kind & 0xFF
            elif kind == (LINK | 1):
                kind = self._ethernet()
            elif kind == RAW_IP:
                kind = self._raw_ip()
            elif kind <= 0:
                return _OTHER
            else:
                kind = self._link_layer(kind)
        return self._fail(_TOO_MANY_HEADERS)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _fail(self, fault: cython.int) -> cython.int:
        """End the packet with a fault."""
        if not (self.quoted and self.depth):
            self.faults[fault] += 1
        return _OTHER

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _has(self, size: i64, header: cython.int) -> cython.bint:
        """Whether `size` bytes are there; if not, count a fault of this header."""
        if self.end - self.at >= size:
            return True
        if not (self.quoted and self.depth):
            self.faults[header if self.cut else _SHORT + header] += 1
        return False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _ether_type(self, size: index, number: i64) -> cython.int:
        """The kind of what follows an EtherType, or an IEEE 802.3 length, after `size` bytes."""
        self.at += size
        return LLC if number < 0x0600 else ETHER | cython.cast(cython.int, number)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _ethernet(self) -> cython.int:
        """Ethernet II or IEEE 802.3."""
        if not self._has(14, _CUT_ETHERNET):
            return _OTHER
        return self._ether_type(14, self.u16(self.at + 12))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _link_layer(self, kind: cython.int) -> cython.int:
        """Step over any other layer below IP; return the kind of what follows."""
        at: index = self.at
        if kind in (ETHER | 0x8100, ETHER | 0x88A8, ETHER | 0x9100):  # IEEE 802.1Q and 802.1ad
            return self._ether_type(4, self.u16(at + 2)) if self._has(4, _CUT_VLAN) else _OTHER
        if kind == (ETHER | 0x8847) or kind == (ETHER | 0x8848) or kind == MPLS:
            return self._mpls()
        if kind == LLC:  # with SNAP (RFC 1042); anything else there carries no UDP
            if not self._has(8, _CUT_LLC) or self.u16(at) != 0xAAAA or self.u8(at + 2) != 3:
                return _OTHER
            return self._ether_type(8, self.u16(at + 6))
        if kind == (ETHER | 0x8864) or kind == (LINK | 51):  # PPPoE session stage (RFC 2516)
            if not self._has(6, _CUT_PPPOE):
                return _OTHER
            self.at += 6
            return PPP
        if kind == PPP or kind == (ETHER | 0x880B) or kind == (LINK | 9):
            return self._ppp()
        if kind == (LINK | 50) or kind == (LINK | 104):
            # Cisco HDLC (RFC 1547, 4.3.1); a PPP frame may stand there too (LINKTYPE_PPP_HDLC)
            if not self._has(4, _CUT_HDLC):
                return _OTHER
            return PPP if self.u16(at) == 0xFF03 else self._ether_type(4, self.u16(at + 2))
        if kind == (LINK | 113):  # LINKTYPE_LINUX_SLL
            return self._ether_type(16, self.u16(at + 14)) if self._has(16, _CUT_SLL) else _OTHER
        if kind == (LINK | 276):  # LINKTYPE_LINUX_SLL2
            return self._ether_type(20, self.u16(at)) if self._has(20, _CUT_SLL2) else _OTHER
        if kind == LINK or kind == (LINK | 108):
            return self._null()
        return self._fail(_UNKNOWN_LINK_TYPE) if kind >> 16 == 1 else _OTHER

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _mpls(self) -> cython.int:
        """One label stack entry (RFC 3032). After the last one, the version nibble tells what follows."""
        if not self._has(5, _CUT_MPLS):
            return _OTHER
        is_bottom: cython.bint = self.u8(self.at + 2) & 1
        version: i64 = self.u8(self.at + 4) >> 4
        self.at += 4
        if not is_bottom:
            return MPLS
        return RAW_IP if version == 4 or version == 6 else _OTHER

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _ppp(self) -> cython.int:
        """PPP with or without address and control, and with a protocol of one or two bytes (RFC 1661, 1662)."""
        if not self._has(4, _CUT_PPP):
            return _OTHER
        if self.u16(self.at) == 0xFF03:
            self.at += 2
        protocol: i64 = self.u8(self.at)
        if protocol & 1:
            self.at += 1
        else:
            protocol = self.u16(self.at)
            self.at += 2
        if protocol == 0x0021:
            return ETHER | 0x0800
        if protocol == 0x0057:
            return ETHER | 0x86DD
        return MPLS if protocol == 0x0281 or protocol == 0x0283 else _OTHER

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _null(self) -> cython.int:
        """LINKTYPE_NULL and LINKTYPE_LOOP: an address family in the recorder's byte order.

        AF_INET is 2 everywhere; AF_INET6 is 10 on Linux, 23 on Windows, 24 on Open- and NetBSD, 28 on FreeBSD, 30 on
        Darwin. Some write an EtherType instead, or PPP's address, control and protocol.
        """
        if not self._has(4, _CUT_NULL):
            return _OTHER
        big: i64 = self.u32(self.at)
        little: i64 = (big & 0xFF) << 24 | (big & 0xFF00) << 8 | big >> 8 & 0xFF00 | big >> 24
        number: i64 = min(big, little)
        if big >> 16 == 0xFF03:
            return PPP
        self.at += 4
        if number == 2:
            return ETHER | 0x0800
        if number in (10, 23, 24, 28, 30):
            return ETHER | 0x86DD
        return (
            ETHER | cython.cast(cython.int, number) if 0x0600 <= number <= 0xFFFF else self._fail(_UNKNOWN_NULL_FAMILY)
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _raw_ip(self) -> cython.int:
        """IPv4 or IPv6, by the version field."""
        if not self._has(1, _CUT_IP):
            return _OTHER
        version: i64 = self.u8(self.at) >> 4
        if version == 4:
            return ETHER | 0x0800
        return ETHER | 0x86DD if version == 6 else self._fail(_BAD_IP_VERSION)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _ipv4(self) -> cython.int:
        """RFC 791."""
        if not self._has(20, _CUT_IPV4):
            return _OTHER
        at: index = self.at
        self.read(at)
        word: u64 = self.first  # version and header length, class, length; id, flags and offset
        size: i64 = cython.cast(i64, word >> 56 & 15) * 4
        if word >> 60 != 4 or size < 20:
            return self._fail(_BAD_IPV4_HEADER)
        if not self._has(size, _CUT_IPV4):
            return _OTHER
        length: i64 = cython.cast(i64, word >> 32 & 0xFFFF)
        if 0 < length < size and not self.quoted:  # no host accepts such a packet; offloading leaves 0
            return self._fail(_BAD_IPV4_HEADER)
        self._end_at_length(length, size)
        more: u64 = self.second  # TTL, protocol, checksum; source
        self.family = 4
        self.ip_id = cython.cast(cython.int, word >> 16 & 0xFFFF)
        self.ttl = cython.cast(cython.int, more >> 56)
        self.source_high = self.destination_high = 0
        self.source_low = more & MASK32 | MAPPED
        self.destination_low = self.third >> 32 | MAPPED
        if size > 20:
            self._follow_options(at + 20, at + size)
        return self._fragment(
            cython.cast(i64, word & 0x1FFF),
            word & 0x2000 != 0,
            self.ip_id,
            cython.cast(cython.int, more >> 48 & 0xFF),
            size,
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _follow_options(self, at: index, end: index) -> cython.int:
        """Take the last address of an IPv4 source route with hops left as the destination.

        The header names only the next hop (RFC 791, section 3.1: loose and strict source and record route).
        """
        while at + 2 < end:
            option: i64 = self.u8(at)
            size: i64 = self.u8(at + 1)
            if option == 1:
                at += 1
                continue
            if option == 0 or size < 2 or at + size > end:
                return 0
            if (option == 131 or option == 137) and size >= 7 and self.u8(at + 2) <= size - 3:
                self.destination_low = cython.cast(u64, self.u32(at + 3 + (size - 3) // 4 * 4 - 4)) | MAPPED
                return 0
            at += size
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _follow_route(self, at: index, size: i64) -> cython.int:
        """Take the last segment of an IPv6 routing header with segments left as the destination.

        That is the final destination, which the UDP checksum covers (RFC 8200, section 8.1). Supported are the source
        route of type 0 (RFC 5095), Mobile IPv6 (RFC 6275), RPL (RFC 6554), and segment routing, whose list begins with
        the last segment (RFC 8754).
        """
        kind: i64 = self.u8(at + 2)
        segments_left: i64 = self.u8(at + 3)
        last: index = 0
        if segments_left == 0:
            return 0
        if (kind == 0 or kind == 2) and segments_left <= (size - 8) // 16:
            last = at + 8 + ((size - 8) // 16 - 1) * 16
        elif kind == 4 and size >= 24 and segments_left <= self.u8(at + 4) + 1:
            last = at + 8
        elif kind == 3:
            kept: i64 = 16 - (self.u8(at + 4) & 15)  # bytes of the last address; the others are the shared prefix
            last = at + size - (self.u8(at + 5) >> 4) - kept
            place: i64
            for place in range(16 - kept, 16):
                if last >= at + 8:
                    self._set_destination_byte(place, cython.cast(u64, self.u8(last + place - 16 + kept)))
            return 0
        if last:
            self.destination_high, self.destination_low = self.word64(last), self.word64(last + 8)
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _set_destination_byte(self, place: i64, byte: u64) -> cython.int:
        shift: cython.int = cython.cast(cython.int, 56 - 8 * (place & 7))
        mask: u64 = ~(cython.cast(u64, 0xFF) << shift) & MASK64
        if place < 8:
            self.destination_high = self.destination_high & mask | byte << shift
        else:
            self.destination_low = self.destination_low & mask | byte << shift
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _ipv6(self) -> cython.int:
        """RFC 8200, section 3."""
        if not self._has(40, _CUT_IPV6):
            return _OTHER
        at: index = self.at
        self.read(at)
        word: u64 = self.first  # version, class and flow label; length, next header, hop limit
        if word >> 60 != 6:
            return self._fail(_BAD_IPV6_HEADER)
        payload_length: i64 = cython.cast(i64, word >> 16 & 0xFFFF)
        # A length of 0 means a jumbogram, or a packet that the network card has yet to split.
        self._end_at_length(payload_length + 40 if payload_length else 0, 40)
        self.family, self.ip_id, self.fragment_id, self.first_fragment = 6, 0, -1, False
        self.ttl = cython.cast(cython.int, word & 0xFF)
        self.source_high, self.source_low = self.second, self.third
        self.read(at + 24)
        self.destination_high, self.destination_low = self.first, self.second
        self.at = at + 40
        return IP | cython.cast(cython.int, word >> 8 & 0xFF)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _end_at_length(self, length: i64, header: i64) -> cython.int:
        """Note where the IP packet starts and, unless quoted, end it at its header's length: padding follows."""
        start: index = self.at
        self.ip_start = start
        self.ip_length = length
        if self.quoted:
            return 0
        if length < header:
            self.ip_length = self.end - start
        elif start + length <= self.end:
            self.cut, self.end = False, start + length
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _fragment(
        self, offset: i64, more: cython.bint, fragment_id: i64, protocol: cython.int, size: i64
    ) -> cython.int:
        """Store the fields that identify a fragment's datagram; only the first fragment has a UDP header."""
        self.at += size
        self.first_fragment = offset == 0 and more
        self.fragment_id = fragment_id if offset or more else -1
        if offset:
            self.later_fragment, self.protocol = True, protocol
            return _OTHER
        return IP | protocol

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _inside_ip(self, protocol: cython.int) -> cython.int:
        """Step over an extension header or into a tunnel; the kind of what follows. 0x100 marks the end of the walk."""
        at: index = self.at
        size: i64
        if protocol in (0, 43, 60, 135, 139, 140) or protocol == 51:
            # Hop-by-hop, routing and destination options, mobility, HIP, shim6 (RFC 6564's common shape); the length
            # of AH (RFC 4302) counts in units of four bytes, less two.
            if not self._has(8, _CUT_IPV6_EXTENSION):
                return _OTHER
            size = self.u8(at + 1) * (4 if protocol == 51 else 8) + 8
            if not self._has(size, _CUT_IPV6_EXTENSION):
                return _OTHER
            if protocol == 43:
                self._follow_route(at, size)
            self.at += size
            return IP | cython.cast(cython.int, self.u8(at))
        if protocol == 44:  # RFC 8200, section 4.5
            if not self._has(8, _CUT_IPV6_EXTENSION):
                return _OTHER
            size = self.u16(at + 2)
            return self._fragment(size >> 3, size & 1 != 0, self.u32(at + 4), cython.cast(cython.int, self.u8(at)), 8)
        if not self.closed:
            if protocol == 4 or protocol == 41:  # IPv4 or IPv6 in either (RFC 2003, 2473, 4213)
                self.depth += 1
                return RAW_IP
            if protocol == 47:
                return self._gre()
        return IP | 0x100 | protocol

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _gre(self) -> cython.int:
        """RFC 2784 and 2890; version 1 is PPTP's (RFC 2637), which may carry only an acknowledgment."""
        self.depth += 1
        if not self._has(4, _CUT_GRE):
            return _OTHER
        flags: i64 = self.u16(self.at)
        protocol: cython.int = cython.cast(cython.int, self.u16(self.at + 2))
        size: index = 4
        if flags & 0xC000:
            size += 4
        if flags & 0x2000:
            size += 4
        if flags & 0x1000:
            size += 4
        if flags & 0x0080 and flags & 7 == 1:
            size += 4
        if not self._has(size, _CUT_GRE):
            return _OTHER
        self.at += size
        return self._gre_payload(flags, protocol)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _gre_payload(self, flags: i64, protocol: cython.int) -> cython.int:
        """The kind of what follows a GRE header; what is not entered is counted."""
        if flags & 7 == 1 and self.at == self.end:
            return _OTHER
        if flags & 7 > 1:
            return self._fail(_UNKNOWN_GRE_PAYLOAD)
        if protocol == 0x6558:  # transparent Ethernet bridging
            return LINK | 1
        if protocol == 0x880B:
            return PPP
        if protocol in (0x0800, 0x86DD, 0x8100, 0x88A8, 0x9100, 0x8847, 0x8848, 0x8864):
            return ETHER | protocol
        if protocol == 0x88BE or protocol == 0x22EB:
            return self._erspan(flags & 0x1000 != 0, protocol == 0x22EB)
        if protocol == 0x883E and self.end > self.at:  # WCCP; version 2 has four bytes more (Linux, gre_demux.c)
            if self.u8(self.at) >> 4 != 4:
                self.at += 4
            return RAW_IP
        return self._fail(_UNKNOWN_GRE_PAYLOAD)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _erspan(self, has_sequence: cython.bint, is_third: cython.bint) -> cython.int:
        """Mirrored frames (draft-foschiano-erspan, section 4): types II and III have a header, type I none.

        Type III may have eight more bytes, and may carry IP instead of Ethernet. T means that the switch cut the frame.
        """
        if not is_third and not has_sequence:
            return LINK | 1
        at: index = self.at
        size: i64 = 12 if is_third else 8
        if not self._has(size, _CUT_ERSPAN):
            return _OTHER
        if self.u8(at) >> 4 != (2 if is_third else 1):
            return self._fail(_BAD_ERSPAN_HEADER)
        is_cut: cython.bint = self.u8(at + 2) & 4 != 0
        kind: cython.int = LINK | 1
        if is_third:
            frame_type: i64 = self.u8(at + 10) >> 2 & 31
            if frame_type == 2:
                kind = RAW_IP
            elif frame_type != 0:
                return self._fail(_BAD_ERSPAN_HEADER)
            size += 8 if self.u8(at + 11) & 1 else 0
            if not self._has(size, _CUT_ERSPAN):
                return _OTHER
        self.cut |= is_cut
        self.at += size
        return kind

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def walk_tunnel(self, port: cython.int) -> cython.int:
        """Walk into a datagram whose UDP destination port is a tunnel's; like `walk_link`.

        The cursor stands at the UDP header. A datagram that merely uses such a port ends here, without a fault.
        """
        kind: cython.int = _OTHER
        self.at += 8
        self.depth += 1
        if port == 4789 or port == 8472:
            kind = self._vxlan()
        elif port == 6081:
            kind = self._geneve()
        elif port == 2152:
            kind = self._gtp_u()
        return self.walk(kind) if kind > 0 else _OTHER

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _vxlan(self) -> cython.int:
        """RFC 7348: an Ethernet frame after eight bytes; port 8472 is Linux's own.

        Besides the I flag, Linux and Cisco set a G flag and a group (draft-smith-vxlan-group-policy).
        """
        at: index = self.at
        if self.end - at < 8 or self.u8(at) & 0x7F != 0x08 or self.u8(at + 7) != 0:
            return _OTHER
        self.at += 8
        return LINK | 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _geneve(self) -> cython.int:
        """RFC 8926."""
        at: index = self.at
        if self.end - at < 8 or self.u8(at) >> 6 != 0 or self.u8(at + 7) != 0:
            return _OTHER
        size: i64 = 8 + 4 * (self.u8(at) & 63)
        protocol: cython.int = cython.cast(cython.int, self.u16(at + 2))
        if not self._has(size, _CUT_GENEVE):
            return _OTHER
        self.at += size
        return LINK | 1 if protocol == 0x6558 else ETHER | protocol

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _gtp_u(self) -> cython.int:
        """3GPP TS 29.281: version 1, message type 255 carries a packet after up to eight extension headers."""
        at: index = self.at
        if self.end - at < 12 or self.u8(at) & 0xF0 != 0x30 or self.u8(at + 1) != 255:
            return _OTHER
        flags: i64 = self.u8(at)
        size: i64 = 12 if flags & 7 else 8
        following: i64 = self.u8(at + 11) if flags & 4 else 0
        _extension: cython.int
        for _extension in range(8):
            if following == 0 or at + size + 4 > self.end:
                break
            size += max(self.u8(at + size), 1) * 4
            following = self.u8(at + size - 1) if at + size <= self.end else 0
        if not self._has(size, _CUT_GTP):
            return _OTHER
        self.at += size
        return RAW_IP
