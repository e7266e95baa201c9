"""The demo: what it says of an output stands in that output, and it says which of its two ways it took."""

import re
import subprocess
import sys

import pytest

from udpprobe.cli import demo, main


def parts(text):
    """What is printed about each step: its output and its explanation, as one line."""
    return [" ".join(part.split()) for part in re.split(r"^\d\. ", text, flags=re.MULTILINE)[1:]]


def test_captures_are_analysed_and_the_reason_is_given():
    done = subprocess.run(
        [sys.executable, "-m", "udpprobe", "demo", "--captures"], capture_output=True, text=True, check=True
    )
    assert "which are analyzed instead: --captures was given." in " ".join(done.stdout.split())
    firewall, loop, narrow = parts(done.stdout)
    for destination in ("198.18.9.9", "[2001:db8:9::9]"):
        assert f"{destination}:60 rejected 1 of 1" in firewall
        assert f"{destination}:20 prohibited 1 of 1" in firewall
        assert f"{destination}:53 answered" in firewall
        assert f"{destination}:53 loop" in loop
        assert f"{destination}:53 too-big" in narrow


@pytest.mark.parametrize(
    ("status", "stderr", "reason"),
    [
        (3, "udpprobe: cannot open /dev/net/tun: be root\n", "cannot open /dev/net/tun: be root"),
        (0, "", ""),
    ],
)
def test_the_demo_follows_the_status_of_the_lab(status, stderr, reason, monkeypatch):
    monkeypatch.setattr(demo.subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], status, None, stderr))
    assert reason == demo.why_no_lab()


def test_without_a_lab_the_demo_says_why(monkeypatch, capfd):
    monkeypatch.setattr(demo, "why_no_lab", lambda: "cannot open /dev/net/tun: be root")
    assert 0 == main(["demo"])
    assert "which are analyzed instead: cannot open /dev/net/tun: be root." in " ".join(capfd.readouterr().out.split())


def test_a_closed_standard_output_is_one_line_and_status_3():
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" -m udpprobe demo --captures >&-', sys.executable],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (3, "udpprobe: standard output is closed, and the demo writes nowhere else\n") == (
        done.returncode,
        done.stderr,
    )
