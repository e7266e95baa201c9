"""The daemon as a program: its privileges, its signals, systemd, its counters, and a soak."""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from icmpd_daemon import PATIENCE_S, UDPPROBE, daemon, hand_over, register, status_of
from network import CannotRun, require

from udpprobe.cli import main

pytestmark = [pytest.mark.live, pytest.mark.slow, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]
NOBODY = "nobody"
SETPRIV = ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]


@pytest.fixture
def start():
    """Starts daemons; without the privilege, there is nothing to test."""
    with contextlib.ExitStack() as running:

        def started(*words, **how):
            try:
                return running.enter_context(daemon(*words, **how))
            except CannotRun as reason:
                pytest.skip(str(reason))

        yield started


@pytest.fixture
def path(tmp_path):
    tmp_path.chmod(0o755)
    return tmp_path / "socket"


@pytest.fixture
def udp():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        yield made


def refused(udp, client):
    """Send where nobody listens, and hear of it."""
    udp.sendto(b"x", ("127.0.0.1", 9))
    return client.recv(144, socket.MSG_WAITALL)


def test_the_daemon_drops_privileges_and_still_receives_errors(start, path, udp):
    started = start(path, "--allow-user", "*", "--user", NOBODY)
    with register(path, udp) as client:
        assert 144 == len(refused(udp, client))
    nobody = str(pwd.getpwnam(NOBODY).pw_uid)
    assert [nobody] * 4 == status_of(started.process, "Uid")
    for capabilities in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert 0 == int(status_of(started.process, capabilities)[0], 16)
    assert ["1"] == status_of(started.process, "NoNewPrivs")


def test_the_superuser_without_user_option_gives_up_capabilities_too(start, path, udp):
    started = start(path)
    assert 0 == int(status_of(started.process, "CapEff")[0], 16)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    with register(path, udp) as client:
        assert 144 == len(refused(udp, client))


