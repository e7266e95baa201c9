"""A node: arriving packets are filtered, delivered or forwarded; its own packets leave by its routes.

Packets are fragmented where a link is narrow, and reassembled at their destination.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple
from zlib import crc32

from udpprobe.lab import icmp, packets
from udpprobe.lab.hosts import HostStack, Response
from udpprobe.lab.icmp import ErrorLimit, LinuxLimit, NoLimit, PlainLimit
from udpprobe.lab.model import (
    DONT_FRAGMENT,
    ICMP,
    ICMPV6,
    KINDS,
    MORE_FRAGMENTS,
    SECOND_NS,
    TCP,
    UDP,
    Address,
    Departure,
    Dice,
    ErrorKind,
    IpPacket,
)
from udpprobe.lab.nat import Translator
from udpprobe.lab.scenario import (
    VOIDS,
    YOU,
    Interface,
    Network,
    NodeSpec,
    Rule,
    Scenario,
    host_network,
    kinds_of,
    network,
)


class Alarm(NamedTuple):
    """A request to be called again when the time for reassembly is over."""

    piece: IpPacket
    wait_ns: int


Effect = Departure | Alarm


class Node:
    """A router or a host.

    Args:
        name: of the node.
        scenario: contains it.
        seed: of the run.
    """

    def __init__(self, name: str, scenario: Scenario, seed: int) -> None:
        self.name = name
        self.spec = scenario.nodes[name]
        self._scenario = scenario
        self._links = {far: link for (near, far), link in scenario.links.items() if near == name}
        self._routes = Routes(name, scenario)
        self._own = [owned(each) for each in self.spec.addresses]
        self._dice = Dice(seed, name)
        self._limiter = _limiter(self.spec, self._dice)
        self._host = HostStack(self.spec)
        self._pieces = Reassembler()
        self._paths = PathMtus()
        self._nat = _translator(self.spec)
        self._rules = [CountedRule(rule, goals(rule.to, scenario) if rule.to else []) for rule in self.spec.rules]
        self._ip_id = self._dice.below(1 << 16)
        self._turn = 0

    def handle(self, packet: IpPacket, came_from: str, now_ns: int) -> Iterator[Effect]:
        """Handle an arriving packet.

        Args:
            packet: any.
            came_from: name of the neighbour that sent it.
            now_ns: time.
        """
        if self._nat is not None:
            whole = yield from self._whole(packet)
            if whole is None:
                return
            packet = self._nat.inbound(whole)
        passes = yield from self._passes_rules(packet, now_ns)
        if passes and self._owns(packet.destination):
            yield from self._deliver(packet, now_ns)
        elif passes and not packet.destination.is_multicast:
            yield from self._forward(packet, came_from, now_ns)

    def _passes_rules(self, packet: IpPacket, now_ns: int) -> Generator[Departure, None, bool]:
        """Whether the rules let it pass. The first matching rule decides, except that a `remark` never does."""
        for each in self._rules:
            if each.fits(packet):
                yield from self._apply(each.rule, packet, now_ns)
                if each.rule.do != "remark":
                    return each.rule.do == "pass"
        return True

    def on_timeout(self, piece: IpPacket, now_ns: int) -> Iterator[Effect]:
        """The time to reassemble a packet is over."""
        first = self._pieces.give_up(piece)
        if first is not None:
            yield from self._send_error(first, KINDS["reassembly-timeout"][first.family], now_ns)

    def send(self, packet: IpPacket) -> Iterator[Departure]:
        """Send a packet made here, fragmented if the link is narrow; nothing if there is no route."""
        hops = self._routes.hops(packet.destination)
        if not hops or hops[0] in VOIDS:
            return
        hop = self._choose(hops, packet)
        for piece in fragments(packet, min(self._links[hop].mtu or MOST, self._paths.to(packet.destination))):
            yield Departure(piece, hop)

    def _owns(self, address: Address) -> bool:
        return any(address in each for each in self._own)

    def _deliver(self, packet: IpPacket, now_ns: int) -> Iterator[Effect]:
        whole = yield from self._whole(packet)
        if whole is None:
            return
        self._paths.learn(whole)
        for reply in self._host.replies(whole, now_ns):
            if isinstance(reply, ErrorKind):
                yield from self._send_error(whole, reply, now_ns)
            else:
                yield from self._send(reply)

    def _whole(self, packet: IpPacket) -> Generator[Alarm, None, IpPacket | None]:
        """A packet, once all of its fragments have arrived."""
        if not packet.is_fragment:
            return packet
        whole, first = self._pieces.add(packet)
        if first:
            yield Alarm(packet, TIMEOUT_S[packet.family] * SECOND_NS)
        return whole

    def _send(self, reply: Response) -> Iterator[Departure]:
        """Send a message, with an id that counts up by 1 (IPv4) or one flow label per destination (IPv6)."""
        self._ip_id = (self._ip_id + 1) & 0xFFFF
        label = Dice(0, f"{reply.source} {reply.destination}").below(0xFFFFF) + 1 if reply.source.version == 6 else 0
        made = IpPacket(
            reply.source,
            reply.destination,
            reply.protocol,
            reply.payload,
            self.spec.ttl,
            reply.tos,
            label,
            self._ip_id,
            reply.flags,
        )
        for departure in self.send(made):
            yield departure._replace(wait_ns=reply.wait_ns)

    def _forward(self, packet: IpPacket, came_from: str, now_ns: int) -> Iterator[Departure]:
        hops = self._routes.hops(packet.destination) or ("",)
        if hops[0] not in self._links:
            yield from self._refuse(packet, hops[0], now_ns)
        elif packet.ttl < 1 + (not self.spec.forwards_zero_ttl):
            yield from self._send_error(packet, KINDS["time-exceeded"][packet.family], now_ns)
        else:
            yield from self._emit(packet, came_from, self._choose(hops, packet), now_ns)

    def _refuse(self, packet: IpPacket, void: str, now_ns: int) -> Iterator[Departure]:
        kind = VOIDS.get(void, KINDS["net-unreachable"]).get(packet.family)
        if kind is not None:
            yield from self._send_error(packet, kind, now_ns, routed=True)

    def _choose(self, hops: tuple[str, ...], packet: IpPacket) -> str:
        if len(hops) == 1:
            return hops[0]
        self._turn += 1
        number = self._turn if self.spec.balance == "packet" else flow_hash(packet)
        return hops[number % len(hops)]

    def _emit(self, packet: IpPacket, came_from: str, hop: str, now_ns: int) -> Iterator[Departure]:
        """Send on a link, if the packet fits. As in Linux, an error about one that does not quotes it as it arrived.

        A packet that was reassembled for a NAT leaves in fragments no larger than the ones it arrived in.
        """
        link = self._links[hop]
        size = packet.largest_piece or packet.size
        mtu = link.mtu or size
        if size <= mtu or (packet.may_be_cut and not link.black_hole):
            lower = self._hidden(replace(packet, ttl=packet.ttl - 1), came_from, hop)
            yield from (Departure(piece, hop) for piece in fragments(lower, min(size, mtu)))
        elif not link.black_hole:
            reported = mtu if link.reports_mtu is None else link.reports_mtu
            yield from self._send_error(packet, KINDS["packet-too-big"][packet.family]._replace(word=reported), now_ns)

    def _hidden(self, packet: IpPacket, came_from: str, hop: str) -> IpPacket:
        """A packet as it leaves a NAT, with the NAT's address."""
        inside = self.spec.nat.inside if self.spec.nat else []
        if self._nat is None or came_from not in inside or hop in inside:
            return packet
        return self._nat.outbound(packet)

    def _apply(self, rule: Rule, packet: IpPacket, now_ns: int) -> Iterator[Departure]:
        kind = kinds_of(rule.error).get(packet.family)
        if rule.do not in {"reject", "remark"} or kind is None:
            return
        if rule.word is not None:
            kind = kind._replace(word=rule.word)
        sender = self._scenario.nodes[rule.sender] if rule.sender else None
        shown = icmp.forged(packet, rule.wrong) if rule.wrong else packet
        for _ in range(rule.times):
            yield from self._send_error(packet, kind, now_ns, sender=sender, shown=shown)

    def _send_error(
        self,
        packet: IpPacket,
        kind: ErrorKind,
        now_ns: int,
        *,
        routed: bool = False,
        sender: NodeSpec | None = None,
        shown: IpPacket | None = None,
    ) -> Iterator[Departure]:
        """Send an error about a packet, if allowed; optionally from another's address, with another quote."""
        source = _source_of_errors(sender or self.spec, packet)
        if source is None or self.spec.silent or not icmp.may_be_sent(packet, kind):
            return
        if not self._limiter.allows(packet.source, kind, now_ns, routed=routed):
            return
        payload = icmp.message(shown or packet, kind, self.spec, source, packet.source)
        protocol, tos = (ICMP, 0xC0 | packet.tos & 0x1E) if packet.family == 4 else (ICMPV6, 0)
        yield from self._send(Response(source, packet.source, protocol, payload, tos))


