"""The search by itself: what it tries next, when it is sure, and that lies only cost it time."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from udpprobe.pmtud.search import CANDIDATES, Phase, Search

LEAST, MOST = 60, 1500


def search(passed=LEAST, most=MOST, family=4):
    made = Search(family, LEAST, most)
    if passed:
        made.arrived(passed)
    return made


def test_the_search_tries_the_least_size_and_then_the_largest():
    made = search(0)
    assert (LEAST, Phase.BASE) == (made.next(), made.state)
    made.arrived(LEAST)
    assert (MOST, Phase.SEARCHING) == (made.next(), made.state)
    made.arrived(MOST)
    assert (None, Phase.SEARCH_COMPLETE) == (made.next(), made.state)


def test_a_reported_mtu_is_tried_first_and_then_one_byte_more():
    made = search()
    made.reported(1500, 1387)
    assert 1387 == made.next()
    made.arrived(1387)
    assert 1388 == made.next()
    made.reported(1388, 1387)
    assert 1388 == made.next()  # a word alone is not enough
    made.missed(1388)
    assert (None, Phase.SEARCH_COMPLETE) == (made.next(), made.state)


def test_without_a_report_a_size_must_be_lost_twice():
    made = search(1400)
    made.missed(1401)
    assert 1401 == made.next()
    made.missed(1401)
    assert made.next() is None


def test_without_hints_likely_sizes_are_tried_before_bisecting():
    made = search()
    made.missed(MOST)
    assert 1280 == made.next()
    made.arrived(1280)
    assert made.next() in CANDIDATES
    made.missed(1400)
    assert 1281 == made.next()
    made.arrived(1281)
    assert 1340 == made.next()


def test_below_the_base_size_the_search_continues():
    made = search()
    made.missed(1280)
    assert Phase.ERROR is made.state
    assert LEAST < made.next() < 1280


@pytest.mark.parametrize("mtu", [None, 0, 1, 67, 1500, 9000])
def test_an_impossible_reported_mtu_is_no_hint(mtu):
    made = search()
    made.reported(1500, mtu)
    assert set() == made.hints


def test_in_ipv6_hints_below_1280_are_ignored():
    made = search(family=6)
    made.reported(1500, 1279)
    made.reported(1500, 1280)
    assert {1280} == made.hints


def test_routers_that_are_repeatedly_wrong_are_not_followed():
    made = search()
    for size in range(1500, 1490, -1):
        made.reported(size, size - 1)
    assert 1280 == made.next()


def test_a_late_arrival_revives_all_smaller_sizes():
    made = search(1400)
    for size in (1401, 1500):
        made.missed(size)
    made.arrived(1401)
    assert MOST == made.next()


def test_an_arrival_that_contradicts_a_report_clears_only_reports():
    made = search(1400)
    made.missed(1492)
    made.reported(1450, None)
    made.arrived(1450)
    assert 1492 == made.smallest_lost


def test_a_shrinking_path_is_searched_again_at_smaller_sizes():
    made = search(1500, most=9000)
    made.missed(1500)
    made.shrink(LEAST)
    assert ({1500}, 1500) == (made.shrunk_from, made.smallest_lost)
    assert made.next() < 1500
    made.arrived(1500)
    assert set() == made.shrunk_from


def test_a_size_this_host_refuses_counts_as_lost_at_once():
    made = search(1400)
    made.unsent(1401)
    assert (None, 1401) == (made.next(), made.local_limit)


@given(data=st.data(), most=st.integers(LEAST, 65_535))
def test_the_result_is_exact_whatever_routers_report(data, most):
    mtu = data.draw(st.integers(LEAST, 65_535))
    made = Search(4, LEAST, most)
    for _ in range(300):
        size = made.next()
        if size is None:
            break
        if data.draw(st.booleans()):
            made.reported(size, data.draw(st.none() | st.integers(0, 70_000)))
        if size <= mtu:
            made.arrived(size)
        else:
            made.missed(size)
    assert (min(mtu, most), None) == (made.passed, made.next())
