"""A server in a thread, with a source of errors that the test fills: sockets are real, the network is not."""

from __future__ import annotations

import contextlib
import os
import queue
import socket
import threading
import time
from collections import Counter
from pathlib import Path

from builders import datagram, port_unreachable
from icmpd_world import arrived

from udpprobe.icmpd.peers import Gate
from udpprobe.icmpd.protocol import Protocol
from udpprobe.icmpd.server import Server

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}
PATIENCE_S = 30


class Errors:
    """In the place of a raw socket."""

    family = 4
    is_full = False

    def __init__(self):
        self.wake, self.woken = socket.socketpair()
        self.waiting = queue.SimpleQueue()
        self.lost, self.asked_for = 0, []

    def fileno(self):
        return self.woken.fileno()

    def dropped(self):
        return self.lost

    def close(self):
        self.wake.close()
        self.woken.close()

    def put(self, *packets):
        self.waiting.put(packets)
        self.wake.send(b"!")

    def receive(self, most):
        self.asked_for.append(most)
        self.woken.recv(1)
        return arrived(*self.waiting.get(), interface=0)

    def faults(self):
        return Counter()


class Served:
    """What a test needs of a running server."""

    def __init__(self, server, errors, path):
        self.server, self.errors, self.path = server, errors, path
        self._ask, self._asked = socket.socketpair()
        self._told = queue.SimpleQueue()
        server.watch(self._asked, self._tell)

    def connect(self):
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        made.settimeout(PATIENCE_S)
        made.connect(self.path)
        return made

    def hand_over(self, *handed, byte=b"1"):
        client = self.connect()
        socket.send_fds(client, [byte], [each.fileno() for each in handed])
        return client

    def register(self, udp):
        client = self.hand_over(udp)
        assert client.recv(1) == b"1"
        return client

    def refuse(self, udp, *, times=1):
        """Let errors arrive about datagrams of a socket."""
        self.errors.put(*[refusal(udp)] * times)

    def status(self):
        """As its thread sees it, which is done then with what it was at."""
        self._ask.send(b"!")
        return self._told.get(timeout=PATIENCE_S)

    def _tell(self):
        self._asked.recv(1)
        self._told.put(self.server.protocol.status())

    def close(self):
        self._ask.close()
        self._asked.close()

    def until(self, is_so):
        deadline_s = time.monotonic() + PATIENCE_S
        while not is_so():
            assert time.monotonic() < deadline_s, self.status()
            time.sleep(0.01)


def refusal(udp, port=9):
    source = LOOPBACK[udp.family]
    return port_unreachable(datagram(source, source, udp.getsockname()[1], port, b"hello"))


def udp_socket(family=socket.AF_INET, address=None, port=0):
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.bind((address or LOOPBACK[family], port))
    return made


def descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


@contextlib.contextmanager
def serving(tmp_path, *, most_clients=1000, gate=None, **options):
    errors, path = Errors(), str(tmp_path / "icmpd")
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(path)
    listener.listen(4096)
    server = Server(listener, [errors], gate or Gate(frozenset({os.geteuid()})), Protocol(**options), most_clients)
    wake, woken = socket.socketpair()
    server.watch(woken, server.stop)
    served = Served(server, errors, path)
    thread = threading.Thread(target=server.serve)
    thread.start()
    try:
        yield served
    finally:
        wake.send(b"!")
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
        server.close()
        for each in (errors, listener, wake, woken, served):
            each.close()
