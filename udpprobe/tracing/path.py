"""One flow of a trace: its probes by TTL, its end or loop, and the replies still expected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from errno import EPERM
from itertools import chain
from math import comb
from typing import ClassVar

from msgspec import Struct, field

from udpprobe.core.limiter import MS, NEVER
from udpprobe.core.loops import Round, find_round
from udpprobe.replies import Probe, Reply

# ---- limits on errors

# Whether a hop with unanswered probes limits its errors, or they were lost.
# Loss does not depend on the interval of probes; a limit does. Of several probes at once, it answers the first ones, as
# many as it has tokens for, and no other; after a pause it does so again. So a hop with unanswered probes is probed
# again in bursts.

BURST = 6
"""Probes at once for a hop that is probed again."""
UNLIKELY = 0.0025
"""Below this probability, it was not loss ..."""
UNUSUAL = 0.03
"""... and below this, perhaps not."""


def chance_of_loss(first: Sequence[bool], bursts: Sequence[Sequence[bool]], beyond: int) -> float:
    """Probability that loss happens to look like a limit; 1 if a limit would be no explanation.

    All probes are equally likely to be lost, so all distributions of the losses over them are (Fisher's exact test).

    Args:
        first: which of the probes at the usual interval were answered, in sending order.
        bursts: likewise, for each burst after a pause.
        beyond: probes to hops beyond this one, none of which was lost.
    """
    again = [each for each in bursts if any(each)]  # one without reply may be due to an outage, or to a longer interval
    if not again or all(first) or not all(map(_is_limits, again)):
        return 1.0
    answered = [*first, *chain.from_iterable(again)]
    ways = 1 if _runs_dry(first) else comb(len(first), list(first).count(False))
    chance = ways / comb(len(answered) + beyond, answered.count(False))
    # a single observation may be an outage
    return chance if not all(map(all, again)) else max(chance, UNLIKELY)


def _is_limits(burst: Sequence[bool]) -> bool:
    """Whether a limit can cause this: one with tokens for most of a burst has enough for the usual interval."""
    return all(burst) or (_runs_dry(burst) and 2 * sum(burst) <= len(burst))


def _runs_dry(burst: Sequence[bool]) -> bool:
    """Whether the first ones were answered and no other."""
    return sorted(burst, reverse=True) == list(burst)


# ---- probes, and how long to wait for replies

TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
"""Type and code of TTL exceeded in transit, by family."""
BEYOND = 2
"""TTLs beyond a router's error that are tried before it counts as the end of the path."""
SOURCE_QUENCH = (4, 4)
"""Family and type of the one error that does not end a path (RFC 6633)."""


class TracePolicy(Struct, frozen=True):
    """How much to send, and how long to wait for replies."""

    max_ttl: int = 30
    first_ttl: int = 1
    queries: int = 3
    timeout_ns: int = 4000 * MS
    interval_ns: int = MS
    """Between two probes."""
    window: int = 12
    """Most probes of a flow in flight, because this many may pass the end before it is known. Two routers of a loop get
    six each, the number that Linux answers at once ..."""
    full_window: int = 24
    """... and most once it is known."""
    least_hold_ns: int = 50 * MS
    """Least time that an unanswered probe occupies the window ..."""
    first_hold_ns: int = 250 * MS
    """... and until the first reply."""
    least_wait_ns: int = 250 * MS
    """Least time to wait for a reply: routers take their time for errors."""
    times_here: int = 3
    """If the hop has replied before: wait this many of its RTTs."""
    times_later: int = 10
    """If a later hop has replied: wait this many of its RTTs."""
    pause_ns: int = 1100 * MS
    """Pause before an incompletely answered hop is probed again: one error a second is the strictest common limit."""
    slow_ns: int = 500 * MS
    """Between two such probes of a path without a known end: it may be a loop, whose few routers get all of them."""
    burst: int = BURST
    """Probes at once for a hop that has replied and is probed again."""
    probes_again: bool = True
    """Whether any hop is probed again."""
    likely_ttl: int = 0
    """TTL at which the path ended before. Probes beyond wait until it is clear that it does not end there now: each
    would draw another error from the hop at the end, and use up its limit. 0 if unknown."""
    most_pauses: ClassVar[int] = 3
    """Pauses after which such a hop is probed again, until it is clear whether it has a limit. A silent hop is probed
    again once."""


class Flight(Struct):
    """A sent probe."""

    probe: Probe
    sent_ns: int
    reply: Reply | None = None
    send_errno: int = 0
    """Why this host did not send it; 0 if it did."""
    again: int = 0
    """Number of the burst it belongs to, sent because earlier probes of its hop were unanswered; 0 for none."""
    void: bool = False
    """Whether an answer may have been assigned to another probe: it is not lost."""

    @property
    def is_settled(self) -> bool:
        """Whether its outcome is known. A router's report about larger packets does not decide it."""
        return self.reply is not None and not self.reply.is_about_larger


def is_expired(reply: Reply) -> bool:
    """Whether it reports TTL exceeded in transit."""
    event = reply.event
    return event is not None and (event.type, event.code) == TIME_EXCEEDED[event.family]


def is_end(reply: Reply) -> bool:
    """Whether a path may end with it: an answer, or an error that a higher TTL would not change."""
    event = reply.event
    return event is None or not (
        is_expired(reply) or reply.is_about_larger or (event.family, event.type) == SOURCE_QUENCH
    )


def is_own(reply: Reply) -> bool:
    """Whether a path certainly ends with it: a reply of the destination itself."""
    event = reply.event
    return is_end(reply) and (event is None or event.reporter == event.quoted.destination)


# ---- the path


class Path(Struct):
    """The state of one flow."""

    flow: int
    policy: TracePolicy
    flights: dict[int, list[Flight]] = field(default_factory=dict)
    """By TTL."""
    end_ttl: int | None = None
    """TTL of the path's end; None if unknown."""
    is_reached: bool = False
    """Whether the destination itself replied there."""
    round: Round | None = None
    unsure: bool = False
    """Answers may belong to any of several probes: from now on only one is under way at a time."""
    rtt_ns: dict[int, int] = field(default_factory=dict)
    """The longest RTT of each TTL that has replied."""
    expired: dict[int, frozenset[str]] = field(default_factory=dict)
    """By TTL, the reporters of TTL exceeded."""
    back: dict[int, frozenset[int]] = field(default_factory=dict)
    """TTLs that these reports arrived with."""
    reprobed_ns: int = 0
    """When a hop was last probed again, and ..."""
    spoke_ns: int = 0
    """... when it last replied to that; 0 for never."""

    def at(self, ttl: int) -> list[Flight]:
        """Probes of a TTL."""
        return self.flights.get(ttl, [])

    def exchanges(self, ttl: int) -> list[tuple[Flight, Reply]]:
        """The answered probes of a TTL; at the end of the path, those of all higher TTLs too."""
        last = max(self.flights) if ttl == self.end_ttl else ttl
        flights = [flight for each in range(ttl, last + 1) for flight in self.at(each)]
        return [
            (flight, flight.reply)
            for flight in flights
            if flight.reply and (flight.probe.ttl == ttl or is_end(flight.reply))
        ]

    @property
    def expired_ttl(self) -> int:
        """The highest TTL that expired, 0 for none."""
        return max(self.expired, default=0)

    @property
    def last_ttl(self) -> int:
        """The highest TTL worth probing, by what is known so far."""
        if self.end_ttl is not None:
            return self.end_ttl
        return self.round.last_ttl if self.round and self.round.is_certain else self.policy.max_ttl

    def queries(self, ttl: int) -> int:
        """Number of probes for a TTL; in a loop, the first turn is enough."""
        return 1 if self.round and self.end_ttl is None and ttl > self.round.end_ttl else self.policy.queries

    def deadline_ns(self, flight: Flight) -> int:
        """Time at which an unanswered probe is lost."""
        if flight.is_settled or flight.send_errno:
            return 0
        ttl, policy = flight.probe.ttl, self.policy
        here = self.rtt_ns.get(ttl, 0) * policy.times_here
        later = max((rtt_ns for each, rtt_ns in self.rtt_ns.items() if each > ttl), default=0) * policy.times_later
        waits = [wait_ns for wait_ns in (here, later) if wait_ns]
        rest_ns = policy.pause_ns if flight.again else policy.timeout_ns
        wait_ns = max(policy.least_wait_ns, min(waits)) if waits else rest_ns
        return flight.sent_ns + min(wait_ns, policy.timeout_ns)

    def held_until_ns(self, flight: Flight) -> int:
        """Time until which a probe occupies the window."""
        policy = self.policy
        slowest_ns = max(self.rtt_ns.values(), default=0)
        hold_ns = max(policy.least_hold_ns, 2 * slowest_ns) if slowest_ns else policy.first_hold_ns
        deadline_ns = self.deadline_ns(flight)
        return deadline_ns if self.unsure else min(deadline_ns, flight.sent_ns + hold_ns)

    def all_flights(self) -> Iterator[Flight]:
        """Every probe."""
        return (flight for flights in self.flights.values() for flight in flights)

    def has_room(self, now_ns: int) -> bool:
        """Whether another probe may be sent."""
        under_way = sum(
            self.held_until_ns(flight) > now_ns
            for flight in self.all_flights()
            if self.end_ttl is None or flight.probe.ttl <= self.end_ttl
        )
        return under_way < (1 if self.unsure else self._window)

    @property
    def _window(self) -> int:
        return self.policy.window if self.end_ttl is None else self.policy.full_window

    def next_ttl(self, now_ns: int = NEVER) -> int | None:
        """The next TTL of the plan; None when everything was sent, or this host cannot send.

        Args:
            now_ns: current time: some probes wait until others leave the window.
        """
        if any(flight.send_errno for flight in self.at(self.policy.first_ttl)):
            return None
        for query in range(1, self.policy.queries + 1):
            for ttl in range(self.policy.first_ttl, min(self.last_ttl, self._likely_ttl(now_ns)) + 1):
                if self._query_count(ttl) < min(query, self.queries(ttl)):
                    return ttl
        highest = max(self.flights, default=0)
        is_new = self.end_ttl is not None and (self.policy.probes_again or self.end_ttl != self.policy.likely_ttl)
        if (
            self.end_ttl is not None
            and is_new
            and not self.is_reached
            and highest < min(self.end_ttl + BEYOND, self.policy.max_ttl)
        ):
            return highest + 1  # the router's error may be about this TTL only
        return None

    def _likely_ttl(self, now_ns: int) -> int:
        """The highest TTL to probe while the path probably ends where it did before."""
        likely_ttl, flights = self.policy.likely_ttl, self.at(self.policy.likely_ttl)
        is_open = not flights or not any(
            each.is_settled or each.send_errno or self.held_until_ns(each) <= now_ns for each in flights
        )
        return likely_ttl if likely_ttl and is_open and not self.is_known else self.policy.max_ttl

    def _query_count(self, ttl: int) -> int:
        """Number of queries of a TTL; at the end of the path, probes with higher TTLs count too."""
        last = max(self.flights) if ttl == self.end_ttl else ttl
        return sum(not flight.void for each in range(ttl, last + 1) for flight in self.at(each))

    def again_at(self) -> Iterator[tuple[int, int]]:
        """The TTLs to probe again, and when."""
        slow_until_ns = self._slow_until_ns  # examines every probe; silent paths have many
        times = ((ttl, self._again_ns(ttl, slow_until_ns)) for ttl in self.hops())
        return (each for each in times if each[1] != NEVER)

    def _again_ns(self, ttl: int, slow_until_ns: int) -> int:
        """When to repeat the probes of a TTL with unanswered queries; NEVER if they are not repeated."""
        flights, bursts = self.at(ttl), self.bursts(ttl)
        latest = max(flights, key=lambda each: each.sent_ns, default=None)
        may_ask = self.policy.probes_again and not any(each.send_errno for each in flights)
        if latest is None or not may_ask or not self.is_open(ttl):
            return NEVER
        if bursts and len(bursts[-1]) < self._burst(ttl):
            return latest.sent_ns
        if bursts and self._is_settled(ttl, bursts):
            return NEVER
        if self.exchanges(ttl) or self.is_known:
            pause_ns = self.policy.pause_ns * _pauses(bursts[-1:])
            return max(self.deadline_ns(latest), latest.sent_ns + pause_ns)
        slow_ns = max(latest.sent_ns + self.policy.pause_ns, self.reprobed_ns + self.policy.slow_ns)
        return slow_ns if slow_ns <= slow_until_ns else NEVER

    def is_open(self, ttl: int) -> bool:
        """Whether a TTL left queries unanswered at first."""
        settled = sum(flight.is_settled for flight, _ in self.exchanges(ttl))
        return settled < self.queries(ttl) or any(each.again for each in self.at(ttl))

    def bursts(self, ttl: int) -> list[list[Flight]]:
        """The bursts of a TTL."""
        again = [flight for flight in self.at(ttl) if flight.again]
        return [[flight for flight in again if flight.again == n] for n in sorted({each.again for each in again})]

    def next_burst(self, ttl: int) -> int:
        """Number of the next burst."""
        bursts = self.bursts(ttl)
        return len(bursts) + (not bursts or len(bursts[-1]) >= self._burst(ttl))

    def _burst(self, ttl: int) -> int:
        """Size of a burst; 1 for a silent hop, and for one that is met again in a loop."""
        return self.policy.burst if self.exchanges(ttl) and self.queries(ttl) == self.policy.queries else 1

    def _is_settled(self, ttl: int, bursts: list[list[Flight]]) -> bool:
        """Whether probing again would teach nothing."""
        last = [each.reply is not None for each in bursts[-1]]
        pauses = 1 + sum(_pauses([each]) for each in bursts)
        return (
            pauses > self.policy.most_pauses
            or not self.exchanges(ttl)
            or all(last)
            or (any(last) and not UNLIKELY <= self.chance_of_loss(ttl) < 1)
        )

    def missing(self, ttl: int) -> list[Flight]:
        """The unanswered probes of a TTL."""
        return [flight for flight in self.at(ttl) if flight.reply is None and not flight.void and not flight.send_errno]

    def chance_of_loss(self, ttl: int) -> float:
        """Probability that a TTL's unanswered probes were lost, not suppressed by a limit on errors."""
        # the next turn of a loop meets the same routers
        last = self.round.end_ttl if self.round and self.end_ttl is None else self.last_ttl
        beyond = [each for each in self.hops() if ttl < each <= last and self.exchanges(each)]
        is_lossy = any(self._own_chance(each, 0) >= UNUSUAL for each in beyond if self.missing(each))
        clean = 0 if is_lossy else sum(len(self.exchanges(each)) for each in beyond if not self.missing(each))
        return self._own_chance(ttl, clean)

    def _own_chance(self, ttl: int, beyond: int) -> float:
        first = [flight for each in self._same(ttl) for flight in self.at(each) if not (flight.again or flight.void)]
        first.sort(key=lambda flight: (flight.sent_ns, flight.probe.number))
        bursts = [[each.reply is not None for each in burst] for burst in self.bursts(ttl)]
        return chance_of_loss([each.reply is not None for each in first], bursts, beyond)

    def _same(self, ttl: int) -> range:
        """The TTLs that expire at the same router: in a loop, and at the end."""
        if self.end_ttl is None and self.round and ttl >= self.round.first_ttl:
            return range(ttl, max(self.flights) + 1, self.round.period)
        return range(ttl, max(self.flights) + 1 if ttl == self.end_ttl else ttl + 1)

    @property
    def _slow_until_ns(self) -> int:
        """Send slowly as long as other replies are expected anyway, or hops reply that were probed again."""
        first = (self.deadline_ns(flight) for flight in self.all_flights() if not flight.again)
        return max(max(first, default=0) - self.policy.pause_ns, self.spoke_ns + 2 * self.policy.pause_ns)

    @property
    def is_known(self) -> bool:
        """Whether the path's end is known."""
        return self.end_ttl is not None or self.round is not None

    def hops(self) -> range:
        """The TTLs to report."""
        return range(self.policy.first_ttl, min(self.last_ttl, max(self.flights, default=0)) + 1)

    def launch(self, flight: Flight) -> None:
        """Record a probe that is being sent."""
        self.flights.setdefault(flight.probe.ttl, []).append(flight)
        self.reprobed_ns = flight.sent_ns if flight.again else self.reprobed_ns
        self._find_loop()

    def take(self, flight: Flight, reply: Reply) -> None:
        """Record a reply. The first one to a probe counts, unless it was only about larger packets.

        If this host's own firewall rejects a probe, it never left: the error comes from this host, or sendto failed.
        (About a port of this host itself, the firewall speaks for the destination.)
        """
        if reply.kind == "unsent" or flight.send_errno:
            flight.send_errno = flight.send_errno or EPERM
            return
        if flight.is_settled or (flight.reply is not None and reply.is_about_larger):
            return
        if not reply.is_sure and not self._is_alone(flight):
            if not self.unsure or flight.probe.ttl > self.expired_ttl:
                self._doubt(reply)
            return
        flight.reply, flight.void = reply, False
        if flight.is_settled:
            self._note_rtt(flight.probe.ttl, reply)
        self.spoke_ns = reply.time_ns if flight.again else self.spoke_ns
        if reply.event and is_expired(reply):
            self._note_expired(flight.probe.ttl, reply.event.reporter or "", reply.ttl)
        self._find_end()

    def _note_expired(self, ttl: int, reporter: str, back: int) -> None:
        self.expired[ttl] = self.expired.get(ttl, frozenset()) | {reporter}
        self.back[ttl] = self.back.get(ttl, frozenset()) | {back}
        self._find_loop()

    def _find_end(self) -> None:
        """Find the path's end: the lowest TTL that the destination replied to, else a router's final error.

        An error that higher TTLs did not meet was temporary and is no end: they expired farther away, or arrived.
        """
        replies = [(ttl, flight.reply) for ttl, flights in self.flights.items() for flight in flights if flight.reply]
        ends = [(ttl, is_own(reply)) for ttl, reply in replies if ttl > self.expired_ttl and is_end(reply)]
        self.is_reached = any(own for _, own in ends)
        self.end_ttl = min((ttl for ttl, own in ends if own or not self.is_reached), default=None)

    def beyond_until_ns(self) -> int:
        """Time until which a probe beyond a router's final error may still turn out to have arrived; 0 for none."""
        if self.end_ttl is None or self.is_reached:
            return 0
        policy = self.policy
        wait_ns = max(policy.least_wait_ns, policy.times_later * max(self.rtt_ns.values(), default=0))
        sent = [
            flight.sent_ns
            for flight in self.all_flights()
            if flight.probe.ttl > self.end_ttl and not (flight.is_settled or flight.send_errno or flight.void)
        ]
        return max(sent) + min(wait_ns, policy.timeout_ns) if sent else 0

    def _find_loop(self) -> None:
        self.round = find_round(self.expired, max(self.flights), self.back)

    def _note_rtt(self, ttl: int, reply: Reply) -> None:
        self.rtt_ns[ttl] = max(self.rtt_ns.get(ttl, 1), reply.time_ns - reply.sent_ns)

    def _is_alone(self, flight: Flight) -> bool:
        """Whether an answer without a token must belong to this probe: no other is under way, and it doesn't expire."""
        return self.unsure and not flight.void and flight.probe.ttl > self.expired_ttl

    def _doubt(self, reply: Reply) -> None:
        """Mark an answer to one of the probes beyond all expired ones; only probing one by one can tell which."""
        self.unsure = True
        self._note_rtt(self.policy.max_ttl, reply)
        for flight in self.all_flights():
            flight.void |= flight.reply is None and flight.probe.ttl > self.expired_ttl


def _pauses(bursts: list[list[Flight]]) -> int:
    """Pauses to wait after a burst: doubled after a burst without reply, because the limit may be slower."""
    return 2 if bursts and not any(each.reply for each in bursts[-1]) else 1
