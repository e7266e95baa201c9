"""Ports that said nothing where a closed one would have spoken: how often, and how much that says.

The time between two errors is a gap. In a gap in which a closed port missed, somebody else had the token, or
a packet was lost: what others missed in it says nothing of them.
"""

from __future__ import annotations

import math
from array import array
from collections import Counter, deque
from collections.abc import Callable, Sequence

from udpprobe.core.limiter import MS

UNDECIDED, REPLIED, SILENT, UNSENT, HELD, LIMITED = range(6)
"""States of a task: undecided; an answer or an error came; nothing will come; this host did not send it; it is one of
the scan's own ports; nothing came, perhaps because of a rate limit on errors. REPLIED is not yet settled: what
contradicts a router's error may still come (`outcome.is_settled`)."""

BETWEEN_TRIES_NS = 200 * MS
"""Before a port that missed is tried again: it may have been the path."""
DOUBT = 1e-3
"""A port may be called silent if a closed one would have missed as often with less than this probability."""
MOST_TRIES = 30


class States:
    """(tasks,) the state of each task, and how many are undecided.

    Args:
        host: (tasks,) the host of each.
        asked: tasks from here on are control ports: they are not counted.
    """

    def __init__(self, host: Sequence[int], asked: int | None = None) -> None:
        self.host = host
        self.asked = len(host) if asked is None else asked
        self.values = bytearray(len(host))
        self.undecided = self.asked
        """How many tasks are UNDECIDED."""
        count = Counter(host[: self.asked])
        self.undecided_of = array("I", map(count.__getitem__, range(max(host, default=-1) + 1)))
        """(hosts,) how many of each."""
        self._news: list[int] | None = None

    def note(self) -> list[int]:
        """The tasks that are decided from now on, as they are; for the caller to empty."""
        self._news = []
        return self._news

    def __len__(self) -> int:
        return len(self.values)

    def __getitem__(self, task: int) -> int:
        return self.values[task]

    def __setitem__(self, task: int, state: int) -> None:
        before = self.values[task]
        if before == state:
            return
        self.values[task] = state
        if self._news is not None and task < self.asked and state != UNDECIDED:
            self._news.append(task)
        if task < self.asked and UNDECIDED in {before, state}:
            change = 1 if state == UNDECIDED else -1
            self.undecided += change
            self.undecided_of[self.host[task]] += change

    def replied(self, count: int, tasks: Sequence[int]) -> None:
        """Take note of tasks that are REPLIED in `values` and `undecided_of` already; `count` were undecided."""
        self.undecided -= count
        if self._news is not None:
            self._news += [task for task in tasks if task < self.asked]

    def undecided_among(self, tasks: Sequence[int]) -> list[int]:
        """Those of these tasks that are undecided."""
        values = self.values
        return [task for task in tasks if values[task] == UNDECIDED]


class Ballot:
    """What becomes of one host's tasks as far as one of its reporters is concerned; they are SILENT once all agree.

    Args:
        states: of all tasks of the scan.
        host: whose tasks these are.
        agree: hears of each task that this reporter has nothing to say of.
    """

    def __init__(self, states: States, host: int, agree: Callable[[int], None]) -> None:
        self._states, self._host, self._agree = states, host, agree
        self.passed: set[int] = set()
        """Tasks that this reporter has nothing to say of, and others are still asked about."""

    def __getitem__(self, task: int) -> int:
        return SILENT if task in self.passed else self._states.values[task]

    def silence(self, task: int) -> None:
        """This reporter has nothing to say of a task."""
        self.passed.add(task)
        self._agree(task)

    def undecided_among(self, tasks: Sequence[int]) -> list[int]:
        """Those of these tasks that are undecided."""
        values, passed = self._states.values, self.passed
        return [task for task in tasks if values[task] == UNDECIDED and task not in passed]

    @property
    def still_undecided(self) -> int:
        """How many tasks are undecided."""
        return self._states.undecided_of[self._host] - len(self.passed)


class Unanswered:
    """The undecided tasks of one host that missed.

    Args:
        ballot: of the host's tasks.
        tries: how often a port must miss where a closed one would not.
    """

    def __init__(self, ballot: Ballot, tries: int) -> None:
        self._ballot, self._tries = ballot, tries
        self._turns: deque[tuple[int, int]] = deque()
        """(when to try again, task)"""
        self._misses: dict[int, set[int]] = {}
        """By task, the gaps it missed in."""
        self._missing: dict[int, list[int]] = {}
        """By gap, who missed."""
        self.enough: set[int] = set()
        """Those that missed often enough."""
        self._gaps, self._false = 0, 0
        """How many there were, and in how many of them a closed port had missed."""

    def __contains__(self, task: int) -> bool:
        return bool(self._misses.get(task)) and self._ballot[task] == UNDECIDED and task not in self.enough

    def next(self, now_ns: int, tried: set[int]) -> int | None:
        """The one to try now, if its time has come and it is not among those `tried`."""
        if self.turn_ns(now_ns + 1) > now_ns or self._turns[0][1] in tried:
            return None
        _, task = self._turns.popleft()
        self._turns.append((now_ns + BETWEEN_TRIES_NS, task))
        return task

    def turn_ns(self, otherwise_ns: int) -> int:
        """When the next is to be tried, or another time if there is none."""
        while self._turns and self._turns[0][1] not in self:
            self._turns.popleft()
        return self._turns[0][0] if self._turns else otherwise_ns

    def miss(self, task: int, now_ns: int) -> None:
        """A task missed in this gap."""
        if not self._misses.get(task):
            self._turns.append((now_ns + BETWEEN_TRIES_NS, task))
        self._misses.setdefault(task, set()).add(self._gaps)
        self._missing.setdefault(self._gaps, []).append(task)
        if len(self._misses[task]) >= max(self._needed() - 1, 1):  # what confirms it is another one
            self.enough.add(task)

    def refused(self, task: int, now_ns: int) -> None:
        """An error came for a task: the gap ends, and those that this task had missed in say nothing."""
        self._gaps += 1
        self.enough.discard(task)
        gaps = self._misses.pop(task, set())
        self._false += len(gaps)
        for gap in gaps:
            for each in self._missing.pop(gap, ()):
                self._misses.get(each, set()).discard(gap)
                if each in self.enough:  # after all, it was not
                    self.enough.discard(each)
                    self._turns.append((now_ns + BETWEEN_TRIES_NS, each))

    def _needed(self) -> int:
        """How many misses make a port silent, as often as closed ports of this host missed (rule of succession)."""
        chance = (self._false + 1) / (self._gaps + 2)
        enough = math.ceil(math.log(DOUBT) / math.log(chance))
        least = max(self._tries - 1, 1)  # it missed in the first round too
        return min(max(enough, least), MOST_TRIES)
