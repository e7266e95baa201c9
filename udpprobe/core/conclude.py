"""From a summary to the report: a verdict for every destination, the worst first."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from udpprobe.core.addresses import address_text
from udpprobe.core.correlate import MATCHES
from udpprobe.core.loops import are_loops, period_of, subject_keys, ttls_of
from udpprobe.core.model import Destination, Finding, Loop, Spread, Unmatched
from udpprobe.core.notes import texts_of
from udpprobe.core.regroup import regrouped
from udpprobe.core.samples import Samples
from udpprobe.core.subjects import NO_PORT
from udpprobe.core.summary import Summary
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, VERDICTS, meaning_of, verdict_of

NS_PER_MS = 1e6
SEEN_LOOPING = "seen going round: the same datagram again, its TTL lower each time"


@dataclass(frozen=True, slots=True)
class Question:
    """How the report is to be."""

    loop_ttl: int = 32
    all_destinations: bool = False
    group_by: str = "destination"


def conclude(summary: Summary, question: Question) -> tuple[tuple[Destination, ...], tuple[Unmatched, ...]]:
    """The destinations, worst first, and the errors whose datagrams nobody saw."""
    summary.conversations.fold()
    findings = summary.record.findings
    findings.loop[:findings.size] = are_loops(summary.record, np.arange(findings.size), question.loop_ttl)
    return _Conclusion(regrouped(summary, question.group_by), question).told()


class _Conclusion:
    """Puts a summary's tables together."""

    def __init__(self, summary: Summary, question: Question) -> None:
        self._question = question
        self._record = summary.record
        self._by_flow = summary.by_flow
        self._endpoints = summary.conversations.endpoints
        self._answer_rtt = _milliseconds(summary.conversations.rtt)
        self._error_rtt = _milliseconds(self._record.rtt)
        findings = self._record.findings
        rows = np.arange(findings.size)
        self._keys = subject_keys(findings, rows, by_flow=self._by_flow).tolist()
        self._columns = {name: values.tolist() for name, values in findings.columns().items() if name != "ttls"}
        self._endpoint_columns = self._endpoints.columns()

    def told(self) -> tuple[tuple[Destination, ...], tuple[Unmatched, ...]]:
        matched, unmatched = defaultdict(list), []
        for row, (key, is_matched) in enumerate(zip(self._keys, self._columns["matched"], strict=True)):
            if is_matched:
                matched[key].append(row)
            else:
                unmatched.append(row)
        for key in self._record.loops.keys.tolist():
            matched.setdefault(key, [])
        if self._question.all_destinations:
            for key in self._endpoints.keys[self._endpoints.columns()["requests"] > 0].tolist():
                matched.setdefault(key, [])
        keys = np.array(list(matched), np.uint64)
        places = zip(matched.items(), self._endpoints.numbers.find(keys).tolist(),
                     self._record.loops.numbers.find(keys).tolist(), strict=True)
        destinations = [self._destination(rows, endpoint, seen) for (_, rows), endpoint, seen in places]
        return (tuple(sorted(destinations, key=worst_first)),
                tuple(sorted(map(self._unmatched, unmatched), key=_worst_unmatched)))

    def _destination(self, rows: list[int], endpoint: int, seen: int) -> Destination:
        """The destination of these findings, with its row among the endpoints and among the loops, or -1."""
        loop = self._loop(rows, seen)
        findings = sorted([self._finding(row, loop) for row in rows] + self._seen_looping(seen, loop), key=_worst)
        counted = self._counters(endpoint)
        verdict = _verdict(findings, counted["answered"])
        subject = self._subject(rows, endpoint, seen)
        errors = sum(each.count for each in findings if each.icmp_type is not None)
        return Destination(
            **subject, verdict=verdict, errno=ERRNO_OF_VERDICT.get(verdict),
            meaning=self._meaning(verdict, subject, endpoint, errors),
            sent=counted["sent"], sent_bytes=counted["sent_bytes"], answered=counted["answered"],
            errors=errors,
            rtt_ms=self._answer_rtt.get(endpoint), findings=tuple(findings),
            notes=(f"answered from port {counted['other_port']}",) if counted["other_port"] else ())

    def _counters(self, endpoint: int) -> dict[str, int]:
        """What was sent to an endpoint and what came back; zeros for one that nothing was seen to be sent to."""
        names = ("sent", "sent_bytes", "answered", "other_port")
        return {name: int(self._endpoint_columns[name][endpoint]) if endpoint >= 0 else 0 for name in names}

    def _subject(self, rows: list[int], endpoint: int, seen: int) -> dict[str, Any]:
        """Address and port of a destination, and of the source where the report is by flow."""
        if rows:
            return self._named({name: values[rows[0]] for name, values in self._columns.items()})
        columns = self._endpoint_columns if endpoint >= 0 else self._record.loops.columns()
        row = endpoint if endpoint >= 0 else seen
        return self._named({name: values[row].item() for name, values in columns.items()})

    def _named(self, row: dict[str, int]) -> dict[str, Any]:
        to = {"address": address_text(row["high"], row["low"]), "port": _port(row["port"])}
        if not self._by_flow:
            return to
        return to | {"source": address_text(row["source_high"], row["source_low"]),
                     "source_port": row["source_port"] if row["port"] != NO_PORT else None}

    def _finding(self, row: int, loop: Loop | None) -> Finding:
        values = {name: column[row] for name, column in self._columns.items()}
        meaning = meaning_of(values["family"], values["type"], values["code"])
        is_loop = self._columns["loop"][row] == 1
        verdict = verdict_of(meaning, itself=bool(values["itself"]), loop=is_loop)
        return Finding(
            verdict=verdict, errno=ERRNO_OF_VERDICT.get(verdict or ""), linux=meaning.linux,
            family=values["family"], icmp_type=values["type"], icmp_code=values["code"], reason=meaning.reason,
            reporter=address_text(values["reporter_high"], values["reporter_low"]), count=values["count"],
            first_time_ns=values["first_ns"], last_time_ns=values["last_ns"],
            mtu=values["mtu"] if values["mtu"] >= 0 else None, match=MATCHES[values["match"]],
            rtt_ms=self._error_rtt.get(row), loop=loop if is_loop else None,
            notes=texts_of(values["notes"], values["length"], values["family"]))

    def _loop(self, rows: list[int], seen: int) -> Loop | None:
        """The loop behind a destination's errors: its routers in the order they spoke, and its period."""
        rows = [row for row in rows if self._columns["loop"][row] == 1]
        rows.sort(key=self._columns["first_ns"].__getitem__)
        findings = self._record.findings
        routers = dict.fromkeys(address_text(int(findings.reporter_high[row]), int(findings.reporter_low[row]))
                                for row in rows)
        if not rows and seen < 0:
            return None
        period = (int(self._record.loops.period[seen]) if seen >= 0
                  else period_of([ttls_of(findings.ttls[row]) for row in rows]))
        return Loop(tuple(routers), period)

    def _seen_looping(self, row: int, loop: Loop | None) -> list[Finding]:
        """The finding that needs no ICMP error: datagrams that came round."""
        if row < 0:
            return []
        values = {name: column[row].item() for name, column in self._record.loops.columns().items()}
        family = 4 if ":" not in address_text(values["high"], values["low"]) else 6
        return [Finding(
            verdict="loop", errno=ERRNO_OF_VERDICT["loop"], linux=None, family=family, icmp_type=None, icmp_code=None,
            reason="no-response", reporter=None, count=values["passes"], first_time_ns=values["first_ns"],
            last_time_ns=values["last_ns"], mtu=None, match="none", rtt_ms=None, loop=loop, notes=(SEEN_LOOPING,))]

    def _unmatched(self, row: int) -> Unmatched:
        values = {name: column[row] for name, column in self._columns.items()}
        return Unmatched(**self._named(values), finding=self._finding(row, None))

    def _meaning(self, verdict: str, subject: dict[str, Any], endpoint: int, errors: int) -> str | None:
        """What silence says: a host that refused another port would have refused this one too.

        Unless its limit was used up: it refused a burst of datagrams before this one was sent, and none after.
        """
        if verdict != "silent" or errors:
            return None
        refusals, last_ns = self._refusals.get(subject["address"], (0, 0))
        if refusals == 0:
            return "no-evidence"
        sent_ns = int(self._endpoint_columns["last_ns"][endpoint])
        return "rate-limited" if refusals >= LEAST_BURST and last_ns < sent_ns else "listening-or-filtered"

    @cached_property
    def _refusals(self) -> dict[str, tuple[int, int]]:
        """By address: how many port unreachables the host itself sent, and the time of the last one."""
        told: dict[str, tuple[int, int]] = {}
        names = ("high", "low", "itself", "family", "type", "code", "count", "last_ns")
        for high, low, itself, *kind, count, last_ns in zip(*(self._columns[name] for name in names), strict=True):
            if itself and tuple(kind) in PORT_UNREACHABLE:
                address = address_text(high, low)
                before = told.get(address, (0, 0))
                told[address] = (before[0] + count, max(before[1], last_ns))
        return told