def _translator(spec: NodeSpec) -> Translator | None:
    return Translator(spec.nat, [each.ip for each in spec.nat.address or spec.address]) if spec.nat else None


def _limiter(spec: NodeSpec, dice: Dice) -> ErrorLimit:
    if spec.limit is not None:
        return PlainLimit(spec.limit)
    return LinuxLimit(dice) if spec.system == "linux" else NoLimit()


def _source_of_errors(spec: NodeSpec, packet: IpPacket) -> Address | None:
    """The destination of the packet if that is the node's own address, else its first of the family."""
    if not spec.reports_from and any(packet.destination in owned(each) for each in spec.addresses):
        return packet.destination
    return next((each.ip for each in spec.reports_from + spec.address if each.version == packet.family), None)


_PROTOCOLS = {"udp": {UDP}, "tcp": {TCP}, "icmp": {ICMP, ICMPV6}}


class CountedRule:
    """A rule, and the number of packets that matched it.

    Args:
        rule: its content.
        goals: the networks that `rule.to` means; none for any.
    """

    def __init__(self, rule: Rule, goals: list[Network]) -> None:
        self.rule = rule
        self._goals = goals
        self._fitting = 0

    def fits(self, packet: IpPacket) -> bool:
        """Whether the rule applies to this packet, counting every N-th match."""
        if not self._is_about(packet):
            return False
        self._fitting += 1
        return self._fitting % self.rule.every == 0

    def _is_about(self, packet: IpPacket) -> bool:
        rule, port = self.rule, packet.ports[1]
        return (
            (rule.proto == "any" or packet.protocol in _PROTOCOLS[rule.proto])
            and (rule.ports is None or any(low <= port <= high for low, high in rule.ports))
            and (rule.larger_than is None or packet.size > rule.larger_than)
            and (rule.to is None or any(packet.destination in goal for goal in self._goals))
        )


