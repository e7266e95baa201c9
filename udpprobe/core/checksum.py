"""The Internet checksum (RFC 1071) of many messages at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U8, U64, Bool
from udpprobe.core.packets import field

WASTED = 4
"""Messages are laid side by side, as long as the longest, where that takes so many times their bytes at most."""


def word_sums(data: U8, start: I64, end: I64) -> I64:
    """(n,) sum of the big-endian 16-bit words of each message `data[start:end]`, an odd byte padded with zero."""
    length = end - start
    width = int(length.max(initial=0) + 1) & ~1
    if 0 < width * len(length) <= WASTED * length.sum() and (start + width <= data.size).all():
        return _short_sums(data, start, length, width)
    first = np.concatenate(([0], np.cumsum(length)))
    at = np.arange(first[-1]) - np.repeat(first[:-1], length)
    values = data[at + np.repeat(start, length)].astype(np.int64) << np.where(at & 1, 0, 8)
    sums = np.concatenate(([0], np.cumsum(values)))
    return sums[first[1:]] - sums[first[:-1]]


def _short_sums(data: U8, start: I64, length: I64, width: int) -> I64:
    """Of messages of about `width` bytes: what is behind their ends is set to zero."""
    rows = windows(data, width)[start].view(np.uint8).reshape(-1, width)
    rows *= np.arange(width) < length[:, None]
    return rows.view(">u2").sum(axis=1, dtype=np.int64)


def windows(data: U8, size: int) -> npt.NDArray[np.void]:
    """The `size` bytes from each byte on; they overlap, and nothing is copied."""
    return np.ndarray((max(data.size - size + 1, 0),), f"V{size}", data, strides=(1,))


def address_sums(high: U64, low: U64) -> I64:
    """(n,) sum of the 16-bit words of each 128-bit address, for the pseudo header of RFC 8200, 8.1."""
    words = [field(half, shift, 16) for half in (high, low) for shift in (0, 16, 32, 48)]
    return np.sum(words, axis=0).astype(np.int64)


def adds_up(sums: I64) -> Bool:
    """Whether each sum, its checksum included, folds to all ones."""
    folded = (sums & 0xFFFF) + (sums >> 16)
    folded = (folded & 0xFFFF) + (folded >> 16)
    return (folded & 0xFFFF) == 0xFFFF
