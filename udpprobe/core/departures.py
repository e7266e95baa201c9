"""Probes on their way out, hundreds at once: which probe each one is, and what is remembered of it."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

from udpprobe.core import views
from udpprobe.core.probe import Batch


@cython.final
@cython.cclass
class Departures:
    """Numbers the probes of a batch, and counts those that left.

    Args:
        batch: where they go.
        ttl: that they leave with.
        size: bytes of the IP packet that shorter ones are filled up to.
        hosts: (tasks,) the host of each.
        sources: (hosts * k,) which of the prober's addresses each host's probes come from.
        zones: (tasks,) index of the interface of a link-local address, else 0.
        attempts, left, left_bytes: (tasks,) probes made, those that left, and the bytes of these.
        last_ns, frame: (tasks,) when the last one left, and the frame it was seen in; 0 for none.
        seen: (tasks,) whether one was seen to leave.
    """

    def __init__(self, batch: Batch, *, ttl: int, size: int, hosts: array[int], sources: array[int],  # noqa: PLR0913 - columns
                 zones: array[int], attempts: array[int], left: array[int], left_bytes: array[int],
                 last_ns: array[int], frame: array[int], seen: bytearray) -> None:
        self._batch, self._ttl, self._size = batch, ttl, size
        self._hosts, self._sources, self._zones = hosts, sources, zones
        self._per_host: index = len(sources) // max(max(hosts, default=0) + 1, 1)
        self._attempts, self._left, self._left_bytes = attempts, left, left_bytes
        self._last_ns, self._frame, self._seen = last_ns, frame, seen

    def number(self, due: Sequence[tuple[int, int]], now_ns: int, repeat: Callable[[int], None]) -> list[int]:
        """Write into the batch which probes these are: one more of each task. They leave now.

        Args:
            due: tasks, each with which of its host's addresses the probe leaves from.
            now_ns: until it is known when.
            repeat: is told of each task that was probed before.

        Returns:
            (due,) the zone of each.
        """
        row: index
        task: index
        batch = self._batch
        zones = []
        for row in range(len(due)):
            pair = due[row]
            task = pair[0]
            if self._attempts[task]:
                repeat(task)
            batch.task[row] = task
            batch.source[row] = self._sources[self._hosts[task] * self._per_host + pair[1]]
            batch.attempt[row], batch.ttl[row], batch.size[row] = self._attempts[task], self._ttl, self._size
            self._attempts[task] += 1
            self._last_ns[task], self._frame[task] = now_ns, 0
            zones.append(self._zones[task])
        return zones

    def leave(self, count: int) -> None:
        """Count the first probes of the batch, which are crafted, as sent."""
        row: index
        task: index
        for row in range(count):
            task = self._batch.task[row]
            self._left[task] += 1
            self._left_bytes[task] += self._batch.length[row]

    def sent(self, count: int, sent_ns: i64) -> int:
        """The first probes of the batch left, as their sender says: bytes of all of them."""
        row: index
        task: index
        total: i64 = 0
        for row in range(count):
            task = self._batch.task[row]
            self._seen[task], self._last_ns[task] = 1, sent_ns
            total += self._batch.length[row]
        return total


def place(batch: Batch, rows: Sequence[int], pieces: views.u64s, base: u64) -> None:
    """Write where packets of a batch stand in memory: struct iovec of each.

    Args:
        batch: the packets.
        rows: which.
        pieces: two words for each.
        base: where the batch's packets begin.
    """
    at: index
    row: index
    for at in range(len(rows)):
        row = rows[at]
        pieces[2 * at] = base + row * batch.stride
        pieces[2 * at + 1] = batch.length[row]


def copy(batch: Batch, rows: Sequence[int], begin: index, size: index, room: views.u8s, at: index,
         step: index) -> None:
    """Copy a field out of the headers of some packets of a batch.

    Args:
        batch: the packets.
        rows: which.
        begin: where in a packet it stands.
        size: its bytes.
        room: where they go.
        at: where the first goes there.
        step: how far on the next.
    """
    number: index
    byte: index
    row: index
    for number in range(len(rows)):
        row = cython.cast(index, rows[number]) * batch.stride + begin
        for byte in range(size):
            room[at + byte] = batch.packets[row + byte]
        at += step
