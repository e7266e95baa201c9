"""Spoilt captures through the whole analysis: whatever the bytes, it raises nothing, ends soon, and takes little.

A few seconds of the same files in each `make test`. `make fuzz` tries others, for SECONDS (UDPPROBE_FUZZ_S).
"""

from __future__ import annotations

import gzip
import io
import json
import os
import random
import signal
import struct
import time
import tracemalloc
from contextlib import contextmanager

import containers as c
import pytest
import zstandard
from containers import rows_of
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from pcaps_readme import EXPECTED, PCAPS
from profiles import IS_FUZZING
from worlds import any_frames

from udpprobe.capture.files import CaptureFile
from udpprobe.capture.inputs import Inputs
from udpprobe.commands.analyze import AnalyzeOptions, analyze
from udpprobe.errors import CaptureError
from udpprobe.reports import OutputFormat, events_in, report_pieces

EXAMPLES = 100
"""In a round, between two looks at the clock."""

ROUNDS = 3
"""At least. In `make test` there are no more, so that a busy machine tests as much as an idle one."""

BUDGET_S = float(os.environ.get("UDPPROBE_FUZZ_S", "0"))
FIRST_SEED = random.SystemRandom().randrange(1 << 32) if IS_FUZZING else 0

ENOUGH_S = 20 * int(os.environ.get("UDPPROBE_PATIENCE", "1"))
"""Far more than any of these small files may take, on a machine however busy (but for `make sanitize`)."""

MEMORY_BYTES, BYTES_A_BYTE = 56 << 20, 256
"""What an analysis may take, and what more for each byte of its file. Room for rows that wait to be put in order of
time is 40 MB, little of which is ever touched."""

CAPTURES = [(PCAPS / name).read_bytes() for name in EXPECTED]
TELLING = (0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)

# ---- what becomes of a capture

places = st.integers(0, 1 << 16)
telling = st.one_of(st.sampled_from(TELLING), st.integers(0, 2**32 - 1))


def flip(data, at, value, size):
    """Some bits of a few bytes."""
    end, bits = at + size % 5 + 1, value & 0xFF or 1
    return data[:at] + bytes(byte ^ bits for byte in data[at:end]) + data[end:]


