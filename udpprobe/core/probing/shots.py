"""Probes of one flow that are told apart by number: what `trace` and `mtu` send, and who proves to have seen which.

Load balancers choose a path by addresses, ports, protocol, class and flow label. So these are the same in every
shot of a flow, and its number stands where they do not look: in the IPv4 id, in the payload, and so in the UDP
checksum (Augustin et al., "Avoiding traceroute anomalies with Paris traceroute", IMC 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from udpprobe.core.model import Event
from udpprobe.core.probing.probes import Probes

MOST_SHOTS = 1 << 15
"""Numbers are smaller than this."""
NUMBER_AT = 48
"""Bit of the token where the number begins: the first two bytes of the payload, and modulo 65535 a one in the id."""
TOKEN_LIMIT = (MOST_SHOTS - 1) << NUMBER_AT
"""A flow's token is smaller than this: no number makes it overflow, and no two of its checksums are equal."""


@dataclass(frozen=True, slots=True)
class Shot:
    """A probe that is to be sent."""

    number: int
    """0 to MOST_SHOTS - 1; of one that is used again, the latest counts."""
    ttl: int
    size: int = 0
    """Bytes of the IP packet; 0 for as many as the payload needs."""
    flow: int = 0
    """Which of the flows it belongs to: each has a source port and an IPv6 flow label of its own."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back for a shot."""

    number: int
    sent_ns: int
    """When it left, as the capture saw it; else when it was handed to the kernel."""
    time_ns: int
    kind: str
    """`answer`: a datagram of the destination. `error`: an ICMP error. `unsent`: an ICMP error by which this host
    itself says that it could not send it after all, as to a neighbour that nobody finds."""
    event: Event | None
    """The error; None for an answer."""
    ttl: int
    """TTL or hop limit that the reply arrived with."""
    changed: tuple[str, ...] = ()
    """What arrived changed where the error was made: `source`, `destination`, `checksum`, `dscp`, `ecn`,
    `df`; of an answer, `port` if it comes from another one than was asked."""
    is_sure: bool = True
    """False of an answer that does not repeat what was sent: it is given to the latest shot without a reply."""

    @property
    def is_quench(self) -> bool:
        """Whether somebody asks to slow down, which says nothing of what became of the shot."""
        return self.event is not None and self.event.verdict == "quenched"

    @property
    def rtt_ms(self) -> float:
        """From the shot to its reply."""
        return (self.time_ns - self.sent_ns) / 1e6


@dataclass(frozen=True, slots=True)
class Line:
    """One destination, and the flows to it. Addresses are two halves, IPv4 mapped."""

    source: tuple[int, int]
    destination: tuple[int, int]
    port: int
    zone: int
    source_ports: tuple[int, ...]
    """A flow each."""
    tokens: tuple[int, ...]
    """Likewise: secret, and smaller than TOKEN_LIMIT."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if self.destination[0] == 0 and self.destination[1] >> 32 == 0xFFFF else 6

    def probes(self, shots: Sequence[Shot]) -> Probes:
        """The probes of (n,) shots; tasks are their numbers."""
        n = len(shots)
        halves = [np.full(n, half, np.uint64) for half in (*self.source, *self.destination)]
        ports = np.array([self.source_ports[each.flow] << 16 | self.port for each in shots], np.uint64)
        token = np.array([self.tokens[each.flow] + (each.number << NUMBER_AT) for each in shots], np.uint64)
        none = np.zeros(n, np.int64)
        return Probes(np.array([each.number for each in shots], np.int64), halves[0], halves[1], halves[2], halves[3],
                      ports, none + self.zone, none, none, np.array([each.ttl for each in shots], np.int64), token)
