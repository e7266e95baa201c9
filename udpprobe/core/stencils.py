"""Text of rows that are alike: one row is written with marks, and each row's values are filled in at these.

A mark is `<`, a letter for the kind of value, the value's place in `Filler.words`, `>`:

    a  an address in two words, as text; `<a:0>` if it is known to be IPv6
    n  a number        t  a time + 2^63 ns, as RFC 3339        m  milliseconds, given in nanoseconds

Reports of a million rows need this: a row takes half a microsecond, and no Python object.
"""

from __future__ import annotations

import re
from array import array
from datetime import UTC, datetime, timedelta
from functools import lru_cache

try:
    import cython
    from cython import Py_ssize_t as index
    from cython import ulonglong as u64
except ImportError:
    from udpprobe.core._uncompiled import cython, index, u64

from udpprobe.core import views
from udpprobe.core.addresses import address_text
from udpprobe.core.findings import BIAS_NS

WORDS = 32
"""Most values of one row."""

MINUTE_NS = 60_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MARK = re.compile(r"<([anmt]):?(\d+)>")
_QUOTED = re.compile(r'"(<[nm]\d+>)"')
_ADDRESS = cython.declare(cython.const[u64], ord("a"))
_NUMBER = cython.declare(cython.const[u64], ord("n"))
_TIME = cython.declare(cython.const[u64], ord("t"))
_MS = cython.declare(cython.const[u64], ord("m"))
_BIAS = cython.declare(cython.const[u64], 1 << 63)  # same as `findings.BIAS_NS`
_MINUTE_NS = cython.declare(cython.const[u64], 60_000_000_000)
_MAPPED = cython.declare(cython.const[u64], 0xFFFF)
_MINUTE_BYTES = cython.declare(cython.const[index], 17)  # 1970-01-01T00:00:
_LEAST_ROOM = cython.declare(cython.const[index], 1 << 16)
_EXPONENT_NS = cython.declare(cython.const[u64], 100)  # Python writes fewer ns than this, in ms, with an exponent
_SLACK = cython.declare(cython.const[index], 64)  # more digits than any value has


def rfc3339(time_ns: int) -> str:
    """Nanoseconds since 1970 as RFC 3339, UTC, nine decimals."""
    minutes, rest_ns = divmod(time_ns, MINUTE_NS)
    digits = str(rest_ns + 100_000_000_000)  # always 12 digits: a 1, two for seconds, nine for nanoseconds
    return f"{_minute(minutes)}{digits[1:3]}.{digits[3:]}Z"


@lru_cache(1 << 12)
def _minute(minutes: int) -> str:
    return (_EPOCH + timedelta(minutes=minutes)).replace(tzinfo=None).isoformat()[:17]


def rounded(ms: float) -> float:
    """`round(ms, 6)` in half the time."""
    scaled = ms * 1e6
    whole = round(scaled)
    # The product is inexact. That is harmless if it is not near a half, and if its last bit is far below one.
    return whole / 1e6 if -0.49 < scaled - whole < 0.49 and scaled < 1e13 else round(ms, 6)


@cython.final
@cython.cclass
class Stencil:
    """The text that all rows of one shape share.

    Args:
        text: one row in ASCII, with marks.
        is_json: whether to strip the quotes around a mark of a number. A JSON encoder writes a mark only as a string.
    """

    ends: memoryview[int]
    kinds: memoryview[int]
    places: memoryview[int]
    bytes: memoryview[int]

    def __init__(self, text: str, *, is_json: bool) -> None:
        pieces = _MARK.split(_QUOTED.sub(r"\1", text) if is_json else text)
        self.text = "".join(pieces[::3]).encode()
        self.size = len(pieces[::3])
        self.ends = memoryview(bytearray(8 * self.size)).cast("q")
        self.kinds = memoryview(bytearray(8 * self.size)).cast("Q")
        self.places = memoryview(bytearray(8 * self.size)).cast("q")
        end: index = 0
        number: index
        for number, piece in enumerate(pieces[::3]):
            end += len(piece.encode())
            self.ends[number] = end
        for number, kind in enumerate(pieces[1::3]):
            self.kinds[number] = ord("j" if is_json and kind == "m" else kind)
            self.places[number] = int(pieces[3 * number + 2])
        self.bytes = memoryview(self.text)


@cython.final
@cython.cclass
class Columns:
    """(tasks,) the values that differ between the rows of tasks with the same outcome.

    Args:
        high, low: upper and lower half of the address.
        port: UDP port.
        sent_bytes: length of the one probe.
        time_ns: when the one error arrived.
        rtt_ns: from the probe to the error.
    """

    def __init__(
        self,
        high: array[int],
        low: array[int],
        port: array[int],
        sent_bytes: array[int],
        time_ns: array[int],
        rtt_ns: array[int],
    ) -> None:
        self.high, self.low, self.port = high, low, port
        self.sent_bytes, self.time_ns, self.rtt_ns = sent_bytes, time_ns, rtt_ns


def ends_of_hosts(tasks: array[int], high: array[int], low: array[int]) -> list[int]:
    """Where each run of tasks ("I") of one address ends; its halves are columns of all tasks ("Q")."""
    row: index
    some: views.u32s = tasks
    highs: views.u64s = memoryview(high)
    lows: views.u64s = memoryview(low)
    ends = []
    for row in range(1, len(some)):
        if lows[some[row]] != lows[some[row - 1]] or highs[some[row]] != highs[some[row - 1]]:
            ends.append(row)  # noqa: PERF401 - in a comprehension, `row` would be an object
    return [*ends, len(tasks)] if tasks else []


