"""Runs of equal values in sorted columns."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, Bool


def starts_of_runs(values: npt.NDArray[Any]) -> I64:
    """Where each run of equal values starts; none in an empty column."""
    changes = values[1:] != values[:-1]
    return np.flatnonzero(np.concatenate((np.ones(min(len(values), 1), np.bool_), changes)))


def firsts(values: npt.NDArray[Any]) -> I64:
    """Where each different value stands first, in the order of values."""
    order = np.argsort(values, kind="stable")
    return order[starts_of_runs(values[order])]


def distinct(values: npt.NDArray[np.int64] | npt.NDArray[np.int32]) -> list[int]:
    """Each value once, ascending.

    `numpy.unique` would do, but it imports numpy.ma: a tenth of what a small capture takes.
    """
    ordered = np.sort(values)
    return ordered[starts_of_runs(ordered)].tolist()


def is_among(values: npt.NDArray[Any], few: Iterable[int]) -> Bool:
    """(n,) whether each value is one of a few, at least one; instead of `numpy.isin` for the same reason."""
    known = np.sort(np.fromiter(few, values.dtype))
    return known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values


def steps(counts: I64) -> I64:
    """0, 1, 2 … up to each of (n,) counts, one after the other."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def renumbered(present: I64, count: int) -> I64:
    """(count,) new numbers, without gaps, of the numbers below `count` that are present; -1 for the others."""
    is_present = np.zeros(count, np.bool_)
    is_present[present] = True
    return np.where(is_present, np.cumsum(is_present) - 1, -1)
