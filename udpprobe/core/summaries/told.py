"""Findings as they are told: a record's columns become the model's objects, all of them at once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, NamedTuple, TypeVar

import numpy as np
from msgspec import Struct

from udpprobe.core.batch import I64
from udpprobe.core.correlation.levels import MATCHES
from udpprobe.core.model import Finding, Loop, Spread
from udpprobe.core.notes import texts_of
from udpprobe.core.packets import MAPPED, u64
from udpprobe.core.samples import Samples
from udpprobe.core.spelling import Spelling, spelled
from udpprobe.core.summaries.findings import Findings, Loops, Record
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, VERDICTS, meaning_of, verdict_of

NS_PER_MS = 1e6
SEEN_LOOPING = "seen going round: the same datagram again, its TTL lower each time"

Made = TypeVar("Made", bound=Struct)


def records(kind: type[Made], columns: Mapping[str, Iterable[Any]]) -> list[Made]:
    """The objects of one of the model's classes, from the columns of its fields, which are as long as each other."""
    return list(map(kind, *(columns[name] for name in kind.__struct_fields__)))


def spreads_of(samples: Samples, rows: int) -> list[Spread | None]:
    """The spread of each number below `rows`, and behind them a None: that of number -1."""
    number, *columns = samples.spreads()
    spreads = map(Spread, *((column / NS_PER_MS).tolist() for column in columns))
    told: list[Spread | None] = [None] * (rows + 1)
    for each, spread in zip(number.tolist(), spreads, strict=True):
        told[each] = spread
    return told


def rank_of(verdict: str | None) -> int:
    """0 for the most telling verdict; for none, more than for any."""
    return VERDICTS.index(verdict) if verdict else len(VERDICTS)


@dataclass(frozen=True, slots=True)
class Told:
    """(n,) findings: those of a record, and behind them its loops in sight of the capture."""

    findings: list[Finding]
    rank: I64
    """Of their verdicts."""
    worst: list[I64]
    """Columns that an order of them goes by, the first one first: the same for every way a summary was put together."""


def told_of(record: Record, loops: Mapping[int, Loop]) -> Told:
    """What a record has found.

    Args:
        record: what the errors and the copies said.
        loops: by row of `Told`: the loop it is about, where it is about one.
    """
    kinds, reporters = _kinds(record.findings), _reporters(record.findings)
    first, extra = record.findings.size, record.loops.size
    findings = _findings(record, kinds, reporters, map(loops.get, range(first)))
    findings += [_seen_looping(record.loops, row, loops[first + row]) for row in range(extra)]
    rank = np.array([*(kind.rank for kind in kinds), *[rank_of("loop")] * extra], np.int64)
    columns, seen, none = record.findings.columns(), record.loops.columns(), np.zeros(extra, np.int64)
    worst = [rank, *(np.concatenate(pair) for pair in (
        (-columns["count"], -seen["passes"]), (reporters.rank, none), (columns["first_ns"], seen["first_ns"]),
        (columns["type"], none), (columns["code"], none), (np.maximum(columns["mtu"], 0), none)))]
    return Told(findings, rank, worst)


class _Kind(NamedTuple):
    """What is the same for all findings of a kind."""

    rank: int
    verdict: str | None
    errno: str | None
    linux: dict[str, str | None]
    reason: str


@cache
def _kind(packed: int) -> _Kind:
    meaning = meaning_of(packed >> 18, packed >> 10 & 0xFF, packed >> 2 & 0xFF)
    verdict = verdict_of(meaning, itself=bool(packed & 2), loop=bool(packed & 1))
    return _Kind(rank_of(verdict), verdict, ERRNO_OF_VERDICT.get(verdict or ""), meaning.linux, meaning.reason)


def _kinds(findings: Findings) -> list[_Kind]:
    columns, packed = findings.columns(), np.zeros(findings.size, np.int64)
    for name, bits in (("family", 8), ("type", 8), ("code", 8), ("itself", 1), ("loop", 1)):
        packed = packed << bits | columns[name]
    return list(map(_kind, packed.tolist()))


def _reporters(findings: Findings) -> Spelling:
    columns = findings.columns()
    return spelled(columns["reporter_high"], columns["reporter_low"])


def _findings(record: Record, kinds: list[_Kind], reporters: Spelling, loops: Iterable[Loop | None]) -> list[Finding]:
    columns = {name: values.tolist() for name, values in record.findings.columns().items() if name != "ttls"}
    said = {name: map(attrgetter(name), kinds) for name in ("verdict", "errno", "linux", "reason")}
    return records(Finding, {
        **said, "family": columns["family"], "icmp_type": columns["type"], "icmp_code": columns["code"],
        "reporter": reporters.texts(), "count": columns["count"],
        "first_time_ns": columns["first_ns"], "last_time_ns": columns["last_ns"],
        "mtu": [mtu if mtu >= 0 else None for mtu in columns["mtu"]],
        "match": map(MATCHES.__getitem__, columns["match"]),
        "rtt_ms": spreads_of(record.rtt, record.findings.size)[:-1], "loop": loops,
        "notes": map(texts_of, columns["notes"], columns["length"], columns["family"])})


def _seen_looping(loops: Loops, row: int, loop: Loop) -> Finding:
    """The finding that needs no ICMP error: datagrams that came round."""
    family = 4 if loops.high[row] == 0 and loops.low[row] >> u64(32) == MAPPED >> u64(32) else 6
    return Finding(
        verdict="loop", errno=ERRNO_OF_VERDICT["loop"], linux=None, family=family, icmp_type=None, icmp_code=None,
        reason="no-response", reporter=None, count=int(loops.passes[row]), first_time_ns=int(loops.first_ns[row]),
        last_time_ns=int(loops.last_ns[row]), mtu=None, match="none", rtt_ms=None, loop=loop, notes=(SEEN_LOOPING,))
