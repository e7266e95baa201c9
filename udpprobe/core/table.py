"""A hash table whose rows are words: the one dictionary of the core.

Keys are always compared in full; a hash only tells where to look. It is keyed with a secret, so an attacker who chooses
addresses cannot choose their slots.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import SupportsIndex

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

from udpprobe.core.views import Pickled, pickled, restored

LEAST_ROOM = 64
MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
MASK32 = cython.declare(cython.const[u64], 0xFFFF_FFFF)

SECRET_WORDS = 9
"""Words of a secret: one more than the longest key."""


def secret_words(secret: int) -> memoryview:
    """Hash factors from a secret, mixed as in SplitMix64 (Steele, Lea, Flood, 2014); all are odd.

    Args:
        secret: of any size; its lowest 64 bits count. Tables that are joined need not share it.
    """
    words = memoryview(bytearray(8 * SECRET_WORDS)).cast("Q")
    mask = (1 << 64) - 1
    for place in range(SECRET_WORDS):
        mixed = secret + (place + 1) * 0x9E3779B97F4A7C15 & mask
        mixed = (mixed ^ mixed >> 30) * 0xBF58476D1CE4E5B9 & mask
        mixed = (mixed ^ mixed >> 27) * 0x94D049BB133111EB & mask
        words[place] = mixed ^ mixed >> 31 | 1
    return words


@cython.final
@cython.cclass
class Table:
    """Rows of `width` words, the first `key_width` of which are the key.

    The caller writes a key into `keys`, at any multiple of `key_width`, and passes that place to `hash`, `find` and
    `add`. `add` needs room made by `reserve`. A slot holds the lower half of the hash, so that a row with another key
    is hardly ever touched, and 1 + the number of the row.

    Args:
        width: words of a row.
        key_width: words of its key, at most 8.
        secret: see `secret_words`.
        scratch: number of keys that `keys` has room for.
    """

    words: memoryview[int]

    def __init__(self, width: index, key_width: index, secret: memoryview, scratch: index = 1) -> None:
        self.width, self.key_width, self.size, self.room = width, key_width, 0, 0
        self.secret = secret
        self._factor0, self._factor1, self._factor2 = secret[0], secret[1], secret[2]
        self._factor3, self._factor4, self._factor5 = secret[3], secret[4], secret[5]
        self.keys = memoryview(bytearray(8 * key_width * scratch)).cast("Q")
        self._memory = bytearray()
        self.reserve(LEAST_ROOM)

    def __reduce_ex__(self, protocol: SupportsIndex) -> tuple[object, ...]:
        scratch = len(self.keys) // self.key_width
        return _restored, (
            self.width,
            self.key_width,
            bytes(self.secret),
            scratch,
            pickled(memoryview(self.words)[: self.size * self.width], protocol),
        )

    def reserve(self, rows: index) -> None:
        """Make room for `rows` more rows."""
        wanted: index = self.size + rows
        if wanted <= self.room:
            return
        room: index = max(self.room, LEAST_ROOM)
        while room < wanted:
            room *= 2
        self.words = None  # type: ignore[assignment]  # a buffer that is looked at cannot grow
        self._memory += bytes(8 * self.width * (room - self.room))
        self.words = memoryview(self._memory).cast("Q")
        self.room = room
        self.reindex()

    def reindex(self) -> None:
        """Rebuild the index; of several rows with one key the last is found."""
        slots: index = 2 * self.room
        bits: cython.int = 1
        while (1 << bits) < slots:
            bits += 1
        self._shift, self._mask = 64 - bits, (1 << bits) - 1
        self.slots = memoryview(bytearray(8 << bits)).cast("Q")
        row: index
        place: index
        for row in range(self.size):
            for place in range(self.key_width):
                self.keys[place] = self.words[row * self.width + place]
            self._index(self.hash(0), row)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
    def hash(self, at: index) -> u64:
        """Hash of the key at a place of `keys`. Use its upper bits: the lower bits of a product are poor."""
        word: u64 = self.secret[self.key_width]
        place: index
        for place in range(self.key_width):
            word = (word ^ self.keys[at + place]) * self.secret[place] & MASK64
            # A product alone keeps a flipped top bit in place, whatever the secret, and the next word could flip it
            # back.
            word = (word ^ (word >> 32) * self.secret[place + 1]) & MASK64
        return word

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(check=False)
    def hash5(self, first: u64, second: u64, third: u64, fourth: u64, fifth: u64) -> u64:
        """`hash` of a five-word key, without a bounds check per word: it runs for every datagram."""
        word: u64 = (self._factor5 ^ first) * self._factor0 & MASK64
        word = ((word ^ (word >> 32) * self._factor1 & MASK64) ^ second) * self._factor1 & MASK64
        word = ((word ^ (word >> 32) * self._factor2 & MASK64) ^ third) * self._factor2 & MASK64
        word = ((word ^ (word >> 32) * self._factor3 & MASK64) ^ fourth) * self._factor3 & MASK64
        word = ((word ^ (word >> 32) * self._factor4 & MASK64) ^ fifth) * self._factor4 & MASK64
        return word ^ (word >> 32) * self._factor5 & MASK64

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def touch(self, hash: u64) -> index:  # noqa: A002 - it is one
        """The row that most likely has the key, unverified, or -1. Reads the slot only, so that many loads overlap."""
        slot: u64 = self.slots[cython.cast(index, hash >> self._shift)]
        return cython.cast(index, slot & MASK32) - 1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def find(self, hash: u64, at: index) -> index:  # noqa: A002 - it is one
        """The row of the key at a place of `keys`; -1 for none."""
        place: index = cython.cast(index, hash >> self._shift)
        slot: u64 = self.slots[place]
        row: index
        while slot:
            if slot >> 32 == hash & MASK32:
                row = cython.cast(index, slot & MASK32) - 1
                if self.is_key(row, at):
                    return row
            place = (place + 1) & self._mask
            slot = self.slots[place]
        return -1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def is_key(self, row: index, at: index) -> cython.bint:
        """Whether a row has the key at a place of `keys`."""
        first: index = row * self.width
        place: index
        for place in range(self.key_width):  # noqa: SIM110 - a generator is an object
            if self.words[first + place] != self.keys[at + place]:
                return False
        return True

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def add(self, hash: u64, at: index) -> index:  # noqa: A002 - it is one
        """Add a row with the key at a place of `keys`; of several with one key, the last is found."""
        row: index = self.size
        first: index = row * self.width
        place: index
        for place in range(self.key_width):
            self.words[first + place] = self.keys[at + place]
        self.size = row + 1
        self._index(hash, row)
        return row

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _index(self, hash: u64, row: index) -> cython.int:  # noqa: A002 - it is one
        place: index = cython.cast(index, hash >> self._shift)
        entry: u64 = (hash & MASK32) << 32 | cython.cast(u64, row + 1)
        slot: u64 = self.slots[place]
        at: index
        old: index
        same: cython.bint
        while slot:
            if slot >> 32 == hash & MASK32:
                old = cython.cast(index, slot & MASK32) - 1
                same = True
                for at in range(self.key_width):
                    if self.words[old * self.width + at] != self.words[row * self.width + at]:
                        same = False
                        break
                if same:
                    break
            place = (place + 1) & self._mask
            slot = self.slots[place]
        self.slots[place] = entry
        return 0

    def row_of(self, key: Sequence[int]) -> int:
        """The row of a key; -1 for none."""
        place: index
        for place, word in enumerate(key):
            self.keys[place] = word
        return self.find(self.hash(0), 0)

    def add_key(self, key: Sequence[int]) -> int:
        """The row of a key; added if it does not exist."""
        row = self.row_of(key)
        if row < 0:
            self.reserve(1)
            row = self.row_of(key)
            row = self.add(self.hash(0), 0)
        return row

    def keep(self, rows: Sequence[int]) -> None:
        """Forget all rows but these, ascending; they are renumbered in their order."""
        words, width = memoryview(self.words), self.width
        for new, row in enumerate(rows):
            if new != row:
                words[new * width : (new + 1) * width] = words[row * width : (row + 1) * width]
        kept = len(rows)
        words[kept * width : self.size * width] = memoryview(bytes(8 * width * (self.size - kept))).cast("Q")
        self.size = kept
        self.reindex()


def _restored(width: int, key_width: int, secret: bytes, scratch: int, words: Pickled) -> Table:
    table = Table(width, key_width, restored(secret, "Q"), scratch)
    memory = memoryview(words).cast("B")
    rows = len(memory) // (8 * width)
    table.reserve(rows)
    memoryview(table.words).cast("B")[: len(memory)] = memory
    table.size = rows
    table.reindex()
    return table
