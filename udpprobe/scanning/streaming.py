"""What a scan says while it runs: destinations that are settled, and an `Event` for each ICMP error about its probes.

A destination is settled when no later packet of the run can change what is said of it.

An answer and the host's own refusal settle at once; an error of another address once nothing has contradicted it for
the host's RTT. Silence means something only when its host is probed no more, and its last probe had its time.
"""

from __future__ import annotations

import heapq

from udpprobe.core.addresses import address_text
from udpprobe.core.advice import advice_about
from udpprobe.core.extensions import extensions_of
from udpprobe.core.limiter import MS
from udpprobe.core.model import Event, Quoted, quoted_of
from udpprobe.core.notes import mtu_notes, no_neighbour_notes, texts_of
from udpprobe.core.verdicts import ERRNO_OF_VERDICT
from udpprobe.scanning.outcome import NS_PER_MS, Known, is_settled, judged
from udpprobe.scanning.pacing import LINGER_NS
from udpprobe.scanning.plan import Plan
from udpprobe.scanning.record import THIS_HOST
from udpprobe.scanning.replies import Believed
from udpprobe.scanning.unanswered import HELD, REPLIED, UNDECIDED, UNSENT

RECHECK_NS = 100 * MS
"""Interval after which an expected settlement is checked again."""


class Settling:
    """Returns each destination once, when it is settled.

    Args:
        known: what the scan knows; `pacing.state` records decisions from now on.
    """

    def __init__(self, known: Known) -> None:
        self._known, self._news = known, known.pacing.state.note()
        self._later: list[tuple[int, int]] = []
        """(time to check, task)"""
        self._silent: dict[int, list[int]] = {}
        """By host, tasks that are silent so far."""
        self._hosts: list[tuple[int, int]] = []
        """(time to check, host)"""
        self.returned: dict[int, None] = {}
        """Tasks that were returned, in that order."""

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
                    heapq.heappush(self._later, (now_ns + RECHECK_NS, task))
        while self._hosts and self._hosts[0][0] <= now_ns:
            self._settle_silent(heapq.heappop(self._hosts)[1], now_ns, found)
        fresh = [task for task in dict.fromkeys(found) if task not in self.returned]
        self.returned.update(dict.fromkeys(fresh))
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

    def _settle_silent(self, host: int, now_ns: int, found: list[int]) -> None:
        """Settle a host's silent tasks, unless something may still arrive."""
        pacing = self._known.pacing
        settled_ns = pacing.silence_settles_ns(host)
        if now_ns < settled_ns:
            heapq.heappush(self._hosts, (min(settled_ns, now_ns + RECHECK_NS), host))
            return
        silent = self._silent.pop(host)
        found += [task for task in silent if pacing.state[task] not in {UNDECIDED, REPLIED}]


def event_of(known: Known, believed: Believed) -> Event:
    """The event of a matched error."""
    packet, kind = believed.packet, believed.kind
    meaning, verdict = judged(known, believed.task, kind)
    extensions, odd = extensions_of(packet.data, packet.family) if packet else (None, 0)
    notes = believed.notes | mtu_notes(kind.family, kind.mtu, believed.length) | odd
    texts, is_own = texts_of(notes, believed.length, kind.family), kind.reporter == THIS_HOST
    reporter = None if is_own else address_text(*kind.reporter)
    if is_own:
        texts += no_neighbour_notes(kind.family, known.interface_of(believed.task))
    quoted, mtu = quoted_of(packet) if packet else _sent(known.plan, believed), kind.mtu if kind.mtu >= 0 else None
    return Event(
        frame=believed.number,
        time_ns=believed.time_ns,
        family=kind.family,
        type=kind.icmp_type,
        code=kind.icmp_code,
        verdict=verdict,
        errno=ERRNO_OF_VERDICT.get(verdict or ""),
        linux=meaning.linux,
        reason=meaning.reason,
        reporter=reporter,
        mtu=mtu,
        quoted=quoted,
        match="exact" if believed.is_exact else "rewritten",
        matched_frame=believed.frame or None,
        rtt_ms=(believed.time_ns - believed.sent_ns) / NS_PER_MS if believed.sent_ns and not is_own else None,
        extensions=extensions,
        notes=texts,
        match_evidence=believed.evidence,
        # A control probe goes to a port where nothing is meant to listen.
        advice=advice_about(quoted, verdict, meaning.reason, reporter, family=kind.family, mtu=mtu, notes=texts)
        if believed.task < known.plan.requested_count
        else None,
    )


def _sent(plan: Plan, believed: Believed) -> Quoted:
    """The probe, where the engine does not see the quote."""
    address = plan.tasks.address(believed.task)
    header = 20 if believed.kind.family == 4 else 40
    return Quoted(
        source=address_text(*believed.own),
        source_port=plan.source_port[believed.task],
        destination=address_text(*address),
        destination_port=plan.port[believed.task],
        ip_id=None,
        ttl=plan.ttl,
        ip_length=believed.length,
        udp_length=believed.length - header,
        udp_checksum=None,
        bytes=0,
    )
