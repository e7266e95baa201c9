"""`python -m tests.bench live`: `udpprobe scan` against its peers, between namespaces on one machine. Needs root.

Each part says what was measured, and the goal beside the figure.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tabulate import tabulate

from tests.bench.hosts import ANSWERING, CLOSED, DROPPED, PORTS, TRUTH, Hosts, client_address, host_address, unlimited
from tests.bench.measure import ratio
from tests.bench.scanners import Differing, NotRefused, Scanner, Unlisted, by_nmap, by_udpprobe
from tests.live.network import CannotRun, address

if TYPE_CHECKING:
    from tests.live.network import Network

COLUMNS = ("measured", "by", "s", "which is", "goal", "not right", "peak, MB")
SCAN = f"client: {Path(sys.executable).with_name('udpprobe')} scan"
NMAP = "client: nmap -sU -Pn -n"
PEERS = {"none": (), "usual": ("",), "all": ("", "-T4", "-T5")}
"""How nmap is asked to hurry where the host is slow."""

BURST = 6
"""Errors that Linux sends at once to one address; then 1 a second."""

OWN, MANY, MANY_PORTS = "10.64.0.0/10", "10.64.0.0/{}", 92
SIMULATED = "10.64.0.0/18 1-62"
MASSCAN_PPS = 400_000  # it does not listen to what comes back: the faster, the more it misses
LIMITED = f"Linux's limits: {CLOSED} closed, {len(ANSWERING)} answering, {len(DROPPED)} dropped"


class Live:
    """The parts, and the rows of their one table."""

    def __init__(self, options: argparse.Namespace, scratch: Path) -> None:
        self.options, self.scratch = options, scratch
        self.rows: list[tuple[str, ...]] = []

    def add(self, measured: str, scanner: Scanner, which_is: str, goal: str) -> None:
        self.rows.append(
            (
                measured,
                scanner.title,
                str(scanner.runs),
                which_is,
                goal,
                scanner.mistakes,
                f"{scanner.runs.peak_mb:.0f}",
            )
        )

    def in_turns(self, network: Network, scanners: list[Scanner], rounds: int) -> None:
        for turn in range(1, rounds + 1):
            for scanner in scanners:
                scanner.run(network, self.scratch / "report")
                scanner.check(self.scratch / "report")
                say(
                    f"{turn}/{rounds} {scanner.name}: {scanner.runs.seconds[-1]:.2f} s, "
                    f"{scanner.not_right[-1]:,} not right"
                )

    def ports(self) -> None:
        """All ports of a host that refuses each at once."""
        host = address(4, 1, 2)
        truth = {(host, port): "refused" for port in range(1, 65_536)}
        ours = Scanner(
            "udpprobe", f"{SCAN} --rate 0 -p 1-65535 --format json -o OUTPUT {host}", Differing(truth, by_udpprobe)
        )
        nmap = Scanner("nmap -sU", f"{NMAP} -p1-65535 -oX OUTPUT {host}", Differing(truth, by_nmap))
        scanners = [ours] if self.options.peers == "none" else [ours, nmap]
        with unlimited(OWN) as network:
            self.in_turns(network, scanners, self.options.rounds)
        measured = f"65,535 closed ports, no limit, {self.options.rounds} runs"
        for scanner in scanners:
            self.add(
                measured,
                scanner,
                f"{ratio(scanner.runs, scanners[-1].runs)} x {scanners[-1].name}",
                "<= 0.5, 0 not right" if scanner is ours else "",
            )

    def sustained(self) -> None:
        """A few ports of thousands of addresses, by default 3 million probes."""
        probes = MANY_PORTS << 32 - self.options.prefix
        spans_s = self.scratch / "spans"
        scanners = self.fast_scanners(probes, spans_s)
        with unlimited(OWN) as network:
            self.in_turns(network, scanners, self.options.long_rounds)
        measured = f"{probes:,} closed ports, no limit, {self.options.long_rounds} runs"
        for scanner in scanners:
            right_pps = (probes - median(scanner.not_right)) / median(scanner.runs.seconds)
            self.add(measured, scanner, f"{right_pps:,.0f} right/s of the whole process", "")
        scanning_s = sorted(map(float, spans_s.read_text().split()))
        fastest, usual, slowest = (probes / scanning_s[at] for at in (0, len(scanning_s) // 2, -1))
        self.rows.append(
            (
                measured,
                "udpprobe",
                f"{probes / usual:.2f}",
                f"{usual:,.0f}/s [{slowest:,.0f}-{fastest:,.0f}] first probe to last error",
                ">= 450,000/s, 0 not right",
                "",
                "",
            )
        )

    def simulated(self) -> None:
        """A million destinations where the wire takes no time: plan, craft, validate, pace and report."""
        output = self.scratch / "report"
        with unlimited(OWN) as network:
            argv = network.command(f"client: {sys.executable} -m tests.bench.simulated {SIMULATED} {output}")
            say("a million destinations on a simulated wire")
            done = subprocess.run(argv, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout)
        self.rows.append(
            (
                f"{found['destinations']:,} closed ports, simulated wire",
                "udpprobe",
                f"{found['s']:.2f}",
                f"without {found['wire_s']:.1f} s of the wire",
                "<= 10 s, <= 600 MB",
                f"{found['rest']:,} one by one",
                f"{found['peak_mb']:.0f}",
            )
        )

    def fast_scanners(self, probes: int, spans_s: Path) -> list[Scanner]:
        """Those that take millions; zmap, which asks one port, asks it of so many more addresses."""
        many, own = MANY.format(self.options.prefix), address(4, 1, 1)
        ours = Scanner("udpprobe", f"{SCAN} --rate 0 -p 1-{MANY_PORTS} -o OUTPUT {many}", NotRefused(probes, spans_s))
        masscan = Scanner(
            "masscan",
            f"client: masscan {many} -pU:1-{MANY_PORTS} --rate {MASSCAN_PPS} --wait 3 "
            f"--show closed -oL OUTPUT -e right --router-mac 02:00:00:00:01:02 --adapter-ip {own}",
            Unlisted(probes, "closed"),
            limit_s=60,
        )
        zmap = Scanner(
            "zmap",
            f"client: zmap -M udp -p 9 {OWN} -n {probes} --probe-args=text:x -r 0 -c 3 -O csv "
            f"-f classification,saddr -b /dev/null --output-filter 'success = 0 && repeat = 0' "
            f"-o OUTPUT -i right -G 02:00:00:00:01:02 -S {own}",
            Unlisted(probes, "icmp-unreach"),
            limit_s=60,
        )
        return [ours] if self.options.peers == "none" else [ours, masscan, zmap]

    def limited(self) -> None:
        """Hosts with Linux's default limits, one each, all at the same time: they wait more than they work."""
        asked = [
            (
                Scanner(
                    f"udpprobe, {count} sources",
                    ours(from_addresses(count), number),
                    Differing(truth_of(number), by_udpprobe),
                ),
                count,
            )
            for number, count in enumerate((1, 2, 4), 1)
        ]
        asked += [
            (
                Scanner(
                    f"nmap -sU {more}",
                    f"{NMAP} {more} -p1-{PORTS} -oX OUTPUT {host_address(number)}",
                    Differing(truth_of(number), by_nmap),
                ),
                1,
            )
            for number, more in enumerate(PEERS[self.options.peers], 4)
        ]
        with Hosts(len(asked)) as network:
            self.at_once(network, [scanner for scanner, _ in asked])
        for scanner, count in asked:
            share = scanner.runs.seconds[0] * count / (CLOSED - BURST * count)
            goal = f"<= {1.03 if count == 1 else 1.15}, 0 not right" if "udpprobe" in scanner.name else ""
            self.add(LIMITED, scanner, f"{share:.3f} x (closed - {BURST}k)/k s", goal)

    def at_once(self, network: Network, scanners: list[Scanner]) -> None:
        say(f"{', '.join(scanner.name for scanner in scanners)} at once: about two minutes")
        reports = [self.scratch / f"report{number}" for number in range(len(scanners))]
        with ThreadPoolExecutor(len(scanners)) as threads:
            list(threads.map(Scanner.run, scanners, [network] * len(scanners), reports))
        for scanner, report in zip(scanners, reports, strict=True):
            scanner.check(report)

    def hosts(self) -> None:
        """Many such hosts at once."""
        count = self.options.hosts
        numbers = range(1, count + 1)
        truth = {port: verdict for number in numbers for port, verdict in truth_of(number).items()}
        scanner = Scanner("udpprobe", ours("", *numbers), Differing(truth, by_udpprobe))
        say(f"{count} hosts: about two minutes")
        with Hosts(count) as network:
            self.in_turns(network, [scanner], 1)
        share = scanner.runs.seconds[0] / (CLOSED - BURST)
        self.add(
            f"{count} such hosts at once", scanner, f"{share:.3f} x (closed - {BURST}) s of one", "<= 1.03, 0 not right"
        )


