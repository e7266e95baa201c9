"""Probes to one destination and their replies, with one clock: the base of `trace` and `mtu`."""

from __future__ import annotations

import errno
import socket
import struct
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from os import strerror
from random import SystemRandom
from typing import TYPE_CHECKING, Self

from msgspec import Struct

from udpprobe.capture.live import LiveCapture, open_capture
from udpprobe.core.addresses import address_text
from udpprobe.core.decode import Decoder
from udpprobe.core.probe import TOKEN_BYTES
from udpprobe.core.rows import Packet
from udpprobe.core.targets import TRACEROUTE_PORT, parse_target
from udpprobe.errors import PrivilegeError, UdpprobeError, UnsentError, UsageError, raw_hint
from udpprobe.linux.hostfacts import PORT_BITS, reserve_ports, source_of
from udpprobe.linux.netlink import bind_to_interface, interface_index, interface_mtu, interface_name, outgoing_interface
from udpprobe.payloads import Catalogue, Payload, chosen, load
from udpprobe.replies import NO_LOOP_TTL, Flows, Probe, Reply, Tracker
from udpprobe.targets import Wanted, resolve
from udpprobe.tracing.model import Target

if TYPE_CHECKING:
    from udpprobe.scanning.plan import ProbedDestinations

FILTER = "(udp and ({ports})) or icmp or icmp6 or (ip[6:2] & 0x1fff != 0) or ip6 proto 44"
"""The probes and their answers, errors, and later fragments, which have no ports."""
LEAST_TOKEN = 2
"""Token bytes that distinguish probes; a payload with less room gets a token appended."""
QUEUE_S = 0.01
"""How long an interface's queue may stay full. A few packets per millisecond fill none, but some report a full queue
for a packet that exceeds the next link, and meanwhile nothing else is sent or received."""
FIRST_WAIT_S = 0.001
"""Before the first retry; doubled for each further one."""
FULL = frozenset({errno.ENOBUFS, errno.EAGAIN})
IP_PKTINFO, IP_RECVERR, IPV6_RECVERR, IPV6_HDRINCL, PMTUDISC_PROBE = 8, 11, 25, 36, 3
"""linux/in.h and in6.h. PROBE: the only limit is the interface's MTU, because the kernel's path MTU is being probed."""
RAW_OPTIONS = {
    4: (
        (socket.IPPROTO_IP, socket.IP_HDRINCL, 1),
        (socket.IPPROTO_IP, IP_RECVERR, 1),
        (socket.IPPROTO_IP, 10, PMTUDISC_PROBE),
    ),
    6: (
        (socket.IPPROTO_IPV6, IPV6_HDRINCL, 1),
        (socket.IPPROTO_IPV6, IPV6_RECVERR, 1),
        (socket.IPPROTO_IPV6, 23, PMTUDISC_PROBE),
    ),
}
"""By family: headers are included; a full queue is an error, not silent loss; 10 and 23 are MTU_DISCOVER."""


class Endpoint(Struct, frozen=True):
    """A destination in the kernel's terms."""

    address: tuple[int, int]
    """Two halves of 128 bits, IPv4 mapped."""
    port: int
    zone: int = 0
    """Interface index of a link-local address (RFC 4007), else 0."""

    @property
    def text(self) -> str:
        """The address as text."""
        return address_text(*self.address)


def endpoint_of(destinations: ProbedDestinations) -> Endpoint:
    """The first of the resolved destinations."""
    return Endpoint((destinations.high[0], destinations.low[0]), destinations.port[0], destinations.zone[0])


def endpoint_named(
    text: str, command: str, family: int | None = None, interface: str | None = None, *, allow_broadcast: bool = False
) -> Endpoint:
    """The one destination in `HOST:PORT`. Default port: traceroute's. Of a name, the resolver's first address.

    Args:
        text: as for `parse_target`.
        command: name of a command that takes one destination.
        family: 4 or 6: only addresses of this family.
        interface: zone of a link-local address without one.
        allow_broadcast: whether group addresses may be probed.

    Raises:
        UsageError: it is no target, or more than one destination.
        UdpprobeError: the name has no address.
    """
    target = parse_target(text)
    hosts = 1 if isinstance(target.host, str) else target.host.size
    if hosts * sum(map(len, target.ports or (range(1),))) > 1:
        raise UsageError(f"{text!r} is more than one destination; {command} takes one")
    wanted = Wanted((range(TRACEROUTE_PORT, TRACEROUTE_PORT + 1),), family, interface, allow_broadcast)
    return endpoint_of(resolve([target], [], wanted).destinations)


