"""A real Dask scheduler and real workers read captures, and report what one process does."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest
from bench.captures import make
from clusters import PATIENCE_S, cluster, s3_server
from distributed import Client

from udpprobe.capture.inputs import find_inputs
from udpprobe.cli import main
from udpprobe.commands import cluster as crews
from udpprobe.commands.analyze import AnalyzeOptions, Interrupted, analyze
from udpprobe.errors import CaptureError, UdpprobeError

pytestmark = pytest.mark.slow

PACKETS = 100_000
PIECE_BYTES = 1 << 19
"""Of a capture of 10 MB."""


@pytest.fixture(scope="module")
def capture(tmp_path_factory):
    path = tmp_path_factory.mktemp("captures") / "long.pcap"
    make(path, PACKETS, "s96", "pcap")
    return str(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    with s3_server(tmp_path_factory.mktemp("store")) as made:
        yield made


@pytest.fixture(scope="module")
def pair(tmp_path_factory, store):
    with cluster(tmp_path_factory.mktemp("cluster"), environment=store.environment) as made:
        yield made


@pytest.fixture(autouse=True)
def _many_pieces(monkeypatch):
    monkeypatch.setattr(crews, "MOST_PIECE_BYTES", PIECE_BYTES)


def _told(capsys, *words):
    status = main(["analyze", "--format", "json", *words])
    return status, capsys.readouterr().out


def _said(report):
    return report.source, list(report.destinations), list(report.unmatched), report.faults


def _left_at(made):
    """What a scheduler still has to do, or to keep."""
    with Client(made.address) as client:
        deadline_s = time.monotonic() + 5  # workers let go a little later
        while tasks := client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks)):
            if time.monotonic() > deadline_s:
                break
            time.sleep(0.05)
        return tasks


def _when(share, do):
    """A progress listener that does something once, when so much has been read."""

    def listen(state):
        if pending and state.done_bytes > share * (state.total_bytes or state.done_bytes + 1):
            pending.pop()()

    pending = [do]
    return listen


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--all", "--group-by", "flow"],
        ["--events"],
        ["--filter", "ip6"],
        ["--until", "2023-11-14T22:13:20.3Z"],
    ],
)
def test_a_cluster_gives_the_same_report_as_one_process(pair, capture, capsys, options):
    expected = _told(capsys, *options, "--workers", "1", capture)
    assert expected == _told(capsys, *options, "--cluster", pair.address, capture)
    assert [] == _left_at(pair)


def test_files_whose_times_overlap_are_read_together(pair, capture, tmp_path, capsys):
    again = shutil.copy(capture, tmp_path)
    expected = _told(capsys, "--workers", "1", capture, again)
    assert expected == _told(capsys, "--cluster", pair.address, capture, again)


def _forked():
    """Processes of the servers that this one has started."""
    return {worker for server in psutil.Process().children() for worker in server.children()}


def test_a_local_cluster_gives_the_same_report_and_is_gone_afterwards(capture, capsys):
    before, expected = _forked(), _told(capsys, "--workers", "1", capture)
    assert expected == _told(capsys, "--cluster", "local", "--workers", "2", capture)
    assert _forked() <= before  # their server stays, for others


def test_file_names_are_relative_to_the_client_s_directory(pair, capture, capsys, monkeypatch):
    monkeypatch.chdir(Path(capture).parent)
    status, out = _told(capsys, "--cluster", pair.address, "long.pcap")
    source = json.loads(out)["source"]
    assert (0, PACKETS, "long.pcap") == (status, source["packets"], source["name"])


def test_captures_in_an_object_store_are_read_in_pieces(pair, store, capture, capsys, monkeypatch):
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)
    store.put("captures", b"")
    store.put("captures/day/long.pcap", Path(capture).read_bytes())
    status, out = _told(capsys, "--cluster", pair.address, "s3://captures/day/*.pcap")
    assert _told(capsys, "--workers", "1", capture) == (status, out.replace("s3://captures/day/*.pcap", capture))
    assert store.ranges() > Path(capture).stat().st_size // PIECE_BYTES


def test_a_worker_that_is_killed_changes_nothing(capture, tmp_path):
    inputs, options = find_inputs([capture]), AnalyzeOptions()
    expected = analyze(inputs, options)
    with cluster(tmp_path) as made:
        victim = next(iter(made.workers.values()))
        found = analyze(inputs, options, cluster=made.address, on_progress=_when(0.4, victim.kill))
        victim.join(PATIENCE_S)
        assert -signal.SIGKILL == victim.exitcode
    assert _said(expected) == _said(found)


def test_a_piece_that_kills_workers_is_an_error_that_says_so(capture, tmp_path):
    with cluster(tmp_path, **{"distributed.scheduler.allowed-failures": 0}) as made:
        victim = next(iter(made.workers.values()))

        def strike():
            # asleep it surely has something to do by the time that it dies
            os.kill(victim.pid, signal.SIGSTOP)
            threading.Timer(1, victim.kill).start()

        with pytest.raises(CaptureError, match=r"workers died over it \(killed, or out of memory\?\)"):
            analyze(find_inputs([capture]), AnalyzeOptions(), cluster=made.address, on_progress=_when(0.2, strike))


@pytest.mark.parametrize("who", ["scheduler", "workers"])
def test_a_cluster_that_is_gone_is_an_error_that_says_so(capture, tmp_path, monkeypatch, who):
    monkeypatch.setattr("udpprobe.commands.cluster.ALONE_S", 1)
    monkeypatch.setattr("udpprobe.commands.cluster.CHECK_S", 0.2)
    with cluster(tmp_path) as made:
        victims = made.processes[:1] if who == "scheduler" else made.processes[1:]

        def kill():
            for victim in victims:
                victim.kill()

        with pytest.raises(UdpprobeError, match="the cluster lost its workers or its scheduler"):
            analyze(find_inputs([capture]), AnalyzeOptions(), cluster=made.address, on_progress=_when(0.2, kill))


def test_a_file_that_cannot_be_read_is_named_and_the_others_are_read(pair, capture, tmp_path, capsys):
    dangling = tmp_path / "link.pcap"
    dangling.symlink_to("missing.pcap")
    status, out = _told(capsys, "--cluster", pair.address, capture, str(dangling))
    source = json.loads(out)["source"]
    assert (3, PACKETS) == (status, source["packets"])
    assert [str(dangling)] == [each["name"] for each in source["unread"]]


def test_a_file_that_vanishes_while_it_is_read_is_named(pair, capture, tmp_path):
    (tmp_path / "later").mkdir()
    later = shutil.copy(capture, tmp_path / "later")
    found = analyze(
        find_inputs([capture, later], are_apart=True),
        AnalyzeOptions(),
        cluster=pair.address,
        on_progress=_when(0.1, Path(later).unlink),
    )
    assert [later] == [each.name for each in found.source.unread]
    assert "no such file" in found.source.unread[0].reason
    assert PACKETS == found.source.packets


def test_ctrl_c_reports_the_results_so_far_and_leaves_nothing_behind(pair, capture):
    whole = analyze(find_inputs([capture]), AnalyzeOptions())
    with pytest.raises(Interrupted) as caught:
        analyze(
            find_inputs([capture]),
            AnalyzeOptions(),
            cluster=pair.address,
            on_progress=_when(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)),
        )
    packets = caught.value.report.source.packets
    assert 0.3 * whole.source.packets < packets < whole.source.packets
    assert [] == _left_at(pair)
    assert _said(whole) == _said(analyze(find_inputs([capture]), AnalyzeOptions(), cluster=pair.address))


CTRL_C_FOR_ALL = """
import os, signal, sys
from udpprobe.commands import cluster
from udpprobe.commands.analyze import AnalyzeOptions, Interrupted, analyze
from udpprobe.capture.inputs import find_inputs

