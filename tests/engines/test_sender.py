"""Sending, on the loopback interface and with ordinary sockets where privilege is not needed."""

from __future__ import annotations

import errno
import os
import socket
import struct
from array import array

import pytest
from engine_probes import crafted_for, data_of

from udpprobe.core.probe import Batch
from udpprobe.engines.raw import RawSender
from udpprobe.errors import PrivilegeError, UdpprobeError
from udpprobe.linux import sendmmsg
from udpprobe.linux.hostfacts import has_net_raw
from udpprobe.linux.sendmmsg import CHUNK, Messages

NAME = struct.pack("@H2x4s8x", socket.AF_INET, socket.inet_aton("127.0.0.1"))
"""struct sockaddr_in without a port."""
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
SO_RCVBUFFORCE = 33
DOMAINS = {4: socket.AF_INET, 6: socket.AF_INET6}
privileged = pytest.mark.skipif(not has_net_raw(), reason="raw sockets need CAP_NET_RAW")


@pytest.fixture
def receiver():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.bind(("127.0.0.1", 0))
        opened.settimeout(2)
        yield opened


@pytest.fixture
def plain():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        yield opened


def messages_to(ports):
    """Messages to ports of the loopback address, for an ordinary UDP socket: its bytes are the payload."""
    made, batch = Messages(NAME), Batch(len(ports), 64)
    memoryview(batch.packets)[:] = os.urandom(64 * len(ports))
    for row, port in enumerate(ports):
        struct.pack_into("!H", made.names, row * len(NAME) + 2, port)
        batch.length[row] = row % 64
    made.put(batch, array("I", range(len(ports))))
    return made, batch


def test_messages_arrive_in_order_each_with_its_length(receiver, plain):
    messages, batch = messages_to([receiver.getsockname()[1]] * 5)
    assert [0] * 5 == messages.send(plain, 5)
    assert [bytes(batch.packets[64 * row : 65 * row]) for row in range(5)] == [receiver.recv(100) for _ in range(5)]


def test_a_refused_message_has_its_errno_and_the_rest_leaves(receiver, plain):
    port = receiver.getsockname()[1]
    messages, _ = messages_to([0, port, port, 0, 0, port, 0])
    refused = errno.EINVAL  # port 0
    assert [refused, 0, 0, refused, refused, 0, refused] == messages.send(plain, 7)
    assert [1, 2, 5] == [len(receiver.recv(100)) for _ in range(3)]


def test_only_the_requested_pieces_are_sent(receiver, plain):
    messages, batch = messages_to([receiver.getsockname()[1]] * 9)
    messages.put(batch, array("I", [7, 2]))
    assert [0, 0] == messages.send(plain, 2)
    assert [7, 2] == [len(receiver.recv(100)) for _ in range(2)]


class Refusing(Messages):
    """Gives what the kernel would say, one word a call."""

    def __init__(self, *words):
        super().__init__(NAME)
        self.words = list(words)
        self.asked = []

    def _send_some(self, opened, done, count):  # noqa: ARG002  the kernel is played
        self.asked.append(done)
        return self.words.pop(0)


def test_sending_waits_for_a_full_queue_and_survives_a_signal(monkeypatch, plain):
    waits, leaving = [], []
    played = Refusing((1, 0), (-1, errno.ENOBUFS), (-1, errno.EINTR), (-1, errno.EAGAIN), (2, 0))
    monkeypatch.setattr(played.stopped, "wait", waits.append)
    assert [0, 0, 0] == played.send(plain, 3, leaving.append)
    assert [0, 1, 1, 1] == leaving  # what had to wait leaves later than the first
    assert [0, 1, 1, 1, 1] == played.asked
    assert [sendmmsg.WAIT_S, 2 * sendmmsg.WAIT_S] == waits


def test_a_queue_that_stays_full_loses_only_its_packet(monkeypatch, plain):
    waits = []
    full = [(-1, errno.ENOBUFS)] * 11  # packets that left nonetheless: some interfaces say so of what they dropped
    played = Refusing(*full, (1, 0))
    monkeypatch.setattr(played.stopped, "wait", waits.append)
    assert [errno.ENOBUFS, 0] == played.send(plain, 2)
    assert sendmmsg.PATIENCE_S == pytest.approx(sum(waits), rel=0.05)


def test_what_is_stopped_while_the_queue_is_full_is_cancelled(monkeypatch, plain):
    played = Refusing((1, 0), (-1, errno.ENOBUFS))
    monkeypatch.setattr(played.stopped, "wait", lambda _: played.stopped.set())
    assert [0, errno.ECANCELED, errno.ECANCELED] == played.send(plain, 3)
    assert [errno.ECANCELED] == played.send(plain, 1)


@privileged
@pytest.mark.parametrize("family", [4, 6])
def test_probes_arrive_from_the_port_they_name(family):
    with socket.socket(DOMAINS[family], socket.SOCK_DGRAM) as opened, RawSender() as sending:
        opened.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4 << 20)  # nobody reads while they are sent
        opened.bind((LOOPBACK[family], 0))
        opened.settimeout(2)
        n = CHUNK + 3
        batch, count, zones = crafted_for([LOOPBACK[family]] * n, [opened.getsockname()[1]] * n, source_port=40123)
        assert [] == sending.send(batch, count, zones)
        heard = [opened.recvfrom(100) for _ in range(n)]
    assert [data_of(batch, row) for row in range(n)] == [data for data, _ in heard]
    assert {(LOOPBACK[family], 40123)} == {address[:2] for _, address in heard}


@privileged
def test_sending_nothing_succeeds():
    batch, _, zones = crafted_for(["127.0.0.1"], [9])
    with RawSender() as sending:
        assert [] == sending.send(batch, 0, zones)


def test_an_unknown_interface_is_named():
    with pytest.raises(UdpprobeError, match="no interface 'none0'"):
        RawSender(interface="none0")


@privileged
def test_without_privilege_the_error_names_the_missing_one():
    crafted = crafted_for(["127.0.0.1"], [9])
    child = os.fork()
    if not child:
        os.setuid(65534)
        try:
            RawSender().send(*crafted)
        except PrivilegeError as error:
            os._exit(0 if "CAP_NET_RAW" in str(error) else 1)
        os._exit(2)
    assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
