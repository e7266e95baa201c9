"""The engine that sees all: raw sockets send, and the capture of the wire hears."""

from __future__ import annotations

from collections import Counter

import numpy as np

from udpprobe.core.batch import I64, FrameBatch
from udpprobe.core.probing.craft import Crafter
from udpprobe.core.probing.probes import Probes
from udpprobe.sender import Sender
from udpprobe.sources.live import open_capture

FILTER = "udp portrange {first}-{last} or icmp or icmp6 or (ip[6:2] & 0x1fff != 0) or ip6 proto 44"
"""Answers, errors, and later fragments, which have no ports."""
CHUNK = 2048
"""Probes crafted and sent at a time: their columns stay in the cache."""


class Raw:
    """Sends by raw sockets, hears by a capture that was open before.

    Args:
        crafter: makes the packets.
        ports: the first and the last source port of probes.
        interface: the only one to use, or None.
        bulk: whether the rate is beyond what a portable capture keeps up with.

    Raises:
        PrivilegeError: raw sockets are not allowed.
        UsageError: there is no such interface.
    """

    tells_origin = True
    owns_port = False
    blind_to: str | None = None

    def __init__(self, crafter: Crafter, *, ports: tuple[int, int], interface: str | None, bulk: bool) -> None:
        self._crafter = crafter
        expression = FILTER.format(first=ports[0], last=ports[1])
        self._capture = open_capture(expression, interface=interface, bulk=bulk, kind="probe")
        self.state = self._capture.state
        self._sender = Sender(interface=interface)
        self._unsent: Counter[tuple[int, int]] = Counter()

    @property
    def backlog(self) -> int:
        """None: whatever is sent has left when `send` returns."""
        return 0

    def send(self, probes: Probes) -> None:
        """Put probes on the wire, in their order."""
        for start in range(0, len(probes), CHUNK):
            some = probes.take(slice(start, start + CHUNK))
            for crafted in self._crafter.craft(some):
                errno = self._sender.send(crafted, some.zone[crafted.rows])
                failed = np.flatnonzero(errno)
                tasks = some.task[crafted.rows[failed]]
                self._unsent.update(zip(tasks.tolist(), errno[failed].tolist(), strict=True))

    def unsent(self) -> tuple[I64, I64]:
        """(n,) tasks whose probes were refused since this was asked last, and (n,) why: errno."""
        pairs = np.array(list(self._unsent), np.int64).reshape(-1, 2)
        self._unsent.clear()
        return pairs[:, 0], pairs[:, 1]

    def receive(self, wait_s: float) -> FrameBatch:
        """What was captured meanwhile."""
        return self._capture.receive(wait_s)

    def close(self) -> None:
        """Stop capturing."""
        self._capture.close()
        self._sender.close()
