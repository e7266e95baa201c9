"""`python -m tests.bench watch`: does `udpprobe watch` keep up? Mixed UDP over a veth pair, at a set rate. Needs root.

The sender has one processor and the watch another; what the kernel drops, and errors that are not told, are counted.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import time
from multiprocessing import Pipe, get_context
from multiprocessing.connection import Connection
from pathlib import Path
from tempfile import TemporaryDirectory

from tabulate import tabulate

from tests.bench.captures import make
from tests.live.network import CannotRun, Network

COLUMNS = ("measured", "packets", "dropped by the kernel", "errors told", "processor", "peak, MB", "goal")
CAPTURED = 1_000_000
BURST_S = 0.001
ETHERTYPES = {0x0800: 9, 0x86DD: 6}
"""Where the protocol stands, from the IP header on."""
TCP = 6
SETTLING_S = 3.0


def frames_of(path: Path) -> list[bytes]:
    """What has to do with UDP: datagrams and errors, one of these in 650."""
    data, at, frames = path.read_bytes(), 24, []
    while at < len(data):
        (size,) = struct.unpack_from("<I", data, at + 8)
        frame = data[at + 16 : at + 16 + size]
        ip = 18 if frame[12:14] == b"\x81\0" else 14
        if frame[ip + ETHERTYPES[int.from_bytes(frame[ip - 2 : ip])]] != TCP:
            frames.append(frame)
        at += 16 + size
    return frames


def send(out: socket.socket, path: Path, options: argparse.Namespace, parent: Connection) -> None:
    """Load a capture and, when told, send it again and again, a little every millisecond; say how many errors that is.

    In a child: its memory would count as that of the processes that the parent starts later.
    """
    os.sched_setaffinity(0, {0})
    frames, packets, burst = frames_of(path), options.rate * options.seconds, round(options.rate * BURST_S)
    parent.send(len(frames))
    parent.recv()
    start = time.perf_counter()
    for first in range(0, packets, burst):
        time.sleep(max(0.0, start + first / options.rate - time.perf_counter()))
        for number in range(first, min(first + burst, packets)):
            out.send(frames[number % len(frames)])
    say(f"sent {packets / (time.perf_counter() - start):,.0f} packets a second")
    rounds, rest = divmod(packets, len(frames))
    parent.send(rounds * sum(map(is_error, frames)) + sum(map(is_error, frames[:rest])))


def say(text: str) -> None:
    sys.stderr.write(f"... {text}\n")


def measure(network: Network, path: Path, options: argparse.Namespace, report: Path) -> tuple[str, ...]:
    """One watch, from before the first packet until after the last one."""
    here, there = Pipe()
    with network.inside("client"):
        out = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        out.bind(("right", 0))
    sender = get_context("fork").Process(target=send, args=(out, path, options, there))
    sender.start()
    say(f"{here.recv():,} frames")
    lasts_s = options.seconds * 1.5 + SETTLING_S
    udpprobe = Path(sys.executable).with_name("udpprobe")
    watch = subprocess.Popen(
        network.command(
            f"host: taskset -c 1 {udpprobe} watch -i left --format json -o {report} --duration {lasts_s} {options.more}"
        )
    )
    time.sleep(SETTLING_S / 2)
    here.send("go")
    errors = here.recv()
    sender.join()
    _, status, usage = os.wait4(watch.pid, 0)
    watch.returncode = os.waitstatus_to_exitcode(status)
    return row_of(json.loads(report.read_text()), options, errors, usage)


def row_of(report: dict, options: argparse.Namespace, errors: int, usage: resource.struct_rusage) -> tuple[str, ...]:
    told = sum(each["errors"] for each in report["destinations"]) + sum(each["count"] for each in report["unmatched"])
    return (
        f"{options.rate:,} packets/s for {options.seconds} s",
        f"{report['source']['packets']:,} of {options.rate * options.seconds:,}",
        str(report["source"]["dropped"]),
        f"{told:,} of {errors:,}",
        f"{usage.ru_utime + usage.ru_stime:.1f} s",
        f"{usage.ru_maxrss / 1024:.0f}",
        "all, 0 dropped",
    )


def is_error(frame: bytes) -> bool:
    ip = 18 if frame[12:14] == b"\x81\0" else 14
    return frame[ip + ETHERTYPES[int.from_bytes(frame[ip - 2 : ip])]] in {1, 58}


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench watch", description=__doc__.partition(": ")[2])
    parser.add_argument("--rate", type=int, default=400_000, help="packets a second (default: %(default)s)")
    parser.add_argument("--seconds", type=int, default=10, help="for how long (default: %(default)s)")
    parser.add_argument("--more", default="", help="further options of watch")
    options = parser.parse_args(argv)
    with TemporaryDirectory() as scratch:
        path = Path(scratch, "mixed.pcap")
        made = get_context("fork").Process(target=make, args=(path, CAPTURED, "full", "pcap"))
        made.start()
        made.join()
        try:
            with Network("client", "host") as network:
                row = measure(network, path, options, Path(scratch, "report"))
        except CannotRun as reason:
            raise SystemExit(f"cannot measure: {reason}") from reason
    sys.stdout.write(tabulate([row], COLUMNS, disable_numparse=True) + "\n")
