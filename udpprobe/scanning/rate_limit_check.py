"""Decides why one reporter sent no ICMP error about some ports of a host: they are silent, or its rate limit hid them.

Without a sign of a rate limit, all these ports are probed once more, followed by ports that this reporter is known to
refuse. If it refuses all of the known ports and none of the others, the others are silent. If a known port draws no
error, or a port that had drawn none is refused now, there is a rate limit (or loss). From then on, ports are probed one
by one, each when the reporter should have a token again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Mapping, Sequence

from msgspec import Struct, field

from udpprobe.core.limiter import MS, Limiter
from udpprobe.scanning.unanswered import BETWEEN_TRIES_NS, UNDECIDED, Ballot, Unanswered

Tried = list[tuple[int, int]]
"""Tasks, each with the time of its probe."""


HASH_MULTIPLIER = 0x9E37_79B1
"""Shuffles ports by Knuth's multiplicative hash, because silent ports often have neighbouring numbers."""
FIRST_BATCH, BATCH_GROWTH = 12, 8
"""Ports in the first batch without a sign of a rate limit, and growth of later batches. A small first batch wastes few
probes if there is a limit."""
PROBES_PER_CLOSED = 16
"""While a limit is being learned, a port known to be closed is probed after so many misses: the others may be silent
although a token is there."""
MISSES_PER_CLOSED = 4
"""Once the limit is known, a port known to be closed is probed after so many misses in a row. The number doubles each
time that its error confirms the misses."""
MOST_STRIKES = 4
"""Probes without an error before the pause between them grows."""

Due = list[tuple[int, int]]
"""Tasks, each with the index of its source address."""
FEW_UNDECIDED = 8
"""Most undecided ports probed together with a known one after them: one token closes one, or clears all."""
FIRST_PAUSE_NS, PAUSE_GROWTH, LONGEST_PAUSE_NS = 100 * MS, 1.3, 5000 * MS
"""Pause between such probes while no token comes."""
MOST_TRIES_WITHOUT_TOKEN = 20
"""Such probes without an error before the rest is left undecided."""
NO_TASK = -1
BURST = 6
"""Probes of each of the last few ports: some filters drop one packet a second and reject the others."""
MOST_CLOSED = 16
"""Known ports, one per kind of error, that are probed after the others."""
MOST_USELESS = 64
"""Errors in a row about known ports that decided nothing, before the rest is left undecided."""


