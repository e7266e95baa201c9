"""The socket file: safe, replaced only where nobody listens, removed only if it is ours."""

import contextlib
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from udpprobe.errors import UdpprobeError
from udpprobe.icmpd.daemon import default_path, listen, notify, passed

KEEP = (-1, -1)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "socket"


def test_the_directory_is_created_and_the_mode_is_set(path):
    with contextlib.closing(listen(path, 0o640, KEEP)):
        assert (0o640, 0o755) == tuple(stat.S_IMODE(each.stat().st_mode) for each in (path, path.parent))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
    assert not path.exists()


def test_a_stale_socket_is_replaced(path):
    stale = listen(path, 0o600, KEEP)
    stale.socket.close()
    with contextlib.closing(listen(path, 0o600, KEEP)), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        stale.close()  # it was not its own any more
        assert path.exists()


def test_a_socket_in_use_is_left_alone(path):
    with contextlib.closing(listen(path, 0o600, KEEP)):
        with pytest.raises(UdpprobeError, match="another daemon listens"):
            listen(path, 0o600, KEEP)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))


@pytest.mark.parametrize(
    "make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("/nowhere")], ids=["file", "directory", "symlink"]
)
def test_anything_else_at_the_path_is_left_alone(tmp_path, make):
    path = tmp_path / "there"
    make(path)
    with pytest.raises(UdpprobeError, match="not a socket"):
        listen(path, 0o600, KEEP)
    assert os.path.lexists(path)


@pytest.mark.parametrize(("mode", "is_safe"), [(0o777, False), (0o775, False), (0o1777, True), (0o755, True)])
def test_a_directory_where_others_could_replace_the_socket_is_refused(tmp_path, mode, is_safe):
    directory = tmp_path / "shared"
    directory.mkdir()
    directory.chmod(mode)
    with contextlib.nullcontext() if is_safe else pytest.raises(UdpprobeError, match="others may write"):
        listen(directory / "socket", 0o600, KEEP).close()


def test_an_impossible_path_is_reported_in_one_line(tmp_path):
    with pytest.raises(UdpprobeError, match="cannot listen at"):
        listen(tmp_path / ("x" * 200), 0o600, KEEP)
    with pytest.raises(UdpprobeError, match="No such file"):
        listen(tmp_path / "no" / "such" / "place", 0o600, KEEP)


def test_the_usual_place_is_below_run(monkeypatch):
    assert Path("/run/udpprobe/icmpd.sock") == default_path({})
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert Path("/run/user/1000/udpprobe/icmpd.sock") == default_path({"XDG_RUNTIME_DIR": "/run/user/1000"})


ACTIVATED = """
import os, sys
from udpprobe.icmpd.daemon import passed
os.environ["LISTEN_PID"] = str(os.getpid())
given = passed(os.environ)
print(given.path, given.socket.getsockname(), os.get_inheritable(3))
"""


def activated(given):
    """What a process makes of a socket that it is started with as descriptor 3."""
    script = f'exec {sys.executable} -c "$1" 3<&{given.fileno()}'
    return subprocess.run(
        ["bash", "-c", script, "bash", ACTIVATED],
        env={**os.environ, "LISTEN_FDS": "1"},
        pass_fds=[given.fileno()],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_socket_that_systemd_opened_is_used_and_not_removed(path):
    with contextlib.closing(listen(path, 0o600, KEEP)) as listener:
        assert f"None {path} False\n" == activated(listener.socket).stdout


def test_a_passed_socket_must_be_listening():
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute:
        assert "is not a listening Unix stream socket" in activated(mute).stderr


def test_sockets_passed_to_another_process_are_ignored():
    assert passed({}) is None
    assert passed({"LISTEN_PID": "1", "LISTEN_FDS": "1"}) is None
    assert passed({"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "0"}) is None


@pytest.mark.parametrize("name", ["{}/notify", "@udpprobe-test-{}"])
def test_systemd_is_notified_by_a_datagram(tmp_path, name):
    name = name.format(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0") if name[0] == "@" else name)
        notify({"NOTIFY_SOCKET": name}, "READY=1")
        assert b"READY=1" == systemd.recv(100)


@pytest.mark.parametrize("name", ["", "vsock:1", "/no/such/socket"])
def test_without_systemd_notifying_does_nothing(name):
    notify({"NOTIFY_SOCKET": name}, "READY=1")
