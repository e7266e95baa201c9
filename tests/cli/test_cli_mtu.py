"""From words to the search, and from its report to text and exit status; the search is a fake."""

import json

import pytest
from msgspec.structs import asdict, replace
from samples import mtu_report

import udpprobe.commands.mtu
from udpprobe.cli import main
from udpprobe.commands.mtu import Measured
from udpprobe.errors import PrivilegeError

DEFAULTS = {
    "most": 0,
    "retries": 2,
    "timeout_s": 4,
    "rate_pps": 1000,
    "ttl": 64,
    "interface": None,
    "source_address": None,
    "source_port": 0,
    "payload": "auto",
    "control": True,
    "capture": "auto",
}
REPORT = mtu_report("127.0.0.1", source_address="127.0.0.1")


class FakeMtu:
    """In the search's place: remembers what it was asked, tells what the test prepared."""

    def __init__(self):
        self.report, self.interrupted, self.error, self.failure = REPORT, False, None, None

    def __call__(self, endpoint, options, on_progress):
        assert on_progress is None  # nobody looks
        self.endpoint, self.options = endpoint, options
        if self.error:
            raise self.error
        return Measured(self.report, self.interrupted, self.failure)


@pytest.fixture
def fake(monkeypatch):
    made = FakeMtu()
    monkeypatch.setattr(udpprobe.commands.mtu, "mtu", made)
    return made


def test_a_plain_target_is_searched_with_the_default_options(fake, capsys):
    assert 0 == main(["mtu", "127.0.0.1"])
    assert DEFAULTS == asdict(fake.options)
    assert 33434 == fake.endpoint.port
    assert "path MTU 1500, ok" in capsys.readouterr().out


def test_every_option_takes_effect(fake):
    assert 0 == main(
        (
            "mtu [::1]:53 --max 1400 --retries 5 --timeout 1.5 --rate 50 --ttl 9 -i lo --source-address ::1 "
            "--source-port 4000 --payload empty --no-control"
        ).split()
    )
    assert {
        "most": 1400,
        "retries": 5,
        "timeout_s": 1.5,
        "rate_pps": 50,
        "ttl": 9,
        "interface": "lo",
        "source_address": "::1",
        "source_port": 4000,
        "payload": "empty",
        "control": False,
        "capture": "auto",
    } == asdict(fake.options)
    assert "::1" == fake.endpoint.text
    assert 53 == fake.endpoint.port


@pytest.mark.usefixtures("fake")
def test_the_result_goes_to_a_file(tmp_path):
    assert 0 == main(["mtu", "127.0.0.1:53", "--format", "json", "-o", str(tmp_path / "mtu.json")])
    assert "udpprobe.mtu/1" == json.loads((tmp_path / "mtu.json").read_text())["schema"]


@pytest.mark.parametrize(
    ("verdict", "words", "status"),
    [
        ("black-hole", "black-hole", 1),
        ("too-big", "ok, too-big", 1),
        ("ok", "too-big,black-hole", 0),
        ("silent", "silent", 1),
    ],
)
def test_a_verdict_named_by_fail_on_fails(fake, verdict, words, status):
    fake.report = replace(REPORT, verdict=verdict)
    assert status == main(["mtu", "127.0.0.1", "--fail-on", words])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--fail-on", "ok,unsent"], "udpprobe: --fail-on: found unsent; but the answer is incomplete\n"),
        (["--fail-on", "ok"], ""),
        ([], ""),
    ],
)
def test_status_3_does_not_hide_verdicts_of_fail_on(fake, capsys, words, said):
    fake.report, fake.failure = replace(REPORT, verdict="unsent"), "there is no route to 127.0.0.1"
    assert 3 == main(["mtu", "127.0.0.1", *words])
    assert f"{said}udpprobe: there is no route to 127.0.0.1\n" == capsys.readouterr().err


def test_ctrl_c_shows_the_results_so_far(fake, capsys):
    fake.interrupted = True
    assert 130 == main(["mtu", "127.0.0.1"])
    assert "path MTU" in capsys.readouterr().out


def test_an_impossible_search_is_one_line(fake, capsys):
    fake.error = PrivilegeError("capturing needs CAP_NET_RAW")
    assert 3 == main(["mtu", "127.0.0.1"])
    assert "udpprobe: capturing needs CAP_NET_RAW\n" == capsys.readouterr().err


@pytest.mark.usefixtures("fake")
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["127.0.0.0/30"], "more than one destination"),
        (["127.0.0.1:53,54"], "more than one destination"),
        (["127.0.0.1", "--fail-on", "fine"], "'fine' is not a verdict; use ok, black-hole, refused"),
        (["127.0.0.1", "--max", "20"], "--max"),
        ([], "HOST:PORT"),
    ],
)
def test_usage_errors_are_one_line(capsys, words, said):
    assert 2 == main(["mtu", *words])
    error = capsys.readouterr().err
    assert 1 == error.count("\n")
    assert said in error
