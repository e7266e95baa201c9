"""A scan's plan, payloads and packets without a scan: small ones, whose every byte is known."""

from __future__ import annotations

import builders as b
import numpy as np
from engine_probes import halves
from feeding import MS, batch_of

from udpprobe.core.batch import tick
from udpprobe.core.following.pipeline import Pipeline
from udpprobe.core.probing.craft import Crafter
from udpprobe.core.probing.probes import Destinations, Payloads
from udpprobe.core.scanning.admission import REFUSAL, Admission
from udpprobe.core.scanning.plan import Candidates, Plan, Sources

KEY = (0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210)
OWN_PORT = 40_000
HOST = {4: "198.51.100.7", 6: "2001:db8:1::7"}
OTHER_HOST = {4: "198.51.100.8", 6: "2001:db8:1::8"}
OWN = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
HEADER = {4: 28, 6: 48}
PORT = 4242
DATA, LENGTH, TOKEN_AT, TOKEN_SIZE = zip(
    (b"t" * 20, 20, 4, 8), (b"ask", 3, 0, 0), (b"id??rest", 8, 2, 2), (b"", 0, 0, 0), (b"?" * 99, 99, 91, 8),
    strict=True)
WHOLE_TOKEN, BARE, SHORT_TOKEN, EMPTY, LONG = range(5)
"""Rows of `payloads()`."""


def payloads():
    width = max(LENGTH)
    data = np.array([list(each.ljust(width, b"\0")) for each in DATA], np.uint8)
    return Payloads(data, np.array(LENGTH), np.array(TOKEN_AT), np.array(TOKEN_SIZE))


def destinations_of(pairs):
    """Of (address, port)."""
    addresses = list(dict.fromkeys(address for address, _ in pairs))
    high, low = np.array([halves(address) for address, _ in pairs], np.uint64).reshape(-1, 2).T
    return Destinations(np.array([addresses.index(address) for address, _ in pairs], np.int64), high, low,
                        np.array([port for _, port in pairs], np.int64), np.zeros(len(pairs), np.int64))


def plan_of(*pairs, payload=WHOLE_TOKEN, key=KEY, sources=2, own_port=OWN_PORT, source_ports=1, **fields):
    """Each destination (address, port) is sent `payload`, by row; or in turn those of a tuple."""
    destinations = destinations_of(pairs)
    family = 6 if any(":" in address for address, _ in pairs) else 4
    hosts = len(set(destinations.host.tolist()))
    high, low = np.array([halves(address) for address in OWN[family][:sources]], np.uint64).T
    order = np.array(payload if isinstance(payload, tuple) else (payload,))
    none = np.zeros(len(pairs), np.int64)
    return Plan(destinations, Sources(np.tile(high, (hosts, 1)), np.tile(low, (hosts, 1)), own_port, source_ports),
                Candidates(none, none + len(order), order), key, **fields)


def packets_of(crafted, count):
    """The packets of a `Crafter`, as bytes, in the order of their probes."""
    packets = [b""] * count
    for some in crafted:
        for row, packet, length in zip(some.rows.tolist(), some.packets, some.length.tolist(), strict=True):
            packets[row] = packet[:length].tobytes()
    return packets


def next_packets(plan, *tasks, source=0, size=0):
    """What the plan sends next to each of the tasks."""
    probes = plan.next_probes(np.array(tasks), np.full(len(tasks), source))
    return packets_of(Crafter(payloads(), size=size).craft(probes), len(tasks))


class Scan:
    """Sends to a port of a host, and is told what is captured."""

    def __init__(self, family=4, payload=WHOLE_TOKEN, *, size=0, ports=(PORT,), source_ports=1, plan=None):
        self.family, self.size = family, size
        self.plan = plan or plan_of(*((HOST[family], port) for port in ports), payload=payload,
                                    source_ports=source_ports)
        self.admission = Admission(self.plan, payloads(), Crafter(payloads(), size=size))
        self.pipeline = Pipeline(keep_messages=True, admission=self.admission)
        self.frames = 0

    def send(self, task=0, source=0):
        (packet,) = next_packets(self.plan, task, source=source, size=self.size)
        return packet

    def hear(self, *packets):
        """(kind, task, source, attempt) of what was heard."""
        self.pipeline.feed(batch_of(packets, first=self.frames + 1))
        self.frames += len(packets)
        self.known = self.pipeline.feed(tick(self.frames * MS))
        return [row for heard in self.admission.heard()
                for row in zip(*(getattr(heard, name).tolist() for name in ("kind", "task", "source", "attempt")),
                               strict=True)]

    def hear_error(self, packet, **fields):
        """What is heard of the host's refusal; and how many errors are foreign by now."""
        return self.hear(b.port_unreachable(packet, **fields)), self.admission.foreign


NOT_BELIEVED = ([], 1)
BELIEVED = ([(REFUSAL, 0, 0, 0)], 0)


def other_traffic(family=4, source=None, sport=OWN_PORT, dport=PORT, data=b"hello"):
    return b.datagram(source or OWN[family][0], HOST[family], sport, dport, data)


def answer(family=4, sport=PORT, to=None, dport=OWN_PORT, source=None):
    return b.datagram(source or HOST[family], to or OWN[family][0], sport, dport, b"answer")


def with_udp(packet, at, data):
    at += HEADER[b.family_of(packet)] - 8
    return packet[:at] + data + packet[at + len(data):]


def with_proof(packet, proof):
    """With another IPv4 id or IPv6 flow label."""
    at = 2 if b.family_of(packet) == 6 else 4
    return packet[:at] + proof + packet[at + 2:]


def wrong_proof(packet):
    at = 2 if b.family_of(packet) == 6 else 4
    return with_proof(packet, bytes(each ^ 0x5A for each in packet[at:at + 2]))
