"""Columns that grow, and tables of counters that merge."""

from __future__ import annotations

import pickle
from dataclasses import dataclass

import numpy as np

from udpprobe.core.growing import Table, Tally, column


@dataclass(init=False)
class Points(Table):
    x: np.ndarray = column(np.int64)
    pair: np.ndarray = column(np.uint64, 2)


@dataclass(init=False)
class Counters(Tally):
    name: np.ndarray = column(np.int64)
    count: np.ndarray = column(np.int64, combine=np.add)
    first: np.ndarray = column(np.int64, combine=np.minimum)
    last: np.ndarray = column(np.int64, combine=np.maximum)
    bits: np.ndarray = column(np.uint64, width=2, combine=np.bitwise_or)


def keys(*values):
    return np.array(values, np.uint64)


def counted(*rows):
    """A table of (key, first, last) rows."""
    table = Counters()
    for key, first, last in rows:
        table.add(keys(key), name=np.array([key]), count=np.array([1]), first=np.array([first]), last=np.array([last]),
                  bits=np.array([[1 << key, 0]], np.uint64))
    return table


def told(table):
    columns = {name: values.tolist() for name, values in table.columns().items()}
    return dict(sorted(zip(table.keys.tolist(), zip(*columns.values(), strict=True), strict=True)))


def test_a_new_table_is_empty():
    assert {"x": [], "pair": []} == {name: values.tolist() for name, values in Points().columns().items()}


def test_what_is_pickled_is_rows_and_no_room_for_more():
    points = Points()
    for rows in (1000, 1):
        points.extend(rows)
    points.x[1000] = 7
    again = pickle.loads(pickle.dumps(points))

    assert 2000 == len(points.x)
    assert (1001, 1001, 7) == (again.size, len(again.x), again.x[1000])
    again.extend(1)
    assert [7, 0] == again.columns()["x"][1000:].tolist()


def test_rows_are_added_as_zeros_and_those_before_stay():
    points = Points()
    assert slice(0, 2) == points.extend(2)
    points.x[:2], points.pair[1] = 7, (8, 9)
    assert slice(2, 5) == points.extend(3)
    assert [7, 7, 0, 0, 0] == points.columns()["x"].tolist()
    assert [[0, 0], [8, 9], [0, 0], [0, 0], [0, 0]] == points.columns()["pair"].tolist()


def test_room_is_taken_in_advance():
    points = Points()
    points.extend(100)
    points.extend(1)
    room = points.x
    points.extend(50)
    assert points.x is room
    assert 151 == len(points.columns()["x"])


def test_equal_keys_are_one_row_and_combined_as_the_column_says():
    assert {3: (3, 2, 4, 9, [8, 0]), 5: (5, 1, 1, 1, [32, 0])} == told(counted((3, 5, 7), (5, 1, 1), (3, 4, 9)))


def test_equal_keys_may_come_at_once():
    table = Counters()
    rows = table.add(keys(3, 5, 3), count=np.array([1, 1, 1]), first=np.array([5, 1, 4]), last=np.array([7, 1, 9]))
    assert [0, 1, 0] == rows.tolist()
    assert {3: (0, 2, 4, 9, [0, 0]), 5: (0, 1, 1, 1, [0, 0])} == told(table)


def test_two_tables_merge_to_the_same_in_either_order():
    rows = [(3, 5, 7), (5, 1, 1), (3, 4, 9), (6, 2, 8), (5, 0, 9)]
    whole = told(counted(*rows))
    for cut in range(len(rows) + 1):
        one, other = counted(*rows[:cut]), counted(*rows[cut:])
        one.merge(other)
        assert whole == told(one)
        one, other = counted(*rows[:cut]), counted(*rows[cut:])
        other.merge(one)
        assert whole == told(other)


def test_merging_tells_where_each_row_went():
    one, other = counted((3, 1, 1), (5, 1, 1)), counted((7, 1, 1), (5, 1, 1))
    assert [2, 1] == one.merge(other).tolist()


def test_rows_that_are_kept_are_numbered_anew_and_go_on():
    table = counted((1, 10, 10), (2, 20, 20), (3, 30, 30), (2, 5, 25))
    table.keep(np.array([1, 2]))
    expected = counted((2, 5, 25), (2, 20, 20), (3, 30, 30))
    assert told(expected) == told(table)
    assert [1, 2, 0] == table.add(keys(3, 1, 2), count=np.ones(3, np.int64)).tolist()
