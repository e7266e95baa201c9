"""Chosen frames into files that take each other's place."""

from __future__ import annotations

import pytest
from live_frames import frames_of, read_frames
from ring_blocks import Packet, block

from udpprobe.capture.rotation import FORGOTTEN, OBJECT_BYTES, Rotation
from udpprobe.errors import UdpprobeError

FRAMES = [bytes([n]) * 40 for n in range(8)]


def rotation(path, *, most_bytes=10**6, files=3, **how):
    return Rotation(str(path), most_bytes=most_bytes, files=files, application="udpprobe test", **how)


def told(path):
    """The bytes, times and links of the frames in a file."""
    return [(frame.data, frame.time_ns, frame.link_type) for frame in read_frames(path)]


def test_what_is_chosen_is_there_at_once_and_in_order(tmp_path):
    path, held = tmp_path / "x.pcapng", frames_of(FRAMES)
    with rotation(path) as made:
        made.remember(1, held)
        made.write([5, 2], {5: "refused"})
        expected = [(FRAMES[n - 1], held.frames[n - 1].time_ns, 101) for n in (2, 5)]
        assert expected == told(path)
        made.write([2, 7, 5], {})
        assert [*expected, (FRAMES[6], held.frames[6].time_ns, 101)] == told(path)
    assert b"refused" in path.read_bytes()


def test_frames_come_from_where_they_were_held(tmp_path):
    path = tmp_path / "x"
    with rotation(path) as made:
        for first, link in ((1, 101), (9, 1), (17, 101)):
            made.remember(first, frames_of([bytes([link + n]) * 20 for n in range(8)], link, first=first))
        made.write([1, 16, 17], {})
    assert [(bytes([101]) * 20, 101), (bytes([8]) * 20, 1), (bytes([101]) * 20, 101)] \
        == [(data, link) for data, _, link in told(path)]


def test_what_was_forgotten_is_counted(tmp_path):
    path = tmp_path / "x"
    with rotation(path, remembered_bytes=3 * OBJECT_BYTES) as made:
        for first in range(1, 41):
            made.remember(first, frames_of([bytes([first])], first=first))
        made.write([1, 39, 40, 99], {})
        assert [b"\x27", b"\x28"] == [data for data, *_ in told(path)]
        assert 2 == made.faults[FORGOTTEN]


def test_frames_come_out_of_a_block_of_the_ring(tmp_path):
    path = tmp_path / "x"
    with rotation(path) as made:
        made.remember(1, frames_of([b"before"]))
        made.remember(2, block([Packet(data, n * 10**9 + 7) for n, data in enumerate(FRAMES)]))
        made.write([2, 9, 10], {})
        assert [(FRAMES[0], 7, 101), (FRAMES[7], 7 * 10**9 + 7, 101)] == told(path)
        assert 1 == made.faults[FORGOTTEN]


def test_nothing_at_all_is_remembered_before_the_first_frames(tmp_path):
    with rotation(tmp_path / "x") as made:
        made.write([1], {})
        assert 1 == made.faults[FORGOTTEN]


def test_full_files_move_on_and_the_last_one_goes(tmp_path):
    path = tmp_path / "x"
    with rotation(path, most_bytes=100) as made:
        made.remember(1, frames_of(FRAMES))
        for frame in range(1, 9):
            made.write([frame], {})
    names = ["x", "x.1", "x.2"]
    assert names == sorted(each.name for each in tmp_path.iterdir())
    kept = [data for name in reversed(names) for data, *_ in told(tmp_path / name)]
    assert FRAMES[-len(kept):] == kept
    assert 3 <= len(kept) < 8


def test_one_file_alone_starts_anew(tmp_path):
    with rotation(tmp_path / "x", most_bytes=100, files=1) as made:
        made.remember(1, frames_of(FRAMES))
        made.write(range(1, 9), {})
    assert [tmp_path / "x"] == list(tmp_path.iterdir())
    assert FRAMES[-1] == told(tmp_path / "x")[-1][0]


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(UdpprobeError, match=r"cannot write .*missing"):
        rotation(tmp_path / "missing" / "x")
