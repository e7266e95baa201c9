"""JSON and NDJSON: the fields of the contract, the values that `json` and a plain look at the model would give."""

import io
import json
import re
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from msgspec import Struct
from msgspec.structs import replace
from samples import (
    ANSWERED,
    EVENT,
    EVENT_V6,
    LONE,
    LONG_V6,
    LOOP,
    REFUSED,
    TOO_BIG,
    UNREACHABLE_V6,
    parsed,
    report,
)

from udpprobe.checking.states import Checked
from udpprobe.core.model import (
    Destination,
    Finding,
    LazyRows,
    Loop,
    Planned,
    Process,
    SourceReport,
    Spread,
    Unread,
    WatchedEvent,
)
from udpprobe.core.stencils import rounded
from udpprobe.core.verdicts import VERDICTS, meaning_of
from udpprobe.pmtud.model import MtuReport
from udpprobe.reports.json import (
    EventsJson,
    EventsNdjson,
    lines,
    plain,
    report_json,
    report_ndjson,
)
from udpprobe.reports.rows import ROWS_AT_A_TIME
from udpprobe.tracing.model import TraceReport

REPORT = report(REFUSED, TOO_BIG, LOOP, ANSWERED, unmatched=[LONE], faults={"truncated": 3})

# the contract with scripts: a field may be added, none renamed or dropped
REPORT_KEYS = {"schema", "command", "version", "interrupted", "source", "destinations", "unmatched", "faults"}
SOURCE_KEYS = {"kind", "name", "link_types", "packets", "bytes", "first_time", "last_time", "dropped", "cut_short"}
DESTINATION_KEYS = {
    "address",
    "port",
    "verdict",
    "errno",
    "meaning",
    "sent",
    "sent_bytes",
    "answered",
    "errors",
    "rtt_ms",
    "findings",
}
FINDING_KEYS = {
    "verdict",
    "errno",
    "family",
    "icmp_type",
    "icmp_code",
    "reason",
    "reporter",
    "count",
    "first_time",
    "last_time",
    "mtu",
    "match",
    "loop",
    "notes",
}
EVENT_KEYS = {
    "frame",
    "time",
    "family",
    "type",
    "code",
    "verdict",
    "errno",
    "reporter",
    "mtu",
    "quoted",
    "match",
    "matched_frame",
    "rtt_ms",
    "extensions",
    "notes",
}
QUOTED_KEYS = {
    "source",
    "source_port",
    "destination",
    "destination_port",
    "ip_id",
    "ttl",
    "ip_length",
    "udp_length",
    "udp_checksum",
    "bytes",
}

WORDS = st.sampled_from(["", '100 %s "quoted"', "caf\udce9\x1b", LONG_V6]) | st.text()
COUNTS = st.integers(0, 2**63 - 1)
TIMES = st.integers(0, 4 * 10**18)
SPANS = st.floats(0, 1e9) | st.integers(0, 10**12).map(lambda half_ns: half_ns / 2e6)
SPREADS = (
    st.none()
    | st.lists(SPANS, min_size=3, max_size=3).map(lambda spans: Spread(*sorted(spans)))
    | SPANS.map(lambda ms: Spread(ms, ms, ms))
)
NOTES = st.lists(WORDS, max_size=2).map(tuple)
FINDINGS = st.builds(
    Finding,
    verdict=st.none() | st.sampled_from(VERDICTS),
    errno=st.none() | WORDS,
    linux=st.sampled_from([None, meaning_of(4, 3, 3).linux]),
    family=st.sampled_from([4, 6]),
    icmp_type=st.none() | COUNTS,
    icmp_code=st.none() | COUNTS,
    reason=WORDS,
    reporter=st.none() | WORDS,
    count=COUNTS,
    first_time_ns=TIMES,
    last_time_ns=TIMES,
    mtu=st.none() | COUNTS,
    match=WORDS,
    rtt_ms=SPREADS,
    loop=st.none() | st.builds(Loop, NOTES, st.none() | COUNTS),
    notes=NOTES,
)
DESTINATIONS = st.builds(
    Destination,
    address=WORDS,
    port=st.none() | COUNTS,
    verdict=WORDS,
    errno=st.none() | WORDS,
    meaning=st.none() | WORDS,
    sent=COUNTS,
    sent_bytes=COUNTS,
    answered=COUNTS,
    errors=COUNTS,
    rtt_ms=SPREADS,
    findings=st.lists(FINDINGS, max_size=3).map(tuple),
    notes=NOTES,
    source=st.none() | WORDS,
    source_port=st.none() | COUNTS,
)


