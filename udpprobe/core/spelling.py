"""Columns of addresses in text: each different one is spelled once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.addresses import address_text
from udpprobe.core.batch import I64, U64


@dataclass(frozen=True, slots=True)
class Spelling:
    """(n,) addresses."""

    different: list[str]
    """(k,) each of them once."""
    number: I64
    """(n,) which of `different` each is."""
    rank: I64
    """(n,) its place in the order of texts, from 1."""

    def texts(self) -> list[str]:
        """(n,) every one in text."""
        return list(map(self.different.__getitem__, self.number.tolist()))


def spelled(high: U64, low: U64) -> Spelling:
    """The (n,) addresses in text, by their halves."""
    order = np.lexsort((low, high))
    high, low = high[order], low[order]
    is_new = np.ones(len(order), np.bool_)
    is_new[1:] = (high[1:] != high[:-1]) | (low[1:] != low[:-1])
    different = list(map(address_text, high[is_new].tolist(), low[is_new].tolist()))
    number, rank = np.empty(len(order), np.int64), np.empty(len(different), np.int64)
    number[order] = np.cumsum(is_new) - 1
    rank[sorted(range(len(different)), key=different.__getitem__)] = np.arange(len(different)) + 1
    return Spelling(different, number, rank[number])
