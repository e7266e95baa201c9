"""pcapng (draft-ietf-opsawg-pcapng): sections of blocks, each section with its byte order and interfaces."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import FrameBatch, tick
from udpprobe.sources.interfaces import Interfaces, Known
from udpprobe.sources.reader import SHORT_STRIDE_BYTES, Reader, gather, sound_rows

if TYPE_CHECKING:
    import mmap
    from collections.abc import Callable

    from udpprobe.core.batch import I64, U8, Bool, SourceState
    from udpprobe.sources.octets import Octets

SECTION_HEADER = b"\x0a\x0d\x0d\x0a"
"""The same in either byte order."""

SECTION = 0x0A0D0D0A
INTERFACE, OLD_PACKET, SIMPLE_PACKET, STATISTICS, ENHANCED_PACKET = 1, 2, 3, 5, 6
PACKETS = (OLD_PACKET, SIMPLE_PACKET, ENHANCED_PACKET)

ALSO_NUMBERED = (9, 0x0BAD, 0x4000_0BAD, 0x204, 0x216, 0x221)
"""Without a packet, yet numbered as frames by Wireshark: journal entries, custom blocks, system calls."""

MIN_BLOCK_BYTES, MAX_BLOCK_BYTES = 12, 16 << 20
"""The upper bound is libpcap's and Wireshark's."""

MIN_SECTION_BYTES = 28
MIN_PACKET_BYTES = 32

ORDERS = {struct.pack(f"{order}I", 0x1A2B3C4D): order for order in "<>"}
"""Byte-order magic -> byte order."""

GUESSES = 64
"""Places that are tried for the start of a segment."""

PACKET_HEADER_BYTES = 28
"""An enhanced or old packet block up to its frame."""

SIMPLE_SHORTER_BYTES = 16
"""By so much is a simple packet block's header shorter."""

Words = npt.NDArray[np.uint32]


def padded(length: int) -> int:
    """Bytes of a block, 0 if none can be so long. No multiple of 4 is rounded up, like libpcap does."""
    return length + 3 & -4 if MIN_BLOCK_BYTES <= length <= MAX_BLOCK_BYTES else 0


