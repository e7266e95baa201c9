"""What each command writes on a terminal of 80 and of 120 columns, without a network, for tests/golden/screens.

Reports come of captures of pcaps/, or are made up; `screens` has the live screen of trace.
"""

from __future__ import annotations

import contextlib
import io
import os
import textwrap
from pathlib import Path
from unittest import mock

import samples
import screens
from msgspec.structs import replace

from udpprobe.checking.states import Checked, Outcome
from udpprobe.cli import main
from udpprobe.pmtud.model import BlackHole, MtuReport, Reported
from udpprobe.reports.checks import check_table, plugin
from udpprobe.reports.mtu import mtu_table
from udpprobe.reports.table import report_table
from udpprobe.reports.text import PLAIN
from udpprobe.reports.trace import trace_table
from udpprobe.tracing.model import Target

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
    screens.NOW_NS,
    "1.0",
)
MTU = MtuReport(
    version="1.0",
    target=Target("192.0.2.7", 53),
    verdict="too-big",
    errno=None,
    path_mtu=1400,
    udp_payload_max=1372,
    proof="answer",
    state="SEARCH_COMPLETE",
    interface="eth0",
    interface_mtu=1500,
    source_address="192.0.2.1",
    control_port=55_555,
    reports=(Reported("10.0.1.2", 1480, 8, 1401, ("reported MTU ≥ packet size: bogus",)),),
    black_hole=None,
    sent=13,
    duration_ms=286.0,
    time_ns=screens.NOW_NS,
    advice="Ask whoever runs 10.0.1.2 to correct "
    "the MTU it reports; until then, set the MTU of the route to 192.0.2.7 to 1400.",
)
HOLE = replace(
    MTU, verdict="black-hole", reports=(), black_hole=BlackHole(1400, 1401, "10.0.1.2", "10.0.2.2"), advice=None
)
MADE = {
    "trace": lambda width: trace_table(replace(screens.path(3), name="dns.example"), width, PLAIN),
    "trace-around": lambda width: trace_table(screens.around(3), width, PLAIN),
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
