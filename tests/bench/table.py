"""The rows of the table: what is measured beside what, on which capture, and the goal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from . import catalogue
from .catalogue import Capture
from .measure import Command, Runs, cpu_ratio, in_a_child, in_turns, pinned, ratio, ratios
from .truth import Checked, check

COLUMNS = ("measured", "ours, s", "theirs, s", "ratio", "goal", "", "of CPU", "our peak, MB", "errors told right")
PYTHON = sys.executable
UDPPROBE = str(Path(PYTHON).with_name("udpprobe"))

CORES = "--workers"
"""The option of `analyze` that says how many of this host's cores it may use."""
ONE_CORE, TWO_CORES = (CORES, "1"), (CORES, "2")
CLUSTER = ("--cluster", "local", "--workers", "2")
INTERPRETED = (("UDPPROBE_PURE", "1"),)

SLICE = 10
"""Peers that would take minutes get a tenth of the packets; their seconds are scaled."""

SCAPY = "import sys; from scapy.all import PcapReader\nfor packet in PcapReader(sys.argv[1]): pass"
DPKT = """
import sys, dpkt
for time, frame in dpkt.pcap.Reader(open(sys.argv[1], 'rb')):
    try: dpkt.ethernet.Ethernet(frame)
    except dpkt.UnpackError: pass
"""


@dataclass(frozen=True)
class Use:
    """A command about a capture, or about none."""

    command: Callable[[str], Command]
    capture: Capture | None = None


def analyze(capture: Capture, *options: str, env: tuple[tuple[str, str], ...] = ()) -> Use:
    return Use(
        lambda path: Command("udpprobe analyze", (UDPPROBE, "analyze", path, "--format", "json", *options), env=env),
        capture,
    )


def tcpdump(capture: Capture) -> Use:
    return Use(
        lambda path: Command("tcpdump", ("tcpdump", "-r", path, "-w", "/dev/null", "udp or icmp or icmp6")), capture
    )


def tshark(capture: Capture, scale: float = 1) -> Use:
    return Use(
        lambda path: Command(
            "tshark -Y", ("tshark", "-nr", path, "-Y", "icmp||icmpv6", "-T", "fields", "-e", "frame.number"), scale
        ),
        capture,
    )


def script(name: str, text: str, capture: Capture, scale: float) -> Use:
    return Use(lambda path: Command(name, (PYTHON, "-c", text, path), scale), capture)


def zcat(capture: Capture) -> Use:
    return Use(lambda path: Command("zcat", ("zcat", path)), capture)


def plain(*argv: str) -> Use:
    return Use(lambda _: Command(argv[0], argv))


def on_one_core(use: Use) -> Use:
    return Use(lambda path: pinned(use.command(path)), use.capture)


@dataclass(frozen=True)
class Goal:
    """A limit of a median: at most, unless `at_least`."""

    limit: float
    unit: str = ""
    at_least: bool = False

    def __str__(self) -> str:
        return f"{'>=' if self.at_least else '<='} {self.limit:g} {self.unit}".rstrip()

    def is_met(self, figure: float) -> bool:
        return figure >= self.limit if self.at_least else figure <= self.limit


@dataclass(frozen=True)
class Row:
    """Ours over theirs; theirs over ours where the goal is a least one. Alone, it is about seconds or memory."""

    group: str
    title: str
    ours: Use
    theirs: Use | None = None
    goal: Goal | None = None
    rounds: tuple[int, int] = (1, 1000)
    """So many at least and at most, whatever was asked for."""


def rows(scale: float) -> list[Row]:
    """All of them, in the order of the table; every size is multiplied by `scale`."""

    def size(packets: int) -> int:
        return max(round(packets * scale), 1)

    return [
        *_beside_tcpdump(size),
        *_beside_slow_peers(size),
        *_containers(size),
        *_starts(),
        *_much(size),
        *_cluster(size),
        *_adversarial(size),
    ]


Size = Callable[[int], int]


def million(packets: int) -> str:
    return f"{packets / 1e6:g} M"


