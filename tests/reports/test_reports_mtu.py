"""A path MTU in all formats."""

import csv
import io
import json
import re

import pytest
from msgspec.structs import replace
from samples import T0_NS, mtu_report

from udpprobe.pmtud.model import BlackHole, Reported
from udpprobe.reports import OutputFormat
from udpprobe.reports.mtu import MTU_FORMATS, mtu_table, speakers
from udpprobe.reports.text import PLAIN, Style
from udpprobe.tracing.model import Target

ROUTER = Reported("192.0.2.1", 1400, 4, 1401, ())
LIAR = Reported("192.0.2.2", 0, 1, 1500, ("the router reports no MTU",))
TOO_BIG = mtu_report(
    "198.51.100.7",
    mtu=1400,
    verdict="too-big",
    source_address="192.0.2.9",
    control_port=55_555,
    reports=(ROUTER, LIAR),
    sent=9,
    duration_ms=43.6,
    time_ns=T0_NS,
    notes=("the service is silent",),
    advice="Send less.",
    faults={"foreign": 2},
)
OK = replace(TOO_BIG, verdict="ok", path_mtu=1500, udp_payload_max=1472, reports=(), notes=(), advice=None, faults={})
HOLE = replace(TOO_BIG, verdict="black-hole", reports=(), black_hole=BlackHole(1400, 1401, "192.0.2.1", "192.0.2.2"))
SILENT = replace(OK, verdict="silent", path_mtu=None, udp_payload_max=None, proof=None, state="BASE")


def shown(report, output_format=OutputFormat.TABLE):
    return MTU_FORMATS[output_format](report, 80)


def test_the_table_shows_what_fits_who_reported_it_and_advice():
    assert """\
198.51.100.7:53: path MTU 1400, too-big: reported by 192.0.2.1; 9 probes in 43.6
ms.

router     MTU    ICMP errors    smallest packet    remarks
---------  -----  -------------  -----------------  -------------------------
192.0.2.1  1400   4              1401
192.0.2.2  0      1              1500               the router reports no MTU

The service is silent.
UDP payloads of up to 1372 bytes fit (1400 - 28).
A WireGuard tunnel over this path can have an MTU of 1340.
Send less.
Faults: foreign 2.
""" == shown(TOO_BIG)


@pytest.mark.parametrize(
    ("report", "words"),
    [
        (OK, "path MTU 1500, ok: the MTU of eth0; 9 probes"),
        (replace(OK, interface=""), "ok: the MTU of the interface;"),
        (replace(OK, notes=("more was not tried",)), "path MTU 1500, ok: the MTU of eth0; 9 probes"),
        (HOLE, "1401 bytes disappear behind 192.0.2.1, before or at 192.0.2.2, with no ICMP error;"),
        (replace(HOLE, black_hole=BlackHole(1400, 1401, None, None)), "disappear before any router that replies, with"),
        (replace(HOLE, black_hole=None), "path MTU 1400, black-hole;"),
        (
            replace(TOO_BIG, reports=(LIAR,)),
            "path MTU 1400; 192.0.2.2 reports no MTU: hosts have to guess what fits; 9 probes",
        ),
        (
            replace(TOO_BIG, reports=(replace(LIAR, mtu=1480),)),
            "path MTU 1400; 192.0.2.2 reports 1480: hosts that believe it lose packets of 1401\N{EN DASH}1480 bytes; 9 probes",
        ),
        (
            replace(TOO_BIG, reports=(replace(LIAR, mtu=1300),)),
            "path MTU 1400; 192.0.2.2 reports 1300: hosts that believe it send smaller packets than they could;",
        ),
        (replace(OK, path_mtu=1300), "path MTU 1300, ok; 9 probes"),
        (replace(TOO_BIG, reports=()), "too-big;"),
        (SILENT, "198.51.100.7:53: silent: no packet of any size is known to arrive; 9 probes"),
        (replace(SILENT, verdict="unsent", errno="ENETUNREACH"), "198.51.100.7:53: unsent (ENETUNREACH); 9 probes"),
        (
            replace(SILENT, verdict="loop"),
            "198.51.100.7:53: loop: the TTL runs out on the way; udpprobe trace shows where; 9 probes",
        ),
        (replace(SILENT, target=Target("fe80::1", 53, "eth0")), "[fe80::1%eth0]:53: silent"),
        (
            replace(SILENT, verdict="prohibited"),
            "198.51.100.7:53: prohibited: nothing arrives; udpprobe trace shows who reports it; 9 probes",
        ),
        (replace(SILENT, verdict="malformed"), "198.51.100.7:53: malformed; 9 probes"),
    ],
)
def test_the_first_sentence_is_the_verdict_in_words(report, words):
    assert words in " ".join(shown(report).split())
    assert words in shown(report, OutputFormat.MARKDOWN)


