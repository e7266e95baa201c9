"""Columns that grow, and tables of counters whose rows have keys: the stuff summaries are made of."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U64
from udpprobe.core.keys import Numbering


def column(dtype: npt.DTypeLike, width: int | None = None, combine: np.ufunc | None = None) -> Any:  # noqa: ANN401 - stands for the column
    """A field of a table: an element of `dtype` a row, or `width` of them; `combine` makes one of two."""
    return field(metadata={"dtype": dtype, "width": width, "combine": combine})


class Table:
    """Rows 0 to `size` of several columns; a subclass is a dataclass (init=False) of `column` fields.

    The arrays may be longer than `size`: room for what comes.
    """

    def __init__(self) -> None:
        self.size = 0
        for each in fields(self):  # type: ignore[arg-type]  # a dataclass below
            width = each.metadata["width"]
            setattr(self, each.name, np.zeros((0, width) if width else 0, each.metadata["dtype"]))

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: rows, and no room for more."""
        return vars(self) | self.columns()

    def extend(self, rows: int) -> slice:
        """Add rows of zeros; where they are."""
        new = slice(self.size, self.size + rows)
        self.size += rows
        for each in fields(self):  # type: ignore[arg-type]  # a dataclass below
            array = getattr(self, each.name)
            if len(array) < self.size:
                room = np.zeros((max(self.size, 2 * len(array)), *array.shape[1:]), array.dtype)
                room[:new.start] = array[:new.start]
                setattr(self, each.name, room)
        return new

    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """Every column, as long as there are rows."""
        return {each.name: getattr(self, each.name)[:self.size] for each in fields(self)}  # type: ignore[arg-type]  # a dataclass below


class Tally(Table):
    """A table with one row a key. What is added to a row again is combined: sums, minima, maxima, bits."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = Numbering()
        self.keys = np.zeros(0, np.uint64)

    def add(self, keys: U64, **values: npt.NDArray[Any]) -> I64:
        """Add (n,) rows by their keys; columns without a value count as zero.

        Returns:
            (n,) the row of the table each one went to.
        """
        numbers, new = self.numbers.add(keys)
        if len(new):
            self.extend(len(new))
            self.keys = np.concatenate([self.keys, keys[new]])
        for each in fields(self):  # type: ignore[arg-type]  # a dataclass below
            if each.name in values:
                self._combine(each.name, each.metadata["combine"], numbers, new, values[each.name])
        return numbers

    def _combine(self, name: str, combine: np.ufunc | None, numbers: I64, new: I64, values: npt.NDArray[Any]) -> None:
        array = getattr(self, name)
        if combine is not np.add:
            array[numbers[new]] = values[new]
        if combine is not None:
            combine.at(array, numbers, values)

    def merge(self, other: Tally) -> I64:
        """Add all of another table of the same kind; which row each of its rows went to."""
        return self.add(other.keys, **other.columns())

    def keep(self, rows: I64) -> None:
        """Forget all rows but these, ascending; they are numbered anew, in their order."""
        kept, self.keys = {name: values[rows] for name, values in self.columns().items()}, self.keys[rows]
        for name, values in kept.items():
            setattr(self, name, values)
        self.size = len(rows)
        self.numbers = Numbering()
        self.numbers.add(self.keys)
