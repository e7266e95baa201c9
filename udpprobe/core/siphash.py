"""SipHash (Aumasson and Bernstein, 2012): a keyed hash of 64-bit words that is unpredictable without the key."""

from __future__ import annotations

from collections.abc import Sequence

try:
    import cython
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, u64

MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
START_A = cython.declare(cython.const[u64], 0x736F_6D65_7073_6575)
START_B = cython.declare(cython.const[u64], 0x646F_7261_6E64_6F6D)
START_C = cython.declare(cython.const[u64], 0x6C79_6765_6E65_7261)
START_D = cython.declare(cython.const[u64], 0x7465_6462_7974_6573)
FIVE_WORDS = cython.declare(cython.const[u64], 40 << 56)
"""The last word of a message of 40 bytes: its length in the highest byte."""


@cython.final
@cython.cclass
class SipHash:
    """Hashes words as their little-endian bytes.

    The state is in attributes, so each thread needs its own object.

    Args:
        key: two halves of 128 secret bits.
    """

    def __init__(self, key: tuple[int, int]) -> None:
        self.key_low, self.key_high = key
        self.a = self.b = self.c = self.d = 0
        self.first = self.second = 0

    def of(self, words: Sequence[int], compressions: int = 1, finalizations: int = 3) -> int:
        """64 bits, with so many rounds per word and at the end: CPython uses 1 and 3, the authors 2 and 4."""
        self.start()
        self._take_all(words, compressions)
        self.c ^= 0xFF
        return self._finished(finalizations)

    def of_128(self, words: Sequence[int], compressions: int = 1, finalizations: int = 3) -> tuple[int, int]:
        """128 bits, as two halves."""
        self.start()
        self.b ^= 0xEE
        self._take_all(words, compressions)
        self.c ^= 0xEE
        first = self._finished(finalizations)
        self.b ^= 0xDD
        return first, self._finished(finalizations)

    @cython.ccall
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def five(self, v: u64, w: u64, x: u64, y: u64, z: u64) -> cython.int:
        """`of_128` of five words, into `first` and `second`: 33 ns."""
        self.start()
        self.b ^= 0xEE
        self.take(v)
        self.take(w)
        self.take(x)
        self.take(y)
        self.take(z)
        self.take(FIVE_WORDS)
        self.c ^= 0xEE
        self.turn()
        self.turn()
        self.turn()
        self.first = self.a ^ self.b ^ self.c ^ self.d
        self.b ^= 0xDD
        self.turn()
        self.turn()
        self.turn()
        self.second = self.a ^ self.b ^ self.c ^ self.d
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def start(self) -> cython.int:
        """Begin a message."""
        self.a = self.key_low ^ START_A
        self.b = self.key_high ^ START_B
        self.c = self.key_low ^ START_C
        self.d = self.key_high ^ START_D
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def take(self, word: u64) -> cython.int:
        """Hash one more word, with one round."""
        self.d ^= word
        self.turn()
        self.a ^= word
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def turn(self) -> cython.int:
        """One round, in local variables, which the compiler keeps in registers."""
        a: u64 = (self.a + self.b) & MASK64
        b: u64 = ((self.b << 13 | self.b >> 51) & MASK64) ^ a
        c: u64 = (self.c + self.d) & MASK64
        d: u64 = ((self.d << 16 | self.d >> 48) & MASK64) ^ c
        a = ((a << 32 | a >> 32) + d) & MASK64
        c = (c + b) & MASK64
        self.d = ((d << 21 | d >> 43) & MASK64) ^ a
        self.b = ((b << 17 | b >> 47) & MASK64) ^ c
        self.a = a
        self.c = (c << 32 | c >> 32) & MASK64
        return 0

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(0xFFFF_FFFF_FFFF_FFFF, check=True)
    def finish(self) -> u64:
        """End a message; its last word contains the length. Returns 64 bits."""
        self.c ^= 0xFF
        self.turn()
        self.turn()
        self.turn()
        return self.a ^ self.b ^ self.c ^ self.d

    def _take_all(self, words: Sequence[int], compressions: int) -> None:
        length: u64 = len(words)
        for word in (*words, length % 32 << 59):
            self.d ^= word
            for _ in range(compressions):
                self.turn()
            self.a ^= word

    def _finished(self, finalizations: int) -> int:
        for _ in range(finalizations):
            self.turn()
        return self.a ^ self.b ^ self.c ^ self.d
