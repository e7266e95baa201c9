"""What the kernel of this host says: what it allows, its interfaces, source addresses, ports. Nothing is guessed."""

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
"""A route is asked for by a connect() that sends nothing; it wants a port (RFC 863)."""

SO_ATTACH_FILTER = 26
REFUSE_ALL = struct.pack("HBBI", 6, 0, 0, 0)
"""One instruction of classic BPF: `ret #0`."""

MTU_DISCOVERY = {4: (socket.IPPROTO_IP, 10), 6: (socket.IPPROTO_IPV6, 23)}
PMTUDISC_INTERFACE = 4
"""The kernel learns nothing from errors about what is sent from such a port: what routers say of probes is not to
change how this host sends to anybody (linux/in.h)."""

PORT_TRIES = 64
"""A port that is free for one family may be taken in the other; then another one is asked for."""


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
    """What the kernel answers when it is asked where a datagram would be sent from."""

    address: int
    """128 bits, IPv4 mapped; 0 where there is an errno."""
    errno: int
    """0, or why this host would not send it: no route, blackhole, prohibit …"""


def source_of(address: str, zone: int = 0, *, bind: str | None = None, interface: str | None = None) -> SourceAddress:
    """The source address the kernel takes for a destination.

    Args:
        address: the destination, in digits.
        zone: index of the interface of a link-local destination (RFC 4007), else 0.
        bind: the source address that is wanted; the kernel still says whether there is a route from there.
        interface: the only interface to leave by.

    Raises:
        UdpprobeError: `bind` or `interface` is none of this host's.
    """
    family = _family(address)
    if bind is not None and _family(bind) != family:
        return SourceAddress(0, errno.EAFNOSUPPORT)
    try:
        with socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as asked:
            asked.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            if interface is not None:
                bind_to_interface(asked, interface)
            if bind is not None:
                _bind(asked, bind)
            asked.connect((address, DISCARD_PORT) if family == 4 else (address, DISCARD_PORT, 0, zone))
            return SourceAddress(_mapped(asked.getsockname()[0]), 0)
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
        (n,) high and low halves of the source addresses, and (n,) errno: 0 where there is a source.

    Raises:
        UdpprobeError: `bind` or `interface` is none of this host's.
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
    """UDP ports that nobody else gets while this is open. Whatever comes to them is swallowed without a word.

    A probe is sent from such a port by a raw socket. Were there no UDP socket, this host itself would answer
    the reply with port unreachable; were there one that takes datagrams, its buffer would fill up.
    """

    def __init__(self, sockets: list[list[socket.socket]], held: ExitStack) -> None:
        self.ports: tuple[int, ...] = tuple(of_port[0].getsockname()[1] for of_port in sockets)
        self._sockets, self._held = sockets, held

    @property
    def port(self) -> int:
        """The first of them, for who asked for one."""
        return self.ports[0]

    def share(self) -> None:
        """Let sockets with SO_REUSEADDR be bound to one address and these ports, and get what is for them."""
        for of_port in self._sockets:
            for each in of_port:
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)

    def close(self) -> None:
        """Give them back."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def families_of(high: Sequence[int], low: Sequence[int]) -> tuple[int, ...]:
    """Those of (n,) addresses that this kernel has: 4, 6 or both. IPv4 where it has none of them."""
    asked = {4 if top == 0 and int(rest) >> 32 == MAPPED_PREFIX else 6 for top, rest in {*zip(high, low, strict=True)}}
    return tuple(family for family in sorted(asked) if _is_known(family)) or (4,)


def _is_known(family: int) -> bool:
    try:
        socket.socket(FAMILIES[family], socket.SOCK_DGRAM).close()
    except OSError as error:
        return error.errno != errno.EAFNOSUPPORT
    return True


PORT_BITS = 14
"""log2 of the ports that the kernel chooses from (net.ipv4.ip_local_port_range: 28,232), rounded down."""


def reserve_ports(families: Collection[int] = (4, 6), port: int = 0, count: int = 1) -> ReservedPorts:
    """Take `count` ports, each in all of the families at once.

    Args:
        families: 4, 6 or both.
        port: the first of `count` neighbours; 0 lets the kernel choose each at random.
        count: how many.

    Raises:
        UdpprobeError: a port is in use, or not for this user, or none is left.
    """
    with ExitStack() as held:
        wanted = range(port, port + count) if port else [0] * count
        sockets = [_reserve(families, each, held) for each in wanted]
        return ReservedPorts(sockets, held.pop_all())


def reserve_neighbours(count: int, families: Collection[int] = (4, 6)) -> ReservedPorts:
    """Take `count` ports in a row, each in all of the families.

    Raises:
        UdpprobeError: so many free ones were not found.
    """
    for _ in range(PORT_TRIES):
        with reserve_ports(families) as one:
            first = one.port
        with suppress(UdpprobeError):
            return reserve_ports(families, port=min(first, 65_536 - count), count=count)
    raise UdpprobeError(f"no {count} UDP ports in a row are free to send from; name one with --source-port")


def _reserve(families: Collection[int], port: int, held: ExitStack) -> list[socket.socket]:
    for _ in range(PORT_TRIES):
        with ExitStack() as tried:
            try:
                found = _reserve_once(families, port, tried)
            except OSError as error:
                if port or error.errno != errno.EADDRINUSE:
                    raise UdpprobeError(
                        f"cannot take {f'UDP port {port}' if port else 'a UDP port'} to send from: "
                        f"{os.strerror(error.errno or errno.EIO)}"
                    ) from None
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
    """Let the kernel drop what arrives for this socket, before it is queued."""
    program = ctypes.create_string_buffer(REFUSE_ALL, len(REFUSE_ALL))
    opened.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", 1, ctypes.addressof(program)))
