"""The live screen of `trace --watch`: statistics over all rounds, changes, and a line of keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from msgspec import Struct

from udpprobe.reports.text import PLAIN, Style, coloured, count, escape, local, wrap, zone_name
from udpprobe.reports.trace import change_lines, change_words, conclusion, folded, target_of
from udpprobe.tracing.model import NO_REPORTER, Change, Hop, HopStatistics, TraceReport

KEYS, MORE_KEYS = "q quit  p pause  r reset  n names  ? help", "q quit  p pause  r reset  n names  Tab next  ? help"
NO_KEYS = "Ctrl-C stops it"
TIMES = ("last", "avg", "best", "worst", "sdev", "jitter")
HEADER = f"{'loss%':>5} {'sent':>5} {'last':>5} {'avg':>5} {'best':>5} {'worst':>5} {'sdev':>5} {'jitter':>6}"
TIMES_AT = HEADER.index("last") - 1
"""Where the RTT columns begin."""
LEAST_ROUTER, LEAST_HISTORY, MOST_HISTORY = 15, 8, 60
"""Widths in characters. An IPv4 address takes 15."""
HISTORY_FACTORS = (1.2, 1.5, 2, 3, 5, 10, 30)
"""Steps of the history strip: a reply is one level higher for each of these multiples of the best RTT it exceeds."""
LEVELS, ASCII_LEVELS, NO_REPLY = "▁▂▃▄▅▆▇█", "12345678", "?"
LEAST_EVENTS, MOST_EVENTS = 3, 100
TARGET_HEADER = f"{'verdict':<11} {'hops':>4} {'loss%':>5} {'last':>5} {'avg':>5} {'worst':>5} {'changes':>7}"
TARGETS_SHOWN = 3
"""Targets take at most one in this many lines of the screen."""
HELP = """\
loss%   probes without a reply that no limit on the router's replies explains
sent    probes in all rounds since the start, or since r
last, avg, best, worst   round-trip times in ms
sdev    standard deviation of the RTTs
jitter  as RTP has it (RFC 3550): how much one RTT differs from the next
history the last probes, the latest one at the right: {lowest} near the best RTT,
        {highest} thirty times that or more, {lost} no reply
+1, *   another router also replies at this hop; no reply from any

q       quit, and print statistics and all changes
p       pause: finish the round and begin no other; p again continues
r       reset the statistics and the list of changes
n       names of routers instead of addresses, or addresses again
Tab     the next of several targets (also: its digit, arrows); the list
        has loss and RTTs of each one's last hop
