"""Every row of the corpus's truth tables, found by `udpprobe analyze --events`; and no row more."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest
from analyzing import events_of

CORPUS = Path(os.environ.get("UDPPROBE_CORPUS", ""))
CAPTURES = sorted((CORPUS / "pcap").glob("*")) if "UDPPROBE_CORPUS" in os.environ else []
KINDS = {"tuple+id": "exact", "tuple": "flow", "none": "none"}

needs_corpus = pytest.mark.skipif(not CAPTURES, reason="UDPPROBE_CORPUS names no captures with truth")
every_capture = pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.name.partition("__")[2])


@needs_corpus
@every_capture
def test_every_error_is_found_and_none_is_invented(capture, tmp_path):
    assert truth_about(capture) == [told(event) for event in events_of(capture, tmp_path)]


def truth_about(capture):
    """Rows of the table; a negative has none."""
    table = CORPUS / "truth" / f"{capture.name}.tsv"
    if not table.exists():
        return []
    with table.open() as rows:
        return [expected(row) for row in csv.DictReader(rows, delimiter="\t")]


def expected(row):
    matched = row["sum_match"] or row["match"]  # where they differ, the checksum is better evidence
    header = 40 if row["qfam"] == "v6" else 0  # the table has IPv6's payload length
    return {
        "frame": int(row["frame"]),
        "family": int(row["fam"][1]),
        "type": int(row["type"]),
        "code": int(row["code"]),
        "mtu": number(row["mtu"]),
        "reporter": row["reporter"],
        "match": KINDS[row["mkind"]],
        "matched_frame": number(matched),
        "source": row["qsrc"],
        "source_port": number(row["qsport"]),
        "destination": row["qdst"],
        "destination_port": number(row["qdport"]),
        "ip_id": number(row["qid"]),
        "ttl": int(row["qttl"]),
        "ip_length": header + int(row["qiplen"]),
        "udp_length": number(row["qulen"]),
        "udp_checksum": number(row["qsum"]),
    }


def number(text):
    return int(text, 0) if text else None


def told(event):
    """The same fields of an event."""
    quoted = {name: value for name, value in event["quoted"].items() if name != "bytes"}
    of_event = ("frame", "family", "type", "code", "mtu", "reporter", "match", "matched_frame")
    return {**{name: event[name] for name in of_event}, **quoted, "match": by_id(event)}


def by_id(event):
    """How sure the match is by the IPv4 id alone, 0 too, as the tables have it."""
    is_by_id = "ip-id" in event["match_evidence"] or event["quoted"]["ip_id"] == 0
    return "flow" if event["match"] == "exact" and not is_by_id else event["match"]
