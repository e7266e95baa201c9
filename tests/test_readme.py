"""The sessions of README.md are what really happens; `make golden` writes them anew."""

import re

import pytest
from write_golden import README, SESSION, session

from udpprobe.core.verdicts import ERRNO_OF_VERDICT, VERDICTS

TEXT = README.read_text()
SESSIONS = {found[1]: found[0] for found in SESSION.finditer(TEXT)}


@pytest.mark.parametrize("words", SESSIONS)
def test_a_session_is_what_happens(words):
    assert SESSIONS[words] == session(words)


def test_there_is_a_session_of_each_command():
    assert {words.split()[0] for words in SESSIONS} == {"analyze", "explain", "scan"}


@pytest.mark.parametrize("verdict", VERDICTS)
def test_every_verdict_has_its_row_and_errno(verdict):
    row = re.search(rf"^\| `{verdict}` \| .* \| (\S+|its own) \|$", TEXT, re.MULTILINE)
    assert row[1] == {"unsent": "its own"}.get(verdict, ERRNO_OF_VERDICT.get(verdict, "\N{EN DASH}"))
