"""A path MTU as a table for people, and as JSON, NDJSON and CSV for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from msgspec.structs import astuple

from udpprobe.pmtud.model import MTU_SCHEMA, MtuReport, Reported
from udpprobe.reports import Format
from udpprobe.reports.csv import csv_text
from udpprobe.reports.json import document, lines, plain
from udpprobe.reports.text import Layout, duration, endpoint, escape, markdown, plural, table, without_tags, wrap

HEADERS = ("router", "MTU", "errors", "smallest", "what is wrong with it")


def mtu_table(report: MtuReport, width: int) -> str:
    """What it comes to, who said what, and what to do."""
    layout = Layout(HEADERS, tuple(map(_row, report.reports)), len(HEADERS) - 1)
    said = f"\n{table((layout,), width)}\n" if report.reports else ""
    rest = "".join(f"{wrap(line, width)}\n" for line in _rest(report))
    return f"{wrap(conclusion(report), width)}\n{said}" + (f"\n{rest}" if rest else "")


def mtu_markdown(report: MtuReport, _width: int) -> str:
    """The same in GitHub's Markdown."""
    said = f"\n{markdown(HEADERS, tuple(map(_row, report.reports)))}\n" if report.reports else ""
    rest = "".join(f"- {without_tags(line)}\n" for line in _rest(report))
    return f"{without_tags(conclusion(report))}\n{said}" + (f"\n{rest}" if rest else "")


def _row(said: Reported) -> tuple[str, ...]:
    mtu = "" if said.mtu is None else str(said.mtu)
    return escape(said.reporter), mtu, str(said.count), str(said.smallest), "; ".join(said.notes)


def _rest(report: MtuReport) -> Iterator[str]:
    yield from map(_sentence, map(escape, report.notes))
    yield from map(_sentence, map(escape, report.advice))
    if report.faults:
        yield "Faults: " + ", ".join(f"{name} {count}" for name, count in report.faults.items()) + "."


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."


def conclusion(report: MtuReport) -> str:
    """What a search comes to, in a sentence or two."""
    where = endpoint(*astuple(report.target))
    told = f"path MTU {report.path_mtu}, " if report.path_mtu is not None else ""
    why = _WHY.get(report.verdict, _nothing)(report)
    asked = f"{plural(report.sent, 'probe')} in {duration(report.duration_ms)}"
    return f"{where}: {told}{report.verdict}{why}; {asked}."


def _ok(report: MtuReport) -> str:
    return f": as much as {escape(report.interface) or 'the interface'} takes" if not report.notes else ""


def _too_big(report: MtuReport) -> str:
    believed = [each for each in report.reports if not each.notes] or report.reports
    said = min(believed, key=lambda each: each.mtu or 0, default=None)
    return f": {escape(said.reporter)} says so" if said else ""


def _black_hole(report: MtuReport) -> str:
    hole = report.black_hole
    if hole is None:
        return ""
    where = f"behind {escape(hole.after)}" if hole.after else "before any router that speaks"
    until = f", before or at {escape(hole.before)}" if hole.before else ""
    return f": {hole.smallest_lost} bytes disappear {where}{until}, and nobody says so"


def _nothing(report: MtuReport) -> str:
    return f" ({report.errno})" if report.errno else ""


def _silent(_: MtuReport) -> str:
    return ": nothing of any size is known to arrive"


def _loop(_: MtuReport) -> str:
    return ": its TTL runs out; udpprobe trace shows where"


def _elsewhere(_: MtuReport) -> str:
    return ": nothing arrives; udpprobe trace shows who says so"


_WHY: dict[str, Callable[[MtuReport], str]] = {
    "ok": _ok, "too-big": _too_big, "black-hole": _black_hole, "silent": _silent, "loop": _loop,
    **dict.fromkeys(("rejected", "prohibited", "unreachable", "expired"), _elsewhere)}


def mtu_object(report: MtuReport) -> dict[str, Any]:
    """The contract's `udpprobe.mtu/1`."""
    return {"schema": MTU_SCHEMA, "command": "mtu", **plain(report)}


def mtu_json(report: MtuReport, _width: int) -> str:
    """One object, each member on a line of its own."""
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

MTU_FORMATS: Mapping[Format, Callable[[MtuReport, int], str]] = {
    Format.TABLE: mtu_table, Format.JSON: mtu_json, Format.NDJSON: mtu_ndjson, Format.CSV: mtu_csv,
    Format.MARKDOWN: mtu_markdown,
}
"""What each format makes of a path MTU; the width of the screen is for tables."""
