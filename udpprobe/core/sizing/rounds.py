"""When which probe of a path MTU search goes out, and what its reply or its absence means.

A size is tried alone first. If nothing comes back, it is tried again with a witness behind it: a packet of a size that
arrived before. The witness heard and the probe not, the probe was lost for its size; neither heard, a limit on ICMP
errors is waited for. So a limit is never taken for loss, and a try costs the host one refusal.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Sequence

from udpprobe.core.limiter import NEVER, SECOND
from udpprobe.core.probing.shots import Reply, Shot
from udpprobe.core.sizing.objections import REPEAT_NS, Objections
from udpprobe.core.sizing.plpmtud import Search
from udpprobe.core.sizing.refusals import Refusals
from udpprobe.core.sizing.shots import (
    ARRIVED,
    CONTROL,
    LEAST_TIMEOUT_NS,
    OTHER,
    SERVICE,
    TOO_BIG,
    UNSENT,
    Ask,
    Patience,
    Round,
    RoundTrip,
    Sent,
    word_of,
)

FLOWS = 16
"""Source ports of the service's lane: an answer that repeats nothing is known by the port that it comes to."""

TRANSIENT = frozenset({errno.ENOBUFS, errno.EAGAIN, errno.EINTR})
LIMITS_NS = 2 * SECOND
"""What a host's limit on errors may add to the user's patience."""
BASE_ROUNDS = 4
"""How often a host that says nothing is asked."""
DOUBTFUL = 2
"""After so many rounds without a reply it is asked whether what arrived before still does."""
MOST_SHOTS = 4000
"""A path that changes all the time is given up."""


