"""Rows that are alike are written without being made: what is written must not differ, and little may be in memory."""

from __future__ import annotations

from functools import partial
from weakref import ref

import builders as b
import pytest
from builders import CLIENT
from following import EVERYTHING, RAW, analyzer_of, frames_of
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from profiles import examples
from samples import report
from worlds import worlds

from udpprobe.core import destinations
from udpprobe.core.model import Destination
from udpprobe.report import Question, conclude
from udpprobe.reports import OutputFormat, report_pieces
from udpprobe.reports.json import ROWS_AT_A_TIME

GROUPS = ("destination", "host", "flow", "reporter")
TEXTS = (OutputFormat.JSON, OutputFormat.NDJSON, OutputFormat.CSV, OutputFormat.MARKDOWN, OutputFormat.HTML)


def report_of(frames, question):
    rows, unmatched = conclude(analyzer_of(frames, by_flow=question.group_by == "flow"), question)
    return replace(report(), destinations=rows, unmatched=unmatched, group_by=question.group_by)


def text_of(found, output_format):
    return "".join(report_pieces(found, output_format, 80))


@examples(50)
@given(worlds(), st.sampled_from(GROUPS), st.booleans())
def test_a_report_is_written_as_if_all_its_rows_had_been_made(world, by, has_healthy):
    frames = frames_of([frame for _, frame in world], 1, times_ns=[ns for ns, _ in world])
    lazy = report_of(frames, Question(32, has_healthy, by))
    eager = replace(lazy, destinations=tuple(lazy.destinations), unmatched=tuple(lazy.unmatched))
    for each in (OutputFormat.JSON, OutputFormat.NDJSON, OutputFormat.CSV):
        assert text_of(eager, each) == text_of(lazy, each)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    "kind",
    [
        "refused",
        "refused-at-times",
        "rejected",
        "prohibited",
        "too-big",
        "no-mtu",
        "expired",
        "answered",
        "silent",
        "elsewhere",
        "port-0",
    ],
)
def test_so_it_is_of_many_that_are_alike(family, kind):
    packets = []
    for n in range(1, 40):
        address = {4: f"198.51.{n}.1", 6: f"2001:db8:{n:x}::1"}[family]
        port = 0 if kind == "port-0" else 50 + n
        packet = b.datagram(CLIENT[family], address, 40000, port, bytes(1000 + n), ttl=9)
        router = {4: f"203.0.113.{n}", 6: f"2001:db8:ff::{n:x}"}[family]
        packets.append(packet)
        if kind in {"answered", "refused-at-times", "elsewhere"}:
            packets.append(b.datagram(address, CLIENT[family], port + (1 if kind == "elsewhere" else 0), 40000, b"!"))
        match kind:
            case "refused" | "refused-at-times" | "port-0":
                packets.append(b.port_unreachable(packet))
            case "rejected":
                packets.append(b.port_unreachable(packet, router))
            case "prohibited":
                packets.append(b.error(packet, *{4: (3, 13), 6: (1, 1)}[family], reporter=router))
            case "too-big" | "no-mtu":
                too_big = b.frag_needed if family == 4 else b.packet_too_big
                packets.append(too_big(packet, 0 if kind == "no-mtu" else 900 + n, router))
            case "expired":
                packets.append(b.time_exceeded(packet, router))
    lazy = report_of(
        frames_of(packets, RAW, times_ns=[1_700_000_000_123_456_789 + 1_234_567 * n for n in range(len(packets))]),
        EVERYTHING,
    )
    eager = replace(lazy, destinations=tuple(lazy.destinations))
    for each in (OutputFormat.JSON, OutputFormat.NDJSON):
        assert text_of(eager, each) == text_of(lazy, each)
    assert 39 <= text_of(lazy, OutputFormat.NDJSON).count('"kind":"destination"')


class Watched(Destination, frozen=True, weakref=True, gc=True):
    """A row of which is known whether it is alive."""


@pytest.mark.parametrize("output_format", TEXTS)
def test_few_rows_are_alive_at_a_time_however_many_are_written(output_format, monkeypatch):
    alive, made, most = {}, [], 0

    def watched(**fields):
        row = Watched(**fields)
        made.append(id(row))
        alive[id(row)] = ref(row, partial(forget, id(row)))
        return row

    def forget(which, _):
        del alive[which]

    packets = []
    for n in range(3 * ROWS_AT_A_TIME):
        packet = b.datagram(CLIENT[4], f"198.51.{n >> 8}.{n & 255}", 40000, 53, b"?")
        packets += [packet, b.port_unreachable(packet)]
    found = report_of(frames_of(packets), EVERYTHING)
    monkeypatch.setattr(destinations, "Destination", watched)
    for _ in report_pieces(found, output_format, 80):
        most = max(most, len(alive))
    assert most <= ROWS_AT_A_TIME + 100
    if output_format in {OutputFormat.JSON, OutputFormat.NDJSON}:
        assert len(made) <= 10
