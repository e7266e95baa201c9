"""A host whose only way out is a simulated internet, in simulated time: our commands run on it as they are.

Where they would touch the world (socket, capture, route, clock) the world of a scenario stands instead.
"""

from __future__ import annotations

import errno
import io
import json
import tempfile
from contextlib import redirect_stderr
from ipaddress import ip_interface
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

import numpy as np
from udpprobe.core.batch import PADDING_BYTES, FrameBatch, SourceState, tick
from udpprobe.sources.filter import compile_filter

from udpprobe import hostfacts
from udpprobe.cli import main
from udpprobe.core.addresses import mapped_address
from udpprobe.lab.scenario import load
from udpprobe.lab.world import World

RAW = 101       # LINKTYPE_RAW
NOON_NS = 1_790_000_000 * 10**9
CALL_NS = 20_000
"""What a look at the wire takes, though nothing be there."""


class Host:
    """The clock, the interface, and everybody who captures on it."""

    def __init__(self, scenario, seed=None):
        self.world, self.scenario = World(scenario, seed), scenario
        self.now_ns = NOON_NS
        self.captures = []

    def send(self, packet):
        """Put a packet on the wire; 0, or why the interface does not take it."""
        if len(packet) > self.scenario.mtu:
            return errno.EMSGSIZE
        self._tell(packet)
        self.world.receive(packet, self.now_ns)
        return 0

    def wait(self, capture, wait_s):
        """Let time pass until something comes for a capture, but not longer than `wait_s`."""
        end_ns = self.now_ns + max(round(wait_s * 1e9), CALL_NS)
        while not capture.frames:
            next_ns = self.world.next_ns
            self.now_ns = end_ns if next_ns is None or next_ns > end_ns else max(next_ns, self.now_ns)
            for packet in self.world.due(self.now_ns):
                self._tell(packet)
            if self.now_ns >= end_ns:
                break

    def _tell(self, packet):
        for capture in self.captures:
            capture.frames.append((self.now_ns, packet))


class Capture:
    """In a live capture's place: its filter is the real one."""

    def __init__(self, host, expression, kind):
        self.frames, self.state = [], SourceState(kind, "lab0")
        self._host, self._numbers = host, 0
        self._passes = compile_filter(expression, RAW)
        host.captures.append(self)

    def receive(self, wait_s):
        self._host.wait(self, wait_s)
        some, self.frames = self.frames, []
        if not some:
            return tick(self._host.now_ns)
        batch = batch_of(some, self._host.now_ns)
        batch = batch.take(np.flatnonzero(self._passes(batch)))
        batch.frame = np.arange(self._numbers + 1, self._numbers + len(batch) + 1)
        self._numbers += len(batch)
        return batch

    def close(self):
        self._host.captures.remove(self)


def batch_of(frames, now_ns):
    """Packets with their times as a batch."""
    size = np.array([len(packet) for _, packet in frames])
    data = np.frombuffer(b"".join(packet for _, packet in frames) + bytes(PADDING_BYTES), np.uint8)
    rows = np.arange(1, len(frames) + 1)
    return FrameBatch(data, np.cumsum(size) - size, size, size, np.array([when for when, _ in frames]),
                      np.full(len(frames), RAW, np.int32), rows, now_ns)


class Sender:
    """In the raw sockets' place."""

    def __init__(self, host):
        self._host = host

    def send(self, crafted, zone):
        assert len(zone) == len(crafted.length)
        rows = zip(crafted.packets, crafted.length.tolist(), strict=True)
        return np.array([self._host.send(packet[:length].tobytes()) for packet, length in rows], np.int64)

    def close(self):
        pass


def commanded(name, *words, seed=None):
    """Run a command on a host in a scenario.

    Args:
        name: the scenario.
        words: the command's, without `udpprobe`.
        seed: of the dice; the scenario's own without.

    Returns:
        What it says as JSON, with `status`, `stderr` and the simulated `seconds`.
    """
    host = Host(load(name) if isinstance(name, str) else name, seed)
    clock = SimpleNamespace(time_ns=lambda: host.now_ns, monotonic=lambda: host.now_ns / 1e9)
    err = io.StringIO()
    instead = {
        "udpprobe.hostfacts.source_of": lambda address, *_, **__: _source(host, address),
        "udpprobe.prepare.has_net_raw": lambda: True,
        "udpprobe.wire._way": lambda *_: ("lab0", host.scenario.mtu),
    }
    for room in ("udpprobe.wire", "udpprobe.engines.raw"):
        instead[f"{room}.open_capture"] = (
            lambda expression, *, kind="interface", **_: Capture(host, expression, kind))
        instead[f"{room}.Sender"] = lambda **_: Sender(host)
    for room in ("wire", "trace", "scan"):
        instead[f"udpprobe.{room}.time"] = clock
    with tempfile.TemporaryDirectory() as folder, redirect_stderr(err):
        out = Path(folder, "told.json")
        status = _with(instead, lambda: main([*words, "--format", "json", "-o", str(out)]))
        told = json.loads(out.read_text()) if out.exists() else {}
    return told | {"status": status, "stderr": err.getvalue(), "seconds": (host.now_ns - NOON_NS) / 1e9}


def _with(instead, run):
    """Run with each of these in its place."""
    if not instead:
        return run()
    (where, what), *rest = instead.items()
    with patch(where, what):
        return _with(dict(rest), run)


def _source(host, address):
    mine = (ip_interface(str(each)).ip for each in host.scenario.networks)
    return hostfacts.SourceAddress(
        next(mapped_address(each) for each in mine if (each.version == 6) == (":" in address)), 0)
