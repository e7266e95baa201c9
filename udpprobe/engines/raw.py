"""The engine that sees all: raw sockets send, and the capture of the wire hears."""

from __future__ import annotations

import time
from collections.abc import Sequence

from udpprobe.capture.live import open_capture
from udpprobe.capture.packet_socket import Sift
from udpprobe.core.probe import Batch
from udpprobe.engines import EngineState, Heard
from udpprobe.engines.sender import Sender
from udpprobe.linux.netlink import up_interfaces

FILTER = "udp portrange {first}-{last} or icmp or icmp6 or (ip[6:2] & 0x1fff != 0) or ip6 proto 44"
"""Answers, errors, and later fragments, which have no ports."""
LOOK_S = 0.5
"""Between two looks at the interfaces."""


class Raw:
    """Sends by raw sockets, hears by a capture that was open before.

    Args:
        ports: the first and the last source port of probes.
        interface: the only one to use, or None.
        bulk: whether the rate is beyond what a small ring keeps up with.
        capture: as `open_capture` has it.
        sees_own: whether probes are to be seen leaving; else their sender says when.

    Raises:
        PrivilegeError: raw sockets are not allowed.
        UdpprobeError: there is no such interface.
    """

    tells_origin = True
    owns_port = False
    blind_to: str | None = None

    def __init__(
        self, *, ports: tuple[int, int], interface: str | None, bulk: bool, capture: str = "auto", sees_own: bool = True
    ) -> None:
        expression = FILTER.format(first=ports[0], last=ports[1])
        self._capture = open_capture(
            expression, interface=interface, bulk=bulk, kind="probe", capture=capture, outgoing=sees_own
        )
        self.sees_own = sees_own
        self.state: EngineState = self._capture.state
        self._sender = Sender(interface=interface)
        self._unsent: list[tuple[int, int]] = []
        self._up = up_interfaces() if interface is None else frozenset()
        self._looked_s = time.monotonic()

    @property
    def sift(self) -> Sift | None:
        """Takes packets out of what was captured before they become frames."""
        return self._capture.sift

    @sift.setter
    def sift(self, sift: Sift | None) -> None:
        self._capture.sift = sift

    @property
    def backlog(self) -> int:
        """None: whatever is sent has left when `send` returns."""
        return 0

    def send(self, batch: Batch, count: int, zones: Sequence[int]) -> None:
        """Put probes on the wire, of each family in their order."""
        self._unsent += [(batch.task[row], errno) for row, errno in self._sender.send(batch, count, zones)]

    def unsent(self) -> list[tuple[int, int]]:
        """Tasks whose probes were refused since this was asked last, each with the errno."""
        refused, self._unsent = self._unsent, []
        return refused

    def receive(self, wait_s: float) -> Heard:
        """What was captured meanwhile."""
        found = self._capture.receive(wait_s)
        if self._up and time.monotonic() - self._looked_s >= LOOK_S:
            self._look()
        return Heard(found.now_ns, found.frames)

    def _look(self) -> None:
        """Count interfaces that went down: of those, a capture on all of them is not told."""
        self._looked_s = time.monotonic()
        up = up_interfaces()
        if self._up - up:
            self.state.faults["interface-down"] += 1
        self._up = up

    def close(self) -> None:
        """Stop capturing."""
        self._capture.close()
        self._sender.close()
