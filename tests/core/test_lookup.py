"""Looking many keys up at once."""

from __future__ import annotations

import numpy as np
import pytest

from udpprobe.core.lookup import Bitmap, bitmap_of, latest_before


def u64s(values):
    return np.array(values, np.uint64)


def one_by_one(keys, frames, wanted, before):
    rows = [[row for row, (key, frame) in enumerate(zip(keys, frames, strict=True)) if key == want and frame < limit]
            for want, limit in zip(wanted, before, strict=True)]
    return [each[-1] if each else -1 for each in rows]


@pytest.mark.parametrize(("keys", "wanted"), [
    ([], [1]), ([1], []), ([1, 1, 1], [1, 1, 0, 2]), ([5, 3, 5, 9, 3], [5, 3, 9, 4, 10, 0]),
    ([0, 2**64 - 1], [2**64 - 1, 0]),
])
def test_the_latest_row_with_the_key_before_the_frame_is_found(keys, wanted):
    frames = list(range(10, 10 + 2 * len(keys), 2))
    for limit in range(9, 22):
        before = [limit] * len(wanted)
        found = latest_before(u64s(keys), np.array(frames, np.int64), u64s(wanted), np.array(before, np.int64))
        assert one_by_one(keys, frames, wanted, before) == found.tolist()


def test_thousands_are_found_as_one_by_one():
    random = np.random.default_rng(1)
    keys, wanted = random.integers(0, 300, 2000).tolist(), random.integers(0, 320, 500).tolist()
    frames, before = np.sort(random.integers(0, 9999, 2000)).tolist(), random.integers(0, 9999, 500).tolist()
    found = latest_before(u64s(keys), np.array(frames), u64s(wanted), np.array(before))
    assert one_by_one(keys, frames, wanted, before) == found.tolist()


def test_a_bitmap_never_denies_a_key_that_is_there():
    keys = np.random.default_rng(1).integers(0, 2**64, 10_000, np.uint64)
    bitmap = Bitmap(keys[:4000])
    bitmap.add(keys[4000:5000])
    assert bitmap.has(keys[:5000]).all()
    assert 0.01 > bitmap.has(keys[5000:]).mean()
    assert not Bitmap().has(keys).any()


@pytest.mark.parametrize("count", [0, 1, 30, 4000, 100_000])
def test_a_bitmap_of_few_keys_is_small_and_tells_them_from_others(count):
    keys = np.random.default_rng(count).integers(0, 2**64, 2 * count + 1000, np.uint64)
    bitmap = bitmap_of(keys[:count])
    assert bitmap.has(keys[:count]).all()
    assert 0.03 > bitmap.has(keys[count:]).mean()
    assert 512 * (count + 1) >= bitmap.nbytes
