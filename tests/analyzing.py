"""What the command line says about a capture."""

from __future__ import annotations

import json

from udpprobe.cli import main


def report_of(file, tmp_path):
    """The JSON report, with the healthy destinations."""
    return json.loads(output_of(file, tmp_path, "--all", "--format", "json"))


def events_of(file, tmp_path):
    """A dictionary for each ICMP error about UDP."""
    lines = output_of(file, tmp_path, "--events", "--format", "ndjson").splitlines()
    return [json.loads(line) for line in lines]


def output_of(file, tmp_path, *options):
    into = tmp_path / "output"
    status = main(["analyze", str(file), *options, "--no-progress", "--output", str(into)])
    assert status == 0, f"analyze ended with {status}"
    return into.read_text()