class Rounds:
    """The search under way.

    Args:
        search: says which size is next, and learns what became of it.
        least: of each lane, bytes of its smallest packet. One lane only: there is no control.
        patience: how long and how often to try.
        now_ns: what time it is.
    """

    def __init__(self, search: Search, least: Sequence[int], patience: Patience, now_ns: int) -> None:
        self.search, self.least, self._patience = search, least, patience
        self.sent: dict[int, Sent] = {}
        self.proofs: list[Counter[str]] = [Counter() for _ in least]
        """By lane, how often a shot proved to arrive, by `answer` and `error`."""
        self.complaints: Counter[str] = Counter()
        """Other errors, by verdict."""
        self.errnos: Counter[int] = Counter()
        """Why this host did not send; without EMSGSIZE."""
        self.is_over = False
        self._objections = Objections(least, patience.tries)
        self._rtt = RoundTrip()
        self._round = Round(0, now_ns)
        self._base_ns = now_ns
        self.refusals = Refusals()
        self._last_ns = now_ns
        self._silent, self._since = 0, 0
        self._scouted, self._is_unsure, self._takes_padding = 0, False, True
        self._flow_of: dict[int, int] = {}

    @property
    def wake_ns(self) -> int:
        """When `due` has something to say if nothing is heard before."""
        return min(self._round.deadline_ns, NEVER if self.search.passed else self._objections.over_ns)

    @property
    def timeout_ns(self) -> int:
        """How long a reply is waited for."""
        return self._rtt.timeout_ns

    @property
    def judge(self) -> int:
        """The lane whose silence says something: a refusal does not depend on what a packet carries."""
        return CONTROL if len(self.proofs) > CONTROL and self.proofs[CONTROL] else SERVICE

    def due(self, now_ns: int) -> list[Ask]:
        """What is to be sent now; nothing while replies may still come."""
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
        is_vain = not self.search.passed and (bool(self.errnos) or now_ns >= self._objections.over_ns)
        return (self.search.next() is None or is_vain
                or now_ns - self._last_ns >= self._patience.timeout_ns + limits_ns or len(self.sent) >= MOST_SHOTS)

    def _close(self) -> None:
        """Draw the conclusion from what was not heard in the round."""
        over = self._round
        if not over.witnesses or over.size <= self.search.passed:
            return
        if over.heard >= over.wanted:
            self._silent = 0
            self.search.missed(over.size)
        elif over.heard:
            self._doubt(over.wanted)
        elif self.search.passed:
            self._silent += 1

    def _doubt(self, size: int) -> None:
        """The larger witness, which arrived before, was lost and the smaller one was not: the path has changed."""
        self.search.missed(size)
        self.search.shrink(self.least[self.judge])
        self._since, self._silent = len(self.sent), 0

    def _base(self, now_ns: int) -> list[Ask]:
        """Is anybody there: by every lane the largest size that may pass, and the smallest one behind it."""
        if self._objections.wants_repeat:
            return self._repeat(now_ns)
        size = min(self.search.hints, default=self.search.most)
        is_full = size == self._round.size or now_ns >= self._base_ns
        if is_full:
            self._base_ns = now_ns + max(self._patience.timeout_ns // BASE_ROUNDS, LEAST_TIMEOUT_NS)
        self._round, self._scouted = Round(size, self._base_ns, wanted=min(self.least)), size
        asks = []
        for lane, least in enumerate(self.least):
            asks += [self._ask(lane, max(size, least), now_ns)]
            asks += [self._witness(lane, least, now_ns)] if is_full else []
        return asks

    def _repeat(self, now_ns: int) -> list[Ask]:
        """Does nobody get through, as routers say: the smallest size once more."""
        self._objections.repeated()
        self._round = Round(self._round.size, now_ns + REPEAT_NS, wanted=min(self.least))
        return [self._witness(lane, least, now_ns) for lane, least in enumerate(self.least)]

    def _try(self, now_ns: int) -> list[Ask]:
        size = self.search.next() or 0
        if self._is_scout(size):
            self._scouted = size
            self._round = Round(size, now_ns + self._rtt.timeout_ns)
            return [self._ask(self._scout, size, now_ns)]
        return self._judge(size, now_ns)

    def _is_scout(self, size: int) -> bool:
        """Whether a size is tried alone: first of all, and where it is likely to arrive."""
        return size != self._scouted and size > self.search.passed + 1 and not self.search.is_reported(size)

    @property
    def _scout(self) -> int:
        return SERVICE if self.proofs[SERVICE]["answer"] and self._takes_padding else self.judge

    def _judge(self, size: int, now_ns: int) -> list[Ask]:
        """Try a size with what is known to arrive behind it; after silence, also with the least of all."""
        if now_ns < (token_ns := self._last_ns + self.refusals.early_ns):
            self._round = Round(size, token_ns)
            return []
        wait_ns = max(self._rtt.timeout_ns, self.refusals.again_ns(now_ns - self._last_ns) if self._silent else 0)
        copies = self._patience.tries if size == self.search.passed + 1 else 1
        lane, least = self.judge, self.least[self.judge]
        wanted = max(self.search.passed, least)
        self._round = Round(size, now_ns + wait_ns, wanted=wanted)
        asks = [self._ask(lane, size, now_ns) for _ in range(copies)]
        asks.append(self._witness(lane, wanted, now_ns))
        if self._silent >= DOUBTFUL and least < wanted:
            asks.append(self._witness(lane, least, now_ns))
        return asks + self._second_opinion(size, now_ns)

    def _second_opinion(self, size: int, now_ns: int) -> list[Ask]:
        """Of the control that was not heard yet, as long as the service answers no more than its own request."""
        if self.judge == SERVICE and len(self.least) > CONTROL and self.search.passed == self.least[SERVICE]:
            return [self._ask(CONTROL, each, now_ns) for each in (size, self.least[CONTROL])]
        return []

    def _witness(self, lane: int, size: int, now_ns: int) -> Ask:
        ask = self._new(lane, size, now_ns)
        self._round.witnesses[ask.shot.number] = size
        return ask

    def _ask(self, lane: int, size: int, now_ns: int) -> Ask:
        ask = self._new(lane, size, now_ns)
        self._round.targets.add(ask.shot.number)
        return ask

    def _new(self, lane: int, size: int, now_ns: int) -> Ask:
        number = len(self.sent)
        flow = self._flow_of.setdefault(size, len(self._flow_of) % (FLOWS - 1) + 1) if self._is_unsure else 0
        flow = flow if lane == SERVICE else 0
        self.sent[number] = Sent(lane, size, flow, now_ns)
        return Ask(lane, Shot(number, self._patience.ttl, size, flow))

    def heard(self, reply: Reply) -> None:
        """Take a reply to a shot of this search."""
        sent = self.sent.get(reply.number)
        if sent is not None:
            {ARRIVED: self._arrived, TOO_BIG: self._too_big, OTHER: self._other,
             UNSENT: self._unsent}[word_of(reply)](sent, reply)

    def _arrived(self, sent: Sent, reply: Reply) -> None:
        self._learn_gap(reply.time_ns)
        if not sent.arrived and (reply.is_sure or sent.flow):
            self._rtt.take(max(reply.time_ns - reply.sent_ns, 1))
        self.proofs[sent.lane][reply.kind] += 1
        sent.arrived = True
        size = self._proven(sent, reply)
        if reply.number < self._since and size > self.search.passed:
            return
        if sent.lane != SERVICE and size == self._scouted and self.proofs[SERVICE]["answer"]:
            self._takes_padding = False
        self.search.arrived(size)
        self._bear_witness(reply.number, size)

    def _learn_gap(self, time_ns: int) -> None:
        """After rounds without a reply, how long the host's limit on errors made them wait."""
        if self._silent:
            self.refusals.take(time_ns - self._last_ns)
            self._silent = 0
        self._last_ns = max(self._last_ns, time_ns)

    def _proven(self, sent: Sent, reply: Reply) -> int:
        """The size that a reply proves: an answer to any of several shots proves no more than the smallest."""
        if reply.is_sure or sent.flow:
            return sent.size
        self._is_unsure = True
        return self.least[sent.lane]

    def _bear_witness(self, number: int, size: int) -> None:
        within = self._round
        if number in within.witnesses or (number in within.targets and size < within.size):
            within.heard = max(within.heard, size)
        if within.heard >= within.wanted > 0:
            within.deadline_ns = min(within.deadline_ns, self._last_ns + self._rtt.grace_ns)

    def _too_big(self, sent: Sent, reply: Reply) -> None:
        """A router's word; of no weight where the packet arrived all the same."""
        if sent.arrived or reply.number < self._since:
            return
        if sent.size > self.search.passed:
            self.search.reported(sent.size, reply.event.mtu if reply.event else None)
        elif sent.size == self.search.passed:
            self._silent = max(self._silent, DOUBTFUL)
        if reply.number in self._round.targets and self._has_said_all():
            self._round.deadline_ns = reply.time_ns

    def _has_said_all(self) -> bool:
        """Whether a router's word about its probe ends the round: not where a witness is still to be heard."""
        if self.search.passed:
            return not self._round.witnesses
        return min(self.search.hints, default=self._round.size) < self._round.size

    def _other(self, sent: Sent, reply: Reply) -> None:
        verdict = (reply.event.verdict if reply.event else None) or "unreachable"
        self.complaints[verdict] += 1
        self._objections.take(verdict, sent, reply.time_ns)
        if not self.search.passed and self._objections.wants_repeat:
            self._round.deadline_ns = min(self._round.deadline_ns, max(sent.sent_ns + REPEAT_NS, reply.time_ns))

    def _unsent(self, sent: Sent, reply: Reply) -> None:
        self._refused(sent, errno.EHOSTUNREACH, reply.time_ns)

    def refused(self, number: int, code: int, now_ns: int) -> None:
        """This host did not send a shot.

        Args:
            number: the shot's.
            code: errno; EMSGSIZE says that it is beyond what the interface takes.
            now_ns: what time it is.
        """
        self._refused(self.sent[number], code, now_ns)

    def _refused(self, sent: Sent, code: int, now_ns: int) -> None:
        if code in TRANSIENT:
            return
        if code == errno.EMSGSIZE and sent.size > self.least[sent.lane]:
            self.search.refused(sent.size)
        else:
            self.errnos[code] += 1
        self._round.deadline_ns = min(self._round.deadline_ns, now_ns)
