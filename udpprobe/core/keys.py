"""64-bit keys of endpoints and conversations, and a dictionary from such keys to numbers 0, 1, 2 ….

Two of a million different endpoints share a key with a probability of 10^-7. The factors that keys are made with are
secret: an address in IPv6 has room enough to choose it so that it has the key of somebody else's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.packets import u64
from udpprobe.core.runs import starts_of_runs

_HIGH, _SPREAD, _LOW, _PORT, _LESS, _MORE = range(6)
FACTORS = np.zeros(6, np.uint64)
"""Odd; see `agree`."""


def agree(secret: int) -> None:
    """Make keys with factors of this secret from now on. Whoever exchanges keys has to agree on one.

    Args:
        secret: of any size; its lowest 64 bits count. They are spread as in SplitMix64 (Steele, Lea, Flood, 2014).
    """
    mixed = u64(secret & (1 << 64) - 1) + np.arange(1, 1 + len(FACTORS), dtype=np.uint64) * u64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> u64(shift))) * u64(factor)
    FACTORS[:] = mixed ^ (mixed >> u64(31)) | u64(1)


agree(hash(__name__))
SECRET = u64(hash(f"{__name__}.SECRET") & (1 << 64) - 1 | 1)
"""Odd. It is another one in each process, but for those it forks, as the factors are that nobody agreed on: hashes of
texts are seeded. So who chooses the addresses knows not which keys meet in a hash table."""

FEWEST_BITS = 10
FEWEST_SLOTS = 4
"""For each key: the fewer, the more often another is there first."""


def endpoint_key(high: U64, low: U64, port: U64) -> U64:
    """(n,) key of each address and UDP port."""
    key = high * FACTORS[_HIGH]
    key ^= key >> u64(29)       # or the highest bits of both halves would undo each other, whatever odd factors
    key *= FACTORS[_SPREAD]
    key += low * FACTORS[_LOW]
    key += port * FACTORS[_PORT]
    return key


def pair_key(one: U64, other: U64) -> U64:
    """(n,) key of each pair in its order: of a flow, an address and an id."""
    return one * FACTORS[_LESS] + other * FACTORS[_MORE]


def conversation_key(source: U64, destination: U64) -> U64:
    """(n,) the same key for both directions between two endpoints."""
    return pair_key(np.minimum(source, destination), np.maximum(source, destination))


def columns_key(columns: list[npt.NDArray[np.int64] | U64]) -> U64:
    """(n,) key of each row of several columns."""
    key = np.zeros(len(columns[0]), np.uint64)
    for column in columns:
        key = pair_key(key ^ (key >> u64(29)), column.astype(np.uint64))
    return key


class Numbering:
    """Keys to dense numbers, in order of first appearance: a hash table with open addressing, in columns.

    Multiply-shift hashing by a secret (Dietzfelbinger et al., J. Algorithms 1997): crafted keys meet no more often
    than others. The numbers do not depend on it.
    """

    def __init__(self, secret: np.uint64 = SECRET) -> None:
        self._secret = secret
        self._keys = np.zeros(0, np.uint64)
        self._resize(FEWEST_BITS)

    def __len__(self) -> int:
        return len(self._keys)

    def _resize(self, bits: int) -> None:
        self._shift = u64(64 - bits)
        self._mask = (1 << bits) - 1
        self._slot_numbers = np.full(1 << bits, -1, np.int32)
        self._insert(self._keys, np.arange(len(self._keys), dtype=np.int32))

    def slots(self, keys: U64) -> I64:
        """(n,) where each key is looked for first."""
        return ((keys * self._secret) >> self._shift).view(np.int64)

    def find(self, keys: U64) -> I64:
        """(n,) the number of each key, -1 for one not seen yet."""
        if len(self._keys) == 0:
            return np.full(len(keys), -1)
        slots = self.slots(keys)
        numbers = self._slot_numbers.take(slots).astype(np.int64)
        rows = np.flatnonzero(self._keys.take(numbers) != keys)
        rows = rows[numbers[rows] >= 0]
        while len(rows):
            slots[rows] = (slots[rows] + 1) & self._mask
            numbers[rows] = self._slot_numbers[slots[rows]]
            rows = rows[(self._keys[numbers[rows]] != keys[rows]) & (numbers[rows] >= 0)]
        return numbers

    def add(self, keys: U64) -> tuple[I64, I64]:
        """Number new keys.

        Returns:
            (n,) the number of each key; and the rows at which the new ones first appear, in their order.
        """
        numbers = self.find(keys)
        unknown = np.flatnonzero(numbers < 0)
        if len(unknown) == 0:
            return numbers, unknown
        order = np.argsort(keys[unknown], kind="stable")
        new_rows = np.sort(unknown[order[starts_of_runs(keys[unknown[order]])]])
        start = len(self._keys)
        self._keys = np.concatenate([self._keys, keys[new_rows]])
        bits = self._mask.bit_length()
        if FEWEST_SLOTS * len(self._keys) > self._mask:
            self._resize(max(bits, int(2 * FEWEST_SLOTS * len(self._keys) - 1).bit_length()))
        else:
            self._insert(keys[new_rows], np.arange(start, len(self._keys), dtype=np.int32))
        numbers[unknown] = self.find(keys[unknown])
        return numbers, new_rows

    def _insert(self, keys: U64, numbers: npt.NDArray[np.int32]) -> None:
        """Put distinct new keys into free slots; of those that want the same one, one wins a round."""
        slots = self.slots(keys)
        while len(keys):
            free: Bool = self._slot_numbers[slots] < 0
            self._slot_numbers[slots[free]] = numbers[free]
            lost = self._slot_numbers[slots] != numbers
            keys, numbers, slots = keys[lost], numbers[lost], (slots[lost] + 1) & self._mask
