"""The report, field by field: the one definition behind JSON, CSV and the table.

Names and meanings are a contract with scripts: a field may be added, but none renamed or dropped. Times here are
nanoseconds since 1970 UTC (`_ns`); JSON has RFC 3339.

The classes are msgspec structs, because there may be a million findings: making one takes 0.1 µs (a dataclass takes
0.5) and encoding it 0.5. `msgspec.structs` has the counterparts of `dataclasses`: `replace`, `fields`, `astuple`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar, overload

from msgspec import Struct, field
from msgspec.structs import replace

from udpprobe.core.addresses import address_text
from udpprobe.core.advice import ANSWER, Case, sentence
from udpprobe.core.notes import Note
from udpprobe.core.stencils import Filler, ends_of_hosts
from udpprobe.core.verdicts import ERRNO_OF_VERDICT
from udpprobe.endpoints import endpoint_text

REPORT_SCHEMA = "udpprobe.report/1"
REFUSED = Case("refused")
FEWEST_ALIKE = 8
"""Fewest consecutive alike rows that are kept as one `Alike`: for fewer, building the template takes longer than the
rows themselves."""


def is_time(name: str) -> bool:
    """Whether a field of this name holds nanoseconds since 1970."""
    return name.endswith("time_ns")


def json_name(name: str) -> str:
    """The field's name in JSON, where times carry no unit."""
    return name.removesuffix("_ns") if is_time(name) else name


class Model(Struct, frozen=True, gc=False, rename=json_name):
    """Base of all parts of a report. None refers back to its container, so garbage collection need not track them."""


Row = TypeVar("Row")


class LazyRows(Sequence[Row]):
    """Rows that are rebuilt on each access and never stored.

    Args:
        make: returns an iterator that starts at the first row.
        count: number of rows; None if only counting can tell.
    """

    def __init__(self, make: Callable[[], Iterator[Row]], count: int | None = None) -> None:
        self._make, self._count = make, count

    def __len__(self) -> int:
        if self._count is None:
            self._count = sum(1 for _ in self._make())
        return self._count

    def __iter__(self) -> Iterator[Row]:
        return self._make()

    def after(self, count: int) -> Iterator[Row]:
        """All rows but the first `count`."""
        return islice(self, count, None)

    @overload
    def __getitem__(self, which: int) -> Row: ...
    @overload
    def __getitem__(self, which: slice) -> tuple[Row, ...]: ...
    def __getitem__(self, which: int | slice) -> Row | tuple[Row, ...]:
        if isinstance(which, int):
            return next(islice(self, range(len(self))[which], None))
        try:
            return tuple(islice(self, which.start, which.stop, which.step))  # the head needs no length
        except ValueError:  # counted from the end
            return tuple(self)[which]


def changed(rows: Sequence[Row], change: Callable[[Row], Row]) -> LazyRows[Row]:
    """The rows, each passed through `change` when it is read."""
    return LazyRows(lambda: map(change, rows), len(rows))


class Loop(Model, frozen=True):
    """A routing loop, as far as it was seen."""

    routers: tuple[str, ...]
    """Addresses of the routers that reported an expired TTL, in order of their first report: 32 at most."""
    period: int | None
    """Hops of one turn round the loop."""


class Spread(Model, frozen=True):
    """Minimum, median and maximum of a set of durations, in milliseconds."""

    min: float
    median: float
    max: float


def median(values: Iterable[float]) -> float:
    """Median of at least one value. `statistics.median` would import fractions and decimal."""
    some = sorted(values)
    middle = len(some) // 2
    return some[middle] if len(some) % 2 else (some[middle - 1] + some[middle]) / 2


class Finding(Model, frozen=True):
    """One kind of error about one destination, from one reporter."""

    verdict: str | None
    """A word of the contract; None for an ICMPv6 type that no RFC defines."""
    errno: str | None
    """UNP table 28.1."""
    linux: dict[str, str | None] | None
    """Errno that Linux gives to an `unconnected`, `connected` and `recverr` socket; None without an ICMP error."""
    family: int
    """4 or 6."""
    icmp_type: int | None
    """None for a loop that the capture shows without an ICMP error."""
    icmp_code: int | None
    reason: str
    """nmap's word."""
    reporter: str | None
    count: int
    first_time_ns: int
    last_time_ns: int
    mtu: int | None
    """Next-hop MTU as reported, in bytes of the IP packet; None if the error has none."""
    match: str
    """`exact`, `flow`, `rewritten` or `none`."""
    rtt_ms: Spread | None
    """Time from the datagram to its error."""
    loop: Loop | None
    notes: tuple[str, ...]


def answer_from(family: int, address: str, count: int, first_ns: int, last_ns: int, note: str) -> Finding:
    """The finding for answers from an address or port that was not asked."""
    return without_error(family, ANSWER, count, (first_ns, last_ns), f"answer-from {note}", reporter=address)


