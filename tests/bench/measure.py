"""Whole processes, timed in turns."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any

import udpprobe

LOOK_S = 0.1


@dataclass(frozen=True)
class Command:
    """A process to time; `scale` times its part of the packets is the whole."""

    name: str
    argv: tuple[str, ...]
    scale: float = 1
    env: tuple[tuple[str, str], ...] = ()
    core: int | None = None
    """The one core that it may use; None: any."""

    @property
    def is_installed(self) -> bool:
        return shutil.which(self.argv[0]) is not None

    def start(self, stdout: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
        pinned = () if self.core is None else ("taskset", "-c", str(self.core))
        return subprocess.Popen(
            (*pinned, *self.argv), stdout=stdout, stderr=subprocess.DEVNULL, env={**os.environ, **dict(self.env)}
        )

    def end(self, status: int) -> None:
        """Anything but exit status 0 ends the benchmark."""
        if status:
            raise SystemExit(f"{self.name}: exit status {status}: {' '.join(self.argv)}")


@dataclass
class Runs:
    """Seconds a run, already scaled, and the most memory any took."""

    seconds: list[float]
    peak_mb: float = 0
    cpu_seconds: list[float] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{median(self.seconds):.3f} [{min(self.seconds):.3f}-{max(self.seconds):.3f}]"


class Memory:
    """The most that a process and all that it started took, as far as the kernel knows: pages in memory.

    Peaks of several processes are added up, and pages that two of them share count twice: it is an upper bound.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.peaks: dict[int, float] = {}
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._look, daemon=True)
        self.thread.start()

    def _look(self) -> None:
        while not self.is_over.wait(LOOK_S):
            for pid in tree(self.pid):
                self.peaks[pid] = max(self.peaks.get(pid, 0), peak_mb(pid))

    def end(self, last_mb: float) -> float:
        """`last_mb`: what the kernel said of the first process when it ended, without a gap.

        The kernel counts for it what this process took when it started the other; no more than that says nothing.
        """
        self.is_over.set()
        self.thread.join()
        if last_mb > peak_mb(os.getpid()):
            self.peaks[self.pid] = max(self.peaks.get(self.pid, 0), last_mb)
        return sum(self.peaks.values())


def tree(pid: int) -> list[int]:
    """This process and all below it; those that end meanwhile may be missing."""
    found = [pid]
    for each in found:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            try:
                found += map(int, children.read_text().split())
            except OSError:
                continue
    return found


def peak_mb(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) / 1024


def run(command: Command, runs: Runs) -> None:
    """Runs it once."""
    start = time.perf_counter()
    process = command.start()
    memory = Memory(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    runs.seconds.append((time.perf_counter() - start) * command.scale)
    runs.cpu_seconds.append((usage.ru_utime + usage.ru_stime) * command.scale)
    runs.peak_mb = max(runs.peak_mb, memory.end(usage.ru_maxrss / 1024))
    process.returncode = os.waitstatus_to_exitcode(status)
    command.end(process.returncode)


def in_turns(commands: list[Command], rounds: int) -> list[Runs]:
    """A B A B …: what else the machine does hits all alike."""
    all_runs = [Runs([]) for _ in commands]
    for _ in range(rounds):
        for command, runs in zip(commands, all_runs, strict=True):
            run(command, runs)
    return all_runs


def pinned(command: Command) -> Command:
    """On the first core that this process may use, and no other."""
    return replace(command, core=min(os.sched_getaffinity(0)))


def ratios(one: Runs, other: Runs) -> list[float]:
    return [a / b for a, b in zip(one.seconds, other.seconds, strict=True)]


def cpu_ratio(one: Runs, other: Runs) -> str:
    """Of the processor time of all threads and processes: what a busy machine changes least."""
    found = median(a / b for a, b in zip(one.cpu_seconds, other.cpu_seconds, strict=True))
    return f"{found:.{0 if found >= 10 else 2}f}"


def ratio(one: Runs, other: Runs) -> str:
    """Median of the paired ratios, and their range."""
    found = ratios(one, other)
    digits = 0 if median(found) >= 10 else 2
    return f"{median(found):.{digits}f} [{min(found):.{digits}f}-{max(found):.{digits}f}]"


def compile_ours() -> None:
    """As whoever installs it does: where Python may not write bytecode, it would compile 120 modules in each run."""
    compileall.compile_dir(Path(udpprobe.__file__).parent, quiet=2)


def warm_up(path: Path) -> None:
    """Reads the file once, or the disk is measured."""
    with path.open("rb", buffering=0) as file:
        while file.read(1 << 24):
            pass


def in_a_child(function: Callable[..., Any], *args: Any) -> Any:
    """What it returns. The memory it takes here would count as that of all processes started later."""
    context = get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=lambda: there.send(function(*args)))
    child.start()
    there.close()
    try:
        return here.recv()
    except EOFError:
        raise SystemExit(f"{function.__name__}: failed, see above") from None
    finally:
        child.join()
