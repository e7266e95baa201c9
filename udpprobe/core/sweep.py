"""Takes the ordinary refusals out of a ring's block, all at once: none of them becomes a Python object.

A refusal is ordinary if nothing is left to weigh: the probed host itself reports port unreachable; every field of the
quote, as far as it reaches, is that of the task's only probe; the task has no other reply; and the host's rate limit is
not being measured. It is marked in columns, as `Replies`, `ScanRecord` and `Pacing` would do. All other frames are
returned, to be handled one by one.
"""

from __future__ import annotations

from array import array

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import longlong as i64
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, i64, index, u64

from udpprobe.core import views
from udpprobe.core.believer import Believer
from udpprobe.core.capture import Records
from udpprobe.core.decode import Decoder
from udpprobe.core.directory import Directory
from udpprobe.core.headers import FAULTS
from udpprobe.core.probe import Prober, QuotedProbe, Tasks

_FRAME = cython.declare(cython.const[cython.int], 0)  # capture.FRAME
_BELIEVED = cython.declare(cython.const[cython.int], 2)  # believer.BELIEVED
_REFUSED_4 = cython.declare(cython.const[u64], 0x4_0303)
_REFUSED_6 = cython.declare(cython.const[u64], 0x6_0104)
"""Family, type and code of port unreachable."""
_AROUND = cython.declare(cython.const[u64], 0xFFFF_0008)
"""Bits of `Rows.outer`: a tunnel of the other family around what is quoted."""
_FAULTS = cython.declare(index, len(FAULTS))

RestFrame = tuple[int, bytes, int, int]
"""A returned frame: time, bytes captured, length on the wire, LINKTYPE_ value."""


@cython.final
@cython.cclass
class Refusals:
    """(tasks,) the ordinary refusal of each.

    Columns:
        came_ns: arrival time; 0 for none.
        took_ns: time since its probe was sent; -1 if unknown.
        length: bytes of that probe's IP packet.
        mark: what tells this error from others of its kind.
    """

    def __init__(self, tasks: int) -> None:
        self.came_ns = array("q", bytes(8 * tasks))
        self.took_ns = array("q", bytes(8 * tasks))
        self.length = array("I", bytes(4 * tasks))
        self.mark = array("Q", bytes(8 * tasks))


def families_of_alike(refusals: Refusals, sent: array[int], hosts: array[int], families: views.const_u8s) -> bytearray:
    """(tasks,) the family of those whose only probe was refused as usual, after a known time; 0 of the others.

    Args:
        refusals: of the tasks.
        sent: (tasks,) probes sent ("I").
        hosts: (tasks,) the host of each ("I").
        families: (hosts,) 4 or 6; 0 for those of which none is like another.
    """
    task: index
    found = bytearray(len(sent))
    family: views.u8s = found
    came_ns: views.i64s = memoryview(refusals.came_ns)
    took_ns: views.i64s = memoryview(refusals.took_ns)
    sent_of: views.u32s = sent
    host: views.u32s = hosts
    for task in range(len(sent_of)):
        if came_ns[task] != 0 and took_ns[task] >= 0 and sent_of[task] == 1:
            family[task] = families[host[task]]
    return found


def divided(tasks: array[int], marks: views.const_u8s) -> tuple[array[int], array[int]]:
    """Those of some tasks ("I") that are marked in (tasks,) marks, and the others."""
    row: index
    marked: index = 0
    others: index = 0
    some: views.u32s = tasks
    with_mark = array("I", bytes(4 * len(tasks)))
    without = array("I", bytes(4 * len(tasks)))
    to: views.u32s = with_mark
    rest: views.u32s = without
    for row in range(len(some)):
        if marks[some[row]]:
            to[marked] = some[row]
            marked += 1
        else:
            rest[others] = some[row]
            others += 1
    return with_mark[:marked], without[:others]


def runs(values: views.const_u8s) -> list[int]:
    """Where each run of equal values ends."""
    row: index
    ends = []
    for row in range(1, len(values)):
        if values[row] != values[row - 1]:
            ends.append(row)  # noqa: PERF401 - in a comprehension, `row` would be an object
    return [*ends, len(values)] if len(values) else []


