"""What a scan will send: its tasks, from which address, with which payload, and the token of each probe.

A task is a destination that is to be decided. Behind the tasks that were asked for stands one more for each
host: its control port, surely closed, whose refusal shows that the host speaks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from udpprobe.core.batch import I64, U64
from udpprobe.core.keys import Numbering, endpoint_key
from udpprobe.core.packets import u64
from udpprobe.core.probing.probes import Destinations, Key, Probes, siphash, token_of
from udpprobe.core.runs import starts_of_runs

GENERIC = -1
"""Candidate that stands for the payloads 0 to GENERIC_VARIANTS - 1: which of them, the token says."""
GENERIC_VARIANTS = 8
NO_PORT = np.zeros(1, np.uint64)
CONTROL_PORTS = (49_152, 65_536)
"""Where control ports are looked for: nothing is registered there (RFC 6335, section 6)."""


@dataclass(frozen=True, slots=True)
class Sources:
    """Where probes come from."""

    high: U64
    """(hosts, k) addresses in two halves: each host's probes may come from k of them."""
    low: U64
    port: int
    ports: int = 1
    """How many there are from `port` on. The tasks of a host take them in turn, for what comes from another port of
    the host says by the one it goes to what it is about."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Which payloads each task may be sent, in turn."""

    first: I64
    """(tasks,) index into `order`."""
    count: I64
    order: I64
    """Rows of `Payloads`, or GENERIC."""


class Plan:
    """Tasks in columns, and what has become of each.

    Args:
        destinations: what was asked for.
        sources: where each host's probes come from.
        candidates: payloads of the asked destinations.
        key: the scan's secret.
        ttl: that every probe leaves with.
    """

    def __init__(self, destinations: Destinations, sources: Sources, candidates: Candidates, key: Key, *,
                 ttl: int = 64) -> None:
        self.asked = len(destinations)
        self.sources, self._key, self._ttl = sources, key, ttl
        self.tasks = Destinations.concatenate([destinations, _controls(destinations, sources, key)])
        extra = len(self.tasks) - self.asked
        self._first = np.concatenate([candidates.first, np.full(extra, len(candidates.order))])
        self._count = np.concatenate([candidates.count, np.ones(extra, np.int64)])
        self._order = np.append(candidates.order, GENERIC)
        self.attempts = np.zeros(len(self.tasks), np.int64)
        """Probes made of each task so far."""
        self.left, self.left_bytes, self._length = np.zeros((3, len(self.tasks)), np.int64)
        """How many of them left this host, and bytes of their IP packets."""
        self.sent_ns = np.zeros(len(self.tasks), np.int64)
        """When the last of them left, as the capture saw it; 0 for never."""
        hosts = self.tasks.take(slice(self.asked, None))
        self.source_port = sources.port + _rank(self.tasks.host) % sources.ports
        """(tasks,) where the probes of each come from."""
        self._tasks = _index(endpoint_key(self.tasks.high, self.tasks.low, self.tasks.port.view(np.uint64)))
        self._hosts = _index(endpoint_key(hosts.high, hosts.low, NO_PORT))

    def __len__(self) -> int:
        return len(self.tasks)

    @property
    def hosts(self) -> int:
        """How many there are; the control of host h is task `asked + h`."""
        return len(self) - self.asked

    def find(self, high: U64, low: U64, port: U64) -> I64:
        """(n,) the task of each address and port, -1 for what is not probed."""
        return _found(self._tasks, endpoint_key(high, low, port))

    def host_of(self, high: U64, low: U64) -> I64:
        """(n,) the host with each address, -1 for one that is not probed."""
        return _found(self._hosts, endpoint_key(high, low, NO_PORT))

    def next_probes(self, tasks: I64, source: I64) -> Probes:
        """One more probe of each of (n,) different tasks.

        Args:
            tasks: rows of `tasks`.
            source: (n,) which of the host's source addresses each leaves from.
        """
        probes = self.probes(tasks, source, self.attempts[tasks])
        self.attempts[tasks] += 1
        return probes

    def leave(self, tasks: I64, length: I64) -> None:
        """Count a probe of each of (n,) different tasks as sent; `length` is in bytes of IP packets."""
        self.left[tasks] += 1
        self.left_bytes[tasks] += length
        self._length[tasks] = length

    def stay(self, tasks: I64) -> None:
        """Take that back for (n,) different tasks: this host refused to send the last probe of each."""
        self.left[tasks] -= 1
        self.left_bytes[tasks] -= self._length[tasks]

    def probes(self, tasks: I64, source: I64, attempt: I64) -> Probes:
        """The probes of (n,) tasks, sources and attempts; the same ones whenever it is asked."""
        some = self.tasks.take(tasks)
        source_high, source_low = self.sources.high[some.host, source], self.sources.low[some.host, source]
        ports = (self.source_port[tasks] << 16 | some.port).view(np.uint64)
        token = token_of(self._key, (source_high, source_low), (some.high, some.low), ports)
        payload = self._order[self._first[tasks] + attempt % self._count[tasks]]
        generic = (token >> u64(61)).view(np.int64) % GENERIC_VARIANTS
        return Probes(tasks, source_high, source_low, some.high, some.low, ports, some.zone,
                      np.where(payload == GENERIC, generic, payload), attempt,
                      np.full(len(tasks), self._ttl), token)


def _rank(host: I64) -> I64:
    """(n,) how many rows before each have the same host."""
    order = np.argsort(host, kind="stable")
    starts = starts_of_runs(host[order])
    rank = np.zeros(len(host), np.int64)
    rank[order] = np.arange(len(host)) - np.repeat(starts, np.diff(starts, append=len(host)))
    return rank


Index = tuple[Numbering, I64]
"""A dictionary, and the row that each of its numbers stands for."""


def _index(keys: U64) -> Index:
    """Of rows by their keys; of several with the same key the first."""
    numbers = Numbering()
    return numbers, numbers.add(keys)[1]


def _found(index: Index, keys: U64) -> I64:
    number = index[0].find(keys)
    return np.where(number < 0, -1, index[1][number]) if len(index[1]) else number


def _controls(destinations: Destinations, sources: Sources, key: Key) -> Destinations:
    """A task for each host: a high port that is neither asked for nor, where the host is this one, the scan's own."""
    order = np.argsort(destinations.host, kind="stable")
    hosts = destinations.take(order[starts_of_runs(destinations.host[order])])
    asked = np.zeros(65_536, np.bool_)
    asked[destinations.port] = asked[sources.port:sources.port + sources.ports] = True
    free = np.flatnonzero(~asked[slice(*CONTROL_PORTS)]) + CONTROL_PORTS[0]
    if len(free) == 0:
        free = np.zeros(1, np.int64)     # reserved (RFC 6335, section 6): closed, though less often answered for
    chance = siphash(key, (hosts.high, hosts.low)) % u64(len(free))
    hosts.port = free[chance.view(np.int64)]
    return hosts
