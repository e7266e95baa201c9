"""The content of a scenario: nodes, links, rules and answers. Nothing in it touches a file."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from ipaddress import IPv4Interface, IPv4Network, IPv6Interface, IPv6Network, ip_interface, ip_network
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.lab.model import KINDS, Address, ErrorKind
from udpprobe.toml import keys_of, line_of, parse_toml, read_toml, reason_of

Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

YOU = "you"
"""The node behind which the program sits."""
VOIDS: dict[str, dict[int, ErrorKind]] = {
    "unreachable": {4: ErrorKind(3, 1), 6: ErrorKind(1, 0)},
    "prohibit": KINDS["admin-prohibited"],
    "blackhole": {},
}
"""Next hops that lead nowhere, in iproute2's words, and the errors that Linux sends for them."""


def _list(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _spans(value: object) -> list[tuple[int, int]]:
    """Port ranges of `53,1000-2000`."""
    parts = [_SPAN.fullmatch(part.strip()) for part in str(value).split(",")]
    spans = [(int(part["low"]), int(part["high"] or part["low"])) for part in parts if part]
    if len(spans) < len(parts) or any(not low <= high <= 65535 for low, high in spans):
        raise ValueError("ports are 0 to 65535, as in 53,1000-2000")
    return spans


_SPAN = re.compile(r"(?P<low>\d{1,5})(?:-(?P<high>\d{1,5}))?", re.ASCII)


def _addresses(value: object) -> list[Interface]:
    if not isinstance(value, str | list):
        raise ValueError('addresses are strings: ["198.18.1.1", "2001:db8:1::1"]')  # noqa: TRY004 - pydantic wants it
    return [ip_interface(str(each)) for each in ([value] if isinstance(value, str) else value)]


Addresses = Annotated[list[Interface], BeforeValidator(_addresses)]
Spans = Annotated[list[tuple[int, int]], BeforeValidator(_spans)]
Names = Annotated[list[str], BeforeValidator(_list)]
Chance = Annotated[float, Field(ge=0, le=1)]
Millis = Annotated[float, Field(ge=0, le=600_000)]
Mtu = Annotated[int, Field(ge=68, le=65_535)]


def kinds_of(texts: list[str]) -> dict[int, ErrorKind]:
    """The error of each family: a name of `KINDS`, or `3/9` for IPv4 and, after it, `1/5` for IPv6.

    Raises:
        ValueError: it is neither.
    """
    if len(texts) == 1 and texts[0] in KINDS:
        return KINDS[texts[0]]
    try:
        pairs = [tuple(int(number) for number in text.split("/")) for text in texts]
        return {family: ErrorKind(*pair) for family, pair in zip((4, 6), pairs, strict=False) if _is_kind(pair)}
    except (ValueError, TypeError):
        known = ", ".join(KINDS)
        raise ValueError(f"{' '.join(texts)!r} is not an error: give TYPE/CODE or one of {known}") from None


def _is_kind(pair: tuple[int, ...]) -> bool:
    if len(pair) not in {2, 3} or any(not 0 <= number <= most for number, most in zip(pair, _MOST, strict=False)):
        raise ValueError("type/code")
    return True


_MOST = 255, 255, 0xFFFF_FFFF


class Strict(BaseModel):
    """No unknown keys, no type conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, arbitrary_types_allowed=True)


class Rule(Strict):
    """What a node does with matching packets: drop, reject, or only remark on them and let them pass."""

    do: Literal["drop", "reject", "remark", "pass"]
    proto: Literal["udp", "tcp", "icmp", "any"] = "udp"
    ports: Spans | None = None
    """Destination ports."""
    to: str | None = None
    """Name of the destination node, or a network."""
    larger_than: Annotated[int, Field(ge=0)] | None = None
    """Bytes of the IP packet."""
    every: Annotated[int, Field(ge=1)] = 1
    """Only every N-th matching packet."""
    error: Annotated[Names, Field(alias="with", min_length=1, max_length=2)] = ["port-unreachable"]
    """For `reject` and `remark`: a name of `KINDS`, or TYPE/CODE."""
    word: Annotated[int, Field(ge=0, le=0xFFFF_FFFF)] | None = None
    """The rest of the error's header: an MTU, a pointer."""
    sender: Annotated[str | None, Field(alias="as")] = None
    """Node whose address the error uses."""
    wrong: Literal["id", "token", "ports", "source", "destination"] | None = None
    """What in the quote is forged."""
    times: Annotated[int, Field(ge=1, le=10_000)] = 1
    """Number of copies of the error."""

    @field_validator("error")
    @classmethod
    def _known(cls, value: list[str]) -> list[str]:
        kinds_of(value)
        return value


class ServiceSpec(Strict):
    """A host's answers on a UDP port."""

    echo: bool = False
    like: Literal["dns", "ntp"] | None = None
    """Its protocol, of `SERVICES`."""
    text: str | None = None
    hex: str | None = None
    from_port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    from_address: Addresses = []
    delay_ms: Millis = 0
    times: Annotated[int, Field(ge=0, le=10_000)] = 1
    """Answers per datagram."""
    refuse: bool = False
    """Send an error instead of an answer."""

    @field_validator("text", "hex")
    @classmethod
    def _fits(cls, value: str | None, field: ValidationInfo) -> str | None:
        data = bytes.fromhex(value or "") if field.field_name == "hex" else (value or "").encode()
        if len(data) > 65_507:
            raise ValueError("a datagram has room for 65507 bytes")
        return value

    @property
    def data(self) -> bytes | None:
        """The answer; None to echo the request."""
        if self.echo:
            return None
        return bytes.fromhex(self.hex) if self.hex is not None else (self.text or "").encode()


_WORDS = {
    "echo": ServiceSpec(echo=True),
    "dns": ServiceSpec(like="dns"),
    "ntp": ServiceSpec(like="ntp"),
    "silent": ServiceSpec(times=0),
    "refuse": ServiceSpec(refuse=True),
}


def _answer(value: object) -> object:
    if not isinstance(value, str):
        return value
    if value not in _WORDS:
        raise ValueError('an answer is "echo", "dns", "ntp", "silent", "refuse", or like { text = "..." }')
    return _WORDS[value]


Answers = Annotated[ServiceSpec, BeforeValidator(_answer)]


class Limit(Strict):
    """A token bucket for a node's errors."""

    per_s: Annotated[float, Field(ge=1e-6, le=1e9)] = 1
    burst: Annotated[int, Field(ge=1)] = 1
    by: Literal["source", "router"] = "router"


class Nat(Strict):
    """A node that hides those behind it."""

    inside: Names
    """Neighbours whose packets leave with the node's own address."""
    quotes: Literal["well", "badly", "never"] = "well"
    """Whether errors about them are translated with their quotes, without, or not at all (so that they are lost)."""
    address: Addresses = []
    """Source address of translated packets, instead of the node's own."""


class NodeSpec(Strict):
    """A router or a host: it answers packets for itself and forwards others."""

    address: Addresses
    """A network (198.18.9.0/24) for a host that has all its addresses."""
    system: Literal["linux"] | None = None
    """`linux`: errors are limited as in Linux."""
    ttl: Annotated[int, Field(ge=1, le=255)] = 64
    """Initial TTL of its packets."""
    routes: dict[str, Annotated[Names, Field(min_length=1)]] = {}
    """By destination (a node's name, or a network): next hop, or several of equal cost; or a name of `VOIDS`."""
    balance: Literal["flow", "packet"] = "flow"
    """How packets are spread over next hops of equal cost."""
    silent: bool = False
    """Sends no errors."""
    ping: bool = True
    """Answers pings."""
    forwards_zero_ttl: bool = False
    """Forwards an expired packet with TTL 0, and leaves the error to the next router."""
    quote: Annotated[int, Field(ge=0, le=1280)] | None = None
    """Bytes after the IP header that its errors quote; by default as much as RFC 1812 and RFC 4443 allow."""
    mangles: Annotated[
        list[Literal["swap-length", "swap-id", "swap-offset", "short-length", "zero-checksum", "ttl"]],
        BeforeValidator(_list),
    ] = []
    """What it corrupts in the quoted IP header."""
    limit: Limit | None = None
    reports_from: Addresses = []
    """Source addresses of its errors, instead of its own."""
    mpls: Annotated[list[Annotated[int, Field(ge=0, lt=1 << 20)]], Field(max_length=64)] = []
    """MPLS labels in its errors (RFC 4950)."""
    rfc4884: bool = True
    """Whether errors with extensions have the quote's length; older routers' do not."""
    interface: str | None = None
    """Name of the incoming interface in its errors (RFC 5837)."""
    nat: Nat | None = None
    rules: list[Rule] = []
    udp: dict[str, Answers] = {}
    """By port or ports: the answer; `_WORDS` has short forms."""
    otherwise: Answers = _WORDS["refuse"]
    """The answer on other ports."""

    @field_validator("interface")
    @classmethod
    def _named(cls, value: str | None) -> str | None:
        if len((value or "").encode()) > 63:
            raise ValueError("an interface's name has at most 63 bytes (RFC 5837, 4.3)")
        return value

    @field_validator("udp")
    @classmethod
    def _ports(cls, value: dict[str, ServiceSpec]) -> dict[str, ServiceSpec]:
        for ports in value:
            _spans(ports)
        return value

    @property
    def addresses(self) -> list[Interface]:
        """All its own addresses."""
        return self.address + (self.nat.address if self.nat else [])

    @property
    def ports(self) -> list[tuple[int, int, ServiceSpec]]:
        """First port, last port and answer, narrowest ranges first."""
        ranges = [(low, high, answer) for text, answer in self.udp.items() for low, high in _spans(text)]
        return sorted(ranges, key=lambda each: each[1] - each[0])


class LinkSpec(Strict):
    """One direction of a link."""

    mtu: Mtu | None = None
    reports_mtu: Annotated[int, Field(ge=0, le=65_535)] | None = None
    """MTU in its errors, instead of the real one."""
    black_hole: bool = False
    """Packets that are too big are lost silently, even if they might be fragmented."""
    delay_ms: Millis = 1
    jitter_ms: Millis = 0
    """Largest added delay; packets keep their order."""
    loss: Chance = 0
    duplicate: Chance = 0
    reorder: Chance = 0
    """Probability that a packet is delayed by `reorder_ms`, so that others overtake it."""
    reorder_ms: Millis = 20
    corrupt: Chance = 0
    """Probability that one bit of the payload is flipped."""


def network(text: str) -> Network | None:
    """A network, or None if the text is none."""
    try:
        return ip_network(text)
    except ValueError:
        return None


def host_network(address: Address) -> Network:
    """The network of one address."""
    return ip_network(address)


_SHIPPED = files("udpprobe.lab") / "scenarios"
_OF_YOU = {"address", "routes", "balance"}
"""Keys of the program's own node; its kernel determines the rest."""
_UNSPECIFIED = {ip_interface(0), ip_interface("::")}


class Page(Strict):
    """A scenario as written."""

    conclude: Annotated[str, Field(min_length=1)]
    targets: list[Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\[\]:]+):\d{1,5}$")]] = Field(default=[])
    seed: int = 0
    mtu: Mtu = 1500
    nodes: dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], NodeSpec]
    links: dict[str, dict[str, Any]]


