"""Which probes are due: fast where nothing speaks against it, and as each host's own limit allows where it does.

First every task is probed once, all hosts in turn. Then hosts that never sent an error are asked again, with
pauses; what a host says that did is weighed by `Host`.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, Bool
from udpprobe.core.limiter import MS, SECOND
from udpprobe.core.runs import starts_of_runs
from udpprobe.core.scanning.admission import ANSWER, PROBE, REFUSAL, Heard
from udpprobe.core.scanning.host import Host
from udpprobe.core.scanning.plan import Plan
from udpprobe.core.scanning.suspects import HELD, OPEN, SETTLED, SILENT, UNSENT, empty_state

LEAST_WAIT_NS = 20 * MS
FIRST_WAIT_NS = 250 * MS
"""Before anything is asked again: a service takes longer to answer than the host to refuse."""
MOST_WAIT_NS = 4 * SECOND
LINGER_NS = SECOND
"""After the last probe, for answers that take their time."""
FEW_TASKS = 4
"""A host with no more has its control port probed from the start: its other ports may all be open."""
LOOK_NS = 10 * MS
"""How often hosts are looked through."""
MOST_DISTRUST = 50
"""How often silence is not believed because packets were lost."""
BURST_NS = 20 * MS
"""As much as may be made up for, when the rate was not used; at low rates one probe."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long and how often."""

    rate_pps: float
    """0 for no bound."""
    retries: int
    timeout_ns: int
    control: bool


