"""Records are found alike however their bytes arrive, damaged or not."""

from __future__ import annotations

import random
import struct
from contextlib import suppress

import containers as c
import pytest
import twins
from containers import plain_pcap, plain_pcapng, read, row_of, rows_from
from hypothesis import HealthCheck, example, given
from hypothesis import strategies as st
from profiles import examples

from udpprobe.core import capture
from udpprobe.core.capture import END, FAULTS, FRAME, MORE, WAIT, Entry, Records
from udpprobe.errors import CaptureError

RECORD = c.pcap_record(c.Frame(c.START_NS, b"inner frame, 24 bytes ok"))
BLOCK = c.enhanced(c.Frame(c.START_NS, b"inner frame, 24 bytes ok"))
BLOCK_TYPES = (c.INTERFACE, c.OLD_PACKET, c.SIMPLE_PACKET, c.STATISTICS, c.ENHANCED_PACKET, 9, c.CUSTOM, c.UNKNOWN)
SEEDS = st.integers(0, 1 << 32)
DAMAGE = st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=9)))
HEADS = st.sampled_from(
    [
        b"",
        c.pcap_header(),
        c.pcap_header(order=">", modified=True),
        c.section(),
        c.section() + c.interface(),
        c.section(">"),
        b"\x1f\x8b",
        b"\x28\xb5\x2f\xfd",
    ]
)
KINDS = st.lists(st.sampled_from(["zeros", "noise", "records", "blocks", "lengths"]), min_size=1, unique=True)
CAPACITIES = st.sampled_from([1, 100, 4096, 1 << 20])
PROFILE = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])


def frames_of(seed, count, kinds):
    """Frames of random sizes; their content is zeros, noise, or rubbish that looks like records."""
    rng = random.Random(seed)
    contents = {
        "zeros": bytes(1600),
        "noise": rng.randbytes(1600),
        "records": RECORD * 40,
        "blocks": b"\0\0" + BLOCK * 28,
        "lengths": struct.pack("<I", 6) * 400,
    }
    sizes = [rng.choice([0, 1, 20, 60, 90, 300, 1400]) for _ in range(count)]
    return [
        c.Frame(c.START_NS + number * 1000, contents[rng.choice(kinds)][rng.randrange(40) :][:size])
        for number, size in enumerate(sizes)
    ]


def damaged(data, damage, spare):
    """Overwrites bytes at the given fractions of the file, behind its first `spare` bytes."""
    data = bytearray(data)
    for where, rubbish in damage:
        at = spare + int(where * (len(data) - spare))
        data[at : at + len(rubbish)] = rubbish[: len(data) - at]
    return bytes(data)


def records_of(data, capacity=1 << 20):
    """Of a capture that fits into the buffer, all of it filled in."""
    records = Records(Entry(data[:24]), capacity=capacity)
    data = data[records.begins :]
    records.room()[: len(data)] = data
    records.filled(len(data))
    return records


def walked(data, seed, capacity, core=capture):
    """(rows, torn, dropped, faults, entry at the end): read in fills of random sizes, by either twin."""
    rng, rows = random.Random(seed), []
    records = core.Records(core.Entry(data[:24]), capacity=capacity)
    at = records.begins
    while (outcome := records.next()) != END:
        if outcome == FRAME:
            rows.append(row_of(records))
            continue
        room = records.room()
        some = data[at : at + min(len(room), rng.choice([1, 3, 20, 1000, 1 << 20]))]
        if not some:
            break
        room[: len(some)] = some
        records.filled(len(some))
        at += len(some)
    faults = {name: count for name, count in zip(FAULTS, records.faults, strict=True) if count}
    return rows, records.is_torn, records.dropped, faults, tuple(records.entry)


def random_frames(rng):
    return [
        c.Frame(
            c.START_NS + number * 1000 + rng.choice([0, -5000, 10**9]),
            rng.randbytes(rng.choice([0, 1, 20, 60, 300])),
            rng.choice([None, 1500]),
        )
        for number in range(rng.randrange(1, 40))
    ]


