"""The records of a capture: pcap and pcapng, read in place from a buffer that the caller fills; blocks of a ring.

`Records.next` goes from frame to frame, or says that it needs more bytes. It copies nothing and makes no Python object
for a frame. Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. Where they leave a choice, this does what
Wireshark and libpcap do (frame numbers, the longest record, what is skipped). For rings: packet(7) and
linux/if_packet.h.
"""

from __future__ import annotations

import sys
from array import array
from typing import Literal, NamedTuple

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

from udpprobe.core import views

# What `Records.next` found. Compiled modules make typed constants of them.
FRAME = 0
"""The attributes describe a frame."""
MORE = 1
"""The next record is incomplete: fill the buffer, and call again."""
WAIT = 2
"""The next frame is later than `until_ns`; it stays there."""
END = 3
"""Nothing more was asked for, or can be found."""
BLOCK = 4
"""A pcapng block without a readable packet; only where `tells_blocks`."""
NUMBERED = 5
"""The same, but Wireshark numbers it."""

_FRAME = cython.declare(cython.const[cython.int], 0)
_MORE = cython.declare(cython.const[cython.int], 1)
_WAIT = cython.declare(cython.const[cython.int], 2)
_END = cython.declare(cython.const[cython.int], 3)
_BLOCK = cython.declare(cython.const[cython.int], 4)
_NUMBERED = cython.declare(cython.const[cython.int], 5)

FAULTS = ("bad-record", "bad-block", "no-interface")
"""Names of the counters in `Records.faults`."""

_BAD_RECORD = cython.declare(cython.const[index], 0)
_BAD_BLOCK = cython.declare(cython.const[index], 1)
_NO_INTERFACE = cython.declare(cython.const[index], 2)

EVERYTHING = 1 << 62
CAPACITY_BYTES = 1 << 20

# pcap (draft-ietf-opsawg-pcap section 4). The modified format is Kuznetsov's, of old Linux distributions: each record
# also has the interface, the protocol and the packet type.
PCAP_HEADER_BYTES = 24
PCAP_MAGICS = {
    0xA1B2C3D4: (1000, 16),
    0xA1B23C4D: (1, 16),
    0xA1B2CD34: (1000, 24),
}
"""First word -> nanoseconds in the time stamp's unit, length of a record's header."""

# Blocks of a ring (TPACKET_V3): words of struct tpacket_block_desc and of struct tpacket3_hdr. A header's last word
# here has tp_mac and tp_net, 16 bits each. Both say where the packet is, and agree on a socket that is given no link
# header.
_BLOCK_FRAMES = cython.declare(cython.const[index], 3)
_BLOCK_FIRST = cython.declare(cython.const[index], 4)
_LINK_RAW = cython.declare(cython.const[cython.int], 101)

# pcapng (draft-ietf-opsawg-pcapng section 4)
SECTION_HEADER = b"\x0a\x0d\x0d\x0a"
_SECTION = cython.declare(cython.const[i64], 0x0A0D0D0A)  # the same in either byte order
_ORDER_MAGIC = cython.declare(cython.const[i64], 0x1A2B3C4D)
_ORDER_SWAPPED = cython.declare(cython.const[i64], 0x4D3C2B1A)
_INTERFACE = cython.declare(cython.const[i64], 1)
_OLD_PACKET = cython.declare(cython.const[i64], 2)
_SIMPLE_PACKET = cython.declare(cython.const[i64], 3)
_STATISTICS = cython.declare(cython.const[i64], 5)
_ENHANCED_PACKET = cython.declare(cython.const[i64], 6)
_MIN_BLOCK_BYTES = cython.declare(cython.const[i64], 12)
_MIN_SECTION_BYTES = cython.declare(cython.const[i64], 28)
_PACKET_BYTES = cython.declare(cython.const[i64], 32)  # an enhanced or old packet block without its frame
_SIMPLE_BYTES = cython.declare(cython.const[i64], 16)  # a simple one

