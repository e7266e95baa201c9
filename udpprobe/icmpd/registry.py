"""Whose datagram does an error quote? The clients' UDP sockets, looked up by what is quoted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from udpprobe.core.notes import Note
from udpprobe.core.rows import Packet

IsOwn = Callable[[int, int], bool]
"""Whether an address (128 bits, IPv4 mapped), on the interface of this index, is one of this host's."""

IsPeerNow = Callable[["UdpSocket", "Quote"], bool]
"""Whether a socket that was connected elsewhere is connected to where this was sent by now."""

UNFIT = (
    ("bad-icmp-checksum", Note.BAD_ICMP_CHECKSUM),
    ("quotes-later-fragment", Note.QUOTES_LATER_FRAGMENT),
    ("no-ports", Note.NO_PORTS | Note.NO_LENGTH | Note.NO_CHECKSUM),
)
"""Errors that no host believes or can attribute, by the name they are counted by. A raw IPv4 socket sees them all.

RFC 792 promises the first 8 bytes of UDP, and Linux demands them too."""


@dataclass(frozen=True, slots=True)
class UdpSocket:
    """A client's UDP socket, as it was when it was handed over. Addresses are 128 bits, IPv4 mapped."""

    family: int
    """4 or 6: what kind of socket it is."""
    carries: frozenset[int]
    """Families of the datagrams it sends: an IPv6 socket may send IPv4 too (RFC 3493, 3.7)."""
    port: int
    address: int
    """0 where it is bound to no address."""
    zone: int = 0
    """Interface of a link-local `address` (RFC 4007), else 0."""
    peer: tuple[int, int] | None = None
    """Address and port it is connected to."""
    cookie: int = 0
    """The kernel's name for it (SO_COOKIE); 0 where that is not known."""


@dataclass(frozen=True, slots=True)
class Quote:
    """What an error quotes of a datagram's addresses."""

    family: int
    source: int
    source_port: int
    destination: int
    destination_port: int
    interface: int
    """Index of the interface the error came by; 0 where that is not known."""


def quote_of(error: Packet, interface: int) -> Quote:
    """What an error that came by an interface quotes."""
    source, destination = error.source, error.destination
    return Quote(error.family, source[0] << 64 | source[1], error.source_port, destination[0] << 64 | destination[1],
                 error.destination_port, interface)


def why_unfit(error: Packet) -> str | None:
    """Why an error cannot be delivered at all, in a word; None where it can."""
    return next((name for name, note in UNFIT if error.notes & note), None)


class Registry:
    """Clients, numbered, with a UDP socket each."""

    def __init__(self) -> None:
        self._sockets: dict[int, UdpSocket] = {}
        self._by_port: dict[int, dict[int, UdpSocket]] = {}

    def __len__(self) -> int:
        return len(self._sockets)

    def get(self, client: int) -> UdpSocket | None:
        """The client's socket, if it has one."""
        return self._sockets.get(client)

    def add(self, client: int, handed: UdpSocket) -> None:
        """Register a socket; an earlier one of the same client is forgotten."""
        self.remove(client)
        self._sockets[client] = handed
        self._by_port.setdefault(handed.port, {})[client] = handed

    def remove(self, client: int) -> None:
        """Forget the client's socket, if it has one."""
        old = self._sockets.pop(client, None)
        if old is not None:
            del self._by_port[old.port][client]
            if not self._by_port[old.port]:
                del self._by_port[old.port]

    def recipients(self, quote: Quote, is_own: IsOwn, is_peer_now: IsPeerNow) -> list[int]:
        """Clients whose socket sent what is quoted, as far as its addresses and ports tell.

        Where several sockets could have sent it, all of them: a port that is shared (SO_REUSEPORT), or one bound to an
        address beside one bound to none.
        """
        there = self._by_port.get(quote.source_port)
        return [client for client, each in there.items()
                if _sent(each, quote, is_own) or (each.peer and is_peer_now(each, quote))] if there else []


def _sent(each: UdpSocket, quote: Quote, is_own: IsOwn) -> bool:
    """A port alone proves little: whoever is bound to none of the addresses still sends only from this host's own."""
    if quote.family not in each.carries or each.peer not in (None, (quote.destination, quote.destination_port)):
        return False
    if not each.address:
        return is_own(quote.source, quote.interface)
    return each.address == quote.source and each.zone in (0, quote.interface)
