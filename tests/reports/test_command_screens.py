"""What commands show on terminals of 80 and 120 columns; `make golden` takes new screens over."""

from __future__ import annotations

from functools import cache

import pytest
from write_golden import SCREENS, screens

made = cache(screens)


@pytest.mark.parametrize("name", sorted(path.stem for path in SCREENS.iterdir()))
def test_a_screen_is_as_it_was_and_fits(name):
    shown = made()[name]
    assert (SCREENS / f"{name}.txt").read_text() == shown
    assert int(name.rpartition("-")[2]) >= max(map(len, shown.splitlines()))


def test_every_screen_is_a_golden_one():
    assert sorted(made()) == sorted(path.stem for path in SCREENS.iterdir())
