"""Evidence of a routing loop, and what it says of the loop.

A TTL that runs out is no loop by itself: a traceroute does that. It is one if the datagram left with plenty,
if one reporter answers for the same destination at different TTLs, or if the datagram was seen going round.
"""

from __future__ import annotations

from functools import reduce
from math import gcd

import numpy as np

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.findings import Findings, Record
from udpprobe.core.keys import endpoint_key, pair_key

EVENLY = 3
"""So many TTLs at equal distances, and the distance is the period."""


def subject_keys(findings: Findings, rows: I64, *, by_flow: bool) -> U64:
    """(n,) keys of the destinations (or flows) of some findings, as in `Endpoints`."""
    to = endpoint_key(findings.high[rows], findings.low[rows], findings.port[rows].view(np.uint64))
    if not by_flow:
        return to
    return pair_key(to, endpoint_key(findings.source_high[rows], findings.source_low[rows],
                                     findings.source_port[rows].view(np.uint64)))


def are_loops(record: Record, rows: I64, loop_ttl: int, *, by_flow: bool) -> Bool:
    """Which of these rows of `record.findings` are errors of a routing loop."""
    findings = record.findings
    in_transit = (((findings.family[rows] == 4) & (findings.type[rows] == 11))
                  | ((findings.family[rows] == 6) & (findings.type[rows] == 3))) & (findings.code[rows] == 0)
    ttls = findings.ttls[rows]
    high = (ttls & _mask_from(loop_ttl)).any(axis=1)
    several = np.bitwise_count(ttls).sum(axis=1) > 1
    seen = record.loops.numbers.find(subject_keys(findings, rows, by_flow=by_flow)) >= 0
    return in_transit & (findings.matched[rows] == 1) & (high | several | seen)


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
