"""The errors one by one, for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from udpprobe.reports.layout import Layout, markdown, table, wrap
from udpprobe.reports.table import closing
from udpprobe.reports.text import duration, endpoint, escape, rfc3339

if TYPE_CHECKING:
    from collections.abc import Sequence

    from udpprobe.core.model import Event, Report


def events_table(report: Report, events: Sequence[Event], width: int) -> str:
    """A row an error in capture order, and the last line.

    Args:
        report: what the same run found; its last line is printed below.
        events: in capture order.
        width: columns of the screen; no address is broken to fit it.
    """
    body = table((_wide(events), _tall(events)), width) + "\n\n" if events else ""
    return body + wrap(closing(report), width) + "\n"


def events_markdown(report: Report, events: Sequence[Event], _width: int) -> str:
    """The same in GitHub's Markdown."""
    body = markdown(_wide(events)) + "\n\n" if events else ""
    return body + closing(report) + "\n"


def _wide(events: Sequence[Event]) -> Layout:
    rows = ((str(event.frame), _clock(event), event.verdict or "-", _destination(event),
             escape(event.reporter), "; ".join(_details(event))) for event in events)
    return Layout(("frame", "UTC", "verdict", "destination", "by", "details"), tuple(rows), 5)


def _tall(events: Sequence[Event]) -> Layout:
    rows = ((str(event.frame), f"{_clock(event)}\n{event.verdict or '-'}", _stacked(event))
            for event in events)
    return Layout(("frame", "UTC, verdict", "destination"), tuple(rows), 2)


def _stacked(event: Event) -> str:
    return f"{_destination(event)}\n  by {escape(event.reporter)}: {'; '.join(_details(event))}"


def _clock(event: Event) -> str:
    return rfc3339(event.time_ns)[11:26]


def _destination(event: Event) -> str:
    return endpoint(event.quoted.destination, event.quoted.destination_port)


def _details(event: Event) -> tuple[str, ...]:
    said = (
        f"{escape(event.reason)} {event.type}/{event.code}",
        f"MTU {event.mtu}" if event.mtu is not None else "",
        f"sent in frame {event.matched_frame}" if event.matched_frame else "datagram not seen",
        f"RTT {duration(event.rtt_ms)}" if event.rtt_ms is not None else "",
        *map(escape, event.notes),
    )
    return tuple(words for words in said if words)
