"""A capture read in pieces is the capture read in one go, wherever it is cut."""

from __future__ import annotations

import random
import struct

import containers as c
import pytest
from containers import read, rows_of
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from msgspec.structs import replace
from profiles import examples

from udpprobe.capture.pieces import Edges, Seam, cut, survey
from udpprobe.core.capture import EVERYTHING

PROFILE = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SMALL = 512


def frames_of(sizes):
    return [c.Frame(c.START_NS + number * 10**9, bytes([65 + number % 26]) * size) for number, size in enumerate(sizes)]


FEW = frames_of([0, 3, 40, 17, 60, 1])


def joined(pieces, capacity=1 << 16):
    """(rows, state, pieces read twice): one after the other, but joined as if they had been read side by side."""
    seam, rows, frames, again = Seam(), [], 0, 0
    for piece in filter(seam.needs, pieces):
        found, state, edges = read_piece(piece, capacity)
        if mended := seam.mended(piece, edges):
            again += 1
            found, state, edges = read_piece(mended, capacity)
            assert seam.mended(mended, edges) is None
        rows += [row._replace(frame=row.frame + frames) for row in found]
        frames += edges.frames
        seam.add(edges, state)
    return rows, seam.state, again


def read_piece(piece, capacity=1 << 16):
    file = piece.open(capacity)
    rows = rows_of(file)
    return rows, file.state, Edges.of(file)


def told(rows, state):
    return rows, state.cut_short, state.dropped, dict(state.faults)


def cut_at(surveyed, *places):
    """Pieces of a file between these bytes."""
    (whole,), entry = cut(surveyed, 1), surveyed.entry
    pieces = [
        replace(whole, first=first, stop=stop, entry=entry, is_guess=True)
        for first, stop in zip((0, *places), (*places, EVERYTHING), strict=True)
    ]
    return [replace(pieces[0], entry=None, is_guess=False), *pieces[1:]]


VARIANTS = {
    "pcap": c.bytes_of_pcap(FEW),
    "pcap, big-endian, nanoseconds": c.bytes_of_pcap(FEW, order=">", nanos=True),
    "pcap, modified": c.bytes_of_pcap(FEW, modified=True),
    "pcapng": c.bytes_of_pcapng(FEW),
    "pcapng, big-endian": c.bytes_of_pcapng(FEW, order=">", resolution=9),
    "pcapng, an interface in the middle": (
        c.bytes_of_pcapng(FEW[:2])
        + c.interface(link_type=113, resolution=9)
        + b"".join(c.enhanced(frame, number=1, resolution=9) for frame in FEW[2:])
    ),
    "pcapng, sections of either byte order": c.bytes_in_sections(FEW),
    "pcapng, simple packets among others": (
        c.bytes_of_pcapng(FEW[:2]) + b"".join(map(c.simple, FEW[2:5])) + c.enhanced(FEW[5])
    ),
    "pcapng, drops told several times": (
        c.bytes_of_pcapng(FEW[:2])
        + c.statistics(drops=3)
        + c.enhanced(FEW[2])
        + c.statistics(drops=5, number=0)
        + c.statistics(drops=7, number=1)
        + c.bytes_of_pcapng(FEW[3:])
        + c.statistics(drops=11)
    ),
    "pcapng, numbered blocks without a packet": (
        c.bytes_of_pcapng(FEW[:2]) + c.block(c.CUSTOM, b"\0\0\0\1custom") + b"".join(map(c.enhanced, FEW[2:]))
    ),
    "pcap, torn": c.bytes_of_pcap(FEW)[:-1],
    "pcap, torn in a header": c.bytes_of_pcap(FEW) + bytes(7),
    "pcap, damaged": c.bytes_of_pcap(FEW[:3]) + b"\xff" * 16 + c.bytes_of_pcap(FEW)[24:],
    "pcapng, torn": c.bytes_of_pcapng(FEW)[:-1],
    "pcapng, damaged": c.bytes_of_pcapng(FEW[:3]) + b"\xff" * 16 + b"".join(map(c.enhanced, FEW[3:])),
    "no packets": c.bytes_of_pcap([]),
}


