import csv
import io
import json
from dataclasses import fields, replace

from samples import (
    ANSWERED,
    EVENT,
    EVENT_V6,
    LONE,
    LOOP,
    REFUSED,
    TOO_BIG,
    report,
)

from udpprobe.core.model import Destination, Finding
from udpprobe.core.verdicts import meaning_of
from udpprobe.reports import machine

REPORT = report(REFUSED, TOO_BIG, LOOP, ANSWERED, unmatched=[LONE], faults={"truncated": 3})

# the contract with scripts: a field may be added, none renamed or dropped
REPORT_KEYS = {"schema", "command", "version", "source", "destinations", "unmatched", "faults"}
SOURCE_KEYS = {"kind", "name", "link_types", "packets", "bytes", "first_time", "last_time", "dropped",
               "cut_short"}
DESTINATION_KEYS = {"address", "port", "verdict", "errno", "meaning", "sent", "sent_bytes", "answered",
                    "errors", "rtt_ms", "findings"}
FINDING_KEYS = {"verdict", "errno", "family", "icmp_type", "icmp_code", "reason", "reporter", "count",
                "first_time", "last_time", "mtu", "match", "loop", "notes"}
EVENT_KEYS = {"frame", "time", "family", "type", "code", "verdict", "errno", "reporter", "mtu", "quoted",
              "match", "matched_frame", "rtt_ms", "extensions", "notes"}
QUOTED_KEYS = {"source", "source_port", "destination", "destination_port", "ip_id", "ttl", "ip_length",
               "udp_length", "udp_checksum", "bytes"}


def report_json(told, width):
    return "".join(machine.report_json(told, width))


def report_ndjson(told, width):
    return "".join(machine.report_ndjson(told, width))


def report_csv(told, width):
    return "".join(machine.report_csv(told, width))


def _rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_json_has_every_field_of_the_contract():
    told = json.loads(report_json(REPORT, 80))
    assert REPORT_KEYS <= set(told)
    assert SOURCE_KEYS <= set(told["source"])
    for each in told["destinations"]:
        assert DESTINATION_KEYS <= set(each)
        for found in each["findings"]:
            assert FINDING_KEYS <= set(found)
    assert FINDING_KEYS | {"address", "port"} <= set(told["unmatched"][0])
    assert EVENT_KEYS <= set(json.loads(machine.event_lines([EVENT])))
    assert QUOTED_KEYS <= set(json.loads(machine.event_lines([EVENT]))["quoted"])


def test_json_has_the_values_of_the_report():
    told = json.loads(report_json(REPORT, 80))
    assert told["schema"] == "udpprobe.report/1"
    assert told["source"]["first_time"] == "2023-11-14T22:13:20.123456789Z"
    assert told["destinations"][0]["findings"][0]["rtt_ms"] == {"min": 0.1, "median": 0.213457, "max": 0.4}
    assert told["destinations"][2]["findings"][0]["loop"] == {"routers": ["192.0.2.1", "192.0.2.2"],
                                                              "period": 2}
    assert told["unmatched"][0]["address"] == "192.0.2.77"
    assert told["faults"] == {"truncated": 3}


def test_json_of_a_name_that_is_no_text_is_valid_and_ascii():
    text = report_json(report(name="caf\udce9\x1b.pcap"), 80)
    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)["source"]["name"] == "caf\\udce9\x1b.pcap"


def test_ndjson_ends_with_a_summary():
    lines = [json.loads(line) for line in report_ndjson(REPORT, 80).splitlines()]
    assert [line["kind"] for line in lines] == ["destination"] * 4 + ["unmatched", "summary"]
    assert lines[-1]["source"]["packets"] == 12345
    assert lines[-1]["faults"] == {"truncated": 3}
    whole = json.loads(report_json(REPORT, 80))
    assert {"kind": "destination", **whole["destinations"][1]} == lines[1]
    assert {"kind": "unmatched", **whole["unmatched"][0]} == lines[4]


def test_csv_has_a_row_a_finding_and_columns_from_the_fields():
    rows = _rows(report_csv(REPORT, 80))
    assert ["refused", "expired", "too-big", "loop", "", "prohibited"] == [
        row["finding_verdict"] for row in rows]
    assert ["destination"] * 5 + ["unmatched"] == [row["kind"] for row in rows]
    assert {"finding_" + field.name for field in fields(Finding)} - set(rows[0]) == {
        "finding_first_time_ns", "finding_last_time_ns", "finding_rtt_ms", "finding_loop"}
    assert {field.name for field in fields(Destination)} - set(rows[0]) == {"findings", "rtt_ms"}
    assert rows[0]["finding_first_time"] == "2023-11-14T22:13:20.123456789Z"
    assert rows[3]["finding_loop_routers"] == "192.0.2.1; 192.0.2.2"
    assert rows[4]["rtt_ms_median"] == "2.5"


def test_csv_of_nothing_has_its_header():
    assert report_csv(report(), 80).startswith("kind,address,port,verdict,")
    assert machine.events_csv(report(), [], 80).startswith("frame,time,family,type,code,")


def test_csv_escapes_what_came_from_outside():
    evil = replace(REFUSED, notes=("\x1b[2J\n",))
    assert r"\x1b[2J\n" in report_csv(report(evil), 80)


def test_events_are_told_in_order_and_alike_in_every_format():
    lines = [json.loads(line) for line in machine.events_ndjson(REPORT, [EVENT, EVENT_V6], 80).splitlines()]
    whole = json.loads(machine.events_json(REPORT, [EVENT, EVENT_V6], 80))
    rows = _rows(machine.events_csv(REPORT, [EVENT, EVENT_V6], 80))
    assert lines == whole["events"]
    assert whole["schema"] == "udpprobe.events/1"
    assert ["7", "123456"] == [row["frame"] for row in rows]
    assert rows[0]["quoted_udp_checksum"] == str(0xBEEF)
    assert json.loads(rows[0]["extensions"]) == [{"class": 1, "labels": [16]}]


def test_meanings_are_told_alike_in_every_format():
    asked = [meaning_of(4, 3, 3), meaning_of(6, 100, 0), meaning_of(4, 3, -1)]
    told = json.loads(machine.meanings_json(asked, 80))
    rows = _rows(machine.meanings_csv(asked, 80))
    assert told["schema"] == "udpprobe.explain/1"
    assert told["errors"] == [json.loads(line) for line in machine.meanings_ndjson(asked, 80).splitlines()]
    assert told["errors"][0]["linux"] == {"unconnected": None, "connected": "ECONNREFUSED",
                                          "recverr": "ECONNREFUSED"}
    assert [("refused", "rejected"), (None, None), ("unreachable", None)] == [
        (each["verdict"], each["verdict_otherwise"]) for each in told["errors"]]
    assert [3, 0, None] == [each["code"] for each in told["errors"]]
    assert ["3", "0", "*"] == [row["code"] for row in rows]
    assert ["ECONNREFUSED", "EPROTO", ""] == [row["linux_recverr"] for row in rows]