cluster.MOST_PIECE_BYTES = 1 << 18
strikes = [signal.SIGINT]     # a second one would end at once
def listen(state):
    if state.done_bytes > 1 << 22 and strikes:
        os.killpg(0, strikes.pop())
try:
    analyze(find_inputs(sys.argv[1:]), AnalyzeOptions(), cluster="local", workers=2, on_progress=listen)
except Interrupted as interrupted:
    print(interrupted.report.source.packets)
"""


def test_ctrl_c_at_a_terminal_does_not_reach_local_workers(capture):
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C_FOR_ALL, capture],
        capture_output=True,
        text=True,
        check=False,
        start_new_session=True,
        timeout=60,
    )
    assert (0, "") == (done.returncode, done.stderr)
    assert 0 < int(done.stdout) < PACKETS


@pytest.fixture
def blind(capture):
    """What makes a worker one that sees no capture."""
    if os.geteuid():
        pytest.skip("only root has mount namespaces")
    return ["unshare", "--mount", "sh", "-c", f'mount -t tmpfs none {Path(capture).parent} && exec "$@"', "sh"]


def test_a_file_that_no_worker_can_see_is_an_error_and_one_that_another_can_see_is_read(capture, blind, tmp_path):
    with cluster(tmp_path, workers=0) as made, made.hired(blind):
        with pytest.raises(CaptureError, match="no such file"):
            analyze(find_inputs([capture]), AnalyzeOptions(), cluster=made.address)
        made.add_worker()
        found = analyze(find_inputs([capture]), AnalyzeOptions(), cluster=made.address)
    assert _said(analyze(find_inputs([capture]), AnalyzeOptions())) == _said(found)
