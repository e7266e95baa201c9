"""A capture read in pieces is the capture read in one go, wherever it is cut."""

from __future__ import annotations

import random
import struct
from dataclasses import replace

import containers as c
import pytest
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from profiles import examples
from source_rows import read, rows_of

from udpprobe.sources.chain import EVERYTHING
from udpprobe.sources.pieces import PieceSource, Seam, cut, survey

PROFILE = examples(60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SMALL = {"window_bytes": 4096, "buffer_bytes": 512}


def frames_of(sizes):
    return [c.Frame(c.START_NS + number * 10**9, bytes([65 + number % 26]) * size) for number, size in enumerate(sizes)]


FEW = frames_of([0, 3, 40, 17, 60, 1])


def joined(pieces, **sizes):
    """(rows, state, pieces read twice): one after the other, but joined as if they had been read side by side."""
    seam, rows, frames, again = Seam(), [], 0, 0
    for piece in filter(seam.needs, pieces):
        source, found = read_piece(piece, **sizes)
        if mended := seam.mended(piece, source.edges):
            again += 1
            source, found = read_piece(mended, **sizes)
            assert seam.mended(mended, source.edges) is None
        rows += [row._replace(frame=row.frame + frames) for row in found]
        frames += source.edges.frames
        seam.add(source.edges, source.state)
    return rows, seam.state, again


def read_piece(piece, **sizes):
    source = PieceSource(piece, **sizes)
    return source, rows_of(source)


def told(rows, state):
    return rows, state.cut_short, state.dropped, dict(state.faults)


def cut_at(surveyed, *places):
    """Pieces of a file between these bytes."""
    (whole,), entry = cut(surveyed, EVERYTHING), surveyed.entry
    pieces = [replace(whole, first=first, stop=stop, entry=entry, is_guess=True)
              for first, stop in zip((0, *places), (*places, EVERYTHING), strict=True)]
    return [replace(pieces[0], entry=None, is_guess=False), *pieces[1:]]


VARIANTS = {
    "pcap": c.bytes_of_pcap(FEW),
    "pcap, big-endian, nanoseconds": c.bytes_of_pcap(FEW, order=">", nanos=True),
    "pcap, modified": c.bytes_of_pcap(FEW, modified=True),
    "pcapng": c.bytes_of_pcapng(FEW),
    "pcapng, big-endian": c.bytes_of_pcapng(FEW, order=">", resolution=9),
    "pcapng, an interface in the middle": (
        c.bytes_of_pcapng(FEW[:2]) + c.interface(link_type=113, resolution=9)
        + b"".join(c.enhanced(frame, number=1, resolution=9) for frame in FEW[2:])),
    "pcapng, sections of either byte order": c.bytes_in_sections(FEW),
    "pcapng, simple packets among others": (
        c.bytes_of_pcapng(FEW[:2]) + b"".join(map(c.simple, FEW[2:5])) + c.enhanced(FEW[5])),
    "pcapng, drops told several times": (
        c.bytes_of_pcapng(FEW[:2]) + c.statistics(drops=3) + c.enhanced(FEW[2]) + c.statistics(drops=5, number=0)
        + c.statistics(drops=7, number=1) + c.bytes_of_pcapng(FEW[3:]) + c.statistics(drops=11)),
    "pcapng, numbered blocks without a packet": (
        c.bytes_of_pcapng(FEW[:2]) + c.block(c.CUSTOM, b"\0\0\0\1custom") + b"".join(map(c.enhanced, FEW[2:]))),
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
@given(st.integers(0, 1 << 32), st.integers(1, 2000), st.sampled_from(["pcap", "pcapng"]), st.sampled_from("<>"),
       st.integers(500, 100_000))
def test_pieces_of_any_size_are_the_whole(tmp_path, seed, count, container, order, piece_bytes):  # noqa: PLR0917 - drawn
    rng = random.Random(seed)
    frames = frames_of([rng.choice([0, 1, 20, 60, 90, 300, 1400]) for _ in range(count)])
    data = (c.bytes_of_pcap if container == "pcap" else c.bytes_of_pcapng)(frames, order=order)
    path = tmp_path / "capture"
    path.write_bytes(data)
    rows, state, _ = joined(cut(survey(str(path)), piece_bytes), **SMALL)

    assert told(*read(data)) == told(rows, state)


@pytest.mark.parametrize("data", [c.bytes_of_pcap(frames_of([100] * 9000)), c.bytes_of_pcapng(frames_of([100] * 9000))])
def test_where_a_piece_begins_is_guessed_well(tmp_path, data):
    """Even in a capture of hours, where the time says little."""
    path = tmp_path / "capture"
    path.write_bytes(data)
    pieces = cut(survey(str(path)), 100_000)

    assert 10 < len(pieces)
    assert 0 == joined(pieces)[2]


def test_records_inside_payloads_are_seldom_taken_for_records(tmp_path):
    inner = (c.pcap_record(c.Frame(c.START_NS, bytes(24))) * 35)[:-5]
    path = tmp_path / "capture"
    path.write_bytes(c.bytes_of_pcap([c.Frame(c.START_NS, inner)] * 1000))
    rows, _, again = joined(cut(survey(str(path)), 200_000))

    assert (1000, 0) == (len(rows), again)


def test_a_record_longer_than_pieces_takes_their_place(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(c.bytes_of_pcap(frames_of([10, 200_000, 10])))
    rows, _, _ = joined(cut(survey(str(path)), 1000), **SMALL)

    assert [10, 200_000, 10] == [len(row.data) for row in rows]


def test_behind_a_wrong_length_nothing_is_read_in_any_piece(tmp_path):
    path = tmp_path / "capture"
    good = c.bytes_of_pcap(frames_of([100] * 100))
    path.write_bytes(good + struct.pack("<4I", 1, 0, 1 << 20, 60) + good[24:] * 50)
    rows, state, _ = joined(cut(survey(str(path)), 5000))

    assert (100, True, {"bad-record": 1}) == (len(rows), state.cut_short, dict(state.faults))


def test_times_of_a_piece_are_those_of_its_frames_even_out_of_order(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(c.bytes_of_pcap([c.Frame(second * 10**9, b"x") for second in (5, 9, 2)]))
    source, _ = read_piece(*cut(survey(str(path)), EVERYTHING))

    assert (5 * 10**9, 9 * 10**9) == (source.edges.first_ns, source.edges.last_ns)


def test_gapless_numbers_skip_blocks_without_a_packet(tmp_path):
    path = tmp_path / "capture"
    path.write_bytes(VARIANTS["pcapng, numbered blocks without a packet"])
    (piece,) = cut(survey(str(path)), EVERYTHING, is_gapless=True)
    source, rows = read_piece(piece)

    assert ([1, 2, 3, 4, 5, 6], 6) == ([row.frame for row in rows], source.edges.frames)
