"""The captures that the table is about. Each is made once, into a directory that outlives the run."""

from __future__ import annotations

import shutil
import struct
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from .captures import CONVERSATIONS, HUNDRED, RANDOM, make, make_adversarial, truth_of
from .measure import in_a_child, warm_up
from .special import make_destinations, make_disordered

EMPTY_PCAP = struct.pack("<IHHiIII", 0xA1B2_C3D4, 2, 4, 0, 0, 262_144, 1)
EMPTY_SECTION = struct.pack("<IIIHHqI", 0x0A0D_0D0A, 28, 0x1A2B_3C4D, 1, 0, -1, 28)
EMPTY_AT_ONCE = 100_000


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
    return Capture(
        f"{packets}-{snap}.{container}",
        packets,
        lambda path: make(path, packets, snap, container),
        shows_v6_ports=snap == "full",
    )


def at_random(packets: int) -> Capture:
    return Capture(f"{packets}-random-s128.pcap", packets, lambda path: make(path, packets, "s128", "pcap", mix=RANDOM))


def conversations(packets: int) -> Capture:
    return Capture(
        f"{packets}-conversations-s128.pcap",
        packets,
        lambda path: make(path, packets, "s128", "pcap", mix=CONVERSATIONS),
    )


def destinations(count: int) -> Capture:
    return Capture(f"{count}-destinations.pcap", 2 * count, lambda path: make_destinations(path, count))


def two_interfaces(packets: int, *, is_ordered: bool) -> Capture:
    name = "ordered" if is_ordered else "disordered"
    return Capture(
        f"{packets}-{name}.pcapng", packets, lambda path: make_disordered(path, packets, is_ordered=is_ordered)
    )


def hundred() -> Capture:
    return Capture("100.pcap", 100, lambda path: make(path, 100, "full", "pcap", mix=HUNDRED))


def adversarial(packets: int, container: str) -> Capture:
    return Capture(
        f"{packets}-adversarial.{container}", packets, lambda path: make_adversarial(path, packets, container)
    )


def empty(count: int, *, is_pcapng: bool) -> Capture:
    """Records without a packet's bytes, or pcapng sections without a record: as cheap to write as zeros."""

    def write(path: Path) -> None:
        with path.open("wb") as out:
            out.write(b"" if is_pcapng else EMPTY_PCAP)
            for start in range(0, count, EMPTY_AT_ONCE):
                out.write((EMPTY_SECTION if is_pcapng else bytes(16)) * min(EMPTY_AT_ONCE, count - start))
        truth_of(path).write_text("")

    name = f"{count}-empty-sections.pcapng" if is_pcapng else f"{count}-empty-records.pcap"
    return Capture(name, 0 if is_pcapng else count, write)


def compressed(capture: Capture) -> Capture:
    def write(path: Path) -> None:
        source = capture.ready(path.parent)
        with path.open("wb") as out:
            subprocess.run(("gzip", "-1", "-c", str(source)), stdout=out, check=True)
        shutil.copy(truth_of(source), truth_of(path))

    return Capture(capture.name + ".gz", capture.packets, write, capture.shows_v6_ports)
