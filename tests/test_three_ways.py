"""Each capture of pcaps/ three ways: whole, frame by frame, and cut at every byte. The same rows up to the cut."""

from __future__ import annotations

import os
from functools import cache

import pytest
from containers import rows_of
from following import EVERYTHING, MS, analyzer_of, follow, packets_of, story_of_analyzer
from pcaps_readme import EXPECTED, PCAPS

from udpprobe.capture.files import CaptureFile
from udpprobe.core.notes import Note
from udpprobe.errors import CaptureError

every_capture = pytest.mark.parametrize("name", EXPECTED)
SMALL_BYTES, STRIDE = 2500, 11
"""Files up to this size are cut at every byte, the others at every so many."""


def frames_in(path):
    """(time, bytes, length on the wire, link type) of each frame."""
    file = CaptureFile(str(path))
    try:
        return [(row.time_ns, row.data, row.length, row.link_type) for row in rows_of(file)]
    finally:
        file.close()


@cache
def whole(name):
    return frames_in(PCAPS / name)


@every_capture
def test_frame_by_frame_gives_the_same_report_as_the_whole(name):
    alone = analyzer_of([])
    for frame in whole(name):
        alone.feed_frames([frame])
        alone.flush()
    assert follow(whole(name), EVERYTHING).told == story_of_analyzer(alone).told


@every_capture
def test_a_file_cut_at_every_byte_has_the_frames_before_the_cut(name, tmp_path):
    content = (PCAPS / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(content)
    for size in range(len(content), 0, -1 if len(content) <= SMALL_BYTES else -STRIDE):
        os.truncate(cut, size)
        try:
            found = frames_in(cut)
        except CaptureError:
            assert size < 24 or content[:4] == b"\x0a\x0d\x0d\x0a"
            continue
        assert whole(name)[: len(found)] == found
        assert len(whole(name)) > len(found) or size == len(content)


# ---- each frame cut at every byte


def fields_of(packet):
    return {
        name: getattr(packet, name)
        for name in (
            "is_error",
            "family",
            "source",
            "destination",
            "source_port",
            "destination_port",
            "ip_id",
            "ttl",
            "ip_length",
            "udp_length",
            "udp_checksum",
            "is_tunnelled",
            "is_fragmented",
            *(
                ("reporter", "icmp_type", "icmp_code", "mtu", "reply_ttl", "reply_id", "notes")
                if packet.is_error
                else ()
            ),
        )
    }


def known_part(found):
    """The fields of an error that its quote reaches."""
    if not found["is_error"]:
        return found
    bits = found["notes"]
    missing = {"notes"}
    missing |= {"source_port", "destination_port"} if bits & Note.NO_PORTS else set()
    missing |= {"udp_length"} if bits & Note.NO_LENGTH else set()
    missing |= {"udp_checksum"} if bits & Note.NO_CHECKSUM else set()
    return {name: value for name, value in found.items() if name not in missing}


@every_capture
def test_a_frame_cut_at_every_byte_has_the_same_rows_up_to_the_cut(name):
    for data, link_type, length in dict.fromkeys((frame[1], frame[3], frame[2]) for frame in whole(name)):
        *cuts, last = (
            [fields_of(each) for each in packets_of(data[:size], link_type, length=max(length, len(data)))[0]]
            for size in range(len(data) + 1)
        )
        counts = [len(found) for found in (*cuts, last)]
        assert counts == sorted(counts)
        for found in cuts:
            for one, other in zip(found, last, strict=False):
                assert known_part(one).items() <= other.items()


def test_a_frame_cut_to_nothing_is_still_a_frame():
    frames = [(time_ns, b"", length, link_type) for time_ns, _, length, link_type in whole("refused.pcap")]
    story = follow(frames)
    assert (len(frames), sum(length for _, _, length, _ in frames)) == (story.packets, story.bytes)
    assert frames[0][0] > MS