_KEYS = keys_of(Page, NodeSpec, LinkSpec, Rule, ServiceSpec, Limit, Nat)


@dataclass(frozen=True)
class Scenario:
    """A small internet, and the conclusion to reach."""

    name: str
    sentence: str
    """The conclusion to reach."""
    text: str
    """The TOML source."""
    networks: list[Interface]
    """Addresses and prefix lengths of the program's interface."""
    mtu: int
    """Of the program's own interface."""
    targets: list[str]
    """Targets, each `host:port`."""
    seed: int
    nodes: dict[str, NodeSpec]
    links: dict[tuple[str, str], LinkSpec]
    """By the node that a packet leaves, and the neighbour that it goes to."""


class _MistakeError(ValueError):
    """A mistake in a scenario, and its key."""

    def __init__(self, place: tuple[int | str, ...], reason: str) -> None:
        super().__init__(reason)
        self.place = place


def names() -> list[str]:
    """The built-in scenarios."""
    return sorted(each.name.removesuffix(".toml") for each in _SHIPPED.iterdir() if each.name.endswith(".toml"))


def load(name_or_path: str) -> Scenario:
    """A built-in scenario, by name, or the user's own, by path (with `/` or `.toml` in it).

    Raises:
        UsageError: there is none with that name, or it has a mistake; names the line.
        UdpprobeError: its file cannot be read.
    """
    if "/" not in name_or_path and not name_or_path.endswith(".toml"):
        if name_or_path not in names():
            alike = get_close_matches(name_or_path, names(), n=1)
            said = f"did you mean {alike[0]}?" if alike else f"there are {', '.join(names())};"
            raise UsageError(
                f"there is no scenario {name_or_path!r}: {said} your own file needs a / or .toml in its name"
            )
        return parse((_SHIPPED / f"{name_or_path}.toml").read_text("utf-8"), name_or_path)
    try:
        return parse(read_toml(name_or_path), name_or_path)
    except OSError as error:
        raise UdpprobeError(f"cannot read {name_or_path}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{name_or_path}: not UTF-8 text") from None