?       this help, or the hops again
"""


class View(Struct, frozen=True):
    """Everything the screen shows."""

    report: TraceReport
    """Includes the statistics of all rounds."""
    now_ns: int
    number: int = 1
    """The number of the current round, or of the last one."""
    state: str = "running"
    """The state of the trace in a few words."""
    has_names: bool = False
    has_help: bool = False
    has_keys: bool = True
    is_ascii: bool = False
    """Whether the terminal has no block characters."""
    targets: tuple[TraceReport | None, ...] = ()
    """All targets if there are several, including the one of `report`; None for one without results yet."""
    chosen: int = 0
    """The index of `report` in `targets`."""


def trace_screen(view: View, width: int, height: int, style: Style = PLAIN) -> str:
    """Exactly `height` lines of at most `width` columns."""
    report = view.report
    clock = f"round {view.number}  {_clock(view.now_ns, view.now_ns, style)} {zone_name(view.now_ns, style.zone)}"
    title = _cut(f"trace {target_of(report)}", width - len(clock) - 2, view)
    head = [
        f"{title:<{width - len(clock)}}{clock}",
        *_target_lines(view, width, height // TARGETS_SHOWN, style),
        *_conclusion(view, width, style),
    ]
    if view.has_help:
        levels = ASCII_LEVELS if view.is_ascii else LEVELS
        body = ["", *HELP.format(lowest=levels[0], highest=levels[-1], lost=NO_REPLY).splitlines()]
        events: list[str] = []
    else:
        body = statistics_lines(view, width, style)
        events = _events(view, width, style)
    advice = wrap(escape(report.advice), width).split("\n") if report.advice else []
    if len(head) + len(advice) + len(body) + min(len(events), LEAST_EVENTS) + 2 <= height:
        head += advice
    keys = NO_KEYS if not view.has_keys else MORE_KEYS if view.targets else KEYS
    foot = f"{keys}{_cut(view.state, width - len(keys) - 2, view):>{width - len(keys)}}"
    return "\n".join([*_fitted(head, body, events, height - 1), foot])


def _fitted(head: list[str], body: list[str], events: list[str], height: int) -> list[str]:
    """The lines that fit the screen: the hops nearest to the target, and the latest changes."""
    room = height - len(head) - min(len(events), LEAST_EVENTS) - 1
    if len(body) > room:
        hidden = len(body) - room + 1
        note = f"... {hidden} lines more: the screen is too small"
        body = [*body[:2], note, *body[2 + hidden :]] if room > 3 else body[: max(room, 0)]
    room = height - len(head) - len(body) - 1
    shown = [*head, *body, "", *(events[-room:] if room > 0 else [])]
    return (shown + [""] * height)[:height]


def _target_lines(view: View, width: int, most: int, style: Style) -> Iterator[str]:
    """One line per target; of many targets, those around the chosen one."""
    if not view.targets:
        return
    digits, count_ = len(str(len(view.targets))), len(view.targets)
    room = width - len(TARGET_HEADER) - digits - 4
    first = max(min(view.chosen - most // 2, count_ - most), 0)
    of = f" ({first + 1}-{min(first + most, count_)} of {count_})" if count_ > most else ""
    yield f"{'':{digits + 2}} {f'target{of}':<{room}} {TARGET_HEADER}"
    for place in range(first, min(first + most, count_)):
        report = view.targets[place]
        mark = ">" if place == view.chosen else " "
        line = f"{mark} {place + 1:>{digits}} {_cut(target_of(report) if report else '', room, view):<{room}} "
        if report is None:
            yield line + "running"
            continue
        verdict = report.verdict or "running"
        yield f"{line}{coloured(verdict, style, f'{verdict:<11}')} {_end_numbers(report, style)}"


def _end_numbers(report: TraceReport, style: Style) -> str:
    """Number, loss and RTTs of the last hop, and the number of changes."""
    last = report.hops[-1] if report.hops else None
    found = last.statistics if last else None
    loss = f"{_percent(found.lost, found.sent):>5}" if found else f"{'':5}"
    if found and found.lost and found.replies:
        loss = coloured("WARNING", style, loss)
    times = (found.last_ms, found.average_ms, found.worst_ms) if found else (None,) * 3
    cells = " ".join(f"{_ms(each):>5}" for each in times)
    return f"{last.ttl if last else '':>4} {loss} {cells} {len(report.changes):>7}"


def _conclusion(view: View, width: int, style: Style) -> list[str]:
    """The trace's conclusion, in at most two lines."""
    report = view.report
    text = conclusion(report).removeprefix(f"{target_of(report)}: ")
    lines = wrap(text, width).split("\n")
    lines = [*lines[:1], *([_cut(" ".join(lines[1:]), width, view)] if lines[1:] else [])]
    verdict = report.verdict or "running"
    if lines[0].startswith(verdict):
        lines[0] = coloured(verdict, style) + lines[0][len(verdict) :]
    return lines


def _events(view: View, width: int, style: Style) -> list[str]:
    """The changes, oldest first."""
    reports = enumerate(view.targets, 1) if view.targets else [(0, view.report)]
    changes = sorted(
        ((change, number) for number, report in reports if report for change in report.changes),
        key=lambda each: (each[0].time_ns, each[1]),
    )
    if not changes:
        return ["no change so far"] if view.report.rounds else []
    return [line for change, number in changes[-MOST_EVENTS:] for line in _event(change, number, view, width, style)]


def _event(change: Change, number: int, view: View, width: int, style: Style) -> Iterator[str]:
    """The lines of one change: its time, the target's number if there are several, and what changed."""
    clock = _clock(change.time_ns, view.now_ns, style)
    text = f"target {number}: {change_words(change)}" if number else change_words(change)
    for line in wrap(text, width - len(clock) - 1).split("\n"):
        yield f"{clock} {coloured('loop', style, line) if change.kind == 'loop' else line}"
        clock = " " * len(clock)


def _clock(time_ns: int, now_ns: int, style: Style) -> str:
    """`14:02:11`, with the date if it is not today's."""
    then, now = local(time_ns, style.zone), local(now_ns, style.zone)
    return f"{then:%H:%M:%S}" if then.date() == now.date() else f"{then:%m-%d %H:%M:%S}"


# ---- the hops


