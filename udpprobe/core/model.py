"""The report, field by field: one truth for JSON, CSV and the table.

Names and meanings are the contract with scripts: a field may be added, none renamed or dropped. Times are
nanoseconds since 1970 UTC (`_ns`) here and RFC 3339 in JSON.

The classes are msgspec's: there may be a million findings, and one takes 0.1 µs to make (a dataclass 0.5) and 0.5 to
encode. `msgspec.structs` has what `dataclasses` has for its own: `replace`, `fields`, `astuple`.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, islice
from typing import Any, NamedTuple, TypeVar, overload

from msgspec import Struct, field
from msgspec.structs import replace

from udpprobe.core.addresses import address_text
from udpprobe.core.advice import ANSWER, Case, sentence
from udpprobe.core.notes import Note
from udpprobe.endpoints import endpoint_text

REPORT_SCHEMA = "udpprobe.report/1"
REFUSED = Case("refused")
FEWEST_ALIKE = 8
"""Rows in a row that are alike: for fewer, what is common to them takes longer than they do."""


def is_time(name: str) -> bool:
    """Whether a field of that name holds nanoseconds since 1970."""
    return name.endswith("time_ns")


def json_name(name: str) -> str:
    """What a field is called in JSON: a time there has no unit."""
    return name.removesuffix("_ns") if is_time(name) else name


class Model(Struct, frozen=True, gc=False, rename=json_name):
    """What all parts of a report have in common. None refers back to what holds it, so none needs the collector."""


Row = TypeVar("Row")


class LazyRows(Sequence[Row]):
    """Rows that are made anew each time somebody looks at them, and that nobody keeps.

    Args:
        make: begins with the first one.
        count: how many there are; None where only counting can tell.
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
        """All but so many at the beginning."""
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
    """The rows, each as a function makes it once somebody looks at it."""
    return LazyRows(lambda: map(change, rows), len(rows))


class Loop(Model, frozen=True):
    """A routing loop, as far as it showed itself."""

    routers: tuple[str, ...]
    """Addresses of the routers that reported the datagrams' end, those that did so first: 32 at most."""
    period: int | None
    """Hops a datagram takes around it once."""


class Spread(Model, frozen=True):
    """Minimum, median and maximum of a set of durations, in milliseconds."""

    min: float
    median: float
    max: float


def median(values: Iterable[float]) -> float:
    """The one in the middle, of at least one: as of `statistics`, which loads fractions and decimals for it."""
    some = sorted(values)
    middle = len(some) // 2
    return some[middle] if len(some) % 2 else (some[middle - 1] + some[middle]) / 2


class Finding(Model, frozen=True):
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


def answer_from(family: int, address: str, count: int, first_ns: int, last_ns: int, note: str) -> Finding:
    """The finding that datagrams came from where nobody had been asked."""
    return Finding(
        verdict=None,
        errno=None,
        linux=None,
        family=family,
        icmp_type=None,
        icmp_code=None,
        reason=ANSWER,
        reporter=address,
        count=count,
        first_time_ns=first_ns,
        last_time_ns=last_ns,
        mtu=None,
        match="none",
        rtt_ms=None,
        loop=None,
        notes=(f"answer-from {note}",),
    )


class Unmatched(Model, frozen=True):
    """Errors that quote a datagram nobody saw being sent."""

    address: str
    port: int | None
    """None where the quote is too short, or of a later fragment."""
    finding: Finding
    source: str | None = None
    """In a report by flow: where the datagram came from, as it is quoted."""
    source_port: int | None = None
    advice: str | None = None
    """What to do, in a sentence; None where all is well."""


class Destination(Model, frozen=True):
    """What happened to the datagrams sent to one address and UDP port."""

    address: str
    port: int | None
    """None where only later fragments were seen or quoted."""
    verdict: str | None
    """None where the run was interrupted before it was settled."""
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
    advice: str | None = None
    """What to do, in a sentence; None where all is well."""


class Unread(Model, frozen=True):
    """A file among several that could not be read, or not to its end."""

    name: str
    reason: str


class SourceReport(Model, frozen=True):
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


class AlikeColumns(NamedTuple):
    """(tasks,) what differs between destinations that fared alike."""

    high: array[int]
    low: array[int]
    """Both halves of the address ("Q")."""
    port: array[int]
    """"H"."""
    sent_bytes: array[int]
    """"Q"."""
    time_ns: array[int]
    """Of their one error ("q")."""
    rtt_ns: array[int]
    """"q"."""


class Alike(Struct, frozen=True):
    """Destinations of one family, each asked once and refused once by itself: rows that differ in a few fields."""

    template: Destination
    """One of them."""
    tasks: array[int]
    """Which they are ("I")."""
    columns: AlikeColumns

    @property
    def verdict(self) -> str | None:
        """Of each."""
        return self.template.verdict

    def by_host(self) -> Iterator[tuple[str, Alike]]:
        """The rows of each host that stand together, and its address."""
        high, low = self.columns.high, self.columns.low
        for (its_high, its_low), tasks in groupby(self.tasks, lambda task: (high[task], low[task])):
            yield address_text(its_high, its_low), Alike(self.template, array("I", tasks), self.columns)

    def rows(self) -> Iterator[Destination]:
        """They as objects."""
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