def random_blocks(rng, order):
    """Any blocks in any order."""
    parts = [c.section(order), c.interface(order)]
    for frame in random_frames(rng):
        parts.append(  # noqa: PERF401 - a comprehension of ten lines
            rng.choice(
                [
                    lambda: c.interface(
                        order,
                        rng.choice([1, 113]),
                        rng.choice([0, 30]),
                        rng.choice([None, 9, 0x80 | 20, 13]),
                        rng.choice([None, -(1 << 40), 1 << 62]),
                    ),
                    lambda frame=frame: c.simple(frame, order),
                    lambda frame=frame: c.enhanced(frame, order, rng.randrange(3)),
                    lambda frame=frame: c.old(frame, order, rng.randrange(3)),
                    lambda: c.statistics(
                        order, rng.randrange(2), rng.choice([None, 5, 9]), rng.choice([None, (1 << 64) - 1])
                    ),
                    lambda: c.block(
                        rng.choice(BLOCK_TYPES), rng.randbytes(rng.choice([0, 4, 8, 12, 16, 20, 40])), order
                    ),
                    lambda: c.section(order),
                ]
            )()
        )
    return b"".join(parts)


CAPTURES = (
    lambda rng, order: c.bytes_of_pcap(random_frames(rng), order=order, nanos=rng.random() < 0.3),
    lambda rng, order: c.bytes_of_pcap(random_frames(rng), order=order, modified=True),
    lambda rng, order: c.bytes_of_pcapng(
        random_frames(rng),
        order=order,
        packet=rng.choice([c.enhanced, c.old]),
        resolution=rng.choice([None, 0, 3, 9, 0x80, 0x8A, 0xA1]),
    ),
    lambda rng, _: c.bytes_in_sections(random_frames(rng)),
    random_blocks,
)


@PROFILE
@given(SEEDS, st.sampled_from(CAPTURES), st.sampled_from("<>"), st.integers(0, 5), st.booleans(), CAPACITIES)
def test_damaged_captures_give_the_same_records_however_they_arrive(seed, make, order, count, is_cut, capacity):
    rng = random.Random(seed)
    data = bytearray(make(rng, order))
    for _ in range(count if len(data) > 24 else 0):
        at = rng.randrange(24, len(data))
        rubbish = rng.choice([rng.randbytes(rng.randrange(1, 9)), b"\x06\0\0\0", c.section()[:4], bytes(8)])
        data[at : at + len(rubbish)] = rubbish[: len(data) - at]
    data = bytes(data[: rng.randrange(24, len(data) + 1)] if is_cut else data)
    whole = walked(data, 0, 1 << 20)

    assert whole == walked(data, seed, capacity)
    assert whole == walked(data, seed, capacity, twins.interpreted().capture)


@PROFILE
@given(SEEDS, st.integers(1, 400), KINDS, CAPACITIES)
def test_pcap_is_read_as_it_was_written(seed, count, kinds, capacity):
    frames = frames_of(seed, count, kinds)
    rows, state = read(c.bytes_of_pcap(frames), capacity=capacity)

    assert rows_from(frames, unit_ns=1000) == rows
    assert not state.cut_short


@PROFILE
@given(SEEDS, st.integers(1, 400), KINDS, CAPACITIES, st.sampled_from("<>"))
def test_pcapng_is_read_as_it_was_written(seed, count, kinds, capacity, order):
    frames = frames_of(seed, count, kinds)
    rows, state = read(c.bytes_of_pcapng(frames, order=order), capacity=capacity)

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
@example(0, 50, ["zeros"], [(0.0, b"\t")])
def test_damaged_pcapng_is_read_like_block_by_block(seed, count, kinds, damage):
    data = damaged(c.bytes_of_pcapng(frames_of(seed, count, kinds)), damage, spare=48)

    assert plain_pcapng(data) == read(data)[0]


@PROFILE
@given(HEADS, st.binary(max_size=2000), SEEDS, CAPACITIES)
def test_any_bytes_give_the_same_records_however_they_arrive(head, rubbish, seed, capacity):
    data = head + rubbish
    if len(data) < 24 or head[:2] in {b"", b"\x1f\x8b", b"\x28\xb5"}:
        return

    assert walked(data, 0, 1 << 20) == walked(data, seed, capacity)


