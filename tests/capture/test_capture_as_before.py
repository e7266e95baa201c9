"""The walk finds what the reader of columns found; this goes when that goes."""

from __future__ import annotations

import random

import containers as c
from capture_rows import row_of
from hypothesis import given
from hypothesis import strategies as st
from profiles import examples
from sources.source_rows import read

from udpprobe.core.capture import END, FAULTS, FRAME, Entry, Records

PROFILE = examples(200)
KINDS = (c.INTERFACE, c.OLD_PACKET, c.SIMPLE_PACKET, c.ENHANCED_PACKET, 9, c.CUSTOM, c.UNKNOWN)


def walked(data, rng):
    """(rows, torn, dropped, faults): read in fills of random sizes."""
    records, rows = Records(Entry(data[:24]), capacity=rng.choice([1, 64, 500, 1 << 16])), []
    at = records.begins
    while (outcome := records.next()) != END:
        if outcome == FRAME:
            rows.append(row_of(records))
            continue
        room = records.room()
        some = data[at:at + min(len(room), rng.choice([1, 3, 20, 1000, 1 << 20]))]
        if not some:
            break
        room[:len(some)] = some
        records.filled(len(some))
        at += len(some)
    faults = {name: count for name, count in zip(FAULTS, records.faults, strict=True) if count}
    return [tuple(row) for row in rows], records.is_torn, records.dropped, faults


def frames_of(rng):
    return [c.Frame(c.START_NS + number * 1000 + rng.choice([0, -5000, 10**9]),
                    rng.randbytes(rng.choice([0, 1, 20, 60, 300])), rng.choice([None, 1500]))
            for number in range(rng.randrange(1, 40))]


def blocks_of(rng, order):
    """Any blocks in any order; statistics only of what is declared: others are another fault now."""
    parts = [c.section(order), c.interface(order)]
    for frame in frames_of(rng):
        parts.append(rng.choice([  # noqa: PERF401 - a comprehension of ten lines
            lambda: c.interface(order, rng.choice([1, 113]), rng.choice([0, 30]), rng.choice([None, 9, 0x80 | 20])),
            lambda frame=frame: c.simple(frame, order),
            lambda frame=frame: c.enhanced(frame, order, rng.randrange(3)),
            lambda frame=frame: c.old(frame, order, rng.randrange(3)),
            lambda: c.statistics(order, 0, rng.choice([None, 5, 9]), rng.choice([None, 2])),
            lambda: c.block(rng.choice(KINDS), rng.randbytes(rng.choice([0, 4, 8, 12, 16, 20, 40])), order),
            lambda: c.section(order) + c.interface(order)])())
    return b"".join(parts)


CAPTURES = (
    lambda rng, order: c.bytes_of_pcap(frames_of(rng), order=order, nanos=rng.random() < 0.3),
    lambda rng, order: c.bytes_of_pcap(frames_of(rng), order=order, modified=True),
    lambda rng, order: c.bytes_of_pcapng(frames_of(rng), order=order, packet=rng.choice([c.enhanced, c.old]),
                                         resolution=rng.choice([None, 0, 3, 9, 0x80, 0x8A, 0xA1]),
                                         offset_s=rng.choice([None, 5])),
    lambda rng, _: c.bytes_in_sections(frames_of(rng)),
    blocks_of)


@PROFILE
@given(st.integers(0, 1 << 32), st.sampled_from(CAPTURES), st.sampled_from("<>"), st.integers(0, 5), st.booleans())
def test_damaged_captures_give_what_they_gave(seed, make, order, count, is_cut):
    rng = random.Random(seed)
    data = bytearray(make(rng, order))
    for _ in range(count if len(data) > 24 else 0):
        at = rng.randrange(24, len(data))
        rubbish = rng.choice([rng.randbytes(rng.randrange(1, 9)), b"\x06\0\0\0", c.section()[:4], bytes(8)])
        data[at:at + len(rubbish)] = rubbish
    data = bytes(data[:rng.randrange(24, len(data) + 1)] if is_cut else data)
    rows, state = read(data)
    found = walked(data, rng)

    if found[3].get("no-interface", 0) == state.faults["no-interface"]:     # else see above
        assert ([tuple(row) for row in rows], state.cut_short, state.dropped, dict(state.faults)) == found
