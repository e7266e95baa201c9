"""Batches of frames, and ticks."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from crafting import sent
from feeding import batch_of

from udpprobe.core.batch import SourceState, tick


@pytest.mark.parametrize("rows", [np.array([2, 0]), np.array([True, False, True])])
def test_some_of_the_frames_keep_all_that_is_known_of_them(rows):
    batch = batch_of([sent(1), sent(2), sent(3)], [1, 101, 113], first=7, lengths=[60, 61, 62], now_ns=5)
    some = batch.take(rows)
    assert 2 == len(some)
    assert some.data is batch.data
    assert 5 == some.now_ns
    for name in ("offset", "captured", "length", "time_ns", "link_type", "frame"):
        assert getattr(batch, name)[rows].tolist() == getattr(some, name).tolist()


def test_a_tick_has_no_frames_and_tells_the_time():
    assert (0, 9) == (len(tick(9)), tick(9).now_ns)
    assert 0 == len(tick(9).take(np.array([], np.int64)))


def test_sources_count_their_faults_apart():
    one, other = SourceState("file", "a"), SourceState("file", "b")
    one.faults["bad-record"] += 1
    assert {} == other.faults


def test_a_state_absorbs_what_went_wrong_elsewhere():
    own = SourceState("file", "a", dropped=2, faults=Counter(torn=1))
    own.absorb(SourceState("file", "b"))
    assert (False, 2, {"torn": 1}, {}) == (own.cut_short, own.dropped, own.faults, own.unread)
    own.absorb(SourceState("file", "c", cut_short=True, dropped=3, faults=Counter(torn=1, bad=1), unread={"d": "gone"}))
    assert (True, 5, {"torn": 2, "bad": 1}, {"d": "gone"}) == (own.cut_short, own.dropped, own.faults, own.unread)
    nobody = SourceState("file", "e")
    nobody.absorb(SourceState("file", "f", dropped=0))
    assert 0 == nobody.dropped
