"""Parquet as DuckDB reads it, whose reader is its own, beside JSON."""

import io
import json
import re

import duckdb
import pytest
from msgspec.structs import replace
from pyarrow.parquet import ParquetFile
from samples import ANSWERED, EVENT, EVENT_V6, LONE, LOOP, REFUSED, TOO_BIG, UNREACHABLE_V6, report

from udpprobe.core.model import Process, WatchedEvent
from udpprobe.reports import parquet
from udpprobe.reports.json import lines, report_json, report_ndjson
from udpprobe.reports.parquet import EventsParquet, report_parquet

REPORT = report(REFUSED, TOO_BIG, LOOP, UNREACHABLE_V6, ANSWERED, unmatched=[LONE], faults={"truncated": 3})
WATCHED = WatchedEvent(
    **{name: getattr(EVENT, name) for name in EVENT.__struct_fields__}, process=Process("resolver", 7), sees="recverr"
)


def _report(told):
    return b"".join(report_parquet(told))


def _events(*events):
    rows = EventsParquet()
    return b"".join([*(rows.add([event]) for event in events), *rows.end(REPORT, 80)])


@pytest.fixture
def ask(tmp_path):
    """What DuckDB answers; `{}` in the query is the file."""
    path = tmp_path / "told.parquet"

    def ask(data, query):
        path.write_bytes(data)
        with duckdb.connect() as database:
            database.execute("SET TimeZone = 'UTC'")  # it would tell local times
            return database.sql(query.format(f"'{path}'")).fetchall()

    return ask


def _as_json(rows):
    """Rows that DuckDB made JSON of; it writes moments in its own way."""
    return [
        json.loads(re.sub(r'"(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d\.\d{9})\+00"', r'"\1T\2Z"', text)) for (text,) in rows
    ]


def _without_empty(record):
    return {name: value for name, value in record.items() if value is not None}


def test_a_destination_is_a_row_with_the_fields_of_json(ask):
    expected = [json.loads(line) for line in "".join(report_ndjson(REPORT)).splitlines()]
    told = _as_json(ask(_report(REPORT), "SELECT to_json(r) FROM {} r WHERE kind = 'destination'"))
    assert [each for each in expected if each["kind"] == "destination"] == told


def test_an_unmatched_error_is_a_row_with_its_one_finding(ask):
    expected = json.loads("".join(report_json(REPORT)))["unmatched"][0]
    (row,) = _as_json(ask(_report(REPORT), "SELECT to_json(r) FROM {} r WHERE kind = 'unmatched'"))
    (finding,) = row.pop("findings")
    assert expected == {
        **finding,
        **{name: row[name] for name in ("address", "port", "source", "source_port", "advice")},
    }
    assert {"kind": "unmatched", "address": LONE.address} == _without_empty(row)


def test_an_event_is_a_row_with_the_fields_of_json(ask):
    told = _as_json(ask(_events(EVENT, EVENT_V6), "SELECT to_json(r) FROM {} r"))
    for each in told:
        # what no two extensions have in common stays JSON
        each["extensions"] = each["extensions"] and [json.loads(text) for text in each["extensions"]]
    assert [json.loads(line) for line in lines([EVENT, EVENT_V6]).splitlines()] == told


def test_events_of_watch_have_their_process(ask):
    assert [("resolver", 7, "recverr")] == ask(_events(WATCHED), "SELECT process.name, process.pid, sees FROM {}")


def test_times_are_timestamps_with_nanoseconds(ask):
    query = "SELECT typeof(time), epoch_ns(time) FROM {}"
    assert [("TIMESTAMPTZ_NS", EVENT.time_ns)] == ask(_events(EVENT), query)


@pytest.mark.parametrize("told", [_report(REPORT), _events(EVENT)], ids=["report", "events"])
def test_source_and_faults_are_in_the_metadata(ask, told):
    ((about,),) = ask(told, "SELECT decode(value) FROM parquet_kv_metadata({}) WHERE decode(key) = 'udpprobe'")
    whole = json.loads("".join(report_json(REPORT)))
    expected = {name: whole[name] for name in ("command", "version", "source", "faults", "interrupted")}
    assert expected == {name: value for name, value in json.loads(about).items() if name != "schema"}


@pytest.mark.parametrize("told", [_report(report()), _events()], ids=["report", "events"])
def test_an_empty_report_is_a_table_without_rows(ask, told):
    assert [(0,)] == ask(told, "SELECT count(*) FROM {}")


def test_a_report_comes_in_row_groups(monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_ROWS", 2)
    assert [2, 2, 1, 1] == _group_sizes(_report(REPORT))


def test_events_are_written_as_soon_as_a_row_group_is_full(monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_EVENTS", 3)
    rows = EventsParquet()
    told = [rows.add([EVENT, EVENT]), rows.add([EVENT, EVENT]), rows.add([EVENT]), b"".join(rows.end(REPORT, 80))]
    assert [False, True, False, True] == [bool(chunk) for chunk in told]
    assert [3, 2] == _group_sizes(b"".join(told))


def _group_sizes(data):
    metadata = ParquetFile(io.BytesIO(data)).metadata
    return [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]


def test_row_groups_do_not_depend_on_how_events_arrive(monkeypatch):
    monkeypatch.setattr(parquet, "GROUP_EVENTS", 3)
    files = []
    for size in (1, 2, 5, 8):
        rows, events = EventsParquet(), [replace(EVENT, frame=number) for number in range(8)]
        told = [rows.add(events[first : first + size]) for first in range(0, 8, size)]
        files.append(b"".join([*told, *rows.end(REPORT, 80)]))

    assert [files[0]] * 4 == files


def test_a_name_of_any_bytes_is_stored(ask):
    odd = replace(REFUSED, notes=("caf\udce9",))
    assert [(["caf\\udce9"],)] == ask(_report(report(odd)), "SELECT notes FROM {}")
