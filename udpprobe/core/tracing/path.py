"""What is known of one flow of a trace: its shots by TTL, where it ends or goes round, and what is still waited for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from udpprobe.core.limiter import NEVER
from udpprobe.core.probing.shots import Reply
from udpprobe.core.tracing.flights import Flight, Patience, is_end, is_expired
from udpprobe.core.tracing.limits import UNLIKELY, UNUSUAL, chance_of_loss
from udpprobe.core.tracing.rounds import Round, find_round


@dataclass(slots=True)
class Path:
    """What is known of one flow."""

    flow: int
    patience: Patience
    flights: dict[int, list[Flight]] = field(default_factory=dict)
    """By TTL."""
    end_ttl: int | None = None
    """Where the path ends, None where that is not known."""
    round: Round | None = None
    unsure: bool = False
    """Answers came that may belong to any of several shots: from now on there is only one at a time."""
    rtt_ns: dict[int, int] = field(default_factory=dict)
    """The longest one of each TTL that was heard."""
    expired: dict[int, frozenset[str]] = field(default_factory=dict)
    """Who reported of each TTL that it ran out."""
    back: dict[int, frozenset[int]] = field(default_factory=dict)
    """With which TTLs these reports came."""
    asked_ns: int = 0
    """When a hop was last asked again, and ..."""
    spoke_ns: int = 0
    """... when it last replied to that; 0 for never."""

    def at(self, ttl: int) -> list[Flight]:
        """Shots of a TTL."""
        return self.flights.get(ttl, [])

    def heard(self, ttl: int) -> list[tuple[Flight, Reply]]:
        """The shots of a TTL that something came back for; at the end of the path, of all higher ones too."""
        last = max(self.flights) if ttl == self.end_ttl else ttl
        flights = [flight for each in range(ttl, last + 1) for flight in self.at(each)]
        return [(flight, flight.reply) for flight in flights
                if flight.reply and (flight.shot.ttl == ttl or is_end(flight.reply))]

    @property
    def expired_ttl(self) -> int:
        """The highest TTL that ran out, 0 for none."""
        return max(self.expired, default=0)

    @property
    def last_ttl(self) -> int:
        """As far as it is to be looked at, for all that is known."""
        if self.end_ttl is not None:
            return self.end_ttl
        return self.round.last_ttl if self.round and self.round.is_certain else self.patience.max_ttl

    def queries(self, ttl: int) -> int:
        """How often a TTL is asked; of a loop, the first time round tells enough."""
        return 1 if self.round and self.end_ttl is None and ttl > self.round.end_ttl else self.patience.queries

    def deadline_ns(self, flight: Flight) -> int:
        """When a shot without a reply is lost."""
        if flight.reply or flight.errno:
            return 0
        ttl, patience = flight.shot.ttl, self.patience
        here = self.rtt_ns.get(ttl, 0) * patience.times_here
        later = max((rtt_ns for each, rtt_ns in self.rtt_ns.items() if each > ttl), default=0) * patience.times_later
        waits = [wait_ns for wait_ns in (here, later) if wait_ns]
        rest_ns = patience.pause_ns if flight.again else patience.timeout_ns
        wait_ns = max(patience.least_wait_ns, min(waits)) if waits else rest_ns
        return flight.sent_ns + min(wait_ns, patience.timeout_ns)

    def held_until_ns(self, flight: Flight) -> int:
        """Until when a shot takes a place in the window."""
        patience = self.patience
        slowest_ns = max(self.rtt_ns.values(), default=0)
        hold_ns = max(patience.least_hold_ns, 2 * slowest_ns) if slowest_ns else patience.first_hold_ns
        deadline_ns = self.deadline_ns(flight)
        return deadline_ns if self.unsure else min(deadline_ns, flight.sent_ns + hold_ns)

    def all_flights(self) -> Iterator[Flight]:
        """Every shot."""
        return (flight for flights in self.flights.values() for flight in flights)

    def has_room(self, now_ns: int) -> bool:
        """Whether another shot may be under way."""
        under_way = sum(self.held_until_ns(flight) > now_ns for flight in self.all_flights()
                        if self.end_ttl is None or flight.shot.ttl <= self.end_ttl)
        return under_way < (1 if self.unsure else self._window)

    @property
    def _window(self) -> int:
        return self.patience.window if self.end_ttl is None else self.patience.full_window

    def next_ttl(self) -> int | None:
        """The next TTL of the plan, None when all of it was sent, or this host sends none of it."""
        if any(flight.errno for flight in self.at(self.patience.first_ttl)):
            return None
        for query in range(1, self.patience.queries + 1):
            for ttl in range(self.patience.first_ttl, self.last_ttl + 1):
                if self._asked(ttl) < min(query, self.queries(ttl)):
                    return ttl
        return None

    def _asked(self, ttl: int) -> int:
        """What counts as a query of a TTL: at the end of the path, shots with higher ones too."""
        last = max(self.flights) if ttl == self.end_ttl else ttl
        return sum(not flight.void for each in range(ttl, last + 1) for flight in self.at(each))

    def again_ns(self, ttl: int) -> int:
        """When a TTL is to be asked again that did not answer all of its queries; NEVER where it is not."""
        flights, bursts = self.at(ttl), self.bursts(ttl)
        latest = max(flights, key=lambda each: each.sent_ns, default=None)
        if latest is None or not self.is_open(ttl) or any(each.errno for each in flights):
            return NEVER
        if bursts and len(bursts[-1]) < self._burst(ttl):
            return latest.sent_ns
        if bursts and self._is_settled(ttl, bursts):
            return NEVER
        if self.heard(ttl) or self.is_known:
            pause_ns = self.patience.pause_ns * _pauses(bursts[-1:])
            return max(self.deadline_ns(latest), latest.sent_ns + pause_ns)
        slow_ns = max(latest.sent_ns + self.patience.pause_ns, self.asked_ns + self.patience.slow_ns)
        return slow_ns if slow_ns <= self._slow_until_ns else NEVER

    def is_open(self, ttl: int) -> bool:
        """Whether a TTL did not answer all of its queries at once."""
        return len(self.heard(ttl)) < self.queries(ttl) or any(each.again for each in self.at(ttl))

    def bursts(self, ttl: int) -> list[list[Flight]]:
        """How it was asked again."""
        again = [flight for flight in self.at(ttl) if flight.again]
        return [[flight for flight in again if flight.again == n] for n in sorted({each.again for each in again})]

    def next_burst(self, ttl: int) -> int:
        """The number of the burst that the next such shot belongs to."""
        bursts = self.bursts(ttl)
        return len(bursts) + (not bursts or len(bursts[-1]) >= self._burst(ttl))

    def _burst(self, ttl: int) -> int:
        """How many shots that is; who never spoke gets one, and so does who is met again round a loop."""
        return self.patience.burst if self.heard(ttl) and self.queries(ttl) == self.patience.queries else 1

    def _is_settled(self, ttl: int, bursts: list[list[Flight]]) -> bool:
        """Whether nothing is to be learned from asking again."""
        last = [each.reply is not None for each in bursts[-1]]
        pauses = 1 + sum(_pauses([each]) for each in bursts)
        return (pauses > self.patience.again or not self.heard(ttl) or all(last)
                or (any(last) and not UNLIKELY <= self.chance_of_loss(ttl) < 1))

    def missing(self, ttl: int) -> list[Flight]:
        """The shots of a TTL that left and have no reply."""
        return [flight for flight in self.at(ttl) if flight.reply is None and not flight.void and not flight.errno]

    def chance_of_loss(self, ttl: int) -> float:
        """How likely it is that a TTL's shots without reply were lost, not left out by a limit on errors."""
        # the next time round a loop it is the same ones
        last = self.round.end_ttl if self.round and self.end_ttl is None else self.last_ttl
        beyond = [each for each in self.hops() if ttl < each <= last and self.heard(each)]
        is_lossy = any(self._own_chance(each, 0) >= UNUSUAL for each in beyond if self.missing(each))
        clean = 0 if is_lossy else sum(len(self.heard(each)) for each in beyond if not self.missing(each))
        return self._own_chance(ttl, clean)

    def _own_chance(self, ttl: int, beyond: int) -> float:
        first = [flight for each in self._same(ttl) for flight in self.at(each) if not (flight.again or flight.void)]
        first.sort(key=lambda flight: (flight.sent_ns, flight.shot.number))
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
        return max(max(first, default=0) - self.patience.pause_ns, self.spoke_ns + 2 * self.patience.pause_ns)

    @property
    def is_known(self) -> bool:
        """Whether it is known where the path ends."""
        return self.end_ttl is not None or self.round is not None

    def hops(self) -> range:
        """The TTLs that matter."""
        return range(self.patience.first_ttl, min(self.last_ttl, max(self.flights, default=0)) + 1)

    def launch(self, flight: Flight) -> None:
        """Take note of a shot that is being sent."""
        self.flights.setdefault(flight.shot.ttl, []).append(flight)
        self.asked_ns = flight.sent_ns if flight.again else self.asked_ns
        self._look_round()

    def take(self, flight: Flight, reply: Reply) -> None:
        """A reply; the first one to a shot counts."""
        if flight.reply is not None:
            return
        if not reply.is_sure and not self._is_alone(flight):
            self._doubt(reply)
            return
        flight.reply, flight.void = reply, False
        self._note_rtt(flight.shot.ttl, reply)
        self.spoke_ns = reply.time_ns if flight.again else self.spoke_ns
        if reply.event and is_expired(reply):
            self._note_expired(flight.shot.ttl, reply.event.reporter, reply.ttl)
        self.end_ttl = min(filter(self._is_end, self.flights), default=None)

    def _note_expired(self, ttl: int, reporter: str, back: int) -> None:
        self.expired[ttl] = self.expired.get(ttl, frozenset()) | {reporter}
        self.back[ttl] = self.back.get(ttl, frozenset()) | {back}
        self._look_round()

    def _is_end(self, ttl: int) -> bool:
        """Whether the path ends at a TTL; an error of the moment that higher ones did not meet is no end."""
        return ttl > self.expired_ttl and any(each.reply and is_end(each.reply) for each in self.at(ttl))

    def _look_round(self) -> None:
        self.round = find_round(self.expired, max(self.flights), self.back)

    def _note_rtt(self, ttl: int, reply: Reply) -> None:
        self.rtt_ns[ttl] = max(self.rtt_ns.get(ttl, 1), reply.time_ns - reply.sent_ns)

    def _is_alone(self, flight: Flight) -> bool:
        return self.unsure and not flight.void

    def _doubt(self, reply: Reply) -> None:
        """It came for one of the shots beyond all that expired; which one, only asking one by one can tell."""
        self.unsure = True
        self._note_rtt(self.patience.max_ttl, reply)
        for flight in self.all_flights():
            flight.void |= flight.reply is None and flight.shot.ttl > self.expired_ttl


def _pauses(bursts: list[list[Flight]]) -> int:
    """How long is waited after a burst: twice as long after one that drew nothing, as the limit may be slower."""
    return 2 if bursts and not any(each.reply for each in bursts[-1]) else 1
