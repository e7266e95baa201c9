"""What programs say of a path: how they are asked, and what they print."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

UDPPROBE = Path(sys.executable).with_name("udpprobe")


@dataclass
class Said:
    """What a program printed."""

    routers: dict[int, set[str]] = field(default_factory=dict)
    lossy: set[int] = field(default_factory=set)
    """TTLs of which it says that something was lost."""
    loop: list[str] | None = None
    mtu: int | None = None
    hole: str | None = None
    """Behind whom packets disappear."""


def of_trace(text: str) -> Said:
    told = json.loads(text)
    hops = [hop for hop in told["hops"] if hop["reporters"]]
    return Said(
        {hop["ttl"]: {each["address"] for each in hop["reporters"]} for hop in hops},
        {hop["ttl"] for hop in hops if hop["lost"]},
        told["loop"] and told["loop"]["routers"],
    )


def of_mtu(text: str) -> Said:
    told = json.loads(text)
    return Said(mtu=told["path_mtu"], hole=told["black_hole"] and told["black_hole"]["after"])


def of_lines(text: str) -> Said:
    """A line a hop, as every traceroute prints it; an MTU is the last one named, and a star before it a black hole."""
    said = Said()
    for ttl, rest in re.findall(r"^ *(\d+)(?:[:.]\S*)? +(.*)$", text, re.MULTILINE):
        if router := re.search(r"\d+\.\d+\.\d+\.\d+|[0-9a-f]+:[0-9a-f:]+", rest):
            said.routers.setdefault(int(ttl), set()).add(router[0])
        if re.search(r"\* |\*$|[1-9][\d.]*%", rest):
            said.lossy.add(int(ttl))
    if mtus := re.findall(r"(?:\[\*?mtu: |F=|pmtu )(\d+)", text):
        said.mtu = int(mtus[-1])
    if hole := re.search(r"^ *(\d+) .*\[\*mtu", text, re.MULTILINE):
        said.hole = min(said.routers.get(int(hole[1]) - 1, {"?"}))
    return said


@dataclass(frozen=True)
class Tool:
    """A program, as it is asked for a path; `{to}` is the destination."""

    name: str
    asked: str
    line: str
    reads: Callable[[str], Said] = of_lines

    @property
    def is_ours(self) -> bool:
        return self.line.startswith(str(UDPPROBE))


THREE, ONE, MTU = "way, 3 shots a hop", "way, 1 shot a hop", "MTU"
SCAMPER = "scamper -p 1000 -i {{to}} -c 'trace -P udp-paris -w 1 {}'"
TRACERS = (
    Tool("udpprobe trace", THREE, f"{UDPPROBE} trace --format json {{to}}", of_trace),
    Tool("traceroute", THREE, "traceroute -n {to}"),
    Tool("mtr -u -c 3 -i 0.1 -G 0.5", THREE, "mtr -n -u -r -c 3 -i 0.1 -G 0.5 {to}"),
    Tool("scamper -p 1000 -P udp-paris -w 1 -q 3 -Q", THREE, SCAMPER.format("-q 3 -Q")),
    Tool("udpprobe trace -q 1", ONE, f"{UDPPROBE} trace -q 1 --format json {{to}}", of_trace),
    Tool("traceroute -q 1", ONE, "traceroute -n -q 1 {to}"),
    Tool("tracepath", ONE, "tracepath -n {to}"),
    Tool("scamper -p 1000 -P udp-paris -w 1", ONE, SCAMPER.format("")),
)
MEASURERS = (
    Tool("udpprobe mtu", MTU, f"{UDPPROBE} mtu --format json {{to}}", of_mtu),
    Tool("traceroute --mtu -m 8 -w 1", MTU, "traceroute -n --mtu -q 1 -m 8 -w 1 {to}"),
    Tool("tracepath -m 8", MTU, "tracepath -n -m 8 {to}"),
    Tool("scamper -p 1000 -P udp-paris -M -w 1", MTU, SCAMPER.format("-M")),
)
