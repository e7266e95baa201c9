import json

import pytest

from udpprobe.cli import main
from udpprobe.core.verdicts import MEANINGS


def _told(capsys, *words):
    assert main(["explain", *words, "--format", "ndjson"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_all_is_every_row_of_both_families(capsys):
    assert len(MEANINGS) == len(_told(capsys))


@pytest.mark.parametrize("words", [["-6"], ["--family", "6"], ["-6", "--family", "6"]])
def test_a_family_may_be_asked_for(capsys, words):
    assert {row["family"] for row in _told(capsys, *words)} == {6}


def test_both_families_may_be_asked_for(capsys):
    assert {row["family"] for row in _told(capsys, "-4", "-6")} == {4, 6}


@pytest.mark.parametrize(("words", "keys"), [
    (["3", "4"], [(4, 3, 4), (6, 3, 4)]),
    (["3", "3", "-4"], [(4, 3, 3)]),
    (["3", "77", "-4"], [(4, 3, 77)]),
    (["1", "4"], [(6, 1, 4)]),
    (["12", "-4"], [(4, 12, 0), (4, 12, 1), (4, 12, 2), (4, 12, None)]),
    (["100"], [(6, 100, None)]),
    (["100", "7"], [(6, 100, 7)]),
])
def test_one_type_or_code_is_shown_for_each_family_that_has_it(capsys, words, keys):
    assert keys == [(row["family"], row["type"], row["code"]) for row in _told(capsys, *words)]


def test_only_code_0_becomes_a_loop(capsys):
    otherwise = {(row["type"], row["code"]): row["verdict_otherwise"] for row in _told(capsys, "11", "-4")}
    assert {(11, 0): "loop", (11, 1): None, (11, None): None} == otherwise


@pytest.mark.parametrize("words", [["0"], ["5", "-4"], ["8", "0", "-4"], ["128"], ["255", "0"]])
def test_what_is_no_error_is_a_usage_error(capsys, words):
    assert main(["explain", *words]) == 2
    assert "is no error: ICMP has 3, 4, 11 and 12, ICMPv6 1 to 127" in capsys.readouterr().err


def test_it_can_go_to_a_file(tmp_path, capsys):
    assert main(["explain", "3", "4", "-o", str(tmp_path / "told")]) == 0
    assert capsys.readouterr().out == ""
    assert "frag-needed" in (tmp_path / "told").read_text()
