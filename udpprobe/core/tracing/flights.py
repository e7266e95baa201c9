"""The shots of a trace, how patiently they are sent and waited for, and what a reply to one says of the path."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from udpprobe.core.limiter import MS
from udpprobe.core.probing.shots import Reply, Shot
from udpprobe.core.tracing.limits import BURST

TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
"""Type and code of a TTL that ran out, by family."""
SOURCE_QUENCH = (4, 4)
"""Family and type of the one error that does not end a path (RFC 6633)."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How much is sent, and how long is waited for what comes back."""

    max_ttl: int = 30
    first_ttl: int = 1
    queries: int = 3
    timeout_ns: int = 4000 * MS
    interval_ns: int = MS
    """Between two shots."""
    window: int = 12
    """Shots of a flow that are under way at a time: so many may go beyond the end before that is known. Two routers of
    a loop get six each, as many as Linux answers at once ..."""
    full_window: int = 24
    """... and so many once it is."""
    least_hold_ns: int = 50 * MS
    """So long a shot without reply takes a place in the window, at least ..."""
    first_hold_ns: int = 250 * MS
    """... and until anything was heard."""
    least_wait_ns: int = 250 * MS
    """So long a reply is waited for, at least: routers take their time for errors."""
    times_here: int = 3
    """Where the hop was heard before: so many of its RTTs."""
    times_later: int = 10
    """Where a later hop was heard: so many of its RTTs."""
    pause_ns: int = 1100 * MS
    """Before a hop that did not answer all is asked again: one error a second is the strictest usual limit."""
    slow_ns: int = 500 * MS
    """Between two such shots of a path whose end is not known: it may be a loop, with few routers for all of them."""
    burst: int = BURST
    """Shots at once for a hop that spoke and is asked again."""
    again: ClassVar[int] = 3
    """For how many pauses such a hop is, until it is clear whether it has a limit. One that never spoke is asked again
    once."""


@dataclass(slots=True)
class Flight:
    """A shot that was sent."""

    shot: Shot
    sent_ns: int
    reply: Reply | None = None
    errno: int = 0
    """Why this host refused to send it."""
    again: int = 0
    """In which of the bursts it was sent that others of its hop without reply caused; 0 for none."""
    void: bool = False
    """Whether it may have been answered without our knowing: it is not lost."""


def is_expired(reply: Reply) -> bool:
    """Whether it says that the TTL ran out in transit."""
    event = reply.event
    return event is not None and (event.type, event.code) == TIME_EXCEEDED[event.family]


def is_end(reply: Reply) -> bool:
    """Whether a path ends with it: an answer, or an error that a higher TTL would not change."""
    event = reply.event
    return event is None or not (is_expired(reply) or (event.family, event.type) == SOURCE_QUENCH)
