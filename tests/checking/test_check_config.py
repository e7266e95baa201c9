import time

import pytest

from udpprobe.checking.config import read_config, read_templates
from udpprobe.checking.expectations import CheckState, Probing
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.toml import line_of, parse_toml

WHOLE = """\
[defaults]
warning = "50"
min_mtu = 1280

[templates.dns]
expect = "answered"
critical = 200
payload = "dns"

[templates.vpn]
expect = "listening"
silence = "ok"
no_loop = true

[groups.resolvers]
template = "dns"
critical = 100.5
family = 6

[[targets]]
target = "dns.example:53"
group = "resolvers"
name = "office"

[[targets]]
target = "192.0.2.1:51820"
template = "vpn"
min_mtu = 1420
interface = "eth0"

[[targets]]
target = "192.0.2.2:53"
group = "resolvers"
critical = "@0:1"
"""


@pytest.fixture
def write(tmp_path):
    def written(text):
        path = tmp_path / "c.toml"
        path.write_text(text)
        return str(path)

    return written


def test_a_target_inherits_from_template_group_and_defaults(write):
    office, vpn, second = read_config(write(WHOLE))
    assert ("office", "resolvers", "dns.example", Probing("dns", 6)) == (
        office.name,
        office.group,
        office.target.host,
        office.probing,
    )
    wanted = office.expectation
    assert ("answered", "50", "100.5", 1280, False, None) == (
        wanted.expect,
        wanted.warning.text,
        wanted.critical.text,
        wanted.min_mtu,
        wanted.no_loop,
        wanted.silence,
    )
    assert ("192.0.2.1:51820", None, Probing(interface="eth0")) == (vpn.name, vpn.group, vpn.probing)
    assert ("listening", CheckState.OK, 1420, True) == (
        vpn.expectation.expect,
        vpn.expectation.silence,
        vpn.expectation.min_mtu,
        vpn.expectation.no_loop,
    )
    assert "@0:1" == second.expectation.critical.text


def test_templates_are_modules_on_top_of_the_defaults(write):
    modules = read_templates(write(WHOLE))
    assert ["dns", "vpn"] == list(modules)
    expectation, probing = modules["dns"]
    assert ("50", "200", "dns") == (expectation.warning.text, expectation.critical.text, probing.payload)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[targets]]\ntarget = "192.0.2.1"\n', r"line 2: targets\.target: '192\.0\.2\.1' has no port"),
        (
            '[[targets]]\ntarget = "192.0.2.1:1"\n\n[[targets]]\nexpect = "answered"\n',
            r"line 4: targets\.target: is missing",
        ),
        ('[[targets]]\ntarget = "192.0.2.1:1"\nexpect = "up"\n', r"line 3: targets\.expect: .*'answered'"),
        ('[[targets]]\ntarget = "192.0.2.1:1"\nwarning = "x"\n', r"line 3: targets\.warning: 'x' is not a range"),
        ('[[targets]]\ntarget = "192.0.2.1:1"\nport = 1\n', r"line 3: targets\.port: there is no such key"),
        (
            '[[targets]]\ntarget = "192.0.2.1:1"\nmin_mtu = "1400"\n',
            r"line 3: targets\.min_mtu: .*must be a whole number",
        ),
        (
            '[[targets]]\ntarget = "192.0.2.1:1"\n[[targets]]\ntarget = "192.0.2.1:1"\ngroup = "x"\n',
            "line 3: there is no group 'x'",
        ),
        ('[[targets]]\ntarget = "192.0.2.1:1"\ntemplate = "x"\n', "line 1: there is no template 'x'"),
        ('[templates.a]\nno_loop = "yes"\n', r"line 2: templates\.a\.no_loop: .*must be true or false"),
        (
            '[[targets]]\ntarget = "192.0.2.1:1"\nexpcet = "refused"\n',
            r"line 3: targets\.expcet: .*did you mean expect\?",
        ),
        (
            '[[targets]]\ntarget = "192.0.2.1:1"\nexpect = "refusd"\n',
            r"'refusd' is not one of .*: did you mean refused\?",
        ),
        ("[defaults\n", r"at line 1"),
        ("[host]\n", r"line 1: host: there is no such key; there are defaults, groups, targets, templates"),
        (
            '[[checks]]\ntarget = "192.0.2.1:1"\n',
            r"line 1: checks: there is no such key; there are defaults, groups, t",
        ),
        ('[[target]]\ntarget = "192.0.2.1:1"\n', r"line 1: target: there is no such key: did you mean targets\?"),
        ("[default]\n", r"line 1: default: .*: did you mean defaults\?"),
        ('[targets]\ntarget = "192.0.2.1:1"\n', r"line 1: targets: there may be several: write \[\[targets\]\]"),
        ('[[groups]]\nname = "a"\n', r"line 1: groups: each has a name: write \[groups.NAME\]"),
        ('[groups.vpns]\n[[targets]]\ntarget = "192.0.2.1:1"\ngroup = "vpn"\n', "'vpn': did you mean vpns"),
        ("", r"no \[\[targets\]\]"),
        ('[groups."a.b"]\nsilence = "no"\n', r"line 2: groups\.a\.b\.silence"),
    ],
)
def test_a_mistake_is_reported_with_its_line_and_reason(write, text, said):
    with pytest.raises(UsageError, match=said):
        read_config(write(text))