def naive(value, name=""):
    """What JSON has in the place of a value, by the contract's rules alone."""
    if name.endswith("time_ns") and value is not None:
        seconds, nanoseconds = divmod(value, 10**9)
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
        return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds:09}Z"
    if isinstance(value, Struct):
        return {
            (field.removesuffix("_ns") if field.endswith("time_ns") else field): naive(getattr(value, field), field)
            for field in value.__struct_fields__
        }
    if isinstance(value, (list, tuple)):
        return list(map(naive, value))
    if isinstance(value, float):
        return round(value, 6)
    return value.encode("utf-8", "backslashreplace").decode() if isinstance(value, str) else value


@given(DESTINATIONS)
@example(replace(REFUSED, notes=("\x7f\x80\u202e\U0001f600",)))
def test_any_destination_has_its_fields_in_order_and_to_the_nanosecond(destination):
    (text,) = lines([destination]).splitlines()
    assert json.dumps(naive(destination)) == json.dumps(json.loads(text))
    assert text.isascii()
    assert not set(map(chr, range(32))) & set(text)
    assert "\x7f" not in text


@given(SPANS | st.floats(0, 1e22))
def test_milliseconds_are_rounded_as_python_does(ms):
    assert round(ms, 6) == rounded(ms)


@pytest.mark.parametrize(
    "record",
    [
        EVENT,
        EVENT_V6,
        REPORT.source,
        Planned("10.0.0.1", 53, "dns", 55, None, None, None),
        SourceReport("file", "a", (1, 113), 1, 2, None, None, 3, cut_short=True, unread=(Unread("x", "y"),)),
        WatchedEvent(**{name: getattr(EVENT, name) for name in EVENT.__struct_fields__}, process=Process("dig", 7)),
    ],
    ids=lambda record: type(record).__name__,
)
def test_every_other_record_has_its_fields_in_order(record):
    assert json.dumps(naive(record)) == json.dumps(json.loads(lines([record]))) == json.dumps(plain(record))


@pytest.mark.parametrize("kind", [Checked, MtuReport, TraceReport])
def test_no_time_in_json_is_a_number_of_nanoseconds(kind):
    assert not [name for name in kind.__struct_encode_fields__ if name.endswith("_ns")]


@pytest.mark.parametrize(
    "told",
    [
        report(REFUSED, TOO_BIG, LOOP, ANSWERED, UNREACHABLE_V6, unmatched=[LONE, LONE], faults={"truncated": 3}),
        report(),
        report(REFUSED),
        report(unmatched=[LONE]),
    ],
)
def test_a_report_has_one_row_per_line(told):
    whole = {
        "schema": "udpprobe.report/1",
        **{
            name: naive(getattr(told, name))
            for name in told.__struct_fields__
            if name not in {"group_by", "receive_drops", "drop_reasons", "errors_sent"}
        },
    }
    whole["unmatched"] = [
        {**{name: value for name, value in each.items() if name != "finding"}, **each["finding"]}
        for each in whole["unmatched"]
    ]
    text = "".join(report_json(told))
    assert json.dumps(whole) == json.dumps(json.loads(text))
    rows = [line.removesuffix(",") for line in text.splitlines() if line.startswith('{"address"')]
    assert [*whole["destinations"], *whole["unmatched"]] == list(map(json.loads, rows))


