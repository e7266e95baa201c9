"""Pictures for the HTML report, as SVG: bars, rings, ladders and ribbons.

Colours are CSS classes defined in the page's style sheet, because the strict Content-Security-Policy forbids `style`
attributes. All text is escaped by `text_of`. Each picture has a title and a description for people who cannot see it,
and the page has a table with the same numbers.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Iterable, Sequence
from math import cos, log10, pi, sin

from udpprobe.reports.text import count, duration, escape

WIDTH = 720
"""Width of a picture in SVG units; text is 13 units high."""
RING = 460
LINE, THICKEST = 22, 40
NAMED = 46
"""Most characters of a name that a picture shows."""


def text_of(text: str) -> str:
    """Escape untrusted text for HTML and SVG, also inside quoted attributes."""
    return html.escape(escape(text))


def picture(name: str, title: str, description: str, height: float, shapes: Iterable[str], width: float = WIDTH) -> str:
    """A complete `<svg>` element.

    Args:
        name: its id, unique on the page.
        title: what it shows, in a few words.
        description: what can be read from it, in a sentence, for screen readers.
        height: in units.
        shapes: SVG elements.
        width: in units; a smaller width than usual suits a phone.
    """
    kind = ' class="narrow"' if width < WIDTH else ""
    return (
        f'<svg viewBox="0 0 {_n(width)} {_n(height)}" role="img" aria-labelledby="{name}-t {name}-d" id="{name}"'
        f"{kind}>"
        f'<title id="{name}-t">{text_of(title)}</title><desc id="{name}-d">{text_of(description)}</desc>'
        f"{''.join(shapes)}</svg>"
    )


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def word(x: float, y: float, text: str, kind: str = "", anchor: str = "start", most: int = NAMED) -> str:
    """A text. A long one is shortened in the middle, with the full text as its tooltip."""
    shown = text if len(text) <= most else f"{text[: most // 2]}…{text[-most // 2 + 1 :]}"
    title = "" if shown == text else f"<title>{text_of(text)}</title>"
    kinds = f' class="{text_of(kind)}"' if kind else ""
    return f'<text x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}"{kinds}>{text_of(shown)}{title}</text>'


def box(x: float, y: float, width: float, height: float, kind: str, title: str = "") -> str:
    """A filled rectangle."""
    inside = f"<title>{text_of(title)}</title>" if title else ""
    return (
        f'<rect x="{_n(x)}" y="{_n(y)}" width="{_n(max(width, 0))}" height="{_n(max(height, 0))}" '
        f'class="{text_of(kind)}">{inside}</rect>'
    )


def line(x1: float, y1: float, x2: float, y2: float, kind: str = "axis") -> str:
    """A straight line."""
    return f'<line x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}" class="{text_of(kind)}"/>'


def dot(x: float, y: float, radius: float, kind: str) -> str:
    """A filled circle."""
    return f'<circle cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}" class="{text_of(kind)}"/>'


# ---- over time


def over_time(bins: Sequence[Sequence[int]], kinds: Sequence[str], ends: tuple[str, str], description: str) -> str:
    """Stacked bars: how many errors of each kind in each of several equal spans of time.

    Args:
        bins: for each span, the number of errors of each kind.
        kinds: CSS classes, from the bottom of the stack upwards.
        ends: the first and the last time, as text.
        description: see `picture`.
    """
    height, left, top = 200, 46, 12
    most = max(map(sum, bins), default=0) or 1
    wide, scale = (WIDTH - left) / len(bins), (height - 34 - top) / most
    bottom = height - 34
    shapes = [
        line(left, bottom, WIDTH, bottom),
        line(left, top, WIDTH, top, "grid"),
        word(left - 6, top + 5, count(most), "small", "end"),
        word(left - 6, bottom, "0", "small", "end"),
        word(left, height - 16, ends[0], "small"),
        word(WIDTH, height - 16, ends[1], "small", "end"),
    ]
    shapes.append('<g id="bars">')
    for place, numbers in enumerate(bins):
        y = float(bottom)
        for kind, number in zip(kinds, numbers, strict=True):
            if number:
                y -= number * scale
                shapes.append(
                    box(left + place * wide, y, max(wide - 0.7, 0.8), number * scale, kind, f"{number} {kind}")
                )
    shapes.append("</g>")
    return picture("time", "ICMP errors over time", description, height, shapes)


# ---- a loop


def ring(name: str, routers: Sequence[str | None], period: int | None, description: str) -> str:
    """The routers of a loop in a circle; unknown ones are drawn empty.

    Args:
        name: see `picture`.
        routers: in the order of hops, as far as known; None for a router that never replied.
        period: the number of hops in the loop; None if unknown.
        description: see `picture`.
    """
    size = period or max(len(routers), 1)
    places = [*routers[:size], *([None] * (size - len(routers)))][:24]
    radius, height = 78, 232
    x0, y0 = RING / 2, height / 2
    turn = [-pi / 2 + 2 * pi * place / max(len(places), 1) for place in range(len(places))]
    shapes = [
        f'<circle cx="{_n(x0)}" cy="{_n(y0)}" r="{radius}" class="way"/>',
        word(x0, y0 - 2, f"loop of {period}" if period else "loop", "strong", "middle"),
        word(x0, y0 + 16, "hops" if period else "of unknown length", "small", "middle"),
    ]
    for angle, router in zip(turn, places, strict=True):
        x, y = x0 + radius * cos(angle), y0 + radius * sin(angle)
        half = angle + pi / max(len(places), 1)
        shapes.append(_arrow(x0 + radius * cos(half), y0 + radius * sin(half), half + pi / 2))
        shapes.append(dot(x, y, 8, "loop" if router else "unknown"))
        side = cos(angle)
        anchor = "start" if side > 0.01 else "end" if side < -0.01 else "middle"
        shift = 15 if side > 0.01 else -15 if side < -0.01 else 0
        lift = (-15 if sin(angle) < 0 else 24) if not shift else 4
        shapes.append(word(x + shift, y + lift, router or "silent router", "" if router else "small", anchor, 20))
    return picture(name, "A routing loop", description, height, shapes, RING)


def _arrow(x: float, y: float, angle: float) -> str:
    points = " ".join(f"{_n(x + 7 * cos(angle + turn))},{_n(y + 7 * sin(angle + turn))}" for turn in (0, 2.5, -2.5))
    return f'<polygon points="{points}" class="arrow"/>'


# ---- a path


def hops(rows: Sequence[tuple[str, str, float, tuple[float, float, float] | None, str]], description: str) -> str:
    """The hops of a path from top to bottom, each with its loss and its RTT.

    Args:
        rows: for each hop: its number, its name (empty if silent), the share of probes without a reply,
            the least, median and largest RTT in ms, and a CSS class for its dot.
        description: see `picture`.
    """
    top, step, start, end = 34, 30, 440, WIDTH - 10
    most_ms = max((rtt[2] for *_, rtt, _ in rows if rtt), default=0) or 1
    scale = (end - start - 60) / most_ms
    shapes = [
        word(30, 16, "hop, router", "small"),
        word(start, 16, f"RTT, 0 to {duration(most_ms)}", "small"),
        word(start - 14, 16, "no reply", "small", "end"),
    ]
    if len(rows) > 1:
        shapes.append(line(14, top + 8, 14, top + 8 + step * (len(rows) - 1), "way"))
    for place, (number, name, loss, rtt, kind) in enumerate(rows):
        y = top + 8 + place * step
        shapes += [
            dot(14, y, 7, kind),
            word(30, y + 5, number, "strong"),
            word(60, y + 5, name or "no reply", "" if name else "small"),
        ]
        if loss:
            shapes.append(word(start - 14, y + 5, f"{loss:.0%}", "strong", "end"))
        if rtt:
            least, median, largest = (start + each * scale for each in rtt)
            shapes += [
                box(least, y - 5, max(largest - least, 2), 10, "range"),
                box(median - 1.5, y - 8, 3, 16, "mark"),
                word(largest + 8, y + 5, duration(rtt[1]), "small"),
            ]
    return picture("stations", "The path, hop by hop", description, top + step * len(rows) + 8, shapes)


# ---- sizes


def ladder(rungs: Sequence[tuple[int, str, str]], description: str) -> str:
    """Packet sizes, the largest on top, each with its outcome.

    Args:
        rungs: size in bytes, the outcome in words, and a CSS class.
        description: see `picture`.
    """
    most = max((size for size, *_ in rungs), default=1)
    shapes = []
    for place, (size, said, kind) in enumerate(rungs):
        y = 8 + place * 46
        shapes += [word(0, y + 13, f"{size} bytes: {said}", most=100), box(0, y + 20, WIDTH * size / most, 12, kind)]
    return picture("ladder", "Packet sizes and their outcome", description, 46 * len(rungs) + 8, shapes)


# ---- reporters and destinations


def ribbons(pairs: Sequence[tuple[str, str, int, str]], description: str) -> str:
    """Reporters on the left, destinations on the right, and a ribbon for each pair.

    Args:
        pairs: reporter, destination, number of errors, and a CSS class.
        description: see `picture`.
    """
    totals: list[Counter[str]] = [Counter(), Counter()]
    for reporter, destination, number, _ in pairs:
        totals[0][reporter] += number
        totals[1][destination] += number
    most = max((number for side in totals for number in side.values()), default=1)
    thick = [max(THICKEST * number / most, 1.5) for _, _, number, _ in pairs]
    at: list[dict[str, float]] = [{}, {}]
    shapes = [word(250, 14, "reporter", "small", "end"), word(470, 14, "about", "small")]
    bottom = 24.0
    for side, (x, anchor) in enumerate(((250, "end"), (470, "start"))):
        y = 24.0
        for name in totals[side]:
            stack = sum(each for each, pair in zip(thick, pairs, strict=True) if pair[side] == name)
            room = max(LINE, stack + 6)
            at[side][name] = y + (room - stack) / 2
            shapes.append(word(x, y + room / 2 + 4, name, "", anchor, 34))
            y += room
        bottom = max(bottom, y)
    for (reporter, destination, number, kind), width in zip(pairs, thick, strict=True):
        y1, y2 = at[0][reporter] + width / 2, at[1][destination] + width / 2
        at[0][reporter] += width
        at[1][destination] += width
        shapes.append(
            f'<path d="M258 {_n(y1)}C360 {_n(y1)} 360 {_n(y2)} 462 {_n(y2)}" class="ribbon {text_of(kind)}" '
            f'stroke-width="{_n(width)}"><title>'
            f"{text_of(f'{reporter} about {destination}: {number} {kind}')}</title></path>"
        )
    return picture("flows", "Who reports errors about whom", description, bottom + 10, shapes)


# ---- a distribution


def spread(values_ms: Sequence[float], description: str) -> str:
    """A histogram of durations, with three bins per decade.

    Args:
        values_ms: at least one, in milliseconds.
        description: see `picture`.
    """
    steps = [round(log10(max(each, 0.001)) * 3) for each in values_ms]
    low, high = min(steps), max(*steps, min(steps) + 3)
    numbers = [steps.count(step) for step in range(low, high + 1)]
    height, left = 190, 46
    most, wide, bottom = max(numbers), (WIDTH - left) / len(numbers), height - 38
    shapes = [
        line(left, bottom, WIDTH, bottom),
        word(left - 6, 18, count(most), "small", "end"),
        word(left - 6, bottom, "0", "small", "end"),
    ]
    every = max(round(len(numbers) / 6), 1)
    for place, number in enumerate(numbers):
        tall = (bottom - 12) * number / most
        middle_ms = 10 ** ((low + place) / 3)
        shapes.append(
            box(
                left + place * wide + 2,
                bottom - tall,
                wide - 4,
                tall,
                "range",
                f"{number} of about {duration(middle_ms)}",
            )
        )
        if place % every == 0:
            shapes.append(word(left + (place + 0.5) * wide, height - 18, duration(middle_ms), "small", "middle"))
    return picture("rtt", "Round-trip times", description, height, shapes)