def payload_for(port: int, text: str = "auto") -> Payload:
    """The payload for a port.

    Args:
        port: UDP port of the destination.
        text: as for `--payload`. The first of several payloads is taken.

    Raises:
        UsageError: the payload is unknown.
        UdpprobeError: its file cannot be read.
    """
    catalogue: Catalogue = chosen(load(), text)
    row = (
        catalogue.forced[0]
        if catalogue.forced
        else next((number for number, each in enumerate(catalogue.rows) if port in each.ports), 0)
    )
    return catalogue.rows[max(row, 0)]  # a negative row is the generic payload, which comes first


class RawSocket:
    """Sends IP packets with their own headers to one destination (raw(7)); the kernel routes them.

    Args:
        flows: sources and destination.
        interface: the only one to send on; None lets the routes decide.

    Raises:
        PrivilegeError: this user may not open such a socket.
        UdpprobeError: this host does not support it.
    """

    def __init__(self, flows: Flows, interface: str | None) -> None:
        domain = socket.AF_INET if flows.family == 4 else socket.AF_INET6
        try:
            self._socket = socket.socket(domain, socket.SOCK_RAW, socket.IPPROTO_RAW)
        except PermissionError:
            raise PrivilegeError(f"sending needs CAP_NET_RAW: {raw_hint()}") from None
        except OSError as error:
            raise UdpprobeError(f"cannot open a raw socket: {error.strerror}") from None
        for level, option, value in (*RAW_OPTIONS[flows.family], (socket.SOL_SOCKET, socket.SO_BROADCAST, 1)):
            self._socket.setsockopt(level, option, value)
        if interface is not None:
            bind_to_interface(self._socket, interface)
        source = socket.inet_pton(domain, address_text(*flows.source))
        # the control message repeats the source, for routing by source
        if domain == socket.AF_INET:
            self._to: tuple[str | int, ...] = address_text(*flows.destination), 0
            self._control = socket.IPPROTO_IP, IP_PKTINFO, struct.pack("=i4s4x", 0, source)
        else:
            self._to = address_text(*flows.destination), 0, 0, flows.zone
            self._control = socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, struct.pack("=16si", source, 0)

    def send(self, packet: bytes) -> int:
        """Send a packet; return 0, or the errno of the failed send."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                self._socket.sendmsg([packet], [self._control], 0, self._to)
            except OSError as error:
                if error.errno not in FULL or wait_s >= QUEUE_S:
                    return error.errno or errno.EIO
                time.sleep(wait_s)
                wait_s *= 2
            else:
                return 0

    def close(self) -> None:
        """Close it."""
        self._socket.close()


class Wire:
    """Sends probes to one destination, and recognises their replies.

    Args:
        endpoint: the destination.
        payload: of each probe. One without room for a token gets a token appended.
        source_port: of the first flow; 0 lets the kernel choose.
        interface: where probes leave; None for the kernel's choice.
        source_address: instead of the one that the kernel would choose.
        flows: number of flows, each with its own source port and IPv6 flow label.
        loop_ttl: an expired TTL that started at least this high means a loop.

    Raises:
        PrivilegeError: raw sockets are not allowed.
        UnsentError: this host has no route.
        UdpprobeError: there is no such interface, or the source address or port is not available.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        payload: Payload,
        *,
        source_port: int = 0,
        interface: str | None = None,
        source_address: str | None = None,
        flows: int = 1,
        loop_ttl: int = NO_LOOP_TTL,
    ) -> None:
        if interface is not None:
            interface_index(interface)
        source = source_of(endpoint.text, endpoint.zone, bind=source_address, interface=interface)
        if source.errno:
            zone = interface_name(endpoint.zone) if endpoint.zone else None
            raise UnsentError(f"cannot send to {endpoint.text}: {strerror(source.errno)}", source.errno, zone)
        with ExitStack() as held:
            family = 6 if ":" in endpoint.text else 4
            ports = held.enter_context(reserve_ports((family,), source_port, flows)).ports
            own = source.address >> 64, source.address & (1 << 64) - 1
            self.flows = Flows(own, endpoint.address, endpoint.port, endpoint.zone, ports)
            self._socket = held.enter_context(closing(RawSocket(self.flows, interface)))
            dice = SystemRandom()
            self._tracker = Tracker(
                self.flows,
                _with_token(payload),
                (dice.getrandbits(64), dice.getrandbits(64)),
                port_bits=0 if source_port else PORT_BITS,
                loop_ttl=loop_ttl,
            )
            self.interface, self.mtu = _route(self.flows, interface)
            self._held = held.pop_all()

    @property
    def target(self) -> Target:
        """The destination."""
        zone = self.interface if self.flows.zone else None
        return Target(address_text(*self.flows.destination), self.flows.port, zone)

    @property
    def source(self) -> str:
        """Source address of probes."""
        return address_text(*self.flows.source)

    @property
    def least_size(self) -> int:
        """Bytes of the IP packet of a probe without padding."""
        return self._tracker.least_size

    @property
    def faults(self) -> Counter[str]:
        """Faults of received packets, by name; `foreign`: errors about datagrams that were never sent."""
        return self._tracker.faults

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on the destination that no reply has: that errors about it are forged."""
        return self._tracker.notes

    def send(self, probes: Sequence[Probe]) -> list[int]:
        """Send probes in order; for each 0, or the errno of the failed send (EMSGSIZE: above the interface MTU)."""
        return [self._socket.send(self._tracker.craft(probe, time.time_ns())) for probe in probes]

    def take(self, packets: Sequence[Packet]) -> list[Reply]:
        """The replies in some packets, in order of time."""
        return self._tracker.take(packets)

    def close(self) -> None:
        """Release sockets and ports."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Listener:
    """Receives the replies for some wires, from its creation on. The caller closes the wires.

    Args:
        wires: with the ports that replies come to.
        interface: where to listen; None for every interface.
        capture: as for `open_capture`.

    Raises:
        PrivilegeError: capturing is not allowed.
        UdpprobeError: there is no such interface.
    """

    def __init__(self, wires: Sequence[Wire], interface: str | None = None, *, capture: str = "auto") -> None:
        self.wires = tuple(wires)
        self._owners = {
            (wire.flows.destination, wire.flows.port, port): wire for wire in wires for port in wire.flows.source_ports
        }
        """Wires by what an error quotes, so that an error about one wire's probe is no forgery for another."""
        self._decoder = Decoder(1, keeps_messages=True)
        self._capture = _capture([port for wire in wires for port in wire.flows.source_ports], interface, capture)
        self.now_ns = time.time_ns()

    @property
    def faults(self) -> Counter[str]:
        """Faults of received packets, by name."""
        return sum((wire.faults for wire in self.wires), self._shared_faults())

    def faults_of(self, wire: Wire) -> Counter[str]:
        """The same, without faults of other wires' replies."""
        return wire.faults + self._shared_faults()

    def _shared_faults(self) -> Counter[str]:
        """Includes `kernel-dropped`: packets that this host had no buffer for, which is no loss on the path."""
        state = self._capture.state
        return state.faults + self._decoder.counted_faults() + Counter({"kernel-dropped": state.dropped or 0})

    def receive(self, wait_s: float) -> list[Reply]:
        """The replies, in order of time, after waiting for at most `wait_s` seconds; `now_ns` is then later.

        It may return earlier without a reply, because departing probes are captured too.
        """
        return sorted(
            (reply for replies in self.receive_each(wait_s) for reply in replies), key=lambda reply: reply.time_ns
        )

    def receive_each(self, wait_s: float) -> list[list[Reply]]:
        """The same for each wire."""
        frames = self._capture.receive(wait_s)
        self.now_ns = max(self.now_ns, frames.now_ns)
        packets = [
            packet
            for frame in frames.frames
            for packet in self._decoder.packets(frame.data, frame.length, frame.time_ns, frame.link_type, frame.number)
        ]
        owners = [
            self._owners.get((each.destination, each.destination_port, each.source_port)) if each.is_error else None
            for each in packets
        ]
        return [
            wire.take([packet for packet, owner in zip(packets, owners, strict=True) if owner in {None, wire}])
            for wire in self.wires
        ]

    def close(self) -> None:
        """Stop capturing."""
        self._capture.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _with_token(payload: Payload) -> tuple[bytes, int, int]:
    """The payload, the offset of the token, and the bytes of the token: at least some."""
    if payload.token_size >= LEAST_TOKEN:
        return payload.data, payload.token_at, payload.token_size
    return payload.data + bytes(TOKEN_BYTES), len(payload.data), TOKEN_BYTES


def _capture(ports: Sequence[int], interface: str | None, capture: str) -> LiveCapture:
    expression = FILTER.format(ports=" or ".join(f"port {port}" for port in ports))
    return open_capture(expression, interface=interface, capture=capture)


def _route(flows: Flows, interface: str | None) -> tuple[str, int]:
    """Name and MTU of the outgoing interface, as the kernel routes now."""
    domain = socket.AF_INET if flows.family == 4 else socket.AF_INET6
    source, destination = (socket.inet_pton(domain, address_text(*each)) for each in (flows.source, flows.destination))
    index = outgoing_interface(source, destination, flows.zone or (interface_index(interface) if interface else 0))
    with suppress(OSError):
        name = socket.if_indextoname(index)
        return name, interface_mtu(name)
    return "", 0
