"""Before the first probe: payloads, source addresses and ports, and the engine."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import compress
from random import SystemRandom

from msgspec import Struct

from udpprobe.core.addresses import address_text, mapped_address
from udpprobe.core.departures import firsts, values_at
from udpprobe.core.model import Planned
from udpprobe.engines import Engine
from udpprobe.errors import UdpprobeError
from udpprobe.linux.hostfacts import (
    PORT_BITS,
    ReservedPorts,
    families_of,
    has_net_raw,
    own_addresses,
    reserve_neighbours,
    reserve_ports,
    sources_for,
)
from udpprobe.payloads import Catalogue, chosen, from_nmap, load
from udpprobe.scanning.plan import Address, Plan, ProbedDestinations, Sources

SOURCE_PORTS = 64
"""Default number of source ports. A host's ports use them in turn; a single host gets no more than it needs."""
FIRST_UNPRIVILEGED = 1024
"""The first port that any user may bind (ip(7))."""
PORT_TRIES = 64
LOOPBACK = 0xFFFF_7F
"""127.0.0.0/8, mapped."""
FALLBACK = "raw sockets need CAP_NET_RAW (be root, or see udpprobe scan --help): using --engine recverr, which"
BULK_PPS = 5000
"""A small capture ring overflows above this rate."""
MANY_DESTINATIONS = 4096
"""With at least this many destinations, a fast scan does not capture its own probes, which would be half of all frames.
Their send time is then that of the system call, which sends some hundreds at once."""


class EngineOptions(Struct, frozen=True):
    """How to probe."""

    rate_pps: float = 1000
    """Datagrams a second over all hosts; 0 for as many as possible."""
    retries: int = 2
    """Retries of a silent port, where a closed one would have sent an error."""
    timeout_s: float = 4
    """Seconds to wait for a host that has not replied at all: a router tries to resolve an address for 3 s."""
    linger_s: float = 1
    """Seconds to wait for answers after the last probe."""
    payload: str = "auto"
    payload_file: str | None = None
    """`nmap:FILE`: payloads by port from this file, before our own."""
    size: int = 0
    """Bytes of the IP packet that every probe is padded to; 0 for no padding."""
    ttl: int = 64
    source_port: int = 0
    """0 lets the kernel choose."""
    source_addresses: tuple[str, ...] = ()
    """Instead of the one that the kernel would choose."""
    interface: str | None = None
    """Interface to send and receive on; None for the kernel's choice."""
    write: str | None = None
    """File for the probes and replies."""
    control: bool = True
    """Whether to probe closed ports too, to learn what silence means."""
    engine: str = "auto"
    """`raw`, `recverr`, `connected`, or `auto`: raw if allowed, else recverr."""
    loop_ttl: int = 32
    capture: str = "auto"
    """How the raw engine receives: `ring`, `scapy`, or `auto`."""


def catalogue_of(options: EngineOptions) -> Catalogue:
    """The payloads per port for these options.

    Raises:
        UsageError: the payload is unknown, or the file has a mistake.
        UdpprobeError: the file cannot be read.
    """
    catalogue = load()
    if options.payload_file is not None:
        catalogue = from_nmap(catalogue, options.payload_file)
    return chosen(catalogue, options.payload)


def are_own(destinations: ProbedDestinations) -> bytearray:
    """(n,) whether each is at an address of this host."""
    own = {divmod(mapped_address(address), 1 << 64) for address in own_addresses()}
    of_host = bytes(
        (high == 0 and low >> 24 == LOOPBACK) or (high, low) in own
        for high, low in map(destinations.address, _firsts_of(destinations))
    )
    return values_at(of_host, destinations.host)


def reserve_source_ports(destinations: ProbedDestinations, own: Sequence[int], options: EngineOptions) -> ReservedPorts:
    """Reserve the source ports; if possible none that is to be probed on this host, since it would not reply.

    Args:
        destinations: (n,) what is to be probed.
        own: (n,) as `are_own` returns it.
        options: how to probe.

    Raises:
        UdpprobeError: the port is in use, or not for this user; or none is free.
    """
    families = families_of(*zip(*map(destinations.address, _firsts_of(destinations)), strict=True))
    if options.source_port:
        return reserve_ports(families, port=options.source_port)
    taken = set(compress(destinations.port, own))
    needed = SOURCE_PORTS
    if is_alone(destinations):
        needed = min(SOURCE_PORTS, len(destinations.port) + 1)  # and one for the control port
    if not taken:
        return reserve_neighbours(needed, families)
    for count in (needed, 1):
        for first in _some_beside(taken, count):
            with suppress(UdpprobeError):
                return reserve_ports(families, port=first, count=count)
    return reserve_neighbours(1, families)


def is_alone(destinations: ProbedDestinations) -> bool:
    """Whether a single host is probed."""
    return not any(destinations.host)


def _some_beside(taken: set[int], count: int) -> list[int]:
    """Start of `count` consecutive ports, none of them taken."""
    firsts, free = [], 0
    for port in range(FIRST_UNPRIVILEGED, 65_536):
        free = 0 if port in taken else free + 1
        if free >= count:
            firsts.append(port - count + 1)
    return SystemRandom().sample(firsts, min(PORT_TRIES, len(firsts)))


