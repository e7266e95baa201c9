"""Probes on their way out, hundreds at once: the queue, their numbers, and what is recorded of each."""

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
class Queue:
    """Tasks that wait to be probed.

    Args:
        hosts: (tasks,) the host of each.
        per_host: number of source addresses that a host's probes alternate between.
        attempts: (tasks,) probes made.
        state: (tasks,) 0 while the task is open.
        again: (tasks,) tasks to probe although they are settled.
        last_ns: (hosts,) when one of the host's tasks was last taken.
    """

    def __init__(
        self,
        hosts: array[int],
        per_host: index,
        attempts: array[int],
        state: bytearray,
        again: bytearray,
        last_ns: array[int],
    ) -> None:
        self._hosts, self._attempts, self._state, self._again = hosts, attempts, state, again
        self._last_ns, self._per_host = last_ns, per_host
        self.size = 0
        """Tasks that wait."""
        self.of_host = array("I", bytes(4 * len(last_ns)))
        """(hosts,) waiting tasks of each."""
        self._lists: list[array[int]] = []
        self._list, self._at = array("I"), 0
        """The list to take from, and the position of its next task."""
        self._is_taken = bytearray(len(hosts))

    def put(self, tasks: array[int]) -> None:
        """Append tasks ("I") to the queue; the list is not copied."""
        row: index
        waiting: views.u32s = tasks
        for row in range(len(tasks)):
            self.of_host[self._hosts[waiting[row]]] += 1
        self.size += len(tasks)
        self._lists.append(tasks)

    def take(self, room: index, now_ns: i64) -> tuple[list[tuple[int, int]], list[int]]:
        """Take the next tasks.

        Returns:
            The tasks still to be probed, each once, with the index of the host's source address to send from; and the
            hosts that have no waiting task left.
        """
        task: index
        host: index
        due: list[tuple[int, int]] = []
        ended: list[int] = []
        while room > 0 and self.size > 0:
            if self._at == len(self._list):
                self._list, self._at = self._lists.pop(0), 0
                continue
            task = self._list[self._at]
            host = self._hosts[task]
            self._at += 1
            self.size -= 1
            room -= 1
            if (self._state[task] == 0 or self._again[task]) and self._is_taken[task] == 0:
                self._is_taken[task] = 1
                due.append((task, (self._attempts[task] + task) % self._per_host))
                self._last_ns[host] = now_ns
            self.of_host[host] -= 1
            if self.of_host[host] == 0:
                ended.append(host)
        for task, _ in due:
            self._is_taken[task] = 0
        return due, ended


def in_turn(tasks: array[int], starts: array[int]) -> array[int]:
    """The tasks of all hosts in turn: the first of each, then the second of each, and so on.

    Args:
        tasks: sorted by host ("I").
        starts: (hosts + 1,) where each host's tasks begin ("I").
    """
    if len(starts) <= 2:
        return tasks
    found = array("I", bytes(4 * len(tasks)))
    remaining = array("I", range(len(starts) - 1))
    sorted_: views.u32s = tasks
    begins: views.u32s = starts
    order: views.u32s = found
    hosts: views.u32s = remaining
    count: index = len(remaining)
    at: index = 0
    rank: index = 0
    place: index
    kept: index
    host: index
    while count:
        kept = 0
        for place in range(count):
            host = hosts[place]
            if begins[host] + rank < begins[host + 1]:
                order[at] = sorted_[begins[host] + rank]
                at += 1
                hosts[kept] = host
                kept += 1
        count = kept
        rank += 1
    return found


def counts(numbers: array[int], size: int) -> array[int]:
    """How often each number below `size` is among some ("I")."""
    row: index
    found = array("I", bytes(4 * size))
    some: views.u32s = numbers
    count: views.u32s = found
    for row in range(len(some)):
        count[some[row]] += 1
    return found


def firsts(numbers: array[int], size: int) -> array[int]:
    """Where among some ("I") each number below `size` first is; 0 where it isn't."""
    row: index
    found = array("I", bytes(4 * size))
    some: views.u32s = numbers
    first: views.u32s = found
    for row in range(len(some) - 1, -1, -1):
        first[some[row]] = row
    return found


