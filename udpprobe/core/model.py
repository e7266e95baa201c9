"""The report, field by field: one truth for JSON, CSV and the table.

Names and meanings are the contract with scripts: a field may be added, none renamed or dropped. Times are
nanoseconds since 1970 UTC (`_ns`) here and RFC 3339 in JSON. What there may be a million of is not frozen, for that
takes five times as long to make; nobody changes it all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

REPORT_SCHEMA = "udpprobe.report/1"


@dataclass(frozen=True, slots=True)
class Loop:
    """A routing loop, as far as it showed itself."""

    routers: tuple[str, ...]
    """Addresses of the routers that reported the datagrams' end, those that did so first: 32 at most."""
    period: int | None
    """Hops a datagram takes around it once."""


@dataclass(slots=True)
class Spread:
    """Minimum, median and maximum of a set of durations, in milliseconds."""

    min: float
    median: float
    max: float


@dataclass(slots=True)
class Finding:
    """One kind of error about one destination, from one reporter."""

    verdict: str | None
    """A word of the contract; None for an ICMPv6 error nobody has defined."""
    errno: str | None
    """UNP table 28.1."""
    linux: dict[str, str | None] | None
    """Errno that Linux gives an `unconnected`, `connected`, `recverr` socket; None without an ICMP error."""
    family: int
    """4 or 6."""
    icmp_type: int | None
    """None where the capture shows it without any ICMP error (a loop)."""
    icmp_code: int | None
    reason: str
    """nmap's word for it."""
    reporter: str | None
    count: int
    first_time_ns: int
    last_time_ns: int
    mtu: int | None
    """Next-hop MTU as reported, bytes of the IP packet; None where the error carries none."""
    match: str
    """`exact`, `flow`, `rewritten` or `none`."""
    rtt_ms: Spread | None
    """From the datagram to its error."""
    loop: Loop | None
    notes: tuple[str, ...]


@dataclass(slots=True)
class Unmatched:
    """Errors that quote a datagram nobody saw being sent."""

    address: str
    port: int | None
    """None where the quote is too short, or of a later fragment."""
    finding: Finding
    source: str | None = None
    """In a report by flow: where the datagram came from, as it is quoted."""
    source_port: int | None = None


@dataclass(slots=True)
class Destination:
    """What happened to the datagrams sent to one address and UDP port."""

    address: str
    port: int | None
    """None where only later fragments were seen or quoted."""
    verdict: str
    errno: str | None
    meaning: str | None
    """What silence says: `listening-or-filtered`, `no-evidence`, `rate-limited`."""
    sent: int
    sent_bytes: int
    """Bytes of the IP packets."""
    answered: int
    """Datagrams that were answered: as many as answers came back, but one answer each."""
    errors: int
    rtt_ms: Spread | None
    """From a datagram to its answer."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    source: str | None = None
    """In a report by flow: where its datagrams come from."""
    source_port: int | None = None
    zone: str | None = None
    """In a scan's report: the interface that a link-local address was asked for on (RFC 4007)."""


@dataclass(frozen=True, slots=True)
class Unread:
    """A file among several that could not be read, or not to its end."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class SourceReport:
    """What was read."""

    kind: str
    name: str
    link_types: tuple[int, ...]
    packets: int
    bytes: int
    first_time_ns: int | None
    last_time_ns: int | None
    dropped: int | None
    cut_short: bool
    unread: tuple[Unread, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run found; destinations worst first."""

    command: str
    version: str
    source: SourceReport
    destinations: tuple[Destination, ...]
    unmatched: tuple[Unmatched, ...]
    faults: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Planned:
    """A probe that a scan would send first to a destination."""

    address: str
    port: int
    payload: str
    """Its name in the table of payloads."""
    bytes: int
    """Of the IP packet."""
    source: str | None
    """None where this host has no way to it."""
    source_port: int | None
    """None where a free one will be chosen."""
    errno: str | None
    """Why this host would not send it; None where it would."""


@dataclass(frozen=True, slots=True)
class Quoted:
    """The datagram as the error quotes it; None for what the quote does not reach."""

    source: str
    source_port: int | None
    destination: str
    destination_port: int | None
    ip_id: int | None
    ttl: int
    ip_length: int
    udp_length: int | None
    udp_checksum: int | None
    bytes: int
    """Bytes of the quote, from its IP header on."""


@dataclass(frozen=True, slots=True)
class Event:
    """One ICMP or ICMPv6 error that quotes UDP."""

    frame: int
    time_ns: int
    family: int
    type: int
    code: int
    verdict: str | None
    errno: str | None
    linux: dict[str, str | None] | None
    reason: str
    reporter: str
    mtu: int | None
    quoted: Quoted
    match: str
    matched_frame: int | None
    rtt_ms: float | None
    extensions: tuple[dict[str, Any], ...] | None
    notes: tuple[str, ...]
    match_evidence: tuple[str, ...] = ()
    """What told the datagram from its neighbours: `ip-id`, `udp-checksum`, `payload`."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of this host."""

    name: str
    pid: int


@dataclass(frozen=True, slots=True)
class WatchedEvent(Event):
    """An error heard live, and who on this host sent what it quotes."""

    process: Process | None = None
    """None where another host sent it, or where nobody knows."""
    sees: str | None = None
    """What the sending socket can see of the error: `connected`, `recverr`, `blind` or `unknown`; None where another
    host sent it."""
