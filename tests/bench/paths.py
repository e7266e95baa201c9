"""`python -m tests.bench paths`: `udpprobe trace` and `mtu` beside their peers, on made paths. Needs root.

prober - a - b - c - host, in network namespaces, without delay: what is measured is what a program does and waits for
of its own accord. Far paths, of far.toml, lead through the simulated internet, where packets take their time. All are
run in turns, and what each of them prints is held against what is there.
"""

from __future__ import annotations

import argparse
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Self

from tabulate import tabulate

from tests.bench.measure import Command, Runs, in_turns, ratio
from tests.bench.tracers import MEASURERS, TRACERS, UDPPROBE, Said, Tool
from tests.live.network import PREFIX, CannotRun, Network, address, require, stop

COLUMNS = ("path", "asked", "by", "s", "right?", "udpprobe / fastest right peer")
ROW = ("prober", "a", "b", "c", "host")
FAMILIES = (4, 6)
FAR = Path(__file__).with_name("far.toml")
FAR_HOST, FAR_HOLE = (tuple(address(family, link, 2) for family in FAMILIES) for link in (8, 9))
HOST, LOOP2, LOOP3 = ("10.0.4.2", "2001:db8:4::2"), ("198.18.2.1", "2001:db8:f2::1"), ("198.18.3.1", "2001:db8:f3::1")
BACK = 8
"""The link from c back to a."""
NARROW = 1400
LONGEST_S = 90

NO_LIMITS = (
    "sysctl -q net.ipv4.icmp_ratemask=0 net.ipv6.icmp.ratelimit=0 net.ipv4.icmp_msgs_burst=10000"
    " net.ipv4.icmp_msgs_per_sec=10000"
)
RULES = "nft 'table inet bench {{ chain o {{ type filter hook output priority 0; {}; }}; }}'"
NO_RULES = "nft delete table inet bench"
EXPIRED, TOO_BIG = (
    ("icmp type time-exceeded", "icmpv6 type time-exceeded"),
    ("icmp type destination-unreachable icmp code 4", "icmpv6 type packet-too-big"),
)


def rules(node: str, which: tuple[str, str], what: str) -> str:
    return f"{node}: {RULES.format('; '.join(f'{each} {what}' for each in which))}"


def router(family: int, ttl: int) -> str:
    return address(family, ttl, 2)


def addresses(family: int, ttl: int) -> set[str]:
    """All that the router has which is so far away."""
    back = {1: {address(family, BACK, 2)}, 3: {address(family, BACK, 1)}}
    return {router(family, ttl), address(family, ttl + 1, 1), *back.get(ttl, ())}


def wrong_way(said: Said, family: int, ttls: Sequence[int] = (1, 2, 3, 4)) -> str:
    """What is wrong with it; nothing where it is right."""
    expected = {ttl: {router(family, ttl)} for ttl in ttls}
    if said.routers != expected:
        return f"hops {sorted(said.routers)} of {sorted(expected)}"
    lossy = sorted(said.lossy & expected.keys())
    return f"hop {lossy[0]} called lossy" if lossy else ""


def wrong_loop(said: Said, family: int, around: tuple[int, ...]) -> str:
    """A loop must be named, or else so many hops shown that the first router comes again.

    An IPv6 router reports with the address that a packet came in by.
    """
    if said.loop is not None:
        return "" if said.loop == [router(family, ttl) for ttl in around] else f"loop {said.loop}"
    first, boxes = around[0], [addresses(family, ttl) for ttl in around]
    shown = range(first, max(said.routers, default=0) + 1)
    right = all(said.routers.get(ttl, {""}) <= boxes[(ttl - first) % len(boxes)] for ttl in shown)
    return "" if right and len(shown) > len(around) else "not shown"


def wrong_mtu(said: Said, family: int, mtu: int, hole: int = 0) -> str:
    """Also wrong where a hole is not told from a router that says so."""
    if said.mtu != mtu:
        return f"MTU {said.mtu}" if said.mtu else "no MTU reported"
    expected = router(family, hole) if hole else None
    return "" if said.hole == expected else f"behind {said.hole}"


