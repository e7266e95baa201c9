"""Mistakes in words: the parser's own sentences never reach a user."""

import pytest

from udpprobe.cli import COMMANDS, main
from udpprobe.cli.usage_errors import with_ranges
from udpprobe.endpoints import services
from udpprobe.errors import meant


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trace"], "Missing argument 'HOST:PORT...'"),
        (["mtu", "a", "b", "c"], "'b c': too many words"),
        (["watch", "port", "53"], "'port 53': watch takes only options; a pcap filter follows --filter"),
        (["scan", "--rate", "x", "a"], "--rate 'x': give a number, 0 or more"),
        (["scan", "--size", "x", "a"], "--size 'x': give a whole number, 28 to 65535"),
        (["scan", "--size", "20", "a"], "--size 20: give 28 to 65535 (see udpprobe scan --help)"),
        (["scan", "--rate", "-1", "a"], "--rate -1: give 0 or more"),
        (["scan", "--engine", "rwa", "a"], "--engine 'rwa': give raw, recverr or connected: did you mean raw?"),
        (["mtu", "--format", "parqet", "a"], "--format 'parqet': give table, json, ndjson, csv, markdown or html (see"),
        (["scan", "a", "--timeout", "1e9"], "--timeout 1000000000: give 0.01 to 86400 (see"),
        (["scan", "a", "--timeout", "nan"], "--timeout nan: give a number"),
        (["check", "--config", "", "a"], "UNKNOWN - --config: the value is empty"),
        (["scan", "a", "--ports="], "--ports: the value is empty"),
        (["scan", ""], "TARGET...: the value is empty"),
        (["scan", "a", "--control=x"], "--control takes no value"),
        (["scan", "a", "--rate"], "--rate needs a value"),
        (["mtu", "127.0.0.1", "--source-address", "x"], "--source-address 'x' is not an IPv4 or IPv6 address"),
        (["scan", "--nonsense", "a"], "No such option: --nonsense (see"),
        (["scan", "--retires", "1", "a"], "No such option: --retires: did you mean --retries?"),
        (["scan", "-Q", "a"], "No such option: -Q"),
        (["trase"], "No such command 'trase': did you mean trace?"),
        (["zzz"], "No such command 'zzz' (see"),
        (["mtu", "--fail-on", "blackhole", "127.0.0.1"], "'blackhole' is not a verdict; use ok, black-hole, "),
        (["mtu", "--fail-on", "blackhole", "127.0.0.1"], ": did you mean black-hole?"),
        (["diff", "--fail-on", "new-refuzed", "a", "b"], ": did you mean new-refused?"),
    ],
)
def test_a_usage_error_is_one_sentence_of_our_own(words, said, capsys):
    assert main(words) == (3 if words[0] == "check" else 2)
    told = "".join(capsys.readouterr())
    assert said in told
    assert told.count("\n") == 1
    assert "Invalid value" not in told


@pytest.mark.skipif("domain" not in services(), reason="no such service in /etc/services")
@pytest.mark.parametrize(
    "words",
    [
        ["scan", "127.0.0.1:domian"],
        ["scan", "-p", "53,domian", "127.0.0.1"],
        ["trace", "127.0.0.1:domian"],
        ["mtu", "127.0.0.1:domian"],
        ["check", "127.0.0.1:domian"],
    ],
)
def test_an_error_about_a_misspelt_service_names_the_nearest(words, capsys):
    assert main(words) == (3 if words[0] == "check" else 2)
    assert "'domian' is not a UDP port, nor a service in /etc/services: did you mean domain?" in "".join(
        capsys.readouterr()
    )


@pytest.mark.parametrize(
    "words",
    [
        ["watch", "--duration", "1"],
        ["scan", "127.0.0.1:9"],
        ["scan", "--engine", "recverr", "127.0.0.1:9"],
        ["scan", "--dry-run", "127.0.0.1:9"],
        ["trace", "127.0.0.1"],
        ["mtu", "127.0.0.1"],
        ["check", "127.0.0.1:9"],
    ],
)
def test_a_missing_interface_is_not_a_usage_error(words, capsys):
    assert main([words[0], "-i", "nosuch0", *words[1:]]) == 3
    assert "no interface 'nosuch0'; existing ones: lo" in "".join(capsys.readouterr())


def test_check_says_the_same_as_a_plugin(capsys):
    assert main(["check", "--retries", "x", "192.0.2.1:53"]) == 3
    assert capsys.readouterr().out == "UDPPROBE UNKNOWN - --retries 'x': give a whole number, 0 to 100\n"


def test_a_word_unlike_any_known_one_gets_no_suggestion():
    assert meant("zzz", ["loop-2", "loop-3"]) == ""
    assert meant("lop-3", ["loop-2", "loop-3"]) == ": did you mean loop-3?"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_describes_ranges_in_words(command, capsys):
    main([command, "--help"])
    told = capsys.readouterr().out
    assert "<=" not in told
    assert ">=" not in told
    assert "{" not in told.partition("\n")[0]
    assert 80 >= max(map(len, told.splitlines()))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[default: 4; 1<=x<=9]", "[default: 4; 1 to 9]"),
        ("[x>=0.01]", "[0.01 or more]"),
        ("[x<=9]", "[9 or less]"),
        ("max x = 5", "max x = 5"),
        ("[-1<=x<=1e+20]", "[-1 to 1e+20]"),
    ],
)
def test_a_range_is_described_in_plain_words(text, said):
    assert said == with_ranges(text)
