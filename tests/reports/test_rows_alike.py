"""Rows that are alike are written without being made: what is written must not differ, and little may be in memory."""

from __future__ import annotations

from array import array
from functools import partial
from ipaddress import ip_address
from itertools import groupby
from weakref import ref

import builders as b
import pytest
from builders import CLIENT
from following import EVERYTHING, RAW, analyzer_of, frames_of
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from profiles import examples
from samples import T0_NS, destination, finding, report
from worlds import worlds

from udpprobe.core import destinations
from udpprobe.core.addresses import mapped_address
from udpprobe.core.advice import sentence
from udpprobe.core.model import REFUSED, Alike, AlikeColumns, Destination, Parts, Spread, parts_of
from udpprobe.endpoints import endpoint_text
from udpprobe.report import Question, conclude
from udpprobe.reports import OutputFormat, report_pieces
from udpprobe.reports.rows import ROWS_AT_A_TIME

GROUPS = ("destination", "host", "flow", "reporter")
EVERY_TEXT = [each for each in OutputFormat if each is not OutputFormat.PARQUET]
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
def test_many_alike_rows_are_written_as_if_each_had_been_made(family, kind):
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
    for each in (OutputFormat.JSON, OutputFormat.NDJSON, OutputFormat.CSV):
        assert text_of(eager, each) == text_of(lazy, each)
    assert 39 <= text_of(lazy, OutputFormat.NDJSON).count('"kind":"destination"')


class Watched(Destination, frozen=True, weakref=True, gc=True):
    """A row of which is known whether it is alive."""


@pytest.fixture(scope="module")
def many():
    """Frames of three times as many destinations as are written at a time, each refused; followed once."""
    packets = []
    for n in range(3 * ROWS_AT_A_TIME):
        packet = b.datagram(CLIENT[4], f"198.51.{n >> 8}.{n & 255}", 40000, 53, b"?")
        packets += [packet, b.port_unreachable(packet)]
    return analyzer_of(frames_of(packets))


@pytest.mark.parametrize("output_format", TEXTS)
def test_only_few_rows_are_in_memory_while_many_are_written(many, output_format, monkeypatch):
    alive, made, most = {}, [], 0

    def watched(**fields):
        row = Watched(**fields)
        made.append(id(row))
        alive[id(row)] = ref(row, partial(forget, id(row)))
        return row

    def forget(which, _):
        del alive[which]

    rows, unmatched = conclude(many, EVERYTHING)
    found = replace(report(), destinations=rows, unmatched=unmatched)
    monkeypatch.setattr(destinations, "Destination", watched)
    for _ in report_pieces(found, output_format, 80):
        most = max(most, len(alive))
    assert most <= ROWS_AT_A_TIME + 100
    if output_format in {OutputFormat.JSON, OutputFormat.NDJSON, OutputFormat.CSV}:
        assert len(made) <= 10


# ---- of a scan

NAMES = {4: ("192.0.2.7", "198.51.100.1", "198.51.100.255"), 6: ("2001:db8::7", "2001:db8:1::1", "fe80::1")}
RTTS_NS = [0, 1, 9, 10, 55, 99, 100, 999_999, 10**6, 1_234_567, 4 * 10**9]
SPANS = st.lists(
    st.tuples(
        st.sampled_from((0, 1, 2)), st.sampled_from(("alike", "noted", "rejected", "silent")), st.integers(1, 70)
    ),
    min_size=1,
    max_size=8,
)
"""Of a host, by its place: what became of so many of its ports."""


def refused(address, port, rtt_ns=10**6, time_ns=T0_NS, **changes):
    key, ms = (6, 1, 4) if ":" in address else (4, 3, 3), rtt_ns / 1e6
    error = finding("refused", key, address, rtt_ms=Spread(ms, ms, ms), first_time_ns=time_ns, last_time_ns=time_ns)
    told = {"sent": 1, "sent_bytes": 28 + port % 9, "advice": sentence(REFUSED, [endpoint_text(address, port)])}
    return destination(address, port, "refused", error, **{**told, **changes})


