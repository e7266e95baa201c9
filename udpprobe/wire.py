"""The wire to one destination: shots out, replies in, one clock. What `trace` and `mtu` stand on."""

from __future__ import annotations

import socket
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from itertools import groupby
from os import strerror
from random import SystemRandom
from typing import Self

import numpy as np

from udpprobe.core.addresses import address_text
from udpprobe.core.batch import FrameBatch
from udpprobe.core.probing.craft import Crafter
from udpprobe.core.probing.hearing import NO_LOOP_TTL, Hearing, Shots
from udpprobe.core.probing.probes import TOKEN_BYTES, Destinations, Payloads
from udpprobe.core.probing.shots import TOKEN_LIMIT, Line, Reply, Shot
from udpprobe.core.tracing.model import Target
from udpprobe.errors import UdpprobeError
from udpprobe.hostfacts import reserve_ports, sources_for
from udpprobe.links import interface_index, interface_mtu
from udpprobe.payloads import Catalogue, chosen, load
from udpprobe.payloads.model import Payload
from udpprobe.routes import outgoing_interface
from udpprobe.sender import Sender
from udpprobe.sources.live import LiveCapture, open_capture

FILTER = "(udp and ({ports})) or icmp or icmp6 or (ip[6:2] & 0x1fff != 0) or ip6 proto 44"
"""The shots and their answers, errors, and later fragments, which have no ports."""
QUEUE_S = 0.01
"""How long an interface's queue may stay full: a few packets a millisecond fill none, but some say so of a packet that
the next link does not take, and meanwhile nothing else is sent or heard."""
LEAST_TOKEN = 2
"""Bytes of the token that tell shots apart; a payload with less room gets a token behind it."""


def payload_for(port: int, text: str = "auto") -> Payload:
    """What is sent to a port.

    Args:
        port: UDP port of the destination.
        text: as `--payload` has it. Of several payloads the first is taken.

    Raises:
        UsageError: the payload is unknown.
        UdpprobeError: its file cannot be read.
    """
    catalogue: Catalogue = chosen(load(), text)
    first, _ = catalogue.candidates(np.array([port]))
    return catalogue.rows[max(int(catalogue.order[first[0]]), 0)]


