"""Whose datagram does an error quote? The clients' UDP sockets, looked up by the quote."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from udpprobe.core.notes import Note
from udpprobe.core.rows import Packet, Rows

IsOwn = Callable[[int, int], bool]
"""Whether an address (128 bits, IPv4 mapped) is local on the interface with this index."""

IsPeerNow = Callable[["ClientSocket", "Quote"], bool]
"""Whether a socket that was connected elsewhere is now connected to this datagram's destination."""

UNFIT = {
    "bad-icmp-checksum": int(Note.BAD_ICMP_CHECKSUM),
    "quotes-later-fragment": int(Note.QUOTES_LATER_FRAGMENT),
    "no-ports": int(Note.NO_PORTS | Note.NO_LENGTH | Note.NO_CHECKSUM),
}
"""Errors that no host accepts or can attribute, by the name of their counter. A raw IPv4 socket gets all of them. RFC
792 promises the first 8 bytes of UDP, and Linux requires them too (net/ipv4/icmp.c, icmp_socket_deliver)."""
ANY_UNFIT = UNFIT["bad-icmp-checksum"] | UNFIT["quotes-later-fragment"] | UNFIT["no-ports"]


@dataclass(frozen=True, slots=True)
class ClientSocket:
    """A client's UDP socket, as it was when registered. Addresses are 128 bits, IPv4 mapped."""

    family: int
    """4 or 6: the socket's family."""
    carries: frozenset[int]
    """Families of the datagrams it sends: an IPv6 socket may send IPv4 too (RFC 3493, 3.7)."""
    port: int
    address: int
    """0 if it is bound to no address."""
    zone: int = 0
    """Interface of a link-local `address` (RFC 4007), else 0."""
    peer: tuple[int, int] | None = None
    """Address and port it is connected to."""
    cookie: int = 0
    """The kernel's identifier (SO_COOKIE); 0 if unknown."""


@dataclass(frozen=True, slots=True)
class Quote:
    """The addresses of a quoted datagram."""

    family: int
    source: int
    source_port: int
    destination: int
    destination_port: int
    interface: int
    """Index of the incoming interface of the error; 0 if unknown."""


@dataclass(frozen=True, slots=True)
class _QuotedSource:
    """Errors that quote the same source."""

    its: list[int]
    """Clients whose unconnected sockets sent the quoted datagrams."""
    connected: list[tuple[int, ClientSocket, bool]]
    """Clients whose connected sockets may have, and whether the socket's own address is that source."""
    rows: list[int]


class Errors:
    """ICMP errors that quote UDP and were received together.

    Columns that every error needs are copied into lists: an element of a list costs a tenth of one of a compiled row.

    Args:
        rows: of `Decoder.receive`, which overwrites them with the next errors.
        data: what they were decoded from.
        time_ns: returns the arrival time of a message, by its number.

    Attributes:
        notes, kinds, ports: as in `Rows`.
        source_high, source_low, destination_high, destination_low: likewise.
        interfaces: index of each one's incoming interface; 0 if unknown.
    """

    def __init__(self, rows: Rows, data: bytes | bytearray | memoryview, time_ns: Callable[[int], int]) -> None:
        self._rows, self._data, self._time_ns = rows, data, time_ns
        self._columns = [
            memoryview(getattr(rows, name))
            for name in (
                "notes",
                "kind",
                "ports",
                "source_high",
                "source_low",
                "destination_high",
                "destination_low",
                "frame",
            )
        ]
        self.notes: list[int] = []
        self.kinds: list[int] = []
        self.ports: list[int] = []
        self.source_high: list[int] = []
        self.source_low: list[int] = []
        self.destination_high: list[int] = []
        self.destination_low: list[int] = []
        self.interfaces: list[int] = []

    def __len__(self) -> int:
        return len(self.kinds)

    def load(self, interfaces: Sequence[int]) -> None:
        """Read the current rows.

        Args:
            interfaces: by message, not by row.
        """
        size = self._rows.size
        (
            self.notes,
            self.kinds,
            self.ports,
            self.source_high,
            self.source_low,
            self.destination_high,
            self.destination_low,
            messages,
        ) = (column[:size].tolist() for column in self._columns)
        self.interfaces = [interfaces[message] for message in messages]

    def packet(self, row: int) -> Packet:
        """One row as an object, until the rows are overwritten."""
        made = self._rows.packet(row, b"", b"")
        made.time_ns = self._time_ns(made.frame)
        made.data = bytes(self._data[self._rows.message[row] : self._rows.message_end[row]])
        return made

    def quote(self, row: int) -> Quote:
        """The quoted addresses of a row."""
        ports = self.ports[row]
        return Quote(
            self.kinds[row] >> 16,
            self.source_high[row] << 64 | self.source_low[row],
            ports >> 16,
            self.destination_high[row] << 64 | self.destination_low[row],
            ports & 0xFFFF,
            self.interfaces[row],
        )


