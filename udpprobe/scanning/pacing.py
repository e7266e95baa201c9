"""Which probes are due: fast as long as nothing speaks against it, then as each host's own limit allows.

First every task is probed once, all hosts in turn. Then hosts that never sent an error are probed again, with pauses;
`Host` decides the tasks of those that did. An error from another address than the destination settles a task only if
nothing contradicts it within the host's RTT.
"""

from __future__ import annotations

import heapq
from array import array
from collections.abc import Iterable
from itertools import compress
from operator import sub

from msgspec import Struct

from udpprobe.core.departures import Queue, in_turn, values_at
from udpprobe.core.limiter import MS, NEVER, SECOND
from udpprobe.core.sweep import Sweep
from udpprobe.scanning.host import Host
from udpprobe.scanning.plan import Plan
from udpprobe.scanning.rate_limit_check import MOST_CLOSED
from udpprobe.scanning.unanswered import HELD, LIMITED, REPLIED, SILENT, UNDECIDED, UNSENT, States

LEAST_WAIT_NS = 20 * MS
FIRST_WAIT_NS = 250 * MS
"""Wait before the first retry: a service takes longer to answer than a host to refuse."""
MOST_WAIT_NS = 4 * SECOND
LINGER_NS = SECOND
"""Wait after the last probe, for late answers."""
FEW_TASKS = 4
"""With at most so many tasks, a host's control port is probed from the start: none of the others may be closed."""
REVIEW_NS = 10 * MS
"""Interval between two reviews of the hosts."""
MOST_DISTRUST = 50
"""Number of times that silence is disregarded because packets were lost."""
TOGETHER_NS = 100 * MS
"""Time within which ports of a host count as probed together: then hardly any token comes between them."""
LEAST_SETTLING_NS = 50 * MS
"""Least time for a reply to contradict an error from another address; the host's RTT if that is longer."""
BURST_NS = 20 * MS
"""Unused rate that may be made up for; at low rates one probe."""


ITSELF = 0, 0
"""Reporter and kind of an error of the host itself, where errors cannot be told apart."""
REFUSING = (0, 3 << 8 | 3), (0, 1 << 8 | 4)
"""Reporter and kind of a refusal by the host itself: port unreachable, in IPv4 and IPv6."""


class Patience(Struct, frozen=True):
    """How long to wait, and how often to retry."""

    rate_pps: float
    """0 for no limit."""
    retries: int
    timeout_ns: int
    control: bool
    linger_ns: int = LINGER_NS
    """Wait for answers to the last probe."""


