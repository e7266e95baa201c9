"""Ways to send probes and to learn what happened to them."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from udpprobe.capture.frames import Frame

if TYPE_CHECKING:  # `scan --help` prints from here what engines cannot see
    from udpprobe.capture.packet_socket import Sift
    from udpprobe.core.probe import Batch
    from udpprobe.scanning.record import Event

BLIND_RECVERR = (
    "errors that the kernel does not report (fragments lost on the way over IPv4, source quench, a quote cut "
    "inside the UDP header), what a firewall of this host drops on input, and the TTL, IP id and extensions of replies"
)
BLIND_CONNECTED = (
    "who sent an error, when, or its type and code, because it gets only the errno (rejected looks like refused); "
    "unreachable networks and hosts, and expired TTLs; all but the last of several errors at once; answers from "
    "another address or port; or what a firewall of this host drops on input"
)
"""What the engines without privilege cannot see."""


BATCHES = 3
"""Batches that a scan fills in turn: one that is sent, one that is sent next, and one that is crafted."""


class EngineState(Protocol):
    """An engine's state: see `SourceState`."""

    name: str
    dropped: int | None
    faults: Counter[str]


class Arrivals(Struct):
    """What an engine received since the last call: frames, or the kernel's reports in their place."""

    now_ns: int
    """Time up to which it has listened: everything later is still to come."""
    frames: list[Frame] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames) + len(self.events)


class Engine(Protocol):
    """Sends probes, and reports when they left and what came back."""

    @property
    def state(self) -> EngineState:
        """Its state."""
        ...

    blind_to: str | None
    """What it cannot see, as text; None if it sees everything."""

    sees_own: bool
    """Whether it sees that a probe left, and when."""
    tells_origin: bool
    """Whether it knows who sent an error, and its type and code; otherwise it assumes the most common ones."""
    sift: Sift | None
    """Handles captured packets before they become frames; see `LiveCapture.sift`."""
    owns_port: bool
    """Whether it binds the source port itself, so that the port must be shared with it."""

    def is_ready(self, wait_s: float) -> bool:
        """Whether a batch may be sent, after waiting for at most `wait_s` seconds."""
        ...

    def send(
        self, batch: Batch, count: int, zones: Sequence[int], on_leaving: Callable[[array[int]], None] | None = None
    ) -> None:
        """Send the first `count` probes of a batch, in their order, perhaps after returning.

        Args:
            batch: crafted; it must not change until `send` has been called for BATCHES - 1 others, or `flush`.
            count: number of probes.
            zones: (count,) interface index of a link-local destination, else 0.
            on_leaving: called with rows of the batch ("I") right before they leave, perhaps on another thread. Engines
                that see their own probes need not call it.
        """
        ...

    @property
    def is_sending(self) -> bool:
        """Whether something has not left yet."""
        ...

    def flush(self, *, stop: bool = False) -> None:
        """Wait until everything has left; or `stop`: what has not left yet is unsent with ECANCELED."""
        ...

    def unsent(self) -> list[tuple[int, int, int]]:
        """Probes that this host could not send, known since the last call: task, errno, bytes of the IP packet."""
        ...

    def receive(self, wait_s: float) -> Arrivals:
        """What arrived; waits for at most `wait_s` seconds."""
        ...

    def close(self) -> None:
        """Release sockets and ports."""
        ...
