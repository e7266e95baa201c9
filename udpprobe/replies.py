"""Probes to one destination, and their replies: the base of `trace` and `mtu`.

Load balancers choose a path by addresses, ports, protocol, class and flow label. So these are constant in a flow. A
probe's number determines the fields that they ignore: the IPv4 id, the token in the payload, and so the UDP checksum
(Augustin et al., "Avoiding traceroute anomalies with Paris traceroute", IMC 2006).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterator, Sequence

from msgspec import Struct, field

from udpprobe.core.addresses import address_text
from udpprobe.core.believer import BELIEVED, MISSED, Believer
from udpprobe.core.extensions import extensions_of
from udpprobe.core.model import Event, quoted_of
from udpprobe.core.notes import NO_NEIGHBOUR, Note, mtu_notes, texts_of
from udpprobe.core.probe import DESTINATION, SOURCE, Payloads, Prober, QuotedProbe, Tasks
from udpprobe.core.rows import Packet
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, NEIGHBOUR_ERRORS, meaning_of, verdict_of

HEADER_BYTES = {4: 28, 6: 48}
"""IP and UDP header, by family."""
NO_LOOP_TTL = 256
"""In a trace no probe's TTL is evidence of a loop: low TTLs are meant to expire, and the path is known."""
MOST_PROBES = 1 << 15
"""Probes that are remembered, the latest ones."""
FIRST_REDRAWN = 1 << 31
"""Attempt numbers of redrawn probes start here; no probe has such a high number."""
MOST_DRAWS = 300
"""MOST_PROBES leave half of the tokens of 2 bytes, of the ids (in both byte orders) and of the checksums, so one draw
in 16 succeeds."""
OPEN_NS = 60_000_000_000
"""Time after which a probe expects no more reply; a guess may hit any probe that still does."""
ENOUGH = 48
"""Bits that prove an error whatever else was rewritten, as in `Believer`."""
MOST_DOUBTED = 64
"""Errors that may wait until another probe draws the same."""
LEAST_FOUND_ANYWHERE = 4
"""Tokens of at least this many bytes are searched anywhere in an answer; shorter ones only at their original place."""
IN_TRANSIT = frozenset({(4, 11, 0), (6, 3, 0)})
"""Family, type and code of TTL exceeded in transit."""
DONT_FRAGMENT = 0x40
"""Bit in the seventh byte of an IPv4 header."""


class Probe(Struct, frozen=True):
    """A probe to send."""

    number: int
    """0, 1, 2 …: unique per tracker."""
    ttl: int
    size: int = 0
    """Bytes of the IP packet; 0 for the payload's size."""
    flow: int = 0
    """Index of its flow; each has its own source port and IPv6 flow label."""


class Reply(Struct, frozen=True):
    """A reply to a probe."""

    number: int
    sent_ns: int
    """Send time of the probe, as captured; else the time it was handed to the kernel."""
    time_ns: int
    kind: str
    """`answer`: a datagram from the destination. `error`: an ICMP error. `no-neighbour`: this host found no neighbour
    for the address. `unsent`: its own firewall rejected the probe."""
    event: Event | None
    """The error; None for an answer."""
    ttl: int
    """TTL or hop limit on arrival."""
    changed: tuple[str, ...] = ()
    """Fields of the quote that were changed on the way: `source`, `destination`, `checksum`, `dscp`, `ecn`, `df`; of an
    answer, `port` if it comes from another port."""
    is_sure: bool = True
    """False for an answer that does not repeat the token: it is assigned to the latest probe without a reply."""
    size: int = 0
    """Bytes of the probe's IP packet."""

    @property
    def is_quench(self) -> bool:
        """Whether it only asks to slow down; that says nothing about the probe."""
        return self.event is not None and self.event.verdict == "quenched"

    @property
    def is_about_larger(self) -> bool:
        """Whether it only says that a larger packet would not have fitted."""
        event = self.event
        return event is not None and event.verdict == "too-big" and event.mtu is not None and 0 < self.size <= event.mtu

    @property
    def rtt_ms(self) -> float:
        """Time from the probe to the reply."""
        return (self.time_ns - self.sent_ns) / 1e6


