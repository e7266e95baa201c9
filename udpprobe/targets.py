"""From targets to destinations: names to addresses, networks to columns."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import TextIO

import numpy as np
from msgspec.structs import replace

from udpprobe.core.addresses import address_text
from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.keys import Numbering, endpoint_key
from udpprobe.core.model import Destination, Report, changed
from udpprobe.core.packets import Columns, u64
from udpprobe.core.probing.probes import Destinations
from udpprobe.core.runs import renumbered, starts_of_runs, steps
from udpprobe.core.targets import (
    ADDRESS_BITS,
    Block,
    Ports,
    Target,
    is_link_local,
    parse_target_lines,
    single,
)
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.links import interface_name

MOST_HOSTS = 1 << 20
"""Addresses of a network that may be named: an IPv4 /12."""
MOST_DESTINATIONS = 1 << 24
"""Addresses times ports of a scan: a /24 with all its ports. More would not fit into a small host's memory."""

_FAMILIES = {None: socket.AF_UNSPEC, 4: socket.AF_INET, 6: socket.AF_INET6}
_UNSPECIFIED = {single(ip_address(own)): f"{own} means this host; say {loopback}"
                for own, loopback in (("0.0.0.0", "127.0.0.1"), ("::", "::1"))}  # noqa: S104 - to refuse it
_MAPPED, _BROADCAST = u64(0xFFFF), u64(0xFFFF_FFFF_FFFF)


@dataclass(frozen=True, slots=True)
class Wanted:
    """How targets are understood."""

    default_ports: Ports
    """Of targets that name none."""
    family: int | None = None
    """4 or 6: only such addresses; None for both."""
    interface: str | None = None
    """Zone of link-local addresses that name none."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What is to be probed."""

    destinations: Destinations
    """By host and port; hosts are numbered in the order of their targets."""
    names: dict[int, str]
    """Host number to the name that was typed for it."""


@dataclass(frozen=True, slots=True)
class _Span:
    """The addresses of a target, or one of the addresses of a name."""

    block: Block
    zone: int
    ports: Ports
    name: str | None


@dataclass(slots=True)
class _Addresses(Columns):
    """(n,) addresses of spans."""

    high: U64
    low: U64
    zone: I64
    span: I64


def read_targets(path: str) -> list[Target]:
    """The targets in a file, between blanks or line ends, `#` before comments.

    Args:
        path: the file; "-" is standard input.

    Raises:
        UsageError: a line is no target; says which.
        UdpprobeError: the file cannot be read.
    """
    try:
        with _opened(path) as lines:
            return parse_target_lines(lines, "standard input" if path == "-" else path)
    except OSError as error:
        raise UdpprobeError(f"cannot read {path}: {error.strerror or error}") from error


def _opened(path: str) -> TextIO:
    if path == "-":
        return os.fdopen(0, encoding="utf-8-sig", errors="backslashreplace", closefd=False)
    return Path(path).open(encoding="utf-8-sig", errors="backslashreplace")


def resolve(targets: Sequence[Target], excluded: Sequence[Target], wanted: Wanted) -> Resolved:
    """The destinations of targets, each once.

    A network stands for all its addresses, also the first and the last one of an IPv4 network, but not for
    multicast addresses and 255.255.255.255: those must be named.

    Args:
        targets: what is asked for.
        excluded: what is left out of that; without ports, whole hosts.
        wanted: how targets are understood.

    Raises:
        UsageError: nothing is left, or too much; 0.0.0.0 or ::, which mean this host; a link-local address without its
            interface, or on two of them.
        UdpprobeError: a name without address; an interface that does not exist.
    """
    spans = [span for target in targets for span in _spans(target, wanted)]
    _refuse_too_much(spans)
    addresses = _addresses(spans)
    number, first = Numbering().add(endpoint_key(addresses.high, addresses.low, addresses.zone.view(np.uint64)))
    hosts = addresses.take(first)
    host, port = _pairs(spans, addresses.span, number)
    keep = _kept(hosts, host, port, excluded)
    if not keep.any():
        raise UsageError(_nothing(wanted.family))
    host, port = host[keep], port[keep]
    dense = renumbered(host, len(hosts))
    _refuse_two_links(hosts.take(dense >= 0))
    destinations = Destinations(dense[host], hosts.high[host], hosts.low[host], port, hosts.zone[host])
    return Resolved(destinations, _names(spans, addresses.span, dense[number]))


