"""Forgetting, so that a watch of weeks fits into memory: what has been quiet for longest goes first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64
from udpprobe.core.summaries.loops import subject_keys
from udpprobe.core.summaries.summary import Summary

AGED_OUT = "aged-out"
"""The fault of destinations and findings that were forgotten."""
MOST_ROWS = 1 << 16
MOST_SAMPLES = 1 << 21


@dataclass(slots=True)
class Aging:
    """How much a summary may hold: up to twice `most_rows` a table, then the latest `most_rows` stay."""

    most_rows: int = MOST_ROWS
    most_samples: int = MOST_SAMPLES
    """Durations of RTTs; beyond these they are rounded, as soon as that has an effect."""

    def age(self, summary: Summary) -> None:
        """Forget what is too much. Rows of findings, as in `Resolved`, are others after it."""
        conversations, record = summary.conversations, summary.record
        if conversations.unfolded > self.most_samples:
            conversations.fold()
        if conversations.endpoints.size > 2 * self.most_rows:
            self._age_endpoints(summary)
        if record.findings.size > 2 * self.most_rows:
            kept = _latest(record.findings.last_ns[:record.findings.size], self.most_rows)
            summary.faults[AGED_OUT] += record.findings.size - len(kept)
            record.findings.keep(kept)
            record.rtt.keep(kept)
        if record.loops.size > 2 * self.most_rows:
            record.loops.keep(_latest(record.loops.last_ns[:record.loops.size], self.most_rows))
        self._coarsen(summary)

    def _age_endpoints(self, summary: Summary) -> None:
        """Those that nobody asked anything go first: they are in no report."""
        endpoints, findings = summary.conversations.endpoints, summary.record.findings
        columns = endpoints.columns()
        last_ns = np.where(columns["requests"] > 0, columns["last_ns"], 0)
        rows = endpoints.numbers.find(subject_keys(findings, np.arange(findings.size), by_flow=summary.by_flow))
        np.maximum.at(last_ns, rows[rows >= 0], findings.last_ns[:findings.size][rows >= 0])
        kept = _latest(last_ns, self.most_rows)
        summary.faults[AGED_OUT] += int(np.count_nonzero(last_ns) - np.count_nonzero(last_ns[kept]))
        endpoints.keep(kept)
        summary.conversations.rtt.keep(kept)

    def _coarsen(self, summary: Summary) -> None:
        for samples in (summary.conversations.rtt, summary.record.rtt):
            if len(samples) > self.most_samples:
                samples.coarsen()
                self.most_samples = max(self.most_samples, 2 * len(samples))


def _latest(last_ns: I64, most: int) -> I64:
    """(most,) the rows with the latest times, ascending."""
    return np.sort(np.argpartition(last_ns, -most)[-most:])