class Parts(LazyRows[Destination]):
    """Rows of which some are alike, and stay compact until somebody wants them.

    Args:
        parts: begins with the first row: destinations, and those that are alike.
        count: how many rows there are.
        row: makes one of them, by its place.
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
        """The rows, each as a function makes it that adds notes and a zone, the same to all rows of an address."""

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
        """All but so many at the beginning, which are not made."""
        return map(self._row, range(count, len(self)))

    @overload
    def __getitem__(self, which: int) -> Destination: ...
    @overload
    def __getitem__(self, which: slice) -> tuple[Destination, ...]: ...
    def __getitem__(self, which: int | slice) -> Destination | tuple[Destination, ...]:
        places = range(len(self))[which]
        return self._row(places) if isinstance(places, int) else tuple(map(self._row, places))


def parts_of(rows: Sequence[Destination]) -> Iterable[Destination | Alike]:
    """The rows; those that are alike as one, where they are known to be."""
    return rows.parts() if isinstance(rows, Parts) else rows


class Process(Model, frozen=True):
    """A process of this host."""

    name: str
    pid: int


class ReceiveDrops(Model, frozen=True):
    """A socket of this host that dropped datagrams which had reached it."""

    process: Process | None
    """Who holds it; None where nobody knows."""
    address: str
    """Its own; `0.0.0.0` or `::` for any."""
    port: int
    count: int
    """Datagrams, since the watch began."""
    reason: str | None
    """`buffer-full`: its receive buffer was full; None where a checksum, its filter or a policy may be the reason."""


class DropReason(Model, frozen=True):
    """Packets that this host dropped for one reason, since the watch began."""

    reason: str
    """The kernel's word, of enum skb_drop_reason: `NETFILTER_DROP`, `UDP_CSUM` …"""
    host: int | None
    """IPv4 and IPv6 packets of any protocol, in all network namespaces (by skb:kfree_skb); None where that event is not
    to be had."""
    namespace: int | None
    """By the counters of this network namespace: of UDP alone, but for checksums of ICMP and IPv4, the reverse path
    and fragments; None for reasons that it does not count."""


class ErrorSent(Model, frozen=True):
    """ICMP errors of one kind that this host sent to somebody about one of its ports, or about what it forwards."""

    to: str
    """Whose datagrams they are about."""
    address: str
    """Where these went: an address of this host, or what is behind it."""
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
    """Who holds a socket of that port, and did not get the datagram all the same."""
    why: str
    """In words; by the sockets that there were when the first of them was seen."""


class ErrorsSent(Model, frozen=True):
    """What this host said to others by ICMP errors about UDP, and what it kept to itself."""

    rows: tuple[ErrorSent, ...]
    """The most frequent first."""
    more: int
    """Errors that found no room among 4,096 rows."""
    rate_limited: dict[str, int]
    """ICMP errors of any protocol that a rate limit kept from being sent, of this network namespace: `ipv4_host` and
    `ipv6_host` by the limit of each receiver, `global` by the one of all (IPv4 and IPv6). Empty where the kernel does
    not count them."""


class Report(Model, frozen=True):
    """All that one run found, worst first.

    There may be millions of destinations: the sequences may make each one when it is asked for, and keep none. Readers
    iterate once, or slice off the head.
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
    """Whether it was stopped, by Ctrl-C or a limit of time, before it was done."""
    receive_drops: tuple[ReceiveDrops, ...] | None = None
    """Of sockets of this host, the most first; None where nobody looked for them."""
    drop_reasons: tuple[DropReason, ...] | None = None
    """Why this host dropped packets, the most frequent reason first; None where nobody looked."""
    errors_sent: ErrorsSent | None = None
    """None where nobody asked for them."""

    @property
    def is_unreadable(self) -> bool:
        """Whether none of the packets could be read, for all are of unknown link layers."""
        return 0 < self.source.packets == self.faults.get("unknown-link-type")


class Planned(Model, frozen=True):
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


class Quoted(Model, frozen=True):
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


def quoted_of(packet: Any) -> Quoted:  # noqa: ANN401 - a `Packet`, or one with the same fields
    """What an ICMP error quotes of a datagram."""
    notes = packet.notes

    def unless(missing: int, value: int) -> int | None:
        return None if notes & missing else value

    return Quoted(
        source=address_text(*packet.source),
        source_port=unless(Note.NO_PORTS, packet.source_port),
        destination=address_text(*packet.destination),
        destination_port=unless(Note.NO_PORTS, packet.destination_port),
        ip_id=packet.ip_id if packet.quoted_family == 4 else None,
        ttl=packet.ttl,
        ip_length=packet.ip_length,
        udp_length=unless(Note.NO_LENGTH, packet.udp_length),
        udp_checksum=unless(Note.NO_CHECKSUM, packet.udp_checksum),
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
    """What told the datagram from its neighbours: `ip-id`, `flow-label` (of probes only), `udp-checksum`, `payload`."""
    advice: str | None = None
    """What to do, in a sentence; None where all is well."""


class WatchedEvent(Event, frozen=True):
    """An error heard live, and who on this host sent what it quotes."""

    process: Process | None = None
    """None where another host sent it, or where nobody knows."""
    sees: str | None = None
    """What the sending socket can see of the error: `connected`, `recverr`, `blind` or `unknown`; None where another
    host sent it."""
    reported: bool | None = None
    """Whether Linux told a socket of it, by an errno; None where another host sent it, or where nobody knows."""
    reported_by: str | None = None
    """Who says so: `kernel`, by its event sock:inet_sk_error_report; or `inference`, from the socket's state."""
    mtu_discover: str | None = None
    """How the socket discovers the path MTU: IP_MTU_DISCOVER or IPV6_MTU_DISCOVER without `IP_PMTUDISC_`; None where
    nobody knows."""