@PROFILE
@given(HEADS, st.binary(max_size=2000))
def test_no_bytes_raise_anything_but_a_capture_error(head, rubbish):
    rows = []
    with suppress(CaptureError):
        rows, _ = read(head + rubbish)

    assert [row.frame for row in rows] == sorted({row.frame for row in rows})


def test_a_bad_length_that_lands_on_a_record_is_not_skipped():
    good = c.pcap_record(c.Frame(c.START_NS, bytes(1000)))
    count = 262_145 // len(good) + 1
    bad = struct.pack("<4I", c.START_NS // 10**9, 0, count * len(good), 0)
    data = c.pcap_header(snap=1 << 30) + good * 2000 + bad + good * 3000

    assert plain_pcap(data) == (read(data)[0], True, {"bad-record": 1})


def test_a_frame_later_than_requested_waits():
    records = records_of(c.bytes_of_pcap([c.Frame(second * 10**9, b"x") for second in (3, 1, 5, 9)]))

    records.until_ns = 4 * 10**9
    assert [FRAME, FRAME, WAIT, WAIT] == [records.next() for _ in range(4)]
    assert (5 * 10**9, 2) == (records.held_ns, records.frame)
    records.until_ns = 2 * 10**9  # the second frame counts as late as the first
    assert WAIT == records.next()
    records.until_ns = 10 * 10**9
    assert [FRAME, FRAME, MORE] == [records.next() for _ in range(3)]


def test_blocks_before_a_frame_that_waits_are_counted_once():
    data = (
        c.section()
        + c.interface()
        + c.block(c.CUSTOM, b"\0\0\0\1custom")
        + c.statistics(drops=3)
        + c.enhanced(c.Frame(10**9, b"x"))
    )
    records = records_of(data)

    records.until_ns = 0
    assert [WAIT] * 3 == [records.next() for _ in range(3)]
    records.until_ns = 10**10
    assert FRAME == records.next()
    assert (2, 3) == (records.frame, records.dropped)


@pytest.mark.parametrize(
    ("times", "is_disordered"),
    [((1, 2, 3), False), ((1, 1), False), ((1, 3, 2), True), ((5, 1), False), ((2, 1, 3), True), ((0, 0, 3, 2), True)],
)
def test_frames_are_out_of_order_if_one_is_older_by_up_to_a_second(times, is_disordered):
    records = records_of(c.bytes_of_pcap([c.Frame(second * 10**9, b"x") for second in times]))
    while records.next() == FRAME:
        pass

    assert is_disordered == records.is_disordered
    assert (times[0] * 10**9, max(times) * 10**9) == (records.first_ns, records.latest_ns)


@pytest.mark.parametrize("count", [-1, 101])
def test_more_bytes_than_fit_are_refused(count):
    records = Records(Entry(c.pcap_header()), capacity=100)

    with pytest.raises(ValueError, match="room"):
        records.filled(count)


def test_a_buffer_grows_for_a_record_and_keeps_the_rest():
    frames = [c.Frame(c.START_NS, bytes(size)) for size in (3, 5000, 7, 200, 9)]
    rows, torn, *_ = walked(c.bytes_of_pcap(frames), 1, 64)

    assert (rows_from(frames, unit_ns=1000), False) == (rows, torn)


def test_reading_can_continue_where_another_reader_ended():
    frames = [c.Frame(c.START_NS + number * 1000, b"x" * number) for number in range(9)]
    data = (
        c.section(">")
        + c.interface(">", 113, resolution=9, offset_s=-3)
        + c.interface(">", snap=7)
        + b"".join(c.enhanced(frame, ">", resolution=9, offset_s=-3) for frame in frames)
    )
    records = records_of(data)
    for _ in range(4):
        records.next()
    rest = data[records.position :]
    other = Records(records.entry, records.position)
    other.room()[: len(rest)] = rest
    other.filled(len(rest))
    rows = []
    while other.next() == FRAME:
        rows.append(row_of(other))

    assert [row._replace(frame=row.frame - 4) for row in rows_from(frames, 113)[4:]] == rows
    assert records.entry.known == other.entry.known
