"""Conversations as they are remembered: a row from the first datagram until nothing is heard for a while."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I8, I64, U64
from udpprobe.core.growing import Table, column
from udpprobe.core.keys import Numbering
from udpprobe.core.lookup import Bitmap
from udpprobe.core.runs import starts_of_runs

QUIET_FRAMES = 1 << 20
"""What was not heard of for so many frames is over. Frames, not seconds: whatever clocks do, so much is remembered."""
NEVER = 1 << 62

U16 = npt.NDArray[np.uint16]


@dataclass(init=False)
class Open(Table):
    """A conversation a row; columns of two are by direction, 0 from the endpoint with the lesser key."""

    key: U64 = column(np.uint64)
    to: U64 = column(np.uint64, 2)
    """Key of the endpoint that each direction's datagrams go to; the next three are its address and port."""
    high: U64 = column(np.uint64, 2)
    low: U64 = column(np.uint64, 2)
    port: U16 = column(np.uint16, 2)
    sent: I64 = column(np.int64, 2)
    sent_bytes: I64 = column(np.int64, 2)
    """What the endpoints do not know yet."""
    asking: I8 = column(np.int8)
    """Direction of the requests: the first datagram's, unless that answered from another port."""
    is_open: I8 = column(np.int8)
    """1 while it is not known whether it began here, or answers what may not have begun here: then nor is `asking`."""
    first: I64 = column(np.int64)
    """Frame of the first datagram; the next two are its time and direction."""
    first_ns: I64 = column(np.int64)
    first_direction: I8 = column(np.int8)
    last: I64 = column(np.int64)
    """The same of the last datagram."""
    last_ns: I64 = column(np.int64)
    last_direction: I8 = column(np.int8)
    asked: U64 = column(np.uint64)
    """Key of the first datagram's source and of the host it was sent to, whatever the port."""
    both: I64 = column(np.int64)
    """Frame of the first datagram the other way, `NEVER` without one."""
    other_port: I64 = column(np.int64)
    """Port that the first answer came from if it was another one, else 0."""
    folded_sent: I64 = column(np.int64, 2)
    """What of `sent` and of the answers the endpoints know already."""
    folded_answered: I64 = column(np.int64)


class Episodes:
    """Rows of `open` by the keys of conversations; of several with one key, that which began last goes on."""

    def __init__(self) -> None:
        self.open = Open()
        self._start()

    def _start(self) -> None:
        self._numbers = Numbering()
        self._row = np.zeros(0, np.int64)
        """By number of the key."""
        self.asked = Bitmap()
        """All that is `asked`."""

    def __getstate__(self) -> dict[str, Any]:
        """What is pickled: not what follows from the rest, megabytes even where there is hardly a conversation."""
        return {name: value for name, value in vars(self).items() if name != "asked"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """What was pickled, and what follows from it."""
        vars(self).update(state)
        self.asked = Bitmap(self.open.asked[:self.open.size])

    def rows_of(self, key: U64, frame: I64) -> tuple[I64, I64]:
        """Where datagrams go, and which of them begin a conversation.

        Args:
            key: (n,) of their conversations.
            frame: (n,) in which each stands, ascending among those of one key.

        Returns:
            (n,) rows of `open`; and which datagrams are the first ones of new rows, in their order.
        """
        number, new = self._numbers.add(key)
        rows = self.open.extend(len(new))
        if len(new):
            self._row = np.concatenate([self._row, np.arange(rows.start, rows.stop)])
            self.open.last[rows] = frame[new]
        row = number if self.open.size == len(self._numbers) else self._row.take(number)
        quiet = self.open.last[:self.open.size] < frame.max(initial=0) - QUIET_FRAMES
        some = np.flatnonzero(quiet.take(row))
        if len(some) == 0:
            return row, new
        row, more = self._begin_anew(number, row.copy(), frame, some)
        return row, np.sort(np.concatenate([new, more]))

    def _begin_anew(self, number: I64, row: I64, frame: I64, some: I64) -> tuple[I64, I64]:
        """Move what comes after a conversation was over to new rows; which datagrams are the first ones of those.

        Args:
            number: (n,) of the key of each datagram.
            row: (n,) where it would go; changed.
            frame: (n,) in which it stands.
            some: datagrams, all of any conversation that may be over by then.
        """
        some = some[np.argsort(number[some], kind="stable")]
        start = starts_of_runs(number[some])
        before = np.roll(frame[some], 1)
        before[start] = self.open.last[row[some[start]]]
        begins = frame[some] - before > QUIET_FRAMES
        count = np.cumsum(begins)
        earlier: I64 = np.repeat((count - begins)[start], np.diff(np.append(start, len(some))))
        new = self.open.extend(int(begins.sum()))
        moved = count > earlier
        row[some[moved]] = new.start + count[moved] - 1
        self._row[number[some]] = row[some]
        self.open.last[new] = frame[some[begins]]
        return row, some[begins]

    def ongoing(self, key: U64, frame: I64) -> I64:
        """(n,) the row that a datagram of each conversation in that frame would go to, -1 for a new one."""
        number = self._numbers.find(key)
        row = np.append(self._row, -1)[number]
        known = np.flatnonzero(row >= 0)
        row[known[frame[known] - self.open.last[row[known]] > QUIET_FRAMES]] = -1
        return row

    def add(self, columns: dict[str, npt.NDArray[Any]]) -> I64:
        """Add rows, those of one key in the order in which they began; where they are."""
        new = self.open.extend(len(columns["key"]))
        for name, values in columns.items():
            getattr(self.open, name)[new] = values
        rows = np.arange(new.start, new.stop)
        self._find_by_key(rows)
        return rows

    def keep(self, rows: I64) -> None:
        """Forget all rows but these, ascending; they are numbered anew, in their order."""
        for name, values in self.open.columns().items():
            setattr(self.open, name, values[rows])
        self.open.size = len(rows)
        self._start()
        self._find_by_key(np.arange(len(rows)))

    def _find_by_key(self, rows: I64) -> None:
        number, first = self._numbers.add(self.open.key[rows])
        self._row = np.concatenate([self._row, np.zeros(len(first), np.int64)])
        self._row[number] = rows
        self.asked.add(self.open.asked[rows])