class PcapngForm:
    """Block: type and length of the whole, 32 bits each; a body; the length again. Padded to 32 bits.

    Args:
        order: the section's byte order, "<" or ">".
    """

    header_bytes = MIN_BLOCK_BYTES
    unit_bytes = 4

    def __init__(self, order: str) -> None:
        self.order = order
        self._head = struct.Struct(f"{order}2I")

    def size_of(self, buffer: mmap.mmap, at: int) -> int:
        """See Form. A section header is not walked over: behind it, all may be different."""
        kind, length = self._head.unpack_from(buffer, at)
        return 0 if kind == SECTION else padded(length)

    def words(self, data: U8) -> Words:
        """The 32-bit words of `data`, in the section's byte order."""
        return data[:data.size // 4 * 4].view(f"{self.order}u4")

    def find_start(self, buffer: mmap.mmap, at: int, low: int, high: int) -> int | None:
        """See Form. Searches for the type of an enhanced packet block."""
        del at
        pattern = self._head.pack(ENHANCED_PACKET, 0)[:4]
        for _ in range(GUESSES):
            found = buffer.find(pattern, low, high)
            if found < 0:
                break
            if found % 4 == 0 and self._is_plausible(buffer, found, high):
                return found
            low = found + 1
        return None

    def _is_plausible(self, buffer: mmap.mmap, at: int, high: int) -> bool:
        if at + MIN_BLOCK_BYTES > high:
            return False
        size = self.size_of(buffer, at)
        if not size or at + size + 4 > high:
            return False
        trailer, next_kind = self._head.unpack_from(buffer, at + size - 4)
        return padded(trailer) == size and bool(next_kind <= ENHANCED_PACKET)

    def candidates(self, data: U8, low: int, high: int) -> list[int]:
        """See Form. Places where the type of an enhanced packet block stands."""
        words = self.words(data)[low // 4:-(-high // 4)]
        return (low + 4 * np.flatnonzero(words == ENHANCED_PACKET)).tolist()

    def sane_size(self, buffer: mmap.mmap, at: int, high: int) -> int:
        """See Form. Its length must stand at its end once more."""
        if buffer[at:at + 4] == SECTION_HEADER:
            return high - at     # behind it, all may be different
        size = self.size_of(buffer, at)
        if not size or at + size > high:
            return size
        trailer, = struct.unpack_from(f"{self.order}I", buffer, at + size - 4)
        return size if padded(trailer) == size else 0

    def stepper(self, data: U8, cursors: int) -> Callable[[I64], None]:
        """See Form. In words of 32 bits, for every block is aligned to them."""
        del cursors
        lengths = self.words(data)[1:]

        def advance(block: I64) -> None:
            rows = list(block)
            for here, there in pairwise(rows):
                words = lengths.take(here, mode="clip")
                words += 3
                words >>= 2
                np.add(here, words, out=there)
        return advance


class PcapngReader(Reader):
    """Reads pcapng.

    Args:
        state: where faults and drops are counted.
        known: of the section in which reading begins; None where that is a section's start.
        last_ns: the time of the packet before, nanoseconds since 1970.
    """

    fault = "bad-block"

    def __init__(self, state: SourceState, known: Known | None = None, last_ns: int = 0) -> None:
        self._interfaces = Interfaces.of(known) if known else Interfaces("<")
        self._form = PcapngForm(known.order if known else "<")
        self._sections = 0 if known is None else 1
        self._is_timed = False
        self.last_ns = last_ns
        super().__init__(self._form, state)

    @property
    def known(self) -> Known:  # type: ignore[override]  # read only there, too
        """See Reader."""
        return self._interfaces.known

    @property
    def drops(self) -> dict[int, int]:  # type: ignore[override]  # likewise
        """See Reader."""
        return self._interfaces.drops

    def prepare(self, octets: Octets) -> bool:
        """See Reader. Opens a section where one begins, which takes all of its header block."""
        while octets.start < octets.stop and octets.buffer[octets.start:octets.start + 4] == SECTION_HEADER:
            if not self._open_section(octets):
                return False
        return super().prepare(octets)

    def _open_section(self, octets: Octets) -> bool:
        at = octets.start
        if at + MIN_BLOCK_BYTES > octets.end:
            return False
        order = ORDERS.get(octets.buffer[at + 8:at + 12], "")
        size = padded(struct.unpack_from(f"{order}4xI", octets.buffer, at)[0]) if order else 0
        if size < MIN_SECTION_BYTES:
            self.give_up()
        if self.broken or at + size > octets.end:
            return False
        if self._sections:
            self.stride_bytes = SHORT_STRIDE_BYTES
            self.first_drops = self._interfaces.drops if self.first_drops is None else self.first_drops
        self._sections += 1
        self.form = self._form = PcapngForm(order)
        self._interfaces = Interfaces(order)
        octets.start += size
        return True

    def read(self, data: U8, at: I64, following: I64) -> tuple[FrameBatch, int]:
        """See Reader."""
        blocks = gather(data, at, PACKET_HEADER_BYTES, self._form.order)
        length = blocks[:, 1].astype(np.int64)
        sound = sound_rows((length >= MIN_BLOCK_BYTES) & (length <= MAX_BLOCK_BYTES)
                           & (length + 3 & -4 == following - at) & (blocks[:, 0] != SECTION))
        if sound < len(at):
            blocks, length, at, following = blocks[:sound], length[:sound], at[:sound], following[:sound]
        trailers = self._form.words(data).take(following // 4 - 1)
        self._count(trailers != blocks[:, 1])
        if (blocks[:, 0] != ENHANCED_PACKET).any():
            return self._read_mixed(data, blocks, length, at.copy()), sound
        is_fit = (length >= MIN_PACKET_BYTES) & (blocks[:, 2] < len(self._interfaces))
        if not is_fit.all():
            return self._read_mixed(data, blocks, length, at.copy()), sound
        return self._frames(data, blocks, length, at, self.frame_numbers(sound)), sound

    def _read_mixed(self, data: U8, blocks: Words, length: I64, at: I64) -> FrameBatch:
        """Blocks of any type: notes what they say, and brings the packets among them into one form."""
        kind = blocks[:, 0].copy()
        declared = len(self._interfaces) + np.cumsum(kind == INTERFACE)
        self._take_notes(data, kind, length, at)
        _enhance_old(blocks, kind, self._form.order)
        _enhance_simple(blocks, kind, length, at, self._interfaces.snap_bytes)
        is_packet = np.isin(kind, PACKETS)
        whole = length >= MIN_PACKET_BYTES
        known = blocks[:, 2] < np.minimum(declared, len(self._interfaces))
        self._count(is_packet & ~whole)
        self._count(is_packet & whole & ~known, "no-interface")
        keep = is_packet & whole & known
        numbers = self.frames + np.cumsum(keep | np.isin(kind, ALSO_NUMBERED))
        self.frames = int(numbers[-1])
        return self._frames(data, blocks[keep], length[keep], at[keep], numbers[keep])

    def _take_notes(self, data: U8, kind: npt.NDArray[np.uint32], length: I64, at: I64) -> None:
        for row in np.flatnonzero((kind == INTERFACE) | (kind == STATISTICS)).tolist():
            body = data[at[row] + 8:at[row] + length[row] - 4].tobytes()
            if kind[row] == INTERFACE:
                self._count(not self._interfaces.declare(body))
            elif (more := self._interfaces.count_drops(body)) is not None:
                self.state.dropped = (self.state.dropped or 0) + more

    def _frames(self, data: U8, blocks: Words, length: I64, at: I64, frame: I64) -> FrameBatch:
        if not len(at):
            return tick(self.now_ns)
        interface = blocks[:, 2].astype(np.int64)
        captured = blocks[:, 5].astype(np.int64)
        room = length - MIN_PACKET_BYTES
        if (captured > room).any():
            self._count(captured > room)
            captured = np.minimum(captured, room)
        time_ns = self._times(blocks, interface)
        return FrameBatch(
            data, at + PACKET_HEADER_BYTES, captured, blocks[:, 6].astype(np.int64), time_ns,
            self._interfaces.link_types(interface), frame, self.advance_clock(time_ns))

    def _times(self, blocks: Words, interface: I64) -> I64:
        ticks = blocks[:, 3].astype(np.uint64)
        ticks <<= np.uint64(32)
        ticks |= blocks[:, 4]
        time_ns = self._interfaces.times(ticks, interface)
        untimed = blocks[:, 0] == SIMPLE_PACKET
        if untimed.any():     # the time of the packet before it
            last = np.maximum.accumulate(np.where(untimed, 0, np.arange(1, len(blocks) + 1)))
            time_ns = np.append(np.int64(self.last_ns), time_ns)[last]
        self.leans_on_time |= not self._is_timed and bool(untimed[0])
        self._is_timed = True
        self.last_ns = int(time_ns[-1])
        return time_ns

    def _count(self, rows: Bool | bool, fault: str | None = None) -> None:
        if number := int(np.count_nonzero(rows)):
            self.state.faults[fault or self.fault] += number


def _enhance_old(blocks: Words, kind: Words, order: str) -> None:
    """An old packet block has a 16-bit interface, then a 16-bit count of drops."""
    old = kind == OLD_PACKET
    blocks[old, 2] = blocks[old, 2] & 0xFFFF if order == "<" else blocks[old, 2] >> 16


def _enhance_simple(blocks: Words, kind: Words, length: I64, at: I64, snap_bytes: int) -> None:
    """A simple packet block has but the length on the wire; it belongs to the first interface."""
    simple = kind == SIMPLE_PACKET
    blocks[simple, 6] = blocks[simple, 2]
    blocks[simple, 5] = np.minimum(blocks[simple, 2], snap_bytes or 0xFFFFFFFF)
    blocks[simple, 2] = 0
    at[simple] -= SIMPLE_SHORTER_BYTES
    length[simple] += SIMPLE_SHORTER_BYTES
