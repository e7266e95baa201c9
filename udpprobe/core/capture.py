"""The records of a capture: pcap and pcapng, read in place from a buffer that the caller fills.

`Records.next` goes from frame to frame and says what the next one is, or that it needs more bytes; it copies nothing
and makes no Python object for a frame. Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng; where they leave
room, Wireshark and libpcap decide (frame numbers, the longest record, what is skipped).
"""

from __future__ import annotations

from array import array
from typing import NamedTuple

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

# What `Records.next` found.
FRAME = 0       # its attributes describe a frame
MORE = 1        # the next record is not all there: fill, and ask again
WAIT = 2        # the next frame is later than `until_ns`; it stays where it is
END = 3         # nothing more is asked for, or can be found

# Indices of `Records.faults`, and their names.
BAD_RECORD = 0
BAD_BLOCK = 1
NO_INTERFACE = 2
FAULTS = ("bad-record", "bad-block", "no-interface")

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

# pcapng (draft-ietf-opsawg-pcapng section 4)
SECTION_HEADER = b"\x0a\x0d\x0d\x0a"
SECTION = cython.declare(i64, 0x0A0D0D0A)      # the same in either byte order
ORDER_MAGIC = cython.declare(i64, 0x1A2B3C4D)
ORDER_SWAPPED = cython.declare(i64, 0x4D3C2B1A)
INTERFACE = cython.declare(i64, 1)
OLD_PACKET = cython.declare(i64, 2)
SIMPLE_PACKET = cython.declare(i64, 3)
STATISTICS = cython.declare(i64, 5)
ENHANCED_PACKET = cython.declare(i64, 6)
MIN_BLOCK_BYTES = cython.declare(i64, 12)
MIN_SECTION_BYTES = cython.declare(i64, 28)
PACKET_BYTES = cython.declare(i64, 32)          # an enhanced or old packet block without its frame
SIMPLE_BYTES = cython.declare(i64, 16)          # a simple one

# Options of interface descriptions (section 4.2) and statistics (section 4.6: isb_ifdrop, isb_osdrop)
TIME_RESOLUTION = cython.declare(i64, 9)
TIME_OFFSET = cython.declare(i64, 14)
INTERFACE_DROPS = cython.declare(i64, 5)
SYSTEM_DROPS = cython.declare(i64, 7)

MICROSECONDS = cython.declare(i64, 6)
UNKNOWN_LINK = cython.declare(i64, 0xFFFF)      # of an interface whose description is too short
MAX_INTERFACES = cython.declare(i64, 1 << 16)   # of one section: more are an attack on our memory, not a host

# The longest record that libpcap and Wireshark take for real, whatever snap length the file claims
MAX_CAPTURED_BYTES = cython.declare(i64, 262_144)
MAX_BLOCK_BYTES = cython.declare(i64, 16 << 20)

SECOND_NS = cython.declare(i64, 1_000_000_000)
EARLIEST_NS = cython.declare(i64, -(1 << 63))
LATEST_NS = cython.declare(i64, (1 << 63) - 1)
SIGN = cython.declare(u64, 1 << 63)
MASK32 = cython.declare(u64, (1 << 32) - 1)
GIGA = cython.declare(u64, 1_000_000_000)
MASK64 = cython.declare(u64, (1 << 64) - 1)

PROOF_BYTES = cython.declare(index, 1 << 16)    # a guess at a record's start must hold so far: out of any payload
PROOF_STEPS = cython.declare(index, 1 << 24)    # in all, for payloads made to look like records everywhere


class Known(NamedTuple):
    """What must be known of a pcapng section to read packets in the middle of it."""

    order: str
    """Byte order, "<" or ">"."""
    links: tuple[int, ...]
    """LINKTYPE_ value of each interface."""
    clocks: tuple[tuple[int, int], ...]
    """if_tsresol and if_tsoffset (in nanoseconds) of each interface."""
    snap_bytes: int
    """Snap length of the first interface, to which simple packet blocks belong; 0 for none."""


class Entry(NamedTuple):
    """What must be known to read from a record in the middle of a file; small, and picklable."""

    head: bytes
    """The file's first PCAP_HEADER_BYTES: its format, and for pcap all there is to know."""
    known: Known | None = None
    """In pcapng: of the section."""
    last_ns: int = 0
    """In pcapng: time of the packet before, which a simple packet block repeats; nanoseconds since 1970."""


