"""Conversations are remembered until nothing was heard of them for so many frames; then they begin anew."""

from __future__ import annotations

import numpy as np
import pytest

from udpprobe.core.summaries import episodes
from udpprobe.core.summaries.episodes import Episodes

A, B = 1 << 60, 7 << 60


@pytest.fixture(autouse=True)
def _quiet_after_ten_frames(monkeypatch):
    monkeypatch.setattr(episodes, "QUIET_FRAMES", 10)


def heard(rows, *datagrams):
    """Rows of datagrams (key, frame), and which of them begin one."""
    key, frame = (np.array(column) for column in zip(*datagrams, strict=True))
    row, new = rows.rows_of(key.astype(np.uint64), frame)
    rows.open.last[row] = frame
    rows.open.key[row] = key.astype(np.uint64)
    return row.tolist(), new.tolist()


def test_a_conversation_keeps_its_row():
    rows = Episodes()
    assert ([0, 1, 0], [0, 1]) == heard(rows, (A, 1), (B, 2), (A, 3))
    assert ([1, 0], []) == heard(rows, (B, 12), (A, 13))


def test_after_so_many_frames_it_begins_anew():
    rows = Episodes()
    heard(rows, (A, 1), (B, 1))
    assert ([0, 2, 2], [1]) == heard(rows, (A, 11), (B, 12), (B, 13))
    assert ([2], []) == heard(rows, (B, 23))


def test_it_may_begin_anew_several_times_among_the_same_datagrams():
    rows = Episodes()
    assert ([0, 1, 0, 2, 1, 3], [0, 1, 3, 5]) == heard(
        rows, (A, 1), (B, 5), (A, 11), (A, 22), (B, 15), (A, 40))


def test_rows_that_are_kept_are_numbered_anew_and_the_last_of_a_key_goes_on():
    rows = Episodes()
    heard(rows, (A, 1), (B, 2), (A, 20), (B, 20))
    rows.keep(np.array([0, 2, 3]))
    assert ([1, 2], []) == heard(rows, (A, 25), (B, 26))
    assert [1, -1, -1] == rows.ongoing(np.array([A, A, 5], np.uint64), np.array([35, 36, 26])).tolist()
