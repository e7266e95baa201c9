"""What is known of one flow of a trace: its shots by TTL, where it ends or goes round, and what is still waited for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from udpprobe.core.probing.shots import Reply, Shot
from udpprobe.core.tracing.rounds import Round, find_round

MS = 1_000_000
TIME_EXCEEDED = {4: (11, 0), 6: (3, 0)}
"""Type and code of a TTL that ran out, by family."""
SOURCE_QUENCH = (4, 4)
"""Family and type of the one error that does not end a path (RFC 6633)."""
NEVER = 1 << 63


@dataclass(frozen=True, slots=True)
class Patience:
    """How much is sent, and how long is waited for what comes back."""

    max_ttl: int = 30
    first_ttl: int = 1
    queries: int = 3
    timeout_ns: int = 4000 * MS
    interval_ns: int = MS
    """Between two shots."""
    window: int = 12
    """Shots of a flow that are under way at a time: so many may go beyond the end before that is known. Two routers of
    a loop get six each, as many as Linux answers at once ..."""
    full_window: int = 24
    """... and so many once it is."""
    least_hold_ns: int = 50 * MS
    """So long a shot without reply takes a place in the window, at least ..."""
    first_hold_ns: int = 250 * MS
    """... and until anything was heard."""
    least_wait_ns: int = 250 * MS
    """So long a reply is waited for, at least: routers take their time for errors."""
    times_here: int = 3
    """Where the hop was heard before: so many of its RTTs."""
    times_later: int = 10
    """Where a later hop was heard: so many of its RTTs."""
    pause_ns: int = 1100 * MS
    """Before a hop that did not answer all is asked again: one error a second is the strictest usual limit."""
    slow_ns: int = 500 * MS
    """Between two such shots of a path whose end is not known: it may be a loop, with few routers for all of them."""
    again: ClassVar[int] = 3
    """How often a hop is asked again that spoke, until it answers that: then its silence was a limit's. One that never
    did is asked again once."""


@dataclass(slots=True)
class Flight:
    """A shot that was sent."""

    shot: Shot
    sent_ns: int
    reply: Reply | None = None
    errno: int = 0
    """Why this host refused to send it."""
    again: bool = False
    """Whether it was sent because others of its hop had no reply."""
    void: bool = False
    """Whether it may have been answered without our knowing: it is not lost."""


def is_expired(reply: Reply) -> bool:
    """Whether it says that the TTL ran out in transit."""
    event = reply.event
    return event is not None and (event.type, event.code) == TIME_EXCEEDED[event.family]


def is_end(reply: Reply) -> bool:
    """Whether a path ends with it: an answer, or an error that a higher TTL would not change."""
    event = reply.event
    return event is None or not (is_expired(reply) or (event.family, event.type) == SOURCE_QUENCH)


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
        flights, replies = self.at(ttl), len(self.heard(ttl))
        again = [each for each in flights if each.again]
        most = self.patience.again if replies else 1
        is_settled = replies >= self.queries(ttl) or any(each.reply for each in again)
        if is_settled or len(again) >= most or any(each.errno for each in flights):
            return NEVER
        latest = max(flights, key=lambda each: each.sent_ns)
        if replies or self.is_known:
            return max(self.deadline_ns(latest), latest.sent_ns + self.patience.pause_ns)
        slow_ns = max(latest.sent_ns + self.patience.pause_ns, self.asked_ns + self.patience.slow_ns)
        return slow_ns if slow_ns <= self._slow_until_ns else NEVER

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
