"""What the kernel says of probes where no packet is seen: the error queue and connected sockets."""

from __future__ import annotations

from typing import NamedTuple

from udpprobe.scanning.plan import Address


class Left(NamedTuple):
    """A probe left."""

    time_ns: int
    task: int
    length: int
    """Bytes of the IP packet."""


class Answer(NamedTuple):
    """A datagram came to one of the scan's ports."""

    time_ns: int
    source: Address
    source_port: int
    own: Address
    """Where it came to."""
    own_port: int
    data: bytes

    @property
    def length(self) -> int:
        """Bytes of the IP packet, if it has no options."""
        return len(self.data) + (28 if self.source[0] == 0 and self.source[1] >> 32 == 0xFFFF else 48)


class Error(NamedTuple):
    """An ICMP error came for a probe."""

    time_ns: int
    task: int
    attempt: int
    """Which probe of the task."""
    own: Address
    """Where that left from."""
    family: int
    icmp_type: int
    icmp_code: int
    reporter: Address
    mtu: int
    """Next-hop MTU, -1 where the error carries none."""
    length: int = 0
    """Of its own packet nobody knows."""


Event = Left | Answer | Error
