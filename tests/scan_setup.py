"""A scan's plan, payloads and packets without a scan: small ones, whose every byte is known."""

from __future__ import annotations

from array import array
from ipaddress import ip_address

import builders as b

from udpprobe.core.decode import Decoder
from udpprobe.core.probe import GENERIC, Payloads
from udpprobe.scanning.outcome import Known
from udpprobe.scanning.pacing import Pacing, Patience
from udpprobe.scanning.plan import Plan, ProbedDestinations, Sources
from udpprobe.scanning.record import ScanRecord
from udpprobe.scanning.replies import Replies

KEY = (0x0123_4567_89AB_CDEF, 0xFEDC_BA98_7654_3210)
OWN_PORT = 40_000
HOST = {4: "198.51.100.7", 6: "2001:db8:1::7"}
OTHER_HOST = {4: "198.51.100.8", 6: "2001:db8:1::8"}
OWN = {4: ("192.0.2.1", "192.0.2.2"), 6: ("2001:db8::1", "2001:db8::2")}
HEADER = {4: 28, 6: 48}
PORT = 4242
RAW = 101
MS = 1_000_000
START_NS = 10**18
ANSWER, ERROR, REFUSAL = "answer", "error", "refusal"
ROWS = (
    (b"t" * 20, 4, 8),
    (b"ask", 0, 0),
    (b"id??rest", 2, 2),
    (b"", 0, 0),
    (b"?" * 99, 91, 8),
    *((bytes(8 + more), 0, 8) for more in range(3)),
)
WHOLE_TOKEN, BARE, SHORT_TOKEN, EMPTY, LONG = range(5)
"""Rows of the payloads; the generic payload is one of the first eight."""


def halves(address):
    parsed = ip_address(address)
    return divmod(int(parsed) | (0xFFFF << 32 if parsed.version == 4 else 0), 1 << 64)


def destinations_of(pairs, zone=0):
    """Of (address, port)."""
    addresses, made = list(dict.fromkeys(address for address, _ in pairs)), ProbedDestinations()
    for address, port in pairs:
        made.add(addresses.index(address), halves(address), [port], zone)
    return made


def plan_of(*pairs, payload=WHOLE_TOKEN, key=KEY, sources=2, own_port=OWN_PORT, source_ports=1, **fields):
    """Each destination (address, port) is sent `payload`, by row; or in turn those of a tuple."""
    destinations = destinations_of(pairs)
    family = 6 if any(":" in address for address, _ in pairs) else 4
    addresses = [halves(address) for address in OWN[family][:sources]]
    hosts = len(set(destinations.host))
    payloads = Payloads(ROWS, [(GENERIC,), payload if isinstance(payload, tuple) else (payload,)])
    return Plan(
        destinations,
        Sources([addresses] * hosts, own_port, source_ports),
        array("H", [1] * len(pairs)),
        payloads,
        key,
        **fields,
    )


def next_packet(plan, task=0, source=0, now_ns=START_NS):
    """What the plan sends next to a task."""
    attempt = plan.next_attempt(task, now_ns)
    packet = plan.prober.craft_one(
        plan.crafted, task, source=plan.source_number(task, source), attempt=attempt, ttl=plan.ttl, size=plan.size
    )
    plan.count_sent(task, len(packet))
    return packet


class RecordingPacing(Pacing):
    """Keeps what it is told."""

    def __init__(self, plan):
        super().__init__(plan, Patience(0, 2, 1000 * MS, control=True), START_NS)
        self.told = []

    def answered(self, task, time_ns):
        super().answered(task, time_ns)
        self.told.append((ANSWER, task))

    def failed(self, task, source, attempt, time_ns, *, is_refusal, origin):
        super().failed(task, source, attempt, time_ns, is_refusal=is_refusal, origin=origin)
        self.told.append((REFUSAL if is_refusal else ERROR, task, source, attempt))


class Scan:
    """Sends to a port of a host, and is told what is captured, a millisecond apart."""

    def __init__(self, family=4, payload=WHOLE_TOKEN, *, size=0, ports=(PORT,), source_ports=1, plan=None, **known):
        self.plan = plan or plan_of(
            *((HOST[family], port) for port in ports), payload=payload, source_ports=source_ports, size=size
        )
        self.pacing, self.record, self.errors, self.send_errnos = (
            RecordingPacing(self.plan),
            ScanRecord(self.plan),
            [],
            {},
        )
        self.replies = Replies(self.plan, self.pacing, self.record, self.errors.append, **known)
        self.decoder = Decoder(64, keeps_messages=True)
        self.frames = 0
        self.tasks = []
        """Of each frame."""
        self.known = Known(self.plan, self.pacing, self.record, self.send_errnos)

    @property
    def now_ns(self):
        return START_NS + self.frames * MS

    def send(self, task=0, source=0):
        return next_packet(self.plan, task, source, self.now_ns)

    def receive(self, *packets, apart_ns=MS, link=0):
        """What was said of answers and errors."""
        self.pacing.told.clear()
        start_ns = self.now_ns
        for place, packet in enumerate(packets, 1):
            self.frames += 1
            found = self.decoder.packets(packet, len(packet), start_ns + place * apart_ns, RAW, self.frames)
            self.tasks.append(self.replies.packets(found, link))
        return list(self.pacing.told)

    def hear_error(self, packet, **fields):
        """What is heard of the host's refusal; and how many errors are foreign by now."""
        return self.receive(b.port_unreachable(packet, **fields)), self.replies.foreign


NOT_BELIEVED = ([], 1)
BELIEVED = ([(REFUSAL, 0, 0, 0)], 0)


def other_traffic(family=4, source=None, sport=OWN_PORT, dport=PORT, data=b"hello"):
    return b.datagram(source or OWN[family][0], HOST[family], sport, dport, data)


def answer(family=4, sport=PORT, to=None, dport=OWN_PORT, *, source=None, data=b"answer", **fields):
    return b.datagram(source or HOST[family], to or OWN[family][0], sport, dport, data, **fields)


def with_udp(packet, at, data):
    at += HEADER[b.family_of(packet)] - 8
    return packet[:at] + data + packet[at + len(data) :]


def with_proof(packet, proof):
    """With another IPv4 id or IPv6 flow label."""
    at = 2 if b.family_of(packet) == 6 else 4
    return packet[:at] + proof + packet[at + 2 :]


def wrong_proof(packet):
    at = 2 if b.family_of(packet) == 6 else 4
    return with_proof(packet, bytes(each ^ 0x5A for each in packet[at : at + 2]))
