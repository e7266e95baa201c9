"""One flow of a trace: its probes by TTL, where it ends or goes round, and what is still waited for."""

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

# Whether a hop that left probes without reply limits its errors, or whether these were lost.
#
# Loss does not care how fast probes follow each other, a limit does: of several at once it answers the first, as many
# as it has tokens for, and no other; and after a pause as many again. So a hop that left some is asked again in bursts.

BURST = 6
"""Probes at once for a hop that is asked again."""
UNLIKELY = 0.0025
"""Less likely than that, it was not loss ..."""
UNUSUAL = 0.03
"""... and less than that, perhaps not."""


def chance_of_loss(first: Sequence[bool], bursts: Sequence[Sequence[bool]], beyond: int) -> float:
    """How likely losses fall as if by a limit; 1 where a limit would be no explanation.

    All probes are equally likely to get lost, so all ways to spread the losses over them are (Fisher's exact test).

    Args:
        first: which of the probes of the usual pace were answered, as they left.
        bursts: likewise, of each burst after a pause.
        beyond: probes to hops behind this one, of which none was lost.
    """
    again = [each for each in bursts if any(each)]  # one without reply may have met an outage, or a longer interval
    if not again or all(first) or not all(map(_is_limits, again)):
        return 1.0
    answered = [*first, *chain.from_iterable(again)]
    ways = 1 if _runs_dry(first) else comb(len(first), list(first).count(False))
    chance = ways / comb(len(answered) + beyond, answered.count(False))
    # what was only seen once may have been an outage
    return chance if not all(map(all, again)) else max(chance, UNLIKELY)


def _is_limits(burst: Sequence[bool]) -> bool:
    """Whether a limit may do so: one that has tokens for most of a burst has them for the usual pace."""
    return all(burst) or (_runs_dry(burst) and 2 * sum(burst) <= len(burst))


def _runs_dry(burst: Sequence[bool]) -> bool:
    """Whether the first ones were answered and no other."""
    return sorted(burst, reverse=True) == list(burst)


# ---- probes, and how long to wait for their replies

TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
"""Type and code of a TTL that ran out, by family."""
BEYOND = 2
"""So many TTLs higher than that of a router's error are tried before it ends a path."""
SOURCE_QUENCH = (4, 4)
"""Family and type of the one error that does not end a path (RFC 6633)."""


class TracePolicy(Struct, frozen=True):
    """How much is sent, and how long is waited for what comes back."""

    max_ttl: int = 30
    first_ttl: int = 1
    queries: int = 3
    timeout_ns: int = 4000 * MS
    interval_ns: int = MS
    """Between two probes."""
    window: int = 12
    """Probes of a flow that are under way at a time: so many may go beyond the end before that is known. Two routers of
    a loop get six each, as many as Linux answers at once ..."""
    full_window: int = 24
    """... and so many once it is."""
    least_hold_ns: int = 50 * MS
    """So long a probe without reply takes a place in the window, at least ..."""
    first_hold_ns: int = 250 * MS
    """... and until the first reply."""
    least_wait_ns: int = 250 * MS
    """So long a reply is waited for, at least: routers take their time for errors."""
    times_here: int = 3
    """Where the hop has replied before: so many of its RTTs."""
    times_later: int = 10
    """Where a later hop has replied: so many of its RTTs."""
    pause_ns: int = 1100 * MS
    """Before a hop that did not answer all is asked again: one error a second is the strictest usual limit."""
    slow_ns: int = 500 * MS
    """Between two such probes of a path whose end is not known: it may be a loop, with few routers for all of them."""
    burst: int = BURST
    """Probes at once for a hop that spoke and is asked again."""
    asks_again: bool = True
    """Whether any is."""
    likely_ttl: int = 0
    """Where the path ended before: what would go beyond waits until it is clear that it does not end there now. Each
    probe beyond would draw another error from who ends it, and use up its limit. 0 where that is not known."""
    again: ClassVar[int] = 3
    """For how many pauses such a hop is, until it is clear whether it has a limit. One that never spoke is asked again
    once."""


class Flight(Struct):
    """A probe that was sent."""

    probe: Probe
    sent_ns: int
    reply: Reply | None = None
    errno: int = 0
    """Why this host refused to send it."""
    again: int = 0
    """In which of the bursts it was sent that others of its hop without reply caused; 0 for none."""
    void: bool = False
    """Whether it may have been answered without our knowing: it is not lost."""

    @property
    def is_settled(self) -> bool:
        """Whether it is known what became of it. A router's word about larger packets does not say that."""
        return self.reply is not None and not self.reply.is_about_larger