def say(text: str) -> None:
    sys.stderr.write(f"... {text}\n")


def ours(more: str, *numbers: int) -> str:
    return f"{SCAN} -p 1-{PORTS} {more} --format json -o OUTPUT {' '.join(map(host_address, numbers))}"


def from_addresses(count: int) -> str:
    return "--source-address " + ",".join(map(client_address, range(1, count + 1)))


def truth_of(number: int) -> dict[tuple[str, int], str]:
    return {(host_address(number), port): verdict for port, verdict in TRUTH.items()}


PARTS = {
    "ports": Live.ports,
    "sustained": Live.sustained,
    "simulated": Live.simulated,
    "limited": Live.limited,
    "hosts": Live.hosts,
}


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench live", description=__doc__.partition(": ")[2])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"some of: {', '.join(PARTS)} (default: all)")
    parser.add_argument("--rounds", type=int, default=10, help="of `ports` (default: %(default)s)")
    parser.add_argument("--long-rounds", type=int, default=3, help="of `sustained` (default: %(default)s)")
    parser.add_argument(
        "--prefix",
        type=int,
        default=17,
        help=f"of the network whose addresses `sustained` asks "
        f"{MANY_PORTS} ports each (default: %(default)s: 3 million probes)",
    )
    parser.add_argument("--hosts", type=int, default=64, help="of `hosts` (default: %(default)s)")
    parser.add_argument("--peers", choices=PEERS, default="usual", help="`all` for nmap -T4 and -T5 too")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    return options


def main(argv: list[str]) -> None:
    options = parse(argv)
    with TemporaryDirectory() as scratch:
        live = Live(options, Path(scratch))
        try:
            for name in options.parts or PARTS:
                PARTS[name](live)
        except CannotRun as reason:
            raise SystemExit(f"cannot measure: {reason}") from reason
        finally:
            sys.stdout.write(tabulate(live.rows, COLUMNS, disable_numparse=True) + "\n")