def statistics_lines(view: View, width: int, style: Style = PLAIN) -> list[str]:
    """Two header lines, then one line per hop. A run of silent hops is one line; so are repeated rounds of a loop."""
    rows = [(_ttls(hops), who or _router(hops[-1], view, style), hops) for who, hops in _grouped(view.report)]
    names = [name for _, name, _ in rows]
    first = max(3, *(len(ttls) for ttls, _, _ in rows)) if rows else 3
    free = width - len(HEADER) - first - 3
    room = max(LEAST_ROUTER, min(free - LEAST_HISTORY, max(map(len, names), default=0)))
    strip = max(min(free - room, MOST_HISTORY), 0)
    lines = [
        f"{'':{first + room + 2 + TIMES_AT}}{' RTT in ms ':-^{len(HEADER) - TIMES_AT}}",
        f"{'hop':>{first}} {'router':<{room}} {HEADER} {'history':<{strip}}"[:width].rstrip(),
    ]
    for ttls, name, hops in rows:
        if len(name) > room and not view.has_names and len(hops) == 1:
            lines.append(f"{ttls:>{first}} {name}")  # an address must survive being copied
            ttls = name = ""  # noqa: PLW2901 - they are on the line above
        start = f"{ttls:>{first}} {_cut(name, room, view):<{room}} "
        lines.append((start + _numbers(hops, view, strip, style)).rstrip())
    return lines


def _grouped(report: TraceReport) -> Iterator[tuple[str, list[Hop]]]:
    for who, some in groupby(report.hops, key=lambda hop: folded(hop, report.loop)):
        hops = list(some)
        if who:
            yield who, hops
        else:
            yield from (("", [hop]) for hop in hops)


def _ttls(hops: Sequence[Hop]) -> str:
    return str(hops[0].ttl) if len(hops) == 1 else f"{hops[0].ttl}-{hops[-1].ttl}"


def _router(hop: Hop, view: View, style: Style) -> str:
    """The router that replies most, followed by the number of others."""
    reporters = sorted(hop.reporters, key=lambda each: -each.count)
    addresses = list(dict.fromkeys(each.address or NO_REPORTER for each in reporters))
    first = addresses[0]
    name = escape(style.name(first)) if view.has_names and first != NO_REPORTER else ""
    return (name or first) + (f" +{len(addresses) - 1}" if len(addresses) > 1 else "")


def _numbers(hops: Sequence[Hop], view: View, strip: int, style: Style) -> str:
    found = [hop.statistics for hop in hops if hop.statistics]
    sent, lost = sum(each.sent for each in found), sum(each.lost for each in found)
    loss = f"{_percent(lost, sent):>5}"
    if lost and any(each.replies for each in found):
        loss = coloured("WARNING", style, loss)
    start = f"{loss} {count(sent):>5}"
    if len(hops) > 1 or not found:
        return start
    only = found[0]
    times = (only.last_ms, only.average_ms, only.best_ms, only.worst_ms, only.deviation_ms)
    cells = " ".join(f"{_ms(each):>5}" for each in times)
    return f"{start} {cells} {_ms(only.jitter_ms):>6} {_history(only, view, strip)}"


def _percent(part: int, whole: int) -> str:
    """A percentage in at most five characters; empty if `whole` is 0."""
    if not whole:
        return ""
    share = 100 * part / whole
    return "100" if part == whole else f"{share:.1f}"


def _ms(value_ms: float | None) -> str:
    """At most five characters: `0.123`, `12.34`, `123.4`, `12345`."""
    if value_ms is None:
        return ""
    for limit, digits in ((9.9995, 3), (99.995, 2), (999.95, 1)):
        if value_ms < limit:
            return f"{value_ms:.{digits}f}"
    return f"{value_ms:.0f}"


def _history(statistics: HopStatistics, view: View, strip: int) -> str:
    levels = ASCII_LEVELS if view.is_ascii else LEVELS
    latest = statistics.history_ms[-strip:] if strip else ()
    best_ms = statistics.best_ms or 0.0
    return "".join(
        NO_REPLY if each is None else levels[sum(each > factor * best_ms for factor in HISTORY_FACTORS)]
        for each in latest
    )


def _cut(text: str, width: int, view: View) -> str:
    """Shorten text to a width, and mark that it was cut."""
    if len(text) <= width:
        return text
    return text[: max(width - 1, 0)] + ("~" if view.is_ascii else "…")


# ---- the end


def statistics_table(report: TraceReport, width: int, style: Style = PLAIN, *, is_ascii: bool = False) -> str:
    """The text that remains when the screen closes: all hops, the conclusion, the advice, and all changes."""
    view = View(report, report.time_ns, has_names=True, is_ascii=is_ascii)
    hops = "".join(f"{line}\n" for line in statistics_lines(view, width, style)) if report.hops else ""
    head = wrap(conclusion(report), width)
    verdict = report.verdict or "undecided"
    start, found, rest = head.partition(f": {verdict}")
    advice = f"{wrap(escape(report.advice), width)}\n" if report.advice else ""
    changes = change_lines(report.changes, style)
    return f"{hops}\n{coloured(verdict, style, start + found)}{rest}\n{advice}{changes}"
