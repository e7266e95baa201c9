"""A host that sends ICMP errors, some of whose ports have said nothing: silent, or no token left for the error?

While nothing speaks of a limit, all are asked once more between two probes of a port that is known to be closed:
if both of those are refused and none in between, the others are silent. As soon as a known port misses, or one
that had said nothing is refused, there is a limit (or loss): then every token is spent on one port.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from udpprobe.core.batch import I8, I64
from udpprobe.core.limiter import MS, Limiter
from udpprobe.core.suspects import BETWEEN_TRIES_NS, OPEN, SILENT, Suspects

GOLDEN = 0x9E37_79B1
"""Mixes the order of ports: those that are silent often stand side by side."""
FIRST_PORTION, LARGER = 12, 8
"""So many ports are asked at first where nothing speaks of a limit, and then that many times as many: if there is one,
little was sent in vain."""
NOW_AND_THEN = 8
"""After so many probes without an error a port that is known to be closed is probed: perhaps the others are silent."""
FIRST_STRETCH = 4
"""So many ports may miss in a row, where a token is sure, before one that is known to be closed is asked; more where
such a one showed that they were right."""
MOST_STRIKES = 4
"""Patient probes without an error before patience grows."""

Due = list[tuple[int, int]]
"""Tasks, each with the source address to use."""


@dataclass(slots=True)
class Lane:
    """What goes to the host from one source address."""

    limiter: Limiter
    next_ns: int
    tried: list[tuple[int, int]]
    """(task, when it was sent), of the probes since the last error."""
    strikes: int = 0
    ended: bool = False


class Host:
    """Decides the open tasks of one host.

    Args:
        tasks: (n,) its tasks.
        state: of all tasks of the scan, by task.
        known: a task of the host that an error came for.
        hit_ns: by source address, when the last probe that drew an error had left.
        tries: how often a port must miss where a closed one would not.
    """

    def __init__(self, tasks: I64, state: I8, known: int, hit_ns: list[int], tries: int) -> None:
        self._tasks, self._state, self._tries = tasks, state, tries
        self._closed = {known: None}
        """Tasks that an error came for, in order."""
        self._fresh = deque(sorted(self._open().tolist(), key=lambda task: task * GOLDEN & 0xFFFF_FFFF))
        self._suspects = Suspects(state, tries)
        self._lanes = [Lane(Limiter(each), 0, []) for each in hit_ns]
        self._stretch = FIRST_STRETCH
        self.wait_ns = 20 * MS
        """How long an error may take to come; the caller keeps it up to date."""
        self.limited = False
        self.ended = False
        """Nothing more can be found out; what is open stays undecided."""
        self._stage, self._stage_ns, self._rounds = 0, 0, 0
        self._todo: list[int] = []
        self._portion = FIRST_PORTION
        self._asked: int | None = None

    def _open(self) -> I64:
        return self._tasks[self._state[self._tasks] == OPEN]

    @property
    def finished(self) -> bool:
        """Whether every task is decided, or can't be."""
        return self.ended or not (self._state[self._tasks] == OPEN).any()

    def wake_ns(self) -> int:
        """When there may be something to send."""
        if not self.limited:
            return self._stage_ns
        return min((lane.next_ns for lane in self._lanes if not lane.ended), default=0)

    def remaining_ns(self) -> int:
        """An estimate of the time until all is decided."""
        intervals = [lane.limiter.interval_ns or lane.limiter.pause_ns or 0 for lane in self._lanes]
        return len(self._fresh) * max(intervals) // len(intervals)

    def due(self, now_ns: int) -> Due:
        """What to send now."""
        if now_ns < self.wake_ns():
            return []
        return self._due_limited(now_ns) if self.limited else self._due_free(now_ns)

    def hold(self, now_ns: int) -> None:
        """What was due is still waiting to be sent."""
        self._stage_ns = now_ns + self.wait_ns

    # Without a limit: a known port, all that are open, a known port again.

    def _due_free(self, now_ns: int) -> Due:
        if self._asked is not None:     # a known port has missed
            self.limited = True
            return []
        stage, self._stage = self._stage, (self._stage + 1) % len(STAGES)
        due = STAGES[stage](self)
        pause_ns = 0 if self._todo else BETWEEN_TRIES_NS
        self._stage_ns = now_ns + (self.wait_ns if due else pause_ns)
        return due

    def _ask(self) -> Due:
        self._asked = next(iter(self._closed))
        return [(self._asked, 0)]

    def _try(self) -> Due:
        """Some, more each time, and the known port right behind them, before another token can come."""
        if not self._todo:
            self._todo = self._open().tolist()
        now, self._todo = self._todo[:self._portion], self._todo[self._portion:]
        self._portion *= LARGER
        return [(task, 0) for task in now] + self._ask()

    def _judge(self) -> Due:
        """Both known ports were refused, and none that is still open."""
        self._rounds += not self._todo
        if self._rounds >= self._tries:
            self._state[self._open()] = SILENT
        return []

    # With one: every token for one port.

    def _due_limited(self, now_ns: int) -> Due:
        due: Due = []
        for source, lane in enumerate(self._lanes):
            if lane.ended or now_ns < lane.next_ns:
                continue
            if lane.limiter.pause_ns or lane.limiter.is_mute(now_ns):
                self._wait_patiently(lane, now_ns)
                if now_ns < lane.next_ns or lane.ended:
                    continue
            task = self._pick(lane, now_ns)
            if task is None:
                continue
            lane.tried.append((task, now_ns))
            lane.next_ns = lane.limiter.next_ns(now_ns, self.wait_ns)
            due.append((task, source))
        self.ended = all(lane.ended for lane in self._lanes)
        return due

    def _wait_patiently(self, lane: Lane, now_ns: int) -> None:
        limiter = lane.limiter
        lane.strikes += 1
        if limiter.pause_ns and lane.strikes <= MOST_STRIKES:
            return
        lane.strikes, lane.tried = 0, []
        lane.ended = not limiter.be_patient()
        lane.next_ns = now_ns + limiter.pause_ns

    def _pick(self, lane: Lane, now_ns: int) -> int | None:
        """The port that gets the next token: one that missed before, else the next in turn, else a known one."""
        sure = lane.limiter.suffices(now_ns)
        flying = {task for task, when in lane.tried if now_ns < when + self.wait_ns}
        landed = [(task, when) for task, when in lane.tried if task not in flying]
        tried = flying | {task for task, _ in self._since_closed(landed) if sure}
        stretch = NOW_AND_THEN if lane.limiter.interval_ns is None else self._stretch
        task = None
        if not (lane.limiter.pause_ns and lane.strikes > 1) and len(lane.tried) % stretch != stretch - 1:
            task = self._suspects.next(now_ns, tried) if sure else None
            task = self._pick_fresh(tried) if task is None else task
        if task is None:
            task = next((each for each in self._closed if each not in flying), None)
        if task is None:
            lane.next_ns = min(when for each, when in lane.tried if each in flying) + self.wait_ns
        return task

    def _pick_fresh(self, tried: set[int]) -> int | None:
        for _ in range(len(self._fresh)):
            task = self._fresh.popleft()
            if self._state[task] != OPEN:
                continue
            self._fresh.append(task)
            if task not in tried and task not in self._suspects:
                return task
        return None

    # What is heard.

    def hit(self, task: int, source: int, sent_ns: int, now_ns: int) -> None:
        """An error came for a probe of a task.

        Args:
            task: which one; its state is SETTLED already.
            source: the source address the probe had.
            sent_ns: when it had left.
            now_ns: when the error came.
        """
        if task == self._asked:
            self._asked = None
        elif not self.limited:
            self.limited = True     # it missed before
        self._suspects.refused(task)
        lane = self._lanes[source]
        lane.strikes = 0
        before = self._split(lane, task)
        if before is None:      # of a round that was sent before there was a limit: they came all at once
            lane.limiter.hit_ns = max(lane.limiter.hit_ns, sent_ns)
            return
        self._count_misses(lane, before, sent_ns, now_ns)
        missed_ns = [when for _, when in before]
        next_ns = lane.limiter.hit(sent_ns, missed_ns, known_missed=self._stretched(lane, before, task))
        if lane.limiter.interval_ns is None or not lane.tried:  # else others are under way: their slots are taken
            lane.next_ns = max(next_ns, now_ns)

    def _split(self, lane: Lane, task: int) -> list[tuple[int, int]] | None:
        """Take from the lane what it tried before the probe that was refused, and that one; None if it did not."""
        own = max((at for at, (each, _) in enumerate(lane.tried) if each == task), default=None)
        if own is None:
            return None
        before, lane.tried = lane.tried[:own], lane.tried[own + 1:]
        return before

    def _count_misses(self, lane: Lane, before: list[tuple[int, int]], sent_ns: int, now_ns: int) -> None:
        """Those that left well before one that was refused, when a token was surely there, have missed."""
        for task, when in self._since_closed(before):
            if when + self.wait_ns // 4 <= sent_ns and lane.limiter.suffices(when) and self._state[task] == OPEN:
                self._suspects.miss(task, now_ns)

    def _since_closed(self, missed: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """What missed since a closed port did: until then there was no token."""
        last = max((at for at, (task, _) in enumerate(missed) if task in self._closed), default=-1)
        return missed[last + 1:]

    def _stretched(self, lane: Lane, before: list[tuple[int, int]], task: int) -> bool:
        """Whether a closed port had missed in this gap; how many silent ones are believed in a row depends on it."""
        known_missed = any(each in self._closed and lane.limiter.suffices(when) for each, when in before)
        if known_missed:
            self._stretch = FIRST_STRETCH
        elif task in self._closed:
            self._stretch *= 2
        self._closed[task] = None
        return known_missed


STAGES = (Host._ask, Host._try, Host._judge)  # noqa: SLF001 - its own table
"""Of a round without a limit."""