class RateLimitCheck:
    """Decides which undecided tasks of one host are silent for one reporter, and which its rate limit hid.

    Args:
        tasks: (n,) the host's tasks.
        ballot: their state for this reporter.
        known: tasks that it sent errors about, each with the kind: kinds may come from different rules.
        hit_ns: by source address, send time of the last probe that drew an error.
        tries: number of probes without an error, where a closed port would have sent one, that make a port silent.
        most_together: most ports to probe together; few at a low rate, because a token that the first of many missed
            may be there for the last.
    """

    def __init__(
        self,
        tasks: Sequence[int],
        ballot: Ballot,
        known: Mapping[int, int],
        hit_ns: Sequence[int],
        tries: int,
        most_together: int,
    ) -> None:
        self._tasks, self._ballot, self._tries, self._most_together = tasks, ballot, tries, most_together
        self._closed = dict(known)
        """Tasks with an error, next one to probe again first; each with the kind of error."""
        self._fresh = deque(sorted(self._undecided(), key=lambda task: task * HASH_MULTIPLIER & 0xFFFF_FFFF))
        self._unanswered = Unanswered(ballot, tries)
        self._source_limits = [SourceLimit(Limiter(each)) for each in hit_ns]
        self._stretch = MISSES_PER_CLOSED
        self.wait_ns = 20 * MS
        """Longest time until an error arrives; the caller keeps it up to date."""
        self.limited = False
        self.ended = False
        """Nothing more can be learned; the rest stays undecided."""
        self._has_probed = False
        """Whether the last batch was sent, and its errors are still to be judged."""
        self._stage_ns = self._rounds = 0
        self._todo: list[int] = []
        self._together: list[int] = []
        """The last batch of probes."""
        self._batch = min(FIRST_BATCH, most_together)
        self._known_probed: dict[int, int] = {}
        """Known ports that were probed after the others, and not refused since."""
        self._confirming: tuple[int, list[int]] = NO_TASK, []
        """A known port that was probed right after others with enough misses, and these."""
        self._tries_without_token = self._source = self._useless = 0

    def _undecided(self) -> list[int]:
        return self._ballot.undecided_among(self._tasks)

    @property
    def _still_undecided(self) -> int:
        """How many tasks are undecided."""
        return self._ballot.still_undecided

    @property
    def finished(self) -> bool:
        """Whether every task is decided, or cannot be."""
        return self.ended or not self._still_undecided

    def wake_ns(self) -> int:
        """Time at which there may be something to send."""
        if not self.limited:
            return self._stage_ns
        return min((limit.next_ns for limit in self._source_limits if not limit.ended), default=0)

    def remaining_ns(self) -> int:
        """An estimate of the time until everything is decided."""
        intervals = [limit.limiter.interval_ns or limit.limiter.pause_ns or 0 for limit in self._source_limits]
        return self._still_undecided * max(intervals) // len(intervals)

    def due(self, now_ns: int) -> Due:
        """What to send now."""
        if now_ns < self.wake_ns():
            return []
        if self.limited and self._is_few():
            self._go_on_limited(now_ns)
        return self._due_limited(now_ns) if self.limited else self._due_free(now_ns)

    def hold(self, now_ns: int) -> None:
        """Keep what was due; it has not been sent yet."""
        self._stage_ns = now_ns + self.wait_ns

    def distrust(self) -> None:
        """Forget all misses: the errors may be among packets that this host lost."""
        for limit in self._source_limits:
            limit.tried = []
        self._known_probed, self._has_probed, self._todo = {}, False, []

    def forget(self, task: int) -> None:
        """Another reporter decided a task: its probes neither hit nor missed this one's limit."""
        for limit in self._source_limits:
            limit.tried = [each for each in limit.tried if each[0] != task]

    # Without a limit: all undecided ports, and a known port right after them.

    def _due_free(self, now_ns: int) -> Due:
        if self._known_probed:  # known ports missed: they show the limit best
            self._closed = dict(self._known_probed)
            return self._go_on_limited(now_ns)
        due = self._settle_silent() if self._has_probed else self._probe_batch()
        self._has_probed = not self._has_probed
        pause_ns = 0 if self._todo else BETWEEN_TRIES_NS
        self._stage_ns = now_ns + (self.wait_ns if due else pause_ns)
        return due

    def _is_few(self) -> bool:
        """Whether too few are undecided for learning the limit to pay off."""
        return self._still_undecided <= FEW_UNDECIDED and all(
            limit.limiter.interval_ns is None for limit in self._source_limits
        )

    def _go_on_limited(self, now_ns: int) -> Due:
        """Use each token well; if few ports are undecided, probe all of them as soon as there is one."""
        self._todo = [] if self.limited else [*self._together, *self._todo]  # these again, then the others
        self.limited = not self._is_few()
        self._known_probed, self._has_probed = {}, False
        self._tries_without_token += 1
        self._source = (self._source + 1) % len(self._source_limits)
        self._stage_ns = now_ns + min(int(FIRST_PAUSE_NS * PAUSE_GROWTH**self._tries_without_token), LONGEST_PAUSE_NS)
        self.ended = self._tries_without_token > MOST_TRIES_WITHOUT_TOKEN or self._useless > MOST_USELESS
        return []

    def _probe_known(self) -> Due:
        """Probe a known port of each kind, because one of several rules may have a limit."""
        of_kind: dict[int, int] = {}
        for task, kind in self._closed.items():
            if len(of_kind) < MOST_CLOSED:
                of_kind.setdefault(kind, task)
        self._known_probed = {task: kind for kind, task in of_kind.items()}
        return [(task, self._source) for task in self._known_probed]

    def _probe_batch(self) -> Due:
        """Probe a batch, larger each time, and known ports right after it, before another token can come."""
        self._todo = self._todo or self._undecided()
        now = self._together = self._ballot.undecided_among(self._todo[: self._batch])
        self._todo = self._todo[self._batch :]
        self._batch = min(self._batch * BATCH_GROWTH, self._most_together)
        is_last = self._rounds == self._tries - 1 and self._still_undecided <= FEW_UNDECIDED
        return [(task, self._source) for task in now] * (BURST if is_last else 1) + self._probe_known()

    def _settle_silent(self) -> Due:
        """All known ports were refused, and none that is still undecided: those are silent."""
        self._rounds += not self._todo
        if self._rounds >= self._tries:
            for task in self._undecided():
                self._ballot.silence(task)
        return []

    # With a limit: every token for one port.

    def _due_limited(self, now_ns: int) -> Due:
        due: Due = []
        for source, limit in enumerate(self._source_limits):
            if limit.ended or now_ns < limit.next_ns:
                continue
            if limit.limiter.pause_ns or limit.limiter.is_mute(now_ns):
                self._wait_patiently(limit, now_ns)
                if now_ns < limit.next_ns or limit.ended:
                    continue
            if self._is_time_to_confirm():
                due += self._confirm(limit, source, now_ns)
                continue
            task = self._pick(limit, now_ns)
            if task is None:
                continue
            limit.tried.append((task, now_ns))
            limit.next_ns = limit.limiter.next_ns(now_ns, self.wait_ns)
            due.append((task, source))
        self.ended = self._useless > MOST_USELESS or all(limit.ended for limit in self._source_limits)
        return due

    def _is_time_to_confirm(self) -> bool:
        return self._still_undecided == len(self._ballot.undecided_among(list(self._unanswered.enough))) > 0

    def _confirm(self, limit: SourceLimit, source: int, now_ns: int) -> Due:
        """Probe all tasks with enough misses once more, if the limit is as learned.

        If a known port right after them is refused, there was a token for them, whatever the limit is.
        """
        known = next(iter(self._closed))
        if now_ns < (late_ns := limit.limiter.late_ns):
            limit.next_ns = late_ns
            return []
        some = self._ballot.undecided_among(sorted(self._unanswered.enough))[: self._most_together]
        self._confirming = known, some
        limit.tried += [(task, now_ns) for task in (*some, known)]
        limit.next_ns = now_ns + max(self.wait_ns, limit.limiter.interval_ns or 0)
        return [(task, source) for task in (*some, known)]

    def _confirmed(self, task: int) -> None:
        """A known port was refused that was probed right after some with enough misses."""
        known, some = self._confirming
        if task == known:
            for each in self._ballot.undecided_among(some):
                self._ballot.silence(each)
        self._confirming = NO_TASK, []

    def _wait_patiently(self, limit: SourceLimit, now_ns: int) -> None:
        limiter = limit.limiter
        limit.strikes += 1
        if limiter.pause_ns and limit.strikes <= MOST_STRIKES:
            return
        limit.strikes, limit.tried = 0, []
        limit.ended = not limiter.be_patient()
        limit.next_ns = now_ns + limiter.pause_ns

    def _pick(self, limit: SourceLimit, now_ns: int) -> int | None:
        """The port for the next token: one that missed before, else the next in turn, else a known one."""
        learned, sure = limit.limiter.interval_ns is not None, limit.limiter.suffices(now_ns)
        flying = limit.flying(now_ns, self.wait_ns)
        patient = limit.limiter.pause_ns > 0 and limit.strikes > 1
        if patient or self._is_time_for_closed(len(limit.tried) + 1, learned=learned):
            return self._pick_closed(limit, flying)
        if learned and self._unanswered.turn_ns(limit.limiter.late_ns) <= now_ns < limit.limiter.late_ns:
            limit.next_ns = limit.limiter.late_ns  # otherwise the same ports would miss first each time
            return None
        tried = limit.missed(now_ns, self.wait_ns, self._closed).union(flying)
        task = self._unanswered.next(now_ns, tried) if sure else None
        task = self._pick_fresh(tried, keep=learned and not sure) if task is None else task
        if task is None and learned and not any(limit.limiter.suffices(when) for _, when in limit.tried):
            limit.next_ns = max(limit.limiter.ready_ns, self._unanswered.turn_ns(now_ns + self.wait_ns))
            return None  # a closed port would prove nothing
        return self._pick_closed(limit, flying) if task is None else task

    def _is_time_for_closed(self, tries: int, *, learned: bool) -> bool:
        """At regular intervals while a limit is learned; afterwards less often the longer there is no token."""
        times, rest = divmod(tries, self._stretch if learned else PROBES_PER_CLOSED)
        return rest == 0 and (not learned or times.bit_count() == 1)

    def _pick_closed(self, limit: SourceLimit, flying: dict[int, int]) -> int | None:
        task = next((each for each in self._closed if each not in flying), None)
        if task is None:
            limit.next_ns = min(flying.values()) + self.wait_ns
        return task

    def _pick_fresh(self, tried: set[int], *, keep: bool) -> int | None:
        """The next port without a miss; with `keep` it stays the next, because its miss will not count."""
        for _ in range(len(self._fresh)):
            task = self._fresh[0]
            if self._ballot[task] != UNDECIDED:
                self._fresh.popleft()
            elif not self._is_fresh(task):
                self._fresh.rotate(-1)
            else:
                break
        at = next((at for at, task in enumerate(self._fresh) if task not in tried and self._is_fresh(task)), None)
        if at is None:
            return None
        task = self._fresh[at]
        if not keep:
            del self._fresh[at]
            self._fresh.append(task)
        return task

    def _is_fresh(self, task: int) -> bool:
        return self._ballot[task] == UNDECIDED and task not in self._unanswered and task not in self._unanswered.enough

    # What arrives

    def hit(self, task: int, kind: int, source: int, sent_ns: int, now_ns: int) -> None:
        """This reporter sent an error about a task.

        Args:
            task: its state is REPLIED already.
            kind: kind of the error.
            source: source address of the probe.
            sent_ns: send time of the probe.
            now_ns: arrival time of the error.
        """
        if task in self._known_probed:
            del self._known_probed[task]
        elif not self.limited:
            self.limited = not self._is_few()  # it had missed before
        self._useless = self._useless + 1 if task in self._closed else 0
        self._unanswered.refused(task, now_ns)
        limit = self._source_limits[source]
        limit.strikes = self._tries_without_token = 0
        self._confirmed(task)
        before = limit.split(task, sent_ns)
        if before is None:  # from a batch sent before the limit was noticed, all at once
            limit.limiter.hit_ns = max(limit.limiter.hit_ns, sent_ns)
            self._closed[task] = kind
            return
        self._count_misses(limit, before, sent_ns, now_ns)
        missed_ns = [when for _, when in before]
        next_ns = limit.limiter.hit(sent_ns, missed_ns, known_missed=self._stretched(limit, before, task))
        self._closed[task] = kind
        # otherwise other probes are under way: their slots are taken
        if limit.limiter.interval_ns is None or not limit.tried:
            limit.next_ns = max(next_ns, now_ns)

    def _count_misses(self, limit: SourceLimit, before: Tried, sent_ns: int, now_ns: int) -> None:
        """Count a miss for tasks probed well before a refused one, at a time when a token was surely there."""
        for task, when in since_closed(before, self._closed):
            if when + self.wait_ns // 4 <= sent_ns and limit.limiter.suffices(when) and self._ballot[task] == UNDECIDED:
                self._unanswered.miss(task, now_ns)
                self._useless = 0

    def _stretched(self, limit: SourceLimit, before: Tried, task: int) -> bool:
        """Whether a closed port missed in this gap; this decides how many silent ones in a row are believed."""
        known_missed = any(each in self._closed and limit.limiter.suffices(when) for each, when in before)
        if known_missed:
            self._stretch = MISSES_PER_CLOSED
        elif task in self._closed:
            self._stretch *= 2
        return known_missed


