"""The loop of `scan`, with an engine that keeps what it was given."""

from __future__ import annotations

import time
from collections import Counter, deque

from udpprobe.capture.frames import SourceState
from udpprobe.commands import scan as scanning
from udpprobe.core.targets import parse_targets
from udpprobe.engines import BATCHES, Arrivals
from udpprobe.engines.prepare import EngineOptions
from udpprobe.linux.sendmmsg import CHUNK
from udpprobe.targets import Wanted, resolve

HOSTS, PORTS = 16, 512
PORTS_OF_A_BATCH = CHUNK // HOSTS  # the hosts are probed in turn


class Engine:
    """Sends nothing, receives nothing; says if a batch changed before it may."""

    sees_own = owns_port = is_sending = False
    tells_origin = True
    blind_to = sift = None

    def __init__(self):
        self.state = SourceState("probe", "fake")
        self.probes = Counter()
        self.changed = 0
        self._held = deque(maxlen=BATCHES - 1)

    def is_ready(self, _):
        return True

    def send(self, batch, count, _zones, on_leaving=None):
        assert on_leaving
        self.changed += sum(bytes(held.packets) != packets for held, packets in self._held)
        self._held.append((batch, bytes(batch.packets)))
        self.probes.update(batch.task[row] for row in range(count))

    def unsent(self):
        return []

    def receive(self, _):
        return Arrivals(time.time_ns())

    def flush(self, *, stop=False):
        pass

    def close(self):
        pass


def is_too_long(_run, task, _source):
    """Two batches of three have only packets that are too long for IP."""
    return task % PORTS // PORTS_OF_A_BATCH % 3 != 0


def test_a_batch_is_unchanged_until_others_follow_although_whole_batches_are_too_long(monkeypatch):
    """A thread may still send it."""
    engine = Engine()
    monkeypatch.setattr(scanning, "open_engine", lambda *_, **__: engine)
    monkeypatch.setattr(scanning, "LONGEST_PACKET", 0)
    monkeypatch.setattr(scanning._Run, "_is_too_long", is_too_long)  # noqa: SLF001 - such probes take 4 MB a batch
    places = resolve(parse_targets("127.1.0.0/28"), [], Wanted((range(1, PORTS + 1),)))
    options = EngineOptions(rate_pps=0, retries=0, timeout_s=0.3, linger_s=0.01, control=False)
    report = scanning.scan(places.destinations, options)
    fitting = HOSTS * 6 * PORTS_OF_A_BATCH
    assert engine.changed == 0
    assert (fitting, {1}) == (len(engine.probes), set(engine.probes.values()))
    verdicts = Counter(row.verdict for row in report.destinations)
    assert verdicts == {"silent": fitting, "unsent": HOSTS * PORTS - fitting}
