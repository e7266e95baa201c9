import csv
import io
import json

import pytest
from msgspec.structs import replace
from samples import ANSWERED, EVENT, EVENT_V6, LONE, LOOP, REFUSED, TOO_BIG, report

from udpprobe.core.model import Destination, Event, Finding, LazyRows
from udpprobe.reports.csv import EventsCsv, csv_text, harmless, report_csv
from udpprobe.reports.rows import ROWS_AT_A_TIME

REPORT = report(REFUSED, TOO_BIG, LOOP, ANSWERED, unmatched=[LONE], faults={"truncated": 3})


def rows_of(told):
    return list(csv.DictReader(io.StringIO("".join(report_csv(told)))))


def test_csv_has_one_row_per_finding_and_columns_from_the_fields():
    rows = rows_of(REPORT)
    assert ["refused", "expired", "too-big", "loop", "", "prohibited"] == [row["finding_verdict"] for row in rows]
    assert ["destination"] * 5 + ["unmatched"] == [row["kind"] for row in rows]
    assert {"finding_" + name for name in Finding.__struct_fields__} - set(rows[0]) == {
        "finding_first_time_ns",
        "finding_last_time_ns",
        "finding_rtt_ms",
        "finding_loop",
    }
    assert set(Destination.__struct_fields__) - set(rows[0]) == {"findings", "rtt_ms"}
    assert rows[0]["finding_first_time"] == "2023-11-14T22:13:20.123456789Z"
    assert rows[0]["finding_rtt_ms_median"] == "0.213457"
    assert json.loads(rows[0]["finding_linux"]) == REFUSED.findings[0].linux
    assert rows[3]["finding_loop_routers"] == "192.0.2.1; 192.0.2.2"
    assert rows[4]["rtt_ms_median"] == "2.5"


def test_an_unmatched_error_uses_the_columns_of_a_destination():
    row = rows_of(report(unmatched=[replace(LONE, port=53, source="10.0.0.9", source_port=4000)]))[0]
    told = {name: value for name, value in row.items() if value and not name.startswith("finding_")}
    assert {
        "kind": "unmatched",
        "address": LONE.address,
        "port": "53",
        "source": "10.0.0.9",
        "source_port": "4000",
    } == told


def test_nothing_is_lost_between_chunks():
    ports = range(2 * ROWS_AT_A_TIME + 1)
    told = replace(report(), destinations=LazyRows(lambda: (replace(TOO_BIG, port=port) for port in ports), len(ports)))
    assert [str(port) for port in ports for _ in TOO_BIG.findings] == [row["port"] for row in rows_of(told)]


def test_an_empty_report_has_a_header():
    assert "".join(report_csv(report())).startswith("kind,address,port,verdict,")
    assert "".join(EventsCsv().end(report(), 80)).startswith("frame,time,family,type,code,")


def test_untrusted_text_is_escaped_in_csv():
    evil = replace(REFUSED, notes=("\x1b[2J\n",))
    assert r"\x1b[2J\n" in "".join(report_csv(report(evil)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("=1+2", "'=1+2"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("@SUM(1)", "'@SUM(1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("-", "'-"),
        ("-1.5", "-1.5"),
        ("+7", "+7"),
        ("-1e3", "-1e3"),
        ("", ""),
        ("a=1", "a=1"),
        (" =1", " =1"),
    ],
)
def test_a_cell_that_could_be_a_formula_gets_a_quote(text, told):
    assert told == harmless(text)


def test_no_format_has_a_formula_in_a_cell():
    evil = '=HYPERLINK("http://x","y")'
    notes = replace(REFUSED, notes=(evil, "b"), findings=(replace(REFUSED.findings[0], notes=(evil,), reporter=evil),))
    row = rows_of(report(notes))[0]
    assert ["'" + evil + "; b", "'" + evil, "'" + evil] == [
        row[name] for name in ("notes", "finding_notes", "finding_reporter")
    ]
    assert "'@a\n-1,'=x\n" == csv_text([["@a"], [-1, "=x"]])


def test_cells_are_quoted_if_necessary():
    told = [["a,b", 'say "x"', "", None, 1.5, True, [1, 2], {"a": "b"}, ["x", "y"]]]
    assert [["a,b", 'say "x"', "", "", "1.5", "true", "[1,2]", '{"a":"b"}', "x; y"]] == list(
        csv.reader(io.StringIO(csv_text(told)))
    )


def test_events_are_written_as_they_come():
    told = EventsCsv()
    text = told.add([]) + told.add([EVENT]) + told.add([EVENT_V6]) + "".join(told.end(report(), 80))
    rows = list(csv.DictReader(io.StringIO(text)))
    assert ["7", "123456"] == [row["frame"] for row in rows]
    assert set(Event.__struct_fields__) - set(rows[0]) == {"time_ns", "quoted"}
    assert rows[0]["quoted_udp_checksum"] == str(0xBEEF)
    assert json.loads(rows[0]["extensions"]) == [{"class": 1, "labels": [16]}]
