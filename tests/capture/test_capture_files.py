"""Pipes, compression, and names: where the bytes come from makes no difference."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import threading
import time
from collections import deque
from pathlib import Path

import containers as c
import pytest
import zstandard
from containers import merged_rows, read, rows_at_hand, rows_from, rows_of
from hypothesis import HealthCheck, given
from hypothesis import strategies as st
from profiles import examples

from udpprobe.capture import files
from udpprobe.capture.compressed import FORMATS, Ahead, Inflated, Peeked, unpacked
from udpprobe.capture.files import Arrival, CaptureFile, MergedCaptures
from udpprobe.capture.frames import SourceState
from udpprobe.errors import CaptureError, UsageError

FRAMES = [c.Frame(c.START_NS + number * 1000, bytes([number % 256]) * (number % 300)) for number in range(2000)]
PCAP, PCAPNG = c.bytes_of_pcap(FRAMES), c.bytes_of_pcapng(FRAMES)
EXPECTED = rows_from(FRAMES)


def zstd(data):
    return zstandard.ZstdCompressor().compress(data)


class Once:
    """A feed of one chunk."""

    def __init__(self, data):
        self.data = data
        self.done_bytes = 0

    def read(self, _timeout_s):
        data, self.data = self.data, b""
        return data


@pytest.fixture
def pipe():
    """(path of the reading end, descriptor of the writing end)"""
    reading, writing = os.pipe()
    yield f"/dev/fd/{reading}", writing
    os.close(reading)


def write_all(fd, data):
    """In the background, since a pipe holds but little; closes the pipe."""

    def write():
        with os.fdopen(fd, "wb") as file:
            file.write(data)

    thread = threading.Thread(target=write)
    thread.start()
    return thread


@pytest.mark.parametrize("pack", [gzip.compress, zstd, lambda data: gzip.compress(zstd(data))])
@pytest.mark.parametrize("data", [PCAP, PCAPNG])
def test_compression_around_either_format_is_undone(pack, data):
    rows, state = read(pack(data))

    assert EXPECTED == rows
    assert (False, {}) == (state.cut_short, dict(state.faults))


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_compressed_file_may_have_many_members_and_padding(pack):
    pieces = [pack(PCAP[at : at + 10_007]) for at in range(0, len(PCAP), 10_007)]
    rows, state = read(b"".join(pieces) + bytes(3000))

    assert EXPECTED == rows
    assert (False, {}) == (state.cut_short, dict(state.faults))


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_garbage_after_a_compressed_file_is_a_fault(pack):
    rows, state = read(pack(PCAP) + b"rubbish")

    assert EXPECTED == rows
    assert (False, {"trailing-garbage": 1}) == (state.cut_short, dict(state.faults))


@pytest.mark.parametrize("pack", [gzip.compress, zstd])
def test_a_truncated_compressed_file_gives_the_data_before_the_cut(pack):
    noise = [c.Frame(frame.time_ns, os.urandom(200)) for frame in FRAMES]
    rows, state = read(pack(c.bytes_of_pcap(noise))[:-150_000])

    assert rows_from(noise)[: len(rows)] == rows
    assert 500 < len(rows) < 2000
    assert state.cut_short


def test_a_damaged_compressed_file_is_cut_short_and_a_fault():
    packed = bytearray(gzip.compress(PCAP, mtime=0))
    packed[-6] ^= 1
    rows, state = read(bytes(packed))

    assert EXPECTED[: len(rows)] == rows
    assert (True, {"bad-gzip": 1}) == (state.cut_short, dict(state.faults))


@pytest.mark.parametrize(
    ("pack", "form", "limit"), [(gzip.compress, FORMATS[0], 1 << 20), (zstd, FORMATS[1], 32 << 20)]
)
def test_a_compression_bomb_is_unpacked_in_small_pieces(pack, form, limit):
    inflated = Inflated(Once(pack(bytes(64 << 20))), form, SourceState("file", "bomb"))
    sizes = []
    while piece := inflated.read(0):
        sizes.append(len(piece))

    assert 64 << 20 == sum(sizes)
    assert max(sizes) <= limit


@pytest.mark.parametrize("data", [PCAP, PCAPNG, gzip.compress(PCAP, mtime=0), zstd(PCAPNG)])
def test_a_pipe_gives_the_same_result_as_a_file(pipe, data):
    path, writing = pipe
    thread = write_all(writing, data)

    assert EXPECTED == rows_of(CaptureFile(path))
    thread.join()


def test_a_pipe_is_read_in_a_buffer_smaller_than_a_record(pipe):
    path, writing = pipe
    frames = [c.Frame(c.START_NS, bytes(100_000)), *FRAMES]
    thread = write_all(writing, c.bytes_of_pcap(frames))

    assert rows_from(frames, unit_ns=1000) == rows_of(CaptureFile(path, capacity=100))
    thread.join()


FEW = FRAMES[100:109]


@pytest.mark.parametrize("data", [c.bytes_of_pcap(FEW), c.bytes_of_pcapng(FEW), gzip.compress(c.bytes_of_pcap(FEW), 0)])
def test_frames_come_as_they_arrive_and_a_quiet_pipe_is_reported(pipe, monkeypatch, data):
    monkeypatch.setattr(files, "QUIET_S", 0.01)
    path, writing = pipe
    os.write(writing, data[:400])
    file, rows = CaptureFile(path), []
    while file.fill() is Arrival.MORE:
        rows += rows_at_hand(file.records)
    assert rows_from(FEW)[: len(rows)] == rows
    assert 1 < len(rows) < 9
    assert Arrival.QUIET is file.fill()

    os.write(writing, data[400:])
    os.close(writing)
    assert rows_from(FEW)[len(rows) :] == rows_of(file)


def test_standard_input_is_read(pipe):
    _, writing = pipe
    own_input = os.dup(0)
    reading, other = os.pipe()
    try:
        os.dup2(reading, 0)
        thread = write_all(other, PCAP)
        source = CaptureFile("-")
        assert EXPECTED == rows_of(source)
        state = source.state
        assert ("-", None, len(PCAP)) == (state.name, state.total_bytes, state.done_bytes)
        thread.join()
    finally:
        os.dup2(own_input, 0)
        os.close(own_input)
        os.close(reading)
        os.close(writing)


def test_progress_ends_at_the_size_of_the_file(tmp_path):
    for name, data in (("a.pcap", PCAP), ("a.gz", gzip.compress(PCAP, mtime=0))):
        path = tmp_path / name
        path.write_bytes(data)
        source = CaptureFile(str(path))
        rows_of(source)
        assert (len(data), len(data)) == (source.state.done_bytes, source.state.total_bytes)


@pytest.mark.parametrize("end", [10_000, 24])
def test_a_file_that_shrinks_while_it_is_read_is_cut_short(tmp_path, end):
    path = tmp_path / "shrinking.pcap"
    path.write_bytes(PCAP)
    file = CaptureFile(str(path), capacity=4096)
    file.fill()
    rows = rows_at_hand(file.records)
    os.truncate(path, end)
    rows += rows_of(file)

    assert EXPECTED[: len(rows)] == rows
    assert file.state.cut_short


def test_stopping_early_leaves_the_counts_so_far(tmp_path):
    path = tmp_path / "a.pcapng"
    path.write_bytes(c.section() + c.interface() + c.statistics(drops=3) + c.enhanced(FRAMES[0], number=9) + PCAPNG)
    file, captures = CaptureFile(str(path), capacity=4096), MergedCaptures([str(path)])
    file.fill()
    rows_at_hand(file.records)
    while (records := captures.merge.turn()) is None:
        captures.fill()
    rows_at_hand(records)
    for each in (file, captures):
        each.close()
        assert (3, {"no-interface": 1}) == (each.state.dropped, each.state.faults)


def test_bytes_appended_after_opening_are_not_read(tmp_path):
    path = tmp_path / "growing.pcap"
    path.write_bytes(PCAP)
    file = CaptureFile(str(path), capacity=4096)
    with path.open("ab") as growing:
        growing.write(PCAP[24:])

    assert EXPECTED == rows_of(file)


def test_closing_the_reader_stops_the_unpacking_thread(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(bytes(PCAP[:24]) + bytes(64 << 20), 1))
    before = threading.active_count()
    file = CaptureFile(str(path))
    file.fill()
    assert before + 1 == threading.active_count()

    file.close()
    while threading.active_count() != before:
        time.sleep(0.01)


def test_an_error_in_the_thread_is_raised_once():
    ahead = Ahead(Broken())

    assert b"some" == ahead.read(5)
    with pytest.raises(CaptureError, match="reading stopped"):
        ahead.read(5)
    assert b"" == ahead.read(5)


class Broken:
    """A feed that breaks off."""

    def __init__(self):
        self.data = [b"some"]
        self.done_bytes = 0

    def read(self, _timeout_s):
        if not self.data:
            raise CaptureError("reading stopped")
        return self.data.pop()


ERF = bytes.fromhex("00000000 809fb16a 02 04 0070 0000 005e 0000") + bytes(94)
"""Time, type, flags, the record's length, losses, the packet's length."""
LOOKS = {
    b"": "empty",
    b"\x89PNG\r\n\x1a\nrest": "PNG",
    b"hello, this is text\n": "text",
    b"\x7fELF\2\1\1": "ELF",
    b"snoop\0\0\0\0\0\0\2": "snoop capture; convert it with `editcap -F pcap in out`",
    b"GMBU\2\0": "Network Monitor capture; convert it with `editcap -F pcap -T ether in out`",
    b"RTSS\1\1\1": "Network Monitor capture; convert it with `editcap -F pcap -T ether in out`",
    ERF: "ERF capture; convert it with `editcap -F pcap -T ether in out`",
    b"\0" * 8 + ERF[8:]: "00 00 00 00",
    ERF[:8] + b"\x7f" + ERF[9:]: "begins with the bytes",
    ERF[:15]: "begins with the bytes",
    b"\0\1\2\3\4": "00 01 02 03",
    gzip.compress(b"hello, this is text\n", mtime=0): "text inside its compression",
    gzip.compress(b"", mtime=0): "nothing",
    PCAP[:23]: "cut in its header",
    PCAPNG[:20]: "cut in its header",
    PCAP[:3]: "bytes d4 c3 b2",
}


@pytest.mark.parametrize(("data", "said"), LOOKS.items())
def test_a_file_that_is_not_a_capture_is_named_in_one_line(tmp_path, data, said):
    path = tmp_path / "capture.pcap"
    path.write_bytes(data)
    with pytest.raises(CaptureError, match=r"^[^\n]*$") as error:
        CaptureFile(str(path)).fill()

    assert said in str(error.value)


def test_missing_and_unreadable_files_and_directories_are_named(tmp_path):
    locked = tmp_path / "locked.pcap"
    locked.write_bytes(PCAP)
    locked.chmod(0)
    cases = [(tmp_path / "none", "no such file"), (tmp_path, "is a directory"), (locked / "x", "cannot be opened")]
    cases += [("/proc/self/mem", "/proc/self/mem: reading stopped")]
    cases += [(locked, "no permission")] if os.geteuid() else []
    for path, said in cases:
        with pytest.raises(CaptureError, match=said):
            CaptureFile(str(path)).fill()


def test_a_window_that_is_too_large_is_named():
    parameters = zstandard.ZstdCompressionParameters(window_log=28)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = packer.compress(PCAP) + packer.flush()
    with pytest.raises(CaptureError, match=r"window of more than 128 MB.*--long=31"):
        unpacked(Peeked(Once(packed)), SourceState("file", "x")).read(1)


PROFILE = examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])


def files_of(tmp_path, times):
    """A file for each list of times in seconds; each frame says where it is from."""
    paths = []
    for name, seconds in enumerate(times):
        frames = [
            c.Frame(second * 10**9, f"file {name} frame {number}".encode()) for number, second in enumerate(seconds)
        ]
        paths.append(str(tmp_path / f"{name}.pcap"))
        Path(paths[-1]).write_bytes(c.bytes_of_pcap(frames))
    return paths


def by_heads(times):
    """What mergecap does: always the file whose next frame is oldest, the later named of two."""
    left = [
        deque((second, f"file {name} frame {number}".encode()) for number, second in enumerate(seconds))
        for name, seconds in enumerate(times)
    ]
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
def test_mergecap_gives_the_same_order(tmp_path):
    paths = files_of(tmp_path, [[1, 5, 5, 3, 7], [1, 5, 5, 4, 6, 7], [2, 2, 5, 9]])
    merged = tmp_path / "merged.pcap"
    subprocess.run(["mergecap", "-F", "pcap", "-w", merged, *paths], check=True)

    assert read(merged.read_bytes())[0] == merged_rows(MergedCaptures(paths))


def test_long_files_are_merged_across_buffers(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "PEEK_BYTES", 1 << 10)
    monkeypatch.setattr(files, "BUFFERS_BYTES", 3 << 10)
    count = 3000
    times = [range(0, 2 * count, 2), range(1, 2 * count, 2), range(count, count + 50)]
    rows = merged_rows(MergedCaptures(files_of(tmp_path, times)))

    assert by_heads(times) == [(row.time_ns // 10**9, row.data) for row in rows]


def test_rotated_files_are_opened_one_at_a_time(tmp_path):
    captures = MergedCaptures(files_of(tmp_path, [[7, 8, 9], [1, 2, 3], [4, 5, 6]]))
    turns, opened = [], []
    while captures.fill() is not Arrival.END:
        opened.append(sum(link.resolve().parent == tmp_path for link in Path("/proc/self/fd").iterdir()))
        while (records := captures.merge.turn()) is not None:
            turns.append([row.time_ns // 10**9 for row in rows_at_hand(records)])

    assert [[1, 2, 3], [4, 5, 6], [7, 8, 9]] == turns
    assert 2 >= max(opened)


def test_the_state_covers_all_files(tmp_path):
    frames = [c.Frame(c.START_NS, b"x")]
    pcapng = c.bytes_of_pcapng(frames)
    files = [
        pcapng + c.statistics(drops=2),
        pcapng + c.statistics(drops=3),
        c.bytes_of_pcap(frames)[:-1],
        pcapng + c.enhanced(frames[0], number=9),
    ]
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


def test_a_file_that_is_not_a_capture_does_not_stop_the_others(tmp_path):
    none = str(tmp_path / "none")
    source = MergedCaptures([*files_of(tmp_path, [[1], [2]]), none])

    assert [1, 2] == [row.time_ns // 10**9 for row in merged_rows(source)]
    assert {none: f"{none}: no such file"} == source.state.unread


def test_if_no_file_is_a_capture_the_error_names_the_first(tmp_path):
    with pytest.raises(CaptureError, match="none: no such file"):
        MergedCaptures([str(tmp_path / "none"), str(tmp_path / "nothing")])


def test_standard_input_can_be_read_only_once():
    with pytest.raises(UsageError, match="only once"):
        MergedCaptures(["-", "-"])


def test_a_file_that_is_gone_when_its_turn_comes_is_unread(tmp_path):
    paths = files_of(tmp_path, [[1], [5]])
    captures = MergedCaptures(paths)
    Path(paths[1]).unlink()

    assert [1] == [row.time_ns // 10**9 for row in merged_rows(captures)]
    assert {paths[1]: f"{paths[1]}: no such file"} == captures.state.unread
