"""Tables that fit a width without breaking a word: an address must survive being copied."""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

from udpprobe.reports.text import NO_BREAK

_GAP = 2
"""Blanks that tabulate sets between columns."""
_HEADER_PADDING = 2
"""Blanks that it sets behind a header."""
_LEAST = 30
"""Columns of text below which wrapped prose is no longer pleasant to read."""


@dataclass(frozen=True, slots=True)
class Layout:
    """One way to show the same rows."""

    headers: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    """Cells; one may have several lines."""
    elastic: int
    """The column that is wrapped to what the others leave."""


def table(layouts: tuple[Layout, ...], width: int) -> str:
    """The first layout that fits, else the last.

    Args:
        layouts: the nicest first, the narrowest last; only words longer than its room overflow that one.
        width: columns of the screen.
    """
    fitting = (layout for layout in layouts if _fits(layout, width))
    return _draw(next(fitting, layouts[-1]), width)


def markdown(layout: Layout) -> str:
    """The layout as a table of GitHub's Markdown, never wrapped."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in layout.rows]
    return _tabulate(rows, layout, "pipe")


def _room(layout: Layout, width: int) -> int:
    others = [column for column in range(len(layout.headers)) if column != layout.elastic]
    return width - sum(_width(layout, column) + _GAP for column in others)


def _width(layout: Layout, column: int) -> int:
    lines = (len(line) for row in layout.rows for line in row[column].split("\n"))
    return max(len(layout.headers[column]) + _HEADER_PADDING, *lines)


def _fits(layout: Layout, width: int) -> bool:
    words = [len(word) for row in layout.rows for word in re.split(r"[ \n]+", row[layout.elastic])]
    needed = max((len(layout.headers[layout.elastic]) + _HEADER_PADDING, *words))
    return max(needed, min(_LEAST, _width(layout, layout.elastic))) <= _room(layout, width)


def _draw(layout: Layout, width: int) -> str:
    room = max(_room(layout, width), 1)
    rows = [
        [wrap(cell, room) if column == layout.elastic else cell for column, cell in enumerate(row)]
        for row in layout.rows
    ]
    return _tabulate(rows, layout, "simple")


def _tabulate(rows: list[list[str]], layout: Layout, style: str) -> str:
    from tabulate import tabulate  # noqa: PLC0415 - 20 ms that JSON need not wait for

    text = tabulate(rows, layout.headers, tablefmt=style, disable_numparse=True, preserve_whitespace=True)
    return text.replace(NO_BREAK, " ")


def wrap(text: str, width: int) -> str:
    """Every line wrapped at blanks only, its indentation kept."""
    return "\n".join(_wrap_line(line, width) for line in text.split("\n"))


def _wrap_line(line: str, width: int) -> str:
    indent = line[: len(line) - len(line.lstrip())]
    return textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False,
                         break_on_hyphens=False)
