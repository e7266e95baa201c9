"""The pieces of a path MTU search: a shot, a round of shots, how long to wait, and what a reply says."""

from __future__ import annotations

from dataclasses import dataclass, field

from udpprobe.core.limiter import MS, SECOND
from udpprobe.core.probing.shots import Reply, Shot

SERVICE, CONTROL = range(2)
"""Lanes: the port that is asked for, and one that is surely closed, whose refusals prove what arrives."""
FIRST_TIMEOUT_NS = SECOND
"""RFC 6298, 2.1, while no round trip is known."""
LEAST_TIMEOUT_NS = 50 * MS
LEAST_GRACE_NS = 10 * MS
"""After the witness is heard, for the probe that left before it."""
ARRIVED, TOO_BIG, OTHER, UNSENT = "arrived", "too-big", "other", "unsent"
NO_PROOF = frozenset({"too-big", "loop", "expired", "reassembly"})
"""Errors that even the destination itself may send about what did not reach its UDP."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often to try."""

    tries: int = 3
    """Probes of a size that go missing before it counts (RFC 8899's MAX_PROBES)."""
    timeout_ns: int = 4 * SECOND
    """How long a host that says nothing is waited for."""
    ttl: int = 64


@dataclass(frozen=True, slots=True)
class Ask:
    """A shot, and the lane it goes by."""

    lane: int
    shot: Shot


@dataclass(slots=True)
class Round:
    """Some probes of one size, perhaps with witnesses behind them."""

    size: int
    deadline_ns: int
    targets: set[int] = field(default_factory=set)
    """Numbers of the probes."""
    witnesses: dict[int, int] = field(default_factory=dict)
    """Numbers of the witnesses, and their sizes."""
    wanted: int = 0
    """The witness that speaks against the probes' size if only it arrives; a smaller one speaks against it too."""
    heard: int = 0
    """The largest witness that was heard."""


@dataclass(slots=True)
class Sent:
    """A shot that left."""

    lane: int
    size: int
    flow: int
    sent_ns: int
    arrived: bool = False


class RoundTrip:
    """RFC 6298's estimate of when a reply is overdue."""

    def __init__(self) -> None:
        self.smoothed_ns, self._variation_ns = 0, 0

    def take(self, rtt_ns: int) -> None:
        """Learn from a reply."""
        if not self.smoothed_ns:
            self.smoothed_ns, self._variation_ns = rtt_ns, rtt_ns // 2
            return
        self._variation_ns += (abs(self.smoothed_ns - rtt_ns) - self._variation_ns) // 4
        self.smoothed_ns += (rtt_ns - self.smoothed_ns) // 8

    @property
    def timeout_ns(self) -> int:
        """How long a reply is waited for."""
        if not self.smoothed_ns:
            return FIRST_TIMEOUT_NS
        return max(self.smoothed_ns + 4 * self._variation_ns, LEAST_TIMEOUT_NS)

    @property
    def grace_ns(self) -> int:
        """How far replies may overtake each other."""
        return max(self.smoothed_ns // 4, LEAST_GRACE_NS)


def word_of(reply: Reply) -> str:
    """What a reply says of its shot: ARRIVED, TOO_BIG, OTHER or UNSENT.

    Whatever the destination itself says of a datagram, it has got it.
    """
    event = reply.event
    if event is None:
        return ARRIVED if reply.kind == "answer" else UNSENT
    if event.verdict == "too-big":
        return TOO_BIG
    if reply.kind == "unsent":
        return UNSENT
    itself = event.reporter == event.quoted.destination and event.verdict not in NO_PROOF
    return ARRIVED if itself else OTHER