class Pacing:
    """Says what to send when, from what was heard.

    Args:
        plan: the tasks.
        patience: how long and how often.
        now_ns: when the scan begins.
    """

    def __init__(self, plan: Plan, patience: Patience, now_ns: int) -> None:
        self._plan, self._patience = plan, patience
        self.state = empty_state(len(plan))
        """(tasks,) OPEN, SETTLED …; control tasks stay as they are."""
        self._asked = np.arange(len(plan)) >= plan.asked
        """(tasks,) those that are probed although they are decided: control ports, and such as are known closed."""
        self._host = plan.tasks.host
        self._by_host = np.argsort(self._host[:plan.asked], kind="stable")
        starts = starts_of_runs(self._host[:plan.asked][self._by_host])
        self._starts = np.append(starts, plan.asked)
        self.spoke = np.zeros(plan.hosts, np.bool_)
        """(hosts,) whether any error came from, or for, each host."""
        self.refused = np.zeros(plan.hosts, np.int64)
        """(hosts,) how many refusals each host itself sent."""
        self._known = np.full(plan.hosts, -1)
        self._last_ns = np.full(plan.hosts, now_ns)
        self._rtt_ns = np.zeros(plan.hosts, np.int64)
        self._rounds = np.zeros(plan.hosts, np.int64)
        self._queued = np.zeros(plan.hosts, np.int64)
        self._hit_ns = np.full((plan.hosts, plan.sources.high.shape[1]), now_ns)
        self._active: dict[int, Host] = {}
        self.exhausted: set[int] = set()
        """Hosts that went mute before all was known."""
        self._queue: deque[I64] = deque()
        self._look_ns = LOOK_NS * (1 + plan.asked // 20_000)
        self._gap_ns = int(SECOND / patience.rate_pps) + 1 if patience.rate_pps else 0
        self._looked_ns, self._paid_ns = now_ns, now_ns - self._gap_ns
        self._linger_ns = now_ns
        self._distrusted = 0
        self._enqueue(self._first_round())

    # What is due.

    def _first_round(self) -> I64:
        """Every task once, the hosts in turn; the control ports of hosts with few."""
        sizes = np.diff(self._starts)
        rank = np.arange(self._plan.asked) - np.repeat(self._starts[:-1], sizes)
        tasks = self._by_host[np.argsort(rank, kind="stable")]
        few = np.flatnonzero(sizes <= FEW_TASKS) if self._patience.control else np.empty(0, np.int64)
        return np.concatenate([tasks, few + self._plan.asked])

    def _enqueue(self, tasks: I64) -> None:
        if len(tasks):
            self._queue.append(tasks)
            np.add.at(self._queued, self._host[tasks], 1)

    def due(self, now_ns: int, room: int) -> tuple[I64, I64]:
        """Tasks of which to send a probe each now, none twice, and the source address of each.

        Args:
            now_ns: how far the capture has seen.
            room: how many probes can be taken.
        """
        if now_ns - self._looked_ns >= self._look_ns:
            self._look(now_ns)
        room = min(room, self._allowance(now_ns))
        urgent, urgent_sources = self._due_of_hosts(now_ns, room)
        queued = self._from_queue(room - len(urgent))
        self._last_ns[self._host[queued]] = now_ns
        turn = self._plan.attempts[queued] + queued
        tasks = np.concatenate([np.array(urgent, np.int64), queued])
        sources = np.concatenate([np.array(urgent_sources, np.int64), turn % self._hit_ns.shape[1]])
        self._pay(len(tasks))
        return tasks, sources

    def _due_of_hosts(self, now_ns: int, room: int) -> tuple[list[int], list[int]]:
        tasks: dict[int, int] = {}
        for number, host in list(self._active.items()):
            if len(tasks) >= room:
                break
            if self._queued[number]:
                host.hold(now_ns)
                continue
            late = [task for task, source in host.due(now_ns) if tasks.setdefault(task, source) != source]
            self._enqueue(np.array(late, np.int64))
            self._active[number] = self._active.pop(number)     # the next time others come first
        if len(tasks) > room:   # a whole round of a host without a limit
            self._asked[list(tasks)[room:]] = True
            self._enqueue(np.array(list(tasks)[room:], np.int64))
        return list(tasks)[:room], list(tasks.values())[:room]

    def _from_queue(self, room: int) -> I64:
        taken = []
        while self._queue and room > 0:
            tasks = self._queue.popleft()
            if len(tasks) > room:
                self._queue.appendleft(tasks[room:])
            taken.append(tasks[:room])
            room -= len(taken[-1])
        tasks = np.concatenate([np.empty(0, np.int64), *taken])
        np.subtract.at(self._queued, self._host[tasks], 1)
        return _distinct(tasks[(self.state[tasks] == OPEN) | self._asked[tasks]])

    def _allowance(self, now_ns: int) -> int:
        if not self._patience.rate_pps:
            return 1 << 30
        self._paid_ns = max(self._paid_ns, now_ns - max(BURST_NS, self._gap_ns))
        return int((now_ns - self._paid_ns) * self._patience.rate_pps / SECOND)

    def _pay(self, probes: int) -> None:
        if self._patience.rate_pps:
            self._paid_ns += int(probes * SECOND / self._patience.rate_pps)

    def wake_ns(self, now_ns: int) -> int:
        """When something may be due."""
        wakes = [host.wake_ns() for host in self._active.values()]
        if self._queue:
            wakes.append(self._paid_ns + self._gap_ns if self._patience.rate_pps else now_ns)
        return min([*wakes, self._looked_ns + self._look_ns])

    # What becomes of hosts.

    def _look(self, now_ns: int) -> None:
        self._looked_ns = now_ns
        self._end_hosts()
        opened = np.zeros(self._plan.hosts, np.bool_)
        opened[self._host[:self._plan.asked][self.state[:self._plan.asked] == OPEN]] = True
        opened[list(self._active)] = False
        wait_ns = np.where(self.spoke, self._wait_ns(), self._patience.timeout_ns // (self._patience.retries + 1))
        ready = opened & (self._queued == 0) & (now_ns >= self._last_ns + np.maximum(wait_ns, FIRST_WAIT_NS))
        for host in np.flatnonzero(ready & self.spoke).tolist():
            self._begin(host)
        mute = np.flatnonzero(ready & ~self.spoke)
        again = mute[self._rounds[mute] < self._patience.retries]
        self._rounds[again] += 1
        self._ask_again(again)
        for host in np.setdiff1d(mute, again, assume_unique=True).tolist():
            self._give_up(self._open_of(host))
        for number, active in self._active.items():
            active.wait_ns = int(self._wait_ns(number))

    def _wait_ns(self, host: int | slice = slice(None)) -> I64:
        """How long an error may take to come from each host."""
        return np.clip(self._rtt_ns[host] * 2 + 5 * MS, LEAST_WAIT_NS, MOST_WAIT_NS)

    def _tasks_of(self, host: int) -> I64:
        return self._by_host[self._starts[host]:self._starts[host + 1]]

    def _open_of(self, host: int) -> I64:
        tasks = self._tasks_of(host)
        return tasks[self.state[tasks] == OPEN]

    def _ask_again(self, hosts: I64) -> None:
        controls = hosts + self._plan.asked if self._patience.control else hosts[:0]
        self._enqueue(np.concatenate([controls, *(self._open_of(host) for host in hosts.tolist())]))

    def _begin(self, host: int) -> None:
        self._active[host] = Host(self._tasks_of(host), self.state, int(self._known[host]),
                                  self._hit_ns[host].tolist(), self._patience.retries + 1)

    def _end_hosts(self) -> None:
        for number in [number for number, host in self._active.items() if host.finished]:
            if self._active.pop(number).ended:
                self.exhausted.add(number)
                self._give_up(self._open_of(number))
            tasks = self._tasks_of(number)
            last_ns = int(self._plan.sent_ns[tasks[self.state[tasks] == SILENT]].max(initial=0))
            self._linger_ns = max(self._linger_ns, last_ns + LINGER_NS)

    def _give_up(self, tasks: I64) -> None:
        self.state[tasks] = SILENT

    # What is heard.

    def heard(self, heard: Heard) -> None:
        """Take in what the capture told."""
        if heard.kind[0] == PROBE:
            self._plan.sent_ns[heard.task] = heard.time_ns
            return
        host = self._host[heard.task]
        if heard.kind[0] != ANSWER:
            self.spoke[host] = True
            self._known[host] = heard.task
            np.add.at(self.refused, host[heard.kind == REFUSAL], 1)
        latest = self._about_latest(heard)
        rtt_ns = (heard.time_ns - self._plan.sent_ns[heard.task])[latest]
        np.maximum.at(self._rtt_ns, host[latest], rtt_ns)
        self._settle(heard.task)
        if heard.kind[0] != ANSWER:
            self._tell_hosts(heard.take(latest))

    def _about_latest(self, heard: Heard) -> Bool:
        """Those that are about the last probe of their task, as far as that is known."""
        last = self._plan.attempts[heard.task] - 1
        return ((heard.attempt == last) | (last == 0)) & (self._plan.sent_ns[heard.task] > 0)

    def _settle(self, tasks: I64) -> None:
        tasks = tasks[tasks < self._plan.asked]
        self.state[tasks] = SETTLED

    def _tell_hosts(self, errors: Heard) -> None:
        sent_ns = self._plan.sent_ns[errors.task]
        np.maximum.at(self._hit_ns, (self._host[errors.task], errors.source), sent_ns)
        rows = [row for row, host in enumerate(self._host[errors.task].tolist()) if host in self._active]
        for row in rows:
            task = int(errors.task[row])
            self._active[int(self._host[task])].hit(task, int(errors.source[row]), int(sent_ns[row]),
                                                    int(errors.time_ns[row]))

    def unsent(self, tasks: I64) -> None:
        """This host could not send probes of these tasks; it would not the next time either."""
        self.state[tasks[self.state[tasks] == OPEN]] = UNSENT
        self._asked[tasks] = False

    def leave_out(self, tasks: I64) -> None:
        """Never ask these: they are the scan's own ports."""
        self.state[tasks] = HELD

    def distrust(self) -> None:
        """Let silence mean nothing for now: this host lost packets. A few times, for it may go on losing them."""
        self._distrusted += 1
        if self._distrusted <= MOST_DISTRUST:
            for host in self._active.values():
                host.distrust()

    # How far it is.

    def decided(self) -> int:
        """How many tasks are decided."""
        return self._plan.asked - int(np.count_nonzero(self.state[:self._plan.asked] == OPEN))

    def remaining_s(self) -> float | None:
        """An estimate; None while nothing is known."""
        queued = sum(map(len, self._queue))
        sending_s = queued / self._patience.rate_pps if self._patience.rate_pps else 0.0
        limits_s = max((host.remaining_ns() for host in self._active.values()), default=0) / SECOND
        return sending_s + limits_s or None

    def done(self, now_ns: int) -> bool:
        """Whether all is decided, and answers to the last probes had their time."""
        return not self._queue and not self._active and self.decided() == self._plan.asked and (
            now_ns >= self._linger_ns or not (self.state == SILENT).any())


def _distinct(tasks: I64) -> I64:
    """Each task once, in the order of first appearance."""
    order = np.argsort(tasks, kind="stable")
    return tasks[np.sort(order[starts_of_runs(tasks[order])])]