def scan_of(family, spans):
    """The report of a scan: those that are alike are kept as columns, and all of them as objects."""
    names, key = NAMES[family], {4: (4, 3, 3), 6: (6, 1, 4)}[family]
    rows, alike, ports = [], [], [0, 0, 0]
    for host, kind, number in sorted(spans, key=lambda span: (span[1] == "silent", span[1] == "rejected", span[0])):
        for _ in range(number):
            ports[host] += 2 if ports[host] % 7 == 0 else 1
            address, port = names[host], ports[host]
            rtt_ns = RTTS_NS[len(rows) % len(RTTS_NS)]
            rows.append(
                destination(address, port, "silent", sent=3, meaning="no-evidence")
                if kind == "silent"
                else destination(address, port, "rejected", finding("rejected", key, NAMES[family][0][:-1] + "9"))
                if kind == "rejected"
                else refused(address, port, rtt_ns, T0_NS + len(rows) * 1_234_567_890, notes=("n",) * (kind == "noted"))
            )
            alike.append(kind == "alike")
    numbers = [mapped_address(ip_address(each.address)) for each in rows]
    columns = AlikeColumns(
        array("Q", [number >> 64 for number in numbers]),
        array("Q", [number & (1 << 64) - 1 for number in numbers]),
        array("H", [each.port for each in rows]),
        array("Q", [each.sent_bytes for each in rows]),
        array("q", [T0_NS + row * 1_234_567_890 for row in range(len(rows))]),
        array("q", [RTTS_NS[row % len(RTTS_NS)] for row in range(len(rows))]),
    )
    parts = []
    for is_alike, run in groupby(range(len(rows)), alike.__getitem__):
        tasks = array("I", run)
        parts += [Alike(rows[tasks[-1]], tasks, columns)] if is_alike else map(rows.__getitem__, tasks)
    compact = report(kind="probe")
    eager = replace(compact, destinations=tuple(rows))
    return eager, replace(compact, destinations=Parts(lambda: iter(parts), len(rows), rows.__getitem__))


@examples(40)
@given(st.sampled_from([4, 6]), SPANS)
def test_a_scan_is_written_as_if_all_its_rows_had_been_made(family, spans):
    eager, compact = scan_of(family, spans)
    assert eager.destinations == tuple(compact.destinations)
    for each in EVERY_TEXT:
        assert text_of(eager, each) == text_of(compact, each)


@pytest.mark.parametrize("zone", ["eth0", "<n2>", "bücher0"])
@pytest.mark.parametrize("number", [2, 60])
def test_names_and_zones_keep_rows_alike(zone, number):
    eager, compact = scan_of(6, [(2, "alike", number), (1, "alike", 20), (2, "alike", 20), (1, "silent", 2)])

    def change(each):
        return replace(each, zone=zone, notes=("address of a", *each.notes)) if each.address == "fe80::1" else each

    eager = replace(eager, destinations=tuple(map(change, eager.destinations)))
    compact = replace(compact, destinations=compact.destinations.changed(change))
    count = len(eager.destinations)
    assert eager.destinations == tuple(compact.destinations) == compact.destinations[:]
    assert eager.destinations[count - 5 :] == tuple(compact.destinations.after(count - 5))
    assert any(isinstance(part, Alike) and part.template.zone for part in compact.destinations.parts()) == (
        zone[0] != "<"
    )
    for each in EVERY_TEXT:
        assert text_of(eager, each) == text_of(compact, each)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("number", [49, 50, 51, 1500])
def test_few_rows_of_a_host_are_built_for_a_table_or_csv(family, number, monkeypatch):
    eager, compact = scan_of(family, [(0, "alike", number - 3), (1, "alike", 3)])
    made = []
    row = Alike._row  # noqa: SLF001 - how often it is made is what counts here
    monkeypatch.setattr(Alike, "_row", lambda self, *values: made.append(1) or row(self, *values))
    for each in EVERY_TEXT:
        expected = text_of(eager, each)
        made.clear()
        assert expected == text_of(compact, each)
        if each in {OutputFormat.TABLE, OutputFormat.MARKDOWN}:
            assert (number if number <= 50 else 2) == len(made)
        elif each is not OutputFormat.HTML:
            assert not made


def test_without_known_alike_rows_parts_are_the_rows():
    rows = (refused("192.0.2.1", 53),)
    assert rows == tuple(parts_of(rows))
