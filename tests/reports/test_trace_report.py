"""Traces as people and programs read them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from msgspec.structs import replace

from udpprobe.core.model import Spread
from udpprobe.reports import OutputFormat
from udpprobe.reports.trace import TRACE_FORMATS, change_lines, conclusion, trace_table
from udpprobe.tracing.model import Hop, Reporter, Target, TraceLoop, TraceReport, loop_words
from udpprobe.tracing.statistics import Rounds

SPREAD = Spread(0.5, 1.25, 12.5)
EXPIRED = Reporter("10.0.0.1", 3, SPREAD, 11, 0, "time-exceeded", "expired", None, (), (), (0,), ())
LABELS = ({"label": 16001, "traffic_class": 0, "bottom": 1, "ttl": 1},)
ODD = replace(
    EXPIRED,
    address="10.0.0.2",
    labels=LABELS,
    count=1,
    notes=("a NAT changed the source", "evil \x1b[31m"),
    interfaces=({"role": "incoming", "name": "eth0\x07", "address": "10.9.9.9"}, {"role": "outgoing", "index": 7}),
)
REFUSED = replace(EXPIRED, address="192.0.2.7", type=3, code=3, reason="port-unreach", verdict="refused")
ANSWER = replace(EXPIRED, address="192.0.2.7", type=None, code=None, reason="answer", verdict="answered")
TOO_BIG = replace(EXPIRED, type=3, code=4, reason="packet-too-big", verdict="too-big", mtu=1400)
LOOP = TraceLoop(("10.0.0.1", "10.0.0.2"), 2, 1)
LOOP_WORDS = "loop of 2 between 10.0.0.1 and 10.0.0.2, entered at hop 1"


def report_of(*reporters, verdict="refused", errno="ECONNREFUSED", loop=None, **fields):
    hops = tuple(
        Hop(ttl, tuple(each), max(3, sum(one.count for one in each)), 0 if each else 3)
        for ttl, each in enumerate(reporters, 1)
    )
    return TraceReport(
        "1.0",
        Target("192.0.2.7", 7),
        "192.0.2.1",
        (40_000,),
        "eth0",
        0,
        verdict,
        errno,
        verdict == "refused",
        hops,
        loop,
        **fields,
    )


WHOLE = report_of([EXPIRED], [], [], [EXPIRED, ODD], [REFUSED])


def test_the_table_has_one_row_per_reporter_and_one_for_silent_hops():
    lines = trace_table(WHOLE, 120).splitlines()
    assert "1 10.0.0.1 3 of 3 0.500 / 1.250 / 12.5" == " ".join(lines[2].split())
    assert "2-3 * 0 of 6" == " ".join(lines[3].split())
    assert ["4", "10.0.0.1"] == lines[4].split()[:2]
    assert "10.0.0.2" == lines[5].split()[0]
    assert "MPLS 16001 (TTL 1)" in lines[5]
    assert "192.0.2.7:7: refused by 192.0.2.7 at hop 5" == lines[-1]


def test_the_table_shows_two_rounds_of_a_loop_and_other_reporters():
    again = replace(EXPIRED, address="10.0.0.2", count=1), replace(EXPIRED, count=1)
    hops = [[EXPIRED], [again[0]], *([each] for each in (*again[::-1], *again[::-1])), [ODD, REFUSED], [again[0]]]
    rows = [" ".join(line.split()[:2]) for line in trace_table(report_of(*hops, loop=LOOP), 120).splitlines()[2:]]
    assert ["1 10.0.0.1", "2 10.0.0.2", "3 10.0.0.1", "4 10.0.0.2", "5-6 (loop", "7 10.0.0.2"] == rows[:6]
    assert "8 (loop" in rows
    assert "(loop repeats)  2 of 6" in trace_table(report_of(*hops, loop=LOOP), 120)


def test_untrusted_text_of_a_trace_cannot_control_the_terminal():
    for render in TRACE_FORMATS.values():
        assert not {"\x1b", "\x07"} & set(render(WHOLE, 80))


@pytest.mark.parametrize(
    ("reporter", "remark"),
    [
        (ANSWER, "answered"),
        (REFUSED, "port-unreach 3/3"),
        (TOO_BIG, "packet-too-big 3/4; MTU 1400"),
        (ODD, "incoming interface eth0\\x07 10.9.9.9; outgoing interface 7"),
    ],
)
def test_details_of_a_reply_are_shown_beside_its_reporter(reporter, remark):
    assert remark in TRACE_FORMATS[OutputFormat.MARKDOWN](report_of([reporter]), 80)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (report_of([EXPIRED], [], verdict="silent"), "silent: no reply from beyond hop 1, 10.0.0.1"),
        (report_of([], verdict="silent"), "silent: no reply from any hop"),
        (report_of([EXPIRED], verdict="expired"), "expired: the path is longer than 1 hop; see --max-ttl"),
        (report_of([], verdict="unsent", errno="EMSGSIZE"), "unsent: this host could not send it (EMSGSIZE)"),
        (report_of([EXPIRED], [TOO_BIG], verdict="too-big"), "too-big by 10.0.0.1 at hop 1"),
        (report_of([EXPIRED], [ODD], verdict="loop", loop=LOOP), LOOP_WORDS),
        (report_of([REFUSED], faults={"foreign": 2}), "refused by 192.0.2.7 at hop 1; faults: foreign 2"),
    ],
)
def test_a_trace_ends_in_a_sentence(report, words):
    assert f"192.0.2.7:7: {words}" == conclusion(report).replace("\u00a0", " ")


def test_without_a_hop_there_is_no_table():
    assert "192.0.2.7:7: silent: no reply from any hop\n" == trace_table(report_of(verdict="silent"), 80)


@pytest.mark.parametrize(
    ("loop", "words"),
    [
        (LOOP, LOOP_WORDS),
        (TraceLoop(("A", None, "C"), 3, 4), "loop of 3 between A, a silent router and C, entered at hop 4"),
        (TraceLoop(("A",), 1, 2), "loop of 1 at A, entered at hop 2"),
    ],
)
def test_a_loop_is_named(loop, words):
    assert words == loop_words(loop)


def test_json_has_the_documented_fields():
    report = report_of([EXPIRED, ODD], [], verdict="loop", errno="EHOSTUNREACH", loop=LOOP)
    said = json.loads(TRACE_FORMATS[OutputFormat.JSON](report, 80))
    assert ("udpprobe.trace/1", {"address": "192.0.2.7", "port": 7, "zone": None}, "loop", False) == tuple(
        said[name] for name in ("schema", "target", "verdict", "reached")
    )
    assert {"routers": ["10.0.0.1", "10.0.0.2"], "period": 2, "first_ttl": 1} == said["loop"]
    assert [(1, 0), (2, 3)] == [(hop["ttl"], hop["lost"]) for hop in said["hops"]]
    odd = said["hops"][0]["reporters"][1]
    assert ("10.0.0.2", 1, {"min": 0.5, "median": 1.25, "max": 12.5}, 11, 0, list(LABELS)) == tuple(
        odd[name] for name in ("address", "count", "rtt_ms", "type", "code", "labels")
    )
    assert "a NAT changed the source" == odd["notes"][0]


def test_ndjson_has_one_line_per_hop_and_a_summary():
    lines = [json.loads(line) for line in TRACE_FORMATS[OutputFormat.NDJSON](WHOLE, 80).splitlines()]
    assert ["hop"] * 5 + ["summary"] == [line["kind"] for line in lines]
    assert ("refused", "udpprobe.trace/1") == (lines[-1]["verdict"], lines[-1]["schema"])
    assert "hops" not in lines[-1]


def test_csv_has_one_row_per_reporter_and_one_per_silent_hop():
    rows = list(csv.DictReader(io.StringIO(TRACE_FORMATS[OutputFormat.CSV](WHOLE, 80))))
    assert ["1", "2", "3", "4", "4", "5"] == [row["ttl"] for row in rows]
    assert ("10.0.0.1", "3", "1.25", "11", "") == tuple(
        rows[0][name] for name in ("address", "count", "rtt_ms_median", "type", "mtu")
    )
    assert ("", "3") == (rows[1]["address"], rows[1]["lost"])


@pytest.mark.parametrize(
    ("after", "words"),
    [
        (report_of([EXPIRED], [REFUSED]), ""),
        (report_of([], [REFUSED]), ""),
        (report_of([ODD], [REFUSED]), "hop 1: 10.0.0.1 -> 10.0.0.2\n"),
        (
            report_of([EXPIRED], [EXPIRED], verdict="loop", loop=LOOP),
            f"hop 2: 192.0.2.7 -> 10.0.0.1\n1970 verdict: refused -> {LOOP_WORDS}\n",
        ),
        (report_of([EXPIRED], [], [REFUSED]), "length: 2 -> 3 hops\n"),
    ],
)
def test_changes_between_rounds_are_described(after, words):
    rounds = Rounds()
    rounds.take(report_of([EXPIRED], [REFUSED]))
    said = change_lines(rounds.take(after)).replace("1970-01-01T00:00:00.000000000Z", "1970")
    assert ("1970 " if words else "") + words == said


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (report_of([REFUSED]), "refused by 192.0.2.7 at hop 3 or before"),
        (report_of([EXPIRED], [REFUSED]), "refused by 192.0.2.7 at hop 4"),
        (report_of([EXPIRED], [ODD], verdict="loop", loop=replace(LOOP, first_ttl=3)), "entered at hop 3 or before"),
    ],
)
def test_beyond_a_first_ttl_above_1_a_reporter_may_be_nearer(report, words):
    later = replace(report, hops=tuple(replace(hop, ttl=hop.ttl + 2) for hop in report.hops))
    assert conclusion(later).endswith(words)
