"""A trace's results, field by field: the one definition behind JSON, CSV and the table."""

from __future__ import annotations

from typing import Any

from msgspec import field

from udpprobe.core.model import Model, Spread

TRACE_SCHEMA = "udpprobe.trace/1"
SILENT, NO_REPORTER = "a silent router", "-"


class Target(Model, frozen=True):
    """The traced address."""

    address: str
    port: int
    zone: str | None = None
    """Name of the interface, for a link-local address only."""


class Reporter(Model, frozen=True):
    """One kind of reply to the probes of a TTL, from one address."""

    address: str | None
    """None if this host found no neighbour."""
    count: int
    rtt_ms: Spread | None
    type: int | None
    """ICMP type; None for an answer."""
    code: int | None
    reason: str
    """nmap's word for the error, or `answer`."""
    verdict: str | None
    mtu: int | None
    labels: tuple[dict[str, int], ...]
    """MPLS label stack (RFC 4950), top first."""
    interfaces: tuple[dict[str, Any], ...]
    """RFC 5837."""
    flows: tuple[int, ...]
    """Flows that it replied to."""
    notes: tuple[str, ...]


class HopStatistics(Model, frozen=True):
    """A TTL's statistics over all rounds of `--watch`; times are of replies, null before the first one."""

    sent: int
    lost: int
    replies: int
    last_ms: float | None
    average_ms: float | None
    best_ms: float | None
    worst_ms: float | None
    deviation_ms: float | None
    """Standard deviation, from two replies on."""
    jitter_ms: float | None
    """By RFC 3550, section 6.4.1, from two replies on."""
    history_ms: tuple[float | None, ...]
    """RTTs of the last probes in sending order; None for no reply."""


class Hop(Model, frozen=True):
    """The results of a TTL."""

    ttl: int
    reporters: tuple[Reporter, ...]
    sent: int
    lost: int
    """Probes without reply, unless a rate limit on errors explains them."""
    advice: str | None = None
    """What to do, at the hop that the trace's own advice is about."""
    rtts_ms: tuple[float | None, ...] = ()
    """Of each probe in sending order; None for no reply."""
    statistics: HopStatistics | None = None
    """Over all rounds; None without `--watch`."""


class TraceLoop(Model, frozen=True):
    """A routing loop."""

    routers: tuple[str | None, ...]
    """In the order of hops; None for one that never reports."""
    period: int
    first_ttl: int


class Change(Model, frozen=True):
    """A difference between two rounds of `--watch`."""

    time_ns: int
    """Start of the round."""
    kind: str
    """`route`: another router at a hop. `verdict`, `loop`: another end of the path. `length`: more or fewer hops."""
    ttl: int | None
    """Of a route change."""
    before: str
    after: str


class TraceReport(Model, frozen=True):
    """A trace's results."""

    version: str
    target: Target
    source_address: str
    source_ports: tuple[int, ...]
    """One per flow."""
    interface: str
    time_ns: int
    """Start of the trace."""
    verdict: str | None
    """None if the run was interrupted before the verdict was settled."""
    errno: str | None
    reached: bool
    hops: tuple[Hop, ...]
    loop: TraceLoop | None
    faults: dict[str, int] = field(default_factory=dict)
    command: str = "trace"
    advice: str | None = None
    """What to do, in a sentence; None if nothing needs to be done."""
    name: str | None = None
    """The target as typed; None for an address."""
    interrupted: bool = False
    """Whether it was stopped before it was complete."""
    rounds: int = 1
    """Complete rounds."""
    notes: tuple[str, ...] = ()
    """Notes on the destination: `forged` if somebody seems to be guessing probes."""
    changes: tuple[Change, ...] = ()
    """Between rounds: the last thousand."""


def loop_words(loop: TraceLoop) -> str:
    """`loop of 2 between 10.0.1.2 and 10.0.2.2, entered at hop 2`."""
    routers = [router or SILENT for router in loop.routers]
    where = f"at {routers[0]}" if loop.period == 1 else f"between {', '.join(routers[:-1])} and {routers[-1]}"
    return f"loop of {loop.period} {where}, entered at hop {loop.first_ttl}"
