"""Mistakes in words: the parser's own sentences never reach a user."""

import pytest

from udpprobe.cli import main
from udpprobe.cli.wrong_words import meant


@pytest.mark.parametrize(("words", "said"), [
    (["trace"], "Missing argument 'HOST:PORT'"),
    (["trace", "a", "b", "c"], "'b c': too many words"),
    (["watch", "port", "53"], "'port 53': watch takes options only; a pcap filter goes behind --filter"),
    (["scan", "--rate", "x", "a"], "'--rate': 'x' is no number"),
    (["scan", "--size", "x", "a"], "'--size': 'x' is no whole number"),
    (["scan", "--size", "20", "a"], "20 is not in the range 28 to 65535"),
    (["scan", "--rate", "-1", "a"], "-1.0 is not in the range 0 or more"),
    (["scan", "--engine", "rwa", "a"], "'rwa' is not one of 'raw', 'recverr', 'connected': did you mean raw?"),
    (["scan", "--retires", "1", "a"], "No such option: --retires: did you mean --retries?"),
    (["scan", "-Q", "a"], "No such option: -Q"),
    (["trase"], "No such command 'trase': did you mean trace?"),
    (["zzz"], "No such command 'zzz' (see"),
])
def test_a_mistake_is_one_sentence_of_ours(words, said, capsys):
    assert main(words) == 2
    told = capsys.readouterr().err
    assert said in told
    assert told.count("\n") == 1
    assert "Invalid value" not in told


def test_check_says_the_same_as_a_plugin(capsys):
    assert main(["check", "--retries", "x", "192.0.2.1:53"]) == 3
    assert capsys.readouterr().out == "UDPPROBE UNKNOWN - '--retries': 'x' is no whole number\n"


def test_nothing_is_meant_by_what_looks_like_nothing():
    assert meant("zzz", ["loop-2", "loop-3"]) == ""
    assert meant("lop-3", ["loop-2", "loop-3"]) == ": did you mean loop-3?"
