"""What is shown on terminals, without a network, for tests/golden/screens: `make golden` writes them.

Live screens of invented traces; and what each command writes on a terminal of 80 and of 120 columns, of captures of
pcaps/ or of reports that are made up.
"""

from __future__ import annotations

import contextlib
import io
import os
import textwrap
from pathlib import Path
from unittest import mock

import samples
from msgspec.structs import replace

from udpprobe.checking.states import Checked, Outcome
from udpprobe.cli import main
from udpprobe.core.model import Spread
from udpprobe.pmtud.model import BlackHole, Reported
from udpprobe.reports.checks import check_table, plugin
from udpprobe.reports.mtu import mtu_table
from udpprobe.reports.screen import View, trace_screen
from udpprobe.reports.table import report_table
from udpprobe.reports.text import PLAIN
from udpprobe.reports.trace import trace_table
from udpprobe.tracing.hops import advised
from udpprobe.tracing.model import Hop, Reporter, Target, TraceLoop, TraceReport
from udpprobe.tracing.statistics import Rounds

NOW_NS = 1_767_225_600_000_000_000  # 2026-01-01
SECOND = 1_000_000_000
SIZES = ((80, 24), (120, 30))


def reporter(address, count=3, verdict="expired"):
    kind = (3, 3, "port-unreach") if verdict == "refused" else (11, 0, "time-exceeded")
    return Reporter(address, count, Spread(1, 1, 1), *kind, verdict, None, (), (), (0,), ())


def hop(ttl, *addresses, base_ms=1.0, seed=0, verdict="expired", lost=0):
    rtts_ms = tuple(None if n < lost else base_ms * (1 + (seed * 7 + n * 3) % 11 / 4) for n in range(3))
    if not addresses:
        return Hop(ttl, (), 3, 3, rtts_ms=(None,) * 3)
    return Hop(ttl, tuple(reporter(each, 3 - lost, verdict) for each in addresses), 3, lost, rtts_ms=rtts_ms)


def report(hops, verdict="refused", seed=0, **fields):
    found = TraceReport(
        "1.0",
        Target(fields.pop("to", "192.0.2.7"), 53),
        "192.0.2.1",
        (40_000,),
        "eth0",
        NOW_NS + 10 * seed * SECOND,
        verdict,
        None,
        verdict == "refused",
        tuple(hops),
        fields.pop("loop", None),
        **fields,
    )
    return advised(found) if verdict else found


def path(seed):
    """Five hops, one silent and one with losses; in the seventh round another router takes over."""
    second = "10.0.2.2" if seed < 7 else "10.0.9.2"
    return report(
        [
            hop(1, "10.0.1.2", base_ms=0.08, seed=seed),
            hop(2, second, base_ms=4, seed=seed),
            hop(3),
            hop(4, "10.0.4.2", "10.0.4.6", base_ms=11, seed=seed, lost=seed % 4 == 1),
            hop(5, "192.0.2.7", base_ms=95, seed=seed, verdict="refused"),
        ],
        seed=seed,
    )


LOOP = TraceLoop(("10.0.1.2", "10.0.2.2"), 2, 2)


def around(seed):
    routers = ["10.0.0.1", *["10.0.1.2", "10.0.2.2"] * 15]
    return report([hop(ttl, routers[ttl - 1], base_ms=ttl, seed=seed) for ttl in range(1, 31)], "loop", seed, loop=LOOP)


def v6(seed):
    ends = ["2001:db8:1::2", "2001:db8:aaaa:bbbb:cccc:dddd:eeee:ffff", "2001:db8:3::2"]
    hops = [hop(ttl, each, base_ms=ttl, seed=seed) for ttl, each in enumerate(ends[:2], 1)]
    return report([*hops, hop(3, ends[2], base_ms=3, seed=seed, verdict="refused")], seed=seed, to=ends[2])


def rounds_of(made, count, more=()):
    rounds = Rounds()
    for seed in range(count):
        rounds.take(made(seed))
    for each in more:
        rounds.take(each)
    return rounds


def view(rounds, running=None, **fields):
    return View(replace(rounds.shown(running), name=fields.pop("name", None)), NOW_NS + 100 * SECOND, **fields)


def views():
    """By name."""
    path_rounds = rounds_of(path, 9)
    first = report([hop(1, "10.0.1.2", base_ms=0.08), hop(2, "10.0.2.2", base_ms=4)], None)
    changed = rounds_of(path, 3, [around(4), path(5)])
    several = tuple(rounds.shown(None) for rounds in (path_rounds, rounds_of(around, 3), rounds_of(v6, 4)))
    many = (*several, None, *[several[0]] * 16)
    return {
        "path": view(path_rounds, number=9, state="next round in 7 s", name="dns.example"),
        "ascii": view(path_rounds, number=9, state="paused", is_ascii=True),
        "help": view(path_rounds, number=9, has_help=True),
        "first-round": view(Rounds(), first),
        "loop": view(rounds_of(path, 2, [around(2)]), number=3),
        "loop-gone": view(changed, number=5),
        "ipv6": view(rounds_of(v6, 4), number=4, has_keys=False),
        "several": view(path_rounds, number=9, state="next round in 1 s", targets=several, chosen=0),
        "many": view(rounds_of(v6, 4), number=9, targets=many, chosen=2),
    }


