"""Errors, counted: one row for each kind of error, destination and reporter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U64
from udpprobe.core.correlation.copies import Passes
from udpprobe.core.correlation.correlate import Matches
from udpprobe.core.correlation.levels import NONE
from udpprobe.core.growing import column
from udpprobe.core.keys import columns_key
from udpprobe.core.notes import Note
from udpprobe.core.packets import Datagrams, Errors, field, u64
from udpprobe.core.samples import Samples
from udpprobe.core.summaries.subjects import NO_PORT, Subject, subjects


@dataclass(init=False)
class Findings(Subject):
    """A kind of error, a destination and a reporter a row."""

    family: I64 = column(np.int64)
    type: I64 = column(np.int64)
    code: I64 = column(np.int64)
    reporter_high: U64 = column(np.uint64)
    reporter_low: U64 = column(np.uint64)
    itself: I64 = column(np.int64)
    """1 where the reporter is the quoted destination."""
    mtu: I64 = column(np.int64)
    matched: I64 = column(np.int64)
    """1 if the datagrams were seen, 0 if not."""
    loop: I64 = column(np.int64)
    """1 for an error of a routing loop; known when the report is concluded."""
    count: I64 = column(np.int64, combine=np.add)
    first_ns: I64 = column(np.int64, combine=np.minimum)
    last_ns: I64 = column(np.int64, combine=np.maximum)
    match: I64 = column(np.int64, combine=np.maximum)
    """The surest match, a position in `MATCHES`."""
    notes: I64 = column(np.int64, combine=np.bitwise_or)
    length: I64 = column(np.int64, combine=np.minimum)
    """Bytes of the shortest of the datagrams, as IP packets."""
    ttls: U64 = column(np.uint64, width=4, combine=np.bitwise_or)
    """256 bits: TTLs that the matched datagrams left with."""


KEY_COLUMNS = ("high", "low", "port", "source_high", "source_low", "source_port", "family", "type", "code",
               "reporter_high", "reporter_low", "itself", "mtu", "matched", "loop")


@dataclass(init=False)
class Loops(Subject):
    """A destination a row whose datagrams came round a loop in sight of the capture."""

    passes: I64 = column(np.int64, combine=np.add)
    """How often one came round."""
    first_ns: I64 = column(np.int64, combine=np.minimum)
    last_ns: I64 = column(np.int64, combine=np.maximum)
    period: I64 = column(np.int64, combine=np.gcd)
    """Hops around it: what the TTL fell by each time."""


class Record:
    """What the errors and the copies said so far."""

    def __init__(self, *, by_flow: bool = False) -> None:
        self._by_flow = by_flow
        self.findings = Findings()
        self.rtt = Samples()
        self.loops = Loops()

    def add_errors(self, errors: Errors, found: Matches) -> I64:
        """Count (n,) resolved errors; which row of `findings` each one went to."""
        subject = subjects(errors, found.ports, by_flow=self._by_flow)
        matched = (found.match > NONE).astype(np.int64)
        portless = (found.match == NONE) & (found.notes & NO_UDP_PORTS > 0)
        columns = {
            **subject.columns,
            "port": np.where(portless, NO_PORT, subject.columns["port"]),
            "family": errors.family, "type": errors.type, "code": errors.code,
            "reporter_high": errors.reporter_high, "reporter_low": errors.reporter_low,
            "itself": reported_by_itself(errors), "mtu": errors.mtu, "matched": matched,
        }
        key = columns_key([columns[name] for name in KEY_COLUMNS if name in columns])
        new = found.notes & Note.SEEN_BEFORE == 0
        rows = self.findings.add(
            key, **columns, count=new.astype(np.int64), first_ns=errors.time_ns, last_ns=errors.time_ns,
            match=found.match, notes=found.notes & ~Note.SEEN_BEFORE, length=found.length,
            ttls=_ttl_bits(found))
        seen = np.flatnonzero((matched == 1) & new)
        self.rtt.add(rows[seen], errors.time_ns[seen] - found.time_ns[seen])
        return rows

    def add_passes(self, datagrams: Datagrams, passes: Passes) -> None:
        """Count datagrams that came round a loop."""
        some = datagrams.take(passes.row)
        subject = subjects(some, some.ports, by_flow=self._by_flow)
        self.loops.add(subject.key, **subject.columns, passes=np.ones(len(some), np.int64),
                       first_ns=passes.time_ns, last_ns=passes.time_ns, period=passes.step)

    def merge(self, other: Record) -> I64:
        """Add all that another record holds; which row of `findings` each of its rows went to."""
        rows = self.findings.merge(other.findings)
        self.rtt.absorb(other.rtt, rows)
        self.loops.merge(other.loops)
        return rows


NO_UDP_PORTS = Note.NO_PORTS | Note.QUOTES_LATER_FRAGMENT


def reported_by_itself(errors: Errors) -> I64:
    """(n,) 1 where the reporter is the destination of the datagram it quotes."""
    return ((errors.reporter_high == errors.destination_high)
            & (errors.reporter_low == errors.destination_low)).astype(np.int64)


def _ttl_bits(found: Matches) -> U64:
    """(n, 4) one bit for the TTL of each matched datagram."""
    ttl = field(found.detail, 8, 8)
    bits = np.zeros((len(ttl), 4), np.uint64)
    rows = np.flatnonzero(found.match > NONE)
    bits[rows, ttl[rows] >> u64(6)] = u64(1) << (ttl[rows] & u64(63))
    return bits