class Registry:
    """The clients' UDP sockets, one each, by client number.

    Attributes:
        most_sharing: most clients on one port: an error may be for all of them.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, ClientSocket] = {}
        self._by_port: dict[int, dict[int, ClientSocket]] = {}
        self._ports_with: Counter[int] = Counter()
        """By number of clients: number of ports that this many clients share."""
        self.most_sharing = 0

    def __len__(self) -> int:
        return len(self._sockets)

    def __contains__(self, client: int) -> bool:
        return client in self._sockets

    def get(self, client: int) -> ClientSocket | None:
        """The client's socket, if it has one."""
        return self._sockets.get(client)

    def sharing(self, port: int) -> Collection[int]:
        """The clients whose sockets have this port."""
        return self._by_port.get(port, {}).keys()

    def add(self, client: int, handed: ClientSocket) -> None:
        """Register a socket, in place of an earlier one of the same client."""
        self.remove(client)
        self._sockets[client] = handed
        sharing = self._by_port.setdefault(handed.port, {})
        sharing[client] = handed
        self._count(len(sharing) - 1, len(sharing))

    def remove(self, client: int) -> None:
        """Forget the client's socket, if it has one."""
        old = self._sockets.pop(client, None)
        if old is not None:
            sharing = self._by_port[old.port]
            del sharing[client]
            self._count(len(sharing) + 1, len(sharing))
            if not sharing:
                del self._by_port[old.port]

    def _count(self, before: int, now: int) -> None:
        """A port has gained or lost a client."""
        self._ports_with[before] -= 1
        self._ports_with[now] += 1
        if now > self.most_sharing or (before == self.most_sharing and not self._ports_with[before]):
            self.most_sharing = now

    def recipients(
        self,
        errors: Errors,
        is_own: IsOwn,
        is_peer_now: IsPeerNow,
    ) -> tuple[dict[int, list[int]], dict[str, int]]:
        """Clients whose socket sent the quoted datagrams, as far as addresses and ports show.

        If several sockets could have sent one, all of them get the error: a port may be shared (SO_REUSEPORT), or one
        socket bound to an address and another to none. A port alone proves little: a socket bound to no address still
        sends only from this host's own.

        Returns:
            By client, the rows of its errors; and the number of errors without a client, by reason.
        """
        wanted: dict[int, list[int]] = {}
        undelivered = {"foreign": 0}
        sources: dict[tuple[int, int, int, int, int], _QuotedSource] = {}
        columns = zip(
            errors.notes,
            errors.ports,
            errors.kinds,
            errors.source_high,
            errors.source_low,
            errors.interfaces,
            strict=True,
        )
        for row, (notes, ports, kind, high, low, interface) in enumerate(columns):
            if notes & ANY_UNFIT:
                reason = next(name for name, bits in UNFIT.items() if notes & bits)
                undelivered[reason] = undelivered.get(reason, 0) + 1
                continue
            # a flood quotes the same source repeatedly, so decide once what depends on the source only
            key = ports >> 16, kind >> 16, high, low, interface
            found = sources.get(key)
            if found is None:
                found = sources[key] = self._quoted_source(*key, is_own)
            found.rows.append(row)
            is_found = bool(found.its)
            if found.connected:
                quote = errors.quote(row)
                for client, each, may_be in found.connected:
                    is_peer = may_be and each.peer == (quote.destination, quote.destination_port)
                    if is_peer or is_peer_now(each, quote):
                        is_found = True
                        wanted.setdefault(client, []).append(row)
            if not is_found:
                undelivered["foreign"] += 1
        for found in sources.values():
            for client in found.its:
                wanted.setdefault(client, []).extend(found.rows)
        for rows in wanted.values():
            rows.sort()
        return wanted, undelivered

    def _quoted_source(
        self, port: int, family: int, high: int, low: int, interface: int, is_own: IsOwn
    ) -> _QuotedSource:
        source = high << 64 | low
        its: list[int] = []
        connected: list[tuple[int, ClientSocket, bool]] = []
        for client, each in self._by_port.get(port, {}).items():
            may_be = family in each.carries and (
                (each.address == source and each.zone in {0, interface}) if each.address else is_own(source, interface)
            )
            if each.peer:
                connected.append((client, each, may_be))
            elif may_be:
                its.append(client)
        return _QuotedSource(its, connected, [])
