"""From words to the checks, and from what they came to to a line and an exit status; the checks are stand-ins."""

import json
import subprocess
import sys
import time
from xml.etree import ElementTree as ET

import pytest
from msgspec.structs import replace
from samples import ANSWERED

import udpprobe.commands.check
from udpprobe.checking.expectations import CheckState, Expectation, Probing
from udpprobe.checking.states import Facts, Outcome, checked
from udpprobe.cli import main
from udpprobe.commands.check import Settings
from udpprobe.errors import UdpprobeError

FINE = checked("10.0.0.1:53", None, Facts(ANSWERED), Expectation())


class FakeCheck:
    """In the checks' place: remembers what it was asked, tells what the test prepared."""

    def __init__(self):
        self.checks, self.error = (FINE,), None

    def __call__(self, asks, settings, _on_checked=None):
        self.asks, self.settings = asks, settings
        if self.error:
            raise self.error
        return Outcome(self.checks, 0.1, 0, "0.1.0", ())


@pytest.fixture
def fake(monkeypatch):
    made = FakeCheck()
    monkeypatch.setattr(udpprobe.commands.check, "check", made)
    return made


def test_a_plain_target_is_checked_with_the_default_options(fake, capsys):
    assert 0 == main(["check", "192.0.2.1:53"])
    assert (Settings(timeout_s=10, confirm=0), Expectation(), Probing()) == (
        fake.settings,
        fake.asks[0].expectation,
        fake.asks[0].probing,
    )
    assert ("UDPPROBE OK - 10.0.0.1:53 answered in 2.5 ms | 'rtt'=2.500ms;;;0\n", "") == capsys.readouterr()


def test_every_option_takes_effect(fake):
    main(
        (
            "check 192.0.2.1 [2001:db8::1]:99 --expect listening --silence warning -w 50 -c @1:2 --min-mtu 1400 "
            "--no-loop -t 5 --wait 0.5 --retries 7 --confirm 3 --rate 9 --payload empty -p 53,54 -4 -i lo --engine "
            "recverr"
        ).split()
    )
    first, second = fake.asks
    assert Settings(5, 0.5, 7, 3, 9, "recverr") == fake.settings
    assert ((range(53, 54), range(54, 55)), (range(99, 100),)) == (first.target.ports, second.target.ports)
    assert Probing("empty", 4, "lo") == first.probing == second.probing
    asked = first.expectation
    assert ("listening", CheckState.WARNING, "50", "@1:2", 1400, True) == (
        asked.expect,
        asked.silence,
        asked.warning.text,
        asked.critical.text,
        asked.min_mtu,
        asked.no_loop,
    )


def test_targets_of_a_file_follow_those_of_the_command_line(fake, tmp_path):
    (tmp_path / "c.toml").write_text('[[targets]]\ntarget = "192.0.2.9:9"\nexpect = "refused"\n')
    main(["check", "192.0.2.1:53", "--config", str(tmp_path / "c.toml")])
    assert [("192.0.2.1:53", "answered"), ("192.0.2.9:9", "refused")] == [
        (each.name, each.expectation.expect) for each in fake.asks
    ]


@pytest.mark.parametrize(("state", "status"), [("OK", 0), ("WARNING", 1), ("CRITICAL", 2), ("UNKNOWN", 3)])
@pytest.mark.parametrize("words", [[], ["--format", "json"], ["--format", "junit"]])
def test_the_state_is_the_exit_status_in_every_format(fake, state, status, words):
    fake.checks = (FINE, replace(FINE, state=state))
    assert status == main(["check", "192.0.2.1:53", *words])


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "name a target, or a file of them with --config"),
        (["192.0.2.1"], "has no port"),
        (["192.0.2.1:53", "--expect", "up"], "up"),
        (["192.0.2.1:53", "-w", "x"], "'x' is not a range"),
        (["--foo"], "No such option"),
        (["192.0.2.1:53", "--config", "/none.toml"], "cannot read /none.toml"),
        (["192.0.2.1:53", "-o", "/none/x"], "cannot write /none/x"),
        (["192.0.2.1:53", "-t", "0"], "-t"),
    ],
)
def test_usage_errors_are_unknown_in_one_line(capsys, words, said):
    assert 3 == main(["check", *words])
    out, err = capsys.readouterr()
    assert ("", 1, True) == (err, out.count("\n"), out.startswith("UDPPROBE UNKNOWN - "))
    assert said in out


def test_an_impossible_check_is_unknown(fake, capsys):
    fake.error = UdpprobeError("no sockets | left\nat all")
    assert 3 == main(["check", "192.0.2.1:53"])
    assert ("UDPPROBE UNKNOWN - no sockets / left at all\n", "") == capsys.readouterr()
    fake.error = MemoryError()
    assert 3 == main(["check", "192.0.2.1:53"])
    assert "UDPPROBE UNKNOWN - out of memory\n" == capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["-h"], ["-V"], ["--version"]])
