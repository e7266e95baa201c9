"""Medians of durations, by number: exact while few, near when many; the same however they were collected."""

from __future__ import annotations

from statistics import median

import numpy as np
import pytest

from udpprobe.core.samples import MOST_EXACT, MOST_NS, PENDING, Samples


def collected(*parts):
    """A bag of (number, duration) pairs; a part may be bare durations of number 0."""
    samples = Samples()
    for part in parts:
        pairs = [each if isinstance(each, tuple) else (0, each) for each in part]
        samples.add(np.array([number for number, _ in pairs], np.int64),
                    np.array([duration for _, duration in pairs], np.int64))
    return samples


def spreads(samples):
    """Minimum, median and maximum by number."""
    number, *columns = (column.tolist() for column in samples.spreads())
    return dict(zip(number, zip(*columns, strict=True), strict=True))


def test_nothing_has_no_spread():
    assert {} == spreads(Samples())
    assert {} == spreads(collected([]))


@pytest.mark.parametrize("durations", [[5], [5, 7], [7, 5], [1, 2, 100], [3, 3, 3, 9], [0, 0], list(range(1024))])
def test_few_durations_are_told_exactly(durations):
    assert {0: (min(durations), median(durations), max(durations))} == spreads(collected(durations))


def test_numbers_are_kept_apart():
    pairs = [(number, number * 1000 + step) for step in (9, 1, 5) for number in (7, 0, 3)]
    assert {number: (number * 1000 + 1, number * 1000 + 5, number * 1000 + 9) for number in (0, 3, 7)} \
        == spreads(collected(pairs))


def test_a_duration_below_zero_counts_as_zero_and_one_too_long_as_the_longest():
    assert {0: (0, MOST_NS / 2, MOST_NS)} == spreads(collected([-5, MOST_NS + 99]))


@pytest.mark.parametrize("spread", [1, 1000, 10**9])
def test_of_many_the_extremes_are_exact_and_the_median_is_near(spread):
    random = np.random.default_rng(1)
    durations = (10**6 + random.integers(0, spread, 5 * MOST_EXACT)).tolist()
    least, middle, greatest = spreads(collected(durations))[0]
    assert (min(durations), max(durations)) == (least, greatest)
    assert median(durations) == pytest.approx(middle, rel=2 / 512)


def test_telling_changes_nothing():
    random = np.random.default_rng(2)
    samples = collected((10**6 + random.integers(0, 999, 3 * MOST_EXACT)).tolist())
    first = spreads(samples)
    assert first == spreads(samples) == spreads(samples)


@pytest.mark.parametrize("spread", [2, 999, 10**7])
def test_what_is_told_does_not_depend_on_how_they_were_collected(spread):
    random = np.random.default_rng(3)
    durations = (1001 + random.integers(0, spread, 4 * MOST_EXACT)).tolist()
    whole, halves = collected(durations), collected(durations[2000:])
    early = collected(durations[:2000])
    spreads(early)
    spreads(halves)
    halves.absorb(early, np.arange(1))
    assert spreads(whole) == spreads(halves) == spreads(collected(sorted(durations)))


def test_a_bag_takes_over_another_s_under_other_numbers():
    one, other = collected([(0, 5)]), collected([(0, 7), (1, 9), (1, 11)])
    one.absorb(other, np.array([3, 0]))
    assert {0: (5, 9, 11), 3: (7, 7, 7)} == spreads(one)


def test_memory_does_not_grow_with_equal_durations():
    samples = Samples()
    for _ in range(3):
        samples.add(np.zeros(PENDING, np.int64), np.full(PENDING, 10**6) + np.arange(PENDING) % 100_000)
    assert 2 * 512 > sum(len(value) for value in vars(samples).values() if isinstance(value, np.ndarray))
    assert {0: (10**6, pytest.approx(1_050_000, rel=0.004), 10**6 + 99_999)} == spreads(samples)


def test_numbers_that_are_kept_are_counted_from_zero_and_the_others_gone():
    samples = collected([(number, 10 * number + step) for number in range(5) for step in (0, 2)])
    samples.keep(np.array([1, 4]))
    assert {0: (10, 11, 12), 1: (40, 41, 42)} == spreads(samples)
    samples.keep(np.array([], np.int64))
    assert {} == spreads(samples)


def test_what_is_coarse_is_little_and_near():
    durations = list(range(1_000, 2_000, 3))
    samples = collected(durations)
    assert len(durations) == len(samples)
    samples.coarsen()
    assert 12 > len(samples)
    least, middle, most = spreads(samples)[0]
    assert (durations[0], durations[-1]) == (least, most)
    assert median(durations) == pytest.approx(middle, rel=0.07)
