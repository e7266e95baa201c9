"""Each capture of pcaps/ against what expected.toml says must be concluded from it."""

from __future__ import annotations

import pytest
from analyzing import events_of, report_of
from craft import CAPTURES, pcap
from pcaps_readme import EXPECTED, PCAPS, readme
from write_golden import CAPTURES as REPORTED
from write_golden import GOLDEN, golden_file, report_text

HEALTHY = {"answered", "silent"}
OF_DESTINATION = ("verdict", "sent", "answered", "errors")
OF_FINDING = ("reporter", "mtu", "match", "count", "icmp_type", "icmp_code")

every_capture = pytest.mark.parametrize("name", EXPECTED)


@every_capture
def test_every_destination_has_its_verdict(name, tmp_path):
    found = by_destination(report_of(PCAPS / name, tmp_path)["destinations"])
    for row in EXPECTED[name].get("destinations", ()):
        destination = found[row["address"], row["port"]]
        assert pick(row, OF_DESTINATION) == pick(destination, pick(row, OF_DESTINATION))
        if set(row) - {"address", "port", *OF_DESTINATION}:
            assert [finding for finding in destination["findings"] if says(finding, row)], (row, destination)


@every_capture
def test_no_verdict_is_invented(name, tmp_path):
    told = {(row["address"], row["port"]) for row in EXPECTED[name].get("destinations", ())}
    found = by_destination(report_of(PCAPS / name, tmp_path)["destinations"])
    loud = {key for key, destination in found.items() if destination["verdict"] not in HEALTHY}
    assert loud <= told


@every_capture
def test_errors_without_a_datagram_are_listed_separately(name, tmp_path):
    unmatched = report_of(PCAPS / name, tmp_path)["unmatched"]
    expected = EXPECTED[name].get("unmatched", [])
    assert len(expected) == len(unmatched)
    for row in expected:
        assert [found for found in unmatched if pick(row, row) == pick(found, row)]


@every_capture
def test_every_error_is_a_separate_event(name, tmp_path):
    events = events_of(PCAPS / name, tmp_path)
    assert EXPECTED[name].get("event_count", len(events)) == len(events)
    by_frame = {event["frame"]: event for event in events}
    for row in EXPECTED[name].get("events", ()):
        assert row == pick(by_frame[row["frame"]], row)


@pytest.mark.parametrize("name", CAPTURES)
def test_crafted_captures_are_current(name):
    assert pcap(*CAPTURES[name]()) == (PCAPS / name).read_bytes()


def test_every_capture_has_its_expectation_and_its_line():
    captures = {path.name for path in PCAPS.iterdir() if path.suffix in {".pcap", ".pcapng"}}
    assert set(EXPECTED) == captures
    assert readme() == (PCAPS / "README.md").read_text()


def by_destination(destinations):
    return {(destination["address"], destination["port"]): destination for destination in destinations}


def pick(mapping, keys):
    return {key: mapping[key] for key in keys if key in mapping}


def says(finding, row):
    """Whether one finding has all that a row tells of it."""
    loop = finding["loop"] or {"routers": [], "period": None}
    return (
        pick(row, OF_FINDING) == pick(finding, pick(row, OF_FINDING))
        and bool(finding["notes"]) >= row.get("noted", False)
        and set(row.get("routers", ())) <= set(loop["routers"])
        and row.get("period") in {None, loop["period"]}
    )


# ---- every capture of pcaps/ gives the report it gave before; `make golden` takes the new ones over


@pytest.mark.parametrize("capture", REPORTED, ids=lambda path: path.name)
def test_the_report_is_the_golden_one(capture):
    assert golden_file(capture).read_text() == report_text(capture)


def test_every_golden_report_has_its_capture():
    assert {golden_file(capture) for capture in REPORTED} == set(GOLDEN.glob("*.json"))
