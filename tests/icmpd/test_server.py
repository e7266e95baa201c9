"""The daemon with hostile clients, and every defect of the book's daemon gone (kinds of sockets: test_peers)."""

import contextlib
import errno
import json
import os
import resource
import socket
import struct
import time
from itertools import count
from pathlib import Path

import pytest
from icmpd_world import lines, records
from serving import LOOPBACK, PATIENCE_S, descriptors, refusal, serving, udp_socket

from udpprobe.icmpd import peers
from udpprobe.icmpd import protocol as protocol_module
from udpprobe.icmpd import server as server_module
from udpprobe.icmpd.peers import Gate, close_foreign
from udpprobe.icmpd.server import MOST_TURNED_AWAY


@pytest.fixture
def served(tmp_path):
    with serving(tmp_path) as made:
        yield made


@pytest.fixture
def udp():
    with udp_socket() as made:
        yield made


@pytest.mark.parametrize("family", LOOPBACK)
def test_an_error_reaches_the_client_whose_datagram_it_was(served, family):
    with (
        udp_socket(family) as mine,
        udp_socket(family) as other,
        served.register(mine) as client,
        served.register(other) as another,
    ):
        served.refuse(mine)
        served.refuse(other)
        assert LOOPBACK[family] == records(client.recv(1000))[0][6]
        assert 1 == len(records(another.recv(1000)))


def test_an_unbound_socket_is_bound_and_its_descriptor_closed_at_once(served):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unbound:
        before = descriptors()
        with served.register(unbound):
            assert unbound.getsockname()[1] > 0
            assert before + 2 == descriptors()  # both ends of the connection


def test_json_comes_in_lines(served, udp):
    with served.hand_over(udp, byte=b"J") as client, client.makefile("rb") as said:
        assert "registered" == lines(said.readline())[0]["kind"]
        served.refuse(udp)
        assert "refused" == lines(said.readline())[0]["verdict"]


@pytest.mark.parametrize(
    "leave",
    [
        lambda client: client.close(),  # with an unread record: ECONNRESET at the other end
        lambda client: client.shutdown(socket.SHUT_RD),  # the next write is EPIPE
        lambda client: client.shutdown(socket.SHUT_RDWR),
        lambda client: client.send(b"garbage"),
    ],
    ids=["vanishes", "deaf", "shut-down", "garbage"],
)
def test_clients_may_leave_at_any_point(served, udp, leave):
    with served.register(udp) as stays, served.register(udp) as leaves:
        served.refuse(udp)
        served.until(lambda: served.status()["counts"].get("delivered") == 2)
        leave(leaves)
        served.refuse(udp, times=3)
        with contextlib.suppress(OSError):
            leaves.close()
        served.until(lambda: served.status()["clients"] == 1)
        served.refuse(udp)
        got = b""
        while len(got) < 5 * 144:
            got += stays.recv(4096)
        assert [9] * 5 == [each[5] for each in records(got)]


def test_a_client_may_leave_without_reading_its_answer(served, udp):
    for _ in range(20):
        served.hand_over(udp).close()
    with served.register(udp) as client:
        served.refuse(udp)
        assert 144 == len(client.recv(1000))


def test_a_client_that_does_not_read_does_not_affect_others(served, udp):
    with served.register(udp) as deaf, served.register(udp) as client:
        for _ in range(60):
            served.refuse(udp, times=100)
            assert 100 * 144 == sum(len(client.recv(144, socket.MSG_WAITALL)) for _ in range(100))
        counts = served.status()["counts"]
        assert counts["dropped"] > 0
        assert counts["delivered"] + counts["dropped"] == 12000
        waiting = served.status()["queued_bytes"]
        assert waiting <= (protocol_module.QUEUE_MESSAGES + 64) * 144
        for _ in range(counts["delivered"] - 6000):
            assert 1 == len(records(deaf.recv(144, socket.MSG_WAITALL)))
        assert 0 == served.status()["queued_bytes"]
        deaf.setblocking(False)
        with pytest.raises(BlockingIOError):
            deaf.recv(1)


def test_json_clients_learn_how_many_messages_the_kernel_dropped(served, udp):
    with served.hand_over(udp, byte=b"J") as client, client.makefile("rb") as said:
        assert "registered" == json.loads(said.readline())["kind"]
        served.errors.lost, served.errors.is_full = 7, True
        served.refuse(udp)
        assert {"kind": "missed", "count": 7} == next(each for each in map(json.loads, said) if each["kind"] != "error")
        served.refuse(udp)
        assert "error" == json.loads(said.readline())["kind"]


def test_registering_a_socket_repeatedly_does_not_delay_others(served, udp, monkeypatch):
    monkeypatch.setattr(server_module, "MOST_MATCHED", 30)
    with contextlib.ExitStack() as opened, udp_socket() as mine:
        for _ in range(20):
            opened.enter_context(served.register(udp))
        client = opened.enter_context(served.register(mine))
        served.refuse(udp)
        served.refuse(mine)
        assert 144 == len(client.recv(1000))
        assert [1, 1] == served.errors.asked_for


