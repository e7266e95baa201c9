"""From a summary to the report: a verdict for every destination, the worst first."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, Bool
from udpprobe.core.keys import Numbering, pair_key
from udpprobe.core.model import Destination, Finding, Loop, Unmatched
from udpprobe.core.spelling import spelled
from udpprobe.core.summaries.findings import Record
from udpprobe.core.summaries.loops import are_loops, period_of, subject_keys, ttls_of
from udpprobe.core.summaries.regroup import regrouped
from udpprobe.core.summaries.subjects import NO_PORT
from udpprobe.core.summaries.summary import Summary
from udpprobe.core.summaries.told import rank_of, records, spreads_of, told_of
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, VERDICTS

SUBJECT = ("high", "low", "port", "source_high", "source_low", "source_port")
ANSWERED, SILENT, UNKNOWN = map(rank_of, ("answered", "silent", None))

SILENCE = ("no-evidence", "listening-or-filtered", "rate-limited", None)
"""What silence says; None where there is none."""
LEAST_BURST = 6
"""No host is known that sends fewer ICMP errors at once before it limits them: Linux, 6 to one address."""

MOST_ROUTERS = 32
"""So many of a loop are named with each of its findings. Few loops are of more than ten; forged errors come from any
number of addresses, and with all of them at each, a report would be the square of a capture."""


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
    conclusion = _Conclusion(regrouped(summary, question.group_by), all_destinations=question.all_destinations)
    return tuple(conclusion.destinations()), tuple(conclusion.unmatched())


class _Subjects:
    """(n,) what is told about: destinations, or flows to them."""

    def __init__(self, columns: dict[str, npt.NDArray[Any]], *, by_flow: bool) -> None:
        self._columns, self._by_flow = columns, by_flow
        self._addresses = spelled(columns["high"], columns["low"])
        self._sources = spelled(columns["source_high"], columns["source_low"])
        has_port = columns["port"] != NO_PORT
        self.host_keys = pair_key(columns["high"], columns["low"])
        self.worst = [self._addresses.rank, np.where(has_port, columns["port"], 0), self._sources.rank,
                      np.where(has_port, columns["source_port"], 0)]
        """Columns that an order of them goes by, the first one first."""

    def named(self) -> dict[str, list[Any]]:
        """Columns of the model: address and port, and the source where the report is by flow."""
        ports = self._columns["port"].tolist()
        none = [None] * len(ports)
        source_ports = [source if port != NO_PORT else None
                        for source, port in zip(self._columns["source_port"].tolist(), ports, strict=True)]
        return {"address": self._addresses.texts(), "port": [port if port != NO_PORT else None for port in ports],
                "source": self._sources.texts() if self._by_flow else none,
                "source_port": source_ports if self._by_flow else none}


class _Conclusion:
    """Puts a summary's tables together."""

    def __init__(self, summary: Summary, *, all_destinations: bool) -> None:
        self._record, self._by_flow = summary.record, summary.by_flow
        self._rtt, endpoints = summary.conversations.rtt, summary.conversations.endpoints
        self._columns, loops = self._record.findings.columns(), self._record.loops
        self._size = self._record.findings.size
        matched = np.flatnonzero(self._columns["matched"])
        asked = np.flatnonzero(endpoints.columns()["requests"] > 0) if all_destinations else matched[:0]
        keys = np.concatenate([subject_keys(self._record.findings, matched, by_flow=self._by_flow), loops.keys,
                               endpoints.keys[asked]])
        number, first = Numbering().add(keys)
        self._subjects = _Subjects(
            {name: np.concatenate([self._columns[name][matched], loops.columns()[name],
                                   endpoints.columns()[name][asked]])[first] for name in SUBJECT},
            by_flow=self._by_flow)
        self._endpoint = endpoints.numbers.find(keys[first])
        self._endpoints = endpoints
        self._found = np.concatenate([matched, np.arange(loops.size) + self._size])
        self._about = number[:len(self._found)]
        """Which destination each of the found is about."""
        self._told = told_of(self._record, self._loops())

    def destinations(self) -> list[Destination]:
        """The worst first."""
        of, ranks = len(self._endpoint), self._told.rank[self._found]
        rank, errors = np.full(of, UNKNOWN), np.zeros(of, np.int64)
        np.minimum.at(rank, self._about, ranks)
        is_error = self._found < self._size
        np.add.at(errors, self._about[is_error], self._columns["count"][self._found[is_error]])
        sent, answered = self._counter("sent"), self._counter("answered")
        rank = np.where(rank < UNKNOWN, rank, np.where(answered > 0, ANSWERED, SILENT))
        verdicts = list(map(VERDICTS.__getitem__, rank.tolist()))
        spreads = spreads_of(self._rtt, self._endpoints.size)
        told = records(Destination, {
            **self._subjects.named(), "verdict": verdicts, "errno": map(ERRNO_OF_VERDICT.get, verdicts),
            "meaning": self._meanings((rank == SILENT) & (errors == 0)), "sent": sent.tolist(),
            "sent_bytes": self._counter("sent_bytes").tolist(), "answered": answered.tolist(),
            "errors": errors.tolist(), "rtt_ms": map(spreads.__getitem__, self._endpoint.tolist()),
            "findings": self._findings(), "notes": map(_notes, self._counter("other_port").tolist()),
            "zone": [None] * of})
        return _in_order(told, [rank, -errors, -sent, *self._subjects.worst])

    def unmatched(self) -> list[Unmatched]:
        """The worst first."""
        rows = np.flatnonzero(self._columns["matched"] == 0)
        subjects = _Subjects({name: self._columns[name][rows] for name in SUBJECT}, by_flow=self._by_flow)
        findings = map(self._told.findings.__getitem__, rows.tolist())
        told = records(Unmatched, {**subjects.named(), "finding": findings})
        return _in_order(told, [*(column[rows] for column in self._told.worst), *subjects.worst])

    def _counter(self, name: str) -> I64:
        """Of each destination, what was counted of it as an endpoint."""
        column: I64 = getattr(self._endpoints, name)[:self._endpoints.size]
        return np.append(column, 0)[self._endpoint]     # -1: nothing was seen to be sent

    def _findings(self) -> list[tuple[Finding, ...]]:
        """Of each destination, the worst first."""
        found = list(map(self._told.findings.__getitem__, self._found.tolist()))
        ordered = _in_order(found, [self._about, *(column[self._found] for column in self._told.worst)])
        counts = np.bincount(self._about, minlength=len(self._endpoint))
        return [tuple(ordered[start:end]) for start, end in pairwise([0, *np.cumsum(counts).tolist()])]

    def _loops(self) -> dict[int, Loop]:
        """The loop behind a destination's errors, by row of what was found about it."""
        is_loop = np.append(self._columns["loop"], np.ones(self._record.loops.size, np.int64))[self._found] == 1
        found, names, about = self._as_they_spoke(is_loop), self._names(self._found[is_loop]), defaultdict(list)
        for row, number in zip(self._found[found].tolist(), self._about[found].tolist(), strict=True):
            about[number].append(row)
        return {row: loop for rows in about.values() for loop in [_loop(self._record, rows, names)] for row in rows}

    def _as_they_spoke(self, which: Bool) -> I64:
        """Some of the found, the earliest first; those without a reporter last."""
        rows, found = self._found[which], np.flatnonzero(which)
        told = [np.append(self._columns[name], np.zeros(self._record.loops.size, self._columns[name].dtype))[rows]
                for name in ("reporter_low", "reporter_high", "first_ns")]
        order: I64 = found[np.lexsort((*told, rows >= self._size))]
        return order

    def _names(self, rows: I64) -> dict[int, str]:
        """The reporters of some findings, by their rows."""
        rows = rows[rows < self._size]
        texts = spelled(self._columns["reporter_high"][rows], self._columns["reporter_low"][rows]).texts()
        return dict(zip(rows.tolist(), texts, strict=True))

    def _meanings(self, is_silent: Bool) -> list[str | None]:
        """What silence says: a host that refused another port would have refused this one too.

        Unless its limit was used up: it refused a burst of datagrams before this one was sent, and none after.
        """
        hosts, columns = Numbering(), self._columns
        rows = np.flatnonzero((columns["itself"] == 1) & _are_port_unreachable(columns))
        host, _ = hosts.add(pair_key(columns["high"][rows], columns["low"][rows]))
        refusals, last_ns = np.zeros((2, len(hosts) + 1), np.int64)     # the last one is of hosts that refused nothing
        np.add.at(refusals, host, columns["count"][rows])
        np.maximum.at(last_ns, host, columns["last_ns"][rows])
        host = hosts.find(self._subjects.host_keys)
        is_limited = (refusals[host] >= LEAST_BURST) & (last_ns[host] < self._counter("last_ns"))
        said = np.where(refusals[host] == 0, 0, np.where(is_limited, 2, 1))
        return list(map(SILENCE.__getitem__, np.where(is_silent, said, 3).tolist()))


def _in_order(told: list[Any], worst: list[I64]) -> list[Any]:
    order = np.lexsort(worst[::-1])
    return list(map(told.__getitem__, order.tolist()))


def _notes(other_port: int) -> tuple[str, ...]:
    return (f"answered from port {other_port}",) if other_port else ()


def _are_port_unreachable(columns: dict[str, npt.NDArray[Any]]) -> Bool:
    family, kind, code = columns["family"], columns["type"], columns["code"]
    return ((family == 4) & (kind == 3) & (code == 3)) | ((family == 6) & (kind == 1) & (code == 4))


def _loop(record: Record, found: list[int], names: Mapping[int, str]) -> Loop:
    """A destination's loop: its routers in the order they spoke, and its period."""
    size = record.findings.size
    rows, seen = [row for row in found if row < size], [row - size for row in found if row >= size]
    period = int(record.loops.period[seen[0]]) if seen else period_of(
        [ttls_of(record.findings.ttls[row]) for row in rows])
    return Loop(tuple(islice(dict.fromkeys(map(names.__getitem__, rows)), MOST_ROUTERS)), period)
