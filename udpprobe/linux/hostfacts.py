"""Facts about this host from its kernel: privileges, interfaces, source addresses, ports. Nothing is guessed."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import struct
from array import array
from collections.abc import Collection, Sequence
from contextlib import ExitStack, suppress
from functools import cache, partial
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Self

from msgspec import Struct

from udpprobe.core.addresses import MAPPED_PREFIX, address_text, mapped_address
from udpprobe.errors import UdpprobeError
from udpprobe.linux.netlink import bind_to_interface, interface_addresses

Address = IPv4Address | IPv6Address

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
WILDCARDS = {4: "0.0.0.0", 6: "::"}  # noqa: S104  reserved for all addresses, and nothing is ever read from it

DISCARD_PORT = 9
"""A route is looked up by a connect() that sends nothing; it needs a port (RFC 863)."""

SO_ATTACH_FILTER = 26
REFUSE_ALL = struct.pack("HBBI", 6, 0, 0, 0)
"""One instruction of classic BPF: `ret #0`."""

MTU_DISCOVERY = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
PMTUDISC_INTERFACE = 4
"""The kernel ignores the MTU in errors about datagrams from such a port, so probes do not change how this host sends to
others (linux/in.h)."""

PORT_TRIES = 64
"""A port that is free in one family may be taken in the other; then another is tried."""


def has_net_raw() -> bool:
    """Whether this process may open raw and packet sockets (CAP_NET_RAW, capabilities(7))."""
    try:
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_UDP).close()
    except PermissionError:
        return False
    return True


def own_addresses() -> frozenset[Address]:
    """The addresses of all interfaces."""
    return frozenset(map(ip_address, interface_addresses()))


class SourceAddress(Struct, frozen=True):
    """The kernel's choice of source address for a datagram."""

    address: int
    """128 bits, IPv4 mapped; 0 if there is an errno."""
    errno: int
    """0, or why this host could not send it: no route, blackhole, prohibit …"""


def source_of(address: str, zone: int = 0, *, bind: str | None = None, interface: str | None = None) -> SourceAddress:
    """The kernel's source address for a destination.

    Args:
        address: the destination, numeric.
        zone: interface index of a link-local destination (RFC 4007), else 0.
        bind: the requested source address; the kernel still decides whether there is a route from it.
        interface: the only outgoing interface to use.

    Raises:
        UdpprobeError: this host lacks `bind` or `interface`.
    """
    family = _family(address)
    if bind is not None and _family(bind) != family:
        return SourceAddress(0, errno.EAFNOSUPPORT)
    try:
        with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as udp:
            udp.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if interface is not None:
                bind_to_interface(udp, interface)
            if bind is not None:
                _bind(udp, bind)
            udp.connect((address, DISCARD_PORT) if family == 4 else (address, DISCARD_PORT, 0, zone))
            return SourceAddress(_mapped(udp.getsockname()[0]), 0)
    except OSError as error:
        return SourceAddress(0, error.errno or errno.EIO)


def _family(address: str) -> int:
    return 6 if ":" in address else 4


def sources_for(
    high: Sequence[int],
    low: Sequence[int],
    zone: Sequence[int],
    *,
    bind: str | None = None,
    interface: str | None = None,
) -> tuple[array[int], array[int], array[int]]:
    """`source_of` for (n,) destinations; the kernel is asked once for each distinct one.

    Returns:
        (n,) high and low halves of the source addresses, and (n,) errno: 0 if there is a source.

    Raises:
        UdpprobeError: this host lacks `bind` or `interface`.
    """
    ask = cache(partial(_ask, bind=bind, interface=interface))
    found = list(map(ask, high, low, zone))
    return (
        array("Q", [each.address >> 64 for each in found]),
        array("Q", [each.address & (1 << 64) - 1 for each in found]),
        array("i", [each.errno for each in found]),
    )


def _ask(high: int, low: int, zone: int, *, bind: str | None, interface: str | None) -> SourceAddress:
    return source_of(address_text(int(high), int(low)), int(zone), bind=bind, interface=interface)


def _bind(opened: socket.socket, source: str) -> None:
    try:
        opened.bind((source, 0))
    except OSError as error:
        raise UdpprobeError(f"cannot send from {source}: {os.strerror(error.errno or errno.EIO)}") from None


@cache
def _mapped(text: str) -> int:
    return mapped_address(ip_address(text.partition("%")[0]))