@cython.final
@cython.cclass
class Sweep:
    """Takes the ordinary refusals out of blocks.

    Args:
        prober, tasks, directory, believer: those of the scan.
        size: probes are padded to so many bytes.
        hosts: (tasks,) the host of each.
        requested_count: number of tasks without the controls.
        sources: (hosts * k,) indices of the prober's addresses that each host's probes come from.
        attempts, sent, sent_ns: (tasks,) probes made, probes sent, and when the last one was.
        state: (tasks,) 0 (undecided), which becomes 1 (replied).
        undecided_of: (hosts,) undecided tasks of each.
        has_reply: (tasks,) whether anything arrived.
        refusals: where the result goes.
        watched: (hosts,) hosts whose errors are handled one by one.
        drew_error, refusal_count, error_task, error_origin: (hosts,) as in `Pacing`; the origin of a host's own refusal
            is 0 in IPv4, 1 in IPv6.
        rtt_ns, hit_ns: (hosts,) and (hosts * k,) as in `Pacing`.
        header_bits, header_bits_of_host, uneven: (tasks,), (hosts,) and (hosts,) as in `HeaderTraits`.
    """

    _waiting: list[int]

    def __init__(  # noqa: PLR0913 - columns
        self,
        prober: Prober,
        tasks: Tasks,
        directory: Directory,
        believer: Believer,
        *,
        size: int,
        hosts: array[int],
        requested_count: int,
        sources: array[int],
        attempts: array[int],
        sent: array[int],
        sent_ns: array[int],
        state: bytearray,
        undecided_of: array[int],
        has_reply: bytearray,
        refusals: Refusals,
        watched: bytearray,
        drew_error: bytearray,
        refusal_count: array[int],
        error_task: array[int],
        error_origin: array[int],
        rtt_ns: array[int],
        hit_ns: array[int],
        header_bits: array[int],
        header_bits_of_host: array[int],
        uneven: bytearray,
    ) -> None:
        self._prober, self._tasks, self._directory, self._believer = prober, tasks, directory, believer
        self._size, self._requested_count = size, requested_count
        self._hosts, self._sources = hosts, sources
        self._per_host = len(sources) // max(len(drew_error), 1)
        self._attempts, self._sent, self._sent_ns = attempts, sent, sent_ns
        self._state, self._undecided_of, self._has_reply = state, undecided_of, has_reply
        self._came_ns, self._took_ns = memoryview(refusals.came_ns), memoryview(refusals.took_ns)
        self._length, self._mark = memoryview(refusals.length), memoryview(refusals.mark)
        self._watched, self._drew_error, self._refusal_count = watched, drew_error, refusal_count
        self._error_task, self._error_origin, self._rtt_ns, self._hit_ns = error_task, error_origin, rtt_ns, hit_ns
        self._header_bits, self._header_bits_of_host, self._uneven = header_bits, header_bits_of_host, uneven
        self._decoder = Decoder(64, keeps_messages=True)
        self._decoder.quote.closed = True
        self._rows = self._decoder.rows
        self._quoted = QuotedProbe(self._decoder.messages)
        self._waits, self._waiting = bytearray(len(hosts)), []
        """(tasks,) tasks with a returned frame that the caller has not handled yet; and their numbers."""
        self._fault_count = -1
        """Faults of the decoder so far; -1 if unknown."""
        self.taken, self.count = array("I", bytes(4 * len(hosts))), 0
        """The tasks that were taken, in that order, and their number."""
        self.new_hosts, self.new_host_count = array("I", bytes(4 * len(drew_error))), 0
        """The hosts that had drawn no error before, and their number."""
        self.settled = 0
        """Tasks that were undecided, without the controls."""
        self.bytes = self.first_ns = self.last_ns = 0
        """Of all frames taken: bytes on the wire, time of the first and of the last."""

    def take(self, records: Records, block: bytes, since_ns: int, *, is_first: bool) -> list[RestFrame]:
        """Mark the ordinary refusals of a block, and return the other frames.

        Args:
            records: walks the block.
            block: as `Records.take_block` expects it.
            since_ns: lower bound of the frames' times; an earlier time is raised to it.
            is_first: whether the caller has handled all frames returned before.
        """
        rest: list[RestFrame] = []
        task: index
        since: i64 = since_ns
        is_alone: cython.bint = is_first
        is_found: cython.bint
        if is_first:
            for task in self._waiting:
                self._waits[task] = 0
            self._waiting.clear()
        records.take_block(block)
        self._decoder.load(block)
        self._faults()
        while True:
            with cython.nogil:  # meanwhile the next probes are sent
                is_found = self._run(records, since, is_alone)
            if not is_found:
                return rest
            rest.append(
                (records.time_ns, block[records.at : records.at + records.captured], records.length, records.link_type)
            )
            self._return_later()
            is_alone = False

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _run(self, records: Records, since_ns: i64, is_first: cython.bint) -> cython.bint:
        """Mark the refusals up to the next frame that is no ordinary one; whether there is one."""
        task: index
        while records.next() == _FRAME:
            task = self._ordinary(records, is_first)
            if task < 0:
                return True
            self._take(task, max(records.time_ns, since_ns), records.length)
        return False

    @cython.cfunc
    def _return_later(self) -> cython.void:
        """Return later frames for a returned frame's tasks as well, so that they are handled in order of arrival."""
        row: index
        for row in range(self._rows.size):
            self._wait(
                self._directory.find(
                    self._rows.destination_high[row],
                    self._rows.destination_low[row],
                    cython.cast(index, self._rows.ports[row] & 0xFFFF),
                )
            )
            self._wait(
                self._directory.find(
                    self._rows.source_high[row],
                    self._rows.source_low[row],
                    cython.cast(index, self._rows.ports[row] >> 16),
                )
            )

    @cython.cfunc
    def _wait(self, task: index) -> cython.void:
        if task >= 0 and self._waits[task] == 0:
            self._waits[task] = 1
            self._waiting.append(task)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _ordinary(self, records: Records, is_first: cython.bint) -> index:
        """The task that the frame refuses in the ordinary way; -1 for every other frame."""
        self._rows.size = self._decoder.messages_end = 0
        self._decoder.frame(
            records.at, records.captured, records.length, records.time_ns, records.link_type, records.frame
        )
        task: index = self._task_of(records) if self._rows.size == 1 and self._rows.is_error[0] else -1
        if task < 0 or self._proves(task, is_first) == 0 or self._faults() != self._fault_count:
            self._fault_count = -1  # the frame will be decoded again, and its faults are counted then
            return -1
        return task

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _task_of(self, records: Records) -> index:
        """The task that an error is about if it is undecided, probed once, and its own host sent the error; else -1."""
        is_v4: cython.bint = self._rows.kind[0] == _REFUSED_4
        if not (is_v4 or self._rows.kind[0] == _REFUSED_6) or (
            self._rows.notes[0] or records.captured != records.length
        ):
            return -1
        if self._rows.detail[0] & 3 or self._rows.outer[0] & _AROUND:
            return -1
        if self._rows.reporter_high[0] != self._rows.destination_high[0] or (
            self._rows.reporter_low[0] != self._rows.destination_low[0]
        ):
            return -1
        task: index = self._directory.find(
            self._rows.destination_high[0],
            self._rows.destination_low[0],
            cython.cast(index, self._rows.ports[0] & 0xFFFF),
        )
        if (
            task < 0
            or self._attempts[task] != 1
            or self._sent[task] == 0
            or self._sent_ns[task] <= 0
            or (self._state[task] != 0 or self._has_reply[task] != 0 or self._waits[task] != 0)
        ):
            return -1
        host: index = self._hosts[task]
        if self._watched[host] or (self._drew_error[host] and self._error_origin[host] != (0 if is_v4 else 1)):
            return -1
        return task

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _proves(self, task: index, is_first: cython.bint) -> cython.bint:
        """Whether the quote is of the task's probe, and believed. If so, `_prober` holds that probe."""
        detail: u64 = self._rows.detail[0]
        header: index = 28 if self._rows.kind[0] == _REFUSED_4 else 48
        begin: index = self._rows.message[0] + 8
        end: index = min(begin + self._rows.quoted_bytes[0], self._rows.message_end[0])
        self._quoted.source_high, self._quoted.source_low = self._rows.source_high[0], self._rows.source_low[0]
        self._quoted.destination_high = self._rows.destination_high[0]
        self._quoted.destination_low = self._rows.destination_low[0]
        self._quoted.source_port = cython.cast(i64, self._rows.ports[0] >> 16)
        self._quoted.port = cython.cast(i64, self._rows.ports[0] & 0xFFFF)
        self._quoted.udp_length = cython.cast(i64, detail >> 32 & 0xFFFF)
        self._quoted.checksum = cython.cast(i64, detail >> 16 & 0xFFFF)
        self._quoted.begin, self._quoted.payload_at, self._quoted.payload_end = begin, min(begin + header, end), end
        if header == 28:
            self._quoted.ident = cython.cast(i64, detail >> 48)
        else:
            self._quoted.ident = self._decoder.headers.u32(self._decoder.headers.at + 8) & 0xFFFFF
        if self._prober.search(self._quoted, self._tasks, task, 1, self._size) != 0 or self._prober.changed:
            return False
        if self._quoted.source_port != self._prober.source_port or self._source(task) < 0:
            return False
        if not is_first and not self._believer.is_proof(self._prober.agree, self._prober.shared):
            return False  # a frame returned before may be a miss, which lowers what this one proves
        return self._believer.alone(task, self._prober.agree, self._prober.shared, 0) == _BELIEVED

    @cython.cfunc
    @cython.inline
    @cython.nogil
    @cython.exceptval(-2, check=False)
    def _source(self, task: index) -> index:
        """Which of the host's source addresses the current probe was sent from."""
        first: index = self._hosts[task] * self._per_host
        source: index
        for source in range(self._per_host):
            if self._sources[first + source] == self._prober.source:
                return source
        return -1

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _faults(self) -> i64:
        """The decoder's faults so far; sets `_fault_count` if that is unknown."""
        count: i64 = 0
        place: index
        for place in range(_FAULTS):
            count += self._decoder.faults[place] + self._decoder.quote_faults[place]
        if self._fault_count < 0:
            self._fault_count = count
        return count

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _take(self, task: index, time_ns: i64, length: i64) -> cython.int:
        """Mark the refusal of a task, whose probe `_prober` holds."""
        host: index = self._hosts[task]
        outer: u64 = self._rows.outer[0]
        is_v4: cython.bint = self._rows.kind[0] == _REFUSED_4
        sent_ns: i64 = self._sent_ns[task]
        place: index = host * self._per_host + self._source(task)
        if self._drew_error[host] == 0:
            self._drew_error[host], self._error_origin[host] = 1, 0 if is_v4 else 1
            self.new_hosts[self.new_host_count] = host
            self.new_host_count += 1
        self._error_task[host] = task
        self._refusal_count[host] += 1
        self._rtt_ns[host] = max(self._rtt_ns[host], time_ns - sent_ns)
        self._hit_ns[place] = max(self._hit_ns[place], sent_ns)
        self._has_reply[task] = 1
        if task < self._requested_count:
            self._state[task] = 1
            self._undecided_of[host] -= 1
            self.settled += 1
        self._came_ns[task] = time_ns
        self._took_ns[task] = time_ns - sent_ns if time_ns >= sent_ns else -1
        self._length[task] = self._prober.length
        self._mark[task] = self._prober.mark_of(self._quoted, outer >> 48)
        header_bits: index = cython.cast(index, outer >> 8 & 0xFF) << 3 | (0 if is_v4 else 4)
        header_bits |= (2 if outer & 4 else 0) | (0 if outer >> 48 else 1)
        self._header_bits[task] = header_bits
        if self._header_bits_of_host[host] < 0:
            self._header_bits_of_host[host] = header_bits
        elif self._header_bits_of_host[host] != header_bits:
            self._uneven[host] = 1
        self.taken[self.count] = task
        self.count += 1
        self.bytes += length
        self.first_ns = time_ns if self.count == 1 else min(self.first_ns, time_ns)
        self.last_ns = max(self.last_ns, time_ns)
        return 0
