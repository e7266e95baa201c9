"""A host that ICMP errors come from, some of whose ports are silent.

A port is evidence about another only if the same reporter refuses both: the host itself, its firewall, or a router.
Each reporter has its own rate limit. A port is silent once none of them has anything to report about it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from udpprobe.scanning.rate_limit_check import Due, RateLimitCheck
from udpprobe.scanning.unanswered import SILENT, UNDECIDED, Ballot, States

MOST_CHECKS = 8
"""Reporters of one host that are checked separately; any further ones share the last check."""


class Host:
    """Decides the undecided tasks of one host.

    Args:
        tasks: (n,) its tasks.
        state: of all tasks of the scan.
        known: by reporter, tasks that it sent errors about, each with the kind of error.
        hit_ns: by source address, send time of the last probe that drew an error.
        tries: number of probes without an error, where a closed port would have sent one, that make a port silent.
        most_together: most ports to probe together.
    """

    def __init__(
        self,
        tasks: Sequence[int],
        state: States,
        known: Mapping[int, Mapping[int, int]],
        hit_ns: Sequence[int],
        tries: int,
        most_together: int,
    ) -> None:
        self._tasks, self._state, self._hit_ns = tasks, state, hit_ns
        self._tries, self._most_together = tries, most_together
        self._number = state.host[tasks[0]]
        self._checks: dict[int, RateLimitCheck] = {}
        self._ballots: list[Ballot] = []
        self._wait_ns = 0
        for reporter, closed in known.items():
            self._add(reporter, closed)

    def _add(self, reporter: int, closed: Mapping[int, int]) -> None:
        """Check every task that is undecided, or silent for all other reporters, against this reporter too."""
        silent = [task for task in self._tasks if self._state[task] == SILENT]
        for task in silent:
            self._state[task] = UNDECIDED
            for each in self._ballots:
                each.passed.add(task)
        ballot = Ballot(self._state, self._number, self._agree)
        self._ballots.append(ballot)
        check = RateLimitCheck(self._tasks, ballot, closed, self._hit_ns, self._tries, self._most_together)
        check.wait_ns = self._wait_ns or check.wait_ns
        self._checks[reporter] = check

    def _agree(self, task: int) -> None:
        """Make a task silent if every reporter's ballot agrees."""
        if all(task in each.passed for each in self._ballots):
            for each in self._ballots:
                each.passed.discard(task)
            self._state[task] = SILENT

    @property
    def wait_ns(self) -> int:
        """Longest time until an error arrives; the caller keeps it up to date."""
        return self._wait_ns

    @wait_ns.setter
    def wait_ns(self, wait_ns: int) -> None:
        self._wait_ns = wait_ns
        for check in self._checks.values():
            check.wait_ns = wait_ns

    @property
    def finished(self) -> bool:
        """Whether every task is decided, or cannot be."""
        return not self._state.undecided_of[self._number] or all(check.finished for check in self._checks.values())

    def wake_ns(self) -> int:
        """Time at which there may be something to send."""
        return min((check.wake_ns() for check in self._checks.values() if not check.finished), default=0)

    def remaining_ns(self) -> int:
        """An estimate of the time until everything is decided."""
        return max(check.remaining_ns() for check in self._checks.values())

    def due(self, now_ns: int) -> Due:
        """What to send now. A probe that several reporters are waiting for is sent once: it tests all of them."""
        checks = [check for check in self._checks.values() if not check.finished]
        if len(checks) == 1:
            return checks[0].due(now_ns)
        times: dict[tuple[int, int], int] = {}
        merged: Due = []
        for check in checks:
            counts: dict[tuple[int, int], int] = {}
            for each in check.due(now_ns):
                counts[each] = counts.get(each, 0) + 1
                if counts[each] > times.get(each, 0):
                    times[each] = counts[each]
                    merged.append(each)
        return merged

    def hold(self, now_ns: int) -> None:
        """Keep what was due; it has not been sent yet."""
        for check in self._checks.values():
            check.hold(now_ns)

    def distrust(self) -> None:
        """Forget all misses: the errors may be among packets that this host lost."""
        for check in self._checks.values():
            check.distrust()

    def decided(self, task: int) -> None:
        """A task is decided: by an answer, an error, or because this host cannot send its probe."""
        for ballot in self._ballots:
            ballot.passed.discard(task)

    def answered(self, task: int) -> None:
        """A task was answered: its probes used up no reporter's limit."""
        for check in self._checks.values():
            check.forget(task)

    def hit(self, task: int, origin: tuple[int, int], source: int, sent_ns: int, now_ns: int) -> None:
        """An error about a task arrived.

        Args:
            task: its state is REPLIED already.
            origin: reporter, and kind of the error.
            source: source address of the probe.
            sent_ns: send time of the probe.
            now_ns: arrival time of the error.
        """
        reporter, kind = origin
        if reporter not in self._checks:
            if len(self._checks) < MOST_CHECKS:
                self._add(reporter, {task: kind})
            else:
                reporter = next(reversed(self._checks))
        for each, other in self._checks.items():
            if each == reporter:
                other.hit(task, kind, source, sent_ns, now_ns)
            else:
                other.forget(task)
