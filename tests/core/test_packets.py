"""Columns of equally many rows: some of them, and one after the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from udpprobe.core.packets import Columns, field


@dataclass(slots=True)
class Pair(Columns):
    one: np.ndarray
    two: np.ndarray


def pair(*values):
    return Pair(np.array(values), np.array([-value for value in values]))


@pytest.mark.parametrize("rows", [
    np.array([2, 0]), np.array([True, False, True]), slice(1, None), np.array([], np.int64),
])
def test_some_rows_are_those_of_every_column(rows):
    some = pair(5, 6, 7).take(rows)
    assert np.array([5, 6, 7])[rows].tolist() == some.one.tolist() == (-some.two).tolist()
    assert len(some.one) == len(some)


def test_parts_are_put_one_after_the_other():
    whole = Pair.concatenate([pair(1, 2), pair(), pair(3)])
    assert ([1, 2, 3], [-1, -2, -3]) == (whole.one.tolist(), whole.two.tolist())


def test_one_part_is_itself():
    alone = pair(1)
    assert alone is Pair.concatenate([alone])


def test_a_field_of_a_word_is_so_many_bits_from_there_up():
    assert [0xBE, 0x12] == field(np.array([0xDEADBEEF00, 0x1200 << 8], np.uint64), 16, 8).tolist()
