"""Errors that look different from the others of their host: perhaps somebody else sent them in its name.

A firewall that rejects with port unreachable speaks with the host's address. Where it stands on the host's own
input path, its errors are the host's own; where it stands before that, or on the way, the TTL, DF or id of their
IP header may differ (of Linux, nftables' netdev hook: DF set and id 0, where the host's own count up without DF).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U64, Bool
from udpprobe.core.packets import DONT_FRAGMENT, field, u64
from udpprobe.core.runs import firsts, starts_of_runs

FEWEST = 3
"""So many ports of a host, and more than half of them, make a look the usual one."""
LOOK_BITS = 11
"""TTL << 3 | family is IPv6 << 2 | DF << 1 | id is 0"""


@dataclass(frozen=True, slots=True)
class Trait:
    """One thing that errors of one host have in common."""

    value: Callable[[I64], I64]
    """(n,) it, of looks."""
    text: Callable[[int, int], str]
    """In words, of a look and of the usual value."""


TRAITS = (
    Trait(lambda look: look >> 3,
          lambda look, usual: f"{'hop limit' if look & 4 else 'TTL'} {look >> 3}, not {usual}"),
    Trait(lambda look: look >> 1 & 1, lambda look, _: "DF set" if look & 2 else "DF not set"),
    Trait(lambda look: look & 1, lambda look, _: "id 0" if look & 1 else "an id other than 0"),
)


class Looks:
    """How the refusals of each host look.

    Args:
        hosts: (tasks,) the host of each task: 0, 1, 2 ….
    """

    def __init__(self, hosts: I64) -> None:
        self._hosts = hosts
        count = int(hosts.max(initial=-1)) + 1
        self._least, self._most = np.full(count, 1 << LOOK_BITS), np.full(count, -1)
        """(hosts,) of the looks seen: where they are equal, there is nothing odd."""
        self._seen: list[tuple[I64, I64]] = []

    def take(self, tasks: I64, family: I64, outer: U64) -> None:
        """Remember refusals.

        Args:
            tasks: (n,) what each is about.
            family: (n,) 4 or 6.
            outer: (n,) of `Errors`.
        """
        look = ((field(outer, 8, 8) << u64(3)).view(np.int64) | (family == 6) << 2
                | (outer & DONT_FRAGMENT > 0) << 1 | (outer >> u64(48) == 0))
        np.minimum.at(self._least, self._hosts[tasks], look)
        np.maximum.at(self._most, self._hosts[tasks], look)
        self._seen.append((tasks, look))

    def notes(self) -> dict[int, str]:
        """By task, what is odd about its refusal."""
        none = np.empty(0, np.int64)
        tasks, look = (np.concatenate([none, *each]) for each in zip((none, none), *self._seen, strict=True))
        rows = np.flatnonzero((self._least < self._most)[self._hosts[tasks]])
        rows = rows[firsts(tasks[rows])]
        tasks, look = tasks[rows], look[rows]
        odd: dict[int, list[str]] = {}
        for trait in TRAITS:
            is_odd, usual = deviating(self._hosts[tasks], trait.value(look))
            for row in np.flatnonzero(is_odd).tolist():
                odd.setdefault(int(tasks[row]), []).append(trait.text(int(look[row]), int(usual[row])))
        return {task: f"its error differs from the host's other errors ({', '.join(texts)}): perhaps a firewall "
                      "speaks for it" for task, texts in odd.items()}


def deviating(host: I64, value: I64) -> tuple[Bool, I64]:
    """Which of (n,) rows have another value than most rows of their host; and (n,) that usual value.

    Args:
        host: (n,) groups.
        value: (n,) below 1 << LOOK_BITS.
    """
    if len(host) == 0:
        return np.empty(0, np.bool_), value
    keys = np.sort(host << LOOK_BITS | value)
    runs = starts_of_runs(keys)
    size, of = np.diff(np.append(runs, len(keys))), keys[runs] >> LOOK_BITS
    first = starts_of_runs(of)
    top = np.lexsort((size, of))[np.append(first[1:], len(runs)) - 1]
    is_usual = (size[top] >= FEWEST) & (2 * size[top] > np.add.reduceat(size, first))
    row = np.searchsorted(of[first], host)
    usual = (keys[runs[top]] & (1 << LOOK_BITS) - 1)[row]
    return is_usual[row] & (value != usual), usual
