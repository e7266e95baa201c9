"""Scenarios: the ones that ship, and the user's own; read, checked, and refused with line and reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from ipaddress import ip_interface
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from udpprobe.checking.config import keys_of, line_of, parse_toml, read_toml, reason_of
from udpprobe.errors import UdpprobeError, UsageError
from udpprobe.lab.spec import (
    VOIDS,
    YOU,
    Answer,
    Interface,
    Limit,
    LinkSpec,
    Mtu,
    Nat,
    NodeSpec,
    Rule,
    Strict,
    network,
)

_SHIPPED = files("udpprobe.lab") / "scenarios"
_OF_YOU = {"address", "routes", "balance"}
"""What can be said of the program's place; the rest is what its own kernel does."""
_NOBODY = {ip_interface(0), ip_interface("::")}


class Page(Strict):
    """A scenario as it is written."""

    conclude: Annotated[str, Field(min_length=1)]
    targets: list[Annotated[str, Field(pattern=r"^(\[[0-9a-fA-F:.]+\]|[^\[\]:]+):\d{1,5}$")]] = Field(default=[])
    seed: int = 0
    mtu: Mtu = 1500
    nodes: dict[Annotated[str, Field(pattern=r"^[\w.-]+$")], NodeSpec]
    links: dict[str, dict[str, Any]]


_KEYS = keys_of(Page, NodeSpec, LinkSpec, Rule, Answer, Limit, Nat)


@dataclass(frozen=True)
class Scenario:
    """A small internet, and what must be concluded in it."""

    name: str
    sentence: str
    """What must be concluded."""
    text: str
    """The TOML as it was written."""
    networks: list[Interface]
    """Addresses and prefix lengths of the program's own interface."""
    mtu: int
    """Of the program's own interface."""
    targets: list[str]
    """`host:port` each: what to try."""
    seed: int
    nodes: dict[str, NodeSpec]
    links: dict[tuple[str, str], LinkSpec]
    """By the node that a packet leaves, and the neighbour that it goes to."""


class _MistakeError(ValueError):
    """A mistake in a scenario, and the key that it stands in."""

    def __init__(self, place: tuple[int | str, ...], reason: str) -> None:
        super().__init__(reason)
        self.place = place


def names() -> list[str]:
    """The scenarios that ship."""
    return sorted(each.name.removesuffix(".toml") for each in _SHIPPED.iterdir() if each.name.endswith(".toml"))


def load(name_or_path: str) -> Scenario:
    """A scenario that ships, by its name, or the user's own, by its path (with `/` or `.toml` in it).

    Raises:
        UsageError: there is none of that name, or it has a mistake; says in which line.
        UdpprobeError: its file cannot be read.
    """
    if "/" not in name_or_path and not name_or_path.endswith(".toml"):
        if name_or_path not in names():
            alike = get_close_matches(name_or_path, names(), n=1)
            said = f"did you mean {alike[0]}?" if alike else f"there are {', '.join(names())};"
            raise UsageError(f"no scenario is called {name_or_path!r}: {said} your own has / or .toml in its name")
        return parse((_SHIPPED / f"{name_or_path}.toml").read_text("utf-8"), name_or_path)
    try:
        return parse(read_toml(name_or_path), name_or_path)
    except OSError as error:
        raise UdpprobeError(f"cannot read {name_or_path}: {error.strerror or error}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{name_or_path}: no UTF-8 text") from None


def parse(text: str, name: str) -> Scenario:
    """A scenario of its text.

    Raises:
        UsageError: it has a mistake; says in which line.
    """
    try:
        page = Page.model_validate(parse_toml(text))
        return _scenario(page, name, text)
    except _MistakeError as error:
        raise UsageError(_complaint(name, text, error.place, str(error))) from None
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(_complaint(name, text, first["loc"], reason_of(first, _KEYS))) from None
    except RecursionError:
        raise UsageError(f"{name}: brackets or braces are nested too deeply") from None
    except ValueError as error:     # no TOML
        raise UsageError(_torn(name, text, str(error))) from None


def _torn(name: str, text: str, reason: str) -> str:
    """What tomllib says, with the line where the others have it."""
    where = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)$", reason)
    if where is None:
        return f"{name}: {reason}"
    return f"{name}:{where[1] or len(text.splitlines())}: {reason[:where.start()]}"


def _complaint(name: str, text: str, place: tuple[int | str, ...], reason: str) -> str:
    where = ".".join(str(part) for part in place if not isinstance(part, int))
    return f"{name}:{line_of(text, place)}: {where}: {reason}"


def _scenario(page: Page, name: str, text: str) -> Scenario:
    for word in VOIDS.keys() & page.nodes:
        raise _MistakeError(("nodes", word), "routes use this word for what leads nowhere")
    if YOU not in page.nodes:
        raise _MistakeError(("nodes",), f'the program needs a place: no node is called "{YOU}"')
    for key in sorted(page.nodes[YOU].model_fields_set - _OF_YOU):
        raise _MistakeError(("nodes", YOU, key), f'"{YOU}" is this host, which has only {", ".join(sorted(_OF_YOU))}')
    _check_addresses(page)
    links = _links(page)
    _check_names(page, links)
    mtu = min(page.mtu, *(link.mtu or page.mtu for (near, _), link in links.items() if near == YOU))
    return Scenario(Path(name).stem, page.conclude, text, page.nodes[YOU].address, mtu, page.targets,
                    page.seed, page.nodes, links)


def _check_addresses(page: Page) -> None:
    owners: dict[Interface, str] = {}
    for name, node in page.nodes.items():
        for each in node.addresses:
            if each.ip.is_loopback or each.ip.is_multicast or each in _NOBODY:
                raise _MistakeError(("nodes", name, "address"), f"{each.ip} is no address of a host")
            if (other := owners.setdefault(ip_interface(each.ip), name)) != name:
                raise _MistakeError(("nodes", name, "address"), f"{each.ip} is {other}'s already")


def _links(page: Page) -> dict[tuple[str, str], LinkSpec]:
    """Both directions of each link; a later entry refines an earlier one."""
    wishes: dict[tuple[str, str], dict[str, Any]] = {}
    for chain, wish in page.links.items():
        for ends in _directions(chain, set(page.nodes)):
            wishes[ends] = wishes.get(ends, {}) | wish
            _link(chain, wishes[ends])
    if all(near != YOU for near, _ in wishes):
        raise _MistakeError(("links",), f'no link leads from "{YOU}"')
    for near, far in wishes:
        if (far, near) not in wishes:
            raise _MistakeError(("links", f"{near} > {far}"), f'there is no way back: say "{near} - {far}" first')
    return {ends: LinkSpec(**wish) for ends, wish in wishes.items()}


def _link(chain: str, wish: dict[str, Any]) -> LinkSpec:
    try:
        return LinkSpec.model_validate(wish)
    except ValidationError as error:
        first = error.errors()[0]
        raise _MistakeError(("links", chain, *first["loc"]), reason_of(first, _KEYS)) from None


def _directions(chain: str, known: set[str]) -> Iterator[tuple[str, str]]:
    """Of `a - b > c`: a to b, b to a, and b to c."""
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
    """Whether routes lead to neighbours, and rules and NATs name nodes that there are."""
    place: tuple[int | str, ...]
    for name, node in page.nodes.items():
        near = {far for start, far in links if start == name}
        for destination, hops in node.routes.items():
            place = ("nodes", name, "routes", destination)
            _check_destination(page, destination, place)
            known = near | set(VOIDS) if len(hops) == 1 else near   # what leads nowhere is no way of equal cost
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
