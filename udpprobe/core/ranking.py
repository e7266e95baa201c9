"""The order of a report's rows, worst first; there may be millions, so none of them is a Python object.

A *subject* is what a row of the report is about: a destination, or a flow to one. What was *found* about it are rows of
the tables of findings and of loops; loops are numbered after all findings.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

from udpprobe.core.addresses import address_text, is_group
from udpprobe.core.table import Table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

NO_ERROR = 0
"""ICMP type of findings about answers from another host: no error has it, in either family."""

# Rows of `Findings.table`, of `Findings.loops`, of endpoints and of subjects, and places in them
_FINDING = cython.declare(cython.const[index], 17)
_KIND = cython.declare(cython.const[index], 4)
_COUNT = cython.declare(cython.const[index], 8)
_LAST_NS = cython.declare(cython.const[index], 10)
_LOOP = cython.declare(cython.const[index], 10)
_ENDPOINT = cython.declare(cython.const[index], 12)
_SENT = cython.declare(cython.const[index], 6)
_QUESTIONS = cython.declare(cython.const[index], 8)
_ANSWERED = cython.declare(cython.const[index], 9)
_SUBJECT = cython.declare(cython.const[index], 6)

# Sort keys of subjects: rank, and the complements of errors and of datagrams sent; then the name
_RANK = cython.declare(cython.const[index], 0)
_ERRORS = cython.declare(cython.const[index], 1)
_NAME = cython.declare(cython.const[index], 3)
_SHORT = cython.declare(cython.const[index], 2)  # words of text: 15 bytes at most for IPv4
_LONG = cython.declare(cython.const[index], 5)  # 39 for IPv6

_MATCHED = cython.declare(cython.const[u64], 1)
_ITSELF = cython.declare(cython.const[u64], 2)
_NO_PORT = cython.declare(cython.const[u64], 1 << 16)
_PORT = cython.declare(cython.const[u64], 0xFFFF)
_PORT_OR_NONE = cython.declare(cython.const[u64], 0x1FFFF)
_MASK64 = cython.declare(cython.const[u64], 0xFFFF_FFFF_FFFF_FFFF)
_MAPPED = cython.declare(cython.const[u64], 0xFFFF)
_EXPIRED = cython.declare(cython.const[u64], 4 << 16 | 11 << 8)
_EXPIRED_6 = cython.declare(cython.const[u64], 6 << 16 | 3 << 8)
_PORT_UNREACHABLE = cython.declare(cython.const[u64], 4 << 16 | 3 << 8 | 3)
_PORT_UNREACHABLE_6 = cython.declare(cython.const[u64], 6 << 16 | 1 << 8 | 4)


@cython.final
@cython.cclass
class Ranking:
    """The subjects of a report, by number; `sort` determines their order.

    Args:
        findings, loops: of `Findings`.
        endpoints: of `Conversations.totals`.
        by_flow: whether a subject is a flow.

    Attributes:
        subjects: per row: address and port; of a flow also the source's, else zeros.
        order: their numbers, worst first.
        endpoint_of: per subject, its row of endpoints; -1 if no datagram to it was captured.
        starts, found_rows: `found_rows[starts[n]:starts[n + 1]]` is what was found about subject n.
    """

    order: memoryview[int]
    endpoint_of: memoryview[int]
    starts: memoryview[int]
    found_rows: memoryview[int]
    _spare: memoryview[int]

    def __init__(self, findings: Table, loops: Table, endpoints: Table, *, by_flow: bool) -> None:
        self.findings, self.loops, self.endpoints, self.by_flow = findings, loops, endpoints, by_flow
        self.subjects = Table(_SUBJECT, _SUBJECT, memoryview(findings.secret))
        self._subject_of = _signed(findings.size + loops.size)
        self.starts, self.found_rows = _signed(1), _signed(0)
        self.endpoint_of, self.order, self._spare = _signed(0), _signed(0), _signed(0)
        self._keys = memoryview(bytearray(8)).cast("Q")
        self._key_words = 0

    def gather(self, *, with_answers: bool, with_healthy: bool) -> None:
        """Number the subjects: those with findings, and optionally all that were asked.

        Args:
            with_answers: whether answers from another host count as findings.
            with_healthy: whether to include destinations without findings.
        """
        row: index
        place: index
        at: index
        packed: u64
        size: index = self.findings.size
        table: Table = self.subjects
        for row in range(size):
            at = _FINDING * row
            packed = self.findings.words[at + _KIND]
            self._subject_of[row] = -1
            if packed & _MATCHED and (packed >> 28 & 0xFF or with_answers):
                table.reserve(1)
                self._put_subject(at)
                self._subject_of[row] = self._add_subject()
        for row in range(self.loops.size):
            table.reserve(1)
            for place in range(_SUBJECT):
                table.keys[place] = self.loops.words[_LOOP * row + place]
            self._subject_of[size + row] = self._add_subject()
        if with_healthy:
            for row in range(self.endpoints.size):
                if self.endpoints.words[_ENDPOINT * row + _QUESTIONS]:
                    table.reserve(1)
                    for place in range(_SUBJECT):
                        table.keys[place] = self.endpoints.words[_ENDPOINT * row + place]
                    self._add_subject()
        self._sort_found()
        self.endpoint_of = _signed(table.size)
        for row in range(table.size):
            for place in range(_SUBJECT):
                self.endpoints.keys[place] = table.words[_SUBJECT * row + place]
            self.endpoint_of[row] = self.endpoints.find(self.endpoints.hash(0), 0)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _put_subject(self, at: index) -> cython.int:
        """Write a finding's subject into `subjects.keys`."""
        self.subjects.keys[0], self.subjects.keys[1] = self.findings.words[at], self.findings.words[at + 1]
        self.subjects.keys[2] = self.findings.words[at + _KIND] >> 2 & _PORT_OR_NONE
        self.subjects.keys[3], self.subjects.keys[4] = self.findings.words[at + 6], self.findings.words[at + 7]
        self.subjects.keys[5] = self.findings.words[at + 5] & _PORT if self.by_flow else 0
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _add_subject(self) -> index:
        """The number of the subject in `subjects.keys`; there is room for it."""
        hash_: u64 = self.subjects.hash(0)
        number: index = self.subjects.find(hash_, 0)
        return self.subjects.add(hash_, 0) if number < 0 else number

    def _sort_found(self) -> None:
        """Sort the found rows by their subjects."""
        row: index
        number: index
        self.starts = _signed(self.subjects.size + 2)
        for row in range(len(self._subject_of)):
            if self._subject_of[row] >= 0:
                self.starts[self._subject_of[row] + 2] += 1
        for number in range(self.subjects.size):
            self.starts[number + 2] += self.starts[number + 1]
        self.found_rows = _signed(self.starts[self.subjects.size + 1])
        for row in range(len(self._subject_of)):
            number = self._subject_of[row]
            if number >= 0:
                self.found_rows[self.starts[number + 1]] = row
                self.starts[number + 1] += 1

    def found(self, number: index) -> list[int]:
        """What was found about a subject: rows of findings, ascending, then of loops, numbered after them."""
        rows: list[int] = []
        place: index
        for place in range(self.starts[number], self.starts[number + 1]):
            rows.append(self.found_rows[place])  # noqa: PERF401 - a comprehension's variable is no C integer
        return rows

    def subject(self, number: index) -> tuple[int, int, int, int, int, int]:
        """Address, port, source address, source port."""
        words, at = self.subjects.words, _SUBJECT * number
        return words[at], words[at + 1], words[at + 2], words[at + 3], words[at + 4], words[at + 5]

    def rank(self, number: index) -> int:
        """Rank of a subject's verdict."""
        return self._keys[self._key_words * number + _RANK]

    def errors(self, number: index) -> int:
        """Number of errors about a subject."""
        return _MASK64 - self._keys[self._key_words * number + _ERRORS]

    # ---- the order

    def sort(self, ranks: Mapping[int, int], are_loops: Collection[int], loop: int, answered: int, silent: int) -> None:
        """Sort subjects by worst verdict, most errors, most datagrams, then by the text of their addresses.

        Args:
            ranks: of a finding's verdict, by its `kind_of`; from `answered` on it has none.
            are_loops: findings that are errors of a routing loop.
            loop: rank of the verdict `loop`.
            answered: rank of the verdict `answered`.
            silent: rank of the verdict `silent`.
        """
        number: index
        size: index = self.subjects.size
        text_words: index = _SHORT
        for number in range(size):
            if self._is_long(_SUBJECT * number) or (self.by_flow and self._is_long(_SUBJECT * number + 3)):
                text_words = _LONG
                break
        self._key_words = _NAME + (2 if self.by_flow else 1) * (text_words + 1)
        self._keys = memoryview(bytearray(8 * max(self._key_words * size, 1))).cast("Q")
        for number in range(size):
            self._keys[self._key_words * number + _RANK] = answered
        self._rank_found(ranks, are_loops, loop)
        self._rank_rest(answered, silent)
        at: index
        subject: index
        for number in range(size):
            at, subject = self._key_words * number + _NAME, _SUBJECT * number
            self._put_name(at, text_words, subject)
            if self.by_flow:
                self._put_name(at + text_words + 1, text_words, subject + 3)
        self.order, self._spare = _signed(size), _signed(size)
        for number in range(size):
            self.order[number] = number
        width: index = 1
        while width < size:
            self._merge(width)
            self.order, self._spare = memoryview(self._spare), memoryview(self.order)
            width *= 2
        self._spare = _signed(0)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _is_long(self, at: index) -> cython.bint:
        """Whether the address at a place is IPv6."""
        return self.subjects.words[at] != 0 or self.subjects.words[at + 1] >> 32 != _MAPPED

    def _rank_found(self, ranks: Mapping[int, int], are_loops: Collection[int], loop: u64) -> None:
        """For each subject, the worst rank of its findings, and its errors."""
        row: index
        at: index
        flags = bytearray(self.findings.size)
        for each in are_loops:
            flags[each] = 1
        kind: u64
        known: u64 = _MASK64
        rank: u64 = 0
        for row in range(len(self._subject_of)):
            if self._subject_of[row] < 0:
                continue
            at = self._key_words * self._subject_of[row]
            if row >= self.findings.size:
                self._keys[at + _RANK] = min(self._keys[at + _RANK], loop)
                continue
            kind = kind_of(self.findings, row, flags[row])
            if kind != known:
                known, rank = kind, ranks[kind]
            self._keys[at + _RANK] = min(self._keys[at + _RANK], rank)
            if self.findings.words[_FINDING * row + _KIND] >> 28 & 0xFF:
                self._keys[at + _ERRORS] += self.findings.words[_FINDING * row + _COUNT]

    def _rank_rest(self, answered: u64, silent: u64) -> None:
        """Subjects without a finding that has a verdict: answered or silent. Most errors come first."""
        number: index
        at: index
        endpoint: index
        for number in range(self.subjects.size):
            at, endpoint = self._key_words * number, self.endpoint_of[number]
            if self._keys[at + _RANK] >= answered:
                has_answered: cython.bint = endpoint >= 0 and self.endpoints.words[_ENDPOINT * endpoint + _ANSWERED] > 0
                self._keys[at + _RANK] = answered if has_answered else silent
            self._keys[at + _ERRORS] = _MASK64 - self._keys[at + _ERRORS]
            self._keys[at + _ERRORS + 1] = _MASK64 - (
                self.endpoints.words[_ENDPOINT * endpoint + _SENT] if endpoint >= 0 else 0
            )

    def _put_name(self, at: index, text_words: index, subject: index) -> None:
        """Write an address and a port so that they compare as numbers in the order of their text."""
        text: bytes = address_text(self.subjects.words[subject], self.subjects.words[subject + 1]).encode()
        place: index
        for place in range(len(text)):
            self._keys[at + (place >> 3)] |= cython.cast(u64, text[place]) << 8 * (7 - (place & 7))
        port: u64 = self.subjects.words[subject + 2]
        self._keys[at + text_words] = port if port < _NO_PORT else 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _merge(self, width: index) -> cython.int:
        """Merge pairs of sorted runs of `width` into `_spare`; equal ones keep their order."""
        size: index = self.subjects.size
        begin: index = 0
        left: index
        right: index
        middle: index
        end: index
        place: index
        while begin < size:
            middle, end = min(begin + width, size), min(begin + 2 * width, size)
            left, right = begin, middle
            for place in range(begin, end):
                if left < middle and (right >= end or not self._is_before(self.order[right], self.order[left])):
                    self._spare[place] = self.order[left]
                    left += 1
                else:
                    self._spare[place] = self.order[right]
                    right += 1
            begin += 2 * width
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _is_before(self, one: index, other: index) -> cython.bint:
        """Whether a subject comes before another."""
        place: index
        at: index = self._key_words * one
        there: index = self._key_words * other
        for place in range(self._key_words):
            if self._keys[at + place] != self._keys[there + place]:
                return self._keys[at + place] < self._keys[there + place]
        return False


