"""Which destinations of a scan are settled: no later packet of the run can change what is said of them.

An answer and the host's own refusal settle at once; an error of another address once nothing has contradicted it for
the host's RTT. Silence means something only when its host is asked nothing more, and its last probe had its time.
"""

from __future__ import annotations

import heapq

from udpprobe.core.limiter import MS
from udpprobe.scanning.outcome import Known, is_settled
from udpprobe.scanning.pacing import LINGER_NS
from udpprobe.scanning.unanswered import HELD, REPLIED, UNDECIDED, UNSENT

LOOK_NS = 100 * MS
"""Between two looks at what was expected to be settled by now."""


class Settling:
    """Hands out each destination once, when it is settled.

    Args:
        known: what the scan knows; `pacing.state` notes what is decided from now on.
    """

    def __init__(self, known: Known) -> None:
        self._known, self._news = known, known.pacing.state.note()
        self._later: list[tuple[int, int]] = []
        """(when to look, task)"""
        self._silent: dict[int, list[int]] = {}
        """By host, what said nothing so far."""
        self._hosts: list[tuple[int, int]] = []
        """(when to look, host)"""
        self.told: dict[int, None] = {}
        """Tasks that were handed out, in that order."""

    def due(self, now_ns: int) -> list[int]:
        """Tasks that are settled by now."""
        found: list[int] = []
        self._sort_news(now_ns, found)
        while self._later and self._later[0][0] <= now_ns:
            _, task = heapq.heappop(self._later)
            if self._known.pacing.state[task] == REPLIED:
                if is_settled(self._known, task, now_ns):
                    found.append(task)
                else:
                    heapq.heappush(self._later, (now_ns + LOOK_NS, task))
        while self._hosts and self._hosts[0][0] <= now_ns:
            self._look(heapq.heappop(self._hosts)[1], now_ns, found)
        fresh = [task for task in dict.fromkeys(found) if task not in self.told]
        self.told.update(dict.fromkeys(fresh))
        return fresh

    def _sort_news(self, now_ns: int, found: list[int]) -> None:
        pacing, hosts = self._known.pacing, self._known.plan.host
        for task in self._news:
            state = pacing.state[task]
            if state == UNSENT or (state == REPLIED and is_settled(self._known, task, now_ns)):
                found.append(task)
            elif state == REPLIED:
                heapq.heappush(self._later, (now_ns + pacing.settling_ns(hosts[task]), task))
            elif state not in {UNDECIDED, HELD}:
                if hosts[task] not in self._silent:
                    heapq.heappush(self._hosts, (now_ns + LINGER_NS, hosts[task]))
                self._silent.setdefault(hosts[task], []).append(task)
        self._news.clear()

    def _look(self, host: int, now_ns: int, found: list[int]) -> None:
        """Settle a host's silence, unless something may still break it."""
        pacing = self._known.pacing
        settled_ns = pacing.silence_settles_ns(host)
        if now_ns < settled_ns:
            heapq.heappush(self._hosts, (min(settled_ns, now_ns + LOOK_NS), host))
            return
        silent = self._silent.pop(host)
        found += [task for task in silent if pacing.state[task] not in {UNDECIDED, REPLIED}]
