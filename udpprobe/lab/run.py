"""Runs a scenario: for a command, through a TUN device; or without a program, in simulated time."""

from __future__ import annotations

import select
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Protocol

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from udpprobe.capture.frames import Frame
from udpprobe.capture.recorder import Recorder
from udpprobe.core.targets import parse_ports
from udpprobe.lab.command import BY_SIGNAL, Command, Signals
from udpprobe.lab.model import SECOND_NS
from udpprobe.lab.namespace import QUEUE_PACKETS, Tun, enter, furnish
from udpprobe.lab.scenario import Interface, Scenario
from udpprobe.lab.world import World
from udpprobe.linux.netlink import InterfaceAddress

AT_ONCE = 64
"""Packets read before those that are due are delivered."""
STEPS_AT_ONCE = 1000
"""Steps of the world between checks for signals and packets: a tenth of a second."""
MOST_WAIT_S = 3600.0
NOT_TAKEN = "not-taken"
"""Fault of a packet that this host's kernel does not accept as IP."""
OVERRUN = "overrun"
"""Fault of a packet that this host's kernel dropped, because the command sent more at once than the queue holds."""


class Internet(Protocol):
    """The other side of the device: packets in, packets out, and the time as an argument."""

    faults: Counter[str]
    """Faults of packets, by name."""

    @property
    def next_ns(self) -> int | None:
        """When the next packet is due; None if none is under way."""

    def receive(self, raw: bytes, now_ns: int) -> None:
        """Handle an IP packet from the program."""

    def due(self, now_ns: int, most: int) -> list[bytes]:
        """Packets for the program that are due, after at most `most` steps."""