class Pacing:
    """Decides what to send when, from the replies so far.

    Args:
        plan: the tasks.
        patience: how long to wait, and how often to retry.
        now_ns: start of the scan.
    """

    def __init__(self, plan: Plan, patience: Patience, now_ns: int) -> None:
        self._plan, self._patience = plan, patience
        self.state = States(plan.host, plan.requested_count)
        """(tasks,) UNDECIDED, REPLIED …; control tasks keep their state."""
        self._again = bytearray(plan.requested_count) + b"\1" * plan.hosts
        """(tasks,) tasks to probe although they are decided: control ports, and known closed ones."""
        hosts, sources = plan.hosts, plan.per_host
        self.drew_error = bytearray(hosts)
        """(hosts,) whether an ICMP error came about each host; answers do not count."""
        self.refusal_count = array("I", bytes(4 * hosts))
        """(hosts,) number of refusals that each host sent itself."""
        self.others = array("I", bytes(4 * hosts))
        """(hosts,) errors that each host sent about this host's other traffic: they use up its limit too."""
        self.error_task, self.error_origin = array("i", [-1]) * hosts, array("I", bytes(4 * hosts))
        """(hosts,) the last task that drew an error, and the number of that error's origin: its reporter and kind."""
        self._origins: dict[tuple[int, int], int] = {origin: number for number, origin in enumerate(REFUSING)}
        """Numbers of the origins."""
        self.watched = bytearray(hosts)
        """(hosts,) hosts whose errors must be handled one by one."""
        self._taken_over = 0, 0, 0
        """How much of a sweep was taken over: `count`, `settled`, `new_host_count`."""
        self._more_origins: dict[int, dict[tuple[int, int], int]] = {}
        """By host, a task of each further origin."""
        self._last_ns = array("q", [now_ns]) * hosts
        self.rtt_ns = array("q", bytes(8 * hosts))
        self._rounds = array("H", bytes(2 * hosts))
        self.hit_ns = array("q", [now_ns]) * (hosts * sources)
        self._active: dict[int, Host] = {}
        self._queue = Queue(plan.host, sources, plan.attempts, self.state.values, self._again, self._last_ns)
        self._reviews: list[tuple[int, int]] = []
        """(time of the next review, host), earliest first: hosts with nothing queued."""
        self._review_interval_ns = REVIEW_NS * (1 + plan.requested_count // 20_000)
        self._gap_ns = int(SECOND / patience.rate_pps) + 1 if patience.rate_pps else 0
        self._reviewed_ns, self._paid_until_ns = now_ns, now_ns - self._gap_ns
        self._linger_until_ns = self._settled_ns = now_ns
        self._together = max(1, TOGETHER_NS // self._gap_ns) if self._gap_ns else plan.requested_count
        self._distrusted = 0
        self._enqueue_first_round()

    # What is due

    def _enqueue_first_round(self) -> None:
        """Queue every task once, the hosts in turn; and the control ports of hosts with few tasks."""
        plan = self._plan
        self._queue.put(in_turn(plan.by_host, plan.starts))
        if self._patience.control:
            sizes = map(sub, plan.starts[1:], plan.starts)
            self._enqueue(plan.requested_count + host for host, size in enumerate(sizes) if size <= FEW_TASKS)

    def _enqueue(self, tasks: Iterable[int]) -> None:
        if some := array("I", tasks):
            self._queue.put(some)

    def due(self, now_ns: int, room: int) -> list[tuple[int, int]]:
        """The tasks to probe now, each with the index of its source address.

        Args:
            now_ns: time up to which the capture was read.
            room: most probes that can be sent.
        """
        if now_ns - self._reviewed_ns >= self._review_interval_ns:
            self._review(now_ns)
        room = min(room, self._allowance(now_ns))
        due = self._due_of_hosts(now_ns, room)
        queued, ended = self._queue.take(room - len(due), now_ns)
        for host in ended:
            heapq.heappush(self._reviews, (self._last_ns[host] + FIRST_WAIT_NS, host))
        due += queued
        self._pay(len(due))
        return due

    def _due_of_hosts(self, now_ns: int, room: int) -> list[tuple[int, int]]:
        due: list[tuple[int, int]] = []
        for number, host in list(self._active.items()):
            if len(due) >= room:
                break
            if self._queue.of_host[number]:
                host.hold(now_ns)
                continue
            sources: dict[int, int] = {}
            late = []
            for task, source in host.due(now_ns):
                if sources.setdefault(task, source) == source:
                    due.append((task, source))
                else:
                    late.append(task)
            self._enqueue(late)
            self._active[number] = self._active.pop(number)  # moves to the end, so that others come first next time
        if len(due) > room:  # a host without a limit gives a whole round at once
            late = [task for task, _ in due[room:]]
            for task in late:
                self._again[task] = 1
            self._enqueue(late)
        return due[:room]

    def _allowance(self, now_ns: int) -> int:
        if not self._patience.rate_pps:
            return 1 << 30
        self._paid_until_ns = max(self._paid_until_ns, now_ns - max(BURST_NS, self._gap_ns))
        return int((now_ns - self._paid_until_ns) * self._patience.rate_pps / SECOND)

    def _pay(self, probes: int) -> None:
        if self._patience.rate_pps:
            self._paid_until_ns += int(probes * SECOND / self._patience.rate_pps)

    def wake_ns(self, now_ns: int) -> int:
        """Time at which something may be due."""
        wakes = [host.wake_ns() for host in self._active.values()]
        if self._queue.size:
            wakes.append(self._paid_until_ns + self._gap_ns if self._patience.rate_pps else now_ns)
        return min([*wakes, self._reviewed_ns + self._review_interval_ns])

    # What happens to hosts

    def _review(self, now_ns: int) -> None:
        """Start, retry, or give up the hosts whose time has come."""
        self._reviewed_ns = now_ns
        self._end_hosts()
        later: list[tuple[int, int]] = []
        while self._reviews and self._reviews[0][0] <= now_ns:
            _, host = heapq.heappop(self._reviews)
            if not self.state.undecided_of[host] or host in self._active or self._queue.of_host[host]:
                continue
            ready_ns = self._last_ns[host] + self._silence_ns(host)
            if now_ns < ready_ns:
                later.append((ready_ns, host))
            elif self.drew_error[host]:
                self._begin(host)
            elif self._rounds[host] < self._patience.retries:
                self._rounds[host] += 1
                self._retry(host)
            else:
                self._give_up(self._undecided_of(host))
        for each in later:
            heapq.heappush(self._reviews, each)
        for number, active in self._active.items():
            active.wait_ns = self._wait_ns(number)

    def _silence_ns(self, host: int) -> int:
        """Time without a reply after which a host's silence means something."""
        wait_ns = (
            self._wait_ns(host) if self.drew_error[host] else self._patience.timeout_ns // (self._patience.retries + 1)
        )
        return max(wait_ns, FIRST_WAIT_NS)

    def _wait_ns(self, host: int) -> int:
        """Longest time until an error arrives from a host."""
        return min(max(self.rtt_ns[host] * 2 + 5 * MS, LEAST_WAIT_NS), MOST_WAIT_NS)

    def _undecided_of(self, host: int) -> list[int]:
        return self.state.undecided_among(self._plan.tasks_of(host))

    def _retry(self, host: int) -> None:
        control = [self._plan.requested_count + host] if self._patience.control else []
        self._enqueue(control + self._undecided_of(host))

    def _begin(self, host: int) -> None:
        self.watched[host] = 1
        sources = self._plan.per_host
        origins = list(self._origins)
        known: dict[int, dict[int, int]] = {}
        first = origins[self.error_origin[host]], self.error_task[host]
        for (reporter, kind), task in (first, *self._more_origins.get(host, {}).items()):
            known.setdefault(reporter, {})[task] = kind
        self._active[host] = Host(
            self._plan.tasks_of(host),
            self.state,
            known,
            self.hit_ns[host * sources : (host + 1) * sources],
            self._patience.retries + 1,
            self._together,
        )

    def _end_hosts(self) -> None:
        for number in [number for number, host in self._active.items() if host.finished]:
            del self._active[number]
            self._give_up(self._undecided_of(number), LIMITED)
            last_ns = max(
                (
                    self._plan.sent_ns(task)
                    for task in self._plan.tasks_of(number)
                    if self.state[task] in {SILENT, LIMITED}
                ),
                default=0,
            )
            self._linger_until_ns = max(self._linger_until_ns, last_ns + self._patience.linger_ns)

    def _give_up(self, tasks: Iterable[int], state: int = SILENT) -> None:
        for task in tasks:
            self.state[task] = state

    # What arrives

    def answered(self, task: int, time_ns: int) -> None:
        """A datagram came back."""
        host = self._plan.host[task]
        self._learn_rtt(task, -1, time_ns)
        self._settle(task, time_ns)
        if host in self._active:
            self._active[host].answered(task)

    def failed(
        self, task: int, source: int, attempt: int, time_ns: int, *, is_refusal: bool, origin: tuple[int, int] = ITSELF
    ) -> None:
        """An ICMP error came back.

        Args:
            task: the task it is about.
            source: index of the probe's source address.
            attempt: which probe of the task; -1 if unknown.
            time_ns: arrival time.
            is_refusal: whether it is the host's own port unreachable.
            origin: reporter, and kind of the error.
        """
        host = self._plan.host[task]
        self._note_origin(host, task, origin)
        self.refusal_count[host] += is_refusal
        sent_ns = self._learn_rtt(task, attempt, time_ns)
        self._settle(task, time_ns if is_refusal else time_ns + self.settling_ns(host))
        if not sent_ns:
            return
        at = host * self._plan.per_host + source
        self.hit_ns[at] = max(self.hit_ns[at], sent_ns)
        if host in self._active:
            self._active[host].hit(task, origin, source, sent_ns, time_ns)

    def settling_ns(self, host: int) -> int:
        """Time in which a reply can contradict an error from another address about this host."""
        return max(self.rtt_ns[host], LEAST_SETTLING_NS)

    def _note_origin(self, host: int, task: int, origin: tuple[int, int]) -> None:
        """A first error about a host: probe its silent tasks again, because the reporter may have a rate limit."""
        number = self._origins.setdefault(origin, len(self._origins))
        if not self.drew_error[host]:
            self.drew_error[host] = 1
            heapq.heappush(self._reviews, (self._last_ns[host] + FIRST_WAIT_NS, host))  # sooner than for a mute host
            self.error_task[host], self.error_origin[host] = task, number
        elif self.error_origin[host] == number:
            self.error_task[host] = task
            return
        else:
            more = self._more_origins.setdefault(host, {})
            if origin in more or len(more) >= MOST_CLOSED:
                return
            more[origin] = task
        if host not in self._active:
            self._reopen(host)

    def take_over(self, sweep: Sweep) -> None:
        """Take over a sweep: many refusals by hosts that are not watched. The columns have them already."""
        first, settled, hosts = self._taken_over
        self._taken_over = sweep.count, sweep.settled, sweep.new_host_count
        self.state.replied(sweep.settled - settled, sweep.taken[first : sweep.count])
        self._settled_ns = max(self._settled_ns, sweep.last_ns)
        for host in sweep.new_hosts[hosts : sweep.new_host_count]:
            heapq.heappush(self._reviews, (self._last_ns[host] + FIRST_WAIT_NS, host))
            self._reopen(host)

    def _reopen(self, host: int) -> None:
        tasks = self._plan.tasks_of(host)
        states = values_at(self.state.values, tasks)
        if SILENT in states:
            for task in compress(tasks, map(SILENT.__eq__, states)):
                self.state[task] = UNDECIDED
            heapq.heappush(self._reviews, (self._last_ns[host] + FIRST_WAIT_NS, host))

    def _learn_rtt(self, task: int, attempt: int, time_ns: int) -> int:
        """Send time of the probe that a reply is about; 0 if unknown. Otherwise it updates the host's RTT."""
        attempts = self._plan.attempts[task]
        if attempt < 0 and attempts != 1:
            return 0
        sent_ns, _ = self._plan.departure(task, attempt)
        if sent_ns <= 0:
            return 0
        host = self._plan.host[task]
        self.rtt_ns[host] = max(self.rtt_ns[host], time_ns - sent_ns)
        return sent_ns

    def _settle(self, task: int, settled_ns: int) -> None:
        """Probe a task no more; its verdict can't change after `settled_ns`."""
        self._settled_ns = max(self._settled_ns, settled_ns)
        if task < self._plan.requested_count:
            self.state[task] = REPLIED
            self._leave_ballots(task)

    def _leave_ballots(self, task: int) -> None:
        if (host := self._active.get(self._plan.host[task])) is not None:
            host.decided(task)

    def unsent(self, task: int) -> None:
        """This host could not send a probe of this task; a retry would fail too."""
        if self.state[task] == UNDECIDED:
            self.state[task] = UNSENT
            self._leave_ballots(task)
        self._again[task] = 0

    def leave_out(self, tasks: Iterable[int]) -> None:
        """Never probe these: they are the scan's own ports."""
        for task in tasks:
            self.state[task] = HELD

    def distrust(self) -> None:
        """Disregard silence for now, because this host lost packets; a few times only, as it may go on losing them."""
        self._distrusted += 1
        if self._distrusted <= MOST_DISTRUST:
            for host in self._active.values():
                host.distrust()

    # Progress

    def silence_settles_ns(self, host: int) -> int:
        """Time at which the silence of a host's tasks becomes final; NEVER while it is still probed."""
        if self._queue.of_host[host] or self.state.undecided_of[host] or host in self._active:
            return NEVER
        last_ns = max(map(self._plan.sent_ns, self._plan.tasks_of(host)), default=0)
        return max(self._last_ns[host], last_ns) + self._patience.linger_ns

    def decided(self) -> int:
        """Number of decided tasks."""
        return self._plan.requested_count - self.state.undecided

    def remaining_s(self) -> float | None:
        """An estimate; None while nothing is known."""
        sending_s = self._queue.size / self._patience.rate_pps if self._patience.rate_pps else 0.0
        limits_s = max((host.remaining_ns() for host in self._active.values()), default=0) / SECOND
        return sending_s + limits_s or None

    def done(self, now_ns: int) -> bool:
        """Whether everything is decided, and the last probes' answers had their time."""
        return (
            not self._queue.size
            and not self._active
            and not self.state.undecided
            and (now_ns >= self._settled_ns)
            and (now_ns >= self._linger_until_ns or not (SILENT in self.state.values or LIMITED in self.state.values))
        )
