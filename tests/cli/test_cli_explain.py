import json

import pytest

from udpprobe.cli import main
from udpprobe.core.verdicts import MEANINGS
from udpprobe.reports.explain import known_words


def _told(capsys, *words):
    assert main(["explain", *words, "--format", "ndjson"]) == 0
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_all_is_every_row_of_both_families(capsys):
    assert len(MEANINGS) == len(_told(capsys))


@pytest.mark.parametrize("words", [["-6"], ["--family", "6"], ["-6", "--family", "6"]])
def test_one_family_can_be_selected(capsys, words):
    assert {row["family"] for row in _told(capsys, *words)} == {6}


def test_both_families_can_be_selected(capsys):
    assert {row["family"] for row in _told(capsys, "-4", "-6")} == {4, 6}


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (["3", "4"], [(4, 3, 4), (6, 3, 4)]),
        (["3", "3", "-4"], [(4, 3, 3)]),
        (["3/3", "-4"], [(4, 3, 3)]),
        (["3/4"], [(4, 3, 4), (6, 3, 4)]),
        (["3", "77", "-4"], [(4, 3, 77)]),
        (["1", "4"], [(6, 1, 4)]),
        (["12", "-4"], [(4, 12, 0), (4, 12, 1), (4, 12, 2), (4, 12, None)]),
        (["100"], [(6, 100, None)]),
        (["100", "7"], [(6, 100, 7)]),
    ],
)
def test_one_type_or_code_is_shown_for_each_family_that_has_it(capsys, words, keys):
    assert keys == [(row["family"], row["type"], row["code"]) for row in _told(capsys, *words)]


def test_only_code_0_becomes_a_loop(capsys):
    otherwise = {(row["type"], row["code"]): row["verdict_otherwise"] for row in _told(capsys, "11", "-4")}
    assert {(11, 0): "loop", (11, 1): None, (11, None): None} == otherwise


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["0"], "ICMP type 0 is an echo reply (ping), not an error"),
        (["5", "-4"], "ICMP type 5 is a redirect, not an error: the datagram was forwarded"),
        (["8", "0", "-4"], "ICMP type 8 is an echo request (ping)"),
        (["128"], "ICMPv6 type 128 is an echo request (ping)"),
        (["255", "0"], ""),
    ],
)
def test_a_type_that_is_no_error_is_a_usage_error_with_a_hint(capsys, words, what):
    assert main(["explain", *words]) == 2
    said = capsys.readouterr().err
    assert said.startswith(
        f"udpprobe: type {words[0]} is not an error: those are 3, 4, 11 and 12 in ICMP, and 1 to 127 in ICMPv6"
    )
    assert what in said


def test_a_type_that_is_an_error_in_one_family_is_explained_in_the_other(capsys):
    assert main(["explain", "5"]) == 0
    assert "ICMP type 5 is a redirect, not an error: the datagram was forwarded" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.parametrize("word", known_words())
def test_every_word_of_a_report_is_explained_in_80_columns(capsys, word):
    assert main(["explain", word]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.startswith(f"{word} (")


@pytest.mark.parametrize(
    ("word", "keys"),
    [
        ("refused", {(4, 3, 3), (6, 1, 4)}),
        ("rejected", {(4, 3, 3), (6, 1, 4)}),
        ("loop", {(4, 11, 0), (6, 3, 0)}),
        ("host-unreach", {(4, 3, 1), (6, 1, 3)}),
        ("frag-needed", {(4, 3, 4)}),
        ("EMSGSIZE", {(4, 3, 4), (6, 2, 0), (6, 2, None)}),
        ("emsgsize", {(4, 3, 4), (6, 2, 0), (6, 2, None)}),
        ("silent", set()),
        ("black-hole", {(4, 3, 4), (6, 2, 0), (6, 2, None)}),
        ("udp-response", set()),
        ("no-response", set()),
        ("REFUSED", {(4, 3, 3), (6, 1, 4)}),
        ("Frag-Needed", {(4, 3, 4)}),
    ],
)
def test_a_word_has_the_errors_that_it_stands_for(capsys, word, keys):
    assert keys == {(row["family"], row["type"], row["code"]) for row in _told(capsys, word)}


@pytest.mark.parametrize(("word", "is_said"), [("refused", False), ("EPROTO", True), ("11", True)])
def test_a_table_has_only_the_notes_that_its_rows_need(capsys, word, is_said):
    assert main(["explain", word]) == 0
    assert is_said == ("Code * stands for every code without a row" in " ".join(capsys.readouterr().out.split()))


def test_json_says_what_a_word_means(capsys):
    assert main(["explain", "refused", "--format", "json"]) == 0
    about = json.loads(capsys.readouterr().out)["about"]
    assert (
        "refused",
        "verdict",
        "Nothing listens on HOST:PORT: start the service or check the port.",
        "udpprobe scan HOST:PORT",
    ) == (about["word"], about["kind"], about["advice"], about["further"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["refsued"], "'refsued' is not a word of a report: did you mean refused?"),
        (["xyzzy"], "'xyzzy' is not a word of a report; give a verdict"),
        (["refused", "loop"], "give one word, or a type and its code as numbers"),
        (["3", "x"], "'x' is not an ICMP type or code"),
        (["300"], "300 is not in the range of ICMP types and codes"),
        (["3/x"], "'x' is not an ICMP type or code"),
        (["3/"], "'' is not an ICMP type or code"),
        (["3/4/5"], "give a type and its code"),
        (["3", "4", "5"], "give a type and its code, such as 3 4"),
    ],
)
def test_an_unknown_word_gets_a_list_of_known_ones(capsys, words, said):
    assert main(["explain", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_explanation_can_be_written_to_a_file(tmp_path, capsys):
    assert main(["explain", "3", "4", "-o", str(tmp_path / "told")]) == 0
    assert capsys.readouterr().out == ""
    assert "frag-needed" in (tmp_path / "told").read_text()