class Flows(Struct, frozen=True):
    """One destination and the flows to it. Addresses are two halves, IPv4 mapped."""

    source: tuple[int, int]
    destination: tuple[int, int]
    port: int
    zone: int
    """Index of the interface of a link-local destination (RFC 4007), else 0."""
    source_ports: tuple[int, ...]
    """One per flow."""

    @property
    def family(self) -> int:
        """4 or 6."""
        return 4 if self.destination[0] == 0 and self.destination[1] >> 32 == 0xFFFF else 6


Key = tuple[str, bytes] | tuple[str, int] | tuple[str, int, int] | tuple[str, int, int, int]
"""A field's name and value, by which a probe is found."""


class _Sent(Struct):
    """A sent probe."""

    probe: Probe
    sent_ns: int
    size: int
    token: bytes
    """As many bytes as the probe carries."""
    attempt: int
    """The attempt number that the prober made it from."""
    keys: tuple[Key, ...]
    """The keys by which it is found."""
    frame: int = 0
    """Frame that shows it; 0 until then."""
    is_answered: bool = False
    said: set[tuple[int, ...]] = field(default_factory=set)
    """Errors that were handled: an equal one from another interface is a copy."""


class _Quote(Struct, frozen=True):
    """What an error quotes of a probe."""

    ident: int
    """IPv4 id or IPv6 flow label."""
    traffic_class: int
    is_fragmentable: bool
    payload: bytes
    """As far as it was quoted."""