def values_at(values: views.const_u8s, places: array[int]) -> bytearray:
    """The values at some places ("I")."""
    row: index
    found = bytearray(len(places))
    some: views.u32s = places
    value: views.u8s = found
    for row in range(len(some)):
        value[row] = values[some[row]]
    return found


@cython.final
@cython.cclass
class Departures:
    """Numbers the probes of a batch, and counts those that were sent.

    Args:
        batch: filled in.
        ttl: TTL of the probes.
        size: shorter probes are padded to so many bytes of the IP packet.
        hosts: (tasks,) the host of each.
        sources: (hosts * k,) indices of the prober's addresses that each host's probes come from.
        zones: (tasks,) interface index of a link-local address, else 0.
        attempts, sent, sent_bytes: (tasks,) probes made, probes sent, and the bytes of these.
        last_ns, frame: (tasks,) when the last one was sent, and the frame that shows it; 0 for none.
        seen: (tasks,) whether one was confirmed as sent.
    """

    def __init__(  # noqa: PLR0913 - columns
        self,
        batch: Batch,
        *,
        ttl: int,
        size: int,
        hosts: array[int],
        sources: array[int],
        zones: array[int],
        attempts: array[int],
        sent: array[int],
        sent_bytes: array[int],
        last_ns: array[int],
        frame: array[int],
        seen: bytearray,
    ) -> None:
        self._batch, self._ttl, self._size = batch, ttl, size
        self._hosts, self._sources, self._zones = hosts, sources, zones
        self._per_host: index = len(sources) // max(max(hosts, default=0) + 1, 1)
        self._attempts, self._sent, self._sent_bytes = attempts, sent, sent_bytes
        self._last_ns, self._frame, self._seen = last_ns, frame, seen

    def number(self, due: Sequence[tuple[int, int]], now_ns: int, repeat: Callable[[int], None]) -> list[int]:
        """Fill in task, source and attempt of each probe of the batch, one more attempt of each task.

        Args:
            due: tasks, each with the index of the host's source address to send from.
            now_ns: taken as the send time until the real one is known.
            repeat: called with each task that was probed before.

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

    def count_sent(self, count: int) -> int:
        """Count the first `count` probes of the batch, crafted already, as sent; return their total bytes."""
        row: index
        task: index
        total: i64 = 0
        for row in range(count):
            task = self._batch.task[row]
            self._sent[task] += 1
            self._sent_bytes[task] += self._batch.length[row]
            total += self._batch.length[row]
        return total

    def set_sent_ns(self, rows: array[int], sent_ns: i64) -> None:
        """Record the time at which some probes ("I") of the batch are sent."""
        at: index
        task: index
        which: views.u32s = rows
        for at in range(len(which)):
            task = self._batch.task[which[at]]
            self._seen[task], self._last_ns[task] = 1, sent_ns


def place(batch: Batch, rows: array[int], pieces: views.u64s, base: u64) -> None:
    """Write the address and length of each packet of a batch in memory, as a struct iovec.

    Args:
        batch: the packets.
        rows: which of them ("I").
        pieces: two words for each.
        base: address of the batch's first packet.
    """
    at: index
    row: index
    which: views.u32s = rows
    for at in range(len(which)):
        row = which[at]
        pieces[2 * at] = base + row * batch.stride
        pieces[2 * at + 1] = batch.length[row]


def copy(batch: Batch, rows: array[int], begin: index, size: index, room: views.u8s, at: index, step: index) -> None:
    """Copy one header field out of some packets of a batch.

    Args:
        batch: the packets.
        rows: which of them ("I").
        begin: offset of the field in a packet.
        size: bytes of the field.
        room: destination buffer.
        at: offset in it for the first packet.
        step: distance to the next.
    """
    number: index
    byte: index
    row: index
    which: views.u32s = rows
    for number in range(len(which)):
        row = cython.cast(index, which[number]) * batch.stride + begin
        for byte in range(size):
            room[at + byte] = batch.packets[row + byte]
        at += step
