"""Several captures are one, in the order of their times, as mergecap has it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import deque
from pathlib import Path

import containers as c
import pytest
from capture_rows import merged_rows, read, rows_at_hand
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from profiles import examples

from udpprobe.capture import merge
from udpprobe.capture.files import Arrival
from udpprobe.capture.merge import MergedCaptures
from udpprobe.errors import CaptureError, UsageError

PROFILE = examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def files_of(tmp_path, times):
    """A file for each list of times in seconds; each frame says where it is from."""
    paths = []
    for name, seconds in enumerate(times):
        frames = [c.Frame(second * 10**9, f"file {name} frame {number}".encode())
                  for number, second in enumerate(seconds)]
        paths.append(str(tmp_path / f"{name}.pcap"))
        Path(paths[-1]).write_bytes(c.bytes_of_pcap(frames))
    return paths


def by_heads(times):
    """What mergecap does: always the file whose next frame is oldest, the later named of two."""
    left = [deque((second, f"file {name} frame {number}".encode()) for number, second in enumerate(seconds))
            for name, seconds in enumerate(times)]
    merged = []
    while any(left):
        first = min((frames[0][0], -name) for name, frames in enumerate(left) if frames)
        merged.append(left[-first[1]].popleft())
    return merged


TIMES = st.lists(st.lists(st.integers(1, 12), max_size=30), min_size=2, max_size=5)


@PROFILE
@given(TIMES)
def test_frames_are_in_the_order_of_mergecap(tmp_path, times):
    rows = merged_rows(MergedCaptures(files_of(tmp_path, times)))

    assert by_heads(times) == [(row.time_ns // 10**9, row.data) for row in rows]
    assert list(range(1, len(rows) + 1)) == [row.frame for row in rows]


@pytest.mark.skipif(not shutil.which("mergecap"), reason="mergecap is not installed")
def test_mergecap_says_the_same(tmp_path):
    paths = files_of(tmp_path, [[1, 5, 5, 3, 7], [1, 5, 5, 4, 6, 7], [2, 2, 5, 9]])
    merged = tmp_path / "merged.pcap"
    subprocess.run(["mergecap", "-F", "pcap", "-w", merged, *paths], check=True)

    assert read(merged.read_bytes())[0] == merged_rows(MergedCaptures(paths))


def test_long_files_are_merged_across_buffers(tmp_path, monkeypatch):
    monkeypatch.setattr(merge, "PEEK_BYTES", 1 << 10)
    monkeypatch.setattr(merge, "BUFFERS_BYTES", 3 << 10)
    count = 3000
    times = [range(0, 2 * count, 2), range(1, 2 * count, 2), range(count, count + 50)]
    rows = merged_rows(MergedCaptures(files_of(tmp_path, times)))

    assert by_heads(times) == [(row.time_ns // 10**9, row.data) for row in rows]


def test_rotated_files_follow_one_another_and_are_open_one_at_a_time(tmp_path):
    captures = MergedCaptures(files_of(tmp_path, [[7, 8, 9], [1, 2, 3], [4, 5, 6]]))
    turns, opened = [], []
    while captures.fill() is not Arrival.END:
        opened.append(sum(link.resolve().parent == tmp_path for link in Path("/proc/self/fd").iterdir()))
        while (records := captures.merge.turn()) is not None:
            turns.append([row.time_ns // 10**9 for row in rows_at_hand(records)])

    assert [[1, 2, 3], [4, 5, 6], [7, 8, 9]] == turns
    assert 2 >= max(opened)


def test_state_is_that_of_all_files_together(tmp_path):
    frames = [c.Frame(c.START_NS, b"x")]
    pcapng = c.bytes_of_pcapng(frames)
    files = [pcapng + c.statistics(drops=2), pcapng + c.statistics(drops=3), c.bytes_of_pcap(frames)[:-1],
             pcapng + c.enhanced(frames[0], number=9)]
    paths = []
    for number, data in enumerate(files):
        paths.append(str(tmp_path / str(number)))
        (tmp_path / str(number)).write_bytes(data)
    source = MergedCaptures(paths)
    state, total = source.state, sum(map(len, files))

    assert (0, total) == (state.done_bytes, state.total_bytes)
    assert 3 == len(merged_rows(source))
    assert (5, True, {"no-interface": 1}) == (state.dropped, state.cut_short, dict(state.faults))
    assert (total, total) == (state.done_bytes, state.total_bytes)


def test_a_pipe_may_be_one_of_the_captures(tmp_path):
    reading, writing = os.pipe()
    os.write(writing, c.bytes_of_pcap([c.Frame(second * 10**9, b"pipe") for second in (2, 4, 9)]))
    os.close(writing)
    paths = files_of(tmp_path, [[1, 3, 5]])
    rows = merged_rows(MergedCaptures([f"/dev/fd/{reading}", *paths]))
    os.close(reading)

    assert [1, 2, 3, 4, 5, 9] == [row.time_ns // 10**9 for row in rows]


def test_link_types_stay_with_their_frames(tmp_path):
    paths = []
    for link_type in (1, 113):
        paths.append(str(tmp_path / str(link_type)))
        frames = [c.Frame(10**9, b"x"), c.Frame(10**9 * link_type, b"x")]
        Path(paths[-1]).write_bytes(c.bytes_of_pcap(frames, link_type=link_type))

    assert [113, 1, 1, 113] == [row.link_type for row in merged_rows(MergedCaptures(paths))]


def test_of_several_that_which_is_no_capture_is_named_and_the_others_are_read(tmp_path):
    none = str(tmp_path / "none")
    source = MergedCaptures([*files_of(tmp_path, [[1], [2]]), none])

    assert [1, 2] == [row.time_ns // 10**9 for row in merged_rows(source)]
    assert {none: f"{none}: no such file"} == source.state.unread


def test_where_none_of_several_is_a_capture_the_first_is_the_error(tmp_path):
    with pytest.raises(CaptureError, match="none: no such file"):
        MergedCaptures([str(tmp_path / "none"), str(tmp_path / "nothing")])


def test_standard_input_is_read_but_once():
    with pytest.raises(UsageError, match="only once"):
        MergedCaptures(["-", "-"])


def test_a_file_that_is_gone_when_its_turn_comes_is_unread(tmp_path):
    paths = files_of(tmp_path, [[1], [5]])
    captures = MergedCaptures(paths)
    Path(paths[1]).unlink()

    assert [1] == [row.time_ns // 10**9 for row in merged_rows(captures)]
    assert {paths[1]: f"{paths[1]}: no such file"} == captures.state.unread
