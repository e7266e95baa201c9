"""What came back for each task of a scan: answers, errors, and probes that went round a loop."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import gcd
from typing import NamedTuple

from msgspec import Struct, field

from udpprobe.core.notes import mtu_notes
from udpprobe.core.sweep import Refusals
from udpprobe.scanning.plan import Address, Plan

EXCERPT_BYTES = 2048
"""Bytes kept of an answer: more than an Ethernet frame holds."""
MOST_RTTS = 1 << 10
"""RTTs kept per finding."""

SAME_NS = 500_000
"""A packet equal to another is a copy from another interface if it comes this soon after it …"""
AT_ONCE_NS = 20_000
"""… or this soon for IPv6 errors, which have no id to distinguish them …"""
FORWARD_NS = 20_000_000
"""… or this soon if its TTL is lower by one: the longest forwarding delay of a router."""


UNREACHABLE_PORT = {4: (4, 3, 3), 6: (6, 1, 4)}
"""By family: family, type and code."""
THIS_HOST = (0, 0)
"""Reporter of errors from this host itself: no neighbour answers for the address."""


class Kind(NamedTuple):
    """An error's content and reporter."""

    family: int
    icmp_type: int
    icmp_code: int
    reporter: Address
    mtu: int
    """-1 without."""

    def is_refusal_by(self, address: Address) -> bool:
        """Whether it is port unreachable, from this address itself."""
        return self.reporter == address and self[:3] == UNREACHABLE_PORT[self.family]


class Found(Struct):
    """Errors of one kind about one task."""

    first_ns: int
    last_ns: int
    length: int
    """Bytes of the shortest probe they quote."""
    count: int = 0
    notes: int = 0
    """Bits of `Note`."""
    is_exact: bool = False
    """Whether at least one quotes the very probe; otherwise a NAT changed the source."""
    rtts_ns: array[int] = field(default_factory=lambda: array("q"))
    identity: int = 0
    """What distinguishes the last error from the others."""


class LoopSightings(Struct):
    """Probes of a task that the capture shows going round a loop."""

    passes: int
    first_ns: int
    last_ns: int
    period: int
    """Hops of one turn: the fall of the TTL each time."""


class ScanRecord:
    """What came back.

    Args:
        plan: what was sent.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan, count = plan, len(plan)
        self.is_seen = bytearray(count)
        """(tasks,) whether a probe of it was confirmed as sent."""
        self.has_reply = bytearray(count)
        """(tasks,) whether an answer or an error arrived."""
        self.answers: dict[int, bytes] = {}
        """By task, EXCERPT_BYTES of its first answer."""
        self.answered = array("I", bytes(4 * count))
        """(tasks,) number of answers."""
        self.answered_bytes = array("Q", bytes(8 * count))
        """(tasks,) UDP payload of all answers."""
        self._rtts_ns: dict[int, array[int]] = {}
        self._rtt_ns = array("q", [-1]) * count
        """(tasks,) from a probe to its first answer; `_rtts_ns` has further ones."""
        self._answered_attempt = array("I", bytes(4 * count))
        """(tasks,) number of probes made when the last answer arrived."""
        self.first_answer_ns = array("q", bytes(8 * count))
        """(tasks,) arrival time of the first answer; 0 for never."""
        self._last_answer, self._last_answer_ns = array("q", bytes(8 * count)), array("q", bytes(8 * count))
        self._last_ttl = bytearray(count)
        self._found: defaultdict[int, dict[Kind, Found]] = defaultdict(dict)
        """By task, its errors."""
        self.refusals = Refusals(count)
        """Refusals handled in bulk. Such a task has no other error, until one arrives."""
        self.loops: dict[int, LoopSightings] = {}
        """By task."""
        self._rounds: dict[tuple[int, int, int], list[int]] = {}
        """By task, id and link of a probe seen again with a lower TTL: that TTL, and the fall before it."""
        self.header_traits = HeaderTraits(plan.host)
        """What each host's refusals have in common."""

    def answer(self, task: int, time_ns: int, data: bytes, *, ttl: int = 0, identity: int = 0) -> bool:
        """Count an answer; return whether it is new, not a copy from another interface.

        Args:
            task: the task it answers.
            time_ns: arrival time.
            data: its payload.
            ttl: TTL on arrival; 0 if unknown.
            identity: what distinguishes it from other answers; 0 if unknown.
        """
        apart_ns = abs(time_ns - self._last_answer_ns[task])
        fall = abs(self._last_ttl[task] - ttl)
        if (
            identity
            and identity == self._last_answer[task]
            and (apart_ns <= SAME_NS or (fall == 1 and apart_ns <= FORWARD_NS))
        ):
            return False
        self._last_answer[task], self._last_answer_ns[task], self._last_ttl[task] = identity, time_ns, ttl
        self.has_reply[task] = 1
        self.answered[task] += 1
        self.answered_bytes[task] += len(data)
        if task not in self.answers:
            self.answers[task] = data[:EXCERPT_BYTES]
            self.first_answer_ns[task] = time_ns
        sent_ns = self._plan.sent_ns(task)
        if self._answered_attempt[task] < self._plan.attempts[task]:  # later ones answer the same probe
            self._answered_attempt[task] = self._plan.attempts[task]
            if sent_ns and time_ns >= sent_ns:
                self._add_rtt(task, time_ns - sent_ns)
        return True

    def _add_rtt(self, task: int, rtt_ns: int) -> None:
        if self._rtt_ns[task] < 0:
            self._rtt_ns[task] = rtt_ns
        elif len(more := self._rtts_ns.setdefault(task, array("q"))) < MOST_RTTS:
            more.append(rtt_ns)

    def rtts_ns(self, task: int) -> list[int]:
        """Times from probes to their answers."""
        first = self._rtt_ns[task]
        return [] if first < 0 else [first, *self._rtts_ns.get(task, ())]

    def errors_of(self, task: int) -> Mapping[Kind, Found]:
        """The errors about a task."""
        if self.refusals.came_ns[task]:
            return dict([self._refusal(task)])
        return self._found.get(task, {})

    def _refusal(self, task: int) -> tuple[Kind, Found]:
        """The only error about a task, which was handled in bulk."""
        refusals, address = self.refusals, self._plan.tasks.address(task)
        came_ns, took_ns = refusals.came_ns[task], refusals.took_ns[task]
        kind = Kind(*UNREACHABLE_PORT[self._plan.family_of(task)], address, -1)
        return kind, Found(
            came_ns,
            came_ns,
            refusals.length[task],
            1,
            is_exact=True,
            identity=refusals.mark[task],
            rtts_ns=array("q", [took_ns] if took_ns >= 0 else ()),
        )

    def error(
        self,
        task: int,
        kind: Kind,
        time_ns: int,
        *,
        sent_ns: int,
        length: int,
        notes: int = 0,
        is_exact: bool = True,
        identity: int = 0,
    ) -> bool:
        """Count an error; return whether it is new, not a copy from another interface.

        Args:
            task: the task it is about.
            kind: its content and reporter.
            time_ns: arrival time.
            sent_ns: send time of the quoted probe; 0 if unknown.
            length: bytes of that probe's IP packet.
            notes: bits of `Note`.
            is_exact: whether it quotes that very probe, as it was sent.
            identity: what distinguishes it from other errors of the kind; 0 if unknown.
        """
        self.has_reply[task] = 1
        if self.refusals.came_ns[task]:  # no longer the only one
            self._found[task] = dict([self._refusal(task)])
            self.refusals.came_ns[task] = 0
        found = self._found[task].get(kind)
        if found is None:
            found = self._found[task][kind] = Found(time_ns, time_ns, length)
        soon_ns = SAME_NS if kind.family == 4 else AT_ONCE_NS
        is_new = not (identity and identity == found.identity and abs(time_ns - found.last_ns) <= soon_ns)
        found.first_ns, found.last_ns = min(found.first_ns, time_ns), max(found.last_ns, time_ns)
        found.identity, found.length = identity, min(found.length, length)
        found.notes |= notes | int(mtu_notes(kind.family, kind.mtu, found.length))
        found.is_exact |= is_exact
        if is_new:
            found.count += 1
            if sent_ns and time_ns >= sent_ns and len(found.rtts_ns) < MOST_RTTS:
                found.rtts_ns.append(time_ns - sent_ns)
        return is_new

    def come_round(self, task: int, time_ns: int, *, ttl: int, identity: int, link: int) -> None:
        """Record a probe that was seen again with a lower TTL than it was sent with.

        Two sightings are what both sides of a router show. Three on one link, with a TTL that falls by equal steps, are
        a loop (Hengartner et al., IMC 2002).
        """
        last = self._rounds.setdefault((task, identity, link), [ttl, 0, 0])
        fall = last[0] - ttl
        if fall <= 0:
            return
        if fall == last[1]:
            loop = self.loops.setdefault(task, LoopSightings(0, time_ns, time_ns, fall))
            loop.passes += 1 if last[2] else 2
            loop.first_ns, loop.last_ns = min(loop.first_ns, time_ns), max(loop.last_ns, time_ns)
            loop.period = gcd(loop.period, fall)
            last[2] = 1
        last[0], last[1] = ttl, fall


FEWEST = 3
"""Header bits are usual if so many ports of a host have them, and more than half of them."""
MOST_WITHOUT_0 = 655
"""Of so many random ids, one is 0 in 1 % of all hosts."""


class Trait(Struct, frozen=True):
    """A property that the errors of one host share."""

    value: Callable[[int], int]
    """Extracts it from header bits."""
    text: Callable[[int, int], str]
    """Describes it, given header bits and the usual value."""


TRAITS = (
    Trait(
        lambda header_bits: header_bits >> 3,
        lambda header_bits, usual: f"{'hop limit' if header_bits & 4 else 'TTL'} {header_bits >> 3}, not {usual}",
    ),
    Trait(
        lambda header_bits: header_bits >> 1 & 1, lambda header_bits, _: "DF set" if header_bits & 2 else "DF not set"
    ),
    Trait(
        lambda header_bits: header_bits & 1, lambda header_bits, _: "id 0" if header_bits & 1 else "an id other than 0"
    ),
)


class HeaderTraits:
    """The header bits of each host's refusals: TTL << 3 | family is IPv6 << 2 | DF << 1 | id is 0.

    Args:
        hosts: (tasks,) the host of each task: 0, 1, 2 ….
    """

    def __init__(self, hosts: Sequence[int]) -> None:
        self._hosts = hosts
        self.first = array("h", [-1]) * len(hosts)
        """(tasks,) header bits of its first refusal; -1 for none."""
        count = max(hosts, default=-1) + 1
        self.of_host = array("h", [-1]) * count
        """(hosts,) header bits of each host's first refusal."""
        self.is_uneven = bytearray(count)
        """(hosts,) whether a later one had others."""

    def take(self, task: int, family: int, ttl: int, ip_id: int, *, has_df: bool) -> None:
        """Record a refusal.

        Args:
            task: what it is about.
            family: 4 or 6.
            ttl: of its IP header, like the following.
            ip_id: 0 in IPv6.
            has_df: DON'T FRAGMENT is set.
        """
        header_bits, host = ttl << 3 | (family == 6) << 2 | has_df << 1 | (ip_id == 0), self._hosts[task]
        if self.of_host[host] < 0:
            self.of_host[host] = header_bits
        elif self.of_host[host] != header_bits:
            self.is_uneven[host] = 1
        if self.first[task] < 0:
            self.first[task] = header_bits

    def notes(self) -> dict[int, str]:
        """By task, the note on an unusual refusal."""
        if not any(self.is_uneven):
            return {}
        counts: dict[int, dict[int, int]] = {}
        for (host, header_bits), count in Counter(zip(self._hosts, self.first, strict=True)).items():
            if header_bits >= 0 and self.is_uneven[host]:
                counts.setdefault(host, {})[header_bits] = count
        odd = {
            (host, header_bits): text
            for host, frequencies in counts.items()
            for header_bits in frequencies
            if (text := _differences(header_bits, frequencies))
        }
        if not odd:
            return {}
        return {
            task: f"its error differs from the host's other errors ({odd[pair]}): perhaps a firewall answers for it"
            for task, pair in enumerate(zip(self._hosts, self.first, strict=True))
            if pair in odd
        }


def _differences(header_bits: int, frequencies: Mapping[int, int]) -> str:
    """Text of the traits in which header bits differ from the usual ones of their host."""
    texts = []
    for trait in TRAITS:
        usual = usual_of((trait.value(each), count) for each, count in frequencies.items())
        if usual is not None and usual != trait.value(header_bits) and not _is_chance(trait, header_bits, frequencies):
            texts.append(trait.text(header_bits, usual))
    return ", ".join(texts)


def _is_chance(trait: Trait, header_bits: int, frequencies: Mapping[int, int]) -> bool:
    """Whether an id of 0 may be chance among a host's ids, which vary where DF is not set (RFC 6864, 4.1)."""
    return trait is TRAITS[-1] and header_bits & 3 == 1 and sum(frequencies.values()) > MOST_WITHOUT_0


def usual_of(values: Iterable[tuple[int, int]]) -> int | None:
    """The value that most ports of a host share, if any.

    Args:
        values: pairs of a value and its number of ports; a value may occur several times.
    """
    counts: Counter[int] = Counter()
    for value, count in values:
        counts[value] += count
    usual, times = max(counts.items(), key=lambda each: each[1], default=(0, 0))
    return usual if times >= FEWEST and 2 * times > counts.total() else None


class ProbeSent(NamedTuple):
    """A probe was sent."""

    time_ns: int
    task: int
    length: int
    """Bytes of the IP packet."""


class Answer(NamedTuple):
    """A datagram arrived at one of the scan's ports."""

    time_ns: int
    source: Address
    source_port: int
    own: Address
    """Address at which it arrived."""
    own_port: int
    data: bytes

    @property
    def length(self) -> int:
        """Bytes of the IP packet, assuming no options."""
        return len(self.data) + (28 if self.source[0] == 0 and self.source[1] >> 32 == 0xFFFF else 48)


class Error(NamedTuple):
    """An ICMP error about a probe arrived."""

    time_ns: int
    task: int
    attempt: int
    """Which probe of the task it is about."""
    own: Address
    """Source address of that probe."""
    family: int
    icmp_type: int
    icmp_code: int
    reporter: Address
    mtu: int
    """Next-hop MTU; -1 without."""
    length: int = 0
    """Bytes of the error's own packet: unknown."""


Event = ProbeSent | Answer | Error
