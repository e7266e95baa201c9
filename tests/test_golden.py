"""Every capture of pcaps/ gives the report it gave before; `make golden` takes the new ones over."""

import pytest
from write_golden import CAPTURES, GOLDEN, golden_file, report_text


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name)
def test_the_report_is_the_golden_one(capture):
    assert golden_file(capture).read_text() == report_text(capture)


def test_every_golden_report_has_its_capture():
    assert {golden_file(capture) for capture in CAPTURES} == set(GOLDEN.glob("*.json"))
