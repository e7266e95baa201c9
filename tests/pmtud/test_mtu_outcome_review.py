"""What a path MTU search says of packets that arrived changed, and of sizes that no link may have."""

from __future__ import annotations

import pytest
from mtu_world import World, mute
from test_mtu_outcome import of


@pytest.mark.parametrize(("changed", "words"), [
    ("df", "a refusal quotes packets without DF: a router may clear it, and fragment what does not fit"),
    ("port", "the service answers from another port than was asked"),
])
def test_what_had_changed_in_what_arrived_is_noted(changed, words):
    assert (words,) == of(World(1500), changed=frozenset({changed})).notes
    assert () == of(World(1500), changed=frozenset({"source"})).notes


def test_nobody_is_told_to_set_an_mtu_that_no_link_may_have():
    report = of(World(1000, mute, family=6))
    assert ("Look for a filter on the way to 198.51.100.7:53: every link must carry 1280 bytes, and more than 1000 bytes "
            "disappear.") == report.advice
    assert "every link must carry 1280 bytes: look for a filter" in report.notes


def test_where_only_answers_show_what_arrives_the_way_back_may_be_the_hole():
    words = "only answers show what arrives: large ones may get lost on their way back"
    assert words in of(World(1400, mute, service="answers"), control=False).notes
    assert words in of(World(1400, mute, service="answers", control=False)).notes
    assert words not in of(World(1400, mute, service="answers")).notes
    assert words not in of(World(1400, mute), control=False).notes
    assert words not in of(World(1400, service="answers"), control=False).notes
