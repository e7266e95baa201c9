"""What a path MTU search found, field by field: one truth for JSON, CSV and the table, as `model` is of reports."""

from __future__ import annotations

from msgspec import field

from udpprobe.core.model import Model
from udpprobe.tracing.model import Target

MTU_SCHEMA = "udpprobe.mtu/1"


class Reported(Model, frozen=True):
    """What one router says would fit. All sizes are bytes of the IP packet."""

    reporter: str
    mtu: int | None
    count: int
    smallest: int
    """The smallest packet it said that about."""
    notes: tuple[str, ...]
    """Why it is not to be believed, where it is not."""


class BlackHole(Model, frozen=True):
    """Where packets disappear without a word."""

    largest_passed: int
    smallest_lost: int
    after: str | None
    """The last router known to have got a packet of `smallest_lost`; None where none replied."""
    before: str | None
    """The next one that is known to get smaller ones; the destination, perhaps."""


class MtuReport(Model, frozen=True):
    """The path MTU to one destination, and who limits it."""

    version: str
    target: Target
    verdict: str | None
    """`ok`, `too-big`, `black-hole`, or the word for why nothing of any size is known to arrive; None where the search
    was interrupted before it was settled."""
    errno: str | None
    """Of a verdict `unsent`."""
    path_mtu: int | None
    udp_payload_max: int | None
    proof: str | None
    """What shows it: `answer` or `refusal` of the destination, `routers` for their word alone; None without MTU."""
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
    """When it began."""
    notes: tuple[str, ...] = ()
    advice: str | None = None
    """What to do, in a sentence; None where all is well."""
    faults: dict[str, int] = field(default_factory=dict)
    interrupted: bool = False
    """Whether it was stopped before the search was over."""