def parse(text: str, name: str) -> Scenario:
    """Parse a scenario.

    Raises:
        UsageError: it has a mistake; names the line.
    """
    try:
        page = Page.model_validate(parse_toml(text))
        return _scenario(page, name, text)
    except _MistakeError as error:
        raise UsageError(_located(name, text, error.place, str(error))) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(_located(name, text, first["loc"], reason_of(first, _KEYS))) from None
    except RecursionError:
        raise UsageError(f"{name}: brackets or braces are nested too deeply") from None
    except ValueError as error:  # invalid TOML
        raise UsageError(_toml_error(name, text, str(error))) from None


def _toml_error(name: str, text: str, reason: str) -> str:
    """Tomllib's message, with its line first as in other messages."""
    where = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", reason)
    if where is None:
        return f"{name}: {reason}"
    return f"{name}:{where[1] or len(text.splitlines())}: {reason[: where.start()]}"


def _located(name: str, text: str, place: tuple[int | str, ...], reason: str) -> str:
    where = ".".join(str(part) for part in place if not isinstance(part, int))
    return f"{name}:{line_of(text, place)}: {where}: {reason}"


def _scenario(page: Page, name: str, text: str) -> Scenario:
    for word in VOIDS.keys() & page.nodes:
        raise _MistakeError(("nodes", word), "this word is reserved: routes use it for what leads nowhere")
    if YOU not in page.nodes:
        raise _MistakeError(("nodes",), f'the program needs a node to run at: none is called "{YOU}"')
    for key in sorted(page.nodes[YOU].model_fields_set - _OF_YOU):
        raise _MistakeError(("nodes", YOU, key), f'"{YOU}" is this host, which takes only {", ".join(sorted(_OF_YOU))}')
    _check_addresses(page)
    links = _links(page)
    _check_names(page, links)
    mtu = min(page.mtu, *(link.mtu or page.mtu for (near, _), link in links.items() if near == YOU))
    return Scenario(
        Path(name).stem, page.conclude, text, page.nodes[YOU].address, mtu, page.targets, page.seed, page.nodes, links
    )


