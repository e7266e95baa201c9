"""Finds the task of a scan that an address and a port belong to."""

from __future__ import annotations

from array import array

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

from udpprobe.core.table import Table, secret_words


@cython.final
@cython.cclass
class Directory:
    """Finds tasks by host and port. After the requested tasks there is one more per host: its control.

    Args:
        by_host: (requested_count,) the tasks by host and port ("I").
        ports: (requested_count,) the port of each of these ("H").
        starts: (hosts + 1,) where each host's tasks begin in `by_host` ("I").
        controls: (hosts,) the port of each host's control ("H").
        secret: seed of the address hash; any number.
    """

    def __init__(
        self, by_host: array[int], ports: array[int], starts: array[int], controls: array[int], secret: int
    ) -> None:
        self.by_host, self.ports, self.starts, self.controls = by_host, ports, starts, controls
        self.requested_count: index = len(by_host)
        self.table = Table(3, 2, secret_words(secret))  # a host's address, then its number
        self.table.reserve(len(controls))

    def add_host(self, high: int, low: int, number: int) -> None:
        """Register a host's address; of several hosts with one address, the first."""
        before = self.table.size
        row: index = self.table.add_key((high, low))
        if row == before:
            self.table.words[3 * row + 2] = number

    @cython.ccall
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def host_of(self, high: u64, low: u64) -> index:
        """The host with an address; -1 if it is not probed."""
        self.table.keys[0], self.table.keys[1] = high, low
        row: index = self.table.find(self.table.hash(0), 0)
        return -1 if row < 0 else cython.cast(index, self.table.words[3 * row + 2])

    @cython.ccall
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def find(self, high: u64, low: u64, port: index) -> index:
        """The task of an address and port; -1 if it is not probed."""
        host: index = self.host_of(high, low)
        if host < 0:
            return -1
        first: index = self.starts[host]
        end: index = self.starts[host + 1]
        at: index = first
        if first < end and port > self.ports[first]:
            at = first + port - self.ports[first]  # its place if ports have no gaps
            if at >= end or self.ports[at] != port:
                at = self.search(first, end, port)
        if at < end and self.ports[at] == port:
            return self.by_host[at]
        return self.requested_count + host if self.controls[host] == port else -1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def search(self, first: index, end: index, port: index) -> index:
        """The first place in [first, end) whose port is at least `port`; `end` for none."""
        middle: index
        while first < end:
            middle = (first + end) // 2
            if self.ports[middle] < port:
                first = middle + 1
            else:
                end = middle
        return first