@dataclass(frozen=True)
class Made:
    """A path; lines set it up, and back."""

    name: str
    tools: tuple[Tool, ...]
    wrong: Callable[[Said, int], str]
    to: tuple[str, str] = HOST
    before: tuple[str, ...] = ()
    behind: tuple[str, ...] = ()
    pause_s: float = 0
    """Before each run: what a limit gives out it shall give to all alike."""
    is_far: bool = False


WIDTHS = (f"c: ip link set right mtu {NARROW}", "c: ip link set right mtu 1500")
PATHS = (
    Made("clean", TRACERS, wrong_way),
    Made("loop of 2", TRACERS, lambda said, family: wrong_loop(said, family, (2, 3)), LOOP2),
    Made("loop of 3", TRACERS, lambda said, family: wrong_loop(said, family, (1, 2, 3)), LOOP3),
    Made(
        "silent hop",
        TRACERS,
        lambda said, family: wrong_way(said, family, (1, 3, 4)),
        before=(rules("b", EXPIRED, "drop"),),
        behind=(f"b: {NO_RULES}",),
    ),
    Made(
        "router limited to 1 error/s",
        TRACERS,
        wrong_way,
        pause_s=1.2,
        before=(rules("b", EXPIRED, "limit rate over 1/second burst 1 packets drop"),),
        behind=(f"b: {NO_RULES}",),
    ),
    Made("clean", MEASURERS, lambda said, family: wrong_mtu(said, family, 1500)),
    Made(
        "narrow link",
        MEASURERS,
        lambda said, family: wrong_mtu(said, family, NARROW),
        before=WIDTHS[:1],
        behind=WIDTHS[1:],
    ),
    Made(
        "black hole",
        MEASURERS,
        lambda said, family: wrong_mtu(said, family, NARROW, hole=3),
        before=(*WIDTHS[:1], rules("c", TOO_BIG, "drop")),
        behind=(*WIDTHS[1:], f"c: {NO_RULES}"),
    ),
    Made("far", TRACERS, lambda said, family: wrong_way(said, family, range(1, 9)), FAR_HOST, is_far=True),
    Made("far", MEASURERS, lambda said, family: wrong_mtu(said, family, 1500), FAR_HOST, is_far=True),
    Made(
        "far black hole", MEASURERS, lambda said, family: wrong_mtu(said, family, NARROW, hole=7), FAR_HOLE, is_far=True
    ),
)


def lay(network: Network) -> None:
    """What the row of nodes needs besides: loops, and errors without limits."""
    for node in ROW[1:]:
        network.run(f"{node}: {NO_LIMITS}")
    network.run("c: ip link add back type veth peer name back netns {a}")
    for node, end in (("c", 1), ("a", 2)):
        for family in FAMILIES:
            network.run(f"{node}: ip addr add {address(family, BACK, end)}/{PREFIX[family]} dev back")
        network.run(f"{node}: ip link set back up")
    for family, loop2, loop3 in zip(FAMILIES, LOOP2, LOOP3, strict=True):
        network.run(f"c: ip -{family} route add {loop2} via {address(family, 3, 1)}")
        network.run(f"c: ip -{family} route add {loop3} via {address(family, BACK, 2)}")


