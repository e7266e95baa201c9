"""The walk in lock-step comes to what walking record by record does, whatever the file."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import containers as c
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from profiles import examples
from source_rows import plain_pcap, plain_pcapng, read, rows_from

from udpprobe.errors import CaptureError
from udpprobe.sources import chain

RECORD = c.pcap_record(c.Frame(c.START_NS, b"inner frame, 24 bytes ok"))
BLOCK = c.enhanced(c.Frame(c.START_NS, b"inner frame, 24 bytes ok"))
SEEDS = st.integers(0, 1 << 32)
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=9)))
HEADS = st.sampled_from([b"", c.pcap_header(), c.pcap_header(order=">", modified=True), c.section(),
                         c.section() + c.interface(), c.section(">"), b"\x1f\x8b", b"\x28\xb5\x2f\xfd"])
PROFILE = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(autouse=True)
def lockstep_from_the_first_record(monkeypatch):
    """Small files are worth no cursors; here they get some all the same."""
    monkeypatch.setattr(chain, "SAMPLE_RECORDS", 1)
    monkeypatch.setattr(chain, "FEWEST_SEGMENTS", 2)


def frames_of(seed, count, kinds):
    """Frames of random sizes; their content is zeros, noise, or rubbish that looks like records."""
    rng = random.Random(seed)
    contents = {"zeros": bytes(1600), "noise": rng.randbytes(1600), "records": RECORD * 40,
                "blocks": b"\0\0" + BLOCK * 28, "lengths": struct.pack("<I", 6) * 400}
    sizes = [rng.choice([0, 1, 20, 60, 90, 300, 1400]) for _ in range(count)]
    return [c.Frame(c.START_NS + number * 1000, contents[rng.choice(kinds)][rng.randrange(40):][:size])
            for number, size in enumerate(sizes)]


KINDS = st.lists(st.sampled_from(["zeros", "noise", "records", "blocks", "lengths"]), min_size=1, unique=True)


@PROFILE
@given(SEEDS, st.integers(1, 400), KINDS, st.sampled_from([4096, 20_000, 1 << 26]))
def test_pcap_is_read_like_record_by_record(seed, count, kinds, window_bytes):
    frames = frames_of(seed, count, kinds)
    rows, state = read(c.bytes_of_pcap(frames), window_bytes=window_bytes)

    assert rows_from(frames, unit_ns=1000) == rows
    assert not state.cut_short


@PROFILE
@given(SEEDS, st.integers(1, 400), KINDS, st.sampled_from([4096, 20_000, 1 << 26]),
       st.sampled_from("<>"))
def test_pcapng_is_read_like_block_by_block(seed, count, kinds, window_bytes, order):
    frames = frames_of(seed, count, kinds)
    rows, state = read(c.bytes_of_pcapng(frames, order=order), window_bytes=window_bytes)

    assert rows_from(frames, unit_ns=1000) == rows
    assert not state.cut_short


@PROFILE
@given(SEEDS, st.integers(50, 300), KINDS, DAMAGE)
def test_damaged_pcap_is_read_like_record_by_record(seed, count, kinds, damage):
    data = damaged(c.bytes_of_pcap(frames_of(seed, count, kinds)), damage, spare=24)
    rows, state = read(data)

    assert plain_pcap(data) == (rows, state.cut_short, dict(state.faults))


@PROFILE
@given(SEEDS, st.integers(50, 300), KINDS, DAMAGE)
def test_damaged_pcapng_is_read_like_block_by_block(seed, count, kinds, damage):
    data = damaged(c.bytes_of_pcapng(frames_of(seed, count, kinds)), damage, spare=48)

    assert plain_pcapng(data) == read(data)[0]


def damaged(data, damage, spare):
    """Overwrites bytes at the given fractions of the file, behind its first `spare` bytes."""
    data = bytearray(data)
    for where, rubbish in damage:
        at = spare + int(where * (len(data) - spare))
        data[at:at + len(rubbish)] = rubbish[:len(data) - at]
    return bytes(data)


@PROFILE
@given(HEADS, st.binary(max_size=2000))
def test_no_bytes_raise_anything_but_a_capture_error(head, rubbish):
    rows = []
    with suppress(CaptureError):
        rows, _ = read(head + rubbish)

    assert [row.frame for row in rows] == sorted({row.frame for row in rows})


def test_cursors_that_do_not_move_are_left_behind():
    """Blocks of length 0 in the payload, where the guesses fall."""
    trap = c.padded(struct.pack("<2I", c.ENHANCED_PACKET, 12) + bytes(4)) + bytes(1000)
    frames = [c.Frame(c.START_NS, b"\0\0" + trap)] * 300

    assert rows_from(frames, unit_ns=1000) == read(c.bytes_of_pcapng(frames))[0]


def test_a_bad_length_that_lands_on_a_record_is_not_stepped_over():
    good = c.pcap_record(c.Frame(c.START_NS, bytes(1000)))
    count = 262_145 // len(good) + 1
    bad = struct.pack("<4I", c.START_NS // 10**9, 0, count * len(good), 0)
    data = c.pcap_header(snap=1 << 30) + good * 2000 + bad + good * 3000

    assert plain_pcap(data) == (read(data)[0], True, {"bad-record": 1})


def test_a_long_rest_of_the_time_stamps_does_not_lose_records():
    """The guesses go by the first time stamp; months later they find nothing."""
    frames = [c.Frame(c.START_NS + number * 3600 * 10**9, bytes(number % 200)) for number in range(3000)]

    assert rows_from(frames, unit_ns=1000) == read(c.bytes_of_pcap(frames))[0]