PORT_UNREACHABLE = ((4, 3, 3), (6, 1, 4))
"""Family, type and code."""

LEAST_BURST = 6
"""No host is known that sends fewer ICMP errors at once before it limits them: Linux, 6 to one address."""


def _port(port: int) -> int | None:
    return None if port == NO_PORT else port


def _milliseconds(samples: Samples) -> dict[int, Spread]:
    return {number: Spread(*(value / NS_PER_MS for value in spread))
            for number, spread in samples.spreads().items()}


def _rank(verdict: str | None) -> int:
    return VERDICTS.index(verdict) if verdict else len(VERDICTS)


def _worst(finding: Finding) -> tuple[Any, ...]:
    """An order that no two findings of a destination share: the same for every way a summary was put together."""
    return (_rank(finding.verdict), -finding.count, finding.reporter or "", finding.first_time_ns,
            finding.icmp_type or 0, finding.icmp_code or 0, finding.mtu or 0)


def worst_first(destination: Destination) -> tuple[Any, ...]:
    """A key to sort destinations by: the most telling verdicts first."""
    return (_rank(destination.verdict), -destination.errors, -destination.sent, destination.address,
            destination.port or 0, destination.source or "", destination.source_port or 0)


def _worst_unmatched(each: Unmatched) -> tuple[Any, ...]:
    return *_worst(each.finding), each.address, each.port or 0, each.source or "", each.source_port or 0


def _verdict(findings: list[Finding], answered: int) -> str:
    """The most telling verdict of a destination's findings, or whether it answered."""
    told = [each.verdict for each in findings if each.verdict]
    return min(told, key=_rank) if told else "answered" if answered else "silent"