def without_error(
    family: int,
    reason: str,
    count: int,
    span_ns: tuple[int, int],
    note: str,
    *,
    verdict: str | None = None,
    reporter: str | None = None,
    loop: Loop | None = None,
) -> Finding:
    """A finding that no ICMP error reports."""
    return Finding(
        verdict=verdict,
        errno=ERRNO_OF_VERDICT.get(verdict or ""),
        linux=None,
        family=family,
        icmp_type=None,
        icmp_code=None,
        reason=reason,
        reporter=reporter,
        count=count,
        first_time_ns=span_ns[0],
        last_time_ns=span_ns[1],
        mtu=None,
        match="none",
        rtt_ms=None,
        loop=loop,
        notes=(note,),
    )


class Unmatched(Model, frozen=True):
    """Errors that quote a datagram that the capture does not contain."""

    address: str
    port: int | None
    """None if the quote is too short, or quotes a later fragment."""
    finding: Finding
    source: str | None = None
    """Source of the quoted datagram, in a report by flow."""
    source_port: int | None = None
    advice: str | None = None
    """What to do, in a sentence; None if nothing needs to be done."""


class Destination(Model, frozen=True):
    """What happened to the datagrams sent to one address and UDP port."""

    address: str
    port: int | None
    """None if only later fragments were seen or quoted."""
    verdict: str | None
    """None if the run was interrupted before the verdict was settled."""
    errno: str | None
    meaning: str | None
    """What silence means: `listening-or-filtered`, `no-evidence` or `rate-limited`."""
    sent: int
    sent_bytes: int
    """Bytes of the IP packets."""
    answered: int
    """Datagrams that were answered. Each counts at most one answer."""
    errors: int
    rtt_ms: Spread | None
    """Time from a datagram to its answer."""
    findings: tuple[Finding, ...]
    notes: tuple[str, ...] = ()
    source: str | None = None
    """Source of its datagrams, in a report by flow."""
    source_port: int | None = None
    zone: str | None = None
    """Interface that a link-local address was given with (RFC 4007), in a report of `scan`."""
    advice: str | None = None
    """What to do, in a sentence; None if nothing needs to be done."""


class Unread(Model, frozen=True):
    """One of several files that could not be read, or not to its end."""

    name: str
    reason: str


class SourceReport(Model, frozen=True):
    """Where the packets came from."""

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


class AlikeColumns(NamedTuple):
    """(tasks,) the fields that differ between destinations with the same outcome."""

    high: array[int]
    low: array[int]
    """Upper and lower half of the address ("Q")."""
    port: array[int]
    """"H"."""
    sent_bytes: array[int]
    """"Q"."""
    time_ns: array[int]
    """When the one error arrived ("q")."""
    rtt_ns: array[int]
    """"q"."""


class Alike(Struct, frozen=True):
    """Destinations of one family, each probed once and refused once by itself: rows that differ in a few fields."""

    template: Destination
    """The row of one of them."""
    tasks: array[int]
    """Their task numbers ("I")."""
    columns: AlikeColumns

    @property
    def verdict(self) -> str | None:
        """The verdict that they share."""
        return self.template.verdict

    def by_host(self) -> Iterator[tuple[str, Alike]]:
        """Split at each change of address; yields the address and its rows."""
        high, low = self.columns.high, self.columns.low
        first = 0
        for end in ends_of_hosts(self.tasks, high, low):
            task, some, first = self.tasks[first], self.tasks[first:end], end
            yield address_text(high[task], low[task]), Alike(self.template, some, self.columns)

    def rows(self) -> Iterator[Destination]:
        """Make the rows."""
        return map(self._row, *(map(column.__getitem__, self.tasks) for column in self.columns))

    def _row(self, high: int, low: int, port: int, sent_bytes: int, time_ns: int, rtt_ns: int) -> Destination:
        address = address_text(high, low)
        (finding,) = self.template.findings
        ms = rtt_ns / 1e6
        finding = replace(
            finding, reporter=address, first_time_ns=time_ns, last_time_ns=time_ns, rtt_ms=Spread(ms, ms, ms)
        )
        return replace(
            self.template,
            address=address,
            port=port,
            sent_bytes=sent_bytes,
            findings=(finding,),
            advice=sentence(REFUSED, [endpoint_text(address, port)]),
        )


class Shaped(Protocol):
    """Tells which destinations are alike, as `core.destinations.Destinations` does; by number."""

    def shape(self, number: int) -> Hashable | None:
        """Everything in a row but the values that differ between similar rows; None for a row that must be made."""

    def sample(self, number: int) -> Destination:
        """A row that has a shape, with the marks of `core.stencils` in place of its values."""

    def put_values(self, number: int, filler: Filler) -> None:
        """Write the values of a row that has a shape for the marks."""


