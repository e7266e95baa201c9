"""What there is much of, summed up, as nmap's "Not shown": a row a host and kind instead of a row a port."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING

from udpprobe.reports.text import endpoint, plural

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Sequence

    from udpprobe.core.model import Destination, Finding

SHOWN_SINGLY = 50
"""Destinations of one verdict that are shown one by one; more are a crowd."""
_RANGES_SHOWN = 8
_TELLING = frozenset({"answered"})
"""What people scan for is never summed up."""
_SAID_BY = attrgetter("verdict", "icmp_type", "icmp_code", "mtu")


def summed_up(destinations: Sequence[Destination]) -> tuple[Destination, ...]:
    """The destinations with crowds in one row each; such a row has no port, and says in a note which ones it is about.

    Of a crowd, the ports of a host that fared alike are one row. Where that still leaves a crowd of rows, hosts that
    fared alike are one row too.

    Args:
        destinations: in the order of the report, which is kept.
    """
    counts = Counter(each.verdict for each in destinations)
    crowds = {verdict for verdict, count in counts.items() if count > SHOWN_SINGLY} - _TELLING
    if not crowds:
        return tuple(destinations)
    by_host = _merged(destinations, crowds, lambda each: (each.address, _kind(each)), _of_host)
    counts = Counter(each.verdict for each in by_host)
    crowds = {verdict for verdict, count in counts.items() if count > SHOWN_SINGLY} - _TELLING
    return tuple(_merged(by_host, crowds, lambda each: (_kind(each), _ports(each)), _of_hosts))


def _merged(destinations: Sequence[Destination], crowds: set[str], key: Callable[[Destination], Hashable],
            merge: Callable[[list[Destination]], Destination]) -> list[Destination]:
    """Rows of crowds with one key as one, where the first of them was."""
    groups: dict[Hashable, list[Destination]] = {}
    for place, each in enumerate(destinations):
        groups.setdefault(key(each) if each.verdict in crowds else place, []).append(each)
    return [merge(group) if len(group) > 1 else group[0] for group in groups.values()]


def _kind(each: Destination) -> Hashable:
    """What it has in common with those that fared alike; the reporter itself stands for every address."""
    found = [(_SAID_BY(finding), "" if finding.reporter == each.address else finding.reporter)
             for finding in each.findings]
    return each.verdict, each.errno, each.meaning, *found


def _of_host(group: list[Destination]) -> Destination:
    ports = [each.port for each in group if each.port is not None]
    return _sum(group, group[0].address, f"{plural(len(ports), 'port')}: {ranges(ports)}")


def _of_hosts(group: list[Destination]) -> Destination:
    first = endpoint(group[0].address, None, group[0].zone)
    one = replace(group[0], zone=None)
    return _sum([one, *group[1:]], f"{first} and {plural(len(group) - 1, 'other host')}", _ports(one))


def _ports(each: Destination) -> str:
    return each.notes[0] if each.port is None else f"1 port: {each.port}"


def _sum(group: list[Destination], address: str, note: str) -> Destination:
    """One row for all of a group; of their notes, what all say."""
    common = [text for text in group[0].notes if text != note and all(text in each.notes for each in group)]
    first = group[0]
    return replace(
        first, address=address, port=None, sent=sum(each.sent for each in group),
        sent_bytes=sum(each.sent_bytes for each in group), errors=sum(each.errors for each in group), rtt_ms=None,
        findings=tuple(_whole(findings, address) for findings in zip(*(each.findings for each in group), strict=True)),
        notes=(note, *common))


def _whole(findings: Sequence[Finding], address: str) -> Finding:
    first = findings[0]
    return replace(first, count=sum(each.count for each in findings), rtt_ms=None,
                   reporter=first.reporter if len({each.reporter for each in findings}) == 1 else address)


def ranges(ports: Iterable[int]) -> str:
    """`1-52, 54-122, 124`; the rest is counted where it gets long."""
    rows = [list(run) for _, run in groupby(enumerate(sorted(ports)), lambda row: row[1] - row[0])]
    texts = [str(run[0][1]) if len(run) == 1 else f"{run[0][1]}-{run[-1][1]}" for run in rows]
    left = sum(map(len, rows[_RANGES_SHOWN:]))
    more = f" and {left:,} more" if left else ""
    return ", ".join(texts[:_RANGES_SHOWN]) + more
