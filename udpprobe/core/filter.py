"""Runs libpcap's filters: programs of the classic BPF machine, one for each link type.

libpcap compiles them (see `udpprobe.capture.filter`). Here the instructions are checked once and then executed, as in
bpf(4) and libpcap's bpf_filter.c: 32-bit registers A and X, 16 words of memory, and a load beyond the captured bytes
rejects the frame.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

Instructions = Iterable[tuple[int, int, int, int]]
"""Instructions: operation code, jump if true, jump if false, operand (struct bpf_insn)."""

_MASK32 = cython.declare(cython.const[u64], 0xFFFF_FFFF)
_BACKWARDS = cython.declare(cython.const[u64], 1 << 31)
_MAX_LOOPS = cython.declare(cython.const[index], 1 << 16)  # a frame cannot have more headers, of 8 bytes each
_MEMORY_WORDS = 16

_LOADS = {0x00, 0x20, 0x40, 0x60, 0x80, 0x28, 0x48, 0x30, 0x50}
_INDEX_LOADS = {0x01, 0x61, 0x81, 0xB1}
_STORES = {0x02, 0x03}
_ARITHMETIC = {kind | source | 0x04 for kind in range(0, 0xB0, 0x10) for source in (0, 8)} - {0x8C}
_JUMPS = {0x15, 0x1D, 0x25, 0x2D, 0x35, 0x3D, 0x45, 0x4D}
_ALWAYS = 0x05
_RETURNS = {0x06, 0x16}
_MOVES = {0x07, 0x87}
_KNOWN = _LOADS | _INDEX_LOADS | _STORES | _ARITHMETIC | _JUMPS | {_ALWAYS} | _RETURNS | _MOVES

_IN_MEMORY = {0x60, 0x61, 0x02, 0x03}
_BY_CONSTANT = {0x34, 0x94}  # division: the operand must not be 0
_ANCILLARY = 0xFFFF_F000  # Linux's loads of packet metadata (SKF_AD_OFF), which a file lacks


def packed(rows: Instructions) -> list[int]:
    """One word per instruction: code, jumps and operand, 16, 8, 8 and 32 bits.

    Raises:
        ValueError: the program has unknown instructions, may leave its code or memory, or does not end.
    """
    program = [tuple(row) for row in rows]
    if not program:
        raise ValueError("a filter without instructions")
    for number, (code, if_true, if_false, operand) in enumerate(program):
        reach = max(if_true, if_false) if code in _JUMPS else 0
        if code == _ALWAYS:  # may go backwards: libpcap's "protochain" walks a chain of headers
            reach = (operand ^ 1 << 31) - (1 << 31)
        is_inside = 0 <= number + 1 + reach < len(program) or code in _RETURNS
        if (
            code not in _KNOWN
            or not is_inside
            or (code in _BY_CONSTANT and not operand)
            or (code in _IN_MEMORY and operand >= _MEMORY_WORDS)
            or (code in _LOADS and code & 0xE0 in {0x20, 0x40} and operand >= _ANCILLARY)
        ):
            raise ValueError(f"instruction {number} of a filter: ({code:#x}, {if_true}, {if_false}, {operand:#x})")
    return [code << 48 | if_true << 40 | if_false << 32 | operand for code, if_true, if_false, operand in program]


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(0xFFFFFFFFFFFFFFFF, check=False)
def _calculated(kind: cython.int, a: u64, other: u64) -> u64:
    """A, after an instruction that calculates with it; `other` is not 0 where it divides."""
    if kind == 0x00:
        a += other
    elif kind == 0x10:
        a += _MASK32 + 1 - other
    elif kind == 0x20:
        a *= other
    elif kind == 0x30:
        a //= other
    elif kind == 0x40:
        a |= other
    elif kind == 0x50:
        a &= other
    elif kind == 0x60:
        a = a << other if other < 32 else 0
    elif kind == 0x70:
        a = a >> other if other < 32 else 0
    elif kind == 0x80:
        a = _MASK32 + 1 - a
    elif kind == 0x90:
        a %= other
    else:
        a ^= other
    return a & _MASK32


@cython.cfunc
@cython.inline
@cython.nogil
@cython.exceptval(-1, check=False)
def _holds(kind: cython.int, a: u64, other: u64) -> cython.int:
    """Whether the condition of a jump holds."""
    if kind == 0x10:
        return a == other
    if kind == 0x20:
        return a > other
    if kind == 0x30:
        return a >= other
    return a & other != 0


@cython.final
@cython.cclass
class Filter:
    """Tells which frames pass a filter.

    Args:
        compiled: returns the program for a link type, or None where no filter exists for it. Called once for each.

    Raises:
        ValueError: from `passes`, if a program is invalid.
    """

    def __init__(self, compiled: Callable[[int], Instructions | None]) -> None:
        self._compiled = compiled
        self._programs = memoryview(array("Q", [0]))
        # known link types: `_links` has their numbers, `_starts` where their programs start, or -1
        self._known = 0
        self._links = memoryview(array("i", [0]))
        self._starts = memoryview(array("q", [0]))
        self._memory = memoryview(array("Q", [0] * _MEMORY_WORDS))
        self.unfilterable = 0
        self.load(b"")

    def load(self, data: bytes | bytearray | memoryview) -> None:
        """Take frames from this buffer from now on."""
        self.data = memoryview(data)

    def add(self, link_type: int) -> None:
        """Get the program for a link type."""
        rows = self._compiled(link_type)
        start = -1
        programs = list(self._programs)
        if rows is not None:
            start = len(programs)
            programs += packed(rows)
        self._programs = memoryview(array("Q", programs))
        links, starts = list(self._links), list(self._starts)
        self._links = memoryview(array("i", [*links[: self._known], link_type]))
        self._starts = memoryview(array("q", [*starts[: self._known], start]))
        self._known += 1

    @cython.ccall
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def passes(self, at: index, captured: index, length: index, link_type: cython.int) -> cython.int:
        """Whether a frame passes: 1 or 0. A frame whose link type has no filter is counted as unfilterable.

        Args:
            at: where it begins in the buffer.
            captured: bytes of it that were captured.
            length: bytes it had on the wire.
            link_type: its LINKTYPE_ value.

        Raises:
            IndexError: the buffer does not hold all of it.
        """
        number: index = 0
        while number < self._known and self._links[number] != link_type:
            number += 1
        if number == self._known:
            with cython.gil:
                self.add(link_type)
        start: index = self._starts[number]
        if start < 0:
            self.unfilterable += 1
            return 0
        return 1 if self._run(start, at, captured, length) else 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _run(self, counter: index, at: index, captured: u64, length: u64) -> cython.longlong:
        """Bytes of a frame that the program at `counter` accepts; 0 rejects it."""
        a: u64 = 0
        x: u64 = 0
        loops: index = 0
        while True:
            instruction: u64 = self._programs[counter]
            counter += 1
            code: cython.int = instruction >> 48
            k: u64 = instruction & _MASK32
            other: u64 = x if code & 8 else k
            kind: cython.int = code & 0xF0
            if code & 7 == 0:  # load A
                if kind in (0x20, 0x30, 0x40, 0x50):  # from the frame, or relative to X
                    place: u64 = k + x if kind >= 0x40 else k
                    size: u64 = 2 if code & 8 else 1 if code & 16 else 4
                    if place + size > captured:
                        return 0
                    a = self.data[at + place]
                    if size > 1:
                        a = a << 8 | self.data[at + place + 1]
                    if size > 2:
                        a = a << 16 | self.data[at + place + 2] << 8 | self.data[at + place + 3]
                elif kind == 0x60:
                    a = self._memory[k]
                else:
                    a = length if kind == 0x80 else k
            elif code & 7 == 1:  # load X
                if kind == 0xB0:  # the length of an IPv4 header
                    if k >= captured:
                        return 0
                    x = (self.data[at + k] & 15) << 2
                elif kind == 0x60:
                    x = self._memory[k]
                else:
                    x = length if kind == 0x80 else k
            elif code & 7 == 2:
                self._memory[k] = a
            elif code & 7 == 3:
                self._memory[k] = x
            elif code & 7 == 4:
                if other == 0 and kind in (0x30, 0x90):  # division by X
                    return 0
                a = _calculated(kind, a, other)
            elif code & 7 == 5:  # jump
                if kind == 0x00:
                    counter += k
                    if k >= _BACKWARDS:
                        counter -= _BACKWARDS << 1
                        loops += 1
                        if loops > _MAX_LOOPS:
                            return 0
                elif _holds(kind, a, other):
                    counter += instruction >> 40 & 255
                else:
                    counter += instruction >> 32 & 255
            elif code & 7 == 6:  # return
                return a if kind == 0x10 else k
            elif code == 0x07:
                x = a
            else:
                a = x