@cython.ccall
@cython.nogil
@cython.exceptval(0xFFFFFFFFFFFFFFFF, check=True)
def kind_of(findings: Table, row: index, is_loop: cython.bint) -> u64:
    """Everything a finding's verdict depends on: family << 19 | type << 11 | code << 3 and three flags.

    Flags: 4 if the destination itself reported it, 2 if it is an error of a routing loop, 1 if the destination is a
    group address.
    """
    at: index = _FINDING * row
    packed: u64 = findings.words[at + _KIND]
    group: u64 = 1 if is_group(findings.words[at], findings.words[at + 1]) else 0
    return packed >> 20 << 3 | (packed & _ITSELF) << 1 | (2 if is_loop else 0) | group


def expired(findings: Table, rows: Iterable[int] | None = None) -> list[int]:
    """Findings of matched errors about an expired TTL; of all, or of some."""
    found: list[int] = []
    row: index
    packed: u64
    for row in range(findings.size) if rows is None else rows:
        packed = findings.words[_FINDING * row + _KIND]
        if packed & _MATCHED and (packed >> 20 == _EXPIRED or packed >> 20 == _EXPIRED_6):
            found.append(row)
    return found


def reported_by(findings: Table, hosts: Collection[tuple[int, ...]], rows: Iterable[int] | None = None) -> list[int]:
    """Findings of other matched errors that some hosts reported about themselves; of all, or of some."""
    found: list[int] = []
    row: index
    packed: u64
    for row in range(findings.size) if rows is None else rows:
        packed = findings.words[_FINDING * row + _KIND]
        if (
            packed & _MATCHED
            and packed & _ITSELF
            and packed >> 20 != _EXPIRED
            and packed >> 20 != _EXPIRED_6
            and (findings.words[_FINDING * row], findings.words[_FINDING * row + 1]) in hosts
        ):
            found.append(row)
    return found


def refusals(findings: Table) -> Table:
    """By host, the number of datagrams it refused itself, and the (stored) time of the last one."""
    hosts: Table = Table(4, 2, memoryview(findings.secret))
    row: index
    at: index
    here: index
    hash_: u64
    packed: u64
    for row in range(findings.size):
        at = _FINDING * row
        packed = findings.words[at + _KIND]
        if packed & _ITSELF and (packed >> 20 == _PORT_UNREACHABLE or packed >> 20 == _PORT_UNREACHABLE_6):
            hosts.reserve(1)
            hosts.keys[0], hosts.keys[1] = findings.words[at], findings.words[at + 1]
            hash_ = hosts.hash(0)
            here = hosts.find(hash_, 0)
            if here < 0:
                here = hosts.add(hash_, 0)
            hosts.words[4 * here + 2] += findings.words[at + _COUNT]
            hosts.words[4 * here + 3] = max(hosts.words[4 * here + 3], findings.words[at + _LAST_NS])
    return hosts


def _signed(count: int) -> memoryview:
    return memoryview(bytearray(8 * max(count, 1))).cast("q")[:count]
