"""Our events compared with tshark's, on every capture of pcaps/; and tshark's with the corpus's truth."""

from __future__ import annotations

import pytest
from analyzing import events_of
from oracle import errors_in, needs_tshark, packets_of, packets_of_each
from pcaps_readme import EXPECTED, PCAPS
from test_truth import CAPTURES, by_id, every_capture, needs_corpus, truth_about

EVERYTHING = None
BY_ID = {"match", "matched_frame"}
LEGITIMATE = {  # where we differ: the fields, or EVERYTHING where only one of us has the row
    # behind the NAT the source is another; our match is by destination, id and length
    ("nat-rewritten.pcapng", 2): BY_ID,
    ("nat-rewritten.pcapng", 4): BY_ID,
    ("correlation.pcap", 8): BY_ID,
    # of two interfaces, frames stand out of order; the oracle goes by frames, we by time stamps
    ("both-sides.pcapng", 4): {"matched_frame"},
    ("both-sides.pcapng", 11): {"matched_frame"},
    # the oracle knows IPv4's id only; ours takes the fragment header's too
    ("reassembly.pcap", 8): {"match"},
    # the oracle goes by ports; a later fragment has none, but the id of its first
    ("quotes-fragments.pcap", 3): BY_ID,
    ("quotes-fragments.pcap", 6): BY_ID,
    # tshark believes that the quote has an IP header; so little of one has no addresses: a fault for us
    ("quotes-short.pcap", 8): EVERYTHING,
    ("quotes-short.pcap", 16): EVERYTHING,
    # an id that agrees once its bytes are swapped
    ("quotes-altered.pcap", 4): {"match"},
    # tshark believes a total length of 20, though UDP stands behind it; and makes up one where it is 0
    ("quotes-altered.pcap", 6): {*BY_ID, "source_port", "destination_port", "udp_length", "udp_checksum"},
    ("quotes-altered.pcap", 8): {"ip_length"},
    # tshark reads no quote in an ICMPv6 error that nobody has defined (RFC 4443, 2.4 a: pass it on)
    ("kinds.pcap", 72): EVERYTHING,
    ("kinds.pcap", 74): EVERYTHING,
}

pytestmark = [pytest.mark.slow, needs_tshark]


@pytest.fixture(scope="module")
def packets(tmp_path_factory):
    """Of each capture of pcaps/ and of the corpus."""
    # of blocks without a packet, which tshark numbers, only a pcapng file of the corpus has some
    alone = {path: list(packets_of(path)) for path in CAPTURES if path.suffix == ".pcapng"}
    files = [*(PCAPS / name for name in EXPECTED), *(path for path in CAPTURES if path not in alone)]
    return alone | packets_of_each(files, tmp_path_factory.mktemp("merged"))


@pytest.mark.parametrize("name", EXPECTED)
def test_tshark_sees_the_same_errors(packets, name, tmp_path):
    ours, theirs = by_frame(events_of(PCAPS / name, tmp_path)), by_frame(errors_in(packets[PCAPS / name]))
    known = {frame: fields for (capture, frame), fields in LEGITIMATE.items() if capture == name}
    alone = {frame for frame, fields in known.items() if fields is EVERYTHING}
    assert set(ours) ^ set(theirs) == alone
    for frame in set(ours) & set(theirs):
        assert known.get(frame, set()) == differences(ours[frame], theirs[frame]), ours[frame]


@needs_corpus
@every_capture
def test_the_oracle_agrees_with_the_truth(packets, capture):
    for row, error in zip(truth_about(capture), errors_in(packets[capture]), strict=True):
        found = {**error, **error["quoted"], "matched_frame": (error["matched_frames"] or [None])[-1]}
        assert row == {name: found[name] for name in row}


def by_frame(rows):
    """By frame, what is told first: of a tunnel and what is inside, the tunnel."""
    return {row["frame"]: row for row in reversed(rows)}


def differences(event, error):
    """Names of the fields in which an event is not what tshark says."""
    theirs = {name: error[name] for name in ("family", "type", "code", "mtu", "reporter", "match")}
    theirs |= {name: value for name, value in error["quoted"].items() if name != "protocol"}
    ours = {**event, **event["quoted"], "match": by_id(event)}
    unlike = {name for name, value in theirs.items() if ours[name] != value}
    same_datagram = event["matched_frame"] in (error["matched_frames"] or [None])
    return unlike if same_datagram else unlike | {"matched_frame"}