def test_markdown_has_the_same_content():
    text = shown(TOO_BIG, OutputFormat.MARKDOWN)
    assert "| 192.0.2.1 | 1400" in text
    assert "- UDP payloads of up to 1372 bytes fit (1400 - 28).\n" in text


def test_json_has_the_documented_fields():
    told = json.loads(shown(HOLE, OutputFormat.JSON))
    assert {
        "schema": "udpprobe.mtu/1",
        "verdict": "black-hole",
        "path_mtu": 1400,
        "udp_payload_max": 1372,
        "target": {"address": "198.51.100.7", "port": 53, "zone": None},
        "reports": [],
        "black_hole": {"largest_passed": 1400, "smallest_lost": 1401, "after": "192.0.2.1", "before": "192.0.2.2"},
    }.items() <= told.items()
    assert told == json.loads(shown(HOLE, OutputFormat.NDJSON))
    assert 1 == shown(HOLE, OutputFormat.NDJSON).count("\n")


def test_a_reported_mtu_has_its_value_and_count():
    first, _ = json.loads(shown(TOO_BIG, OutputFormat.JSON))["reports"]
    assert {"reporter": "192.0.2.1", "mtu": 1400, "count": 4, "smallest": 1401, "notes": []} == first


@pytest.mark.parametrize("report", [TOO_BIG, HOLE])
def test_csv_has_one_row_with_the_same_columns(report):
    (row,) = csv.DictReader(io.StringIO(shown(report, OutputFormat.CSV)))
    assert {"target_address": "198.51.100.7", "target_port": "53", "path_mtu": "1400"}.items() <= row.items()
    assert ("1401" if report is HOLE else "") == row["black_hole_smallest_lost"]


def test_text_from_the_network_is_escaped():
    report = replace(TOO_BIG, notes=("\x1b[31m",), reports=(replace(ROUTER, reporter="\x1b[0m"),))
    assert "\x1b" not in shown(report) + shown(report, OutputFormat.MARKDOWN)


@pytest.mark.parametrize("reports", [(ROUTER,), (replace(LIAR, mtu=1480),)])
def test_the_colour_is_that_of_the_verdict(reports):
    text = MTU_FORMATS[OutputFormat.TABLE](replace(TOO_BIG, reports=reports), 80)
    coloured = mtu_table(replace(TOO_BIG, reports=reports), 80, Style(is_coloured=True))
    assert coloured.startswith("\x1b[31m198.51.100.7:53: path MTU 1400")
    assert text == coloured.replace("\x1b[31m", "").replace("\x1b[0m", "")


def test_routers_are_named_in_the_sentence_and_in_their_rows():
    style = PLAIN._replace(name=lambda address: f"r{address[-1]}.example")
    assert "behind 192.0.2.1 (r1.example), before or at 192.0.2.2 (r2.example), with" in " ".join(
        mtu_table(HOLE, 80, style).split()
    )
    told = mtu_table(TOO_BIG, 120, style)
    assert all(
        re.search(rf"^{re.escape(each.reporter)} .*r{each.reporter[-1]}\.example", told, re.MULTILINE)
        for each in TOO_BIG.reports
    )
    assert set(speakers(HOLE)) == {"192.0.2.1", "192.0.2.2"}