# Options of interface descriptions (section 4.2) and statistics (section 4.6: isb_ifdrop, isb_osdrop)
_TIME_RESOLUTION = cython.declare(cython.const[i64], 9)
_TIME_OFFSET = cython.declare(cython.const[i64], 14)
_INTERFACE_DROPS = cython.declare(cython.const[i64], 5)
_SYSTEM_DROPS = cython.declare(cython.const[i64], 7)

_MICROSECONDS = cython.declare(cython.const[i64], 6)
_UNKNOWN_LINK = cython.declare(cython.const[i64], 0xFFFF)  # for an interface whose description is too short
# per section: more are an attack on our memory, not a host
_MAX_INTERFACES = cython.declare(cython.const[i64], 1 << 16)

# The longest record that libpcap and Wireshark accept, whatever snap length the file claims
_MAX_CAPTURED_BYTES = cython.declare(cython.const[i64], 262_144)
_MAX_BLOCK_BYTES = cython.declare(cython.const[i64], 16 << 20)

_LATEST_NS = cython.declare(cython.const[i64], (1 << 63) - 1)
_EARLIEST_NS = cython.declare(cython.const[i64], -(1 << 63))
_SIGN = cython.declare(cython.const[u64], 1 << 63)
_MASK32 = cython.declare(cython.const[u64], (1 << 32) - 1)
_GIGA = cython.declare(cython.const[u64], 1_000_000_000)
_HOST_IS_BIG = cython.declare(cython.bint, sys.byteorder == "big")
_EVEN_BYTES = cython.declare(cython.const[u64], 0x00FF_00FF_00FF_00FF)
_EVEN_HALVES = cython.declare(cython.const[u64], 0x0000_FFFF_0000_FFFF)
_MASK64 = cython.declare(cython.const[u64], (1 << 64) - 1)

# records must go on for so many bytes before a guessed start is believed: no payload is that long
_PROOF_BYTES = cython.declare(cython.const[index], 1 << 16)
# in total, against payloads crafted to look like records everywhere
_MAX_PROOF_STEPS = cython.declare(cython.const[index], 1 << 24)


class SectionState(NamedTuple):
    """What is needed to read packets from the middle of a pcapng section."""

    order: str
    """Byte order, "<" or ">"."""
    links: tuple[int, ...]
    """LINKTYPE_ value of each interface."""
    clocks: tuple[tuple[int, int], ...]
    """if_tsresol and if_tsoffset (in nanoseconds) of each interface."""
    snap_bytes: int
    """Snap length of the first interface, to which simple packet blocks belong; 0 for none."""


class Entry(NamedTuple):
    """What is needed to read from a record in the middle of a file; small and picklable."""

    head: bytes
    """The file's first PCAP_HEADER_BYTES: its format, and for pcap everything else."""
    known: SectionState | None = None
    """Of the pcapng section."""
    last_ns: int = 0
    """In pcapng: time of the packet before, which a simple packet block repeats; nanoseconds since 1970."""


BLOCKS = Entry(b"")
"""Not a file but blocks of a ring, passed to `Records.take_block` one by one."""


def _twice(kind: str, values: list[int]) -> memoryview:
    """The values, followed by as many zeros."""
    return memoryview(array(kind, [*values, *bytes(len(values))]))


def is_capture(head: bytes) -> bool:
    """Whether a file that begins with these bytes is pcap or pcapng."""
    return head[:4] == SECTION_HEADER or any(
        int.from_bytes(head[:4], order) in PCAP_MAGICS for order in ("little", "big")
    )