class Tracker:
    """Crafts the probes to one destination, and recognises their replies.

    An error is believed if enough of its quote cannot have been guessed (`core/probe.py`, `core/believer.py`).

    Args:
        flows: destination and sources.
        payload: of each probe: its bytes, the offset of the token, and the bytes of the token.
        key: 128 secret bits in two halves, drawn for these flows only.
        port_bits: log2 of the number of ports that each source port was drawn from; 0 if the user chose it.
        loop_ttl: an expired TTL that started at least this high means a loop.
    """

    def __init__(
        self,
        flows: Flows,
        payload: tuple[bytes, int, int],
        key: tuple[int, int],
        *,
        port_bits: int = 0,
        loop_ttl: int = NO_LOOP_TTL,
    ) -> None:
        data, self._token_at, self._token_size = payload
        self.flows, self._loop_ttl = flows, loop_ttl
        self._header = HEADER_BYTES[flows.family]
        self.least_size = self._header + len(data)
        """Bytes of the IP packet of a probe without padding."""
        count, (high, low) = len(flows.source_ports), flows.destination
        self._tasks = Tasks(
            array("Q", [high] * count),
            array("Q", [low] * count),
            array("H", flows.source_ports),
            array("H", [flows.port] * count),
            array("H", [0] * count),
        )
        self._prober = Prober(
            key,
            Payloads([payload]),
            [flows.source],
            first_port=flows.source_ports[0],
            port_bits=port_bits,
            label_per_flow=True,
        )
        self._believer = Believer(1)
        self._flow_of = {port: flow for flow, port in enumerate(flows.source_ports)}
        self._sent: dict[int, _Sent] = {}
        self._open: list[dict[int, int]] = [{} for _ in flows.source_ports]
        """By flow: send times of probes without a reply, in order."""
        self._found: dict[Key, list[int]] = {}
        """By key, the numbers of its probes: by headers as sent, by token, by id, by length and checksum."""
        self._doubted: dict[tuple[int, ...], list[Reply]] = {}
        self._redrawn = 0
        self._faults: Counter[str] = Counter()

    @property
    def faults(self) -> Counter[str]:
        """Faults of received packets, by name.

        `foreign`: errors about datagrams that were never sent, or that prove too little; `returned`: probes that were
        routed back to this host.
        """
        return +(self._faults + Counter(foreign=sum(map(len, self._doubted.values()))))

    @property
    def notes(self) -> tuple[str, ...]:
        """A note that somebody seems to be guessing, if many errors missed."""
        return tuple(self._believer.forged().values())

    # ---- out

    def craft(self, probe: Probe, now_ns: int) -> bytes:
        """The packet of a probe that is about to be sent.

        Raises:
            ValueError: it would be longer than an IP packet can be.
        """
        self._forget(probe.number)
        if len(self._sent) >= MOST_PROBES:
            self._forget(next(iter(self._sent)))
        attempt, packet, keys = self._unlike_others(probe)
        self._sent[probe.number] = _Sent(
            probe, now_ns, len(packet), self._token_in(packet[self._header :]), attempt, keys
        )
        for key in keys:
            self._found.setdefault(key, []).append(probe.number)
        self._open[probe.flow][probe.number] = now_ns
        return packet

    def _unlike_others(self, probe: Probe) -> tuple[int, bytes, tuple[Key, ...]]:
        """A packet that shares no key with remembered ones, its attempt number, and its keys.

        An answer repeats no more than the token, which has 16 bits in DNS; some routers quote no more than the id.
        Among 40 probes, two share 16 bits in one trace of 80; a reply to one would be credited to the other.
        """
        attempt = probe.number
        for _ in range(MOST_DRAWS):
            packet = self._prober.craft_one(self._tasks, probe.flow, attempt=attempt, ttl=probe.ttl, size=probe.size)
            keys = self._keys(probe, packet)
            swapped: Key = "id", _swapped(int.from_bytes(packet[4:6]))
            if not any(key in self._found for key in (*keys, swapped)):
                break
            self._redrawn += 1
            attempt = FIRST_REDRAWN + self._redrawn % (FIRST_REDRAWN - 2)
        return attempt, packet, keys

    def _keys(self, probe: Probe, packet: bytes) -> tuple[Key, ...]:
        header = self._header
        token = self._token_in(packet[header:])
        length, checksum = int.from_bytes(packet[header - 4 : header - 2]), int.from_bytes(packet[header - 2 : header])
        keys: list[Key] = [("token", token), ("sent", probe.flow, length, checksum), ("sum", length, checksum)]
        if self.flows.family == 4:
            keys.append(("id", int.from_bytes(packet[4:6])))
        return tuple(keys)

    def _token_in(self, payload: bytes) -> bytes:
        return payload[self._token_at : self._token_at + self._token_size]

    def _forget(self, number: int) -> None:
        sent = self._sent.pop(number, None)
        if sent is None:
            return
        self._open[sent.probe.flow].pop(number, None)
        for key in sent.keys:
            numbers = self._found[key]
            numbers.remove(number)
            if not numbers:
                del self._found[key]

    # ---- in

    def take(self, packets: Sequence[Packet]) -> list[Reply]:
        """The replies in some packets, in order of time. Departing probes are handled first."""
        coming = [packet for packet in packets if packet.is_error or not self._is_leaving(packet)]
        replies = [
            reply for packet in coming for reply in (self._error(packet) if packet.is_error else self._answer(packet))
        ]
        return sorted(replies, key=lambda reply: reply.time_ns)

    def _is_leaving(self, packet: Packet) -> bool:
        """Whether a datagram goes from here to the destination; if so, record the probe's send time."""
        flows = self.flows
        if (
            packet.source != flows.source
            or packet.destination != flows.destination
            or packet.destination_port != flows.port
            or packet.source_port not in self._flow_of
        ):
            return False
        key = "sent", self._flow_of[packet.source_port], packet.udp_length, packet.udp_checksum
        token = self._token_in(packet.data)  # as far as it was captured
        alike = (self._sent[number] for number in self._found.get(key, ()))
        some = [each for each in alike if each.token.startswith(token)]
        unseen = [each for each in some if not each.frame]
        sent = next((each for each in unseen if each.probe.ttl == packet.ttl), next(iter(unseen), None))
        if sent is not None:
            sent.sent_ns, sent.frame = packet.time_ns, packet.frame
        elif some:
            self._faults["returned"] += packet.ttl < min(each.probe.ttl for each in some)
        return True

    def _error(self, packet: Packet) -> Iterator[Reply]:
        """The reply that an error is, and earlier ones that waited for another probe to draw the same."""
        flows = self.flows
        is_ours = packet.destination == flows.destination or packet.source == flows.source
        if not is_ours or packet.family != flows.family or packet.notes & Note.NO_PORTS:
            return
        quote = _quote_of(packet)
        quoted = _quoted(packet, quote)
        number = self._best(packet, quote, quoted)
        bits, shared = self._strength(packet, number, quoted)
        error = packet.icmp_type, packet.icmp_code, packet.mtu, *packet.reporter
        is_rewritten = number >= 0 and self._prober.is_rewritten
        if packet.destination != flows.destination:
            # A middlebox that rewrites destinations must quote the token. Errors about other programs' datagrams are no
            # misses.
            found = BELIEVED if bits + shared >= ENOUGH else MISSED
        else:
            found = self._believer.weigh(0, error, number, bits, shared, is_rewritten=is_rewritten)
        if found == MISSED:
            self._faults["foreign"] += packet.destination_port == flows.port and packet.source_port in self._flow_of
            return
        reply = self._reply(packet, self._sent[number], quote)
        if found != BELIEVED:
            self._doubt(error, reply)
            return
        together = bits + shared < ENOUGH and (is_rewritten or self._believer.is_forged(0))
        for each in (*(self._doubted.pop(error, ()) if together else ()), reply):
            yield from self._reported(each, error)

    def _reported(self, reply: Reply, error: tuple[int, ...]) -> Iterator[Reply]:
        sent = self._sent.get(reply.number)
        if sent is None or error in sent.said:
            return
        sent.said.add(error)
        if not reply.is_quench:
            self._settle(sent)
        yield reply

    def _settle(self, sent: _Sent) -> None:
        sent.is_answered = True
        self._open[sent.probe.flow].pop(sent.probe.number, None)

    def _doubt(self, error: tuple[int, ...], reply: Reply) -> None:
        self._doubted.setdefault(error, []).append(reply)
        if sum(map(len, self._doubted.values())) > MOST_DOUBTED:
            oldest = next(iter(self._doubted))
            self._faults["foreign"] += len(self._doubted.pop(oldest))

    def _best(self, packet: Packet, quote: _Quote, quoted: QuotedProbe) -> int:
        """The probe that an error quotes: the one that agrees best, -1 for none. `prober` then holds it.

        A NAT may have changed the source port; if it is one of ours, it is taken to be the probe's.
        """
        keys: tuple[Key, ...] = (
            ("token", self._token_in(quote.payload)),
            ("id", quote.ident),
            ("id", _swapped(quote.ident)),
            ("sum", packet.udp_length, packet.udp_checksum),
        )
        flow = self._flow_of.get(packet.source_port)
        best, most = -1, 0
        for number in dict.fromkeys(number for key in keys for number in self._found.get(key, ())):
            sent = self._sent[number]
            if flow in {None, sent.probe.flow} and self._agrees(quoted, sent):
                score = 1024 * (self._prober.agree + self._prober.shared) - self._prober.disagree
                if self._prober.agree and score >= most:
                    best, most = number, score
        return best

    def _strength(self, packet: Packet, number: int, quoted: QuotedProbe) -> tuple[int, int]:
        """Number of quoted bits that agree with a probe: its own, and those shared with other probes.

        Its own are reduced by what the choice gives away: a guess may hit any probe that waits for a reply.
        """
        if number < 0:
            return 0, 0
        sent = self._sent[number]
        self._agrees(quoted, sent)
        flow = sent.probe.flow
        flows = (flow,) if packet.source_port in self._flow_of else range(len(self._open))
        waiting = sum(self._waiting(flow, packet.time_ns) for flow in flows)
        if number not in self._open[flow]:
            waiting = len(self._sent)
        return max(self._prober.agree - max(waiting - 1, 0).bit_length(), 0), self._prober.shared

    def _agrees(self, quoted: QuotedProbe, sent: _Sent) -> bool:
        return self._prober.agrees(quoted, self._tasks, sent.probe.flow, sent.attempt, sent.probe.size)

    def _waiting(self, flow: int, now_ns: int) -> int:
        """Number of a flow's probes that wait for a reply."""
        some = self._open[flow]
        while some and (first := next(iter(some.items())))[1] < now_ns - OPEN_NS:
            del some[first[0]]
        return len(some)

    def _reply(self, packet: Packet, sent: _Sent, quote: _Quote) -> Reply:
        """The reply that an error is for the current probe."""
        event = self._event(packet, sent)
        kind = "error"
        if not sent.frame and packet.reporter == packet.source != packet.destination:
            is_neighbour_error = (packet.family, packet.icmp_type, packet.icmp_code) in NEIGHBOUR_ERRORS
            kind = NO_NEIGHBOUR if is_neighbour_error else "unsent"
        return Reply(
            sent.probe.number,
            sent.sent_ns,
            packet.time_ns,
            kind,
            event,
            packet.reply_ttl,
            tuple(self._changes(packet, quote)),
            size=sent.size,
        )

    def _changes(self, packet: Packet, quote: _Quote) -> Iterator[str]:
        if self._prober.changed & SOURCE:
            yield "source"
        if self._prober.changed & DESTINATION:
            yield "destination"
        if not packet.notes & Note.NO_CHECKSUM and packet.udp_checksum != self._prober.checksum:
            yield "checksum"
        if quote.traffic_class >> 2:
            yield "dscp"
        if quote.traffic_class & 3:
            yield "ecn"
        if quote.is_fragmentable:
            yield "df"

    def _event(self, packet: Packet, sent: _Sent) -> Event:
        family, kind = packet.family, (packet.family, packet.icmp_type, packet.icmp_code)
        meaning = meaning_of(*kind)
        is_loop = kind in IN_TRANSIT and sent.probe.ttl >= self._loop_ttl
        verdict = verdict_of(meaning, itself=packet.reporter == packet.destination, loop=is_loop)
        objects, more = extensions_of(packet.data, family) if packet.data else (None, Note(0))
        notes = packet.notes | more | mtu_notes(family, packet.mtu, packet.length)
        return Event(
            frame=packet.frame,
            time_ns=packet.time_ns,
            family=family,
            type=packet.icmp_type,
            code=packet.icmp_code,
            verdict=verdict,
            errno=ERRNO_OF_VERDICT.get(verdict or ""),
            linux=meaning.linux,
            reason=meaning.reason,
            reporter=address_text(*packet.reporter, as_ipv4=family == 4),
            mtu=packet.mtu if packet.mtu >= 0 else None,
            quoted=quoted_of(packet),
            match="exact",
            matched_frame=sent.frame or None,
            rtt_ms=(packet.time_ns - sent.sent_ns) / 1e6,
            extensions=objects,
            notes=texts_of(notes, packet.length, family),
        )

    def _answer(self, packet: Packet) -> Iterator[Reply]:
        """The reply that a datagram from the destination is, if a probe was sent before it."""
        flows = self.flows
        if (
            packet.source != flows.destination
            or packet.destination != flows.source
            or packet.destination_port not in self._flow_of
        ):
            return
        flow = self._flow_of[packet.destination_port]
        some = [each for each in self._sent.values() if each.probe.flow == flow and each.sent_ns <= packet.time_ns]
        repeated = next((each for each in reversed(some) if self._is_repeated(each, packet.data)), None)
        waiting = [each for each in some if not each.is_answered] or some
        sent = repeated or max(waiting, key=lambda each: each.sent_ns, default=None)
        if sent is None:
            return
        self._settle(sent)
        changed = () if packet.source_port == flows.port else ("port",)
        yield Reply(
            sent.probe.number,
            sent.sent_ns,
            packet.time_ns,
            "answer",
            None,
            packet.ttl,
            changed,
            is_sure=repeated is not None,
            size=sent.size,
        )

    def _is_repeated(self, sent: _Sent, data: bytes) -> bool:
        return (len(sent.token) >= LEAST_FOUND_ANYWHERE and sent.token in data) or self._token_in(data) == sent.token


