import csv
import io
import json

import pytest

from udpprobe.core.model import Planned
from udpprobe.reports import OutputFormat
from udpprobe.reports.lists import ROWS_FORMATS, payload_rows, plan_rows

PLAN = plan_rows(
    [
        Planned("10.0.0.1", 53, "dns", 55, "10.0.0.2", 4000, None),
        Planned("2001:db8::1", 7, "token", 56, None, None, "ENETUNREACH"),
    ]
)
PAYLOADS = payload_rows([("quic", "443,80", 1200, "yes", "RFC 9000 6"), ("x|\x1b", "any", 1, "no", "a, b")])


def _told(rows, name):
    return ROWS_FORMATS[OutputFormat(name)](rows, 80)


def test_a_plan_in_json_has_its_schema():
    told = json.loads(_told(PLAN, "json"))
    assert ("udpprobe.plan/1", 2) == (told["schema"], len(told["probes"]))
    assert {
        "address": "2001:db8::1",
        "port": 7,
        "payload": "token",
        "bytes": 56,
        "source": None,
        "source_port": None,
        "errno": "ENETUNREACH",
    } == told["probes"][1]


def test_ndjson_has_one_line_per_row():
    assert [53, 7] == [json.loads(line)["port"] for line in _told(PLAN, "ndjson").splitlines()]


def test_csv_has_the_columns_of_json():
    rows = list(csv.DictReader(io.StringIO(_told(PLAN, "csv"))))
    assert ["10.0.0.1", "2001:db8::1"] == [row["address"] for row in rows]
    assert set(json.loads(_told(PLAN, "json"))["probes"][0]) == set(rows[0])
    assert "" == rows[1]["source"]


def test_a_table_has_one_line_per_row():
    assert ["2001:db8::1", "7", "token", "56", "ENETUNREACH"] == _told(PLAN, "table").splitlines()[3].split()


def test_a_long_list_of_ports_can_be_wrapped():
    many = payload_rows([("dtls", ",".join(map(str, range(5000, 5100))), 115, "yes", "RFC 6347 4.1,  4.2.1")])
    assert max(map(len, _told(many, "table").splitlines())) <= 80


@pytest.mark.parametrize("name", ["table", "csv", "markdown"])
def test_no_text_can_control_a_terminal(name):
    text = _told(PAYLOADS, name)
    assert "\x1b" not in text
    assert r"\x1b" in text


def test_a_vertical_bar_does_not_end_a_markdown_cell():
    assert r"x\|\x1b" in _told(PAYLOADS, "markdown")
