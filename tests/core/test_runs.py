"""Runs of equal values."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpprobe.core.runs import distinct, firsts, is_among, renumbered, starts_of_runs, steps


@pytest.mark.parametrize(("values", "starts"), [
    ([], []), ([5], [0]), ([5, 5], [0]), ([1, 2], [0, 1]), ([1, 1, 2, 3, 3, 1], [0, 2, 3, 5]),
])
def test_a_run_starts_where_the_value_changes(values, starts):
    assert starts == starts_of_runs(np.array(values, np.int64)).tolist()


@pytest.mark.parametrize("values", [[], [3], [3, 1, 3, 2, 1]])
def test_each_value_is_told_once_in_order(values):
    assert sorted(set(values)) == distinct(np.array(values, np.int64))


def test_the_first_row_of_each_value_is_told_in_the_order_of_values():
    assert [3, 0, 1] == firsts(np.array([5, 7, 5, 2, 7, 2])).tolist()
    assert [] == firsts(np.empty(0, np.int64)).tolist()


@given(values=st.lists(st.integers(0, 20)), few=st.lists(st.integers(0, 20), min_size=1))
def test_values_are_among_a_few_where_python_says_so(values, few):
    assert [each in few for each in values] == is_among(np.array(values, np.int64), few).tolist()


def test_steps_begin_again_for_each_count():
    assert [0, 1, 0, 0, 1, 2] == steps(np.array([2, 0, 1, 3])).tolist()


def test_numbers_that_are_gone_leave_no_gap():
    assert [-1, 0, -1, 1, 2] == renumbered(np.array([4, 3, 1, 3]), 5).tolist()