class ReportRows(Sequence[Row], Generic[Row]):
    """Rows that are made on demand.

    Args:
        order: the item that each row is made of.
        make: makes a row.
        shaped: tells which rows are alike, for writers of text that need no objects.
    """

    def __init__(self, order: Sequence[int], make: Callable[[int], Row], shaped: Shaped | None = None) -> None:
        self.order, self.make, self.shaped = order, make, shaped

    def __len__(self) -> int:
        return len(self.order)

    @overload
    def __getitem__(self, at: int) -> Row: ...
    @overload
    def __getitem__(self, at: slice) -> ReportRows[Row]: ...
    def __getitem__(self, at: int | slice) -> Row | ReportRows[Row]:
        """One row, or the rows of a slice."""
        return (
            ReportRows(self.order[at], self.make, self.shaped) if isinstance(at, slice) else self.make(self.order[at])
        )

    def __iter__(self) -> Iterator[Row]:
        return map(self.make, self.order)


class Parts(LazyRows[Destination]):
    """Rows of which some are alike and stay compact until they are read.

    Args:
        parts: returns an iterator that starts at the first row, over single destinations and groups that are alike.
        count: number of rows.
        row: makes the row at a position.
    """

    def __init__(
        self, parts: Callable[[], Iterator[Destination | Alike]], count: int, row: Callable[[int], Destination]
    ) -> None:
        super().__init__(self._rows, count)
        self.parts, self._row = parts, row

    def _rows(self) -> Iterator[Destination]:
        for part in self.parts():
            if isinstance(part, Alike):
                yield from part.rows()
            else:
                yield part

    def changed(self, change: Callable[[Destination], Destination]) -> Parts:
        """The rows after a function has added notes and a zone, which must be the same for all rows of an address."""

        def parts() -> Iterator[Destination | Alike]:
            for part in self.parts():
                if not isinstance(part, Alike):
                    yield change(part)
                    continue
                for _, some in part.by_host():
                    first = change(next(some.rows()))
                    # an interface may be called `<n1>`, which in a sample would be a mark of `core.stencils`
                    if len(some.tasks) < FEWEST_ALIKE or "<" in f"{first.zone}{first.notes}":
                        yield from map(change, some.rows())
                    else:
                        yield Alike(first, some.tasks, some.columns)

        return Parts(parts, len(self), lambda place: change(self._row(place)))

    def after(self, count: int) -> Iterator[Destination]:
        """All rows except the first `count`, which are not made."""
        return map(self._row, range(count, len(self)))

    @overload
    def __getitem__(self, which: int) -> Destination: ...
    @overload
    def __getitem__(self, which: slice) -> tuple[Destination, ...]: ...
    def __getitem__(self, which: int | slice) -> Destination | tuple[Destination, ...]:
        places = range(len(self))[which]
        return self._row(places) if isinstance(places, int) else tuple(map(self._row, places))


def parts_of(rows: Sequence[Destination]) -> Iterable[Destination | Alike]:
    """The rows, with runs that are known to be alike as one `Alike`."""
    return rows.parts() if isinstance(rows, Parts) else rows


class Process(Model, frozen=True):
    """A process of this host."""

    name: str
    pid: int


class ReceiveDrops(Model, frozen=True):
    """A socket of this host that dropped datagrams after they had arrived."""

    process: Process | None
    """The process that holds it; None if unknown."""
    address: str
    """The socket's own address; `0.0.0.0` or `::` for any."""
    port: int
    count: int
    """Datagrams dropped since the watch began."""
    reason: str | None
    """`buffer-full`: its receive buffer was full; None if a checksum, a socket filter or a policy may be the
    reason."""


class DropReason(Model, frozen=True):
    """Packets that this host dropped for one reason, since the watch began."""

    reason: str
    """The kernel's word, of enum skb_drop_reason: `NETFILTER_DROP`, `UDP_CSUM` …"""
    host: int | None
    """IPv4 and IPv6 packets of any protocol, in all network namespaces (by skb:kfree_skb); None if that event is not
    available."""
    namespace: int | None
    """By the counters of this network namespace, which count UDP only, except for checksums of ICMP and IPv4, the
    reverse path filter and fragments; None for reasons that it does not count."""


class ErrorSent(Model, frozen=True):
    """ICMP errors of one kind that this host sent to one address, about its own port or about forwarded datagrams."""

    to: str
    """Sender of the datagrams that the errors are about."""
    address: str
    """Destination of those datagrams: an address of this host, or one behind it."""
    port: int | None
    verdict: str | None
    reason: str
    family: int
    icmp_type: int
    icmp_code: int
    count: int
    first_time_ns: int
    last_time_ns: int
    process: Process | None
    """The process that holds a socket on that port, yet did not get the datagram."""
    why: str
    """The reason in words, from the sockets that were open when the first error was seen."""