def test_a_reader_of_144_bytes_always_gets_a_whole_record(served, udp):
    with served.register(udp) as client:
        for _ in range(30):
            served.refuse(udp, times=300)
            for _ in range(300):
                assert 1 == len(records(client.recv(144)))


@pytest.mark.parametrize("many", [0, 2, 5, 200])
def test_any_number_of_descriptors_but_one_is_refused_and_none_leaks(served, udp, many):
    before = descriptors()
    for _ in range(10):
        with served.hand_over(*[udp] * many) as client:
            assert (b"0", b"") == (client.recv(1), client.recv(1))
    served.until(lambda: served.status()["clients"] == 0)
    served.until(lambda: before == descriptors())
    name = "refused-too-many-descriptors" if many else "refused-no-descriptor"
    assert 10 == served.status()["counts"][name]


def test_five_bytes_and_a_socket_are_a_1_then_a_0_and_the_end(served, udp):
    with served.hand_over(udp, byte=b"12345") as client:
        assert (b"1", b"0", b"") == tuple(client.recv(1) for _ in range(3))


def test_a_second_socket_replaces_the_first(served, udp):
    with udp_socket() as second, served.register(udp) as client:
        socket.send_fds(client, [b"1"], [second.fileno()])
        assert b"1" == client.recv(1)
        served.errors.put(refusal(udp, 9), refusal(second, 53))
        assert [53] == [each[5] for each in records(client.recv(1000))]


def asked_until_blocked(client, udp):
    """How often that was."""
    with contextlib.suppress(BlockingIOError):
        for number in count():
            asked = number
            socket.send_fds(client, [b"J"], [udp.fileno()])
    return asked


def test_a_client_that_sends_without_reading_is_ignored(served, udp):
    with served.register(udp) as client:
        client.setblocking(False)
        while asked_until_blocked(client, udp):
            served.status()  # it had its turn, and
            served.status()  # another one
        assert served.status()["queued_bytes"] < 10_000
        with served.register(udp):
            assert 2 == served.status()["clients"]


def test_a_client_that_sends_nothing_is_refused_in_time(served, udp, monkeypatch):
    with served.register(udp), served.connect() as silent:
        monkeypatch.setattr(protocol_module, "HANDSHAKE_S", 0.0)
        assert (b"0", b"") == (silent.recv(1), silent.recv(1))
        assert 1 == served.status()["clients"]


def test_a_closed_udp_socket_gets_no_errors_of_the_next_owner_of_its_port(served):
    with udp_socket() as first, served.register(first) as client:
        port = first.getsockname()[1]
        first.close()
        with udp_socket(port=port) as stranger, served.register(stranger) as its_client:
            served.refuse(stranger)
            assert 144 == len(its_client.recv(1000))
            assert 1 == served.status()["counts"]["sockets-closed"]
            client.settimeout(0.05)
            with pytest.raises(TimeoutError):
                client.recv(1)


def test_sockets_that_share_a_port_are_all_alive(served):
    with contextlib.ExitStack() as opened:
        port, clients = 0, []
        for _ in range(4):
            udp = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            udp.bind(("127.0.0.1", port))
            port = udp.getsockname()[1]
            clients.append(opened.enter_context(served.register(udp)))
        served.refuse(udp)
        assert [144] * 4 == [len(client.recv(1000)) for client in clients]


@pytest.mark.parametrize("family", LOOPBACK)
def test_a_socket_connected_after_registration_gets_errors_of_its_peer(served, family):
    with udp_socket(family) as udp:
        udp.connect((LOOPBACK[family], 9))
        with served.register(udp) as client:
            served.errors.put(refusal(udp, 10))  # forged: it cannot have sent that
            udp.connect((LOOPBACK[family], 11))
            served.until(lambda: served.status()["counts"].get("foreign") == 1)
            served.errors.put(refusal(udp, 11))
            assert [11] == [port for *_, port, _, _ in records(client.recv(1000))]


def test_a_socket_that_shares_a_port_later_is_alive_too(served):
    with contextlib.ExitStack() as opened:
        port, clients = 0, []
        for to in range(1, 11):  # which of them the kernel prefers depends on where it was sent to
            udp = opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            udp.bind(("127.0.0.1", port))
            port = udp.getsockname()[1]
            clients.append(opened.enter_context(served.register(udp)))
            served.errors.put(refusal(udp, to))
            assert [144] * len(clients) == [len(client.recv(1000)) for client in clients]


def test_clients_beyond_the_limit_are_refused_with_a_reason(tmp_path, udp):
    with (
        serving(tmp_path, most_clients=2) as served,
        served.register(udp) as first,
        served.register(udp),
        served.hand_over(udp) as third,
    ):
        assert (b"0", b"") == (third.recv(1), third.recv(1))
        first.close()
        served.until(lambda: served.status()["clients"] == 1)
        with served.register(udp):
            assert 1 == served.status()["counts"]["refused-too-many-clients"]


