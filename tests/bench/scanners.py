"""Programs that scan, timed, and how many ports each is not right about."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
import xml.etree.ElementTree as ET
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from threading import Timer
from typing import TYPE_CHECKING

from tests.bench.measure import Runs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.live.network import Network

STATES = {"open": "answered", "closed": "refused", "open|filtered": "silent"}
"""nmap's words in ours."""

UNITS_S = {"ms": 1e-3, "s": 1, "min": 60, "h": 3600}


@dataclass
class Scanner:
    """A program, and what became of its runs."""

    name: str
    line: str
    """As `Network.run` takes it; OUTPUT stands for the file of its report."""
    judge: Callable[[Path], int]
    """How many ports that report is not right about."""
    limit_s: float = 900
    runs: Runs = field(default_factory=lambda: Runs([]))
    not_right: list[int] = field(default_factory=list)
    hung: int = 0

    def run(self, network: Network, output: Path) -> None:
        """Run it once; one that hangs is ended, and judged by what it had said."""
        output.unlink(missing_ok=True)
        argv = network.command(self.line.replace("OUTPUT", str(output)))
        errors = output.with_suffix(".stderr")
        with errors.open("w") as stderr:
            start = time.perf_counter()
            process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=stderr)
        timer = Timer(self.limit_s, process.kill)
        timer.start()
        _, status, usage = os.wait4(process.pid, 0)
        timer.cancel()
        self.runs.seconds.append(time.perf_counter() - start)
        self.runs.peak_mb = max(self.runs.peak_mb, usage.ru_maxrss / 1024)
        process.returncode = os.waitstatus_to_exitcode(status)
        self.hung += self.runs.seconds[-1] >= self.limit_s
        if process.returncode and not self.hung:
            raise SystemExit(f"{self.name}: exit status {process.returncode}: {errors.read_text()[-1000:]}")

    def check(self, output: Path) -> None:
        """Judge what it said; in a child, or the memory that takes would count as that of all later processes."""
        with ProcessPoolExecutor(1, get_context("fork")) as pool:
            self.not_right.append(pool.submit(self.judge, output).result())

    @property
    def title(self) -> str:
        return f"{self.name} (hung {self.hung}x)" if self.hung else self.name

    @property
    def mistakes(self) -> str:
        """Each number of ports that it was not right about, and in how many runs."""
        counts = sorted(Counter(self.not_right).items())
        return ", ".join(f"{count:,} ({times}x)" if times > 1 else f"{count:,}" for count, times in counts)


# ---- what reports say, as verdicts by address and port


def by_udpprobe(output: Path) -> dict[tuple[str, int], str]:
    told = json.loads(output.read_text())["destinations"]
    return {(each["address"], each["port"]): each["verdict"] for each in told}


def by_nmap(output: Path) -> dict[tuple[str, int], str]:
    """Of one host; the ports of the most usual states are summed up."""
    host = ET.parse(output).getroot().find("host")
    states = {int(port.get("portid")): port.find("state").get("state") for port in host.iter("port")}
    for extra in host.iter("extraports"):
        for reason in extra.iter("extrareasons"):
            states |= dict.fromkeys(numbers(reason.get("ports")), extra.get("state"))
    address = host.find("address").get("addr")
    return {(address, port): STATES.get(state, state) for port, state in states.items()}


def numbers(text: str) -> list[int]:
    """Of `1-3,7`."""
    ranges = [part.split("-") for part in text.split(",")]
    return [number for ends in ranges for number in range(int(ends[0]), int(ends[-1]) + 1)]


@dataclass
class Differing:
    """From the truth, by address and port."""

    truth: dict[tuple[str, int], str]
    read: Callable[[Path], dict[tuple[str, int], str]]

    def __call__(self, output: Path) -> int:
        told = self.read(output)
        return sum(told.get(port) != verdict for port, verdict in self.truth.items())


@dataclass
class Unlisted:
    """Of programs with a line for each closed port, which may come twice: at another time, its last word."""

    expected: int
    mark: str

    def __call__(self, output: Path) -> int:
        with output.open() as lines:
            return self.expected - len({line.rsplit(maxsplit=1)[0] for line in lines if self.mark in line})


@dataclass
class NotRefused:
    """Of udpprobe's table, which sums up; and how long the scan took, from the first probe to the last error."""

    expected: int
    spans_s: Path
    """A file, since a child judges."""

    def __call__(self, output: Path) -> int:
        text = " ".join(output.read_text().split())
        refused = re.search(r"([\d,]+) refused", text)
        span = re.search(r"probes in ([\d.a-z ]+) from", text)[1]
        seconds = sum(float(value) * UNITS_S[unit] for value, unit in re.findall(r"([\d.]+) (ms|s|min|h)\b", span))
        with self.spans_s.open("a") as spans:
            spans.write(f"{seconds}\n")
        return self.expected - int(refused[1].replace(",", "") if refused else 0)
