"""A path MTU as a table for people, and as JSON, NDJSON and CSV for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec.structs import astuple

from udpprobe.core.notes import LEAST_MTU, NO_NEIGHBOUR
from udpprobe.pmtud.model import MTU_SCHEMA, MtuReport, Reported
from udpprobe.pmtud.outcome import limiter_of, misreporter_of
from udpprobe.pmtud.search import Phase
from udpprobe.replies import HEADER_BYTES
from udpprobe.reports import OutputFormat
from udpprobe.reports.csv import csv_text
from udpprobe.reports.json import document, lines, plain
from udpprobe.reports.text import (
    PLAIN,
    Layout,
    Style,
    addresses_in,
    coloured,
    duration,
    endpoint,
    escape,
    markdown,
    named,
    plural,
    table,
    without_tags,
    wrap,
)

WIREGUARD_BYTES = {4: 60, 6: 80}
"""IP, UDP and WireGuard's own header and tag, by the outer family."""
COMPLETE = Phase.SEARCH_COMPLETE.value
HEADERS = ("router", "MTU", "ICMP errors", "smallest packet", "remarks")


def mtu_table(report: MtuReport, width: int, style: Style = PLAIN) -> str:
    """The conclusion, the routers' reports, and advice."""
    rows = tuple(
        (*row, _remarks_with(style.name(said.reporter), notes))
        for said in report.reports
        for *row, notes in [router_row(said)]
    )
    layout = Layout(HEADERS, rows, elastic=len(HEADERS) - 1)
    said = f"\n{table((layout,), width)}\n" if report.reports else ""
    rest = "".join(f"{wrap(line, width)}\n" for line in remarks(report))
    verdict = report.verdict or "undecided"
    start, found, more = wrap(named(conclusion(report), style), width).partition(verdict)
    return f"{coloured(verdict, style, start + found)}{more}\n{said}" + (f"\n{rest}" if rest else "")


def mtu_markdown(report: MtuReport, _width: int) -> str:
    """The same in GitHub's Markdown."""
    said = f"\n{markdown(HEADERS, tuple(map(router_row, report.reports)))}\n" if report.reports else ""
    rest = "".join(f"- {without_tags(line)}\n" for line in remarks(report))
    return f"{without_tags(conclusion(report))}\n{said}" + (f"\n{rest}" if rest else "")


def router_row(said: Reported) -> tuple[str, ...]:
    """The cells of a reported MTU for `HEADERS`."""
    mtu = "" if said.mtu is None else str(said.mtu)
    return escape(said.reporter), mtu, str(said.count), str(said.smallest), "; ".join(said.notes)


def _remarks_with(name: str, notes: str) -> str:
    return "; ".join(filter(None, (escape(name), notes)))


def speakers(report: MtuReport) -> list[str]:
    """The addresses mentioned in the report."""
    return [*(each.reporter for each in report.reports), *addresses_in(conclusion(report))]


def remarks(report: MtuReport) -> Iterator[str]:
    """Remarks besides the conclusion."""
    yield from map(_sentence, map(escape, report.notes if NO_NEIGHBOUR not in report.notes else report.notes[2:]))
    yield from _sizes(report)
    if report.advice:
        yield escape(report.advice)
    if report.faults:
        yield "Faults: " + ", ".join(f"{name} {count}" for name, count in report.faults.items()) + "."


def _sizes(report: MtuReport) -> Iterator[str]:
    """What the path MTU leaves for payloads and tunnels."""
    mtu, family = report.path_mtu, 6 if ":" in report.target.address else 4
    if mtu is not None:
        yield f"UDP payloads of up to {mtu - HEADER_BYTES[family]} bytes fit ({mtu} - {HEADER_BYTES[family]})."
        if mtu >= LEAST_MTU[family] and report.state == COMPLETE:
            yield f"A WireGuard tunnel over this path can have an MTU of {mtu - WIREGUARD_BYTES[family]}."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def conclusion(report: MtuReport) -> str:
    """The conclusion, in a sentence or two."""
    where = endpoint(*astuple(report.target))
    path_mtu = f"path MTU {report.path_mtu}, " if report.path_mtu is not None else ""
    if report.verdict is None:
        arrived = f": packets of {report.path_mtu} bytes arrived" if report.path_mtu is not None else ""
        return f"{where}: undecided{arrived}; interrupted after {plural(report.sent, 'probe')}."
    effort = f"{plural(report.sent, 'probe')} in {duration(report.duration_ms)}"
    misreporter = misreporter_of(report.reports, report.path_mtu) if report.verdict == "too-big" else None
    if misreporter and report.path_mtu is not None:  # a headline must not repeat a wrong MTU
        false_report = _false_report(misreporter.mtu or 0, report.path_mtu)
        return f"{where}: path MTU {report.path_mtu}; {escape(misreporter.reporter)} {false_report}; {effort}."
    why = _WHY.get(report.verdict, _nothing)(report)
    return f"{where}: {path_mtu}{report.verdict}{why}; {effort}."


