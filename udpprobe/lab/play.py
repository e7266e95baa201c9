"""Plays a scenario without a program, in simulated time, and records packets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from ipaddress import ip_address

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6

from udpprobe.capture.frames import Frame
from udpprobe.capture.recorder import Recorder
from udpprobe.core.targets import parse_ports
from udpprobe.lab.scenario import Interface, Scenario
from udpprobe.lab.world import World

STEP_NS = 100_000_000
"""Between two datagrams."""
WAIT_NS = 5_000_000_000
"""For what is still under way after the last one."""
FIRST_PORT = 40_000
HEADERS_BYTES = {4: 28, 6: 48}


def play(scenario: Scenario, size: int, start_ns: int, note: Callable[[bytes, int], None]) -> None:
    """Send a datagram to each target of a scenario.

    Args:
        scenario: the world, and the targets.
        size: of the packets, bytes; those that have to be larger are.
        start_ns: when the first one leaves, in ns since 1970.
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
    # addresses in digits alone: a scenario has no names to resolve
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
AT_ONCE = 1024


class PacketRecorder:
    """Hands packets to a recorder, many at a time.

    Args:
        recorder: what writes them.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._frames: list[Frame] = []
        self._count = 0

    def add(self, raw: bytes, now_ns: int) -> None:
        """Take a packet, and when it passed, in ns since 1970.

        Raises:
            UdpprobeError: there is no room for it.
        """
        self._count += 1
        self._frames.append(Frame(now_ns, raw, len(raw), LINKTYPE_RAW, self._count))
        if len(self._frames) == AT_ONCE:
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
