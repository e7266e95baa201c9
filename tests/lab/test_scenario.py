"""Scenarios: the ones that ship, and what is said about those that are wrong."""

from __future__ import annotations

import pytest

from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.lab.scenario import load, names, parse

GOOD = """\
conclude = "something"
targets = ["198.18.9.9:53"]
[nodes]
you = { address = ["198.18.0.2/24", "2001:db8::2/64"] }
a = { address = "198.18.0.1" }
[nodes.b]
address = ["198.18.9.9"]
udp = { 53 = "echo" }
[links]
"you - a - b" = {}
"""


@pytest.mark.parametrize("name", names())
def test_built_in_scenarios_fit_on_a_page_and_state_their_conclusion(name):
    scenario = load(name)
    assert 10 <= len(scenario.text.splitlines()) <= 30
    assert (name, True, True) == (scenario.name, len(scenario.sentence) > 20, bool(scenario.targets))
    assert [4, 6] == [each.version for each in scenario.networks]


def test_there_are_about_thirty_built_in_scenarios():
    assert 25 <= len(names()) <= 40


def test_a_later_link_refines_an_earlier_one_in_its_direction():
    scenario = parse(GOOD + '"a - b" = { mtu = 1400 }\n"b > a" = { delay_ms = 7 }\n', "page")
    assert (1400, 1) == (scenario.links["a", "b"].mtu, scenario.links["a", "b"].delay_ms)
    assert (1400, 7) == (scenario.links["b", "a"].mtu, scenario.links["b", "a"].delay_ms)
    assert scenario.links["you", "a"].mtu is None


