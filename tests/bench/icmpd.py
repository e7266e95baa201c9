"""`python -m tests.bench icmpd`: the daemon beside one in C of the book's kind, on loopback. Needs root and cc."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tabulate import tabulate

SOURCE, LOAD_SOURCE = Path(__file__).with_name("icmpd.c"), Path(__file__).with_name("icmpd_load.c")
COLUMNS = ("clients", "daemon", "errors told", "a second", "a second of its CPU", "peak, MB")
PATIENCE_S = 10
WINDOW = 8192
"""Errors on their way at most, and 900 for each client: what is lost in queues says nothing about speed."""


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


def load(program: Path, *arguments: object) -> tuple[int, int]:
    said = subprocess.run([program, *map(str, arguments)], check=True, capture_output=True, text=True).stdout.split()
    return int(said[0]), int(said[1])


def cpu_s(process: subprocess.Popen[bytes]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_mb(process: subprocess.Popen[bytes]) -> float:
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench icmpd", description=__doc__)
    parser.add_argument("--errors", type=int, default=500_000, help="for each number of clients")
    options = parser.parse_args(argv)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    rows, latencies = [], []
    with tempfile.TemporaryDirectory() as directory:
        program, loader, path = Path(directory, "icmpd"), Path(directory, "load"), Path(directory, "socket")
        for source, made in ((SOURCE, program), (LOAD_SOURCE, loader)):
            subprocess.run(["cc", "-O2", "-w", "-o", made, source], check=True)
        daemons = {"C": [str(program)], "udpprobe": [sys.executable, "-m", "udpprobe", "icmpd", "--socket"]}
        for name, command in daemons.items():
            with running(command, path):
                latencies.append((name, *(f"{each / 1000:.0f}" for each in load(loader, path))))
            for clients in (1, 100, 1000):
                with running(command, path) as process:
                    before_s = cpu_s(process)
                    count, span_ns = load(loader, path, clients, options.errors, min(WINDOW, 900 * clients))
                    rows.append(
                        (
                            clients,
                            name,
                            count,
                            f"{1e9 * count / span_ns:,.0f}",
                            f"{count / max(cpu_s(process) - before_s, 0.01):,.0f}",
                            f"{peak_mb(process):.0f}",
                        )
                    )
    sys.stdout.write(tabulate(sorted(rows, key=lambda row: row[0]), COLUMNS, disable_numparse=True) + "\n\n")
    sys.stdout.write(
        tabulate(latencies, ("daemon", "datagram to record, us: median", "99 %"), disable_numparse=True) + "\n"
    )
