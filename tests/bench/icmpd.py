"""`python -m tests.bench icmpd`: the daemon beside one in C of the book's kind, on loopback. Needs root and cc."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

SOURCE = Path(__file__).with_name("icmpd.c")
COLUMNS = ("clients", "daemon", "errors told", "a second", "a second of its CPU", "peak, MB")
NOBODY_LISTENS = ("127.0.0.1", 9)
RECORD_BYTES, QUIET_S, PATIENCE_S = 144, 1.5, 10
BURST = 250
"""Errors on their way at most: what is lost in the queues of the kernel says nothing about a daemon."""


@contextlib.contextmanager
def running(command: list[str], path: Path) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([*command, str(path)], stderr=subprocess.DEVNULL) as process:
        deadline_s = time.monotonic() + PATIENCE_S
        while not path.exists() and time.monotonic() < deadline_s:
            time.sleep(0.01)
        time.sleep(0.1)
        yield process
        process.terminate()
    path.unlink(missing_ok=True)


def register(path: Path) -> tuple[socket.socket, socket.socket]:
    udp, client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_UNIX)
    client.connect(str(path))
    socket.send_fds(client, [b"1"], [udp.fileno()])
    if client.recv(1) != b"1":
        raise SystemExit("the daemon does not take a socket")
    return udp, client


def latency_us(path: Path, times: int = 2000) -> float:
    """Median from the sending of a datagram to its record."""
    udp, client = register(path)
    spans = []
    for _ in range(times):
        start = time.perf_counter_ns()
        udp.sendto(b"x", NOBODY_LISTENS)
        client.recv(RECORD_BYTES)
        spans.append(time.perf_counter_ns() - start)
    return statistics.median(spans) / 1000


def told(path: Path, clients: int, errors: int) -> tuple[int, float]:
    """How many of so many errors clients were told, and in how many seconds."""
    pairs = [register(path) for _ in range(clients)]
    waiting = select.epoll()
    by_number = {client.fileno(): client for _, client in pairs}
    for number in by_number:
        waiting.register(number, select.EPOLLIN)
    start = last = time.perf_counter()
    sent = got = 0
    while got < errors * RECORD_BYTES:
        while sent < errors and sent - got // RECORD_BYTES < max(BURST, clients):
            pairs[sent % clients][0].sendto(b"x", NOBODY_LISTENS)
            sent += 1
        ready = waiting.poll(QUIET_S)
        if not ready:
            break
        got += sum(len(by_number[number].recv(1 << 18)) for number, _ in ready)
        last = time.perf_counter()
    return got // RECORD_BYTES, last - start


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(process: subprocess.Popen[bytes]) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench icmpd", description=__doc__)
    parser.add_argument("--errors", type=int, default=200_000, help="for each number of clients")
    options = parser.parse_args(argv)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows, latencies = [], []
    with tempfile.TemporaryDirectory() as directory:
        program, path = Path(directory, "icmpd"), Path(directory, "socket")
        subprocess.run(["cc", "-O2", "-w", "-o", program, SOURCE], check=True)
        daemons = {"C": [str(program)], "udpprobe": [sys.executable, "-m", "udpprobe", "icmpd", "--socket"]}
        for name, command in daemons.items():
            with running(command, path):
                latencies.append((name, f"{latency_us(path):.0f}"))
            for clients in (1, 100, 1000):
                with running(command, path) as process:
                    count, span_s = told(path, clients, options.errors)
                    rows.append((clients, name, count, f"{count / span_s:,.0f}",
                                 f"{count / max(cpu_s(process), 0.01):,.0f}", f"{peak_mb(process):.0f}"))
    sys.stdout.write(tabulate(sorted(rows, key=lambda row: row[0]), COLUMNS, disable_numparse=True) + "\n\n")
    sys.stdout.write(tabulate(latencies, ("daemon", "datagram to record, us (median)"), disable_numparse=True) + "\n")
