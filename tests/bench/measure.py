"""Whole processes, timed in turns."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import udpprobe


@dataclass(frozen=True)
class Command:
    """A process to time; `scale` times its part of the packets is the whole."""

    name: str
    argv: tuple[str, ...]
    scale: float = 1

    @property
    def is_installed(self) -> bool:
        return shutil.which(self.argv[0]) is not None


@dataclass
class Runs:
    """Seconds a run, already scaled, and the most memory any took."""

    seconds: list[float]
    peak_mb: float = 0

    def __str__(self) -> str:
        return f"{median(self.seconds):.3f} [{min(self.seconds):.3f}-{max(self.seconds):.3f}]"


def run(command: Command, runs: Runs) -> None:
    """Runs it once; anything but exit status 0 ends the benchmark."""
    start = time.perf_counter()
    process = subprocess.Popen(command.argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    runs.seconds.append((time.perf_counter() - start) * command.scale)
    runs.peak_mb = max(runs.peak_mb, usage.ru_maxrss / 1024)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{command.name}: exit status {process.returncode}: {' '.join(command.argv)}")


def in_turns(commands: list[Command], rounds: int) -> list[Runs]:
    """A B A B …: what else the machine does hits all alike."""
    all_runs = [Runs([]) for _ in commands]
    for _ in range(rounds):
        for command, runs in zip(commands, all_runs, strict=True):
            run(command, runs)
    return all_runs


def ratio(one: Runs, other: Runs) -> str:
    """Median of the paired ratios, and their range."""
    ratios = [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]
    digits = 0 if median(ratios) >= 10 else 2
    return f"{median(ratios):.{digits}f} [{min(ratios):.{digits}f}-{max(ratios):.{digits}f}]"


def compile_ours() -> None:
    """As whoever installs it does: where Python may not write bytecode, it would compile 120 modules in each run."""
    compileall.compile_dir(Path(udpprobe.__file__).parent, quiet=2)


def warm_up(path: Path) -> None:
    """Reads the file once, or the disk is measured."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass
