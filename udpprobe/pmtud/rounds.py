"""When to send which probe of a path MTU search, and what its reply or silence means.

A size is tried alone first. If nothing comes back, it is tried again with a witness after it: a packet of a size that
arrived before. If only the witness is answered, the probe was lost because of its size. If neither is, the search waits
for the limit on ICMP errors. So a limit is never taken for loss, and a try costs the host one refusal.
"""

from __future__ import annotations

import errno
from collections import Counter, deque
from collections.abc import Sequence

from msgspec import Struct, field

from udpprobe.core.limiter import MS, NEVER, SECOND
from udpprobe.core.notes import NO_NEIGHBOUR
from udpprobe.pmtud.search import Search
from udpprobe.replies import Probe, Reply

SERVICE, CONTROL = range(2)
"""Roles of the ports: the user's, and a closed one whose refusals prove what arrives."""
FIRST_TIMEOUT_NS = SECOND
"""RFC 6298, 2.1, until an RTT is known."""
LEAST_TIMEOUT_NS = 50 * MS
LEAST_GRACE_NS = 10 * MS
"""Time to wait, after the witness is answered, for the probe sent before it."""
ARRIVED, TOO_BIG, OTHER, UNSENT = "arrived", "too-big", "other", "unsent"
NO_PROOF = frozenset({"too-big", "loop", "expired", "reassembly"})
"""Errors that even the destination itself may send about datagrams that did not reach its UDP."""


class RetryPolicy(Struct, frozen=True):
    """How long to wait, and how often to try."""

    tries: int = 3
    """Lost probes of a size before it counts as lost (RFC 8899's MAX_PROBES)."""
    timeout_ns: int = 4 * SECOND
    """How long to wait for a host that has not replied at all."""
    ttl: int = 64


class SizedProbe(Struct, frozen=True):
    """A probe to send, and the role of its port."""

    role: int
    probe: Probe


class SizeRound(Struct):
    """Probes of one size, perhaps followed by witnesses."""

    size: int
    deadline_ns: int
    targets: set[int] = field(default_factory=set)
    """Numbers of the probes."""
    witnesses: dict[int, int] = field(default_factory=dict)
    """Numbers of the witnesses, and their sizes."""
    wanted: int = 0
    """The witness that disproves the size if only it arrives; so does a smaller one."""
    largest_witness: int = 0
    """The largest witness that was answered."""


class Sent(Struct):
    """A sent probe."""

    role: int
    size: int
    flow: int
    sent_ns: int
    arrived: bool = False
    is_unsent: bool = False
    """Whether this host could not send it."""


class RoundTrip:
    """RFC 6298's estimate of the retransmission timeout."""

    def __init__(self) -> None:
        self.smoothed_ns, self._variation_ns = 0, 0

    def take(self, rtt_ns: int) -> None:
        """Learn from a reply."""
        if not self.smoothed_ns:
            self.smoothed_ns, self._variation_ns = rtt_ns, rtt_ns // 2
            return
        self._variation_ns += (abs(self.smoothed_ns - rtt_ns) - self._variation_ns) // 4
        self.smoothed_ns += (rtt_ns - self.smoothed_ns) // 8

    @property
    def timeout_ns(self) -> int:
        """Time to wait for a reply."""
        if not self.smoothed_ns:
            return FIRST_TIMEOUT_NS
        return max(self.smoothed_ns + 4 * self._variation_ns, LEAST_TIMEOUT_NS)

    @property
    def grace_ns(self) -> int:
        """Time by which replies may be reordered."""
        return max(self.smoothed_ns // 4, LEAST_GRACE_NS)


def result_of(reply: Reply) -> str:
    """A reply's meaning for its probe: ARRIVED, TOO_BIG, OTHER, UNSENT or NO_NEIGHBOUR.

    Any error from the destination itself proves that the datagram arrived.
    """
    event = reply.event
    if event is None:
        return ARRIVED if reply.kind == "answer" else UNSENT
    if reply.kind in {UNSENT, NO_NEIGHBOUR}:
        return reply.kind
    if event.verdict == "too-big":
        return TOO_BIG
    itself = event.reporter == event.quoted.destination and event.verdict not in NO_PROOF
    return ARRIVED if itself else OTHER


# ---- the host's limit

# How often a host with a rate limit refuses, learned from the gaps between its refusals.

EARLY, LATE = 0.97, 1.25
"""The next refusal is expected within these parts of the interval ..."""
STEPS = 16
"""... and then again after this part of it."""
GAPS = 5
"""Number of last gaps from which an interval is learned."""


class RefusalGaps:
    """When to expect the next refusal."""

    def __init__(self) -> None:
        self.gap_ns = 0
        """Time between two refusals; 0 while no limit was noticed."""
        self._gaps: deque[int] = deque(maxlen=GAPS)

    def take(self, gap_ns: int) -> None:
        """Record the time waited for a refusal, through rounds without a reply."""
        self._gaps.append(max(gap_ns, 0))
        self.gap_ns = sorted(self._gaps)[(len(self._gaps) - 1) // 2]  # one gap may include a loss

    @property
    def early_ns(self) -> int:
        """Time after a refusal during which the next is not to be expected."""
        return int(self.gap_ns * EARLY)

    def again_ns(self, waited_ns: int) -> int:
        """When to try again if none came within `waited_ns`."""
        return self.gap_ns // STEPS if waited_ns < self.gap_ns * LATE else waited_ns // 3


# ---- other errors

# When to believe routers that nothing gets through: once they repeat it, or nothing arrives of what is sent again.
# An error is a hint. It may be about the size, about one port only, temporary, or forged. Its sender may send only the
# first of several (Linux without a route sends two, IOS one every half second).

OF_HOST = frozenset({"unreachable", "expired", "loop"})
"""Verdicts about a whole host, whatever the port."""
OF_PORT = frozenset({"prohibited", "rejected", "malformed"})
"""Verdicts that may be about one port only."""
REPEAT_NS = 250 * MS
"""Time after a probe that drew an error until the next; and after that, something may still arrive."""


class _ErrorsOfRole(Struct):
    """The errors about one role's port."""

    first_ns: int
    """Send time of the first probe with an error ..."""
    last_ns: int
    """... and of the latest."""
    smallest: int
    """Bytes of the smallest."""
    arrived_ns: int
    """Arrival time of the error about that one."""

    def believed_ns(self, least: int, tries: int) -> int:
        """When to believe them; NEVER while they may be about the size."""
        if self.smallest > least:
            return NEVER
        if self.last_ns >= self.first_ns + REPEAT_NS:
            return self.first_ns + 2 * REPEAT_NS
        return self.arrived_ns + (tries + 1) * REPEAT_NS


class OtherErrors:
    """Errors other than "too big", while nothing arrives.

    Args:
        least: by role, bytes of its smallest packet.
        tries: number of times that silence must confirm them.
    """

    def __init__(self, least: Sequence[int], tries: int) -> None:
        self._least, self._tries = least, tries
        self._said: dict[int, _ErrorsOfRole] = {}
        self._repeats = 0

    def take(self, verdict: str, sent: Sent, now_ns: int) -> None:
        """Record an error about a probe."""
        roles = range(len(self._least)) if verdict in OF_HOST else (sent.role,) if verdict in OF_PORT else ()
        for role in roles:
            smallest = self._least[role] if sent.size == self._least[sent.role] else sent.size
            said = self._said.setdefault(role, _ErrorsOfRole(sent.sent_ns, sent.sent_ns, smallest, now_ns))
            said.first_ns, said.last_ns = min(said.first_ns, sent.sent_ns), max(said.last_ns, sent.sent_ns)
            if smallest < said.smallest:
                said.smallest, said.arrived_ns = smallest, now_ns

    @property
    def believed_ns(self) -> int:
        """When to believe them if nothing arrives; NEVER while they are about one port only."""
        return (
            max((said.believed_ns(self._least[role], self._tries) for role, said in self._said.items()), default=NEVER)
            if len(self._said) == len(self._least)
            else NEVER
        )

    @property
    def wants_repeat(self) -> bool:
        """Whether to send the smallest packets again soon."""
        return bool(self._said) and self._repeats < self._tries

    def repeated(self) -> None:
        """Record that they were sent again."""
        self._repeats += 1


# ---- the search

FLOWS = 16
"""Source ports to the service: an answer without a token is matched by the port at which it arrives."""

TRANSIENT = frozenset({errno.ENOBUFS, errno.EAGAIN, errno.EINTR})
LIMITS_NS = 2 * SECOND
"""Time that waiting for a host's limit on errors may add to the user's timeout."""
BASE_ROUNDS = 4
"""Rounds of probes to a silent host."""
DOUBTFUL = 2
"""After this many rounds without a reply, check whether earlier sizes still arrive."""
MOST_PROBES = 4000
"""Most changes of a path before the search gives up."""


class SearchRounds:
    """The search in progress.

    Args:
        search: chooses the next size, and learns the result.
        least: by role, bytes of its smallest packet. With one role only there is no control.
        policy: how long to wait, and how often to try.
        now_ns: current time.
    """

    def __init__(self, search: Search, least: Sequence[int], policy: RetryPolicy, now_ns: int) -> None:
        self.search, self.least, self._policy = search, least, policy
        self.sent: dict[int, Sent] = {}
        self.proofs: list[Counter[str]] = [Counter() for _ in least]
        """By role, number of probes that proved to arrive, by `answer` and `error`."""
        self.complaints: Counter[str] = Counter()
        """Other errors, by verdict."""
        self.has_no_neighbour = False
        """Whether this host found no neighbour for the address."""
        self.send_errnos: Counter[int] = Counter()
        """Why this host could not send to the service; without EMSGSIZE."""
        self.is_over = False
        self._other_errors = OtherErrors(least, policy.tries)
        self._rtt = RoundTrip()
        self._round = SizeRound(0, now_ns)
        self._base_ns = now_ns
        self.refusals = RefusalGaps()
        self._last_ns = now_ns
        self._silent, self._since = 0, 0
        self._scouted, self._is_unsure, self._takes_padding = 0, False, True
        self._flow_of: dict[int, int] = {}

    @property
    def wake_ns(self) -> int:
        """When to call `due` if no reply comes before."""
        return min(self._round.deadline_ns, NEVER if self.search.passed else self._other_errors.believed_ns)

    @property
    def timeout_ns(self) -> int:
        """Time to wait for a reply."""
        return self._rtt.timeout_ns

    @property
    def is_unsent(self) -> bool:
        """Whether this host cannot send to the service at all; that it can send to the control proves nothing."""
        return bool(self.send_errnos) and not self.proofs[SERVICE]

    @property
    def deciding_role(self) -> int:
        """The role whose silence counts: a refusal does not depend on the payload."""
        return CONTROL if len(self.proofs) > CONTROL and self.proofs[CONTROL] else SERVICE

    def due(self, now_ns: int) -> list[SizedProbe]:
        """The probes to send now; none while replies may still come."""
        has_moved = self.search.passed > 0 and self.search.next() != self._round.size
        if self.is_over or (now_ns < self.wake_ns and not has_moved):
            return []
        self._close()
        if self._is_enough(now_ns):
            self.is_over = True
            return []
        return self._base(now_ns) if not self.search.passed else self._try(now_ns)

    def _is_enough(self, now_ns: int) -> bool:
        limits_ns = max(LIMITS_NS, 4 * self.refusals.gap_ns) if self.search.passed else 0
        is_vain = self.is_unsent or (
            not self.search.passed and (self.has_no_neighbour or now_ns >= self._other_errors.believed_ns)
        )
        return (
            self.search.next() is None
            or is_vain
            or now_ns - self._last_ns >= self._policy.timeout_ns + limits_ns
            or len(self.sent) >= MOST_PROBES
        )

    def _close(self) -> None:
        """Draw conclusions from the round's missing replies."""
        over = self._round
        if not over.witnesses or over.size <= self.search.passed:
            return
        if over.largest_witness >= over.wanted:
            self._silent = 0
            self.search.missed(over.size)
        elif over.largest_witness:
            self._doubt(over.wanted)
        elif self.search.passed:
            self._silent += 1

    def _doubt(self, size: int) -> None:
        """The larger witness, which arrived before, was lost and the smaller one was not: the path has changed."""
        self.search.missed(size)
        self.search.shrink(self.least[self.deciding_role])
        self._since, self._silent = len(self.sent), 0

    def _base(self, now_ns: int) -> list[SizedProbe]:
        """Find out whether anything replies: to each port the largest size that may pass, then the smallest."""
        if self._other_errors.wants_repeat:
            return self._repeat(now_ns)
        size = min(self.search.hints, default=self.search.most)
        is_full = size == self._round.size or now_ns >= self._base_ns
        if is_full:
            self._base_ns = now_ns + max(self._policy.timeout_ns // BASE_ROUNDS, LEAST_TIMEOUT_NS)
        self._round, self._scouted = SizeRound(size, self._base_ns, wanted=min(self.least)), size
        outgoing = []
        for role, least in enumerate(self.least):
            outgoing += [self._probe(role, max(size, least), now_ns)]
            outgoing += [self._witness(role, least, now_ns)] if is_full else []
        return outgoing

    def _repeat(self, now_ns: int) -> list[SizedProbe]:
        """Check routers' errors that nothing gets through: the smallest size once more."""
        self._other_errors.repeated()
        self._round = SizeRound(self._round.size, now_ns + REPEAT_NS, wanted=min(self.least))
        return [self._witness(role, least, now_ns) for role, least in enumerate(self.least)]

    def _try(self, now_ns: int) -> list[SizedProbe]:
        size = self.search.next() or 0
        if self._is_scout(size):
            self._scouted = size
            self._round = SizeRound(size, now_ns + self._rtt.timeout_ns)
            return [self._probe(self._scout, size, now_ns)]
        return self._try_with_witness(size, now_ns)

    def _is_scout(self, size: int) -> bool:
        """Whether to try a size alone: the first one, and one that probably arrives."""
        return size != self._scouted and size > self.search.passed + 1 and not self.search.is_reported(size)

    @property
    def _scout(self) -> int:
        return SERVICE if self.proofs[SERVICE]["answer"] and self._takes_padding else self.deciding_role

    def _try_with_witness(self, size: int, now_ns: int) -> list[SizedProbe]:
        """Try a size with a witness after it; after silence, also with the smallest size."""
        if now_ns < (token_ns := self._last_ns + self.refusals.early_ns):
            self._round = SizeRound(size, token_ns)
            return []
        wait_ns = max(self._rtt.timeout_ns, self.refusals.again_ns(now_ns - self._last_ns) if self._silent else 0)
        copies = self._policy.tries if size == self.search.passed + 1 else 1
        role, least = self.deciding_role, self.least[self.deciding_role]
        wanted = max(self.search.passed, least)
        self._round = SizeRound(size, now_ns + wait_ns, wanted=wanted)
        outgoing = [self._probe(role, size, now_ns) for _ in range(copies)]
        outgoing.append(self._witness(role, wanted, now_ns))
        if self._silent >= DOUBTFUL and least < wanted:
            outgoing.append(self._witness(role, least, now_ns))
        return outgoing + self._second_opinion(size, now_ns)

    def _second_opinion(self, size: int, now_ns: int) -> list[SizedProbe]:
        """Probes to the control, which has not replied yet, while the service answers only its own request."""
        if self.deciding_role == SERVICE and len(self.least) > CONTROL and self.search.passed == self.least[SERVICE]:
            return [self._probe(CONTROL, each, now_ns) for each in (size, self.least[CONTROL])]
        return []

    def _witness(self, role: int, size: int, now_ns: int) -> SizedProbe:
        outgoing = self._new(role, size, now_ns)
        self._round.witnesses[outgoing.probe.number] = size
        return outgoing

    def _probe(self, role: int, size: int, now_ns: int) -> SizedProbe:
        outgoing = self._new(role, size, now_ns)
        self._round.targets.add(outgoing.probe.number)
        return outgoing

    def _new(self, role: int, size: int, now_ns: int) -> SizedProbe:
        number = len(self.sent)
        flow = self._flow_of.setdefault(size, len(self._flow_of) % (FLOWS - 1) + 1) if self._is_unsure else 0
        flow = flow if role == SERVICE else 0
        self.sent[number] = Sent(role, size, flow, now_ns)
        return SizedProbe(role, Probe(number, self._policy.ttl, size, flow))

    def take(self, reply: Reply) -> None:
        """Handle a reply to a probe of this search.

        A probe that this host's own firewall rejected has none, even if the firewall speaks for the destination because
        that is a port of this host.
        """
        sent = self.sent.get(reply.number)
        if sent is not None and not sent.is_unsent:
            {
                ARRIVED: self._arrived,
                TOO_BIG: self._too_big,
                OTHER: self._other,
                UNSENT: self._firewalled,
                NO_NEIGHBOUR: self._not_found,
            }[result_of(reply)](sent, reply)

    def _arrived(self, sent: Sent, reply: Reply) -> None:
        self._learn_gap(reply.time_ns)
        if not sent.arrived and (reply.is_sure or sent.flow):
            self._rtt.take(max(reply.time_ns - reply.sent_ns, 1))
        self.proofs[sent.role][reply.kind] += 1
        sent.arrived = True
        size = self._proven(sent, reply)
        if reply.number < self._since and size > self.search.passed:
            return
        if sent.role != SERVICE and size == self._scouted and self.proofs[SERVICE]["answer"]:
            self._takes_padding = False
        self.search.arrived(size)
        self._bear_witness(reply.number, size)

    def _learn_gap(self, time_ns: int) -> None:
        """Learn, after rounds without a reply, how long the host's limit on errors made them wait."""
        if self._silent:
            self.refusals.take(time_ns - self._last_ns)
            self._silent = 0
        self._last_ns = max(self._last_ns, time_ns)

    def _proven(self, sent: Sent, reply: Reply) -> int:
        """The size that a reply proves; an answer to any of several probes proves only the smallest."""
        if reply.is_sure or sent.flow:
            return sent.size
        self._is_unsure = True
        return self.least[sent.role]

    def _bear_witness(self, number: int, size: int) -> None:
        within = self._round
        if number in within.witnesses or (number in within.targets and size < within.size):
            within.largest_witness = max(within.largest_witness, size)
        if within.largest_witness >= within.wanted > 0:
            within.deadline_ns = min(within.deadline_ns, self._last_ns + self._rtt.grace_ns)

    def _too_big(self, sent: Sent, reply: Reply) -> None:
        """Handle a router's "too big"; without effect if the packet arrived."""
        if sent.arrived or reply.number < self._since:
            return
        if sent.size > self.search.passed:
            self.search.reported(sent.size, reply.event.mtu if reply.event else None)
        elif sent.size == self.search.passed:
            self._silent = max(self._silent, DOUBTFUL)
        if reply.number in self._round.targets and self._has_said_all():
            self._round.deadline_ns = reply.time_ns

    def _has_said_all(self) -> bool:
        """Whether a router's error about its probe ends the round: not while a witness's reply is due."""
        if self.search.passed:
            return not self._round.witnesses
        return min(self.search.hints, default=self._round.size) < self._round.size

    def _other(self, sent: Sent, reply: Reply) -> None:
        verdict = (reply.event.verdict if reply.event else None) or "unreachable"
        self.complaints[verdict] += 1
        self._other_errors.take(verdict, sent, reply.time_ns)
        if not self.search.passed and self._other_errors.wants_repeat:
            self._round.deadline_ns = min(self._round.deadline_ns, max(sent.sent_ns + REPEAT_NS, reply.time_ns))

    def _firewalled(self, sent: Sent, reply: Reply) -> None:
        self._note_unsent(sent, errno.EPERM, reply.time_ns)  # its firewall, which also fails the send call

    def _not_found(self, _: Sent, reply: Reply) -> None:
        self.has_no_neighbour = True
        self._round.deadline_ns = min(self._round.deadline_ns, reply.time_ns)

    def unsent(self, number: int, send_errno: int, now_ns: int) -> None:
        """This host did not send a probe.

        Args:
            number: the probe's.
            send_errno: EMSGSIZE means that it exceeds the interface's MTU.
            now_ns: current time.
        """
        self.sent[number].is_unsent = True
        self._note_unsent(self.sent[number], send_errno, now_ns)

    def _note_unsent(self, sent: Sent, send_errno: int, now_ns: int) -> None:
        if send_errno in TRANSIENT:
            return
        if send_errno == errno.EMSGSIZE and sent.size > self.least[sent.role]:
            self.search.unsent(sent.size)
        elif sent.role == SERVICE:
            self.send_errnos[send_errno] += 1
        self._round.deadline_ns = min(self._round.deadline_ns, now_ns)
