"""From targets to destinations: names to addresses, networks to hosts."""

from __future__ import annotations

import os
import socket
from array import array
from collections.abc import Callable, Iterator, Sequence
from ipaddress import IPv4Address, ip_address
from itertools import pairwise
from pathlib import Path
from typing import TextIO

from msgspec import Struct
from msgspec.structs import replace

from udpprobe.core.addresses import address_text
from udpprobe.core.model import Destination, Parts, Report, changed
from udpprobe.core.targets import (
    Block,
    Ports,
    TargetSpec,
    is_link_local,
    parse_target_lines,
    single,
)
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.files import lines_at_most
from udpprobe.linux.netlink import interface_name
from udpprobe.scanning.plan import ProbedDestinations

MOST_HOSTS = 1 << 20
"""Largest network that may be a target: an IPv4 /12."""
MOST_DESTINATIONS = 1 << 24
"""Addresses times ports of a scan: a /24 with all its ports. More would not fit into a small host's memory."""

MOST_FAILURES = 3
"""Targets that are named if none can be probed."""

_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
_UNSPECIFIED = {
    single(ip_address(own)): f"{own} means this host; use {loopback}"
    for own, loopback in (("0.0.0.0", "127.0.0.1"), ("::", "::1"))  # noqa: S104 - to refuse it
}
_BROADCAST = 0xFFFF_FFFF_FFFF
_LOCAL_ROUTES = "/proc/net/fib_trie"
_HAS_BROADCAST = "/32 link BROADCAST"


class Wanted(Struct, frozen=True):
    """How to resolve targets."""

    default_ports: Ports
    """Of targets without ports."""
    family: int | None = None
    """4 or 6 for only such addresses; None for both."""
    interface: str | None = None
    """Zone of link-local addresses without one."""
    allow_broadcast: bool = False
    """Whether group addresses may be probed: multicast, broadcast, and 0.0.0.0/8, which some hosts take for
    broadcast."""


class Resolved(Struct, frozen=True):
    """The destinations to probe."""

    destinations: ProbedDestinations
    """By host and port; hosts are numbered in the order of their targets."""
    names: dict[int, str]
    """By host number, the name as typed."""
    failures: tuple[UdpprobeError, ...] = ()
    """Why some targets are not probed: a name without address, or a forbidden one."""
    warnings: tuple[str, ...] = ()
    """What the user may not have meant: addresses of the family that is not wanted."""


class _Span(Struct, frozen=True):
    """The addresses of a target, or one of the addresses of a name."""

    block: Block
    zone: int
    ports: Ports
    name: str | None


_Host = tuple[int, int]
"""A host's address, 128 bits, and its zone."""


def read_targets(path: str) -> list[TargetSpec]:
    """The targets in a file, separated by blanks or line ends, with comments after `#`.

    Args:
        path: the file; "-" is standard input.

    Raises:
        UsageError: a line has no valid target; names the line.
        UdpprobeError: the file cannot be read.
    """
    try:
        with _opened(path) as lines:
            return parse_target_lines(lines_at_most(lines), "standard input" if path == "-" else path)
    except OSError as error:
        raise UdpprobeError(f"cannot read {path}: {error.strerror or error}") from error


def _opened(path: str) -> TextIO:
    if path == "-":
        return os.fdopen(0, encoding="utf-8-sig", errors="backslashreplace", closefd=False)
    return Path(path).open(encoding="utf-8-sig", errors="backslashreplace")


def resolve(targets: Sequence[TargetSpec], excluded: Sequence[TargetSpec], wanted: Wanted) -> Resolved:
    """The destinations of targets, without duplicates.

    A network stands for all its addresses, including the first and last one of an IPv4 network, but not for multicast
    addresses and 255.255.255.255: those must be named.

    Args:
        targets: the requested ones.
        excluded: left out; without ports, whole hosts.
        wanted: how to resolve them.

    Raises:
        UsageError: nothing is left, or too much; a link-local address on two links.
        UdpprobeError: why none of the targets can be probed: no address is known, it may not be probed, or its
            interface is unknown. That is no usage error, because other targets would have worked.
    """
    spans, failures = [], []
    forbidden = frozenset() if wanted.allow_broadcast else _own_broadcasts()
    for target in targets:
        try:
            spans += _spans(target, wanted, forbidden)
        except UdpprobeError as error:
            failures.append(error)
    if failures and not spans:
        raise UdpprobeError(_all_of(failures))
    _refuse_too_much(spans)
    ports_by_host, names_of = _ports_by_host(spans, forbidden)
    without_excluded = _without_excluded(excluded)
    destinations, names = ProbedDestinations(), {}
    kept: list[_Host] = []
    for (address, zone), wanted_ports in ports_by_host.items():
        ports = without_excluded(address, wanted_ports)
        if len(ports):
            number = len(kept)
            kept.append((address, zone))
            destinations.add(number, divmod(address, 1 << 64), ports, zone)
            if (address, zone) in names_of:
                names[number] = names_of[address, zone]
    if not kept:
        raise UsageError(_nothing(wanted.family))
    _refuse_two_links(kept)
    return Resolved(destinations, names, tuple(failures), tuple(_left_out_by_family(targets, wanted.family)))


