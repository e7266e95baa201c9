"""A path MTU search's results, field by field: the one definition behind JSON, CSV and the table."""

from __future__ import annotations

from msgspec import field

from udpprobe.core.model import Model
from udpprobe.tracing.model import Target

MTU_SCHEMA = "udpprobe.mtu/1"


class Reported(Model, frozen=True):
    """One router's reports of what would fit. All sizes are bytes of the IP packet."""

    reporter: str
    mtu: int | None
    count: int
    smallest: int
    """The smallest packet that it reported as too big."""
    notes: tuple[str, ...]
    """Why the report is not credible, if so."""


class BlackHole(Model, frozen=True):
    """Where packets disappear without an error."""

    largest_passed: int
    smallest_lost: int
    after: str | None
    """The last router known to have received a packet of `smallest_lost`; None if none replied."""
    before: str | None
    """The next router known to receive smaller ones; maybe the destination."""


class MtuReport(Model, frozen=True):
    """The path MTU to one destination, and who limits it."""

    version: str
    target: Target
    verdict: str | None
    """`ok`, `too-big`, `black-hole`, or why nothing of any size is known to arrive; None if the search was
    interrupted before it was settled."""
    errno: str | None
    """Of the verdict `unsent`."""
    path_mtu: int | None
    udp_payload_max: int | None
    proof: str | None
    """The evidence: `answer` or `refusal` of the destination, `routers` for their reports alone; None without an
    MTU."""
    state: str
    """RFC 8899's: SEARCH_COMPLETE where the MTU is exact."""
    interface: str
    interface_mtu: int
    source_address: str
    control_port: int | None
    reports: tuple[Reported, ...]
    black_hole: BlackHole | None
    sent: int
    duration_ms: float
    time_ns: int
    """Start of the search."""
    notes: tuple[str, ...] = ()
    advice: str | None = None
    """What to do, in a sentence; None if nothing needs to be done."""
    faults: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    """Whether it was stopped before it was complete."""