@pytest.mark.parametrize("data", VARIANTS.values(), ids=VARIANTS)
def test_a_cut_at_any_byte_changes_nothing(tmp_path, data):
    path = tmp_path / "capture"
    path.write_bytes(data)
    expected = told(*read(data))

    surveyed = survey(str(path))
    for place in range(1, len(data) + 1):
        rows, state, _ = joined(cut_at(surveyed, place))
        assert expected == told(rows, state), place


@pytest.mark.parametrize("data", VARIANTS.values(), ids=VARIANTS)
def test_two_cuts_anywhere_change_nothing(tmp_path, data):
    path = tmp_path / "capture"
    path.write_bytes(data)
    expected = told(*read(data))

    surveyed = survey(str(path))
    for first in range(1, len(data), 23):
        for second in range(first, len(data) + 1, 29):
            rows, state, _ = joined(cut_at(surveyed, first, second))
            assert expected == told(rows, state), (first, second)


@PROFILE
@given(
    st.integers(0, 1 << 32),
    st.integers(1, 2000),
    st.sampled_from(["pcap", "pcapng"]),
    st.sampled_from("<>"),
    st.integers(2, 50),
)
def test_any_number_of_pieces_gives_the_same_result(tmp_path, seed, count, container, order, parts):
    rng = random.Random(seed)
    frames = frames_of([rng.choice([0, 1, 20, 60, 90, 300, 1400]) for _ in range(count)])
    data = (c.bytes_of_pcap if container == "pcap" else c.bytes_of_pcapng)(frames, order=order)
    path = tmp_path / "capture"
    path.write_bytes(data)
    rows, state, _ = joined(cut(survey(str(path)), parts), SMALL)

    assert told(*read(data)) == told(rows, state)


@pytest.mark.parametrize("data", [c.bytes_of_pcap(frames_of([100] * 9000)), c.bytes_of_pcapng(frames_of([100] * 9000))])
def test_the_start_of_a_piece_is_guessed_well(tmp_path, data):
    """Even in a capture of hours, where the time says little."""
    path = tmp_path / "capture"
    path.write_bytes(data)
    pieces = cut(survey(str(path)), 11)

    assert 11 == len(pieces)
    assert 0 == joined(pieces)[2]


def test_records_inside_payloads_are_rarely_mistaken_for_real_ones(tmp_path):
    inner = (c.pcap_record(c.Frame(c.START_NS, bytes(24))) * 35)[:-5]
    path = tmp_path / "capture"
    path.write_bytes(c.bytes_of_pcap([c.Frame(c.START_NS, inner)] * 1000))
    rows, _, again = joined(cut(survey(str(path)), 8))

    assert (1000, 0) == (len(rows), again)


def test_a_record_may_be_longer_than_a_piece(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(c.bytes_of_pcap(frames_of([10, 200_000, 10])))
    rows, _, _ = joined(cut(survey(str(path)), 200), SMALL)

    assert [10, 200_000, 10] == [len(row.data) for row in rows]


def test_nothing_after_a_wrong_length_is_read_in_any_piece(tmp_path):
    path = tmp_path / "capture"
    good = c.bytes_of_pcap(frames_of([100] * 100))
    path.write_bytes(good + struct.pack("<4I", 1, 0, 1 << 20, 60) + good[24:] * 50)
    rows, state, _ = joined(cut(survey(str(path)), 100))

    assert (100, True, {"bad-record": 1}) == (len(rows), state.cut_short, dict(state.faults))


def test_times_of_a_piece_are_those_of_its_frames_even_out_of_order(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(c.bytes_of_pcap([c.Frame(second * 10**9, b"x") for second in (5, 9, 2)]))
    _, _, edges = read_piece(*cut(survey(str(path)), 1))

    assert (5 * 10**9, 9 * 10**9) == (edges.first_ns, edges.last_ns)


def test_gapless_numbers_skip_blocks_without_a_packet(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(VARIANTS["pcapng, numbered blocks without a packet"])
    (piece,) = cut(survey(str(path)), 1, is_gapless=True)
    rows, _, edges = read_piece(piece)

    assert ([1, 2, 3, 4, 5, 6], 6) == ([row.frame for row in rows], edges.frames)
