"""A host whose only way out is a simulated internet, in simulated time: our commands run on it as they are.

Where they would touch the world (socket, capture, route, clock) the world of a scenario stands instead.
"""

from __future__ import annotations

import errno
import io
import json
import tempfile
from contextlib import redirect_stderr
from functools import partial
from ipaddress import ip_interface
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

from udpprobe.capture.filter import filter_of
from udpprobe.capture.frames import Frame, Frames, SourceState
from udpprobe.cli import main
from udpprobe.commands import mtu, scan, trace  # noqa: F401 - before a patch, or they would keep it
from udpprobe.core.addresses import mapped_address
from udpprobe.lab.scenario import load
from udpprobe.lab.world import World
from udpprobe.linux import hostfacts
from udpprobe.linux.clock import SteadyClock

RAW = 101  # LINKTYPE_RAW
NOON_NS = 1_790_000_000 * 10**9
GAP_NS = 30_000
"""Between two packets of a burst: what comes at once and looks the same is the same, on another interface."""
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
            for number, packet in enumerate(self.world.due(self.now_ns)):
                self.now_ns += GAP_NS if number else 0
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
        self._host, self._count = host, 0
        self._filter = filter_of(expression)
        host.captures.append(self)

    def receive(self, wait_s):
        self._host.wait(self, wait_s)
        some, self.frames = self.frames, []
        return Frames(self._host.now_ns, [self._numbered(*each) for each in some if self._passes(each[1])])

    def _passes(self, packet):
        self._filter.load(packet)
        return self._filter.passes(0, len(packet), len(packet), RAW)

    def _numbered(self, time_ns, packet):
        self._count += 1
        return Frame(time_ns, packet, len(packet), RAW, self._count)

    def close(self):
        self._host.captures.remove(self)


class Sender:
    """In the place of the raw sockets that send a scan's batches."""

    def __init__(self, host):
        self._host = host

    def send(self, batch, count, zones, _on_leaving=None):
        assert len(zones) == count
        ends = [(row * batch.stride, row * batch.stride + batch.length[row]) for row in range(count)]
        errnos = [self._host.send(bytes(batch.packets[start:end])) for start, end in ends]
        return [(row, code) for row, code in enumerate(errnos) if code]

    def close(self):
        pass


class RawSocket:
    """In the place of the one that sends a wire's packets."""

    def __init__(self, host):
        self.send = host.send

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
    steady = partial(SteadyClock, clock.time_ns, clock.time_ns)
    err = io.StringIO()
    instead = {
        "udpprobe.engines.prepare.has_net_raw": lambda: True,
        "udpprobe.engines.wire._route": lambda *_: ("lab0", host.scenario.mtu),
        "udpprobe.engines.wire.RawSocket": lambda *_: RawSocket(host),
        "udpprobe.engines.raw.RawSender": lambda **_: Sender(host),
        "udpprobe.engines.raw.up_interfaces": frozenset,
        "udpprobe.commands.scan.SteadyClock": steady,
    }
    for room in ("udpprobe.engines.wire", "udpprobe.linux.hostfacts"):
        instead[f"{room}.source_of"] = lambda address, *_, **__: _source(host, address)
    for room in ("udpprobe.engines.wire", "udpprobe.engines.raw"):
        instead[f"{room}.open_capture"] = lambda expression, *, kind="interface", **_: Capture(host, expression, kind)
    for room in ("engines.wire", "commands.trace", "commands.scan"):
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
        next(mapped_address(each) for each in mine if (each.version == 6) == (":" in address)), 0
    )
