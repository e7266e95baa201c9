"""The captures that the table is about. Each is made once, into a directory that outlives the run."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .captures import CONVERSATIONS, HUNDRED, RANDOM, make, make_adversarial, truth_of
from .measure import in_a_child, warm_up
from .special import make_destinations, make_disordered


@dataclass(frozen=True)
class Capture:
    """`write` makes it; whoever asks for its path gets a file that is whole, and in the page cache."""

    name: str
    packets: int
    write: Callable[[Path], None]
    shows_v6_ports: bool = True
    """Whether what ICMPv6 errors quote reaches the ports: not at a snap length of 96."""

    def ready(self, directory: Path, say: Callable[[str], None] = lambda _: None) -> Path:
        path = directory / self.name
        if not truth_of(path).exists():
            say(f"making {path}")
            directory.mkdir(parents=True, exist_ok=True)
            in_a_child(self.write, path)
        warm_up(path)
        return path


def usual(packets: int, snap: str = "full", container: str = "pcap") -> Capture:
    return Capture(f"{packets}-{snap}.{container}", packets, lambda path: make(path, packets, snap, container),
                   shows_v6_ports=snap == "full")


def at_random(packets: int) -> Capture:
    return Capture(f"{packets}-random-s128.pcap", packets,
                   lambda path: make(path, packets, "s128", "pcap", mix=RANDOM))


def conversations(packets: int) -> Capture:
    return Capture(f"{packets}-conversations-s128.pcap", packets,
                   lambda path: make(path, packets, "s128", "pcap", mix=CONVERSATIONS))


def destinations(count: int) -> Capture:
    return Capture(f"{count}-destinations.pcap", 2 * count, lambda path: make_destinations(path, count))


def two_interfaces(packets: int, *, is_ordered: bool) -> Capture:
    name = "ordered" if is_ordered else "disordered"
    return Capture(f"{packets}-{name}.pcapng", packets,
                   lambda path: make_disordered(path, packets, is_ordered=is_ordered))


def hundred() -> Capture:
    return Capture("100.pcap", 100, lambda path: make(path, 100, "full", "pcap", mix=HUNDRED))


def adversarial(packets: int, container: str) -> Capture:
    return Capture(f"{packets}-adversarial.{container}", packets,
                   lambda path: make_adversarial(path, packets, container))


def compressed(capture: Capture) -> Capture:
    def write(path: Path) -> None:
        source = capture.ready(path.parent)
        with path.open("wb") as out:
            subprocess.run(("gzip", "-1", "-c", str(source)), stdout=out, check=True)
        shutil.copy(truth_of(source), truth_of(path))
    return Capture(capture.name + ".gz", capture.packets, write, capture.shows_v6_ports)
