"""The Python client, beside a server with made errors."""

import asyncio
import errno
import select
import socket
import threading
import time

import pytest
from builders import datagram, frag_needed
from serving import refusal, serving, udp_socket

from udpprobe.icmpd import client as client_module
from udpprobe.icmpd.client import Icmpd, IcmpdError


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path, queue_messages=5) as made:
        yield made


@pytest.fixture
def udp():
    with udp_socket() as made:
        yield made


def test_errors_come_by_iteration(served, udp):
    with Icmpd(udp, served.path) as errors:
        assert udp.getsockname()[1] == errors.registered["port"]
        sent = datagram("127.0.0.1", "192.0.2.1", udp.getsockname()[1], 7, b"x" * 1400)
        served.errors.put(refusal(udp), frag_needed(sent, 1280, "192.0.2.254"))
        each = iter(errors)
        refused, too_big = next(each), next(each)
    assert (("127.0.0.1", 9), "refused", errno.ECONNREFUSED) == (refused.destination, refused.verdict, refused.errno)
    assert (("192.0.2.1", 7), "too-big", 1280, "192.0.2.254") == (
        too_big.destination,
        too_big.verdict,
        too_big.mtu,
        too_big.reporter,
    )


def test_reading_pending_errors_does_not_wait(served, udp):
    with Icmpd(udp, served.path) as errors:
        assert [] == errors.pending()
        served.refuse(udp, times=3)
        select.select([errors], [], [], 5)
        assert 3 == len(errors.pending())


def test_the_end_of_the_daemon_ends_iteration(tmp_path, udp):
    with serving(tmp_path) as served:
        errors, others = Icmpd(udp, served.path), Icmpd(udp, served.path)
        served.refuse(udp)
        served.until(lambda: served.status()["counts"].get("delivered") == 2)
    with errors, others:
        assert 1 == len(list(errors))
        assert 1 == len(others.pending())
        with pytest.raises(IcmpdError, match="icmpd ended"):
            others.pending()


def test_a_closed_udp_socket_ends_iteration(served):
    with udp_socket() as udp:
        errors = Icmpd(udp, served.path)
        packet = refusal(udp)
    with errors:
        served.errors.put(packet)
        assert [] == list(errors)


def test_dropped_errors_are_counted(served, udp):
    with Icmpd(udp, served.path) as errors:
        served.refuse(udp, times=8)
        served.refuse(udp)
        got = []
        for error in errors:
            got.append(error)
            if len(got) == 6:
                break
        assert 3 == errors.dropped


def test_asyncio_gets_the_same_errors(served, udp):
    async def hear():
        with Icmpd(udp, served.path) as errors:
            served.refuse(udp, times=2)
            each = aiter(errors)
            found = [await asyncio.wait_for(anext(each), 5) for _ in range(2)]
            await each.aclose()
            return found

    assert ["refused", "refused"] == [error.verdict for error in asyncio.run(hear())]


@pytest.mark.parametrize("how", ["closed", "ended"])
def test_asyncio_iteration_ends_with_the_daemon(tmp_path, udp, how):
    async def hear(errors):
        return [error async for error in errors]

    with serving(tmp_path) as served:
        errors, packet = Icmpd(udp, served.path), refusal(udp)
        if how == "closed":
            udp.close()
        served.errors.put(packet)
        served.until(lambda: {"delivered", "sockets-closed"} & served.status()["counts"].keys())
    with errors:
        assert (how == "ended") == len(asyncio.run(hear(errors)))


def test_a_missing_daemon_or_udp_socket_is_reported_in_one_line(served, udp, tmp_path):
    with pytest.raises(IcmpdError, match="nowhere: No such file"):
        Icmpd(udp, str(tmp_path / "nowhere"))
    with socket.socket() as tcp, pytest.raises(IcmpdError, match="refuses the socket: not-udp"):
        Icmpd(tcp, served.path)


def test_a_place_in_a_full_backlog_is_waited_for(tmp_path, udp):
    path = str(tmp_path / "busy")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as busy, socket.socket(socket.AF_UNIX) as before:
        busy.bind(path)
        busy.listen(0)
        before.connect(path)

        def serve():
            time.sleep(0.2)
            busy.accept()[0].close()
            with busy.accept()[0] as accepted:
                accepted.recv(1)
                accepted.sendall(b'{"kind":"registered","socket":{"port":1}}\n')

        thread = threading.Thread(target=serve)
        thread.start()
        with Icmpd(udp, path) as errors:
            assert {"port": 1} == errors.registered
        thread.join()


def test_a_silent_daemon_is_not_waited_for_forever(tmp_path, udp):
    path = str(tmp_path / "mute")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mute:
        mute.bind(path)
        mute.listen()
        with pytest.raises(IcmpdError, match="no icmpd at"):
            Icmpd(udp, path, timeout_s=0.1)


def test_without_a_path_the_usual_one_is_used(udp, monkeypatch, served):
    monkeypatch.setattr(client_module, "DEFAULT_PATHS", ("/no/such", served.path))
    with Icmpd(udp) as errors:
        assert errors.fileno() >= 0
    monkeypatch.setattr(client_module, "DEFAULT_PATHS", ("/no/such",))
    with pytest.raises(IcmpdError, match="no icmpd at /no/such"):
        Icmpd(udp)