class Far:
    """The simulated internet, entered by its only real host: what a `Network` is to commands of the prober."""

    def __enter__(self) -> Self:
        self._lab = subprocess.Popen(
            [UDPPROBE, "lab", "--up", FAR], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        line = self._lab.stdout.readline()
        entering = re.search(r"(nsenter .*) COMMAND", line)
        if not entering:
            self.__exit__()
            raise CannotRun(line.strip())
        self._enter = entering[1].split()
        return self

    def __exit__(self, *_) -> None:
        stop(self._lab, signal.SIGINT)
        self._lab.stdout.close()

    def command(self, line: str) -> list[str]:
        return [*self._enter, *shlex.split(line.removeprefix("prober: "))]

    def run(self, line: str) -> None:
        subprocess.run(self.command(line), check=True)


@dataclass
class Result:
    """The runs of one program on one path."""

    tool: Tool
    runs: Runs
    wrong: list[str] = field(default_factory=list)
    names_loop: bool = False

    @property
    def is_right(self) -> bool:
        return not any(self.wrong)

    @property
    def verdict(self) -> str:
        return next(filter(None, self.wrong), "yes, and names it" if self.names_loop else "yes")


def run(network: Network | Far, path: Made, family: int, result: Result) -> None:
    """Once; what the kernel learned of the path by the one before is forgotten."""
    network.run(f"prober: ip -{family} route flush cache")
    time.sleep(path.pause_s)
    line = result.tool.line.format(to=path.to[FAMILIES.index(family)])
    start = time.perf_counter()
    try:
        done = subprocess.run(
            network.command(f"prober: {line}"), capture_output=True, text=True, check=False, timeout=LONGEST_S
        )
    except subprocess.TimeoutExpired:
        result.runs.seconds.append(LONGEST_S)
        result.wrong.append(f"not done in {LONGEST_S} s")
        return
    result.runs.seconds.append(time.perf_counter() - start)
    said = result.tool.reads(done.stdout)
    result.names_loop = bool(said.loop)
    result.wrong.append(path.wrong(said, family))


def measure(network: Network | Far, path: Made, family: int, rounds: int) -> list[tuple[str, ...]]:
    """The rows of one path."""
    results = [Result(tool, Runs([])) for tool in path.tools if is_installed(tool)]
    say(f"{path.name}, IPv{family}")
    for line in path.before:
        network.run(line)
    for _ in range(rounds):
        for result in results:
            run(network, path, family, result)
    for line in path.behind:
        network.run(line)
    told = {result.tool: (str(result.runs), result.verdict, quotient(result, results)) for result in results}
    return [
        (f"{path.name}, v{family}", tool.asked, tool.name, *told.get(tool, ("not installed", "", "")))
        for tool in path.tools
    ]


def is_installed(tool: Tool) -> bool:
    try:
        require(shlex.split(tool.line)[0])
    except CannotRun:
        return False
    return True


def quotient(ours: Result, results: list[Result]) -> str:
    """Of us and the fastest peer that was asked the same and is right."""
    if not ours.tool.is_ours:
        return ""
    peers = [each for each in results if each.tool.asked == ours.tool.asked and each.is_right and not each.tool.is_ours]
    fastest = min(peers, key=lambda each: median(each.runs.seconds), default=None)
    return f"{ratio(ours.runs, fastest.runs)} x {fastest.tool.name.split()[0]}" if fastest else "no peer is right"


def start_up(rounds: int) -> tuple[str, ...]:
    """What no program in Python that needs NumPy can do without."""
    (runs,) = in_turns([Command("start", (sys.executable, "-c", "import numpy"))], rounds)
    return "", "nothing", "python -c 'import numpy'", str(runs), "", ""


def say(text: str) -> None:
    sys.stderr.write(f"... {text}\n")


def main(argv: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench paths", description=__doc__.partition(": ")[2])
    names = sorted({path.name for path in PATHS})
    parser.add_argument("paths", nargs="*", metavar="path", help=f"some of: {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turns (default: %(default)s)")
    options = parser.parse_args(argv)
    chosen = [path for path in PATHS if not options.paths or path.name in options.paths]
    rows = [start_up(options.rounds)]
    try:
        require("ip", "nft")
        with Network(*ROW) as near, Far() as far:
            lay(near)
            for path in chosen:
                for family in FAMILIES:
                    rows += measure(far if path.is_far else near, path, family, options.rounds)
    except CannotRun as reason:
        raise SystemExit(f"cannot measure: {reason}") from reason
    finally:
        sys.stdout.write(tabulate(rows, COLUMNS, disable_numparse=True) + "\n")
