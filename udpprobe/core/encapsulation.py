"""Rare link layers and rare tunnels: what follows their headers, as `Headers.walk` expects it.

`Headers` walks what most captures hold; the decoder asks here about the rest. Link layers are numbered as in
https://www.tcpdump.org/linktypes.html. As everywhere, bad bytes end a packet and are counted by name.
"""

from __future__ import annotations

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index

from udpprobe.core.headers import Headers

# As in headers.py: kinds of headers, and faults.
_LINK = cython.declare(cython.const[cython.int], 1 << 16)
_ETHERNET = cython.declare(cython.const[cython.int], 1 << 16 | 1)
_ETHER = cython.declare(cython.const[cython.int], 2 << 16)
_IP = cython.declare(cython.const[cython.int], 3 << 16)
_PPP = cython.declare(cython.const[cython.int], 4 << 16)
_RAW_IP = cython.declare(cython.const[cython.int], 5 << 16)
_LLC = cython.declare(cython.const[cython.int], 6 << 16)
_MPLS = cython.declare(cython.const[cython.int], 7 << 16)
_OTHER = cython.declare(cython.const[cython.int], -1)
_CUT_LINK_HEADER = cython.declare(cython.const[cython.int], 19)
_CUT_WLAN = cython.declare(cython.const[cython.int], 20)
_CUT_ETHERIP = cython.declare(cython.const[cython.int], 22)
_CUT_L2TP = cython.declare(cython.const[cython.int], 23)
_CUT_GUE = cython.declare(cython.const[cython.int], 24)
_CUT_CAPWAP = cython.declare(cython.const[cython.int], 25)
_TOO_MANY_HEADERS = cython.declare(cython.const[cython.int], 53)
_BAD_LINK_HEADER = cython.declare(cython.const[cython.int], 58)
_BAD_ETHERIP_HEADER = cython.declare(cython.const[cython.int], 62)
_BAD_WLAN_CHECKSUM = cython.declare(cython.const[cython.int], 63)
_ENCRYPTED_WLAN = cython.declare(cython.const[cython.int], 64)
_ENCRYPTED_CAPWAP = cython.declare(cython.const[cython.int], 65)
_ENCRYPTED_ESP = cython.declare(cython.const[cython.int], 66)
_ENCRYPTED_WIREGUARD = cython.declare(cython.const[cython.int], 67)
_UNREAD_L2TPV3 = cython.declare(cython.const[cython.int], 68)
_UNREAD_FOU = cython.declare(cython.const[cython.int], 69)
_UNREAD_GUE = cython.declare(cython.const[cython.int], 70)

MAX_LINKS = cython.declare(cython.const[cython.int], 8)  # nested in each other: pktap, PPI, radiotap, 802.11
MAX_ATTRIBUTES = cython.declare(cython.const[cython.int], 64)  # per NFLOG packet; Linux writes at most 20
PKTAP_BYTES = cython.declare(cython.const[i64], 108)  # the shortest struct pktap_header


