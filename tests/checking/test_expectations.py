import math

import pytest

from udpprobe.checking.expectations import CheckState, parse_range, worst
from udpprobe.errors import UsageError


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("10", 0, 10),
        ("10:", 10, math.inf),
        (":10", 0, 10),
        ("~:10", -math.inf, 10),
        ("10:20", 10, 20),
        ("0:0", 0, 0),
        ("-5:-1", -5, -1),
        (".5:1.5", 0.5, 1.5),
        ("@10:20", 10, 20),
        ("~:", -math.inf, math.inf),
    ],
)
def test_a_range_is_parsed_as_in_the_plugin_guidelines(text, start, end):
    found = parse_range(text)
    assert (start, end, text) == (found.start, found.end, found.text)


@pytest.mark.parametrize(
    ("text", "alerting", "quiet"),
    [
        ("10", (-0.1, 10.1), (0, 10)),
        ("10:", (9.9,), (10, 1e9)),
        ("~:10", (11,), (-1e9, 10)),
        ("10:20", (9, 21), (10, 20)),
        ("@10:20", (10, 15, 20), (9.9, 20.1)),
    ],
)
def test_values_outside_alert_and_with_an_at_sign_values_inside(text, alerting, quiet):
    found = parse_range(text)
    assert all(map(found.alerts, alerting))
    assert not any(map(found.alerts, quiet))


@pytest.mark.parametrize("text", ["", "@", "x", "1:2:3", "20:10", "10~", "~", "1e3", "@@1", "nan", "10:~"])
def test_an_invalid_range_is_refused(text):
    with pytest.raises(UsageError, match="range"):
        parse_range(text)


@pytest.mark.parametrize(
    ("states", "expected"),
    [
        ("", "OK"),
        ("OK OK", "OK"),
        ("OK UNKNOWN", "UNKNOWN"),
        ("UNKNOWN WARNING OK", "WARNING"),
        ("WARNING CRITICAL UNKNOWN", "CRITICAL"),
    ],
)
def test_the_worst_state_wins_and_unknown_ranks_below_warning(states, expected):
    assert CheckState[expected] == worst(CheckState[each] for each in states.split())
