"""Ways to get probes out and to hear what becomes of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct, field

from udpprobe.capture.frames import Frame

if TYPE_CHECKING:  # `scan --help` reads what engines are blind to from here
    from udpprobe.capture.packet_socket import Sift
    from udpprobe.core.probe import Batch
    from udpprobe.scanning.record import Event

BLIND_RECVERR = (
    "errors that the kernel keeps to itself (fragments lost on the way over IPv4, source quench, a quote cut "
    "inside the UDP header), and the TTL, IP id and extensions of all that comes back"
)
BLIND_CONNECTED = (
    "who sent an error, when, and of which type and code, for it hears only the errno (rejected looks like "
    "refused); unreachable nets and hosts and expired TTLs; of several errors at once any but the last; "
    "answers from another address or port"
)
"""What the engines without privilege cannot see."""


class EngineState(Protocol):
    """What an engine knows about itself: see `SourceState`."""

    name: str
    dropped: int | None
    faults: Counter[str]


class Heard(Struct):
    """What an engine heard since it was asked last: frames, or what the kernel says in their place."""

    now_ns: int
    """How far it has listened: what comes later is of later times."""
    frames: list[Frame] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.frames) + len(self.events)


class Engine(Protocol):
    """Sends probes, and hears of them: that they left, and whatever came back for them."""

    @property
    def state(self) -> EngineState:
        """What it knows about itself."""
        ...

    blind_to: str | None
    """What it cannot see, for people; None where it sees all."""

    sees_own: bool
    """Whether it hears that a probe left, and when."""
    tells_origin: bool
    """Whether it hears who sent an error, of which type and code; one that does not makes up the most usual."""
    sift: Sift | None
    """Takes packets out of what was captured before they become frames; see `LiveCapture.sift`."""
    owns_port: bool
    """Whether it binds the source port itself, which must then be shared with it."""

    def send(self, batch: Batch, count: int, zones: Sequence[int]) -> None:
        """Put the first `count` probes of a batch on the wire, in their order; at high rates a little later.

        Args:
            batch: crafted.
            count: how many.
            zones: (count,) index of the interface of a link-local destination, else 0.
        """
        ...

    @property
    def backlog(self) -> int:
        """Probes that have not left yet."""
        ...

    def unsent(self) -> list[tuple[int, int]]:
        """Tasks whose probes this host refused to send since this was asked last, each with the errno."""
        ...

    def receive(self, wait_s: float) -> Heard:
        """What was heard meanwhile; waits for it, but not longer than `wait_s`."""
        ...

    def close(self) -> None:
        """Give back sockets and ports."""
        ...