class Wire:
    """Sends shots to one destination, and knows what comes back for them.

    Args:
        destination: one row.
        payload: what each shot carries. A payload without room for a token gets one behind it.
        source_port: of the first flow; 0 for ones that the kernel chooses.
        interface: where shots leave; None for wherever the kernel routes them.
        source_address: instead of the one that the kernel would take.
        flows: how many there are, each with a source port and IPv6 flow label of its own.
        loop_ttl: of shots that left with this TTL or more it is a loop's doing if it runs out.

    Raises:
        PrivilegeError: raw sockets are not allowed.
        UsageError: there is no such interface.
        UdpprobeError: this host has no way there; the source address or port cannot be had.
    """

    def __init__(self, destination: Destinations, payload: Payload, *, source_port: int = 0,   # noqa: PLR0913 - options
                 interface: str | None = None, source_address: str | None = None, flows: int = 1,
                 loop_ttl: int = NO_LOOP_TTL) -> None:
        source = _source(destination, source_address, interface)
        with ExitStack() as held:
            family = 4 if ":" not in address_text(*_address(destination)) else 6
            ports = held.enter_context(reserve_ports((family,), source_port, flows)).ports
            tokens = tuple(SystemRandom().randrange(TOKEN_LIMIT) for _ in ports)
            self.line = Line(source, _address(destination), int(destination.port[0]), int(destination.zone[0]), ports,
                             tokens)
            self._payloads = _columns(payload)
            self._sender = held.enter_context(closing(Sender(interface=interface, patience_s=QUEUE_S)))
            self._shots = Shots(self.line, self._payloads)
            self._hearing = Hearing(self._shots, loop_ttl)
            self.interface, self.mtu = _way(self.line, interface)
            self._held = held.pop_all()

    @property
    def target(self) -> Target:
        """The destination."""
        zone = self.interface if self.line.zone else None
        return Target(address_text(*self.line.destination), self.line.port, zone)

    @property
    def source(self) -> str:
        """The address that shots leave from."""
        return address_text(*self.line.source)

    @property
    def least_size(self) -> int:
        """Bytes of the IP packet of a shot that is not filled up."""
        return int(self._payloads.length[0]) + (28 if self.line.family == 4 else 48)

    @property
    def faults(self) -> Counter[str]:
        """What was wrong with what was heard, counted by name; `foreign`: errors about what was never sent."""
        return self._hearing.faults

    def send(self, shots: Sequence[Shot]) -> list[int]:
        """Send shots in their order; for each 0, or why this host refuses: errno (EMSGSIZE: beyond the interface)."""
        errnos: list[int] = []
        for size, some in groupby(shots, key=lambda shot: shot.size):
            errnos += self._send(list(some), size)
        return errnos

    def _send(self, shots: list[Shot], size: int) -> list[int]:
        crafted, = Crafter(self._payloads, size=size).craft(self.line.probes(shots))
        self._shots.fire(shots, crafted.packets, time.time_ns())
        return self._sender.send(crafted, np.full(len(shots), self.line.zone)).tolist()

    def feed(self, batch: FrameBatch) -> list[Reply]:
        """What came back with a batch, in order of time."""
        return self._hearing.feed(batch)

    def close(self) -> None:
        """Give back sockets and ports."""
        self._held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Listener:
    """Hears what comes back by some wires, from when it is made. The wires are its caller's to close.

    Args:
        wires: with the ports that replies come to.
        interface: where it listens; None for every interface.

    Raises:
        PrivilegeError: capturing is not allowed.
        UsageError: there is no such interface.
    """

    def __init__(self, wires: Sequence[Wire], interface: str | None = None) -> None:
        self.wires = tuple(wires)
        self._capture = _capture([port for wire in wires for port in wire.line.source_ports], interface)
        self.now_ns = time.time_ns()

    @property
    def faults(self) -> Counter[str]:
        """What was wrong with what was heard, counted by name."""
        return sum((wire.faults for wire in self.wires), self._capture.state.faults)

    def hear(self, wait_s: float) -> list[Reply]:
        """What came back, in order of time, after waiting for it `wait_s` seconds at most; then `now_ns` is later.

        It may be less than `wait_s` later although nothing came back: shots that leave are heard too.
        """
        batch = self._capture.receive(wait_s)
        self.now_ns = max(self.now_ns, batch.now_ns)
        return sorted((reply for wire in self.wires for reply in wire.feed(batch)), key=lambda reply: reply.time_ns)

    def close(self) -> None:
        """Stop capturing."""
        self._capture.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _address(destination: Destinations) -> tuple[int, int]:
    return int(destination.high[0]), int(destination.low[0])


def _source(destination: Destinations, bind: str | None, interface: str | None) -> tuple[int, int]:
    high, low, errno = sources_for(destination.high, destination.low, destination.zone, bind=bind, interface=interface)
    if errno[0]:
        raise UdpprobeError(f"cannot send to {address_text(*_address(destination))}: {strerror(int(errno[0]))}")
    return int(high[0]), int(low[0])


def _columns(payload: Payload) -> Payloads:
    """The payload as a row, with a token in any case."""
    data, at, size = payload.data, payload.token_at, payload.token_size
    if size < LEAST_TOKEN:
        data, at, size = data + bytes(TOKEN_BYTES), len(data), TOKEN_BYTES
    row = np.frombuffer(data, np.uint8).reshape(1, -1)
    return Payloads(row, np.array([len(data)]), np.array([at]), np.array([size]))


def _capture(ports: Sequence[int], interface: str | None) -> LiveCapture:
    expression = FILTER.format(ports=" or ".join(f"port {port}" for port in ports))
    return open_capture(expression, interface=interface, bulk=False, prompt=True)


def _way(line: Line, interface: str | None) -> tuple[str, int]:
    """Name and MTU of the interface that shots leave by, as the kernel routes them now."""
    domain = socket.AF_INET if line.family == 4 else socket.AF_INET6
    source, destination = (socket.inet_pton(domain, address_text(*each)) for each in (line.source, line.destination))
    index = outgoing_interface(source, destination, line.zone or (interface_index(interface) if interface else 0))
    with suppress(OSError):
        name = socket.if_indextoname(index)
        return name, interface_mtu(name)
    return "", 0