def test_nothing_is_lost_or_kept_between_chunks():
    made = []

    def many():
        for port in range(2 * ROWS_AT_A_TIME + 1):
            made.append(port)
            yield replace(ANSWERED, port=port)

    told = replace(report(), destinations=LazyRows(many, 2 * ROWS_AT_A_TIME + 1))
    pieces = report_json(told)
    while not made:
        next(pieces)
    assert ROWS_AT_A_TIME == len(made)
    assert list(range(2 * ROWS_AT_A_TIME + 1)) == [each["port"] for each in parsed(told)["destinations"]]


def test_json_has_every_field_of_the_contract():
    told = parsed(REPORT)
    assert REPORT_KEYS <= set(told)
    assert SOURCE_KEYS <= set(told["source"])
    for each in told["destinations"]:
        assert DESTINATION_KEYS <= set(each)
        for found in each["findings"]:
            assert FINDING_KEYS <= set(found)
    assert FINDING_KEYS | {"address", "port"} <= set(told["unmatched"][0])
    assert EVENT_KEYS <= set(json.loads(lines([EVENT])))
    assert QUOTED_KEYS <= set(json.loads(lines([EVENT]))["quoted"])


def test_json_has_the_values_of_the_report():
    told = parsed(REPORT)
    assert told["schema"] == "udpprobe.report/1"
    assert told["source"]["first_time"] == "2023-11-14T22:13:20.123456789Z"
    assert told["destinations"][0]["findings"][0]["rtt_ms"] == {"min": 0.1, "median": 0.213457, "max": 0.4}
    assert told["destinations"][2]["findings"][0]["loop"] == {"routers": ["192.0.2.1", "192.0.2.2"], "period": 2}
    assert told["unmatched"][0]["address"] == "192.0.2.77"
    assert told["faults"] == {"truncated": 3}


def test_json_of_an_undecodable_name_is_valid_and_ascii():
    text = "".join(report_json(report(name="caf\udce9\x1b.pcap")))
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["source"]["name"] == "caf\\udce9\x1b.pcap"


def test_ndjson_ends_with_a_summary():
    told = [json.loads(line) for line in "".join(report_ndjson(REPORT)).splitlines()]
    assert [line["kind"] for line in told] == ["destination"] * 4 + ["unmatched", "summary"]
    assert told[-1]["source"]["packets"] == 12345
    assert told[-1]["faults"] == {"truncated": 3}
    whole = parsed(REPORT)
    assert {"kind": "destination", **whole["destinations"][1]} == told[1]
    assert {"kind": "unmatched", **whole["unmatched"][0]} == told[4]
    assert all(next(iter(line)) == "kind" for line in told)


def test_events_are_lines_in_ndjson_and_a_list_in_json():
    stream, spool = EventsNdjson(), io.StringIO()
    assert [lines([EVENT]), lines([EVENT_V6])] == [stream.add([event]) for event in (EVENT, EVENT_V6)]
    assert "" == "".join(stream.end(REPORT, 80))
    whole = EventsJson(spool)
    assert ["", ""] == [whole.add(events) for events in ([EVENT], [EVENT_V6])]
    text = "".join(whole.end(REPORT, 80))
    assert ["schema", "command", "version", "source", "events", "faults", "interrupted"] == list(json.loads(text))
    assert "udpprobe.events/1" == json.loads(text)["schema"]
    assert [json.loads(line) for line in lines([EVENT, EVENT_V6]).splitlines()] == json.loads(text)["events"]
    assert 2 == len(re.findall(r'^\{"frame"', text, re.MULTILINE))


def test_no_events_are_an_empty_list():
    assert [] == json.loads("".join(EventsJson(io.StringIO()).end(REPORT, 80)))["events"]