def make_plan(
    destinations: ProbedDestinations, options: EngineOptions, ports: tuple[int, ...]
) -> tuple[Plan, array[int]]:
    """The tasks, and (hosts,) errno of hosts without a route.

    Raises:
        UdpprobeError: this host lacks a source address or the interface.
    """
    catalogue = catalogue_of(options)
    sources, send_errnos = _sources(destinations, options)
    choice = array("H", map(catalogue.choices_by_port().__getitem__, destinations.port))
    dice = SystemRandom()  # `secrets` does the same but loads OpenSSL
    key = dice.getrandbits(64), dice.getrandbits(64)
    port_bits = PORT_BITS if is_alone(destinations) and not options.source_port else None
    return Plan(
        destinations,
        Sources(sources, ports[0], len(ports), port_bits),
        choice,
        catalogue.payloads(),
        key,
        ttl=options.ttl,
        size=options.size,
        proving=catalogue.proving,
    ), send_errnos


def _sources(destinations: ProbedDestinations, options: EngineOptions) -> tuple[list[list[Address]], array[int]]:
    """Each host's source addresses; those that cannot reach it are replaced by one that can."""
    hosts = _hosts_of(destinations)
    columns = [
        list(
            zip(*sources_for(hosts.high, hosts.low, hosts.zone, bind=address, interface=options.interface), strict=True)
        )
        for address in options.source_addresses or (None,)
    ]
    sources, send_errnos = [], array("i")
    for found in zip(*columns, strict=True):
        usable = next((each for each in found if each[2] == 0), found[0])
        sources.append([(high, low) if errno == 0 else usable[:2] for high, low, errno in found])
        send_errnos.append(usable[2])
    return sources, send_errnos


def _firsts_of(destinations: ProbedDestinations) -> array[int]:
    """(hosts,) the first row of each."""
    return firsts(destinations.host, max(destinations.host, default=-1) + 1)


def _hosts_of(destinations: ProbedDestinations) -> ProbedDestinations:
    """A row of each host, in the order of their numbers."""
    hosts = ProbedDestinations()
    for host, row in enumerate(_firsts_of(destinations)):
        hosts.add(host, destinations.address(row), destinations.port[row : row + 1], destinations.zone[row])
    return hosts


def open_engine(
    options: EngineOptions, ports: tuple[int, ...], warn: Callable[[str], None], *, tasks: int = 0
) -> Engine:
    """The requested engine, or the best one that is allowed. Warns about what it cannot see.

    Args:
        options: how to probe.
        ports: the source ports.
        warn: shows the user a warning.
        tasks: how many destinations there are.

    Raises:
        PrivilegeError: raw sockets are not allowed, and `engine` is `raw`.
        UdpprobeError: the host cannot do it.
    """
    name, who = options.engine, f"--engine {options.engine}"
    if name == "auto":
        name, who = ("raw" if has_net_raw() else "recverr"), FALLBACK
    engine = ENGINES[name](options, ports, tasks)
    if engine.blind_to:
        warn(f"{who} cannot see {engine.blind_to}")
    return engine


def _open_raw(options: EngineOptions, ports: tuple[int, ...], tasks: int) -> Engine:
    from udpprobe.engines.raw import Raw  # noqa: PLC0415 - the others do without a capture

    bulk = not 0 < options.rate_pps <= BULK_PPS
    return Raw(
        ports=(ports[0], ports[-1]),
        interface=options.interface,
        bulk=bulk,
        capture=options.capture,
        sees_own=not bulk or tasks < MANY_DESTINATIONS or options.write is not None,
    )


def _open_recverr(options: EngineOptions, _: tuple[int, ...], __: int) -> Engine:
    from udpprobe.engines.recverr import RecvErr  # noqa: PLC0415 - as above

    return RecvErr(interface=options.interface)


def _open_connected(options: EngineOptions, _: tuple[int, ...], __: int) -> Engine:
    from udpprobe.engines.connected import Connected  # noqa: PLC0415 - as above

    return Connected(interface=options.interface)


ENGINES = {"raw": _open_raw, "recverr": _open_recverr, "connected": _open_connected}


def planned(destinations: ProbedDestinations, options: EngineOptions) -> Iterator[Planned]:
    """The first probe that a scan would send to each destination, in order. Sends nothing; needs no privilege.

    Args:
        destinations: what would be probed.
        options: how.

    Raises:
        UsageError: an option is invalid: an unknown payload or address.
        UdpprobeError: this host cannot do it.
    """
    catalogue = catalogue_of(options)
    plan, send_errnos = make_plan(destinations, options, (options.source_port,))
    tasks = plan.tasks
    for task in range(plan.requested_count):
        send_errno = send_errnos[tasks.host[task]]
        source = plan.sources.addresses[tasks.host[task]][0]
        yield Planned(
            address=address_text(*tasks.address(task)),
            port=tasks.port[task],
            payload=catalogue.rows[plan.payload_of(task, 0)].name,
            bytes=plan.length_of(task, 0),
            source=None if send_errno else address_text(*source),
            source_port=plan.source_port[task] or None,
            errno=errno.errorcode.get(send_errno),
        )
