"""UDP ports that this host sends from, so that the sockets can be looked up while they exist."""

from __future__ import annotations

from collections.abc import Iterable

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

from udpprobe.core.rows import Rows
from udpprobe.core.table import Table, secret_words

PORTS = 1 << 16

_PORT = cython.declare(cython.const[u64], 0xFFFF)


@cython.final
@cython.cclass
class Ports:
    """Source ports of datagrams from some addresses; without addresses, nothing is recorded.

    Attributes:
        is_news: a port was seen that is new since `expect`. The reader resets it.
    """

    def __init__(self, secret: int) -> None:
        self.secret = secret
        self.own = Table(2, 2, secret_words(secret))
        self.is_seen = memoryview(bytearray(PORTS))
        self.is_news = False

    def expect(self, addresses: Iterable[int]) -> None:
        """Forget all ports; from now on record those of these addresses (128 bits, IPv4 mapped)."""
        self.own = Table(2, 2, secret_words(self.secret))
        for address in addresses:
            self.own.add_key((address >> 64, address & (1 << 64) - 1))
        self.is_seen = memoryview(bytearray(PORTS))

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def see(self, rows: Rows) -> cython.int:
        """Record the source ports of datagrams."""
        row: index
        port: index
        for row in range(rows.size):
            if rows.is_error[row]:
                continue
            port = cython.cast(index, rows.ports[row] >> 16 & _PORT)
            if self.is_seen[port]:
                continue
            self.own.keys[0], self.own.keys[1] = rows.source_high[row], rows.source_low[row]
            if self.own.find(self.own.hash(0), 0) >= 0:
                self.is_seen[port] = 1
                self.is_news = True
        return 0
