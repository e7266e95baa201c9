"""What this kernel tells a UDP socket of each ICMP error: `kernel_matrix.py` measures, and prints JSON.

In a network namespace of its own, behind a TUN device whose other end is this program, each socket sends a datagram of
1,400 bytes. The error about it is written into the device: when the write returns, the kernel is through with it. Then
three calls follow. Each socket has a destination of its own, for what the kernel learns of a route it keeps.

A row is [kind, type, code, state, mode, sends, left, receives]: outcomes of three `sendto` or `send` behind the error,
how each of these datagrams left (`whole`, `fragments`, or null), outcomes of three `recv` (of another socket); then
what the kernel's own event says: the errno of its report, null for none; and what the socket's state makes us expect,
`reported` or not, null where it was not asked. An outcome is an errno, or null where the call succeeds or there is
nothing to receive. Without tracefs, the word why stands for what the event says.
"""

from __future__ import annotations

import errno
import json
import socket
import sys
from ipaddress import ip_address, ip_interface
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import builders as b

from udpprobe.core.analyzer import Analyzer
from udpprobe.core.kernel import MODES
from udpprobe.core.verdicts import ANY_CODE, MEANINGS, meaning_of
from udpprobe.errors import UdpprobeError
from udpprobe.lab.namespace import CLONE_NEWNET, furnish, unshare
from udpprobe.linux.error_reports import EVENT, FILTER, ErrorReport
from udpprobe.linux.hostfacts import own_addresses
from udpprobe.linux.sockets import Sockets
from udpprobe.linux.tracefs import Tracing
from udpprobe.report import events_of

IP_MTU_DISCOVER, IP_RECVERR, IPV6_MTU_DISCOVER, IPV6_RECVERR = 10, 11, 23, 25  # linux/in.h, linux/in6.h
NAMES = {**errno.errorcode, errno.EOPNOTSUPP: "EOPNOTSUPP"}  # Python calls it ENOTSUP
OWN = {4: "192.0.2.1", 6: "2001:db8::1"}
FAR = {4: ip_address("10.0.0.1"), 6: ip_address("2001:db8:1::1")}
REPORTER = {4: "203.0.113.1", 6: "2001:db8:2::1"}
MTU = {4: 1000, 6: 1280}
PAYLOAD = bytes(1400)
STATES = {
    "IPv4": ("unconnected", "connected", "recverr", "connected-recverr"),
    "mapped": ("unconnected", "connected", "recverr", "connected-recverr", "ipv6-recverr"),
    "IPv6": ("unconnected", "connected", "recverr", "connected-recverr"),
}
"""`mapped`: a socket of AF_INET6 that sends to ::ffff:10.0.0.1, whose options are those of IPv4."""


INFERRED = {(4, 3, 3), (4, 3, 4), (4, 11, 0), (6, 1, 4), (6, 2, 0), (6, 3, 0)}
"""Of these our own inference is asked too: it takes a look at all sockets each time."""


class World:
    """A namespace with one device."""

    def __init__(self):
        unshare(CLONE_NEWNET)
        self.tun = furnish([ip_interface(OWN[4] + "/32"), ip_interface(OWN[6] + "/128")], 1500)
        self.places = count()
        self.sockets = Sockets(own_addresses, idle_share=-1)  # look each time
        try:
            self.tracing, self.missing = Tracing({EVENT: FILTER}), None
        except UdpprobeError as why:
            self.tracing, self.missing = None, f"no tracefs: {why}"

    def opened(self, kind, state, mode):
        """A socket that has sent, where to, and the packet."""
        version = 6 if kind == "IPv6" else 4
        sender = socket.socket(socket.AF_INET if kind == "IPv4" else socket.AF_INET6, socket.SOCK_DGRAM)
        sender.setblocking(False)
        level, discover, recverr = (
            (socket.IPPROTO_IPV6, IPV6_MTU_DISCOVER, IPV6_RECVERR)
            if version == 6
            else (socket.IPPROTO_IP, IP_MTU_DISCOVER, IP_RECVERR)
        )
        sender.setsockopt(level, discover, MODES.index(mode))
        if state in {"recverr", "connected-recverr"}:
            sender.setsockopt(level, recverr, 1)
        if state == "ipv6-recverr":
            sender.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1)
        host = str(FAR[version] + next(self.places))
        to = ("::ffff:" + host if kind == "mapped" else host), 7
        if state.startswith("connected"):
            sender.connect(to)
            to = None
        sender.sendmsg([PAYLOAD], [], 0, to)
        [packet] = self.left()
        return sender, to, packet

    def left(self):
        """UDP packets that have left; the kernel's own business is none of ours."""
        return [packet for packet in self.tun.packets(100) if packet[9 if packet[0] >> 4 == 4 else 6] in {17, 44}]

    def row(self, kind, row, state, mode):
        code = 99 if row.code == ANY_CODE else row.code
        rest = MTU[row.family] if row.verdict == "too-big" else 0
        sends, left, receives, report, inferred = [], [], [], self.missing, None
        for calls in ("send", "recv"):
            sender, to, packet = self.opened(kind, state, mode)
            with sender:
                error = b.error(packet, row.type, code, rest, reporter=REPORTER[row.family])
                assert self.tun.write(error)
                if self.tracing:
                    report = self.report(sender.getsockname()[1])
                if (row.family, row.type, row.code) in INFERRED:
                    inferred = self.inferred(packet, error)
                for _ in range(3):
                    if calls == "recv":
                        receives.append(outcome(sender.recv, 100))
                    else:
                        sends.append(outcome(sender.sendmsg, [PAYLOAD], [], 0, to))
                        left.append({0: None, 1: "whole"}.get(len(self.left()), "fragments"))
        return [kind, row.type, code, state, mode, sends, left, receives, report, inferred]

    def report(self, port):
        """What the kernel's event said of the socket of this port; other namespaces' sockets are in it as well."""
        found = {each.errno for each in map(ErrorReport.of, self.tracing.read()) if each.errno and each.port == port}
        return found.pop() if found else None

    def inferred(self, packet, error):
        analyzer = Analyzer(7, keeps_events=True)
        analyzer.feed_frames((n, frame, len(frame), 101) for n, frame in enumerate((packet, error)))
        analyzer.flush()
        [kept] = analyzer.take_events()
        [event] = events_of(analyzer, kept, 32)
        [sender] = self.sockets.senders([event])
        return sender.is_reported(meaning_of(event.family, event.type, event.code))


def outcome(call, *arguments):
    try:
        call(*arguments)
    except BlockingIOError:
        return None
    except OSError as error:
        return NAMES[error.errno]
    return None


def main():
    try:
        world = World()
    except (OSError, UdpprobeError) as why:
        print(json.dumps(str(why)))  # noqa: T201 - a program's output
        return
    print(  # noqa: T201 - as above
        json.dumps(
            [
                world.row(kind, row, state, mode)
                for kind, states in STATES.items()
                for row in MEANINGS
                if row.family == (6 if kind == "IPv6" else 4)
                for state in states
                for mode in MODES
            ]
        )
    )
    if world.tracing:
        world.tracing.close()


if __name__ == "__main__":
    main()
