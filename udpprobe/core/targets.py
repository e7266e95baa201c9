"""Targets and ports as people write them: `host`, `host:53,123`, `[2001:db8::1]:53`, `10.0.0.0/24:1-1024`.

This parses them; no name is resolved here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from msgspec import Struct

from udpprobe.core.addresses import MAPPED_PREFIX
from udpprobe.endpoints import port_of, services
from udpprobe.errors import UsageError, meant

ADDRESS_BITS = 128
IPV4_PREFIX = 96
"""Bits that all IPv4-mapped addresses have in common (RFC 4291, 2.5.5.2)."""

Ports = tuple[range, ...]
"""UDP ports as ranges, in the order they were written; they may overlap."""

TRACEROUTE_PORT = 33434
"""Usually closed, so that the destination sends an error."""

ALL_PORTS = range(1, 65536)
"""Every port that a service can use; port 0 is reserved (RFC 6335, section 6)."""

MOST_SHOWN = 100
"""Longest part of a word that an error message repeats."""


class Block(Struct, frozen=True):
    """Addresses with a common prefix; usually just one."""

    first: int
    """128 bits, IPv4 mapped."""
    prefix: int = ADDRESS_BITS
    """Length of the prefix."""
    zone: str = ""
    """Interface of a link-local address, name or index (RFC 4007, section 11); empty if none was given."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if self.prefix >= IPV4_PREFIX and self.first >> 32 == MAPPED_PREFIX else 6

    @property
    def size(self) -> int:
        """Number of addresses."""
        return 1 << (ADDRESS_BITS - self.prefix)


class TargetSpec(Struct, frozen=True):
    """What one word of the user asks for."""

    text: str
    """The word."""
    host: Block | str
    """Addresses, or a name."""
    ports: Ports | None
    """None if the word has none."""


_SHAPES = tuple(
    re.compile(shape, re.DOTALL)
    for shape in (
        r"\[(?P<host>[^\[\]]+)\](?::(?P<ports>.*))?",
        r"(?P<host>[^:\[\]]+)(?::(?P<ports>[^:]*))?",
        r"(?P<host>[^:/\[\]]*(?::[^:/\[\]]*){2,}/[^:]*):(?P<ports>.*)",
        r"(?P<host>[^:\[\]]*:[^:\[\]]*:[^\[\]]*)",
    )
)
"""Bracketed; with at most one colon; an IPv6 network with ports; IPv6 alone, where no colon precedes a port. Each
matches in one way at most, because a word from a URL may be long and hostile."""

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://(?P<host>\[[^\]]*\]|[^/:?#]*)(?::(?P<port>\d+))?")
_NAME = re.compile(r"(?=.{1,253}$)[\w]([\w-]*\w)?(\.[\w]([\w-]*\w)?)*\.?")
_LOOKS_NUMERIC = re.compile(r"(.*\.)?\d+\.?", re.DOTALL)
"""The last label is a number, as in no host name (RFC 3696, section 2)."""
_RANGE = re.compile(r"(?P<first>\d{0,5})(?:(?P<dash>-)(?P<last>\d{0,5}))?", re.ASCII)
_BETWEEN_TARGETS = re.compile(r",(?!\d*-?\d*(?:,|$))")
"""A comma that is not followed by a port."""


def parse_target(text: str) -> TargetSpec:
    """Parse a word such as `dns.example:53`.

    Args:
        text: a name, address or network, with or without ports after a colon; a port may be a service name. IPv6 with
            ports stands in brackets.

    Raises:
        UsageError: it is none of these.
    """
    if url := _URL.match(text):
        raise UsageError(
            f"{short(text)!r} is a URL: omit scheme and path, and give the port, as in "
            f"{short(url['host']) or 'HOST'}:{url['port'] or 53}"
        )
    found = next((match for shape in _SHAPES if (match := shape.fullmatch(text))), None)
    if found is None:
        raise UsageError(f"{short(text)!r} is not a target; use host, host:port, [2001:db8::1]:port or 192.0.2.0/24")
    ports = found.groupdict()["ports"] if "ports" in found.re.groupindex else None
    return TargetSpec(text, _host(found["host"]), None if ports is None else parse_ports(ports))


def short(text: str) -> str:
    """A word for an error message, cut to a reasonable length."""
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def meant_with_port(target: TargetSpec) -> str | None:
    """What an IPv6 address without brackets might mean: `[::1]:53` for `::1:53`; None if nothing else."""
    host, _, port = target.text.rpartition(":")
    if target.ports is not None or ":" not in host or not port.isdecimal() or not 0 < int(port) < 65_536:
        return None
    try:
        IPv6Address(host)
    except ValueError:
        return None
    return f"[{host}]:{port}"


