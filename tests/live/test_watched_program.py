"""`udpprobe watch -- COMMAND`: what a program's sockets were told, and the exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from network import Network, address
from record import play
from scanning import UDPPROBE, UNLIMITED

pytestmark = [pytest.mark.live, pytest.mark.slow]

PROGRAM = f"{sys.executable} {Path(__file__).with_name('program.py')}"
HOSTS = address(4, 1, 2), address(6, 1, 2)
FOUND = {"unconnected": (3, 0, 3, 0), "connected": (1, 1, 0, 0), "ignoring": (3, 3, 0, 2), "orphan": (3, 0, 3, 0)}
"""Errors; of those: told, blind, ignored."""


@pytest.fixture(scope="module")
def network():
    with Network("client", "server") as made:
        play(made, [f"server: {UNLIMITED}"])
        yield made


def run(network, options, script):
    command = [*network.command(f"client: {UDPPROBE} watch {options} --"), "sh", "-c", script]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=180)


def test_each_socket_counts_errors_it_got_could_not_see_and_ignored(network, tmp_path):
    record, count = tmp_path / "record.pcapng", len(HOSTS) * sum(errors for errors, *_ in FOUND.values())
    started = "".join(f"{PROGRAM} {kind} {host} 7 {record} {count} & " for kind in FOUND for host in HOSTS)
    done = run(network, f"-i right -w {record} --format json --fail-on ignored,too-big", f"{started} wait; exit 5")
    ports = {(":" in host, int(port)): (kind, host) for kind, host, port in map(str.split, done.stdout.splitlines())}
    report, end = json.JSONDecoder().raw_decode(done.stderr)
    assert "udpprobe.program/1" == report["schema"]
    rows = {ports[":" in each["address"], each["port"]]: each for each in report["sockets"]}
    assert {(kind, host): found for kind, found in FOUND.items() for host in HOSTS} == {
        key: (each["errors"], each["told"], each["blind"], each["ignored"]) for key, each in rows.items()
    }
    assert {(0, 0, ("refused",))} == {
        (each["unknown"], each["too_big"], tuple(each["verdicts"])) for each in rows.values()
    }
    assert "\nudpprobe: --fail-on: found ignored\n" == done.stderr[end:]
    assert 1 == done.returncode


@pytest.mark.parametrize(("script", "status"), [("exit 5", 5), ("kill -9 $$", 137)])
def test_without_findings_the_exit_status_is_that_of_the_program(network, script, status, tmp_path):
    done = run(network, f"--fail-on blind,refused -o {tmp_path / 'report'}", f"echo own; {script}")
    assert (status, "own\n", "") == (done.returncode, done.stdout, done.stderr)
    assert "no ICMP errors" in (tmp_path / "report").read_text()