class SourceLimit(Struct):
    """The probes from one source address."""

    limiter: Limiter
    next_ns: int = 0
    tried: Tried = field(default_factory=list)
    """Probes since the last error, in order."""
    strikes: int = 0
    """Patient probes in a row without an error."""
    ended: bool = False

    def flying(self, now_ns: int, wait_ns: int) -> dict[int, int]:
        """Tasks whose error may still arrive, and the time of each probe."""
        return {task: when for task, when in self.tried if now_ns < when + wait_ns}

    def missed(self, now_ns: int, wait_ns: int, closed: Container[int]) -> set[int]:
        """Tasks that missed in this gap although a token was surely there, judging by `closed` ones."""
        landed = [(task, when) for task, when in self.tried if when + wait_ns <= now_ns]
        return {task for task, when in since_closed(landed, closed) if self.limiter.suffices(when)}

    def split(self, task: int, sent_ns: int) -> Tried | None:
        """Take out the probes up to and including that of a refused task; None if it was not probed.

        Args:
            task: the refused task.
            sent_ns: send time of the refused probe; the task was probed no later.
        """
        own = max((at for at, (each, when) in enumerate(self.tried) if each == task and when <= sent_ns), default=None)
        if own is None:
            return None
        before, self.tried = self.tried[:own], self.tried[own + 1 :]
        return before


def since_closed(missed: Tried, closed: Container[int]) -> Tried:
    """Misses after the last miss of a closed port: until then there was no token."""
    last = max((at for at, (task, _) in enumerate(missed) if task in closed), default=-1)
    return missed[last + 1 :]
