"""What a second core brings: one capture read by two processes, by one, by tcpdump, and by a cluster, in turns."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.measure import Command, in_turns, ratio

if TYPE_CHECKING:
    from tests.bench.measure import Runs

Row = tuple[str, ...]


def with_workers(analysis: Command, count: int) -> Command:
    return replace(analysis, argv=(*analysis.argv, "--workers", str(count)))


def with_cluster(analysis: Command) -> Command:
    return replace(with_workers(analysis, 2), argv=(*with_workers(analysis, 2).argv, "--cluster", "local"))


def rows(path: Path, packets: int, analysis: Command, tcpdump: Command, rounds: int) -> list[Row]:
    """Rows for the table: two processes beside one, and beside tcpdump where that is installed."""
    if len(os.sched_getaffinity(0)) < 2:
        return [(f"{path.name}: two processes", "", "skipped: one core")]
    commands = [with_workers(analysis, 2), with_workers(analysis, 1), with_cluster(analysis),
                *([tcpdump] if tcpdump.is_installed else [])]
    two, one, cluster, *peers = in_turns(commands, rounds)
    found = [_row(f"{packets:,} s96, 1 process / 2", two, one, ratio(one, two), ">= 1.6"),
             _row(f"{packets:,} s96, cluster of 2 / 2 processes", cluster, two, ratio(cluster, two), "<= 1.25")]
    found += [_row(f"{packets:,} s96, 2 processes / tcpdump", two, peer, ratio(two, peer), "< 1") for peer in peers]
    return found


def _row(title: str, ours: Runs, theirs: Runs, quotient: str, goal: str) -> Row:
    return title, str(ours), str(theirs), quotient, goal, f"{ours.peak_mb:.0f}"