@cython.final
@cython.cclass
class Encapsulation:
    """Moves the cursor of `headers` over headers that it does not know.

    Attributes:
        sender: of the frame on its link; 0 where the link does not say.
        msdu_at, msdus_end, msdus_cut: of an A-MSDU, where its next packet begins, its end (0 after the last packet),
            and whether it was cut there.
    """

    msdus_cut: cython.bint

    def __init__(self, headers: Headers) -> None:
        self.headers = headers
        self.sender = 0
        self.msdu_at = self.msdus_end = 0
        self.msdus_cut = False

    # ---- link layers

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def enter_link(self, link_type: cython.int) -> cython.int:
        """Step over all link layers that `Headers.walk` does not know; the kind of what follows, -1 for nothing."""
        kind: cython.int = _LINK | link_type
        _layer: cython.int
        for _layer in range(MAX_LINKS):
            link_type = kind & 0xFFFF
            kind = self._behind_link(link_type)
            if kind >> 16 != 1 or kind == (_LINK | link_type):
                return kind
        return self.headers._fail(_TOO_MANY_HEADERS)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _behind_link(self, link_type: cython.int) -> cython.int:
        """Step over one link layer; return the kind of what follows, or the same link layer if it is unknown here."""
        if link_type in (12, 14, 101, 228, 229):  # DLT_RAW of several systems, LINKTYPE_RAW, _IPV4 and _IPV6
            return _RAW_IP
        if link_type == 127:
            return self._radiotap()
        if link_type == 105:
            return self._wlan(False, False)
        if link_type == 119:
            return self._prism()
        if link_type == 163:  # AVS
            return self._sized(self.headers.u32(self.headers.at + 4), 64, _LINK | 105) if self._has_link(8) else _OTHER
        if link_type == 192:
            return self._ppi()
        if link_type == 117:  # pflog: its first byte is its length without padding to four bytes
            return self._sized(self.headers.u8(self.headers.at) + 3 & ~3, 48, _RAW_IP) if self._has_link(1) else _OTHER
        if link_type == 258 or (link_type == 149 and self._is_pktap()):
            return self._pktap()
        if link_type == 239:
            return self._nflog()
        if link_type == 197:
            return self._erf()
        if link_type == 107:
            return self._frame_relay()
        if link_type == 100:
            return self._atm()
        if link_type == 17:  # pflog before OpenBSD 3.4
            return self._skip(28, _RAW_IP)
        if link_type == 109:  # enc: address family, SPI, flags
            return self._skip(12, _RAW_IP)
        if link_type == 226:  # Solaris IPNET
            return self._skip(24, _RAW_IP)
        if link_type == 204:  # PPP, Cisco HDLC and frame relay behind a byte for the direction
            return self._skip(1, _PPP)
        if link_type == 205:
            return self._skip(1, _LINK | 104)
        if link_type == 206:
            return self._skip(1, _LINK | 107)
        if link_type == 240 or link_type == 282:  # netANALYZER; Broadcom's switch tag in front
            return self._skip(4, _ETHERNET)
        if link_type == 138 or link_type == 281 or link_type == 284:  # IEEE 1394; Ethernet with a switch's tag
            return self._typed(18)
        if link_type == 285:
            return self._typed(22)
        if link_type == 242:  # IP over InfiniBand: a route of 40 bytes, an EtherType, two bytes
            if not self._has_link(44):
                return _OTHER
            return self.headers._ether_type(44, self.headers.u16(self.headers.at + 40))
        return _LINK | link_type

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _has_link(self, size: i64) -> cython.bint:
        return self.headers._has(size, _CUT_LINK_HEADER)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _little16(self, at: index) -> i64:
        return self.headers.u8(at) | self.headers.u8(at + 1) << 8

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _little32(self, at: index) -> i64:
        return self._little16(at) | self._little16(at + 2) << 16

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _skip(self, size: index, kind: cython.int) -> cython.int:
        """Step over a header of fixed size."""
        if not self._has_link(size):
            return _OTHER
        self.headers.at += size
        return kind

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _sized(self, size: i64, least: i64, kind: cython.int) -> cython.int:
        """Step over a header that contains its size."""
        if size < least:
            return self.headers._fail(_BAD_LINK_HEADER)
        return self._skip(size, kind)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _typed(self, size: index) -> cython.int:
        """Step over a header that ends with an EtherType."""
        if not self._has_link(size):
            return _OTHER
        return self.headers._ether_type(size, self.headers.u16(self.headers.at + size - 2))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _radiotap(self) -> cython.int:
        """https://www.radiotap.org: version, length and masks of what is present, then the fields; little-endian.

        Of the fields, the flags matter: whether the driver padded the 802.11 header, and whether the FCS was wrong.
        """
        if not self._has_link(8):
            return _OTHER
        at: index = self.headers.at
        size: i64 = self._little16(at + 2)
        if self.headers.u8(at) != 0 or size < 8:
            return self.headers._fail(_BAD_LINK_HEADER)
        if not self._has_link(size):
            return _OTHER
        field: i64 = 8
        while self.headers.u8(at + field - 1) & 0x80 and field + 4 <= size:  # another mask follows
            field += 4
        present: i64 = self.headers.u8(at + 4)
        if present & 1:  # TSFT, aligned to eight bytes
            field = (field + 7 & ~7) + 8
        flags: i64 = self.headers.u8(at + field) if present & 2 and field < size else 0
        if flags & 0x40:
            return self.headers._fail(_BAD_WLAN_CHECKSUM)
        self.headers.at += size
        return self._wlan(flags & 0x20 != 0, False)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _ppi(self) -> cython.int:
        """Per-packet information: version, flags, length, link type of what follows; little-endian."""
        if not self._has_link(8):
            return _OTHER
        at: index = self.headers.at
        return self._sized(self._little16(at + 2), 8, _numbered(self._little32(at + 4)))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _prism(self) -> cython.int:
        """Prism's header, little-endian from most drivers; or AVS's, big-endian, in its place."""
        if not self._has_link(8):
            return _OTHER
        size: i64 = self.headers.u32(self.headers.at + 4)
        if self.headers.u32(self.headers.at) >> 8 != 0x802110 and size > 0xFFFF:
            size = self._little32(self.headers.at + 4)
        return self._sized(size, 24, _LINK | 105)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _wlan(self, is_padded: cython.bint, is_swapped: cython.bint) -> cython.int:
        """IEEE 802.11-2020, 9.2.4 and 9.3.2.1: data frames; of an A-MSDU, the first packet in it."""
        if not self.headers._has(2, _CUT_WLAN):
            return _OTHER
        at: index = self.headers.at
        control: i64 = self.headers.u8(at + 1) if is_swapped else self.headers.u8(at)
        flags: i64 = self.headers.u8(at) if is_swapped else self.headers.u8(at + 1)
        if control & 0x0F != 0x08 or control & 0x40:  # management, control, or a data frame without data
            return _OTHER
        size: index = 30 if flags & 3 == 3 else 24  # a fourth address between stations of a WDS or mesh
        quality: index = at + size
        is_quality: cython.bint = control & 0x80 != 0
        if is_quality:
            size += 6 if flags & 0x80 else 2
        if not self.headers._has(size, _CUT_WLAN):
            return _OTHER
        if flags & 0x40:
            return self.headers._fail(_ENCRYPTED_WLAN)
        if self.headers.u8(at + 22) & 15:  # a later fragment
            return _OTHER
        if flags & 4:
            self.headers.cut = True  # the first fragment
        self.sender = self.headers.word64(at + 10) >> 16
        self.headers.at += size + 3 & ~3 if is_padded else size
        if not is_quality:
            return _LLC
        if self.headers.u8(quality) & 0x80:
            if self.msdus_end:  # an A-MSDU in a tunnel in an A-MSDU
                return self.headers._fail(_TOO_MANY_HEADERS)
            if not self.headers._has(14, _CUT_WLAN):
                return _OTHER
            self.msdu_at, self.msdus_end = self.headers.at, self.headers.end
            self.msdus_cut = self.headers.cut
            return self.next_msdu()
        # mesh header, with up to two more addresses (9.2.4.7.3)
        if (
            flags & 3 == 3
            and self.headers.u8(quality + 1) & 1
            and self.headers.end - self.headers.at >= 6
            and self.headers.u16(self.headers.at) != 0xAAAA
        ):
            self.headers.at += 6 + 6 * (self.headers.u8(self.headers.at) & 3)
        return _LLC

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def next_msdu(self) -> cython.int:
        """Go to the next packet of an A-MSDU (IEEE 802.11-2020, 9.3.2.2); -1 at its end, where an FCS may be.

        Each has two addresses, a length, LLC, and is padded to a multiple of four bytes.
        """
        at: index = self.msdu_at
        self.headers.at, self.headers.end, self.headers.cut = at, self.msdus_end, self.msdus_cut
        if self.headers.end - at < 14:
            self.msdus_end = 0
            if self.headers.cut and at < self.headers.end:
                self.headers._has(14, _CUT_WLAN)
            return _OTHER
        behind: index = at + 14 + self.headers.u16(at + 12)
        self.headers.at = at + 14
        self.msdu_at = behind + (at - behind & 3)
        if behind <= self.headers.end:
            self.headers.end, self.headers.cut = behind, False
        else:
            self.msdus_end = 0
            if not self.headers.cut:
                self.headers._has(behind - self.headers.at, _CUT_WLAN)
        return _LLC

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _is_pktap(self) -> cython.bint:
        """Whether a frame of LINKTYPE_USER2, which macOS used for pktap, has a pktap header."""
        at: index = self.headers.at
        return (
            self.headers.end - at >= PKTAP_BYTES
            and PKTAP_BYTES <= self._little32(at) <= 1024
            and self._little32(at + 4) == 1
        )

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _pktap(self) -> cython.int:
        """Darwin's bsd/net/pktap.h: length, type of what follows (1 is a packet), link type; little-endian."""
        if not self._has_link(PKTAP_BYTES):
            return _OTHER
        at: index = self.headers.at
        if self._little32(at + 4) != 1:
            return _OTHER
        return self._sized(self._little32(at), PKTAP_BYTES, _numbered(self._little32(at + 8)))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _nflog(self) -> cython.int:
        """Linux's netfilter log: family, version, resource; then attributes in the byte order of the recorder.

        One is the packet (NFULA_PAYLOAD), which the rule may cut; nothing gives its length on the wire. For a bridge,
        another one has the EtherType (NFULA_PACKET_HDR).
        """
        if not self._has_link(4):
            return _OTHER
        kind: cython.int = _RAW_IP
        is_bridge: cython.bint = self.headers.u8(self.headers.at) == 7
        self.headers.at += 4
        _attribute: cython.int
        for _attribute in range(MAX_ATTRIBUTES):
            if not self._has_link(4):
                return _OTHER
            at: index = self.headers.at
            is_big: cython.bint = self.headers.u8(at + 2) == 0
            size: i64 = self.headers.u16(at) if is_big else self._little16(at)
            number: i64 = self.headers.u8(at + 3) if is_big else self.headers.u8(at + 2)
            if size < 4:
                return self.headers._fail(_BAD_LINK_HEADER)
            if number == 9:
                self.headers.at += 4
                self.headers.end = min(self.headers.end, at + size)
                self.headers.cut = True
                return kind
            if not self._has_link(size):
                return _OTHER
            if number == 1 and is_bridge and size >= 8:
                kind = _ETHER | cython.cast(cython.int, self.headers.u16(at + 4))
            self.headers.at = min(at + (size + 3 & ~3), self.headers.end)
        return self.headers._fail(_TOO_MANY_HEADERS)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _erf(self) -> cython.int:
        """Endace's records: a header of 16 bytes with a type, whose highest bit announces extension headers of 8."""
        if not self._has_link(16):
            return _OTHER
        more: i64 = self.headers.u8(self.headers.at + 8)
        kind: i64 = more & 0x7F
        self.headers.at += 16
        while more & 0x80:
            if not self._has_link(8):
                return _OTHER
            more = self.headers.u8(self.headers.at)
            self.headers.at += 8
        if kind in (2, 11, 16, 20):  # two bytes before the frame
            return self._skip(2, _ETHERNET)
        if kind in (1, 10, 15, 19):
            return _LINK | 104
        return _RAW_IP if kind == 22 or kind == 23 else _OTHER

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _frame_relay(self) -> cython.int:
        """Q.922 address, then NLPID (RFC 2427) or, by Cisco, an EtherType."""
        size: index = 0
        while True:  # the lowest bit ends the address
            if not self._has_link(size + 3):
                return _OTHER
            size += 1
            if self.headers.u8(self.headers.at + size - 1) & 1:
                break
            if size == 4:
                return self.headers._fail(_BAD_LINK_HEADER)
        at: index = self.headers.at + size
        if self.headers.u8(at) != 3:  # unnumbered information
            return self._typed(size + 2)
        if self.headers.u8(at + 1) == 0:  # padding
            size += 1
        if not self._has_link(size + 2):
            return _OTHER
        protocol: i64 = self.headers.u8(self.headers.at + size + 1)
        if protocol == 0x80:
            return self._typed(size + 7)  # SNAP: OUI and type
        self.headers.at += size + 2
        return _RAW_IP if protocol == 0xCC or protocol == 0x8E else _OTHER

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _atm(self) -> cython.int:
        """RFC 2684 with LLC: routed packets, or bridged Ethernet behind two bytes of padding (5.1, 5.2)."""
        if not self._has_link(8):
            return _OTHER
        at: index = self.headers.at
        number: i64 = self.headers.u16(at + 6)
        if self.headers.u16(at) == 0xAAAA and self.headers.u32(at + 2) == 0x030080C2:
            return self._skip(10, _ETHERNET) if number == 1 or number == 7 else _OTHER
        return _LLC

    # ---- tunnels

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def enter_protocol(self, protocol: cython.int) -> cython.int:
        """The kind of packet that an IP protocol unknown to `Headers.walk` carries; -1 for nothing."""
        if protocol == 97:  # EtherIP (RFC 3378); some BSDs wrote the version into the other nibble
            if not self.headers._has(2, _CUT_ETHERIP):
                return _OTHER
            version: i64 = self.headers.u8(self.headers.at)
            self.headers.at += 2
            return _ETHERNET if version == 0x30 or version == 3 else self.headers._fail(_BAD_ETHERIP_HEADER)
        if protocol == 137:  # RFC 4023
            return _MPLS
        if protocol == 50:
            return self.headers._fail(_ENCRYPTED_ESP)
        if protocol == 115:  # L2TPv3 (RFC 3931): only its ends know the cookie's length. Session 0 is for control.
            if not self.headers._has(4, _CUT_L2TP) or self.headers.u32(self.headers.at) == 0:
                return _OTHER
            return self.headers._fail(_UNREAD_L2TPV3)
        return _OTHER

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def enter_datagram(self, source: cython.int, destination: cython.int) -> cython.int:
        """The kind of packet in a datagram whose ports or first byte are those of a tunnel; -1 for nothing.

        The cursor stands at the UDP header. A datagram that merely uses such a port, or resembles a tunnel, is no
        fault.
        """
        at: index = self.headers.at + 8
        size: i64 = self.headers.u16(self.headers.at + 4) - 8
        if self.headers.end - at < 4 or size < 4:
            return _OTHER
        first: i64 = self.headers.u32(at)
        kind: cython.int = _OTHER
        if destination == 1701 or source == 1701:
            self.headers.at = at
            kind = self._l2tp(first >> 16)
        elif destination == 5247 or source == 5247:
            self.headers.at = at
            kind = self._capwap()
        elif destination == 6080:
            self.headers.at = at
            kind = self._gue()
        elif destination == 6635:  # RFC 7510
            self.headers.at, kind = at, _MPLS
        elif destination == 4754:  # RFC 8086
            if first >> 16 & 0x4FFF == 0:
                self.headers.at = at
                kind = self.headers._gre()
        elif destination == 4790:  # VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe)
            if self.headers.end - at >= 8 and first >> 24 & 0xC8 == 0x08 and self.headers.u8(at + 7) == 0:
                self.headers.at = at + 8
                kind = _next_protocol(first & 0xFF if first >> 24 & 4 else 3)
        elif destination == 3544 or source == 3544:  # Teredo (RFC 4380), without the servers' indications
            if first >> 28 == 6:
                self.headers.at, kind = at, _RAW_IP
        elif destination == 4500 or source == 4500:  # RFC 3948: an SPI of zero means IKE
            if first and size > 8:
                kind = self.headers._fail(_ENCRYPTED_ESP)
        else:
            kind = self._recognize(at, size, first, destination == 51820 or source == 51820)
        return kind

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _l2tp(self, flags: i64) -> cython.int:
        """L2TPv2 data (RFC 2661, 3.1): PPP after up to four optional fields."""
        version: i64 = flags & 15
        if flags & 0xB4F0 or (version != 2 and version != 3):  # control message, or no L2TP
            return _OTHER
        if version == 3:
            return self.headers._fail(_UNREAD_L2TPV3)
        size: i64 = 6 + (2 if flags & 0x4000 else 0) + (4 if flags & 0x0800 else 0)
        if flags & 0x0200:
            size += 2
            if not self.headers._has(size, _CUT_L2TP):
                return _OTHER
            size += self.headers.u16(self.headers.at + size - 2)
        if not self.headers._has(size, _CUT_L2TP):
            return _OTHER
        self.headers.at += size
        return _PPP

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _gue(self) -> cython.int:
        """Generic UDP encapsulation (draft-ietf-intarea-gue): a header with a protocol, or plain IP as version 1."""
        first: i64 = self.headers.u8(self.headers.at)
        if first >> 6 == 1:
            return _RAW_IP
        if first >> 5:  # version, control
            return _OTHER
        protocol: cython.int = cython.cast(cython.int, self.headers.u8(self.headers.at + 1))
        if not self.headers._has(4 + 4 * (first & 31), _CUT_GUE):
            return _OTHER
        self.headers.at += 4 + 4 * (first & 31)
        if protocol == 4 or protocol == 41 or protocol == 47:
            return _IP | protocol
        return self.enter_protocol(protocol)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _capwap(self) -> cython.int:
        """CAPWAP data (RFC 5415, 4.3): an Ethernet frame, or an 802.11 frame whose first two bytes Cisco swaps."""
        at: index = self.headers.at
        if self.headers.u8(at) == 1:
            return self.headers._fail(_ENCRYPTED_CAPWAP)
        flags: i64 = self.headers.u32(at)
        size: i64 = (flags >> 19 & 31) * 4
        if flags >> 24 or size < 8:
            return _OTHER
        if not self.headers._has(size, _CUT_CAPWAP):
            return _OTHER
        if flags & 8:  # keep-alive
            return _OTHER
        if flags & 0x80:
            if self.headers.u16(at + 6) >> 3:
                return _OTHER  # a later fragment
            self.headers.cut = True
        self.headers.at += size
        if not flags & 0x100:
            return _ETHERNET
        if flags >> 9 & 31 != 1 or not self.headers._has(2, _CUT_WLAN):
            return _OTHER
        is_data: cython.bint = self.headers.u8(self.headers.at) & 0x0F == 0x08
        return self._wlan(False, not is_data and self.headers.u8(self.headers.at + 1) & 0x0F == 0x08)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _recognize(self, at: index, size: i64, first: i64, is_wireguard: cython.bint) -> cython.int:
        """Count tunnels that can be recognized but not entered.

        WireGuard's handshakes are recognized by type and length, its data by the port as well (whitepaper, 5.4). IP in
        UDP is recognized by its length and, for IPv4, its checksum; GUE may precede it.
        """
        if (
            (first == 0x01000000 and size == 148)
            or (first == 0x02000000 and size == 92)
            or (first == 0x03000000 and size == 64)
            or (first == 0x04000000 and size >= 32 and size & 15 == 0 and is_wireguard)
        ):
            return self.headers._fail(_ENCRYPTED_WIREGUARD)
        if (first == 0x00040000 or first == 0x00290000) and self._is_ip(at + 4, size - 4):
            return self.headers._fail(_UNREAD_GUE)
        return self.headers._fail(_UNREAD_FOU) if self._is_ip(at, size) else _OTHER

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _is_ip(self, at: index, size: i64) -> cython.bint:
        """Whether an IP packet of this size, without options, begins here."""
        if self.headers.end - at < 20:
            return False
        if self.headers.u8(at) == 0x45:
            total: i64 = self.headers.word_sum(at, at + 20)
            return self.headers.u16(at + 2) == size and (total & 0xFFFF) + (total >> 16) == 0xFFFF
        if self.headers.u8(at) >> 4 != 6 or size <= 40 or self.headers.u16(at + 4) + 40 != size:
            return False
        protocol: i64 = self.headers.u8(at + 6)
        return protocol in (0, 4, 6, 17, 41, 43, 44, 47, 50, 58, 60)


@cython.cfunc
@cython.nogil
@cython.exceptval(-2, check=False)
def _numbered(number: i64) -> cython.int:
    """The link layer with this number; one that is too high is none."""
    return _LINK | cython.cast(cython.int, min(number, 0xFFFF))


@cython.cfunc
@cython.nogil
@cython.exceptval(-2, check=False)
def _next_protocol(number: i64) -> cython.int:
    """VXLAN-GPE's next protocol numbers."""
    if number == 1 or number == 2:
        return _RAW_IP
    if number == 3:
        return _ETHERNET
    return _MPLS if number == 5 else _OTHER
