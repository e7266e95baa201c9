"""Evidence of a routing loop, and what it says of the loop.

A TTL that runs out is no loop by itself: a traceroute does that. It is one if the datagram left with plenty,
if one reporter answers for the same destination at different TTLs, or if the datagram was seen going round.
"""

from __future__ import annotations

from functools import reduce
from math import gcd

import numpy as np

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.keys import Numbering, columns_key, endpoint_key, pair_key
from udpprobe.core.summaries.findings import Findings, Record
from udpprobe.core.summaries.subjects import Subject

EVENLY = 3
"""So many TTLs at equal distances, and the distance is the period."""


def subject_keys(findings: Subject, rows: I64, *, by_flow: bool) -> U64:
    """(n,) keys of the destinations (or flows) that some rows are about, as in `Endpoints`."""
    to = endpoint_key(findings.high[rows], findings.low[rows], findings.port[rows].view(np.uint64))
    if not by_flow:
        return to
    return pair_key(to, endpoint_key(findings.source_high[rows], findings.source_low[rows],
                                     findings.source_port[rows].view(np.uint64)))


def are_loops(record: Record, rows: I64, loop_ttl: int) -> Bool:
    """Which of these rows of `record.findings` are errors of a routing loop, whatever the rows are by."""
    findings = record.findings
    in_transit = (((findings.family[rows] == 4) & (findings.type[rows] == 11))
                  | ((findings.family[rows] == 6) & (findings.type[rows] == 3))) & (findings.code[rows] == 0)
    if not in_transit.any():
        return in_transit
    high = (findings.ttls[rows] & _mask_from(loop_ttl)).any(axis=1)
    return in_transit & (findings.matched[rows] == 1) & (high | _at_two_ttls(findings)[rows] | _seen(record)[rows])


def _at_two_ttls(findings: Findings) -> Bool:
    """Which findings are of a reporter that answered for the same destination at two different TTLs."""
    columns = findings.columns()
    key = columns_key([columns[name] for name in ("high", "low", "port", "reporter_high", "reporter_low")])
    number, _ = Numbering().add(key)
    ttls = np.zeros((findings.size, 4), np.uint64)
    np.bitwise_or.at(ttls, number, columns["ttls"])
    return np.bitwise_count(ttls).sum(axis=1)[number] > 1


def _seen(record: Record) -> Bool:
    """Which findings are about a destination whose datagrams came round a loop in sight of the capture."""
    rows = np.arange(record.findings.size)
    loops = Numbering()
    loops.add(subject_keys(record.loops, np.arange(record.loops.size), by_flow=False))
    return loops.find(subject_keys(record.findings, rows, by_flow=False)) >= 0


def _mask_from(ttl: int) -> U64:
    """(4,) the bits of all TTLs from `ttl` up."""
    bits = ((1 << 256) - 1) >> ttl << ttl
    return np.array([bits >> shift & (1 << 64) - 1 for shift in (0, 64, 128, 192)], np.uint64)


def period_of(ttl_sets: list[list[int]]) -> int | None:
    """Hops around a loop, from the TTLs at which each of its routers reported; None where they do not tell."""
    steps = [ttl - ttls[0] for ttls in ttl_sets for ttl in ttls[1:]]
    step = reduce(gcd, steps, 0)
    evenly = any(len(ttls) >= EVENLY and ttls[-1] - ttls[0] == step * (len(ttls) - 1) for ttls in ttl_sets)
    return step if step and (evenly or step == len(ttl_sets)) else None


def ttls_of(bits: U64) -> list[int]:
    """The TTLs whose bits are set, ascending."""
    word = sum(value << 64 * place for place, value in enumerate(bits.tolist()))
    found = []
    while word:
        found.append((word & -word).bit_length() - 1)
        word &= word - 1
    return found