@cython.final
@cython.cclass
class Filler:
    """Writes rows one after another.

    Attributes:
        words: values of the next row.
    """

    words: memoryview[int]
    _memory: memoryview[int]

    def __init__(self) -> None:
        self.words = memoryview(bytearray(8 * WORDS)).cast("Q")
        self._memory = memoryview(bytearray(_LEAST_ROOM))
        self._room, self._size = _LEAST_ROOM, 0
        self._minute, self._minute_begin = b"", 0

    def take(self) -> str:
        """Return the text written since the last call; ASCII."""
        text = bytes(memoryview(self._memory)[: self._size]).decode()
        self._size = 0
        return text

    def put(self, text: bytes) -> None:
        """Write `text` as it is."""
        size: index = len(text)
        self._reserve(size)
        memoryview(self._memory)[self._size : self._size + size] = text
        self._size += size

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _reserve(self, size: index) -> cython.int:
        if self._size + size > self._room:
            room: index = 2 * (self._size + size)
            more = memoryview(bytearray(room))
            more[: self._size] = memoryview(self._memory)[: self._size]
            self._memory, self._room = more, room
        return 0

    def fill_alike(self, stencil: Stencil, tasks: views.u32s, alike: Columns) -> None:
        """Write a row for each task. Words 0 to 5 are the task's values in `Columns`, in the order of its fields."""
        row: index
        task: index
        for row in range(len(tasks)):
            task = tasks[row]
            self.words[0], self.words[1], self.words[2] = alike.high[task], alike.low[task], alike.port[task]
            self.words[3], self.words[4] = alike.sent_bytes[task], alike.time_ns[task] + _BIAS
            self.words[5] = alike.rtt_ns[task]
            self.fill(stencil)

    @cython.ccall
    @cython.exceptval(-1, check=False)
    def fill(self, stencil: Stencil) -> cython.int:
        """Write a row: the stencil with `words` filled in."""
        number: index
        place: index
        at: index
        end: index = 0
        shift: index
        self._reserve(len(stencil.bytes) + _SLACK * stencil.size)  # nothing below may move the memory
        # Reading the attribute for each byte takes five times as long; once for each piece, a third longer.
        memory: views.u8s = self._memory
        text: views.const_u8s = stencil.bytes
        for number in range(stencil.size):
            shift = self._size - end
            for at in range(end, stencil.ends[number]):
                memory[at + shift] = text[at]
            end = stencil.ends[number]
            self._size = end + shift
            kind: u64 = stencil.kinds[number]
            place = stencil.places[number]
            if kind == 0:
                pass  # end of the stencil
            elif kind == _ADDRESS:
                self._put_address(self.words[place], self.words[place + 1])
            elif kind == _TIME:
                self._put_time(self.words[place])
            elif kind == _MS and 0 < self.words[place] < _EXPONENT_NS:
                self.put(repr(int(self.words[place]) / 1e6).encode())
            elif kind == _NUMBER:
                self._put_number(self.words[place], 0)
            else:
                self._put_ms(self.words[place])
        return 0

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _put_number(self, number: u64, digits: index) -> cython.int:
        """Write a number with at least `digits` digits."""
        count: index = 1
        remaining: u64 = number // 10
        while remaining or count < digits:
            remaining //= 10
            count += 1
        place: index
        remaining = number
        for place in range(self._size + count - 1, self._size - 1, -1):
            self._memory[place] = 48 + remaining % 10
            remaining //= 10
        self._size += count
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _put_address(self, high: u64, low: u64) -> cython.int:
        if high or low >> 32 != _MAPPED:
            self.put(address_text(high, low).encode())
            return 0
        shift: cython.int
        for shift in range(24, -8, -8):
            self._put_number(low >> shift & 255, 0)
            self._put_byte(46)
        self._size -= 1
        return 0

    @cython.cfunc
    @cython.exceptval(-1, check=False)
    def _put_time(self, biased_ns: u64) -> cython.int:
        place: index
        # a million findings share a few minutes, but hardly any share a nanosecond
        if not self._minute or biased_ns < self._minute_begin or biased_ns - self._minute_begin >= _MINUTE_NS:
            if biased_ns < _MINUTE_NS:
                self.put(rfc3339(biased_ns - BIAS_NS).encode())  # the minute began before the earliest biased time
                return 0
            minutes, rest = divmod(biased_ns - BIAS_NS, MINUTE_NS)
            self._minute, self._minute_begin = _minute(minutes).encode(), biased_ns - rest
        for place in range(_MINUTE_BYTES):
            self._put_byte(self._minute[place])
        rest_ns: u64 = biased_ns - self._minute_begin
        self._put_number(rest_ns // 1_000_000_000, 2)
        self._put_byte(46)
        self._put_number(rest_ns % 1_000_000_000, 9)
        return self._put_byte(90)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _put_ms(self, ns: u64) -> cython.int:
        """Write milliseconds as JSON and Python write a float: with the fewest digits that identify it."""
        if 0 < ns < 10:
            self._put_number(ns, 0)
            self._put_byte(101)
            self._put_byte(45)
            self._put_byte(54)
            return 0
        self._put_number(ns // 1_000_000, 0)
        self._put_byte(46)
        ns %= 1_000_000
        digits: index = 6
        while digits > 1 and ns % 10 == 0:
            ns //= 10
            digits -= 1
        return self._put_number(ns, digits)

    @cython.cfunc
    @cython.nogil
    @cython.exceptval(-1, check=False)
    def _put_byte(self, byte: u64) -> cython.int:
        self._memory[self._size] = byte
        self._size += 1
        return 0