def screens():
    """By name and width."""
    return {
        f"trace-{name}-{width}": trace_screen(each, width, height, PLAIN) + "\n"
        for name, each in views().items()
        for width, height in SIZES
    }


# ---- what commands write

ROOT = Path(__file__).parents[1]
WIDTHS = 80, 120
OFFLINE = {
    "analyze": "analyze --utc pcaps/host-unreachable.pcap",
    "analyze-loops": "analyze --utc pcaps/loop3-link.pcap",
    "analyze-reporters": "analyze --utc --group-by reporter pcaps/mtus.pcap",
    "analyze-healthy": "analyze --utc --all pcaps/both-sides.pcapng",
    "analyze-events": "analyze --utc --events pcaps/too-big.pcap",
    "diff": "diff pcaps/refused.pcap pcaps/too-big.pcap",
    "explain-word": "explain black-hole",
    "explain-error": "explain 3 4",
    "lab": "lab --list",
    "scan-plan": "scan --dry-run 127.0.0.1:7,53,123",
    "payloads": "scan --list-payloads",
}


class Terminal(io.StringIO):
    """One that shows nothing but text."""

    encoding = "utf-8"

    def isatty(self):
        return True


def shown(words, width):
    """What a command writes there."""
    told = Terminal()
    environment = {"COLUMNS": str(width), "TERM": "dumb", "NO_COLOR": "1", "TZ": "UTC"}
    with (
        mock.patch.dict(os.environ, environment),
        contextlib.chdir(ROOT),
        contextlib.redirect_stdout(told),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        main(words.split())
    return told.getvalue()


def checked(port, state, text, verdict, advice=None):
    return Checked(
        target=f"192.0.2.7:{port}",
        group=None,
        address="192.0.2.7",
        port=port,
        state=state,
        text=text,
        verdict=verdict,
        meaning=None,
        rtt_ms=2.5 if verdict == "answered" else None,
        path_mtu=None,
        min_mtu=None,
        warning=None,
        critical=None,
        findings=(),
        notes=(),
        advice=advice,
    )


CHECKS = Outcome(
    (
        checked(53, "OK", "answered in 2.5 ms", "answered"),
        checked(
            123,
            "CRITICAL",
            "refused by 192.0.2.7 itself",
            "refused",
            "Nothing listens on 192.0.2.7:123: start the service or check the port.",
        ),
    ),
    0.1,
    NOW_NS,
    "1.0",
)
MTU = samples.mtu_report(
    "192.0.2.7",
    mtu=1400,
    version="1.0",
    verdict="too-big",
    proof="answer",
    source_address="192.0.2.1",
    control_port=55_555,
    reports=(Reported("10.0.1.2", 1480, 8, 1401, ("reported MTU ≥ packet size: bogus",)),),
    sent=13,
    duration_ms=286.0,
    time_ns=NOW_NS,
    advice="Ask whoever runs 10.0.1.2 to correct "
    "the MTU it reports; until then, set the MTU of the route to 192.0.2.7 to 1400.",
)
HOLE = replace(
    MTU, verdict="black-hole", reports=(), black_hole=BlackHole(1400, 1401, "10.0.1.2", "10.0.2.2"), advice=None
)
MADE = {
    "trace": lambda width: trace_table(replace(path(3), name="dns.example"), width, PLAIN),
    "trace-around": lambda width: trace_table(around(3), width, PLAIN),
    "mtu-liar": lambda width: mtu_table(MTU, width, PLAIN),
    "mtu-black-hole": lambda width: mtu_table(HOLE, width, PLAIN),
    "check-table": lambda width: check_table(CHECKS, width, PLAIN),
    # a monitor's line is one, however long
    "check": lambda _: "\n".join(textwrap.wrap(plugin(CHECKS, 0), 80)) + "\n",
    "scan": lambda width: report_table(
        samples.report(samples.REFUSED, samples.LOOP, samples.TOO_BIG, samples.ANSWERED), width, PLAIN
    ),
}
"""What is made of found things, by width."""


def command_screens():
    """By name and width."""
    made = {f"{name}-{width}": make(width) for name, make in MADE.items() for width in WIDTHS}
    return made | {f"{name}-{width}": shown(words, width) for name, words in OFFLINE.items() for width in WIDTHS}