def _nothing(family: int | None) -> str:
    return "no target is left to probe" + (f" over IPv{family}" if family else "")


def _spans(target: Target, wanted: Wanted) -> Iterator[_Span]:
    ports = target.ports or wanted.default_ports
    if isinstance(target.host, str):
        for block in _looked_up(target.host, wanted.family):
            yield _Span(block, _zone(target, block, wanted.interface), ports, target.host)
    elif wanted.family in {None, target.host.family}:
        yield _Span(target.host, _zone(target, target.host, wanted.interface), ports, None)


def _looked_up(name: str, family: int | None) -> list[Block]:
    """Every address that a name has."""
    try:
        found = socket.getaddrinfo(name, None, _FAMILIES[family], socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:    # a label that is too long is a UnicodeError
        of_family = f" over IPv{family}" if family else ""
        reason = error.strerror if isinstance(error, OSError) else error
        raise UdpprobeError(f"no address for {name}{of_family}: {reason}") from error
    return [single(ip_address(str(place[0]).partition("%")[0]), str(place[3]) if len(place) == 4 and place[3] else "")
            for *_, place in found]


def _zone(target: Target, block: Block, interface: str | None) -> int:
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
        raise UdpprobeError(f"{target.text}: no interface is called {zone}") from error


def _refuse_too_much(spans: Sequence[_Span]) -> None:
    largest = max((span.block.size for span in spans), default=0)
    if largest > MOST_HOSTS:
        raise UsageError(f"a network of {largest:,} addresses is too large; at most {MOST_HOSTS:,} (an IPv4 /12)")
    asked = sum(span.block.size * sum(map(len, span.ports)) for span in spans)
    if asked > MOST_DESTINATIONS:
        raise UsageError(f"{asked:,} destinations (addresses times ports) are too many for one scan; "
                         f"at most {MOST_DESTINATIONS:,}")


def _refuse_two_links(hosts: _Addresses) -> None:
    """A packet says nothing of the link it is on: of two hosts with one address, replies could not be told apart."""
    number, first = Numbering().add(endpoint_key(hosts.high, hosts.low, np.zeros(len(hosts), np.uint64)))
    for row in np.flatnonzero(first[number] != np.arange(len(hosts)))[:1].tolist():
        address = address_text(int(hosts.high[row]), int(hosts.low[row]))
        raise UsageError(f"{address} is named on two links, whose replies look the same: probe one after the other")


def _addresses(spans: Sequence[_Span]) -> _Addresses:
    """A row an address, in the order of targets; of networks only unicast."""
    size = np.array([span.block.size for span in spans], np.int64)
    zone = np.array([span.zone for span in spans], np.int64)
    high, low = np.array([_halves(span.block.first) for span in spans], np.uint64).reshape(-1, 2).T
    span = np.repeat(np.arange(len(spans)), size)
    rows = _Addresses(high[span], low[span] + steps(size).view(np.uint64), zone[span], span)
    return rows.take((size[span] == 1) | ~_is_for_many(rows))


def _is_for_many(rows: _Addresses) -> Bool:
    """Multicast (RFC 5771, RFC 4291 2.7) and the limited broadcast address (RFC 919)."""
    return np.where(_is_v4(rows), (rows.low >> u64(28) & u64(0xF) == u64(0xE)) | (rows.low == _BROADCAST),
                    rows.high >> u64(56) == u64(0xFF))


def _is_v4(rows: _Addresses) -> Bool:
    return (rows.high == 0) & (rows.low >> u64(32) == _MAPPED)


def _pairs(spans: Sequence[_Span], span: I64, number: I64) -> tuple[I64, I64]:
    """Each host number with each of its ports, once and in order."""
    lists = dict.fromkeys(each.ports for each in spans)
    place = {ports: row for row, ports in enumerate(lists)}
    every = [np.concatenate([np.arange(some.start, some.stop) for some in ports]) for ports in lists]
    length = np.array([len(ports) for ports in every], np.int64)
    row = np.array([place[each.ports] for each in spans], np.int64)[span]
    at = np.repeat((np.cumsum(length) - length)[row], length[row]) + steps(length[row])
    pairs = np.repeat(number, length[row]) << 16 | np.concatenate(every or [length])[at]
    pairs.sort()
    pairs = pairs[starts_of_runs(pairs)]
    return pairs >> 16, pairs & 0xFFFF


def _kept(hosts: _Addresses, host: I64, port: I64, excluded: Sequence[Target]) -> Bool:
    """Which pairs no exclusion names."""
    dropped = np.zeros(len(hosts), np.bool_)
    keep = np.ones(len(host), np.bool_)
    for target in excluded:
        for block in [target.host] if isinstance(target.host, Block) else _looked_up(target.host, None):
            covered = _covered(block, hosts)
            if target.ports is None:
                dropped |= covered
            else:
                keep &= ~(covered[host] & _is_among(target.ports)[port])
    return keep & ~dropped[host]


def _covered(block: Block, hosts: _Addresses) -> Bool:
    """Which addresses lie in a block, on whatever link."""
    mask = _halves((1 << ADDRESS_BITS) - block.size)
    first = _halves(block.first)
    of_family = _is_v4(hosts) == (block.family == 4)    # ::/0 has every bit pattern, and no IPv4 address
    return of_family & (hosts.high & mask[0] == first[0]) & (hosts.low & mask[1] == first[1])


def _halves(bits: int) -> tuple[np.uint64, np.uint64]:
    return u64(bits >> 64), u64(bits & (1 << 64) - 1)


def _is_among(ports: Ports) -> Bool:
    among = np.zeros(1 << 16, np.bool_)
    for some in ports:
        among[some.start:some.stop] = True
    return among


def _names(spans: Sequence[_Span], span: I64, number: I64) -> dict[int, str]:
    """The first name of each host that has one."""
    named = np.array([each.name is not None for each in spans], np.bool_)
    names: dict[int, str] = {}
    for row in np.flatnonzero(named[span] & (number >= 0)).tolist():
        names.setdefault(int(number[row]), spans[span[row]].name or "")
    return names


def named(report: Report, resolved: Resolved) -> Report:
    """The report, as it was asked for: with a note of the name that was typed, and the zone."""
    notes = {address: (f"address of {name}",) for address, name in _names_by_address(resolved)}
    zones = dict(_zones_by_address(resolved.destinations))
    if not notes and not zones:
        return report

    def told(each: Destination) -> Destination:
        if each.address not in notes and each.address not in zones:
            return each
        return replace(each, notes=(*notes.get(each.address, ()), *each.notes), zone=zones.get(each.address))

    return replace(report, destinations=changed(report.destinations, told))


def _zones_by_address(found: Destinations) -> Iterator[tuple[str, str]]:
    hosts = found.take(starts_of_runs(found.host))
    for row in np.flatnonzero(hosts.zone).tolist():
        yield address_text(int(hosts.high[row]), int(hosts.low[row])), interface_name(int(hosts.zone[row]))


def _names_by_address(resolved: Resolved) -> Iterator[tuple[str, str]]:
    found = resolved.destinations
    first = starts_of_runs(found.host)      # a row of each host, in the order of their numbers
    for host, name in resolved.names.items():
        row = first[host]
        yield address_text(int(found.high[row]), int(found.low[row])), name
