"""`python -m tests.bench`: this program against its peers on made captures, as ratios.

Absolute times say more about a machine than about a program, so every comparison is of runs in turns.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from tabulate import tabulate

from tests.bench import icmpd, live, paths, scale, watch
from tests.bench.captures import make, make_adversarial
from tests.bench.measure import Command, compile_ours, in_turns, ratio, warm_up

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = ("measured", "ours, s", "theirs, s", "ratio", "goal", "our peak, MB")
PYTHON = sys.executable
UDPPROBE = str(Path(PYTHON).with_name("udpprobe"))

SCAPY = "import sys; from scapy.all import PcapReader\nfor packet in PcapReader(sys.argv[1]): pass"
DPKT = """
import sys, dpkt
for time, frame in dpkt.pcap.Reader(open(sys.argv[1], 'rb')):
    try: dpkt.ethernet.Ethernet(frame)
    except dpkt.UnpackError: pass
"""


def analyze(path: Path, *options: str) -> Command:
    return Command("udpprobe analyze", (UDPPROBE, "analyze", str(path), "--format", "json", *options))


def tcpdump(path: Path) -> Command:
    return Command("tcpdump", ("tcpdump", "-r", str(path), "-w", "/dev/null", "udp or icmp or icmp6"))


def tshark(path: Path, scale: float = 1) -> Command:
    return Command("tshark -Y", ("tshark", "-nr", str(path), "-Y", "icmp||icmpv6", "-T", "fields",
                                 "-e", "frame.number"), scale)


def script(name: str, text: str, path: Path, scale: float) -> Command:
    return Command(name, (PYTHON, "-c", text, str(path)), scale)


class Bench:
    """Collects rows for the one table."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.rows: list[tuple[str, ...]] = []

    def make(self, packets: int, snap: str = "full", container: str = "pcap") -> Path:
        path = self.options.dir / f"{packets}-{snap}.{container}"
        self.in_a_child(make, path, packets, snap, container)
        warm_up(path)
        return path

    def in_a_child(self, write: Callable[..., None], path: Path, *args) -> None:
        """Or the memory it takes would count as that of all processes started later."""
        self.say(f"capture {path}")
        child = get_context("fork").Process(target=write, args=(path, *args))
        child.start()
        child.join()
        if child.exitcode:
            raise SystemExit(f"{path}: could not be made")

    @staticmethod
    def say(text: str) -> None:
        sys.stderr.write(f"... {text}\n")

    def compare(self, title: str, ours: Command, theirs: Command, goal: str, rounds: int, *, inverse=False) -> None:
        """Ours over theirs; the other way round where `inverse`, for peers that are far slower."""
        if not theirs.is_installed:
            self.rows.append((title, "", f"skipped: no {theirs.argv[0]}"))
            return
        self.say(title)
        one, other = in_turns([ours, theirs], rounds)
        quotient = ratio(other, one) if inverse else ratio(one, other)
        self.rows.append((title, str(one), str(other), quotient, goal, f"{one.peak_mb:.0f}"))

    def against_tcpdump(self) -> None:
        for snap, packets, goal in (("full", self.options.packets, "<= 1.10"),
                                    ("s96", self.options.short_packets, "<= 1.6")):
            path = self.make(packets, snap)
            self.compare(f"{packets:,} {snap} / tcpdump", analyze(path), tcpdump(path), goal, self.options.pairs)
            self.check_truth(path, only_v4=snap != "full")

    def against_one_core(self) -> None:
        packets = self.options.short_packets
        path = self.make(packets, "s96")
        self.say("two processes / one / tcpdump")
        self.rows += scale.rows(path, packets, analyze(path), tcpdump(path), self.options.pairs)

    def against_containers(self) -> None:
        pcap, pcapng = (self.make(self.options.packets, container=name) for name in ("pcap", "pcapng"))
        self.compare("pcapng / pcap", analyze(pcapng), analyze(pcap), "<= 1.25", self.options.pairs)

    def against_slow_peers(self) -> None:
        """On a part, and scaled: they would take hours."""
        whole = self.make(self.options.packets)
        peers = [("tshark -Y", 100, 10, tshark), ("dpkt", 60, 25, lambda *at: script("dpkt", DPKT, *at)),
                 ("Scapy PcapReader", 1000, 250, lambda *at: script("Scapy", SCAPY, *at))]
        for name, goal, share, peer in peers:
            part = self.make(max(self.options.packets // share, 1))
            title = f"{name} / ours ({name} on 1/{share}, scaled)"
            self.compare(title, analyze(whole), peer(part, share), f">= {goal}", 1, inverse=True)

    def adversarial(self) -> None:
        for container in ("pcap", "pcapng"):
            path = self.options.dir / f"adversarial.{container}"
            self.in_a_child(make_adversarial, path, 500_000, container)
            warm_up(path)
            usual = self.make(500_000, container=container)
            self.compare(f"false records in payloads / usual, {container}", analyze(path), analyze(usual), "exact",
                         min(3, self.options.pairs))
            self.say(f"packets found: {report_of(path)['source']['packets']:,} of 500,000")

    def start_up(self) -> None:
        nothing, rounds = Command("python", (PYTHON, "-c", "pass")), max(7, self.options.pairs)
        path = self.make(100)
        helping = Command("help", (UDPPROBE, "--help"))
        self.compare("udpprobe --help / python -c pass", helping, nothing, "<= 8", rounds)
        self.compare("100 packets / python -c pass", analyze(path), nothing, "", rounds)
        self.compare("100 packets / tshark", analyze(path), tshark(path), "< 1, aim 0.5", rounds)

    def check_truth(self, path: Path, *, only_v4: bool) -> None:
        """At a snap length of 96, what IPv6 errors quote does not reach the ports."""
        lines = (line.split() for line in path.with_suffix(path.suffix + ".truth").read_text().splitlines())
        truth = {int(frame): int(matched) or None for frame, matched, family in lines
                 if family == "4" or not only_v4}
        argv = (UDPPROBE, "analyze", str(path), "--events", "--format", "ndjson")
        told = subprocess.run(argv, capture_output=True, check=True).stdout.splitlines()
        events = {event["frame"]: event["matched_frame"] for event in map(json.loads, told)
                  if event["family"] == 4 or not only_v4}
        wrong = sum(events.get(frame, -1) != matched for frame, matched in truth.items())
        self.rows.append((f"{path.name}: errors matched as they should", f"{len(truth) - wrong} of {len(truth)}",
                          "", "", "all", f"{len(events.keys() - truth.keys())} invented"))


def report_of(path: Path) -> dict:
    return json.loads(subprocess.run(analyze(path).argv, capture_output=True, check=True).stdout)


PARTS = {"tcpdump": Bench.against_tcpdump, "pcapng": Bench.against_containers, "peers": Bench.against_slow_peers,
         "adversarial": Bench.adversarial, "start": Bench.start_up,
         "scale": Bench.against_one_core}


def cache_directory() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("UDPPROBE_BENCH_DIR") or Path(cache) / "udpprobe" / "bench")


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.splitlines()[0],
                                     epilog="`live`, `icmpd`, `paths` and `watch` have their own --help.")
    parser.add_argument("parts", nargs="*", metavar="part", help=f"some of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--packets", type=int, default=5_000_000, help="full-size (default: %(default)s: 3 GB)")
    parser.add_argument("--short-packets", type=int, default=20_000_000, help="cut at 96 bytes (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=5, help="runs of each, in turns (default: %(default)s)")
    parser.add_argument("--dir", type=Path, default=cache_directory(), help="for the captures (default: %(default)s)")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def main(argv: list[str]) -> None:
    compile_ours()
    for name, module in (("live", live), ("icmpd", icmpd), ("paths", paths), ("watch", watch)):
        if argv[:1] == [name]:
            module.main(argv[1:])
            return
    options = parse(argv)
    bench = Bench(options)
    for name in options.parts or PARTS:
        PARTS[name](bench)
    sys.stdout.write(tabulate(bench.rows, COLUMNS, disable_numparse=True) + "\n")


main(sys.argv[1:])