def _check_addresses(page: Page) -> None:
    owners: dict[Interface, str] = {}
    for name, node in page.nodes.items():
        for each in node.addresses:
            if each.ip.is_loopback or each.ip.is_multicast or each in _UNSPECIFIED:
                raise _MistakeError(("nodes", name, "address"), f"{each.ip} is not a host address")
            if (other := owners.setdefault(ip_interface(each.ip), name)) != name:
                raise _MistakeError(("nodes", name, "address"), f"{each.ip} already belongs to {other}")


def _links(page: Page) -> dict[tuple[str, str], LinkSpec]:
    """Both directions of each link; a later entry refines an earlier one."""
    settings: dict[tuple[str, str], dict[str, Any]] = {}
    for chain, setting in page.links.items():
        for ends in _directions(chain, set(page.nodes)):
            settings[ends] = settings.get(ends, {}) | setting
            _link(chain, settings[ends])
    if all(near != YOU for near, _ in settings):
        raise _MistakeError(("links",), f'no link leads from "{YOU}"')
    for near, far in settings:
        if (far, near) not in settings:
            raise _MistakeError(("links", f"{near} > {far}"), f'there is no way back: add "{near} - {far}" first')
    return {ends: LinkSpec(**setting) for ends, setting in settings.items()}


def _link(chain: str, setting: dict[str, Any]) -> LinkSpec:
    try:
        return LinkSpec.model_validate(setting)
    except ValidationError as error:
        first = error.errors()[0]
        raise _MistakeError(("links", chain, *first["loc"]), reason_of(first, _KEYS)) from None