_Route = tuple[Network, tuple[str, ...]]
_EVERYWHERE = [each for text in ("0.0.0.0/0", "::/0") if (each := network(text))]


class Routes:
    """The routes of one node.

    A route of the scenario to a node or a network wins over the shortest path, the longest prefix first; a default
    route (prefix length 0) is the last resort. The program's own route leads to its first link.

    Args:
        name: of the node.
        scenario: contains it.
    """

    def __init__(self, name: str, scenario: Scenario) -> None:
        node = scenario.nodes[name]
        written = [(goal, tuple(hops)) for text, hops in node.routes.items() for goal in goals(text, scenario)]
        ways = [(goal, (hop,)) for far, hop in _first_hops(name, scenario).items() for goal in goals(far, scenario)]
        longest = _longest_first(written)
        self._table = [
            *(each for each in longest if each[0].prefixlen),
            *_longest_first(ways),
            *(each for each in longest if not each[0].prefixlen),
        ]
        if name == YOU:
            self._table += [(goal, (_neighbours(scenario)[YOU][0],)) for goal in _EVERYWHERE]
        self._known: dict[Address, tuple[str, ...]] = {}

    def hops(self, destination: Address) -> tuple[str, ...]:
        """The next hops of equal cost; empty without a route."""
        if destination not in self._known:
            self._known[destination] = next((hops for goal, hops in self._table if destination in goal), ())
        return self._known[destination]


def flow_hash(packet: IpPacket) -> int:
    """A number that is equal for all packets of a flow: addresses, protocol and ports."""
    return crc32(packet.source.packed + packet.destination.packed + repr((packet.protocol, packet.ports)).encode())


def goals(text: str, scenario: Scenario) -> list[Network]:
    """The addresses of a node, or the network in the text; for the program all addresses of its networks."""
    node = scenario.nodes.get(text)
    if node is None:
        return [found] if (found := network(text)) else []
    if text == YOU:
        return [each.network for each in node.address]
    return [owned(each) for each in node.addresses]


def owned(interface: Interface) -> Network:
    """A node's addresses: one, or all of a network that is written without host bits."""
    return interface.network if interface.ip == interface.network.network_address else host_network(interface.ip)


def _longest_first(routes: Iterable[_Route]) -> list[_Route]:
    return sorted(routes, key=lambda route: -route[0].prefixlen)


def _first_hops(name: str, scenario: Scenario) -> dict[str, str]:
    """For each other node, the neighbour on the shortest path to it; of several the one written first."""
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


TIMEOUT_S = {4: 30, 6: 60}
"""Seconds that a host waits for further fragments (Linux's `ipfrag_time`; RFC 8200, 4.5)."""