def test_running_out_of_descriptors_does_not_end_the_daemon(served, udp):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with served.register(udp) as client, contextlib.ExitStack() as held:
        waiting = [held.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) for _ in range(5)]
        highest = max(int(each.name) for each in Path("/proc/self/fd").iterdir())
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    held.callback(os.close, os.dup(0))
            for each in waiting:
                each.connect(served.path)
                each.settimeout(PATIENCE_S)
            served.refuse(udp)
            assert 144 == len(client.recv(1000))
            assert [b""] * 5 == [each.recv(1) for each in waiting]
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert served.status()["counts"]["accept-failed"] >= 5


def test_a_user_without_permission_is_refused(tmp_path, udp):
    with serving(tmp_path, gate=Gate(frozenset())) as served, served.hand_over(udp) as client:
        # the superuser always may
        assert client.recv(1) == (b"0" if os.geteuid() else b"1")


@pytest.mark.parametrize("flags", [os.O_RDONLY, os.O_PATH])
def test_descriptors_of_no_sockets_do_not_leak(served, udp, tmp_path, flags):
    before = descriptors()
    (tmp_path / "file").touch()
    opened = os.open(tmp_path / "file", flags)
    for _ in range(20):
        with served.connect() as client:
            socket.send_fds(client, [b"1"], [opened])
            assert b"0" == client.recv(1)
    os.close(opened)
    served.until(lambda: before == descriptors())
    with served.register(udp):
        pass


@contextlib.contextmanager
def lingering():
    """A TCP socket whose last close waits for 30 s, as its peer does not read."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        made = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
        made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 30))
        made.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                made.send(bytes(1 << 20))
        try:
            yield made.detach()
        finally:
            peer.close()


@pytest.mark.parametrize(("gate", "copies"), [(True, 1), (True, 3), (False, 1)])
def test_a_lingering_socket_does_not_block_the_daemon(tmp_path, udp, monkeypatch, gate, copies):
    """Handed over by who may and by who may not; alone, as one of several, and left unread."""
    started_s = time.monotonic()
    with serving(tmp_path) as served, served.register(udp) as client, lingering() as tcp:
        monkeypatch.setattr(Gate, "admits", lambda *_: gate)
        with served.connect() as bad:
            socket.send_fds(bad, [b"12"], [tcp] * copies)
            with contextlib.suppress(BrokenPipeError):
                socket.send_fds(bad, [b"3"], [tcp] * copies)
            close_foreign(tcp)  # here, too, it may be the last one
            assert b"0" == bad.recv(1)
        served.refuse(udp)
        assert 144 == len(client.recv(1000))
    assert time.monotonic() - started_s < 10


@pytest.mark.slow
def test_ten_thousand_clients_are_served(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    many = min(10_000, (hard - 200) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    before = descriptors()
    try:
        with serving(tmp_path, most_clients=many) as served, udp_socket() as udp, contextlib.ExitStack() as opened:
            clients = [opened.enter_context(served.register(udp)) for _ in range(many)]
            with served.hand_over(udp) as late:
                assert b"0" == late.recv(1)
            served.refuse(udp)
            assert [144] * many == [len(client.recv(144)) for client in clients]
            opened.close()
            served.until(lambda: served.status()["clients"] == 0)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert before == descriptors()


# ---- no user can keep the others from the daemon: not by connections, and not by descriptors

SOMEBODY = (1, 4711, 4711)


def is_over(client):
    client.settimeout(0.05)
    try:
        return client.recv(1) == b""
    except TimeoutError:
        return False


def test_only_some_unpermitted_clients_are_waited_for(tmp_path, monkeypatch):
    monkeypatch.setattr(peers, "credentials", lambda _: SOMEBODY)
    with serving(tmp_path, gate=Gate(frozenset())) as served, contextlib.ExitStack() as opened:
        silent = [opened.enter_context(served.connect()) for _ in range(MOST_TURNED_AWAY + 3)]
        served.until(lambda: served.status()["counts"].get("refused-not-permitted") == 3)
        assert [False] * MOST_TURNED_AWAY + [True] * 3 == list(map(is_over, silent))
        silent[0].sendall(b"1")
        silent[0].settimeout(PATIENCE_S)
        assert (b"0", b"") == (silent[0].recv(1), silent[0].recv(1))
        assert not is_over(opened.enter_context(served.connect()))


def test_no_user_gets_more_than_half_of_the_places(tmp_path, monkeypatch):
    with (
        serving(tmp_path, gate=Gate(frozenset(), everybody=True), most_clients=4) as served,
        udp_socket() as udp,
        contextlib.ExitStack() as opened,
    ):
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


def test_losing_the_spare_descriptor_does_not_end_the_daemon(tmp_path, monkeypatch, no_descriptor_left):
    def taken(*_):
        raise OSError(errno.ENFILE, "too many open files in system")

    with (
        serving(tmp_path) as served,
        udp_socket() as udp,
        served.register(udp) as client,
        socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as late,
    ):
        no_descriptor_left()
        with monkeypatch.context() as patched:
            patched.setattr(server_module.os, "open", taken)
            late.connect(served.path)
            served.until(lambda: "accept-failed" in served.status()["counts"])
            served.refuse(udp)
            assert 144 == len(client.recv(1000))