class ErrorsSent(Model, frozen=True):
    """ICMP errors about UDP that this host sent to others, and those that it suppressed."""

    rows: tuple[ErrorSent, ...]
    """Most frequent first."""
    more: int
    """Errors beyond the 4,096 rows."""
    rate_limited: dict[str, int]
    """ICMP errors of any protocol that a rate limit suppressed in this network namespace: `ipv4_host` and `ipv6_host`
    by the limit per receiver, `global` by the host's total limit (IPv4 and IPv6). Empty where the kernel does not
    count them."""


class Report(Model, frozen=True):
    """Everything one run found, worst first.

    There may be millions of destinations, so the sequences may be lazy and keep no row. Iterate once, or slice off the
    head.
    """

    command: str
    version: str
    source: SourceReport
    destinations: Sequence[Destination]
    unmatched: Sequence[Unmatched]
    faults: dict[str, int] = field(default_factory=dict)
    group_by: str = "destination"
    """What a row is about: `destination`, `host`, `flow` or `reporter`."""
    interrupted: bool = False
    """Whether Ctrl-C or a time limit stopped the run early."""
    receive_drops: tuple[ReceiveDrops, ...] | None = None
    """Drops of this host's sockets, most first; None if they were not counted."""
    drop_reasons: tuple[DropReason, ...] | None = None
    """Why this host dropped packets, the most frequent reason first; None if nobody looked."""
    errors_sent: ErrorsSent | None = None
    """None if they were not counted."""

    @property
    def is_unreadable(self) -> bool:
        """Whether no packet could be read, because every link type is unknown."""
        return 0 < self.source.packets == self.faults.get("unknown-link-type")


class Planned(Model, frozen=True):
    """The first probe that a scan would send to a destination."""

    address: str
    port: int
    payload: str
    """Its name in the payload table."""
    bytes: int
    """Of the IP packet."""
    source: str | None
    """None if this host has no route."""
    source_port: int | None
    """None if a free port will be chosen."""
    errno: str | None
    """Why this host could not send it; None if it could."""


class Quoted(Model, frozen=True):
    """The datagram as the error quotes it; None for fields beyond the end of the quote."""

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
    """Length of the quote, from its IP header on."""


# as numbers: to combine flags takes 3 µs
_NO_PORTS, _NO_LENGTH, _NO_CHECKSUM = int(Note.NO_PORTS), int(Note.NO_LENGTH), int(Note.NO_CHECKSUM)


def quoted_of(packet: Any) -> Quoted:  # noqa: ANN401 - a `Packet`, or one with the same fields
    """The datagram that an ICMP error quotes."""
    notes = packet.notes

    def unless(missing: int, value: int) -> int | None:
        return None if notes & missing else value

    return Quoted(
        source=address_text(*packet.source),
        source_port=unless(_NO_PORTS, packet.source_port),
        destination=address_text(*packet.destination),
        destination_port=unless(_NO_PORTS, packet.destination_port),
        ip_id=packet.ip_id if packet.quoted_family == 4 else None,
        ttl=packet.ttl,
        ip_length=packet.ip_length,
        udp_length=unless(_NO_LENGTH, packet.udp_length),
        udp_checksum=unless(_NO_CHECKSUM, packet.udp_checksum),
        bytes=packet.quoted_bytes,
    )


class Event(Model, frozen=True):
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
    reporter: str | None
    mtu: int | None
    quoted: Quoted
    match: str
    matched_frame: int | None
    rtt_ms: float | None
    extensions: tuple[dict[str, Any], ...] | None
    notes: tuple[str, ...]
    match_evidence: tuple[str, ...] = ()
    """What distinguished the datagram from its neighbours: `ip-id`, `flow-label` (probes only), `udp-checksum`,
    `payload`."""
    advice: str | None = None
    """What to do, in a sentence; None if nothing needs to be done."""


class WatchedEvent(Event, frozen=True):
    """An error captured live, with the local process that sent the quoted datagram."""

    process: Process | None = None
    """None if another host sent it, or if unknown."""
    sees: str | None = None
    """Whether the sending socket can see the error: `connected`, `recverr`, `blind` or `unknown`; None if another
    host sent it."""
    reported: bool | None = None
    """Whether Linux reported it to a socket by an errno; None if another host sent it, or if unknown."""
    reported_by: str | None = None
    """Source of `reported`: `kernel` (its event sock:inet_sk_error_report) or `inference` (from the socket's state)."""
    mtu_discover: str | None = None
    """The socket's path MTU discovery mode: IP_MTU_DISCOVER or IPV6_MTU_DISCOVER without `IP_PMTUDISC_`; None if
    unknown."""
