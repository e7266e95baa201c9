"""Ports that sent no error where a closed one would have: how often, and how much that proves.

The time between two errors is a gap. If a closed port missed in a gap, somebody else had the token, or a packet was
lost. Then other misses in that gap prove nothing.
"""

from __future__ import annotations

import math
from array import array
from collections import deque
from collections.abc import Callable, Sequence

from udpprobe.core.departures import counts
from udpprobe.core.limiter import MS

UNDECIDED, REPLIED, SILENT, UNSENT, HELD, LIMITED = range(6)
"""States of a task: undecided; an answer or an error arrived; nothing will arrive; this host could not send; it is one
of the scan's own ports; nothing arrived, perhaps because of a rate limit on errors. REPLIED is not settled yet: a
reply that contradicts a router's error may still arrive (`outcome.is_settled`)."""

BETWEEN_TRIES_NS = 200 * MS
"""Pause before a port that missed is probed again: the path may have lost a packet."""
DOUBT = 1e-3
"""A port is called silent if a closed one would have missed as often with less than this probability."""
MOST_TRIES = 30


class States:
    """(tasks,) the state of each task, and the number of undecided ones.

    Args:
        host: (tasks,) the host of each.
        requested_count: tasks from here on are control ports, which are not counted.
    """

    def __init__(self, host: array[int], requested_count: int | None = None) -> None:
        self.host = host
        self.requested_count = len(host) if requested_count is None else requested_count
        self.values = bytearray(len(host))
        self.undecided = self.requested_count
        """Number of undecided tasks."""
        self.undecided_of = counts(host[: self.requested_count], max(host, default=-1) + 1)
        """(hosts,) undecided tasks of each."""
        self._news: list[int] | None = None

    def note(self) -> list[int]:
        """A list that collects the tasks decided from now on; the caller empties it."""
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
        if self._news is not None and task < self.requested_count and state != UNDECIDED:
            self._news.append(task)
        if task < self.requested_count and UNDECIDED in {before, state}:
            change = 1 if state == UNDECIDED else -1
            self.undecided += change
            self.undecided_of[self.host[task]] += change

    def replied(self, count: int, tasks: Sequence[int]) -> None:
        """Count tasks that are REPLIED in `values` and `undecided_of` already; `count` of them were undecided."""
        self.undecided -= count
        if self._news is not None:
            self._news += [task for task in tasks if task < self.requested_count]

    def undecided_among(self, tasks: Sequence[int]) -> list[int]:
        """Those of these tasks that are undecided."""
        values = self.values
        return [task for task in tasks if values[task] == UNDECIDED]


class Ballot:
    """The state of one host's tasks for one reporter; a task is SILENT once all reporters agree.

    Args:
        states: of all tasks of the scan.
        host: whose tasks these are.
        agree: called with each task that this reporter has nothing to report about.
    """

    def __init__(self, states: States, host: int, agree: Callable[[int], None]) -> None:
        self._states, self._host, self._agree = states, host, agree
        self.passed: set[int] = set()
        """Tasks that are silent for this reporter, but undecided for others."""

    def __getitem__(self, task: int) -> int:
        return SILENT if task in self.passed else self._states.values[task]

    def silence(self, task: int) -> None:
        """This reporter has nothing to report about a task."""
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
        tries: number of misses, where a closed port would not miss, that make a port silent.
    """

    def __init__(self, ballot: Ballot, tries: int) -> None:
        self._ballot, self._tries = ballot, tries
        self._turns: deque[tuple[int, int]] = deque()
        """(time to try again, task)"""
        self._misses: dict[int, set[int]] = {}
        """By task, the gaps it missed in."""
        self._missing: dict[int, list[int]] = {}
        """By gap, the tasks that missed."""
        self.enough: set[int] = set()
        """Tasks that missed often enough."""
        self._gaps, self._false = 0, 0
        """Number of gaps, and in how many of them a closed port missed."""

    def __contains__(self, task: int) -> bool:
        return bool(self._misses.get(task)) and self._ballot[task] == UNDECIDED and task not in self.enough

    def next(self, now_ns: int, tried: set[int]) -> int | None:
        """The task to probe now, if its time has come and it is not among those `tried`."""
        if self.turn_ns(now_ns + 1) > now_ns or self._turns[0][1] in tried:
            return None
        _, task = self._turns.popleft()
        self._turns.append((now_ns + BETWEEN_TRIES_NS, task))
        return task

    def turn_ns(self, otherwise_ns: int) -> int:
        """Time of the next try, or `otherwise_ns` if there is none."""
        while self._turns and self._turns[0][1] not in self:
            self._turns.popleft()
        return self._turns[0][0] if self._turns else otherwise_ns

    def miss(self, task: int, now_ns: int) -> None:
        """A task missed in this gap."""
        if not self._misses.get(task):
            self._turns.append((now_ns + BETWEEN_TRIES_NS, task))
        self._misses.setdefault(task, set()).add(self._gaps)
        self._missing.setdefault(self._gaps, []).append(task)
        if len(self._misses[task]) >= max(self._needed() - 1, 1):  # confirmation takes another one
            self.enough.add(task)

    def refused(self, task: int, now_ns: int) -> None:
        """A task was refused: the gap ends, and other misses in its gaps prove nothing."""
        self._gaps += 1
        self.enough.discard(task)
        gaps = self._misses.pop(task, set())
        self._false += len(gaps)
        for gap in gaps:
            for each in self._missing.pop(gap, ()):
                self._misses.get(each, set()).discard(gap)
                if each in self.enough:  # not enough after all
                    self.enough.discard(each)
                    self._turns.append((now_ns + BETWEEN_TRIES_NS, each))

    def _needed(self) -> int:
        """Number of misses that make a port silent, given how often closed ports missed (rule of succession)."""
        chance = (self._false + 1) / (self._gaps + 2)
        enough = math.ceil(math.log(DOUBT) / math.log(chance))
        least = max(self._tries - 1, 1)  # it also missed in the first round
        return min(max(enough, least), MOST_TRIES)