def overwrite(data, at, value, size):
    field = struct.pack("<>"[size % 2] + "I", value)[: (4, 2)[size // 2 % 2]]
    return data[:at] + field + data[at + len(field) :]


def remove(data, at, value, size):
    del value
    return data[:at] + data[at + size :]


def repeat(data, at, value, size):
    return data[:at] + data[at : at + size] * (value % 4 + 1) + data[at + size :]


def insert(data, at, value, size):
    return data[:at] + struct.pack("<I", value) * (size % 9) + data[at:]


def splice(data, at, value, size):
    """A piece of another capture."""
    other = CAPTURES[value % len(CAPTURES)]
    return data[:at] + other[size : size + 400] + data[at:]


def cut(data, at, value, size):
    del value, size
    return data[:at]


CHANGES = (flip, flip, overwrite, overwrite, remove, repeat, insert, splice, cut)
changes = st.lists(st.tuples(st.sampled_from(CHANGES), places, telling, st.integers(0, 300)), max_size=6)


@st.composite
def spoilt_captures(draw):
    """One of ours after some accidents."""
    data = draw(st.sampled_from(CAPTURES))
    for change, place, value, size in draw(changes):
        data = change(data, place % (len(data) + 1), value, size)
    return data


def in_container(frames, variant, snap):
    """Frames that may be nonsense in a container that is none."""
    order, link_type = "<>"[variant % 2], frames[0][0] if frames else 1
    step_ns = 0 if variant & 4 else 10**6
    some = [c.Frame(number * step_ns, data, len(data) + snap) for number, (_, data) in enumerate(frames)]
    if variant & 4:
        return c.bytes_of_pcapng(some, order=order, link_type=link_type, resolution=variant)
    return c.bytes_of_pcap(some, order=order, nanos=bool(variant & 2), modified=bool(variant & 8), link_type=link_type)


nonsense = st.builds(in_container, any_frames, st.integers(0, 255), st.integers(0, 1500))
rubbish = st.builds(
    lambda magic, rest: magic + rest, st.sampled_from([data[:28] for data in CAPTURES]), st.binary(max_size=300)
)
plain_files = st.one_of(spoilt_captures(), spoilt_captures(), nonsense, rubbish)
files = st.one_of(
    plain_files,
    plain_files,
    plain_files,
    plain_files.map(gzip.compress),
    plain_files.map(zstandard.compress),
    plain_files.map(lambda data: gzip.compress(data)[:-9]),
)
questions = st.builds(
    AnalyzeOptions,
    all_destinations=st.booleans(),
    loop_ttl=st.integers(1, 255),
    group_by=st.sampled_from(("destination", "host", "flow", "reporter")),
)

# ---- what must hold


@contextmanager
def within(seconds):
    """Raises where something does not end."""

    def stop(*_):
        raise TimeoutError(f"still at it after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def within_memory(limit):
    tracemalloc.start()
    try:
        yield
        assert limit > tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def analyzed(file, options):
    """The report and events; None where it is no capture at all, which a user is told."""
    events = []
    try:
        return analyze(Inputs.of(str(file)), options, on_events=events.extend), events
    except CaptureError:
        return None, events


def told_in_every_format(report, events):
    for name in set(OutputFormat) - {OutputFormat.PARQUET}:
        writer = events_in(name, io.StringIO)
        texts = "".join(report_pieces(report, name, 80)), "".join([writer.add(events), *writer.end(report, 80)])
        if name is OutputFormat.JSON:
            assert report.source.packets == json.loads(texts[0])["source"]["packets"]
            json.loads(texts[1])
        assert not any("\x1b" in text for text in texts)


def adds_up(report, events, file):
    capture = CaptureFile(str(file))
    frames = rows_of(capture)
    capture.close()
    assert len(frames) == report.source.packets
    errors = [event.frame for event in events]
    assert sorted(errors) == errors
    # an error about a tunnel's datagram is also one about the datagram inside, but nothing is counted twice
    assert len({(event.frame, repr(event.quoted)) for event in events}) == len(events)
    times_ns = {row.frame: row.time_ns for row in frames}
    assert all(
        event.matched_frame is None
        or event.matched_frame < event.frame
        or times_ns[event.matched_frame] <= times_ns[event.frame]
        for event in events
    )
    assert all(count > 0 for count in report.faults.values())


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz") / "capture"


def check(file, data, options, memory_bytes=MEMORY_BYTES):
    file.write_bytes(data)
    with within(ENOUGH_S), within_memory(memory_bytes + BYTES_A_BYTE * len(data)):
        report, events = analyzed(file, options)
    if report is not None:
        adds_up(report, events, file)
        told_in_every_format(report, events)


def a_round_of(number, file):
    @seed(number)
    @settings(deadline=None, max_examples=EXAMPLES, database=None, suppress_health_check=list(HealthCheck))
    @given(files, questions)
    def holds(data, options):
        check(file, data, options)

    holds()


@pytest.mark.hypothesis  # chooses it for `make fuzz`; the plug-in sees only tests that are properties themselves
@pytest.mark.slow
@pytest.mark.timeout(300 + BUDGET_S)
def test_no_file_makes_the_reader_raise_hang_or_use_much_memory(file):
    started = time.monotonic()
    number = 0
    while number < ROUNDS or time.monotonic() - started < BUDGET_S:
        a_round_of(FIRST_SEED + number, file)
        number += 1


def test_a_compression_bomb_takes_little_memory(file):
    """Zeros are records of no bytes: half a million frames, but nothing that grows with them."""
    bomb = gzip.compress(c.pcap_header() + bytes(8 << 20))
    check(file, bomb, AnalyzeOptions(), 64 << 20)
