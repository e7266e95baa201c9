"""Walking headers: many packets at once, one layer a step.

Every packet has a cursor and a `kind`, the header that stands there. A step takes all packets of one kind and
hands them to that kind's handler, which reads the header, moves the cursor and names the next kind. What has
no handler ends there. Nothing raises: a header that is short or wrong becomes a `fault` by name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from udpprobe.core.batch import I64, U8, U64, Bool
from udpprobe.core.runs import distinct, is_among

LINK, ETHER, IP, PPP, OTHER = (space << 16 for space in range(1, 6))
"""Name spaces of kinds: LINKTYPE_ values, EtherTypes, IP protocols, PPP protocols, and our own."""

LLC = OTHER | 1
RAW_IP = OTHER | 2
MPLS = OTHER | 3
VXLAN, GENEVE, GTP_U = OTHER | 4, OTHER | 5, OTHER | 6
LATER_FRAGMENT = OTHER | 7
FAULTY = OTHER | 8

MAX_LAYERS = 40
"""Steps a packet may take; a real one needs about ten, a crafted one does not get to keep us busy."""

Handler = Callable[["Walk", I64], None]


class Walk:
    """`n` packets being walked; every column has one element a packet."""

    def __init__(  # noqa: PLR0913 - the columns a walk starts with
            self, data: U8, cursor: I64, end: I64, kind: I64, *, cut: Bool, quoted: bool = False) -> None:
        """Start at `cursor` with headers of `kind`; `end` is where the captured bytes end.

        Args:
            data: bytes all packets lie in, with PADDING_BYTES behind the last.
            cursor: (n,) where each packet starts; not changed.
            end: (n,) one past its last captured byte.
            kind: (n,) what stands at the cursor.
            cut: (n,) whether the packet went on past `end` on the wire.
            quoted: a quote's length fields may lie, and do not end it.
        """
        n = len(cursor)
        self.data, self.cut, self.quoted = data, cut, quoted
        self.cursor, self.end, self.kind = cursor.copy(), end.copy(), kind.copy()
        self.family, self.ttl, self.ip_id, self.ip_length, self.depth = (np.zeros(n, np.int64) for _ in range(5))
        self.ip_start = cursor.copy()
        self.fragment_id = np.full(n, -1, np.int64)
        self.protocol = np.zeros(n, np.int64)
        self.first_fragment = np.zeros(n, np.bool_)
        self.source_high, self.source_low, self.destination_high, self.destination_low = (
            np.zeros(n, np.uint64) for _ in range(4))
        self.fault = np.zeros(n, np.int64)
        self.fault_names: list[str] = [""]

    def run(self, handlers: Mapping[int, Handler], rows: I64) -> None:
        """Walk `rows` until none has a handler."""
        for _ in range(MAX_LAYERS):
            before = self.kind[rows]
            there = distinct(before)
            kinds = [kind for kind in there if kind in handlers]
            if not kinds:
                return
            if len(kinds) < len(there):
                rows = rows[is_among(before, kinds)]
                before = self.kind[rows]
            self.kind[rows] = 0  # what its handler does not pass on ends here
            for kind in kinds:
                handlers[kind](self, rows[before == kind])
        self.fail(rows, "too-many-headers")

    def fail(self, rows: I64, name: str) -> None:
        """End these packets with a fault."""
        if len(rows) == 0:
            return
        if name not in self.fault_names:
            self.fault_names.append(name)
        self.fault[rows] = self.fault_names.index(name)
        self.kind[rows] = FAULTY

    def need(self, rows: I64, size: I64 | int, header: str) -> Bool:
        """Whether `size` bytes are there for each packet; those where not end with a fault."""
        there = self.end[rows] - self.cursor[rows] >= size
        if not there.all():
            cut = self.cut[rows]
            self.fail(rows[~there & cut], f"cut-{header}")
            self.fail(rows[~there & ~cut], f"short-{header}")
        return there

    def check(self, rows: I64, right: Bool, fault: str) -> Bool:
        """Fail the packets that are not `right`; `right` again."""
        self.fail(rows[~right], fault)
        return right

    def skip(self, rows: I64, size: I64 | int, kind: I64 | int) -> None:
        """Behind a header of `size` bytes comes one of `kind`."""
        self.cursor[rows] += size
        self.kind[rows] = kind

    def __len__(self) -> int:
        return len(self.cursor)

    def _read(self, rows: I64, at: I64 | int, dtype: str) -> npt.NDArray[Any]:
        """A field `at` bytes behind each cursor, as a gather from a view in which every byte starts one."""
        size = int(dtype[-1])
        fields = np.ndarray((max(self.data.size - size + 1, 0),), dtype, self.data, strides=(1,))
        return fields[self.cursor[rows] + at]

    def u8(self, rows: I64, at: I64 | int = 0) -> I64:
        """The byte `at` bytes behind the cursor."""
        return self.data[self.cursor[rows] + at].astype(np.int64)

    def u16(self, rows: I64, at: I64 | int = 0) -> I64:
        """Two bytes, big-endian."""
        return self._read(rows, at, ">u2").astype(np.int64)

    def u32(self, rows: I64, at: I64 | int = 0) -> I64:
        """Four bytes, big-endian."""
        return self._read(rows, at, ">u4").astype(np.int64)

    def u64(self, rows: I64, at: I64 | int = 0) -> U64:
        """Eight bytes, big-endian."""
        return self._read(rows, at, ">u8").astype(np.uint64)

    def fault_counts(self) -> Counter[str]:
        """How many packets ended with each fault."""
        counts = np.bincount(self.fault, minlength=len(self.fault_names)).tolist()
        return Counter({name: count for name, count in zip(self.fault_names, counts, strict=True)
                        if name and count})