@dataclass(slots=True)
class Carrier:
    """Both directions between a device and a world.

    Args:
        tun: the device.
        world: the other side.
        note: called with every packet, in either direction, and its time in ns since 1970.
    """

    tun: Tun
    world: Internet
    note: Callable[[bytes, int], None] | None = None
    _ahead_ns: int = field(default_factory=lambda: time.time_ns() - time.monotonic_ns())

    def wait_s(self) -> float:
        """Seconds until the next event if no packet comes."""
        if self.world.next_ns is None:
            return MOST_WAIT_S
        return min(max((self.world.next_ns - self._now_ns()) / SECOND_NS, 0), MOST_WAIT_S)

    def carry(self) -> None:
        """Read waiting packets, at most AT_ONCE, and deliver those that are due."""
        for raw in self.tun.packets(AT_ONCE):
            now_ns = self._now_ns()
            self._note(raw, now_ns)
            self.world.receive(raw, now_ns)
        now_ns = self._now_ns()
        for raw in self.world.due(now_ns, STEPS_AT_ONCE):
            self._note(raw, now_ns)
            self.world.faults[NOT_TAKEN] += not self.tun.write(raw)

    def finish(self) -> None:
        """Note the last packets, which the world need not see, and count those that were dropped."""
        for raw in self.tun.packets(QUEUE_PACKETS) if self.note is not None else ():
            self._note(raw, self._now_ns())
        self.world.faults[OVERRUN] += self.tun.overrun()

    def _now_ns(self) -> int:
        # the wall clock as of the start, so that setting it has no effect here
        return self._ahead_ns + time.monotonic_ns()

    def _note(self, raw: bytes, now_ns: int) -> None:
        if self.note is not None:
            self.note(raw, now_ns)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The environment of a command."""

    world: Internet
    networks: Sequence[InterfaceAddress]
    """Addresses of its interface, each with its prefix length."""
    mtu: int
    """Of its interface, in bytes."""
    note: Callable[[bytes, int], None] | None = None
    """Called with every packet, and its time."""


def run(around: Surroundings, words: Sequence[str], environment: Mapping[str, str], *, is_shell: bool = False) -> int:
    """Run a command inside; this process stays there.

    Args:
        around: the environment.
        words: the program and its arguments.
        environment: all of it.
        is_shell: whether it is an interactive shell.

    Returns:
        The command's exit status, as in a shell.

    Raises:
        PrivilegeError: this user may not; the text says what would help.
        UdpprobeError: the kernel rejects a setting.
    """
    enter()
    with Signals() as signals, _furnished(around) as tun, Command(words, environment, is_shell=is_shell) as command:
        carrier = Carrier(tun, around.world, around.note)
        while command not in (ready := _ready(carrier, signals, command)):
            if signals in ready:
                command.take(signals)
            carrier.carry()
        carrier.finish()
        return command.status()


def hold(around: Surroundings, say: Callable[[str], None]) -> int:
    """Keep a world for programs that enter it, until a signal comes; this process stays there.

    Args:
        around: the environment.
        say: called with the command that enters the network, without a program to run.

    Returns:
        The exit status: 128 plus the signal.

    Raises:
        PrivilegeError: as `run`.
        UdpprobeError: as `run`.
    """
    entrance = enter()
    with Signals() as signals, _furnished(around) as tun:
        carrier = Carrier(tun, around.world, around.note)
        say(entrance)
        while signals not in _ready(carrier, signals):
            carrier.carry()
        carrier.finish()
        return BY_SIGNAL + max(number for number, _ in signals.read())


def _furnished(around: Surroundings) -> Tun:
    return furnish(around.networks, around.mtu)


def _ready(carrier: Carrier, *others: Signals | Command) -> list[Tun | Signals | Command]:
    # not a selector: epoll waits in whole milliseconds
    return select.select([carrier.tun, *others], [], [], carrier.wait_s())[0]


STEP_NS = 100_000_000
"""Interval of datagrams."""
WAIT_NS = 5_000_000_000
"""Wait for packets under way after the last one."""
FIRST_PORT = 40_000
HEADERS_BYTES = {4: 28, 6: 48}


def play(scenario: Scenario, size: int, start_ns: int, note: Callable[[bytes, int], None]) -> None:
    """Send a datagram to each target of a scenario.

    Args:
        scenario: the world, and the targets.
        size: of the packets, bytes; some must be larger.
        start_ns: send time of the first one, in ns since 1970.
        note: called with every packet, in either direction, and its time.
    """
    world, now_ns = World(scenario), start_ns
    for raw in _datagrams(scenario, size):
        _deliver(world, now_ns, note)
        note(raw, now_ns)
        world.receive(raw, now_ns)
        now_ns += STEP_NS
    _deliver(world, now_ns + WAIT_NS, note)


def _deliver(world: World, until_ns: int, note: Callable[[bytes, int], None]) -> None:
    while world.next_ns is not None and world.next_ns <= until_ns:
        now_ns = world.next_ns
        for raw in world.due(now_ns):
            note(raw, now_ns)


def _datagrams(scenario: Scenario, size: int) -> Iterator[bytes]:
    # numeric addresses only: a scenario has no names to resolve
    words = [text.replace("[", "").replace("]", "").rpartition(":") for text in scenario.targets]
    wanted = ((host, port) for host, _, ports in words for each in parse_ports(ports) for port in each)
    for number, (host, port) in enumerate(wanted):
        yield _datagram(scenario.networks, host, port, number, size)


def _datagram(networks: list[Interface], host: str, port: int, number: int, size: int) -> bytes:
    version = ip_address(host).version
    source = str(next(network.ip for network in networks if network.version == version))
    header = IP(src=source, dst=host, id=number + 1, flags="DF") if version == 4 else IPv6(src=source, dst=host)
    data = bytes(max(size - HEADERS_BYTES[version], 0))
    return bytes(header / UDP(sport=FIRST_PORT + number, dport=port) / data)


LINKTYPE_RAW = 101
"""Packets that begin with their IP header (https://www.tcpdump.org/linktypes.html)."""
FRAMES_AT_ONCE = 1024


class PacketRecorder:
    """Passes packets to a recorder, many at a time.

    Args:
        recorder: writes them.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._frames: list[Frame] = []
        self._count = 0

    def add(self, raw: bytes, now_ns: int) -> None:
        """Add a packet and its time, in ns since 1970.

        Raises:
            UdpprobeError: there is no room for it.
        """
        self._count += 1
        self._frames.append(Frame(now_ns, raw, len(raw), LINKTYPE_RAW, self._count))
        if len(self._frames) == FRAMES_AT_ONCE:
            self._hand_over()

    def finish(self, application: str) -> None:
        """Write the capture.

        Args:
            application: name and version of the program.

        Raises:
            UdpprobeError: it cannot be written.
        """
        self._hand_over()
        self._recorder.finish({}, application=application)

    def _hand_over(self) -> None:
        self._recorder.add(self._frames)
        self._frames = []
