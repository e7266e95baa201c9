"""What came back, and for which probe: answers by their ports, errors by their quotes.

An error quotes the datagram that caused it. Whoever did not see that datagram cannot guess the content of a probe (see
`core.probe`). An error that proves too little is not believed (see `core.believer`): another program's datagram caused
it, or it is forged. If it quotes a port that is reserved for the scan, it is counted as foreign.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from udpprobe.core.believer import BELIEVED, DOUBTED, Believer
from udpprobe.core.notes import Note
from udpprobe.core.probe import SWAPPED, QuotedProbe
from udpprobe.core.rows import Packet
from udpprobe.core.sweep import Sweep
from udpprobe.core.verdicts import NEIGHBOUR_ERRORS
from udpprobe.scanning.pacing import Pacing
from udpprobe.scanning.plan import Address, Plan
from udpprobe.scanning.rate_limit_check import MOST_CLOSED
from udpprobe.scanning.record import SAME_NS, THIS_HOST, Answer, Error, Event, Kind, ProbeSent, ScanRecord

NO_PORTS, NO_LENGTH, NO_CHECKSUM, SOURCE_REWRITTEN, IP_ID_SWAPPED, SEEN_BEFORE = map(
    int, (Note.NO_PORTS, Note.NO_LENGTH, Note.NO_CHECKSUM, Note.SOURCE_REWRITTEN, Note.IP_ID_SWAPPED, Note.SEEN_BEFORE)
)
"""Plain integers, because testing an IntFlag takes a microsecond."""
HEADER_BYTES = {4: 28, 6: 48}
"""IP and UDP header of a probe."""
NO_TASK = -1
AT_PORT_0 = -2
"""Minus a port, it stands for a datagram to that port of the scan that answers no probe."""

MOST_OTHER_PORTS = 1 << 16
"""Most triples (host, our port, its port) of answers that are remembered."""
MOST_DOUBTED = MOST_STRANGERS = 1 << 16
LEAST_TOKEN = 4
"""Token bytes that no answer repeats by chance."""
REPEATED, JITTER_NS = 2, 10_000_000
"""So many probes must each draw a datagram from another port, after delays that differ by at most a quarter, or by so
little."""


class Believed(Struct):
    """An ICMP error, and the probe it is proven to be about."""

    time_ns: int
    number: int
    """Of the error's frame."""
    task: int
    own: Address
    """Source address of the probe."""
    packet: Packet | None
    """None if the kernel reported the error instead."""
    kind: Kind
    is_exact: bool
    """False if a NAT changed the source."""
    notes: int
    """Bits of `Note`."""
    length: int
    """Bytes of the probe's IP packet."""
    sent_ns: int
    """Send time of the probe."""
    frame: int
    """Frame that shows the probe, 0 for none."""
    evidence: tuple[str, ...] = ()
    """What in the quote distinguished the probe from its neighbours."""


class Unsolicited(Struct):
    """Datagrams from an address and port that were not probed."""

    address: Address
    port: int
    task: int = NO_TASK
    """The task that they may answer, if known."""
    count: int = 0
    first_ns: int = 0
    last_ns: int = 0
    rtts_ns: dict[int, int] = field(default_factory=dict)
    """By number of probes made: time from the last of them to the first datagram."""

    def take(self, time_ns: int) -> bool:
        """Count a datagram, unless it is a copy from another interface."""
        if self.count and time_ns - self.last_ns < SAME_NS:
            return False
        self.first_ns = self.first_ns or time_ns
        self.count, self.last_ns = self.count + 1, time_ns
        return True


