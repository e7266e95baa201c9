"""The text of a report's destinations, most of which are alike.

One row of each shape is written with marks in place of its values; `core.stencils` fills in the values of each row.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from udpprobe.core.advice import sentence
from udpprobe.core.model import REFUSED, Alike, Destination, Parts, Spread
from udpprobe.core.stencils import Columns, Filler, Stencil
from udpprobe.endpoints import endpoint_text
from udpprobe.report import ReportRows, Shaped

ROWS_AT_A_TIME = 1024
"""Of a report; their text is a megabyte."""
MOST_SHAPES = 4096
"""Of rows, whose text is kept; a capture may be made to have a million."""

Write = Callable[[Iterable[Destination]], Iterator[str]]
Draw = Callable[[Destination], Stencil]


def texts_of(rows: Sequence[Destination], write: Write, draw: Draw) -> Iterator[str]:
    """The text of all destinations in pieces, the same as if each had been written by itself.

    Args:
        rows: in their order.
        write: makes text of some.
        draw: makes a stencil of one that has marks in the place of some values.
    """
    if isinstance(rows, Parts):
        yield from _of_parts(rows, write, draw)
    elif isinstance(rows, ReportRows) and rows.shaped is not None:
        yield from _of_shaped(rows, rows.shaped, write, draw)
    else:
        yield from write(rows)


def _of_parts(rows: Parts, write: Write, draw: Draw) -> Iterator[str]:
    for is_alike, some in groupby(rows.parts(), lambda part: isinstance(part, Alike)):
        parts: Any = some
        if is_alike:
            for part in parts:
                yield from _of_alike(part, draw(_marked(part)))
        else:
            yield from write(parts)


def _of_alike(some: Alike, stencil: Stencil) -> Iterator[str]:
    filler, columns = Filler(), Columns(*some.columns)
    for first in range(0, len(some.tasks), ROWS_AT_A_TIME):
        filler.fill_alike(stencil, some.tasks[first : first + ROWS_AT_A_TIME], columns)
        yield filler.take()


def _marked(some: Alike) -> Destination:
    """One of them, with the marks of `Filler.fill_alike`."""
    (finding,) = some.template.findings
    address, rtt = "<a:0>" if finding.family == 6 else "<a0>", "<m5>"
    marks: dict[str, Any] = {
        "reporter": address,
        "rtt_ms": Spread(rtt, rtt, rtt),  # type: ignore[arg-type]  # a mark is text
        "first_time_ns": "<t4>",
        "last_time_ns": "<t4>",
    }
    of_row: dict[str, Any] = {
        "address": address,
        "port": "<n2>",
        "sent_bytes": "<n3>",
        "findings": (replace(finding, **marks),),
        "advice": sentence(REFUSED, [endpoint_text(address, "<n2>")]),  # type: ignore[arg-type]  # likewise
    }
    return replace(some.template, **of_row)


def _of_shaped(rows: ReportRows[Destination], shaped: Shaped, write: Write, draw: Draw) -> Iterator[str]:
    filler, stencils = Filler(), dict[Hashable, Stencil]()
    for first in range(0, len(rows), ROWS_AT_A_TIME):
        for number in rows.order[first : first + ROWS_AT_A_TIME]:
            shape = shaped.shape(number)
            stencil = stencils.get(shape)
            if stencil is None:
                if shape is None or len(stencils) >= MOST_SHAPES:
                    for text in write((rows.make(number),)):
                        filler.put(text.encode())
                    continue
                stencil = stencils[shape] = draw(shaped.sample(number))
            shaped.put_values(number, filler)
            filler.fill(stencil)
        yield filler.take()
