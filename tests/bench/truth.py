"""Whether what was measured is also right: reports and events held against a capture's truth."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from .captures import truth_of
from .catalogue import Capture
from .measure import Command

REPORTED = ("source", "packets", "destinations", "findings", "unmatched", "family", "count")
"""What is kept of a report: a million destinations with everything would take gigabytes."""


@dataclass(frozen=True)
class Checked:
    """What the events and the report of one command are worth."""

    errors: int
    right: int
    complaints: tuple[str, ...] = ()

    @property
    def is_right(self) -> bool:
        return self.right == self.errors and not self.complaints

    def __str__(self) -> str:
        return "; ".join((f"{self.right:,} of {self.errors:,}", *self.complaints))


def check(command: Command, capture: Capture, path: Path) -> Checked:
    """`command` is an analysis of `path` that writes JSON."""
    truth = expected(capture, path)
    found = events(command, capture)
    right = sum(found.get(frame, -1) == matched for frame, matched in truth.items())
    invented = len(found.keys() - truth.keys())
    complaints = (f"{invented:,} invented",) if invented else ()
    return Checked(len(truth), right, complaints + complaints_about(report(command), capture, truth))


def expected(capture: Capture, path: Path) -> dict[int, int]:
    """The frame of each error's datagram by that of the error; 0 where it was never sent."""
    lines = (line.split() for line in truth_of(path).read_text().splitlines())
    return {int(frame): int(matched) for frame, matched, family in lines if family == "4" or capture.shows_v6_ports}


def events(command: Command, capture: Capture) -> dict[int, int]:
    found = {}
    telling = replace(command, argv=(*command.argv, "--events", "--format", "ndjson"))
    with telling.start(subprocess.PIPE) as process:
        for line in process.stdout:
            event = json.loads(line)
            if event["family"] == 4 or capture.shows_v6_ports:
                found[event["frame"]] = event["matched_frame"] or 0
    telling.end(process.returncode)
    return found


def report(command: Command) -> dict:
    with command.start(subprocess.PIPE) as process:
        found = json.load(
            process.stdout, object_hook=lambda each: {name: each[name] for name in REPORTED if name in each}
        )
    command.end(process.returncode)
    return found


def complaints_about(report: dict, capture: Capture, truth: dict[int, int]) -> tuple[str, ...]:
    """Packets, matched and unmatched errors of the report, where they are not what they should be."""
    matched = sum(map(bool, truth.values()))
    told = [finding for each in report["destinations"] for finding in each["findings"]]
    found = {
        "packets": (report["source"]["packets"], capture.packets),
        "matched errors": (_count(told, capture), matched),
        "unmatched errors": (_count(report["unmatched"], capture), len(truth) - matched),
    }
    return tuple(f"reports {said:,} {what}, not {right:,}" for what, (said, right) in found.items() if said != right)


def _count(findings: list[dict], capture: Capture) -> int:
    return sum(each["count"] for each in findings if each["family"] == 4 or capture.shows_v6_ports)