class Replies:
    """Finds the task of what arrives, and reports it to `record` and `pacing`.

    Args:
        plan: what is probed.
        pacing: decides what to probe next.
        record: collects what came back.
        on_error: called with each believed error.
        recognises: whether a datagram answers a task's probes.
        tells_origin: whether the senders of errors are known.
    """

    def __init__(
        self,
        plan: Plan,
        pacing: Pacing,
        record: ScanRecord,
        on_error: Callable[[Believed], None] | None = None,
        *,
        recognises: Callable[[int, bytes], bool] = lambda _task, _data: False,
        tells_origin: bool = True,
    ) -> None:
        self._plan, self._pacing, self._record, self._on_error = plan, pacing, record, on_error
        self._recognises, self._tells_origin = recognises, tells_origin
        self._believer = Believer(len(plan))
        self._quoted = QuotedProbe()
        self._missed = self._events = 0
        self._doubted: dict[tuple[int, Kind], int] = {}
        """Number of errors that would be believed if another probe drew the same."""
        self._other_ports: dict[tuple[int, int, int], int] = {}
        """Tasks by (host, our port, the host's port), where that port is not the task's own."""
        self._unsolicited: dict[tuple[int, int, int], Unsolicited] = {}
        """Datagrams from another port that may not be answers, by the same key."""
        self._strangers: dict[int, Unsolicited] = {}
        """By our port: datagrams from the first address that sent something there without being probed."""
        self._tasks: dict[int, int] = {}
        """By our port: the only task probed from there; filled on demand."""
        self._flows: dict[int, dict[int, array[int]]] = {}
        """By host and source port: the tasks; for hosts that answered from another port."""

    def forged(self) -> dict[int, str]:
        """By task, the note that somebody seems to be guessing, because many errors about it missed."""
        return self._believer.forged()

    @property
    def foreign(self) -> int:
        """Number of errors that quote one of the scan's ports, but no probe."""
        return self._missed + sum(self._doubted.values())

    def unsolicited(self) -> dict[int, Unsolicited]:
        """By task, datagrams from an address or port that was not probed, and that were not taken for answers.

        One from another address arrived at a port that only this task was probed from.
        """
        found = {each.task: each for key, each in self._unsolicited.items() if key not in self._other_ports}
        found |= {task: each for port, each in self._strangers.items() if (task := self.only_task_at(port)) >= 0}
        return {task: each for task, each in found.items() if task not in self._record.answers}

    def only_task_at(self, port: int) -> int:
        """The only task probed from a port of the scan; NO_TASK if there is not exactly one."""
        if not self._tasks:
            for task in range(self._plan.requested_count):
                own = self._plan.source_port[task]
                self._tasks[own] = NO_TASK if own in self._tasks else task
        return self._tasks.get(port, NO_TASK)

    @property
    def other_ports(self) -> dict[int, int]:
        """By task, the other port that answered it."""
        return {task: port for (_, _, port), task in self._other_ports.items()}

    # ---- frames

    def packets(self, packets: Sequence[Packet], link: int = 0) -> int:
        """Handle the packets of one frame; return its task, or NO_TASK if it does not belong to the scan.

        A datagram from another address or port belongs to it, whether or not it counts as an answer. If its task is
        unknown, AT_PORT_0 - its destination port is returned (see `only_task_at`).

        Args:
            packets: of the frame.
            link: sender on the link; 0 if unknown.
        """
        found = NO_TASK
        for packet in packets:
            task = self._error(packet) if packet.is_error else self._datagram(packet, link)
            found = task if task >= 0 or found == NO_TASK else found
        return found

    def _datagram(self, packet: Packet, link: int) -> int:
        """A datagram between two of the scan's own ports is a probe, never an answer: this host scans itself."""
        task = NO_TASK
        if self._plan.is_own(packet.source_port):
            task = self._probe(packet, link)
        if task < 0 and self._plan.is_own(packet.destination_port):
            task = self._task_of_answer(
                (packet.source, packet.source_port),
                (packet.destination, packet.destination_port),
                packet.time_ns,
                packet.data,
            )
            if task >= 0:
                identity = hash((packet.ip_id, packet.udp_checksum, packet.udp_length, packet.source_port, packet.data))
                if self._record.answer(task, packet.time_ns, packet.data, ttl=packet.ttl, identity=identity):
                    self._pacing.answered(task, packet.time_ns)
            elif self._plan.is_own_address(packet.destination):
                key = self._plan.host_of(*packet.source), packet.destination_port, packet.source_port
                task = self._unsolicited[key].task if key in self._unsolicited else AT_PORT_0 - packet.destination_port
        return task

    def _probe(self, packet: Packet, link: int) -> int:
        plan, record = self._plan, self._record
        task = plan.find(*packet.destination, packet.destination_port)
        if task < 0 or plan.source_of(task, packet.source) < 0:
            return NO_TASK
        if packet.ttl < plan.ttl and record.is_seen[task]:
            record.come_round(
                task,
                packet.time_ns,
                ttl=packet.ttl,
                link=link,
                identity=hash((packet.ip_id, packet.udp_checksum, packet.data)),
            )
        else:
            record.is_seen[task] = 1
            plan.seen(task, packet.time_ns, packet.frame)
        return task

    # ---- answers

    def _task_of_answer(self, end: tuple[Address, int], own_end: tuple[Address, int], time_ns: int, data: bytes) -> int:
        """The task that a datagram answers, NO_TASK for none; `end` and `own_end` are addresses with ports."""
        plan, (source, port), (own, own_port) = self._plan, end, own_end
        task = plan.find(*source, port)
        if task < 0 or plan.source_port[task] != own_port:
            task = self._answered_from(source, port, own_port, time_ns, data)
        return task if task >= 0 and plan.source_of(task, own) >= 0 else NO_TASK

    def _answered_from(self, source: Address, port: int, own_port: int, time_ns: int, data: bytes) -> int:
        """An answer may come from another port of the host (RFC 1350, section 4), and so may unrelated datagrams.

        It counts as an answer if it repeats the token, or is what the probe asked for; or if each of several probes
        draws one after the same delay.
        """
        host = self._plan.host_of(*source)
        if host < 0:
            if len(self._strangers) < MOST_STRANGERS:
                self._strangers.setdefault(own_port, Unsolicited(source, port))
            if (stranger := self._strangers.get(own_port)) and (source, port) == (stranger.address, stranger.port):
                stranger.take(time_ns)
            return NO_TASK
        key = host, own_port, port
        task = self._other_ports.get(key, NO_TASK)
        if task < 0:
            task = self._only_waiting(host, own_port)
            if task < 0 or not (self._is_answer(task, data) or self._is_repeated(key, task, source, time_ns)):
                return NO_TASK
            if len(self._other_ports) < MOST_OTHER_PORTS:
                self._other_ports[key] = task
        return task

    def _is_answer(self, task: int, data: bytes) -> bool:
        """Whether a datagram shows that a probe of a task caused it."""
        prober, plan = self._plan.prober, self._plan
        for attempt in range(plan.attempts[task]):
            for source in range(plan.per_host):
                token = prober.token_of(plan.crafted, task, source=plan.source_number(task, source), attempt=attempt)
                if token[:LEAST_TOKEN] in data:
                    return True
        return self._recognises(task, data)

    def _is_repeated(self, key: tuple[int, int, int], task: int, source: Address, time_ns: int) -> bool:
        """Whether each of several probes was followed by one datagram from another port, after the same delay."""
        unsolicited = self._unsolicited.get(key)
        if unsolicited is None or unsolicited.task != task:
            if len(self._unsolicited) >= MOST_OTHER_PORTS:
                return False
            unsolicited = self._unsolicited[key] = Unsolicited(source, key[2], task)
        if not unsolicited.take(time_ns):
            return False
        rtts_ns = unsolicited.rtts_ns
        rtts_ns.setdefault(self._plan.attempts[task], time_ns - self._plan.sent_ns(task))
        least_ns, most_ns = min(rtts_ns.values()), max(rtts_ns.values())
        return len(rtts_ns) == unsolicited.count >= REPEATED and most_ns <= least_ns + max(least_ns // 4, JITTER_NS)

    def _only_waiting(self, host: int, own_port: int) -> int:
        """The only task of a host that was probed from this port and has no reply yet; else NO_TASK."""
        plan, has_reply = self._plan, self._record.has_reply
        if host not in self._flows:
            flows = self._flows[host] = {}
            for task in plan.tasks_of(host):
                flows.setdefault(plan.source_port[task], array("I")).append(task)
        found = NO_TASK
        for task in self._flows[host].get(own_port, ()):
            if not has_reply[task] and plan.attempts[task]:
                if found >= 0:
                    return NO_TASK
                found = task
        return found

    # ---- errors

    def _error(self, packet: Packet) -> int:
        if packet.notes & NO_PORTS:
            return NO_TASK
        task = self._plan.find(*packet.destination, packet.destination_port)
        if task < 0:
            self._miss(packet)
            return NO_TASK
        kind = self._kind(packet.family, packet.icmp_type, packet.icmp_code, packet.reporter, packet.mtu, task)
        if kind is None:
            return NO_TASK
        attempt = self._proven(packet, task, kind)
        if attempt is None:
            return NO_TASK
        self._take(packet, task, kind, attempt)
        return task

    def _take(self, packet: Packet, task: int, kind: Kind, attempt: int) -> None:
        """Handle an error that is proven to be about a probe; `prober` holds that probe."""
        plan, prober, notes = self._plan, self._plan.prober, packet.notes
        is_exact = plan.is_own(packet.source_port) and plan.source_of(task, packet.source) >= 0
        if not is_exact:
            notes |= SOURCE_REWRITTEN
        if prober.changed & SWAPPED:
            notes |= IP_ID_SWAPPED
        source = max(plan.source_with(task, prober.source), 0)
        length = min(packet.length, prober.length)
        sent_ns, frame = plan.departure(task, attempt)
        measured_ns = 0 if kind.reporter == THIS_HOST else sent_ns
        identity = prober.mark_of(self._quoted, packet.reply_id)
        if self._record.error(
            task,
            kind,
            packet.time_ns,
            sent_ns=measured_ns,
            length=length,
            notes=notes,
            is_exact=is_exact,
            identity=identity,
        ):
            is_refusal = kind.is_refusal_by(plan.tasks.address(task))
            if is_refusal:
                self._record.header_traits.take(
                    task, packet.family, packet.reply_ttl, packet.reply_id, has_df=packet.has_df
                )
            self._pacing.failed(
                task, source, attempt, packet.time_ns, is_refusal=is_refusal, origin=self._origin_of(kind, task)
            )
        else:
            notes |= SEEN_BEFORE
        if self._on_error:
            own = plan.sources.addresses[plan.host[task]][source]
            self._on_error(
                Believed(
                    packet.time_ns,
                    packet.frame,
                    task,
                    own,
                    packet,
                    kind,
                    is_exact,
                    notes,
                    length,
                    sent_ns,
                    frame,
                    prober.evidence,
                )
            )

    def _kind(self, family: int, icmp_type: int, icmp_code: int, reporter: Address, mtu: int, task: int) -> Kind | None:
        """Content and reporter of an error; None if this host's own firewall reports a probe that was never sent.

        About a port of this host itself, that firewall speaks for the destination.
        """
        plan = self._plan
        if plan.attempts[task] and not plan.sent[task]:
            return None
        if reporter != plan.tasks.address(task) and plan.source_of(task, reporter) >= 0:
            if (family, icmp_type, icmp_code) not in NEIGHBOUR_ERRORS or not plan.sent[task]:
                return None
            reporter = THIS_HOST
        return Kind(family, icmp_type, icmp_code, reporter, mtu)

    def _origin_of(self, kind: Kind, task: int) -> tuple[int, int]:
        """The reporter, whose errors share a limit, and a number for each of its rules that can be told apart.

        If the senders of errors are unknown, each error may come from another one.
        """
        number = kind.icmp_type << 8 | kind.icmp_code
        if not self._tells_origin:
            return number, task % MOST_CLOSED
        high, low = kind.reporter
        return 0 if kind.reporter == self._plan.tasks.address(task) else high << 64 | low, number

    def _miss(self, packet: Packet) -> None:
        """Count an error that proves nothing: about one of the scan's own ports, or about other traffic to a host."""
        plan = self._plan
        if plan.is_own(packet.source_port):
            self._missed += 1
        elif packet.reporter == packet.destination and plan.is_own_address(packet.source):
            host = plan.host_of(*packet.destination)
            if host >= 0:
                self._pacing.others[host] += 1

    def _proven(self, packet: Packet, task: int, kind: Kind) -> int | None:
        """Which probe of the task an error is about; None if that is not proven."""
        plan, quoted, prober = self._plan, self._quoted_of(packet), self._plan.prober
        attempt = prober.find(quoted, plan.crafted, task, plan.attempts[task], plan.size)
        said = (kind.icmp_type, kind.icmp_code, kind.mtu, *kind.reporter)
        found = self._believer.weigh(task, said, attempt, prober.agree, prober.shared, is_rewritten=prober.is_rewritten)
        if found == BELIEVED:
            self._doubted.pop((task, kind), None)
            return attempt
        if found == DOUBTED:
            self._pacing.watched[plan.host[task]] = 1
        if found == DOUBTED and self._believer.is_forged(task):
            plan.prove(task)
        if found == DOUBTED and len(self._doubted) < MOST_DOUBTED and plan.is_own(packet.source_port):
            self._doubted[task, kind] = self._doubted.get((task, kind), 0) + 1
        else:
            self._miss(packet)
        return None

    def _quoted_of(self, packet: Packet) -> QuotedProbe:
        """The quote in the form that `Prober` needs."""
        quoted, data, notes = self._quoted, packet.data, packet.notes
        quoted.load(data)
        quoted.source_high, quoted.source_low = packet.source
        quoted.destination_high, quoted.destination_low = packet.destination
        quoted.source_port, quoted.port = packet.source_port, packet.destination_port
        quoted.ident = packet.ip_id if packet.family == 4 else int.from_bytes(data[8:12]) & 0xFFFFF
        quoted.udp_length = -1 if notes & NO_LENGTH else packet.udp_length
        quoted.checksum = -1 if notes & NO_CHECKSUM else packet.udp_checksum
        end = min(8 + packet.quoted_bytes, len(data))
        quoted.begin = 8
        quoted.payload_at = min(8 + HEADER_BYTES[packet.family], end)
        quoted.payload_end = end
        return quoted

    # ---- many at once

    def sweep(self) -> Sweep:
        """A `Sweep` for ordinary refusals, where no single one is reported and probes need not be seen leaving."""
        plan, pacing, record = self._plan, self._pacing, self._record
        traits = record.header_traits
        return Sweep(
            plan.prober,
            plan.crafted,
            plan.directory,
            self._believer,
            size=plan.size,
            hosts=plan.host,
            requested_count=plan.requested_count,
            sources=plan.source_numbers,
            attempts=plan.attempts,
            sent=plan.sent,
            sent_ns=plan.last_ns,
            state=pacing.state.values,
            undecided_of=pacing.state.undecided_of,
            has_reply=record.has_reply,
            refusals=record.refusals,
            watched=pacing.watched,
            drew_error=pacing.drew_error,
            refusal_count=pacing.refusal_count,
            error_task=pacing.error_task,
            error_origin=pacing.error_origin,
            rtt_ns=pacing.rtt_ns,
            hit_ns=pacing.hit_ns,
            header_bits=traits.first,
            header_bits_of_host=traits.of_host,
            uneven=traits.is_uneven,
        )

    # ---- events

    def event(self, event: Event) -> None:
        """Handle a report by the kernel, which has made sure itself which probe it is about."""
        self._events += 1
        if isinstance(event, ProbeSent):
            self._record.is_seen[event.task] = 1
            self._plan.seen(event.task, event.time_ns, self._events)
        elif isinstance(event, Answer):
            task = self._task_of_answer(
                (event.source, event.source_port), (event.own, event.own_port), event.time_ns, event.data
            )
            if task >= 0 and self._record.answer(task, event.time_ns, event.data):
                self._pacing.answered(task, event.time_ns)
        else:
            self._failed(event)

    def _failed(self, error: Error) -> None:
        plan, task = self._plan, error.task
        kind = self._kind(error.family, error.icmp_type, error.icmp_code, error.reporter, error.mtu, task)
        if kind is None:
            return
        sent_ns, frame = plan.departure(task, error.attempt)
        measured_ns = 0 if kind.reporter == THIS_HOST else sent_ns
        source = max(plan.source_of(task, error.own), 0)
        length = plan.length_of(task, error.attempt, source)
        self._record.error(task, kind, error.time_ns, sent_ns=measured_ns, length=length)
        self._pacing.failed(
            task,
            source,
            error.attempt,
            error.time_ns,
            is_refusal=kind.is_refusal_by(plan.tasks.address(task)),
            origin=self._origin_of(kind, task),
        )
        if self._on_error:
            self._on_error(
                Believed(
                    error.time_ns,
                    self._events,
                    task,
                    error.own,
                    None,
                    kind,
                    is_exact=True,
                    notes=0,
                    length=length,
                    sent_ns=sent_ns,
                    frame=frame,
                )
            )