def is_capture(head: bytes) -> bool:
    """Whether a file that begins with these bytes is pcap or pcapng."""
    return head[:4] == SECTION_HEADER or any(
        int.from_bytes(head[:4], order) in PCAP_MAGICS for order in ("little", "big"))


@cython.final
@cython.cclass
class Records:
    """Goes through the records of one capture.

    The caller puts bytes into `room()` and says how many with `filled()`; `next()` then walks. `data` is the buffer,
    in which frames are read in place; it changes when the buffer grows, so take it again after each `room()`.

    Args:
        entry: what is known where reading begins; at the file's start, its first bytes.
        first: byte of the file that is filled in first; None for the first record of a file.
        stop: byte of the file; records that begin before it are read.
        capacity: bytes of the buffer, which grows only for a record that does not fit.
        is_gapless: whether only frames get numbers, as in what mergecap writes. Otherwise numbers are Wireshark's,
            which has one for some blocks without a packet, too.
    """

    def __init__(self, entry: Entry, first: int | None = None, stop: int = EVERYTHING,
                 capacity: int = CAPACITY_BYTES, *, is_gapless: bool = False) -> None:
        self.head = entry.head
        self.is_pcapng = entry.head[:4] == SECTION_HEADER
        self.is_gapless = is_gapless
        # ---- the buffer
        self._buffer = bytearray(capacity)
        self.data = memoryview(self._buffer)
        self._capacity = capacity
        self.begins = 0 if self.is_pcapng else PCAP_HEADER_BYTES
        if first is not None:
            self.begins = first
        self.base = self.begins
        self.stop = stop
        self.start = self.end = 0
        self._last = -1
        self.is_broken = False
        # ---- the frame
        self.at = self.captured = self.length = 0
        self.link_type = 0
        self.frame = 0
        self.time_ns = EARLIEST_NS
        # ---- what is told of all frames
        self.first_ns = self.latest_ns = EARLIEST_NS
        self.until_ns = LATEST_NS
        self.held_ns = EARLIEST_NS
        self.is_disordered = False
        self.faults = array("q", [0] * len(FAULTS))
        self.has_dropped = False
        self._dropped = 0
        # ---- pcapng
        self._sections = 0
        self._interfaces = 0
        self._links = array("i", [0] * 4)
        self._resolutions = array("i", [0] * 4)
        self._offsets_ns = array("Q", [0] * 4)
        self._drops = array("Q", [0] * 4)
        self._has_drops = array("B", [0] * 4)
        self._powers = array("Q", [int("1" + "0" * zeros) for zeros in range(20)])     # Cython's ** may be a float's
        self._snap_bytes = 0
        self.last_ns = entry.last_ns
        self._is_timed = self.leans_on_time = False
        self.first_drops = None
        self._header_bytes = MIN_BLOCK_BYTES
        if not self.is_pcapng:
            self._open_pcap(entry.head)
        elif entry.known is not None:
            self._resume(entry.known)

    def _open_pcap(self, head: bytes) -> None:
        little = int.from_bytes(head[:4], "little")
        self._is_big = little not in PCAP_MAGICS
        order = "big" if self._is_big else "little"
        self._unit_ns, self._header_bytes = PCAP_MAGICS[int.from_bytes(head[:4], order)]
        self.link_type = int.from_bytes(head[20:24], order) & 0xFFFF     # above: whether there is an FCS

    def _resume(self, known: Known) -> None:
        self._is_big = known.order == ">"
        self._sections = 1
        for link, (resolution, offset_ns) in zip(known.links, known.clocks, strict=True):
            if self._interfaces == len(self._links):
                self._make_space()
            self._links[self._interfaces] = link
            self._resolutions[self._interfaces] = resolution
            self._offsets_ns[self._interfaces] = offset_ns & 0xFFFF_FFFF_FFFF_FFFF
            self._has_drops[self._interfaces] = 0
            self._interfaces += 1
        self._snap_bytes = known.snap_bytes

    # ---- bytes in

    def room(self) -> memoryview:
        """Space for the next bytes, at least one; what was not read yet may move."""
        if self.end == self._capacity:
            self._move()
        return memoryview(self._buffer)[self.end:self._capacity]

    def filled(self, count: int) -> None:
        """The first `count` bytes of `room()` are there now."""
        if not 0 <= count <= self._capacity - self.end:
            raise ValueError("more than there is room for")
        self.end += count
        self._look()

    def _move(self) -> None:
        # A record that is not all there is moved once: it then begins the buffer, until it is all there.
        left = memoryview(self._buffer)[self.start:self.end]
        if self.start == 0:
            self._capacity *= 2
            larger = bytearray(self._capacity)
            larger[:len(left)] = left
            self._buffer = larger
            self.data = memoryview(larger)
        else:
            self._buffer[:len(left)] = bytes(left)
        self.base += self.start
        self.end -= self.start
        self.start = 0
        self._look()

    def _look(self) -> None:
        """Where in the buffer a record may begin at most: its header is there, and it is asked for."""
        self._last = min(self.end - self._header_bytes, self.stop - self.base - 1)

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
            return self._wanting()
        captured: i64 = self._word(at + 8, self._is_big)
        if captured > MAX_CAPTURED_BYTES:
            return self._give_up(BAD_RECORD)
        behind: index = at + self._header_bytes + captured
        if behind > self.end:
            return MORE
        time_ns: i64 = self._word(at, self._is_big) * SECOND_NS + self._word(at + 4, self._is_big) * self._unit_ns
        return self._found(at + self._header_bytes, captured, self._word(at + 12, self._is_big), time_ns, behind)

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _found(self, at: index, captured: index, length: index, time_ns: i64, behind: index) -> cython.int:
        """Take a frame, if its time has come."""
        latest_ns: i64 = time_ns if time_ns > self.latest_ns else self.latest_ns
        if latest_ns > self.until_ns:
            self.held_ns = latest_ns
            return WAIT
        if self.first_ns == EARLIEST_NS:
            self.first_ns = time_ns
        if time_ns < self.time_ns and cython.cast(u64, self.time_ns - time_ns) <= SECOND_NS:
            self.is_disordered = True
        self.start = behind
        self.at = at
        self.captured = captured
        self.length = length
        self.time_ns = time_ns
        self.latest_ns = latest_ns
        self.frame += 1
        return FRAME

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _wanting(self) -> cython.int:
        """Why there is no whole header."""
        return END if self.is_broken or self.base + self.start >= self.stop else MORE

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _give_up(self, fault: cython.int) -> cython.int:
        """A record's length cannot be true, so that nothing behind it can be found."""
        self.faults[fault] += 1
        self.is_broken = True
        self._last = -1
        return END

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _word(self, at: index, is_big: cython.bint) -> i64:
        """32 bits at a place."""
        first: i64 = self.data[at]
        second: i64 = self.data[at + 1]
        third: i64 = self.data[at + 2]
        fourth: i64 = self.data[at + 3]
        if is_big:
            return first << 24 | second << 16 | third << 8 | fourth
        return first | second << 8 | third << 16 | fourth << 24

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
            kind: i64 = self._word(at, self._is_big)
            if kind == SECTION:
                if (outcome := self._open_section(at)) != FRAME:
                    return outcome
                continue
            length: i64 = self._word(at + 4, self._is_big)
            # No multiple of 4 is rounded up, as libpcap does.
            behind: index = at + (length + 3 & -4)
            if length < MIN_BLOCK_BYTES or length > MAX_BLOCK_BYTES:
                return self._give_up(BAD_BLOCK)
            if behind > self.end:
                return MORE
            if kind == ENHANCED_PACKET or kind == OLD_PACKET or kind == SIMPLE_PACKET:
                outcome = self._take_packet(kind, at, length, behind)
                if outcome == WAIT:
                    return WAIT
            else:
                outcome = MORE
                if kind == INTERFACE:
                    self._declare(at, length)
                elif kind == STATISTICS:
                    self._count_drops(at, length)
                elif _is_numbered(kind) and not self.is_gapless:
                    self.frame += 1
            if self._word(behind - 4, self._is_big) != length:
                self.faults[BAD_BLOCK] += 1
            self.start = behind
            if outcome == FRAME:
                return FRAME

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _take_packet(self, kind: i64, at: index, length: i64, behind: index) -> cython.int:
        """A packet block: FRAME, WAIT, or MORE where it is none that can be read."""
        interface: i64 = 0
        header: i64 = PACKET_BYTES
        if kind == SIMPLE_PACKET:
            header = SIMPLE_BYTES
        if length < header:
            self.faults[BAD_BLOCK] += 1
            return MORE
        if kind == ENHANCED_PACKET:
            interface = self._word(at + 8, self._is_big)
        elif kind == OLD_PACKET:     # 16 bits, then a count of drops
            interface = self._word(at + 8, self._is_big)
            interface = interface >> 16 if self._is_big else interface & 0xFFFF
        if interface >= self._interfaces:
            self.faults[NO_INTERFACE] += 1
            return MORE
        on_wire: i64
        captured: i64
        time_ns: i64
        if kind == SIMPLE_PACKET:
            on_wire = captured = self._word(at + 8, self._is_big)
            if self._snap_bytes and captured > self._snap_bytes:
                captured = self._snap_bytes
            time_ns = self.last_ns
        else:
            captured = self._word(at + 20, self._is_big)
            on_wire = self._word(at + 24, self._is_big)
            time_ns = self._time_ns(interface, self._word(at + 12, self._is_big), self._word(at + 16, self._is_big))
        is_cut: cython.bint = captured > length - header
        if is_cut:
            captured = length - header
        outcome: cython.int = self._found(at + header - 4, captured, on_wire, time_ns, behind)
        if outcome == FRAME:
            self.link_type = self._links[interface]
            self.last_ns = time_ns
            if is_cut:
                self.faults[BAD_BLOCK] += 1
            if not self._is_timed:
                self._is_timed = True
                self.leans_on_time = kind == SIMPLE_PACKET
        return outcome

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=True)
    def _time_ns(self, interface: index, high: u64, low: u64) -> i64:
        """Nanoseconds since 1970, rounded down; what does not fit into 64 bits wraps.

        if_tsresol is a negative power of 2 if its highest bit is set, else of 10.
        """
        ticks: u64 = high << 32 | low
        resolution: i64 = self._resolutions[interface]
        value: u64
        if resolution <= 9:
            value = ticks * self._powers[9 - resolution] & MASK64
        elif resolution < 0x80:
            value = ticks // (self._powers[resolution - 9] if resolution < 29 else MASK64)
        else:
            value = _from_binary(ticks, resolution & 0x7F)
        value = value + self._offsets_ns[interface] & MASK64
        return _signed(value)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _open_section(self, at: index) -> cython.int:
        """A section header: FRAME where it was taken. All may be different behind it."""
        magic: i64 = self._word(at + 8, False)
        if magic != ORDER_MAGIC and magic != ORDER_SWAPPED:
            return self._give_up(BAD_BLOCK)
        is_big: cython.bint = magic == ORDER_SWAPPED
        length: i64 = self._word(at + 4, is_big)
        if length < MIN_SECTION_BYTES - 3 or length > MAX_BLOCK_BYTES:
            return self._give_up(BAD_BLOCK)
        behind: index = at + (length + 3 & -4)
        if behind > self.end:
            return MORE
        if self._sections == 1 and self.first_drops is None:
            with cython.gil:
                self.first_drops = self.drops
        self._sections += 1
        self._is_big = is_big
        self._interfaces = 0
        self._snap_bytes = 0
        self.start = behind
        return FRAME

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _declare(self, at: index, length: i64) -> cython.int:
        """Interface description block. One that is too short keeps its number."""
        if self._interfaces == MAX_INTERFACES:
            self.faults[BAD_BLOCK] += 1
            return 0
        link: i64 = UNKNOWN_LINK
        snap_bytes: i64 = 0
        resolution: i64 = MICROSECONDS
        offset_ns: u64 = 0
        if length < 20:
            self.faults[BAD_BLOCK] += 1
        else:
            link = self._half(at + 8)
            snap_bytes = self._word(at + 12, self._is_big)
        option: index = at + 16
        last: index = at + length - 4
        while option + 4 <= last:
            code: i64 = self._half(option)
            size: i64 = self._half(option + 2)
            if code == 0 or option + 4 + size > last:
                break
            if code == TIME_RESOLUTION and size:
                resolution = self.data[option + 4]
            elif code == TIME_OFFSET and size == 8:
                offset_ns = self._long(option + 4) * GIGA & MASK64
            option += 4 + (size + 3 & -4)
        if self._interfaces == 0:
            self._snap_bytes = snap_bytes
        if self._interfaces == self._links.shape[0]:
            with cython.gil:
                self._make_space()
        self._links[self._interfaces] = link
        self._resolutions[self._interfaces] = resolution
        self._offsets_ns[self._interfaces] = offset_ns
        self._has_drops[self._interfaces] = 0
        self._interfaces += 1
        return 0

    def _make_space(self) -> None:
        """For twice as many interfaces."""
        count = 2 * len(self._links)
        self._links = array("i", [*self._links, *bytes(count - len(self._links))])
        self._resolutions = array("i", [*self._resolutions, *bytes(count - len(self._resolutions))])
        self._offsets_ns = array("Q", [*self._offsets_ns, *bytes(count - len(self._offsets_ns))])
        self._drops = array("Q", [*self._drops, *bytes(count - len(self._drops))])
        self._has_drops = array("B", [*self._has_drops, *bytes(count - len(self._has_drops))])

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _count_drops(self, at: index, length: i64) -> cython.int:
        """Interface statistics block. It counts from the capture's start, so the last one of an interface tells."""
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
            if (code == INTERFACE_DROPS or code == SYSTEM_DROPS) and size == 8:
                drops = drops + self._long(option + 4) & MASK64
                has_drops = True
            option += 4 + (size + 3 & -4)
        if not has_drops:
            return 0
        interface: i64 = self._word(at + 8, self._is_big)
        if interface >= self._interfaces:
            self.faults[NO_INTERFACE] += 1
            return 0
        before: u64 = self._drops[interface] if self._has_drops[interface] else 0
        self._drops[interface] = drops
        self._has_drops[interface] = 1
        self._dropped = (self._dropped + (drops - before & MASK64)) & MASK64
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
        return first << 8 | second if self._is_big else first | second << 8

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(1, check=True)
    def _long(self, at: index) -> u64:
        """64 bits at a place."""
        first: u64 = self._word(at, self._is_big)
        second: u64 = self._word(at + 4, self._is_big)
        return first << 32 | second if self._is_big else first | second << 32

    # ---- what is told

    @property
    def position(self) -> int:
        """Byte of the file behind the last record."""
        return self.base + self.start

    @property
    def is_torn(self) -> bool:
        """Whether something stands behind the last record that is none; final when all bytes were filled in."""
        return self.is_broken or self.start < min(self.end, self.stop - self.base)

    @property
    def dropped(self) -> int | None:
        """Packets that the recorder says it lost; None where it says nothing."""
        return self._dropped if self.has_dropped else None

    @property
    def drops(self) -> dict[int, int]:
        """What the interfaces of this section last said they dropped, while it was read."""
        return {number: self._drops[number] for number in range(self._interfaces) if self._has_drops[number]}

    @property
    def entry(self) -> Entry:
        """What is known where the reading has come to."""
        if not self.is_pcapng:
            return Entry(self.head)
        clocks = [(self._resolutions[number], int.from_bytes(
            int(self._offsets_ns[number]).to_bytes(8, "big"), "big", signed=True))
            for number in range(self._interfaces)]
        links = [self._links[number] for number in range(self._interfaces)]
        return Entry(self.head, Known(">" if self._is_big else "<", tuple(links), tuple(clocks), self._snap_bytes),
                     self.last_ns)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _is_numbered(kind: i64) -> cython.bint:
    """Whether Wireshark numbers a block without a packet: a journal entry, a custom block, a system call."""
    return (kind == 9 or kind == 0x0BAD or kind == 0x4000_0BAD or kind == 0x204 or kind == 0x216  # noqa: PLR1714 - in C
            or kind == 0x221)


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _from_binary(ticks: u64, exponent: i64) -> u64:
    """Nanoseconds in ticks of 2 to the power of minus `exponent` seconds, modulo 2 to the power of 64."""
    high: u64
    low: u64
    if exponent <= 33:
        high = ticks >> exponent
        low = ticks - (high << exponent)
        return high * GIGA + (low * GIGA >> exponent) & MASK64
    # The product has up to 94 bits; its lowest 32 are shifted out in any case.
    high = (ticks >> 32) * GIGA + ((ticks & MASK32) * GIGA >> 32)
    return high >> (exponent - 32) if exponent < 96 else 0


@cython.cfunc
@cython.nogil
@cython.exceptval(check=False)
def _signed(value: u64) -> i64:
    """The same 64 bits with a sign."""
    rest: i64
    if value < SIGN:
        rest = value
        return rest
    rest = MASK64 - value
    return -rest - 1
