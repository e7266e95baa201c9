"""How many datagrams lie between frames."""

from __future__ import annotations

import numpy as np
import pytest

from udpprobe.core.correlation.ordinals import Ordinals

SEGMENTS = [np.array([3, 1, 4]), np.array([9, 9, 7])]


def ordinals(forgotten=0):
    return Ordinals(SEGMENTS, [1, 7], forgotten)


def test_datagrams_before_a_frame_are_counted_with_those_forgotten():
    frames = np.array([1, 2, 4, 5, 9, 10])
    assert [0, 1, 2, 3, 4, 6] == ordinals().before(frames).tolist()
    assert [5, 6, 7, 8, 9, 11] == ordinals(5).before(frames).tolist()


@pytest.mark.parametrize(("most", "frame", "end", "more", "is_within"), [
    (3, 3, 9, 0, True), (2, 3, 9, 0, False), (3, 3, 9, 1, False), (6, 1, 99, 0, True), (5, 1, 99, 0, False),
    (1, 4, 7, 0, True), (0, 4, 7, 0, False), (2, 9, 10, 0, True), (1, 9, 10, 0, False),
])
def test_so_many_at_most_lie_from_one_frame_to_before_another(most, frame, end, more, is_within):
    found = ordinals().within(most, np.array([frame]), np.array([end]), np.array([more]))
    assert [is_within] == found.tolist()


def test_nothing_lies_among_nothing():
    none = Ordinals([], [], 0)
    assert [0] == none.before(np.array([5])).tolist()
    assert [True] == none.within(0, np.array([1]), np.array([5]), np.array([0])).tolist()
