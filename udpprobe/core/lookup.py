"""Looking many keys up at once."""

from __future__ import annotations

import numpy as np

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.packets import u64

BITMAP_BITS = 22
SPARE_BITS = 8
"""So much greater than a set of few keys is a bitmap of them: small enough for the processor's cache."""


class Bitmap:
    """Tells keys that are surely not in a set by their leading bits: far faster than to look each one up."""

    def __init__(self, keys: U64 | None = None, bits: int = BITMAP_BITS) -> None:
        self._bits, self._shift = np.zeros(1 << bits, np.bool_), u64(64 - bits)
        if keys is not None:
            self.add(keys)

    @property
    def nbytes(self) -> int:
        """What it takes."""
        return self._bits.nbytes

    def add(self, keys: U64) -> None:
        """Put keys into the set."""
        self._bits[keys >> self._shift] = True

    def has(self, keys: U64) -> Bool:
        """(n,) False for keys that are surely not in the set."""
        return self._bits.take((keys >> self._shift).view(np.int64))


def bitmap_of(keys: U64) -> Bitmap:
    """The set of (n,) keys, to which none is added: no larger than it must be, for zeroing takes milliseconds."""
    return Bitmap(keys, min(len(keys).bit_length() + SPARE_BITS, BITMAP_BITS))


def latest_before(keys: U64, frames: I64, wanted: U64, before: I64) -> I64:
    """(m,) the last row with each wanted key and a frame before the given one; -1 for none.

    Args:
        keys: (n,) of the rows.
        frames: (n,) below 2**40, ascending among those of one key.
        wanted: (m,) keys.
        before: (m,) frames.
    """
    if len(keys) == 0:
        return np.full(len(wanted), -1)
    order = np.argsort(keys, kind="stable")
    keys, frames = keys[order], frames[order]
    group = np.cumsum(np.concatenate(([0], (keys[1:] != keys[:-1]).astype(np.int64))))
    first = np.searchsorted(keys, wanted)
    known = first < len(keys)
    known[known] = keys[first[known]] == wanted[known]
    place = np.where(known, first, 0)
    last = np.searchsorted(group << 40 | frames, group[place] << 40 | before) - 1
    return np.where(known & (last >= place), order[last], -1)
