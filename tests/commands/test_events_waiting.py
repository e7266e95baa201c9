"""Errors of a file wait for its end in a file of their own; none is lost, and they are told in capture order."""

from __future__ import annotations

import struct

import pytest
from builders import sent, with_refusal
from containers import pcap_header
from following import MS, RAW

from udpprobe.capture.inputs import find_inputs
from udpprobe.commands import analyze as command

ERRORS = 2500
"""More than two `Kept` hold."""


def written(path, times_ns):
    """A capture of refused datagrams, at these times."""
    frames = [packet for n in range(ERRORS) for packet in with_refusal(sent(n % 200 + 1, id=n))]
    records = [
        struct.pack("<IIII", ns // 10**9, ns % 10**9 // 1000, len(frame), len(frame)) + frame
        for ns, frame in zip(times_ns, frames, strict=True)
    ]
    path.write_bytes(pcap_header(link_type=RAW) + b"".join(records))
    return find_inputs([str(path)], None, are_apart=False)


@pytest.mark.parametrize("kept_bytes", [1, 1 << 30])
@pytest.mark.parametrize("late", [0, 300])
def test_all_events_are_told_in_the_order_of_frames(kept_bytes, late, tmp_path, monkeypatch):
    monkeypatch.setattr(command, "WAITING_BYTES", kept_bytes)
    times_ns = [10**18 + MS * n // 4 for n in range(2 * ERRORS)]
    for first in range(0, 2 * ERRORS, 1000):  # what stands there was recorded earlier
        times_ns[first : first + 4] = [ns - late * MS for ns in times_ns[first : first + 4]]
    events = []
    report = command.analyze(written(tmp_path / "x.pcap", times_ns), command.AnalyzeOptions(), on_events=events.extend)
    assert list(range(2, 2 * ERRORS + 1, 2)) == [event.frame for event in events]
    assert {"exact"} == {event.match for event in events}
    assert ERRORS == sum(each.errors for each in report.destinations)


def test_only_what_is_being_told_is_in_memory(tmp_path, monkeypatch):
    loaded = []
    load = command.Waiting._load  # noqa: SLF001 - how much is read at a time shows nowhere else
    monkeypatch.setattr(command.Waiting, "_load", lambda self, number: loaded.append(number) or load(self, number))
    told_by = []
    inputs = written(tmp_path / "x.pcap", [10**18 + MS * n for n in range(2 * ERRORS)])
    command.analyze(inputs, command.AnalyzeOptions(), on_events=lambda some: told_by.append((len(some), len(loaded))))
    assert sorted(set(loaded)) == loaded
    assert len(loaded) >= 3
    assert (command.EVENTS_AT_A_TIME, 1) == told_by[0]