@pytest.mark.parametrize(("how", "status"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_the_daemon_stops_cleanly_and_reports_its_counters(start, path, udp, how, status):
    started = start(path)
    with register(path, udp) as client:
        refused(udp, client)
        ended, said = started.end(how)
        assert b"" == client.recv(1)
    assert (status, False) == (ended, path.exists())
    assert "delivered=1" in said.splitlines()[-1]


def test_sighup_reports_the_counters_and_continues(start, path, udp):
    started = start(path)
    with register(path, udp) as client:
        started.process.send_signal(signal.SIGHUP)
        assert "1 clients, 1 sockets; " in started.process.stderr.readline()
        assert 144 == len(refused(udp, client))


def test_an_unread_log_does_not_end_the_daemon(start, path, udp):
    started = start(path)
    started.process.stderr.close()
    with register(path, udp) as client:
        started.process.send_signal(signal.SIGHUP)
        assert 144 == len(refused(udp, client))
    started.process.send_signal(signal.SIGTERM)
    assert 0 == started.process.wait(PATIENCE_S)


def test_a_user_may_be_named_by_number(start, path):
    number = pwd.getpwnam(NOBODY).pw_uid
    assert [str(number)] * 4 == status_of(start(path, "--user", str(number)).process, "Uid")


@contextlib.contextmanager
def somebody_else():
    os.seteuid(pwd.getpwnam(NOBODY).pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize(
    ("words", "answer"), [(["--mode", "666"], b"0"), (["--allow-user", NOBODY], b"1"), (["--allow-user", "*"], b"1")]
)
def test_a_user_without_permission_is_refused(start, words, answer):
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        start(Path(directory) / "socket", *words)
        with (
            somebody_else(),
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp,
            hand_over(Path(directory) / "socket", udp) as client,
        ):
            assert answer == client.recv(1)


@pytest.mark.parametrize("output_format", ["table", "json", "ndjson", "csv", "markdown"])
def test_status_shows_the_counters(start, path, udp, capsys, output_format):
    start(path)
    with register(path, udp) as client:
        refused(udp, client)
        assert 0 == main(["icmpd", "status", "--socket", str(path), "--format", output_format])
    said = capsys.readouterr().out
    if "json" in output_format:
        assert (2, 1, 1) == (
            *(json.loads(said)[name] for name in ("clients", "sockets")),
            json.loads(said)["counts"]["delivered"],
        )
    else:
        assert "delivered" in said


def test_a_socket_from_systemd_is_served_and_systemd_is_notified(path, tmp_path, udp):
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(PATIENCE_S)
        listener.bind(str(path))
        listener.listen()
        command = f"LISTEN_PID=$$ exec {sys.executable} -m udpprobe icmpd 3<&{listener.fileno()}"
        environment = {**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(tmp_path / "notify")}
        with subprocess.Popen(
            ["bash", "-c", command], env=environment, pass_fds=[listener.fileno()], stderr=subprocess.PIPE, text=True
        ) as process:
            if "CAP_NET_RAW" in process.stderr.readline():
                pytest.skip("needs CAP_NET_RAW")
            assert b"READY=1" == systemd.recv(100)
            with register(path, udp) as client:
                assert 144 == len(refused(udp, client))
                process.terminate()
                assert b"STOPPING=1" == systemd.recv(100)
            assert 0 == process.wait(PATIENCE_S)
        assert path.exists()  # it is systemd's


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--user", "nosuch"], 2, "no user 'nosuch'"),
        (["--mode", "999"], 2, "is not a file mode"),
        (["--mode", "1777"], 2, "is not a file mode"),
        (["--allow-group", "nosuch"], 2, "no group 'nosuch'"),
        (["--socket", "/dev/null"], 3, "/dev/null exists and is not a socket"),
        (["status", "--socket", "/no/such"], 3, "no icmpd at /no/such"),
    ],
)
def test_an_impossible_task_is_reported_in_one_line(capsys, words, status, said):
    assert status == main(["icmpd", *words])
    told = capsys.readouterr().err
    assert said in told
    assert 1 == told.count("\n")


def test_without_privilege_it_says_what_would_help(path):
    require(SETPRIV[0])
    done = subprocess.run([*SETPRIV, *UDPPROBE, "icmpd", "--socket", path], capture_output=True, text=True, check=False)
    assert 3 == done.returncode
    assert "CAP_NET_RAW" in done.stderr
    assert 1 == done.stderr.count("\n")


def test_a_second_daemon_does_not_steal_the_name(start, path, udp):
    start(path)
    done = subprocess.run([*UDPPROBE, "icmpd", "--socket", path], capture_output=True, text=True, check=False)
    assert (3, 1) == (done.returncode, done.stderr.count("\n"))
    with register(path, udp) as client:
        assert 144 == len(refused(udp, client))


def test_a_soak_of_many_errors_with_clients_coming_and_going_loses_and_leaks_nothing(start, path, udp):
    started = start(path, "--queue", "100000")
    descriptors = Path(f"/proc/{started.process.pid}/fd")
    rounds, burst = 100, 300
    with register(path, udp) as client:
        udp.settimeout(PATIENCE_S)
        before = len(list(descriptors.iterdir()))
        for each in range(rounds):
            passing = [hand_over(path, udp, byte) for byte in (b"1", b"J", b"?")]
            for _ in range(burst):
                udp.sendto(b"x", ("127.0.0.1", 9))
            for other in passing[: each % 4]:
                other.close()
            assert burst == sum(client.recv(144, socket.MSG_WAITALL)[16:20] == b"\2\0\0\t" for _ in range(burst))
            for other in passing:
                other.close()
        status = json.loads(
            subprocess.run(
                [*UDPPROBE, "icmpd", "status", "--format", "json", "--socket", path], capture_output=True, check=True
            ).stdout
        )
        counts = status["counts"]  # errors of other programs of this host are foreign
        assert (0, rounds * burst) == (counts["kernel-dropped"], counts["errors"] - counts["foreign"])
        assert before == len(list(descriptors.iterdir()))
