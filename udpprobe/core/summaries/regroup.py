"""A summary by other subjects than destinations: by host, or by who reported."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from udpprobe.core.growing import Tally
from udpprobe.core.keys import columns_key, endpoint_key
from udpprobe.core.summaries.findings import KEY_COLUMNS
from udpprobe.core.summaries.subjects import NO_PORT
from udpprobe.core.summaries.summary import Summary

Columns = dict[str, npt.NDArray[Any]]


def regrouped(summary: Summary, by: str) -> Summary:
    """The summary with one subject a host, or one a reporter; itself where it is that already."""
    if by not in REWRITES:
        return summary
    new = Summary()
    for name in ("packets", "bytes", "first_ns", "last_ns", "link_types", "faults"):
        setattr(new, name, getattr(summary, name))
    summary.conversations.fold()
    old_record, record = summary.record, new.record
    findings = REWRITES[by](old_record.findings.columns())
    rows = record.findings.add(columns_key([findings[name] for name in KEY_COLUMNS]), **findings)
    record.rtt.absorb(old_record.rtt, rows)
    if by == "host":
        rows = _add(new.conversations.endpoints, summary.conversations.endpoints)
        new.conversations.rtt.absorb(summary.conversations.rtt, rows)
        _add(record.loops, old_record.loops)
    return new


def _add(new: Tally, old: Tally) -> npt.NDArray[np.int64]:
    columns = _by_host(old.columns())
    return new.add(endpoint_key(columns["high"], columns["low"], columns["port"].view(np.uint64)), **columns)


def _by_host(columns: Columns) -> Columns:
    return columns | {"port": np.full(len(columns["port"]), NO_PORT)}


def _by_reporter(columns: Columns) -> Columns:
    nobody = np.zeros_like(columns["ttls"])  # of several destinations, TTLs say nothing of a loop's period
    return _by_host(columns) | {"high": columns["reporter_high"], "low": columns["reporter_low"], "ttls": nobody}


REWRITES: dict[str, Callable[[Columns], Columns]] = {"host": _by_host, "reporter": _by_reporter}
