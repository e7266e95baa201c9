"""The daemon as a program, and clients of it in a namespace of the network."""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from network import CannotRun

UDPPROBE = [sys.executable, "-m", "udpprobe"]
PATIENCE_S = 15
IP_PMTUDISC_PROBE, IP_MTU_DISCOVER, IPV6_MTU_DISCOVER = 3, 10, 23


class Daemon:
    """One under way."""

    def __init__(self, path, words, *, before=(), **how):
        self.path = str(path)
        self.process = subprocess.Popen([*before, *UDPPROBE, "icmpd", *words], stderr=subprocess.PIPE, text=True, **how)
        self.first_line = self.process.stderr.readline()
        if self.process.poll() or "CAP_NET_RAW" in self.first_line:
            self.process.wait(PATIENCE_S)
            raise CannotRun(self.first_line)

    def wait_for_path(self):
        deadline_s = time.monotonic() + PATIENCE_S
        while not Path(self.path).exists():
            assert time.monotonic() < deadline_s
            time.sleep(0.01)

    def end(self, how=signal.SIGTERM):
        """Its exit status, and what it said last."""
        self.process.send_signal(how)
        _, said = self.process.communicate(timeout=PATIENCE_S)
        return self.process.returncode, said


@contextlib.contextmanager
def daemon(path, *words, **how):
    made = Daemon(path, ["--socket", str(path), *words], **how)
    try:
        made.wait_for_path()
        yield made
    finally:
        if made.process.poll() is None:
            made.end(signal.SIGKILL)


def hand_over(path, udp, byte=b"1"):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(PATIENCE_S)
    client.connect(str(path))
    socket.send_fds(client, [byte], [udp.fileno()])
    return client


def register(path, udp):
    client = hand_over(path, udp)
    assert client.recv(1) == b"1"
    return client


def unfragmented(udp):
    """Let the kernel neither fragment nor heed what it learnt of the path."""
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IP_PMTUDISC_PROBE)
    else:
        udp.setsockopt(socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
    return udp


def with_hops(udp, hops):
    if udp.family == socket.AF_INET6:
        udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, hops)
    else:
        udp.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, hops)
    return udp


def status_of(process, name):
    """A line of /proc/PID/status."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return next(line.split()[1:] for line in lines if line.startswith(name + ":"))
