"""No user can keep the others from the daemon: not by connections, and not by descriptors."""

import contextlib
import errno
import os
import resource
import socket
from pathlib import Path

import pytest
from serving import PATIENCE_S, serving, udp_socket

from udpprobe.icmpd import peers
from udpprobe.icmpd import server as server_module
from udpprobe.icmpd.peers import Gate
from udpprobe.icmpd.server import MOST_TURNED_AWAY

SOMEBODY = (1, 4711, 4711)


def is_over(client):
    client.settimeout(0.05)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False


def test_of_who_may_not_only_some_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "credentials", lambda _: SOMEBODY)
    with serving(tmp_path, gate=Gate(frozenset())) as served, contextlib.ExitStack() as opened:
        silent = [opened.enter_context(served.connect()) for _ in range(MOST_TURNED_AWAY + 3)]
        served.until(lambda: served.status()["counts"].get("refused-not-permitted") == 3)
        assert [False] * MOST_TURNED_AWAY + [True] * 3 == list(map(is_over, silent))
        silent[0].sendall(b"1")
        silent[0].settimeout(PATIENCE_S)
        assert (b"0", b"") == (silent[0].recv(1), silent[0].recv(1))
        assert not is_over(opened.enter_context(served.connect()))


def test_no_user_takes_more_than_half_of_the_places(tmp_path, monkeypatch):
    with serving(tmp_path, gate=Gate(frozenset(), everybody=True), most_clients=4) as served, udp_socket() as udp, \
            contextlib.ExitStack() as opened:
        monkeypatch.setattr(server_module, "credentials", lambda _: SOMEBODY)
        first, _ = (opened.enter_context(served.register(udp)) for _ in range(2))
        with served.hand_over(udp) as third:
            assert (b"0", b"") == (third.recv(1), third.recv(1))
        monkeypatch.undo()
        opened.enter_context(served.register(udp))
        first.close()
        served.until(lambda: served.status()["clients"] == 2)
        monkeypatch.setattr(server_module, "credentials", lambda _: SOMEBODY)
        opened.enter_context(served.register(udp))


@pytest.fixture
def no_descriptor_left():
    """None but the lowest ones, that are in use."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as held:
        def take():
            highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
            with contextlib.suppress(OSError):
                while True:
                    held.callback(os.close, os.dup(0))

        yield take
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_spare_descriptor_that_another_process_takes_is_not_the_end(tmp_path, monkeypatch, no_descriptor_left):
    def taken(*_):
        raise OSError(errno.ENFILE, "too many open files in system")

    with serving(tmp_path) as served, udp_socket() as udp, served.register(udp) as client, \
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as late:
        no_descriptor_left()
        with monkeypatch.context() as patched:
            patched.setattr(server_module.os, "open", taken)
            late.connect(served.path)
            served.until(lambda: "accept-failed" in served.status()["counts"])
            served.refuse(udp)
            assert 144 == len(client.recv(1000))
