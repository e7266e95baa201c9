"""Processes of this host: they die, they are stopped, and what they found is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import containers as c
import psutil
import pytest
from samples import parsed
from web_store import serving

from udpprobe import assembly, digest
from udpprobe.errors import CaptureError, UdpprobeError
from udpprobe.observe import Options, analyze
from udpprobe.sources.inputs import Inputs
from udpprobe.sources.piece import Piece
from udpprobe.sources.selection import Selection
from udpprobe.workers import Crew

WHOLE = digest.Ends(is_first=True, is_last=True)

S = 10**9


@pytest.fixture
def capture(tmp_path, monkeypatch):
    """A file of many pieces."""
    monkeypatch.setattr(assembly, "PIECE_BYTES", 5000)
    path = tmp_path / "capture"
    path.write_bytes(c.bytes_of_pcap([c.Frame(S + number, bytes(60)) for number in range(1000)]))
    return Inputs.of(str(path))


def told(inputs, workers):
    return parsed(analyze(inputs, Options(all_destinations=True), workers=workers))


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_once(mark):
    if not Path(mark).exists():
        Path(mark).touch()
        die()
    return "survived"


def fail():
    raise CaptureError("cannot be read")


def digest_or_die(piece, task, ends):
    if piece.first > 20_000:
        die_once(f"{piece.name}.mark")
    return digest.digest(piece, task, ends)


def never():
    """What nobody looks at in between."""


@pytest.mark.parametrize("workers", [2, 3])
def test_processes_report_what_one_does(capture, workers):
    assert told(capture, 1) == told(capture, workers)


def test_processes_read_a_url_side_by_side(capture):
    (path,) = capture.files
    with serving({"/capture": Path(path).read_bytes()}) as (base, _):
        told_of_url = told(Inputs.of(f"{base}/capture"), 2)

    assert {**told(capture, 1)["source"], "name": f"{base}/capture"} == told_of_url["source"]


def test_what_a_process_that_died_was_at_is_done_once_more(tmp_path):
    with Crew(2) as crew:
        jobs = [crew.give(die_once, str(tmp_path / "mark")), *(crew.give(abs, -number) for number in range(9))]
        assert ["survived", *range(9)] == [crew.result(job, never) for job in jobs]


def test_a_process_that_dies_twice_is_an_error_that_says_so():
    with Crew(2) as crew, pytest.raises(UdpprobeError, match="a worker process died twice"):
        crew.result(crew.give(die), never)


def test_an_error_in_a_process_is_the_error_here():
    with Crew(1) as crew:
        with pytest.raises(CaptureError, match="cannot be read"):
            crew.result(crew.give(fail), never)
        assert 5 == crew.result(crew.give(abs, -5), never)


def test_a_forgotten_job_is_not_done_again(tmp_path):
    with Crew(1) as crew:
        crew.forget(crew.give(die))
        assert "survived" == crew.result(crew.give(die_once, str(tmp_path)), never)


def test_a_report_survives_a_process_killed_in_the_middle(capture, monkeypatch):
    expected = told(capture, 1)
    monkeypatch.setattr(assembly, "digest", digest_or_die)

    assert (expected, True) == (told(capture, 2), Path(f"{capture.name}.mark").exists())


def test_a_piece_is_ended_early_once_all_are_stopped(capture):
    task = digest.Task(Selection())
    with Crew(1) as crew:
        crew.stop()
        found = crew.result(crew.give(digest.digest, Piece(*capture.files), task, WHOLE), never)

    assert (True, False) == (found.is_partial, found.state.cut_short)


SLOW = """
import sys, time
from udpprobe import assembly, digest, workers
from udpprobe.__main__ import run
from udpprobe.core.following.part import Part
feed = Part.feed
def slowly(part, batch):
    time.sleep(1)
    feed(part, batch)
Part.feed = slowly
assembly.PIECE_BYTES, workers.Crew.most_grain = 5000, 1
sys.exit(run())
"""


def test_no_process_outlives_the_one_that_forked_it(capture):
    (path,) = capture.files
    process = subprocess.Popen([sys.executable, "-c", SLOW, "analyze", path, "--workers", "2"],
                               stdout=subprocess.DEVNULL)
    children = both_children(process)
    process.kill()
    process.wait(10)
    until_s = time.monotonic() + 10
    while time.monotonic() < until_s and any(map(is_alive, children)):
        time.sleep(0.05)

    assert [False, False] == [is_alive(child) for child in children]


def both_children(process):
    """Of a process that gives work to two, once they are there."""
    while len(children := psutil.Process(process.pid).children()) < 2:
        time.sleep(0.05)
    return children


def is_alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("to_all", [True, False])
def test_ctrl_c_ends_all_processes_and_tells_what_is_known(capture, to_all):
    """As the terminal sends it, to all; and to the one process that a person knows of."""
    (path,) = capture.files
    process = subprocess.Popen([sys.executable, "-c", SLOW, "analyze", path, "--workers", "2", "--format", "json"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    both_children(process)
    time.sleep(1)       # they are in the middle of a piece
    (os.killpg if to_all else os.kill)(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=30)

    assert (130, "") == (process.returncode, err)
    assert '"packets":' in out
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)
