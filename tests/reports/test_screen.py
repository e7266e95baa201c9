"""The live screen of trace: what it shows at 80 and 120 columns, and that it fits."""

from __future__ import annotations

import re
from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st
from screens import around, path, rounds_of, v6, view, views
from write_golden import SCREENS, screens

from udpprobe.reports.screen import statistics_table, trace_screen
from udpprobe.reports.text import PLAIN

COLOURS = re.compile(r"\x1b\[\d*m")


@given(st.sampled_from(sorted(views())), st.integers(80, 200), st.integers(10, 60), st.booleans())
def test_a_screen_has_exactly_its_lines_and_width(name, width, height, is_coloured):
    lines = COLOURS.sub("", trace_screen(views()[name], width, height, PLAIN._replace(is_coloured=is_coloured)))
    assert height == len(lines.split("\n"))
    assert width >= max(map(len, lines.split("\n")))


def test_colours_change_nothing_else():
    for each in views().values():
        coloured = trace_screen(each, 80, 24, PLAIN._replace(is_coloured=True))
        assert COLOURS.sub("", coloured) == trace_screen(each, 80, 24)


def test_names_replace_addresses_and_are_shortened_and_escaped():
    style = PLAIN._replace(name=lambda address: f"router-{address}.{'long.' * 9}example\x1b[2J")
    screen = trace_screen(view(rounds_of(path, 3), has_names=True), 80, 24, style)
    assert "router-10.0.1" in screen
    assert "…" in screen
    assert "\x1b" not in screen
    assert "router-" not in trace_screen(view(rounds_of(path, 3)), 80, 24, style)


def test_an_address_is_never_shortened():
    assert "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff" in trace_screen(view(rounds_of(v6, 2)), 80, 24)


def test_with_many_hops_the_last_ones_are_shown():
    wide = path(0)
    hops = tuple(
        type(hop)(ttl, hop.reporters, 3, 0, rtts_ms=hop.rtts_ms)
        for ttl, hop in enumerate([wide.hops[0]] * 29 + [wide.hops[-1]], 1)
    )
    rounds = rounds_of(
        lambda _: type(wide)(**{name: getattr(wide, name) for name in wide.__struct_fields__} | {"hops": hops}), 1
    )
    screen = trace_screen(view(rounds), 80, 24)
    assert "lines more: the screen is too small" in screen
    assert re.search(r"^ 30 192\.0\.2\.7", screen, re.MULTILINE)


def test_the_verdict_of_an_unsettled_round_is_running():
    assert "\nrunning: last reply from hop 2, 10.0.2.2\n" in trace_screen(views()["first-round"], 80, 24)


def test_changes_stay_listed_after_the_path_has_recovered():
    screen = trace_screen(views()["loop-gone"], 80, 24)
    assert re.search(r"^00:00:40 verdict: refused -> loop of 2 between", screen, re.MULTILINE)
    assert re.search(r"^00:00:50 verdict: loop of 2 .* -> refused$", screen, re.MULTILINE) or "00:00:50" in screen


def test_the_remaining_text_has_all_hops_and_changes():
    told = statistics_table(rounds_of(path, 3, [around(4)]).report(), 80)
    assert "loops." in " ".join(told.split())
    assert told.endswith("entered at hop 2\n")
    assert "2026-01-01T00:00:40.000000000Z verdict: refused -> loop of 2" in told
    assert 80 >= max(len(line) for line in told.splitlines() if "->" not in line)


# ---- what commands show on terminals of 80 and 120 columns; `make golden` takes new screens over


made = cache(screens)


@pytest.mark.parametrize("name", sorted(path.stem for path in SCREENS.iterdir()))
def test_each_screen_equals_its_golden_file_and_fits(name):
    shown = made()[name]
    assert (SCREENS / f"{name}.txt").read_text() == shown
    assert int(name.rpartition("-")[2]) >= max(map(len, shown.splitlines()))


def test_every_screen_is_a_golden_one():
    assert sorted(made()) == sorted(path.stem for path in SCREENS.iterdir())