def _directions(chain: str, known: set[str]) -> Iterator[tuple[str, str]]:
    """For `a - b > c`: a to b, b to a, and b to c."""
    parts = re.split(r"\s+(-|>)\s+", chain.strip())
    if unknown := set(parts[::2]) - known:
        raise _MistakeError(("links", chain), f"no node is called {min(unknown)!r}")
    if len(parts) < 3:
        raise _MistakeError(("links", chain), 'a link is "a - b", or "a > b" for one direction')
    for (near, far), sign in zip(pairwise(parts[::2]), parts[1::2], strict=True):
        if near == far:
            raise _MistakeError(("links", chain), f"a link joins two nodes, not {near!r} and itself")
        yield near, far
        if sign == "-":
            yield far, near


def _check_names(page: Page, links: dict[tuple[str, str], LinkSpec]) -> None:
    """Check that routes lead to neighbours, and that rules and NATs name existing nodes."""
    place: tuple[int | str, ...]
    for name, node in page.nodes.items():
        near = {far for start, far in links if start == name}
        for destination, hops in node.routes.items():
            place = ("nodes", name, "routes", destination)
            _check_destination(page, destination, place)
            known = near | set(VOIDS) if len(hops) == 1 else near  # a void cannot be one of several hops of equal cost
            _check_each(hops, known, place, f"no neighbour of {name}")
        _check_each(node.nat.inside if node.nat else [], near, ("nodes", name, "nat"), f"no neighbour of {name}")
        for row, rule in enumerate(node.rules):
            place = ("nodes", name, "rules", row)
            _check_each([rule.sender] if rule.sender else [], set(page.nodes), place, "no node")
            if rule.to:
                _check_destination(page, rule.to, place)


def _check_each(wanted: list[str], known: set[str], place: tuple[int | str, ...], reason: str) -> None:
    for name in wanted:
        if name not in known:
            raise _MistakeError(place, f"{reason} is called {name!r}")


def _check_destination(page: Page, text: str, place: tuple[int | str, ...]) -> None:
    if text not in page.nodes and network(text) is None:
        raise _MistakeError(place, f"{text!r} is neither a node nor a network")