def _ok(report: MtuReport) -> str:
    is_all = report.path_mtu == report.interface_mtu
    return f": the MTU of {escape(report.interface) or 'the interface'}" if is_all else ""


def _too_big(report: MtuReport) -> str:
    said = limiter_of(report.reports, report.path_mtu)
    return f": reported by {escape(said.reporter)}" if said else ""


def _false_report(mtu: int, path_mtu: int) -> str:
    """The effect of a wrong reported MTU."""
    if mtu == 0:
        return "reports no MTU: hosts have to guess what fits"
    if mtu < path_mtu:
        return f"reports {mtu}: hosts that believe it send smaller packets than they could"
    return f"reports {mtu}: hosts that believe it lose packets of {path_mtu + 1}\N{EN DASH}{mtu} bytes"


def _black_hole(report: MtuReport) -> str:
    hole = report.black_hole
    if hole is None:
        return ""
    where = f"behind {escape(hole.after)}" if hole.after else "before any router that replies"
    until = f", before or at {escape(hole.before)}" if hole.before else ""
    return f": {hole.smallest_lost} bytes disappear {where}{until}, with no ICMP error"


def _nothing(report: MtuReport) -> str:
    return f" ({report.errno})" if report.errno else ""


def _silent(_: MtuReport) -> str:
    return ": no packet of any size is known to arrive"


def _loop(_: MtuReport) -> str:
    return ": the TTL runs out on the way; udpprobe trace shows where"


def _not_arriving(report: MtuReport) -> str:
    if NO_NEIGHBOUR in report.notes:
        return f": {report.notes[1]}"
    return ": nothing arrives; udpprobe trace shows who reports it"


_WHY: dict[str, Callable[[MtuReport], str]] = {
    "ok": _ok,
    "too-big": _too_big,
    "black-hole": _black_hole,
    "silent": _silent,
    "loop": _loop,
    **dict.fromkeys(("rejected", "prohibited", "unreachable", "expired"), _not_arriving),
}


def mtu_object(report: MtuReport) -> dict[str, Any]:
    """The contract's `udpprobe.mtu/1`."""
    return {"schema": MTU_SCHEMA, "command": "mtu", **plain(report)}


def mtu_json(report: MtuReport, _width: int) -> str:
    """One object, with each member on its own line."""
    return "".join(document(mtu_object(report)))


def mtu_ndjson(report: MtuReport, _width: int) -> str:
    """One line."""
    return lines([mtu_object(report)])


def mtu_csv(report: MtuReport, _width: int) -> str:
    """One row."""
    row = mtu_object(report)
    row |= {f"target_{key}": value for key, value in row.pop("target").items()}
    row |= {f"black_hole_{key}": value for key, value in (row.pop("black_hole") or dict.fromkeys(HOLE_COLUMNS)).items()}
    return csv_text((row, row.values()))


HOLE_COLUMNS = ("largest_passed", "smallest_lost", "after", "before")


def _html(found: MtuReport, _width: int) -> str:
    from udpprobe.reports.html import mtu_html  # noqa: PLC0415 - for one format

    return mtu_html(found)


MTU_FORMATS: Mapping[OutputFormat, Callable[[MtuReport, int], str]] = {
    OutputFormat.TABLE: mtu_table,
    OutputFormat.JSON: mtu_json,
    OutputFormat.NDJSON: mtu_ndjson,
    OutputFormat.CSV: mtu_csv,
    OutputFormat.MARKDOWN: mtu_markdown,
    OutputFormat.HTML: _html,
}
"""The function that writes a path MTU in each format; tables use the width of the screen."""