@pytest.mark.parametrize(
    ("good", "bad", "line", "reason"),
    [
        ("conclude = ", "colour = 1\nconclude = ", 1, "there is no such key"),
        ('conclude = "something"\n', "", 1, "is missing"),
        ('conclude = "something"', 'conclude = ""', 1, "of a length of at least 1"),
        ('"198.18.9.9:53"', '"198.18.9.9"', 2, "is malformed"),
        ("you =", "me =", 3, 'the program needs a node to run at: none is called "you"'),
        ("198.18.0.2/24", "198.18.0.2/33", 4, "'198.18.0.2/33' does not appear to be an IPv4 or IPv6 interface"),
        ('a = { address = "198.18.0.1" }', "a = { address = 5 }", 5, "addresses are strings"),
        ('"198.18.0.1" }', '"198.18.0.1", colour = "red" }', 5, "there is no such key"),
        ('"198.18.0.1" }', '"198.18.0.1", ttl = 256 }', 5, "must be at most 255"),
        ('"198.18.0.1" }', '"198.18.9.9" }', 7, "198.18.9.9 already belongs to a"),
        ('"198.18.0.1" }', '"198.18.0.1", routes = { c = "b" } }', 5, "'c' is neither a node nor a network"),
        ('"198.18.0.1" }', '"198.18.0.1", routes = { b = "c" } }', 5, "no neighbour of a is called 'c'"),
        ('"198.18.0.1" }', '"198.18.0.1", routes = { b = [] } }', 5, "of a length of at least 1"),
        ('"198.18.0.1" }', '"198.18.0.1", routes = { b = ["b", "prohibit"] } }', 5, "no neighbour of a is called"),
        (
            "a = {",
            'blackhole = { address = "198.18.0.3" }\na = {',
            5,
            "this word is reserved: routes use it for what leads nowhere",
        ),
        ('"198.18.0.1" }', '"198.18.0.1", nat = { inside = "c" } }', 5, "no neighbour of a is called 'c'"),
        ("udp = ", 'rules = [{ do = "reject", with = "3.3" }]\nudp = ', 8, "'3.3' is not an error"),
        ("udp = ", 'rules = [{ do = "reject", with = "3/256" }]\nudp = ', 8, "'3/256' is not an error"),
        ("udp = ", 'rules = [{ do = "reject", with = "3/4/-1" }]\nudp = ', 8, "'3/4/-1' is not an error"),
        ("udp = ", 'rules = [{ do = "reject", with = "3" }]\nudp = ', 8, "'3' is not an error"),
        ('"echo"', '{ text = "' + "x" * 65_508 + '" }', 8, "room for 65507 bytes"),
        ("udp = ", 'rules = [{ do = "reject", with = ["3/3", "1/4", "3/1"] }]\nudp = ', 8, "of a length of at most 2"),
        ("udp = ", 'rules = [{ do = "reject", with = [] }]\nudp = ', 8, "of a length of at least 1"),
        ("udp = ", "limit = { per_s = 1e-300 }\nudp = ", 8, "must be at least 1e-06"),
        ("udp = ", 'interface = "' + "ü" * 32 + '"\nudp = ', 8, "at most 63 bytes"),
        ("udp = ", f"mpls = {[16] * 65}\nudp = ", 8, "of a length of at most 64"),
        ("udp = ", 'rules = [{ do = "burn" }]\nudp = ', 8, "'drop', 'reject', 'remark' or 'pass'"),
        ("udp = ", 'rules = [{ do = "remark", as = "c" }]\nudp = ', 8, "no node is called 'c'"),
        ("udp = ", 'rules = [{ do = "drop", to = "c" }]\nudp = ', 8, "'c' is neither a node nor a network"),
        ("udp = ", 'rules = [{ do = "drop", ports = "9-3" }]\nudp = ', 8, "ports are 0 to 65535"),
        ('udp = { 53 = "echo" }', 'ttl = 9\nudp . 53 = "ecko"', 9, 'an answer is "echo"'),
        ("udp = ", 'rules = [\n  { do = "drop" },\n  { do = "burn" },\n]\nudp = ', 10, "'drop', 'reject'"),
        (
            "udp = ",
            'rules = [{ do = "drop" },\n  { do = "drop", to = "c" }]\nudp = ',
            9,
            "neither a node nor a network",
        ),
        ("53 =", "65536 =", 8, "ports are 0 to 65535"),
        ("53 =", "dns =", 8, "ports are 0 to 65535"),
        ('"echo"', '"ecko"', 8, 'an answer is "echo"'),
        ('"echo"', '{ hex = "0g" }', 8, "non-hexadecimal number"),
        ('"echo"', '{ from_address = "x" }', 8, "'x' does not appear to be an IPv4 or IPv6 interface"),
        ('"2001:db8::2/64"] }', '"2001:db8::2/64"], rules = [] }', 4, '"you" is this host'),
        ('"198.18.0.1" }', '"127.0.0.1" }', 5, "127.0.0.1 is not a host address"),
        ('"198.18.0.1" }', '"ff02::5" }', 5, "ff02::5 is not a host address"),
        ('"198.18.0.1" }', '["0.0.0.0"] }', 5, "0.0.0.0 is not a host address"),
        ('"you - a - b" = {}', '"you - a - a - b" = {}', 10, "a link joins two nodes, not 'a' and itself"),
        ('"you - a - b" = {}', '"you - a - c" = {}', 10, "no node is called 'c'"),
        ('"you - a - b" = {}', '"you, a" = {}', 10, "no node is called 'you, a'"),
        ('"you - a - b" = {}', '"you" = {}', 10, 'a link is "a - b"'),
        ('"you - a - b" = {}', '"you - a - b" = { loss = 1.5 }', 10, "must be at most 1"),
        ('"you - a - b" = {}', '"you - a - b" = { mtu = 20 }', 10, "must be at least 68"),
        ('"you - a - b" = {}', '"you - a > b" = {}', 9, 'there is no way back: add "a - b" first'),
        ('"you - a - b" = {}', '"a - b" = {}', 9, 'no link leads from "you"'),
    ],
)
def test_a_mistake_is_reported_with_file_line_and_reason(good, bad, line, reason):
    with pytest.raises(UsageError) as told:
        parse(GOOD.replace(good, bad, 1), "page.toml")
    assert f"page.toml:{line}: " in str(told.value)
    assert reason in str(told.value)
    assert "\n" not in str(told.value)


def test_invalid_toml_is_reported_with_its_line():
    with pytest.raises(UsageError, match=r"^page.toml:2: Invalid statement$"):
        parse("conclude = 'x'\n = 5\n", "page.toml")
    with pytest.raises(UsageError, match=r"^page.toml: .* nested too deeply"):
        parse("nodes = " + "[" * 20_000, "page.toml")
    with pytest.raises(UsageError, match=r"^page.toml: Exceeds the limit"):
        parse("seed = " + "9" * 5_000, "page.toml")
    with pytest.raises(UsageError, match=r"^page.toml:2: Invalid value$"):
        parse("conclude = 'x'\nnodes = [5,\n", "page.toml")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(
        UsageError, match=r"there is no scenario 'nope': there are .*loop-2.*; your own file needs a / or"
    ):
        load("nope")


def test_a_file_of_the_user_is_read(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(GOOD, "utf-8")
    assert ("mine", "something") == (load(str(path)).name, load(str(path)).sentence)


def test_a_file_that_cannot_be_read_says_why(tmp_path):
    with pytest.raises(UdpprobeError, match=r"cannot read .*: No such file"):
        load(str(tmp_path / "none.toml"))
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(UsageError, match="not UTF-8 text"):
        load(str(tmp_path / "bytes.toml"))