def _left_out_by_family(targets: Sequence[TargetSpec], family: int | None) -> Iterator[str]:
    if family and (texts := [each.text for each in targets if not _may_have(each.host, family)]):
        yield f"only IPv{family} is wanted, so these targets are not probed: {_all_of(texts)}"


def _may_have(host: str | Block, family: int) -> bool:
    """Whether a target may have addresses of a family."""
    return isinstance(host, str) or host.family == family


def _all_of(failures: Sequence[object]) -> str:
    """All failures in one line: a file may have thousands."""
    texts = list(dict.fromkeys(map(str, failures)))
    more = len(texts) - MOST_FAILURES
    return "; ".join(texts[:MOST_FAILURES]) + (f"; and {more:,} more" if more > 0 else "")


def _nothing(family: int | None) -> str:
    return "no target is left to probe" + (f" over IPv{family}" if family else "")


def _spans(target: TargetSpec, wanted: Wanted, forbidden: frozenset[int]) -> list[_Span]:
    ports = target.ports or wanted.default_ports
    if isinstance(target.host, str):
        blocks, name = _looked_up(target.host, wanted.family), target.host
    else:
        blocks, name = ([target.host] if not wanted.family or _may_have(target.host, wanted.family) else []), None
    if not wanted.allow_broadcast:
        for block in blocks:
            _refuse_groups(target, block, forbidden)
    return [_Span(block, _zone(target, block, wanted.interface), ports, name) for block in blocks]


def _refuse_groups(target: TargetSpec, block: Block, forbidden: frozenset[int]) -> None:
    if block.size == 1 and block not in _UNSPECIFIED and _is_for_many(block.first, forbidden):
        raise UsageError(
            f"{target.text} is an address of many hosts (multicast, broadcast or 0.0.0.0/8): use --allow-broadcast to "
            "probe it"
        )


def _own_broadcasts() -> frozenset[int]:
    """Broadcast addresses of this host's links, mapped, from the local routing table."""
    try:
        lines = Path(_LOCAL_ROUTES).read_text(encoding="ascii").splitlines()
    except OSError:
        return frozenset()
    return frozenset(
        single(IPv4Address(before.split()[-1])).first
        for before, line in pairwise(lines)
        if line.strip() == _HAS_BROADCAST
    )


looking_up: set[str] = set()
"""Names that DNS is being asked about, for the message if time runs out."""