def test_help_and_version_do_not_count_as_ok(capsys, words):
    assert 3 == main(["check", *words])
    assert "udpprobe check" in capsys.readouterr().out


def test_ctrl_c_is_unknown_in_one_line(fake, capsys):
    fake.error = KeyboardInterrupt()
    assert 3 == main(["check", "192.0.2.1:53"])
    assert "UDPPROBE UNKNOWN - interrupted\n" == capsys.readouterr().out


@pytest.mark.parametrize("error", [KeyboardInterrupt(), UdpprobeError("no sockets"), MemoryError()])
@pytest.mark.parametrize("name", ["json", "ndjson", "junit", "prometheus", "table"])
def test_an_impossible_check_keeps_its_format(fake, capsys, name, error):
    fake.error = error
    assert 3 == main(["check", "--format", name, "192.0.2.1:53", "192.0.2.2:53"])
    out, err = capsys.readouterr()
    assert "" == err
    assert 2 == sum(out.count(f"192.0.2.{host}:53") > 0 for host in (1, 2))
    if name == "json":
        told = json.loads(out)
        assert (["UNKNOWN"] * 2, isinstance(error, KeyboardInterrupt)) == (
            [each["state"] for each in told["checks"]],
            told["interrupted"],
        )
    if name == "ndjson":
        assert ["check", "check", "summary"] == [json.loads(line)["kind"] for line in out.splitlines()]
    if name == "junit":
        assert 2 == len(ET.fromstring(out).findall(".//testcase"))
    assert (name == "prometheus") == out.startswith("# HELP")


def test_an_unreadable_file_of_targets_keeps_the_format(capsys, tmp_path):
    assert 3 == main(["check", "--format", "json", "--config", str(tmp_path / "gone.toml")])
    assert ["UNKNOWN"] == [each["state"] for each in json.loads(capsys.readouterr().out)["checks"]]


def test_a_crash_is_not_a_warning(fake, capsys):
    fake.error = KeyError("oops")
    assert 3 == main(["check", "192.0.2.1:53"])
    told = capsys.readouterr()
    assert "UDPPROBE UNKNOWN - a bug in udpprobe, please report it: KeyError('oops')\n" == told.out
    assert "Traceback" in told.err


def test_a_target_named_twice_is_checked_once(fake):
    main(["check", "192.0.2.1:53", "192.0.2.1:53", "192.0.2.2:53"])
    assert ["192.0.2.1:53", "192.0.2.2:53"] == [each.name for each in fake.asks]


@pytest.mark.parametrize(
    ("named", "status"),
    [("", 3), ('name = "office"', 0), ('name = "192.0.2.1:53"\n[[targets]]\ntarget = "192.0.2.2:53"', 3)],
)
def test_a_target_checked_in_two_ways_needs_two_names(fake, tmp_path, capsys, named, status):
    (tmp_path / "c.toml").write_text(f'[[targets]]\ntarget = "192.0.2.1:53"\nmin_mtu = 1400\n{named}')
    assert status == main(["check", "192.0.2.1:53", "--config", str(tmp_path / "c.toml")])
    assert (status == 3) == ("192.0.2.1:53 stands for 2 checks" in capsys.readouterr().out)
    assert (status == 0) == hasattr(fake, "asks")


@pytest.mark.usefixtures("fake")
def test_a_file_appears_whole(tmp_path):
    assert 0 == main(["check", "192.0.2.1:53", "--format", "json", "-o", str(tmp_path / "c.json")])
    assert "OK" == json.loads((tmp_path / "c.json").read_text())["state"]


def test_a_check_that_does_not_stop_is_abandoned_in_time():
    program = (
        "import socket, sys, time\n"
        "socket.getaddrinfo = lambda *_: time.sleep(60)\n"
        "from udpprobe.cli import main\n"
        "sys.exit(main(['check', '-t', '1', 'slow.example:53']))\n"
    )
    start_s = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=20, check=False)
    assert (3, "UDPPROBE UNKNOWN - timed out after 1 s: no DNS reply for slow.example\n", "") == (
        done.returncode,
        done.stdout,
        done.stderr,
    )
    assert time.monotonic() - start_s < 15  # not a minute


@pytest.mark.parametrize("option", ["--timeout", "--wait"])
@pytest.mark.parametrize("text", ["nan", "inf", "1e300"])
def test_a_time_limit_must_be_finite(capsys, option, text):
    assert 3 == main(["check", option, text, "192.0.2.1:53"])
    least = {"--timeout": "1", "--wait": "0.01"}[option]
    given = {"nan": "give a number"}.get(text, f"give {least} to 86400")
    assert f"UDPPROBE UNKNOWN - {option} {float(text)}: {given}\n" == capsys.readouterr().out


def test_an_invalid_rate_is_unknown_too(capsys):
    assert 3 == main(["check", "--rate", "nan", "192.0.2.1:53"])
    assert capsys.readouterr().out.startswith("UDPPROBE UNKNOWN - --rate nan")