def _beside_tcpdump(size: Size) -> Iterator[Row]:
    full, cut, random = (
        catalogue.usual(size(5_000_000)),
        catalogue.usual(size(20_000_000), "s96"),
        catalogue.at_random(size(10_000_000)),
    )
    for capture, what, one, two in (
        (full, "full-size", 0.6, 0.4),
        (cut, "cut at 96", 1.15, 0.7),
        (random, "cut at 128, 20,000 flows at random", None, 0.65),
    ):
        title = f"{million(capture.packets)} {what} / tcpdump's filter"
        yield Row(
            "tcpdump",
            f"{title}, one core",
            on_one_core(analyze(capture, *ONE_CORE)),
            on_one_core(tcpdump(capture)),
            one and Goal(one),
        )
        yield Row("tcpdump", f"{title}, all cores", analyze(capture), tcpdump(capture), Goal(two))


def _beside_slow_peers(size: Size) -> Iterator[Row]:
    ours = catalogue.usual(size(5_000_000))
    part = catalogue.usual(max(ours.packets // SLICE, 1))
    title = f"{{}} on 1/{SLICE}, scaled / ours, {million(ours.packets)} full-size"
    yield Row(
        "tshark",
        title.format("tshark"),
        analyze(ours),
        tshark(part, ours.packets / part.packets),
        Goal(150, at_least=True),
        (1, 3),
    )
    small = catalogue.usual(max(ours.packets // (25 * SLICE), 1))
    for name, text, least in (("dpkt", DPKT, 60), ("Scapy", SCAPY, 1000)):
        title = f"{name} on 1/{25 * SLICE}, scaled / ours, {million(ours.packets)} full-size"
        yield Row(
            "peers",
            title,
            analyze(ours),
            script(name, text, small, ours.packets / small.packets),
            Goal(least, at_least=True),
            (1, 1),
        )


def _containers(size: Size) -> Iterator[Row]:
    full, again = catalogue.usual(size(5_000_000)), catalogue.usual(size(5_000_000), container="pcapng")
    title = f"{million(full.packets)} full-size, pcapng / pcap"
    yield Row("containers", title, analyze(again), analyze(full), Goal(1.15))
    for packets, snap, what in ((1_000_000, "full", "full-size"), (5_000_000, "s96", "cut at 96")):
        packed = catalogue.compressed(catalogue.usual(size(packets), snap))
        title = f"{million(packed.packets)} {what} in gzip / zcat > /dev/null"
        yield Row("containers", title, analyze(packed), zcat(packed), Goal(1.15))
    disordered, ordered = (catalogue.two_interfaces(size(2_000_000), is_ordered=it) for it in (False, True))
    title = f"{million(ordered.packets)} from two interfaces, out of order / in order"
    yield Row("containers", title, analyze(disordered), analyze(ordered))


def _starts() -> Iterator[Row]:
    nothing, rounds, hundred = plain(PYTHON, "-c", "pass"), (7, 1000), catalogue.hundred()
    yield Row("start", "--help / python -c pass", plain(UDPPROBE, "--help"), nothing, Goal(5), rounds)
    yield Row("start", "explain 3 3 / python -c pass", plain(UDPPROBE, "explain", "3", "3"), nothing, Goal(6), rounds)
    yield Row("start", "100 packets / tshark", analyze(hundred), tshark(hundred), Goal(0.45), rounds)
    yield Row(
        "start",
        "100 packets, interpreted twin / tshark",
        analyze(hundred, env=INTERPRETED),
        tshark(hundred),
        Goal(1),
        rounds,
    )


def _much(size: Size) -> Iterator[Row]:
    long, many, talks = (
        catalogue.usual(size(60_000_000), "s96"),
        catalogue.destinations(size(1_000_000)),
        catalogue.conversations(size(10_000_000)),
    )
    yield Row(
        "memory", f"{million(long.packets)} cut at 96, memory", analyze(long), goal=Goal(150, "MB"), rounds=(1, 1)
    )
    title = f"{million(many.packets // 2)} refused destinations to JSON"
    yield Row("memory", f"{title}, memory", analyze(many), goal=Goal(600, "MB"), rounds=(1, 3))
    yield Row("memory", f"{title}, time", analyze(many), goal=Goal(6 * many.packets / 2e6, "s"), rounds=(1, 3))
    yield Row("memory", f"{million(talks.packets)} conversations, memory", analyze(talks), rounds=(1, 1))


def _cluster(size: Size) -> Iterator[Row]:
    cut = catalogue.usual(size(40_000_000), "s96")
    title = f"{million(cut.packets)} cut at 96, --cluster local --workers 2 / two cores"
    yield Row("cluster", title, analyze(cut, *CLUSTER), analyze(cut, *TWO_CORES), Goal(1.35))
    yield Row(
        "cluster",
        f"{million(cut.packets)} cut at 96, one core / two",
        analyze(cut, *ONE_CORE),
        analyze(cut, *TWO_CORES),
    )


def _adversarial(size: Size) -> Iterator[Row]:
    for container in ("pcap", "pcapng"):
        false = catalogue.adversarial(size(500_000), container)
        yield Row(
            "adversarial",
            f"false records in payloads / usual, {container}",
            analyze(false),
            analyze(catalogue.usual(false.packets, container=container)),
            rounds=(1, 3),
        )
    for is_pcapng, what in ((False, "pcap records"), (True, "pcapng sections")):
        hollow = catalogue.empty(size(20_000_000), is_pcapng=is_pcapng)  # 20 M a second, and the start
        yield Row("adversarial", f"{million(size(20_000_000))} empty {what}", analyze(hollow), goal=Goal(1.2, "s"))


EXTRA = {"peers", "adversarial"}
"""Groups that run only where they are asked for."""


class Bench:
    """Measures rows. What was measured or checked once in this run is not done again."""

    def __init__(self, directory: Path, rounds: int, say: Callable[[str], None]) -> None:
        self.directory, self.rounds, self.say = directory, rounds, say
        self.measured: dict[tuple[Command, ...], list[Runs]] = {}
        self.checked: dict[Command, Checked] = {}

    def line(self, row: Row) -> tuple[str, ...]:
        """One line of the table."""
        uses = [use for use in (row.ours, row.theirs) if use]
        commands = [self._command(use) for use in uses]
        if missing := [command.argv[0] for command in commands if not command.is_installed]:
            return (row.title, "", "", "", _or_nothing(row.goal), f"skipped: no {missing[0]}")
        self.say(row.title)
        ours, *theirs = self._runs(tuple(commands), row.rounds)
        checked = self._check(commands[0], row.ours.capture)
        is_wrong = checked is not None and not checked.is_right
        of_time, of_cpu = shown_ratios(row.goal, ours, *theirs)
        if CLUSTER[0] in commands[0].argv:
            of_cpu = ""  # its workers are no children that are waited for
        return (
            row.title,
            str(ours),
            str(theirs[0]) if theirs else "",
            of_time,
            _or_nothing(row.goal),
            "WRONG" if is_wrong else verdict(row.goal, ours, *theirs),
            of_cpu,
            f"{ours.peak_mb:.0f}" if row.ours.capture else "",
            _or_nothing(checked),
        )

    def _command(self, use: Use) -> Command:
        return use.command(str(use.capture.ready(self.directory, self.say)) if use.capture else "")

    def _runs(self, commands: tuple[Command, ...], rounds: tuple[int, int]) -> list[Runs]:
        if commands not in self.measured:
            least, most = rounds
            self.measured[commands] = in_turns(list(commands), max(least, min(self.rounds, most)))
        return self.measured[commands]

    def _check(self, command: Command, capture: Capture | None) -> Checked | None:
        if capture is None:
            return None
        if command not in self.checked:
            self.checked[command] = in_a_child(check, command, capture, self.directory / capture.name)
        return self.checked[command]


def _or_nothing(thing: object) -> str:
    return "" if thing is None else str(thing)


def shown_ratios(goal: Goal | None, ours: Runs, theirs: Runs | None = None) -> tuple[str, str]:
    """Of seconds and of processor time."""
    if theirs is None:
        return "", ""
    pair = (theirs, ours) if goal and goal.at_least else (ours, theirs)
    return ratio(*pair), cpu_ratio(*pair)


def verdict(goal: Goal | None, ours: Runs, theirs: Runs | None = None) -> str:
    if goal is None:
        return ""
    if theirs is not None:
        figure = median(ratios(theirs, ours) if goal.at_least else ratios(ours, theirs))
    else:
        figure = ours.peak_mb if goal.unit == "MB" else median(ours.seconds)
    return "met" if goal.is_met(figure) else "MISSED"
