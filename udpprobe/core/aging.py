"""Forgets the destinations and findings that have been quiet longest, to bound memory during weeks of `watch`.

Conversations, datagrams and duplicates have their own bounds. The tables that grow with the number of destinations and
reporters are bounded here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from udpprobe.core.analyzer import Analyzer
    from udpprobe.core.table import Table

AGED_OUT = "aged-out"
"""The fault that counts forgotten destinations and findings."""

MOST_ROWS = 1 << 16

# Copies of constants of `findings` and `flows`, which are typed there, and so invisible to other modules. First the
# words of a row, then the columns of times and questions.
_FINDING, _LOOP, _ENDPOINT = 17, 10, 12
_FINDING_LAST_NS, _LOOP_LAST_NS, _ENDPOINT_LAST_NS, _QUESTIONS = 10, 8, 10, 8
# A finding is about the endpoint whose key these words hold: destination (0 and 1) and its port, 17 bits because of
# `findings.NO_PORT`, in KIND; by flow, also the source (6 and 7) and its port, 16 bits, in MTU.
_HIGH, _LOW, _KIND, _MTU, _SOURCE_HIGH, _SOURCE_LOW = 0, 1, 4, 5, 6, 7
_PORT_SHIFT, _PORT_BITS, _SOURCE_PORT_BITS = 2, 0x1FFFF, 0xFFFF


def age(analyzer: Analyzer, most_rows: int = MOST_ROWS) -> int:
    """Reduce each table with more than twice `most_rows` rows to the `most_rows` that were active last.

    Sorting a table costs time, so it is done once for many rows. It renumbers findings: take the analyzer's events
    first.

    Returns:
        Number of destinations and findings that were forgotten.
    """
    endpoints, findings, loops = analyzer.conversations.endpoints, analyzer.findings.table, analyzer.findings.loops
    forgotten = 0
    if max(endpoints.size, findings.size) > 2 * most_rows:
        # This sets the times of answers from other hosts. Without it, they would look oldest.
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
    """Forget endpoints, first those that were sent no question: no report shows them. An error counts as activity."""
    endpoints, findings = analyzer.conversations.endpoints, analyzer.findings.table
    last_ns = [
        sent_ns if questions else 0
        for sent_ns, questions in zip(
            _column(endpoints, _ENDPOINT, _ENDPOINT_LAST_NS), _column(endpoints, _ENDPOINT, _QUESTIONS), strict=True
        )
    ]
    words = _words(findings)
    is_by_flow = analyzer.findings.by_flow
    for at in range(0, _FINDING * findings.size, _FINDING):
        port = words[at + _KIND] >> _PORT_SHIFT & _PORT_BITS
        source_port = words[at + _MTU] & _SOURCE_PORT_BITS
        source = (words[at + _SOURCE_HIGH], words[at + _SOURCE_LOW], source_port) if is_by_flow else (0, 0, 0)
        row = endpoints.row_of((words[at + _HIGH], words[at + _LOW], port, *source))
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
    return memoryview(table.words if table.words is not None else b"")  # None only while the table is growing


def _latest(last_ns: list[int], most: int) -> list[int]:
    """The `most` rows with the latest times, ascending."""
    return sorted(sorted(range(len(last_ns)), key=last_ns.__getitem__)[-most:])