class ReservedPorts:
    """UDP ports that no other program gets while this is open. Datagrams to them are dropped silently.

    Probes are sent from such a port by a raw socket. Without a UDP socket there, this host itself would answer replies
    with port unreachable; with one that accepts datagrams, its buffer would fill up.
    """

    def __init__(self, sockets: list[list[socket.socket]], held: ExitStack) -> None:
        self.ports: tuple[int, ...] = tuple(of_port[0].getsockname()[1] for of_port in sockets)
        self._sockets, self._held = sockets, held

    @property
    def port(self) -> int:
        """The first of them, for callers with a single port."""
        return self.ports[0]

    def share(self) -> None:
        """Let sockets with SO_REUSEADDR bind to one address and these ports, and receive there."""
        for of_port in self._sockets:
            for each in of_port:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def close(self) -> None:
        """Release them."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def families_of(high: Sequence[int], low: Sequence[int]) -> tuple[int, ...]:
    """The families among (n,) addresses that this kernel supports: 4, 6 or both; 4 if it supports none of them."""
    families = {
        4 if top == 0 and int(rest) >> 32 == MAPPED_PREFIX else 6 for top, rest in {*zip(high, low, strict=True)}
    }
    return tuple(family for family in sorted(families) if _is_known(family)) or (4,)


def _is_known(family: int) -> bool:
    try:
        socket.socket(FAMILIES[family], socket.SOCK_DGRAM).close()
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    return True


PORT_BITS = 14
"""log2 of the number of ports that the kernel chooses from (net.ipv4.ip_local_port_range: 28,232), rounded down."""


def reserve_ports(families: Collection[int] = (4, 6), port: int = 0, count: int = 1) -> ReservedPorts:
    """Reserve `count` ports, each in all of the families.

    Args:
        families: 4, 6 or both.
        port: the first of `count` consecutive ports; 0 lets the kernel choose each at random.
        count: number of ports.

    Raises:
        UdpprobeError: a port is in use, or not for this user, or none is left.
    """
    with ExitStack() as held:
        wanted = range(port, port + count) if port else [0] * count
        sockets = [_reserve(families, each, held) for each in wanted]
        return ReservedPorts(sockets, held.pop_all())


def reserve_neighbours(count: int, families: Collection[int] = (4, 6)) -> ReservedPorts:
    """Reserve `count` consecutive ports, each in all of the families.

    Raises:
        UdpprobeError: there are not enough free ones.
    """
    for _ in range(PORT_TRIES):
        with reserve_ports(families) as one:
            first = one.port
        with suppress(UdpprobeError):
            return reserve_ports(families, port=min(first, 65_536 - count), count=count)
    raise UdpprobeError(f"no {count} consecutive UDP ports are free to send from; name one with --source-port")


def _reserve(families: Collection[int], port: int, held: ExitStack) -> list[socket.socket]:
    for _ in range(PORT_TRIES):
        with ExitStack() as tried:
            try:
                found = _reserve_once(families, port, tried)
            except OSError as error:
                if port or error.errno != errno.EADDRINUSE:
                    what = f"UDP port {port}" if port else "a UDP port"
                    raise UdpprobeError(f"cannot send from {what}: {os.strerror(error.errno or errno.EIO)}") from None
            else:
                held.enter_context(tried.pop_all())
                return found
    raise UdpprobeError("no UDP port to send from is free in both IPv4 and IPv6; close some sockets")


def _reserve_once(families: Collection[int], port: int, held: ExitStack) -> list[socket.socket]:
    sockets = []
    for family in families:
        taken = held.enter_context(socket.socket(FAMILIES[family], socket.SOCK_DGRAM))
        _swallow(taken)
        taken.setsockopt(*MTU_DISCOVERY[family], PMTUDISC_INTERFACE)
        if family == 6:
            taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind((WILDCARDS[family], port))
        port = taken.getsockname()[1]
        sockets.append(taken)
    return sockets


def _swallow(opened: socket.socket) -> None:
    """Let the kernel drop everything for this socket before it is queued.

    Its buffers have no room, from which `watch` recognises a socket that only reserves a port: see
    `UdpSocket.keeps_port`.
    """
    for buffer in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        opened.setsockopt(socket.SOL_SOCKET, buffer, 0)
    program = ctypes.create_string_buffer(REFUSE_ALL, len(REFUSE_ALL))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