def test_a_missing_file_is_not_a_usage_error(tmp_path):
    with pytest.raises(UdpprobeError, match=r"cannot read .*: No such file") as caught:
        read_config(str(tmp_path / "none.toml"))
    assert 3 == caught.value.exit_status
    (tmp_path / "bytes.toml").write_bytes(b"\xff")
    with pytest.raises(UsageError, match="utf-8"):
        read_config(str(tmp_path / "bytes.toml"))


@pytest.mark.parametrize(
    ("place", "line"),
    [
        (("targets", 0, "group"), 22),
        (("targets", 2), 31),
        (("targets", 2, "critical"), 34),
        (("targets", 2, "absent"), 31),
        (("templates", "dns", "payload"), 8),
        (("nothing",), 1),
    ],
)
def test_a_missing_key_is_reported_at_the_line_of_its_table(place, line):
    assert line == line_of(WHOLE, place)


def test_thousands_of_targets_are_read_quickly(tmp_path):
    path = tmp_path / "c.toml"
    path.write_text("".join(f'[[targets]]\ntarget = "192.0.{row >> 8}.{row & 255}:53"\n' for row in range(4000)))
    start_s = time.process_time()
    assert 4000 == len(read_config(str(path)))
    assert time.process_time() - start_s < 5


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_byte_order_mark_and_other_line_ends_are_accepted(tmp_path, mark, end):
    (tmp_path / "c.toml").write_bytes((mark + WHOLE.replace("\n", end)).encode())
    (tmp_path / "plain.toml").write_text(WHOLE)
    assert read_config(str(tmp_path / "plain.toml")) == read_config(str(tmp_path / "c.toml"))


def test_text_with_many_dots_is_not_a_long_key():
    text = "a = '" + "a." * 90 + "'\nb = '" + "1.2.3.4, " * 1000 + "'"
    assert {"a": "a." * 90, "b": "1.2.3.4, " * 1000} == parse_toml(text)


def test_an_endless_file_is_too_large():
    with pytest.raises(UsageError, match="more than 16 MB"):
        read_config("/dev/zero")


def test_group_addresses_can_be_allowed(tmp_path):
    (tmp_path / "c.toml").write_text('[[targets]]\ntarget = "224.0.0.1:7"\nallow_broadcast = true\n')
    assert read_config(str(tmp_path / "c.toml"))[0].probing.allow_broadcast


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = " + "[" * 20_000, "nested too deeply"),
        ("a = " + "{a=" * 20_000, "nested too deeply"),
        ('[defaults]\nwarning = "' + "9" * 50_000 + 'x"\n', "is not a range"),
        ("[defaults]\nexpect = 'no'\nx = [\n" + "[" + " " * 50_000 + "\n]]", "no"),
        ("[" + " " * 50_000 + "defaults ]\nexpect = 'no'", "line 2: defaults.expect"),
        ("[defaults]\nmin_mtu = " + "9" * 50_000, "digits"),
        ("\n" + ".".join(["a"] * 40_000) + " = 1", r"more than 100 parts \(at line 2, column 1\)"),
        ("[" + " . ".join(['"a"'] * 40_000) + "]", r"more than 100 parts \(at line 1, column 2\)"),
        ("a = " + "1.2." * 40_000, "Expected newline|more than 100 parts"),
        ("a" * 5_000_000 + "\n", "Expected '='"),
        ("[[targets]]\n" * 2_000_000, "more than 16 MB"),
        ('[[targets]]\ntarget = "a\\u0000b:5"', "is not a host"),
        (
            '[[targets]]\ntarget = "192.0.2.1:5"\ninterface = "a\\u0000b"',
            "interface: .* is malformed",
        ),
    ],
    ids=[
        "lists",
        "tables",
        "digits",
        "open-list",
        "blanks",
        "large-number",
        "dotted-key",
        "dotted-table",
        "dotted-value",
        "long-key",
        "large",
        "nul-in-name",
        "nul-in-interface",
    ],
)
def test_a_crafted_file_is_refused_at_once(tmp_path, text, said):
    path = tmp_path / "c.toml"
    path.write_text(text)
    start_s = time.process_time()
    with pytest.raises(UsageError, match=said):
        read_config(str(path))
    assert time.process_time() - start_s < 3
