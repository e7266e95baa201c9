import pytest
from samples import EVENT, REFUSED, report

from udpprobe.core.model import LazyRows, changed


@pytest.mark.parametrize("count", [5, None])
def test_lazy_rows_are_a_sequence(count):
    rows, same = LazyRows(lambda: iter("abcde"), count), tuple("abcde")
    assert (5, same, same) == (len(rows), tuple(rows), tuple(rows))
    for which in (slice(2), slice(1, 4), slice(0, 9, 2), slice(-2, None), slice(None, None, -1), slice(3, 1)):
        assert same[which] == rows[which]
    assert ["a", "e", "e"] == [rows[place] for place in (0, 4, -1)]
    with pytest.raises(IndexError):
        rows[5]
    assert "c" in rows


def test_slicing_the_head_makes_no_further_rows():
    made = []
    rows = LazyRows(lambda: (made.append(number) or number for number in range(10**9)))
    assert (0, 1, 2) == rows[:3]
    assert [0, 1, 2] == made


def test_rows_are_changed_when_they_are_read():
    upper = changed("abc", str.upper)
    assert (3, ["A", "B", "C"], "B", ("A", "B")) == (len(upper), list(upper), upper[1], upper[:2])


@pytest.mark.parametrize("record", [EVENT, REFUSED, report().source])
def test_nothing_in_a_report_can_be_changed(record):
    with pytest.raises(AttributeError):
        record.notes = ()