MOST = 65_535
LEAST_MTU = {4: 552, 6: 1280}
"""Smallest MTU that Linux accepts (`min_pmtu`; RFC 8200, 5)."""

LARGEST = {4: MOST, 6: MOST + 40}
"""Longest packet in bytes: in IPv6 the length excludes the header (RFC 791, 3.1; RFC 8200, 3)."""

_Key = tuple[Address, Address, int, int]


def fragments(packet: IpPacket, mtu: int) -> list[IpPacket]:
    """A packet in fragments that fit (RFC 791, 3.2; RFC 8200, 4.5); itself if it fits. Options stay with the first."""
    if packet.size <= mtu:
        return [packet]
    whole = replace(packet, fragment_header=packet.family == 6)
    room = max((mtu - whole.header_size) // 8 * 8, 8)
    starts = range(0, len(packet.payload), room)
    return [_piece(whole, start, room) for start in starts]


def _piece(packet: IpPacket, start: int, room: int) -> IpPacket:
    data = packet.payload[start : start + room]
    last = start + room >= len(packet.payload)
    more = packet.flags & MORE_FRAGMENTS if last else MORE_FRAGMENTS
    return replace(
        packet,
        payload=data,
        offset=packet.offset + start,
        options=b"" if start else packet.options,
        flags=packet.flags & ~(MORE_FRAGMENTS | DONT_FRAGMENT) | more,
    )


class PathMtus:
    """Path MTUs that a host has learned (RFC 1191; RFC 8201)."""

    def __init__(self) -> None:
        self._mtus: dict[Address, int] = {}

    def to(self, destination: Address) -> int:
        """The path MTU, as far as it is known."""
        return self._mtus.get(destination, MOST)

    def learn(self, packet: IpPacket) -> None:
        """Learn the MTU of an error, if it has one."""
        mtu = _reported_mtu(packet)
        quote = packets.dissect_quote(packet.payload[8:])
        if mtu is not None and quote is not None and packets.icmp_intact(packet):
            self._mtus[quote.destination] = min(max(mtu, LEAST_MTU[packet.family]), self.to(quote.destination))


def _reported_mtu(packet: IpPacket) -> int | None:
    kind = packet.protocol, packet.payload[:2]
    places = {(ICMP, b"\3\4"): slice(6, 8), (ICMPV6, b"\2\0"): slice(4, 8)}
    return int.from_bytes(packet.payload[places[kind]]) if kind in places else None


class Reassembler:
    """Reassembles fragments. If any overlap, the whole packet is dropped (RFC 5722; Linux in IPv4 too)."""

    def __init__(self) -> None:
        self._pieces: dict[_Key, dict[int, IpPacket]] = {}

    def add(self, piece: IpPacket) -> tuple[IpPacket | None, bool]:
        """The whole packet once it is complete, and whether this was the first fragment of an incomplete one."""
        key = self.key(piece)
        pieces = self._pieces.setdefault(key, {})
        first = not pieces
        pieces.setdefault(piece.offset, piece)
        whole = _joined(list(pieces.values()))
        if whole is not None:
            del self._pieces[key]
        return whole, first and whole is None

    def give_up(self, piece: IpPacket) -> IpPacket | None:
        """Forget the packet whose fragments began with this one; return its first fragment, if that had arrived."""
        key = self.key(piece)
        if next(iter(self._pieces.get(key, {}).values()), None) is not piece:
            return None  # completed in time; a later packet may have its id
        return self._pieces.pop(key).get(0)

    @staticmethod
    def key(piece: IpPacket) -> _Key:
        """What the fragments of one packet have in common."""
        return piece.source, piece.destination, piece.protocol if piece.family == 4 else 0, piece.ip_id


def _joined(pieces: list[IpPacket]) -> IpPacket | None:
    """The packet, if the fragments cover it without gap or overlap."""
    ordered = sorted(pieces, key=lambda piece: piece.offset)
    data = b""
    for piece in ordered:
        if piece.offset != len(data):
            return None
        data += piece.payload
    first = ordered[0]
    size = first.header_size - 8 * first.fragment_header + len(data)
    if ordered[-1].flags & MORE_FRAGMENTS or size > LARGEST[first.family]:
        return None
    whole = replace(first, payload=data, flags=first.flags & ~MORE_FRAGMENTS, fragment_header=False)
    found = packets.dissect(packets.build(whole))  # extension headers may follow the fragment header
    return (
        None
        if isinstance(found, str)
        else replace(found, ip_id=first.ip_id, largest_piece=max(piece.size for piece in pieces))
    )
