"""A network where everything happens that can happen to a probe, and scans of it: prober, near, far, host."""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import forked
from network import PREFIX, Network, address

UDPPROBE = f"{sys.executable} -m udpprobe"
UNLIMITED = (
    "sysctl -q net.ipv4.icmp_ratemask=0 net.ipv6.icmp.ratelimit=0 net.ipv4.icmp_msgs_burst=10000"
    " net.ipv4.icmp_msgs_per_sec=10000"
)
UNPRIVILEGED = "setpriv --bounding-set=-all --inh-caps=-all "
FAMILIES = (4, 6)
NARROW = 1400
"""The MTU between the two routers."""

PROBER, NEAR, FAR, HOST = (
    {family: address(family, link, end) for family in FAMILIES} for link, end in ((1, 1), (1, 2), (2, 2), (3, 2))
)
MUTE, NOBODY, NATTED = (
    {family: address(family, link, end) for family in FAMILIES} for link, end in ((3, 3), (3, 99), (1, 77))
)
"""An address of the host that drops all; one that nobody has; and one of the prober that near masquerades."""
NETS = {4: "198.51.100.{}", 6: "2001:db8:ffff::{}"}
(
    PROHIBITED_NET,
    UNREACHABLE_NET,
    NO_ROUTE,
    BLACKHOLE,
    LOOP,
    VIRTUAL,
    UNSENT_PROHIBIT,
    UNSENT_UNREACHABLE,
    UNSENT_BLACKHOLE,
) = ({family: net.format(n) for family, net in NETS.items()} for n in range(1, 10))
SECONDARY = {4: "{}/32 dev {}", 6: "{}/128 dev {} preferred_lft 0"}
"""One more address of an interface, the source of who asks for it only."""
SIDE, OTHER_SIDE = ({family: address(family, 9, end) for family in FAMILIES} for end in (1, 2))
"""The ends of a link between prober and host that the routers know nothing of."""

(CLOSED, ANSWERING, ELSEWHERE, TWICE, LISTENING, DROPPED, REJECTED, PROHIBITED, FORBIDDEN, ALSO_CLOSED) = range(
    7000, 7010
)
OTHER_PORT = 7100
"""From where ELSEWHERE answers."""

RULES = {
    "near": f"chain p {{ type nat hook prerouting priority -100; ip daddr {VIRTUAL[4]} dnat ip to {HOST[4]};"
    f" ip6 daddr {VIRTUAL[6]} dnat ip6 to {HOST[6]}; }}\n"
    f"chain q {{ type nat hook postrouting priority 100; ip saddr {NATTED[4]} masquerade;"
    f" ip6 saddr {NATTED[6]} masquerade; }}",
    "far": f"chain f {{ type filter hook forward priority 0; udp dport {REJECTED} reject;"
    f" udp dport {PROHIBITED} reject with icmpx admin-prohibited; }}",
    "host": f"chain i {{ type filter hook input priority 0; ip daddr {MUTE[4]} drop; ip6 daddr {MUTE[6]} drop;"
    f" udp dport {DROPPED} drop; }}",
    "prober": f"chain o {{ type filter hook output priority 0; udp dport {FORBIDDEN} drop; }}",
}
ROUTES = [
    ("near", "prohibit", PROHIBITED_NET),
    ("far", "unreachable", UNREACHABLE_NET),
    ("host", "throw", NO_ROUTE),
    ("near", "blackhole", BLACKHOLE),
    ("prober", "prohibit", UNSENT_PROHIBIT),
    ("prober", "unreachable", UNSENT_UNREACHABLE),
    ("prober", "blackhole", UNSENT_BLACKHOLE),
]


@contextlib.contextmanager
def whole_network(directory):
    """prober - near - far - host, without limits on ICMP errors; rules go through files in `directory`.

    Raises:
        CannotRun: this host lacks what it takes.
    """
    with Network("prober", "near", "far", "host") as made, contextlib.ExitStack() as listeners:
        for line in lines():
            made.run(line)
        for node, chains in RULES.items():
            (directory / node).write_text(f"table inet scanned {{\n{chains}\n}}\n")
            made.run(f"{node}: nft -f {directory / node}")
        for answering in (f"{ANSWERING}", f"{ELSEWHERE} --from-port {OTHER_PORT}", f"{TWICE} --times 2"):
            made.start(f"host: answer {answering}")
        listeners.enter_context(listening(made, "host", LISTENING, DROPPED))
        yield made


def lines():
    for node in ("near", "far", "host"):
        yield f"{node}: {UNLIMITED}"
    yield f"near: ip link set right mtu {NARROW}"
    yield f"far: ip link set left mtu {NARROW}"
    yield "prober: ip link add side type veth peer name side netns {host}"
    for node, ends in (("prober", SIDE), ("host", OTHER_SIDE)):
        yield f"{node}: ethtool -K side tx off"
        yield f"{node}: ip link set side up"
        for family in FAMILIES:
            yield f"{node}: ip addr add {ends[family]}/{PREFIX[family]} dev side"
    for family in FAMILIES:
        yield f"host: ip addr add {SECONDARY[family].format(MUTE[family], 'left')}"
        yield f"prober: ip addr add {SECONDARY[family].format(NATTED[family], 'right')}"
        yield f"far: ip route add {LOOP[family]} via {address(family, 2, 1)}"
        for node, kind, net in ROUTES:
            yield f"{node}: ip route add {kind} {net[family]}"


@contextlib.contextmanager
def listening(network, node, *ports):
    """Sockets that take what comes and say nothing."""
    with contextlib.ExitStack() as opened:
        for port in ports:
            with network.inside(node):
                listener = opened.enter_context(socket.socket(socket.AF_INET6, socket.SOCK_DGRAM))
                listener.bind(("::", port))
        yield


class Said(NamedTuple):
    """What a scan gave back."""

    report: dict | None
    stderr: str
    status: int

    @property
    def complaints(self):
        """But for the line in which an engine says what it cannot see."""
        return [line for line in self.stderr.splitlines() if " cannot see " not in line]

    def by_destination(self):
        return {(each["address"], each["port"]): each for each in self.report["destinations"]}

    def verdicts(self):
        return {key: each["verdict"] for key, each in self.by_destination().items()}


class Scan:
    """A scan under way, in JSON."""

    def __init__(self, network, options, *, before="", node="prober"):
        command = network.command(f"{node}: {before}{UDPPROBE} scan --format json {options}")
        self.process = forked.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)

    def said(self):
        out, errors = self.process.communicate(timeout=240)
        return Said(json.loads(out) if out else None, errors, self.process.returncode)


def packets_sent(network, node="prober"):
    """How many left by its interface `right` so far."""
    with network.inside(node):
        lines = Path("/proc/thread-self/net/dev").read_text().splitlines()
    return next(int(line.split()[10]) for line in lines if line.split()[0] == "right:")


def wait_until(holds, limit_s=20):
    """A busy machine takes its time: what is waited for is seen, not guessed."""
    end_s = time.monotonic() + limit_s
    while not holds() and time.monotonic() < end_s:
        time.sleep(0.02)
    assert holds()


def scan(network, options, **how):
    """Its report; it has to end well, and quietly."""
    said = Scan(network, options, **how).said()
    assert (0, []) == (said.status, said.complaints)
    return said


def target(to, *ports):
    """In the words of the command line."""
    host = f"[{to}]" if ":" in to else to
    return f"{host}:{','.join(map(str, ports))}"


def both(to, *ports):
    """The same of both families."""
    return " ".join(target(to[family], *ports) for family in FAMILIES)
