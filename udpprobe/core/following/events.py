"""Resolved errors, told one by one."""

from __future__ import annotations

from dataclasses import dataclass, fields

from udpprobe.core.addresses import address_text
from udpprobe.core.correlation.levels import MATCHES
from udpprobe.core.extensions import Objects, extensions_of
from udpprobe.core.following.pipeline import Resolved
from udpprobe.core.model import Event, Quoted
from udpprobe.core.notes import Note, texts_of
from udpprobe.core.packets import Errors
from udpprobe.core.summaries.findings import reported_by_itself
from udpprobe.core.summaries.loops import are_loops
from udpprobe.core.summaries.summary import Summary
from udpprobe.core.verdicts import ERRNO_OF_VERDICT, meaning_of, verdict_of

NS_PER_MS = 1e6


@dataclass(frozen=True, slots=True)
class _Row:
    """One error with what was found for it, as Python numbers."""

    error: dict[str, int]
    match: int
    matched_frame: int
    matched_ns: int
    notes: int
    length: int
    itself: bool
    is_loop: bool
    message: bytes


def events_of(resolved: Resolved, summary: Summary, loop_ttl: int) -> list[Event]:
    """An event an error, in capture order."""
    loops = are_loops(summary.record, resolved.rows, loop_ttl)
    names = [column.name for column in fields(Errors)]
    columns = zip(*(getattr(resolved.errors, name).tolist() for name in names), strict=True)
    found = resolved.found
    rows = zip(columns, found.match.tolist(), found.frame.tolist(), found.time_ns.tolist(), found.notes.tolist(),
               found.length.tolist(), reported_by_itself(resolved.errors).tolist(), loops.tolist(), strict=True)
    data = resolved.data.tobytes()
    events = []
    for values, match, frame, time_ns, notes, length, itself, is_loop in rows:
        error = dict(zip(names, values, strict=True))
        message = data[error["message"]:error["message_end"]]
        events.append(_event(_Row(error, match, frame, time_ns, notes, length, bool(itself), is_loop, message)))
    return sorted(events, key=lambda event: event.frame)


def _event(row: _Row) -> Event:
    error = row.error
    meaning = meaning_of(error["family"], error["type"], error["code"])
    verdict = verdict_of(meaning, itself=row.itself, loop=row.is_loop)
    objects, notes = _extensions(row)
    matched = row.match > 0
    return Event(
        frame=error["frame"], time_ns=error["time_ns"], family=error["family"], type=error["type"], code=error["code"],
        verdict=verdict, errno=ERRNO_OF_VERDICT.get(verdict or ""), linux=meaning.linux, reason=meaning.reason,
        reporter=address_text(error["reporter_high"], error["reporter_low"]),
        mtu=error["mtu"] if error["mtu"] >= 0 else None, quoted=quoted_of(error), match=MATCHES[row.match],
        matched_frame=row.matched_frame or None,
        rtt_ms=(error["time_ns"] - row.matched_ns) / NS_PER_MS if matched else None,
        extensions=objects, notes=texts_of(row.notes | notes, row.length, error["family"]))


def _extensions(row: _Row) -> tuple[Objects | None, Note]:
    return extensions_of(row.message, row.error["family"]) if row.message else (None, Note(0))


def quoted_of(error: dict[str, int]) -> Quoted:
    """The datagram as a row of `Errors`, column by name, quotes it."""
    notes, detail, ports = error["notes"], error["detail"], error["ports"]

    def unless(missing: int, value: int) -> int | None:
        return None if notes & missing else value

    return Quoted(
        source=address_text(error["source_high"], error["source_low"]), source_port=unless(Note.NO_PORTS, ports >> 16),
        destination=address_text(error["destination_high"], error["destination_low"]),
        destination_port=unless(Note.NO_PORTS, ports & 0xFFFF),
        ip_id=detail >> 48 if error["family"] == 4 else None, ttl=detail >> 8 & 0xFF, ip_length=error["ip_length"],
        udp_length=unless(Note.NO_LENGTH, detail >> 32 & 0xFFFF),
        udp_checksum=unless(Note.NO_CHECKSUM, detail >> 16 & 0xFFFF), bytes=error["quoted_bytes"])