def parse_targets(text: str) -> list[TargetSpec]:
    """Parse a list such as `10.0.0.1,10.0.0.0/24:53,123`: a comma before a port belongs to its target.

    Raises:
        UsageError: one of them is invalid.
    """
    return [parse_target(word.strip()) for word in _BETWEEN_TARGETS.split(text)]


def parse_target_lines(lines: Iterable[str], name: str) -> list[TargetSpec]:
    """Parse a file of targets, separated by blanks or line ends, like nmap's lists; `#` begins a comment.

    Args:
        lines: of the file.
        name: of the file, for error messages.

    Raises:
        UsageError: a line has no valid target; names the line.
    """
    targets: list[TargetSpec] = []
    for number, line in enumerate(lines, 1):
        try:
            targets += map(parse_target, line.partition("#")[0].split())
        except UsageError as error:
            raise UsageError(f"{name}, line {number}: {error}") from None
    return targets


def parse_ports(text: str) -> Ports:
    """Parse a list such as `53,domain,1000-2000`; `-` is every port, `-99` and `60000-` are open ranges.

    Raises:
        UsageError: a word is no port or range of ports, or there is none.
    """
    return tuple(_range(word.strip()) for word in text.split(","))


def _range(word: str) -> range:
    found = _RANGE.fullmatch(word)
    if not word or not found:
        if port := port_of(word):
            return range(port, port + 1)
        raise UsageError(f"{short(word)!r} is not a UDP port{_meant(word)}")
    first = int(found["first"] or ALL_PORTS.start)
    last = int(found["last"] or ALL_PORTS[-1]) if found["dash"] else first
    if first not in ALL_PORTS or last not in ALL_PORTS:
        raise UsageError(f"{word!r}: UDP ports are 1 to 65535")
    if first > last:
        raise UsageError(f"{word!r}: the range ends before it begins")
    return range(first, last + 1)


def _meant(word: str) -> str:
    """What to write instead of a word that is no port."""
    if len(numbers := re.findall(r"\d+", word)) == 2 and not re.search(r"[a-zA-Z]", word):
        return f"; a range looks like {numbers[0]}-{numbers[1]}"
    unknown = ""
    if re.search(r"[a-zA-Z]", word):
        unknown = ", nor a service in /etc/services"
        if alike := meant(short(word), services()):
            return unknown + alike
    return f"{unknown}; use 53, 53,123, domain, a range such as 1000-2000, or - for all"


def parse_addresses(text: str) -> tuple[str, ...]:
    """Parse a list such as `192.0.2.1,2001:db8::1`; the addresses in canonical form.

    Raises:
        UsageError: a word is no address.
    """
    words = [word.strip() for word in text.split(",")]
    try:
        return tuple(str(ip_address(word)) for word in words)
    except ValueError as error:
        raise UsageError(str(error).replace("does not appear to be", "is not")) from None


def _host(text: str) -> Block | str:
    address, percent, zone = text.partition("%")
    try:
        network = ip_network(address, strict=False)
    except ValueError:
        return _name(text)
    first = single(network.network_address)
    if percent and not (zone and is_link_local(first)):
        raise UsageError(f"{short(text)!r}: only link-local addresses take an interface (%), as in fe80::1%eth0")
    return Block(first.first, ADDRESS_BITS - network.max_prefixlen + network.prefixlen, zone)


def single(address: IPv4Address | IPv6Address, zone: str = "") -> Block:
    """The block of one address."""
    mapped = MAPPED_PREFIX << 32 if address.version == 4 else 0
    return Block(mapped | int(address), zone=zone)


def is_link_local(block: Block) -> bool:
    """Whether its addresses are valid on one link only: fe80::/10, ff01::/16, ff02::/16 (RFC 4291, 2.5.6, 2.7)."""
    return block.first >> 118 == 0xFE80 >> 6 or block.first >> 112 in {0xFF01, 0xFF02}


def _name(text: str) -> str:
    if _LOOKS_NUMERIC.fullmatch(text) or "/" in text or ":" in text:
        raise UsageError(f"{short(text)!r} is neither an address nor a network")
    if not _NAME.fullmatch(text):
        raise UsageError(f"{short(text)!r} is not a host")
    return text
