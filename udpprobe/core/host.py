"""A host that sends ICMP errors, some of whose ports have said nothing: silent, or no token left for the error?

While nothing speaks of a limit, all are asked once more between two probes of a port that is known to be closed:
if both of those are refused and none in between, the others are silent. As soon as a known port misses, or one
that had said nothing is refused, there is a limit (or loss): then every token is spent on one port.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I8, I64
from udpprobe.core.limiter import MS, Limiter

OPEN, SETTLED, SILENT, UNSENT = range(4)
"""States of a task: undecided; an answer or an error came; nothing will come; this host did not send it."""

BETWEEN_TRIES_NS = 200 * MS
"""Before a port that missed is tried again: it may have been the path."""
DOUBT = 1e-3
"""A port may be called silent if a closed one would have missed as often with less than this probability."""
SURE = 0.97
MOST_TRIES = 30
GOLDEN = 0x9E37_79B1
"""Mixes the order of ports: those that are silent often stand side by side."""
NOW_AND_THEN = 8
"""After so many probes without an error a port that is known to be closed is probed: perhaps the others are silent."""
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
        self._known = known
        self._misses: dict[int, int] = {}
        self._fresh = deque(sorted(self._open().tolist(), key=lambda task: task * GOLDEN & 0xFFFF_FFFF))
        self._suspects: deque[tuple[int, int]] = deque()
        """(when to try again, task) of those that missed already."""
        self._lanes = [Lane(Limiter(each), 0, []) for each in hit_ns]
        self._hits, self._false = 0, 0
        self.wait_ns = 20 * MS
        """How long an error may take to come; the caller keeps it up to date."""
        self.limited = False
        self.ended = False
        """Nothing more can be found out; what is open stays undecided."""
        self._stage, self._stage_ns, self._rounds = 0, 0, 0
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
        self._stage_ns = now_ns + (self.wait_ns if due else 0) + (0 if due else BETWEEN_TRIES_NS)
        return due

    def _ask(self) -> Due:
        self._asked = self._known
        return [(self._known, 0)]

    def _try(self) -> Due:
        """All, and the known port right behind them, before another token can come."""
        return [(task, 0) for task in self._open().tolist()] + self._ask()

    def _judge(self) -> Due:
        """Both known ports were refused, and none that is still open."""
        self._rounds += 1
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
        if lane.limiter.pause_ns and lane.strikes > 1:
            return self._known
        sure = lane.limiter.suffices(now_ns)
        tried = {task for task, _ in lane.tried} if sure else set()
        while self._suspects and self._state[self._suspects[0][1]] != OPEN:
            self._suspects.popleft()
        if sure and self._suspects and self._suspects[0][0] <= now_ns and self._suspects[0][1] not in tried:
            _, task = self._suspects.popleft()
            self._suspects.append((now_ns + BETWEEN_TRIES_NS, task))
            return task
        if lane.limiter.interval_ns is None and len(lane.tried) % NOW_AND_THEN == NOW_AND_THEN - 1:
            return self._known
        return self._pick_fresh(tried) if self._fresh else self._pick_known(lane, now_ns, tried)

    def _pick_fresh(self, tried: set[int]) -> int:
        for _ in range(len(self._fresh)):
            task = self._fresh.popleft()
            if self._state[task] != OPEN or task in self._misses:
                continue
            self._fresh.append(task)
            if task not in tried:
                return task
        return self._known

    def _pick_known(self, lane: Lane, now_ns: int, tried: set[int]) -> int | None:
        """Only ports are left that missed before: a known one must show that they could have spoken."""
        if self._suspects and not tried and lane.limiter.suffices(now_ns):
            lane.next_ns = self._suspects[0][0]     # none of them is due yet
            return None
        return self._known

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
        self._false += self._misses.pop(task, 0)
        self._hits += 1
        self._known = task
        lane = self._lanes[source]
        lane.strikes = 0
        before = self._split(lane, task, sent_ns)
        missed_before = bool(before)
        self._count_misses(lane, before, now_ns)
        next_ns = lane.limiter.hit(sent_ns, missed_before=missed_before)
        if lane.limiter.interval_ns is None or not lane.tried:  # else others are under way: their slots are taken
            lane.next_ns = max(next_ns, now_ns)

    def _split(self, lane: Lane, task: int, sent_ns: int) -> list[tuple[int, int]]:
        """Take from the lane what it tried before the probe that was refused, and that one."""
        own = max((at for at, (each, _) in enumerate(lane.tried) if each == task), default=None)
        if own is None:
            own = sum(when < sent_ns for _, when in lane.tried)
        before, lane.tried = lane.tried[:own], lane.tried[own + 1:]
        return before

    def _count_misses(self, lane: Lane, before: list[tuple[int, int]], now_ns: int) -> None:
        """Those that left before one that was refused, when a token was surely there, have missed."""
        for task, when in before:
            if when + self.wait_ns <= now_ns and lane.limiter.suffices(when) and self._state[task] == OPEN:
                self._miss(task, now_ns)

    def _miss(self, task: int, now_ns: int) -> None:
        if task not in self._misses:
            self._suspects.append((now_ns + BETWEEN_TRIES_NS, task))
        self._misses[task] = self._misses.get(task, 0) + 1
        if self._misses[task] >= self._needed():
            self._state[task] = SILENT

    def _needed(self) -> int:
        """How many misses make a port silent, as often as closed ports of this host missed."""
        sure = (self._hits + 1) / (self._hits + self._false + 1)
        if sure > SURE:
            return self._tries
        return min(max(self._tries, math.ceil(math.log(DOUBT) / math.log(1 - sure))), MOST_TRIES)


STAGES = (Host._ask, Host._try, Host._judge)  # noqa: SLF001 - its own table
"""Of a round without a limit."""


def empty_state(tasks: int) -> I8:
    """(tasks,) all OPEN."""
    return np.zeros(tasks, np.int8)