def _swapped(ident: int) -> int:
    """A byte-swapped IPv4 id, as some routers quote it."""
    return (ident & 0xFF) << 8 | ident >> 8


def _quote_of(packet: Packet) -> _Quote:
    """The part of an ICMP error's quote that is not in the columns."""
    quote = packet.data[8 : 8 + packet.quoted_bytes]
    if packet.family == 4:
        header = 4 * (quote[0] & 0xF) + 8
        return _Quote(packet.ip_id, quote[1], not quote[6] & DONT_FRAGMENT, quote[header:])
    first = int.from_bytes(quote[:4])
    return _Quote(first & 0xFFFFF, first >> 20 & 0xFF, is_fragmentable=False, payload=quote[HEADER_BYTES[6] :])


def _quoted(packet: Packet, quote: _Quote) -> QuotedProbe:
    """A quote in the form that `core/probe.py` needs."""
    quoted = QuotedProbe(quote.payload)
    quoted.source_high, quoted.source_low = packet.source
    quoted.destination_high, quoted.destination_low = packet.destination
    quoted.source_port, quoted.port, quoted.ident = packet.source_port, packet.destination_port, quote.ident
    quoted.udp_length = -1 if packet.notes & Note.NO_LENGTH else packet.udp_length
    quoted.checksum = -1 if packet.notes & Note.NO_CHECKSUM else packet.udp_checksum
    quoted.payload_end = len(quote.payload)
    return quoted
