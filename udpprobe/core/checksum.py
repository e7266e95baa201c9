"""The Internet checksum (RFC 1071) of many messages at once."""

from __future__ import annotations

import numpy as np

from udpprobe.core.batch import I64, U8, U64, Bool
from udpprobe.core.packets import field


def word_sums(data: U8, start: I64, end: I64) -> I64:
    """(n,) sum of the big-endian 16-bit words of each message `data[start:end]`, an odd byte padded with zero."""
    length = end - start
    first = np.concatenate(([0], np.cumsum(length)))
    at = np.arange(first[-1]) - np.repeat(first[:-1], length)
    values = data[at + np.repeat(start, length)].astype(np.int64) << np.where(at & 1, 0, 8)
    sums = np.concatenate(([0], np.cumsum(values)))
    return sums[first[1:]] - sums[first[:-1]]


def address_sums(high: U64, low: U64) -> I64:
    """(n,) sum of the 16-bit words of each 128-bit address, for the pseudo header of RFC 8200, 8.1."""
    words = [field(half, shift, 16) for half in (high, low) for shift in (0, 16, 32, 48)]
    return np.sum(words, axis=0).astype(np.int64)


def adds_up(sums: I64) -> Bool:
    """Whether each sum, its checksum included, folds to all ones."""
    folded = (sums & 0xFFFF) + (sums >> 16)
    folded = (folded & 0xFFFF) + (folded >> 16)
    return (folded & 0xFFFF) == 0xFFFF