def _looked_up(name: str, family: int | None) -> list[Block]:
    """Every address of a name."""
    looking_up.add(name)
    try:
        found = socket.getaddrinfo(name, None, _FAMILIES[family], socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:  # a label that is too long is a UnicodeError
        of_family = f" over IPv{family}" if family else ""
        reason = error.strerror if isinstance(error, OSError) else error
        raise UdpprobeError(f"no address for {name}{of_family}: {reason}") from error
    finally:
        looking_up.discard(name)
    return [
        single(ip_address(str(place[0]).partition("%")[0]), str(place[3]) if len(place) == 4 and place[3] else "")
        for *_, place in found
    ]


def _zone(target: TargetSpec, block: Block, interface: str | None) -> int:
    """Index of the interface that a link-local address belongs to, 0 for every other address."""
    if block in _UNSPECIFIED:
        raise UsageError(f"{target.text}: {_UNSPECIFIED[block]}")
    if not is_link_local(block):
        return 0
    zone = block.zone or interface
    if not zone:
        raise UsageError(f"{target.text} is link-local: name its interface, as in fe80::1%eth0, or with -i")
    try:
        return int(zone) if zone.isdecimal() and socket.if_indextoname(int(zone)) else socket.if_nametoindex(zone)
    except (OSError, OverflowError) as error:
        raise UdpprobeError(f"{target.text}: there is no interface {zone}") from error


def _refuse_too_much(spans: Sequence[_Span]) -> None:
    largest = max((span.block.size for span in spans), default=0)
    if largest > MOST_HOSTS:
        raise UsageError(f"a network of {largest:,} addresses is too large; at most {MOST_HOSTS:,} (an IPv4 /12)")
    count = sum(span.block.size * sum(map(len, span.ports)) for span in spans)
    if count > MOST_DESTINATIONS:
        raise UsageError(
            f"{count:,} destinations (addresses times ports) are too many for one scan; at most {MOST_DESTINATIONS:,}"
        )


def _refuse_two_links(hosts: Sequence[_Host]) -> None:
    """Refuse one address on two links: replies do not name the link, so the two hosts could not be distinguished."""
    seen = set()
    for address, _ in hosts:
        if address in seen:
            raise UsageError(
                f"{address_text(*divmod(address, 1 << 64))} is given on two links, whose replies look the same: probe "
                "one after the other"
            )
        seen.add(address)


def _ports_by_host(
    spans: Sequence[_Span], forbidden: frozenset[int]
) -> tuple[dict[_Host, array[int]], dict[_Host, str]]:
    """The ports of each host, sorted and without duplicates, hosts in the order of targets; and the names as typed."""
    ports_by_host: dict[_Host, array[int]] = {}
    names: dict[_Host, str] = {}
    ports_of = {ports: _in_order(ports) for ports in dict.fromkeys(span.ports for span in spans)}
    joined: dict[tuple[int, int], array[int]] = {}
    """By the identities of two lists: many hosts share the same lists."""
    for span in spans:
        ports = ports_of[span.ports]
        for address in _addresses(span.block, forbidden):
            host = address, span.zone
            before = ports_by_host.setdefault(host, ports)
            if before is not ports:
                pair = id(before), id(ports)
                if pair not in joined:
                    joined[pair] = array("H", sorted({*before, *ports}))
                ports_by_host[host] = joined[pair]
            if span.name is not None:
                names.setdefault(host, span.name)
    return ports_by_host, names


def _in_order(ports: Ports) -> array[int]:
    return array("H", sorted(set[int]().union(*ports)))


def _addresses(block: Block, forbidden: frozenset[int]) -> Iterator[int]:
    """The unicast addresses of a network."""
    whole = range(block.first, block.first + block.size)
    return iter(whole) if block.size == 1 else (address for address in whole if not _is_for_many(address, forbidden))


def _is_for_many(address: int, broadcasts: frozenset[int]) -> bool:
    """Multicast (RFC 5771, RFC 4291 2.7), broadcast (RFC 919, the links' own), and "this network" (RFC 1122 3.2.1.3).

    Old hosts take 0.0.0.0/8 for broadcast.
    """
    if address >> 32 == 0xFFFF:
        return address >> 28 & 0xF == 0xE or address == _BROADCAST or address >> 24 & 0xFF == 0 or address in broadcasts
    return address >> 120 == 0xFF


def _without_excluded(excluded: Sequence[TargetSpec]) -> Callable[[int, array[int]], array[int]]:
    """A function that removes excluded ports from those of an address."""
    rules = [
        (block, None if target.ports is None else frozenset(_in_order(target.ports)))
        for target in excluded
        for block in ([target.host] if isinstance(target.host, Block) else _looked_up(target.host, None))
    ]

    def remaining(address: int, ports: array[int]) -> array[int]:
        for block, some in rules:
            if _covers(block, address):
                ports = array("H", () if some is None else [port for port in ports if port not in some])
        return ports

    return remaining


def _covers(block: Block, address: int) -> bool:
    """Whether an address is in a block, on any link."""
    is_v4 = address >> 32 == 0xFFFF  # ::/0 matches every bit pattern, but contains no IPv4 address
    return is_v4 == (block.family == 4) and block.first <= address < block.first + block.size


def named(report: Report, resolved: Resolved) -> Report:
    """The report with notes of the names as typed, and with zones."""
    return replace(report, destinations=as_typed(resolved)(report.destinations))


def as_typed(resolved: Resolved) -> Callable[[Sequence[Destination]], Sequence[Destination]]:
    """A function that adds names and zones to rows, as in `named`."""
    notes = {address: (f"address of {name}",) for address, name in _names_by_address(resolved)}
    zones = dict(_zones_by_address(resolved.destinations))
    if not notes and not zones:
        return lambda rows: rows

    def restored(each: Destination) -> Destination:
        if each.address not in notes and each.address not in zones:
            return each
        return replace(each, notes=(*notes.get(each.address, ()), *each.notes), zone=zones.get(each.address))

    return lambda rows: rows.changed(restored) if isinstance(rows, Parts) else changed(rows, restored)


def _zones_by_address(found: ProbedDestinations) -> Iterator[tuple[str, str]]:
    if not any(found.zone):
        return
    last = -1
    for row, (host, zone) in enumerate(zip(found.host, found.zone, strict=True)):
        if host != last and zone:
            yield address_text(*found.address(row)), interface_name(zone)
        last = host


def _names_by_address(resolved: Resolved) -> Iterator[tuple[str, str]]:
    found, last = resolved.destinations, -1
    for row, host in enumerate(found.host if resolved.names else ()):
        if host != last and host in resolved.names:
            yield address_text(*found.address(row)), resolved.names[host]
        last = host
