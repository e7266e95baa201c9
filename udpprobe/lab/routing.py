"""Where a node sends a packet: the shortest way, except where the scenario says another."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from zlib import crc32

from udpprobe.lab.model import Address, Packet
from udpprobe.lab.scenario import Scenario
from udpprobe.lab.spec import YOU, Interface, Network, host_network, network

_Route = tuple[Network, tuple[str, ...]]
_EVERYWHERE = [each for text in ("0.0.0.0/0", "::/0") if (each := network(text))]


class Routes:
    """The routes of one node.

    A route of the scenario to a node or a network wins over the shortest way, the longest prefix first; a default
    route (prefix length 0) is the last resort. The program's own leads into its first link.

    Args:
        name: of the node.
        scenario: that it is in.
    """

    def __init__(self, name: str, scenario: Scenario) -> None:
        node = scenario.nodes[name]
        written = [(goal, tuple(hops)) for text, hops in node.routes.items() for goal in goals(text, scenario)]
        ways = [(goal, (hop,)) for far, hop in _first_hops(name, scenario).items() for goal in goals(far, scenario)]
        longest = _longest_first(written)
        self._table = [*(each for each in longest if each[0].prefixlen), *_longest_first(ways),
                       *(each for each in longest if not each[0].prefixlen)]
        if name == YOU:
            self._table += [(goal, (_neighbours(scenario)[YOU][0],)) for goal in _EVERYWHERE]
        self._known: dict[Address, tuple[str, ...]] = {}

    def hops(self, destination: Address) -> tuple[str, ...]:
        """The next hops of equal cost; none where there is no route."""
        if destination not in self._known:
            self._known[destination] = next((hops for goal, hops in self._table if destination in goal), ())
        return self._known[destination]


def flow_hash(packet: Packet) -> int:
    """A number that is the same for all packets of a flow: addresses, protocol and ports."""
    return crc32(packet.source.packed + packet.destination.packed + repr((packet.protocol, packet.ports)).encode())


def goals(text: str, scenario: Scenario) -> list[Network]:
    """The addresses of a node, or the network that the text is; of the program all that its interface may have."""
    node = scenario.nodes.get(text)
    if node is None:
        return [found] if (found := network(text)) else []
    if text == YOU:
        return [each.network for each in node.address]
    return [owned(each) for each in node.addresses]


def owned(interface: Interface) -> Network:
    """The addresses that a node has: one, or all of a network that is written without host bits."""
    return interface.network if interface.ip == interface.network.network_address else host_network(interface.ip)


def _longest_first(routes: Iterable[_Route]) -> list[_Route]:
    return sorted(routes, key=lambda route: -route[0].prefixlen)


def _first_hops(name: str, scenario: Scenario) -> dict[str, str]:
    """For each other node the neighbour on the shortest way to it; of several the one written first."""
    near = _neighbours(scenario)
    first: dict[str, str] = {}
    waiting = deque([name])
    while waiting:
        here = waiting.popleft()
        for far in near.get(here, []) if here == name or here != YOU else []:
            if far != name and far not in first:
                first[far] = first.get(here, far)
                waiting.append(far)
    return first


def _neighbours(scenario: Scenario) -> dict[str, list[str]]:
    near: dict[str, list[str]] = {}
    for start, far in scenario.links:
        near.setdefault(start, []).append(far)
    return near
