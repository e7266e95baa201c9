"""The text of a report's destinations, most of which differ only in a few values.

One row of each shape is written with marks in place of its values; `core.stencils` fills in the values of each row.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any

from msgspec.structs import replace

from udpprobe.core.advice import sentence
from udpprobe.core.model import REFUSED, Alike, AlikeColumns, Destination, Parts, ReportRows, Shaped, Spread
from udpprobe.core.stencils import Columns, Filler, Stencil
from udpprobe.endpoints import endpoint_text

ROWS_AT_A_TIME = 1024
"""Rows of a report that are written at a time; their text takes about a megabyte."""
MOST_SHAPES = 4096
"""Most shapes of rows whose text is kept. A crafted capture may have a million of them."""

Write = Callable[[Iterable[Destination]], Iterator[str]]
Draw = Callable[[Destination], Stencil]


def texts_of(rows: Sequence[Destination], write: Write, draw: Draw) -> Iterator[str]:
    """The text of all destinations in chunks, the same as if `write` had written each one.

    Args:
        rows: in the order in which they are written.
        write: returns the text of some destinations.
        draw: returns the stencil of a destination that has marks in place of some values.
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
    """One of the rows with marks for its values. `Filler.fill_alike` fills them in the order of `AlikeColumns`."""
    place = AlikeColumns._fields.index
    (finding,) = some.template.findings
    address = f"<a:{place('high')}>" if finding.family == 6 else f"<a{place('high')}>"
    port, time, rtt = f"<n{place('port')}>", f"<t{place('time_ns')}>", f"<m{place('rtt_ns')}>"
    marks: dict[str, Any] = {
        "reporter": address,
        "rtt_ms": Spread(rtt, rtt, rtt),  # type: ignore[arg-type]  # a mark is text
        "first_time_ns": time,
        "last_time_ns": time,
    }
    of_row: dict[str, Any] = {
        "address": address,
        "port": port,
        "sent_bytes": f"<n{place('sent_bytes')}>",
        "findings": (replace(finding, **marks),),
        "advice": sentence(REFUSED, [endpoint_text(address, port)]),  # type: ignore[arg-type]  # a mark is text
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