@cython.final
@cython.cclass
class Records:
    """Goes through the records of one capture.

    The caller writes bytes into `room()` and reports their number to `filled()`; then `next()` walks. `data` is the
    buffer, in which frames are read in place. It changes when the buffer grows, so fetch it again after each `room()`.
    Blocks of a ring come by `take_block()` instead.

    Args:
        entry: what is known where reading begins; at the file's start, its first bytes. BLOCKS for a ring.
        first: byte of the file that is filled in first; None for the first record of a file.
        stop: byte of the file; records that begin before it are read.
        capacity: bytes of the buffer, which grows only for a record that does not fit.
        is_gapless: whether only frames get numbers, as in files of mergecap. Otherwise numbers are Wireshark's, which
            also numbers some blocks without a packet.
    """

    def __init__(
        self,
        entry: Entry,
        first: int | None = None,
        stop: int = EVERYTHING,
        capacity: int = CAPACITY_BYTES,
        *,
        is_gapless: bool = False,
    ) -> None:
        self.head = entry.head
        self.is_pcapng = entry.head[:4] == SECTION_HEADER
        self.is_ring = not entry.head
        self.is_gapless = is_gapless
        # ---- the buffer
        self._allot(max(capacity, 1))
        if first is None:
            first = 0 if self.is_pcapng else PCAP_HEADER_BYTES
        self.begins = first + 3 & -4 if self.is_pcapng else first
        self.base = self.begins
        self.stop = stop
        self.start = self.end = 0
        self._last = -1
        self.is_broken = self.tells_blocks = False
        # ---- the frame
        self.record = 0
        self.at = self.captured = self.length = 0
        self.link_type = 0
        self.frame = 0
        self.time_ns = _EARLIEST_NS
        # ---- totals over all frames
        self.first_ns = self.latest_ns = _EARLIEST_NS
        self.until_ns = _LATEST_NS
        self._proof_steps = 0
        self.held_ns = _EARLIEST_NS
        self.is_disordered = False
        self.faults = memoryview(array("q", [0] * len(FAULTS)))
        self.has_dropped = False
        self._dropped = 0
        # ---- pcapng
        self._sections = 0
        self._interfaces = 0
        self._space = 4
        self._links = memoryview(array("i", [0] * 4))
        self._resolutions = memoryview(array("i", [0] * 4))
        self._offsets_ns = memoryview(array("Q", [0] * 4))
        self._drops = memoryview(array("Q", [0] * 4))
        self._has_drops = memoryview(array("B", [0] * 4))
        self._powers = memoryview(array("Q", [int("1" + "0" * zeros) for zeros in range(20)]))  # ** may give a float
        self._snap_bytes = 0
        self._before_ns = entry.last_ns
        self.leans_on_time = False
        self.first_drops: dict[int, int] | None = None
        self._header_bytes = _MIN_BLOCK_BYTES
        self._set_order(False)
        self._block_frames = 0
        if self.is_ring:
            self._set_order(_HOST_IS_BIG)
            self._last = -1
            self.link_type = _LINK_RAW
        elif not self.is_pcapng:
            self._open_pcap(entry.head)
        elif entry.known is not None:
            self._resume(entry.known)

    def _open_pcap(self, head: bytes) -> None:
        little = int.from_bytes(head[:4], "little")
        self._set_order(little not in PCAP_MAGICS)
        order: Literal["big", "little"] = "big" if self.is_big else "little"
        self._unit_ns, self._header_bytes = PCAP_MAGICS[int.from_bytes(head[:4], order)]
        self.link_type = int.from_bytes(head[20:24], order) & 0xFFFF  # the upper bits hold the FCS length

    def _resume(self, known: SectionState) -> None:
        self._set_order(known.order == ">")
        self._sections = 1
        for link, (resolution, offset_ns) in zip(known.links, known.clocks, strict=True):
            if self._interfaces == self._space:
                self._make_space()
            self._links[self._interfaces] = link
            self._resolutions[self._interfaces] = resolution
            self._offsets_ns[self._interfaces] = offset_ns & 0xFFFF_FFFF_FFFF_FFFF
            self._has_drops[self._interfaces] = 0
            self._interfaces += 1
        self._snap_bytes = known.snap_bytes

    def _allot(self, capacity: int) -> None:
        self._capacity = capacity
        self._buffer = bytearray((capacity + 7 & -8) + 8)
        self.data = memoryview(self._buffer)
        self._longs = memoryview(self._buffer).cast("Q")
        self._words = memoryview(self._buffer).cast("I")

    # ---- bytes in

    def room(self) -> memoryview:
        """Space for the next bytes, at least one. Bytes not read yet may move."""
        if self.end == self._capacity:
            self._move()
        return memoryview(self._buffer)[self.end : self._capacity]

    def filled(self, count: int) -> None:
        """Report that the first `count` bytes of `room()` are there."""
        if not 0 <= count <= self._capacity - self.end:
            raise ValueError("more than there is room for")
        self.end += count
        self._look()

    def _move(self) -> None:
        # An incomplete record is moved once: to the start of the buffer, where it stays until it is complete.
        remaining = bytes(memoryview(self._buffer)[self.start : self.end])
        if self.start == 0:
            self._allot(2 * self._capacity)
        self._buffer[: len(remaining)] = remaining
        self.base += self.start
        self.end -= self.start
        self.start = 0
        self._look()

    def take_block(self, block: bytes) -> None:
        """Walk a block of a ring; frame numbers continue.

        Args:
            block: its used bytes, from its struct tpacket_block_desc on; whole words of 64 bits.
        """
        self.data = memoryview(block)
        self._words = memoryview(block).cast("I")
        self._block_frames = self._words[_BLOCK_FRAMES]
        self.start, self.end = self._words[_BLOCK_FIRST], len(block)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _look(self) -> cython.int:
        """Set the limit in the buffer up to which records may begin: their header is there, and they are wanted."""
        self._last = min(self.end - self._header_bytes, self.stop - self.base - 1)
        return 0

    # ---- frames out

    @cython.ccall
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def next(self) -> cython.int:
        """Go to the next frame: FRAME, MORE, WAIT or END.

        Raises:
            IndexError: never, whatever the bytes; bounds are checked all the same.
        """
        if self.is_pcapng:
            return self._next_in_pcapng()
        at: index = self.start
        if at > self._last:
            return self._next_in_ring() if self.is_ring else self._wanting()
        lengths: u64 = self._pair(at + 8)
        captured: i64 = lengths & _MASK32
        if captured > _MAX_CAPTURED_BYTES:
            return self._give_up(_BAD_RECORD)
        behind: index = at + self._header_bytes + captured
        if behind > self.end:
            return _MORE
        time: u64 = self._pair(at)
        time_ns: i64 = (time & _MASK32) * _GIGA + (time >> 32) * self._unit_ns
        return self._found(at + self._header_bytes, captured, lengths >> 32, time_ns, behind)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _found(self, at: index, captured: index, length: index, time_ns: i64, behind: index) -> cython.int:
        """Take a frame, unless it is later than `until_ns`."""
        latest_ns: i64 = max(self.latest_ns, time_ns)
        if latest_ns > self.until_ns:
            self.held_ns = latest_ns
            return _WAIT
        if self.first_ns == _EARLIEST_NS:
            self.first_ns = time_ns
        if time_ns < self.time_ns:
            step: u64 = cython.cast(u64, self.time_ns) - cython.cast(u64, time_ns)  # may not fit into i64
            self.is_disordered |= step <= _GIGA
        self.record = self.start
        self.start = behind
        self.at = at
        self.captured = captured
        self.length = length
        self.time_ns = time_ns
        self.latest_ns = latest_ns
        self.frame += 1
        return _FRAME

    @cython.ccall
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def skip(self, frame: i64) -> cython.int:
        """Go to the frame with this number, or the first after it: FRAME, or why it stopped before."""
        status: cython.int = self.next()
        while status == _FRAME and self.frame < frame:
            status = self.next()
        return status

    @cython.ccall
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def skip_to_times(self, times: views.i64s) -> cython.int:
        """Go to the next frame with one of these ascending times: FRAME, or why it stopped before."""
        status: cython.int
        low: index
        high: index
        middle: index
        while True:
            status = self.next()
            if status != _FRAME:
                return status
            low = 0
            high = len(times)
            while low < high:
                middle = (low + high) >> 1
                if times[middle] < self.time_ns:
                    low = middle + 1
                else:
                    high = middle
            if low < len(times) and times[low] == self.time_ns:
                return _FRAME

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _next_in_ring(self) -> cython.int:
        """Struct tpacket3_hdr: offset of the next, seconds, nanoseconds, captured, length, status, packet's offset."""
        if self._block_frames == 0:
            return _MORE
        at: index = self.start
        time_ns: i64 = self._word(at + 4) * 1_000_000_000 + self._word(at + 8)
        place: index = at + (self._word(at + 24) & 0xFFFF)
        captured: i64 = self._word(at + 12)
        if place + captured > self.end:
            self._block_frames = 0
            self.faults[_BAD_RECORD] += 1
            return _MORE
        step: i64 = self._word(at)  # 0 at the last one
        self._block_frames = self._block_frames - 1 if step else 0
        return self._found(place, captured, self._word(at + 16), time_ns, at + step)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _wanting(self) -> cython.int:
        """Why there is no complete header."""
        return _END if self.is_broken or self.base + self.start >= self.stop else _MORE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _give_up(self, fault: index) -> cython.int:
        """Stop at a record whose length cannot be right: nothing after it can be found."""
        self.faults[fault] += 1
        self.is_broken = True
        self._last = -1
        return _END

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(0x5EED_0F_BAD_1DEA, check=True)
    def _pair(self, at: index) -> u64:
        """Two 32-bit words, the first in the lower half, read as aligned words: each costs one bounds check."""
        shift: u64 = at << 3 & 63
        first: u64 = self._longs[at >> 3]
        second: u64 = self._longs[(at >> 3) + 1]
        pair: u64
        if _HOST_IS_BIG:
            pair = first << shift & _MASK64 | second >> 1 >> (63 - shift)
            pair = pair >> 32 | (pair & _MASK32) << 32
        else:
            pair = first >> shift | second << 1 << (63 - shift) & _MASK64
        if self._is_swapped:
            pair = (pair & _EVEN_BYTES) << 8 | pair >> 8 & _EVEN_BYTES
            pair = (pair & _EVEN_HALVES) << 16 | pair >> 16 & _EVEN_HALVES
        return pair

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _word(self, at: index) -> i64:
        """32 bits of pcapng, where everything is aligned to 4 bytes."""
        place: u64 = at
        word: u64 = self._words[place >> 2]
        if self._is_swapped:
            word = (word & _EVEN_BYTES) << 8 | word >> 8 & _EVEN_BYTES
            word = (word & _EVEN_HALVES) << 16 | word >> 16
        return word

    # ---- in the middle of a file

    @cython.ccall
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def find(self, is_last: cython.bint) -> cython.int:
        """Go to the most plausible first record, where none is known: FRAME, MORE or END.

        A record is believed if records follow it for _PROOF_BYTES, which is longer than any payload.

        Args:
            is_last: whether all bytes of the file are there.
        """
        at: index = self.start
        outcome: cython.int = _MORE
        while outcome == _MORE:
            if self.base + at >= self.stop or self._proof_steps > _MAX_PROOF_STEPS:
                outcome = _END
            elif at + self._header_bytes > self.end:
                outcome = _END if is_last else _WAIT
            else:
                outcome = self._prove(at, is_last)
                if outcome == _MORE:
                    at += 4 if self.is_pcapng else 1
        self.start = at
        self._look()
        return _MORE if outcome == _WAIT else outcome

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _prove(self, first: index, is_last: cython.bint) -> cython.int:
        """Whether plausible records follow from a place: FRAME; MORE if not; WAIT if it takes more bytes to tell."""
        at: index = first
        if self.is_pcapng and self._word(at) != _ENHANCED_PACKET:
            return _MORE
        while at < first + _PROOF_BYTES:
            if at + self._header_bytes > self.end:
                return _FRAME if is_last else _WAIT
            if self.is_pcapng and self._word(at) == _SECTION:
                return _FRAME  # everything may differ after it
            size: index = self._plausible_size(at)
            if size == 0:
                return _MORE
            if at == first and at + size > self.end:
                return _MORE if is_last else _WAIT
            at += size
            self._proof_steps += 1
        return _FRAME

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _plausible_size(self, at: index) -> index:
        """Size of the record whose header begins at a place; 0 if no usual record has such a header."""
        size: index
        if self.is_pcapng:
            size = self._word(at + 4)
            if size < _MIN_BLOCK_BYTES or size > _MAX_BLOCK_BYTES:
                return 0
            size = size + 3 & -4
            if at + size <= self.end and (self._word(at + size - 4) + 3 & -4) != size:
                return 0
            return size
        time: u64 = self._pair(at)
        lengths: u64 = self._pair(at + 8)
        captured: i64 = lengths & _MASK32
        on_wire: i64 = lengths >> 32
        if captured > on_wire or on_wire > _MAX_CAPTURED_BYTES or (time >> 32) * self._unit_ns >= _GIGA:
            return 0
        if lengths == 0 and time & _MASK32 == 0:  # a run of zeros is no record
            return 0
        return captured + self._header_bytes

    # ---- pcapng

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _next_in_pcapng(self) -> cython.int:
        """Block: type and length of the whole, 32 bits each; a body; the length again. Padded to 32 bits."""
        while True:
            at: index = self.start
            if at > self._last:
                return self._wanting()
            kind: i64 = self._word(at)
            if kind == _SECTION:
                if self._open_section(at) == _FRAME:
                    if self.tells_blocks:
                        self.record = at
                        return _BLOCK
                    continue
                return _END if self.is_broken else _MORE
            length: i64 = self._word(at + 4)
            # No multiple of 4 is rounded up, as libpcap does.
            behind: index = at + (length + 3 & -4)
            if length < _MIN_BLOCK_BYTES or length > _MAX_BLOCK_BYTES:
                return self._give_up(_BAD_BLOCK)
            if behind > self.end:
                return _MORE
            if kind in (_ENHANCED_PACKET, _OLD_PACKET, _SIMPLE_PACKET):
                outcome = self._take_packet(kind, at, length, behind)
                if outcome == _WAIT:
                    return _WAIT
            else:
                outcome = _MORE
                if kind == _INTERFACE:
                    self._declare(at, length)
                elif kind == _STATISTICS:
                    self._count_drops(at, length)
                elif _is_numbered(kind) and not self.is_gapless:
                    self.frame += 1
                    outcome = _NUMBERED
            if self._word(behind - 4) != length:
                self.faults[_BAD_BLOCK] += 1
            self.start = behind
            if outcome == _FRAME:
                return _FRAME
            if self.tells_blocks:
                self.record = at
                return _NUMBERED if outcome == _NUMBERED else _BLOCK

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _take_packet(self, kind: i64, at: index, length: i64, behind: index) -> cython.int:
        """A packet block: FRAME, WAIT, or MORE if it cannot be read."""
        header: i64 = _SIMPLE_BYTES if kind == _SIMPLE_PACKET else _PACKET_BYTES
        if length < header:
            self.faults[_BAD_BLOCK] += 1
            return _MORE
        interface: i64 = self._word(at + 8)
        if kind == _SIMPLE_PACKET:  # belongs to the first interface
            interface = 0
        elif kind == _OLD_PACKET:  # 16 bits, then a count of drops
            interface = interface >> 16 if self.is_big else interface & 0xFFFF
        if interface >= self._interfaces:
            self.faults[_NO_INTERFACE] += 1
            return _MORE
        time_ns: i64
        captured: i64
        on_wire: i64
        if kind == _SIMPLE_PACKET:
            time_ns = self._before_ns if self.first_ns == _EARLIEST_NS else self.time_ns
            on_wire = self._word(at + 8)
            captured = on_wire
            if self._snap_bytes and captured > self._snap_bytes:
                captured = self._snap_bytes
        else:
            time_ns = self._time_ns(interface, self._word(at + 12), self._word(at + 16))
            captured = self._word(at + 20)
            on_wire = self._word(at + 24)
        is_cut: cython.bint = captured > length - header
        if is_cut:
            captured = length - header
        is_first: cython.bint = self.first_ns == _EARLIEST_NS
        if self._found(at + header - 4, captured, on_wire, time_ns, behind) == _WAIT:
            return _WAIT
        self.link_type = self._links[interface]
        if is_cut:
            self.faults[_BAD_BLOCK] += 1
        if is_first:
            self.leans_on_time = kind == _SIMPLE_PACKET
        return _FRAME

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=True)
    def _time_ns(self, interface: index, high: u64, low: u64) -> i64:
        """Nanoseconds since 1970, rounded down; wraps beyond 64 bits.

        if_tsresol is a negative power of 2 if its highest bit is set, else of 10.
        """
        ticks: u64 = high << 32 | low
        resolution: i64 = self._resolutions[interface]
        value: u64
        if resolution <= 9:
            value = ticks * self._powers[9 - resolution] & _MASK64
        elif resolution < 0x80:
            value = ticks // (self._powers[resolution - 9] if resolution < 29 else _MASK64)
        else:
            value = _from_binary(ticks, resolution & 0x7F)
        value = value + self._offsets_ns[interface] & _MASK64
        return _signed(value)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _open_section(self, at: index) -> cython.int:
        """A section header; FRAME if it is valid. Byte order and interfaces may differ after it."""
        magic: i64 = self._word(at + 8)
        was_big: cython.bint = self.is_big
        if magic == _ORDER_SWAPPED:
            self._set_order(not was_big)
        elif magic != _ORDER_MAGIC:
            return self._give_up(_BAD_BLOCK)
        length: i64 = self._word(at + 4)
        behind: index = at + (length + 3 & -4)
        if length + 3 & -4 < _MIN_SECTION_BYTES or length > _MAX_BLOCK_BYTES:
            return self._give_up(_BAD_BLOCK)
        if behind > self.end:
            self._set_order(was_big)
            return _MORE
        if self._sections == 1 and self.first_drops is None:
            with cython.gil:
                self.first_drops = self.drops
        self._sections += 1
        self._interfaces = 0
        self._snap_bytes = 0
        self.start = behind
        return _FRAME

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _declare(self, at: index, length: i64) -> cython.int:
        """Interface description block. One that is too short keeps its number."""
        if self._interfaces == _MAX_INTERFACES:
            self.faults[_BAD_BLOCK] += 1
            return 0
        link: i64 = _UNKNOWN_LINK
        snap_bytes: i64 = 0
        resolution: i64 = _MICROSECONDS
        offset_ns: u64 = 0
        if length < 20:
            self.faults[_BAD_BLOCK] += 1
        else:
            link = self._half(at + 8)
            snap_bytes = self._word(at + 12)
        option: index = at + 16
        last: index = at + length - 4
        while option + 4 <= last:
            code: i64 = self._half(option)
            size: i64 = self._half(option + 2)
            if code == 0 or option + 4 + size > last:
                break
            if code == _TIME_RESOLUTION and size:
                resolution = self.data[option + 4]
            elif code == _TIME_OFFSET and size == 8:
                offset_ns = self._long(option + 4) * _GIGA & _MASK64
            option += 4 + (size + 3 & -4)
        if self._interfaces == 0:
            self._snap_bytes = snap_bytes
        if self._interfaces == self._space:
            with cython.gil:
                self._make_space()
        self._links[self._interfaces] = link
        self._resolutions[self._interfaces] = resolution
        self._offsets_ns[self._interfaces] = offset_ns
        self._has_drops[self._interfaces] = 0
        self._interfaces += 1
        return 0

    def _make_space(self) -> None:
        """Make room for twice as many interfaces."""
        self._space *= 2
        self._links = _twice("i", list(self._links))
        self._resolutions = _twice("i", list(self._resolutions))
        self._offsets_ns = _twice("Q", list(self._offsets_ns))
        self._drops = _twice("Q", list(self._drops))
        self._has_drops = _twice("B", list(self._has_drops))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _count_drops(self, at: index, length: i64) -> cython.int:
        """Interface statistics block. Its counts are totals since the start of the capture, so the last one counts."""
        if length < 24:
            return 0
        drops: u64 = 0
        has_drops: cython.bint = False
        option: index = at + 20
        last: index = at + length - 4
        while option + 4 <= last:
            code: i64 = self._half(option)
            size: i64 = self._half(option + 2)
            if code == 0 or option + 4 + size > last:
                break
            if code in (_INTERFACE_DROPS, _SYSTEM_DROPS) and size == 8:
                drops = drops + self._long(option + 4) & _MASK64
                has_drops = True
            option += 4 + (size + 3 & -4)
        if not has_drops:
            return 0
        interface: i64 = self._word(at + 8)
        if interface >= self._interfaces:
            self.faults[_NO_INTERFACE] += 1
            return 0
        before: u64 = self._drops[interface] if self._has_drops[interface] else 0
        self._drops[interface] = drops
        self._has_drops[interface] = 1
        self._dropped = (self._dropped + (drops - before & _MASK64)) & _MASK64
        self.has_dropped = True
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _half(self, at: index) -> i64:
        """16 bits at a place."""
        first: i64 = self.data[at]
        second: i64 = self.data[at + 1]
        return first << 8 | second if self.is_big else first | second << 8

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(1, check=True)
    def _long(self, at: index) -> u64:
        """64 bits at a place."""
        first: u64 = self._word(at)
        second: u64 = self._word(at + 4)
        return first << 32 | second if self.is_big else second << 32 | first

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _set_order(self, is_big: cython.bint) -> cython.int:
        self.is_big = is_big
        self._is_swapped = is_big != _HOST_IS_BIG
        return 0

    # ---- results

    @property
    def position(self) -> int:
        """Offset in the file of the first byte after the last record."""
        return self.base + self.start

    @property
    def is_torn(self) -> bool:
        """Whether the last record is followed by bytes that are no record; final once all bytes were filled in."""
        return self.is_broken or self.start < min(self.end, self.stop - self.base)

    @property
    def dropped(self) -> int | None:
        """Packets that the recorder says it dropped; None where it does not say."""
        return self._dropped if self.has_dropped else None

    @property
    def drops(self) -> dict[int, int]:
        """The latest drop counts of this section's interfaces."""
        return {number: self._drops[number] for number in range(self._interfaces) if self._has_drops[number]}

    @property
    def entry(self) -> Entry:
        """What is needed to continue reading from here."""
        if not self.is_pcapng:
            return Entry(self.head)
        clocks = [
            (
                self._resolutions[number],
                int.from_bytes(int(self._offsets_ns[number]).to_bytes(8, "big"), "big", signed=True),
            )
            for number in range(self._interfaces)
        ]
        links = [self._links[number] for number in range(self._interfaces)]
        section = SectionState(">" if self.is_big else "<", tuple(links), tuple(clocks), self._snap_bytes)
        return Entry(self.head, section, self._before_ns if self.first_ns == _EARLIEST_NS else self.time_ns)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _is_numbered(kind: i64) -> cython.bint:
    """Whether Wireshark numbers a block although it holds no packet: a journal entry, custom block or system call."""
    return kind in (9, 0x0BAD, 0x4000_0BAD, 0x204, 0x216, 0x221)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _from_binary(ticks: u64, exponent: i64) -> u64:
    """Nanoseconds in `ticks` of 2^-exponent seconds, modulo 2^64."""
    high: u64
    low: u64
    if exponent <= 33:
        high = ticks >> exponent
        low = ticks - (high << exponent)
        return high * _GIGA + (low * _GIGA >> exponent) & _MASK64
    # The product has up to 94 bits; its lowest 32 are shifted out in any case.
    high = (ticks >> 32) * _GIGA + ((ticks & _MASK32) * _GIGA >> 32)
    return high >> (exponent - 32) if exponent < 96 else 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _signed(value: u64) -> i64:
    """The same 64 bits as a signed number; the least one stands for no time."""
    rest: i64
    if value < _SIGN:
        rest = value
        return rest
    rest = _MASK64 - value
    return -rest - 1 if value > _SIGN else -rest