def is_expired(reply: Reply) -> bool:
    """Whether it says that the TTL ran out in transit."""
    event = reply.event
    return event is not None and (event.type, event.code) == TIME_EXCEEDED[event.family]


def is_end(reply: Reply) -> bool:
    """Whether a path may end with it: an answer, or an error that a higher TTL would not change."""
    event = reply.event
    return event is None or not (
        is_expired(reply) or reply.is_about_larger or (event.family, event.type) == SOURCE_QUENCH
    )


def is_own(reply: Reply) -> bool:
    """Whether a path surely ends with it: the destination itself replied."""
    event = reply.event
    return is_end(reply) and (event is None or event.reporter == event.quoted.destination)


# ---- the path


class Path(Struct):
    """What is known of one flow."""

    flow: int
    policy: TracePolicy
    flights: dict[int, list[Flight]] = field(default_factory=dict)
    """By TTL."""
    end_ttl: int | None = None
    """Where the path ends, None where that is not known."""
    is_reached: bool = False
    """Whether the destination itself replied there."""
    round: Round | None = None
    unsure: bool = False
    """Answers came that may belong to any of several probes: from now on there is only one at a time."""
    rtt_ns: dict[int, int] = field(default_factory=dict)
    """The longest one of each TTL that has replied."""
    expired: dict[int, frozenset[str]] = field(default_factory=dict)
    """Who reported of each TTL that it ran out."""
    back: dict[int, frozenset[int]] = field(default_factory=dict)
    """With which TTLs these reports came."""
    asked_ns: int = 0
    """When a hop was last asked again, and ..."""
    spoke_ns: int = 0
    """... when it last replied to that; 0 for never."""

    def at(self, ttl: int) -> list[Flight]:
        """Probes of a TTL."""
        return self.flights.get(ttl, [])

    def exchanges(self, ttl: int) -> list[tuple[Flight, Reply]]:
        """The probes of a TTL that something came back for; at the end of the path, of all higher ones too."""
        last = max(self.flights) if ttl == self.end_ttl else ttl
        flights = [flight for each in range(ttl, last + 1) for flight in self.at(each)]
        return [
            (flight, flight.reply)
            for flight in flights
            if flight.reply and (flight.probe.ttl == ttl or is_end(flight.reply))
        ]

    @property
    def expired_ttl(self) -> int:
        """The highest TTL that ran out, 0 for none."""
        return max(self.expired, default=0)

    @property
    def last_ttl(self) -> int:
        """As far as it is to be looked at, for all that is known."""
        if self.end_ttl is not None:
            return self.end_ttl
        return self.round.last_ttl if self.round and self.round.is_certain else self.policy.max_ttl

    def queries(self, ttl: int) -> int:
        """How often a TTL is asked; of a loop, the first time round tells enough."""
        return 1 if self.round and self.end_ttl is None and ttl > self.round.end_ttl else self.policy.queries

    def deadline_ns(self, flight: Flight) -> int:
        """When a probe without a reply is lost."""
        if flight.is_settled or flight.errno:
            return 0
        ttl, policy = flight.probe.ttl, self.policy
        here = self.rtt_ns.get(ttl, 0) * policy.times_here
        later = max((rtt_ns for each, rtt_ns in self.rtt_ns.items() if each > ttl), default=0) * policy.times_later
        waits = [wait_ns for wait_ns in (here, later) if wait_ns]
        rest_ns = policy.pause_ns if flight.again else policy.timeout_ns
        wait_ns = max(policy.least_wait_ns, min(waits)) if waits else rest_ns
        return flight.sent_ns + min(wait_ns, policy.timeout_ns)

    def held_until_ns(self, flight: Flight) -> int:
        """Until when a probe takes a place in the window."""
        policy = self.policy
        slowest_ns = max(self.rtt_ns.values(), default=0)
        hold_ns = max(policy.least_hold_ns, 2 * slowest_ns) if slowest_ns else policy.first_hold_ns
        deadline_ns = self.deadline_ns(flight)
        return deadline_ns if self.unsure else min(deadline_ns, flight.sent_ns + hold_ns)

    def all_flights(self) -> Iterator[Flight]:
        """Every probe."""
        return (flight for flights in self.flights.values() for flight in flights)

    def has_room(self, now_ns: int) -> bool:
        """Whether another probe may be under way."""
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
        """The next TTL of the plan, None when all of it was sent, or this host sends none of it.

        Args:
            now_ns: what time it is: some wait until others are held no longer.
        """
        if any(flight.errno for flight in self.at(self.policy.first_ttl)):
            return None
        for query in range(1, self.policy.queries + 1):
            for ttl in range(self.policy.first_ttl, min(self.last_ttl, self._likely_ttl(now_ns)) + 1):
                if self._asked(ttl) < min(query, self.queries(ttl)):
                    return ttl
        highest = max(self.flights, default=0)
        is_new = self.end_ttl is not None and (self.policy.asks_again or self.end_ttl != self.policy.likely_ttl)
        if (
            self.end_ttl is not None
            and is_new
            and not self.is_reached
            and highest < min(self.end_ttl + BEYOND, self.policy.max_ttl)
        ):
            return highest + 1  # it may be the router's word about this TTL only
        return None

    def _likely_ttl(self, now_ns: int) -> int:
        """As far as probes may go while it is likely that the path ends where it did before."""
        likely_ttl, flights = self.policy.likely_ttl, self.at(self.policy.likely_ttl)
        is_open = not flights or not any(
            each.is_settled or each.errno or self.held_until_ns(each) <= now_ns for each in flights
        )
        return likely_ttl if likely_ttl and is_open and not self.is_known else self.policy.max_ttl

    def _asked(self, ttl: int) -> int:
        """What counts as a query of a TTL: at the end of the path, probes with higher ones too."""
        last = max(self.flights) if ttl == self.end_ttl else ttl
        return sum(not flight.void for each in range(ttl, last + 1) for flight in self.at(each))

    def again(self) -> Iterator[tuple[int, int]]:
        """The TTLs that are to be asked again, and when."""
        slow_until_ns = self._slow_until_ns  # a look at every probe, of which silent paths have many
        times = ((ttl, self._again_ns(ttl, slow_until_ns)) for ttl in self.hops())
        return (each for each in times if each[1] != NEVER)

    def _again_ns(self, ttl: int, slow_until_ns: int) -> int:
        """When a TTL is to be asked again that did not answer all of its queries; NEVER where it is not."""
        flights, bursts = self.at(ttl), self.bursts(ttl)
        latest = max(flights, key=lambda each: each.sent_ns, default=None)
        may_ask = self.policy.asks_again and not any(each.errno for each in flights)
        if latest is None or not may_ask or not self.is_open(ttl):
            return NEVER
        if bursts and len(bursts[-1]) < self._burst(ttl):
            return latest.sent_ns
        if bursts and self._is_settled(ttl, bursts):
            return NEVER
        if self.exchanges(ttl) or self.is_known:
            pause_ns = self.policy.pause_ns * _pauses(bursts[-1:])
            return max(self.deadline_ns(latest), latest.sent_ns + pause_ns)
        slow_ns = max(latest.sent_ns + self.policy.pause_ns, self.asked_ns + self.policy.slow_ns)
        return slow_ns if slow_ns <= slow_until_ns else NEVER

    def is_open(self, ttl: int) -> bool:
        """Whether a TTL did not answer all of its queries at once."""
        settled = sum(flight.is_settled for flight, _ in self.exchanges(ttl))
        return settled < self.queries(ttl) or any(each.again for each in self.at(ttl))

    def bursts(self, ttl: int) -> list[list[Flight]]:
        """How it was asked again."""
        again = [flight for flight in self.at(ttl) if flight.again]
        return [[flight for flight in again if flight.again == n] for n in sorted({each.again for each in again})]

    def next_burst(self, ttl: int) -> int:
        """The number of the burst that the next such probe belongs to."""
        bursts = self.bursts(ttl)
        return len(bursts) + (not bursts or len(bursts[-1]) >= self._burst(ttl))

    def _burst(self, ttl: int) -> int:
        """How many probes that is; who never spoke gets one, and so does who is met again round a loop."""
        return self.policy.burst if self.exchanges(ttl) and self.queries(ttl) == self.policy.queries else 1

    def _is_settled(self, ttl: int, bursts: list[list[Flight]]) -> bool:
        """Whether nothing is to be learned from asking again."""
        last = [each.reply is not None for each in bursts[-1]]
        pauses = 1 + sum(_pauses([each]) for each in bursts)
        return (
            pauses > self.policy.again
            or not self.exchanges(ttl)
            or all(last)
            or (any(last) and not UNLIKELY <= self.chance_of_loss(ttl) < 1)
        )

    def missing(self, ttl: int) -> list[Flight]:
        """The probes of a TTL that left and have no reply."""
        return [flight for flight in self.at(ttl) if flight.reply is None and not flight.void and not flight.errno]

    def chance_of_loss(self, ttl: int) -> float:
        """How likely it is that a TTL's probes without reply were lost, not left out by a limit on errors."""
        # the next time round a loop it is the same ones
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
        """The TTLs that run out at the same router: in a loop, and at the end."""
        if self.end_ttl is None and self.round and ttl >= self.round.first_ttl:
            return range(ttl, max(self.flights) + 1, self.round.period)
        return range(ttl, max(self.flights) + 1 if ttl == self.end_ttl else ttl + 1)

    @property
    def _slow_until_ns(self) -> int:
        """As long as others are waited for anyway, or hops speak that were asked again."""
        first = (self.deadline_ns(flight) for flight in self.all_flights() if not flight.again)
        return max(max(first, default=0) - self.policy.pause_ns, self.spoke_ns + 2 * self.policy.pause_ns)

    @property
    def is_known(self) -> bool:
        """Whether it is known where the path ends."""
        return self.end_ttl is not None or self.round is not None

    def hops(self) -> range:
        """The TTLs that matter."""
        return range(self.policy.first_ttl, min(self.last_ttl, max(self.flights, default=0)) + 1)

    def launch(self, flight: Flight) -> None:
        """Take note of a probe that is being sent."""
        self.flights.setdefault(flight.probe.ttl, []).append(flight)
        self.asked_ns = flight.sent_ns if flight.again else self.asked_ns
        self._look_round()

    def take(self, flight: Flight, reply: Reply) -> None:
        """A reply. The first one to a probe counts, unless it only spoke of larger packets.

        Where this host's own firewall rejects a probe, it never left: the error comes from this host, or the call that
        was to send it failed (about a port of this host, the firewall speaks in the destination's name).
        """
        if reply.kind == "unsent" or flight.errno:
            flight.errno = flight.errno or EPERM
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
        self._look_for_end()

    def _note_expired(self, ttl: int, reporter: str, back: int) -> None:
        self.expired[ttl] = self.expired.get(ttl, frozenset()) | {reporter}
        self.back[ttl] = self.back.get(ttl, frozenset()) | {back}
        self._look_round()

    def _look_for_end(self) -> None:
        """Where the path ends: at the lowest TTL that the destination replied to, or else a router's last word.

        An error of the moment that higher TTLs did not meet is no end: they ran out farther away, or arrived.
        """
        replies = [(ttl, flight.reply) for ttl, flights in self.flights.items() for flight in flights if flight.reply]
        ends = [(ttl, is_own(reply)) for ttl, reply in replies if ttl > self.expired_ttl and is_end(reply)]
        self.is_reached = any(own for _, own in ends)
        self.end_ttl = min((ttl for ttl, own in ends if own or not self.is_reached), default=None)

    def beyond_until_ns(self) -> int:
        """As long as a probe beyond a router's last word may still turn out to have arrived; 0 for no such probe."""
        if self.end_ttl is None or self.is_reached:
            return 0
        policy = self.policy
        wait_ns = max(policy.least_wait_ns, policy.times_later * max(self.rtt_ns.values(), default=0))
        sent = [
            flight.sent_ns
            for flight in self.all_flights()
            if flight.probe.ttl > self.end_ttl and not (flight.is_settled or flight.errno or flight.void)
        ]
        return max(sent) + min(wait_ns, policy.timeout_ns) if sent else 0

    def _look_round(self) -> None:
        self.round = find_round(self.expired, max(self.flights), self.back)

    def _note_rtt(self, ttl: int, reply: Reply) -> None:
        self.rtt_ns[ttl] = max(self.rtt_ns.get(ttl, 1), reply.time_ns - reply.sent_ns)

    def _is_alone(self, flight: Flight) -> bool:
        """Whether an answer that repeats nothing can be its. Where probes expire, it is an earlier one's, and late."""
        return self.unsure and not flight.void and flight.probe.ttl > self.expired_ttl

    def _doubt(self, reply: Reply) -> None:
        """It came for one of the probes beyond all that expired; which one, only asking one by one can tell."""
        self.unsure = True
        self._note_rtt(self.policy.max_ttl, reply)
        for flight in self.all_flights():
            flight.void |= flight.reply is None and flight.probe.ttl > self.expired_ttl


def _pauses(bursts: list[list[Flight]]) -> int:
    """How long is waited after a burst: twice as long after one that drew nothing, as the limit may be slower."""
    return 2 if bursts and not any(each.reply for each in bursts[-1]) else 1
