"""Each capture of pcaps/ three ways: whole, in batches of one, and cut at every byte. Same rows up to the cut."""

from __future__ import annotations

import os
from functools import cache

import numpy as np
import pytest
from feeding import EVERYTHING, batch_of, follow
from pcaps_readme import EXPECTED, PCAPS

from udpprobe.core.batch import tick
from udpprobe.core.decoding.decode import decode_odd
from udpprobe.core.notes import Note
from udpprobe.errors import CaptureError
from udpprobe.sources import open_captures

every_capture = pytest.mark.parametrize("name", EXPECTED)
SMALL_BYTES, STRIDE = 2500, 11
"""Files up to this size are cut at every byte, the others at every so many."""

MISSING = {"ports": Note.NO_PORTS, "length": Note.NO_LENGTH, "checksum": Note.NO_CHECKSUM}


def frames_of(path):
    """(bytes, link type, time, length on the wire) of each frame."""
    rows = []
    for batch in open_captures([str(path)]):
        spans = zip(batch.offset.tolist(), (batch.offset + batch.captured).tolist(), strict=True)
        data = [batch.data[start:end].tobytes() for start, end in spans]
        rows += zip(data, batch.link_type.tolist(), batch.time_ns.tolist(), batch.length.tolist(), strict=True)
    return rows


@cache
def whole(name):
    return frames_of(PCAPS / name)


def batches_of_one(frames):
    for number, (data, link_type, time_ns, length) in enumerate(frames, 1):
        yield batch_of([data], [link_type], first=number, times_ns=[time_ns], lengths=[length])


def one_batch(frames):
    data, link_types, times, lengths = zip(*frames, strict=True)
    return batch_of(data, list(link_types), times_ns=times, lengths=lengths)


@every_capture
def test_batches_of_one_tell_what_one_batch_tells(name):
    one, many = follow([one_batch(whole(name))]), follow(batches_of_one(whole(name)))
    assert (one.destinations, one.unmatched, one.events, one.faults) == (
        many.destinations, many.unmatched, many.events, many.faults)


@every_capture
def test_a_tick_behind_every_frame_changes_no_report(name):
    ticked = follow(each for batch in batches_of_one(whole(name)) for each in (batch, tick(int(batch.time_ns[0]))))
    one = follow([one_batch(whole(name))], EVERYTHING)
    assert (one.destinations, one.unmatched, one.faults) == (ticked.destinations, ticked.unmatched, ticked.faults)


@every_capture
def test_a_file_cut_at_every_byte_has_the_frames_before_the_cut(name, tmp_path):
    content = (PCAPS / name).read_bytes()
    cut = tmp_path / name
    cut.write_bytes(content)
    for size in range(len(content), 0, -1 if len(content) <= SMALL_BYTES else -STRIDE):
        os.truncate(cut, size)
        try:
            found = frames_of(cut)
        except CaptureError:
            assert size < 24 or content[:4] == b"\x0a\x0d\x0d\x0a"
            continue
        assert whole(name)[:len(found)] == found
        assert len(whole(name)) > len(found) or size == len(content)


# ---- each frame cut at every byte

def told_of(datagrams, errors, count):
    """What was read of each frame: its datagrams, and its error or none."""
    names = ("source_high", "source_low", "destination_high", "destination_low", "ports", "detail")
    rows = [([], []) for _ in range(count)]
    for kind, columns, more in ((0, datagrams, ("ip_length", "link")), (1, errors, (
            "family", "type", "code", "mtu", "reporter_high", "reporter_low", "ip_length", "notes"))):
        values = [getattr(columns, each).tolist() for each in (*names, *more)]
        for frame, row in zip(columns.frame.tolist(), zip(*values, strict=True), strict=True):
            rows[frame - 1][kind].append(dict(zip((*names, *more), row, strict=True)))
    return rows


def known_part(error):
    """The fields of an error that its quote reaches."""
    bits, detail = error["notes"], error["detail"]
    parts = {"ports": error["ports"], "length": detail >> 32 & 0xFFFF, "checksum": detail >> 16 & 0xFFFF,
             "id and ttl": (detail >> 48, detail >> 8 & 0xFF)}
    fixed = {key: value for key, value in error.items() if key not in {"notes", "detail", "ports"}}
    return fixed | {key: value for key, value in parts.items() if not bits & MISSING.get(key, 0)}


@every_capture
def test_a_frame_cut_at_every_byte_has_the_same_rows_up_to_the_cut(name):
    for data, link_type, _, length in dict.fromkeys(whole(name)):
        cuts = [data[:size] for size in range(len(data) + 1)]
        datagrams, errors, _, _ = decode_odd(batch_of(cuts, link_type, lengths=[max(length, len(data))] * len(cuts)))
        *rows, (last_datagrams, last_errors) = told_of(datagrams, errors, len(cuts))
        for found, found_errors in rows:
            assert found == last_datagrams[:len(found)]
            assert len(found_errors) <= len(last_errors)
            for error, last in zip(found_errors, last_errors, strict=False):
                assert known_part(error).items() <= known_part(last).items()
        counts = [len(found) + len(some) for found, some in rows]
        assert counts == sorted(counts)


def test_what_is_cut_to_nothing_is_still_a_frame():
    frames = [replace_bytes(frame, b"") for frame in whole("refused.pcap")]
    assert len(frames) == follow([one_batch(frames)]).summary.packets
    assert np.sum([length for _, _, _, length in frames]) == follow([one_batch(frames)]).summary.bytes


def replace_bytes(frame, data):
    return (data, *frame[1:])
