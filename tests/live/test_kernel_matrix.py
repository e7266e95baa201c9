"""The kernel as an oracle of calls: each error, kind of socket and mode, three calls each, against the table of ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from udpprobe.core.kernel import MODES, calls_of
from udpprobe.core.verdicts import ANY_CODE, MEANINGS, meaning_of

pytestmark = [pytest.mark.live, pytest.mark.slow]

HEARS_AS = {"connected-recverr": "recverr", "ipv6-recverr": "unconnected"}
"""A connected socket with IP_RECVERR hears what one without a peer does; IPV6_RECVERR alone does nothing for IPv4."""


@pytest.fixture(scope="module")
def measured():
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("kernel_matrix.py"))], check=True, capture_output=True, text=True
    )
    told = json.loads(done.stdout)
    if isinstance(told, str):
        pytest.skip(told)
    return told


def expected(kind, icmp_type, code, state, mode):
    meaning = meaning_of(6 if kind == "IPv6" else 4, icmp_type, 99 if code == ANY_CODE else code)
    return [list(each) for each in calls_of(meaning, HEARS_AS.get(state, state), mode)]


def test_every_error_is_measured_in_every_state_and_mode(measured):
    v4, v6 = (sum(row.family == family for row in MEANINGS) for family in (4, 6))
    assert (v4 * (4 + 5) + v6 * 4) * len(MODES) == len({tuple(row[:5]) for row in measured}) == len(measured)


@pytest.mark.parametrize("kind", ["IPv4", "mapped", "IPv6"])
def test_three_sends_and_three_receives_match_the_table(measured, kind):
    wrong = {
        " ".join(map(str, row[:5])): (row[5:8], expected(*row[:5]))
        for row in measured
        if row[0] == kind and row[5:8] != expected(*row[:5])
    }
    assert not wrong


def test_the_kernel_s_own_event_agrees_with_the_calls(measured):
    """A socket is told if, and only if, `recv` gives the errno."""
    if missing := next((row[8] for row in measured if str(row[8]).startswith("no tracefs")), None):
        pytest.skip(missing)
    assert not {" ".join(map(str, row[:5])): row[7:9] for row in measured if row[7][0] != row[8]}


def test_the_inference_from_the_socket_state_agrees_with_the_calls(measured):
    asked = [row for row in measured if row[9] is not None]
    assert 2 * 3 * (4 + 5) + 2 * 3 * 4 <= len(asked) // 2
    assert not {" ".join(map(str, row[:5])): row[7:] for row in asked if (row[7][0] is not None) != row[9]}
