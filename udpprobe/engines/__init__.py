"""Ways to get probes out and to hear what becomes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:   # `scan --help` reads `blind` from here, and NumPy is not for that
    from udpprobe.core.batch import I64, FrameBatch, SourceState
    from udpprobe.core.probing.probes import Probes


class Engine(Protocol):
    """Sends probes, and yields frames: the probes that left, and whatever came back for them."""

    state: SourceState
    """Its `kind` is "probe"."""
    blind_to: str | None
    """What it cannot see, for people; None where it sees all."""

    tells_origin: bool
    """Whether it hears who sent an error, of which type and code; one that does not makes up the most usual."""
    owns_port: bool
    """Whether it binds the source port itself, which must then be shared with it."""

    def send(self, probes: Probes) -> None:
        """Put probes on the wire, in their order; at high rates a little later."""
        ...

    @property
    def backlog(self) -> int:
        """Probes that have not left yet."""
        ...

    def unsent(self) -> tuple[I64, I64]:
        """(n,) tasks whose probes this host refused to send since this was asked last, and (n,) why: errno."""
        ...

    def receive(self, wait_s: float) -> FrameBatch:
        """What was heard meanwhile; waits for it, but not longer than `wait_s`. A tick where there was nothing."""
        ...

    def close(self) -> None:
        """Give back sockets and ports."""
        ...
