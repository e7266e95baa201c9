"""Forgets what has been quiet for longest, so that a watch of weeks fits into memory.

Conversations, datagrams and duplicates are bounded by themselves. What grows with the number of destinations and
reporters is aged here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from udpprobe.core.analyzer import Analyzer
    from udpprobe.core.table import Table

AGED_OUT = "aged-out"
"""The fault that counts forgotten destinations and findings."""

MOST_ROWS = 1 << 16

# Widths of rows, and columns in them: see `findings` and `flows`.
_FINDING, _LOOP, _ENDPOINT = 17, 10, 12
_FINDING_LAST_NS, _LOOP_LAST_NS, _ENDPOINT_LAST_NS, _QUESTIONS = 10, 8, 10, 8


def age(analyzer: Analyzer, most_rows: int = MOST_ROWS) -> int:
    """Keep the latest `most_rows` of each table that has twice as many.

    Take the events first, because this renumbers findings.

    Returns:
        Number of destinations and findings that were forgotten.
    """
    endpoints, findings, loops = analyzer.conversations.endpoints, analyzer.findings.table, analyzer.findings.loops
    forgotten = 0
    if max(endpoints.size, findings.size) > 2 * most_rows:
        # otherwise an answer from another host has no time yet, and would look oldest
        analyzer.findings.count_answers()
    if endpoints.size > 2 * most_rows:
        forgotten += _age_endpoints(analyzer, most_rows)
    if findings.size > 2 * most_rows:
        forgotten += findings.size - most_rows
        kept = _latest(_column(findings, _FINDING, _FINDING_LAST_NS), most_rows)
        analyzer.findings.keep(kept)
    if loops.size > 2 * most_rows:
        loops.keep(_latest(_column(loops, _LOOP, _LOOP_LAST_NS), most_rows))
    records = analyzer.findings.records
    if records.size > 2 * most_rows:
        records.keep(range(records.size - most_rows, records.size))
    return forgotten


def _age_endpoints(analyzer: Analyzer, most_rows: int) -> int:
    """Forget endpoints that were asked nothing first: no report shows them. An endpoint's last error is activity."""
    endpoints, findings = analyzer.conversations.endpoints, analyzer.findings.table
    last_ns = [
        late if asked else 0
        for late, asked in zip(
            _column(endpoints, _ENDPOINT, _ENDPOINT_LAST_NS), _column(endpoints, _ENDPOINT, _QUESTIONS), strict=True
        )
    ]
    words = _words(findings)
    is_by_flow = analyzer.findings.by_flow
    for at in range(0, _FINDING * findings.size, _FINDING):
        source = (*words[at + 6 : at + 8], words[at + 5] & 0xFFFF) if is_by_flow else (0, 0, 0)
        row = endpoints.row_of((words[at], words[at + 1], words[at + 4] >> 2 & 0x1FFFF, *source))
        if row >= 0:
            last_ns[row] = max(last_ns[row], words[at + _FINDING_LAST_NS])
    kept = _latest(last_ns, most_rows)
    there = len(last_ns) - last_ns.count(0)
    endpoints.keep(kept)
    analyzer.conversations.endpoint_rtt.keep(kept)
    return there - sum(last_ns[row] > 0 for row in kept)


def _column(table: Table, width: int, place: int) -> list[int]:
    return list(_words(table)[place : width * table.size : width])


def _words(table: Table) -> memoryview:
    return memoryview(table.words if table.words is not None else b"")  # it is None only while the table grows


def _latest(last_ns: list[int], most: int) -> list[int]:
    """The `most` rows with the latest times, ascending."""
    return sorted(sorted(range(len(last_ns)), key=last_ns.__getitem__)[-most:])
